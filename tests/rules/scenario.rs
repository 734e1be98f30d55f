//! A scenario: series over time, and the alerts that must fire at certain times, and no others.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::series::notation;
use super::world::{self, BOUNDS, Tenant};

/// The instance that measures unless a scenario says otherwise.
pub const INSTANCE: &str = "a:9464";

/// Which spelling of `le` a scrape has.
#[derive(Clone, Copy)]
pub enum Bounds {
    /// `30.0`, as OpenMetrics and Prometheus 3 have it.
    Float,
    /// `30`, as the text format can have it in Prometheus 2.
    Whole,
}

pub struct Scenario {
    pub name: String,
    /// Seconds between two samples, and between two evaluations.
    pub step: f64,
    pub until: f64,
    series: BTreeMap<String, Vec<f64>>,
    checks: Vec<Value>,
    texts: Vec<Value>,
}

impl Scenario {
    pub fn new(name: &str, step: f64, until: f64) -> Self {
        let name = name.to_owned();
        let mut scenario =
            Self { name, step, until, series: BTreeMap::new(), checks: Vec::new(), texts: Vec::new() };
        scenario.instance(INSTANCE, |_| true);
        scenario
    }

    /// An instance that is scraped at some times. Replaces what it was.
    pub fn instance(&mut self, instance: &str, alive: impl Fn(f64) -> bool) {
        let target = format!("job=\"traceprobe\",instance=\"{instance}\"");
        self.add(&format!("up{{{target}}}"), |at| f64::from(u8::from(alive(at))));
        self.add(&format!("traceprobe_build_info{{{target}}}"), |at| if alive(at) { 1.0 } else { f64::NAN });
    }

    /// A series of the instance, with these labels.
    pub fn set(&mut self, name: &str, labels: &str, value: impl Fn(f64) -> f64) {
        self.set_of(INSTANCE, name, labels, value);
    }

    pub fn set_of(&mut self, instance: &str, name: &str, labels: &str, value: impl Fn(f64) -> f64) {
        let comma = if labels.is_empty() { "" } else { "," };
        self.add(&format!("{name}{{job=\"traceprobe\",instance=\"{instance}\"{comma}{labels}}}"), value);
    }

    fn add(&mut self, series: &str, value: impl Fn(f64) -> f64) {
        let steps = (self.until / self.step) as usize;
        let values = (0..=steps).map(|step| value(step as f64 * self.step)).collect();
        self.series.insert(series.to_owned(), values);
    }

    /// The metrics of tenants, as an instance shows them.
    pub fn tenants(&mut self, tenants: &[Tenant]) {
        self.tenants_of(INSTANCE, tenants, Bounds::Float, |_| true);
        self.set("traceprobe_total_stall", "", |at| f64::from(u8::from(world::is_total_stall(tenants, at))));
    }

    /// The same, at times when it is alive.
    pub fn tenants_of(
        &mut self,
        instance: &str,
        tenants: &[Tenant],
        bounds: Bounds,
        alive: impl Fn(f64) -> bool,
    ) {
        for tenant in tenants {
            let own = format!("tenant=\"{}\"", tenant.name);
            let mut set = |name: &str, labels: &str, value: &dyn Fn(f64) -> f64| {
                let labels = format!("{own}{labels}");
                self.set_of(instance, name, &labels, |at| if alive(at) { value(at) } else { f64::NAN });
            };
            let count = |count: usize| count as f64;
            set("traceprobe_e2e_latency_seconds_count", "", &|at| count(tenant.judged(at)));
            set("traceprobe_slo_traces_total", "", &|at| count(tenant.judged(at)));
            set("traceprobe_slo_good_traces_total", "", &|at| count(tenant.within(world::SLO, at)));
            for bound in BOUNDS {
                let le = match bounds {
                    Bounds::Float => format!("{bound:?}"),
                    Bounds::Whole => format!("{bound}"),
                };
                let le = format!(",le=\"{le}\"");
                set("traceprobe_e2e_latency_seconds_bucket", &le, &|at| count(tenant.within(bound, at)));
            }
            set("traceprobe_e2e_latency_seconds_bucket", ",le=\"+Inf\"", &|at| count(tenant.judged(at)));
            set("traceprobe_injections_total", ",result=\"accepted\"", &|at| count(tenant.injected(at)));
            let outcome = |name: &str| format!(",outcome=\"{name}\"");
            set("traceprobe_traces_total", &outcome("delivered"), &|at| count(tenant.delivered(at)));
            set("traceprobe_traces_total", &outcome("lost"), &|at| count(tenant.lost(at)));
            set("traceprobe_lost_total", ",stage=\"transit\"", &|at| count(tenant.lost(at)));
            set("traceprobe_missing_hops_total", ",stage=\"transit\"", &|at| count(tenant.lost(at)));
            let all = |at| count(tenant.delivered(at) + tenant.lost(at));
            set("traceprobe_hop_latency_seconds_count", ",stage=\"transit\"", &all);
            let flying = |at| count(tenant.in_flight(at).count());
            set("traceprobe_in_flight_traces", ",stage=\"transit\"", &flying);
            set("traceprobe_oldest_in_flight_seconds", ",stage=\"transit\"", &|at| tenant.oldest(at));
            set("traceprobe_condition", ",stage=\"transit\",condition=\"stuck\"", &|at| {
                f64::from(u8::from(tenant.is_stuck(at)))
            });
        }
    }

