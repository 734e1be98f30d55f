//! Turns events and snapshots into metrics.
//!
//! The tracker decides what happened; this module only counts it. Every series of every configured tenant and
//! stage is initialised to 0, because a counter that appears with its first failure hides that failure from
//! `rate()`. Labels are tenants, stages and small enumerations only, never ids; those go into exemplars.
//!
//! A metric is a line in `families` and the place in this file that counts it.

mod closing;
mod connections;
mod cost;
mod exports;
mod exposition;
mod families;
mod family;
mod labels;
mod series;
mod table;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use prometheus::Registry;
use prometheus::process_collector::ProcessCollector;

pub use self::closing::BucketBounds;
use self::closing::{ClosingHistogram, TraceEvent};
pub use self::connections::{Closed, Connections, Refused};
pub use self::cost::{BudgetUsed, BudgetsSoFar, Calls, CallsSoFar, StageCosts};
use self::cost::{ByteCosts, OwnCosts};
pub use self::exports::{Exported, Exports};
pub use self::exposition::Format;
use self::exposition::Scraped;
use self::families::Families;
use self::family::{Declared, Places, Source};
use self::labels::{
    BehindStageOwner, BilledStage, Ending, LeakStage, Leaked, OfBuild, OfCondition, OfStage, OfTenant,
    PollResult, Put, QueueStageOwner, Revision, SchemaStage, StageOwner, StageOwnerResult, StageStray,
    StageUnreadable, StrayOrigin, TenantCondition, TenantHop, TenantHopRange, TenantOutcome, TenantPut,
    TenantStage, TenantStageReason, TenantWaiting, Version,
};
use self::table::Row;
use crate::domain::conditions::{Assessment, ConditionName, Subject};
use crate::domain::cost::{Bytes, Costs};
use crate::domain::incidents::{Episode, Step};
use crate::domain::outcome::Outcome;
use crate::domain::sighting::ReadStats;
use crate::domain::steady::Offset;
use crate::domain::tag::TraceId;
use crate::domain::time::Timestamp;
use crate::domain::topology::{Owner, SourceId, StageId, TenantId, Topology};
use crate::domain::trace::Judgement;
use crate::domain::tracker::{Event, Snapshot, SourceView};

/// The metrics of the probe, and the registry that a scrape reads. Clones share the same numbers.
#[derive(Clone)]
pub struct Metrics {
    places: Places,
    registry: Registry,
    /// Those families that are not in it.
    sources: Arc<[Source]>,
    families: Arc<Families>,
    /// The families with exemplars.
    closing: Arc<[ClosingHistogram]>,
    /// Those of every kind of stage, and of injection.
    costs: Arc<StageCosts>,
    /// Those of each stage, by its id.
    stage_costs: Arc<RwLock<Vec<Costs>>>,
    byte_costs: ByteCosts,
    rows: Arc<[Row]>,
    /// Held while an event is counted and while all series are read. One event changes several series (a
    /// judged trace its histogram and the SLO counters), and a scrape must not see half of it. Held for
    /// milliseconds at most.
    atomic: Arc<Mutex<()>>,
    /// The conditions that are shown as problems, so that only those that change are set.
    problems: Arc<Mutex<BTreeSet<(ConditionName, Subject)>>>,
}

impl Metrics {
    /// Registers all families, with every series of the topology initialised to 0.
    ///
    /// # Errors
    ///
    /// If a metric name is invalid or used twice, which the tests of this crate rule out.
    pub fn new(
        topology: Arc<Topology>,
        bucket_bounds: &BucketBounds,
        calls: CallsSoFar,
        costs: StageCosts,
    ) -> prometheus::Result<Self> {
        let places = Places::new(topology);
        let mut declared = Declared::new(places.clone(), bucket_bounds.clone());
        let families = Families::declare(&mut declared)?;
        let (costs, byte_costs) = (Arc::new(costs), ByteCosts::default());
        OwnCosts::declare(&mut declared, calls, costs.clone(), byte_costs.clone())?;
        declared.register(ProcessCollector::for_self(), [])?;
        families.clock_synchronized.only().set(1);
        families.build_info.at(OfBuild { version: Version::Own, revision: Revision::Own }).set(1);
        let stage_costs = Arc::new(RwLock::new(costs.stages.clone()));
        Ok(Self {
            places,
            registry: declared.registry,
            sources: declared.sources.into(),
            families: Arc::new(families),
            closing: declared.closing.into(),
            costs,
            stage_costs,
            byte_costs,
            rows: declared.rows.into(),
            atomic: Arc::default(),
            problems: Arc::default(),
        })
    }

