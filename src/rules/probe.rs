//! The probe itself: whether it runs, whether anything is measured, and whether alerts arrive at all.

use super::Settings;
use super::promql::Probe;
use super::rule::{About, Alert, Cause, Group, Rule, Severity};
use super::visibility;
use super::window::{self, Scale};

pub(super) fn group(settings: &Settings, probe: &Probe<'_>, scale: &Scale) -> Group {
    let mut rules = running(settings, probe, scale);
    rules.extend(healthy(probe, scale));
    rules.push(watchdog(probe));
    Group::new("traceprobe-itself", rules)
}

fn running(settings: &Settings, probe: &Probe<'_>, scale: &Scale) -> Vec<Rule> {
    let alive = probe.series("traceprobe_build_info", &[]);
    let job = vec![("job", probe.job.to_owned())];
    let down = Alert {
        comment: "A series that every running probe has. It goes stale with the first failed scrape, so this fires within \
                  three minutes and stays for as long as no probe is scraped."
            .to_owned(),
        hold: Some(scale.time(4)),
        about: About::Job,
        summary: "all tenants: no probe is running or scraped, nothing is watched".to_owned(),
        description: "No other alert about the pipeline can fire. Look at the ECS service's events and the task's exit code \
                      (78 is a faulty configuration), then at the scrape target and its security group."
            .to_owned(),
        ..Alert::critical("TraceprobeDown", "probe-down", Cause::Probe, format!("absent({alive})"))
    };
    let up = probe.series("up", &[]);
    let one_down = Alert {
        comment: "One of several; if it is the only one, TraceprobeDown says so. Where targets disappear from service \
                  discovery with their task, `up` disappears as well, and TraceprobeTenantMissing names its tenants."
            .to_owned(),
        hold: Some(scale.time(4)),
        about: About::Job,
        summary: "the probe {{ $labels.instance }} is down or not scraped".to_owned(),
        description: "Other instances run. What only this one measures is not watched: TraceprobeTenantMissing names those \
                      tenants."
            .to_owned(),
        ..Alert::critical(
            "TraceprobeInstanceDown",
            "probe-down",
            Cause::Probe,
            format!("{up} == 0\nand on (job)\ncount by (job) ({up} == 1) > 0"),
        )
    };
    let map = &settings.topology;
    let names = map
        .real_tenants()
        .map(|id| map.tenant(id))
        .map(|tenant| format!("label_replace(vector(1), \"tenant\", \"{}\", \"\", \"\")", tenant.name));
    let missing = Alert {
        comment: "The configured tenants, by name, so it lasts for as long as nobody measures one. If no probe runs at \
                  all, that is TraceprobeDown."
            .to_owned(),
        hold: Some(scale.time(10)),
        labels: job,
        about: About::Job,
        summary: "{{ $labels.tenant }}: is configured, but no running probe measures it".to_owned(),
        description: "The instance that watches it is down, or it was taken out of the configuration; then print the rules \
                      again."
            .to_owned(),
        ..Alert::critical(
            "TraceprobeTenantMissing",
            "tenant-missing",
            Cause::Probe,
            format!(
                "(\n  {}\n)\nunless on (tenant)\ncount by (tenant) ({})\nand on ()\ncount({alive}) > 0",
                names.collect::<Vec<_>>().join("\n  or "),
                probe.series("traceprobe_injections_total", &["result=\"accepted\""])
            ),
        )
    };
    let hour = window::text(scale.time(120));
    let addresses = |series: &str| format!("count by (job) (count by (job, instance) ({series}))");
    let restarting = Alert {
        comment: "Starts of a process at the same address, and addresses that came and went, whatever version they had: \
                  an upgrade is one start. Four in an hour are neither a deployment nor a step of the clock (exit code 75)."
            .to_owned(),
        about: About::Job,
        summary: "the probe was started {{ printf \"%.0f\" $value }} times within an hour".to_owned(),
        description: "The stopped tasks' exit codes say why: 75 is a host whose clock is set again and again, 78 a faulty \
                      configuration, 137 memory."
            .to_owned(),
        ..Alert::warning(
            "TraceprobeRestarting",
            "restarting",
            Cause::Probe,
            format!(
                "(\n  sum by (job) (changes({}[{hour}]))\n  + {}\n  - {}\n)\n> 3.5",
                probe.series("process_start_time_seconds", &[]),
                addresses(&format!("count_over_time({alive}[{hour}])")),
                addresses(&alive)
            ),
        )
    };
    vec![down.into(), one_down.into(), missing.into(), restarting.into()]
}

