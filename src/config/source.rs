//! From stages and tenants to sources: kind-specific keys, `{tenant}` expanded, equal ones merged.

use std::collections::BTreeMap;
use std::time::Duration;

use toml::{Table, Value};

use super::fault::{Checked, Collector, Reported, suggestion};
use super::keys;
use super::reader::{Context, Layer, Reader, variable};
use super::settings::{
    Account, BigQuery, CloudWatchLogs, Column, Gaps, IdIs, Kind, Kinesis, Partition, S3, Source, SourceKind,
    TableName,
};
use super::stage::{StageRead, belongs_elsewhere};
use super::tenant::{self, TenantRead, account, check_log_group, expand};
use super::value;
use crate::domain::schema::Fingerprint;
use crate::domain::topology::{StageId, TenantId};

/// GetRecords returns at most this many (AWS Kinesis API reference).
const MAX_RECORDS: u32 = 10_000;
/// Less would not even read a stream that carries nothing but canaries.
const MIN_SHARE: u64 = 16 << 10;
/// What a shard gives in a second to all its readers together (Kinesis quotas).
const MAX_SHARE: u64 = 2 << 20;
/// FilterLogEvents calls a second that the largest region allows an account (CloudWatch Logs quotas).
const MAX_FILTER_CALLS: u32 = 25;
/// BigQuery bills at least 10 MB for each table of a query and takes no smaller `maximumBytesBilled`.
const MIN_BYTES_BILLED: u64 = 10 << 20;
/// Beyond this a slip of the pen would cost more than the probe is worth: 1 TB is about 6 dollars a look.
const MAX_BYTES_BILLED: u64 = 1 << 40;
/// A day of the dearest looks.
const MAX_DAILY_BYTES_BILLED: u64 = 1 << 50;
/// The largest object that is kept in view of a container's memory and a look's timeout.
const MAX_OBJECT: u64 = 5 << 30;

/// A writer that collects for longer is no place for canaries that are given up after minutes.
const MAX_KEY_SLACK: Duration = Duration::from_secs(86_400);

const GAPS: [(&str, Gaps); 2] = [("skip", Gaps::Skip), ("read", Gaps::Read)];

/// A thousand calls of ListObjectsV2, and about 300 MB to remember them.
const MAX_KEYS: u32 = 1_000_000;

/// Time fields of a key, by what they give.
const TIME_FIELDS: &str = "YmdjHM";

impl SourceKind {
    /// What kind of place it is.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Kinesis(_) => Kind::Kinesis,
            Self::S3(_) => Kind::S3,
            Self::CloudWatchLogs(_) => Kind::CloudWatchLogs,
            Self::BigQuery(_) => Kind::BigQuery,
        }
    }

    /// For people: `kinesis logs-acme`.
    #[must_use]
    pub fn name(&self) -> String {
        let kind = self.kind().as_str();
        match self {
            Self::Kinesis(source) => format!("{kind} {}", source.stream),
            Self::S3(source) => {
                // The time fields say nothing of which source it is.
                let fixed = source.key.split('%').next().unwrap_or_default();
                let prefix = fixed.rsplit_once('/').map_or("", |(folders, _)| folders);
                let slash = if prefix.is_empty() { "" } else { "/" };
                format!("{kind} {}/{prefix}{slash}…", source.bucket)
            }
            Self::CloudWatchLogs(source) => format!("{kind} {}", source.log_group),
            Self::BigQuery(source) => format!("{kind} {}", source.table),
        }
    }

    /// What is read, without how: two sources with the same place read the same events.
    fn place(&self) -> String {
        let there = |account: &Account| {
            let role = account.role.as_ref().map_or("", |role| role.arn.as_str());
            format!("{} {role}", account.region)
        };
        match self {
            Self::Kinesis(source) => format!("{} {}", source.stream, there(&source.account)),
            Self::S3(source) => format!("{}/{}", source.bucket, source.key),
            Self::CloudWatchLogs(source) => {
                format!("{} {} {}", source.log_group, source.filter_pattern, there(&source.account))
            }
            Self::BigQuery(source) => source.table.to_string(),
        }
    }
}

