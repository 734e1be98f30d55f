//! States of the page: the real tracker follows a script of what a pipeline does in each second.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::app::{App, HistoryReader, Settings};
use crate::cloud::account::Account;
use crate::domain::aggregates::{self, Aggregates};
use crate::domain::canary::{Integrity, Template};
use crate::domain::conditions::{Assessment, Criteria};
use crate::domain::evidence::Evidence;
use crate::domain::incidents::Incidents;
use crate::domain::kind::Kind;
use crate::domain::pipeline::Pipeline;
use crate::domain::sighting::{FailureKind, Locator, Poll, ReadStats, Sighting, Stamp};
use crate::domain::tag::{InstanceCode, Keyring, Purpose, Tag, TagKey, TenantCode, TraceId};
use crate::domain::time::{Timestamp, WallClock};
use crate::domain::tool_endpoints::ToolEndpoints;
use crate::domain::topology::{Owner, Role, Source, SourceId, Stage, StageId, Tenant, TenantId, Topology};
use crate::domain::tracker::tests::seen_everywhere;
use crate::domain::tracker::{Input, PutResult, Restored, Settings as Rules, Snapshot, Tracker};
use crate::observe::bigquery::{self, TableName};
use crate::observe::object_store::{KeyTemplate, Settings as ObjectSettings};
use crate::observe::{cloudwatch_logs, kinesis, s3, spec};

pub(crate) const STREAM: StageId = StageId(0);
pub(crate) const ARCHIVE: StageId = StageId(1);
pub(crate) const TRANSIT: StageId = StageId(2);
pub(crate) const TABLE: StageId = StageId(3);
pub(crate) const ACME: TenantId = TenantId(0);
pub(crate) const GLOBEX: TenantId = TenantId(1);
pub(crate) const INITECH: TenantId = TenantId(2);

/// When the scripts begin: 02:15 UTC.
const START: Timestamp = Timestamp::from_secs(1_795_313_700);

/// The state of a pipeline at one instant, for one tenant.
#[derive(Clone, Default)]
pub(crate) struct Weather {
    /// The stage that a canary does not reach, nor the stages after it.
    pub(crate) dropped_at: Option<StageId>,
    /// Added to the last hop, in milliseconds.
    pub(crate) slow: i64,
    /// The put is refused for this reason.
    pub(crate) refused: Option<&'static str>,
    /// A stage whose source cannot be read, and why.
    pub(crate) blind: Option<(StageId, &'static str)>,
    /// Its canary also appears in the stream of this tenant.
    pub(crate) leaks_to: Option<TenantId>,
}

pub(crate) type Script = fn(u64, TenantId) -> Weather;

/// Runs a script for `minutes` and returns the last state.
pub(crate) fn after(minutes: u64, script: Script) -> Snapshot {
    World::new(["acme", "globex", "initech"]).run(minutes * 60, script)
}

/// A canary, its tenant, when it reaches each stage, and the tenant that it leaks to.
type Sent = (Tag, TenantId, [Option<Timestamp>; 4], Option<TenantId>);

pub(crate) struct World {
    tracker: Tracker,
    map: Arc<Topology>,
    /// Canaries that have been put.
    sent: Vec<Sent>,
    seen: std::collections::BTreeSet<(TraceId, SourceId)>,
    /// Leaked canaries, the source that has each, and since when.
    leaks: Vec<(Tag, SourceId, Timestamp)>,
}

impl World {
    pub(crate) fn new(tenants: [&str; 3]) -> Self {
        Self::of(&tenants)
    }

    /// A world of any number of tenants.
    pub(crate) fn of(tenants: &[&str]) -> Self {
        let map = Arc::new(topology(tenants));
        let s = Duration::from_secs;
        let rules = Rules {
            slo: s(30),
            give_up: s(900),
            grace: s(300),
            blind_after: s(30),
            recheck_for: s(120),
            copy_recheck: s(900),
            max_in_flight: 1_000,
            remember: 1_000,
            remember_of_tenant: 50,
            handover: Duration::ZERO,
            is_kept: true,
            instance: InstanceCode::of("probe-1"),
        };
        let mut tracker = Tracker::new(map.clone(), rules, Timestamp::MIN);
        let seen = seen_everywhere(&map);
        tracker.restore(Restored { seen, ..Restored::default() }, Timestamp::MIN);
        Self { tracker, map, sent: Vec::new(), seen: std::collections::BTreeSet::new(), leaks: Vec::new() }
    }

