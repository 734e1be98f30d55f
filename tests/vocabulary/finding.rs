//! Finds retired words and phrases in one file.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::LazyLock;

use super::names::{self, Name};
use super::prose::{self, Prose, Written};
use super::retired::{AFTER_NO, Exception, PHRASES, Retired, WORDS};
use super::rust_text;

#[derive(Debug)]
pub struct Finding {
    file: String,
    line: usize,
    /// The whole identifier or phrase.
    name: String,
    /// The retired word of it.
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
            let instead = (*INSTEAD_OF.get(&*word)?).to_owned();
            Some((word, instead))
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
    for (at, (line, word)) in prose.words.iter().enumerate() {
        for (phrase, instead) in BY_FIRST_WORD.get(&**word).into_iter().flatten() {
            if prose.has_at(at, phrase) {
                findings.push(finding(*line, (*phrase).to_owned(), phrase, instead));
            }
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

/// The retired words, and what replaces them.
static INSTEAD_OF: LazyLock<HashMap<&str, &str>> = LazyLock::new(|| pairs(&WORDS).collect());

/// The retired phrases that begin with a word, and what replaces them.
static BY_FIRST_WORD: LazyLock<HashMap<&str, Vec<(&str, &str)>>> = LazyLock::new(|| {
    let mut all = HashMap::<_, Vec<_>>::new();
    for (phrase, instead) in pairs(&PHRASES) {
        all.entry(phrase.split(' ').next().unwrap_or_default()).or_default().push((phrase, instead));
    }
    all
});

fn pairs(list: &'static [Retired]) -> impl Iterator<Item = (&'static str, &'static str)> {
    list.iter().flat_map(|retired| retired.forms.split('|').map(|form| (form, retired.instead)))
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
