//! From a configuration to parts that are ready to run. Nothing is called and nothing is started here.
//!
//! A new kind of stage has one arm in here: [`Looker::new`].

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;

use crate::cloud::aws::{Aws, AwsSettings, Endpoints, Role, Timeouts};
use crate::cloud::calls::Calls;
use crate::cloud::gcp::{Auth, Gcp, GcpSettings, GcpTimeouts};
use crate::config::{self, Account, AwsAuth, Config, GcpAuth, IdIs, Partition, Source, SourceKind};
use crate::domain::schema::{self, TableSchema};
use crate::domain::sighting::{Sweep, Wanted};
use crate::domain::tag::TenantCode;
use crate::domain::time::WallClock;
use crate::domain::topology::{SourceId, TenantId};
use crate::domain::tracker::Tracker;
use crate::inject::{self, Injector, Retry};
use crate::observe::pace::Rhythm;
use crate::observe::turns::Turns;
use crate::observe::{
    Findings, Gaps, Observe, ObserveError, Recognizer, bigquery, cloudwatch_logs, kinesis, s3,
};
use crate::web::Place;

/// Makes the clients that injectors and observers need.
pub struct Clients {
    aws: Aws,
    /// Only made when a stage needs it: credentials for a cloud that is not used must not stop the daemon.
    gcp: Option<Gcp>,
    /// Turns at the calls of accounts that have a small quota, by region and account.
    // A mutex, because sources are built one by one and must find each other's; held for a look-up at start-up.
    turns: Mutex<HashMap<(String, String), Turns>>,
    /// Room for what streams answer.
    pages: kinesis::Pages,
}

/// What shows in the `CloudTrail` of an account whose role we assume.
const SESSION_NAME: &str = "traceprobe";

impl Clients {
    /// Reads credentials from where the tools of both clouds keep them.
    ///
    /// # Errors
    ///
    /// When Google credentials are needed and cannot be used.
    pub async fn new(config: &Config, calls: Calls) -> anyhow::Result<Self> {
        let ends = config.aws.endpoints.clone();
        let endpoints = Endpoints { logs: ends.logs, kinesis: ends.kinesis, s3: ends.s3, sts: ends.sts };
        let region = config.aws.region.clone();
        let anonymous = config.aws.auth == AwsAuth::None;
        let timeouts = Timeouts::default();
        let settings = AwsSettings { region, endpoint: None, endpoints, anonymous, timeouts };
        let aws = Aws::new(settings, calls.clone()).await;
        let needs_gcp = config.sources.iter().any(|source| matches!(source.kind, SourceKind::BigQuery(_)));
        let gcp = if needs_gcp {
            let auth = match &config.gcp.auth {
                GcpAuth::Adc => Auth::ApplicationDefault,
                GcpAuth::ServiceAccount { credentials_file } => {
                    Auth::ServiceAccountFile(credentials_file.into())
                }
                GcpAuth::WorkloadIdentity { credentials_file } => {
                    Auth::WorkloadIdentity(credentials_file.into())
                }
                GcpAuth::None => Auth::None,
            };
            let endpoint = config.gcp.endpoint.clone();
            let identity = Some(aws.for_role(None, None));
            let settings = GcpSettings { endpoint, auth, timeouts: GcpTimeouts::default(), aws: identity };
            Some(Gcp::new(&settings, calls).await.context("gcp.auth")?)
        } else {
            None
        };
        Ok(Self { aws, gcp, turns: Mutex::default(), pages: kinesis::Pages::default() })
    }

    fn turns_of(&self, account: &Account) -> Turns {
        // arn:aws:iam::111111111111:role/name
        let role = account.role.as_ref().and_then(|role| role.arn.split(':').nth(4));
        let key = (account.region.clone(), role.unwrap_or_default().to_owned());
        self.turns.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default().clone()
    }

    fn config_of(&self, account: &Account) -> aws_config::SdkConfig {
        let role = account.role.as_ref().map(|role| Role {
            arn: role.arn.clone(),
            external_id: role.external_id.as_ref().map(|id| id.expose().to_owned()),
            session_name: SESSION_NAME.to_owned(),
        });
        self.aws.for_role(role.as_ref(), Some(&account.region))
    }
}

/// A log group, and the tenants whose canaries go there.
pub struct Destination {
    /// For people: the name of the task in front of it.
    pub name: String,
    /// Puts canaries there.
    pub injector: Injector,
    /// Whose.
    pub tenants: Vec<TenantId>,
}

