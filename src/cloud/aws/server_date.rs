//! The time by the clock of a service, from the header `Date` of its answer.

use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_sts::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_sts::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_sts::error::BoxError;
use aws_smithy_types::date_time::{DateTime, Format};

use crate::domain::time::Timestamp;

/// Keeps the date of the last answer.
#[derive(Clone, Debug, Default)]
// A mutex, because the SDK calls interceptors through a shared reference; held for one assignment.
pub struct ServerDate(Arc<Mutex<Option<Timestamp>>>);

impl ServerDate {
    /// The date of the last answer, once; `None` if it had none.
    #[must_use]
    pub fn take(&self) -> Option<Timestamp> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Intercept for ServerDate {
    fn name(&self) -> &'static str {
        "ServerDate"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let date = context.response().headers().get("date").and_then(http_date);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = date;
        Ok(())
    }
}

/// Reads the header `Date` of an answer.
pub(in crate::cloud) fn http_date(text: &str) -> Option<Timestamp> {
    let date = DateTime::from_str(text, Format::HttpDate).ok()?;
    Some(Timestamp::from_secs(date.secs()))
}
