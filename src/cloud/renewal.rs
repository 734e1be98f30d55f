//! When refused credentials are fetched again.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Least time between two fetches because of a refusal. If new credentials are refused as well, the token service
/// must not be called for each call that fails.
const INTERVAL: Duration = Duration::from_mins(1);

/// Allows a fetch at once, then at most one a minute.
#[derive(Debug, Default)]
pub(super) struct Renewal(
    // A mutex, because calls end on any thread; held for one comparison.
    Mutex<Option<Instant>>,
);

impl Renewal {
    /// Returns whether credentials that were refused now are to be fetched again. If so, the minute begins.
    pub(super) fn begins(&self) -> bool {
        let now = Instant::now();
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let due = last.is_none_or(|last| now.duration_since(last) >= INTERVAL);
        if due {
            *last = Some(now);
        }
        due
    }
}
