//! What the check finds in one file, and how it says so.

use std::fmt;
use std::path::Path;

use super::names::{self, Name};
use super::prose::{self, Prose, Written};
use super::retired::{AFTER_NO, Exception, PHRASES, Retired, WORDS};
use super::rust_text;

#[derive(Debug)]
pub struct Finding {
    file: String,
    line: usize,
    /// The identifier, or the phrase.
    name: String,
    /// What of it is retired.
    retired: String,
    instead: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Finding { file, line, name, retired, instead } = self;
        write!(f, "{file}:{line}: `{name}`: \"{retired}\" is retired; write: {instead}")
    }
}

impl Finding {
    pub fn is_excepted_by(&self, exception: &Exception) -> bool {
        self.file.starts_with(exception.file) && self.name == exception.name
    }
}

pub fn in_names(path: &Path, text: &str) -> Vec<Finding> {
    let file = path.to_string_lossy();
    let mut names = vec![Name { line: 1, text: path.file_name().unwrap().to_string_lossy().into_owned() }];
    names.extend(match path.extension().and_then(|extension| extension.to_str()) {
        Some("rs") => names::of_rust(&rust_text::tokens(text)),
        Some("toml") => names::of_toml(text),
        _ if path == Path::new("docs/metrics.md") => names::of_metric_table(text),
        _ => Vec::new(),
    });
    let finding = |name: Name| {
        let word = names::words(&name.text).into_iter().find_map(|word| {
            let retired = WORDS.iter().find(|retired| forms(retired).any(|form| form == word))?;
            Some((word, retired.instead.to_owned()))
        });
        let (retired, instead) = word?;
        Some(Finding { file: file.to_string(), line: name.line, name: name.text, retired, instead })
    };
    names.into_iter().filter_map(finding).collect()
}

pub fn in_prose(path: &Path, text: &str) -> Vec<Finding> {
    let is_rust = path.extension().is_some_and(|extension| extension == "rs");
    let texts =
        if is_rust { prose::of_rust(&rust_text::tokens(text)) } else { vec![prose::of_document(text)] };
    texts.iter().flat_map(|prose| in_one_text(&path.to_string_lossy(), prose)).collect()
}

fn in_one_text(file: &str, prose: &Prose) -> Vec<Finding> {
    let finding = |line, name: String, retired: &str, instead: &str| Finding {
        file: file.to_owned(),
        line,
        name,
        retired: retired.to_owned(),
        instead: instead.to_owned(),
    };
    let mut findings = Vec::new();
    for retired in &PHRASES {
        for phrase in forms(retired) {
            let lines = prose.lines_of(phrase).into_iter();
            findings.extend(lines.map(|line| finding(line, phrase.to_owned(), phrase, retired.instead)));
        }
    }
    if prose.written == Written::Literal {
        let faults = prose.after_is_no().into_iter().filter(|(_, noun)| !AFTER_NO.contains(noun));
        findings.extend(faults.map(|(line, noun)| {
            finding(line, format!("is no {noun}"), "is no", &format!("is not a valid {noun}"))
        }));
    }
    findings
}

fn forms(retired: &Retired) -> impl Iterator<Item = &'static str> {
    retired.forms.split('|')
}

#[test]
fn a_retired_word_is_reported_with_its_place_and_its_replacement() {
    let source =
        "/// No name: sweep_interval.\nfn interval() {}\nstruct LastSweep;\nconst KEY: &str = \"asked_at\";";
    let reports: Vec<_> =
        in_names(Path::new("src/a/keeper.rs"), source).iter().map(Finding::to_string).collect();
    let expected = [
        "src/a/keeper.rs:1: `keeper.rs`: \"keeper\" is retired; write: store writer",
        "src/a/keeper.rs:3: `LastSweep`: \"sweep\" is retired; write: poll",
        "src/a/keeper.rs:4: `asked_at`: \"asked\" is retired; write: request, or query",
    ];
    assert_eq!(reports, expected);
}

#[test]
fn a_retired_phrase_is_found_across_a_line_break() {
    let source =
        "// It was polled in\n    // Vain.\nlet text = \"in\"; // vain\nlet error = \"it is no\\nlist\";";
    let reports: Vec<_> = in_prose(Path::new("src/a.rs"), source).iter().map(Finding::to_string).collect();
    let expected = [
        "src/a.rs:1: `in vain`: \"in vain\" is retired; write: not found in N polls",
        "src/a.rs:4: `is no list`: \"is no\" is retired; write: is not a valid list",
    ];
    assert_eq!(reports, expected);
}
