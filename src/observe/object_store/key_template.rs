//! Key prefixes that contain time fields, such as `archive/tenant=acme/dt=%Y-%m-%d/hour=%H/`.

use std::fmt;
use std::time::Duration;

use crate::domain::time::Timestamp;

/// The most steps from the start of a window to its end. A day has 1,440 minutes.
const MAX_STEPS: usize = 10_000;

/// A key prefix with `strftime` specifiers, which are rendered in UTC.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyTemplate(String);

impl KeyTemplate {
    /// Makes a template; `{tenant}` must already be replaced in it.
    #[must_use]
    pub fn new(template: impl Into<String>) -> Self {
        Self(template.into())
    }

    /// Returns the prefixes of all instants from `from` to `to`, oldest first. `None` if there are more than
    /// `max_prefixes`, or if the window is longer than `MAX_STEPS` steps.
    #[must_use]
    pub fn prefixes(&self, from: Timestamp, to: Timestamp, max_prefixes: usize) -> Option<Vec<String>> {
        let mut prefixes: Vec<String> = Vec::new();
        let mut instant = from.min(to);
        for _ in 0..MAX_STEPS {
            let prefix = instant.min(to).strftime(&self.0);
            if !prefixes.contains(&prefix) {
                prefixes.push(prefix);
            }
            if prefixes.len() > max_prefixes {
                return None;
            }
            if instant >= to {
                return Some(prefixes);
            }
            instant = instant + self.step();
        }
        None
    }

    /// Returns a step so short that no field changes more than once within it: an hour, a minute or a second.
    fn step(&self) -> Duration {
        let mut finest = Duration::from_secs(3_600);
        let mut chars = self.0.chars();
        while let Some(c) = chars.next() {
            if c != '%' {
                continue;
            }
            // Flags and widths come between the percent sign and the specifier: `%-H`, `%03j`.
            let specifier = chars.find(|c| c.is_ascii_alphabetic() || *c == '%');
            finest = finest.min(match specifier {
                Some('S' | 's' | 'T' | 'X' | 'c' | 'r' | 'f' | 'N') => Duration::from_secs(1),
                Some('M' | 'R') => Duration::from_secs(60),
                _ => finest,
            });
        }
        finest
    }
}

impl KeyTemplate {
    /// The prefix of keys that are written at this time.
    #[must_use]
    pub fn prefix_of(&self, at: Timestamp) -> String {
        at.strftime(&self.0)
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
    fn a_window_across_an_hour_boundary_lists_both_hours() {
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
