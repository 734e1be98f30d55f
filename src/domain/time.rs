//! Wall-clock time as the probe uses it: microseconds since the Unix epoch, and intervals of it.
//!
//! An arrival is never a bare instant. We know that an event had not arrived at the last poll without it, and
//! that it had arrived when a poll showed it. So an arrival is an [`Interval`], on the probe's own clock.

use std::fmt;
use std::ops::{Add, Sub};
use std::sync::Arc;
use std::time::Duration;

use super::time_zone::TimeZone;

/// An instant of the wall clock, in microseconds since the Unix epoch (UTC).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// Earlier than any real timestamp.
    pub const MIN: Self = Self(i64::MIN);
    /// Later than any real timestamp.
    pub const MAX: Self = Self(i64::MAX);

    /// From microseconds since the Unix epoch.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// From milliseconds since the Unix epoch, the unit of AWS stamps.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis.saturating_mul(1_000))
    }

    /// From seconds since the Unix epoch.
    #[must_use]
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(1_000_000))
    }

    /// Microseconds since the Unix epoch.
    #[must_use]
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Whole milliseconds since the Unix epoch, rounded down.
    #[must_use]
    pub const fn millis(self) -> i64 {
        self.0.div_euclid(1_000)
    }

    /// Seconds since the Unix epoch, for metrics.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        reason = "microseconds of this century fit into the 53 bits of a double"
    )]
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// How long after `earlier` this is; zero if it is not later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Rounded down to whole milliseconds.
    #[must_use]
    pub const fn floor_to_millis(self) -> Self {
        Self::from_millis(self.millis())
    }

    /// `2026-11-22T04:29:41.123Z`: RFC 3339 in UTC with milliseconds.
    #[must_use]
    pub fn to_rfc3339(self) -> String {
        self.strftime("%Y-%m-%dT%H:%M:%S%.3fZ")
    }

    /// Formats in UTC by a `strftime` pattern; see [`TimeZone::strftime`].
    #[must_use]
    pub fn strftime(self, pattern: &str) -> String {
        TimeZone::UTC.strftime(self, pattern)
    }

    /// Parses RFC 3339 (`2026-11-22T04:29:41.123Z`, any offset).
    #[must_use]
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        text.parse::<jiff::Timestamp>().ok().map(|stamp| Self(stamp.as_microsecond()))
    }
}

/// What the platform (ECS) reports about the probe's own clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OwnClock {
    /// Maximum error; `None` if it is not reported.
    pub error_bound: Option<Duration>,
    /// Whether it is synchronized with a reference.
    pub synchronized: bool,
    /// When it was last compared with the reference.
    pub compared_at: Option<Timestamp>,
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, by: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(by.as_micros()).unwrap_or(i64::MAX)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(by.as_micros()).unwrap_or(i64::MAX)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_rfc3339())
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.strftime("%Y-%m-%dT%H:%M:%S%.6fZ"))
    }
}

/// When something arrived: not before `earliest`, and no later than `latest`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Interval {
    /// It cannot have arrived before this.
    pub earliest: Timestamp,
    /// It had certainly arrived by this. Histograms take this end.
    pub latest: Timestamp,
}

impl Interval {
    /// The interval between two instants; the instant `latest` if they are in the wrong order.
    #[must_use]
    pub fn new(earliest: Timestamp, latest: Timestamp) -> Self {
        Self { earliest: earliest.min(latest), latest }
    }

    /// An instant that is known exactly, such as a planned injection.
    #[must_use]
    pub const fn exactly(at: Timestamp) -> Self {
        Self { earliest: at, latest: at }
    }

    /// The intersection; `None` if it is empty.
    #[must_use]
    pub fn intersect(self, other: Self) -> Option<Self> {
        let earliest = self.earliest.max(other.earliest);
        let latest = self.latest.min(other.latest);
        (earliest <= latest).then_some(Self { earliest, latest })
    }

    /// Moves both ends outwards, for clocks that may differ by this much.
    #[must_use]
    pub fn widen(self, by: Duration) -> Self {
        Self { earliest: self.earliest - by, latest: self.latest + by }
    }

    /// The uncertainty: how far apart the ends are.
    #[must_use]
    pub fn width(self) -> Duration {
        self.latest.since(self.earliest)
    }

    /// Whether an instant lies inside, both ends included.
    #[must_use]
    pub fn contains(self, at: Timestamp) -> bool {
        self.earliest <= at && at <= self.latest
    }
}

/// Reads the wall clock. Parts that have to stamp what they did are given one; only the daemon knows its
/// source.
#[derive(Clone)]
pub struct WallClock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl WallClock {
    /// A clock that calls `read` each time.
    pub fn new(read: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    #[must_use]
    pub fn now(&self) -> Timestamp {
        (self.0)()
    }
}

impl fmt::Debug for WallClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WallClock")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn t(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    #[test]
    fn a_timestamp_prints_as_rfc3339_and_parses_back() {
        let at = Timestamp::from_millis(1_795_321_781_123);
        assert_eq!(at.to_rfc3339(), "2026-11-22T04:29:41.123Z");
        assert_eq!(Timestamp::parse_rfc3339(&at.to_rfc3339()), Some(at));
    }

    #[test]
    fn a_negative_duration_is_zero() {
        assert_eq!(t(5).since(t(7)), Duration::ZERO);
        assert_eq!(t(7).since(t(5)), Duration::from_secs(2));
    }

    #[test]
    fn strftime_fills_in_time_fields() {
        assert_eq!(
            Timestamp::from_secs(0).strftime("archive/dt=%Y-%m-%d/hour=%H/"),
            "archive/dt=1970-01-01/hour=00/"
        );
    }

    #[test]
    fn intervals_that_touch_have_one_common_instant() {
        let a = Interval::new(t(1), t(2));
        assert_eq!(a.intersect(Interval::new(t(2), t(3))), Some(Interval::exactly(t(2))));
        assert_eq!(a.intersect(Interval::new(t(3), t(4))), None);
    }

    #[test]
    fn an_interval_never_ends_before_it_begins() {
        assert_eq!(Interval::new(t(9), t(3)), Interval::exactly(t(3)));
    }
}
