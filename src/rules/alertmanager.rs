//! An example of a configuration for Alertmanager that sends one notification for one cause.
//!
//! Generated, because Alertmanager cannot compare stages: that a fault at an early stage explains what is wrong
//! at the later ones takes a rule for each stage.

use std::time::Duration;

use super::window::{self, Scale};
use super::{Settings, yaml};
use crate::domain::topology::{Role, StageId, Topology};

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
    let side_stages = names(map, map.stage_ids().filter(|id| is_side_stage(map, *id)));
    let on_main_path = if side_stages.is_empty() {
        String::new()
    } else {
        format!(", stage!~\"{}\"", side_stages.join("|"))
    };
    text = text.replace("ON_MAIN_PATH", &on_main_path).replace("END_STAGE", &map.stage(map.end()).name);
    for stage in map.stage_ids() {
        let later: Vec<StageId> = map.stage_ids().filter(|other| is_before(map, stage, *other)).collect();
        if !later.is_empty() {
            text += &rules(map, stage, &later);
        }
    }
    text
}

/// Whether canaries pass a stage, but not on the main path.
fn is_side_stage(map: &Topology, stage: StageId) -> bool {
    map.stage(stage).role == Role::Way && !map.main_path().contains(&stage)
}

/// Whether events come to `one` before they come to `other`.
fn is_before(map: &Topology, one: StageId, other: StageId) -> bool {
    std::iter::successors(map.stage(other).parent, |id| map.stage(*id).parent).any(|id| id == one)
}

/// The names of stages.
fn names(map: &Topology, stages: impl IntoIterator<Item = StageId>) -> Vec<&str> {
    stages.into_iter().map(|id| &*map.stage(id).name).collect()
}

/// What is wrong at a stage explains what is no worse at later ones. A warning that it is slow does not explain that
/// canaries are missing there, and what is missing at one stage explains nothing that is missing at a side stage.
fn rules(map: &Topology, stage: StageId, later: &[StageId]) -> String {
    let name = &*map.stage(stage).name;
    let all = names(map, later.iter().copied());
    let on_main_path = names(map, later.iter().copied().filter(|id| !is_side_stage(map, *id)));
    let causes = "cause=~\"delivery|content|isolation\"";
    let missing = "alertname=\"TraceprobeMissing\"";
    let mut text = String::from("\n");
    text += &yaml::comment("  ", &format!("{name} comes before {}.", all.join(", ")));
    for (source, target, stages) in [
        (
            format!("{causes}, severity=\"critical\""),
            format!("{causes}, severity=~\"critical|warning|note\""),
            &all,
        ),
        (
            format!("{causes}, severity=\"warning\""),
            format!("{causes}, severity=~\"warning|note\", alertname!=\"TraceprobeMissing\""),
            &all,
        ),
        (missing.to_owned(), missing.to_owned(), &on_main_path),
    ] {
        if !stages.is_empty() {
            text += &format!(
                "  - source_matchers: [{source}, stage=\"{name}\"]\n    \
                 target_matchers: [{target}, stage=~\"{}\"]\n    \
                 equal: [job, instance, tenant, cause]\n",
                stages.join("|")
            );
        }
    }
    text
}
