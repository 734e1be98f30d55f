//! The daemon's numbers as a real Prometheus sees them, while the pipeline in front of it is well, stands, loses, and cannot
//! be seen.
//!
//! The alert is the plain one that everybody writes first. Only its threshold and window are shorter than in earnest,
//! together with the daemon's own threshold. The sandbox knows what really happened to every canary, so the moment at
//! which the expression becomes true can be held against the moment at which it should have.

mod expressions;
mod server;
#[path = "../support/mod.rs"]
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use self::expressions::Named;
use self::server::{Points, Prometheus, Series};
use self::support::daemon::Daemon;
use serde_json::Value;
use traceprobe::daemon::clock;
use traceprobe::sandbox::{
    Access, Distribution, Fault, Pace, Sandbox, Service, ServiceEffect, Settings, Stage, StageEffect,
    TenantSpec,
};

/// In earnest; here with another threshold and window.
const ALERT: &str =
    "histogram_quantile(0.95, sum by (le, tenant) (rate(traceprobe_e2e_latency_seconds_bucket[1m]))) > 30";
const SLO: f64 = 5.0;
const WINDOW: &str = "15s";
/// From the injection of the first overdue canary until the alert is true, beyond the threshold.
const PROMPT: f64 = 5.0;
/// After it the canaries of a blind end stage would be lost if blindness counted as absence.
const GIVE_UP: f64 = 15.0;

const STALLED: &str = "stalled";
const LOSING: &str = "losing";
const WELL: [&str; 2] = ["well-one", "well-two"];
const UNSEEN: [&str; 2] = ["unseen-one", "unseen-two"];

/// What the series have that Prometheus makes of alerts.
const OF_ALERTS: [&str; 1] = ["alertname"];
/// What Prometheus adds to every series that it scrapes.
const ADDED: [&str; 2] = ["instance", "job"];

fn alert() -> String {
    ALERT.replace("> 30", &format!("> {SLO}")).replace("[1m]", &format!("[{WINDOW}]"))
}

/// Seconds since the epoch, on the clock that all programs of the test share.
fn now() -> f64 {
    clock::system().now().as_secs_f64()
}

/// Asks again until there is an answer.
async fn until<T>(what: &str, within: Duration, mut poll: impl AsyncFnMut() -> Option<T>) -> T {
    let polling = async {
        let mut polls = tokio::time::interval(Duration::from_millis(250));
        loop {
            polls.tick().await;
            if let Some(found) = poll().await {
                return found;
            }
        }
    };
    match tokio::time::timeout(within, polling).await {
        Ok(found) => found,
        Err(_) => panic!("not within {within:?}: {what}"),
    }
}

/// A pipeline, and a daemon of its own in front of it.
struct Scene {
    sandbox: Sandbox,
    daemon: Daemon,
    began: f64,
}

impl Scene {
    async fn set(folder: &Path, name: &str, tenants: &[&str], give_up: &str) -> Scene {
        let hop = |min_ms, max_ms| Distribution::Uniform { min_ms, max_ms };
        let pace = Pace { export: hop(100.0, 400.0), transfer: hop(100.0, 400.0), ..Pace::brisk() };
        let specs = tenants.iter().enumerate().map(|(index, name)| TenantSpec::named(name, index));
        let settings = Settings { tenants: specs.collect(), pace, ..Settings::brisk(7, 0) };
        let sandbox = Sandbox::start(settings).await.expect("the sandbox starts");
        let file = folder.join(format!("{name}.toml"));
        fs::write(&file, configuration(&sandbox, give_up)).expect("the configuration can be written");
        let began = now();
        let key = ("TRACEPROBE_TAG_KEY".to_owned(), "sixteen bytes at least".to_owned());
        let daemon = Daemon::start(&file, [key]).await;
        Scene { sandbox, daemon, began }
    }

    fn target(&self) -> &str {
        self.daemon.address().trim_start_matches("http://")
    }

