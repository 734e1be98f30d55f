//! When the next canary of each tenant is due, in order.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use super::Lane;
use crate::domain::time::Timestamp;
use crate::domain::topology::TenantId;

/// The instants at which canaries of lanes are due, so that a turn looks only at tenants that have one.
///
/// It is made from the lanes when it is first used, and after every change of them. An entry that is not the instant of
/// its lane any more is dropped when its turn comes.
#[derive(Debug, Default)]
pub struct Agenda {
    due: BinaryHeap<Reverse<(Timestamp, TenantId)>>,
    is_current: bool,
}

impl Agenda {
    /// Notes that lanes were added, removed or replaced.
    pub(super) fn renew(&mut self) {
        self.is_current = false;
    }

    /// Notes when the next canary of a lane is due.
    pub(super) fn add(&mut self, tenant: TenantId, at: Timestamp) {
        self.due.push(Reverse((at, tenant)));
    }

    /// When the first canary is due.
    pub(super) fn next_at(&mut self, lanes: &BTreeMap<TenantId, Lane>) -> Option<Timestamp> {
        if !self.is_current {
            let due = lanes.iter().map(|(tenant, lane)| Reverse((lane.schedule.next_at(), *tenant)));
            self.due = due.collect();
            self.is_current = true;
        }
        while let Some(Reverse((at, tenant))) = self.due.peek() {
            if lanes.get(tenant).is_some_and(|lane| lane.schedule.next_at() == *at) {
                return Some(*at);
            }
            self.due.pop();
        }
        None
    }

    /// Takes a tenant with a canary that is due. It has to be added again.
    pub(super) fn take_due(&mut self, lanes: &BTreeMap<TenantId, Lane>, now: Timestamp) -> Option<TenantId> {
        self.next_at(lanes).filter(|at| *at <= now)?;
        self.due.pop().map(|Reverse((_, tenant))| tenant)
    }
}
