//! Logs panics as one line each.
//!
//! The default hook writes the message as it is, and a message may quote what came from outside: a decoder's may
//! hold bytes of a record. It would also write to stderr itself, which blocks while nobody reads it.

use std::collections::BTreeSet;
use std::panic::PanicHookInfo;
use std::sync::{Mutex, PoisonError};

use tracing::error;

use crate::domain::foreign::ForeignText;

/// Logs each place that panics once: whoever can write a record can repeat what makes a decoder panic. What
/// ends because of a panic is reported by whoever waits for it.
pub(super) fn log() {
    let logged = Mutex::new(BTreeSet::new());
    std::panic::set_hook(Box::new(move |panic| {
        let is_new = logged.lock().unwrap_or_else(PoisonError::into_inner).insert(place(panic));
        if is_new {
            error!("{}", line(&place(panic), panic.payload_as_str()));
        }
    }));
}

fn place(panic: &PanicHookInfo<'_>) -> String {
    panic.location().map(ToString::to_string).unwrap_or_default()
}

fn line(place: &str, message: Option<&str>) -> String {
    let message = ForeignText::from(message.unwrap_or("no message"));
    format!("panic at {place}: {message}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_quotes_a_record_stays_one_short_line() {
        let line = line("src/decode.rs:7:9", Some(&format!("bad byte in \n\x1b[31m{}", "x".repeat(10_000))));
        assert!(line.starts_with("panic at src/decode.rs:7:9: bad byte in "), "{line}");
        assert!(line.len() < 1_000 && !line.contains(char::is_control), "{line}");
    }
}
