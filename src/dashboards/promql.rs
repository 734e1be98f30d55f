//! Pieces of PromQL that several dashboards need.

/// A matcher of one label: equality for one value, a pattern for several.
pub(super) fn matcher(label: &str, values: &[String]) -> String {
    match values {
        [one] => format!("{label}=\"{one}\""),
        several => {
            // Names have no other character that means something in a pattern.
            let escaped: Vec<_> = several.iter().map(|value| value.replace('.', "\\\\.")).collect();
            format!("{label}=~\"{}\"", escaped.join("|"))
        }
    }
}

/// An expression, restricted to the groups with the largest (`topk`) or smallest (`bottomk`) rank over the whole
/// range. A plain `topk` chooses again at every point, so that a chart over hours shows lines of everybody.
pub(super) fn ranked(expression: &str, by: &str, choose: &str, count: usize, order: &str) -> String {
    format!("{expression}\nand on ({by}) {choose}({count}, {order})")
}
