//! A wall clock that never steps.
//!
//! The system clock may be set: by hours when a host finds its time server, by a second at a leap second.
//! Everything that the tracker proves depends on the order of instants: a clock that is set forward by
//! fifteen minutes would prove the absence of canaries that had seconds to arrive. So the probe reads the
//! system time once, at its start, and then counts the time that the machine runs, which the kernel
//! disciplines in rate and never steps. Small differences to the system clock are corrected so slowly that no
//! latency is affected. A large difference is a step, and whether the time before or after it was right
//! cannot be determined.
//!
//! Clock values go in and timestamps come out; the daemon reads the machine's clocks.

use std::time::Duration;

use super::time::Timestamp;

/// Largest difference that is corrected: more than a leap second, and small compared with any deadline.
pub const MAX_SLEWED: Duration = Duration::from_millis(1_500);

/// A correction adds or removes one microsecond in this many: 500 ppm, the rate of adjtime(3). A second takes
/// 33 minutes, and a latency of a minute is off by 30 ms.
const SLEW_ONE_IN: i64 = 2_000;

/// What the machine's two clocks show at one instant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ClockPair {
    /// How long the machine has been running, asleep or not; only differences matter.
    pub running: Duration,
    pub system: Timestamp,
}

/// How far the system clock is ahead of the probe's; negative if it is behind.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Offset {
    micros: i64,
}

impl Offset {
    /// From `probe` to `system`.
    #[must_use]
    pub const fn between(probe: Timestamp, system: Timestamp) -> Self {
        Self { micros: system.micros().saturating_sub(probe.micros()) }
    }

    /// Without its sign.
    #[must_use]
    pub const fn abs(self) -> Duration {
        Duration::from_micros(self.micros.unsigned_abs())
    }

    /// How much it differs from another offset.
    #[must_use]
    pub const fn apart(self, other: Self) -> Duration {
        Duration::from_micros(self.micros.abs_diff(other.micros))
    }

    /// In seconds, with its sign.
    #[must_use]
    pub fn as_secs_f64(self) -> f64 {
        let size = self.abs().as_secs_f64();
        if self.micros < 0 { -size } else { size }
    }
}

/// How the system clock compares with ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Compared {
    /// Close enough to be followed.
    Within(Offset),
    /// The system clock was set by more than [`MAX_SLEWED`], and is not followed.
    Stepped(Offset),
}

/// A wall clock that follows the system clock without ever stepping or running backwards.
#[derive(Clone, Debug)]
pub struct SteadyClock {
    /// Boot-clock value at the last comparison.
    running: Duration,
    /// The timestamp that the clock showed at that value.
    shown: Timestamp,
    /// The difference that remained to be corrected then, in microseconds.
    owed: i64,
}

impl SteadyClock {
    /// A clock that starts at the system time.
    #[must_use]
    pub const fn new(first: ClockPair) -> Self {
        Self { running: first.running, shown: first.system, owed: 0 }
    }

    /// The timestamp at this boot-clock value.
    #[must_use]
    pub fn at(&self, running: Duration) -> Timestamp {
        let since = running.saturating_sub(self.running);
        let at_most = i64::try_from(since.as_micros()).unwrap_or(i64::MAX) / SLEW_ONE_IN;
        let corrected = Duration::from_micros(self.owed.unsigned_abs().min(at_most.unsigned_abs()));
        if self.owed < 0 { self.shown + since - corrected } else { self.shown + since + corrected }
    }

    /// Compares it with the system clock, and follows that from now on unless it was stepped.
    pub fn compare(&mut self, pair: ClockPair) -> Compared {
        let shown = self.at(pair.running);
        let offset = Offset::between(shown, pair.system);
        if offset.abs() > MAX_SLEWED {
            return Compared::Stepped(offset);
        }
        // A caller with an older boot-clock value must not move the clock back.
        self.running = self.running.max(pair.running);
        self.shown = shown;
        self.owed = offset.micros;
        Compared::Within(offset)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn t(secs: u64) -> Timestamp {
        Timestamp::from_secs(1_800_000_000) + Duration::from_secs(secs)
    }

    /// The clock of a machine that has run for 70 s when the probe starts.
    fn started() -> SteadyClock {
        SteadyClock::new(ClockPair { running: ms(70_000), system: t(0) })
    }

    /// The machine's clocks `secs` after the start, with the system clock set forward by `ahead`
    /// milliseconds.
    fn after(secs: u64, ahead: i64) -> ClockPair {
        let system = Timestamp::from_micros(t(secs).micros() + ahead * 1_000);
        ClockPair { running: ms(70_000 + secs * 1_000), system }
    }

    fn offset(millis: i64) -> Offset {
        Offset { micros: millis * 1_000 }
    }

    #[test]
    fn it_counts_the_time_that_the_machine_runs() {
        let mut clock = started();
        assert_eq!(clock.at(ms(70_000)), t(0));
        assert_eq!(clock.at(ms(190_000)), t(120));
        assert_eq!(clock.compare(after(300, 0)), Compared::Within(offset(0)));
        assert_eq!(clock.at(ms(371_000)), t(301));
    }

    #[test]
    fn a_step_is_reported_and_not_followed() {
        for ahead in [900_000, -900_000, 1_501, -1_501] {
            let mut clock = started();
            assert_eq!(clock.compare(after(10, ahead)), Compared::Stepped(offset(ahead)), "{ahead}");
            assert_eq!(clock.at(ms(81_000)), t(11));
        }
    }

    #[test]
    fn a_small_difference_is_corrected_slowly_and_only_once() {
        for (ahead, back) in [(1_000, ms(0)), (-1_000, ms(1_000))] {
            let mut clock = started();
            assert_eq!(clock.compare(after(0, ahead)), Compared::Within(offset(ahead)));
            assert_eq!(clock.at(ms(70_000)), t(0), "must not step");
            // 500 ppm of a minute are 30 ms.
            let minute = clock.at(ms(130_000));
            assert_eq!(Offset::between(t(60), minute), offset(30 * ahead.signum()));
            assert_eq!(
                clock.compare(after(60, ahead)),
                Compared::Within(offset(ahead - 30 * ahead.signum()))
            );
            assert_eq!(clock.at(ms(2_070_000)) + back, t(2_000) + ms(1_000) - back);
            assert_eq!(clock.compare(after(2_000, ahead)), Compared::Within(offset(0)));
            assert_eq!(Offset::between(t(9_000), clock.at(ms(9_070_000))), offset(ahead));
        }
    }

    proptest! {
        #[test]
        fn it_never_runs_backwards_and_is_off_in_rate_by_500_ppm_at_most(
            steps in prop::collection::vec((1_u64..5_000_000, -2_000_000_i64..2_000_000), 1..60),
        ) {
            let mut clock = started();
            let (mut running, mut shown) = (ms(70_000), t(0));
            for (micros, ahead) in steps {
                running += Duration::from_micros(micros);
                let now = clock.at(running);
                let passed = i64::try_from(now.since(shown).as_micros()).unwrap();
                let micros = i64::try_from(micros).unwrap();
                // One more than the rate allows, because both ends are rounded.
                prop_assert!(now >= shown && (passed - micros).abs() <= micros / SLEW_ONE_IN + 1, "{passed} in {micros}");
                shown = now;
                let system = Timestamp::from_micros(t(0).micros() + running.as_micros() as i64 - 70_000_000 + ahead);
                let _either = clock.compare(ClockPair { running, system });
                prop_assert_eq!(clock.at(running), now);
            }
        }
    }
}
