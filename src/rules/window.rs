//! Windows that hold enough canaries.
//!
//! A window is named by the number of canaries that it holds at the usual interval of 30 s: 10 in 5 minutes.
//! With a longer interval it grows until it holds them. With a shorter one it stays as it is and holds more,
//! as the window of conditions does: a shorter window would only be met by chance more often.

use std::time::Duration;

use super::Settings;

/// The usual window, which holds [`USUAL_CANARIES`] at an interval of 30 s.
const USUAL_WINDOW: Duration = Duration::from_secs(15 * 60);
const USUAL_CANARIES: u32 = 30;
/// `increase()` needs two samples in its window, and one scrape may fail; with a window of fewer scrapes, its
/// extrapolation to the edges weighs too much.
const LEAST_SCRAPES: u32 = 4;
/// Prometheus keeps 15 days unless it is told otherwise; a rule must not depend on half of that.
const LONGEST: Duration = Duration::from_secs(7 * 86_400);

/// How long windows are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Scale {
    base: Duration,
    scrape: Duration,
}

impl Scale {
    pub(super) fn of(settings: &Settings) -> Self {
        Self { base: settings.window.unwrap_or(USUAL_WINDOW), scrape: settings.scrape_interval }
    }

    /// The interval from which on windows grow.
    pub(super) fn usual_interval(self) -> Duration {
        self.base / USUAL_CANARIES
    }

    /// A window for this number of canaries.
    pub(super) fn window(self, canaries: u32, interval: Duration) -> Duration {
        let window = interval.max(self.usual_interval()).saturating_mul(canaries);
        whole_seconds(window.max(self.scrape * LEAST_SCRAPES).min(LONGEST))
    }

    /// A time that is this long with the usual window.
    pub(super) fn usual(self, time: Duration) -> Duration {
        whole_seconds(time.mul_f64(self.base.as_secs_f64() / USUAL_WINDOW.as_secs_f64()))
    }

    /// A time that does not depend on canaries, in parts of which [`USUAL_CANARIES`] make the base.
    pub(super) fn time(self, parts: u32) -> Duration {
        whole_seconds(self.usual_interval() * parts)
    }
}

fn whole_seconds(duration: Duration) -> Duration {
    Duration::from_secs(duration.as_secs() + u64::from(duration.subsec_nanos() > 0))
        .max(Duration::from_secs(1))
}

/// Writes a duration for Prometheus: `1h30m`. In whole seconds, which is what all of them are.
pub(crate) fn text(duration: Duration) -> String {
    let mut rest = duration.as_secs();
    let mut text = String::new();
    for (unit, seconds) in [("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)] {
        if rest >= seconds {
            text += &format!("{}{unit}", rest / seconds);
            rest %= seconds;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// Writes a threshold for people: `2.5 s`.
pub(crate) fn seconds(duration: Duration) -> String {
    format!("{} s", duration.as_secs_f64())
}
