//! What must fire, and what must not, at every interval.

use super::promtool;
use super::scenario::{Bounds, INSTANCE, Scenario};
use super::test;
use super::world::{Canary, Fate, GIVE_UP, Tenant};

const INTERVALS: [f64; 3] = [5.0, 30.0, 300.0];

/// The unit of time of a scenario: windows hold a fixed number of them. Below an interval of 30 s, windows do not
/// shrink.
fn unit(interval: f64) -> f64 {
    interval.max(30.0)
}

/// Runs a scenario for every interval.
fn at_every_interval(tenants: usize, scenario: impl Fn(f64) -> Scenario) {
    for interval in INTERVALS {
        test(interval, tenants, &scenario(interval));
    }
}

/// A tenant whose canaries have a fate that depends on their number and their planned injection.
fn tenant(number: usize, interval: f64, until: f64, fate: impl Fn(usize, f64) -> Fate) -> Tenant {
    let canaries = (0..(until / interval) as usize).map(|k| {
        let planned = k as f64 * interval + (number % 4) as f64 * interval / 8.0;
        Canary { planned, fate: fate(k, planned) }
    });
    Tenant::new(format!("t{number}"), canaries.collect())
}

fn well(_: usize, _: f64) -> Fate {
    Fate::Arrives(4.0)
}

/// Nothing that is planned from `begin` on arrives until `end`; then everything does that is not lost by then.
fn stalled(begin: f64, end: f64) -> impl Fn(usize, f64) -> Fate {
    move |_, planned| {
        if planned < begin || planned >= end {
            Fate::Arrives(4.0)
        } else {
            Fate::Arrives(end + 4.0 - planned)
        }
    }
}

/// A scenario in units, with a step of half a unit.
fn scenario(name: &str, interval: f64, units: f64) -> Scenario {
    let unit = unit(interval);
    Scenario::new(name, unit / 2.0, units * unit)
}

#[test]
fn healthy_raises_nothing() {
    at_every_interval(4, |interval| {
        let mut it = scenario("healthy", interval, 60.0);
        let tenants: Vec<_> = (0..4).map(|number| tenant(number, interval, it.until, well)).collect();
        it.tenants(&tenants);
        for at in [0.0, 2.0, 10.0, 60.0] {
            it.firing(at * unit(interval), "", &[]);
        }
        // No alert must mean that all is well, not that a rule has no data.
        it.value(it.until, "count({__name__=~\"tenant:traceprobe_e2e_over_slo:.+\"})", 4.0);
        it.value(it.until, "count(ALERTS{alertname=\"TraceprobeWatchdog\",alertstate=\"firing\"})", 1.0);
        it
    });
}

#[test]
fn six_percent_slow_is_a_warning() {
    at_every_interval(4, |interval| {
        let mut it = scenario("6 % take 45 s", interval, 60.0);
        let slow = [3, 10, 37, 40, 71, 90];
        let fate = |k: usize, _| Fate::Arrives(if slow.contains(&(k % 100)) { 45.0 } else { 4.0 });
        let mut tenants: Vec<_> = (1..4).map(|number| tenant(number, interval, it.until, well)).collect();
        tenants.push(tenant(0, interval, it.until, fate));
        it.tenants(&tenants);
        it.firing(43.0 * unit(interval), "", &["TraceprobeLatencyHigh t0"]);
        it.firing(43.0 * unit(interval), "severity=\"critical\"", &[]);
        it
    });
}

