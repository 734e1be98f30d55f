//! Reads as much YAML as the exporters' configurations use: maps and lists in blocks, and lists of words in brackets.

use serde_json::{Map, Value};

/// Reads a document.
pub(super) fn read(text: &str) -> Value {
    let is_content = |line: &&str| !line.trim_start().starts_with('#') && !line.trim().is_empty();
    let lines: Vec<(usize, &str)> = text
        .lines()
        .filter(is_content)
        .map(|line| (line.len() - line.trim_start().len(), line.trim()))
        .collect();
    let (value, rest) = block(&lines, 0);
    assert!(rest.is_empty(), "{rest:?}");
    value
}

type Lines<'a> = &'a [(usize, &'a str)];

fn block(lines: Lines<'_>, indent: usize) -> (Value, Lines<'_>) {
    match lines.first() {
        Some((at, line)) if *at >= indent && line.starts_with("- ") => list(lines, *at),
        Some((at, _)) if *at >= indent => map(lines, *at),
        _ => (Value::Null, lines),
    }
}

fn list(mut lines: Lines<'_>, indent: usize) -> (Value, Lines<'_>) {
    let mut items = Vec::new();
    while let Some((at, line)) = lines.first()
        && *at == indent
        && let Some(first) = line.strip_prefix("- ")
    {
        // The rest of the item is as far to the right as what follows the hyphen.
        let mut own = vec![(indent + 2, first)];
        let more = lines[1..].iter().take_while(|(at, _)| *at > indent).count();
        own.extend_from_slice(&lines[1..=more]);
        let (item, rest) = map(&own, indent + 2);
        assert!(rest.is_empty(), "{rest:?}");
        items.push(item);
        lines = &lines[1 + more..];
    }
    (Value::Array(items), lines)
}

fn map(mut lines: Lines<'_>, indent: usize) -> (Value, Lines<'_>) {
    let mut fields = Map::new();
    while let Some((at, line)) = lines.first()
        && *at == indent
        && let Some((name, value)) = line.split_once(':')
    {
        lines = &lines[1..];
        let value = match value.trim() {
            "" => {
                let (value, rest) = block(lines, indent + 1);
                lines = rest;
                value
            }
            one => scalar(one),
        };
        assert!(fields.insert(name.to_owned(), value).is_none(), "{name} is there twice");
    }
    (Value::Object(fields), lines)
}

fn scalar(text: &str) -> Value {
    if let Some(items) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return items.split(", ").map(scalar).collect();
    }
    match text {
        "true" => true.into(),
        "false" => false.into(),
        number if number.parse::<u64>().is_ok() => number.parse::<u64>().unwrap().into(),
        other => other.trim_matches('"').into(),
    }
}

#[test]
fn maps_lists_and_words_are_read() {
    let text = "# why\na: x\nb:\n  - name: \"1\"\n    of: [p, q]\n    in:\n      - c: 3\n  - name: y\n";
    let read = read(text);
    assert_eq!(
        read,
        serde_json::json!({"a": "x", "b": [{"name": "1", "of": ["p", "q"], "in": [{"c": 3}]}, {"name": "y"}]})
    );
}
