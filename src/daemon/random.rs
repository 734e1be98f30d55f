//! The only source of randomness. The domain gets random bytes as an argument, as it gets the time.

/// Returns random bytes from the operating system for one trace id.
///
/// # Panics
///
/// If the operating system has no randomness: ids could then collide, which is worse than not running. On
/// Linux this cannot happen after early boot (getrandom(2)).
#[must_use]
pub fn for_trace_id() -> [u8; 10] {
    let mut bytes = [0; 10];
    getrandom::fill(&mut bytes).expect("the operating system has randomness");
    bytes
}
