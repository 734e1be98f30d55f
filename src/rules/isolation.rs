//! Events of tenants that are mixed, and events of others.

use std::collections::BTreeMap;

use super::Settings;
use super::promql::{self, Probe};
use super::rule::{About, Alert, Cause, Group};
use super::window::{self, Scale};

/// Parts of the scale that a leak stays in the alert: an hour, so that it is not overlooked.
const STAYS: u32 = 120;

/// Parts that a leak at a stage stays longer than at the stages after it.
const LONGER: u32 = 10;

pub(super) fn group(settings: &Settings, probe: &Probe<'_>, scale: &Scale) -> Group {
    let stays = window::text(scale.time(STAYS));
    let depths = by_depth(settings);
    let leaks = depths.iter().rev().enumerate().map(|(later, stages)| {
        let parts = u32::try_from(later).unwrap_or(u32::MAX).saturating_mul(LONGER);
        leaks(probe, stages, &window::text(scale.time(STAYS + parts)))
    });
    let mut leaks: Vec<String> = leaks.collect();
    leaks.reverse();
    let foreign = probe.increase("stage, owner", "traceprobe_foreign_tags_total", &[], &stays);
    let foreign = Alert {
        comment: "Nobody without the key can make a valid tag, so each one is a forgery or another probe.".to_owned(),
        about: About::Instance,
        summary: "{{ $labels.owner }}: {{ printf \"%.0f\" $value }} tags at {{ $labels.stage }} are not signed with a key \
                  of this probe"
            .to_owned(),
        description: "Another probe with another key writes into this pipeline, a key was changed without \
                      TRACEPROBE_TAG_KEYS_ACCEPTED, or somebody forges canaries. They are not counted as canaries."
            .to_owned(),
        ..Alert::warning(
            "TraceprobeForeignTags",
            "foreign-tags",
            Cause::Isolation,
            format!("{foreign} > 0.5"),
        )
    };
    let rules = vec![leaking(&leaks.join("\nor\n")).into(), foreign.into()];
    Group::new("traceprobe-isolation", rules)
}

/// The stages by how many come before them.
fn by_depth(settings: &Settings) -> Vec<Vec<&str>> {
    let map = &settings.topology;
    let mut by_depth = BTreeMap::<usize, Vec<&str>>::new();
    for id in map.stage_ids() {
        let before = std::iter::successors(map.stage(id).parent, |id| map.stage(*id).parent).count();
        by_depth.entry(before).or_default().push(&map.stage(id).name);
    }
    by_depth.into_values().collect()
}

fn leaks(probe: &Probe<'_>, stages: &[&str], stays: &str) -> String {
    let at = promql::stages(stages);
    let leaks = probe.increase("tenant, stage", "traceprobe_isolation_violations_total", &[&at], stays);
    format!("{leaks} > 0.5")
}

fn leaking(expr: &str) -> Alert {
    Alert {
        comment: "The target is zero, so one is enough. It stays so that it is not overlooked; the earlier the stage, the \
                  longer, because it inhibits the same at the later ones."
            .to_owned(),
        summary:
            "{{ $labels.tenant }}: {{ printf \"%.0f\" $value }} canaries were found with another tenant at \
                  {{ $labels.stage }}"
                .to_owned(),
        description:
            "Treat it as a data incident: stop the writer in front of that stage, keep the evidence that the \
                      page shows (locator, object, row), and tell whoever owns data protection."
                .to_owned(),
        ..Alert::critical(
            "TraceprobeIsolationViolation",
            "leaking",
            Cause::Isolation,
            expr.to_owned(),
        )
    }
}