    pub(crate) fn run(mut self, seconds: u64, script: Script) -> Snapshot {
        let mut incidents = Incidents::new(Duration::from_secs(120));
        let criteria = criteria();
        for second in 0..=seconds {
            let now = START + Duration::from_secs(second);
            for tenant in self.map.clone().tenant_ids() {
                let weather = script(second, tenant);
                if (second + 9 * u64::from(tenant.0)) % 30 == 12 {
                    self.send(tenant, now, second, &weather);
                }
            }
            for source in self.map.clone().source_ids() {
                self.poll(source, now, second, script);
            }
            self.tracker.apply(Input::Tick, now);
            if (seconds - second).is_multiple_of(10) {
                let snapshot = self.tracker.snapshot(now);
                incidents.update(&Assessment::new(&snapshot, &criteria), &snapshot);
            }
        }
        let at = START + Duration::from_secs(seconds) + Duration::from_millis(400);
        Snapshot { episodes: incidents.shown(), ..self.tracker.snapshot(at) }
    }

    fn send(&mut self, tenant: TenantId, now: Timestamp, second: u64, weather: &Weather) {
        let planned = now - Duration::from_millis(340);
        let dice = fastrand::Rng::with_seed(second * 31 + u64::from(tenant.0)).u64(..);
        let mut random = [0; 10];
        random[2..].copy_from_slice(&dice.to_be_bytes());
        let sizes = [100, 500, 1_024, 5_120, 10_240];
        let tag = Tag::new(
            TraceId::new(planned, random),
            self.map.tenant(tenant).code,
            InstanceCode::of("probe-1"),
            sizes[(second / 30) as usize % sizes.len()],
            Purpose::Probe,
        );
        self.tracker.plan(tag, now, &mut Vec::new()).expect("there is room");
        let answered = now + Duration::from_millis(60);
        if let Some(reason) = weather.refused {
            let result = PutResult::Refused { reason: reason.into() };
            self.tracker.apply(Input::Put { trace: tag.trace, result }, answered);
            return;
        }
        self.tracker
            .apply(Input::Put { trace: tag.trace, result: PutResult::Accepted { doubled: false } }, answered);
        let jitter = |bits: u32| dice >> bits & 0xff;
        let arrive = |stage: StageId, millis: u64| {
            let reached = match weather.dropped_at {
                None => true,
                Some(ARCHIVE) => stage != ARCHIVE,
                Some(TRANSIT) => stage != TRANSIT && stage != TABLE,
                Some(at) => at != stage && stage != TABLE,
            };
            reached.then(|| planned + Duration::from_millis(millis))
        };
        let slow = u64::try_from(weather.slow).unwrap();
        let times = [
            arrive(STREAM, 420 + jitter(0)),
            arrive(ARCHIVE, 900 + 3 * jitter(8)),
            arrive(TRANSIT, 1_500 + 4 * jitter(16)),
            arrive(TABLE, 3_000 + 6 * jitter(24) + slow),
        ];
        if let Some(other) = weather.leaks_to {
            let source = self.map.source_of(other, STREAM);
            self.leaks.push((tag, source, planned + Duration::from_millis(700)));
        }
        self.sent.push((tag, tenant, times, weather.leaks_to));
    }

