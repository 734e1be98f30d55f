//! When events of a load are due: an open loop, whose instants follow from the rates alone.
//!
//! A slow pipeline is sent no fewer events for being slow, so it cannot hide what a load does to it
//! (coordinated omission). What could not be sent in time is counted as missed and never sent late in a
//! burst.

use std::collections::VecDeque;
use std::time::Duration;

use crate::domain::time::Timestamp;

/// How late an event may be put. Its latency counts from the planned instant in any case.
pub const TOLERANCE: Duration = Duration::from_secs(1);

/// A part of a run in which the rate is constant or changes evenly.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Phase {
    /// Events per second at its beginning.
    pub from: f64,
    /// Events per second at its end.
    pub to: f64,
    pub duration: Duration,
}

impl Phase {
    /// A phase of one rate.
    #[must_use]
    pub const fn constant(rate: f64, duration: Duration) -> Self {
        Self { from: rate, to: rate, duration }
    }

    /// How many events are due in it.
    #[must_use]
    pub fn events(&self) -> f64 {
        f64::midpoint(self.from, self.to) * self.duration.as_secs_f64()
    }

    /// Its highest rate.
    #[must_use]
    pub fn peak(&self) -> f64 {
        self.from.max(self.to)
    }

    /// After how many seconds `count` events have become due: the root of `from·t + slope·t²/2 = count`, in
    /// the form that is exact for small slopes as well.
    fn seconds_until(&self, count: f64) -> f64 {
        let seconds = self.duration.as_secs_f64();
        let slope = (self.to - self.from) / seconds.max(f64::MIN_POSITIVE);
        let root = (self.from * self.from + 2.0 * slope * count).max(0.0).sqrt();
        let sum = self.from + root;
        if sum <= 0.0 { seconds } else { (2.0 * count / sum).min(seconds) }
    }
}

/// How events are spread within a phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Spacing {
    /// At equal distances.
    #[default]
    Even,
    /// At random, as from many independent clients (a Poisson process with the rate of the phase).
    Random,
}

/// The instants at which events are due.
#[derive(Clone, Debug)]
pub struct Arrivals {
    /// Those that are not over.
    phases: VecDeque<Phase>,
    /// When the first of them begins.
    began: Timestamp,
    /// How many events of that phase are due before the next one; rarely a whole number.
    before: f64,
    /// `None` for even distances.
    random: Option<fastrand::Rng>,
    next: Option<Timestamp>,
}

/// What became due.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Due {
    /// Events to send now, in order.
    pub planned: Vec<Timestamp>,
    /// When the events were due that are too late to be sent.
    pub missed: Vec<Timestamp>,
}

impl Arrivals {
    /// The phases one after another, from `start` on. `seed` decides about random distances.
    #[must_use]
    pub fn new(phases: &[Phase], spacing: Spacing, seed: u64, start: Timestamp) -> Self {
        let random = (spacing == Spacing::Random).then(|| fastrand::Rng::with_seed(seed));
        let phases = phases.iter().copied().collect();
        let mut arrivals = Self { phases, began: start, before: 0.0, random, next: None };
        // The first is due half a distance after the beginning, so that a phase has as many as its rate says.
        arrivals.before = if arrivals.random.is_some() { arrivals.distance() } else { 0.5 };
        arrivals.advance();
        arrivals
    }

    /// When the next event is due; `None` after the last one.
    #[must_use]
    pub fn next_at(&self) -> Option<Timestamp> {
        self.next
    }

    /// Takes what is due at `now`.
    pub fn take_due(&mut self, now: Timestamp) -> Due {
        let mut due = Due::default();
        while let Some(at) = self.next.filter(|at| *at <= now) {
            let of = if now.since(at) > TOLERANCE { &mut due.missed } else { &mut due.planned };
            of.push(at);
            self.before += self.distance();
            self.advance();
        }
        due
    }

    /// The rate at an instant, in events per second; 0 after the last phase.
    #[must_use]
    pub fn rate_at(&self, now: Timestamp) -> f64 {
        let Some(phase) = self.phases.front() else { return 0.0 };
        let part = now.since(self.began).as_secs_f64() / phase.duration.as_secs_f64().max(f64::MIN_POSITIVE);
        phase.from + (phase.to - phase.from) * part.min(1.0)
    }

    /// Sends nothing more.
    pub fn stop(&mut self) {
        self.phases.clear();
        self.next = None;
    }

    /// To the next event, in events of the current rate: 1 on average.
    fn distance(&mut self) -> f64 {
        // 1 - f64() is never zero, so the logarithm is finite.
        self.random.as_mut().map_or(1.0, |random| -(1.0 - random.f64()).ln())
    }

