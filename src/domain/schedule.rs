//! When canaries are injected: an open-loop schedule with jitter.
//!
//! The schedule waits for nothing. The instant of a canary depends only on its number, so a slow put cannot
//! hide a stall by sending fewer canaries into it (coordinated omission). A canary that cannot be sent in
//! time is counted as missed, never sent late in a burst.

use std::time::Duration;

use super::time::Timestamp;

/// The schedule of one tenant.
#[derive(Clone, Debug)]
pub struct Schedule {
    interval: Duration,
    /// How late a canary may be sent; its planned time stays the same.
    tolerance: Duration,
    start: Timestamp,
    next: u64,
    seed: u64,
}

/// What [`Schedule::take_due`] returns.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Due {
    /// Number and planned instant, in whole milliseconds, of each canary to send now, in order.
    pub planned: Vec<(u64, Timestamp)>,
    /// Canaries that were due too long ago to be sent.
    pub missed: u64,
}

impl Schedule {
    /// A schedule that begins at `start`. Canary *k* is due within the *k*th interval. Where in it depends on
    /// `seed`, so that tenants do not send in lockstep, and on *k*, so that a pipeline that works in periods
    /// is not always met at the same point. Two canaries are at least three quarters of an interval apart, three
    /// at most two and a quarter: the first two of a stall decide how soon it is told.
    ///
    /// `tolerance` is capped at the interval.
    #[must_use]
    pub fn new(start: Timestamp, interval: Duration, tolerance: Duration, seed: u64) -> Self {
        let interval = interval.max(Duration::from_millis(1));
        Self { interval, tolerance: tolerance.min(interval), start, next: 0, seed }
    }

    /// When the next canary is due.
    #[must_use]
    pub fn next_at(&self) -> Timestamp {
        self.at(self.next)
    }

    /// Takes what is due at `now`.
    pub fn take_due(&mut self, now: Timestamp) -> Due {
        let mut due = Due::default();
        // After a long pause, whole intervals are counted in one step.
        let passed = now.since(self.start + self.tolerance).as_micros() / self.interval.as_micros();
        let first_in_reach = u64::try_from(passed).unwrap_or(u64::MAX).saturating_sub(1);
        if first_in_reach > self.next {
            due.missed = first_in_reach - self.next;
            self.next = first_in_reach;
        }
        while self.next_at() <= now {
            let at = self.next_at();
            if at + self.tolerance >= now {
                due.planned.push((self.next, at));
            } else {
                due.missed += 1;
            }
            self.next += 1;
        }
        due
    }

    fn at(&self, k: u64) -> Timestamp {
        let interval = u64::try_from(self.interval.as_micros()).unwrap_or(u64::MAX);
        let most = (interval / 4).max(1);
        let phase = mix(self.seed) % (interval - most).max(1);
        let jitter = mix(self.seed ^ (k + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)) % most;
        let offset = Duration::from_micros(interval.saturating_mul(k).saturating_add(phase + jitter));
        (self.start + offset).floor_to_millis()
    }
}

/// The finalizer of SplitMix64: spreads consecutive numbers evenly.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const INTERVAL: Duration = Duration::from_secs(30);
    const TOLERANCE: Duration = Duration::from_secs(1);

    fn t(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    #[test]
    fn a_stopped_process_misses_canaries_and_sends_no_burst() {
        let mut schedule = Schedule::new(t(0), INTERVAL, TOLERANCE, 1);
        assert_eq!(schedule.take_due(schedule.next_at()).planned.len(), 1);
        let after_two_minutes = schedule.take_due(schedule.next_at() + Duration::from_secs(125));
        assert!(after_two_minutes.planned.len() <= 1, "{after_two_minutes:?}");
        assert!(after_two_minutes.missed >= 4, "{after_two_minutes:?}");
    }

    #[test]
    fn a_year_of_missed_canaries_is_counted_in_one_step() {
        let mut schedule = Schedule::new(t(0), Duration::from_millis(1), TOLERANCE, 1);
        let due = schedule.take_due(t(365 * 86_400));
        assert!(due.missed > 31_000_000_000);
    }

    proptest! {
        #[test]
        fn every_canary_is_planned_or_missed_once(
            seed: u64, interval_ms in 1_u64..100_000, waits in prop::collection::vec(0_u64..400_000, 1..60),
        ) {
            let interval = Duration::from_millis(interval_ms);
            let mut schedule = Schedule::new(t(1_000), interval, TOLERANCE, seed);
            let mut now = t(1_000);
            let (mut planned, mut missed) = (Vec::new(), 0);
            for wait in waits {
                now = now + Duration::from_millis(wait);
                let due = schedule.take_due(now);
                missed += due.missed;
                for (_, at) in &due.planned {
                    prop_assert!(*at <= now && now.since(*at) <= TOLERANCE.min(interval) + Duration::from_millis(1));
                }
                planned.extend(due.planned);
            }
            prop_assert_eq!(schedule.next, planned.len() as u64 + missed);
            prop_assert!(planned.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1));
            prop_assert!(schedule.next_at() > now);
        }
    }
}
