//! Key prefixes that contain time fields, such as `archive/tenant=acme/dt=%Y-%m-%d/hour=%H/`.

use std::fmt;
use std::time::Duration;

use crate::domain::time::Timestamp;
use crate::domain::time_zone::TimeZone;

/// The most steps from the start of a window to its end. A day has 1,440 minutes.
const MAX_STEPS: usize = 10_000;
/// No local hour is shorter than 30 minutes: on Lord Howe Island, clocks are set forward by 30 minutes.
const HOUR_STEP: Duration = Duration::from_mins(30);
/// Longer than the local time that a prefix covers, which has at least a day in it: a day has up to 25 hours.
const LONGEST_PREFIX: Duration = Duration::from_hours(26);

/// A key prefix with `strftime` specifiers, which are rendered in the time zone of the writer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyTemplate {
    template: String,
    zone: TimeZone,
}

impl KeyTemplate {
    /// Makes a template in UTC; `{tenant}` must already be replaced in it.
    #[must_use]
    pub fn new(template: impl Into<String>) -> Self {
        Self { template: template.into(), zone: TimeZone::UTC }
    }

    /// Renders time fields in this time zone.
    #[must_use]
    pub fn in_zone(self, zone: TimeZone) -> Self {
        Self { zone, ..self }
    }

