//! Events and snapshots become numbers.
//!
//! The tracker decides what happened; here it is only counted. Every series of every configured tenant and stage is
//! born at zero, because a counter that appears with its first failure hides that failure from `rate()`. Labels are
//! tenants, stages and small enumerations only, never ids: those go into exemplars.

mod closing;
mod cost;
mod exposition;
mod families;
mod table;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus::{IntCounterVec, Registry};

pub use self::closing::Ladder;
use self::closing::{ClosingHistogram, Count};
use self::cost::{ByteCosts, OwnCosts};
pub use self::cost::{Calls, CallsSoFar, StageCosts};
pub use self::exposition::Format;
pub use self::families::Described;
use self::families::{Definer, Families};
use crate::domain::cost::Bytes;
use crate::domain::outcome::Outcome;
use crate::domain::sighting::{Reading, Trouble};
use crate::domain::steady::Offset;
use crate::domain::tag::TraceId;
use crate::domain::time::Timestamp;
use crate::domain::topology::{Owner, Role, SourceId, StageId, Stretch, TenantId, Topology};
use crate::domain::trace::Judgement;
use crate::domain::tracker::{Event, Snapshot};

/// The probe's numbers, and the registry that a scrape reads.
#[derive(Clone)]
pub struct Metrics {
    topology: Arc<Topology>,
    registry: Registry,
    families: Families,
    costs: Arc<StageCosts>,
    byte_costs: ByteCosts,
    described: Arc<[Described]>,
    /// Held while an event is counted, and while all series are read: one event moves several of them (a judged trace
    /// its histogram and the SLO counters), and a scrape must not see half of it. Both take microseconds to milliseconds.
    whole: Arc<Mutex<()>>,
}

impl Metrics {
    /// All families, with every series of the map born at zero.
    ///
    /// # Errors
    ///
    /// When a metric is badly named or named twice, which a test of this crate would have shown.
    pub fn new(
        topology: Arc<Topology>,
        ladder: &Ladder,
        calls: CallsSoFar,
        costs: StageCosts,
    ) -> prometheus::Result<Self> {
        let registry = Registry::new();
        let mut definer = Definer::new(registry.clone());
        let families = Families::define(&mut definer, ladder)?;
        let (costs, byte_costs) = (Arc::new(costs), ByteCosts::default());
        definer.register(&OwnCosts::new(calls, costs.clone(), byte_costs.clone())?)?;
        definer.describe_collected(cost::CALLS_NAME, "counter", &cost::CALLS_LABELS, cost::CALLS_HELP);
        definer.describe_collected(cost::COST_NAME, "counter", &cost::COST_LABELS, cost::COST_HELP);
        registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        let described = definer.described.into();
        let metrics =
            Self { topology, registry, families, costs, byte_costs, described, whole: Arc::default() };
        metrics.be_born();
        Ok(metrics)
    }

    /// What a scrape gets.
    #[must_use]
    pub fn render(&self, format: Format) -> String {
        let families = {
            let _whole = self.whole.lock().unwrap_or_else(PoisonError::into_inner);
            self.registry.gather()
        };
        exposition::write(&families, format, |family, labels| {
            let closing = [&self.families.e2e_latency, &self.families.hop_latency];
            let found = closing.into_iter().find(|histogram| histogram.name() == family);
            found.map(|histogram| histogram.exemplars(labels)).unwrap_or_default()
        })
    }

    /// Every metric with its labels and help text, for the documentation.
    #[must_use]
    pub fn described(&self) -> &[Described] {
        &self.described
    }

    /// The metric table of the documentation, as Markdown.
    #[must_use]
    pub fn table(&self) -> String {
        table::markdown(&self.described)
    }

    /// A put was done, however it went: how long it took and how many bytes of messages it carried.
    pub fn put(&self, tenant: TenantId, took: Duration, bytes: u64) {
        let tenant = &*self.topology.tenant(tenant).name;
        self.families.injection_seconds.with_label_values(&[tenant]).observe(took.as_secs_f64());
        for costs in &self.costs.all {
            self.byte_costs.charge(costs, Bytes::Put, bytes);
        }
    }

    /// Whether traces are kept in memory only although there is a store.
    pub fn store_degraded(&self, degraded: bool) {
        self.families.store_degraded.set(i64::from(degraded));
    }

    /// How far the system's clock is ahead of the probe's.
    pub fn clock_offset(&self, offset: Offset) {
        self.families.clock_offset.set(offset.as_secs_f64());
    }

