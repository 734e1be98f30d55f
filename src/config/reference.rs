//! What `config/traceprobe.toml` says of each key: the text in front of it, and its example.
//!
//! That file is the only place where a key is explained. The JSON schema and `docs/configuration.md` take the texts
//! from there, so that they cannot say something else.

use std::collections::BTreeMap;

use toml::{Table, Value};

/// The file that documents every key. It is compiled in, so that the program can print a schema with explanations.
const DOCUMENTED: &str = include_str!("../../config/traceprobe.toml");

/// What the file says of all tables, by their headers: `[probe]`, `[[stage]]`.
pub(super) type Reference = BTreeMap<String, Described>;

/// What the file says of one table.
#[derive(Debug, Default)]
pub(super) struct Described {
    pub(super) text: String,
    keys: BTreeMap<String, DescribedKey>,
}

#[derive(Debug)]
struct DescribedKey {
    text: String,
    value: Value,
}

impl Described {
    /// What the key means, in whole sentences; empty if the file says nothing, as for endpoints.
    pub(super) fn text(&self, key: &str) -> &str {
        self.keys.get(key).map_or("", |key| &key.text)
    }

    /// The value in the file: the default, or an example.
    pub(super) fn value(&self, key: &str) -> Option<&Value> {
        self.keys.get(key).map(|key| &key.value)
    }
}

/// Reads the file.
pub(super) fn read() -> Reference {
    read_text(DOCUMENTED)
}

/// A line of the file.
enum Line<'a> {
    Header(&'a str),
    Key(&'a str, Value),
    Text(&'a str),
    /// `#` alone: the end of a paragraph.
    Gap,
    /// An empty line: what follows is about something else.
    Blank,
}

/// What was read since the last key.
#[derive(Default)]
struct Above<'a> {
    text: Vec<&'a str>,
    /// The paragraph before, which is about a table if a header follows.
    paragraph: Vec<&'a str>,
    /// Whether a paragraph begins here, and so may have a heading.
    begins: bool,
}

/// Reads comments, and keys with or without a `#` in front. A key's text is the lines directly above it; keys that
/// follow without a text belong to the same list and have the same one. Where a text quotes another key (`write
/// id_column = "message"`), that key was described before, and the line is part of the text.
fn read_text(file: &str) -> Reference {
    let mut reference = Reference::new();
    let (mut header, mut last) = (String::new(), String::new());
    let mut above = Above::default();
    for line in file.lines() {
        match line_of(line) {
            Line::Blank => above = Above { begins: true, ..Above::default() },
            Line::Gap => above = Above { paragraph: above.text, begins: true, ..Above::default() },
            // The heading of a group of keys, such as `kinesis:`.
            Line::Text(line) if above.begins && line.ends_with(':') => above.begins = false,
            Line::Text(line) => {
                above.text.push(line);
                above.begins = false;
            }
            Line::Header(name) => {
                name.clone_into(&mut header);
                last.clear();
                let table = reference.entry(header.clone()).or_default();
                if table.text.is_empty() {
                    table.text = joined(if above.text.is_empty() { &above.paragraph } else { &above.text });
                }
                above = Above::default();
            }
            Line::Key(name, value) => {
                let table = reference.entry(header.clone()).or_default();
                let is_example = !line.starts_with('#');
                match table.keys.get_mut(name) {
                    Some(_) if is_example => above = Above::default(),
                    // A second value of the same key: the first was the end of the text.
                    Some(key) if name == last && above.text.is_empty() => {
                        key.text += &format!(" {name} = {}", key.value);
                        key.value = value;
                    }
                    Some(_) => above.text.push(line.trim_start_matches("# ")),
                    None => {
                        let text = match joined(&above.text) {
                            text if text.is_empty() => table.text(&last).to_owned(),
                            text => text,
                        };
                        table.keys.insert(name.to_owned(), DescribedKey { text, value });
                        name.clone_into(&mut last);
                        above = Above::default();
                    }
                }
            }
        }
    }
    reference
}

/// The lines of a text as one, without the spaces that align columns.
fn joined(lines: &[&str]) -> String {
    lines.iter().flat_map(|line| line.split_whitespace()).collect::<Vec<_>>().join(" ")
}

fn line_of(line: &str) -> Line<'_> {
    let text = line.trim_start_matches('#').trim();
    if text.is_empty() {
        return if line.starts_with('#') { Line::Gap } else { Line::Blank };
    }
    if text.starts_with('[') && text.ends_with(']') {
        return Line::Header(text);
    }
    let is_name =
        |name: &str| name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    let name = text.split_once(" = ").map(|(name, _)| name).filter(|name| is_name(name));
    let value = name.and_then(|name| text.parse::<Table>().ok()?.remove(name));
    match name.zip(value) {
        Some((name, value)) => Line::Key(name, value),
        None => Line::Text(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::keys;

    #[test]
    fn a_key_is_described_by_the_lines_above_it() {
        let file = "# other\n\n# table\n#\n[a]\n# One, as in:\n# line.\n# x = \"1s\"\n#\n# group:\n# Two.\n# y = 2\n# z = 3\n";
        let reference = read_text(file);
        let table = &reference["[a]"];
        assert_eq!(
            (table.text("x"), table.text("y"), table.text("z")),
            ("One, as in: line.", "Two.", "Two.")
        );
        assert_eq!(table.value("x"), Some(&Value::from("1s")));
        assert_eq!(table.text, "table");
    }

    #[test]
    fn a_key_in_the_text_of_another_one_is_text() {
        let file = "[a]\n# One.\n# x = 1\n# Two, or write\n# x = 2\n# y = 3\n# y = 4\n# Three.\n# z = 5\n";
        let reference = read_text(file);
        let table = &reference["[a]"];
        assert_eq!(table.text("x"), "One.");
        assert_eq!(table.text("y"), "Two, or write x = 2 y = 3");
        assert_eq!((table.value("y"), table.text("z")), (Some(&Value::from(4)), "Three."));
    }

    #[test]
    fn every_key_but_the_endpoints_is_described_in_whole_sentences() {
        let reference = read();
        let endpoints = ["[aws.endpoints]", "[gcp.endpoints]"];
        for (header, keys) in keys::all().into_iter().filter(|(header, _)| !endpoints.contains(header)) {
            for key in keys {
                let text = reference[header].text(key.name);
                assert!(text.len() > 10, "{header} {}: {text:?}", key.name);
            }
        }
    }
}
