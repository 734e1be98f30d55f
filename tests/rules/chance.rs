//! How often the critical alerts of a healthy pipeline fire by chance.
//!
//! A month of 50 tenants is 8.6 million evaluations of each rule, too many for Prometheus in a test. So the
//! critical rules are evaluated here, over the counters of the same model of canaries, with the arithmetic of
//! `increase()`; and a test holds this evaluation against promtool's.
//!
//! `make rules-month` runs the month and prints the table; otherwise it is three days.

use std::collections::BTreeMap;

use super::promtool;
use super::scenario::Scenario;
use super::test;
use super::world::{Canary, Fate, SLO, Tenant};

/// Seconds between two scrapes, and between two evaluations.
const STEP: f64 = 15.0;
const INTERVAL: f64 = 30.0;
const MINUTE: usize = 4;
const DAY: f64 = 86_400.0;

/// What happens to canaries of a healthy pipeline.
#[derive(Clone, Copy)]
struct Background {
    /// Ratio of independent losses.
    lost: f64,
    /// Ratio of those that take three times as long.
    slow: f64,
}

/// A tenant with canaries as the probe plans them: in the first half of each interval.
fn tenant(number: usize, seconds: f64, background: Background, random: &mut fastrand::Rng) -> Tenant {
    let canary = |k: usize, random: &mut fastrand::Rng| {
        let planned = k as f64 * INTERVAL + random.f64() * INTERVAL / 2.0;
        if random.f64() < background.lost {
            return Canary { planned, fate: Fate::Lost };
        }
        // A median of 8 s, and 1 % above 16 s: the sum of three hops.
        let usual = 8.0 * (0.3 * normal(random)).exp();
        let after = if random.f64() < background.slow { 3.0 * usual } else { usual };
        Canary { planned, fate: Fate::Arrives(after) }
    };
    let canaries = (0..(seconds / INTERVAL) as usize).map(|k| canary(k, random)).collect();
    Tenant::new(format!("t{number}"), canaries)
}

/// A number of the normal distribution (Box and Muller).
fn normal(random: &mut fastrand::Rng) -> f64 {
    let (one, other) = (1.0 - random.f64(), random.f64());
    (-2.0 * one.ln()).sqrt() * (std::f64::consts::TAU * other).cos()
}

/// How scrapes lie in the window of `increase()`.
#[derive(Clone, Copy)]
enum Scrapes {
    /// At its edges, which it includes: promtool of Prometheus 2.
    AtTheEdges,
    /// At its edges, of which it includes the later one: promtool of Prometheus 3.
    AtTheEnd,
    /// Within it, as in a server, so that what they show is extrapolated by a step.
    Within,
}

impl Scrapes {
    /// `increase()` of a counter of which every sample is known, up to a step (Prometheus, extrapolatedRate).
    fn increase(self, counter: &[u32], at: usize, window: usize) -> f64 {
        let (samples, gap, end) = match self {
            Self::AtTheEdges => (window + 1, 0.0, 0.0),
            Self::AtTheEnd => (window, 1.0, 0.0),
            Self::Within => (window, 0.5, 0.5),
        };
        let first = (at + 1).saturating_sub(samples);
        if first == at {
            return 0.0;
        }
        let grown = f64::from(counter[at] - counter[first]);
        let sampled = (at - first) as f64;
        // At the beginning there are fewer samples than the window holds: the series begins there.
        let before = if first == 0 { (window as f64 - sampled).min(0.5) } else { gap };
        let to_zero = if grown > 0.0 { sampled * f64::from(counter[first]) / grown } else { before };
        grown * (sampled + before.min(to_zero) + end) / sampled
    }
}

/// The counters of a tenant at every step.
struct Counters {
    judged: Vec<u32>,
    within_60: Vec<u32>,
    delivered: Vec<u32>,
    lost: Vec<u32>,
    ended: Vec<u32>,
    oldest: Vec<f64>,
    stuck: Vec<bool>,
}

impl Counters {
    fn of(tenant: &Tenant, steps: usize) -> Self {
        let each = |of: &dyn Fn(f64) -> usize| -> Vec<u32> {
            (0..steps).map(|step| u32::try_from(of(step as f64 * STEP)).expect("a count is small")).collect()
        };
        Self {
            judged: each(&|at| tenant.judged(at)),
            within_60: each(&|at| tenant.within(60.0, at)),
            delivered: each(&|at| tenant.delivered(at)),
            lost: each(&|at| tenant.lost(at)),
            ended: each(&|at| tenant.delivered(at) + tenant.lost(at)),
            oldest: (0..steps).map(|step| tenant.oldest(step as f64 * STEP)).collect(),
            stuck: (0..steps).map(|step| tenant.is_stuck(step as f64 * STEP)).collect(),
        }
    }

