//! Durations, instants and counts as text for people.
//!
//! Two precisions: [`short`] for tables, with about three digits, and [`exact`] for the page of one trace.
//! Instants are in UTC, like the logs that people compare them with.

use std::fmt::Write as _;
use std::time::Duration;

use crate::domain::quantile::Quantile;
use crate::domain::time::Timestamp;

/// Two or three digits and a unit: `340 ms`, `4.2 s`, `18 min`, `3 h 12 min`.
#[must_use]
pub(crate) fn short(duration: Duration) -> String {
    let micros = duration.as_micros();
    let millis = (micros + 500) / 1_000;
    let secs = duration.as_secs();
    match secs {
        _ if micros == 0 => "0 s".to_owned(),
        _ if micros < 1_000 => "< 1 ms".to_owned(),
        _ if millis < 1_000 => format!("{millis} ms"),
        0..60 => tenths(millis),
        60..600 => with_rest(secs / 60, "min", secs % 60, "s"),
        600..3_600 => format!("{} min", secs / 60),
        3_600..86_400 => with_rest(secs / 3_600, "h", secs % 3_600 / 60, "min"),
        _ => with_rest(secs / 86_400, "d", secs % 86_400 / 3_600, "h"),
    }
}

/// An age in whole seconds, because tenths would only flicker.
#[must_use]
pub(crate) fn age(duration: Duration) -> String {
    match duration.as_secs() {
        secs @ 0..60 => format!("{secs} s"),
        _ => short(duration),
    }
}

/// Truncated to tenths and not rounded: a latency that met a target of 30 s must not be shown as more.
fn tenths(millis: u128) -> String {
    match (millis / 1_000, millis % 1_000 / 100) {
        (whole, 0) => format!("{whole} s"),
        (whole, tenth) => format!("{whole}.{tenth} s"),
    }
}

fn with_rest(whole: u64, unit: &str, rest: u64, small: &str) -> String {
    if rest == 0 { format!("{whole} {unit}") } else { format!("{whole} {unit} {rest} {small}") }
}

/// To the millisecond: `4.231 s`, `18 min 4.231 s`.
#[must_use]
pub(crate) fn exact(duration: Duration) -> String {
    let millis = duration.as_millis();
    let (minutes, millis) = (millis / 60_000, millis % 60_000);
    let seconds = format!("{}.{:03} s", millis / 1_000, millis % 1_000);
    match minutes {
        0 => seconds,
        _ => format!("{minutes} min {seconds}"),
    }
}

/// A quantile for narrow columns, with `>` if it falls on traces that have not arrived: `2.7 min`, `> 46 s`.
#[must_use]
pub(crate) fn quantile(quantile: Quantile) -> String {
    let narrow = |duration: Duration| match duration.as_secs() {
        secs @ 60..600 => format!("{}.{} min", secs / 60, secs % 60 / 6),
        _ => short(duration),
    };
    match quantile {
        Quantile::Exactly(duration) => narrow(duration),
        Quantile::MoreThan(duration) => format!("> {}", narrow(duration)),
    }
}

/// The time of day, with the date unless it is the day of `now`.
#[must_use]
pub(crate) fn clock(at: Timestamp, now: Timestamp) -> String {
    let same_day = at.strftime("%F") == now.strftime("%F");
    at.strftime(if same_day { "%T UTC" } else { "%F %T UTC" })
}

/// Date and time to the millisecond.
#[must_use]
pub(crate) fn instant(at: Timestamp) -> String {
    at.strftime("%F %H:%M:%S%.3f UTC")
}

/// How long ago: `18 min ago`.
#[must_use]
pub(crate) fn ago(at: Timestamp, now: Timestamp) -> String {
    format!("{} ago", age(now.since(at)))
}

/// How long ago in whole minutes, for a text in which no browser counts: `18 min ago`, `3 h 12 min ago`.
#[must_use]
pub(crate) fn minutes_ago(at: Timestamp, now: Timestamp) -> String {
    match now.since(at).as_secs() / 60 {
        0 => "less than a minute ago".to_owned(),
        minutes => format!("{} ago", short(Duration::from_secs(minutes * 60))),
    }
}

/// A number with its noun: `1 canary`, `36 canaries`.
#[must_use]
pub(crate) fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// Bytes, in the units in which payload sizes are configured.
#[must_use]
pub(crate) fn bytes(size: u32) -> String {
    match size {
        0..1_000 => format!("{size} B"),
        _ if size.is_multiple_of(1_024) => format!("{} KiB", size / 1_024),
        _ if size.is_multiple_of(1_000) => format!("{} KB", size / 1_000),
        _ => format!("{size} B"),
    }
}

/// Parses a duration such as `90s`, `15m`, `2h`, `1d`.
#[must_use]
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits.trim().parse().ok()?;
    let unit = match &text[digits.len()..] {
        "s" => 1,
        "m" | "min" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    number.checked_mul(unit).map(Duration::from_secs)
}

/// Encodes text for the query of a URL: all but the unreserved characters of RFC 3986, commas and colons.
#[must_use]
pub(crate) fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b',' | b':' => {
                encoded.push(char::from(byte));
            }
            _ => {
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_duration_has_about_three_digits() {
        let texts: Vec<_> = [0, 7, 340, 4_240, 30_000, 41_360, 125_000, 1_085_000, 11_520_000, 183_600_000]
            .map(|millis| short(ms(millis)))
            .into();
        assert_eq!(
            texts,
            [
                "0 s",
                "7 ms",
                "340 ms",
                "4.2 s",
                "30 s",
                "41.3 s",
                "2 min 5 s",
                "18 min",
                "3 h 12 min",
                "2 d 3 h"
            ]
        );
        assert_eq!(exact(ms(4_231)), "4.231 s");
        assert_eq!(exact(ms(1_084_231)), "18 min 4.231 s");
    }

    #[test]
    fn a_latency_that_met_its_target_is_not_shown_above_it() {
        assert_eq!(short(ms(29_999)), "29.9 s");
    }

    #[test]
    fn durations_are_parsed() {
        assert_eq!(parse_duration("15m"), Some(Duration::from_secs(900)));
        assert_eq!(parse_duration("2h"), Some(Duration::from_secs(7_200)));
        for wrong in ["", "15", "m", "-3m", "15 parsecs", "99999999999999999999d", "1é"] {
            assert_eq!(parse_duration(wrong), None, "{wrong}");
        }
    }
}