#[test]
fn one_slow_of_ten_raises_nothing_and_one_lost_only_a_note() {
    at_every_interval(4, |interval| {
        let mut it = scenario("one slow, one lost", interval, 90.0);
        let begin = 20.0 * unit(interval);
        let once = |k: usize, planned: f64, fate| {
            let first = planned >= begin && planned < begin + interval;
            if first { fate } else { well(k, planned) }
        };
        let tenants = [
            tenant(0, interval, it.until, |k, planned| once(k, planned, Fate::Arrives(45.0))),
            tenant(1, interval, it.until, |k, planned| once(k, planned, Fate::Lost)),
            tenant(2, interval, it.until, well),
            tenant(3, interval, it.until, well),
        ];
        it.tenants(&tenants);
        for at in [21.0, 22.0, 23.0, 25.0, 30.0, 60.0] {
            it.firing(at * unit(interval), "severity!=\"note\"", &[]);
        }
        let decided = begin + 900.0 + 2.0 * unit(interval);
        it.firing(decided, "", &["TraceprobeTraceLost t1 stage=transit"]);
        it
    });
}

#[test]
fn twenty_percent_lost_is_critical_although_the_others_are_fast() {
    at_every_interval(4, |interval| {
        let unit = unit(interval);
        let mut it = scenario("20 % lost", interval, 70.0);
        let fate = |k: usize, _| if k % 5 == 4 { Fate::Lost } else { Fate::Arrives(4.0) };
        let mut tenants: Vec<_> = (1..4).map(|number| tenant(number, interval, it.until, well)).collect();
        tenants.push(tenant(0, interval, it.until, fate));
        it.tenants(&tenants);
        it.firing(
            25.0 * unit,
            "alertname=~\"TraceprobeLatency.+\"",
            &["TraceprobeLatencyHigh t0", "TraceprobeLatencyCritical t0"],
        );
        it.firing(
            65.0 * unit,
            "severity=\"critical\"",
            &["TraceprobeLatencyCritical t0", "TraceprobeLosing t0"],
        );
        // Prometheus 3 counts one scrape fewer in a window.
        if interval == 30.0 && promtool::is_of_prometheus_2() {
            let address = "http://a:9464";
            it.says(
                65.0 * unit,
                "TraceprobeLosing",
                &[("severity", "critical"), ("cause", "delivery"), ("job", "traceprobe"), ("instance", INSTANCE), ("tenant", "t0")],
                &[
                    ("summary", "t0: 6 of 30 canaries were lost or dead-lettered; most of them at transit"),
                    (
                        "description",
                        "Proven over 15m: the end stage was read past their deadlines. The clients' events are most likely lost in the same measure. Stop what drops them before their source expires (a Kinesis stream keeps at least 24 h), so that a replay is possible.",
                    ),
                    ("page_url", &format!("{address}/traces/recent?tenant=t0")),
                    ("runbook_url", &format!("{address}/runbook?tenant=t0&stage=transit#losing")),
                ],
            );
        }
        it
    });
}

#[test]
fn what_a_stall_loses_is_not_told_again_and_losses_that_go_on_are() {
    at_every_interval(4, |interval| {
        let unit = unit(interval);
        let (begin, end) = (20.0 * unit, 40.0 * unit);
        // The last is proven lost at its deadline, and counted for 30 units from then on.
        let forgotten = end + GIVE_UP + 30.0 * unit;
        let mut it = Scenario::new("a stall that loses", unit / 2.0, forgotten + 40.0 * unit);
        let in_stall = |planned: f64| (begin..end).contains(&planned);
        let lost = |k: usize, planned| if in_stall(planned) { Fate::Lost } else { well(k, planned) };
        let goes_on =
            |k: usize, planned: f64| if planned >= end && k % 5 == 4 { Fate::Lost } else { lost(k, planned) };
        let tenants = [
            tenant(0, interval, it.until, lost),
            tenant(1, interval, it.until, goes_on),
            tenant(2, interval, it.until, well),
            tenant(3, interval, it.until, well),
        ];
        it.tenants(&tenants);
        let losing = "alertname=\"TraceprobeLosing\"";
        for at in (0..).map(|number| begin + f64::from(number) * unit).take_while(|at| *at <= forgotten) {
            it.firing(at, losing, &[]);
        }
        // It is told all the same.
        it.firing(
            end + GIVE_UP,
            "alertname=\"TraceprobeTraceLost\"",
            &["TraceprobeTraceLost t0 stage=transit", "TraceprobeTraceLost t1 stage=transit"],
        );
        it.firing(it.until, losing, &["TraceprobeLosing t1"]);
        it
    });
}

