//! What a ratio of counts says of the true one: an interval that covers it in 95 of 100 runs.

/// The 97.5th percentile of the normal distribution, for 95 % on both sides.
const Z: f64 = 1.959_963_984_540_054;

/// A ratio with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio {
    pub value: f64,
    pub low: f64,
    pub high: f64,
}

impl Ratio {
    /// `count` of `of`, with the score interval of Wilson (E. B. Wilson, Probable inference, the law of
    /// succession, and statistical inference, J. Amer. Statist. Assoc. 22, 1927, 209-212), which stays within
    /// 0 and 1 and covers the true ratio also where it is small (Brown, Cai and DasGupta, Interval estimation
    /// for a binomial proportion, Statistical Science 16, 2001, 101-133).
    ///
    /// It takes events as independent. A pipeline that loses whole batches varies more than that. `None` of
    /// nothing.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a run has far fewer than 2^52 events")]
    pub fn of(count: u64, of: u64) -> Option<Self> {
        if of == 0 {
            return None;
        }
        let (k, n) = (count.min(of) as f64, of as f64);
        let value = k / n;
        let scale = 1.0 + Z * Z / n;
        let middle = (value + Z * Z / (2.0 * n)) / scale;
        let half = Z / scale * (value * (1.0 - value) / n + Z * Z / (4.0 * n * n)).sqrt();
        // Exact where rounding would leave a tiny remainder.
        let low = if count == 0 { 0.0 } else { (middle - half).max(0.0) };
        let high = if count >= of { 1.0 } else { (middle + half).min(1.0) };
        Some(Self { value, low, high })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() < 5e-5
    }

    #[test]
    fn the_interval_is_that_of_the_literature() {
        // Newcombe, Two-sided confidence intervals for the single proportion, Statistics in Medicine 17,
        // 1998, table I, method 3: 81 of 263, 15 of 148, 0 of 20, 1 of 29.
        for (count, of, low, high) in [
            (81, 263, 0.2553, 0.3662),
            (15, 148, 0.0624, 0.1605),
            (0, 20, 0.0, 0.1611),
            (1, 29, 0.0061, 0.1718),
        ] {
            let ratio = Ratio::of(count, of).unwrap();
            assert!(near(ratio.low, low) && near(ratio.high, high), "{count} of {of}: {ratio:?}");
        }
    }

    #[test]
    fn of_nothing_there_is_no_ratio() {
        assert_eq!(Ratio::of(0, 0), None);
    }

    #[test]
    fn a_loss_of_one_in_a_thousand_is_covered_in_19_of_20_seeds() {
        // A minute at 1,000/s.
        let covered = |seed: u64| {
            let mut random = fastrand::Rng::with_seed(seed);
            let lost = (0..60_000).filter(|_| random.f64() < 0.001).count() as u64;
            Ratio::of(lost, 60_000).is_some_and(|ratio| (ratio.low..=ratio.high).contains(&0.001))
        };
        let first = (0..20).filter(|seed| covered(*seed)).count();
        assert!(first >= 19, "covered in {first} of 20 seeds");
        // In 95 of 100 in the long run: of 400, 380 ± 3 · 4.4.
        let all = (0..400).filter(|seed| covered(*seed)).count();
        assert!((366..=393).contains(&all), "covered in {all} of 400 seeds");
    }
}
