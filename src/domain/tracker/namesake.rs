//! Another process that sends canaries under this instance's name.
//!
//! A process that replaces another one runs beside it for a while, as in a rolling deployment: the old one is
//! stopped once the new one is healthy. Both send the same slots then, which is no fault. Two that stay are:
//! each takes the other's canaries for its own.

use super::{Event, Tracker};
use crate::domain::sighting::Sighting;
use crate::domain::tag::Purpose;
use crate::domain::time::Timestamp;
use crate::domain::topology::StageId;

/// How many intervals without a canary of the other process end its presence.
const MISSED_INTERVALS: u32 = 3;

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
        if tag.purpose() != Purpose::Probe || !other_run || planned_at < self.began {
            return;
        }
        let longest = self.topology.tenants().iter().map(|tenant| tenant.interval).max().unwrap_or_default();
        let gap = self.settings.handover.max(longest * MISSED_INTERVALS);
        let stayed = self.namesake().is_some();
        let before = self.namesake.filter(|known| planned_at.since(known.last) <= gap);
        let Namesake { since, last } = before.unwrap_or(Namesake { since: planned_at, last: planned_at });
        self.namesake = Some(Namesake { since: since.min(planned_at), last: last.max(planned_at) });
        if !stayed && self.namesake().is_some() {
            events.push(Event::SameName { stage, trace: tag.trace });
        }
    }

    /// Another process of this name, if it has stayed for longer than one that replaces another.
    pub(super) fn namesake(&self) -> Option<Namesake> {
        self.namesake.filter(|known| known.last.since(known.since) >= self.settings.handover)
    }
}
