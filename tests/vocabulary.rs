//! Checks that there is one word for each thing. Fails on a retired word in a name and on a retired phrase in
//! prose, and prints its place and what to write instead. The lists and their exceptions are in
//! `vocabulary/retired.rs`.

#[path = "vocabulary/finding.rs"]
mod finding;
#[path = "vocabulary/names.rs"]
mod names;
#[path = "vocabulary/prose.rs"]
mod prose;
#[path = "vocabulary/retired.rs"]
mod retired;
#[path = "vocabulary/rust_text.rs"]
mod rust_text;

use std::fs;
use std::path::{Path, PathBuf};

use self::finding::{Finding, in_names, in_prose};
use self::retired::{EXCEPTIONS, Exception};

/// Checked with everything below them, and so are the files of the repository's root.
const FOLDERS: [&str; 7] = [".ci", "benches", "config", "dashboards", "docs", "src", "tests"];
/// Not checked, because it names what it forbids.
const THE_LISTS: &str = "tests/vocabulary/";

#[test]
fn no_name_has_a_retired_word() {
    assert_none(in_names);
}

#[test]
fn no_prose_has_a_retired_phrase() {
    assert_none(in_prose);
}

#[test]
fn every_exception_is_needed() {
    let findings: Vec<Finding> = in_repository(in_names).into_iter().chain(in_repository(in_prose)).collect();
    for exception in &EXCEPTIONS {
        let is_needed = findings.iter().any(|finding| finding.is_excepted_by(exception));
        let Exception { file, name, reason } = exception;
        assert!(is_needed, "tests/vocabulary/retired.rs: delete the exception `{name}` in {file} ({reason})");
    }
}

fn assert_none(check: fn(&Path, &str) -> Vec<Finding>) {
    let findings: Vec<String> = in_repository(check)
        .iter()
        .filter(|finding| !EXCEPTIONS.iter().any(|exception| finding.is_excepted_by(exception)))
        .map(Finding::to_string)
        .collect();
    assert!(findings.is_empty(), "{} findings:\n{}\n", findings.len(), findings.join("\n"));
}

fn in_repository(check: fn(&Path, &str) -> Vec<Finding>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for path in paths() {
        // Folders and images have a name only.
        let text = fs::read_to_string(&path).unwrap_or_default();
        findings.extend(check(&path, &text));
    }
    findings
}

/// Files and folders, in order.
fn paths() -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = FOLDERS.iter().flat_map(|folder| below(Path::new(folder))).collect();
    paths.extend(entries(Path::new(".")).into_iter().filter(|path| path.is_file()));
    paths.sort();
    paths.retain(|path| {
        let path = path.to_string_lossy();
        !path.starts_with(THE_LISTS)
    });
    paths
}

fn below(folder: &Path) -> Vec<PathBuf> {
    let below_entry =
        |path: PathBuf| if path.is_dir() { [below(&path), vec![path]].concat() } else { vec![path] };
    entries(folder).into_iter().flat_map(below_entry).collect()
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.map(|path| path.strip_prefix(".").map(Path::to_owned).unwrap_or(path)).collect()
}
