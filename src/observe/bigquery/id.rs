//! Where in a row the id of a canary stands, and what is compared with it.

use toml::Value;

use super::settings::{column, quoted_path};
use crate::keys::fault::Checked;
use crate::keys::reader::Reader;
use crate::keys::value::{Parsed, text};

/// Where in a row the id stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Id {
    /// A column. Columns inside records are named `record.column`.
    Column(String),
    /// What this SQL expression makes of a row.
    Expression(String),
}

impl Id {
    /// In a query.
    pub(super) fn sql(&self) -> String {
        match self {
            Self::Column(path) => quoted_path(path),
            Self::Expression(expression) => format!("({expression})"),
        }
    }
}

/// How an id compares with the text that it stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdMatch {
    /// The text is the id.
    Exact,
    /// The id stands somewhere in the text.
    Contains,
}

/// What the id of a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdIs {
    Tag,
    /// The trace id, 32 hexadecimal digits.
    TraceId,
}

/// `id_column` or `id_expression`: one of them, and not both.
pub(super) fn read_id(read: &mut Reader<'_, '_>) -> Checked<Id> {
    let column = read.find("id_column", column);
    let expression = read.find("id_expression", expression);
    match (column?, expression?) {
        (Some(column), None) => Ok(Id::Column(column)),
        (None, Some(expression)) => Ok(Id::Expression(expression)),
        (None, None) => Err(read.report(
            "id_column",
            "missing; write the name of the column that holds the id, or, if the id is only part of a column, set id_expression instead",
        )),
        (Some(column), Some(expression)) => Err(read.report(
            "id_expression",
            format!("\"{expression}\" and id_column \"{column}\" are both set; remove one of them"),
        )),
    }
}

/// Longest expression; a query may have 1 MB in all (BigQuery quotas).
const MAX_EXPRESSION: usize = 10_000;

fn expression(value: &Value) -> Parsed<String> {
    let text = text(value)?;
    check_sql(&text, "JSON_VALUE(payload, '$.trace_id')").map(|()| text)
}

/// Checks one SQL expression. It is written into a query between parentheses, so nothing in it may end those,
/// begin another statement or hide what follows. Whether it is otherwise SQL, a dry run tells.
pub(super) fn check_sql(text: &str, example: &str) -> Parsed<()> {
    let shown: String = text.chars().take(80).collect();
    let wrong =
        |why: &str| Err(format!("\"{shown}\" {why}; write one SQL expression, for example \"{example}\""));
    if text.len() > MAX_EXPRESSION {
        return wrong("is too long");
    }
    let mut open = Vec::new();
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match (letter, letters.peek()) {
            ('\'' | '"' | '`', _) => {
                let inside = letters.by_ref();
                loop {
                    match inside.next() {
                        Some('\\') => drop(inside.next()),
                        Some(end) if end == letter => break,
                        Some('\n') | None => return wrong("has a text or a name that does not end"),
                        Some(_) => {}
                    }
                }
            }
            (';', _) => return wrong("has a `;`"),
            ('#', _) | ('-', Some('-')) | ('/', Some('*')) => return wrong("has a comment"),
            ('(', _) => open.push(')'),
            ('[', _) => open.push(']'),
            (')' | ']', _) if open.pop() != Some(letter) => return wrong("has brackets that do not match"),
            _ => {}
        }
    }
    if open.is_empty() { Ok(()) } else { wrong("has brackets that do not match") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> Option<String> {
        expression(&Value::from(text)).err()
    }

    #[test]
    fn expressions_of_every_use_are_taken() {
        for text in [
            "JSON_VALUE(payload, '$.trace_id')",
            "(SELECT MAX(item) FROM UNNEST(tags) AS item)",
            "REGEXP_EXTRACT(message, r'id=\\w+; ')",
            "labels[SAFE_OFFSET(0)]",
            "`odd)name`",
            "CONCAT('it''s', \"#1 -- \")",
            "a - b / c",
        ] {
            assert_eq!(fault(text), None, "{text}");
        }
    }

    #[test]
    fn the_expressions_that_are_shown_to_users_are_taken() {
        let mut shown = 0;
        for text in [include_str!("../../../README.md"), include_str!("../../../config/traceprobe.toml")] {
            for line in text.lines() {
                let after = line.split_once("id_expression = \"").or_else(|| line.split_once(":  "));
                let Some((expression, _)) =
                    after.and_then(|(_, rest)| rest.trim_start_matches([' ', '"']).split_once('"'))
                else {
                    continue;
                };
                shown += 1;
                assert_eq!(fault(expression), None, "{line}");
            }
        }
        assert!(shown >= 8, "{shown}");
    }

    #[test]
    fn what_could_end_the_query_or_hide_a_part_of_it_is_refused() {
        for (text, why) in [
            ("a; DROP TABLE t", "has a `;`"),
            ("a) OR (1 = 1", "has brackets that do not match"),
            ("f(a", "has brackets that do not match"),
            ("f(a]", "has brackets that do not match"),
            ("a -- b", "has a comment"),
            ("a /* b", "has a comment"),
            ("a # b", "has a comment"),
            ("f('a)", "has a text or a name that does not end"),
            ("f('a\\')", "has a text or a name that does not end"),
        ] {
            let fault = fault(text).unwrap();
            assert!(fault.contains(why) && fault.contains("write one SQL expression"), "{text}: {fault}");
        }
    }
}
