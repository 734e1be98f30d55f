//! What others may read of the tracker: its state at one instant.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{BlindTenant, Failing, LeakEpisode, LogGroupState, Namesake, Tracker};
use crate::domain::drill::Drills;
use crate::domain::foreign::ForeignText;
use crate::domain::incidents::Episode;
use crate::domain::schema::Fingerprint;
use crate::domain::sighting::{Decoding, Drift, Locator};
use crate::domain::tag::TraceId;
use crate::domain::time::{Interval, OwnClock, Timestamp};
use crate::domain::topology::{SourceId, StageId, TenantId, Topology};
use crate::domain::trace::Trace;

/// The state at one instant. Cheap to make and to share, because traces are not copied.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// When it was taken.
    pub at: Timestamp,
    /// What the ids refer to.
    pub topology: Arc<Topology>,
    /// Open traces, oldest first: in flight, or with an outcome while a side stage is still open.
    pub open: Vec<Arc<Trace>>,
    /// Finished traces, oldest first: the newest of all, and the newest and the last failures of each tenant.
    pub finished: Vec<Arc<Trace>>,
    /// `finished` holds every finished trace planned at or after this instant, but only failures and the
    /// newest of each tenant from before it. `None` while nothing has finished.
    pub complete_since: Option<Timestamp>,
    /// How many finished traces of each tenant are remembered in any case.
    pub remember_of_tenant: usize,
    /// Each source, by [`SourceId`]; those that are not read any more are among them.
    pub sources: Vec<SourceView>,
    /// Each tenant, by [`TenantId`]; those that are gone are among them.
    pub tenants: Vec<TenantView>,
    /// The last isolation violations, oldest first.
    pub violations: Vec<Violation>,
    /// The last episode of leaks of each tenant and stage.
    pub leaks: Vec<LeakEpisode>,
    /// The last report on the host's clock; `None` if the platform reports nothing.
    pub clock: Option<OwnClock>,
    /// The time in which canaries were planned that have no outcome if a previous run was killed: no store kept
    /// what it had in flight. `None` if a store does.
    pub forgotten: Option<Interval>,
    /// Another process that sends canaries under this instance's name and stays.
    pub namesake: Option<Namesake>,
    /// Since when and why traces are kept in memory only, although a store is configured. The tracker does
    /// not know it; whoever publishes the snapshot adds it.
    pub not_stored: Option<(Timestamp, ForeignText)>,
    /// Polls that a budget holds back. The tracker does not know it either.
    pub over_budget: Option<HeldBack>,
    /// Since when and why the configuration that was read last is not in force. The tracker does not know it either.
    pub reload_failed: Option<(Timestamp, ForeignText)>,
    /// What is known of drills; `None` if there are none. The tracker does not know it either.
    pub drills: Option<Drills>,
    /// The episodes of conditions, open and ended. The tracker does not know them either.
    pub episodes: Arc<[Arc<Episode>]>,
}

/// Polls that the budgets of the configuration hold back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldBack {
    /// When the first of an unbroken series was.
    pub since: Timestamp,
    /// What was taken, and what is allowed.
    pub text: ForeignText,
    /// Whether polls are left out, and not only late for some seconds.
    pub leaves_out: bool,
}

/// The state of a source.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceView {
    pub source: SourceId,
    /// How many traces wait here.
    pub waiting: usize,
    /// Everything that arrived before this has been read.
    pub watermark: Option<Timestamp>,
    /// When it last answered.
    pub last_answer: Option<Timestamp>,
    /// Since when it has been blind for every tenant; `None` while it is visible.
    pub blind_since: Option<Timestamp>,
    /// Set while recent polls have failed or were incomplete.
    pub failing: Option<Failing>,
    /// How far behind the newest record the last poll ended, if the stage reports it.
    pub behind: Option<Duration>,
    /// What is in the queue; `None` if the stage is none, or was not read yet.
    pub queue: Option<Queue>,
    /// What the poll in progress has been decoding for long.
    pub decoding: Option<Decoding>,
    /// How its schema differs from the expected one; `None` if it was not read yet, or there is none.
    pub drifted: Option<Drifted>,
    /// The tenants whose canaries were found here, and when the first one was.
    pub seen: BTreeMap<TenantId, Timestamp>,
    /// The tenants for whom it is blind because their canaries may be in records that could not be read.
    pub blind_tenants: BTreeMap<TenantId, BlindTenant>,
}