    /// Counts what happened.
    pub fn record(&self, event: &Event, now: Timestamp) {
        let _whole = self.whole.lock().unwrap_or_else(PoisonError::into_inner);
        let f = &self.families;
        match event {
            Event::Planned { .. } | Event::Adopted { .. } | Event::Stray { tenant: None, .. } => {}
            Event::Full { tenant } => self.inject(*tenant, "missed", 1),
            Event::Missed { tenant, count } => self.inject(*tenant, "missed", *count),
            Event::Accepted { tenant, .. } => self.inject(*tenant, "accepted", 1),
            Event::Ambiguous { tenant, .. } => self.inject(*tenant, "ambiguous", 1),
            Event::Arrived { stage, interval, noticed_after, .. } => {
                let stage = &*self.topology.stage(*stage).name;
                f.uncertainty.with_label_values(&[stage]).observe(interval.width().as_secs_f64());
                f.detection_delay.with_label_values(&[stage]).observe(noticed_after.as_secs_f64());
            }
            Event::HopMeasured { tenant, hop, trace, latency, counted } => {
                let what = if *counted { Count::ArrivedOverdue } else { Count::Arrived };
                self.hop(*tenant, *hop, what, *latency, *trace, now);
            }
            Event::HopOverdue { tenant, hop, trace } => {
                self.hop(*tenant, *hop, Count::Overdue, Duration::ZERO, *trace, now);
            }
            Event::HopMissing { tenant, hop, trace, waited, counted } => {
                let what = if *counted { Count::GivenUpOverdue } else { Count::GivenUp };
                self.hop(*tenant, *hop, what, *waited, *trace, now);
                self.at(&f.missing_hops, *tenant, *hop, 1);
            }
            Event::EndToEnd { tenant, trace, latency, judgement, counted } => {
                let name = &*self.topology.tenant(*tenant).name;
                let what = if *counted { Count::ArrivedOverdue } else { Count::Arrived };
                match judgement {
                    Judgement::Good => {
                        f.slo_good.with_label_values(&[name]).inc();
                        self.end_to_end(*tenant, what, *latency, *trace, now);
                    }
                    Judgement::Slow => self.end_to_end(*tenant, what, *latency, *trace, now),
                    Judgement::Unjudged => f.unjudged.with_label_values(&[name]).inc(),
                    Judgement::Pending | Judgement::Overdue => {}
                }
            }
            Event::Overdue { tenant, trace } => {
                self.end_to_end(*tenant, Count::Overdue, Duration::ZERO, *trace, now);
            }
            Event::GaveUp { tenant, trace, waited, counted } => {
                let what = if *counted { Count::GivenUpOverdue } else { Count::GivenUp };
                self.end_to_end(*tenant, what, *waited, *trace, now);
            }
            Event::Ended { tenant, outcome, adopted: false, .. } => self.ended(*tenant, outcome),
            Event::Ended { tenant, outcome, adopted: true, .. } => {
                let name = &*self.topology.tenant(*tenant).name;
                f.adopted_traces.with_label_values(&[name, outcome.label()]).inc();
            }
            Event::LateArrival { tenant, stage, .. } => self.at(&f.late_arrivals, *tenant, *stage, 1),
            Event::Duplicate { tenant, stage, .. } => self.at(&f.duplicates, *tenant, *stage, 1),
            Event::OwnDuplicate { tenant, stage, .. } => self.at(&f.own_duplicates, *tenant, *stage, 1),
            Event::Corrupted { tenant, stage, .. } => self.at(&f.corrupted, *tenant, *stage, 1),
            Event::IsolationViolation { tenant, stage, .. } => self.at(&f.isolation, *tenant, *stage, 1),
            Event::ClockInversion { tenant, stage, .. } => self.at(&f.inversions, *tenant, *stage, 1),
            Event::ForeignTags { stage, source, count } => {
                let stage = &*self.topology.stage(*stage).name;
                f.foreign.with_label_values(&[self.owner(*source), stage]).inc_by(*count);
            }
            Event::Stray { stage, tenant: Some(_), other_instance } => {
                let of = if *other_instance { STRAYS[0] } else { STRAYS[1] };
                f.strays.with_label_values(&[&*self.topology.stage(*stage).name, of]).inc();
            }
            Event::Looked { source, complete, took, reading } => {
                self.looked(*source, *complete, *took, reading)
            }
            Event::LookFailed { source, trouble } => {
                self.sweep(*source, trouble.as_str());
            }
            // Counted as unobserved or dead-lettered before, and in time.
            Event::FoundAfterAll { .. } => {}
            // Shown by the gauges that a snapshot sets.
            Event::WentBlind { .. }
            | Event::SawAgain { .. }
            | Event::SchemaLearned { .. }
            | Event::SchemaDrifted { .. }
            | Event::ClockAdrift { .. }
            | Event::ClockInStep { .. }
            | Event::SchemaRestored { .. } => {}
        }
    }

