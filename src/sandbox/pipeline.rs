//! The pipeline between the services: log group, forwarder, stream, then archive writer on one branch and exporter and
//! transfer on the other.
//!
//! It is one queue of things that are due, and a step that carries out what has become so; one task sleeps until the next.
//! Not a task per event, because then the order of two events would be the scheduler's and no run could be repeated. What
//! happens to the n-th canary of a tenant follows from (seed, tenant, n) and the faults of the moment, never from other events.
//! The pipeline must never look at what clients ask.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, VecDeque};
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::clock::{self, Micros};
use super::fault::{Damage, StageEffect};
use super::names::Stage;
use super::settings::{ARCHIVE_BUCKET, Profile, Settings};
use super::truth::{Arrival, Fate, Incident, find_token};
use super::world::buckets::Object;
use super::world::table::Row;
use super::world::{Shared, World};

/// Events on their way at one time; beyond it noise pauses and PutLogEvents is throttled.
const UNDER_WAY: usize = 200_000;
/// How often old things are forgotten.
const TIDY_EVERY: Duration = Duration::from_secs(5);
/// How much longer than usual a mishap of the believable profile makes a hop.
const SLOW_FACTOR: u32 = 8;

/// One copy of a log event on its way.
#[derive(Debug, Clone)]
struct Item {
    /// Place of the tenant that sent it.
    owner: usize,
    /// Place of the tenant under whose name it travels.
    tenant: usize,
    message: Arc<str>,
    token: Option<Arc<str>>,
    /// The caller's stamp, ms.
    timestamp: i64,
    log_stream: Arc<str>,
    event_id: String,
    /// Decides everything that chance decides about it.
    seed: u64,
    /// Whether the table is where it is going, as its own tenant's.
    for_table: bool,
    mishap: Option<(Mishap, Stage)>,
}

/// What the believable profile does to an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mishap {
    Slow,
    Lost,
    Doubled,
}

/// Something that is due.
#[derive(Debug)]
enum Due {
    Arrive(Stage, Box<Item>),
    /// The batch of a tenant, or of all, becomes an object.
    Flush(Stage, usize),
    Noise(usize),
    Tidy,
}

#[derive(Debug)]
struct Entry {
    at: Micros,
    /// Keeps things that are due at one instant in the order in which they were entered.
    order: u64,
    due: Due,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Entry {}
impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        // Reversed: the heap's greatest is the soonest.
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}

/// What is on its way.
#[derive(Debug)]
pub(crate) struct Pipeline {
    queue: BinaryHeap<Entry>,
    entered: u64,
    /// Held by a stall.
    parked: VecDeque<(Stage, Box<Item>)>,
    /// The faults under which they were parked; they are looked at again only when faults have changed.
    parked_under: u64,
    /// Lines that the archive writer has collected, by tenant.
    archive: Vec<Vec<Item>>,
    /// Lines that the exporter has collected, of all tenants.
    transit: Vec<Item>,
    canaries: Vec<u64>,
    noise: Vec<u64>,
    objects: u64,
}

impl Pipeline {
    pub(crate) fn new(settings: &Settings, now: Micros) -> Self {
        let tenants = settings.tenants.len();
        let mut pipeline = Self {
            queue: BinaryHeap::new(),
            entered: 0,
            parked: VecDeque::new(),
            parked_under: 0,
            archive: vec![Vec::new(); tenants],
            transit: Vec::new(),
            canaries: vec![0; tenants],
            noise: vec![0; tenants],
            objects: 0,
        };
        pipeline.enter(now.after(TIDY_EVERY), Due::Tidy);
        if settings.noise_per_second > 0.0 {
            (0..tenants).for_each(|tenant| pipeline.enter(now, Due::Noise(tenant)));
        }
        pipeline
    }

    fn enter(&mut self, at: Micros, due: Due) {
        self.entered += 1;
        self.queue.push(Entry {
            at,
            order: self.entered,
            due,
        });
    }

    fn under_way(&self) -> usize {
        self.queue.len() + self.parked.len()
    }

    fn take_due(&mut self, now: Micros) -> Option<Due> {
        if self.queue.peek()?.at > now {
            return None;
        }
        self.queue.pop().map(|entry| entry.due)
    }
}

