//! What the tracker remembers of a source and of a tenant.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::schema::SchemaState;
use super::snapshot::Drifted;
use crate::domain::sighting::{FailureKind, ReadStats, WantedTrace};
use crate::domain::tag::TraceId;
use crate::domain::time::Timestamp;
use crate::domain::topology::Capabilities;

/// What is known of a source.
#[derive(Debug, Default)]
pub(super) struct SourceState {
    /// Polls tell presence only: none has a watermark, and each that is answered reached all there is to reach.
    presence_only: bool,
    /// When the last such poll began.
    heard: Option<Timestamp>,
    /// The traces that wait here.
    pub(super) waiting: BTreeSet<TraceId>,
    /// From which revision of the wanted list on a waiting trace is in it.
    since_revision: BTreeMap<TraceId, u64>,
    /// Since when something has been waiting without a break.
    waiting_since: Option<Timestamp>,
    /// Seen or given up a short while ago, and until when they ride along.
    pub(super) recently_seen: VecDeque<(Timestamp, WantedTrace)>,
    pub(super) watermark: Option<Timestamp>,
    pub(super) last_answer: Option<Timestamp>,
    pub(super) failing: Option<Failing>,
    pub(super) blind_since: Option<Timestamp>,
    pub(super) behind: Option<Duration>,
    /// `None` until its schema was read.
    pub(super) drifted: Option<Drifted>,
    pub(super) schema: SchemaState,
}

/// A row of failed looks.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Failing {
    pub(super) since: Timestamp,
    pub(super) polls: u64,
    pub(super) kind: FailureKind,
    pub(super) detail: Arc<str>,
}

/// Whether a source went blind or came back.
pub(super) enum VisibilityChange {
    Unchanged,
    WentBlind(Arc<str>),
    SawAgain(Duration),
}

impl SourceState {
    pub(super) fn new(capabilities: Capabilities) -> Self {
        Self { presence_only: !capabilities.absence, ..Self::default() }
    }

    pub(super) fn wait(&mut self, id: TraceId, revision: u64, now: Timestamp) {
        self.waiting.insert(id);
        self.since_revision.insert(id, revision);
        self.waiting_since.get_or_insert(now);
    }

    /// A trace need not be looked for any more, but may ride along.
    pub(super) fn seen(&mut self, id: TraceId, recent: Option<(Timestamp, WantedTrace)>) {
        self.waiting.remove(&id);
        self.since_revision.remove(&id);
        if self.waiting.is_empty() {
            self.waiting_since = None;
        }
        if let Some((until, recent)) = recent {
            // One that was given up may ride along already.
            self.recently_seen.retain(|(_, known)| known.tag.trace != id);
            self.recently_seen.push_back((until, recent));
        }
    }

    pub(super) fn forget_recently_seen(&mut self, now: Timestamp) {
        self.recently_seen.retain(|(until, _)| *until > now);
    }

    /// The waiting traces that were in the wanted list of this revision.
    pub(super) fn requested_in(&self, revision: u64) -> Vec<TraceId> {
        self.since_revision.iter().filter(|(_, since)| **since <= revision).map(|(id, _)| *id).collect()
    }

    pub(super) fn answered(
        &mut self,
        started: Timestamp,
        watermark: Option<Timestamp>,
        stats: &ReadStats,
        now: Timestamp,
    ) {
        self.watermark = self.watermark.max(watermark);
        self.last_answer = Some(now);
        self.behind = stats.behind;
        match watermark {
            Some(_) => self.failing = None,
            None if self.presence_only => {
                self.failing = None;
                self.heard = self.heard.max(Some(started));
            }
            None => {
                let detail = "it answers, but the end of what it holds was not reached";
                self.fail(FailureKind::OverBudget, detail.into(), started);
            }
        }
    }

    pub(super) fn failed(&mut self, kind: FailureKind, detail: Arc<str>, now: Timestamp) {
        self.fail(kind, detail, now);
    }

    fn fail(&mut self, kind: FailureKind, detail: Arc<str>, at: Timestamp) {
        let (since, polls) = self.failing.as_ref().map_or((at, 0), |before| (before.since, before.polls));
        self.failing = Some(Failing { since, polls: polls + 1, kind, detail });
    }

    /// Whether its last look did not get through.
    pub(super) fn is_failing(&self) -> bool {
        self.failing.is_some() || self.blind_since.is_some()
    }

    /// Up to when the source was read, as far as it can be.
    fn read_until(&self) -> Option<Timestamp> {
        self.watermark.max(self.heard)
    }

    /// Up to when the source can be vouched for, for the traces that wait now.
    fn covered_until(&self) -> Option<Timestamp> {
        self.waiting_since.map(|since| self.read_until().map_or(since, |mark| mark.max(since)))
    }

    /// When the source will be blind if nothing happens.
    pub(super) fn blind_at(&self, blind_after: Duration) -> Option<Timestamp> {
        self.covered_until().filter(|_| self.blind_since.is_none()).map(|mark| mark + blind_after)
    }

    pub(super) fn update_visibility(&mut self, blind_after: Duration, now: Timestamp) -> VisibilityChange {
        match self.blind_since {
            None if self.blind_at(blind_after).is_some_and(|at| at <= now) => {
                self.blind_since = self.covered_until();
                VisibilityChange::WentBlind(self.reason())
            }
            Some(since)
                if self.failing.is_none()
                    && self.read_until().is_some_and(|mark| mark + blind_after > now) =>
            {
                self.blind_since = None;
                VisibilityChange::SawAgain(now.since(since))
            }
            None | Some(_) => VisibilityChange::Unchanged,
        }
    }

    /// Why it cannot be read, in words.
    pub(super) fn reason(&self) -> Arc<str> {
        match &self.failing {
            Some(failing) => failing.detail.clone(),
            None => "no look has been answered".into(),
        }
    }
}

/// What is known of a tenant's injection.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct TenantState {
    pub(super) planned_at: Option<Timestamp>,
    pub(super) accepted_at: Option<Timestamp>,
    /// Since when nothing was accepted any more, and why.
    pub(super) refusing: Option<(Timestamp, Arc<str>)>,
    pub(super) missed_count: u64,
    pub(super) missed_at: Option<Timestamp>,
}

impl TenantState {
    pub(super) fn accepted(&mut self, now: Timestamp) {
        self.accepted_at = Some(now);
        self.refusing = None;
    }

    pub(super) fn refused(&mut self, reason: Arc<str>, now: Timestamp) {
        let since = self.refusing.as_ref().map_or(now, |(since, _)| *since);
        self.refusing = Some((since, reason));
    }

    pub(super) fn missed(&mut self, count: u64, now: Timestamp) {
        self.missed_count = self.missed_count.saturating_add(count);
        self.missed_at = Some(now);
    }
}
