//! Writes rules as YAML.
//!
//! By hand, because a serializer writes no comments, and the reasons belong beside the rules. Every text is a
//! literal block, in which nothing has to be escaped.

use std::time::Duration;

use super::links::Links;
use super::rule::{Alert, Group, Record, Rule};
use super::window;

/// Width of comments.
const WIDTH: usize = 110;

pub(super) fn file(heading: &str, groups: &[Group], links: &Links) -> String {
    let mut yaml = comment("", heading);
    yaml += "\ngroups:\n";
    for (number, group) in groups.iter().enumerate() {
        if number > 0 {
            yaml.push('\n');
        }
        yaml += &format!("  - name: {}\n", group.name);
        if let Some(interval) = group.interval {
            yaml += &format!("    interval: {}\n", window::text(interval));
        }
        yaml += "    rules:\n";
        let rules: Vec<_> = group.rules.iter().map(|rule| one(rule, links)).collect();
        yaml += &rules.join("\n");
    }
    yaml
}

fn one(rule: &Rule, links: &Links) -> String {
    match rule {
        Rule::Record(Record { comment: why, name, expr }) => {
            format!("{}      - record: {name}\n{}", comment("      ", why), block(8, "expr", expr))
        }
        Rule::Alert(alert) => alert_text(alert, links),
    }
}

fn alert_text(alert: &Alert, links: &Links) -> String {
    let mut yaml = comment("      ", &alert.comment);
    yaml += &format!("      - alert: {}\n", alert.name);
    yaml += &block(8, "expr", &alert.expr);
    let mut time = |name: &str, time: Option<Duration>| {
        if let Some(time) = time {
            yaml += &format!("        {name}: {}\n", window::text(time));
        }
    };
    time("for", alert.hold);
    time("keep_firing_for", alert.keep);
    yaml += "        labels:\n";
    yaml += &format!("          severity: {}\n", alert.severity.as_str());
    yaml += &format!("          cause: {}\n", alert.cause.as_str());
    for (name, value) in &alert.labels {
        yaml += &format!("          {name}: {value}\n");
    }
    yaml += "        annotations:\n";
    yaml += &block(10, "summary", &alert.summary);
    yaml += &block(10, "description", &alert.description);
    for (name, link) in links.annotations(alert) {
        yaml += &block(10, name, &link);
    }
    yaml
}

/// A key with a text as a literal block.
fn block(indent: usize, name: &str, text: &str) -> String {
    let lines = text.lines().map(|line| format!("{:indent$}  {line}\n", ""));
    format!("{:indent$}{name}: |-\n{}", "", lines.collect::<String>())
}

/// A text as lines of comment.
pub(super) fn comment(indent: &str, text: &str) -> String {
    let mut lines = String::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() && indent.len() + 2 + line.chars().count() + 1 + word.chars().count() > WIDTH {
            lines += &format!("{indent}# {line}\n");
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line += word;
    }
    if !line.is_empty() {
        lines += &format!("{indent}# {line}\n");
    }
    lines
}
