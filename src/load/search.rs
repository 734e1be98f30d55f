//! Finds the knee: raises the rate until a threshold breaks, then narrows the gap between the last rate that
//! kept all and the first that did not.

use super::estimate::short;
use super::threshold::{Judged, Span};

/// What rates to try.
#[derive(Clone, Debug, PartialEq)]
pub struct Rates {
    /// Events per second, ascending.
    pub rates: Vec<f64>,
    /// How far apart the last good and the first bad rate may be in the end, as a part of the good one.
    pub precision: f64,
}

/// Most trials that narrow the gap: each halves it, and 2^-10 is finer than a pipeline repeats itself.
const MAX_REFINEMENTS: usize = 10;
/// Less growth than this may be chance, and says nothing of the throughput.
const LEAST_GROWTH: f64 = 0.05;

/// A rate and what came of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trial {
    pub rate: f64,
    pub judged: Judged,
}

/// The state of a search.
#[derive(Clone, Debug)]
pub struct Search {
    rates: Rates,
    trials: Vec<Trial>,
    /// A rate that was too high, and what came out of the end while it was sent, in events per second.
    throughput: Option<(f64, f64)>,
    /// Why rates that remain are not tried.
    stopped: Option<String>,
}

/// Where the pipeline stops keeping up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Knee {
    /// The highest rate that kept all thresholds; `None` if even the lowest did not.
    pub good: Option<f64>,
    /// The lowest rate that broke one; `None` if none did.
    pub bad: Option<f64>,
}

impl Search {
    #[must_use]
    pub const fn new(rates: Rates) -> Self {
        Self { rates, trials: Vec::new(), throughput: None, stopped: None }
    }

    /// The rate of the next trial; `None` if there is none.
    #[must_use]
    pub fn next_rate(&self) -> Option<f64> {
        // Whether a rate is good cannot be told, so nothing above it can be.
        if self.stopped.is_some() || self.trials.iter().any(|trial| trial.judged == Judged::Undecided) {
            return None;
        }
        let Knee { good, bad } = self.knee();
        let Some(bad) = bad else {
            return self.rates.rates.iter().copied().find(|rate| good.is_none_or(|good| *rate > good));
        };
        let good = good?;
        let refinements = self.trials.iter().filter(|trial| !self.rates.rates.contains(&trial.rate)).count();
        let goes_on = !self.rates.is_narrow(good, bad) && refinements < MAX_REFINEMENTS;
        goes_on.then(|| self.between(good, bad))
    }

    /// The rate to try between a good and a bad one: just below and just above what came out of the end, if
    /// that is known, otherwise the middle.
    fn between(&self, good: f64, bad: f64) -> f64 {
        let near = self.throughput().into_iter().flat_map(|throughput| {
            // Together a little less than the precision apart.
            let by = self.rates.precision / 2.5;
            [throughput * (1.0 - by), throughput * (1.0 + by)]
        });
        near.into_iter().find(|rate| good < *rate && *rate < bad).unwrap_or_else(|| f64::midpoint(good, bad))
    }

    /// Takes what came of the rate that was next. Of a rate that was too high, `growth` is by how many
    /// seconds latency grew in a second.
    pub fn take(&mut self, rate: f64, judged: Judged, growth: Option<Span>) {
        self.trials.push(Trial { rate, judged });
        self.measure(growth);
    }

    /// Takes the growth of the last trial, of which more is known once its queue is gone: a rate is judged too high as
    /// soon as that is certain, when those that took longest are still on their way.
    pub fn measure(&mut self, growth: Option<Span>) {
        let Some(Trial { rate, judged: Judged::Broken }) = self.trials.last().copied() else { return };
        // The first one is the furthest above the knee, and so the clearest.
        if self.throughput.is_none_or(|(of, _)| of == rate) {
            self.throughput = growth.and_then(|growth| throughput(rate, growth)).map(|found| (rate, found));
        }
    }

    /// Takes how many canaries of the last trial were given up, or are in flight after the longest wait. The pipeline may
    /// still hold them: the next rate would wait behind them and look too high, so none is tried.
    pub fn leave_behind(&mut self, given_up: u64) {
        let (Some(next), Some(last)) = (self.next_rate(), self.trials.last()) else { return };
        if given_up > 0 && last.judged == Judged::Broken && next < last.rate {
            let rate = short(last.rate);
            self.stopped = Some(format!(
                "the queue of {rate}/s may not be empty: {given_up} of its canaries were given up, and the pipeline may \
                 still hold them, so lower rates were not tried; a longer give_up lets the search go on"
            ));
        }
    }

    /// Why the search ended before the last good and the first bad rate were close enough; `None` if it did not.
    #[must_use]
    pub fn stopped(&self) -> Option<&str> {
        self.stopped.as_deref()
    }

