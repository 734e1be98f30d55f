//! What went wrong with a call to BigQuery, in our words.
//!
//! A spent quota is a 403 like a denial, and a limit on bytes is a 400 like a typing error; only the reason tells.

use gcp_bigquery_client::error::BQError;
use gcp_bigquery_client::model::error_proto::ErrorProto;
use gcp_bigquery_client::yup_oauth2;
use serde::Deserialize;

use crate::cloud::google::{Answer, GoogleError};
use crate::domain::sighting::Trouble;
use crate::observe::ObserveError;

/// How much of a page that is not JSON is shown, in characters.
const SHOWN: usize = 200;

#[derive(Deserialize)]
struct ErrorAnswer {
    error: ErrorJson,
}

#[derive(Deserialize)]
struct ErrorJson {
    #[serde(default)]
    message: String,
    #[serde(default)]
    status: String,
    #[serde(default)]
    errors: Vec<ErrorProto>,
}

/// An error answer, JSON or not.
pub(super) fn of_answer(asked: &str, answer: &Answer) -> ObserveError {
    let mut error = match serde_json::from_slice::<ErrorAnswer>(&answer.body) {
        Ok(ErrorAnswer { error }) => {
            let first = error.errors.first().and_then(|first| first.reason.clone());
            let reason = first.unwrap_or(error.status);
            classified(asked, answer.status, &reason, &error.message)
        }
        Err(_) => {
            let page = String::from_utf8_lossy(&answer.body);
            let start: String = page.chars().take(SHOWN).collect();
            classified(asked, answer.status, "", &start)
        }
    };
    error.retry_after = answer.retry_after;
    error
}

/// An error inside a good answer.
pub(super) fn of_errors(asked: &str, errors: &[ErrorProto]) -> ObserveError {
    let first = errors.first().cloned().unwrap_or_default();
    classified(
        asked,
        200,
        first.reason.as_deref().unwrap_or_default(),
        first.message.as_deref().unwrap_or_default(),
    )
}

/// No answer at all.
pub(super) fn of_silence(asked: &str, error: &GoogleError) -> ObserveError {
    let trouble = match error {
        GoogleError::Credentials(_) | GoogleError::TokenDenied(_) => Trouble::Denied,
        GoogleError::NoToken(_) | GoogleError::Unreachable { .. } | GoogleError::Cut { .. } => {
            Trouble::Unreachable
        }
        GoogleError::TimedOut { .. } | GoogleError::TokenTimedOut(_) => Trouble::TimedOut,
        GoogleError::Unwritable { .. } => Trouble::Failing,
        GoogleError::TooLarge => Trouble::Garbled,
    };
    ObserveError::new(trouble, format!("{asked}: {error}"))
}

/// An error of the crate's client.
pub(super) fn of_crate(asked: &str, error: &BQError) -> ObserveError {
    let trouble = match error {
        BQError::ResponseError { error } => {
            let reason = error.error.errors.first().and_then(|first| first.get("reason"));
            let status = u16::try_from(error.error.code).unwrap_or(0);
            return classified(asked, status, reason.map_or("", String::as_str), &error.error.message);
        }
        BQError::RequestError(error) if error.is_connect() => Trouble::Unreachable,
        BQError::RequestError(error) if error.is_timeout() => Trouble::TimedOut,
        BQError::RequestError(error) if error.is_decode() => Trouble::Garbled,
        BQError::YupAuthError(yup_oauth2::Error::LowLevelError(error)) => match error.kind() {
            std::io::ErrorKind::TimedOut => Trouble::TimedOut,
            std::io::ErrorKind::PermissionDenied => Trouble::Denied,
            _ => Trouble::Unreachable,
        },
        _ => Trouble::Failing,
    };
    ObserveError::new(trouble, format!("{asked}: {error}"))
}

fn classified(asked: &str, status: u16, reason: &str, message: &str) -> ObserveError {
    let trouble = match (reason, status) {
        ("rateLimitExceeded" | "quotaExceeded" | "jobRateLimitExceeded" | "RESOURCE_EXHAUSTED", _) => {
            Trouble::Throttled
        }
        ("bytesBilledLimitExceeded", _) => Trouble::OverBudget,
        ("accessDenied" | "authError" | "forbidden" | "billingNotEnabled" | "required", _) => Trouble::Denied,
        ("notFound", _) => Trouble::Missing,
        ("timeout" | "stopped", _) => Trouble::TimedOut,
        // A query that was good for the table as it was: a column is gone.
        ("invalidQuery", _) if message.contains("Unrecognized name") || message.contains("not found") => {
            Trouble::Missing
        }
        (_, 429) => Trouble::Throttled,
        (_, 401 | 403) => Trouble::Denied,
        (_, 404) => Trouble::Missing,
        (_, 408 | 504) => Trouble::TimedOut,
        _ => Trouble::Failing,
    };
    let mut words = asked.to_owned();
    if status != 200 {
        words.push_str(&format!(": HTTP {status}"));
    }
    // Further lines show where in the query it is, which nobody wrote by hand.
    let first_line = message.trim().lines().next().unwrap_or_default();
    for part in [reason, first_line.trim_end()] {
        if !part.is_empty() {
            words.push_str(": ");
            words.push_str(part);
        }
    }
    ObserveError::new(trouble, words)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn answer(status: u16, retry_after: Option<Duration>, body: &str) -> Answer {
        Answer { status, retry_after, headers: Default::default(), body: body.into() }
    }

    fn trouble(status: u16, body: &str) -> Trouble {
        of_answer("q", &answer(status, None, body)).trouble
    }

    fn json(reason: &str, message: &str) -> String {
        serde_json::json!({"error": {"code": 0, "message": message, "errors": [{"reason": reason}]}})
            .to_string()
    }

    #[test]
    fn the_reason_counts_before_the_status() {
        assert_eq!(trouble(403, &json("quotaExceeded", "")), Trouble::Throttled);
        assert_eq!(trouble(403, &json("accessDenied", "")), Trouble::Denied);
        assert_eq!(trouble(400, &json("bytesBilledLimitExceeded", "")), Trouble::OverBudget);
        assert_eq!(trouble(400, &json("invalidQuery", "Unrecognized name: trace_id")), Trouble::Missing);
        assert_eq!(trouble(400, &json("invalidQuery", "Syntax error")), Trouble::Failing);
    }

    #[test]
    fn a_page_of_a_gateway_keeps_its_status_and_its_wish() {
        let answer = answer(503, Some(Duration::from_secs(9)), "<html>busy</html>");
        let error = of_answer("jobs.query", &answer);
        assert_eq!((error.trouble, error.retry_after), (Trouble::Failing, Some(Duration::from_secs(9))));
        assert_eq!(&*error.detail, "jobs.query: HTTP 503: <html>busy</html>");
        assert_eq!(trouble(429, r#"{"error":{"status":"RESOURCE_EXHAUSTED"}}"#), Trouble::Throttled);
    }
}