/// One injector for each log group, so that all canaries due for it leave in one call.
#[must_use]
pub fn destinations(config: &Config, clients: &Clients, clock: &WallClock) -> Vec<Destination> {
    let mut known: HashMap<(&Account, &str, &str), usize> = HashMap::new();
    let mut all: Vec<Destination> = Vec::new();
    for (index, tenant) in config.tenants.iter().enumerate() {
        let id = TenantId(u16::try_from(index).unwrap_or(u16::MAX));
        let key = (&tenant.account, &*tenant.log_group, &*tenant.log_stream);
        if let Some(at) = known.get(&key) {
            all[*at].tenants.push(id);
            continue;
        }
        known.insert(key, all.len());
        let settings = inject::Settings {
            log_group: tenant.log_group.clone(),
            log_stream: tenant.log_stream.clone(),
            retry: Retry::default(),
            attempt_timeout: Duration::from_secs(5),
        };
        let client = clients.aws.logs(&clients.config_of(&tenant.account));
        all.push(Destination {
            name: format!("inject {}", tenant.log_group),
            injector: Injector::new(settings, client, clock.clone()),
            tenants: vec![id],
        });
    }
    all
}

/// What every observer needs to tell our canaries from everything else.
#[must_use]
pub fn recognizer(config: &Config) -> Recognizer {
    let topology = config.topology();
    let templates = topology.tenants().iter().map(|tenant| (tenant.code, tenant.template.clone()));
    Recognizer { keys: Arc::new(config.keyring.clone()), templates: templates.collect() }
}

/// How often a source is looked at.
#[must_use]
pub fn rhythm(source: &Source) -> Rhythm {
    Rhythm { interval: source.interval, timeout: source.timeout, settle: source.settle }
}

/// An observer of any kind. The only place that knows them all.
pub enum Looker {
    /// A stream.
    Kinesis(kinesis::Kinesis),
    /// A prefix.
    S3(s3::S3),
    /// A log group.
    CloudWatchLogs(cloudwatch_logs::CloudWatchLogs),
    /// A table.
    BigQuery(Box<bigquery::BigQuery>),
}

impl Looker {
    /// The observer of a source.
    ///
    /// # Errors
    ///
    /// When it needs a client that could not be made.
    pub fn new(
        source: &Source,
        config: &Config,
        clients: &Clients,
        recognizer: &Recognizer,
        clock: &WallClock,
    ) -> anyhow::Result<Self> {
        let (recognizer, clock) = (recognizer.clone(), clock.clone());
        Ok(match &source.kind {
            SourceKind::Kinesis(of) => {
                let settings = kinesis::Settings {
                    max_records_per_call: i32::try_from(of.max_records).unwrap_or(i32::MAX),
                    max_bytes_per_second: of.max_bytes_per_second,
                    // A second each, and one to spare before the next look; more than a few wait for it.
                    pages_per_look: u8::try_from(source.interval.as_secs().saturating_sub(1).clamp(1, 4))
                        .unwrap_or(1),
                    pages: clients.pages.clone(),
                    settle: source.settle,
                    gaps: gaps(of.gaps),
                    ..kinesis::Settings::new(&of.stream)
                };
                let client = clients.aws.kinesis(&clients.config_of(&of.account));
                Self::Kinesis(kinesis::Kinesis::new(settings, client, recognizer, clock))
            }
            SourceKind::S3(of) => {
                let settings = s3::Settings {
                    labels: of.after_tenant.as_ref().map(|after| {
                        let names = config.tenants.iter().map(|of| (of.name.clone(), of.label.clone()));
                        s3::KeyLabels::new(after, names)
                    }),
                    key_slack: of.key_slack,
                    ordered_keys: of.ordered_keys,
                    max_keys_per_sweep: usize::try_from(of.max_keys).unwrap_or(usize::MAX),
                    max_object_bytes: of.max_object,
                    max_inflated_bytes: of.max_inflated,
                    gaps: gaps(of.gaps),
                    ..s3::Settings::new(&of.bucket, s3::KeyTemplate::new(&of.key))
                };
                let client = clients.aws.s3(&clients.config_of(&of.account));
                Self::S3(s3::S3::new(settings, client, recognizer, clock))
            }
            SourceKind::CloudWatchLogs(of) => {
                let settings = cloudwatch_logs::Settings {
                    filter_pattern: of.filter_pattern.clone(),
                    enough: source.timeout / 2,
                    pause: Duration::from_secs(1) / of.max_calls_per_second,
                    turns: clients.turns_of(&of.account),
                    settle: source.settle,
                    gaps: gaps(of.gaps),
                    ..cloudwatch_logs::Settings::new(&of.log_group)
                };
                let client = clients.aws.logs(&clients.config_of(&of.account));
                Self::CloudWatchLogs(cloudwatch_logs::CloudWatchLogs::new(
                    settings, client, recognizer, clock,
                ))
            }
            SourceKind::BigQuery(of) => {
                let table = bigquery::TableName {
                    project: of.table.project.clone(),
                    dataset: of.table.dataset.clone(),
                    table: of.table.table.clone(),
                };
                let settings = bigquery::Settings {
                    billing_project: config.gcp.project.clone(),
                    location: of.location.clone(),
                    id_is: match of.id_is {
                        IdIs::Tag => bigquery::IdIs::Tag,
                        IdIs::TraceId => bigquery::IdIs::TraceId,
                    },
                    owners: owners(source, config),
                    time_column: of.time_column.clone(),
                    tenant_column: of.tenant_column.clone(),
                    body_column: of.body_column.clone(),
                    predicate: match &of.partition {
                        Partition::Auto => bigquery::Predicate::Auto,
                        Partition::None => bigquery::Predicate::None,
                        Partition::Custom(sql) => bigquery::Predicate::Custom(sql.clone()),
                    },
                    max_bytes_billed: of.max_bytes_billed,
                    daily_bytes_billed: of.daily_bytes_billed,
                    refresh: of.schema_refresh,
                    ..bigquery::Settings::new(table, &of.id_column).within(source.timeout)
                };
                let gcp = clients.gcp.clone().context("no client for Google was made")?;
                Self::BigQuery(Box::new(bigquery::BigQuery::new(settings, gcp, recognizer, clock)))
            }
        })
    }
}