    /// Takes what is known of the trials at the end of the run, in their order. A trial can only become worse by it: what
    /// was not observed in time ended the search.
    pub fn judge_again(&mut self, judged: impl IntoIterator<Item = Judged>) {
        for (trial, now) in self.trials.iter_mut().zip(judged) {
            trial.judged = Judged::of_all([trial.judged, now]);
        }
    }

    /// What came out of the end while a rate was sent that was too high; `None` if none was, or if latency
    /// did not grow.
    #[must_use]
    pub fn throughput(&self) -> Option<f64> {
        self.throughput.map(|(_, throughput)| throughput)
    }

    #[must_use]
    pub fn trials(&self) -> &[Trial] {
        &self.trials
    }

    /// Where the knee lies by now.
    #[must_use]
    pub fn knee(&self) -> Knee {
        let of = |judged: Judged| {
            self.trials.iter().filter(move |trial| trial.judged == judged).map(|trial| trial.rate)
        };
        let bad = of(Judged::Broken).reduce(f64::min);
        // A rate above a bad one that was good nevertheless proves nothing.
        let good = of(Judged::Kept).filter(|good| bad.is_none_or(|bad| *good < bad)).reduce(f64::max);
        Knee { good, bad }
    }
}

/// What came out of the end while `rate` was sent; `None` if latency may not have grown.
fn throughput(rate: f64, growth: Span) -> Option<f64> {
    (growth.low > LEAST_GROWTH).then(|| rate / (1.0 + f64::midpoint(growth.low, growth.high)))
}

impl Rates {
    /// The most trials that a search may take, each with the highest rate that it may have: for the estimate.
    #[must_use]
    pub fn at_most(&self) -> Vec<f64> {
        let mut all = self.rates.clone();
        let gaps = self.rates.windows(2).map(|pair| self.most_between(pair[0], pair[1]));
        let highest = self.rates.last().copied().unwrap_or_default();
        all.extend(std::iter::repeat_n(highest, gaps.max().unwrap_or_default()));
        all
    }

    /// The most trials between a good rate and a bad one: two near the throughput, and those that halve the gap. If every
    /// middle is bad, the good rate stays, and it takes most of them.
    fn most_between(&self, good: f64, mut bad: f64) -> usize {
        let mut halvings = 0;
        while !self.is_narrow(good, bad) && halvings < MAX_REFINEMENTS {
            bad = f64::midpoint(good, bad);
            halvings += 1;
        }
        if halvings == 0 { 0 } else { (halvings + 2).min(MAX_REFINEMENTS) }
    }