    /// P95 over 5 minutes above 60 s, more than `guard` slow ones in 15, and one that really waited.
    fn latency_critical(&self, scrapes: Scrapes, at: usize, guard: f64) -> bool {
        let of = |counter: &[u32], minutes| scrapes.increase(counter, at, minutes * MINUTE);
        let over = of(&self.judged, 15) - of(&self.within_60, 15);
        let (judged, within) = (of(&self.judged, 5), of(&self.within_60, 5));
        let waited = self.oldest[(at + 1).saturating_sub(5 * MINUTE)..=at].iter().any(|age| *age > 60.0);
        over > guard && judged > 0.0 && within < 0.95 * judged && waited
    }

    /// More than `guard` lost, and more than 5 %.
    fn losing(&self, scrapes: Scrapes, at: usize, minutes: usize, guard: f64) -> bool {
        let of = |counter: &[u32]| scrapes.increase(counter, at, minutes * MINUTE);
        let (lost, delivered) = (of(&self.lost), of(&self.delivered));
        lost > guard && lost / (lost + delivered) > 0.05
    }

    /// As the alert has it: not what was lost while the tenant was stuck, as long as that is counted.
    fn losing_alone(&self, scrapes: Scrapes, at: usize) -> bool {
        let was_stuck = (at.saturating_sub(32 * MINUTE)..=at).any(|at| self.stuck[at]);
        !was_stuck && self.losing(scrapes, at, 15, 3.5)
    }

    /// Less than 99 % of 1000 canaries come out of the hop that loses them.
    fn hop_success(&self, scrapes: Scrapes, at: usize) -> bool {
        let window = (1_000.0 * INTERVAL / STEP) as usize;
        let (lost, ended) =
            (scrapes.increase(&self.lost, at, window), scrapes.increase(&self.ended, at, window));
        lost > 4.5 && lost / ended > 0.01
    }
}

/// For how many steps TraceprobeStuck and TraceprobeTotalStall go on after their end.
const KEEP: usize = 6 * MINUTE;

/// The same of TraceprobeLosing.
const KEEP_LOSING: usize = 5 * MINUTE;

/// For how many steps the P95 must be above 60 s (`for`).
const HOLD: usize = MINUTE;

/// Whether something has been so for as long as [`HOLD`].
fn held(at: usize, is: impl Fn(usize) -> bool) -> bool {
    at >= HOLD && (at - HOLD..=at).all(is)
}

/// Counts how often something begins. What begins again within `keep` steps of its end has gone on.
fn begins(keep: usize, steps: usize, is: impl Fn(usize) -> bool) -> usize {
    let (mut count, mut last) = (0, None::<usize>);
    for step in (0..steps).filter(|step| is(*step)) {
        if last.is_none_or(|last| step - last > keep.max(1)) {
            count += 1;
        }
        last = Some(step);
    }
    count
}

/// How many critical alerts fire, by name, for the old rules and for these.
fn table(days: f64, tenants: usize, background: Background, seed: u64) -> BTreeMap<&'static str, [usize; 2]> {
    let mut random = fastrand::Rng::with_seed(seed);
    let steps = (days * DAY / STEP) as usize;
    let tenants: Vec<Tenant> =
        (0..tenants).map(|number| tenant(number, days * DAY, background, &mut random)).collect();
    let mut table = BTreeMap::from(
        ["LatencyCritical", "Losing", "Stuck", "TotalStall", "HopSuccessCritical"].map(|name| (name, [0, 0])),
    );
    let mut add = |name, old, new| {
        let row: &mut [usize; 2] = table.entry(name).or_default();
        row[0] += old;
        row[1] += new;
    };
    let scrapes = Scrapes::Within;
    for tenant in &tenants {
        let of = Counters::of(tenant, steps);
        let old = begins(1, steps, |at| of.latency_critical(scrapes, at, 1.5));
        add(
            "LatencyCritical",
            old,
            begins(1, steps, |at| held(at, |at| of.latency_critical(scrapes, at, 2.5))),
        );
        let old = begins(1, steps, |at| of.losing(scrapes, at, 30, 2.5));
        add("Losing", old, begins(KEEP_LOSING, steps, |at| of.losing_alone(scrapes, at)));
        add("Stuck", 0, begins(KEEP, steps, |at| of.stuck[at]));
        let slow = |at| at % (5 * MINUTE) == 0 && of.hop_success(scrapes, at);
        add("HopSuccessCritical", 0, begins(5 * MINUTE, steps, slow));
    }
    add("TotalStall", 0, begins(KEEP, steps, |at| is_total_stall(&tenants, at as f64 * STEP)));
    table
}