    /// Takes over a topology that succeeds the present one. The series of what stays go on, those of what is gone
    /// are removed.
    pub fn succeed(&self, topology: Arc<Topology>) {
        let _guard = self.atomic.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.places.replace(topology.clone());
        self.families.succeed(&before, &topology);
        let series: BTreeSet<_> = ConditionName::ALL
            .into_iter()
            .flat_map(|name| name.subjects(&topology).into_iter().map(move |subject| (name, subject)))
            .collect();
        let mut shown = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        shown.retain(|problem| series.contains(problem));
    }

    /// Sets what polls of each stage cost, by the id of the stage.
    pub fn set_stage_costs(&self, costs: Vec<Costs>) {
        *self.stage_costs.write().unwrap_or_else(PoisonError::into_inner) = costs;
    }

    /// Sets whether the configuration in force is the last one that was read, and if so since when.
    pub fn reloaded(&self, succeeded_at: Option<Timestamp>) {
        self.families.reload_successful.only().set(i64::from(succeeded_at.is_some()));
        if let Some(at) = succeeded_at {
            self.families.reload_success_at.only().set(at.as_secs_f64());
        }
    }

    /// Writes all series in the given format: the body of a scrape.
    #[must_use]
    pub fn render(&self, format: Format) -> String {
        let families = {
            let _guard = self.atomic.lock().unwrap_or_else(PoisonError::into_inner);
            let collected = self.registry.gather().into_iter().map(Scraped::Collected);
            self.sources.iter().map(Source::read).chain(collected).collect()
        };
        exposition::write(families, format, |family, labels| {
            let histogram = self.closing.iter().find(|histogram| histogram.name() == family);
            histogram.map(|histogram| histogram.exemplars(labels)).unwrap_or_default()
        })
    }

    /// Writes the metric table of `docs/metrics.md`.
    #[must_use]
    pub fn table(&self) -> String {
        table::markdown(&self.rows)
    }

    /// Records a put of a tenant's canaries, whatever its result: how long it took, and its bytes.
    pub fn put(&self, tenant: TenantId, took: Duration, bytes: u64) {
        self.families.injection_duration.at(OfTenant { tenant }).observe(took.as_secs_f64());
        for costs in &self.costs.all {
            self.byte_costs.charge(costs, Bytes::Put, bytes);
        }
    }

    /// Returns the counters of the web port.
    #[must_use]
    pub fn connections(&self) -> Connections {
        Connections(self.families.clone())
    }

    /// Returns the counter of exported traces.
    #[must_use]
    pub fn exports(&self) -> Exports {
        Exports(self.families.clone())
    }

    /// Sets whether traces are kept in memory only although a store is configured.
    pub fn store_degraded(&self, degraded: bool) {
        self.families.store_degraded.only().set(i64::from(degraded));
    }

    /// Sets how far the system clock is ahead of the probe's.
    pub fn clock_offset(&self, offset: Offset) {
        self.families.clock_offset.only().set(offset.as_secs_f64());
    }