impl Snapshot {
    /// All traces of a tenant that are known, oldest first within the finished and within the open ones.
    pub fn traces_of(&self, tenant: TenantId) -> impl Iterator<Item = &Trace> {
        let all = self.finished.iter().chain(&self.open);
        all.map(AsRef::as_ref).filter(move |trace| trace.tenant == tenant)
    }

    /// The sources that are read.
    pub fn read_sources(&self) -> impl Iterator<Item = &SourceView> {
        self.topology.source_ids().filter_map(|id| self.sources.get(id.0 as usize))
    }

    /// The failed traces of a tenant that have finished, oldest first.
    pub fn failures_of(&self, tenant: TenantId) -> impl DoubleEndedIterator<Item = &Trace> {
        let failed = move |trace: &&Trace| trace.tenant == tenant && trace.is_failure();
        self.finished.iter().map(AsRef::as_ref).filter(failed)
    }
}

/// Why a source cannot be read, as text for people.
pub(super) fn why_blind(decoding: Option<&Decoding>, failing: Option<&Failing>) -> ForeignText {
    match (decoding, failing) {
        (Some(decoding), _) => format!("decoding {}", decoding.name).into(),
        (None, Some(failing)) => failing.detail.clone(),
        (None, None) => "no poll has been answered".into(),
    }
}

impl SourceView {
    /// The columns that differ from the expected schema, as far as known.
    #[must_use]
    pub fn drift(&self) -> &[Drift] {
        self.drifted.as_ref().map_or(&[], |drifted| &drifted.changes)
    }

    /// Since when it has been blind for a tenant, and why; `None` while it is visible.
    #[must_use]
    pub fn blind_for(&self, tenant: TenantId) -> Option<(Timestamp, ForeignText)> {
        let unreadable = self.blind_tenants.get(&tenant).map(|blind| (blind.since, blind.reason.clone()));
        let reason = || why_blind(self.decoding.as_ref(), self.failing.as_ref());
        self.blind_since.map(|since| (since, reason())).or(unreadable)
    }

    /// How far the watermark is behind `now`. Zero while no trace waits and the source is not blind, because
    /// an idle source is not polled. Without a watermark it counts from `blind_since`; zero if that is not
    /// set either.
    #[must_use]
    pub fn watermark_age(&self, now: Timestamp) -> Duration {
        match (self.waiting, self.watermark) {
            (0, _) | (_, None) if self.blind_since.is_none() => Duration::ZERO,
            (_, watermark) => now.since(watermark.or(self.blind_since).unwrap_or(now)),
        }
    }
}

/// What is in a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue {
    /// Number of messages.
    pub messages: u64,
    /// Since when it has not been empty; `None` if it was not when it was first read, or is empty.
    pub since: Option<Timestamp>,
}

/// How the schema of a source differs from the expected one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Drifted {
    /// Since when anything differs.
    pub since: Option<Timestamp>,
    /// What differs now; empty if nothing does.
    pub changes: Arc<[Drift]>,
    /// Fingerprint of the actual schema, if the expected one is learned, so that the change can be accepted.
    pub accept: Option<Fingerprint>,
}

/// The state of a tenant's injection.
#[derive(Clone, Debug, PartialEq)]
pub struct TenantView {
    pub tenant: TenantId,
    /// For when the latest canary was planned.
    pub planned_at: Option<Timestamp>,
    /// What each of its log groups answered, by [`LogGroupId`](crate::domain::topology::LogGroupId).
    pub log_groups: Vec<LogGroupState>,
    /// How many canaries were planned but never sent.
    pub missed: u64,
    /// When a canary was last missed.
    pub missed_at: Option<Timestamp>,
}

impl TenantView {
    /// When one of its log groups last accepted a put; `None` before the first time.
    #[must_use]
    pub fn accepted_at(&self) -> Option<Timestamp> {
        self.log_groups.iter().filter_map(|group| group.accepted_at).max()
    }

