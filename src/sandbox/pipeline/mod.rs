//! The pipeline between the services: log group, forwarder and stream; then the archive writer, and in
//! parallel the exporter and the load into the table. The storage transfer copies what the exporter wrote.
//!
//! It is one queue of due actions, a step that carries out what is due, and one task that sleeps until the
//! next. With a task per event, the scheduler would decide the order of two events and no run could be
//! repeated. The fate of the n-th canary of a tenant depends only on (seed, tenant, n) and the current
//! faults, never on other events. The pipeline must not depend on what clients request.

mod compaction;
mod event_copy;
mod noise;
mod objects;
mod queue;

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio_util::sync::CancellationToken;

use self::event_copy::{DUPLICATE, EventCopy, LEAKED_COPY, Mishap, draw_mishap, mix};
use self::objects::gzip;
pub(crate) use self::objects::plain_object;
use self::queue::Due;
pub(crate) use self::queue::Pipeline;
use super::clock::{self, Micros};
use super::fault::StageEffect;
use super::names::Stage;
use super::truth::{Arrival, Fate, Incident, find_token};
use super::world::table::Row;
use super::world::{Shared, World};

/// Maximum number of events in the pipeline; beyond it noise pauses and PutLogEvents is throttled.
const UNDER_WAY: usize = 200_000;
/// How often expired records, objects, rows and log events are removed.
const TIDY_EVERY: Duration = Duration::from_secs(5);
/// Factor by which a mishap of the believable profile slows a hop down.
const SLOW_FACTOR: u32 = 8;

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
            () = shared.wake.notified() => {}
            () = tokio::time::sleep(next.since(now)) => {}
        }
    }
}

impl World {
    /// Whether no more events can be accepted.
    pub(crate) fn is_full(&self) -> bool {
        self.pipeline.under_way() >= UNDER_WAY
    }

    /// Accepts a log event into the pipeline.
    pub(crate) fn accept(
        &mut self,
        tenant: usize,
        log_stream: &Arc<str>,
        timestamp_ms: i64,
        message: &str,
        now: Micros,
    ) {
        let token = find_token(message).map(Arc::<str>::from);
        let counter = if token.is_some() { &mut self.pipeline.canaries } else { &mut self.pipeline.noise };
        let order = counter[tenant];
        counter[tenant] += 1;
        if let Some(token) = &token {
            self.truth.accepted(token, &self.tenants[tenant].spec.name, now);
        }
        let kind = u64::from(token.is_some());
        let seed = mix(mix(mix(self.settings.seed, tenant as u64), kind), order);
        let copy = EventCopy {
            sender: tenant,
            routed_to: tenant,
            message: message.into(),
            token,
            timestamp_ms,
            log_stream: Arc::clone(log_stream),
            event_id: String::new(),
            seed,
            counts_for_truth: true,
            mishap: draw_mishap(self.settings.profile, seed),
            transit_object: None,
        };
        self.send(Stage::LogGroup, copy, now);
    }

    /// Carries out what is due, and returns when the next action is due.
    pub(crate) fn step(&mut self, now: Micros) -> Micros {
        self.faults.expire(now);
        if self.pipeline.parked_under != self.faults.version() {
            self.pipeline.parked_under = self.faults.version();
            for (stage, copy) in std::mem::take(&mut self.pipeline.parked) {
                self.arrive(stage, copy, now);
            }
        }
        while let Some(due) = self.pipeline.take_due(now) {
            match due {
                Due::Arrive(stage, copy) => self.arrive(stage, copy, now),
                Due::Store(stage, copy) => self.store_copy(stage, *copy, now),
                Due::Flush(stage, tenant) => self.flush(stage, tenant, now),
                Due::Copy(transit_object) => self.copy(&transit_object, now),
                Due::Merge(stage, folder, keep) => self.merge(stage, folder, keep, now),
                Due::Delete(stage, keys) => self.delete(stage, &keys),
                Due::Noise(tenant) => self.make_noise(tenant, now),
                Due::Tidy => {
                    self.forget_before(now.before(self.settings.retention));
                    self.pipeline.enter(now.after(TIDY_EVERY), Due::Tidy);
                }
            }
        }
        let next = self.pipeline.next().unwrap_or(now.after(TIDY_EVERY));
        self.faults.next_end().map_or(next, |end| end.min(next))
    }

