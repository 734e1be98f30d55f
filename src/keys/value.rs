//! Parsers of single values: durations, sizes, counts, addresses.
//!
//! Each function reads one TOML value. Its error names the value and what would be right; the caller puts the
//! key in front. None of them guesses: a bare number is not a valid duration, because half of all readers
//! would take it for milliseconds.

use std::net::SocketAddr;
use std::time::Duration;

use toml::Value;

pub(crate) type Parsed<T> = Result<T, String>;

/// Returns a value as it is quoted in a message.
pub(crate) fn quoted(value: &Value) -> String {
    match value {
        Value::String(text) => format!("\"{text}\""),
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => value.to_string(),
        Value::Array(_) => "a list".to_owned(),
        Value::Table(_) => "a table".to_owned(),
    }
}

/// Reads any text that is not blank.
pub(crate) fn text(value: &Value) -> Parsed<String> {
    match value {
        Value::String(text) if text.trim().is_empty() => {
            Err(format!("\"{text}\" is blank; write a value, or leave the key out"))
        }
        Value::String(text) => Ok(text.clone()),
        other => Err(format!("{} is not text; write a text in quotes", quoted(other))),
    }
}

pub(crate) fn boolean(value: &Value) -> Parsed<bool> {
    value
        .as_bool()
        .ok_or_else(|| format!("{} is not a boolean; write true or false, without quotes", quoted(value)))
}

/// Reads a whole number from `min` to `max`.
pub(crate) fn count(min: u32, max: u32) -> impl Fn(&Value) -> Parsed<u32> {
    move |value| {
        let Value::Integer(number) = value else {
            return Err(format!(
                "{} is not a whole number; write a number from {min} to {max}, without quotes",
                quoted(value)
            ));
        };
        u32::try_from(*number)
            .ok()
            .filter(|number| (min..=max).contains(number))
            .ok_or_else(|| format!("{number} is out of range; it must be {min} to {max}"))
    }
}

/// Reads one of the listed texts.
pub(crate) fn choice<T: Copy>(choices: &[(&str, T)]) -> impl Fn(&Value) -> Parsed<T> {
    move |value| {
        let found = choices.iter().find(|(name, _)| value.as_str() == Some(name));
        found.map(|(_, choice)| *choice).ok_or_else(|| {
            let names: Vec<_> = choices.iter().map(|(name, _)| format!("\"{name}\"")).collect();
            let near = super::fault::suggestion(
                value.as_str().unwrap_or_default(),
                choices.iter().map(|(name, _)| *name),
            );
            format!("{} is not one of {}{near}", quoted(value), names.join(", "))
        })
    }
}

/// Reads a list of at least one element; `parse` reads each of them. The error has the faults of all elements.
pub(crate) fn list<T>(parse: impl Fn(&Value) -> Parsed<T>) -> impl Fn(&Value) -> Parsed<Vec<T>> {
    move |value| match value {
        Value::Array(items) if items.is_empty() => {
            Err("[] is empty; write at least one value, or leave the key out".to_owned())
        }
        Value::Array(items) => {
            let (mut read, mut faults) = (Vec::with_capacity(items.len()), Vec::new());
            for item in items {
                match parse(item) {
                    Ok(value) => read.push(value),
                    Err(fault) if faults.contains(&fault) => {}
                    Err(fault) => faults.push(fault),
                }
            }
            if faults.is_empty() { Ok(read) } else { Err(faults.join("; and ")) }
        }
        Value::Table(_) => Err("a table is not a list; write the values in brackets".to_owned()),
        other => Err(format!("{0} is not a list; write [{0}]", quoted(other))),
    }
}

/// A year is longer than anything a probe waits for, and keeps sums of durations clear of overflow.
const MAX_DURATION_DAYS: u32 = 366;
/// A pebibyte is beyond every limit here, and well within what a double represents exactly.
const MAX_SIZE_TB: u32 = 1 << 10;
const GB: f64 = 1_073_741_824.0;
const TB: f64 = 1024.0 * GB;

/// Units of a duration, in seconds.
const DURATION_UNITS: [(&str, f64); 5] =
    [("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0), ("d", 86_400.0)];

/// Reads a duration: numbers with the units ms, s, m, h, d, such as `30s`, `7.5s`, `250ms`, `1h30m`.
pub(crate) fn duration(value: &Value) -> Parsed<Duration> {
    let wrong = || {
        format!(
            "{} is not a valid duration; write for example \"30s\", \"250ms\" or \"1h30m\" (units ms, s, m, h, d)",
            quoted(value)
        )
    };
    let text = match value {
        Value::Integer(_) | Value::Float(_) => {
            return Err(format!("{value} has no unit; write \"{value}s\" if you mean seconds"));
        }
        Value::String(text) => text.trim(),
        _ => return Err(wrong()),
    };
    if text.parse::<f64>().is_ok() {
        return Err(format!("\"{text}\" has no unit; write \"{text}s\" if you mean seconds"));
    }
    let mut seconds = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let (number, unit, after) = number_and_unit(rest).ok_or_else(wrong)?;
        let (_, factor) = DURATION_UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
        seconds += number * factor;
        rest = after;
    }
    if text.is_empty() {
        return Err(wrong());
    }
    if seconds > f64::from(MAX_DURATION_DAYS) * 86_400.0 {
        return Err(format!("\"{text}\" is too long; a duration may be at most {MAX_DURATION_DAYS}d"));
    }
    // Rounded to whole microseconds, so that two spellings of 0.1 s are equal.
    Ok(Duration::from_micros(Duration::from_secs_f64(seconds + 5e-7).as_micros() as u64))
}

/// Splits `text` into the number at its start, the letters after it, and what follows them.
fn number_and_unit(text: &str) -> Option<(f64, &str, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, rest) = text.split_at(digits);
    let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
    let (unit, after) = rest.split_at(letters);
    Some((number.parse().ok()?, unit, after))
}

