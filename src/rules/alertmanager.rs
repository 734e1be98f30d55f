//! An example of a configuration for Alertmanager that sends one notification for one cause.
//!
//! Generated, because Alertmanager cannot compare stages: that a fault at an early stage explains what is wrong
//! at the later ones takes a rule for each stage.

use std::time::Duration;

use super::window::{self, Scale};
use super::{Settings, yaml};
use crate::domain::topology::{StageId, Topology};

/// What does not depend on the configuration.
const EXAMPLE: &str = include_str!("alertmanager.yml");

/// Times in it that depend on the windows of the alerts, as they are with the usual ones: what explains an alert comes
/// the later, the longer the windows are.
const TIMES: [(&str, u64); 5] = [
    ("WARNING_WAIT", 120),
    ("WARNING_INTERVAL", 300),
    ("CRITICAL_WAIT", 10),
    ("CRITICAL_INTERVAL", 60),
    ("LEAK_WAIT", 30),
];

/// The route and the receiver of drills, in place of two comments of the example.
const DRILL: (&str, &str) = (
    "    # The alert of a drill, to the probe and to the receiver that is to be proven (docs/drill.md).
    - matchers: [tenant=\"drill\", severity=\"critical\"]
      receiver: drill
      group_by: [job]
      group_wait: 0s
      group_interval: CRITICAL_INTERVAL
    # What a drill leads to before that proves nothing.
    - matchers: [tenant=\"drill\"]
      receiver: none
",
    "  - name: drill
    webhook_configs:
      - url: http://127.0.0.1:9464/-/drill/notification
",
);

pub(super) fn file(settings: &Settings) -> String {
    let (map, scale) = (&settings.topology, Scale::of(settings));
    let (route, receiver) = if map.drill().is_some() { DRILL } else { ("", "") };
    let mut text = EXAMPLE.replace("    # DRILL ROUTE\n", route).replace("  # DRILL RECEIVER\n", receiver);
    for (name, seconds) in TIMES {
        text = text.replace(name, &window::text(scale.usual(Duration::from_secs(seconds))));
    }
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
