//! Collects names: identifiers, metrics and labels, keys of the configuration.

use super::rust_text::{Kind, Token};

#[derive(Debug)]
pub struct Name {
    pub line: usize,
    pub text: String,
}

/// The words of a name, in lower case: `PollsByHTTPStatus` and `polls_by_http_status` have the same four.
pub fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let characters: Vec<char> = name.chars().collect();
    for (at, c) in characters.iter().enumerate() {
        if !c.is_alphabetic() {
            words.push(String::new());
            continue;
        }
        let after_a_small = at > 0 && characters[at - 1].is_lowercase();
        let before_a_small = characters.get(at + 1).is_some_and(|next| next.is_lowercase());
        if c.is_uppercase() && (after_a_small || before_a_small) {
            words.push(String::new());
        }
        words.last_mut().expect("begins with one").extend(c.to_lowercase());
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Identifiers, and string literals that consist of a name, such as a key, a label or a renamed field.
pub fn of_rust(tokens: &[Token<'_>]) -> Vec<Name> {
    let name = |token: &Token<'_>| {
        let text = match token.kind {
            Kind::Identifier => token.text,
            Kind::Literal => token.text.strip_prefix('"')?.strip_suffix('"').filter(|text| is_name(text))?,
            Kind::Comment => return None,
        };
        Some(Name { line: token.line, text: text.to_owned() })
    };
    tokens.iter().filter_map(name).collect()
}

fn is_name(text: &str) -> bool {
    let mut characters = text.chars();
    characters.next().is_some_and(|c| c.is_alphabetic() || c == '_')
        && characters.all(|c| c.is_alphanumeric() || c == '_')
}

/// The metrics and labels of a table, from its first and third column.
pub fn of_metric_table(text: &str) -> Vec<Name> {
    let rows = lines(text).filter(|(_, row)| row.starts_with("| `"));
    let cells = rows.flat_map(|(line, row)| {
        let columns: Vec<&str> = row.split(" | ").collect();
        let labels = columns.get(2).into_iter().flat_map(|labels| labels.split(", "));
        let names: Vec<&str> = columns.first().copied().into_iter().chain(labels).collect();
        names.into_iter().map(move |name| (line, name))
    });
    cells.map(|(line, cell)| Name { line, text: cell.trim_matches(['|', '`', ' ']).to_owned() }).collect()
}

/// Keys and tables, also commented-out ones.
pub fn of_toml(text: &str) -> Vec<Name> {
    let key = |(line, row): (usize, &str)| {
        let row = row.trim_start_matches(['#', ' ']);
        let table = row.strip_prefix('[').and_then(|rest| rest.split(']').next());
        let key =
            table.map(|table| table.trim_start_matches('[')).or_else(|| Some(row.split_once(" = ")?.0))?;
        let is_key = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c));
        is_key.then(|| Name { line, text: key.to_owned() })
    };
    lines(text).filter_map(key).collect()
}

fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(at, line)| (at + 1, line))
}

#[test]
fn a_name_is_split_at_underscores_and_capitals() {
    assert_eq!(words("LastHTTPSweep_of2Looks"), ["last", "http", "sweep", "of", "looks"]);
    assert_eq!(words("journal_mode"), ["journal", "mode"]);
    assert_eq!(words("task"), ["task"]);
}

#[test]
fn keys_are_found_where_they_are_commented_out() {
    let text = "# Prose, with a = sign.\n# sweep = \"1s\"\nlook = 1\n# [aws.asks]\n[[rider]]\n";
    let names: Vec<_> = of_toml(text).into_iter().map(|name| (name.line, name.text)).collect();
    let expected = [(2, "sweep"), (3, "look"), (4, "aws.asks"), (5, "rider")];
    assert_eq!(names, expected.map(|(line, name)| (line, name.to_owned())));
}

#[test]
fn metrics_and_labels_are_found_in_their_table() {
    let names =
        of_metric_table("| metric | labels |\n| `sweeps_total` | counter | stage, looker | Help, too. |\n");
    let names: Vec<_> = names.iter().map(|name| &*name.text).collect();
    assert_eq!(names, ["sweeps_total", "stage", "looker"]);
}