    /// When each canary of a tenant was planned, in order, and when it truly came to the table.
    fn canaries(&self, tenant: &str) -> Vec<(f64, Option<f64>)> {
        let truth = self.sandbox.truth().into_iter().filter(|record| record.tenant == tenant);
        let mut canaries: Vec<_> = truth
            .map(|record| {
                // The planned instant in ms stands in the first 48 bits of the trace id, after the marker and the version.
                let millis = u64::from_str_radix(&record.token[5..17], 16).expect("an id is hexadecimal");
                let arrived = record.arrived(Stage::Bigquery).map(|at| at.0 as f64 / 1e6);
                (millis as f64 / 1e3, arrived)
            })
            .collect();
        canaries.sort_by(|one, other| one.0.total_cmp(&other.0));
        canaries
    }
}

fn configuration(sandbox: &Sandbox, give_up: &str) -> String {
    let probe = format!(
        r#"listen = "127.0.0.1:0"
interval = "500ms"
slo = "{SLO}s"
critical = "10s"
give_up = "{give_up}"
grace = "2m"
blind_after = "4s"
stop_grace = "1s"
"#
    );
    let stages = [
        (Stage::TenantStream, "target = \"1s\""),
        (Stage::Transit, "interval = \"1s\"\ntarget = \"2s\""),
        (Stage::Bigquery, "interval = \"1s\"\ntarget = \"2s\""),
    ];
    sandbox.probe_configuration(Access::TenantRoles, &probe, &stages)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_prometheus_sees_what_is_true() {
    let folder =
        PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("prometheus-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("the target's folder for tests can be written to");
    let watched = Scene::set(&folder, "watched", &[&[STALLED, LOSING][..], &WELL].concat(), "2m").await;
    let unseen = Scene::set(&folder, "unseen", &UNSEEN, &format!("{GIVE_UP}s")).await;
    let prometheus = Prometheus::start(&folder, &[watched.target(), unseen.target()]).await;

    until("20 canaries of each tenant are judged", Duration::from_secs(60), async || {
        let judged = prometheus.query("traceprobe_e2e_latency_seconds_count > 20").await;
        (judged.len() == 6).then_some(())
    })
    .await;
    let broken_at = now();
    watched.sandbox.fault(Fault::tenant_stage(STALLED, Stage::Transit, StageEffect::Stall));
    watched.sandbox.fault(Fault::tenant_stage(
        LOSING,
        Stage::Transit,
        StageEffect::Lose { probability: 0.2 },
    ));
    unseen.sandbox.fault(Fault::service(Service::Bigquery, ServiceEffect::Deny));

    until("the alert is true for who stands and who loses", Duration::from_secs(45), async || {
        let firing = prometheus.query(&alert()).await;
        let firing: BTreeSet<&str> = firing.iter().map(Series::tenant).collect();
        (firing.contains(STALLED) && firing.contains(LOSING)).then_some(())
    })
    .await;
    until("blindness has lasted beyond the deadlines", Duration::from_secs(60), async || {
        let oldest = prometheus.query("max by (tenant) (traceprobe_oldest_in_flight_seconds)").await;
        let beyond = |series: &&Series| {
            UNSEEN.contains(&series.tenant())
                && series.points().iter().all(|(_, age)| *age > GIVE_UP + 2.0 * SLO)
        };
        (oldest.iter().filter(beyond).count() == UNSEEN.len()).then_some(())
    })
    .await;

    let truth = Truth { watched: &watched, unseen: &unseen, prometheus: &prometheus, broken_at };
    truth.the_alert_was_true_for_the_right_tenants_at_the_right_time().await;
    truth.blindness_was_never_counted_as_loss().await;
    truth.the_threshold_bucket_is_the_ratio_that_met_it_at_every_scrape().await;
    truth.no_counter_was_ever_reset().await;
    truth.exemplars_lead_to_the_pages_of_their_traces().await;
    truth.the_shipped_rules_are_loaded_and_healthy().await;
    truth.the_exposition_is_clean_and_says_the_same_in_both_formats().await;
    truth.all_that_rules_and_dashboards_name_is_there().await;
    fs::remove_dir_all(&folder).expect("the test's folder can be removed");
}

/// What is proven once all has happened.
struct Truth<'a> {
    watched: &'a Scene,
    unseen: &'a Scene,
    prometheus: &'a Prometheus,
    broken_at: f64,
}

impl Truth<'_> {
    async fn the_alert_was_true_for_the_right_tenants_at_the_right_time(&self) {
        let until = now();
        let all = self.prometheus.query_range(&alert(), self.watched.began, until).await;
        let times: BTreeMap<&str, Points> =
            all.iter().map(|series| (series.tenant(), series.points())).collect();
        let who: Vec<_> = times.keys().copied().collect();
        let after = |points: &Points| points[0].0 - self.broken_at;
        let after: Vec<_> = times.values().map(after).collect();
        assert_eq!(
            who,
            [LOSING, STALLED],
            "the alert was true for others, or not for these; {after:?} s after"
        );

        let overdue = |(planned, arrived): &&(f64, Option<f64>)| {
            planned + SLO < until && arrived.is_none_or(|at| at > planned + SLO)
        };
        for (tenant, points) in times {
            let first_true = points[0].0;
            let canaries = self.watched.canaries(tenant);
            let first_overdue = canaries.iter().find(overdue).expect("some canaries were overdue").0;
            let took = first_true - first_overdue;
            println!("{tenant}: true {took:.2} s after the injection of the first overdue canary");
            assert!(first_true > self.broken_at, "{tenant}: the alert was true while all was well");
            if tenant == STALLED {
                assert!(took <= SLO + PROMPT, "{tenant}: the alert took {took} s");
            } else {
                let judged =
                    canaries.iter().filter(|(planned, _)| *planned > self.broken_at && planned + SLO < until);
                let judged: Vec<_> = judged.collect();
                let slow = judged.iter().copied().filter(overdue).count();
                let ratio = slow as f64 / judged.len() as f64;
                println!("{tenant}: {slow} of {} missed the threshold", judged.len());
                assert!((0.05..0.5).contains(&ratio), "{tenant}: {ratio} of the canaries were slow");
            }
        }
    }

    async fn blindness_was_never_counted_as_loss(&self) {
        for tenant in UNSEEN {
            let blind = format!("traceprobe_stage_blind{{tenant=\"{tenant}\",stage=\"bigquery\"}}");
            assert_eq!(self.number(&blind).await, 1.0, "{tenant} is not said to be unseen");
            let ended = format!("sum(traceprobe_traces_total{{tenant=\"{tenant}\",outcome!=\"delivered\"}})");
            assert_eq!(self.number(&ended).await, 0.0, "{tenant}");
            let lost = format!("sum(traceprobe_lost_total{{tenant=\"{tenant}\"}})");
            assert_eq!(self.number(&lost).await, 0.0, "{tenant}");
            let late = self.unseen.canaries(tenant).into_iter();
            let late = late.filter(|(planned, at)| at.is_some_and(|at| at > planned + SLO)).count();
            assert_eq!(late, 0, "{tenant}: the sandbox itself was slow, so nothing is proven");
        }
    }

    async fn the_threshold_bucket_is_the_ratio_that_met_it_at_every_scrape(&self) {
        // One instant for all queries, since scrapes go on between them.
        let at = now() - 2.0;
        let met = format!("traceprobe_e2e_latency_seconds_bucket{{le=\"{SLO:?}\"}}");
        for (histogram, counter) in [
            (&*met, "traceprobe_slo_good_traces_total"),
            ("traceprobe_e2e_latency_seconds_count", "traceprobe_slo_traces_total"),
            ("traceprobe_e2e_latency_seconds_bucket{le=\"+Inf\"}", "traceprobe_slo_traces_total"),
        ] {
            let histogram = self.scrapes(histogram, at).await;
            let counter = self.scrapes(counter, at).await;
            assert_eq!(histogram.len(), 6, "one series a tenant");
            assert!(histogram.values().all(|points| points.len() > 10), "{histogram:?}");
            assert_eq!(histogram, counter);
        }
    }

    async fn no_counter_was_ever_reset(&self) {
        let names = self.prometheus.get("label/__name__/values", &[]).await;
        let names: Vec<String> = serde_json::from_value(names).expect("names are texts");
        let counters = names.iter().filter(|name| {
            let counter = ["_total", "_count", "_sum", "_bucket"].iter().any(|end| name.ends_with(end));
            name.starts_with("traceprobe_") && counter
        });
        let mut asked = 0;
        for name in counters {
            assert_eq!(self.number(&format!("sum(resets({name}[10m]))")).await, 0.0, "{name}");
            asked += 1;
        }
        assert!(asked >= 30, "only {asked} counters");
    }

    async fn exemplars_lead_to_the_pages_of_their_traces(&self) {
        let (from, to) = (self.watched.began.to_string(), now().to_string());
        let parameters = [("query", "traceprobe_e2e_latency_seconds_bucket"), ("start", &from), ("end", &to)];
        let found = self.prometheus.get("query_exemplars", &parameters).await;
        let found = found.as_array().expect("exemplars are a list");
        let of: BTreeSet<_> =
            found.iter().map(|series| series["seriesLabels"]["tenant"].to_string()).collect();
        assert_eq!(of.len(), 6, "exemplars of {of:?} only");
        for series in found {
            let last = series["exemplars"].as_array().and_then(|all| all.last()).expect("a series has one");
            let id = last["labels"]["trace_id"].as_str().expect("an exemplar names its trace");
            let scene = if series["seriesLabels"]["instance"] == self.watched.target() {
                self.watched
            } else {
                self.unseen
            };
            let page: Value = serde_json::from_str(
                &scene.daemon.get_as(&format!("/traces/{id}"), "application/json").await,
            )
            .expect("the trace's page is JSON");
            assert_eq!(page["trace"]["tenant"], series["seriesLabels"]["tenant"], "{id}");
        }
    }

    async fn the_shipped_rules_are_loaded_and_healthy(&self) {
        let rules = until("every rule has been evaluated", Duration::from_secs(30), async || {
            let rules = self.rules().await;
            rules.iter().all(|rule| rule["health"] != "unknown").then_some(rules)
        })
        .await;
        assert!(rules.len() > 15, "{} rules", rules.len());
        for rule in rules {
            assert_eq!(rule["health"], "ok", "{rule}");
        }
    }

    async fn the_exposition_is_clean_and_says_the_same_in_both_formats(&self) {
        let plain = self.watched.daemon.get_as("/metrics", "text/plain").await;
        assert_eq!(server::lint(&plain).await, "");
        let open = self.watched.daemon.get_as("/metrics", "application/openmetrics-text").await;
        assert!(open.ends_with("# EOF\n") && !plain.contains("# EOF"));
        assert_eq!(series(&plain), series(&open));
    }

    async fn all_that_rules_and_dashboards_name_is_there(&self) {
        let scrape = self.watched.daemon.get_as("/metrics", "text/plain").await;
        let live = Live::read(&series(&scrape));
        let mut faults = BTreeSet::new();
        for rule in self.rules().await {
            let query = rule["query"].as_str().expect("a rule has a query");
            live.check_groupings(query, &mut faults);
        }
        let mut examined = 0;
        for file in files("config/prometheus", "yml") {
            let text = fs::read_to_string(&file).expect("it can be read");
            examined += live.check(&text, &mut faults);
        }
        for file in files("dashboards/grafana", "json") {
            let text = fs::read_to_string(&file).expect("it can be read");
            let mut texts = Vec::new();
            strings(&serde_json::from_str(&text).expect("a dashboard is JSON"), &mut texts);
            for text in texts {
                let named = live.check(&text, &mut faults);
                examined += named;
                if named > 0 {
                    live.check_groupings(&text, &mut faults);
                }
                live.check_legend(&text, &mut faults);
            }
        }
        assert!(examined > 100, "only {examined} metrics are named");
        assert!(faults.is_empty(), "{faults:#?}");
    }

    async fn number(&self, expression: &str) -> f64 {
        let answer = self.prometheus.query(expression).await;
        let values: Vec<f64> = answer.iter().flat_map(Series::points).map(|(_, value)| value).collect();
        assert_eq!(values.len(), 1, "{expression}: {answer:?}");
        values[0]
    }

    /// The value of each tenant at each scrape before an instant.
    async fn scrapes(&self, selector: &str, at: f64) -> BTreeMap<String, Points> {
        let answer = self.prometheus.query_at(&format!("{selector}[10m]"), at).await;
        answer.iter().map(|series| (series.tenant().to_owned(), series.points())).collect()
    }

    async fn rules(&self) -> Vec<Value> {
        let groups = self.prometheus.get("rules", &[]).await;
        let groups = groups["groups"].as_array().expect("groups are a list");
        groups.iter().flat_map(|group| group["rules"].as_array().cloned().unwrap_or_default()).collect()
    }
}