    /// Counts an event.
    pub fn record(&self, event: &Event, now: Timestamp) {
        let _guard = self.atomic.lock().unwrap_or_else(PoisonError::into_inner);
        let (f, map) = (&*self.families, self.places.get());
        if event.tenant().is_some_and(|tenant| map.is_gone(tenant)) {
            return;
        }
        match *event {
            Event::Planned { .. } | Event::Adopted { .. } => {}
            Event::Full { tenant } => self.inject(tenant, Put::Missed, 1),
            Event::Missed { tenant, count } => self.inject(tenant, Put::Missed, count),
            Event::Accepted { tenant, .. } => self.inject(tenant, Put::Accepted, 1),
            Event::Ambiguous { tenant, .. } => self.inject(tenant, Put::Ambiguous, 1),
            // Figures of a stage are of what exists.
            Event::Arrived { tenant, .. } if map.drill() == Some(tenant) => {}
            Event::Arrived { stage, interval, noticed_after, .. } => {
                f.uncertainty.at(OfStage { stage }).observe(interval.width().as_secs_f64());
                f.detection_delay.at(OfStage { stage }).observe(noticed_after.as_secs_f64());
            }
            Event::HopMeasured { tenant, hop, trace, latency, counted } => {
                let event = if counted { TraceEvent::ArrivedOverdue } else { TraceEvent::Arrived };
                f.hop_latency.at(TenantHop { tenant, hop }).count(event, latency, trace, now);
            }
            Event::HopOverdue { tenant, hop, trace } => {
                let hop = f.hop_latency.at(TenantHop { tenant, hop });
                hop.count(TraceEvent::Overdue, Duration::ZERO, trace, now);
            }
            Event::HopMissing { tenant, hop, trace, waited, counted } => {
                self.gave_up_hop(TenantHop { tenant, hop }, waited, counted, trace, now);
                f.missing_hops.at(TenantHop { tenant, hop }).inc();
            }
            Event::HopNeverSeen { tenant, hop, trace, waited, counted } => {
                self.gave_up_hop(TenantHop { tenant, hop }, waited, counted, trace, now);
            }
            Event::EndToEnd { tenant, trace, latency, judgement, counted } => {
                let event = if counted { TraceEvent::ArrivedOverdue } else { TraceEvent::Arrived };
                match judgement {
                    Judgement::Good => {
                        f.slo_good.at(OfTenant { tenant }).inc();
                        self.end_to_end(tenant, event, latency, trace, now);
                    }
                    Judgement::Slow => self.end_to_end(tenant, event, latency, trace, now),
                    Judgement::Unjudged => f.unjudged.at(OfTenant { tenant }).inc(),
                    Judgement::Pending | Judgement::Overdue => {}
                }
            }
            Event::Overdue { tenant, trace } => {
                self.end_to_end(tenant, TraceEvent::Overdue, Duration::ZERO, trace, now);
            }
            Event::GaveUp { tenant, trace, waited, counted } => {
                let event = if counted { TraceEvent::GivenUpOverdue } else { TraceEvent::GivenUp };
                self.end_to_end(tenant, event, waited, trace, now);
            }
            Event::Ended { tenant, ref outcome, adopted: false, .. } => self.ended(tenant, outcome),
            Event::Ended { tenant, ref outcome, adopted: true, .. } => {
                f.adopted_traces.at(TenantOutcome { tenant, outcome: Ending::from(outcome) }).inc();
            }
            Event::LateArrival { tenant, stage, .. } => {
                f.late_arrivals.at(TenantStage { tenant, stage }).inc()
            }
            Event::Duplicate { tenant, stage, .. } => f.duplicates.at(TenantStage { tenant, stage }).inc(),
            Event::UnchargedCopy { tenant, stage, reason, .. } => {
                f.uncharged_copies.at(TenantStageReason { tenant, stage, reason }).inc();
            }
            Event::Corrupted { tenant, stage, .. } => f.corrupted.at(TenantStage { tenant, stage }).inc(),
            Event::IsolationViolation { ref tenant, stage, .. } => {
                f.isolation.at(LeakStage { tenant: Leaked(tenant.known()), stage }).inc();
            }
            Event::ClockInversion { tenant, stage, .. } => {
                f.inversions.at(TenantStage { tenant, stage }).inc()
            }
            Event::ForeignTags { stage: _, source, count } => {
                f.foreign.at(StageOwner::of(&map, source)).inc_by(count);
            }
            Event::Stray { stage, other_instance, .. } => {
                let origin =
                    if other_instance { StrayOrigin::OtherInstance } else { StrayOrigin::PreviousRun };
                f.strays.at(StageStray { stage, origin }).inc();
            }
            Event::PollAnswered { source, complete, took, ref stats } => {
                self.polled(source, complete, took, stats);
            }
            Event::PollFailed { source, kind } => self.poll(source, PollResult::Failed(kind)),
            // The trace was already counted as unobserved or dead-lettered, and its arrival was not late.
            Event::LateDiscovery { .. } => {}
            // That the source is blind is a gauge, and a histogram takes only what is proven.
            Event::HopUnobserved { .. } => {}
            Event::Unreadable { stage, reason, count, .. } => {
                f.unreadable_records.at(StageUnreadable { stage, reason }).inc_by(count);
            }
            // `show` sets gauges for these.
            Event::FirstSeen { .. }
            | Event::SameName { .. }
            | Event::WentBlind { .. }
            | Event::SawAgain { .. }
            | Event::SchemaLearned { .. }
            | Event::SchemaDrifted { .. }
            | Event::ClockAdrift { .. }
            | Event::ClockInStep { .. }
            | Event::SchemaRestored { .. } => {}
        }
    }

