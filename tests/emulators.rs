//! The daemon in front of a log pipeline on third-party emulators: MiniStack for AWS, fake-gcs-server for
//! Cloud Storage and bqemulator for BigQuery, with real subscription filters, functions, event source
//! mappings and SQL between them. `tests/emulators/README.md` describes it and how to run it by hand.
//!
//! The pipeline records when each canary arrived at each stage, so these tests can check the daemon's
//! intervals.

#[path = "emulators/canary_faults.rs"]
mod canary_faults;
#[path = "emulators/fan_out.rs"]
mod fan_out;
#[path = "emulators/formats.rs"]
mod formats;
#[path = "emulators/identity.rs"]
mod identity;
#[path = "emulators/letters.rs"]
mod letters;
#[path = "emulators/load.rs"]
mod load;
#[path = "emulators/recipes.rs"]
mod recipes;
#[path = "emulators/statements.rs"]
mod statements;
// The path is explicit for rustfmt, which would look in the folder `emulators`.
#[path = "emulators/otlp.rs"]
mod otlp;
#[path = "support/mod.rs"]
mod support;
#[path = "emulators/tables.rs"]
mod tables;
#[path = "emulators/usage.rs"]
mod usage;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use support::daemon::Daemon;
use support::page::{Arrival, Recent, Trace};
use support::pipeline::{About, Action, Between, Pipeline, Tenant, Truth};
use traceprobe::cloud::calls::Calls;
use traceprobe::config::Config;
use traceprobe::daemon::{build, clock};
use traceprobe::domain::canary::Integrity;
use traceprobe::domain::sighting::{Wanted, WantedTrace};
use traceprobe::domain::tag::{InstanceCode, Purpose, Tag, TraceId};
use traceprobe::observe::{Site, SourceSettings, gcs};