    /// Returns the time zone of its time fields.
    #[must_use]
    pub fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// Returns the prefixes of all instants from `from` to `to`, oldest first. `None` if there are more than
    /// `max_prefixes`, or if the window is longer than `MAX_STEPS` steps.
    #[must_use]
    pub fn prefixes(&self, from: Timestamp, to: Timestamp, max_prefixes: usize) -> Option<Vec<String>> {
        let mut prefixes: Vec<String> = Vec::new();
        let mut instant = from.min(to);
        for _ in 0..MAX_STEPS {
            let prefix = self.prefix_of(instant.min(to));
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

    /// Returns the last prefixes up to `to`, at most `count`, newest first. They reach back `MAX_STEPS` steps.
    #[must_use]
    pub fn last_prefixes(&self, to: Timestamp, count: usize) -> Vec<String> {
        let mut prefixes: Vec<String> = Vec::new();
        let mut instant = to;
        for _ in 0..MAX_STEPS {
            let prefix = self.prefix_of(instant);
            if prefixes.last() != Some(&prefix) {
                if prefixes.len() == count {
                    break;
                }
                prefixes.push(prefix);
            }
            instant = instant - self.step();
        }
        prefixes
    }

    /// Returns the prefixes that are listed from `from` to `to` and in which local time repeats, because clocks
    /// are set back. A later key of such a prefix may sort before an earlier one.
    #[must_use]
    pub fn repeating(&self, from: Timestamp, to: Timestamp) -> Vec<String> {
        let changes = self.zone.set_back(from - LONGEST_PREFIX, to + LONGEST_PREFIX);
        let repeating = changes.into_iter().flat_map(|change| {
            // The last instant of the repeated time belongs to it, the first after it does not.
            let last = change.at + change.by - Duration::from_secs(1);
            self.prefixes(change.at, last, MAX_STEPS).unwrap_or_default()
        });
        repeating.collect()
    }

    /// Returns a step so short that no prefix lies between two of them: half an hour, a minute or a second.
    fn step(&self) -> Duration {
        let mut finest = HOUR_STEP;
        let mut chars = self.template.chars();
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
        self.zone.strftime(at, &self.template)
    }

    /// When this prefix began at the latest, if it is one of the last before `to`.
    pub(super) fn began(&self, prefix: &str, to: Timestamp) -> Timestamp {
        let mut instant = to;
        for _ in 0..MAX_STEPS {
            if self.prefix_of(instant) == prefix {
                break;
            }
            instant = instant - self.step();
        }
        instant
    }
}

impl fmt::Display for KeyTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.template)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse_rfc3339(text).unwrap()
    }

    fn hours(zone: &str, from: &str, to: &str) -> Vec<String> {
        let template = KeyTemplate::new("%m-%d/%H").in_zone(TimeZone::named(zone).unwrap());
        template.prefixes(at(from), at(to), 9).unwrap()
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
    fn midnight_is_that_of_the_time_zone() {
        let listed = hours("Asia/Kathmandu", "2026-11-22T18:14:59Z", "2026-11-22T18:15:00Z");
        assert_eq!(listed, ["11-22/23", "11-23/00"]);
    }

    #[test]
    fn the_hour_that_daylight_saving_skips_has_no_prefix() {
        let listed = hours("Europe/Berlin", "2027-03-28T00:30:00Z", "2027-03-28T01:30:00Z");
        assert_eq!(listed, ["03-28/01", "03-28/03"]);
    }

    #[test]
    fn the_hour_that_is_repeated_is_one_prefix() {
        let listed = hours("Europe/Berlin", "2027-10-30T23:30:00Z", "2027-10-31T02:30:00Z");
        assert_eq!(listed, ["10-31/01", "10-31/02", "10-31/03"]);
    }

    #[test]
    fn an_hour_that_is_cut_in_half_has_a_prefix() {
        // At 02:00 clocks are set to 02:30.
        let listed = hours("Australia/Lord_Howe", "2027-10-02T14:45:00Z", "2027-10-02T16:15:00Z");
        assert_eq!(listed, ["10-03/01", "10-03/02", "10-03/03"]);
    }

    #[test]
    fn only_the_prefix_of_the_repeated_hour_repeats() {
        let template = |text| KeyTemplate::new(text).in_zone(TimeZone::named("Europe/Berlin").unwrap());
        let repeating = |text, now| template(text).repeating(at(now), at(now));
        for now in ["2027-10-31T00:10:00Z", "2027-10-31T01:50:00Z"] {
            assert_eq!(repeating("%d/%H/", now), ["31/02/"]);
        }
        assert_eq!(repeating("%Y-%m-%d/", "2027-10-31T22:50:00Z"), ["2027-10-31/"]);
        assert!(repeating("%d/%H/", "2027-11-02T12:00:00Z").is_empty());
        assert!(KeyTemplate::new("%d/%H/").repeating(at("2027-01-01T00:00:00Z"), Timestamp::MAX).is_empty());
    }

    proptest! {
        #[test]
        fn in_every_time_zone_each_minute_of_a_window_has_its_prefix(
            zone in proptest::sample::select(TimeZone::names()),
            from in at("2000-01-01T00:00:00Z").micros()..at("2040-01-01T00:00:00Z").micros(),
            minutes in 0_u32..300,
        ) {
            let from = Timestamp::from_micros(from);
            let template = KeyTemplate::new("%Y-%m-%d/%H/").in_zone(TimeZone::named(&zone).unwrap());
            let listed = template.prefixes(from, from + Duration::from_mins(1) * minutes, 9).unwrap();
            for minute in 0..=minutes {
                let prefix = template.prefix_of(from + Duration::from_mins(1) * minute);
                prop_assert!(listed.contains(&prefix), "{zone}: {prefix}");
            }
        }
    }

    #[test]
    fn the_last_prefixes_are_listed_backwards_without_gaps() {
        let last = |template: &str, count| {
            KeyTemplate::new(template).last_prefixes(at("2026-11-23T01:00:30Z"), count)
        };
        assert_eq!(last("%d/%H/", 3), ["23/01/", "23/00/", "22/23/"]);
        assert_eq!(last("%d/%H/%M/", 2), ["23/01/00/", "23/00/59/"]);
        assert_eq!(last("%Y-%m-%d/", 2), ["2026-11-23/", "2026-11-22/"]);
        assert_eq!(last("transit/", 3), ["transit/"]);
    }

    #[test]
    fn a_template_without_time_fields_is_one_prefix() {
        let template = KeyTemplate::new("transit/");
        let (from, to) = (at("2026-11-22T09:58:59Z"), at("2026-11-23T10:01:00Z"));
        assert_eq!(template.prefixes(from, to, 1).unwrap(), ["transit/"]);
    }
}
