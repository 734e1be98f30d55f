//! Canaries that do not arrive: losses, dead letters, and the success of hops against their objectives.

use super::Settings;
use super::cohort::Cohort;
use super::promql::{self, Lookup, Probe};
use super::rule::{About, Alert, Cause, Group, Record, Severity};
use super::window;
use crate::domain::drill::DRILL_TENANT;
use crate::domain::topology::{Role, Stage};

/// Canaries of the window of losses, as of the condition `losing`.
const LONG: u32 = 30;
/// For how many canaries the alert goes on.
const KEEP: u32 = 10;
/// Within this time after its deadline, polls, scrapes and an evaluation have shown that a canary was lost;
/// in parts of the usual window.
const SHOWN_WITHIN: u32 = 4;

pub(super) fn group(settings: &Settings, cohort: &Cohort<'_>) -> Group {
    let probe = &cohort.probe;
    let long = cohort.over(LONG);
    let traces = |outcomes: &str| {
        probe.increase("tenant", "traceprobe_traces_total", &[&format!("outcome=~\"{outcomes}\"")], &long)
    };
    let ended = format!("tenant:traceprobe_ended:increase{long}");
    let record = Record {
        comment: "unobserved and refused are not the pipeline's fault and count on neither side.".to_owned(),
        name: ended.clone(),
        expr: traces("delivered|late|lost|dead_lettered"),
    };
    let lost = traces("lost|dead_lettered");
    let of_a_stall = window::text(cohort.window(LONG) + settings.give_up + cohort.scale().time(SHOWN_WITHIN));
    let losing = format!(
        "{lost} > 3.5\nand on (job, instance, tenant)\n{lost}\n/ ({ended}{} > 0)\n> 0.05\n{}",
        probe.series("", &[]),
        probe.unless_it_was("stuck", &[], &of_a_stall)
    );
    let judged = Lookup { before: "", name: &ended, matchers: &[], after: "", of: &["instance", "tenant"] };
    let by_hop = Lookup {
        before: "sum by (stage) (increase(",
        name: "traceprobe_lost_total",
        matchers: &[],
        after: &format!("[{long}]))"),
        of: &["instance", "tenant"],
    };
    let losing = Alert {
        comment: format!(
            "Four, and more than 5 % of those that ended. The condition losing begins with three, but with 0.1 % of \
             independent losses and 50 tenants chance alone meets those about twice a month, and four once in five \
             years; three are told by TraceprobeLatencyCritical, a quarter of an hour before they are proven lost. \
             TraceprobeStuck has told of a stall. What it lost is proven up to probe.give_up after its end, and counted \
             for {long} from then on: TraceprobeTraceLost shows it, and only TraceprobeHopSuccessCritical tells it again, if \
             it spends the error budget. Losses that go on after a stall are told {of_a_stall} after its end. keep_firing_for lasts until the last few have left the \
             window, which single losses and dead letters are told of otherwise. What a window of {long} cannot resolve \
             is in the group of objectives below."
        ),
        keep: Some(cohort.window(KEEP)),
        summary: format!(
            "{{{{ $labels.tenant }}}}: {{{{ printf \"%.0f\" $value }}}} of {} canaries were lost or dead-lettered; most \
             of them at {}",
            probe.number(&judged),
            probe.largest_stage(&by_hop, "the dead letters")
        ),
        description: format!(
            "Proven over {long}: the end stage was read past their deadlines. The clients' events are most likely lost \
             in the same measure. Stop what drops them before their source expires (a Kinesis stream keeps at least \
             24 h), so that a replay is possible."
        ),
        stage: Some(probe.largest_stage(&by_hop, "")),
        ..Alert::critical("TraceprobeLosing", "losing", Cause::Delivery, losing)
    };
    let one = Alert {
        severity: Severity::Note,
        comment: "Each loss is proven. A healthy pipeline loses one now and then, so it is only shown; also what a stall \
                  lost, of which TraceprobeStuck has told."
            .to_owned(),
        summary: "{{ $labels.tenant }}: {{ printf \"%.0f\" $value }} canaries were lost at {{ $labels.stage }}".to_owned(),
        description: "Open the red trace on the page; it shows the last stage that had it, with the shard and sequence \
                      number, or the object key."
            .to_owned(),
        ..Alert::warning(
            "TraceprobeTraceLost",
            "losing",
            Cause::Delivery,
            format!("{} > 0.5", probe.increase("tenant, stage", "traceprobe_lost_total", &[], &long)),
        )
    };
    let dead = Alert {
        summary: "{{ $labels.tenant }}: {{ printf \"%.0f\" $value }} canaries went to the dead letters".to_owned(),
        description: "A Lambda gave up on a batch. Read the error that it logged at that minute; the clients' events of \
                      the batch lie beside the canaries and can be replayed."
            .to_owned(),
        ..Alert::warning(
            "TraceprobeDeadLettered",
            "dead-lettered",
            Cause::Delivery,
            format!("{} > 0.5", traces("dead_lettered")),
        )
    };
    let hours = cohort.over(4 * LONG);
    let of_a_stall = cohort.over(5 * LONG);
    let late = Alert {
        comment: format!(
            "Not each one: a canary that was called lost may be replayed. After a stall all of them come late, of which \
             nobody has to be told: within {long} of its end, and they are counted for {hours} from then on."
        ),
        summary: "{{ $labels.tenant }}: {{ printf \"%.0f\" $value }} canaries arrived at {{ $labels.stage }} after they had \
                  been given up"
            .to_owned(),
        description: format!(
            "They came more than {} after their planned injection. Either something is replayed, or a queue drains, or \
             probe.give_up is shorter than the pipeline's longest retry.",
            window::text(settings.give_up)
        ),
        ..Alert::warning(
            "TraceprobeLateArrivals",
            "late-arrivals",
            Cause::Delivery,
            format!(
                "{} > 2.5\n{}",
                probe.increase("tenant, stage", "traceprobe_late_arrivals_total", &[], &hours),
                probe.unless_it_was("stuck", &[], &of_a_stall)
            ),
        )
    };
    let rules = vec![record.into(), losing.into(), one.into(), dead.into(), late.into()];
    cohort.group("loss", rules)
}

