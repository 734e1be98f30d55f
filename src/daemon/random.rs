//! The one place where chance comes in: the domain is handed it, as it is handed the time.

/// Random bytes of the operating system, for one trace id.
///
/// # Panics
///
/// Without randomness ids could collide, which is worse than not running at all; on Linux this cannot fail once the
/// machine is up (getrandom(2)).
#[must_use]
pub fn for_trace_id() -> [u8; 10] {
    let mut bytes = [0; 10];
    getrandom::fill(&mut bytes).expect("the operating system has randomness");
    bytes
}