/// Carries out what is due until the sandbox stops.
pub(crate) async fn run(shared: Arc<Shared>, stop: CancellationToken) {
    loop {
        let (next, now) = {
            let mut world = shared.lock();
            let now = clock::now();
            (world.step(now), now)
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = shared.bell.notified() => {}
            () = tokio::time::sleep(next.since(now)) => {}
        }
    }
}

impl World {
    /// Whether no more events can be taken.
    pub(crate) fn is_full(&self) -> bool {
        self.pipeline.under_way() >= UNDER_WAY
    }

    /// Takes a log event into the pipeline.
    pub(crate) fn accept(
        &mut self,
        tenant: usize,
        log_stream: &Arc<str>,
        timestamp: i64,
        message: &str,
        now: Micros,
    ) {
        let token = find_token(message).map(Arc::<str>::from);
        let counter = if token.is_some() {
            &mut self.pipeline.canaries
        } else {
            &mut self.pipeline.noise
        };
        let order = counter[tenant];
        counter[tenant] += 1;
        if let Some(token) = &token {
            self.truth
                .accepted(token, &self.tenants[tenant].spec.name, now);
        }
        let kind = u64::from(token.is_some());
        let seed = mix(mix(mix(self.settings.seed, tenant as u64), kind), order);
        let item = Item {
            owner: tenant,
            tenant,
            message: message.into(),
            token,
            timestamp,
            log_stream: Arc::clone(log_stream),
            event_id: String::new(),
            seed,
            for_table: true,
            mishap: mishap(self.settings.profile, seed),
        };
        self.send(Stage::LogGroup, item, now);
    }

    /// Carries out what is due and says when to come again.
    pub(crate) fn step(&mut self, now: Micros) -> Micros {
        self.faults.expire(now);
        if self.pipeline.parked_under != self.faults.version() {
            self.pipeline.parked_under = self.faults.version();
            for (stage, item) in std::mem::take(&mut self.pipeline.parked) {
                self.arrive(stage, item, now);
            }
        }
        while let Some(due) = self.pipeline.take_due(now) {
            match due {
                Due::Arrive(stage, item) => self.arrive(stage, item, now),
                Due::Flush(stage, tenant) => self.flush(stage, tenant, now),
                Due::Noise(tenant) => self.make_noise(tenant, now),
                Due::Tidy => {
                    self.forget_before(now.before(self.settings.retention));
                    self.pipeline.enter(now.after(TIDY_EVERY), Due::Tidy);
                }
            }
        }
        let next = self
            .pipeline
            .queue
            .peek()
            .map_or(now.after(TIDY_EVERY), |entry| entry.at);
        self.faults.next_end().map_or(next, |end| end.min(next))
    }

    /// Sends an item over a hop.
    fn send(&mut self, hop: Stage, item: Item, now: Micros) {
        let mut rng = item.rng(hop, 1);
        let mut shape = self.settings.pace.of(hop);
        let mut spread = Duration::ZERO;
        for effect in self
            .faults
            .of_stage(hop, &self.tenants[item.tenant].spec.name)
        {
            match effect {
                StageEffect::Delay { delay } => shape = *delay,
                StageEffect::Reorder { spread_ms } => spread = Duration::from_millis(*spread_ms),
                StageEffect::Stall
                | StageEffect::Lose { .. }
                | StageEffect::DeadLetter { .. }
                | StageEffect::Duplicate { .. }
                | StageEffect::Corrupt { .. }
                | StageEffect::Leak { .. } => {}
            }
        }
        let mut delay = shape.draw(&mut rng) + spread.mul_f64(rng.f64());
        if item.mishap == Some((Mishap::Slow, hop)) {
            delay *= SLOW_FACTOR;
            self.note(&item, Incident::Slowed { hop });
        }
        let delay = delay.saturating_sub(self.settings.pace.batch(hop));
        if delay.is_zero() {
            self.arrive(hop, Box::new(item), now);
        } else {
            self.pipeline
                .enter(now.after(delay), Due::Arrive(hop, Box::new(item)));
        }
    }

