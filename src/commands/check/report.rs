//! Prints findings as they come: lines for people, or one JSON document at the end.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::Serialize;

use super::canary::CanaryReport;
use super::finding::{Finding, Mark};
use super::mend::describe;
use crate::commands::output::{complain, say};
use crate::domain::tool_endpoints::ToolEndpoints;

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
    /// What the commands in it must tell their tools.
    endpoints: ToolEndpoints,
    findings: Vec<Finding>,
    canaries: Vec<CanaryReport>,
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
    canaries: &'a [CanaryReport],
}

impl Report {
    pub(super) const fn new(format: Format, endpoints: ToolEndpoints) -> Self {
        Self { format, endpoints, findings: Vec::new(), canaries: Vec::new(), notes: Vec::new() }
    }

    pub(super) const fn format(&self) -> Format {
        self.format
    }

    /// How many findings have this mark, canaries aside.
    pub(super) fn count(&self, mark: Mark) -> usize {
        self.findings.iter().filter(|finding| finding.mark == mark).count()
    }

    pub(super) fn note(&mut self, note: &str) {
        if self.format == Format::Lines {
            say!("note      {note}");
        }
        self.notes.push(note.to_owned());
    }

    pub(super) fn add(&mut self, mut finding: Finding) {
        if let Some(command) = finding.mend.as_mut().and_then(|mend| mend.command.as_mut()) {
            *command = self.endpoints.told(command);
        }
        if self.format == Format::Lines {
            lines(&finding).iter().for_each(|line| say!("{line}"));
        }
        self.findings.push(finding);
    }

    pub(super) fn add_canary(&mut self, canary: CanaryReport) {
        if self.format == Format::Lines {
            canary.lines().iter().for_each(|line| say!("{line}"));
        }
        self.canaries.push(canary);
    }

    /// Prints the end.
    pub(super) fn finish(self, exit_code: u8) {
        let canaries = |mark| self.canaries.iter().filter(|canary| canary.mark == mark).count();
        let [ok, failed, not_tried] =
            [Mark::Ok, Mark::Fail, Mark::NotTried].map(|mark| self.count(mark) + canaries(mark));
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
            canaries: &self.canaries,
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
        if let Some(principal) = failure.principal.as_ref().filter(|_| failure.kind == "denied") {
            more("who", principal);
        }
        if let Some(permission) = &failure.permission {
            more("call", &format!("{permission} on {}", failure.resource));
        }
    }
    if let Some(mend) = mend {
        if !mend.possibilities.is_empty() {
            let which = if mend.possibilities.len() == 1 { "this is" } else { "all of these are" };
            more("check", &format!("that {which} true:"));
            mend.possibilities.iter().for_each(|it| more("", &format!("- {it}")));
        }
        if let Some(text) = mend.statement.and_then(describe) {
            let is_example = mend.statement.is_some_and(|statement| statement.sid.is_some());
            more("allow", &format!("{text}{}", if is_example { ", with your own names" } else { "" }));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::check::finding::Failed;
    use crate::commands::check::mend::{Mend, Statement};
    use crate::domain::tool_endpoints::AwsEndpoint;

    #[test]
    fn a_failure_is_a_line_and_what_mends_it() {
        let failure = Failed {
            kind: "denied",
            principal: Some("arn:aws:iam::9:user/u".to_owned()),
            permission: Some("s3:GetObject".to_owned()),
            resource: "arn:aws:s3:::b/k".to_owned(),
            sentence: "AccessDenied: no".to_owned(),
        };
        let mend = Mend {
            statement: Some(Statement { sid: Some("ReadTheObjects"), file: Some("a.json"), role: None }),
            key: Some("stage.archive.bucket".to_owned()),
            command: Some("aws x".to_owned()),
            possibilities: vec!["one".to_owned(), "two".to_owned()],
        };
        let finding = Finding::general(Mark::Fail, "newest object", "AccessDenied: no").with_mend(mend);
        let finding = Finding { failure: Some(failure), tenants: vec!["acme".to_owned()], ..finding };
        assert_eq!(
            lines(&finding),
            [
                "FAIL      probe (acme): newest object: AccessDenied: no",
                "          who      arn:aws:iam::9:user/u",
                "          call     s3:GetObject on arn:aws:s3:::b/k",
                "          check    that all of these are true:",
                "                   - one",
                "                   - two",
                "          allow    statement ReadTheObjects in a.json, with your own names",
                "          key      stage.archive.bucket",
                "          run      aws x",
            ]
        );
    }

    #[test]
    fn a_command_is_told_where_the_services_are() {
        let endpoint = AwsEndpoint { service: None, region: None, url: "http://127.0.0.1:4566".to_owned() };
        let mut report = Report::new(Format::Json, ToolEndpoints::new(vec![endpoint], None, None));
        let mend = Mend { command: Some("aws sts get-caller-identity".to_owned()), ..Mend::default() };
        report.add(Finding::general(Mark::Fail, "who am I, AWS", "no").with_mend(mend));
        let command = report.findings[0].mend.as_ref().unwrap().command.as_deref();
        assert_eq!(command, Some("aws --endpoint-url http://127.0.0.1:4566 sts get-caller-identity"));
    }

    #[test]
    fn a_line_names_five_tenants_at_most() {
        let tenants = |count: usize| (0..count).map(|n| format!("t{n}")).collect::<Vec<_>>();
        assert_eq!(of_tenants(&[]), "");
        assert_eq!(of_tenants(&tenants(2)), " (t0, t1)");
        assert_eq!(of_tenants(&tenants(7)), " (t0, t1, t2, t3, t4 and 2 more)");
    }
}
