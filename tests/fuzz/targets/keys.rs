//! Keys of objects and the templates that give their prefixes.

use std::time::Duration;

use traceprobe::domain::time::Timestamp;
use traceprobe::observe::object_store::KeyTemplate;

/// Eight bytes of an instant in microseconds, two of a window in seconds, then the template. The prefixes are
/// those of the window: the first and the last instant have theirs, none stands twice, and no more are given
/// than allowed.
pub fn key_template(data: &[u8]) {
    const MAX_PREFIXES: usize = 3;
    let Some((instant, rest)) = data.split_first_chunk::<8>() else { return };
    let Some((window, template)) = rest.split_first_chunk::<2>() else { return };
    let Ok(text) = std::str::from_utf8(template) else { return };
    let from = Timestamp::from_micros(i64::from_le_bytes(*instant));
    // Without a field that changes, each step of the window is gone through.
    let to = from + Duration::from_secs(u64::from(u16::from_le_bytes(*window) % 64));
    let template = KeyTemplate::new(text);
    assert_eq!(template.to_string(), text);
    let Some(prefixes) = template.prefixes(from, to, MAX_PREFIXES) else { return };
    assert!(!prefixes.is_empty() && prefixes.len() <= MAX_PREFIXES);
    for instant in [from, to] {
        assert!(prefixes.contains(&instant.strftime(text)), "no prefix for {instant}");
    }
    let mut once = prefixes.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len(), prefixes.len(), "a prefix is listed twice");
}