/// Reads a duration from `min` to `max`; `why` is appended to a fault about the upper limit.
pub(crate) fn duration_within(
    min: Duration,
    max: Duration,
    why: &str,
) -> impl Fn(&Value) -> Parsed<Duration> {
    move |value| {
        let read = duration(value)?;
        if read < min {
            return Err(format!(
                "{} is too short; it must be at least {}",
                show_duration(read),
                show_duration(min)
            ));
        }
        if read > max {
            return Err(format!(
                "{} is too long; it must be at most {}{why}",
                show_duration(read),
                show_duration(max)
            ));
        }
        Ok(read)
    }
}

/// Writes a duration as [`duration`] reads it: `1m30s`, `7.5s`, `250ms`.
pub(crate) fn show_duration(duration: Duration) -> String {
    let millis = duration.subsec_millis();
    if duration.as_secs() == 0 {
        return if duration.is_zero() {
            "0s".to_owned()
        } else {
            format!("{}ms", duration.as_micros() as f64 / 1e3)
        };
    }
    let (hours, minutes, seconds) =
        (duration.as_secs() / 3600, duration.as_secs() / 60 % 60, duration.as_secs() % 60);
    let mut shown = String::new();
    if hours > 0 {
        shown += &format!("{hours}h");
    }
    if minutes > 0 {
        shown += &format!("{minutes}m");
    }
    if millis > 0 {
        shown += &format!("{}s", seconds as f64 + f64::from(millis) / 1e3);
    } else if seconds > 0 {
        shown += &format!("{seconds}s");
    }
    shown
}

/// Reads a size in bytes: `100B`, `1KB`, `64MB`. K, M, G and T are powers of 1024, with or without an `i`,
/// because the pipeline's targets count 10 KB as 10,240 bytes.
pub(crate) fn size(value: &Value) -> Parsed<u64> {
    let wrong = || {
        format!(
            "{} is not a valid size; write for example \"500B\", \"10KB\" or \"64MB\" (1 KB = 1 KiB = 1024 B)",
            quoted(value)
        )
    };
    let text = match value {
        Value::Integer(number) => {
            return Err(format!("{number} has no unit; write \"{number}B\" if you mean bytes"));
        }
        Value::String(text) => text.trim(),
        _ => return Err(wrong()),
    };
    if text.parse::<f64>().is_ok() {
        return Err(format!("\"{text}\" has no unit; write \"{text}B\" if you mean bytes"));
    }
    let (number, unit, after) = number_and_unit(text).ok_or_else(wrong)?;
    let factor = match unit {
        "B" => 1.0,
        "KB" | "kB" | "KiB" => 1024.0,
        "MB" | "MiB" => 1024.0 * 1024.0,
        "GB" | "GiB" => GB,
        "TB" | "TiB" => TB,
        _ => return Err(wrong()),
    };
    let bytes = number * factor;
    if !after.is_empty() {
        return Err(wrong());
    }
    if bytes > f64::from(MAX_SIZE_TB) * TB {
        return Err(format!("\"{text}\" is too large; a size may be at most {MAX_SIZE_TB}TB"));
    }
    if bytes.fract() != 0.0 {
        return Err(format!(
            "\"{text}\" is not a whole number of bytes; write for example \"{}B\"",
            bytes.ceil()
        ));
    }
    Ok(bytes as u64)
}

/// Reads a size from `min` to `max` bytes; `why` is appended to the fault as the reason.
pub(crate) fn size_within(min: u64, max: u64, why: &str) -> impl Fn(&Value) -> Parsed<u64> {
    move |value| {
        let read = size(value)?;
        if (min..=max).contains(&read) {
            Ok(read)
        } else {
            Err(format!(
                "{} is out of range; it must be {} to {}{why}",
                show_size(read),
                show_size(min),
                show_size(max)
            ))
        }
    }
}

/// Writes a size as [`size`] reads it, in the largest unit that gives a whole number.
pub(crate) fn show_size(bytes: u64) -> String {
    match bytes {
        0 => "0B".to_owned(),
        _ if bytes.is_multiple_of(1 << 40) => format!("{}TB", bytes >> 40),
        _ if bytes.is_multiple_of(1 << 30) => format!("{}GB", bytes >> 30),
        _ if bytes.is_multiple_of(1 << 20) => format!("{}MB", bytes >> 20),
        _ if bytes.is_multiple_of(1 << 10) => format!("{}KB", bytes >> 10),
        _ => format!("{bytes}B"),
    }
}

