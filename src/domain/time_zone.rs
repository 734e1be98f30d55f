//! Local time, for writers that name their objects by it.

use std::fmt;
use std::sync::LazyLock;
use std::time::Duration;

use jiff::tz::TimeZoneDatabase;

use super::time::Timestamp;

/// The IANA database as it was when the probe was built. It is compiled in, because the container image has
/// none, and so that a key never depends on the machine.
static DATABASE: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// A time zone of the IANA database, such as `Asia/Tokyo`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TimeZone(jiff::tz::TimeZone);

/// An instant at which the clocks of a time zone are set back, so that local times repeat.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SetBack {
    /// The first instant after the change.
    pub at: Timestamp,
    /// How far the clocks are set back.
    pub by: Duration,
}

impl TimeZone {
    /// Coordinated universal time.
    pub const UTC: Self = Self(jiff::tz::TimeZone::UTC);

    /// Returns the time zone of this name, in any case; `None` if there is none.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        DATABASE.get(name).ok().map(Self)
    }

    /// Returns the names of all time zones.
    #[must_use]
    pub fn names() -> Vec<String> {
        DATABASE.available().map(|name| name.to_string()).collect()
    }

    /// Formats local time by a `strftime` pattern, which is returned as it is if it is not valid.
    ///
    /// Instants outside the years -9999 to 9999 are clamped.
    #[must_use]
    pub fn strftime(&self, at: Timestamp, pattern: &str) -> String {
        let local = instant(at).to_zoned(self.0.clone());
        jiff::fmt::strtime::format(pattern, &local).unwrap_or_else(|_| pattern.to_owned())
    }

    /// Returns when clocks are set back from `from` to `to`, oldest first.
    #[must_use]
    pub fn set_back(&self, from: Timestamp, to: Timestamp) -> Vec<SetBack> {
        let (from, to) = (instant(from), instant(to));
        let changes = self.0.following(from).take_while(|change| change.timestamp() <= to);
        let back = changes.filter_map(|change| {
            let before = change.timestamp().checked_sub(jiff::SignedDuration::from_micros(1)).ok()?;
            let by = self.0.to_offset(before).seconds() - change.offset().seconds();
            let by = u64::try_from(by).ok().filter(|by| *by > 0)?;
            let at = Timestamp::from_micros(change.timestamp().as_microsecond());
            Some(SetBack { at, by: Duration::from_secs(by) })
        });
        back.collect()
    }
}

impl Default for TimeZone {
    fn default() -> Self {
        Self::UTC
    }
}

impl fmt::Display for TimeZone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.iana_name().unwrap_or("UTC"))
    }
}

fn instant(at: Timestamp) -> jiff::Timestamp {
    let clamped = if at.micros() < 0 { jiff::Timestamp::MIN } else { jiff::Timestamp::MAX };
    jiff::Timestamp::from_microsecond(at.micros()).unwrap_or(clamped)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse_rfc3339(text).unwrap()
    }

    fn hour(zone: &str, text: &str) -> String {
        TimeZone::named(zone).unwrap().strftime(at(text), "%d %H:%M")
    }

    #[test]
    fn the_database_is_compiled_in() {
        assert_eq!(hour("Asia/Tokyo", "2026-11-22T15:00:00Z"), "23 00:00");
        assert_eq!(hour("Asia/Kathmandu", "2026-11-22T18:15:00Z"), "23 00:00");
        assert_eq!(hour("America/Los_Angeles", "2026-11-23T07:59:59Z"), "22 23:59");
    }

    #[test]
    fn names_are_accepted_in_any_case_and_unknown_ones_are_not() {
        assert_eq!(TimeZone::named("asia/tokyo").unwrap().to_string(), "Asia/Tokyo");
        assert!(TimeZone::named("Asia/Tokio").is_none() && TimeZone::named("UTC+9").is_none());
        assert!(TimeZone::names().len() > 400);
    }

    #[test]
    fn clocks_are_set_back_once_a_year_where_there_is_daylight_saving() {
        let (from, to) = (at("2027-01-01T00:00:00Z"), at("2028-01-01T00:00:00Z"));
        let back = |zone| TimeZone::named(zone).unwrap().set_back(from, to);
        let an_hour = Duration::from_hours(1);
        assert_eq!(back("Europe/Berlin"), [SetBack { at: at("2027-10-31T01:00:00Z"), by: an_hour }]);
        assert_eq!(back("Australia/Lord_Howe")[0].by, an_hour / 2);
        assert!(back("Asia/Tokyo").is_empty() && back("UTC").is_empty());
    }
}
