//! What the probe cannot see. It says nothing about the pipeline.

use super::Settings;
use super::cohort::Cohort;
use super::promql::{self, Lookup, Probe};
use super::rule::{About, Alert, Cause, Group, Rule, Severity};
use super::window::{self, Scale};
use crate::domain::topology::Role;

/// Seconds behind the tip of a stream beyond which a poll has not reached the present. Reading with every poll
/// brings it to 0.
const BEHIND: u32 = 10;
/// The window in which failed polls, and what they could not read, are counted; in parts of the usual one.
pub(super) const COUNTED: u32 = 30;

pub(super) fn group(settings: &Settings, probe: &Probe<'_>, scale: &Scale) -> Group {
    let mut rules: Vec<Rule> = Vec::new();
    for (severity, stages) in by_severity(settings) {
        let at = promql::stages(&stages);
        rules.push(blind(probe, scale, severity, &at).into());
        rules.push(never_seen(probe, severity, &at).into());
    }
    let window = window::text(scale.time(COUNTED));
    let unreadable = Alert {
        comment: "Three, because a single damaged object is gone with the next ones.".to_owned(),
        about: About::Instance,
        summary: "all tenants: {{ printf \"%.0f\" $value }} records at {{ $labels.stage }} cannot be read \
                  ({{ $labels.reason }})"
            .to_owned(),
        description: "Canaries may be in them, so nothing that they could hold counts as absent, and the stage can turn \
                      blind. docs/formats.md lists what is read; the page shows the error."
            .to_owned(),
        ..Alert::warning(
            "TraceprobeUnreadable",
            "unreadable",
            Cause::Visibility,
            format!(
                "{} > 2.5",
                probe.increase("stage, reason", "traceprobe_observer_unreadable_records_total", &[], &window)
            ),
        )
    };
    rules.push(unreadable.into());
    let budget = probe.increase(
        "stage, owner",
        "traceprobe_observer_polls_total",
        &["result=\"over_budget\""],
        &window,
    );
    let budget = Alert {
        comment: "`for` is as long as that of TraceprobeOverBudget, which explains it if the limit is one of [budgets]."
            .to_owned(),
        hold: Some(scale.time(4)),
        about: About::Instance,
        summary: "{{ $labels.owner }}: a limit of {{ $labels.stage }} keeps polls from being made or finished".to_owned(),
        description: "The page says which limit of the stage it is: bytes of a table, keys or pages of a listing, shards \
                      of a stream, or a budget of [budgets]. While it is reached, the stage can turn blind. Either the \
                      source has grown, or the limit is too small (docs/cost.md)."
            .to_owned(),
        ..Alert::warning(
            "TraceprobeBudgetExceeded",
            "budget-exceeded",
            Cause::Visibility,
            format!("{budget} > 0.5"),
        )
    };
    rules.push(budget.into());
    if settings.topology.stages().iter().any(|stage| stage.capabilities.behind) {
        let behind = probe.series("traceprobe_kinesis_behind_latest_seconds", &[]);
        let behind = Alert {
            comment: "The least value of the window: behind with every poll, and not once after a burst.".to_owned(),
            about: About::Instance,
            summary: "{{ $labels.owner }}: polls of {{ $labels.stage }} end {{ printf \"%.0f\" $value }} s behind the tip \
                      of the stream"
                .to_owned(),
            description: "More is written than the probe reads, so absence cannot be proven there and the stage turns \
                          blind. Raise max_bytes_per_second, if the pipeline can spare the reads."
                .to_owned(),
            ..Alert::warning(
                "TraceprobePollsBehind",
                "polls-behind",
                Cause::Visibility,
                format!(
                    "max by (job, instance, stage, owner) (min_over_time({behind}[{}])) > {BEHIND}",
                    window::text(scale.time(10))
                ),
            )
        };
        rules.push(behind.into());
    }
    Group::new("traceprobe-visibility", rules)
}

