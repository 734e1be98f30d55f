//! The thresholds of a run as test cases, in the JUnit format that CI systems show.

use std::fmt::Write as _;

use super::{Report, Verdict};
use crate::load::threshold::Judged;

/// The document.
#[must_use]
pub fn xml(report: &Report) -> String {
    let mut cases: Vec<(String, String, String)> = Vec::new();
    for line in &report.thresholds {
        let name = format!("{}: {}", line.subject, line.expression);
        cases.push((name, line.judged.clone(), line.measured.clone()));
    }
    // Of a search, only thresholds that every rate must keep are among them.
    if report.knee.is_some() || report.thresholds.is_empty() {
        let judged = match report.verdict {
            Verdict::Passed => Judged::Kept,
            Verdict::Failed => Judged::Broken,
            Verdict::Inconclusive => Judged::Undecided,
        };
        cases.push(("search".to_owned(), judged.as_str().to_owned(), report.reasons.join("; ")));
    }
    // It ended early, for example.
    let is_kept = |(_, judged, _): &(String, String, String)| judged == Judged::Kept.as_str();
    if report.verdict == Verdict::Inconclusive && cases.iter().all(is_kept) {
        cases.push(("run".to_owned(), Judged::Undecided.as_str().to_owned(), report.reasons.join("; ")));
    }
    let count = |what: Judged| cases.iter().filter(|(_, judged, _)| judged == what.as_str()).count();
    let (failures, errors) = (count(Judged::Broken), count(Judged::Undecided));
    let suite = escaped(&format!("traceprobe load {}", report.profile));
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "<testsuite name=\"{suite}\" tests=\"{}\" failures=\"{failures}\" errors=\"{errors}\" timestamp=\"{}\">",
        cases.len(),
        escaped(&report.began),
    );
    for (name, judged, measured) in &cases {
        let (name, measured) = (escaped(name), escaped(measured));
        let _ = write!(text, "  <testcase classname=\"{suite}\" name=\"{name}\">");
        // JUnit has no third state; an error is what could not be tested.
        if judged == Judged::Broken.as_str() {
            let _ = write!(text, "<failure message=\"{measured}\"/>");
        } else if judged == Judged::Undecided.as_str() {
            let _ = write!(text, "<error message=\"{measured}\"/>");
        }
        let _ = writeln!(text, "</testcase>");
    }
    text.push_str("</testsuite>\n");
    text
}

/// A text in markup. What XML does not allow at all is left out.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() && c != '\n' && c != '\t' => {}
            c => out.push(c),
        }
    }
    out
}