#[test]
fn the_backlog_of_a_stall_is_not_told_as_late_arrivals_and_what_goes_on_coming_late_is() {
    at_every_interval(4, |interval| {
        let unit = unit(interval);
        let mut it = scenario("a backlog", interval, 220.0);
        let (begin, end) = (20.0 * unit, 60.0 * unit);
        let stalls = |number| match number {
            0 | 1 => tenant(number, interval, it.until, stalled(begin, end)),
            _ => tenant(number, interval, it.until, well),
        };
        let tenants: Vec<_> = (0..4).map(stalls).collect();
        it.tenants(&tenants);
        // Two in a unit: those of one tenant for 10 units, those of the other for good.
        let late = |at: f64| ((at - end) * 2.0 / unit).floor().max(0.0);
        let name = "traceprobe_late_arrivals_total";
        it.set(name, "tenant=\"t0\",stage=\"bigquery\"", |at| late(at).min(20.0));
        it.set(name, "tenant=\"t1\",stage=\"bigquery\"", late);
        let alert = "alertname=\"TraceprobeLateArrivals\"";
        for units in (0..=150).step_by(5) {
            it.firing(end + f64::from(units) * unit, alert, &[]);
        }
        it.firing(end + 155.0 * unit, alert, &["TraceprobeLateArrivals t1 stage=bigquery"]);
        it
    });
}

#[test]
fn a_total_stall_is_one_alert_for_all_tenants_which_outlives_the_others() {
    at_every_interval(4, |interval| {
        let unit = unit(interval);
        let mut it = scenario("total stall", interval, 70.0);
        let (begin, end) = (20.0 * unit, 40.0 * unit);
        let tenants: Vec<_> =
            (0..4).map(|number| tenant(number, interval, it.until, stalled(begin, end))).collect();
        it.tenants(&tenants);
        it.firing(19.0 * unit, "", &[]);
        // A canary of three tenants is overdue: planned within an interval, and 30 s ago.
        it.firing(begin + 1.5 * unit + 30.0, "alertname=\"TraceprobeTotalStall\"", &["TraceprobeTotalStall"]);
        let stuck = ["t0", "t1", "t2", "t3"].map(|name| format!("TraceprobeStuck {name} stage=transit"));
        let stuck = stuck.each_ref().map(String::as_str);
        it.firing(begin + 3.0 * unit + 30.0, "alertname=\"TraceprobeStuck\"", &stuck);
        // It inhibits what each tenant raises, so it must last as long.
        for at in 0..30 {
            it.none(
                end + unit * f64::from(at),
                "ALERTS{alertname=~\"TraceprobeLatency.+|TraceprobeStuck\",alertstate=\"firing\"} unless on (job, instance) \
                 ALERTS{alertname=\"TraceprobeTotalStall\",alertstate=\"firing\"}",
            );
        }
        it.firing(
            end + 25.0 * unit,
            "alertname=~\"TraceprobeLatency.+|TraceprobeStuck|TraceprobeTotalStall\"",
            &[],
        );
        it
    });
}

#[test]
fn one_stalled_tenant_of_fifty_is_named_and_nothing_is_said_of_all() {
    at_every_interval(50, |interval| {
        let unit = unit(interval);
        let mut it = scenario("one of fifty", interval, 30.0);
        let begin = 20.0 * unit;
        let tenants: Vec<_> = (0..50)
            .map(|number| match number {
                7 => tenant(number, interval, it.until, stalled(begin, f64::MAX)),
                _ => tenant(number, interval, it.until, well),
            })
            .collect();
        it.tenants(&tenants);
        it.firing(begin, "", &[]);
        it.firing(
            begin + 5.5 * unit,
            "severity=\"critical\"",
            &["TraceprobeStuck t7 stage=transit", "TraceprobeLatencyCritical t7"],
        );
        it.firing(begin + 8.0 * unit, "alertname=~\".+Pooled|TraceprobeTotalStall\"", &[]);
        it
    });
}