    /// Sets what is a state rather than an event.
    pub fn show(&self, snapshot: &Snapshot) {
        let map = &*self.topology;
        let mut waiting: HashMap<(TenantId, StageId), (i64, Timestamp)> = HashMap::new();
        for trace in snapshot.open.iter().filter(|trace| trace.ended.is_none()) {
            if let Some(hop) = trace.waiting_for(map) {
                let entry = waiting.entry((trace.tenant, hop)).or_insert((0, trace.planned_at));
                entry.0 += 1;
                entry.1 = entry.1.min(trace.planned_at);
            }
        }
        for tenant in map.tenant_ids() {
            let name = &*map.tenant(tenant).name;
            for &hop in map.main_path() {
                let labels = [name, &*map.stage(hop).name];
                let (count, oldest) = waiting.get(&(tenant, hop)).copied().unwrap_or((0, snapshot.at));
                self.families.in_flight.with_label_values(&labels).set(count);
                let age = snapshot.at.since(oldest).as_secs_f64();
                self.families.oldest_in_flight.with_label_values(&labels).set(age);
            }
            for stage in map.stage_ids() {
                let view = &snapshot.sources[map.source_of(tenant, stage).0 as usize];
                let labels = [name, &*map.stage(stage).name];
                self.families.blind.with_label_values(&labels).set(i64::from(view.blind_since.is_some()));
            }
        }
        let bound = snapshot.clock.and_then(|clock| clock.error_bound).unwrap_or_default();
        self.families.clock_error_bound.set(bound.as_secs_f64());
        let synchronized = snapshot.clock.is_none_or(|clock| clock.synchronized);
        self.families.clock_synchronized.set(i64::from(synchronized));
        for stage in map.stage_ids().filter(|stage| map.stage(*stage).capabilities.schema) {
            let of_stage = snapshot.sources.iter().filter(|view| map.source(view.source).stage == stage);
            let columns: usize = of_stage.map(|view| view.drift().len()).sum();
            let columns = i64::try_from(columns).unwrap_or(i64::MAX);
            self.families.schema_drift.with_label_values(&[&*map.stage(stage).name]).set(columns);
        }
        for view in &snapshot.sources {
            let stage = &*map.stage(map.source(view.source).stage).name;
            let owner = self.owner(view.source);
            let age = match (view.waiting, view.watermark) {
                (0, _) | (_, None) if view.blind_since.is_none() => Duration::ZERO,
                (_, watermark) => snapshot.at.since(watermark.or(view.blind_since).unwrap_or(snapshot.at)),
            };
            self.families.watermark_age.with_label_values(&[stage, owner]).set(age.as_secs_f64());
            if map.stage(map.source(view.source).stage).capabilities.behind {
                let behind = view.behind.unwrap_or_default().as_secs_f64();
                self.families.behind.with_label_values(&[owner, stage]).set(behind);
            }
        }
    }

    fn ended(&self, tenant: TenantId, outcome: &Outcome) {
        let name = &*self.topology.tenant(tenant).name;
        self.families.traces.with_label_values(&[name, outcome.label()]).inc();
        match outcome {
            Outcome::Lost(hop) => {
                let hop = hop.display(&self.topology).to_string();
                self.families.lost.with_label_values(&[name, &hop]).inc();
            }
            Outcome::Refused(_) => self.inject(tenant, "refused", 1),
            Outcome::Delivered | Outcome::Late | Outcome::DeadLettered(_) | Outcome::Unobserved => {}
        }
    }

    fn end_to_end(&self, tenant: TenantId, what: Count, latency: Duration, trace: TraceId, now: Timestamp) {
        let name = &*self.topology.tenant(tenant).name;
        if let Count::Arrived | Count::Overdue | Count::GivenUp = what {
            self.families.slo_traces.with_label_values(&[name]).inc();
        }
        self.families.e2e_latency.count(&[name], what, latency, trace, now);
    }

    fn hop(
        &self,
        tenant: TenantId,
        hop: StageId,
        what: Count,
        latency: Duration,
        trace: TraceId,
        now: Timestamp,
    ) {
        let labels = [&*self.topology.tenant(tenant).name, &*self.topology.stage(hop).name];
        self.families.hop_latency.count(&labels, what, latency, trace, now);
    }

