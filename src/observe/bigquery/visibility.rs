//! Whether BigQuery hides rows from the probe, or changes what stands in them.
//!
//! Where a row access policy leaves the probe out, a query answers with no rows and no error, which looks as
//! if nothing had arrived. Only the statistics of a job show it. They say that a policy applied, not what it
//! hid: a probe that was granted all rows (a policy with the filter TRUE) gets the same statistics. So while
//! there is a policy on the table, the rows of a waiting tenant count as not read as long as none of its
//! canaries is found; if that is so for every waiting tenant, the stage is blind. Masking is said only where
//! it changed a value that the query read.
//!
//! A poll without statistics may be the first one under a new policy. What was seen before and is still
//! queried then vanishes, so a poll that does not find it proves no absence, and the next one reads the
//! statistics.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use super::batch::Batch;
use super::sql::MARGIN;
use crate::cloud::failure::Failure;
use crate::domain::format::{Shape, Unreadable, UnreadableReason};
use crate::domain::sighting::{FailureKind, RecordOwner, Sighting, UnreadableRecord};
use crate::domain::tag::{Tag, TraceId};
use crate::domain::time::Timestamp;
use crate::observe::ObserveError;

/// How often the statistics of a job are read at most.
const CHECK_EVERY: Duration = Duration::from_mins(1);

/// How often they are read while everything is found. A masked tenant column hides no row.
const CHECK_ANYWAY: Duration = Duration::from_mins(10);

/// What applied to a query.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Applied {
    /// Rows of the table are protected by row access policies.
    pub(super) row_policy: bool,
    /// A column that the query reads was masked.
    pub(super) masking: bool,
}

/// Failures in a row to read statistics after which they count as never readable.
const MAX_FAILURES: u32 = 20;

/// What is known of it at one table.
#[derive(Debug, Default)]
pub(super) struct Visibility {
    applied: Applied,
    checked_at: Option<Timestamp>,
    /// The last poll left a tenant without any of its canaries.
    is_doubtful: bool,
    /// Tenants, by their digits in tags, whose canaries are visible, each with the trace that showed it last.
    visible: HashMap<String, TraceId>,
    /// Tenants whose rows were said to be hidden.
    hidden: HashSet<String>,
    /// What was seen before is not found any more, and no statistics were read since.
    has_vanished: bool,
    /// How often they could not be read since.
    failures: u32,
    /// Statistics may not be read; that was said.
    is_denied: bool,
}

impl Visibility {
    /// Whether the next query must be a job, so that its statistics can be read: at first, where the last
    /// poll found nothing of what a tenant waits for, and at once where rows vanished.
    pub(super) fn needs_job(&self, now: Timestamp) -> bool {
        if self.has_vanished {
            return true;
        }
        let is_suspicious = self.is_doubtful || self.applied != Applied::default();
        let every = if is_suspicious { CHECK_EVERY } else { CHECK_ANYWAY };
        self.checked_at.is_none_or(|checked| now.since(checked) >= every)
    }

    /// Takes what a batch found.
    ///
    /// If the trace that showed a tenant's rows is not found any more, they are no longer taken for visible:
    /// a grant may have been withdrawn.
    pub(super) fn take_sightings(&mut self, batch: &Batch, sightings: &[Sighting]) {
        let found: HashSet<TraceId> = sightings.iter().map(|sighting| sighting.tag.trace).collect();
        // Older ones may be outside the bounds on time.
        for trace in batch.traces.iter().filter(|trace| trace.planned_at >= batch.since - MARGIN) {
            let tenant = trace.tag.tenant_digits();
            if self.visible.get(&tenant) == Some(&trace.tag.trace) && !found.contains(&trace.tag.trace) {
                self.visible.remove(&tenant);
                self.has_vanished = true;
            }
        }
        // The newest one stays in queries longest.
        let mut newest: Vec<&Tag> = sightings.iter().map(|sighting| &sighting.tag).collect();
        newest.sort_by_key(|tag| tag.trace);
        for tag in newest {
            self.visible.insert(tag.tenant_digits(), tag.trace);
        }
    }