    /// Whether a good rate and a bad one are as close as they have to be in the end.
    fn is_narrow(&self, good: f64, bad: f64) -> bool {
        bad - good <= self.precision * good
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rates(precision: f64) -> Rates {
        Rates { rates: vec![50.0, 100.0, 200.0, 500.0, 1_000.0, 2_000.0], precision }
    }

    /// Searches a pipeline that keeps up to `capacity`. `tells` is the throughput that follows from the growth.
    fn search(rates: Rates, capacity: f64, tells: Option<f64>) -> Search {
        let mut search = Search::new(rates);
        while let Some(rate) = search.next_rate() {
            let judged = if rate <= capacity { Judged::Kept } else { Judged::Broken };
            search.take(rate, judged, tells.map(|throughput| Span::exactly(rate / throughput - 1.0)));
        }
        search
    }

    fn searched_by(capacity: f64, precision: f64, tells_growth: bool) -> Search {
        search(rates(precision), capacity, Some(capacity).filter(|_| tells_growth))
    }

    fn searched(capacity: f64, precision: f64) -> Search {
        searched_by(capacity, precision, false)
    }

    #[test]
    fn growth_leads_to_the_knee_in_two_trials_after_the_first_bad_rate() {
        for capacity in [55.0, 130.0, 333.0, 640.0, 1_990.0] {
            let search = searched_by(capacity, 0.1, true);
            let Knee { good, bad } = search.knee();
            let (good, bad) = (good.unwrap(), bad.unwrap());
            assert!(
                good <= capacity && capacity < bad && bad <= good * 1.1 + 1e-9,
                "{capacity}: {good}, {bad}"
            );
            let refinements =
                search.trials().iter().filter(|trial| !rates(0.1).rates.contains(&trial.rate)).count();
            assert!(refinements <= 4, "{capacity}: {:?}", search.trials());
            assert!(search.throughput().is_none_or(|found| (found / capacity - 1.0).abs() < 1e-6));
        }
    }

    #[test]
    fn the_knee_is_found_within_the_precision() {
        for capacity in [55.0, 130.0, 333.0, 640.0, 1_999.0] {
            let Knee { good, bad } = searched(capacity, 0.1).knee();
            let (good, bad) = (good.unwrap(), bad.unwrap());
            assert!(
                good <= capacity && capacity < bad && bad <= good * 1.1 + 1e-9,
                "{capacity}: {good}, {bad}"
            );
        }
    }

    #[test]
    fn no_rate_above_a_broken_one_is_tried() {
        let search = searched(150.0, 0.1);
        let highest = search.trials().iter().map(|trial| trial.rate).reduce(f64::max);
        assert_eq!(highest, Some(200.0));
    }

    #[test]
    fn a_pipeline_that_keeps_up_has_no_knee_below_the_highest_rate() {
        assert_eq!(searched(9_999.0, 0.1).knee(), Knee { good: Some(2_000.0), bad: None });
    }

    #[test]
    fn a_pipeline_that_keeps_up_with_nothing_has_no_good_rate() {
        assert_eq!(searched(1.0, 0.1).knee(), Knee { good: None, bad: Some(50.0) });
    }

    #[test]
    fn nothing_is_concluded_from_what_could_not_be_seen() {
        let mut search = Search::new(rates(0.1));
        search.take(50.0, Judged::Kept, None);
        search.take(100.0, Judged::Undecided, None);
        assert_eq!(search.next_rate(), None);
        assert_eq!(search.knee(), Knee { good: Some(50.0), bad: None });
    }

    /// A search of a pipeline of which 50/s are good and 100/s are not.
    fn narrowing() -> Search {
        let mut search = Search::new(rates(0.1));
        search.take(50.0, Judged::Kept, None);
        search.take(100.0, Judged::Broken, None);
        search
    }

    #[test]
    fn no_lower_rate_is_tried_behind_a_queue_that_may_not_be_empty() {
        let mut search = narrowing();
        search.leave_behind(312);
        assert_eq!((search.next_rate(), search.knee()), (None, Knee { good: Some(50.0), bad: Some(100.0) }));
        let why = search.stopped().unwrap();
        assert!(
            why.starts_with("the queue of 100/s may not be empty: 312 of its canaries were given up"),
            "{why}"
        );
    }

    #[test]
    fn a_search_goes_on_behind_a_queue_that_is_empty() {
        let mut search = narrowing();
        search.leave_behind(0);
        assert_eq!((search.next_rate(), search.stopped()), (Some(75.0), None));
    }

    #[test]
    fn a_search_that_is_over_left_no_rate_out() {
        let mut search = Search::new(rates(0.1));
        search.take(50.0, Judged::Broken, None);
        search.leave_behind(9);
        assert_eq!((search.next_rate(), search.stopped()), (None, None));
    }

    #[test]
    fn the_throughput_is_that_of_the_first_bad_rate_once_its_queue_is_gone() {
        let mut search = narrowing();
        assert_eq!(search.throughput(), None);
        search.measure(Some(Span { low: 0.3, high: 0.5 }));
        search.measure(Some(Span { low: 0.2, high: 0.3 }));
        assert_eq!(search.throughput(), Some(80.0));
        search.take(75.0, Judged::Broken, Some(Span::exactly(2.0)));
        assert_eq!(search.throughput(), Some(80.0));
    }

    #[test]
    fn a_growth_that_may_be_none_tells_no_throughput() {
        let mut search = narrowing();
        search.measure(Some(Span { low: -0.2, high: 0.4 }));
        assert_eq!(search.throughput(), None);
    }

    #[test]
    fn the_estimate_has_room_for_every_trial() {
        for capacity in [1.0, 51.0, 99.0, 150.0, 499.0, 1_100.0, 5_000.0] {
            let (trials, most) = (searched(capacity, 0.1).trials().len(), rates(0.1).at_most().len());
            assert!(trials <= most, "{capacity}: {trials} of {most}");
        }
        let rates = Rates { rates: vec![100.0, 115.0], precision: 0.1 };
        let trials = search(rates.clone(), 107.0, Some(107.0)).trials().len();
        assert!((4..=rates.at_most().len()).contains(&trials), "two near the throughput: {trials}");
    }

    proptest! {
        #[test]
        fn no_search_takes_more_than_the_estimate(
            lowest in 1.0_f64..100.0,
            steps in prop::collection::vec(1.01_f64..4.0, 0..8),
            precision in 0.01_f64..1.0,
            // Where it stops keeping up: at the lowest rate for 0, at the highest for 1.
            knee in -0.1_f64..1.1,
            wrong_by in prop::option::of(0.5_f64..2.0),
        ) {
            let mut all = vec![lowest];
            all.extend(steps.iter().scan(lowest, |rate, step| {
                *rate *= step;
                Some(*rate)
            }));
            let highest = all.last().copied().unwrap_or(lowest);
            let capacity = lowest * (highest / lowest).powf(knee);
            let rates = Rates { rates: all, precision };
            let search = search(rates.clone(), capacity, wrong_by.map(|by| capacity * by));
            let most = rates.at_most();
            prop_assert!(search.trials().len() <= most.len(), "{:?} of {most:?}", search.trials());
            let sent: f64 = search.trials().iter().map(|trial| trial.rate).sum();
            prop_assert!(sent <= most.iter().sum::<f64>() * (1.0 + 1e-9), "{:?} of {most:?}", search.trials());
        }
    }
}
