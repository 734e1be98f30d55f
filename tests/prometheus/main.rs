//! The daemon's metrics in a real Prometheus, while the pipeline is healthy, stalled, losing events, or
//! cannot be read.
//!
//! The alert is the plain P95 rule, with a shorter threshold and window, and the daemon's SLO to match. The
//! sandbox knows what truly happened to every canary, so the time at which the alert becomes true can be
//! compared with the time at which it should.

mod dashboards;
mod expressions;
#[expect(dead_code, reason = "the test of the chain uses the rest")]
mod server;
#[path = "../support/mod.rs"]
mod support;
mod web_file;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use self::expressions::Named;
use self::server::{Points, Prometheus, Series};
use self::support::daemon::Daemon;
use serde_json::Value;
use traceprobe::config::Config;
use traceprobe::daemon::clock;
use traceprobe::sandbox::{
    Access, Distribution, Fault, Pace, Sandbox, Service, ServiceEffect, Settings, Stage, StageEffect,
    TenantSpec,
};

/// The alert in production. [`alert`] shortens its threshold and window.
const ALERT: &str =
    "histogram_quantile(0.95, sum by (le, tenant) (rate(traceprobe_e2e_latency_seconds_bucket[1m]))) > 30";
const SLO: f64 = 5.0;
const WINDOW: &str = "15s";
/// Seconds within which the alert must be true after the first overdue canary passed the threshold.
const ALERT_WITHIN: f64 = 5.0;
/// Seconds after which canaries of a blind end stage would be lost if blindness counted as absence.
const GIVE_UP: f64 = 15.0;

const STALLED: &str = "stalled";
const LOSING: &str = "losing";
const HEALTHY: [&str; 2] = ["well-one", "well-two"];
const UNSEEN: [&str; 2] = ["unseen-one", "unseen-two"];

/// Labels of the series that Prometheus creates for alerts.
const ALERT_LABELS: [&str; 1] = ["alertname"];
/// Labels that Prometheus adds to every scraped series.
const SCRAPE_LABELS: [&str; 2] = ["instance", "job"];

fn alert() -> String {
    ALERT.replace("> 30", &format!("> {SLO}")).replace("[1m]", &format!("[{WINDOW}]"))
}

/// Seconds since the epoch, by the clock that all programs of the test share.
fn now() -> f64 {
    clock::system().now().as_secs_f64()
}

/// Calls `poll` until it returns a value.
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

/// A pipeline and its daemon.
struct Scene {
    sandbox: Sandbox,
    daemon: Daemon,
    config: Config,
    began: f64,
}

impl Scene {
    async fn set(folder: &Path, name: &str, tenants: &[&str], interval: &str, give_up: &str) -> Scene {
        let hop = |min_ms, max_ms| Distribution::Uniform { min_ms, max_ms };
        let pace = Pace { export: hop(100.0, 400.0), transfer: hop(100.0, 400.0), ..Pace::brisk() };
        let specs = tenants.iter().enumerate().map(|(index, name)| TenantSpec::named(name, index));
        let settings = Settings { tenants: specs.collect(), pace, ..Settings::brisk(7, 0) };
        let sandbox = Sandbox::start(settings).await.expect("cannot start the sandbox");
        let file = folder.join(format!("{name}.toml"));
        fs::write(&file, configuration(&sandbox, interval, give_up)).expect("cannot write the configuration");
        let began = now();
        let key = ("TRACEPROBE_TAG_KEY".to_owned(), "the key of these tests: 0123456789".to_owned());
        let config = Config::load(&file, [key.clone()]).unwrap_or_else(|faults| panic!("{faults}"));
        let daemon = Daemon::start(&file, [key]).await;
        Scene { sandbox, daemon, config, began }
    }

    fn target(&self) -> &str {
        self.daemon.address().trim_start_matches("http://")
    }

    /// The planned injection of each canary of a tenant, in order, and its true arrival at the table.
    fn canaries(&self, tenant: &str) -> Vec<(f64, Option<f64>)> {
        let truth = self.sandbox.truth().into_iter().filter(|record| record.tenant == tenant);
        let mut canaries: Vec<_> = truth
            .map(|record| {
                // In the tag, the trace id follows the marker and the version. Its first 48 bits are the
                // planned injection in ms.
                let millis = u64::from_str_radix(&record.token[5..17], 16).expect("an id is hexadecimal");
                let arrived = record.arrived(Stage::Bigquery).map(|at| at.0 as f64 / 1e6);
                (millis as f64 / 1e3, arrived)
            })
            .collect();
        canaries.sort_by(|one, other| one.0.total_cmp(&other.0));
        canaries
    }
}

