//! Checks that every message in `docs/troubleshooting.md` is one that the program can print: a heading whose text
//! nobody will ever read would hide that the message was changed.

use std::fs;
use std::path::{Path, PathBuf};

const PAGE: &str = "docs/troubleshooting.md";
/// A shorter part of a message would be found in any file.
const FEWEST_CHARACTERS: usize = 10;

#[test]
fn every_message_is_in_the_source() {
    let sources = sources();
    let messages = messages();
    assert!(messages.len() >= 25, "only {} messages", messages.len());
    for message in messages {
        let parts: Vec<_> = message.split('…').map(str::trim).filter(|part| !part.is_empty()).collect();
        let fixed: usize = parts.iter().map(|part| part.len()).sum();
        assert!(fixed >= FEWEST_CHARACTERS, "too short: {message}");
        let is_in = |source: &&String| in_order(source, &parts);
        assert!(
            sources.iter().any(|source| is_in(&source)),
            "{PAGE}: no source file has the message: {message}"
        );
    }
}

#[test]
fn no_message_is_explained_twice() {
    let mut messages = messages();
    let count = messages.len();
    messages.sort_unstable();
    messages.dedup();
    assert_eq!(messages.len(), count);
}

/// The messages in the headings of the third level.
fn messages() -> Vec<String> {
    let page = fs::read_to_string(PAGE).unwrap();
    let headings = page.lines().filter_map(|line| line.strip_prefix("### "));
    headings.map(|heading| heading.trim_matches('`').to_owned()).collect()
}

/// Whether the parts follow each other within one message. What fills the gaps is in the source a placeholder, or a
/// constant with a longer name.
fn in_order(source: &str, parts: &[&str]) -> bool {
    const LONGEST_GAP: usize = 60;
    let Some((first, others)) = parts.split_first() else { return true };
    source.match_indices(first).any(|(at, _)| {
        let mut end = at + first.len();
        others.iter().all(|part| match source[end..].find(part) {
            Some(gap) if gap <= LONGEST_GAP => {
                end += gap + part.len();
                true
            }
            _ => false,
        })
    })
}

/// The source files that can print something to an operator, as the texts in them read.
fn sources() -> Vec<String> {
    let files = below(Path::new("src")).into_iter().filter(|path| {
        let path = path.to_string_lossy();
        path.ends_with(".rs") && !path.contains("/tests") && !path.starts_with("src/sandbox")
    });
    files.map(|path| as_read(&fs::read_to_string(path).unwrap())).collect()
}

/// Without the tests of the file, without line breaks inside of texts, and with quotes as they are printed.
fn as_read(source: &str) -> String {
    let code = source.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let mut text = String::new();
    for line in code.lines() {
        match line.strip_suffix('\\') {
            Some(broken) => text += broken.trim_start(),
            None => text += &format!("{}\n", line.trim_start()),
        }
    }
    text.replace("\\\"", "\"").replace("{{", "{").replace("}}", "}")
}

fn below(folder: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { below(&path) } else { vec![path] }).collect()
}
