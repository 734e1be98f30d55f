//! The ARN of a resource that is given by its name.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::OnceCell;
use tokio::time::{Instant, timeout};

use super::Aws;
use crate::cloud::account::Account;
use crate::cloud::pending;

/// How long a poll may wait for the answer; without it, it goes on with the name.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long nobody asks again after there was no answer.
const PAUSE: Duration = Duration::from_mins(10);

/// Our own ARN, once STS has told it.
#[derive(Debug, Default)]
pub(super) struct Home {
    arn: OnceCell<String>,
    // A mutex, because polls run on any thread; held for one comparison.
    unanswered: Mutex<Option<Instant>>,
}

impl Home {
    fn is_paused(&self) -> bool {
        let last = *self.unanswered.lock().unwrap_or_else(PoisonError::into_inner);
        last.is_some_and(|last| last.elapsed() < PAUSE)
    }

    fn pause(&self) {
        *self.unanswered.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }
}

impl Aws {
    /// Returns the ARN of a resource: `arn:aws:kinesis:eu-central-1:999999999999:stream/logs` for `kinesis` and
    /// `stream/logs`. `None` while the account is unknown.
    ///
    /// A role's ARN names its partition and account. Those of our own credentials are asked of STS, once:
    /// GetCallerIdentity needs no permission (AWS STS API reference).
    pub async fn arn(&self, service: &str, account: &Account, resource: &str) -> Option<String> {
        let owner = match &account.role {
            Some(role) => role.arn.as_str(),
            None => self.own_arn().await?,
        };
        let mut parts = owner.split(':');
        let (partition, number) = (parts.nth(1)?, parts.nth(2)?);
        Some(format!("arn:{partition}:{service}:{}:{number}:{resource}", account.region))
    }

    async fn own_arn(&self) -> Option<&str> {
        let query = || async {
            if self.home.is_paused() {
                return Err(());
            }
            let sts = self.sts("home".to_owned());
            let answer = timeout(PATIENCE, sts.get_caller_identity().send()).await;
            // It is not waited for any more.
            pending::ended("GetCallerIdentity");
            let arn = answer.ok().and_then(Result::ok).and_then(|identity| identity.arn);
            arn.ok_or_else(|| self.home.pause())
        };
        self.home.arn.get_or_try_init(query).await.ok().map(String::as_str)
    }
}
