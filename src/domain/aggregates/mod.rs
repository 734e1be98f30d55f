//! Figures over time: by the minute for a day and by the hour for 30 days, for each tenant and hop.
//!
//! A *bucket* holds a tenant's canaries whose *planned injection* lies in its minute or hour, so late
//! evidence corrects the bucket that it belongs to. A canary is *settled* when the tracker closes it: from
//! then on its part of the figures is fixed, and the bucket remembers only counts and a distribution. What
//! the open canaries say is added when somebody reads, from the tracker's snapshot. So the cost is that of
//! the canaries that were settled, however many are open or remembered.
//!
//! A bucket is *final* when it is over and no canary is open that was planned before its end. It then keeps
//! percentiles instead of distributions. A bucket without canaries does not exist, which is not the same as
//! zero. A bucket's health is another matter: the worst verdict that was reached *during* its time.
//!
//! Not counted are canaries that were planned before [`Aggregates::known_since`], because others of their
//! bucket are not known, and those that were adopted, because it is not known whether a previous run counted
//! them.

mod health;
mod history;
mod judged;
mod layout;
mod packed;
mod saved;
pub mod sketch;
mod step;
mod tally;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

pub use self::health::Health;
pub use self::history::{Bucket, Excerpt, History, Selection, TenantHistory};
use self::judged::Judged;
pub use self::layout::{END_TO_END, Series, series};
use self::packed::Content;
pub use self::saved::{Kept, KeptBucket, Unsaved, with_layout};
pub use self::step::Step;
pub use self::tally::Figures;
use self::tally::Tally;
use super::conditions::Assessment;
use super::tag::TraceId;
use super::time::Timestamp;
use super::topology::{TenantId, Topology};
use super::trace::{Origin, Trace};

/// How long after its end a bucket stays open for canaries that were due before. Longer than a canary may
/// leave late.
const MARGIN: Duration = Duration::from_secs(10);

/// By what canaries are judged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// End-to-end threshold.
    pub slo: Duration,
    /// A canary that was given up took longer than this.
    pub give_up: Duration,
}

/// A bucket of one tenant. In the order in which buckets become final.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Key {
    step: Step,
    slot: i64,
    tenant: TenantId,
}

/// A final bucket.
#[derive(Clone, Debug)]
struct Closed {
    slot: i64,
    bytes: Box<[u8]>,
}

/// The buckets of all tenants.
#[derive(Debug)]
pub struct Aggregates {
    topology: Arc<Topology>,
    settings: Settings,
    series: Vec<Series>,
    known_since: Timestamp,
    /// Buckets that still change.
    forming: BTreeMap<Key, Content<Tally>>,
    /// Final buckets by [`Step`] and tenant, oldest first.
    closed: [Vec<VecDeque<Closed>>; 2],
    /// Buckets that changed since they were last saved.
    unsaved: BTreeSet<Key>,
    /// Canaries that were settled since the last snapshot was published, which still has them as open.
    settled: HashSet<TraceId>,
    /// The minute of the last verdict.
    judged_in: Option<i64>,
}

impl Aggregates {
    /// Buckets that know what is planned from now on.
    #[must_use]
    pub fn new(topology: Arc<Topology>, settings: Settings, now: Timestamp) -> Self {
        let tenants = topology.tenants().len();
        Self {
            settings,
            series: series(&topology),
            known_since: now,
            forming: BTreeMap::new(),
            closed: [vec![VecDeque::new(); tenants], vec![VecDeque::new(); tenants]],
            unsaved: BTreeSet::new(),
            settled: HashSet::new(),
            judged_in: None,
            topology,
        }
    }

    /// Takes over a topology that succeeds its own. Figures of hops that are gone are dropped.
    pub fn succeed(&mut self, topology: Arc<Topology>) {
        let tenants = topology.tenants().len();
        self.closed.iter_mut().for_each(|of_step| of_step.resize(tenants, VecDeque::new()));
        let (before, now) = (saved::names(&self.topology), saved::names(&topology));
        if before != now {
            for content in self.forming.values_mut() {
                *content = saved::reordered(std::mem::take(content), &before, &now);
            }
            for bucket in self.closed.iter_mut().flatten().flatten() {
                if let Some(bytes) = with_layout(&bucket.bytes, &before, &topology) {
                    bucket.bytes = bytes;
                }
            }
        }
        self.series = series(&topology);
        self.topology = topology;
    }

    /// Since when canaries are counted. In a bucket that had begun then, earlier ones are not.
    #[must_use]
    pub const fn known_since(&self) -> Timestamp {
        self.known_since
    }

    /// Counts a canary that the tracker has closed. Each must be given once.
    pub fn settle(&mut self, trace: &Trace) {
        self.settled.insert(trace.id());
        if !self.counts(trace) {
            return;
        }
        let said = said(trace, &self.topology, &self.series, self.settings);
        for step in Step::ALL {
            let key = Key { step, slot: step.slot_of(trace.planned_at), tenant: trace.tenant };
            if let Some(bucket) = self.forming(key) {
                bucket.add(&said);
                self.unsaved.insert(key);
            }
        }
    }