    /// Sends a copy over a hop.
    fn send(&mut self, hop: Stage, copy: EventCopy, now: Micros) {
        let mut rng = copy.delay_rng(hop);
        let mut shape = self.settings.pace.of(hop);
        let mut spread = Duration::ZERO;
        let mut limit = None;
        for effect in self.faults.of_stage(hop, &self.tenants[copy.routed_to].spec.name) {
            match effect {
                StageEffect::Delay { delay } => shape = *delay,
                StageEffect::Reorder { spread_ms } => spread = Duration::from_millis(*spread_ms),
                StageEffect::Limit { per_second } => limit = Some(*per_second),
                StageEffect::Stall
                | StageEffect::Lose { .. }
                | StageEffect::DeadLetter { .. }
                | StageEffect::Duplicate { .. }
                | StageEffect::Corrupt { .. }
                | StageEffect::Leak { .. } => {}
            }
        }
        let mut delay = shape.draw(&mut rng) + spread.mul_f64(rng.f64());
        if copy.mishap == Some((Mishap::Slow, hop)) {
            delay *= SLOW_FACTOR;
            self.note(&copy, Incident::Slowed { hop });
        }
        let mut delay = delay.saturating_sub(self.settings.pace.batch(hop));
        if let Some(per_second) = limit {
            // A rate of nothing would be a stall, which is a fault of its own.
            let apart = Duration::from_secs_f64(1.0 / per_second.max(0.001));
            let free = self.pipeline.free_at.entry(hop).or_insert(now);
            let at = now.after(delay).max(*free);
            *free = at.after(apart);
            delay = at.since(now);
        }
        if delay.is_zero() {
            self.arrive(hop, Box::new(copy), now);
        } else {
            self.pipeline.enter(now.after(delay), Due::Arrive(hop, Box::new(copy)));
        }
    }

    /// Decides what happens to a copy at the end of a hop.
    fn arrive(&mut self, stage: Stage, mut copy: Box<EventCopy>, now: Micros) {
        let name = self.tenants[copy.routed_to].spec.name.clone();
        if self.faults.is_stalled(stage, &name) {
            self.pipeline.parked.push_back((stage, copy));
            return;
        }
        let mut rng = copy.arrival_rng(stage);
        // All numbers are drawn whatever faults there are, so that a fault does not change other decisions.
        let rolls: [f64; 5] = std::array::from_fn(|_| rng.f64());
        let (mut lost, mut dead, mut duplicated) = (false, false, false);
        let mut leaks = Vec::new();
        let mut damages = Vec::new();
        for effect in self.faults.of_stage(stage, &name) {
            match effect {
                StageEffect::Lose { probability } => lost |= rolls[0] < *probability,
                StageEffect::DeadLetter { probability } => dead |= rolls[1] < *probability,
                StageEffect::Duplicate { probability } => duplicated |= rolls[2] < *probability,
                StageEffect::Corrupt { probability, damage } if rolls[3] < *probability => {
                    damages.push(*damage)
                }
                StageEffect::Leak { probability, into } if rolls[4] < *probability => {
                    leaks.push(into.clone())
                }
                StageEffect::Corrupt { .. }
                | StageEffect::Leak { .. }
                | StageEffect::Delay { .. }
                | StageEffect::Stall
                | StageEffect::Reorder { .. }
                | StageEffect::Limit { .. } => {}
            }
        }
        lost |= copy.mishap == Some((Mishap::Lost, stage));
        duplicated |= copy.mishap == Some((Mishap::Duplicated, stage));
        for damage in damages {
            copy.apply_damage(damage);
            self.note(&copy, Incident::Corrupted { stage });
        }
        for into in leaks {
            if let Some(tenant) = self.tenant_index(&into).filter(|tenant| *tenant != copy.routed_to) {
                self.note(&copy, Incident::Leaked { stage, into });
                let leaked = EventCopy {
                    routed_to: tenant,
                    counts_for_truth: false,
                    seed: mix(copy.seed, LEAKED_COPY),
                    ..(*copy).clone()
                };
                self.store_copy(stage, leaked, now);
            }
        }
        if dead {
            self.dead_letter(stage, &copy, now);
        } else if lost {
            self.note(&copy, Incident::Dropped { hop: stage });
            self.end(&copy, Some(Fate::Lost { hop: stage }));
        } else {
            if duplicated {
                self.note(&copy, Incident::Duplicated { stage });
                let duplicate =
                    EventCopy { seed: mix(copy.seed, DUPLICATE), mishap: None, ..(*copy).clone() };
                if let (Some(token), true) = (&duplicate.token, duplicate.counts_for_truth) {
                    self.truth.add_copy(token);
                }
                let at = match stage {
                    // After the first copy's object was written, because a second delivery gets one of its
                    // own.
                    Stage::Archive | Stage::Transit | Stage::Transfer => {
                        now.after(self.batch(stage) + Duration::from_millis(1))
                    }
                    Stage::LogGroup | Stage::TenantStream | Stage::Bigquery | Stage::DeadLetter => now,
                };
                self.pipeline.enter(at, Due::Store(stage, Box::new(duplicate)));
            }
            self.store_copy(stage, *copy, now);
        }
    }

