//! Every key that a configuration may have, with its default. Keys of a kind of stage are listed in its
//! folder.
//!
//! This list is the source of unknown-key checks, environment variables, defaults, the page that shows the
//! configuration, its JSON schema, `docs/configuration.md` and the test that keeps `config/traceprobe.toml`
//! complete. Reading a key that is not listed
//! is a bug, and panics in the first test.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use super::budgets;
use crate::cloud::google::Service;
use crate::cloud::{Provider, account};
use crate::domain::conditions::{ConditionName, DEFAULT_LIMITS};
use crate::domain::kind::Kind;
use crate::keys::key::{Key, Shape};
use crate::observe;

const fn text(name: &'static str) -> Key {
    Key::text(name)
}

pub(super) static PROBE: [Key; 16] = [
    text("listen").or("0.0.0.0:9464"),
    text("instance"),
    text("interval").or("30s"),
    text("slo").or("30s"),
    text("critical").or("60s"),
    text("give_up").or("15m"),
    text("grace").or("5m"),
    text("blind_after").or("30s"),
    text("copy_recheck").or("15m"),
    text("warm_up").or("2m"),
    text("stop_grace").or("25s"),
    text("handover").or("10m"),
    Key::new("max_in_flight", Shape::Integer),
    Key::new("remember", Shape::Integer).or("10000"),
    Key::new("buckets", Shape::List).or(BUCKETS),
    text("runbook"),
];

/// Narrow around the usual targets (1 s, 5 s, 10 s, 30 s, 60 s), and reaching to the default `give_up`.
const BUCKETS: &str = "5ms, 10ms, 25ms, 50ms, 100ms, 250ms, 500ms, 1s, 2s, 3s, 5s, 7.5s, 10s, 15s, 20s, 25s, 30s, 35s, 40s, 45s, 50s, 60s, 75s, 90s, 2m, 3m, 5m, 10m, 15m";

pub(super) static WEB: [Key; 9] = [
    Key::new("max_connections", Shape::Integer).or("512"),
    Key::new("max_connections_per_peer", Shape::Integer),
    Key::new("hosts", Shape::List),
    text("external_url"),
    text("dashboard"),
    Key::new("reload", Shape::Boolean).or("false"),
    text("config_file"),
    Key::new("open", Shape::List).or("/healthz, /readyz, /-/healthy, /-/ready"),
    Key::new("log_level", Shape::Boolean).or("false"),
];

pub(super) static LOG: [Key; 2] =
    [text("format").or("text").one_of(&["text", "json"]), text("level").or("info")];

pub(super) static CANARY: [Key; 2] =
    [Key::new("sizes", Shape::List).or("100B, 500B, 1KB, 5KB, 10KB"), text("template")];

pub(super) static AWS: [Key; 3] =
    [text("region"), text("endpoint"), text("auth").or("default").one_of(&["default", "none"])];

/// One key for each AWS service that is called: to inject, to assume roles, and by the kinds of stages.
pub(super) static AWS_ENDPOINTS: LazyLock<Vec<Key>> = LazyLock::new(|| {
    let specs = Kind::ALL.iter().map(|kind| observe::spec(*kind));
    let operations =
        specs.filter(|spec| spec.provider == Provider::Aws).flat_map(|spec| spec.costs.operations);
    let services: BTreeSet<_> =
        operations.map(|operation| operation.service).chain(["logs", "sts"]).collect();
    services.into_iter().map(text).collect()
});

/// One key for each Google service that the kinds of stages call.
pub(super) static GCP_ENDPOINTS: LazyLock<Vec<Key>> = LazyLock::new(|| {
    let services: BTreeSet<_> =
        Kind::ALL.iter().filter_map(|kind| google_service(*kind)).map(|service| service.name).collect();
    services.into_iter().map(text).collect()
});

/// Returns the Google service that a kind of stage calls; `None` for kinds in AWS.
pub(super) fn google_service(kind: Kind) -> Option<Service> {
    match observe::spec(kind).provider {
        Provider::Google(service) => Some(service),
        Provider::Aws => None,
    }
}

pub(super) static GCP: [Key; 5] = [
    text("endpoint"),
    text("auth").or("adc").one_of(&["adc", "service_account", "workload_identity", "none"]),
    text("credentials_file"),
    text("credentials").masked(),
    text("project"),
];

pub(super) static STORE: [Key; 3] =
    [text("path").or("memory"), text("keep").or("7d"), text("lock_timeout").or("3m")];

pub(super) static OTLP: [Key; 3] =
    [text("endpoint"), text("headers").masked(), Key::new("sample", Shape::Integer).or("100")];

