//! When refused credentials are fetched again.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Least time between two fetches because of a refusal. If new credentials are refused as well, the token service
/// must not be called for each call that fails.
const INTERVAL: Duration = Duration::from_mins(1);

/// Without a refusal for this long, the next one is news.
const QUIET: Duration = Duration::from_hours(1);

/// Allows a fetch at once, then at most one a minute.
#[derive(Debug, Default)]
pub(super) struct Renewal(
    // A mutex, because calls end on any thread; held for one comparison.
    Mutex<Option<Instant>>,
);

/// A fetch that may begin now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Begin {
    /// It is the first for long, so it belongs in the log.
    First,
    /// Credentials were refused within the last hour, too.
    Again,
}

impl Renewal {
    /// Returns whether credentials that were refused now are to be fetched again. If so, the minute begins.
    pub(super) fn begin(&self) -> Option<Begin> {
        let now = Instant::now();
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let since = last.map_or(QUIET, |last| now.duration_since(last));
        if since < INTERVAL {
            return None;
        }
        *last = Some(now);
        Some(if since < QUIET { Begin::Again } else { Begin::First })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_fetch_begins_at_once_then_once_a_minute_and_is_news_after_a_quiet_hour() {
        let renewal = Renewal::default();
        let mut begins = Vec::new();
        for pause in [0, 59, 1, 3_599, 3_600] {
            tokio::time::advance(Duration::from_secs(pause)).await;
            begins.push(renewal.begin());
        }
        let (first, again) = (Some(Begin::First), Some(Begin::Again));
        assert_eq!(begins, [first, None, again, again, first]);
    }
}