    /// An item has come to the end of a hop: decides what becomes of it there.
    fn arrive(&mut self, stage: Stage, mut item: Box<Item>, now: Micros) {
        let name = self.tenants[item.tenant].spec.name.clone();
        if self.faults.is_stalled(stage, &name) {
            self.pipeline.parked.push_back((stage, item));
            return;
        }
        let mut rng = item.rng(stage, 2);
        // All numbers are drawn whatever faults there are, so that a fault does not change what the others decide.
        let chance: [f64; 5] = std::array::from_fn(|_| rng.f64());
        let (mut lost, mut aside, mut doubled) = (false, false, false);
        let mut leaks = Vec::new();
        let mut damages = Vec::new();
        for effect in self.faults.of_stage(stage, &name) {
            match effect {
                StageEffect::Lose { probability } => lost |= chance[0] < *probability,
                StageEffect::DeadLetter { probability } => aside |= chance[1] < *probability,
                StageEffect::Duplicate { probability } => doubled |= chance[2] < *probability,
                StageEffect::Corrupt {
                    probability,
                    damage,
                } if chance[3] < *probability => damages.push(*damage),
                StageEffect::Leak { probability, into } if chance[4] < *probability => {
                    leaks.push(into.clone())
                }
                StageEffect::Corrupt { .. }
                | StageEffect::Leak { .. }
                | StageEffect::Delay { .. }
                | StageEffect::Stall
                | StageEffect::Reorder { .. } => {}
            }
        }
        lost |= item.mishap == Some((Mishap::Lost, stage));
        doubled |= item.mishap == Some((Mishap::Doubled, stage));
        for damage in damages {
            item.damage(damage);
            self.note(&item, Incident::Corrupted { stage });
        }
        for into in leaks {
            if let Some(tenant) = self
                .tenant_index(&into)
                .filter(|tenant| *tenant != item.tenant)
            {
                self.note(&item, Incident::Leaked { stage, into });
                let stray = Item {
                    tenant,
                    for_table: false,
                    seed: mix(item.seed, 11),
                    ..(*item).clone()
                };
                self.land(stage, stray, now);
            }
        }
        if aside {
            self.put_aside(stage, &item, now);
        } else if lost {
            self.note(&item, Incident::Dropped { hop: stage });
            self.end(&item, Some(Fate::Lost { hop: stage }));
        } else {
            if doubled {
                self.note(&item, Incident::Duplicated { stage });
                let twin = Item {
                    seed: mix(item.seed, 13),
                    mishap: None,
                    ..(*item).clone()
                };
                if let (Some(token), true) = (&twin.token, twin.for_table) {
                    self.truth.set_out(token);
                }
                self.land(stage, twin, now);
            }
            self.land(stage, *item, now);
        }
    }

    /// Stores a copy at a stage and sends it on.
    fn land(&mut self, stage: Stage, mut item: Item, now: Micros) {
        let capacity = self.settings.capacity;
        let window = self.settings.pace.batch(stage);
        match stage {
            Stage::LogGroup => {
                let group = &mut self.tenants[item.tenant].group;
                item.event_id = group.store(
                    &item.log_stream,
                    item.timestamp,
                    &item.message,
                    now,
                    capacity,
                );
                self.stored(stage, &item, item.event_id.clone(), now);
                self.send(Stage::TenantStream, item, now);
            }
            Stage::TenantStream => {
                let tenant = &mut self.tenants[item.tenant];
                let envelope = json!({
                    "messageType": "DATA_MESSAGE",
                    "owner": tenant.spec.account,
                    "logGroup": tenant.spec.log_group,
                    "logStream": &*item.log_stream,
                    "subscriptionFilters": ["to-sre"],
                    "logEvents": [{"id": item.event_id, "timestamp": item.timestamp, "message": &*item.message}],
                });
                let data = gzip(envelope.to_string().as_bytes());
                let (shard, sequence) =
                    tenant
                        .stream
                        .put(format!("{:016x}", item.seed), data, now, capacity);
                self.stored(
                    stage,
                    &item,
                    format!("{shard}/{}", super::world::streams::sequence_text(sequence)),
                    now,
                );
                self.send(
                    Stage::Archive,
                    Item {
                        for_table: false,
                        ..item.clone()
                    },
                    now,
                );
                self.send(Stage::Transit, item, now);
            }
            Stage::Archive => {
                let tenant = item.tenant;
                self.pipeline.archive[tenant].push(item);
                if self.pipeline.archive[tenant].len() == 1 {
                    self.pipeline
                        .enter(now.after(window), Due::Flush(stage, tenant));
                }
            }
            Stage::Transit => {
                self.pipeline.transit.push(item);
                if self.pipeline.transit.len() == 1 {
                    self.pipeline.enter(now.after(window), Due::Flush(stage, 0));
                }
            }
            Stage::Bigquery => {
                let parsed: Option<serde_json::Value> = serde_json::from_str(&item.message).ok();
                let trace_id = parsed
                    .as_ref()
                    .and_then(|line| line.get("trace_id")?.as_str())
                    .map(Arc::from);
                let tenant = self.tenants[item.tenant].spec.name.as_str().into();
                let row = Row {
                    trace_id,
                    tenant,
                    message: Arc::clone(&item.message),
                    ingest_time: now,
                };
                let number = self.table.insert(row, capacity);
                self.stored(stage, &item, format!("row {number}"), now);
                self.end(&item, None);
            }
            Stage::DeadLetter => self.put_aside(stage, &item, now),
        }
    }