/// The series of a scrape, without their values.
fn series(scrape: &str) -> BTreeSet<String> {
    let samples = scrape.lines().filter(|line| !line.starts_with('#'));
    let samples = samples.map(|line| line.split(" # ").next().unwrap_or(line));
    samples.filter_map(|line| line.rsplit_once(' ')).map(|(series, _)| series.to_owned()).collect()
}

/// The labels of each metric that there is.
struct Live(BTreeMap<String, BTreeSet<String>>);

impl Live {
    fn read(series: &BTreeSet<String>) -> Live {
        let mut all = BTreeMap::<String, BTreeSet<String>>::new();
        for Named { metric, labels } in series.iter().flat_map(|series| expressions::metrics(series)) {
            all.entry(metric).or_default().extend(labels);
        }
        all.values_mut().for_each(|labels| labels.extend(ADDED.map(str::to_owned)));
        Live(all)
    }

    /// Checks every metric that a text names, and says how many those are.
    fn check(&self, text: &str, faults: &mut BTreeSet<String>) -> usize {
        let named = expressions::metrics(text);
        for Named { metric, labels } in &named {
            match self.0.get(metric) {
                None => drop(faults.insert(format!("there is no {metric}"))),
                Some(known) => faults
                    .extend(labels.difference(known).map(|label| format!("{metric} has no label {label}"))),
            }
        }
        named.len()
    }