fn healthy(probe: &Probe<'_>, scale: &Scale) -> Vec<Rule> {
    let of_probe = |name, chapter, condition| Alert {
        about: About::Instance,
        hold: Some(scale.time(4)),
        ..Alert::warning(name, chapter, Cause::Probe, probe.condition("", condition, &[]))
    };
    let store = Alert {
        summary: "the probe {{ $labels.instance }} cannot write its store".to_owned(),
        description: "Measuring continues in memory, but a restart now would forget what is in flight. Make room on the disk, \
                      and do not restart it before it has written."
            .to_owned(),
        ..of_probe("TraceprobeStoreDegraded", "store-degraded", "store_degraded")
    };
    let reload = Alert {
        summary: "the probe {{ $labels.instance }} refused its new configuration".to_owned(),
        description: "The configuration before it stays in force, and nothing is lost; but tenants that were added are not \
                      watched, and those that were removed still get canaries. The page and the log name every fault. \
                      After the file is mended, reload again."
            .to_owned(),
        ..of_probe("TraceprobeReloadFailed", "reload-failed", "reload_failed")
    };
    let over_budget = Alert {
        comment: "keep_firing_for lasts until TraceprobeBudgetExceeded has forgotten the polls, so that it stays \
                  inhibited."
            .to_owned(),
        keep: Some(scale.time(visibility::COUNTED)),
        summary: "a budget of the probe {{ $labels.instance }} leaves out polls".to_owned(),
        description: "Arrivals are less certain, and stages turn blind if they are not read for probe.blind_after. The page \
                      says which budget, what was taken and what is allowed. Raise it under [budgets] and reload, or find \
                      out what takes more than before (docs/cost.md)."
            .to_owned(),
        ..of_probe("TraceprobeOverBudget", "budget-exceeded", "over_budget")
    };
    let clock = Alert {
        comment: "For five minutes, because a host that has just started needs some time to find its reference.".to_owned(),
        hold: Some(scale.time(10)),
        summary: "the clock of the probe {{ $labels.instance }} is not synchronized, so latencies of every hop may be off"
            .to_owned(),
        description: "Says nothing about the pipeline. Hops to stages that stamp arrivals themselves are off by as much as the \
                      host's clock drifts. Replace the task."
            .to_owned(),
        ..of_probe("TraceprobeClockNotSynchronized", "clock-not-synchronized", "clock_unsynchronized")
    };
    let same_name = Alert {
        summary: "another process sends canaries under the name of the probe {{ $labels.instance }}".to_owned(),
        description: "Each counts the other's canaries. Two that run at the same time need different names (probe.instance)."
            .to_owned(),
        ..of_probe("TraceprobeSameName", "same-name", "same_name")
    };
    let inversions =
        probe.increase("stage", "traceprobe_clock_inversions_total", &[], &window::text(scale.time(120)));
    let inversions = Alert {
        about: About::Instance,
        summary: "{{ printf \"%.0f\" $value }} arrivals at {{ $labels.stage }} contradict the clocks".to_owned(),
        description: "They came before the stage before, or outside of what the polls prove, by more than the stage's \
                      clock_allowance: latencies of that hop are off. Check its clock and ours, or widen the allowance."
            .to_owned(),
        ..Alert::warning(
            "TraceprobeClockInversions",
            "clock-inversions",
            Cause::Probe,
            format!("{inversions} > 2.5"),
        )
    };
    vec![store.into(), reload.into(), over_budget.into(), clock.into(), same_name.into(), inversions.into()]
}

fn watchdog(probe: &Probe<'_>) -> Rule {
    let alert = Alert {
        comment: "Always fires. Route it to a service that raises the alarm when it no longer hears of it: without that, an \
                  outage of Prometheus or Alertmanager looks like a quiet night."
            .to_owned(),
        severity: Severity::None,
        labels: vec![("job", probe.job.to_owned())],
        about: About::Job,
        summary: "alerts of traceprobe reach this receiver".to_owned(),
        description: "Nothing is wrong. If this stops, no other alert will arrive either.".to_owned(),
        ..Alert::warning("TraceprobeWatchdog", "watchdog", Cause::Watchdog, "vector(1)".to_owned())
    };
    alert.into()
}