/// What fraction of canaries hops must deliver, and what is critical.
struct Objective {
    /// What kind of hops it is for.
    of: &'static str,
    /// The alert of a tenant, and of all tenants together.
    names: [&'static str; 2],
    /// In percent.
    percent: f64,
    /// How many canaries a window must hold to resolve it: five failures are expected if the objective is
    /// just met, so that one more or less does not decide.
    canaries: u32,
}

/// The first hop, in which the client's forwarder puts events into the tenant's stream, and the last, into the
/// table.
const FORWARD_AND_INSERT: Objective = Objective {
    of: "the first hop and the last",
    names: ["TraceprobeHopSuccessLow", "TraceprobeHopSuccessLowPooled"],
    percent: 99.9,
    canaries: 5_000,
};
/// The hops between, which carry events from one place to the other.
const TRANSFER: Objective = Objective {
    of: "the hops between",
    names: ["TraceprobeTransferSuccessLow", "TraceprobeTransferSuccessLowPooled"],
    percent: 99.5,
    canaries: 1_000,
};
/// Any hop.
const CRITICAL: Objective = Objective {
    of: "all hops",
    names: ["TraceprobeHopSuccessCritical", "TraceprobeHopSuccessCriticalPooled"],
    percent: 99.0,
    canaries: 1_000,
};
/// Fewest failures that count. Fewer than five of any number are met by chance.
const FAILURES: &str = "4.5";

/// The success of each hop of the main path over hours and days.
pub(super) fn objectives(settings: &Settings, cohort: &Cohort<'_>) -> Group {
    let success = |objective: &Objective, stages: &[&str], severity| {
        let window = cohort.over(objective.canaries);
        let (missing, all) = of_hops(&cohort.probe, "tenant, stage", stages, &[], &window);
        Alert {
            severity,
            comment: format!(
                "{} % for {}. To tell it from a little less takes {} canaries of a tenant: {window}, which hold five \
                 failures if it is just met. It must be half full.",
                objective.percent, objective.of, objective.canaries
            ),
            summary: format!(
                "{{{{ $labels.tenant }}}}: {{{{ printf \"%.0f\" $value }}}} canaries did not come out of \
                 {{{{ $labels.stage }}}} in {window}, more than {:.1} %",
                100.0 - objective.percent
            ),
            description: "Too few to be seen in any quarter of an hour. The failures on the page and \
                          traceprobe_missing_hops_total show when they happened: at random, or in bursts, as of \
                          deployments?"
                .to_owned(),
            ..Alert::warning(objective.names[0], "success-too-low", Cause::Delivery, below(&missing, &all, objective, "tenant, stage", cohort.half(objective.canaries)))
        }
        .into()
    };
    let (outer, inner) = main_hops(settings);
    let mut rules = vec![success(&FORWARD_AND_INSERT, &outer, Severity::Warning)];
    if !inner.is_empty() {
        rules.push(success(&TRANSFER, &inner, Severity::Warning));
    }
    let all: Vec<&str> = outer.into_iter().chain(inner).collect();
    rules.push(success(&CRITICAL, &all, Severity::Critical));
    let interval = Some(cohort.slow_evaluation());
    Group { interval, ..cohort.group("objectives", rules) }
}

/// The same for all tenants together, which resolves it sooner. Nothing with fewer than three tenants.
pub(super) fn pooled_objectives(
    settings: &Settings,
    probe: &Probe<'_>,
    cohorts: &[Cohort<'_>],
) -> Option<Group> {
    let tenants: u32 = cohorts.iter().map(|cohort| cohort.size).sum();
    let slowest = cohorts.last().filter(|_| tenants >= 3)?;
    let success = |objective: &Objective, stages: &[&str]| {
        let window = slowest.pooled(objective.canaries, tenants);
        let half = slowest.half(objective.canaries.div_ceil(tenants).max(60)) * tenants;
        let not_drill = format!("tenant!=\"{DRILL_TENANT}\"");
        let (missing, all) = of_hops(probe, "stage", stages, &[&not_drill], &window);
        let tenants = format!(
            "count by (job, instance, stage) ({} > 0.5)",
            of_hops(probe, "tenant, stage", stages, &[&not_drill], &window).0
        );
        Alert {
            comment: format!(
                "{} % for {} of all tenants together, which takes {} canaries of all of them. At least three tenants \
                 are concerned; otherwise it is theirs, and has an alert of its own.",
                objective.percent, objective.of, objective.canaries
            ),
            about: About::Instance,
            summary: format!(
                "all tenants: {{{{ printf \"%.0f\" $value }}}} canaries did not come out of {{{{ $labels.stage }}}} in \
                 {window}, more than {:.1} %",
                100.0 - objective.percent
            ),
            description: "A little of everything is lost, at a hop that all tenants share.".to_owned(),
            ..Alert::warning(
                objective.names[1],
                "success-too-low",
                Cause::Delivery,
                format!(
                    "{}\nand on (job, instance, stage)\n{tenants} >= 3",
                    below(&missing, &all, objective, "stage", half)
                ),
            )
        }
        .into()
    };
    let (outer, inner) = main_hops(settings);
    let mut rules = vec![success(&FORWARD_AND_INSERT, &outer)];
    if !inner.is_empty() {
        rules.push(success(&TRANSFER, &inner));
    }
    Some(Group {
        interval: Some(slowest.slow_evaluation()),
        ..Group::new("traceprobe-objectives-pooled", rules)
    })
}

/// How many canaries did not come out of hops, and how many were judged there.
fn of_hops(probe: &Probe<'_>, by: &str, stages: &[&str], more: &[&str], window: &str) -> (String, String) {
    let stages = promql::stages(stages);
    let matchers: Vec<&str> = [&*stages].into_iter().chain(more.iter().copied()).collect();
    let of = |name| probe.increase(by, name, &matchers, window);
    (of("traceprobe_missing_hops_total"), of("traceprobe_hop_latency_seconds_count"))
}

fn below(missing: &str, all: &str, objective: &Objective, by: &str, half: u32) -> String {
    let ratio = format!("{:.3}", (100.0 - objective.percent) / 100.0);
    format!(
        "{missing} > {FAILURES}\nand on ({})\n{missing}\n/ ({all} > {half})\n> {ratio}",
        promql::labels(by)
    )
}

/// The first hop of the main path and the last, and those between.
fn main_hops(settings: &Settings) -> (Vec<&str>, Vec<&str>) {
    let map = &settings.topology;
    let path: Vec<&Stage> = map.main_path().iter().map(|id| map.stage(*id)).collect();
    let outer = |stage: &Stage| stage.parent.is_none() || stage.role == Role::End;
    let names = |outer_ones: bool| {
        path.iter().filter(|stage| outer(stage) == outer_ones).map(|stage| &*stage.name).collect()
    };
    (names(true), names(false))
}
