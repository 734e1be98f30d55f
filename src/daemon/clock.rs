//! The one place where the wall clock is read.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::domain::time::{Timestamp, WallClock};

/// The machine's clock. On ECS it is kept within a millisecond of true time by the platform; when it is stepped, the
/// tracker keeps to the latest instant it has seen.
#[must_use]
pub fn system() -> WallClock {
    WallClock::new(read)
}

#[expect(clippy::disallowed_methods, reason = "this is the clock that everyone else is handed")]
fn read() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX))
}
