//! Writes the message and fields of a text log line.
//!
//! The subscriber escapes neither line breaks nor escape sequences in fields, so that a key with a line break
//! in it would begin a line that looks like one of ours. Most text from outside is clean before it comes here;
//! this also covers what libraries log. The JSON format escapes everything by itself.

use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::debug_fn;

use crate::domain::foreign::cleaned;

/// The message, then `name=value` for each field, on one line.
pub(super) fn text_fields() -> impl for<'w> FormatFields<'w> + Send + Sync + 'static {
    debug_fn(|writer, field, value| {
        let text = format!("{value:?}");
        let text = cleaned(&text);
        match field.name() {
            "message" => writer.write_str(&text),
            name if writer.has_ansi_escapes() => write!(writer, "\x1b[2m{name}=\x1b[0m{text}"),
            name => write!(writer, "{name}={text}"),
        }
    })
    .delimited(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::captured_log::CapturedLog;

    fn written_by(work: impl FnOnce()) -> String {
        let written = CapturedLog::default();
        let to = written.clone();
        let log = tracing_subscriber::fmt()
            .with_ansi(false)
            .without_time()
            .with_target(false)
            .fmt_fields(text_fields())
            .with_writer(move || to.clone())
            .finish();
        tracing::subscriber::with_default(log, work);
        written.text()
    }

    #[test]
    fn a_line_has_the_message_and_its_fields() {
        let line =
            written_by(|| tracing::warn!(tenant = "acme", count = 3, stage = %"archive", "went wrong"));
        assert_eq!(line.trim(), r#"WARN went wrong tenant="acme" count=3 stage=archive"#);
    }

    #[test]
    fn a_line_break_or_escape_in_a_message_or_field_cannot_forge_a_line() {
        let hostile = "x\n2026-11-25T21:00:00Z ERROR fake\r\u{1b}[31m\u{202e}";
        let line = written_by(|| {
            tracing::warn!(key = %hostile, debug = ?hostile, text = hostile, "cannot read {hostile}");
        });
        assert_eq!(line.lines().count(), 1, "{line}");
        let body = line.trim_end_matches('\n');
        assert!(!body.contains(|c: char| c.is_control() || c == '\u{202e}'), "{line}");
    }
}