/// Reads every stage for every tenant. `order` holds the stages that could be placed, or all where none could.
pub(super) fn read(
    context: &mut Context,
    stages: &[StageRead<'_>],
    order: &[usize],
    tenants: &[TenantRead<'_>],
    region: &Checked<Option<String>>,
) -> Checked<Vec<Source>> {
    check_overrides(context, stages, tenants);
    let mut good = !tenants.is_empty();
    let mut sources = Vec::new();
    let mut places: BTreeMap<(Kind, String), (String, String)> = BTreeMap::new();
    for (rank, index) in order.iter().enumerate() {
        let stage = &stages[*index];
        let Ok(kind) = stage.kind else {
            good = false;
            continue;
        };
        let mut merged: Vec<(SourceKind, Vec<TenantId>)> = Vec::new();
        if tenants.is_empty() {
            let layers = vec![stage.layer.clone()];
            let _ = one(Reader::new(context, layers, kind.keys()), kind, "tenant", region);
        }
        for (number, tenant) in tenants.iter().enumerate() {
            let name = tenant.name.as_deref().unwrap_or("tenant");
            let mut layers: Vec<_> =
                override_layer(context, stage, *index, tenant, number).into_iter().collect();
            layers.push(stage.layer.clone());
            let reader = Reader::new(context, layers, kind.keys());
            let Ok(source) = one(reader, kind, name, region) else {
                good = false;
                continue;
            };
            let id = TenantId(u16::try_from(number).unwrap_or(u16::MAX));
            match merged.iter_mut().find(|(other, _)| *other == source) {
                Some((_, owners)) => owners.push(id),
                None => {
                    good &= claim(&mut context.faults, &mut places, stage, name, &source);
                    merged.push((source, vec![id]));
                }
            }
        }
        for (source, owners) in merged {
            let all = || {
                Ok(Source {
                    stage: StageId(u16::try_from(rank).unwrap_or(u16::MAX)),
                    tenants: owners,
                    name: source.name().into(),
                    kind: source,
                    interval: stage.interval?,
                    timeout: stage.timeout?,
                    settle: stage.settle?,
                })
            };
            match all() {
                Ok(source) => sources.push(source),
                Err(Reported) => good = false,
            }
        }
    }
    if good { Ok(sources) } else { Err(Reported) }
}

/// Whether nobody else reads the same place.
fn claim(
    faults: &mut Collector,
    places: &mut BTreeMap<(Kind, String), (String, String)>,
    stage: &StageRead<'_>,
    tenant: &str,
    source: &SourceKind,
) -> bool {
    let claim = (stage.name.clone(), tenant.to_owned());
    let Some((other_stage, other_tenant)) = places.insert((source.kind(), source.place()), claim) else {
        return true;
    };
    let message = if other_stage == stage.name {
        format!(
            "tenants {other_tenant} and {tenant} read {} here with different settings, so neither could be told to share it; give both the same",
            source.name()
        )
    } else {
        format!(
            "reads {}, which is what stage {other_stage} reads already, so a canary would be seen in both at once; change one of them",
            source.name()
        )
    };
    faults.report(stage.layer.path.clone(), message);
    false
}

/// The table `[tenant.stage.<name>]`, surveyed, where the tenant has a name or the table is there.
fn override_layer<'a>(
    context: &mut Context,
    stage: &StageRead<'_>,
    index: usize,
    tenant: &TenantRead<'a>,
    number: usize,
) -> Option<Layer<'a>> {
    let path = format!("{}.stage", tenant.path);
    let table = tenant.table.get("stage").and_then(Value::as_table);
    let path = format!("{path}.{}", stage.name);
    let table = match table.and_then(|table| table.get(&stage.name)) {
        Some(Value::Table(table)) => Some(table),
        Some(_) => {
            context.faults.report(path, format!("is no table; write [tenant.stage.{}]", stage.name));
            return None;
        }
        None => None,
    };
    let variables = tenant.name.as_ref().map(|name| variable(&["tenant", name, "stage", &stage.name]));
    let layer = Layer {
        path,
        variables,
        table,
        header: format!("[tenant.stage.{}]", stage.name),
        order: (tenant::ORDER, number, index + 1),
    };
    let Ok(kind) = stage.kind else {
        return Some(layer);
    };
    context.survey(&layer, &kind.keys().iter().collect::<Vec<_>>(), &foreign(kind));
    for name in table.into_iter().flat_map(Table::keys) {
        let key = format!("{}.{name}", layer.path);
        if kind.keys().iter().any(|key| key.name == name) {
            continue;
        }
        if keys::STAGE.iter().any(|key| key.name == name) {
            context
                .faults
                .report(key, format!("`{name}` is the same for all tenants; set it at stage.{}", stage.name));
        } else if foreign(kind).contains(&name.as_str()) {
            context.faults.report(key, belongs_elsewhere(name, kind));
        }
    }
    Some(layer)
}