    /// Checks that an expression groups and matches by labels of what it names.
    fn check_groupings(&self, expression: &str, faults: &mut BTreeSet<String>) {
        let named = expressions::metrics(expression);
        if named.is_empty() {
            return;
        }
        let known: BTreeSet<_> =
            named.iter().filter_map(|named| self.0.get(&named.metric)).flatten().collect();
        for label in expressions::groupings(expression).iter().filter(|label| !known.contains(label)) {
            faults.insert(format!("nothing has the label {label} in {expression}"));
        }
    }

    fn check_legend(&self, text: &str, faults: &mut BTreeSet<String>) {
        let known: BTreeSet<_> = self.0.values().flatten().collect();
        let unknown = |label: &&String| !known.contains(label) && !OF_ALERTS.contains(&label.as_str());
        for label in expressions::legend(text).iter().filter(unknown) {
            faults.insert(format!("nothing has the label {label} of the legend {text}"));
        }
    }
}

fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let entries = fs::read_dir(&folder).expect("the folder is there");
    let paths = entries.map(|entry| entry.expect("it can be listed").path());
    let found: Vec<_> = paths.filter(|path| path.extension().is_some_and(|it| it == extension)).collect();
    assert!(!found.is_empty(), "nothing in {}", folder.display());
    found
}

/// Every text in a JSON document.
fn strings(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::String(text) => into.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| strings(item, into)),
        Value::Object(fields) => fields.values().for_each(|field| strings(field, into)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