    fn looked(&self, source: SourceId, complete: bool, took: Duration, reading: &Reading) {
        self.sweep(source, if complete { "ok" } else { "incomplete" });
        let f = &self.families;
        let id = self.topology.source(source).stage;
        let spec = self.topology.stage(id);
        let stage = &*spec.name;
        f.sweep_seconds.with_label_values(&[stage]).observe(took.as_secs_f64());
        f.bytes_read.with_label_values(&[stage]).inc_by(reading.bytes);
        f.records_read.with_label_values(&[stage]).inc_by(reading.records);
        f.decode_errors.with_label_values(&[stage]).inc_by(reading.decode_errors);
        if spec.capabilities.billed_bytes {
            f.billed.with_label_values(&[stage]).inc_by(reading.billed_bytes);
        }
        if let Some(costs) = self.costs.stages.get(usize::from(id.0)) {
            self.byte_costs.charge(costs, Bytes::Read, reading.bytes);
            self.byte_costs.charge(costs, Bytes::Billed, reading.billed_bytes);
        }
    }

    fn sweep(&self, source: SourceId, result: &str) {
        let stage = &*self.topology.stage(self.topology.source(source).stage).name;
        self.families.sweeps.with_label_values(&[stage, self.owner(source), result]).inc();
    }

    fn inject(&self, tenant: TenantId, result: &str, count: u64) {
        let name = &*self.topology.tenant(tenant).name;
        self.families.injections.with_label_values(&[name, result]).inc_by(count);
    }

    fn at(&self, counter: &IntCounterVec, tenant: TenantId, stage: StageId, count: u64) {
        let labels = [&*self.topology.tenant(tenant).name, &*self.topology.stage(stage).name];
        counter.with_label_values(&labels).inc_by(count);
    }

    fn owner(&self, source: SourceId) -> &str {
        match self.topology.source(source).owner {
            Owner::One(tenant) => &self.topology.tenant(tenant).name,
            Owner::Shared => "shared",
        }
    }

    /// Brings every series of the map into being, at zero.
    fn be_born(&self) {
        let (f, map) = (&self.families, &*self.topology);
        f.clock_synchronized.set(1);
        f.build_info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        for tenant in map.tenants() {
            let name = &*tenant.name;
            f.e2e_latency.init(&[name]);
            f.injection_seconds.with_label_values(&[name]);
            for counter in [&f.slo_traces, &f.slo_good, &f.unjudged] {
                counter.with_label_values(&[name]);
            }
            for outcome in Outcome::LABELS {
                f.traces.with_label_values(&[name, outcome]);
                f.adopted_traces.with_label_values(&[name, outcome]);
            }
            PUTS.iter().for_each(|result| drop(f.injections.with_label_values(&[name, result])));
            for stretch in Stretch::all(map.main_path()) {
                f.lost.with_label_values(&[name, &stretch.display(map).to_string()]);
            }
            for stage in map.stages() {
                let labels = [name, &*stage.name];
                if stage.role != Role::DeadLetter {
                    ClosingHistogram::init(&f.hop_latency, &labels);
                    f.missing_hops.with_label_values(&labels);
                }
                for counter in [
                    &f.duplicates,
                    &f.own_duplicates,
                    &f.corrupted,
                    &f.late_arrivals,
                    &f.isolation,
                    &f.inversions,
                ] {
                    counter.with_label_values(&labels);
                }
            }
        }
        for stage in map.stages() {
            let name = &*stage.name;
            for histogram in [&f.uncertainty, &f.detection_delay, &f.sweep_seconds] {
                histogram.with_label_values(&[name]);
            }
            for counter in [&f.bytes_read, &f.records_read, &f.decode_errors] {
                counter.with_label_values(&[name]);
            }
            STRAYS.iter().for_each(|of| drop(f.strays.with_label_values(&[name, of])));
            if stage.capabilities.billed_bytes {
                f.billed.with_label_values(&[name]);
            }
            if stage.capabilities.schema {
                f.schema_drift.with_label_values(&[name]);
            }
        }
        for source in map.source_ids() {
            let stage = &*map.stage(map.source(source).stage).name;
            let results = ["ok", "incomplete"].into_iter().chain(Trouble::ALL.map(Trouble::as_str));
            results.for_each(|result| drop(f.sweeps.with_label_values(&[stage, self.owner(source), result])));
            f.foreign.with_label_values(&[self.owner(source), stage]);
        }
    }
}

/// What can become of putting a canary.
const PUTS: [&str; 4] = ["accepted", "refused", "ambiguous", "missed"];
/// Whose a tag can be that belongs to no trace in memory.
const STRAYS: [&str; 2] = ["another_instance", "an_earlier_life"];

#[cfg(test)]
mod tests;