    /// Takes what the statistics of a job said. `found` are the sightings of the same poll: what was visible
    /// before a policy is not evidence under it.
    pub(super) fn take_statistics(&mut self, now: Timestamp, applied: Applied, found: &[Sighting]) {
        if applied.row_policy && !self.applied.row_policy {
            let under_policy: HashSet<TraceId> = found.iter().map(|sighting| sighting.tag.trace).collect();
            self.visible.retain(|_, trace| under_policy.contains(trace));
        }
        self.applied = applied;
        self.checked_at = Some(now);
        // Without a policy they were deleted; with one, `judge` says what is hidden.
        (self.has_vanished, self.failures) = (false, 0);
    }

    /// Takes that the statistics could not be read. Returns whether that must be said: once, where it will
    /// not change by itself.
    pub(super) fn take_failure(&mut self, now: Timestamp, failure: &Failure) -> bool {
        self.checked_at = Some(now);
        // Where statistics can never be read, rows that are deleted must not keep polls from proving absence.
        self.failures = if self.has_vanished { self.failures + 1 } else { 0 };
        let is_final = matches!(failure.kind, FailureKind::Denied | FailureKind::NotFound);
        if is_final || self.failures >= MAX_FAILURES {
            (self.has_vanished, self.failures) = (false, 0);
        }
        let is_denied = failure.kind == FailureKind::Denied;
        is_denied && !std::mem::replace(&mut self.is_denied, is_denied)
    }

    /// Whether rows may be hidden by a policy that is not known yet. What a poll did not find is then not
    /// absent.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.has_vanished
    }

    /// Whether what the probe reads is masked.
    pub(super) fn is_masked(&self) -> bool {
        self.applied.masking
    }

    /// What a poll that began at `now` may not have found because it is hidden: the rows of these tenants.
    /// Fails if that is so for every tenant.
    pub(super) fn judge(
        &mut self,
        name: &str,
        batches: &[Batch],
        found: &[Sighting],
        now: Timestamp,
    ) -> Result<Vec<UnreadableRecord>, ObserveError> {
        let found: HashSet<String> = found.iter().map(|sighting| sighting.tag.tenant_digits()).collect();
        let traces = batches.iter().flat_map(Batch::waiting_traces);
        let waiting: BTreeMap<String, Tag> =
            traces.map(|trace| (trace.tag.tenant_digits(), trace.tag)).collect();
        self.is_doubtful = waiting.keys().any(|tenant| !found.contains(tenant));
        if self.applied.masking {
            let text = format!(
                "a data policy masks a column of `{name}` that the probe reads: grant its principal the role Fine-Grained \
                 Reader for the policy tags of the configured columns, or leave those columns out"
            );
            return Err(ObserveError::new(FailureKind::Denied, text));
        }
        let is_hidden = |tenant: &String| self.applied.row_policy && !self.visible.contains_key(tenant);
        let hidden: Vec<_> = waiting.iter().filter(|(tenant, _)| is_hidden(tenant)).collect();
        let text = || {
            format!(
                "a row access policy hides rows of `{name}` from the probe's principal: grant it all rows (CREATE ROW ACCESS \
                 POLICY … GRANT TO (…) FILTER USING (TRUE)); if it has that grant, the first canary that is found ends this"
            )
        };
        if !hidden.is_empty() && hidden.len() == waiting.len() {
            return Err(ObserveError::new(FailureKind::Denied, text()));
        }
        let record = |(tenant, tag): (&String, &Tag)| UnreadableRecord {
            arrived_by: now,
            part: Unreadable { shape: Shape::NONE, reason: UnreadableReason::Hidden },
            // How many rows are hidden is unknown, so that is counted once.
            count: u64::from(self.hidden.insert(tenant.clone())),
            owner: Some(RecordOwner::Tag(*tag)),
            text: text().into(),
        };
        Ok(hidden.into_iter().map(record).collect())
    }
}