pub(super) static LOAD: [Key; 6] = [
    Key::new("allow", Shape::List),
    Key::new("max_rate", Shape::Integer).or("1000"),
    Key::new("max_events", Shape::Integer).or("1000000"),
    text("max_bytes").or("2GB"),
    Key::new("max_dollars", Shape::Integer).or("10"),
    text("guard_url"),
];

pub(super) static DRILL: [Key; 3] = [
    Key::new("enabled", Shape::Boolean).or("false"),
    Key::new("schedule", Shape::List),
    text("length").or("10m"),
];

/// Two keys for each service that is polled.
pub(super) static BUDGETS: LazyLock<Vec<Key>> = LazyLock::new(|| {
    // A key is static, and so must be its name; there are a few, and they are made once.
    let keys = budgets::services().into_iter().flat_map(|service| {
        let calls: &'static str = budgets::calls_key(service).leak();
        [Key::new(calls, Shape::Integer), text(budgets::bytes_key(service).leak())]
    });
    keys.collect()
});

/// The window, and two keys for each condition that counts canaries.
pub(super) static CONDITIONS: LazyLock<Vec<Key>> = LazyLock::new(|| {
    let limits = DEFAULT_LIMITS.iter().flat_map(|(name, note, problem)| {
        [(limit_key(*name, "note"), note), (limit_key(*name, "problem"), problem)]
    });
    // A key is static, and so must be its name; there are a few, and they are made once.
    let limits = limits.map(|(name, default)| text(name.leak()).or(default));
    [text("window"), text("late_after").or("5s"), text("over_after").or("5m")]
        .into_iter()
        .chain(limits)
        .collect()
});

/// The key of a condition's limit: `missing_note`.
pub(super) fn limit_key(name: ConditionName, what: &str) -> String {
    format!("{}_{what}", name.as_str())
}

pub(super) static TENANT: [Key; 11] = {
    let [region, role_arn, external_id] = account::KEYS;
    [
        text("name").required(),
        text("label"),
        text("log_group"),
        Key::new("log_groups", Shape::List),
        text("log_stream").or("traceprobe/{instance}"),
        region,
        role_arn,
        external_id,
        text("template"),
        text("interval"),
        Key::new("sizes", Shape::List),
    ]
};

pub(super) static PIPELINE: [Key; 16] = [
    text("forwarder"),
    text("firehose"),
    text("aggregation"),
    text("central_stream"),
    text("dead_letter_queue"),
    text("archive_metrics"),
    text("export"),
    Key::new("vpn_connections", Shape::List),
    Key::new("nat_gateways", Shape::List),
    Key::new("alarms", Shape::List),
    text("metrics_role"),
    text("google_project"),
    Key::new("google_vpn_tunnels", Shape::List),
    Key::new("interconnect_attachments", Shape::List),
    Key::new("transfer_jobs", Shape::List),
    Key::new("slots", Shape::Integer),
];

/// Keys of every stage, whatever its kind.
pub(super) static STAGE: [Key; 12] = [
    text("name").required(),
    text("kind").required(),
    text("after"),
    text("target"),
    text("critical"),
    text("interval"),
    text("timeout"),
    text("settle"),
    text("missing_after"),
    text("clock_allowance").or("50ms"),
    text("role").or("way").one_of(&["way", "dead_letter"]),
    Key::new("end", Shape::Boolean).or("false"),
];

/// Every table with its header in the file, in the order of the file. A `[[stage]]` has the keys of all kinds.
pub(super) fn all() -> Vec<(&'static str, Vec<&'static Key>)> {
    vec![
        ("[probe]", PROBE.iter().collect()),
        ("[web]", WEB.iter().collect()),
        ("[log]", LOG.iter().collect()),
        ("[canary]", CANARY.iter().collect()),
        ("[aws]", AWS.iter().collect()),
        ("[aws.endpoints]", AWS_ENDPOINTS.iter().collect()),
        ("[gcp]", GCP.iter().collect()),
        ("[gcp.endpoints]", GCP_ENDPOINTS.iter().collect()),
        ("[store]", STORE.iter().collect()),
        ("[drill]", DRILL.iter().collect()),
        ("[budgets]", BUDGETS.iter().collect()),
        ("[conditions]", CONDITIONS.iter().collect()),
        ("[pipeline]", PIPELINE.iter().collect()),
        ("[otlp]", OTLP.iter().collect()),
        ("[load]", LOAD.iter().collect()),
        ("[[tenant]]", TENANT.iter().collect()),
        ("[[stage]]", STAGE.iter().chain(of_kinds()).collect()),
    ]
}

/// The keys of all kinds of stages, each name once.
pub(super) fn of_kinds() -> Vec<&'static Key> {
    let mut keys: Vec<_> = Kind::ALL.iter().flat_map(|kind| observe::spec(*kind).keys).collect();
    let mut seen = BTreeSet::new();
    keys.retain(|key| seen.insert(key.name));
    keys
}