fn configuration(sandbox: &Sandbox, interval: &str, give_up: &str) -> String {
    let probe = format!(
        r#"listen = "127.0.0.1:0"
interval = "{interval}"
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

/// A server that scrapes these addresses every second, with the shipped rules.
fn server(folder: &Path, targets: &[&str]) -> Value {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/prometheus/rules.yml");
    let shipped = fs::read_to_string(shipped).expect("the rules can be read");
    // Groups with windows of days are evaluated every few minutes, for which no test can wait.
    let at_once: Vec<&str> = shipped.lines().filter(|line| !line.starts_with("    interval: ")).collect();
    let rules = folder.join("rules.yml");
    fs::write(&rules, at_once.join("\n")).expect("cannot write rules.yml");
    serde_json::json!({
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": [rules],
        "scrape_configs": [{"job_name": "traceprobe", "static_configs": [{"targets": targets}]}],
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_prometheus_shows_the_truth() {
    let folder =
        PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("prometheus-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("cannot create the folder of the test");
    let watched =
        Scene::set(&folder, "watched", &[&[STALLED, LOSING][..], &HEALTHY].concat(), "500ms", "2m").await;
    let unseen = Scene::set(&folder, "unseen", &UNSEEN, "500ms", &format!("{GIVE_UP}s")).await;
    let prometheus = Prometheus::start(&folder, &server(&folder, &[watched.target(), unseen.target()])).await;

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

    until("the alert is true for the stalled and the losing tenant", Duration::from_secs(45), async || {
        let firing = prometheus.query(&alert()).await;
        let firing: BTreeSet<&str> = firing.iter().map(Series::tenant).collect();
        (firing.contains(STALLED) && firing.contains(LOSING)).then_some(())
    })
    .await;
    until("the end stage was blind for longer than the deadline", Duration::from_secs(60), async || {
        let oldest = prometheus.query("max by (tenant) (traceprobe_oldest_in_flight_seconds)").await;
        let beyond = |series: &&Series| {
            UNSEEN.contains(&series.tenant())
                && series.points().iter().all(|(_, age)| *age > GIVE_UP + 2.0 * SLO)
        };
        (oldest.iter().filter(beyond).count() == UNSEEN.len()).then_some(())
    })
    .await;

    let truth = Truth { watched: &watched, unseen: &unseen, prometheus: &prometheus, broken_at };
    truth.alert_is_true_for_the_right_tenants_in_time().await;
    truth.blindness_is_not_counted_as_loss().await;
    truth.threshold_bucket_equals_the_good_traces_at_every_scrape().await;
    truth.no_counter_is_reset().await;
    truth.exemplars_name_traces_that_have_a_page().await;
    truth.shipped_rules_are_loaded_and_healthy().await;
    truth.exposition_is_clean_and_both_formats_agree().await;
    truth.rules_and_dashboards_name_only_existing_metrics().await;
    truth.every_panel_has_data_and_a_misnamed_metric_has_none().await;
    drop((prometheus, watched, unseen));
    panels_of_fifty_tenants_have_data_and_few_lines(&folder).await;
    fs::remove_dir_all(&folder).expect("cannot remove the folder of the test");
}

/// A pipeline of fifty tenants, in a Prometheus of its own: canaries of fifty would disturb what is measured above.
async fn panels_of_fifty_tenants_have_data_and_few_lines(folder: &Path) {
    let names: Vec<String> = (0..50).map(|number| format!("tenant-{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let scene = Scene::set(folder, "fifty", &names, "4s", "2m").await;
    let own = folder.join("fifty");
    fs::create_dir_all(&own).expect("cannot create the folder of the second server");
    let prometheus = Prometheus::start(&own, &server(&own, &[scene.target()])).await;
    until("a canary of each tenant is judged", Duration::from_secs(60), async || {
        let judged = prometheus.query("increase(traceprobe_e2e_latency_seconds_count[20s]) > 0").await;
        (judged.len() == names.len()).then_some(())
    })
    .await;
    let faults = dashboards::faults(&prometheus, &dashboards::panels(&scene.config), names[7], now()).await;
    assert!(faults.is_empty(), "{faults:#?}");
}

/// The checks after the scenario.
struct Truth<'a> {
    watched: &'a Scene,
    unseen: &'a Scene,
    prometheus: &'a Prometheus,
    broken_at: f64,
}

impl Truth<'_> {
    async fn alert_is_true_for_the_right_tenants_in_time(&self) {
        let until = now();
        let all = self.prometheus.query_range(&alert(), self.watched.began, until).await;
        let times: BTreeMap<&str, Points> =
            all.iter().map(|series| (series.tenant(), series.points())).collect();
        let firing: Vec<_> = times.keys().copied().collect();
        let after = |points: &Points| points[0].0 - self.broken_at;
        let after: Vec<_> = times.values().map(after).collect();
        assert_eq!(
            firing,
            [LOSING, STALLED],
            "the alert was true for the wrong tenants, {after:?} s after the faults began"
        );

        let overdue = |(planned, arrived): &&(f64, Option<f64>)| {
            planned + SLO < until && arrived.is_none_or(|at| at > planned + SLO)
        };
        for (tenant, points) in times {
            let first_true = points[0].0;
            let canaries = self.watched.canaries(tenant);
            let first_overdue = canaries.iter().find(overdue).expect("canaries are overdue").0;
            let took = first_true - first_overdue;
            println!("{tenant}: true {took:.2} s after the injection of the first overdue canary");
            assert!(first_true > self.broken_at, "{tenant}: the alert was true before the fault");
            if tenant == STALLED {
                assert!(took <= SLO + ALERT_WITHIN, "{tenant}: the alert took {took} s");
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

    async fn blindness_is_not_counted_as_loss(&self) {
        for tenant in UNSEEN {
            let blind = format!("traceprobe_stage_blind{{tenant=\"{tenant}\",stage=\"bigquery\"}}");
            assert_eq!(self.number(&blind).await, 1.0, "the end stage of {tenant} is not blind");
            let ended = format!("sum(traceprobe_traces_total{{tenant=\"{tenant}\",outcome!=\"delivered\"}})");
            assert_eq!(self.number(&ended).await, 0.0, "{tenant}");
            let lost = format!("sum(traceprobe_lost_total{{tenant=\"{tenant}\"}})");
            assert_eq!(self.number(&lost).await, 0.0, "{tenant}");
            let late = self.unseen.canaries(tenant).into_iter();
            let late = late.filter(|(planned, at)| at.is_some_and(|at| at > planned + SLO)).count();
            assert_eq!(late, 0, "{tenant}: the sandbox was slow, so nothing is proven");
        }
    }

    async fn threshold_bucket_equals_the_good_traces_at_every_scrape(&self) {
        // All queries use one instant, because scrapes continue between them.
        let at = now() - 2.0;
        let met = format!("traceprobe_e2e_latency_seconds_bucket{{le=\"{SLO:?}\"}}");
        for (histogram, counter) in [
            (&*met, "traceprobe_slo_good_traces_total"),
            ("traceprobe_e2e_latency_seconds_count", "traceprobe_slo_traces_total"),
            ("traceprobe_e2e_latency_seconds_bucket{le=\"+Inf\"}", "traceprobe_slo_traces_total"),
        ] {
            let histogram = self.scrapes(histogram, at).await;
            let counter = self.scrapes(counter, at).await;
            assert_eq!(histogram.len(), 6, "there is not one series per tenant");
            assert!(histogram.values().all(|points| points.len() > 10), "{histogram:?}");
            assert_eq!(histogram, counter);
        }
    }

    async fn no_counter_is_reset(&self) {
        let names = self.prometheus.get("label/__name__/values", &[]).await;
        let names: Vec<String> = serde_json::from_value(names).expect("names are strings");
        let counters = names.iter().filter(|name| {
            let counter = ["_total", "_count", "_sum", "_bucket"].iter().any(|end| name.ends_with(end));
            name.starts_with("traceprobe_") && counter
        });
        let mut checked = 0;
        for name in counters {
            assert_eq!(self.number(&format!("sum(resets({name}[10m]))")).await, 0.0, "{name}");
            checked += 1;
        }
        assert!(checked >= 30, "only {checked} counters were checked");
    }

    async fn exemplars_name_traces_that_have_a_page(&self) {
        let (from, to) = (self.watched.began.to_string(), now().to_string());
        let parameters = [("query", "traceprobe_e2e_latency_seconds_bucket"), ("start", &from), ("end", &to)];
        let found = self.prometheus.get("query_exemplars", &parameters).await;
        let found = found.as_array().expect("exemplars are a list");
        let of: BTreeSet<_> =
            found.iter().map(|series| series["seriesLabels"]["tenant"].to_string()).collect();
        assert_eq!(of.len(), 6, "exemplars only of {of:?}");
        for series in found {
            let last =
                series["exemplars"].as_array().and_then(|all| all.last()).expect("a series has an exemplar");
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

    async fn shipped_rules_are_loaded_and_healthy(&self) {
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

    async fn exposition_is_clean_and_both_formats_agree(&self) {
        let plain = self.watched.daemon.get_as("/metrics", "text/plain").await;
        assert_eq!(server::lint(&plain).await, "");
        let open = self.watched.daemon.get_as("/metrics", "application/openmetrics-text").await;
        assert!(open.ends_with("# EOF\n") && !plain.contains("# EOF"));
        assert_eq!(series(&plain), series(&open));
    }

    async fn rules_and_dashboards_name_only_existing_metrics(&self) {
        let scrape = self.watched.daemon.get_as("/metrics", "text/plain").await;
        let live = Live::read(&series(&scrape));
        let mut faults = BTreeSet::new();
        for rule in self.rules().await {
            let query = rule["query"].as_str().expect("a rule has a query");
            live.check_groupings(query, &mut faults);
        }
        let mut examined = 0;
        for file in files("config/prometheus", "yml") {
            let text = fs::read_to_string(&file).expect("the file can be read");
            examined += live.check(&text, &mut faults);
        }
        for panel in dashboards::panels(&shipped()) {
            for dashboards::PanelQuery { expr, legend } in &panel.queries {
                examined += live.check(expr, &mut faults);
                live.check_groupings(expr, &mut faults);
                live.check_legend(legend, &mut faults);
            }
        }
        assert!(examined > 100, "only {examined} metrics were found");
        assert!(faults.is_empty(), "{faults:#?}");
    }

    async fn every_panel_has_data_and_a_misnamed_metric_has_none(&self) {
        let mut panels = dashboards::panels(&self.watched.config);
        let faults = dashboards::faults(self.prometheus, &panels, LOSING, now()).await;
        assert!(faults.is_empty(), "{faults:#?}");
        let expr = &mut panels[0].queries[0].expr;
        *expr = "sum(increase(traceprobe_lost_traces_total[1m]))".to_owned();
        let faults = dashboards::faults(self.prometheus, &panels[..1], LOSING, now()).await;
        assert!(matches!(faults.as_slice(), [one] if one.contains("no data")), "{faults:#?}");
    }

    async fn number(&self, expression: &str) -> f64 {
        let answer = self.prometheus.query(expression).await;
        let values: Vec<f64> = answer.iter().flat_map(Series::points).map(|(_, value)| value).collect();
        assert_eq!(values.len(), 1, "{expression}: {answer:?}");
        values[0]
    }

    /// The value at each scrape before `at`, by tenant.
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

/// The series of a scrape, without values.
fn series(scrape: &str) -> BTreeSet<String> {
    let samples = scrape.lines().filter(|line| !line.starts_with('#'));
    let samples = samples.map(|line| line.split(" # ").next().unwrap_or(line));
    samples.filter_map(|line| line.rsplit_once(' ')).map(|(series, _)| series.to_owned()).collect()
}

/// The labels of each metric that the daemon exposes.
struct Live(BTreeMap<String, BTreeSet<String>>);

impl Live {
    fn read(series: &BTreeSet<String>) -> Live {
        let mut all = BTreeMap::<String, BTreeSet<String>>::new();
        for Named { metric, labels } in series.iter().flat_map(|series| expressions::metrics(series)) {
            all.entry(metric).or_default().extend(labels);
        }
        all.values_mut().for_each(|labels| labels.extend(SCRAPE_LABELS.map(str::to_owned)));
        Live(all)
    }

    /// Checks every metric that a text names. Returns their number.
    fn check(&self, text: &str, faults: &mut BTreeSet<String>) -> usize {
        let named = expressions::metrics(text);
        for Named { metric, labels } in &named {
            match self.0.get(metric) {
                None => drop(faults.insert(format!("{metric} does not exist"))),
                Some(known) => faults
                    .extend(labels.difference(known).map(|label| format!("{metric} has no label {label}"))),
            }
        }
        named.len()
    }

    /// Checks that an expression groups and matches by labels of its metrics.
    fn check_groupings(&self, expression: &str, faults: &mut BTreeSet<String>) {
        let named = expressions::metrics(expression);
        if named.is_empty() {
            return;
        }
        let known: BTreeSet<_> =
            named.iter().filter_map(|named| self.0.get(&named.metric)).flatten().collect();
        for label in expressions::groupings(expression).iter().filter(|label| !known.contains(label)) {
            faults.insert(format!("no metric has the label {label} in {expression}"));
        }
    }

    fn check_legend(&self, text: &str, faults: &mut BTreeSet<String>) {
        let known: BTreeSet<_> = self.0.values().flatten().collect();
        let unknown = |label: &&String| !known.contains(label) && !ALERT_LABELS.contains(&label.as_str());
        for label in expressions::legend(text).iter().filter(unknown) {
            faults.insert(format!("no metric has the label {label} of the legend {text}"));
        }
    }
}

fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let entries = fs::read_dir(&folder).expect("the folder exists");
    let paths = entries.map(|entry| entry.expect("the folder can be listed").path());
    let found: Vec<_> = paths.filter(|path| path.extension().is_some_and(|it| it == extension)).collect();
    assert!(!found.is_empty(), "no files in {}", folder.display());
    found
}

/// The configuration whose rules and dashboards are shipped.
fn shipped() -> Config {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/traceprobe.toml");
    let key = ("TRACEPROBE_TAG_KEY".to_owned(), "the key of these tests: 0123456789".to_owned());
    Config::load(&file, [key]).unwrap_or_else(|faults| panic!("{faults}"))
}
