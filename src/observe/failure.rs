//! Converts failed calls to [`ObserveError`].

use std::error::Error;

use aws_sdk_sts::error::{ProvideErrorMetadata, SdkError};

use super::ObserveError;
use crate::cloud::failure::Failure;

pub(super) use crate::cloud::failure::causes;

impl From<Failure> for ObserveError {
    fn from(failure: Failure) -> Self {
        Self { kind: failure.kind, detail: failure.text, retry_after: failure.retry_after }
    }
}

/// Makes the error of a failed AWS call. `call` names it: `GetRecords on stream logs-acme`.
pub fn explain<E>(call: &str, error: &SdkError<E>) -> ObserveError
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    Failure::of_aws(error).calling(call).into()
}