    /// When and why the log group that has refused puts for longest began to.
    #[must_use]
    pub fn refusing(&self) -> Option<&(Timestamp, ForeignText)> {
        self.log_groups.iter().filter_map(|group| group.refusing.as_ref()).min_by_key(|(since, _)| *since)
    }
}

/// The tenant whose canary leaked.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum LeakedTenant {
    /// A tenant of the topology.
    Known(TenantId),
    /// A tenant that is not in the topology: the code in the canary's tag.
    Unknown(Arc<str>),
}

impl LeakedTenant {
    /// The tenant, if it is configured.
    #[must_use]
    pub const fn known(&self) -> Option<TenantId> {
        match self {
            Self::Known(tenant) => Some(*tenant),
            Self::Unknown(_) => None,
        }
    }

    /// Its name for people: `acme`, or `unknown tenant 1a2b3c4d`.
    #[must_use]
    pub fn name(&self, topology: &Topology) -> Arc<str> {
        match self {
            Self::Known(tenant) => topology.tenant(*tenant).name.clone(),
            Self::Unknown(code) => format!("unknown tenant {code}").into(),
        }
    }
}

impl Violation {
    /// The tenant that it concerns: the canary is the tenant's, or it is an unknown tenant's and was found in
    /// this tenant's data.
    #[must_use]
    pub const fn concerned(&self) -> Option<TenantId> {
        match self.tenant {
            LeakedTenant::Known(of) => Some(of),
            LeakedTenant::Unknown(_) => self.found_with,
        }
    }

    /// Whether this tenant is [concerned](Self::concerned).
    #[must_use]
    pub fn concerns(&self, tenant: TenantId) -> bool {
        self.concerned() == Some(tenant)
    }
}

/// A canary that was found in another tenant's data.
#[derive(Clone, Debug, PartialEq)]
pub struct Violation {
    /// When it was noticed.
    pub at: Timestamp,
    /// The tenant whose canary it is.
    pub tenant: LeakedTenant,
    /// The tenant in whose data it was found, if the source or row belongs to one.
    pub found_with: Option<TenantId>,
    /// The stage at which it was found.
    pub stage: StageId,
    /// The canary's trace id.
    pub trace: TraceId,
    /// The source in which it was found, with the row's tenant label if there is one.
    pub found_in: ForeignText,
    /// Where exactly it is, such as the key of the object and the line.
    pub locator: Locator,
}

impl Tracker {
    /// The state as it is now.
    #[must_use]
    pub fn snapshot(&self, now: Timestamp) -> Snapshot {
        let sources = (0..).map(SourceId).zip(self.sources.iter()).map(|(source, state)| SourceView {
            source,
            waiting: state.waiting.len(),
            watermark: state.watermark,
            last_answer: state.last_answer,
            blind_since: state.blind_since,
            failing: state.failing.clone(),
            behind: state.behind,
            queue: state.queue,
            decoding: state.decoding.clone(),
            drifted: self.schemas.drifted(source).cloned(),
            seen: state.seen.clone(),
            blind_tenants: state.readability.blind().clone(),
        });
        let tenants = (0..).map(TenantId).zip(&self.injections).map(|(tenant, state)| TenantView {
            tenant,
            planned_at: state.planned_at,
            log_groups: state.log_groups.clone(),
            missed: state.missed_count,
            missed_at: state.missed_at,
        });
        Snapshot {
            at: now,
            topology: self.topology.clone(),
            open: self.open.values().cloned().collect(),
            finished: self.finished.iter().cloned().collect(),
            complete_since: self.finished.complete_since(),
            remember_of_tenant: self.settings.remember_of_tenant,
            sources: sources.collect(),
            tenants: tenants.collect(),
            violations: self.leaks.shown().cloned().collect(),
            leaks: self.leaks.episodes().cloned().collect(),
            clock: self.clock,
            forgotten: (!self.settings.is_kept)
                .then(|| Interval { earliest: self.began - self.settings.give_up, latest: self.began }),
            namesake: self.namesake(),
            not_stored: None,
            over_budget: None,
            reload_failed: None,
            drills: None,
            episodes: Arc::default(),
        }
    }
}