const TENANTS: usize = 2;
const CANARIES: usize = 100;
const SIZES: [u64; 5] = [100, 500, 1_000, 5_000, 10_000];
const STAGES: [&str; 5] = ["tenant_stream", "archive", "transit", "transfer", "bigquery"];
/// All programs read one clock. Stamps in whole ms are truncated by the writer and widened by 1 ms by the
/// reader.
const CLOCK_ALLOWANCE_US: i64 = 2_000;
/// 5 s.
const RECORDED_WITHIN_POLLS: usize = 50;
const OUTAGE: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn the_arrivals_of_a_hundred_canaries_are_true() {
    let scene = Scene::set("truth").await;
    let daemon = scene.start_daemon().await;

    let enough = |recent: &Recent| recent.ended("delivered") >= CANARIES;
    let recent = daemon.until("a hundred canaries are delivered", Duration::from_secs(150), enough).await;
    let metrics = daemon.metrics().await;

    for outcome in ["late", "lost", "dead_lettered", "unobserved", "refused"] {
        assert_eq!(metrics.sum("traceprobe_traces_total", &[("outcome", outcome)]), 0.0, "{outcome}");
    }
    for fault in [
        "traceprobe_lost_total",
        "traceprobe_duplicates_total",
        "traceprobe_corrupted_total",
        "traceprobe_isolation_violations_total",
        "traceprobe_foreign_tags_total",
        "traceprobe_clock_inversions_total",
    ] {
        assert_eq!(metrics.sum(fault, &[]), 0.0, "{fault}");
    }
    let delivered: Vec<&Trace> = recent.traces.iter().filter(|trace| trace.outcome == "delivered").collect();
    assert!(metrics.sum("traceprobe_traces_total", &[("outcome", "delivered")]) >= delivered.len() as f64);

    let kinds: BTreeSet<(&str, u64)> =
        delivered.iter().map(|trace| (trace.tenant.as_str(), trace.size_bytes)).collect();
    assert_eq!(kinds.len(), TENANTS * SIZES.len(), "not every tenant had every size: {kinds:?}");

    let truth = scene.truth_of(&delivered).await;
    let mut faults = Vec::new();
    let mut checked = BTreeMap::new();
    for trace in &delivered {
        faults.extend(wrong_arrivals(trace, &truth, &mut checked));
    }
    assert!(faults.is_empty(), "{} of {checked:?} arrivals are wrong:\n{}", faults.len(), faults.join("\n"));
    // A side stage may be polled after the delivery.
    let seen = delivered.iter().filter(|trace| trace.stage("export_log").presence == "seen").count();
    assert!(seen * 10 >= delivered.len() * 9, "only {seen} arrivals in the log of the export");
    for stage in STAGES {
        let count = checked.get(stage).copied().unwrap_or(0);
        assert!(count * 10 >= delivered.len() * 9, "only {count} arrivals at {stage}");
    }
    let found = scene.read_cloud_storage_in_pages_of(7, &delivered).await;
    for trace in &delivered {
        assert_eq!(found.get(&trace.id), Some(&1), "{} in pages of seven objects", trace.id);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_bigquery_is_blindness_and_not_loss() {
    let mut scene = Scene::set("outage").await;
    let daemon = scene.start_daemon().await;
    daemon
        .until("ten canaries are delivered", Duration::from_secs(60), |recent| {
            recent.ended("delivered") >= 10
        })
        .await;

    scene.pipeline.execute(Action::StopBigQuery).await;
    tokio::time::sleep(OUTAGE).await;
    let during = daemon.recent().await;
    let metrics = daemon.metrics().await;
    let age = metrics.values("traceprobe_observer_watermark_age_seconds", &[("stage", "bigquery")]);
    assert!(age.iter().any(|age| *age > 15.0), "the watermark of the end stage did not age: {age:?}");
    assert_eq!(metrics.sum("traceprobe_stage_blind", &[("stage", "bigquery")]), TENANTS as f64);
    assert_eq!(metrics.sum("traceprobe_stage_blind", &[]), TENANTS as f64, "a readable stage is blind");
    let source = during.source("bigquery", "shared");
    assert_eq!(source.state, "blind", "{source:?}");
    assert!(source.reason.is_some());
    assert_eq!(metrics.sum("traceprobe_traces_total", &[("outcome", "lost")]), 0.0);
    let waiting: BTreeSet<&str> = during.in_flight().map(|trace| trace.id.as_str()).collect();
    assert!(waiting.len() >= 10, "only {} canaries wait", waiting.len());

    scene.pipeline.execute(Action::StartBigQuery).await;
    let all_ended = |recent: &Recent| !recent.in_flight().any(|trace| waiting.contains(trace.id.as_str()));
    let after = daemon.until("all waiting canaries have ended", Duration::from_secs(60), all_ended).await;
    for trace in after.traces.iter().filter(|trace| waiting.contains(trace.id.as_str())) {
        assert_eq!(trace.outcome, "delivered", "{}", trace.id);
    }
    let metrics = daemon.metrics().await;
    for outcome in ["late", "lost", "unobserved"] {
        assert_eq!(metrics.sum("traceprobe_traces_total", &[("outcome", outcome)]), 0.0, "{outcome}");
    }
    assert_eq!(metrics.sum("traceprobe_duplicates_total", &[]), 0.0);
    let arrived: Vec<&Trace> = after.traces.iter().collect();
    let truth = scene.truth_of(&arrived).await;
    let faults: Vec<String> =
        after.traces.iter().flat_map(|trace| wrong_arrivals(trace, &truth, &mut BTreeMap::new())).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_group_that_loses_its_filter_is_named_and_the_others_go_on() {
    let mut scene = Scene::set("log-groups").await;
    let acme = &scene.pipeline.about.tenants[0];
    let (silent, all) = (acme.log_groups[1].clone(), acme.log_groups.clone());
    scene.use_log_groups("acme", &all);
    let (code, canaries) = scene.send_canaries(&["--timeout", "60s"]).await;
    assert_eq!(code, Some(0), "{canaries:#?}");
    assert_eq!(canaries.len(), all.len() + 1, "one for each log group: {canaries:#?}");
    // So that a canary is soon overdue.
    scene.set_probe("slo", "10s");
    let daemon = scene.start_daemon().await;
    let through_all = |recent: &Recent| {
        let delivered = recent.of("acme").filter(|trace| trace.outcome == "delivered");
        let groups: BTreeSet<_> = delivered.filter_map(|trace| trace.log_group.as_deref()).collect();
        groups.len() == all.len()
    };
    daemon.until("a canary of every log group is delivered", Duration::from_secs(60), through_all).await;

    scene.pipeline.execute(Action::RemoveFilter).await;
    let (code, canaries) = scene.send_canaries(&["--tenant", "acme", "--timeout", "20s"]).await;
    assert_eq!(code, Some(3), "{canaries:#?}");
    for canary in &canaries {
        let outcome = if canary["log_group"] == silent.as_str() { "missing" } else { "delivered" };
        assert_eq!(canary["outcome"], outcome, "{canary:#}");
    }
    let is_told = |recent: &Recent| recent.conditions.iter().any(|it| it.condition == "stuck");
    let recent = daemon.until("the silent log group is told", Duration::from_secs(90), is_told).await;
    for problem in recent.conditions.iter().filter(|it| it.severity != "note") {
        assert_eq!(problem.tenant.as_deref(), Some("acme"), "{problem:?}");
        assert_eq!(problem.log_groups, std::slice::from_ref(&silent), "{problem:?}");
        assert!(problem.text.contains(&silent), "{problem:?}");
    }
    let waiting = |group: &str| recent.of("acme").filter(|it| it.log_group.as_deref() == Some(group)).count();
    assert!(all.iter().all(|group| waiting(group) > 0));
    let overdue = recent.of("acme").filter(|trace| trace.judgement == "overdue");
    assert!(overdue.into_iter().all(|trace| trace.log_group.as_deref() == Some(silent.as_str())));
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_exits_with_0_and_names_the_canaries_in_flight() {
    let mut scene = Scene::set("sigterm").await;
    let daemon = scene.start_daemon().await;
    daemon
        .until("a canary is delivered", Duration::from_secs(60), |recent| recent.ended("delivered") >= 1)
        .await;

    // Nothing is delivered without the end stage, so canaries stay in flight.
    scene.pipeline.execute(Action::StopBigQuery).await;
    let some_wait = |recent: &Recent| recent.in_flight().count() >= 5;
    let recent = daemon.until("five canaries are in flight", Duration::from_secs(60), some_wait).await;
    let (status, printed) = daemon.terminate(STOP_GRACE + Duration::from_secs(10)).await;

    assert_eq!(status.code(), Some(0), "{printed}");
    for trace in recent.in_flight() {
        let id = &trace.id;
        assert!(printed.contains(id), "{id} was in flight and is not named in: {printed}");
    }
}

const STOP_GRACE: Duration = Duration::from_secs(3);

/// The pipeline, and the daemon's configuration for it.
struct Scene {
    pipeline: Pipeline,
    config: PathBuf,
    _lock: File,
}

impl Scene {
    async fn set(name: &str) -> Scene {
        let lock = one_at_a_time().await;
        let pipeline = Pipeline::start(name, TENANTS).await;
        let config = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("emulators-{name}.toml"));
        std::fs::write(&config, configuration(&pipeline.about)).expect("cannot write the configuration");
        Scene { pipeline, config, _lock: lock }
    }

    /// The pipeline records an arrival after it has been acknowledged, and the daemon may see it before that.
    /// So this waits a little for the records of the arrivals that these traces show.
    async fn truth_of(&self, traces: &[&Trace]) -> Truth {
        let knows_all = |truth: &Truth| {
            let mut arrivals = traces.iter().flat_map(|trace| recorded(trace).map(move |at| (trace, at)));
            arrivals.all(|(trace, arrival)| !truth.of(&trace.id, arrival.stage).is_empty())
        };
        let mut polls = tokio::time::interval(Duration::from_millis(100));
        for _ in 0..RECORDED_WITHIN_POLLS {
            polls.tick().await;
            let truth = self.pipeline.truth();
            if knows_all(&truth) {
                return truth;
            }
        }
        // The caller reports what is missing.
        self.pipeline.truth()
    }

    /// Polls the Cloud Storage bucket once, in small pages. Returns the number of intact copies by trace.
    async fn read_cloud_storage_in_pages_of(&self, page: u32, traces: &[&Trace]) -> HashMap<String, usize> {
        let config = Config::load(&self.config, self.variables()).expect("the daemon has read it");
        let topology = config.topology();
        let recognizer = build::recognizer(&config.keyring, &topology);
        let clients = build::clients(&config.aws, &config.google, Calls::default())
            .await
            .expect("the daemon made them");
        let clock = clock::system().wall();
        let ids = traces.iter().filter_map(|trace| TraceId::parse(&trace.id));
        let trace = ids.min().expect("there are traces");
        // The poll waits for a canary that does not exist, planned with the oldest of them, so it reads from
        // there on.
        let (tenant, instance) = (topology.tenants()[0].code, InstanceCode::of("absent"));
        let tag = Tag::new(trace, tenant, instance, 100, Purpose::Check);
        let waiting = [WantedTrace { tag, planned_at: trace.planned_at() }];
        let wanted = Wanted { waiting: waiting.into(), ..Wanted::default() };
        let (id, rhythm, gcs) = topology
            .source_ids()
            .zip(&config.sources)
            .find_map(|(id, source)| match &source.settings {
                SourceSettings::Gcs(gcs) => Some((id, source.rhythm, gcs)),
                _ => None,
            })
            .expect("a stage is in Cloud Storage");
        let settings = SourceSettings::Gcs(gcs::Settings { page, ..gcs::Settings::clone(gcs) }.into());
        let site = Site {
            topology: &topology,
            source: id,
            rhythm,
            clients: &clients,
            recognizer: &recognizer,
            clock: &clock,
        };
        let poll = settings.poll_once(&site, &wanted).await.expect("the client was made");
        let poll = poll.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((poll.watermark, poll.stats.decode_errors), (Some(poll.started), 0));
        let pages = clients.google.as_ref().expect("it was made").calls().snapshot();
        let pages =
            pages.iter().find(|(_, operation, ..)| operation == "objects.list").map_or(0, |call| call.3);
        let objects = poll.stats.records;
        assert!(pages >= objects / u64::from(page), "{objects} objects on {pages} pages");
        assert!(objects > u64::from(page) * 2, "{objects} objects make no pages of {page}");
        let mut copies = HashMap::new();
        let mut names = BTreeSet::new();
        for seen in poll.sightings {
            assert_eq!(seen.integrity, Integrity::Intact, "{}", seen.locator);
            names.insert(seen.locator.to_string());
            *copies.entry(seen.tag.trace.to_string()).or_insert(0) += 1;
        }
        for odd in [" ", "%"] {
            assert!(names.iter().any(|name| name.contains(odd)), "no name has a {odd:?}: {names:?}");
        }
        copies
    }

    fn set_probe(&self, key: &str, value: &str) {
        let text = std::fs::read_to_string(&self.config).expect("it was written");
        let mut config: toml::Table = text.parse().expect("it is TOML");
        let probe = config["probe"].as_table_mut().expect("it has a section");
        probe.insert(key.to_owned(), value.into());
        std::fs::write(&self.config, config.to_string()).expect("it was written before");
    }

    /// Lets a tenant have these log groups, without a stage that would show only one of them.
    fn use_log_groups(&self, name: &str, log_groups: &[String]) {
        let text = std::fs::read_to_string(&self.config).expect("it was written");
        let mut config: toml::Table = text.parse().expect("it is TOML");
        let tables = |table: Option<&mut toml::Value>| {
            let list = table.and_then(toml::Value::as_array_mut).expect("there are some");
            std::mem::take(list).into_iter().filter_map(|it| it.as_table().cloned()).collect::<Vec<_>>()
        };
        let mut stages = tables(config.get_mut("stage"));
        stages.retain(|stage| stage["kind"].as_str() != Some("cloudwatch_logs"));
        let mut tenants = tables(config.get_mut("tenant"));
        for tenant in &mut tenants {
            tenant.remove("stage");
            if tenant["name"].as_str() == Some(name) {
                tenant.remove("log_group");
                tenant.insert("log_groups".to_owned(), log_groups.to_vec().into());
            }
        }
        config.insert("stage".to_owned(), stages.into());
        config.insert("tenant".to_owned(), tenants.into());
        std::fs::write(&self.config, config.to_string()).expect("it was written before");
    }

    /// Runs `check --canary --json`. Returns its exit code and what became of each canary.
    async fn send_canaries(&self, arguments: &[&str]) -> (Option<i32>, Vec<serde_json::Value>) {
        let check = tokio::process::Command::new(env!("CARGO_BIN_EXE_traceprobe"))
            .args(["check", "--canary", "--json", "--config", self.config.to_str().expect("it is Unicode")])
            .args(arguments)
            .env_clear()
            .envs(self.variables())
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(Duration::from_secs(90), check).await.expect("check does not end");
        let output = output.expect("it can be started");
        let said: serde_json::Value = serde_json::from_slice(&output.stdout).expect("it prints JSON");
        let canaries = said["canaries"].as_array().cloned().unwrap_or_else(|| panic!("{said:#}"));
        (output.status.code(), canaries)
    }

    async fn start_daemon(&self) -> Daemon {
        Daemon::start(&self.config, self.variables()).await
    }

    fn variables(&self) -> impl Iterator<Item = (String, String)> + use<> {
        variables(&self.pipeline.about.credentials)
    }
}

/// The environment of the daemon.
fn variables(credentials: &HashMap<String, String>) -> impl Iterator<Item = (String, String)> + use<> {
    let fixed = [
        ("TRACEPROBE_TAG_KEY", "a key that only the tests know: 0123456789"),
        // Hides the machine's own credentials.
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("AWS_CONFIG_FILE", "/dev/null"),
        ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"),
    ];
    let fixed = fixed.map(|(key, value)| (key.to_owned(), value.to_owned()));
    fixed.into_iter().chain(credentials.clone())
}

/// Two pipelines at once on a small machine would slow each other down. A file lock also works with a test
/// runner that gives each test its own process.
async fn one_at_a_time() -> File {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("emulators.lock");
    let file = File::create(path).expect("cannot make the lock file");
    let lock = move || file.lock().map(|()| file);
    tokio::task::spawn_blocking(lock).await.expect("locking cannot panic").expect("cannot lock")
}

/// With two tenants at this interval, a hundred canaries are planned in a minute.
fn configuration(about: &About) -> String {
    let About { aws_endpoint, bigquery_endpoint, region, stream, table, .. } = about;
    let About { archive_bucket, archive_key, transit_bucket, transit_key, .. } = about;
    let About { gcs_endpoint, transfer_bucket, transfer_key, .. } = about;
    let About { export_log_group, id_column, time_column, tenant_column, .. } = about;
    let stop_grace = STOP_GRACE.as_secs();
    let mut text = format!(
        r#"
[probe]
listen = "127.0.0.1:0"
instance = "test"
interval = "1200ms"
blind_after = "5s"
stop_grace = "{stop_grace}s"

[canary]
sizes = ["100B", "500B", "1KB", "5KB", "10KB"]

[aws]
region = "{region}"
endpoint = "{aws_endpoint}"

[gcp]
endpoint = "{bigquery_endpoint}"
auth = "none"
endpoints = {{ gcs = "{gcs_endpoint}" }}

[[stage]]
name = "export_log"
kind = "cloudwatch_logs"
log_group = "{export_log_group}"
interval = "2s"
settle = "500ms"
# What FilterLogEvents of MiniStack takes for a substring; the default is for AWS.
filter_pattern = "zqtp"

[[stage]]
name = "tenant_stream"
kind = "kinesis"
stream = "{stream}"
target = "1s"

[[stage]]
name = "archive"
kind = "s3"
after = "tenant_stream"
bucket = "{archive_bucket}"
key = "{archive_key}"
interval = "2s"

[[stage]]
name = "transit"
kind = "s3"
after = "tenant_stream"
bucket = "{transit_bucket}"
key = "{transit_key}"
interval = "2s"

[[stage]]
name = "transfer"
kind = "gcs"
after = "transit"
bucket = "{transfer_bucket}"
key = "{transfer_key}"
interval = "2s"

[[stage]]
name = "bigquery"
kind = "bigquery"
after = "transfer"
table = "{table}"
id_column = "{id_column}"
time_column = "{time_column}"
tenant_column = "{tenant_column}"
interval = "2s"
end = true
"#
    );
    for Tenant { name, log_group, role_arn, external_id, .. } in &about.tenants {
        text += &format!(
            r#"
[[tenant]]
name = "{name}"
log_group = "{log_group}"
role_arn = "{role_arn}"
external_id = "{external_id}"
"#
        );
    }
    text
}

/// A stage of the pipeline's dead-letter queue, whose messages are looked at.
fn dead_letters(about: &About, name: &str, interval: &str) -> String {
    let queue_url = &about.dead_letter_queue_url;
    format!(
        r#"
[[stage]]
name = "{name}"
kind = "sqs"
role = "dead_letter"
after = "tenant_stream"
queue_url = "{queue_url}"
peek = true
peek_messages = 200
peek_hides = "1s"
interval = "{interval}"
"#
    )
}

/// The arrivals that the pipeline records, too. Those in the log of the export are not.
fn recorded(trace: &Trace) -> impl Iterator<Item = Arrival<'_>> {
    trace.arrivals().filter(|arrival| STAGES.contains(&arrival.stage))
}

/// Describes the arrivals of a trace that contradict the truth. Counts the checked ones by stage.
fn wrong_arrivals(trace: &Trace, truth: &Truth, checked: &mut BTreeMap<&'static str, usize>) -> Vec<String> {
    let mut faults = Vec::new();
    for stage in STAGES {
        let Some(Arrival { earliest, latest, .. }) = trace.arrivals().find(|one| one.stage == stage) else {
            continue;
        };
        let known = truth.of(&trace.id, stage);
        let [Between { before_us, after_us }] = known else {
            faults.push(format!("{} at {stage}: the truth has {} entries", trace.id, known.len()));
            continue;
        };
        *checked.entry(stage).or_default() += 1;
        let too_late = earliest > after_us + CLOCK_ALLOWANCE_US;
        let too_early = latest < before_us - CLOCK_ALLOWANCE_US;
        if too_late || too_early || earliest > latest {
            faults.push(format!(
                "{} at {stage}: arrived between {before_us} and {after_us}, the daemon shows {earliest} to {latest}",
                trace.id
            ));
        }
    }
    faults
}