/// Keys that a stage of this kind has not, or not for a single tenant, but that are known elsewhere.
fn foreign(kind: Kind) -> Vec<&'static str> {
    let others = Kind::ALL.iter().flat_map(|other| other.keys());
    keys::STAGE
        .iter()
        .chain(others)
        .map(|key| key.name)
        .filter(|name| kind.keys().iter().all(|key| key.name != *name))
        .collect()
}

fn check_overrides(context: &mut Context, stages: &[StageRead<'_>], tenants: &[TenantRead<'_>]) {
    for tenant in tenants {
        let path = format!("{}.stage", tenant.path);
        let overrides = context.table(Some(tenant.table), &path, "stage");
        for name in overrides.into_iter().flat_map(Table::keys) {
            let known = || stages.iter().map(|stage| stage.name.as_str());
            if !known().any(|stage| stage == name) {
                let near = suggestion(name, known());
                context
                    .faults
                    .report(format!("{path}.{name}"), format!("there is no stage \"{name}\"{near}"));
            }
        }
    }
}

fn one(
    mut read: Reader<'_, '_>,
    kind: Kind,
    tenant: &str,
    region: &Checked<Option<String>>,
) -> Checked<SourceKind> {
    match kind {
        Kind::Kinesis => {
            let stream = place(&mut read, "stream", tenant, check_stream);
            let max_records = read.get("max_records", value::count(1, MAX_RECORDS));
            let gaps = read.get("gaps", value::choice(&GAPS));
            let max_bytes_per_second = read.get(
                "max_bytes_per_second",
                value::size_within(MIN_SHARE, MAX_SHARE, "; a shard gives 2MB a second to all its readers"),
            );
            let account = account(&mut read, region);
            Ok(SourceKind::Kinesis(Kinesis {
                account: account?,
                stream: stream?,
                max_records: max_records?,
                gaps: gaps?,
                max_bytes_per_second: max_bytes_per_second?,
            }))
        }
        Kind::S3 => {
            let bucket = place(&mut read, "bucket", tenant, check_bucket);
            let key = read.get("key", |value| {
                let (key, after) = split_key(value::text(value)?);
                let expanded = |text: &str| expand(text, &[("tenant", tenant)]);
                after.as_deref().map(expanded).transpose()?;
                Ok((check_key(expanded(&key)?)?, after))
            });
            let key_slack = read.get("key_slack", value::duration_within(Duration::ZERO, MAX_KEY_SLACK, ""));
            let ordered_keys = read.get("ordered_keys", value::boolean);
            let max_keys = read.get("max_keys", value::count(1_000, MAX_KEYS));
            let max_object = read.get("max_object", value::size_within(1, MAX_OBJECT, ""));
            let max_inflated = read.get("max_inflated", value::size_within(1, MAX_OBJECT, ""));
            let gaps = read.get("gaps", value::choice(&GAPS));
            let account = account(&mut read, region);
            let (key, after_tenant) = key?;
            Ok(SourceKind::S3(S3 {
                account: account?,
                bucket: bucket?,
                key,
                after_tenant,
                key_slack: key_slack?,
                ordered_keys: ordered_keys?,
                max_keys: max_keys?,
                max_object: max_object?,
                max_inflated: max_inflated?,
                gaps: gaps?,
            }))
        }
        Kind::CloudWatchLogs => {
            let log_group = place(&mut read, "log_group", tenant, check_log_group);
            let filter_pattern = read.get("filter_pattern", value::text);
            let gaps = read.get("gaps", value::choice(&GAPS));
            let max_calls_per_second = read.get("max_calls_per_second", value::count(1, MAX_FILTER_CALLS));
            let account = account(&mut read, region);
            Ok(SourceKind::CloudWatchLogs(CloudWatchLogs {
                account: account?,
                log_group: log_group?,
                filter_pattern: filter_pattern?,
                gaps: gaps?,
                max_calls_per_second: max_calls_per_second?,
            }))
        }
        Kind::BigQuery => bigquery(&mut read, tenant),
    }
}