#[test]
fn a_restart_of_the_counters_is_no_fault_and_hides_no_stall() {
    at_every_interval(4, |interval| {
        let unit = unit(interval);
        let mut it = scenario("counter reset", interval, 60.0);
        let tenants = [
            tenant(0, interval, it.until, well),
            tenant(1, interval, it.until, stalled(20.0 * unit, f64::MAX)),
            tenant(2, interval, it.until, well),
            tenant(3, interval, it.until, well),
        ];
        it.tenants(&tenants);
        it.reset_all_counters(30.0 * unit);
        let alerts =
            ["TraceprobeLatencyHigh t1", "TraceprobeLatencyCritical t1", "TraceprobeStuck t1 stage=transit"];
        for at in [28.0, 31.0, 40.0] {
            it.firing(at * unit, "alertname=~\"TraceprobeLatency.+|TraceprobeStuck\"", &alerts);
            it.firing(at * unit, "tenant!=\"t1\"", &[]);
        }
        it
    });
}

#[test]
fn both_spellings_of_a_bound_count() {
    at_every_interval(4, |interval| {
        let unit = unit(interval);
        let mut it = scenario("30 and 30.0", interval, 40.0);
        let fate = |k: usize, _| if k % 5 == 4 { Fate::Lost } else { Fate::Arrives(4.0) };
        let [bad, fine, whole_bad, whole_fine] = [0, 1, 2, 3].map(|number| {
            if number % 2 == 0 {
                tenant(number, interval, it.until, fate)
            } else {
                tenant(number, interval, it.until, well)
            }
        });
        it.tenants_of(INSTANCE, &[bad, fine], Bounds::Float, |_| true);
        it.tenants_of(INSTANCE, &[whole_bad, whole_fine], Bounds::Whole, |_| true);
        it.firing(
            28.0 * unit,
            "alertname=~\"TraceprobeLatency.+\"",
            &[
                "TraceprobeLatencyHigh t0",
                "TraceprobeLatencyCritical t0",
                "TraceprobeLatencyHigh t2",
                "TraceprobeLatencyCritical t2",
            ],
        );
        it
    });
}

/// Rules on the process do not depend on the interval, and these times are seconds.
const DIES: f64 = 1200.0;
const HOURS: f64 = 2.0 * 3600.0;

#[test]
fn a_dead_probe_is_reported_within_three_minutes_and_for_as_long_as_it_is_dead() {
    let interval = 30.0;
    let mut it = Scenario::new("probe down", 15.0, HOURS);
    let tenants: Vec<_> = (0..4).map(|number| tenant(number, interval, DIES, well)).collect();
    it.tenants_of(INSTANCE, &tenants, Bounds::Float, |at| at < DIES);
    it.instance(INSTANCE, |at| at < DIES);
    it.firing(DIES - 15.0, "", &[]);
    it.firing(DIES + 165.0, "", &["TraceprobeDown"]);
    it.firing(HOURS, "", &["TraceprobeDown"]);
    test(interval, 4, &it);
}

#[test]
fn a_probe_that_was_never_there_is_down() {
    let mut it = Scenario::new("never there", 15.0, 600.0);
    it.instance(INSTANCE, |_| false);
    it.firing(300.0, "", &["TraceprobeDown"]);
    test(30.0, 4, &it);
}