    /// Turns a batch into an object.
    fn flush(&mut self, stage: Stage, tenant: usize, now: Micros) {
        let items = match stage {
            Stage::Archive => std::mem::take(&mut self.pipeline.archive[tenant]),
            Stage::Transit => std::mem::take(&mut self.pipeline.transit),
            Stage::LogGroup | Stage::TenantStream | Stage::Bigquery | Stage::DeadLetter => {
                Vec::new()
            }
        };
        if items.is_empty() {
            return;
        }
        let mut lines = String::new();
        for item in &items {
            lines.push_str(&self.line(item));
            lines.push('\n');
        }
        self.pipeline.objects += 1;
        let mut name = format!(
            "{}-{:06}",
            now.format("%Y%m%dT%H%M%S%.3fZ"),
            self.pipeline.objects % 1_000_000
        );
        if self.faults.keys_unordered(stage) {
            name = format!("{:016x}", mix(self.settings.seed, self.pipeline.objects));
        }
        let key = if stage == Stage::Archive {
            let folder = now.format("dt=%Y-%m-%d/hour=%H");
            format!(
                "archive/tenant={}/{folder}/{name}.ndjson.gz",
                self.tenants[tenant].spec.name
            )
        } else {
            format!("transit/{}/{name}.ndjson.gz", now.format("%Y/%m/%d/%H"))
        };
        let object = self.object(stage, lines.as_bytes(), now);
        let bucket = if stage == Stage::Archive {
            &mut self.archive
        } else {
            &mut self.transit
        };
        bucket.put(key.clone(), object, self.settings.capacity);
        for (number, item) in items.into_iter().enumerate() {
            self.stored(stage, &item, format!("{key}#{}", number + 1), now);
            if stage == Stage::Transit {
                self.send(Stage::Bigquery, item, now);
            }
        }
    }

    /// Puts an item under the dead-letter prefix.
    fn put_aside(&mut self, hop: Stage, item: &Item, now: Micros) {
        self.pipeline.objects += 1;
        let key = format!(
            "dlq/tenant={}/dt={}/{}-{:06}.ndjson.gz",
            self.tenants[item.tenant].spec.name,
            now.format("%Y-%m-%d/hour=%H"),
            now.format("%Y%m%dT%H%M%S%.3fZ"),
            self.pipeline.objects % 1_000_000
        );
        let line = format!("{}\n", self.line(item));
        let object = self.object(Stage::DeadLetter, line.as_bytes(), now);
        self.archive
            .put(key.clone(), object, self.settings.capacity);
        self.stored(
            Stage::DeadLetter,
            item,
            format!("{ARCHIVE_BUCKET}/{key}#1"),
            now,
        );
        self.note(item, Incident::DeadLettered { hop });
        self.end(item, Some(Fate::DeadLettered { hop }));
    }

    fn object(&self, stage: Stage, content: &[u8], now: Micros) -> Object {
        let body = gzip(content);
        let early = self.faults.multipart_early(stage);
        let digest = <md5::Md5 as md5::Digest>::digest(&body);
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        Object {
            body,
            modified: early.map_or(now, |early| now.before(Duration::from_millis(early))),
            visible: now,
            parts: if early.is_some() { 2 } else { 0 },
            etag: if early.is_some() {
                format!("{hex}-2")
            } else {
                hex
            },
        }
    }

    fn line(&self, item: &Item) -> String {
        let tenant = &self.tenants[item.tenant].spec;
        json!({
            "tenant": tenant.name,
            "log_group": tenant.log_group,
            "log_stream": &*item.log_stream,
            "id": item.event_id,
            "timestamp": item.timestamp,
            "message": &*item.message,
        })
        .to_string()
    }