fn bigquery(read: &mut Reader<'_, '_>, tenant: &str) -> Checked<SourceKind> {
    let table = place(read, "table", tenant, check_table);
    let id_column = read.get("id_column", value::column);
    let id_is = read.get("id_is", value::choice(&[("tag", IdIs::Tag), ("trace_id", IdIs::TraceId)]));
    let time_column = read.find("time_column", value::column);
    let tenant_column = read.find("tenant_column", value::column);
    let body_column = read.find("body_column", value::column);
    let location = read.find("location", location);
    let partition = read.get("partition", |value| {
        Ok(match value::text(value)?.as_str() {
            "auto" => Partition::Auto,
            "none" => Partition::None,
            predicate if predicate.contains([' ', '(', '=', '<', '>']) => {
                Partition::Custom(predicate.to_owned())
            }
            other => {
                return Err(format!(
                    "\"{other}\" is neither \"auto\", \"none\" nor a predicate such as \"day >= CURRENT_DATE() - 1\""
                ));
            }
        })
    });
    let max_bytes_billed = read.get(
        "max_bytes_billed",
        value::size_within(MIN_BYTES_BILLED, MAX_BYTES_BILLED, "; BigQuery bills at least 10MB a query"),
    );
    let daily_bytes_billed =
        read.find("daily_bytes_billed", value::size_within(MIN_BYTES_BILLED, MAX_DAILY_BYTES_BILLED, ""));
    let schema = read.find("schema", value::list(table_column));
    let schema_accepted = read.find("schema_accepted", value::list(fingerprint));
    let schema_refresh = read.get(
        "schema_refresh",
        value::duration_within(Duration::from_secs(1), Duration::from_secs(86_400), ""),
    );
    Ok(SourceKind::BigQuery(BigQuery {
        table: table?,
        id_column: id_column?,
        id_is: id_is?,
        time_column: time_column?,
        tenant_column: tenant_column?,
        body_column: body_column?,
        location: location?,
        partition: partition?,
        max_bytes_billed: max_bytes_billed?,
        daily_bytes_billed: daily_bytes_billed?,
        schema: schema?,
        schema_accepted: schema_accepted?.unwrap_or_default(),
        schema_refresh: schema_refresh?,
    }))
}

/// A key that names a place: `{tenant}` expanded, then checked.
fn place<T>(
    read: &mut Reader<'_, '_>,
    name: &str,
    tenant: &str,
    check: impl Fn(String) -> Result<T, String>,
) -> Checked<T> {
    read.get(name, |value| check(expand(&value::text(value)?, &[("tenant", tenant)])?))
}

/// `[a-zA-Z0-9_.-]{1,128}` (AWS Kinesis API reference, CreateStream), or an ARN.
fn check_stream(text: String) -> Result<String, String> {
    let name = match text.split(':').collect::<Vec<_>>().as_slice() {
        ["arn", _, "kinesis", _, _, resource] => resource.strip_prefix("stream/").unwrap_or(""),
        [name] => *name,
        _ => "",
    };
    let good = (1..=128).contains(&name.len())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c));
    if good {
        Ok(text)
    } else {
        Err(format!("\"{text}\" is no stream; write for example \"logs-{{tenant}}\", or an ARN"))
    }
}

/// Three to 63 lower-case letters, digits, `.` and `-` (S3 user guide, bucket naming rules), or an access point's ARN.
fn check_bucket(text: String) -> Result<String, String> {
    let name = (3..=63).contains(&text.len())
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || ".-".contains(c));
    if name || text.starts_with("arn:") {
        Ok(text)
    } else {
        Err(format!("\"{text}\" is no bucket; write 3 to 63 lower-case letters, digits, `.` and `-`"))
    }
}

/// Cuts a key where the tenant's name stands in it after all time fields: what is before is listed for all tenants.
fn split_key(key: String) -> (String, Option<String>) {
    let timeless = key.rfind('%').map_or(key.len(), |at| at + 1);
    match key[timeless..].find("{tenant}") {
        None => (key, None),
        Some(at) => {
            let at = timeless + at;
            (key[..at].to_owned(), Some(key[at + "{tenant}".len()..].to_owned()))
        }
    }
}

/// A prefix with at least a date in it, or each look would list everything that was ever written.
fn check_key(text: String) -> Result<String, String> {
    let mut fields = String::new();
    let mut rest = text.split('%');
    rest.next();
    for part in rest {
        match part.chars().next() {
            Some(field) if TIME_FIELDS.contains(field) => fields.push(field),
            other => {
                let field = other.map(String::from).unwrap_or_default();
                return Err(format!(
                    "\"{text}\" has the unknown time field %{field}; known are %Y, %m, %d, %j, %H, %M (UTC)"
                ));
            }
        }
    }
    let has = |field| fields.contains(field);
    if fields.is_empty() {
        Err("no time field (%Y, %m, %d, %H), so each look would list the whole bucket; add for example dt=%Y-%m-%d/hour=%H/".to_owned())
    } else if has('Y') && (has('j') || (has('m') && has('d'))) {
        if has('M') && !has('H') {
            return Err(format!("\"{text}\" has minutes (%M) but no hours; add %H before them"));
        }
        Ok(text)
    } else {
        Err(format!(
            "\"{text}\" has time fields but no whole date, so prefixes would come round again; add %Y, %m and %d, for example dt=%Y-%m-%d/hour=%H/"
        ))
    }
}