    /// For how long the writer of a stage collects lines.
    fn batch(&self, stage: Stage) -> Duration {
        self.faults.batch(stage).unwrap_or(self.settings.pace.batch(stage))
    }

    /// Stores a copy at a stage and sends it on.
    fn store_copy(&mut self, stage: Stage, mut copy: EventCopy, now: Micros) {
        let capacity = self.settings.capacity;
        let window = self.batch(stage);
        match stage {
            Stage::LogGroup => {
                let group = &mut self.tenants[copy.routed_to].group;
                copy.event_id =
                    group.store(&copy.log_stream, copy.timestamp_ms, &copy.message, now, capacity);
                self.stored(stage, &copy, copy.event_id.clone(), now);
                self.send(Stage::TenantStream, copy, now);
            }
            Stage::TenantStream => {
                let tenant = &mut self.tenants[copy.routed_to];
                let envelope = json!({
                    "messageType": "DATA_MESSAGE",
                    "owner": tenant.spec.account,
                    "logGroup": tenant.spec.log_group,
                    "logStream": &*copy.log_stream,
                    "subscriptionFilters": ["to-sre"],
                    "logEvents": [{"id": copy.event_id, "timestamp": copy.timestamp_ms, "message": &*copy.message}],
                });
                let data = gzip(envelope.to_string().as_bytes());
                let (shard, sequence) = tenant.stream.put(format!("{:016x}", copy.seed), data, now, capacity);
                self.stored(
                    stage,
                    &copy,
                    format!("{shard}/{}", super::world::streams::sequence_text(sequence)),
                    now,
                );
                self.send(Stage::Archive, EventCopy { counts_for_truth: false, ..copy.clone() }, now);
                self.send(Stage::Transit, copy, now);
            }
            Stage::Archive => {
                let tenant = copy.routed_to;
                self.pipeline.archive[tenant].push(copy);
                if self.pipeline.archive[tenant].len() == 1 {
                    self.pipeline.enter(now.after(window), Due::Flush(stage, tenant));
                }
            }
            Stage::Transit => {
                self.pipeline.transit.push(copy);
                if self.pipeline.transit.len() == 1 {
                    self.pipeline.enter(now.after(window), Due::Flush(stage, 0));
                }
            }
            Stage::Bigquery => {
                let parsed: Option<serde_json::Value> = serde_json::from_str(&copy.message).ok();
                let trace_id = parsed.as_ref().and_then(|line| line.get("trace_id")?.as_str()).map(Arc::from);
                let tenant = self.tenants[copy.routed_to].spec.name.as_str().into();
                let row = Row { trace_id, tenant, message: Arc::clone(&copy.message), ingest_time: now };
                let number = self.table.insert(row, capacity);
                self.stored(stage, &copy, format!("row {number}"), now);
                self.end(&copy, None);
            }
            Stage::DeadLetter => self.dead_letter(stage, &copy, now),
            Stage::Transfer => {
                if let Some(transit_object) = copy.transit_object.clone() {
                    let lines = self.pipeline.transfer.entry(transit_object.stem.clone()).or_default();
                    lines.push(copy);
                    if lines.len() == 1 {
                        // After all lines that are due now, so that the object stays whole.
                        self.pipeline.enter(now.after(window), Due::Copy(transit_object));
                    }
                }
            }
        }
    }

