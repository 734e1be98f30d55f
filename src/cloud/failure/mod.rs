//! What a failed call means.
//!
//! The answer of AWS or Google is classified once, here. Observers, the injector and the call counter all
//! take the kind from the [`Failure`], so that calls are counted as the page shows them. Nothing here knows
//! stages or tenants: what an error code means for a single operation is decided by that operation.

pub mod answerer;
pub mod aws;
pub mod denial;
pub mod google;
pub mod moved;
pub mod unreached;

use std::error::Error;
use std::time::Duration;

use self::answerer::is_of_another;
use crate::domain::foreign::ForeignText;
use crate::domain::sighting::FailureKind;
use crate::keys::secret::masked_urls;

/// How many sources of an error are followed; guards against cyclic ones.
const MAX_SOURCES: usize = 16;

/// Why a call failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// The kind of failure, shown on the page and as a metric label.
    pub kind: FailureKind,
    /// The error of the service, or why there is no answer. [`Failure::calling`] prepends the name of the
    /// call.
    pub text: ForeignText,
    /// The error code or reason of the service, if it gave one.
    pub code: Option<ForeignText>,
    /// The HTTP status, if there was an answer.
    pub status: Option<u16>,
    /// Whether the request may have taken effect.
    pub effect: Effect,
    /// The `Retry-After` of the answer, if there was one.
    pub retry_after: Option<Duration>,
}

/// Whether a failed request may have taken effect.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// No: it was never sent, for lack of a connection or credentials, or because it could not be serialized.
    NotSent,
    /// No: the service answered that it refused the request.
    Refused,
    /// Perhaps: no answer came, or one that does not say how far the request got.
    Unknown,
}

impl Failure {
    /// Returns a failure without code, status and `Retry-After`.
    #[must_use]
    pub fn new(kind: FailureKind, effect: Effect, text: impl Into<ForeignText>) -> Self {
        Self { kind, text: text.into(), code: None, status: None, effect, retry_after: None }
    }

    /// Puts the name of the call, such as `GetRecords on stream logs-acme`, in front of the text.
    #[must_use]
    pub fn calling(self, call: &str) -> Self {
        Self { text: self.text.after(call), ..self }
    }
}

/// Returns the kind of failure for an HTTP status, if no known code decides.
fn by_status(status: u16) -> FailureKind {
    match status {
        401 | 403 | 407 => FailureKind::Denied,
        404 => FailureKind::NotFound,
        408 | 504 => FailureKind::Timeout,
        429 => FailureKind::Throttled,
        _ => FailureKind::Error,
    }
}

/// Returns the kind of failure for an answer without an error code of the service.
fn without_code_kind(status: u16) -> FailureKind {
    // The service itself was not reached.
    if is_of_another(status) { FailureKind::Unreachable } else { by_status(status) }
}

/// Returns whether a request with this error answer may have taken effect.
fn effect_of(kind: FailureKind, status: u16) -> Effect {
    match (kind, status) {
        (FailureKind::Throttled, _) | (_, 429 | 503) => Effect::Refused,
        // An internal error does not say how far the request got, and a successful status is not a refusal.
        (FailureKind::Timeout | FailureKind::Garbled, _) | (_, 200..=299 | 500..) => Effect::Unknown,
        _ => Effect::Refused,
    }
}

/// Describes an answer without an error code by its status, its sender and the start of its body.
fn without_code(status: u16, host: Option<&str>, body: &[u8]) -> ForeignText {
    let mut text = format!("HTTP {status}");
    if let Some(host) = host {
        text.push_str(" from ");
        text.push_str(host);
    }
    text.push_str(" without an error code");
    match ForeignText::of_body(body) {
        body if body.is_empty() => text.into(),
        body => body.after(&text),
    }
}

/// Returns an error and its sources, outermost first.
fn sources<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn Error + 'static)| (*error).source())
        .take(MAX_SOURCES)
}

/// Returns the first source of an error that has this type. The error itself does not count: an AssumeRole
/// that found no connection would be its own cause.
pub(super) fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    sources(error).skip(1).find_map(|source| source.downcast_ref())
}

/// Returns an error and its sources as one text, without repetitions, and without the secrets of URLs in it.
#[must_use]
pub fn causes(error: &(dyn Error + 'static)) -> String {
    let mut text = String::new();
    for source in sources(error).map(ToString::to_string) {
        if text.is_empty() {
            text = source;
        } else if !text.contains(&source) {
            text.push_str(": ");
            text.push_str(&source);
        }
    }
    masked_urls(&text).into_owned()
}

#[cfg(test)]
mod tests;