/// Three parts and no character that could end a quoted name in a query.
fn check_table(text: String) -> Result<TableName, String> {
    let wrong = || {
        format!("\"{text}\" is no table; write project.dataset.table, for example \"my-project.logs.events\"")
    };
    // The project of an organisation may itself have a dot: example.com:logs.
    let mut parts = text.rsplitn(3, '.');
    let (Some(table), Some(dataset), Some(project)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(wrong());
    };
    let made_of = |part: &str, others: &str| {
        !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || others.contains(c))
    };
    if made_of(project, "-_.:") && made_of(dataset, "_") && made_of(table, "_-") {
        Ok(TableName { project: project.to_owned(), dataset: dataset.to_owned(), table: table.to_owned() })
    } else {
        Err(wrong())
    }
}

/// `name TYPE` or `name TYPE MODE`.
fn table_column(value: &Value) -> Result<Column, String> {
    let text = value::text(value)?;
    let wrong = || {
        format!(
            "\"{text}\" is no column of a table; write for example \"trace_id STRING\" or \"tags STRING REPEATED\" (modes NULLABLE, REQUIRED, REPEATED)"
        )
    };
    let mut words = text.split_whitespace();
    let (Some(name), Some(kind)) = (words.next(), words.next()) else { return Err(wrong()) };
    let mode = match words.next().map(str::to_ascii_uppercase).as_deref() {
        None | Some("NULLABLE") => "NULLABLE",
        Some("REQUIRED") => "REQUIRED",
        Some("REPEATED") => "REPEATED",
        Some(_) => return Err(wrong()),
    };
    if words.next().is_some() || !kind.chars().all(|c| c.is_ascii_alphanumeric()) {
        return Err(wrong());
    }
    let name = value::column(&Value::String(name.to_owned()))?;
    Ok(Column { name, kind: kind.to_ascii_uppercase(), mode })
}

fn fingerprint(value: &Value) -> Result<Fingerprint, String> {
    let text = value::text(value)?;
    text.parse().map_err(|_| {
        format!(
            "\"{text}\" is no fingerprint of a schema; write the eight hexadecimal digits that the page shows"
        )
    })
}

fn location(value: &Value) -> Result<String, String> {
    let text = value::text(value)?;
    if text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
        Ok(text)
    } else {
        Err(format!("\"{text}\" is no location; write for example \"EU\" or \"europe-west3\""))
    }
}

/// What `check` and the log should say of a configuration that is sound: where leaks could not be noticed.
pub(super) fn notes(
    stages: &[StageRead<'_>],
    order: &[usize],
    tenants: usize,
    sources: &[Source],
) -> Vec<String> {
    let note = |source: &Source| {
        let path = &stages.get(*order.get(usize::from(source.stage.0))?)?.layer.path;
        let (name, sharing) = (&source.name, source.tenants.len());
        let (labelled, by_tag) = match &source.kind {
            SourceKind::BigQuery(table) => (table.tenant_column.is_some(), table.id_is == IdIs::Tag),
            SourceKind::S3(prefix) => (prefix.after_tenant.is_some(), true),
            SourceKind::Kinesis(_) | SourceKind::CloudWatchLogs(_) => (false, true),
        };
        if sharing > 1 && !labelled {
            let hint = match source.kind.kind() {
                Kind::BigQuery => "; set tenant_column if rows say whose they are",
                Kind::S3 => "; put {tenant} where it stands in key if keys say whose they are",
                Kind::Kinesis | Kind::CloudWatchLogs => "",
            };
            return Some(format!(
                "{path}: {sharing} tenants share {name} and nothing there says whose a canary is, so isolation can only be checked at other stages{hint}"
            ));
        }
        (sharing < tenants && !by_tag).then(|| {
            format!(
                "{path}: trace ids in {name} do not say whose they are, so another tenant's canary there goes unnoticed; isolation is checked where id_is = \"tag\", and at other stages"
            )
        })
    };
    sources.iter().filter_map(note).collect()
}
