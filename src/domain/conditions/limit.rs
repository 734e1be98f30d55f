//! The number and the ratio of canaries from which on a condition is a note or a problem.

use std::fmt;
use std::str::FromStr;

/// A hundred per cent, in the unit of [`Limit::above`].
const WHOLE: u64 = 10_000;

/// A number of canaries, and a ratio that they must exceed: `3 and 5%`, `1`, or `never`.
///
/// The ratio keeps a busy probe quiet, where a few among hundreds are the usual background. The number keeps
/// a slow one quiet, where one canary alone is more than 5 %.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limit {
    /// Minimum number; `None` is never reached.
    count: Option<u32>,
    /// In hundredths of a per cent; the ratio must be greater.
    above: u32,
}

impl Limit {
    /// Whether `affected` of `of` canaries reach it.
    #[must_use]
    pub fn is_reached(self, affected: usize, of: usize) -> bool {
        let (affected, of) = (affected as u64, of as u64);
        let enough = self.count.is_some_and(|count| affected >= u64::from(count));
        enough && affected.saturating_mul(WHOLE) > of.saturating_mul(u64::from(self.above))
    }

    /// Whether so many canaries in a row reach it whatever the ratio: as many as its number, and at least
    /// `at_least`.
    #[must_use]
    pub fn is_reached_in_a_row(self, run: usize, at_least: usize) -> bool {
        self.count.is_some_and(|count| run as u64 >= u64::from(count).max(at_least as u64))
    }
}

impl FromStr for Limit {
    type Err = ();

    /// Reads `3`, `3 and 5%`, `5%` or `never`.
    fn from_str(text: &str) -> Result<Self, ()> {
        let text = text.trim();
        if text == "never" {
            return Ok(Self { count: None, above: 0 });
        }
        let (count, ratio) = match text.split_once(" and ") {
            Some((count, ratio)) => (Some(count), Some(ratio)),
            None if text.ends_with('%') => (None, Some(text)),
            None => (Some(text), None),
        };
        let count = count.map_or(Ok(1), |count| count.trim().parse().map_err(|_| ()))?;
        let above = ratio.map_or(Ok(0), |ratio| percent(ratio.trim()).ok_or(()))?;
        if count == 0 { Err(()) } else { Ok(Self { count: Some(count), above }) }
    }
}

/// Reads `5%` or `0.25%`, in hundredths of a per cent.
fn percent(text: &str) -> Option<u32> {
    let number = text.strip_suffix('%')?.trim_end();
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || fraction.len() > 2 {
        return None;
    }
    let hundredths: u32 = format!("{fraction:0<2}").parse().ok()?;
    let all = whole.parse::<u32>().ok()?.checked_mul(100)?.checked_add(hundredths)?;
    (u64::from(all) < WHOLE).then_some(all)
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(count) = self.count else { return f.write_str("never") };
        write!(f, "{count}")?;
        match (self.above / 100, self.above % 100) {
            (0, 0) => Ok(()),
            (whole, 0) => write!(f, " and {whole}%"),
            (whole, rest) => write!(f, " and {whole}.{rest:02}%"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(text: &str) -> Limit {
        text.parse().unwrap()
    }

    #[test]
    fn a_limit_needs_its_number_and_more_than_its_ratio() {
        let limit = limit("3 and 5%");
        assert!(limit.is_reached(3, 59) && limit.is_reached(16, 300));
        assert!(!limit.is_reached(2, 2) && !limit.is_reached(3, 60) && !limit.is_reached(15, 300));
    }

    #[test]
    fn a_run_reaches_a_limit_whatever_the_ratio() {
        assert!(limit("4 and 5%").is_reached_in_a_row(4, 3) && limit("1 and 50%").is_reached_in_a_row(3, 3));
        assert!(!limit("4 and 5%").is_reached_in_a_row(3, 3) && !limit("1").is_reached_in_a_row(2, 3));
        assert!(!limit("never").is_reached_in_a_row(1_000, 3) && !limit("never").is_reached(9, 9));
    }

    #[test]
    fn a_limit_is_printed_as_it_is_read() {
        for text in ["1", "3 and 5%", "2 and 0.25%", "never"] {
            assert_eq!(limit(text).to_string(), text);
        }
        assert_eq!(limit(" 5% ").to_string(), "1 and 5%");
        for wrong in ["", "0", "3 and", "3 and 5", "5 %%", "-1", "3 and 100%", "1.5", "3 and 0.125%", "é%"] {
            assert_eq!(wrong.parse::<Limit>(), Err(()), "{wrong}");
        }
    }
}
