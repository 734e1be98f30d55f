//! What an error answer of a Google API means.
//!
//! An exhausted quota is a 403 like a denial, and an exceeded limit on bytes is a 400 like a syntax error;
//! only the reason tells them apart.

use std::time::Duration;

use serde::Deserialize;

use super::answerer::{Answerer, is_of_another};
use super::{Failure, by_status, effect_of, without_code, without_code_kind};
use crate::domain::sighting::FailureKind;

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
    errors: Vec<Reason>,
}

#[derive(Deserialize)]
struct Reason {
    reason: Option<String>,
}

impl Failure {
    /// Classifies an error answer, whether or not its body is JSON.
    #[must_use]
    pub fn of_google(status: u16, answerer: &Answerer, body: &[u8], retry_after: Option<Duration>) -> Self {
        let failure = match serde_json::from_slice::<ErrorAnswer>(body) {
            Ok(ErrorAnswer { error }) => {
                let first = error.errors.into_iter().next().and_then(|first| first.reason);
                let reason = first.unwrap_or(error.status);
                Self::of_reason(status, &reason, &error.message)
            }
            Err(_) => {
                let kind = without_code_kind(status);
                let text = without_code(status, answerer.host.as_deref(), body);
                let text = if is_of_another(status) { answerer.unlike(&text) } else { text };
                Self { status: Some(status), ..Self::new(kind, effect_of(kind, status), text) }
            }
        };
        Self { retry_after, ..failure }
    }

    /// Classifies an error by its reason and message; `status` is 200 for an error inside a success.
    #[must_use]
    pub fn of_reason(status: u16, reason: &str, message: &str) -> Self {
        let kind = kind(reason, status, message);
        let status_text = if status == 200 { String::new() } else { format!("HTTP {status}") };
        // Further lines show the place in the query, which is of no use because the query is generated.
        let first_line = message.trim().lines().next().unwrap_or_default().trim_end();
        let parts: Vec<_> =
            [&status_text, reason, first_line].into_iter().filter(|part| !part.is_empty()).collect();
        Self {
            code: (!reason.is_empty()).then(|| reason.into()),
            status: Some(status),
            ..Self::new(kind, effect_of(kind, status), parts.join(": "))
        }
    }
}

/// Returns the kind of failure for a reason, an HTTP status and a message (error tables of the BigQuery API
/// and the Cloud Storage JSON API).
fn kind(reason: &str, status: u16, message: &str) -> FailureKind {
    match reason {
        "rateLimitExceeded"
        | "userRateLimitExceeded"
        | "quotaExceeded"
        | "jobRateLimitExceeded"
        | "RESOURCE_EXHAUSTED" => FailureKind::Throttled,
        "bytesBilledLimitExceeded" => FailureKind::OverBudget,
        "accessDenied" | "authError" | "forbidden" | "billingNotEnabled" | "required" => FailureKind::Denied,
        "notFound" => FailureKind::NotFound,
        "timeout" | "stopped" => FailureKind::Timeout,
        // The query was valid for an earlier schema of the table: a column has been removed.
        "invalidQuery" if message.contains("Unrecognized name") || message.contains("not found") => {
            FailureKind::NotFound
        }
        _ => by_status(status),
    }
}
