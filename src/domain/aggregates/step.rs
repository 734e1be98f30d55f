//! The lengths of buckets, and how long each is kept.

use std::time::Duration;

use crate::domain::time::Timestamp;

/// How long a bucket is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Step {
    Minute,
    Hour,
}

impl Step {
    /// The shorter one first.
    pub const ALL: [Self; 2] = [Self::Minute, Self::Hour];

    /// How long a bucket is.
    #[must_use]
    pub const fn length(self) -> Duration {
        match self {
            Self::Minute => Duration::from_secs(60),
            Self::Hour => Duration::from_secs(3_600),
        }
    }

    /// How many buckets of a tenant are kept: a day of minutes, 30 days of hours. The one that has begun is
    /// kept besides.
    #[must_use]
    pub const fn kept(self) -> i64 {
        match self {
            Self::Minute => 24 * 60,
            Self::Hour => 30 * 24,
        }
    }

    /// As in parameters and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
        }
    }

    /// The step that is spelled so.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|step| step.as_str() == text)
    }

    /// The number of the bucket that an instant belongs to, counted from the Unix epoch.
    #[must_use]
    pub fn slot_of(self, at: Timestamp) -> i64 {
        at.micros().div_euclid(self.micros())
    }

    /// When a bucket begins.
    #[must_use]
    pub fn start(self, slot: i64) -> Timestamp {
        Timestamp::from_micros(slot.saturating_mul(self.micros()))
    }

    /// The first bucket that is still kept.
    pub(super) fn oldest(self, now: Timestamp) -> i64 {
        self.slot_of(now) - self.kept()
    }

    const fn micros(self) -> i64 {
        match self {
            Self::Minute => 60_000_000,
            Self::Hour => 3_600_000_000,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_belongs_to_the_bucket_that_begins_at_or_before_it() {
        for (step, seconds) in [(Step::Minute, 60), (Step::Hour, 3_600)] {
            assert_eq!(step.length(), Duration::from_secs(seconds));
            for at in [-1, 0, 59, 60, 3_599, 3_600].map(Timestamp::from_secs) {
                let start = step.start(step.slot_of(at));
                assert!(start <= at && at < start + step.length(), "{at}, {step:?}");
            }
        }
    }
}