#[test]
fn one_of_two_dead_instances_is_named_with_its_tenants_for_as_long_as_it_is_dead() {
    let interval = 30.0;
    let mut it = Scenario::new("one of two down", 15.0, HOURS);
    let of = |numbers: [usize; 2], until| numbers.map(|number| tenant(number, interval, until, well));
    it.tenants_of(INSTANCE, &of([0, 1], HOURS), Bounds::Float, |_| true);
    it.tenants_of("b:9464", &of([2, 3], DIES), Bounds::Float, |at| at < DIES);
    it.instance("b:9464", |at| at < DIES);
    it.firing(DIES - 15.0, "", &[]);
    it.firing(DIES + 165.0, "", &["TraceprobeInstanceDown"]);
    it.value(
        DIES + 165.0,
        "count(ALERTS{alertname=\"TraceprobeInstanceDown\",alertstate=\"firing\",instance=\"b:9464\"})",
        1.0,
    );
    let all = ["TraceprobeInstanceDown", "TraceprobeTenantMissing t2", "TraceprobeTenantMissing t3"];
    it.firing(DIES + 400.0 + 5.0, "", &all);
    it.firing(HOURS, "", &all);
    test(interval, 4, &it);
}

#[test]
fn an_upgrade_is_one_start_of_the_probe() {
    let interval = 30.0;
    let mut it = Scenario::new("upgrades", 15.0, HOURS);
    let tenants: Vec<_> = (0..4).map(|number| tenant(number, interval, HOURS, well)).collect();
    it.tenants(&tenants);
    // Its only series have the label of a version.
    it.instance(INSTANCE, |_| false);
    it.set("up", "", |_| 1.0);
    let upgrades = |at: f64| ((at - 3600.0) / 600.0).floor().clamp(-1.0, 3.0) + 1.0;
    it.set("process_start_time_seconds", "", upgrades);
    for version in 0..=4 {
        let labels = format!("version=\"0.{version}\",revision=\"{version}\"");
        it.set("traceprobe_build_info", &labels, |at| {
            if upgrades(at) == f64::from(version) { 1.0 } else { f64::NAN }
        });
    }
    // Three, and four within an hour.
    it.firing(5300.0, "", &[]);
    it.firing(5500.0, "", &["TraceprobeRestarting"]);
    test(interval, 4, &it);
}

#[test]
fn a_budget_outlasts_the_polls_that_it_left_out() {
    let interval = 30.0;
    let mut it = Scenario::new("a budget", 15.0, HOURS);
    let tenants: Vec<_> = (0..4).map(|number| tenant(number, interval, HOURS, well)).collect();
    it.tenants(&tenants);
    let (begin, end) = (1200.0, 1800.0);
    let polls = "stage=\"bigquery\",owner=\"shared\",result=\"over_budget\"";
    it.set("traceprobe_observer_polls_total", polls, |at| ((at.min(end) - begin) / 30.0).floor().max(0.0));
    it.set("traceprobe_condition", "condition=\"over_budget\"", |at| {
        f64::from(u8::from((begin..end + 60.0).contains(&at)))
    });
    it.firing(begin + 300.0, "", &["TraceprobeOverBudget", "TraceprobeBudgetExceeded stage=bigquery"]);
    for at in (0..).map(|number| begin + 15.0 * f64::from(number)).take_while(|at| *at < HOURS) {
        it.none(
            at,
            "ALERTS{alertname=\"TraceprobeBudgetExceeded\",alertstate=\"firing\"} unless on (job, instance) \
             ALERTS{alertname=\"TraceprobeOverBudget\",alertstate=\"firing\"}",
        );
    }
    it.firing(HOURS, "", &[]);
    test(interval, 4, &it);
}

