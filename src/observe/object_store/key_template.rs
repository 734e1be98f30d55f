//! Key prefixes with time fields: `archive/tenant=acme/dt=%Y-%m-%d/hour=%H/`.

use std::fmt;
use std::time::Duration;

use crate::domain::time::Timestamp;

/// Most steps from one end of a window to the other. A day has 1,440 minutes.
const MAX_STEPS: usize = 10_000;

/// A key prefix with `strftime` fields, which are rendered in UTC.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyTemplate(String);

impl KeyTemplate {
    /// `{tenant}` must already be replaced in `template`.
    #[must_use]
    pub fn new(template: impl Into<String>) -> Self {
        Self(template.into())
    }

    /// Returns the prefixes of all instants from `from` to `to`, oldest first; `None` if more than `max`.
    #[must_use]
    pub fn prefixes(&self, from: Timestamp, to: Timestamp, max: usize) -> Option<Vec<String>> {
        let mut prefixes: Vec<String> = Vec::new();
        let mut at = from.min(to);
        for _ in 0..MAX_STEPS {
            let prefix = at.min(to).strftime(&self.0);
            if !prefixes.contains(&prefix) {
                prefixes.push(prefix);
            }
            if prefixes.len() > max {
                return None;
            }
            if at >= to {
                return Some(prefixes);
            }
            at = at + self.step();
        }
        None
    }

    /// Returns a time in which no field changes more than once.
    fn step(&self) -> Duration {
        let mut finest = Duration::from_secs(3_600);
        let mut letters = self.0.chars();
        while let Some(letter) = letters.next() {
            if letter != '%' {
                continue;
            }
            // Flags and widths come between the percent sign and the letter: `%-H`, `%03j`.
            let field = letters.find(|letter| letter.is_ascii_alphabetic() || *letter == '%');
            finest = finest.min(match field {
                Some('S' | 's' | 'T' | 'X' | 'c' | 'r' | 'f' | 'N') => Duration::from_secs(1),
                Some('M' | 'R') => Duration::from_secs(60),
                _ => finest,
            });
        }
        finest
    }
}

impl fmt::Display for KeyTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse_rfc3339(text).unwrap()
    }

    #[test]
    fn around_a_full_hour_both_hours_are_listed() {
        let template = KeyTemplate::new("a/dt=%Y-%m-%d/hour=%H/");
        let (from, to) = (at("2026-11-22T23:59:59Z"), at("2026-11-23T00:00:01Z"));
        assert_eq!(
            template.prefixes(from, to, 2).unwrap(),
            ["a/dt=2026-11-22/hour=23/", "a/dt=2026-11-23/hour=00/"]
        );
        assert_eq!(template.prefixes(from, to, 1), None);
        assert_eq!(template.prefixes(to, to, 1).unwrap().len(), 1);
    }

    #[test]
    fn every_minute_of_a_window_has_a_prefix() {
        let template = KeyTemplate::new("a/%-H-%M/");
        let (from, to) = (at("2026-11-22T09:58:59Z"), at("2026-11-22T10:01:00Z"));
        let prefixes = template.prefixes(from, to, 9).unwrap();
        assert_eq!(prefixes, ["a/9-58/", "a/9-59/", "a/10-00/", "a/10-01/"]);
    }

    #[test]
    fn a_template_without_time_fields_is_one_prefix() {
        let template = KeyTemplate::new("transit/");
        let (from, to) = (at("2026-11-22T09:58:59Z"), at("2026-11-23T10:01:00Z"));
        assert_eq!(template.prefixes(from, to, 1).unwrap(), ["transit/"]);
    }
}
