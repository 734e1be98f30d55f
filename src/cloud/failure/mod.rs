//! What a failed call means.
//!
//! A [`Failure`] is read once, here, from what AWS or Google answered; observers, the injector and the call counter all
//! take its kind from it, so that a call is counted as what the page shows. It knows no stage and no tenant: what an
//! error code means to one operation alone stays with that operation.

pub mod aws;
pub mod google;

use std::error::Error;
use std::time::Duration;

use crate::domain::sighting::FailureKind;

/// Longest text of a failure, in bytes.
const MAX_TEXT: usize = 600;
/// How much is shown of an answer that is not an error document, in bytes.
const MAX_PAGE: usize = 200;
/// How many sources of an error are followed; guards against cyclic ones.
const MAX_SOURCES: usize = 16;

/// Why a call failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// What kind of failure.
    pub kind: FailureKind,
    /// What was answered, or why there is no answer; after [`Failure::calling`], what was called before it.
    pub text: String,
    /// The service's error code or reason, where it gave one.
    pub code: Option<String>,
    /// The HTTP status, where there was an answer.
    pub status: Option<u16>,
    /// Whether the request may have taken effect.
    pub effect: Effect,
    /// How long the service asks to be left alone, where it says so.
    pub retry_after: Option<Duration>,
}

/// Whether a failed request may have taken effect.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// No: it was never sent, for lack of a connection or an identity, or because it cannot be written.
    NotSent,
    /// No: the service answered that it did not do it.
    Refused,
    /// Perhaps: no answer came, or one that says nothing of how far it got.
    Unknown,
}

impl Failure {
    /// A failure without an answer.
    #[must_use]
    pub fn new(kind: FailureKind, effect: Effect, text: impl Into<String>) -> Self {
        let mut text = text.into();
        cut(&mut text, MAX_TEXT);
        Self { kind, text, code: None, status: None, effect, retry_after: None }
    }

    /// With the name of what was called, such as `GetRecords on stream logs-acme`, before its text.
    #[must_use]
    pub fn calling(mut self, call: &str) -> Self {
        self.text.insert_str(0, ": ");
        self.text.insert_str(0, call);
        cut(&mut self.text, MAX_TEXT);
        self
    }
}

/// What an HTTP status says where no known code says more.
fn by_status(status: u16) -> FailureKind {
    match status {
        401 | 403 | 407 => FailureKind::Denied,
        404 => FailureKind::NotFound,
        408 | 504 => FailureKind::Timeout,
        429 => FailureKind::Throttled,
        _ => FailureKind::Error,
    }
}

/// What an error answer says of the effect.
fn effect_of(kind: FailureKind, status: u16) -> Effect {
    match (kind, status) {
        (FailureKind::Throttled, _) | (_, 429 | 503) => Effect::Refused,
        // An internal error says nothing about how far it came, and a good answer is not a refusal.
        (FailureKind::Timeout | FailureKind::Garbled, _) | (_, 200..=299 | 500..) => Effect::Unknown,
        _ => Effect::Refused,
    }
}

/// An answer that names no error code: all that is known of who sent it.
fn without_code(status: u16, host: Option<&str>, said: &[u8]) -> String {
    let mut text = format!("HTTP {status}");
    if let Some(host) = host {
        text.push_str(" from ");
        text.push_str(host);
    }
    text.push_str(" without an error code");
    let page = page_of(said);
    if !page.is_empty() {
        text.push_str(": ");
        text.push_str(&page);
    }
    text
}

/// The start of an answer that is not an error document.
pub(super) fn page_of(said: &[u8]) -> String {
    let mut page = String::from_utf8_lossy(&said[..said.len().min(2 * MAX_PAGE)]).trim().to_owned();
    cut(&mut page, MAX_PAGE);
    page
}

/// Shortens a text to `max` bytes, at the border of a character, and marks it.
fn cut(text: &mut String, max: usize) {
    if text.len() > max {
        let end = (0..=max).rev().find(|at| text.is_char_boundary(*at));
        text.truncate(end.unwrap_or(0));
        text.push('…');
    }
}

/// An error and its sources, outermost first.
fn sources<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn Error + 'static)| (*error).source())
        .take(MAX_SOURCES)
}

/// The first source of an error that is of this type. Not the error itself, or an AssumeRole that found no connection
/// would be its own cause.
pub(super) fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    sources(error).skip(1).find_map(|source| source.downcast_ref())
}

/// An error and what caused it as one text, without repetitions.
#[must_use]
pub fn causes(error: &(dyn Error + 'static)) -> String {
    let mut text = String::new();
    for words in sources(error).map(ToString::to_string) {
        if text.is_empty() {
            text = words;
        } else if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
    }
    text
}

#[cfg(test)]
mod tests;