    /// Sets all gauges from a snapshot.
    pub fn show(&self, snapshot: &Snapshot) {
        let (f, map) = (&*self.families, &*self.places.get());
        let mut waiting: HashMap<(TenantId, StageId), (i64, Timestamp)> = HashMap::new();
        for trace in snapshot.open.iter().filter(|trace| trace.ended.is_none()) {
            if let Some(hop) = trace.next_stage(map) {
                let entry = waiting.entry((trace.tenant, hop)).or_insert((0, trace.planned_at));
                entry.0 += 1;
                entry.1 = entry.1.min(trace.planned_at);
            }
        }
        for tenant in map.tenant_ids() {
            for &hop in map.main_path() {
                let (count, oldest) = waiting.get(&(tenant, hop)).copied().unwrap_or((0, snapshot.at));
                f.in_flight.at(TenantWaiting { tenant, hop }).set(count);
                let age = snapshot.at.since(oldest).as_secs_f64();
                f.oldest_in_flight.at(TenantWaiting { tenant, hop }).set(age);
            }
            for stage in map.stage_ids() {
                let view = &snapshot.sources[map.source_of(tenant, stage).0 as usize];
                f.blind.at(TenantStage { tenant, stage }).set(i64::from(view.blind_for(tenant).is_some()));
            }
        }
        if let Some(drills) = &snapshot.drills {
            f.drill_active.only().set(i64::from(drills.active.is_some()));
            f.drill_proven.only().set(drills.proof.map_or(0.0, |proof| proof.rang.as_secs_f64()));
        }
        let bound = snapshot.clock.and_then(|clock| clock.error_bound).unwrap_or_default();
        f.clock_error_bound.only().set(bound.as_secs_f64());
        let synchronized = snapshot.clock.is_none_or(|clock| clock.synchronized);
        f.clock_synchronized.only().set(i64::from(synchronized));
        for stage in map.stage_ids() {
            if let Some(labels) = SchemaStage::of(map, stage) {
                let of_stage = snapshot.read_sources().filter(|view| map.source(view.source).stage == stage);
                let columns: usize = of_stage.map(|view| view.drift().len()).sum();
                f.schema_drift.at(labels).set(i64::try_from(columns).unwrap_or(i64::MAX));
            }
        }
        self.show_sources(snapshot, map);
    }

    /// Sets the gauges of sources. Several sources of a stage are labelled `shared` if tenants of their own share each:
    /// then the worst one is shown, so that one that is well does not hide it, and the messages of all queues.
    fn show_sources(&self, snapshot: &Snapshot, map: &Topology) {
        let f = &*self.families;
        let mut alike: HashMap<(StageId, Owner), Vec<&SourceView>> = HashMap::new();
        for view in snapshot.read_sources() {
            let source = map.source(view.source);
            alike.entry((source.stage, source.owner)).or_default().push(view);
        }
        for views in alike.values() {
            let Some(any) = views.first().map(|view| view.source) else { continue };
            let worst = |seconds: &dyn Fn(&SourceView) -> Duration| {
                views.iter().map(|view| seconds(view)).max().unwrap_or_default().as_secs_f64()
            };
            f.watermark_age.at(StageOwner::of(map, any)).set(worst(&|view| view.watermark_age(snapshot.at)));
            if let Some(labels) = BehindStageOwner::of(map, any) {
                f.behind.at(labels).set(worst(&|view| view.behind.unwrap_or_default()));
            }
            if let Some(labels) = QueueStageOwner::of(map, any) {
                let messages: u64 = views.iter().filter_map(|view| view.queue).map(|it| it.messages).sum();
                #[expect(clippy::cast_precision_loss, reason = "queues hold far fewer than 2^53 messages")]
                f.queued.at(labels).set(messages as f64);
            }
        }
    }