    fn counts(&self, trace: &Trace) -> bool {
        trace.origin != Origin::Adopted && trace.planned_at >= self.known_since
    }

    /// Notes the verdicts of this instant.
    pub fn judge(&mut self, assessment: &Assessment, now: Timestamp) {
        let minute = Step::Minute.slot_of(now);
        // Health alone is saved once a minute: it changes more often than it tells something new.
        if let Some(before) = self.judged_in.replace(minute).filter(|before| *before != minute) {
            let hour = Step::Hour.slot_of(Step::Minute.start(before));
            for tenant in self.topology.tenant_ids() {
                for (step, slot) in [(Step::Minute, before), (Step::Hour, hour)] {
                    self.unsaved.insert(Key { step, slot, tenant });
                }
            }
        }
        for verdict in &assessment.verdicts {
            for step in Step::ALL {
                let key = Key { step, slot: step.slot_of(now), tenant: verdict.tenant };
                if let Some(bucket) = self.forming(key) {
                    bucket.health = bucket.health.max(Some(Health::of(verdict)));
                }
            }
        }
    }

    /// Makes buckets final that are over, and forgets those that are too old. `oldest_open` is the planned
    /// injection of the oldest canary that is not settled.
    pub fn close(&mut self, oldest_open: Option<Timestamp>, now: Timestamp) {
        let until = oldest_open.unwrap_or(now).min(now - MARGIN);
        for step in Step::ALL {
            let first = |forming: &BTreeMap<Key, Content<Tally>>| {
                let from = Key { step, slot: i64::MIN, tenant: TenantId(0) };
                let next = forming.range(from..).next().map(|(key, _)| *key);
                next.filter(|key| key.step == step && step.start(key.slot + 1) <= until)
            };
            let mut any = false;
            while let Some(key) = first(&self.forming) {
                let content = self.forming.remove(&key).unwrap_or_default();
                self.keep(key, packed::pack_final(&content.figures()));
                self.unsaved.insert(key);
                any = true;
            }
            if any {
                self.forget(step, now);
            }
        }
    }

    /// Says that a snapshot was published in which no settled canary is open.
    pub fn published(&mut self) {
        self.settled.clear();
    }

    fn forget(&mut self, step: Step, now: Timestamp) {
        let oldest = step.oldest(now);
        for closed in &mut self.closed[step as usize] {
            while closed.front().is_some_and(|first| first.slot < oldest) {
                closed.pop_front();
            }
        }
        // A canary may stay open for longer than minutes are kept.
        self.forming.retain(|key, _| key.step != step || key.slot >= oldest);
        self.unsaved.retain(|key| key.step != step || key.slot >= oldest);
    }

    /// The bucket to add to; `None` if it is final.
    fn forming(&mut self, key: Key) -> Option<&mut Content<Tally>> {
        if self.closed(key).is_some() {
            return None;
        }
        Some(self.forming.entry(key).or_default())
    }

    fn closed(&self, key: Key) -> Option<&Closed> {
        let closed = self.closed[key.step as usize].get(usize::from(key.tenant.0))?;
        let at = closed.binary_search_by_key(&key.slot, |bucket| bucket.slot).ok()?;
        closed.get(at)
    }

    /// Adds a final bucket, unless there is one.
    fn keep(&mut self, key: Key, bytes: Box<[u8]>) {
        let Some(closed) = self.closed[key.step as usize].get_mut(usize::from(key.tenant.0)) else { return };
        if let Err(at) = closed.binary_search_by_key(&key.slot, |bucket| bucket.slot) {
            closed.insert(at, Closed { slot: key.slot, bytes });
        }
    }
}

/// What one canary says, by series.
fn said(trace: &Trace, map: &Topology, series: &[Series], settings: Settings) -> Vec<Judged> {
    let of = |series: &Series| match series {
        Series::Hop(stage) => judged::hop(trace, map, *stage, settings),
        Series::EndToEnd => judged::end_to_end(trace, map, settings),
    };
    series.iter().map(of).collect()
}

impl Content<Tally> {
    /// Adds a canary.
    fn add(&mut self, said: &[Judged]) {
        self.canaries = self.canaries.saturating_add(1);
        if said.iter().any(|judged| *judged != Judged::Not) {
            self.hops.resize(said.len(), Tally::default());
            self.hops.iter_mut().zip(said).for_each(|(tally, judged)| tally.add(*judged));
        }
    }

    /// Adds other canaries of the same bucket.
    fn merge(&mut self, other: Self) {
        self.health = self.health.max(other.health);
        self.canaries = self.canaries.saturating_add(other.canaries);
        if self.hops.is_empty() {
            self.hops = other.hops;
        } else {
            self.hops.iter_mut().zip(&other.hops).for_each(|(tally, other)| tally.merge(other));
        }
    }

    fn figures(&self) -> Content<Figures> {
        let hops = self.hops.iter().map(Tally::figures).collect();
        Content { health: self.health, canaries: self.canaries, hops }
    }
}
