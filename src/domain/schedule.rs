//! When canaries are injected: an open-loop schedule with jitter.
//!
//! The schedule waits for nothing. The instant of a canary depends only on its slot, so a slow put cannot
//! hide a stall by sending fewer canaries into it (coordinated omission). A canary that cannot be sent in
//! time is counted as missed, never sent late in a burst.

use std::time::Duration;

use super::plan::{Plan, Slot};
use super::time::Timestamp;

/// However short the interval, a canary may be sent so late.
const LEAST_TOLERANCE: Duration = Duration::from_secs(1);

/// The schedule of one tenant in one process: the slots of the tenant's plan from the start on.
#[derive(Clone, Debug)]
pub struct Schedule {
    plan: Plan,
    /// How late a canary may be sent; its planned time stays the same.
    tolerance: Duration,
    next: Slot,
}

/// What [`Schedule::take_due`] returns.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Due {
    /// The canaries to send now, in order.
    pub planned: Vec<Slot>,
    /// Canaries that were due too long ago to be sent.
    pub missed: u64,
}

impl Schedule {
    /// A schedule that begins at `start`. What was due before belongs to another process.
    ///
    /// `tolerance` is capped at the interval, or at one second if that is longer: a process that is not scheduled
    /// for some hundred milliseconds has no less to say about a pipeline that takes a canary every ten.
    #[must_use]
    pub fn new(plan: Plan, start: Timestamp, tolerance: Duration) -> Self {
        let tolerance = tolerance.min(plan.interval().max(LEAST_TOLERANCE));
        Self { tolerance, next: plan.first_from(start), plan }
    }

    /// When the next canary is due.
    #[must_use]
    pub fn next_at(&self) -> Timestamp {
        self.next.planned_at
    }

    /// Takes what is due at `now`.
    pub fn take_due(&mut self, now: Timestamp) -> Due {
        let mut due = Due::default();
        // After a long pause, whole intervals are counted in one step.
        let first_in_reach = self.plan.number_at(now - self.tolerance).saturating_sub(1);
        if first_in_reach > self.next.number {
            due.missed = first_in_reach - self.next.number;
            self.next = self.plan.slot(first_in_reach);
        }
        while self.next_at() <= now {
            if self.next_at() + self.tolerance >= now {
                due.planned.push(self.next);
            } else {
                due.missed += 1;
            }
            self.next = self.plan.slot(self.next.number + 1);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::tag::{TagKey, TenantCode};
    use proptest::prelude::*;

    const INTERVAL: Duration = Duration::from_secs(30);
    const TOLERANCE: Duration = Duration::from_secs(2);

    fn t(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    fn schedule(start: Timestamp, interval: Duration) -> Schedule {
        let key = TagKey::new("0123456789abcdef").unwrap();
        Schedule::new(Plan::new(key, TenantCode::of("acme"), interval), start, TOLERANCE)
    }

    #[test]
    fn a_stopped_process_misses_canaries_and_sends_no_burst() {
        let mut schedule = schedule(t(0), INTERVAL);
        assert_eq!(schedule.take_due(schedule.next_at()).planned.len(), 1);
        let after_two_minutes = schedule.take_due(schedule.next_at() + Duration::from_secs(125));
        assert!(after_two_minutes.planned.len() <= 1, "{after_two_minutes:?}");
        assert!(after_two_minutes.missed >= 4, "{after_two_minutes:?}");
    }

    #[test]
    fn a_pause_of_some_hundred_milliseconds_misses_nothing_at_a_short_interval() {
        let mut schedule = schedule(t(0), Duration::from_millis(10));
        let due = schedule.take_due(t(0) + Duration::from_millis(700));
        assert_eq!(due.missed, 0);
        assert!((69..=71).contains(&due.planned.len()), "{}", due.planned.len());
    }

    #[test]
    fn a_year_of_missed_canaries_is_counted_in_one_step() {
        let mut schedule = schedule(t(0), Duration::from_millis(1));
        let due = schedule.take_due(t(365 * 86_400));
        assert!(due.missed > 31_000_000_000);
    }

    #[test]
    fn a_successor_goes_on_where_its_predecessor_stopped() {
        let mut old = schedule(t(1_000), INTERVAL);
        let until = t(10_000);
        let mut slots = Vec::new();
        while old.next_at() < until {
            slots.extend(old.take_due(old.next_at()).planned);
        }
        let mut new = schedule(until, INTERVAL);
        let next = new.take_due(new.next_at()).planned[0];
        assert_eq!(next.number, slots.last().unwrap().number + 1);
        assert_eq!(next, old.take_due(old.next_at()).planned[0]);
    }

    proptest! {
        #[test]
        fn every_canary_is_planned_or_missed_once(
            start in 0_i64..1_000, interval_ms in 1_u64..100_000,
            waits in prop::collection::vec(0_u64..400_000, 1..60),
        ) {
            let interval = Duration::from_millis(interval_ms);
            let mut schedule = schedule(t(start), interval);
            let first = schedule.next.number;
            let mut now = t(start);
            let (mut planned, mut missed) = (Vec::new(), 0);
            for wait in waits {
                now = now + Duration::from_millis(wait);
                let due = schedule.take_due(now);
                missed += due.missed;
                for slot in &due.planned {
                    let late = now.since(slot.planned_at);
                    prop_assert!(slot.planned_at <= now && late <= TOLERANCE.min(interval.max(LEAST_TOLERANCE)) + Duration::from_millis(1));
                    prop_assert!(slot.planned_at >= t(start));
                }
                planned.extend(due.planned);
            }
            prop_assert_eq!(schedule.next.number - first, planned.len() as u64 + missed);
            let is_later = |pair: &[Slot]| {
                pair[0].number < pair[1].number && pair[0].planned_at <= pair[1].planned_at
            };
            prop_assert!(planned.windows(2).all(is_later));
            prop_assert!(schedule.next_at() > now);
        }
    }
}
