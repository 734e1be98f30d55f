//! What is wrong with a tenant, as one number over time: that of the worst condition.

use super::chart::State;
use super::query;
use crate::dashboards::promql::ranked;
use crate::domain::conditions::{ConditionName, Severity};

/// Rows of a strip of states.
pub(super) const ROWS: usize = 15;

/// The number of a condition; the worse, the larger. 0 is well.
fn number(name: ConditionName) -> i32 {
    let place = ConditionName::ALL.iter().position(|it| *it == name).unwrap_or(0);
    let order = i32::try_from(ConditionName::ALL.len() - place).unwrap_or(0);
    let severity = if name.profile().severity == Severity::Critical { 100 } else { 0 };
    severity + order
}

/// A text and a colour for each number.
pub(super) fn states() -> Vec<State> {
    let well = State { value: 0, text: "OK".to_owned(), colour: "green" };
    let of = |name: &ConditionName| State {
        value: number(*name),
        text: name.profile().word.to_owned(),
        colour: if name.profile().severity == Severity::Critical { "red" } else { "orange" },
    };
    [well].into_iter().chain(ConditionName::ALL.iter().map(of)).collect()
}

/// The number of the worst condition by these labels. `selector` is a metric's selector with a condition.
pub(super) fn worst(by: &str, selector: impl Fn(&str, &str) -> String) -> String {
    let one = |name: &ConditionName| {
        let matcher = format!("condition=\"{}\"", name.as_str());
        format!("{} * {}", selector("traceprobe_condition", &matcher), number(*name))
    };
    let all: Vec<_> = ConditionName::ALL.iter().map(one).collect();
    format!("max by ({by}) (\n{}\n)", all.join("\nor "))
}

/// The strips of the worst rows; the rows stay the same over the range.
pub(super) fn strips(by: &str, selector: fn(&str, &str) -> String) -> String {
    let series = selector("traceprobe_condition", "");
    let order = format!("sum by ({by}) (sum_over_time({series}[$__range] @ end()))");
    ranked(&worst(by, selector), by, "topk", ROWS, &order)
}

/// Whether the probe sees anything wrong: a count of subjects, 0 if none, nothing while the probe is not scraped.
pub(super) fn count(of: &str) -> String {
    let series = query::all("traceprobe_condition", "tenant!=\"\"");
    format!("count(max by ({of}) ({series}) > 0) or 0 * count({series})")
}
