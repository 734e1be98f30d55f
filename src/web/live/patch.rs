//! The lines in which two texts differ.

use std::io::Write as _;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;
use similar::{Algorithm, DiffOp, capture_diff_slices_deadline};

/// After this time a longer patch is better than a longer search.
const SEARCH: Duration = Duration::from_millis(20);

/// Of compression: a patch is small, and is compressed once for all who follow a page.
const LEVEL: u32 = 6;

/// In place of `old` lines from line `at` of the old text (from 0) come these.
#[derive(Debug, Serialize, PartialEq, Eq)]
struct Change<'a> {
    at: usize,
    old: usize,
    new: &'a [&'a str],
}

/// The changes from one text to another, as JSON, the last one first: so each can be made without counting what
/// the others move.
#[expect(
    clippy::disallowed_methods,
    reason = "the library takes this clock; a paused one would only search longer"
)]
pub(super) fn between(from: &str, to: &str) -> String {
    let (from, to): (Vec<&str>, Vec<&str>) = (from.split('\n').collect(), to.split('\n').collect());
    let ops = capture_diff_slices_deadline(Algorithm::Myers, &from, &to, Some(Instant::now() + SEARCH));
    let equal = ops.iter().filter(|op| matches!(op, DiffOp::Equal { .. }));
    let equal = equal.map(|op| (op.old_range(), op.new_range()));
    let mut changes = Vec::new();
    let (mut old, mut new) = (0, 0);
    for (next_old, next_new) in equal.chain([(from.len()..from.len(), to.len()..to.len())]) {
        if old < next_old.start || new < next_new.start {
            let lines = to.get(new..next_new.start).unwrap_or_default();
            changes.push(Change { at: old, old: next_old.start - old, new: lines });
        }
        (old, new) = (next_old.end, next_new.end);
    }
    changes.reverse();
    // Texts and numbers can always be written.
    serde_json::to_string(&changes).unwrap_or_default()
}

/// A text in the characters that an event can have: gzip in base64, as browsers can open it.
pub(super) fn encoded(text: &str) -> String {
    let mut gzip = GzEncoder::new(Vec::with_capacity(text.len() / 4), Compression::new(LEVEL));
    // Nothing that is written into memory fails.
    let compressed = gzip.write_all(text.as_bytes()).and_then(|()| gzip.finish()).unwrap_or_default();
    STANDARD.encode(compressed)
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    /// Opens what an event carries, as the browser does it.
    pub(in super::super) fn decoded(data: &str) -> String {
        let compressed = STANDARD.decode(data).unwrap();
        std::io::read_to_string(flate2::read::GzDecoder::new(&*compressed)).unwrap()
    }

    /// As the browser does it.
    pub(in super::super) fn apply(text: &str, patch: &str) -> String {
        let mut lines: Vec<String> = text.split('\n').map(str::to_owned).collect();
        let changes: Value = serde_json::from_str(patch).unwrap();
        for change in changes.as_array().unwrap() {
            let at = change["at"].as_u64().unwrap() as usize;
            let old = change["old"].as_u64().unwrap() as usize;
            let new = change["new"].as_array().unwrap().iter().map(|line| line.as_str().unwrap().to_owned());
            lines.splice(at..at + old, new);
        }
        lines.join("\n")
    }

    #[test]
    fn only_the_lines_that_changed_are_sent() {
        let patch = between("a\nb\nc\nd", "a\nB\nc\nd\ne");
        assert_eq!(patch, r#"[{"at":4,"old":0,"new":["e"]},{"at":1,"old":1,"new":["B"]}]"#);
    }

    proptest! {
        #[test]
        fn a_patched_text_is_the_new_one(
            from in prop::collection::vec("[ab\"\\\\é]{0,2}", 0..30),
            to in prop::collection::vec("[ab\"\\\\é]{0,2}", 0..30),
        ) {
            let (from, to) = (from.join("\n"), to.join("\n"));
            prop_assert_eq!(apply(&from, &between(&from, &to)), to);
        }
    }
}
