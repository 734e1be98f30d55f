//! `docs/conditions.md` says what the code does.

use crate::domain::conditions::{ConditionName, Criteria, DEFAULT_LIMITS};

const PAGE: &str = include_str!("../../../../docs/conditions.md");

/// The cells of the row of a condition, after its name.
fn row(name: ConditionName) -> Vec<&'static str> {
    let begins = format!("| `{}` |", name.as_str());
    let rows: Vec<_> = PAGE.lines().filter_map(|line| line.strip_prefix(&*begins)).collect();
    let [row] = rows[..] else { panic!("{begins} {rows:?}") };
    row.trim_end_matches('|').split('|').map(str::trim).collect()
}

#[test]
fn every_condition_has_one_row_with_its_severity() {
    for name in ConditionName::ALL {
        let profile = name.profile();
        let (main, side) = (profile.severity.as_str(), profile.severity_beside.as_str());
        let severity =
            if main == side { main.to_owned() } else { format!("{main}; beside the main path, {side}") };
        assert_eq!(row(name)[0], severity, "{}", name.as_str());
    }
}

#[test]
fn every_limit_is_the_documented_one() {
    for (name, note, problem) in DEFAULT_LIMITS {
        let cells = row(*name);
        assert_eq!(cells[cells.len() - 2..], [*note, *problem], "{}", name.as_str());
    }
}

#[test]
fn the_documented_order_is_that_of_the_names() {
    let order: Vec<_> = ConditionName::ALL.iter().map(|name| format!("`{}`", name.as_str())).collect();
    let prose = PAGE.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(prose.contains(&order.join(", ")), "{}", order.join(", "));
}

#[test]
fn the_documented_window_and_delay_are_the_defaults() {
    assert_eq!(Criteria::WINDOW.as_secs(), 15 * 60);
    assert!(PAGE.contains("within `window` (15 minutes,"));
    assert_eq!(Criteria::LATE_AFTER.as_secs(), 5);
}
