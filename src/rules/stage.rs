//! What is wrong at one stage: canaries that are missing there, and hops over their targets.

use std::time::Duration;

use super::Settings;
use super::cohort::Cohort;
use super::promql::{self, Probe};
use super::rule::{Alert, Cause, Group, Rule};
use super::window;
use crate::domain::topology::Stage;

/// Canaries of the window of a hop's critical threshold, as of the condition `hop_over_target`.
const LONG: u32 = 30;

pub(super) fn group(probe: &Probe<'_>) -> Group {
    let missing = Alert {
        comment: "Decided by the probe (docs/conditions.md): the stage was read past the time by which they should \
                  have come."
            .to_owned(),
        summary: "{{ $labels.tenant }}: canaries are missing at {{ $labels.stage }}, which was read without them"
            .to_owned(),
        description: "They can still arrive. The page says how many of how many: if all are missing, the writer of that \
                      stage has stopped; if some are, it drops them. At a stage beside the main path, such as an \
                      archive, no other alert will tell."
            .to_owned(),
        ..Alert::warning(
            "TraceprobeMissing",
            "missing",
            Cause::Delivery,
            probe.condition("tenant, stage", "missing", &[]),
        )
    };
    let over_target = Alert {
        comment: "Decided by the probe, because the hop's histogram takes the later end of each arrival's interval: at \
                  a stage whose arrivals are known to a few seconds, it would always be over a target of one."
            .to_owned(),
        summary: "{{ $labels.tenant }}: more than 5 % of the canaries take longer over the hop to {{ $labels.stage }} \
                  than its target"
            .to_owned(),
        description: "End to end may still be well. See by day what feeds that stage, or correct its target."
            .to_owned(),
        ..Alert::warning(
            "TraceprobeHopOverTarget",
            "hop-over-target",
            Cause::Delivery,
            probe.condition("tenant, stage", "hop_over_target", &[]),
        )
    };
    let skipped = Alert {
        summary: "{{ $labels.tenant }}: the probe does not find canaries at {{ $labels.stage }} that it finds later on"
            .to_owned(),
        description: "They passed that stage, so the probe reads it in the wrong place, or too late.".to_owned(),
        ..Alert::warning(
            "TraceprobeSkipped",
            "skipped",
            Cause::Visibility,
            probe.condition("tenant, stage", "skipped", &[]),
        )
    };
    Group::new("traceprobe-stages", vec![missing.into(), over_target.into(), skipped.into()])
}

/// Hops over their critical thresholds. Nothing if no stage has one.
pub(super) fn critical(settings: &Settings, cohort: &Cohort<'_>) -> Option<Group> {
    let stages = settings.topology.stages().iter();
    let with_critical = stages.filter_map(|stage| Some((stage, stage.critical?)));
    let over = cohort.over(LONG);
    let rules: Vec<Rule> = with_critical
        .map(|(stage, critical)| over_critical(&cohort.probe, stage, critical, &over).into())
        .collect();
    (!rules.is_empty()).then(|| cohort.group("hops", rules))
}

fn over_critical(probe: &Probe<'_>, stage: &Stage, critical: Duration, window: &str) -> Alert {
    let at = promql::stages(&[&stage.name]);
    let all = probe.increase("tenant, stage", "traceprobe_hop_latency_seconds_count", &[&at], window);
    let within = probe.increase(
        "tenant, stage",
        "traceprobe_hop_latency_seconds_bucket",
        &[&at, &promql::bound(critical)],
        window,
    );
    let on = "and on (job, instance, tenant, stage)";
    let expr = format!(
        "{all}\n- {within}\n> 3.5\n{on}\n1 - {within}\n/ ({all} > 0)\n> 0.05\n{on}\n{}",
        probe.condition("tenant, stage", "hop_over_target", &[&at])
    );
    Alert {
        comment: format!(
            "More than 5 %, and at least four as for the condition, took longer than {} or are proven to; and the hop \
             is certainly over its target, however imprecise its arrivals are.",
            window::seconds(critical)
        ),
        labels: vec![("stage", stage.name.to_string())],
        summary: format!(
            "{{{{ $labels.tenant }}}}: {{{{ printf \"%.0f\" $value }}}} canaries took longer than {} over the hop to {}",
            window::seconds(critical),
            stage.name
        ),
        description: format!(
            "Counted over {window}. One tenant: its stream or role. All tenants: what they share there."
        ),
        ..Alert::critical("TraceprobeHopCritical", "hop-over-target", Cause::Delivery, expr)
    }
}
