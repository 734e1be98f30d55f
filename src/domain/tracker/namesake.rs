//! Another process that sends canaries under this instance's name.
//!
//! A process that replaces another one runs beside it for a while, as in a rolling deployment: the old one is
//! stopped once the new one is healthy. Both send the same slots then, which is no fault. Two that stay are:
//! each takes the other's canaries for its own.

use std::time::Duration;

use super::{Event, Tracker};
use crate::domain::sighting::Sighting;
use crate::domain::tag::{InstanceCode, Purpose};
use crate::domain::time::Timestamp;
use crate::domain::topology::StageId;

/// How many intervals without a canary of the other process show that it is not there.
pub(super) const MISSED_INTERVALS: u32 = 3;

/// How much later than ours the copy of another process may come: the time that a put can take with its retries, and
/// some for how unequally two copies travel.
pub const COPY_COMES_WITHIN: Duration = Duration::from_secs(30);

/// The presence of another process of this name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Namesake {
    /// For when its first canary was planned.
    pub since: Timestamp,
    /// For when its last canary was planned.
    pub last: Timestamp,
}

impl Tracker {
    /// Notes a canary that another process sent under this instance's name while this one was running.
    pub(super) fn check_name(&mut self, stage: StageId, sighting: &Sighting, events: &mut Vec<Event>) {
        let (tag, ours) = (&sighting.tag, self.settings.instance);
        let planned_at = tag.trace.planned_at();
        let other_run = tag.instance != ours && tag.instance.has_same_name_bits(ours);
        if tag.purpose() != Purpose::Probe || !other_run {
            return;
        }
        let seen = Namesake { since: planned_at, last: planned_at };
        let run = self.other_runs.entry(tag.instance).or_insert(seen);
        *run = Namesake { since: run.since.min(planned_at), last: run.last.max(planned_at) };
        if planned_at < self.began {
            return;
        }
        let gap = self.settings.handover.max(self.missed_intervals());
        let stayed = self.namesake().is_some();
        let before = self.namesake.filter(|known| planned_at.since(known.last) <= gap);
        let Namesake { since, last } = before.unwrap_or(Namesake { since: planned_at, last: planned_at });
        self.namesake = Some(Namesake { since: since.min(planned_at), last: last.max(planned_at) });
        if !stayed && self.namesake().is_some() {
            events.push(Event::SameName { stage, trace: tag.trace });
        }
    }

    /// Whether a process of this name began before this one: it sent our first slots too. One that replaces this one
    /// did not.
    pub(super) fn is_predecessor(&self, sender: InstanceCode) -> bool {
        sender.has_same_name_bits(self.settings.instance)
            && self.other_runs.get(&sender).is_none_or(|run| self.began_before(run))
    }

    /// Whether a process of this name that began before this one was seen to run beside it, and may have sent what
    /// was planned for then.
    pub(super) fn has_predecessor(&self, then: Timestamp) -> bool {
        let may_send = |run: &Namesake| run.last >= self.began && then <= run.last + self.missed_intervals();
        self.other_runs.values().any(|run| may_send(run) && self.began_before(run))
    }

    fn began_before(&self, run: &Namesake) -> bool {
        run.since < self.began + self.missed_intervals()
    }

    /// So long without a canary of another process that it has stopped, or has not begun.
    pub(super) fn missed_intervals(&self) -> Duration {
        let longest = self.topology.tenants().iter().map(|tenant| tenant.interval).max();
        longest.unwrap_or_default() * MISSED_INTERVALS
    }

    /// Another process of this name, if it has stayed for longer than one that replaces another.
    pub(super) fn namesake(&self) -> Option<Namesake> {
        self.namesake.filter(|known| known.last.since(known.since) >= self.settings.handover)
    }
}
