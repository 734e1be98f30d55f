//! The tables `[[stage]]`: what every stage has, whatever its kind.

use std::time::Duration;

use toml::Table;

use super::fault::{Checked, Reported};
use super::keys::{self, Key};
use super::reader::{Context, Layer, Reader};
use super::sections::no_bound;
use super::settings::Kind;
use super::tenant;
use super::value::{self, show_duration};
use crate::domain::topology::Role;

/// Where the stages stand among the tables when the configuration is shown.
pub(super) const ORDER: usize = 8;

const DAY: Duration = Duration::from_secs(86_400);

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::Kinesis, Self::S3, Self::CloudWatchLogs, Self::BigQuery];

    /// As in the configuration: `cloudwatch_logs`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Kinesis => "kinesis",
            Self::S3 => "s3",
            Self::CloudWatchLogs => "cloudwatch_logs",
            Self::BigQuery => "bigquery",
        }
    }

    pub(super) fn keys(self) -> &'static [Key] {
        match self {
            Self::Kinesis => &keys::KINESIS,
            Self::S3 => &keys::S3,
            Self::CloudWatchLogs => &keys::CLOUDWATCH_LOGS,
            Self::BigQuery => &keys::BIGQUERY,
        }
    }

    /// Between two looks. Kinesis allows five reads a second and shard to all its readers, CloudWatch Logs in some
    /// regions five calls a second and account; a BigQuery look costs money.
    pub(super) const fn interval(self) -> &'static str {
        match self {
            Self::Kinesis => "1s",
            Self::S3 | Self::BigQuery => "5s",
            Self::CloudWatchLogs => "10s",
        }
    }

    /// For one look.
    pub(super) const fn timeout(self) -> &'static str {
        match self {
            Self::Kinesis => "10s",
            Self::S3 | Self::CloudWatchLogs => "20s",
            Self::BigQuery => "30s",
        }
    }

    /// FilterLogEvents may miss the newest events for a while, and a Kinesis record can be read a moment after its arrival
    /// stamp; the others show what they have acknowledged.
    pub(super) const fn settle(self) -> &'static str {
        match self {
            Self::Kinesis => "1s",
            Self::S3 | Self::BigQuery => "0s",
            Self::CloudWatchLogs => "10s",
        }
    }
}

/// One stage as far as it could be read.
pub(super) struct StageRead<'a> {
    pub(super) layer: Layer<'a>,
    /// As it was written, even where it is no good name; the path where it is missing.
    pub(super) name: String,
    pub(super) checked_name: Checked<String>,
    pub(super) kind: Checked<Kind>,
    pub(super) after: Checked<Option<String>>,
    pub(super) role: Checked<Role>,
    pub(super) target: Checked<Option<Duration>>,
    pub(super) interval: Checked<Duration>,
    pub(super) timeout: Checked<Duration>,
    pub(super) settle: Checked<Duration>,
    pub(super) clock_allowance: Checked<Duration>,
}

impl StageRead<'_> {
    pub(super) fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.layer.path)
    }
}

pub(super) fn read<'a>(
    context: &mut Context,
    root: &'a Table,
    blind_after: Checked<Duration>,
    buckets: &Checked<Vec<Duration>>,
) -> Vec<StageRead<'a>> {
    let tables = context.tables(root, "stage");
    if tables.is_empty() && !root.contains_key("stage") {
        context
            .faults
            .report("stage", "there is no stage, so no canary could be seen; add a table [[stage]]");
    }
    let stages: Vec<_> =
        tables.into_iter().enumerate().map(|(index, table)| one(context, index, table)).collect();
    for stage in &stages {
        if let (Ok(Some(target)), Ok(bounds)) = (stage.target, buckets)
            && !bounds.contains(&target)
        {
            context.faults.report(stage.key("target"), no_bound(target, bounds));
        }
        if let (Ok(blind), Ok(interval), Ok(settle)) = (blind_after, stage.interval, stage.settle)
            && blind < interval * 2 + settle
        {
            context.faults.report(
                "probe.blind_after",
                format!(
                    "{} is too short for {}, which looks every {} and settles for {}, so it would seem blind while it is well; it must be at least {}",
                    show_duration(blind),
                    stage.layer.path,
                    show_duration(interval),
                    show_duration(settle),
                    show_duration(interval * 2 + settle)
                ),
            );
        }
    }
    stages
}

fn one<'a>(context: &mut Context, index: usize, table: &'a Table) -> StageRead<'a> {
    let layer = tenant::layer("stage", index, ORDER, table);
    let mut read = Reader::new(context, vec![layer.clone()], &keys::STAGE);
    let name = read.get("name", value::name);
    let kind = read.get("kind", value::choice(&Kind::ALL.map(|kind| (kind.as_str(), kind))));
    let after = read.find("after", value::text);
    let target = read.find("target", value::duration_within(Duration::from_millis(1), DAY, ""));
    // Where the kind is unknown, the defaults of any will do to find further faults.
    let known = kind.unwrap_or(Kind::Kinesis);
    let tick = Duration::from_millis(10);
    let interval = read.get_or("interval", Some(known.interval()), value::duration_within(tick, DAY, ""));
    let timeout = read.get_or("timeout", Some(known.timeout()), value::duration_within(tick, DAY, ""));
    let settle = read.get_or("settle", Some(known.settle()), value::duration);
    let clock_allowance = read.get("clock_allowance", value::duration);
    let role = read.get("role", value::choice(&[("way", Role::Way), ("dead_letter", Role::DeadLetter)]));
    let end = read.get("end", value::boolean);
    if (role, end) == (Ok(Role::DeadLetter), Ok(true)) {
        read.report(
            "end",
            "a dead_letter stage cannot be the end: what arrives there has failed; mark the stage where canaries arrive for good",
        );
    }
    let role = match (role, end) {
        (Ok(_), Ok(true)) => Ok(Role::End),
        (Ok(role), Ok(false)) => Ok(role),
        _ => Err(Reported),
    };
    check_keys(context, &layer, kind);
    StageRead {
        name: tenant::written_name(table).unwrap_or_else(|| layer.path.clone()),
        layer,
        checked_name: name,
        kind,
        after,
        role,
        target,
        interval,
        timeout,
        settle,
        clock_allowance,
    }
}

/// Complains about unknown keys, and about those that belong to other kinds.
fn check_keys(context: &mut Context, layer: &Layer<'_>, kind: Checked<Kind>) {
    let all = || Kind::ALL.iter().flat_map(|kind| kind.keys());
    let known: Vec<_> = keys::STAGE.iter().chain(all()).collect();
    context.survey(layer, &known, &[]);
    let Ok(kind) = kind else { return };
    let own = |name: &str| keys::STAGE.iter().chain(kind.keys()).any(|key| key.name == name);
    for key in all().filter(|key| !own(key.name)) {
        let reader = Reader::new(context, vec![layer.clone()], kind.keys());
        if reader.is_set(key) {
            let message = belongs_elsewhere(key.name, kind);
            context.faults.report(format!("{}.{}", layer.path, key.name), message);
        }
    }
}

pub(super) fn belongs_elsewhere(name: &str, kind: Kind) -> String {
    let owners: Vec<_> = Kind::ALL
        .iter()
        .filter(|other| other.keys().iter().any(|key| key.name == name))
        .map(|other| other.as_str())
        .collect();
    let kinds = if owners.len() == 1 { "kind" } else { "kinds" };
    format!(
        "`{name}` belongs to {kinds} {}, this stage is {}; leave it out",
        owners.join(", "),
        kind.as_str()
    )
}
