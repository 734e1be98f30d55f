//! Finds the metrics and labels that a text names, in PromQL or elsewhere.
//!
//! Not a parser, because Prometheus itself checks the syntax. It finds each `traceprobe_…{…}`, the labels in
//! its braces, and the labels of grouping and matching.

use std::collections::BTreeSet;

/// A metric named in a text.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Named {
    pub metric: String,
    /// The labels in its braces.
    pub labels: BTreeSet<String>,
}

/// Every `traceprobe_` metric that a text names. Recording rules, which have a colon before or after, are
/// left out.
pub fn metrics(text: &str) -> Vec<Named> {
    let starts = text.match_indices("traceprobe_").map(|(at, _)| at);
    let own = starts.filter(|at| !text[..*at].ends_with(|c: char| is_name(c) || c == ':'));
    own.filter_map(|at| {
        let name = &text[at..];
        let name = &name[..name.find(|c| !is_name(c)).unwrap_or(name.len())];
        let rest = &text[at + name.len()..];
        // Neither a prefix, as in `traceprobe_observer_…`, nor a recording rule.
        let named = !name.ends_with('_') && !rest.starts_with([':', '…', '*']);
        let labels = rest.strip_prefix('{').map(matchers).unwrap_or_default();
        named.then(|| Named { metric: name.to_owned(), labels })
    })
    .collect()
}

/// The labels in `by (…)`, `on (…)` and the like.
pub fn groupings(expression: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for word in ["by", "on", "without", "ignoring", "group_left", "group_right"] {
        for (at, _) in expression.match_indices(word) {
            let is_whole_word = !expression[..at].ends_with(is_name);
            if let (true, Some(list)) =
                (is_whole_word, expression[at + word.len()..].trim_start().strip_prefix('('))
            {
                let list = list.split(')').next().unwrap_or_default();
                found.extend(
                    list.split(',').map(str::trim).filter(|label| !label.is_empty()).map(str::to_owned),
                );
            }
        }
    }
    found
}

/// The labels between double braces, as in legends of Grafana.
pub fn legend(text: &str) -> BTreeSet<String> {
    let inner = text.split("{{").skip(1).filter_map(|rest| rest.split("}}").next());
    inner.map(|label| label.trim().to_owned()).collect()
}

/// The label names of matchers, up to the closing brace. Quoted text is skipped.
fn matchers(text: &str) -> BTreeSet<String> {
    let (mut found, mut name, mut quoted, mut before) = (BTreeSet::new(), String::new(), false, ' ');
    for c in text.chars() {
        match c {
            '"' if before != '\\' || !quoted => quoted = !quoted,
            _ if quoted => {}
            '}' => break,
            '=' | '!' if !name.is_empty() => drop(found.insert(std::mem::take(&mut name))),
            _ if is_name(c) => name.push(c),
            _ => name.clear(),
        }
        before = c;
    }
    found
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

#[test]
fn metrics_labels_and_groupings_are_found() {
    let text = r#"sum by (le, tenant) (rate(traceprobe_a_bucket{tenant=~"$t{}", le!="+Inf"}[1m])) / on (x) tenant:traceprobe_b:rate1m > traceprobe_c"#;
    let named = |metric: &str, labels: &[&str]| Named {
        metric: metric.to_owned(),
        labels: labels.iter().map(|label| (*label).to_owned()).collect(),
    };
    assert_eq!(metrics(text), [named("traceprobe_a_bucket", &["tenant", "le"]), named("traceprobe_c", &[])]);
    assert_eq!(groupings(text), ["le", "tenant", "x"].map(str::to_owned).into());
    assert_eq!(legend("late {{tenant}} {{stage}}"), ["tenant", "stage"].map(str::to_owned).into());
}