    fn advance(&mut self) {
        while let Some(phase) = self.phases.front() {
            let events = phase.events();
            if self.before < events {
                let after = Duration::from_secs_f64(phase.seconds_until(self.before));
                self.next = Some(self.began + after);
                return;
            }
            self.before -= events;
            self.began = self.began + phase.duration;
            self.phases.pop_front();
        }
        self.next = None;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn t(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    /// All instants, taken as they come.
    fn all(phases: &[Phase], spacing: Spacing) -> Vec<Timestamp> {
        let mut arrivals = Arrivals::new(phases, spacing, 7, t(0));
        let mut taken = Vec::new();
        while let Some(at) = arrivals.next_at() {
            taken.extend(arrivals.take_due(at).planned);
        }
        taken
    }

    fn count_in(taken: &[Timestamp], from: i64, to: i64) -> usize {
        taken.iter().filter(|at| (t(from)..t(to)).contains(*at)).count()
    }

    #[test]
    fn a_constant_rate_has_equal_distances() {
        let taken = all(&[Phase::constant(4.0, secs(1))], Spacing::Even);
        assert_eq!(taken, [t(125), t(375), t(625), t(875)]);
    }

    #[test]
    fn a_ramp_goes_from_one_rate_to_the_other() {
        let taken = all(&[Phase { from: 0.0, to: 100.0, duration: secs(10) }], Spacing::Even);
        assert_eq!(taken.len(), 500);
        // The area below the first half of the slope is a quarter of the whole.
        assert_eq!(count_in(&taken, 0, 5_000), 125);
    }

    #[test]
    fn a_spike_has_the_rate_of_each_of_its_phases() {
        let phases =
            [Phase::constant(10.0, secs(5)), Phase::constant(200.0, secs(2)), Phase::constant(10.0, secs(5))];
        let taken = all(&phases, Spacing::Even);
        assert_eq!(
            [(0, 5_000), (5_000, 7_000), (7_000, 12_000)].map(|(a, b)| count_in(&taken, a, b)),
            [50, 400, 50]
        );
    }

    #[test]
    fn random_distances_have_the_rate_on_average_and_vary_as_those_of_independent_clients() {
        let taken = all(&[Phase::constant(100.0, secs(100))], Spacing::Random);
        // A Poisson count has its mean as its variance: 10,000 ± 4 · 100.
        assert!((9_600..10_400).contains(&taken.len()), "{}", taken.len());
        let counts: Vec<f64> =
            (0..100).map(|n| count_in(&taken, n * 1_000, (n + 1) * 1_000) as f64).collect();
        let mean = counts.iter().sum::<f64>() / 100.0;
        let variance = counts.iter().map(|count| (count - mean).powi(2)).sum::<f64>() / 99.0;
        assert!((0.5..2.0).contains(&(variance / mean)), "{variance} and {mean}");
    }

    #[test]
    fn what_was_due_too_long_ago_is_missed_and_not_sent_in_a_burst() {
        let mut arrivals = Arrivals::new(&[Phase::constant(100.0, secs(10))], Spacing::Even, 1, t(0));
        let due = arrivals.take_due(t(3_000));
        assert_eq!((due.planned.len(), due.missed.len()), (100, 200));
    }

    proptest! {
        #[test]
        fn every_event_is_planned_or_missed_once_and_in_order(
            rates in prop::collection::vec((0.0_f64..500.0, 0.0_f64..500.0, 1_u64..20), 1..5),
            waits in prop::collection::vec(1_i64..5_000, 1..60),
        ) {
            let phases: Vec<_> =
                rates.iter().map(|(from, to, long)| Phase { from: *from, to: *to, duration: secs(*long) }).collect();
            let total: f64 = phases.iter().map(Phase::events).sum();
            let mut arrivals = Arrivals::new(&phases, Spacing::Even, 1, t(0));
            let (mut now, mut seen) = (0, Vec::new());
            for wait in waits {
                now += wait;
                let due = arrivals.take_due(t(now));
                for at in &due.planned {
                    prop_assert!(*at <= t(now) && t(now).since(*at) <= TOLERANCE);
                }
                seen.extend(due.missed.into_iter().chain(due.planned));
            }
            let rest = arrivals.take_due(t(1_000_000));
            seen.extend(rest.missed.into_iter().chain(rest.planned));
            prop_assert!((seen.len() as f64 - total).abs() <= 1.0, "{} of {}", seen.len(), total);
            prop_assert!(seen.windows(2).all(|pair| pair[0] <= pair[1]));
        }
    }
}