/// As [`super::world::is_total_stall`], which takes no shortcut: while something arrived within the SLO, no canary
/// that was planned since is overdue.
fn is_total_stall(tenants: &[Tenant], at: f64) -> bool {
    let recent = tenants.iter().any(|tenant| at - tenant.last_delivery(at) <= SLO);
    !recent && super::world::is_total_stall(tenants, at)
}

#[test]
fn a_healthy_pipeline_raises_few_critical_alerts() {
    let background = Background { lost: 0.001, slow: 0.01 };
    let days = if std::env::var_os("TRACEPROBE_RULES_MONTH").is_some() { 30.0 } else { 3.0 };
    let seed =
        std::env::var("TRACEPROBE_RULES_SEED").map_or(7, |seed| seed.parse().expect("a seed is a number"));
    let table = table(days, 50, background, seed);
    println!("critical alerts of 50 tenants in {days} days, 0.1 % lost, 1 % three times slower");
    println!("{:<20} {:>10} {:>10}", "alert", "old rules", "new rules");
    for (name, [old, new]) in &table {
        println!("{name:<20} {old:>10} {new:>10}");
    }
    let sum = |column: usize| table.values().map(|row| row[column]).sum::<usize>();
    println!("{:<20} {:>10} {:>10}", "in all", sum(0), sum(1));
    assert!(sum(1) as f64 <= (10.0 * days / 30.0).max(3.0), "{table:?}");
    assert_eq!(table["TotalStall"], [0, 0]);
}

/// With twenty times the losses, so that there is something to compare.
#[test]
fn promtool_evaluates_the_critical_rules_as_this_does() {
    let hours = if std::env::var_os("TRACEPROBE_RULES_MONTH").is_some() { 24.0 } else { 3.0 };
    let until = hours * 3600.0;
    let mut random = fastrand::Rng::with_seed(11);
    let background = Background { lost: 0.03, slow: 0.01 };
    let tenants: Vec<Tenant> = (0..6).map(|number| tenant(number, until, background, &mut random)).collect();
    let mut scenario = Scenario::new("by chance", STEP, until);
    scenario.tenants(&tenants);
    let steps = (until / STEP) as usize + 1;
    let counters: Vec<Counters> = tenants.iter().map(|tenant| Counters::of(tenant, steps)).collect();
    let scrapes = if promtool::is_of_prometheus_2() { Scrapes::AtTheEdges } else { Scrapes::AtTheEnd };
    let mut compared = BTreeMap::<String, usize>::new();
    for at in (4 * MINUTE..steps).step_by(MINUTE) {
        let mut alerts = Vec::new();
        for (tenant, of) in tenants.iter().zip(&counters) {
            let name = &tenant.name;
            let mut add = |fires: bool, alert: String| {
                if fires {
                    *compared.entry(alert.split(' ').next().unwrap_or_default().to_owned()).or_default() += 1;
                    alerts.push(alert);
                }
            };
            let critical = held(at, |at| of.latency_critical(scrapes, at, 2.5));
            add(critical, format!("TraceprobeLatencyCritical {name}"));
            let losing = (at.saturating_sub(KEEP_LOSING)..=at).any(|at| of.losing_alone(scrapes, at));
            add(losing, format!("TraceprobeLosing {name}"));
            let stuck = (at.saturating_sub(KEEP)..=at).any(|at| of.stuck[at]);
            add(stuck, format!("TraceprobeStuck {name} stage=transit"));
        }
        let alerts: Vec<&str> = alerts.iter().map(String::as_str).collect();
        scenario.firing(at as f64 * STEP, "alertname=~\"Traceprobe(LatencyCritical|Losing|Stuck)\"", &alerts);
    }
    println!("compared, over {hours} h of 6 tenants: {compared:?}");
    assert_eq!(compared.len(), 3, "nothing to compare: {compared:?}");
    test(INTERVAL, 6, &scenario);
}