    /// Sets which conditions are problems.
    pub fn show_conditions(&self, assessment: &Assessment) {
        let now: BTreeSet<_> = assessment.problems().map(|problem| (problem.name, problem.subject)).collect();
        let mut shown = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, subject) in shown.symmetric_difference(&now) {
            let is_problem = now.contains(&(*name, *subject));
            self.families.conditions.at(OfCondition::of(*name, *subject)).set(i64::from(is_problem));
        }
        *shown = now;
        let stalled = assessment.problems().any(|problem| problem.name == ConditionName::TotalStall);
        self.families.total_stall.only().set(i64::from(stalled));
    }

    /// Counts an episode that began, or that turned out to be one of another condition.
    pub fn incident(&self, episode: &Episode, step: Step) {
        if matches!(step, Step::Began | Step::Became { .. }) {
            let (tenant, name) = (episode.condition.subject.tenant, episode.condition.name);
            self.families.incidents.at(TenantCondition { tenant, name }).inc();
        }
    }

    fn ended(&self, tenant: TenantId, outcome: &Outcome) {
        self.families.traces.at(TenantOutcome { tenant, outcome: Ending::from(outcome) }).inc();
        match *outcome {
            Outcome::Lost(hops) => self.families.lost.at(TenantHopRange { tenant, hops }).inc(),
            Outcome::Refused(_) => self.inject(tenant, Put::Refused, 1),
            Outcome::Delivered | Outcome::Late | Outcome::DeadLettered(_) | Outcome::Unobserved(_) => {}
        }
    }

    fn gave_up_hop(
        &self,
        hop: TenantHop,
        waited: Option<Duration>,
        counted: bool,
        trace: TraceId,
        now: Timestamp,
    ) {
        let event = if counted { TraceEvent::GivenUpOverdue } else { TraceEvent::GivenUp };
        if let Some(waited) = waited {
            self.families.hop_latency.at(hop).count(event, waited, trace, now);
        }
    }

    fn end_to_end(
        &self,
        tenant: TenantId,
        event: TraceEvent,
        latency: Duration,
        trace: TraceId,
        now: Timestamp,
    ) {
        match event {
            TraceEvent::Arrived | TraceEvent::Overdue | TraceEvent::GivenUp => {
                self.families.slo_traces.at(OfTenant { tenant }).inc();
            }
            TraceEvent::ArrivedOverdue | TraceEvent::GivenUpOverdue => {}
        }
        self.families.e2e_latency.at(OfTenant { tenant }).count(event, latency, trace, now);
    }

    fn polled(&self, source: SourceId, complete: bool, took: Duration, stats: &ReadStats) {
        self.poll(source, if complete { PollResult::Ok } else { PollResult::Incomplete });
        let (f, map) = (&*self.families, self.places.get());
        let source = map.source(source);
        if map.drill().is_some_and(|drill| source.owner == Owner::One(drill)) {
            return;
        }
        let stage = source.stage;
        f.poll_duration.at(OfStage { stage }).observe(took.as_secs_f64());
        f.bytes_read.at(OfStage { stage }).inc_by(stats.bytes);
        f.records_read.at(OfStage { stage }).inc_by(stats.records);
        if let Some(labels) = BilledStage::of(&map, stage) {
            f.billed.at(labels).inc_by(stats.billed_bytes);
        }
        let costs = self.stage_costs.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(costs) = costs.get(usize::from(stage.0)) {
            self.byte_costs.charge(costs, Bytes::Read, stats.bytes);
            self.byte_costs.charge(costs, Bytes::Billed, stats.billed_bytes);
        }
    }

    fn poll(&self, source: SourceId, result: PollResult) {
        self.families.polls.at(StageOwnerResult::of(&self.places.get(), source, result)).inc();
    }

    fn inject(&self, tenant: TenantId, result: Put, count: u64) {
        self.families.injections.at(TenantPut { tenant, result }).inc_by(count);
    }
}

#[cfg(test)]
mod tests;