/// The stages of the main path, whose blindness is critical, and the others.
fn by_severity(settings: &Settings) -> Vec<(Severity, Vec<&str>)> {
    let map = &settings.topology;
    let names = |main: bool| -> Vec<&str> {
        let stages = map.stage_ids().filter(|id| map.main_path().contains(id) == main);
        stages.map(|id| &*map.stage(id).name).collect()
    };
    let all = [(Severity::Critical, names(true)), (Severity::Warning, names(false))];
    all.into_iter().filter(|(_, stages)| !stages.is_empty()).collect()
}

fn blind(probe: &Probe<'_>, scale: &Scale, severity: Severity, stages: &str) -> Alert {
    Alert {
        severity,
        comment: "A stage is blind only while traces wait at a source that could not be read for blind_after: an idle \
                  source is not. `for` spares what ends by itself, as throttling often does."
            .to_owned(),
        hold: Some(scale.time(4)),
        summary: "{{ $labels.tenant }}: the probe cannot see {{ $labels.stage }}".to_owned(),
        description: "This says nothing about the pipeline: the probe could not read its source. The page begins with the \
                      error. Usual causes are a permission, throttling, or an expired credential. Until the stage is \
                      readable again, no latency or loss of this tenant is judged there."
            .to_owned(),
        ..Alert::warning(
            "TraceprobeStageBlind",
            "cannot-see",
            Cause::Visibility,
            probe.condition("tenant, stage", "cannot_see", &[stages]),
        )
    }
}

fn never_seen(probe: &Probe<'_>, severity: Severity, stages: &str) -> Alert {
    Alert {
        severity,
        summary: "{{ $labels.tenant }}: no canary has ever been seen at {{ $labels.stage }}".to_owned(),
        description: "The tenant is new and its deployment not finished, or the probe reads that stage in the wrong place. \
                      `traceprobe check --config FILE` tries every source."
            .to_owned(),
        ..Alert::warning(
            "TraceprobeNeverSeen",
            "never-seen",
            Cause::Visibility,
            probe.condition("tenant, stage", "never_seen", &[stages]),
        )
    }
}

/// Traces that ended without a verdict.
pub(super) fn unobserved(settings: &Settings, cohort: &Cohort<'_>) -> Group {
    let probe = &cohort.probe;
    let map = &settings.topology;
    let ends = map.stages().iter().filter(|stage| stage.role == Role::End);
    let ends: Vec<&str> = ends.map(|stage| &*stage.name).collect();
    let long = cohort.over(30);
    let of = |matcher: &str| probe.increase("tenant", "traceprobe_traces_total", &[matcher], &long);
    let (unobserved, all) = (of("outcome=\"unobserved\""), of("outcome!=\"refused\""));
    let blind = Lookup {
        before: "max by (stage) (max_over_time(",
        name: "traceprobe_stage_blind",
        matchers: &[],
        after: &format!("[{}]))", cohort.over(60)),
        of: &["instance", "tenant"],
    };
    let alert = Alert {
        comment: "Three, and more than 5 %. A restart without a store, or one object that could not be read, leaves \
                  fewer without a verdict, for which nobody should wake. While the end stage is blind, and as long as \
                  what ended then is counted, TraceprobeStageBlind has told of it."
            .to_owned(),
        summary: format!(
            "{{{{ $labels.tenant }}}}: of {{{{ printf \"%.0f\" $value }}}} canaries it is unknown whether they arrived; the \
             probe was blind at {}",
            probe.largest_stage(&blind, "an unknown stage")
        ),
        description: "They ended without a verdict, because the end stage could not be read until after their deadline. \
                      Make it readable again (see TraceprobeStageBlind), and check the pipeline by hand until then."
            .to_owned(),
        ..Alert::critical(
            "TraceprobeUnobserved",
            "unobserved",
            Cause::Visibility,
            format!(
                "{unobserved} > 2.5\nand on (job, instance, tenant)\n{unobserved}\n/ ({all} > 0)\n> 0.05\n{}",
                probe.unless_it_was("cannot_see", &[&promql::stages(&ends)], &long)
            ),
        )
    };
    cohort.group("unobserved", vec![alert.into()])
}
