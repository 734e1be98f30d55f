//! What is wrong with a tenant, as one number over time: that of the worst condition.

use super::chart::State;
use super::query;
use crate::dashboards::promql::ranked;
use crate::domain::conditions::{ConditionName, Profile, Severity};
use crate::domain::topology::Topology;

/// Rows of a strip of states.
pub(super) const ROWS: usize = 15;

/// The number of a condition of a severity; the worse, the larger. 0 is well.
fn number(name: ConditionName, severity: Severity) -> i32 {
    let place = ConditionName::ALL.iter().position(|it| *it == name).unwrap_or(0);
    let order = i32::try_from(ConditionName::ALL.len() - place).unwrap_or(0);
    if severity == Severity::Critical { 100 + order } else { order }
}

/// The severities that a problem of a name has: on the main path, and beside it if that is another one.
fn severities(name: ConditionName) -> impl Iterator<Item = Severity> {
    let Profile { severity, severity_beside, .. } = name.profile();
    [severity].into_iter().chain(Some(severity_beside).filter(|beside| *beside != severity))
}

/// A text and a colour for each number.
pub(super) fn states() -> Vec<State> {
    let well = State { value: 0, text: "OK".to_owned(), colour: "green" };
    let of = |name: &ConditionName| {
        let name = *name;
        severities(name).map(move |severity| State {
            value: number(name, severity),
            text: name.profile().word.to_owned(),
            colour: if severity == Severity::Critical { "red" } else { "orange" },
        })
    };
    [well].into_iter().chain(ConditionName::ALL.iter().flat_map(of)).collect()
}

/// The number of the worst condition by these labels. `selector` is a metric's selector with a condition.
pub(super) fn worst(map: &Topology, by: &str, selector: impl Fn(&str, &str) -> String) -> String {
    let beside = map.stage_ids().filter(|id| !map.main_path().contains(id));
    let beside: Vec<&str> = beside.map(|id| &*map.stage(id).name).collect();
    let term = |name: &ConditionName, severity: Severity, stages: &str| {
        let matchers = format!("condition=\"{}\"{stages}", name.as_str());
        format!("{} * {}", selector("traceprobe_condition", &matchers), number(*name, severity))
    };
    let of = |name: &ConditionName| {
        let Profile { severity, severity_beside, .. } = name.profile();
        if severity == severity_beside || beside.is_empty() {
            return vec![term(name, severity, "")];
        }
        let stages = |operator: &str| format!(", stage{operator}\"{}\"", beside.join("|"));
        vec![term(name, severity, &stages("!~")), term(name, severity_beside, &stages("=~"))]
    };
    let all: Vec<_> = ConditionName::ALL.iter().flat_map(of).collect();
    format!("max by ({by}) (\n{}\n)", all.join("\nor "))
}

/// The strips of the worst rows; the rows stay the same over the range.
pub(super) fn strips(map: &Topology, by: &str, selector: fn(&str, &str) -> String) -> String {
    let series = selector("traceprobe_condition", "");
    let order = format!("sum by ({by}) (sum_over_time({series}[$__range] @ end()))");
    ranked(&worst(map, by, selector), by, "topk", ROWS, &order)
}

/// Whether the probe sees anything wrong: a count of subjects, 0 if none, nothing while the probe is not scraped.
pub(super) fn count(of: &str) -> String {
    let series = query::all("traceprobe_condition", "tenant!=\"\"");
    format!("count(max by ({of}) ({series}) > 0) or 0 * count({series})")
}
