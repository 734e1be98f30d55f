//! Every key that a configuration may have, with its default.
//!
//! The one list behind unknown-key checks, environment variables, defaults, the page that shows the configuration and
//! the test that keeps `config/traceprobe.toml` complete. A key that is read but not listed here is a bug that the
//! first test finds.

use toml::Value;

/// One key.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) shape: Shape,
    pub(super) fallback: Fallback,
}

/// What stands behind the equals sign, so that an environment variable can be read as the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// A string, whatever it means.
    Text,
    /// A whole number.
    Integer,
    /// `true` or `false`.
    Boolean,
    /// A list of strings; separated by commas in the environment.
    List,
}

/// What holds where the key is absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fallback {
    /// It must be there.
    Required,
    /// This, written as in an environment variable.
    Value(&'static str),
    /// Something that depends on other keys, or nothing.
    Elsewhere,
}

impl Key {
    const fn new(name: &'static str, shape: Shape) -> Self {
        Self { name, shape, fallback: Fallback::Elsewhere }
    }

    const fn or(mut self, value: &'static str) -> Self {
        self.fallback = Fallback::Value(value);
        self
    }

    const fn required(mut self) -> Self {
        self.fallback = Fallback::Required;
        self
    }
}

impl Shape {
    /// Reads the text of an environment variable. What cannot be read stays text, and the key's own parser complains.
    pub(super) fn read(self, text: &str) -> Value {
        match self {
            Self::Text => Value::String(text.to_owned()),
            Self::Integer => {
                text.trim().parse().map_or_else(|_| Value::String(text.to_owned()), Value::Integer)
            }
            Self::Boolean => {
                text.trim().parse().map_or_else(|_| Value::String(text.to_owned()), Value::Boolean)
            }
            Self::List => {
                Value::Array(text.split(',').map(|part| Value::String(part.trim().to_owned())).collect())
            }
        }
    }
}

const fn text(name: &'static str) -> Key {
    Key::new(name, Shape::Text)
}

pub(super) static PROBE: [Key; 14] = [
    text("listen").or("0.0.0.0:9464"),
    text("instance"),
    text("interval").or("30s"),
    text("slo").or("30s"),
    text("critical").or("60s"),
    text("give_up").or("15m"),
    text("grace").or("5m"),
    text("blind_after").or("30s"),
    text("warm_up").or("2m"),
    text("stop_grace").or("25s"),
    Key::new("max_in_flight", Shape::Integer).or("10000"),
    Key::new("remember", Shape::Integer).or("10000"),
    Key::new("buckets", Shape::List).or(BUCKETS),
    text("runbook"),
];

/// Fine where the owners' targets lie (1 s, 5 s, 10 s, 30 s, 60 s), and on to the default deadline.
const BUCKETS: &str = "5ms, 10ms, 25ms, 50ms, 100ms, 250ms, 500ms, 1s, 2s, 3s, 5s, 7.5s, 10s, 15s, 20s, 25s, 30s, 35s, 45s, 60s, 90s, 2m, 3m, 5m, 10m, 15m";

pub(super) static LOG: [Key; 2] = [text("format").or("text"), text("level").or("info")];

pub(super) static CANARY: [Key; 2] =
    [Key::new("sizes", Shape::List).or("100B, 500B, 1KB, 5KB, 10KB"), text("template")];

pub(super) static AWS: [Key; 3] = [text("region"), text("endpoint"), text("auth").or("default")];

pub(super) static AWS_ENDPOINTS: [Key; 4] = [text("logs"), text("kinesis"), text("s3"), text("sts")];

pub(super) static GCP: [Key; 4] =
    [text("endpoint"), text("auth").or("adc"), text("credentials_file"), text("project")];

pub(super) static STORE: [Key; 2] = [text("path").or("memory"), text("keep").or("7d")];

pub(super) static TENANT: [Key; 10] = [
    text("name").required(),
    text("label"),
    text("log_group").required(),
    text("log_stream").or("traceprobe/{instance}"),
    text("region"),
    text("role_arn"),
    text("external_id"),
    text("template"),
    text("interval"),
    Key::new("sizes", Shape::List),
];

/// What every stage has, whatever its kind.
pub(super) static STAGE: [Key; 10] = [
    text("name").required(),
    text("kind").required(),
    text("after"),
    text("target"),
    text("interval"),
    text("timeout"),
    text("settle"),
    text("clock_allowance").or("50ms"),
    text("role").or("way"),
    Key::new("end", Shape::Boolean).or("false"),
];

/// What stages in AWS have besides.
const ACCOUNT: [Key; 3] = [text("region"), text("role_arn"), text("external_id")];

pub(super) static KINESIS: [Key; 7] = {
    let [region, role_arn, external_id] = ACCOUNT;
    [
        text("stream").required(),
        Key::new("max_records", Shape::Integer).or("10000"),
        text("gaps").or("skip"),
        text("max_bytes_per_second").or("512KB"),
        region,
        role_arn,
        external_id,
    ]
};

pub(super) static S3: [Key; 11] = {
    let [region, role_arn, external_id] = ACCOUNT;
    [
        text("bucket").required(),
        text("key").required(),
        text("key_slack").or("5m"),
        Key::new("ordered_keys", Shape::Boolean).or("false"),
        Key::new("max_keys", Shape::Integer).or("50000"),
        text("max_object").or("64MB"),
        text("max_inflated").or("256MB"),
        text("gaps").or("skip"),
        region,
        role_arn,
        external_id,
    ]
};

pub(super) static CLOUDWATCH_LOGS: [Key; 7] = {
    let [region, role_arn, external_id] = ACCOUNT;
    [
        text("log_group").required(),
        // The marker of domain::tag, which a test compares.
        text("filter_pattern").or("%zqtp%"),
        text("gaps").or("skip"),
        Key::new("max_calls_per_second", Shape::Integer).or("2"),
        region,
        role_arn,
        external_id,
    ]
};

pub(super) static BIGQUERY: [Key; 13] = [
    text("table").required(),
    text("id_column").required(),
    text("id_is").or("tag"),
    text("time_column"),
    text("tenant_column"),
    text("body_column"),
    text("location"),
    text("partition").or("auto"),
    text("max_bytes_billed").or("100MB"),
    text("daily_bytes_billed"),
    Key::new("schema", Shape::List),
    Key::new("schema_accepted", Shape::List),
    text("schema_refresh").or("5m"),
];

/// All tables with their header in the file, for the test of the shipped file.
#[cfg(test)]
pub(super) fn all() -> Vec<(&'static str, Vec<&'static Key>)> {
    let stage = || {
        let kinds = KINESIS.iter().chain(&S3).chain(&CLOUDWATCH_LOGS);
        let mut keys: Vec<_> = STAGE.iter().chain(kinds).chain(&BIGQUERY).collect();
        let mut seen = std::collections::BTreeSet::new();
        keys.retain(|key| seen.insert(key.name));
        keys
    };
    vec![
        ("[probe]", PROBE.iter().collect()),
        ("[log]", LOG.iter().collect()),
        ("[canary]", CANARY.iter().collect()),
        ("[aws]", AWS.iter().collect()),
        ("[aws.endpoints]", AWS_ENDPOINTS.iter().collect()),
        ("[gcp]", GCP.iter().collect()),
        ("[store]", STORE.iter().collect()),
        ("[[tenant]]", TENANT.iter().collect()),
        ("[[stage]]", stage()),
    ]
}
