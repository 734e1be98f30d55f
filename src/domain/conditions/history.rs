//! The remembered canaries of one tenant, in the order of their planned injection.

use std::time::Duration;

use super::condition::{Condition, Detail};
use super::criteria::{Criteria, Limits};
use super::name::{ConditionName, Subject};
use super::severity::Severity;
use crate::domain::tag::TraceId;
use crate::domain::time::Timestamp;
use crate::domain::topology::{LogGroupId, StageId, TenantId};
use crate::domain::trace::Trace;
use crate::domain::tracker::{Snapshot, SourceView};

/// Fewest affected canaries in a row that are a problem whatever their ratio.
const IN_A_ROW: usize = 3;

#[derive(Clone, Copy, Debug)]
pub(super) struct Canary<'a> {
    pub(super) trace: &'a Trace,
    /// Whether more may be learned about it.
    pub(super) open: bool,
}

/// The remembered canaries of one tenant, oldest first.
#[derive(Debug)]
pub(super) struct History<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) tenant: TenantId,
    pub(super) canaries: Vec<Canary<'a>>,
    /// The beginning of the window.
    pub(super) from: Timestamp,
    /// Time between two canaries.
    pub(super) interval: Duration,
    /// Since when every canary is remembered. Of an earlier time, only those may be with which something is wrong, and a
    /// ratio would be too bad.
    complete_since: Timestamp,
}

/// What one canary says about a condition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Sample {
    Good,
    Affected,
    /// It will be one of the two.
    Pending,
}

/// A condition that canaries show.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Found {
    /// Otherwise it is a note.
    pub(super) is_problem: bool,
    /// Affected canaries in the window.
    pub(super) canaries: Vec<TraceId>,
    /// Judged canaries in the window.
    pub(super) of: usize,
    /// When the first affected canary of the unbroken episode was planned.
    pub(super) since: Timestamp,
    /// When the last one was.
    pub(super) last: Timestamp,
}

impl<'a> History<'a> {
    /// One for each tenant, in the order of the topology.
    pub(super) fn of_all(snapshot: &'a Snapshot, criteria: &Criteria) -> Vec<Self> {
        let empty = |tenant| {
            let interval = snapshot.topology.tenant(tenant).interval;
            let from = snapshot.at - criteria.window(interval);
            Self { snapshot, tenant, canaries: Vec::new(), from, interval, complete_since: Timestamp::MIN }
        };
        let mut all: Vec<_> = snapshot.topology.tenant_ids().map(empty).collect();
        let finished = snapshot.finished.iter().map(|trace| Canary { trace, open: false });
        let open = snapshot.open.iter().map(|trace| Canary { trace, open: true });
        let mut place = vec![None; snapshot.topology.tenants().len()];
        for (at, history) in all.iter().enumerate() {
            place[usize::from(history.tenant.0)] = Some(at);
        }
        for canary in finished.chain(open) {
            // Nothing is said of a tenant that is gone.
            if let Some(at) = place[usize::from(canary.trace.tenant.0)] {
                all[at].canaries.push(canary);
            }
        }
        for history in &mut all {
            history.canaries.sort_by_key(|canary| (canary.trace.planned_at, canary.trace.id()));
            history.complete_since = history.oldest_complete();
            history.from = history.from.max(history.complete_since);
        }
        all
    }

    /// Those of one log group, into which the tenant's canaries are put in turn.
    pub(super) fn of(&self, group: LogGroupId, criteria: &Criteria) -> Self {
        let count = self.snapshot.topology.log_group_ids(self.tenant).count();
        let interval = self.interval * u32::try_from(count).unwrap_or(u32::MAX);
        let of_it = |canary: &&Canary<'a>| canary.trace.log_group == Some(group);
        Self {
            canaries: self.canaries.iter().filter(of_it).copied().collect(),
            from: self.complete_since.max(self.snapshot.at - criteria.window(interval)),
            interval,
            ..*self
        }
    }

    fn oldest_complete(&self) -> Timestamp {
        let of_all = self.snapshot.complete_since.unwrap_or(Timestamp::MIN);
        // The newest of a tenant are remembered in any case.
        let Some(last) = self.snapshot.remember_of_tenant.checked_sub(1) else { return of_all };
        let newest = self.canaries.iter().rev().filter(|canary| !canary.open);
        let of_tenant = newest.map(|canary| canary.trace.planned_at).nth(last);
        of_all.min(of_tenant.unwrap_or(Timestamp::MIN))
    }

    /// The canaries that were planned within the window.
    pub(super) fn recent(&self) -> &[Canary<'a>] {
        self.since(self.from)
    }

    /// The canaries that were planned at this time or later.
    pub(super) fn since(&self, from: Timestamp) -> &[Canary<'a>] {
        &self.canaries[self.canaries.partition_point(|canary| canary.trace.planned_at < from)..]
    }