#[test]
fn a_blind_stage_raises_no_alert_on_latency_or_loss() {
    at_every_interval(4, |interval| {
        let unit = unit(interval);
        let mut it = scenario("blind", interval, 80.0);
        let begin = 20.0 * unit;
        // What waits at a blind stage is not judged.
        let tenants: Vec<_> = (0..4).map(|number| tenant(number, interval, begin, well)).collect();
        it.tenants(&tenants);
        let blind = |at: f64| f64::from(u8::from(at >= begin));
        for name in ["t0", "t1", "t2", "t3"] {
            let own = format!("tenant=\"{name}\"");
            it.set(
                "traceprobe_condition",
                &format!("{own},stage=\"bigquery\",condition=\"cannot_see\""),
                blind,
            );
            it.set("traceprobe_stage_blind", &format!("{own},stage=\"bigquery\""), blind);
            it.set("traceprobe_traces_total", &format!("{own},outcome=\"unobserved\""), |at| {
                ((at - begin - 20.0 * unit) / interval).floor().max(0.0)
            });
        }
        let blind =
            ["t0", "t1", "t2", "t3"].map(|name| format!("TraceprobeStageBlind {name} stage=bigquery"));
        let blind: Vec<&str> = blind.iter().map(String::as_str).collect();
        it.firing(begin, "", &[]);
        it.firing(begin + 10.0 * unit, "", &blind);
        // Traces that end without a verdict meanwhile are a consequence.
        it.firing(begin + 40.0 * unit, "", &blind);
        it
    });
}

#[test]
fn traces_without_a_verdict_are_an_alert_unless_the_end_stage_was_blind() {
    at_every_interval(4, |interval| {
        let unit = unit(interval);
        let mut it = scenario("unobserved", interval, 80.0);
        let tenants: Vec<_> = (0..4).map(|number| tenant(number, interval, it.until, well)).collect();
        it.tenants(&tenants);
        let begin = 20.0 * unit;
        for name in ["t0", "t1"] {
            it.set("traceprobe_traces_total", &format!("tenant=\"{name}\",outcome=\"unobserved\""), |at| {
                ((at - begin) / interval).floor().clamp(0.0, 10.0 * unit / interval)
            });
        }
        // It can be read again, and what ended meanwhile is still counted.
        it.set("traceprobe_condition", "tenant=\"t1\",stage=\"bigquery\",condition=\"cannot_see\"", |at| {
            f64::from(u8::from((begin..begin + 10.0 * unit).contains(&at)))
        });
        it.firing(begin, "", &[]);
        it.firing(begin + 20.0 * unit, "", &["TraceprobeUnobserved t0"]);
        it.firing(it.until, "", &[]);
        it
    });
}

#[test]
fn an_unobserved_canary_now_and_then_is_no_alert() {
    at_every_interval(4, |interval| {
        let mut it = scenario("two unobserved", interval, 60.0);
        let tenants: Vec<_> = (0..4).map(|number| tenant(number, interval, it.until, well)).collect();
        it.tenants(&tenants);
        let begin = 20.0 * unit(interval);
        it.set("traceprobe_traces_total", "tenant=\"t0\",outcome=\"unobserved\"", |at| {
            if at < begin { 0.0 } else { 2.0 }
        });
        it.firing(begin + unit(interval), "", &[]);
        it
    });
}

#[test]
fn what_was_never_seen_is_critical_on_the_main_path() {
    at_every_interval(4, |interval| {
        let mut it = scenario("never seen", interval, 40.0);
        let tenants: Vec<_> = (0..4).map(|number| tenant(number, interval, it.until, well)).collect();
        it.tenants(&tenants);
        for stage in ["transit", "archive"] {
            let labels = format!("tenant=\"t0\",stage=\"{stage}\",condition=\"never_seen\"");
            it.set("traceprobe_condition", &labels, |at| f64::from(u8::from(at > 600.0)));
        }
        it.firing(
            it.until,
            "",
            &["TraceprobeNeverSeen t0 stage=transit", "TraceprobeNeverSeen t0 stage=archive"],
        );
        it.firing(it.until, "severity=\"critical\"", &["TraceprobeNeverSeen t0 stage=transit"]);
        it
    });
}