pub(crate) fn socket(value: &Value) -> Parsed<SocketAddr> {
    let text = text(value)?;
    text.parse().map_err(|_| {
        format!(
            "\"{text}\" is not a valid address; write an IP address and a port, for example \"0.0.0.0:9464\" or \"[::1]:9464\""
        )
    })
}

/// Reads an `http://` or `https://` URL; `example` is shown in the fault.
pub(crate) fn url(example: &str) -> impl Fn(&Value) -> Parsed<String> {
    move |value| {
        let text = text(value)?;
        let host = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
        match host {
            Some(host)
                if !host.is_empty()
                    && !host.starts_with('/')
                    && !text.contains(|c: char| c.is_whitespace() || c == '"' || c == '<') =>
            {
                Ok(text)
            }
            _ => Err(format!(
                "\"{}\" is not a valid URL; write an http:// or https:// URL, for example \"{example}\"",
                without_secrets(&text)
            )),
        }
    }
}

/// What may be shown of a text that was meant to be a URL.
fn without_secrets(text: &str) -> String {
    let before_query = text.split(['?', '#']).next().unwrap_or_default();
    match before_query.rsplit_once('@') {
        Some((_, host)) => format!("…@{host}"),
        None => before_query.to_owned(),
    }
}

/// Replaces `{placeholders}` by their values; an unknown placeholder is an error.
pub(crate) fn expand(text: &str, values: &[(&str, &str)]) -> Result<String, String> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(open) = rest.find('{') {
        expanded.push_str(&rest[..open]);
        let (placeholder, after) = rest[open + 1..].split_once('}').ok_or_else(|| {
            format!("\"{text}\" has a \"{{\" without a \"}}\" after it; write placeholders as {{name}}")
        })?;
        let (_, value) = values.iter().find(|(name, _)| *name == placeholder).ok_or_else(|| {
            let known: Vec<_> = values.iter().map(|(name, _)| format!("{{{name}}}")).collect();
            format!(
                "\"{text}\" has the unknown placeholder {{{placeholder}}}; valid here: {}",
                known.join(", ")
            )
        })?;
        expanded.push_str(value);
        rest = after;
    }
    expanded.push_str(rest);
    Ok(expanded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn s(text: &str) -> Value {
        Value::String(text.to_owned())
    }

    #[test]
    fn durations_are_numbers_with_units() {
        for (text, millis) in [
            ("30s", 30_000),
            ("250ms", 250),
            ("7.5s", 7_500),
            ("1h30m", 5_400_000),
            ("1m30s", 90_000),
            ("0s", 0),
            ("1d", 86_400_000),
        ] {
            assert_eq!(duration(&s(text)), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "s", "30 s", "30x", "-1s", "1..5s", "30", "30sec", "1e3s", "9999d"] {
            assert!(duration(&s(text)).is_err(), "{text}");
        }
    }

    #[test]
    fn a_bare_number_is_refused_with_a_hint() {
        assert_eq!(
            duration(&Value::Integer(30)).unwrap_err(),
            "30 has no unit; write \"30s\" if you mean seconds"
        );
        assert_eq!(size(&s("500")).unwrap_err(), "\"500\" has no unit; write \"500B\" if you mean bytes");
    }

    #[test]
    fn a_kilobyte_is_1024_bytes_however_it_is_written() {
        for (text, bytes) in
            [("100B", 100), ("1KB", 1024), ("10KiB", 10_240), ("100MB", 104_857_600), ("1.5KB", 1536)]
        {
            assert_eq!(size(&s(text)), Ok(bytes), "{text}");
        }
        for text in ["", "B", "10kb", "1.0001KB", "5 KB", "1K"] {
            assert!(size(&s(text)).is_err(), "{text}");
        }
    }

    #[test]
    fn every_fault_of_a_list_is_told_once() {
        let items = ["10XB", "1KB", "-1B", "10XB"].map(s).to_vec();
        let told = list(size)(&Value::Array(items)).unwrap_err();
        assert_eq!(told.matches("is not a valid size").count(), 2, "{told}");
        assert!(told.starts_with("\"10XB\" is not") && told.contains("; and \"-1B\" is not"), "{told}");
    }

    proptest! {
        #[test]
        fn a_duration_reads_back_as_shown(millis in 0_u64..400_000_000) {
            let shown = show_duration(Duration::from_millis(millis));
            prop_assert_eq!(duration(&s(&shown)), Ok(Duration::from_millis(millis)), "{}", shown);
        }

        #[test]
        fn a_size_reads_back_as_shown(bytes in 0_u64..1 << 40) {
            prop_assert_eq!(size(&s(&show_size(bytes))), Ok(bytes));
        }

        #[test]
        fn no_text_makes_a_parser_panic(text in "\\PC{0,24}") {
            let value = s(&text);
            let _ = (duration(&value), size(&value), url("http://127.0.0.1")(&value), socket(&value));
        }
    }
}