    /// Series of a counter that begins again at zero.
    pub fn reset_all_counters(&mut self, at: f64) {
        let step = (at / self.step) as usize;
        for (name, values) in &mut self.series {
            let metric = name.split('{').next().unwrap_or_default();
            if ["_total", "_count", "_bucket"].iter().any(|end| metric.ends_with(end)) {
                let before = values[step];
                values[step..].iter_mut().for_each(|value| *value -= before);
            }
        }
    }

    /// At a time, exactly these alerts fire among those that the matchers select. Each is written as
    /// `alertname`, then tenant, stage or instance if it has one of its own.
    pub fn firing(&mut self, at: f64, matchers: &str, alerts: &[&str]) {
        let by = "alertname, tenant, stage";
        let matchers = if matchers.is_empty() { String::new() } else { format!(",{matchers}") };
        let expr = format!(
            "count by ({by}) (ALERTS{{alertstate=\"firing\",alertname!=\"TraceprobeWatchdog\"{matchers}}})"
        );
        let alerts: BTreeSet<&str> = alerts.iter().copied().collect();
        let samples = alerts.iter().map(|alert| {
            let mut words = alert.split(' ');
            let mut labels = vec![format!("alertname=\"{}\"", words.next().unwrap_or_default())];
            labels.extend(words.map(|word| {
                let (label, value) = word.split_once('=').unwrap_or(("tenant", word));
                format!("{label}=\"{value}\"")
            }));
            json!({"labels": format!("{{{}}}", labels.join(",")), "value": 1})
        });
        let samples: Vec<_> = samples.collect();
        self.checks.push(json!({"expr": expr, "eval_time": time(at), "exp_samples": samples}));
    }

    /// At a time, an expression has this value and no labels.
    pub fn value(&mut self, at: f64, expr: &str, value: f64) {
        let sample = json!({"labels": "{}", "value": value});
        self.checks.push(json!({"expr": expr, "eval_time": time(at), "exp_samples": [sample]}));
    }

    /// At a time, an expression has no result.
    pub fn none(&mut self, at: f64, expr: &str) {
        self.checks.push(json!({"expr": expr, "eval_time": time(at), "exp_samples": []}));
    }

    /// At a time, an alert that fires once says this.
    pub fn says(&mut self, at: f64, alert: &str, labels: &[(&str, &str)], annotations: &[(&str, &str)]) {
        let map = |pairs: &[(&str, &str)]| -> Value {
            pairs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), json!(value)))
                .collect::<serde_json::Map<_, _>>()
                .into()
        };
        let expected = json!({"exp_labels": map(labels), "exp_annotations": map(annotations)});
        self.texts.push(json!({"alertname": alert, "eval_time": time(at), "exp_alerts": [expected]}));
    }

    /// The scenario as promtool reads it.
    pub fn to_json(&self) -> Value {
        let series =
            self.series.iter().map(|(name, values)| json!({"series": name, "values": notation(values)}));
        json!({
            "name": self.name,
            "interval": time(self.step),
            "input_series": series.collect::<Vec<_>>(),
            "promql_expr_test": self.checks,
            "alert_rule_test": self.texts,
        })
    }
}

fn time(seconds: f64) -> String {
    format!("{}s", seconds.round())
}
