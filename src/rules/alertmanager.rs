//! An example of a configuration for Alertmanager that sends one notification for one cause.
//!
//! Generated, because Alertmanager cannot compare stages: that a fault at an early stage explains what is wrong
//! at the later ones takes a rule for each stage.

use super::yaml;
use crate::domain::topology::{StageId, Topology};

/// What does not depend on the configuration.
const EXAMPLE: &str = include_str!("alertmanager.yml");

pub(super) fn file(map: &Topology) -> String {
    let mut text = EXAMPLE.to_owned();
    for stage in map.stage_ids() {
        let later: Vec<&str> = map
            .stage_ids()
            .filter(|other| is_before(map, stage, *other))
            .map(|id| &*map.stage(id).name)
            .collect();
        if !later.is_empty() {
            text += &rules(&map.stage(stage).name, &later);
        }
    }
    text
}

/// Whether events come to `one` before they come to `other`.
fn is_before(map: &Topology, one: StageId, other: StageId) -> bool {
    std::iter::successors(map.stage(other).parent, |id| map.stage(*id).parent).any(|id| id == one)
}

/// What is wrong at a stage explains what is no worse at later ones.
fn rules(stage: &str, later: &[&str]) -> String {
    let mut text = String::from("\n");
    text += &yaml::comment("  ", &format!("{stage} comes before {}.", later.join(", ")));
    for (severity, targets) in [("critical", "critical|warning|note"), ("warning", "warning|note")] {
        text += &format!(
            "  - source_matchers: [cause=~\"delivery|content|isolation\", severity=\"{severity}\", stage=\"{stage}\"]\n    \
             target_matchers: [cause=~\"delivery|content|isolation\", severity=~\"{targets}\", stage=~\"{}\"]\n    \
             equal: [job, instance, tenant, cause]\n",
            later.join("|")
        );
    }
    text
}