#[test]
fn every_other_alert_fires_for_what_it_is_about_and_for_nothing_else() {
    at_every_interval(4, |interval| {
        let unit = unit(interval);
        let mut it = scenario("everything else", interval, 80.0);
        let tenants: Vec<_> = (0..4).map(|number| tenant(number, interval, it.until, well)).collect();
        it.tenants(&tenants);
        let begin = 20.0 * unit;
        let on = |at: f64| f64::from(u8::from(at >= begin));
        for labels in [
            "tenant=\"t0\",stage=\"archive\",condition=\"missing\"",
            "tenant=\"t0\",stage=\"tenant_stream\",condition=\"hop_over_target\"",
            "tenant=\"t0\",stage=\"transit\",condition=\"skipped\"",
            "tenant=\"t0\",stage=\"transit\",condition=\"duplicates\"",
            "tenant=\"t0\",stage=\"transit\",condition=\"corruption\"",
            "stage=\"bigquery\",condition=\"schema_drift\"",
            "stage=\"dead_letter\",condition=\"dead_letters_waiting\"",
            "tenant=\"t1\",condition=\"not_injecting\"",
            "tenant=\"t2\",condition=\"late_injection\"",
            "condition=\"store_degraded\"",
            "condition=\"over_budget\"",
            "condition=\"reload_failed\"",
            "condition=\"clock_unsynchronized\"",
            "condition=\"same_name\"",
        ] {
            it.set("traceprobe_condition", labels, on);
        }
        // One a minute of what happens.
        let happened = |at: f64| ((at - begin) / 60.0).floor().max(-1.0) + 1.0;
        for (name, labels) in [
            ("isolation_violations_total", "tenant=\"t3\",stage=\"archive\""),
            ("foreign_tags_total", "stage=\"transit\",owner=\"t3\""),
            ("observer_unreadable_records_total", "stage=\"transit\",reason=\"encrypted\""),
            ("observer_polls_total", "stage=\"bigquery\",owner=\"shared\",result=\"over_budget\""),
            ("clock_inversions_total", "tenant=\"t3\",stage=\"transit\""),
            ("late_arrivals_total", "tenant=\"t3\",stage=\"bigquery\""),
            ("injections_total", "tenant=\"t3\",result=\"refused\""),
        ] {
            it.set(&format!("traceprobe_{name}"), labels, happened);
        }
        // No rule on losses counts two of many.
        it.set("traceprobe_traces_total", "tenant=\"t3\",outcome=\"dead_lettered\"", |at| {
            happened(at - 900.0).min(1.0)
        });
        it.set("traceprobe_kinesis_behind_latest_seconds", "stage=\"tenant_stream\",owner=\"t3\"", |at| {
            60.0 * on(at)
        });
        it.set("process_start_time_seconds", "", |at| ((at - begin) / 150.0).floor().clamp(0.0, 6.0));
        let hop = "tenant=\"t0\",stage=\"tenant_stream\"";
        let canaries = |at: f64| (at / interval).floor();
        it.set("traceprobe_hop_latency_seconds_count", hop, canaries);
        it.set("traceprobe_hop_latency_seconds_bucket", &format!("{hop},le=\"5.0\""), |at| {
            canaries(at.min(begin))
        });
        it.firing(begin - unit, "", &[]);
        let mut alerts = vec![
            "TraceprobeMissing t0 stage=archive",
            "TraceprobeHopOverTarget t0 stage=tenant_stream",
            "TraceprobeHopCritical t0 stage=tenant_stream",
            "TraceprobeSkipped t0 stage=transit",
            "TraceprobeDuplicates t0 stage=transit",
            "TraceprobeCorrupted t0 stage=transit",
            "TraceprobeSchemaDrift stage=bigquery",
            "TraceprobeDeadLettersWaiting stage=dead_letter",
            "TraceprobeNotInjecting t1",
            "TraceprobeLateInjection t2",
            "TraceprobeStoreDegraded",
            "TraceprobeReloadFailed",
            "TraceprobeOverBudget",
            "TraceprobeClockNotSynchronized",
            "TraceprobeSameName",
            "TraceprobeIsolationViolation t3 stage=archive",
            "TraceprobeForeignTags stage=transit",
            "TraceprobeUnreadable stage=transit",
            "TraceprobeBudgetExceeded stage=bigquery",
            "TraceprobeClockInversions stage=transit",
            "TraceprobeLateArrivals t3 stage=bigquery",
            "TraceprobeDeadLettered t3",
            "TraceprobePollsBehind stage=tenant_stream",
            "TraceprobeRestarting",
        ];
        // 15 of the 180 canaries of 15 minutes are too few.
        if interval >= 30.0 {
            alerts.push("TraceprobeInjectionsFailing t3");
        }
        it.firing(begin + 1500.0, "", &alerts);
        it
    });
}