    fn poll(&mut self, source: SourceId, now: Timestamp, second: u64, script: Script) {
        let wanted = self.tracker.wanted(source);
        if wanted.waiting.is_empty() {
            return;
        }
        let spec = self.map.source(source).clone();
        let blind = spec
            .tenants
            .iter()
            .find_map(|tenant| script(second, *tenant).blind.filter(|(stage, _)| *stage == spec.stage));
        if let Some((_, why)) = blind {
            let failed = Input::PollFailed { source, kind: FailureKind::Denied, detail: why.into() };
            self.tracker.apply(failed, now);
            return;
        }
        let end = now + Duration::from_millis(180);
        let mut sightings = Vec::new();
        for (tag, tenant, times, _) in &self.sent {
            let Some(at) = times[usize::from(spec.stage.0)].filter(|at| *at < now) else { continue };
            if spec.tenants.contains(tenant) && self.seen.insert((tag.trace, source)) {
                sightings.push(sighting(tag, spec.stage, at, end));
            }
        }
        for (tag, place, at) in &self.leaks {
            if *place == source && *at < now && self.seen.insert((tag.trace, source)) {
                sightings.push(sighting(tag, spec.stage, *at, end));
            }
        }
        let poll = Poll {
            revision: wanted.revision,
            started: now,
            finished: end,
            watermark: Some(now),
            sightings,
            stats: ReadStats::default(),
            unreadable: Vec::new(),
            failed_batches: Vec::new(),
        };
        self.tracker.apply(Input::Polled { source, poll }, end);
    }
}

fn sighting(tag: &Tag, stage: StageId, at: Timestamp, end: Timestamp) -> Sighting {
    let id = tag.trace.to_string();
    let (stamp, locator) = match stage {
        STREAM => (
            Stamp::Millis(at.floor_to_millis()),
            Locator::new(format!(
                "shardId-000000000000:495903382714902566085596925383615{:09}",
                at.millis() % 1_000_000_000
            )),
        ),
        ARCHIVE => (
            Stamp::Seconds(Timestamp::from_secs(at.millis().div_euclid(1_000))),
            Locator::within(
                &format!("s3://sre-archive/archive/dt={}/{}.json.gz", at.strftime("%F/hour=%H"), &id[..12]),
                3,
            ),
        ),
        TRANSIT => (
            Stamp::None,
            Locator::within(
                &format!("s3://sre-transit/transit/{}/{}.ndjson", at.strftime("%Y/%m/%d/%H"), &id[..12]),
                0,
            ),
        ),
        _ => (Stamp::Millis(at.floor_to_millis()), Locator::new(format!("row {}", &id[24..]))),
    };
    let integrity = if stage == TABLE { Integrity::Unchecked } else { Integrity::Intact };
    Sighting {
        tag: *tag,
        stamp,
        seen_by: end,
        locator,
        label: None,
        integrity,
        found_in: crate::domain::format::FoundIn::default(),
    }
}

fn topology(names: &[&str]) -> Topology {
    let tenant = |name: &&str| Tenant {
        name: (*name).into(),
        code: TenantCode::of(name),
        label: (*name).into(),
        log_groups: vec![format!("/ecs/{name}/app").into()],
        template: Template::default(),
        interval: Duration::from_secs(30),
    };
    let stage = |name: &str, kind, parent, role, target| Stage {
        name: name.into(),
        kind,
        capabilities: spec(kind).capabilities,
        parent,
        role,
        target: Some(Duration::from_millis(target)),
        critical: None,
        missing_after: Duration::from_secs(30),
        clock_allowance: Duration::from_millis(50),
    };
    let ids: Vec<TenantId> = (0..).map(TenantId).take(names.len()).collect();
    let own = |stage, kind: &str, index: usize| Source {
        stage,
        name: format!("{kind}{}", names[index]).into(),
        owner: Owner::One(ids[index]),
        tenants: vec![ids[index]],
    };
    let shared =
        |stage, name: &str| Source { stage, name: name.into(), owner: Owner::Shared, tenants: ids.clone() };
    let mut sources: Vec<_> = (0..names.len()).map(|index| own(STREAM, "kinesis logs-", index)).collect();
    sources.extend((0..names.len()).map(|index| own(ARCHIVE, "s3 sre-archive/archive/tenant=", index)));
    sources.push(shared(TRANSIT, "s3 sre-transit/transit"));
    sources.push(shared(TABLE, "bigquery my-project.logs.events"));
    Topology::new(
        names.iter().map(tenant).collect(),
        vec![
            stage("tenant_stream", Kind::Kinesis, None, Role::Way, 1_000),
            stage("archive", Kind::S3, Some(STREAM), Role::Way, 5_000),
            stage("transit", Kind::S3, Some(STREAM), Role::Way, 10_000),
            stage("bigquery", Kind::BigQuery, Some(TRANSIT), Role::End, 15_000),
        ],
        sources,
    )
    .unwrap()
}

/// The same of one tenant, with a stage for what could not pass to the table.
pub(crate) fn with_dead_letters() -> Topology {
    let whole = topology(&["acme"]);
    let dead = StageId(4);
    let dead_letter = Stage {
        name: "dead_letter".into(),
        kind: Kind::S3,
        capabilities: spec(Kind::S3).capabilities,
        parent: Some(TRANSIT),
        role: Role::DeadLetter,
        target: None,
        ..whole.stage(TRANSIT).clone()
    };
    let source =
        Source { stage: dead, name: "s3 sre-dead".into(), owner: Owner::Shared, tenants: vec![ACME] };
    let stages = whole.stages().iter().cloned().chain([dead_letter]).collect();
    let sources = whole.sources().iter().cloned().chain([source]).collect();
    Topology::new(whole.tenants().to_vec(), stages, sources).unwrap()
}

fn evidence() -> Vec<Arc<dyn Evidence>> {
    let account = || Account::in_region("eu-central-1");
    let kinesis = |name: &str| -> Arc<dyn Evidence> {
        Arc::new(kinesis::Settings::new(account(), format!("logs-{name}")))
    };
    let s3 = |bucket: &str, key: String| -> Arc<dyn Evidence> {
        let objects = ObjectSettings::new(bucket, KeyTemplate::new(key));
        Arc::new(s3::Settings { account: account(), objects })
    };
    let archive = |name: &str| s3("sre-archive", format!("archive/tenant={name}/dt=%Y-%m-%d/hour=%H/"));
    let table = TableName::parse("my-project.logs.events").unwrap();
    let table = bigquery::Settings {
        time_column: Some("ingest_time".to_owned()),
        ..bigquery::Settings::new(table, "trace_id")
    };
    vec![
        kinesis("acme"),
        kinesis("globex"),
        kinesis("initech"),
        archive("acme"),
        archive("globex"),
        archive("initech"),
        s3("sre-transit", "transit/%Y/%m/%d/%H/".to_owned()),
        Arc::new(table),
    ]
}

fn criteria() -> Criteria {
    Criteria { window: Some(Duration::from_secs(1_800)), ..Criteria::new(Duration::from_secs(30)) }
}

fn log_groups() -> Vec<Vec<Arc<dyn Evidence>>> {
    let log_group = |name: &str| -> Vec<Arc<dyn Evidence>> {
        let account = Account::in_region("eu-central-1");
        vec![Arc::new(cloudwatch_logs::Settings::new(account, format!("/ecs/{name}/app")))]
    };
    ["acme", "globex", "initech"].map(log_group).into()
}

/// The inputs of all pages for a state; the clock is 250 ms later.
pub(crate) fn app(snapshot: Snapshot) -> App {
    let now = snapshot.at + Duration::from_millis(250);
    let history = history(&snapshot);
    let (_, receiver) = watch::channel(Arc::new(snapshot));
    let keys = Keyring::new(TagKey::new("0123456789abcdef").unwrap(), Vec::new());
    App {
        snapshot: receiver,
        clock: WallClock::new(move || now),
        settings: Arc::new(Settings {
            version: "0.1.0".to_owned(),
            runbook: None,
            external_url: Some("https://probe.example".to_owned()),
            criteria: criteria(),
            give_up: Duration::from_secs(900),
            remember: 1_000,
            pipeline: Pipeline {
                forwarder: Some("log-forwarder-{tenant}".to_owned()),
                export: Some("log-export".to_owned()),
                ..Pipeline::default()
            },
            stale_after: Duration::from_secs(30),
            endpoints: ToolEndpoints::default(),
            evidence: (0..).map(SourceId).zip(evidence()).collect(),
            log_groups: (0..).map(TenantId).zip(log_groups()).collect(),
        }),
        config: Arc::new(serde_json::json!({ "probe": { "slo": "30s" } })),
        ready: Arc::new(|| Err("`bigquery` has not been read yet".to_owned())),
        scrape: Arc::new(|format| format!("# {format:?}\nup 1\n")),
        sign: Arc::new(move |tag| keys.sign(tag)),
        history,
        drill: None,
        reload: None,
        log_level: None,
    }
}

/// Figures over time of the canaries of a state.
fn history(snapshot: &Snapshot) -> HistoryReader {
    let criteria = criteria();
    let settings = aggregates::Settings { slo: criteria.slo, give_up: Duration::from_secs(900) };
    let mut figures = Aggregates::new(snapshot.topology.clone(), settings, Timestamp::MIN);
    snapshot.finished.iter().for_each(|trace| figures.settle(trace));
    figures.judge(&Assessment::new(snapshot, &criteria), snapshot.at);
    figures.close(snapshot.open.first().map(|trace| trace.planned_at), snapshot.at);
    let open = snapshot.open.clone();
    Arc::new(move |selection| figures.excerpt(selection).with_open(open.iter().map(AsRef::as_ref)))
}

pub(crate) fn healthy(_: u64, _: TenantId) -> Weather {
    Weather::default()
}

/// From minute 20 on, nothing of the first tenant reaches transit.
pub(crate) fn stuck(second: u64, tenant: TenantId) -> Weather {
    let dropped = tenant == ACME && second >= 1_200;
    Weather { dropped_at: dropped.then_some(TRANSIT), ..Weather::default() }
}

/// Every fifth canary of the second tenant is lost on the hop to the table.
pub(crate) fn losing(second: u64, tenant: TenantId) -> Weather {
    let dropped = tenant == GLOBEX && (second / 30).is_multiple_of(5);
    Weather { dropped_at: dropped.then_some(TABLE), ..Weather::default() }
}

/// From minute 20 on, the table cannot be read.
pub(crate) fn blind(second: u64, _: TenantId) -> Weather {
    let why = "403 from jobs.query: Access Denied: User does not have bigquery.jobs.create permission in project my-project";
    Weather { blind: (second >= 1_200).then_some((TABLE, why)), ..Weather::default() }
}

/// From minute 10 on, the third tenant's log group refuses canaries.
pub(crate) fn refusing(second: u64, tenant: TenantId) -> Weather {
    let refused = tenant == INITECH && second >= 600;
    let why = "AccessDeniedException: not authorized to perform logs:PutLogEvents on /ecs/initech/app";
    Weather { refused: refused.then_some(why), ..Weather::default() }
}

/// Canaries of the first tenant appear in the stream of the second, and the third is slow.
pub(crate) fn leaking(second: u64, tenant: TenantId) -> Weather {
    let leaks = tenant == ACME && (1_500..1_560).contains(&second);
    Weather {
        leaks_to: leaks.then_some(GLOBEX),
        slow: if tenant == INITECH && second > 900 { 38_000 } else { 0 },
        ..Weather::default()
    }
}

/// From minute 20 on, nothing of the first tenant reaches transit, and the second tenant's log group refuses
/// canaries.
pub(crate) fn stuck_beside_refusing(second: u64, tenant: TenantId) -> Weather {
    let refused = tenant == GLOBEX && second >= 1_200;
    Weather { refused: refused.then_some("AccessDeniedException"), ..stuck(second, tenant) }
}

/// From minute 20 on, the archive drops everything of the second tenant.
pub(crate) fn unarchived(second: u64, tenant: TenantId) -> Weather {
    let dropped = tenant == GLOBEX && second >= 1_200;
    Weather { dropped_at: dropped.then_some(ARCHIVE), ..Weather::default() }
}

/// One canary of the first tenant is lost in minute 10.
pub(crate) fn one_lost(second: u64, tenant: TenantId) -> Weather {
    let dropped = tenant == ACME && (600..630).contains(&second);
    Weather { dropped_at: dropped.then_some(TABLE), ..Weather::default() }
}

/// Several faults at once.
pub(crate) fn night(second: u64, tenant: TenantId) -> Weather {
    match tenant {
        ACME => stuck(second, tenant),
        GLOBEX => losing(second, tenant),
        _ => Weather { slow: if second > 900 { 38_000 } else { 0 }, ..Weather::default() },
    }
}
