//! The calls that a task has sent and that were not answered, so that whoever gives up waiting can name them.
//!
//! A timeout drops the call, and with it everything that knows host and operation. So each call is noted here, in
//! a place that belongs to the task which waits.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

tokio::task_local! {
    static PENDING: Pending;
}

/// Most calls that are named.
const NAMED: usize = 2;

/// A call that waits for its answer.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Call {
    operation: String,
    host: String,
    /// Where to look if there is no answer.
    advice: String,
}

/// The calls of one wait. Clones share them. A mutex, because calls are made side by side; held for a lookup.
#[derive(Clone, Debug, Default)]
pub struct Pending(Arc<Mutex<Vec<Call>>>);

impl Pending {
    /// Notes the calls that `work` makes.
    pub async fn noting<T>(self, work: impl Future<Output = T>) -> T {
        PENDING.scope(self, work).await
    }

    /// What to say after this long without an answer.
    #[must_use]
    pub fn unanswered(&self, waited: Duration) -> Unanswered {
        Unanswered { waited, calls: self.0.lock().unwrap_or_else(PoisonError::into_inner).clone() }
    }
}

/// Nothing was answered in time: `no answer within 5 s from HOST to GetRecords; look at aws.endpoints.kinesis`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unanswered {
    waited: Duration,
    calls: Vec<Call>,
}

impl fmt::Display for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no answer within {} s", self.waited.as_secs_f64())?;
        for (nth, Call { operation, host, .. }) in self.calls.iter().take(NAMED).enumerate() {
            write!(f, "{} from {host} to {operation}", if nth == 0 { "" } else { ", nor" })?;
        }
        match self.calls.first() {
            Some(Call { advice, .. }) => write!(f, "; {advice}"),
            None => Ok(()),
        }
    }
}

/// Waits for `work` until `limit` has passed.
///
/// # Errors
///
/// [`Unanswered`], with the calls that were not answered by then.
pub async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Result<T, Unanswered> {
    within_at(limit, Instant::now() + limit, work).await
}

async fn within_at<T>(limit: Duration, end: Instant, work: impl Future<Output = T>) -> Result<T, Unanswered> {
    let pending = Pending::default();
    let noted = pending.clone().noting(work);
    timeout_at(end, noted).await.map_err(|_| pending.unanswered(limit))
}

/// Notes that a call was sent; outside [`within`] and [`Pending::noting`], nothing is noted.
pub(super) fn sent(operation: &str, host: &str, advice: impl FnOnce() -> String) {
    let note = |pending: &Pending| {
        let call = Call { operation: operation.to_owned(), host: host.to_owned(), advice: advice() };
        pending.0.lock().unwrap_or_else(PoisonError::into_inner).push(call);
    };
    let _unless_noted = PENDING.try_with(note);
}

/// The call that was sent last and was not answered: `AssumeRole` and `from HOST; look at aws.endpoints.sts`.
pub(super) fn last() -> Option<(String, String)> {
    let last = |pending: &Pending| {
        let calls = pending.0.lock().unwrap_or_else(PoisonError::into_inner);
        calls.last().map(|call| (call.operation.clone(), format!("from {}; {}", call.host, call.advice)))
    };
    PENDING.try_with(last).ok().flatten()
}

/// Notes that a call has ended.
pub(super) fn ended(operation: &str) {
    let forget = |pending: &Pending| {
        let mut calls = pending.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = calls.iter().position(|call| call.operation == operation) {
            calls.remove(at);
        }
    };
    let _unless_noted = PENDING.try_with(forget);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_wait_that_is_given_up_names_host_operation_and_key() {
        let work = async {
            sent("ListShards", "h:1", String::new);
            ended("ListShards");
            sent("GetRecords", "h:1", || "look at aws.endpoints.kinesis".to_owned());
            std::future::pending::<()>().await;
        };
        let unanswered = within(Duration::from_secs(5), work).await.unwrap_err();
        let text = "no answer within 5 s from h:1 to GetRecords; look at aws.endpoints.kinesis";
        assert_eq!(unanswered.to_string(), text);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_call_nothing_is_named() {
        sent("GetRecords", "h:1", String::new);
        let unanswered = within(Duration::from_millis(500), std::future::pending::<()>()).await.unwrap_err();
        assert_eq!(unanswered.to_string(), "no answer within 0.5 s");
    }
}