#[test]
fn objectives_and_burn_rates_resolve_what_a_quarter_of_an_hour_cannot() {
    at_every_interval(4, |interval| {
        let unit = unit(interval);
        // Longer than seven days at an interval of 5 minutes.
        let until = if interval > 30.0 { 30_000.0 * 300.0 / 10.0 } else { 9_000.0 * 30.0 };
        let mut it = Scenario::new("objectives", 20.0 * unit, until);
        let every = |number: usize, one_in: usize, other: Fate| {
            tenant(
                number,
                interval,
                until,
                move |k, _| if k % one_in == 7 { other } else { Fate::Arrives(4.0) },
            )
        };
        let tenants = [
            // 0.7 %.
            every(0, 143, Fate::Lost),
            tenant(1, interval, until, well),
            // 3 %.
            every(2, 33, Fate::Arrives(45.0)),
            // 13 %.
            every(3, 8, Fate::Arrives(45.0)),
        ];
        it.tenants(&tenants);
        // 0.3 % at the last hop.
        let inserted = |at: f64| (at / interval).floor();
        let last = "tenant=\"t1\",stage=\"bigquery\"";
        it.set("traceprobe_hop_latency_seconds_count", last, inserted);
        it.set("traceprobe_missing_hops_total", last, |at| (inserted(at) / 333.0).floor());
        it.firing(
            until,
            "alertname=~\"Traceprobe(Hop|Transfer|Burn).+\"",
            &[
                "TraceprobeTransferSuccessLow t0 stage=transit",
                "TraceprobeHopSuccessLow t1 stage=bigquery",
                "TraceprobeBurnRateSlow t3",
                "TraceprobeBurnRateSteady t3",
            ],
        );
        it
    });
}

#[test]
fn a_loss_that_goes_on_for_hours_misses_the_critical_objective_of_its_hop() {
    let interval = 30.0;
    let mut it = scenario("20 % lost for hours", interval, 560.0);
    let fate = |k: usize, _| if k % 5 == 4 { Fate::Lost } else { Fate::Arrives(4.0) };
    let mut tenants: Vec<_> = (1..4).map(|number| tenant(number, interval, it.until, well)).collect();
    tenants.push(tenant(0, interval, it.until, fate));
    it.tenants(&tenants);
    let critical = "alertname=\"TraceprobeHopSuccessCritical\"";
    // Not before its window is half full.
    it.firing(450.0 * interval, critical, &[]);
    it.firing(555.0 * interval, critical, &["TraceprobeHopSuccessCritical t0 stage=transit"]);
    test(interval, 4, &it);
}

#[test]
fn a_budget_that_is_used_up_fast_is_told_within_the_hour() {
    at_every_interval(4, |interval| {
        let mut it = scenario("half of them slow", interval, 80.0);
        let fate = |k: usize, _| Fate::Arrives(if k.is_multiple_of(2) { 45.0 } else { 4.0 });
        let mut tenants: Vec<_> = (1..4).map(|number| tenant(number, interval, it.until, well)).collect();
        tenants.push(tenant(0, interval, it.until, fate));
        it.tenants(&tenants);
        let fast = "alertname=\"TraceprobeBurnRateFast\"";
        if interval >= 30.0 {
            // Not before its window is half full.
            it.firing(55.0 * unit(interval), fast, &[]);
        }
        it.firing(75.0 * unit(interval), fast, &["TraceprobeBurnRateFast t0"]);
        it.firing(75.0 * unit(interval), "severity=\"critical\"", &[]);
        it
    });
}
