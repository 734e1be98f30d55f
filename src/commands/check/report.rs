//! Prints findings as they come: lines for people, or one JSON document at the end.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::Serialize;

use super::finding::{Finding, Mark};
use super::mend::describe;
use crate::commands::output::{complain, say};

/// Raised when a field is renamed, removed or changes its meaning.
const SCHEMA_VERSION: u32 = 1;
/// Most tenants that a line names.
const NAMED_TENANTS: usize = 5;

/// How the findings are printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Format {
    Lines,
    Json,
}

/// All that was found so far.
#[derive(Debug)]
pub(super) struct Report {
    format: Format,
    findings: Vec<Finding>,
    notes: Vec<String>,
}

/// The document that `--json` prints; docs/check.md documents it.
#[derive(Serialize)]
struct Document<'a> {
    schema_version: u32,
    version: &'static str,
    ok: usize,
    failed: usize,
    not_tried: usize,
    exit_code: u8,
    notes: &'a [String],
    findings: &'a [Finding],
}

impl Report {
    pub(super) const fn new(format: Format) -> Self {
        Self { format, findings: Vec::new(), notes: Vec::new() }
    }

    /// How many findings have this mark.
    pub(super) fn count(&self, mark: Mark) -> usize {
        self.findings.iter().filter(|finding| finding.mark == mark).count()
    }

    pub(super) fn note(&mut self, note: &str) {
        if self.format == Format::Lines {
            say!("note      {note}");
        }
        self.notes.push(note.to_owned());
    }

    pub(super) fn add(&mut self, finding: Finding) {
        if self.format == Format::Lines {
            lines(&finding).iter().for_each(|line| say!("{line}"));
        }
        self.findings.push(finding);
    }

    /// Prints the end.
    pub(super) fn finish(self, exit_code: u8) {
        let [ok, failed, not_tried] = [Mark::Ok, Mark::Fail, Mark::NotTried].map(|mark| self.count(mark));
        if self.format == Format::Lines {
            say!("{ok} ok, {failed} failed, {not_tried} not tried");
            return;
        }
        let document = Document {
            schema_version: SCHEMA_VERSION,
            version: env!("CARGO_PKG_VERSION"),
            ok,
            failed,
            not_tried,
            exit_code,
            notes: &self.notes,
            findings: &self.findings,
        };
        match serde_json::to_string_pretty(&document) {
            Ok(text) => say!("{text}"),
            Err(error) => complain!("cannot write the JSON: {error}"),
        }
    }
}

/// The line of a finding, and what to do about it, indented.
fn lines(finding: &Finding) -> Vec<String> {
    let Finding { mark, subject, what, tenants, detail, failure, mend, .. } = finding;
    let tenants = of_tenants(tenants);
    let mut lines = vec![format!("{} {subject}{tenants}: {what}: {detail}", mark.column())];
    let mut more = |label: &str, text: &str| lines.push(format!("          {label:<8} {text}"));
    if let Some(failure) = failure {
        if let Some(principal) = &failure.principal {
            more("who", principal);
        }
        if let Some(permission) = &failure.permission {
            more("call", &format!("{permission} on {}", failure.resource));
        }
    }
    if let Some(mend) = mend {
        if !mend.possibilities.is_empty() {
            more("check", "AWS does not say which of these is not so:");
            mend.possibilities.iter().for_each(|it| more("", &format!("- {it}")));
        }
        if let Some(statement) = mend.statement.and_then(describe) {
            more("allow", &statement);
        }
        if let Some(key) = &mend.key {
            more("key", key);
        }
        if let Some(command) = &mend.command {
            more("run", command);
        }
    }
    lines
}

/// The first tenants in brackets; the JSON has all.
fn of_tenants(tenants: &[String]) -> String {
    let named = tenants.get(..NAMED_TENANTS.min(tenants.len())).unwrap_or_default().join(", ");
    match tenants.len().saturating_sub(NAMED_TENANTS) {
        _ if tenants.is_empty() => String::new(),
        0 => format!(" ({named})"),
        more => format!(" ({named} and {more} more)"),
    }
}

/// Counts on a terminal what is done. Nothing is printed elsewhere.
#[derive(Debug)]
pub(super) struct Progress {
    total: usize,
    done: AtomicUsize,
    is_shown: bool,
}

impl Progress {
    pub(super) fn new(total: usize) -> Self {
        Self { total, done: AtomicUsize::new(0), is_shown: std::io::stderr().is_terminal() }
    }

    /// One more is done.
    pub(super) fn step(&self) {
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        self.show(&format!("{done} of {} tried", self.total));
    }

    /// Replaces the line.
    pub(super) fn show(&self, text: &str) {
        if self.is_shown {
            write_to_stderr(&format!("\r\x1b[K{text}"));
        }
    }

    /// Removes the line, before another one is printed.
    pub(super) fn clear(&self) {
        self.show("");
    }
}

fn write_to_stderr(text: &str) {
    use std::io::Write;
    let mut stderr = std::io::stderr().lock();
    // Progress that cannot be shown is no failure.
    let _shown = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}