    fn make_noise(&mut self, tenant: usize, now: Micros) {
        let mut rng = fastrand::Rng::with_seed(mix(
            mix(self.settings.seed, tenant as u64),
            self.pipeline.noise[tenant] ^ 0x6e6f,
        ));
        if !self.is_full() {
            let stream: Arc<str> = "app/web-1".into();
            let line = noise_line(&mut rng, now);
            self.accept(tenant, &stream, now.millis(), &line, now);
        }
        // Exponential gaps: lines come as independent requests would cause them.
        let gap = -(1.0 - rng.f64()).ln() / self.settings.noise_per_second;
        self.pipeline.enter(
            now.after(Duration::from_secs_f64(gap.clamp(0.0, 60.0))),
            Due::Noise(tenant),
        );
    }

    fn stored(&mut self, stage: Stage, item: &Item, locator: String, at: Micros) {
        if let Some(token) = &item.token {
            let tenant = self.tenants[item.tenant].spec.name.clone();
            self.truth.arrived(
                token,
                Arrival {
                    stage,
                    at,
                    tenant,
                    locator,
                },
            );
        }
    }

    fn note(&mut self, item: &Item, incident: Incident) {
        if let Some(token) = &item.token {
            self.truth.incident(token, incident);
        }
    }

    fn end(&mut self, item: &Item, fate: Option<Fate>) {
        if let (Some(token), true) = (&item.token, item.for_table) {
            debug_assert_eq!(
                item.owner, item.tenant,
                "only an owner's copy counts for the table"
            );
            self.truth.ended(token, fate);
        }
    }
}

impl Item {
    /// The dice for one decision about it at one stage.
    fn rng(&self, stage: Stage, decision: u64) -> fastrand::Rng {
        fastrand::Rng::with_seed(mix(mix(self.seed, stage as u64 + 1), decision))
    }

    fn damage(&mut self, damage: Damage) {
        let mut bytes = self.message.as_bytes().to_vec();
        match damage {
            Damage::Truncate { bytes: left } => bytes.truncate(left),
            Damage::Mangle => {
                let end = bytes.len().saturating_sub(2);
                bytes[end.saturating_sub(8)..end].fill(b'#');
            }
        }
        self.message = String::from_utf8_lossy(&bytes).into();
    }
}

/// Mixes two numbers into a third that looks like neither (the finalizer of SplitMix64).
fn mix(a: u64, b: u64) -> u64 {
    let mut z = a.wrapping_add(b.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// About one event in a hundred has one: slow more often than lost, lost as often as doubled.
fn mishap(profile: Profile, seed: u64) -> Option<(Mishap, Stage)> {
    if profile == Profile::Calm {
        return None;
    }
    let mut rng = fastrand::Rng::with_seed(mix(seed, 17));
    let kind = match rng.f64() {
        chance if chance < 0.004 => Mishap::Slow,
        chance if chance < 0.007 => Mishap::Lost,
        chance if chance < 0.010 => Mishap::Doubled,
        _ => return None,
    };
    let hops = [
        Stage::TenantStream,
        Stage::Archive,
        Stage::Transit,
        Stage::Bigquery,
    ];
    Some((kind, hops[rng.usize(..hops.len())]))
}

fn noise_line(rng: &mut fastrand::Rng, now: Micros) -> String {
    const PATHS: [&str; 6] = [
        "/api/orders",
        "/api/cart",
        "/login",
        "/healthz",
        "/api/search?q=lamp",
        "/static/app.js",
    ];
    const LEVELS: [&str; 5] = ["INFO", "INFO", "INFO", "DEBUG", "WARN"];
    json!({
        "timestamp": now.format("%Y-%m-%dT%H:%M:%S%.3fZ"),
        "level": LEVELS[rng.usize(..LEVELS.len())],
        "service": "web",
        "trace_id": format!("{:032x}", rng.u128(..)),
        "message": format!("GET {} {} in {} ms", PATHS[rng.usize(..PATHS.len())], 200 + rng.u16(..4) * 100, rng.u16(1..900)),
    })
    .to_string()
}

fn gzip(content: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder
        .write_all(content)
        .and_then(|()| encoder.finish())
        .map(Bytes::from)
        .expect("a Vec takes every write")
}