fn gaps(gaps: config::Gaps) -> Gaps {
    match gaps {
        config::Gaps::Skip => Gaps::Skip,
        config::Gaps::Read => Gaps::Read,
    }
}

/// Whose canaries may be at a source, where it is not everybody's.
fn owners(source: &Source, config: &Config) -> Option<Vec<TenantCode>> {
    let topology = config.topology();
    let tenants = topology.tenants();
    let codes = source.tenants.iter().map(|id| tenants[usize::from(id.0)].code);
    (source.tenants.len() < tenants.len()).then(|| codes.collect())
}

/// Tells the tracker what the schemas of sources should be, as far as the configuration says.
pub fn expect_schemas(config: &Config, tracker: &mut Tracker) {
    for (id, source) in (0..).map(SourceId).zip(&config.sources) {
        let SourceKind::BigQuery(of) = &source.kind else { continue };
        match &of.schema {
            Some(columns) => tracker.pin_schema(id, Arc::new(table_schema(columns))),
            None => tracker.accept_schemas(id, of.schema_accepted.clone()),
        }
    }
}

fn table_schema(columns: &[config::Column]) -> TableSchema {
    let column = |column: &config::Column| schema::Column {
        name: column.name.clone(),
        kind: column.kind.clone(),
        mode: column.mode.to_owned(),
    };
    TableSchema { columns: columns.iter().map(column).collect() }
}

impl Observe for Looker {
    fn schema(&self) -> Option<Arc<TableSchema>> {
        match self {
            Self::Kinesis(observer) => observer.schema(),
            Self::S3(observer) => observer.schema(),
            Self::CloudWatchLogs(observer) => observer.schema(),
            Self::BigQuery(observer) => observer.schema(),
        }
    }

    async fn sweep(&mut self, wanted: &Wanted) -> Result<Sweep, ObserveError> {
        match self {
            Self::Kinesis(observer) => observer.sweep(wanted).await,
            Self::S3(observer) => observer.sweep(wanted).await,
            Self::CloudWatchLogs(observer) => observer.sweep(wanted).await,
            Self::BigQuery(observer) => observer.sweep(wanted).await,
        }
    }

    fn partial(&mut self) -> Findings {
        match self {
            Self::Kinesis(observer) => observer.partial(),
            Self::S3(observer) => observer.partial(),
            Self::CloudWatchLogs(observer) => observer.partial(),
            Self::BigQuery(observer) => observer.partial(),
        }
    }

    fn rest(&mut self) {
        match self {
            Self::Kinesis(observer) => observer.rest(),
            Self::S3(observer) => observer.rest(),
            Self::CloudWatchLogs(observer) => observer.rest(),
            Self::BigQuery(observer) => observer.rest(),
        }
    }
}

/// Where a source lies, for the look-ups that the page offers.
#[must_use]
pub fn place(source: &Source) -> Place {
    match &source.kind {
        SourceKind::Kinesis(of) => {
            Place::Kinesis { stream: of.stream.clone(), region: Some(of.account.region.clone()) }
        }
        SourceKind::S3(of) => Place::S3 {
            bucket: of.bucket.clone(),
            prefix: of.key.clone(),
            region: Some(of.account.region.clone()),
        },
        SourceKind::CloudWatchLogs(of) => {
            Place::CloudWatchLogs { log_group: of.log_group.clone(), region: Some(of.account.region.clone()) }
        }
        SourceKind::BigQuery(of) => Place::BigQuery {
            table: of.table.to_string(),
            id_column: of.id_column.clone(),
            time_column: of.time_column.clone(),
        },
    }
}