    fn stored(&mut self, stage: Stage, copy: &EventCopy, locator: String, at: Micros) {
        if let Some(token) = &copy.token {
            let tenant = self.tenants[copy.routed_to].spec.name.clone();
            self.truth.arrived(token, Arrival { stage, at, tenant, locator });
        }
    }

    fn note(&mut self, copy: &EventCopy, incident: Incident) {
        if let Some(token) = &copy.token {
            self.truth.incident(token, incident);
        }
    }

    fn end(&mut self, copy: &EventCopy, fate: Option<Fate>) {
        if let (Some(token), true) = (&copy.token, copy.counts_for_truth) {
            debug_assert_eq!(
                copy.sender, copy.routed_to,
                "only a copy of its own tenant counts for the table"
            );
            self.truth.ended(token, fate);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fault::Fault;
    use super::super::settings::{Distribution, Profile, Settings};
    use super::super::world::buckets::Packing;
    use super::*;

    const START: Micros = Micros(1_800_000_000_000_000);

    fn canary(number: u64) -> String {
        format!("{{\"trace_id\":\"zqtp2{number:061}\"}}")
    }

    fn put(world: &mut World, tenant: usize, number: u64, now: Micros) {
        world.accept(tenant, &"probe".into(), now.millis(), &canary(number), now);
    }

    /// Steps from one due action to the next for `seconds`.
    fn run_for(world: &mut World, from: Micros, seconds: u64) -> Micros {
        let end = from.after(Duration::from_secs(seconds));
        let mut now = from;
        while now < end {
            now = world.step(now).max(Micros(now.0 + 1)).min(end);
        }
        world.step(end);
        end
    }

    fn lifelike(seed: u64, profile: Profile) -> World {
        let settings = Settings { profile, noise_per_second: 0.0, ..Settings::demo(seed, 2) };
        World::new(settings, START)
    }

    #[test]
    fn a_calm_pipeline_delivers_everything_within_a_minute() {
        let mut world = lifelike(1, Profile::Calm);
        (0..200).for_each(|number| put(&mut world, 0, number, START));
        run_for(&mut world, START, 60);
        let truth = world.truth.all();
        assert!(truth.iter().all(|record| record.fate == Fate::Delivered && record.arrivals.len() == 6));
        let longest = truth.iter().filter_map(|record| record.arrived(Stage::Bigquery)).max();
        assert!(longest.is_some_and(|at| at.since(START) < Duration::from_secs(15)));
    }

    #[test]
    fn a_believable_pipeline_has_a_mishap_in_a_hundred() {
        let mut world = lifelike(1, Profile::Believable);
        (0..3_000).for_each(|number| put(&mut world, 0, number, START));
        run_for(&mut world, START, 120);
        let truth = world.truth.all();
        let mishaps = truth.iter().filter(|record| !record.incidents.is_empty()).count();
        assert!((15..50).contains(&mishaps), "{mishaps}");
        let lost = truth.iter().filter(|record| matches!(record.fate, Fate::Lost { .. })).count();
        assert!((1..20).contains(&lost), "{lost}");
        assert!(truth.iter().all(|record| record.fate != Fate::InFlight));
    }

    #[test]
    fn the_fate_of_a_canary_does_not_depend_on_other_events() {
        let alone = |others: bool| {
            let mut world = lifelike(9, Profile::Believable);
            for number in 0..50 {
                put(&mut world, 0, number, START);
                if others {
                    put(&mut world, 1, 1_000 + number, START);
                    world.accept(0, &"app".into(), START.millis(), "noise", START);
                }
            }
            run_for(&mut world, START, 120);
            let mut truth = world.truth.all();
            truth.retain(|record| record.tenant == "acme");
            let times = truth.iter().map(|record| (record.fate, record.arrived(Stage::TenantStream)));
            times.collect::<Vec<_>>()
        };
        assert_eq!(alone(false), alone(true));
    }

    #[test]
    fn a_long_stall_does_not_make_steps_busy() {
        let mut world = lifelike(1, Profile::Calm);
        let fault = Fault::stage(Stage::TenantStream, StageEffect::Stall);
        world.fault(fault, None, START).unwrap();
        (0..100).for_each(|number| put(&mut world, 0, number, START));
        let now = run_for(&mut world, START, 10);
        assert_eq!(world.pipeline.parked.len(), 100);
        assert!(world.step(now) > now, "nothing is due");
        world.faults.clear_all();
        run_for(&mut world, now, 30);
        assert!(world.truth.all().iter().all(|record| record.fate == Fate::Delivered));
    }

    #[test]
    fn old_data_is_removed() {
        let mut world = lifelike(1, Profile::Calm);
        put(&mut world, 0, 1, START);
        let now = run_for(&mut world, START, 60);
        assert_eq!((world.table.rows.len(), world.archive.objects.len()), (1, 1));
        run_for(&mut world, now, 700);
        assert_eq!(
            (world.table.rows.len(), world.archive.objects.len(), world.transit.objects.len()),
            (0, 0, 0)
        );
        assert!(world.transfer.objects.is_empty());
        assert!(world.tenants[0].group.events.is_empty());
        assert!(world.tenants[0].stream.shards.iter().all(|shard| shard.records.is_empty()));
    }

    #[test]
    fn objects_are_copied_whole_in_alternating_packings() {
        let mut world = lifelike(1, Profile::Calm);
        let mut now = START;
        for number in 0..30 {
            put(&mut world, 0, number * 2, now);
            put(&mut world, 1, number * 2 + 1, now);
            now = run_for(&mut world, now, 10);
        }
        let now = run_for(&mut world, now, 30);
        let copies = &world.transfer.objects;
        assert_eq!(copies.len(), world.transit.objects.len());
        for packing in [Packing::Plain, Packing::GzipFile, Packing::GzipEncoded] {
            let packed = copies.values().filter(|object| object.packing == packing).count();
            assert!(packed.abs_diff(copies.len() / 3) <= 1, "{packed} {packing:?}");
        }
        let stem = |key: &str| key.split_once('/').unwrap().1.split(['.', ' ']).next().unwrap().to_owned();
        let stems: Vec<_> = copies.keys().map(|key| stem(key)).collect();
        assert_eq!(stems, world.transit.objects.keys().map(|key| stem(key)).collect::<Vec<_>>());
        assert!(copies.keys().any(|key| key.contains(" 100% grün")));
        for record in world.truth.all() {
            let [transit, transfer] = [Stage::Transit, Stage::Transfer].map(|stage| record.arrived(stage));
            let took = transfer.unwrap().since(transit.unwrap());
            assert!((Duration::from_millis(300)..Duration::from_millis(2_501)).contains(&took), "{took:?}");
            assert!(transfer.unwrap() < now);
        }
    }

    #[test]
    fn delayed_lines_are_copied_as_a_separate_object() {
        let mut world = lifelike(1, Profile::Calm);
        let delay = Distribution::Fixed { ms: 20_000.0 };
        let fault = Fault::tenant_stage("globex", Stage::Transfer, StageEffect::Delay { delay });
        world.fault(fault, None, START).unwrap();
        world.fault(Fault::Batch { stage: Stage::Transit, ms: 9_000 }, None, START).unwrap();
        put(&mut world, 0, 1, START);
        put(&mut world, 1, 2, START);
        run_for(&mut world, START, 60);
        assert_eq!((world.transit.objects.len(), world.transfer.objects.len()), (1, 2));
        let of = |tenant: usize| world.truth.all()[tenant].arrived(Stage::Transfer).unwrap();
        assert!(of(1).since(of(0)) > Duration::from_secs(15));
    }

    #[test]
    fn noise_has_its_configured_rate() {
        let mut world = World::new(Settings::demo(1, 1), START);
        run_for(&mut world, START, 100);
        let lines = world.tenants[0].group.events.len();
        assert!((400..600).contains(&lines), "{lines}");
    }
}