    /// Judges a condition by what each canary of the window says about it; `None` says nothing.
    ///
    /// It is over once as many good canaries followed the last affected one as would be unlikely if it went
    /// on. Canaries that are not judged yet count as neither, and end the row of good ones: while some
    /// canaries do not arrive, those that do are known first.
    pub(super) fn judge(
        &self,
        limits: Limits,
        sample: impl Fn(&Canary<'_>) -> Option<Sample>,
    ) -> Option<Found> {
        self.judge_since(self.from, limits, sample)
    }

    /// The same, with canaries that may be older than the window.
    pub(super) fn judge_since(
        &self,
        from: Timestamp,
        limits: Limits,
        sample: impl Fn(&Canary<'_>) -> Option<Sample>,
    ) -> Option<Found> {
        let recent = self.since(from.max(self.complete_since));
        let samples: Vec<_> = recent.iter().map(&sample).collect();
        let count = |wanted: Sample| samples.iter().filter(|is| **is == Some(wanted)).count();
        let affected = count(Sample::Affected);
        let last = samples.iter().rposition(|is| *is == Some(Sample::Affected))?;
        let of = affected + count(Sample::Good);
        let at = self.canaries.len() - recent.len() + last;
        let (first, in_episode) = self.episode(at, patience(affected, of), &sample);
        let after = samples[last + 1..].iter().take_while(|is| **is != Some(Sample::Pending));
        let good_after = after.filter(|is| is.is_some()).count();
        let ended = good_after >= patience(in_episode.0, in_episode.1);
        let judged = samples.iter().rev().filter(|is| matches!(is, Some(Sample::Good | Sample::Affected)));
        let in_a_row = judged.take_while(|is| **is == Some(Sample::Affected)).count();
        let reached =
            limits.problem.is_reached(affected, of) || limits.problem.is_reached_in_a_row(in_a_row, IN_A_ROW);
        let is_problem = reached && !ended;
        (is_problem || limits.note.is_reached(affected, of)).then(|| Found {
            is_problem,
            canaries: affected_ids(recent.iter().zip(&samples)),
            of,
            since: self.canaries[first].trace.planned_at,
            last: recent[last].trace.planned_at,
        })
    }

    /// The index of the first affected canary of the episode that ends with the affected one at `last`, and
    /// how many of its canaries are affected, of how many. It also looks back further than the window: the
    /// beginning of an episode does not move.
    pub(super) fn episode(
        &self,
        last: usize,
        patience: usize,
        sample: impl Fn(&Canary<'_>) -> Option<Sample>,
    ) -> (usize, (usize, usize)) {
        let (mut first, mut affected, mut of, mut good) = (last, 1, 1, 0);
        for (index, canary) in self.canaries[..last].iter().enumerate().rev() {
            match sample(canary) {
                Some(Sample::Affected) => {
                    (first, affected, of, good) = (index, affected + 1, of + good + 1, 0);
                }
                Some(Sample::Good) if good + 1 >= patience => break,
                Some(Sample::Good) => good += 1,
                Some(Sample::Pending) | None => {}
            }
        }
        (first, (affected, of))
    }

    /// Whether a canary of this tenant was ever found at a stage.
    pub(super) fn has_seen(&self, stage: StageId) -> bool {
        self.view(stage).seen.contains_key(&self.tenant)
    }

    /// Whether a stage cannot be read for this tenant.
    pub(super) fn is_blind(&self, stage: StageId) -> bool {
        self.view(stage).blind_for(self.tenant).is_some()
    }

    fn view(&self, stage: StageId) -> &'a SourceView {
        let source = self.snapshot.topology.source_of(self.tenant, stage);
        &self.snapshot.sources[source.0 as usize]
    }
}

impl Found {
    /// The condition of this name; how bad it is depends on the place.
    pub(super) fn condition(
        self,
        name: ConditionName,
        history: &History<'_>,
        subject: Subject,
        detail: Detail,
    ) -> Condition {
        let severity = match self.is_problem {
            true => name.severity(&history.snapshot.topology, subject.place),
            false => Severity::Note,
        };
        Condition {
            last: Some(self.last),
            affected: Some(self.canaries.len()),
            canaries: self.canaries,
            of: Some(self.of),
            ..Condition::fault(name, subject, severity, Some(self.since), detail)
        }
    }
}

fn affected_ids<'a>(samples: impl Iterator<Item = (&'a Canary<'a>, &'a Option<Sample>)>) -> Vec<TraceId> {
    samples.filter(|(_, is)| **is == Some(Sample::Affected)).map(|(canary, _)| canary.trace.id()).collect()
}

/// How many good canaries in a row end a condition that affects `affected` of `of`: two if it affects all,
/// and otherwise as many as would occur by chance in 5 % of cases if it went on (the rule of three).
fn patience(affected: usize, of: usize) -> usize {
    (3 * of).div_ceil(affected.max(1)) - 1
}

/// The median; `None` for an empty list.
pub(super) fn median(mut durations: Vec<Duration>) -> Option<Duration> {
    durations.sort_unstable();
    durations.get(durations.len() / 2).copied()
}
