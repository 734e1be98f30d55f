//! The instants soon after which a poll of a source proves something about a trace that waits there.

use std::time::Duration;

use super::shared_list::{Keyed, SharedList};
use super::sighting::WantedTrace;
use super::tag::TraceId;
use super::time::Timestamp;

/// When one trace that waits at a source passes the target of the hop into its stage.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HopDue {
    /// When it passes the target.
    pub at: Timestamp,
    /// Which trace.
    pub trace: TraceId,
}

impl Keyed for HopDue {
    type Key = (Timestamp, TraceId);

    fn key(&self) -> Self::Key {
        (self.at, self.trace)
    }
}

/// Thresholds and deadlines of the traces that wait at a source: a poll soon after one of them proves something.
///
/// Most follow from when a trace was planned, and are not written down one by one.
#[derive(Clone, Debug, Default)]
pub struct Checkpoints {
    /// Everything before this is proven.
    pub(super) proven: Option<Timestamp>,
    /// Each of these traces has one this long after it was planned.
    pub(super) after_planned: [Option<Duration>; 2],
    /// In the order in which they were planned.
    pub(super) waiting: SharedList<WantedTrace>,
    /// Those of single traces.
    pub(super) hops: SharedList<HopDue>,
}

impl Checkpoints {
    /// The first one that is not proven by a poll that proved everything before `covered`.
    #[must_use]
    pub fn next(&self, covered: Option<Timestamp>) -> Option<Timestamp> {
        let proven = covered.max(self.proven).unwrap_or(Timestamp::MIN);
        let hop = self.hops.first_not(|due| due.at < proven).map(|due| due.at);
        let of_all = self.after_planned.iter().flatten().filter_map(|after| {
            let trace = self.waiting.first_not(|trace| trace.planned_at + *after < proven)?;
            Some(trace.planned_at + *after)
        });
        of_all.chain(hop).min()
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = Timestamp> {
        let next = |after: &Timestamp| self.next(Some(*after + Duration::from_micros(1)));
        std::iter::successors(self.next(None), next)
    }
}

impl From<Vec<Timestamp>> for Checkpoints {
    fn from(mut at: Vec<Timestamp>) -> Self {
        at.sort_unstable();
        let due = (0..).zip(at).map(|(trace, at)| HopDue { at, trace: TraceId::from_u128(trace) });
        Self { hops: due.collect(), ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::tag::{InstanceCode, Purpose, Tag, TenantCode};

    fn t(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    fn waiting(planned: impl IntoIterator<Item = i64>) -> SharedList<WantedTrace> {
        let trace = |secs| {
            let id = TraceId::new(t(secs), [1; 10]);
            let tag = Tag::new(id, TenantCode::of("a"), InstanceCode::of("b"), 100, Purpose::Probe);
            WantedTrace { tag, planned_at: t(secs) }
        };
        planned.into_iter().map(trace).collect()
    }

    #[test]
    fn they_come_in_order_whatever_they_follow_from_and_each_once() {
        let checkpoints = Checkpoints {
            proven: Some(t(115)),
            after_planned: [Some(Duration::from_secs(10)), Some(Duration::from_secs(60))],
            waiting: waiting([100, 110, 120]),
            ..Checkpoints::from(vec![t(125), t(114), t(130)])
        };
        assert_eq!(checkpoints.iter().collect::<Vec<_>>(), [120, 125, 130, 160, 170, 180].map(t));
        assert_eq!(checkpoints.next(Some(t(125))), Some(t(125)), "what came before it is proven, it is not");
        assert_eq!(checkpoints.next(Some(t(181))), None);
    }
}
