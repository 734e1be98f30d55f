//! What is known of a number of canaries, and what a threshold is judged on.

use std::collections::BTreeMap;
use std::time::Duration;

use super::latencies::Latencies;
use super::threshold::{Aggregate, Metric, Part, Span, Threshold};
use crate::domain::outcome::{Outcome, UnobservedReason};
use crate::domain::topology::{HopRange, Role, StageId, TenantId, Topology};
use crate::domain::trace::{Hop, Judgement, Trace};
use crate::domain::tracker::Event;

/// Some of the canaries: all, or those of a size or a tenant.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Group {
    /// Handed to the injector.
    pub sent: u64,
    /// Of those, refused by their log group.
    pub refused: u64,
    /// Seen at the end stage.
    pub arrived: u64,
    /// Lost or dead-lettered.
    pub lost: u64,
    /// End to end.
    pub latency: Latencies,
}

impl Group {
    fn merge(&mut self, other: &Self) {
        self.sent += other.sent;
        self.refused += other.refused;
        self.arrived += other.arrived;
        self.lost += other.lost;
        self.latency.merge(&other.latency);
    }

    /// Those that entered the pipeline, as far as known.
    #[must_use]
    pub const fn taken(&self) -> u64 {
        self.sent.saturating_sub(self.refused)
    }

    /// Those of which it is not known whether they arrived: in flight, or unobserved.
    #[must_use]
    pub const fn unknown(&self) -> u64 {
        self.taken().saturating_sub(self.arrived + self.lost)
    }

    /// Those whose latency is not known: also those of which it is only known that they arrived.
    #[must_use]
    pub fn untimed(&self) -> u64 {
        self.taken().saturating_sub(self.latency.known())
    }
}

/// One hop.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HopFigures {
    /// Canaries that were seen at its stage.
    pub arrived: u64,
    pub latency: Latencies,
    /// Second stored copies at its stage.
    pub duplicates: u64,
    /// Canaries with a second copy at its stage that may have been moved, which was not checked to the end.
    pub unchecked: u64,
    /// Canaries with an outcome of which its stage showed neither an arrival nor the absence, because it could not be read.
    pub unobserved: u64,
    /// Copies at its stage that were cut or changed.
    pub corrupted: u64,
    /// Copies at its stage that were found with another tenant.
    pub leaks: u64,
}

/// What no canary may suffer, found of canaries that are not judged otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Harm {
    /// Canaries that entered the pipeline.
    pub canaries: u64,
    pub leaks: u64,
    pub corrupted: u64,
}

/// What is known of canaries.
#[derive(Clone, Debug, PartialEq)]
pub struct Figures {
    /// Due, whether or not they could be sent.
    pub planned: u64,
    /// Never sent, because this machine was too slow or the limit in flight was reached.
    pub missed: u64,
    pub accepted: u64,
    /// Put without an answer.
    pub ambiguous: u64,
    pub whole: Group,
    pub sizes: BTreeMap<u32, Group>,
    pub tenants: BTreeMap<TenantId, Group>,
    /// By [`StageId`].
    pub hops: Vec<HopFigures>,
    /// Where canaries were lost.
    pub lost: BTreeMap<(StageId, StageId), u64>,
    pub dead_lettered: BTreeMap<StageId, u64>,
    pub unobserved: BTreeMap<UnobservedReason, u64>,
    /// Arrived after their deadline.
    pub late: u64,
    /// Arrived, but it is not known when, because the end stage could not be read at the time.
    pub unjudged: u64,
    /// Given up, and found at the end stage later.
    pub found_late: u64,
    /// Of the warm-up. What could not be observed of it is not in it: its canaries are followed, and not judged.
    pub warm_up: Harm,
}

/// What is known beside the canaries.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Beside {
    /// Whether a stage could not be read to the end, so that copies and leaks may have gone unnoticed.
    pub blind: bool,
    /// Canaries of which second rows were not looked for as long as usual.
    pub cut_searches: u64,
    /// Calls of PutLogEvents that were throttled, and all.
    pub throttled: u64,
    pub calls: u64,
    /// By how many seconds the latency grew in a second.
    pub growth: Option<Span>,
}

impl Figures {
    #[must_use]
    pub fn new(topology: &Topology) -> Self {
        Self {
            planned: 0,
            missed: 0,
            accepted: 0,
            ambiguous: 0,
            whole: Group::default(),
            sizes: BTreeMap::new(),
            tenants: BTreeMap::new(),
            hops: vec![HopFigures::default(); topology.stages().len()],
            lost: BTreeMap::new(),
            dead_lettered: BTreeMap::new(),
            unobserved: BTreeMap::new(),
            late: 0,
            unjudged: 0,
            found_late: 0,
            warm_up: Harm::default(),
        }
    }

    /// Adds what other figures hold.
    pub fn merge(&mut self, other: &Self) {
        self.planned += other.planned;
        self.missed += other.missed;
        self.accepted += other.accepted;
        self.ambiguous += other.ambiguous;
        self.whole.merge(&other.whole);
        other.sizes.iter().for_each(|(size, group)| self.sizes.entry(*size).or_default().merge(group));
        other
            .tenants
            .iter()
            .for_each(|(tenant, group)| self.tenants.entry(*tenant).or_default().merge(group));
        for (hop, other) in self.hops.iter_mut().zip(&other.hops) {
            hop.arrived += other.arrived;
            hop.latency.merge(&other.latency);
            hop.duplicates += other.duplicates;
            hop.unchecked += other.unchecked;
            hop.unobserved += other.unobserved;
            hop.corrupted += other.corrupted;
            hop.leaks += other.leaks;
        }
        other.lost.iter().for_each(|(hops, count)| *self.lost.entry(*hops).or_default() += count);
        other
            .dead_lettered
            .iter()
            .for_each(|(at, count)| *self.dead_lettered.entry(*at).or_default() += count);
        other.unobserved.iter().for_each(|(why, count)| *self.unobserved.entry(*why).or_default() += count);
        self.late += other.late;
        self.unjudged += other.unjudged;
        self.found_late += other.found_late;
        self.add_warm_up(other.warm_up);
    }

    /// Counts what was found of canaries of the warm-up.
    pub fn add_warm_up(&mut self, harm: Harm) {
        let Harm { canaries, leaks, corrupted } = harm;
        self.warm_up.canaries += canaries;
        self.warm_up.leaks += leaks;
        self.warm_up.corrupted += corrupted;
    }

    /// What was found of these canaries that no canary may suffer.
    #[must_use]
    pub fn harm(&self) -> Harm {
        Harm {
            canaries: self.whole.taken(),
            leaks: self.hops.iter().map(|hop| hop.leaks).sum(),
            corrupted: self.hops.iter().map(|hop| hop.corrupted).sum(),
        }
    }

    /// A canary was handed to the injector.
    pub fn sent(&mut self, tenant: TenantId, size: u32) {
        self.planned += 1;
        self.groups(tenant, size).for_each(|group| group.sent += 1);
    }

    /// A canary could not be sent in time.
    pub fn missed(&mut self) {
        self.planned += 1;
        self.missed += 1;
    }

    fn groups(&mut self, tenant: TenantId, size: u32) -> impl Iterator<Item = &mut Group> {
        let (whole, sizes, tenants) = (&mut self.whole, &mut self.sizes, &mut self.tenants);
        [whole, sizes.entry(size).or_default(), tenants.entry(tenant).or_default()].into_iter()
    }

    fn hop(&mut self, stage: StageId) -> Option<&mut HopFigures> {
        self.hops.get_mut(usize::from(stage.0))
    }

    /// Takes what the tracker said of one canary. `trace` is its state after that.
    pub fn take(&mut self, event: &Event, trace: Option<&Trace>, topology: &Topology) {
        match event {
            Event::Accepted { .. } => self.accepted += 1,
            Event::Ambiguous { .. } => self.ambiguous += 1,
            Event::Arrived { stage, .. } => {
                if let Some(hop) = self.hop(*stage) {
                    hop.arrived += 1;
                }
            }
            Event::HopMeasured { hop, latency, .. } => {
                let least = trace.and_then(|trace| least_of_hop(trace, *hop, topology)).unwrap_or_default();
                if let Some(of) = self.hop(*hop) {
                    of.latency.add(least, *latency);
                }
            }
            Event::HopMissing { hop, .. } => {
                if let Some(of) = self.hop(*hop) {
                    of.latency.missing += 1;
                }
            }
            Event::HopUnobserved { hop, .. } => {
                if let Some(trace) = trace {
                    self.not_observed(trace, *hop);
                }
            }
            Event::Ended { outcome, .. } => {
                if let Some(trace) = trace {
                    self.ended(outcome, trace, topology);
                }
            }
            Event::LateDiscovery { .. } | Event::LateArrival { .. } => self.found_late += 1,
            Event::Duplicate { stage, .. } => {
                if let Some(hop) = self.hop(*stage) {
                    hop.duplicates += 1;
                }
            }
            Event::Corrupted { stage, .. } => {
                if let Some(hop) = self.hop(*stage) {
                    hop.corrupted += 1;
                }
            }
            Event::IsolationViolation { stage, .. } => {
                if let Some(hop) = self.hop(*stage) {
                    hop.leaks += 1;
                }
            }
            // What is not known is what remains; the rest is of sources, or follows from what is above.
            Event::HopNeverSeen { .. }
            | Event::Planned { .. }
            | Event::Full { .. }
            | Event::Missed { .. }
            | Event::HopOverdue { .. }
            | Event::EndToEnd { .. }
            | Event::Overdue { .. }
            | Event::GaveUp { .. }
            | Event::UnchargedCopy { .. }
            | Event::ForeignTags { .. }
            | Event::Adopted { .. }
            | Event::Stray { .. }
            | Event::SameName { .. }
            | Event::ClockInversion { .. }
            | Event::PollAnswered { .. }
            | Event::PollFailed { .. }
            | Event::WentBlind { .. }
            | Event::SawAgain { .. }
            | Event::Unreadable { .. }
            | Event::FirstSeen { .. }
            | Event::SchemaLearned { .. }
            | Event::SchemaDrifted { .. }
            | Event::SchemaRestored { .. }
            | Event::ClockAdrift { .. }
            | Event::ClockInStep { .. } => {}
        }
    }

    fn ended(&mut self, outcome: &Outcome, trace: &Trace, topology: &Topology) {
        let (tenant, size) = (trace.tenant, trace.tag.size);
        match outcome {
            Outcome::Delivered | Outcome::Late => {
                self.late += u64::from(*outcome == Outcome::Late);
                // The interval includes the threshold only because nobody could look, so its later end proves
                // nothing.
                let latency = trace.latency(topology).filter(|_| trace.judgement != Judgement::Unjudged);
                self.unjudged += u64::from(latency.is_none());
                let arrived = trace.arrival(topology.end());
                let least = arrived.map_or(Duration::ZERO, |at| at.earliest.since(trace.planned_at));
                for group in self.groups(tenant, size) {
                    group.arrived += 1;
                    latency.iter().for_each(|latency| group.latency.add(least, *latency));
                }
            }
            Outcome::Lost(HopRange { first, last }) => {
                *self.lost.entry((*first, *last)).or_default() += 1;
                self.groups(tenant, size).for_each(Self::lose);
            }
            Outcome::DeadLettered(stage) => {
                *self.dead_lettered.entry(*stage).or_default() += 1;
                self.groups(tenant, size).for_each(Self::lose);
                // The tracker closes its hops without an event.
                for hop in topology.main_path() {
                    let is_open = matches!(trace.visit(*hop).hop, Hop::Open | Hop::Overdue);
                    if is_open
                        && trace.arrival(*hop).is_none()
                        && trace.hop_start(topology, *hop).is_some()
                        && let Some(of) = self.hop(*hop)
                    {
                        of.latency.missing += 1;
                    }
                }
            }
            Outcome::Unobserved(reason) => *self.unobserved.entry(*reason).or_default() += 1,
            Outcome::Refused(_) => self.groups(tenant, size).for_each(|group| group.refused += 1),
        }
    }

    fn lose(group: &mut Group) {
        group.lost += 1;
        group.latency.missing += 1;
    }

    /// How many canaries entered a hop, as far as known.
    #[must_use]
    pub fn entered(&self, stage: StageId, topology: &Topology) -> u64 {
        let arrived = |stage: StageId| self.hops.get(usize::from(stage.0)).map_or(0, |hop| hop.arrived);
        match topology.stage(stage).parent {
            None => self.whole.taken(),
            // A parent that could not be read shows fewer than there were.
            Some(parent) => arrived(parent).max(arrived(stage)),
        }
    }

    /// Canaries on a hop of which it is not known how long they took.
    #[must_use]
    pub fn untimed(&self, stage: StageId, topology: &Topology) -> u64 {
        let hop = self.hops.get(usize::from(stage.0));
        let (known, unobserved) = hop.map_or((0, 0), |hop| (hop.latency.known(), hop.unobserved));
        // If the parent could not be read either, they are not among those that entered.
        self.entered(stage, topology).saturating_sub(known).max(unobserved)
    }

    /// How many canaries were certainly lost on a hop, and how many may have been.
    #[must_use]
    pub fn lost_on(&self, stage: StageId, topology: &Topology) -> (u64, u64) {
        let Some(at) = topology.main_path().iter().position(|on| *on == stage) else {
            let hop = self.hops.get(usize::from(stage.0));
            let (missing, arrived, unobserved) =
                hop.map_or((0, 0, 0), |hop| (hop.latency.missing, hop.arrived, hop.unobserved));
            // One that arrived is not lost, also if it is not known how long it took.
            let open = self.entered(stage, topology).saturating_sub(arrived + missing);
            return (missing, missing + open.max(unobserved));
        };
        let place =
            |stage: &StageId| topology.main_path().iter().position(|on| on == stage).unwrap_or_default();
        let (mut certain, mut possible) = (0, self.whole.unknown());
        for ((first, last), count) in &self.lost {
            if first == last && *first == stage {
                certain += count;
            } else if (place(first)..=place(last)).contains(&at) {
                possible += count;
            }
        }
        for (dead, count) in &self.dead_lettered {
            // It failed on the hop from the stage that the dead-letter stage follows.
            if topology.stage(stage).parent == topology.stage(*dead).parent {
                certain += count;
            }
        }
        (certain, certain + possible)
    }

    /// Between what values that lies which a threshold compares; `None` if there is nothing.
    #[must_use]
    pub fn measure(&self, threshold: &Threshold, beside: &Beside, topology: &Topology) -> Option<Span> {
        let of = self.whole.taken();
        match threshold.metric {
            Metric::Latency => self.latency(threshold, topology),
            Metric::Loss => match &threshold.part {
                Part::All | Part::Size(_) => tally(threshold, self.whole.lost, self.whole.unknown(), of),
                Part::Tenant(name) => {
                    let group = self.tenants.get(&topology.tenant_by_name(name)?)?;
                    tally(threshold, group.lost, group.unknown(), group.taken())
                }
                Part::Hop(name) => {
                    let stage = stage(topology, name)?;
                    let (certain, possible) = self.lost_on(stage, topology);
                    tally(threshold, certain, possible - certain, self.entered(stage, topology))
                }
            },
            Metric::Duplicates => {
                let count = self.hops.iter().map(|hop| hop.duplicates).sum();
                tally(threshold, count, self.unnoticed(beside) + self.unchecked() + beside.cut_searches, of)
            }
            Metric::Leaks => {
                let count = self.harm().leaks + self.warm_up.leaks;
                tally(threshold, count, self.unnoticed(beside), of + self.warm_up.canaries)
            }
            Metric::Corrupted => {
                let count = self.harm().corrupted + self.warm_up.corrupted;
                tally(threshold, count, self.unnoticed(beside), of + self.warm_up.canaries)
            }
            Metric::Refused => {
                let unanswered = self.whole.sent.saturating_sub(self.accepted + self.whole.refused);
                tally(threshold, self.whole.refused, unanswered, self.whole.sent)
            }
            Metric::Reached => {
                // What this machine did not send in time says nothing about the pipeline, nor does a put without an
                // answer.
                let unknown = self.planned.saturating_sub(self.accepted + self.whole.refused);
                tally(threshold, self.accepted, unknown, self.planned)
            }
            Metric::Throttled => tally(threshold, beside.throttled, 0, beside.calls),
            Metric::Growth => beside.growth,
        }
    }

    /// How many canaries a threshold is judged on.
    #[must_use]
    pub fn canaries(&self, threshold: &Threshold, topology: &Topology) -> u64 {
        let group = |group: Option<&Group>| group.map_or(0, Group::taken);
        match &threshold.part {
            Part::All => self.whole.taken(),
            Part::Hop(name) => stage(topology, name).map_or(0, |stage| self.entered(stage, topology)),
            Part::Size(size) => group(self.sizes.get(size)),
            Part::Tenant(name) => {
                group(topology.tenant_by_name(name).and_then(|tenant| self.tenants.get(&tenant)))
            }
        }
    }

    /// A canary has a second copy at a stage, of which the run ended before it was known whether both exist.
    pub fn not_checked(&mut self, stage: StageId) {
        if let Some(hop) = self.hop(stage) {
            hop.unchecked += 1;
        }
    }

    /// How many second copies may have been moved.
    #[must_use]
    pub fn unchecked(&self) -> u64 {
        self.hops.iter().map(|hop| hop.unchecked).sum()
    }

    /// Nothing more is awaited of a canary at a stage that could not be read.
    pub fn not_observed(&mut self, trace: &Trace, stage: StageId) {
        // One whose outcome is unobserved is unknown already.
        if !matches!(trace.ended, Some((Outcome::Unobserved(_), _)))
            && let Some(hop) = self.hop(stage)
        {
            hop.unobserved += 1;
        }
    }

    /// How many copies nobody could see, if there were any.
    fn unnoticed(&self, beside: &Beside) -> u64 {
        let unobserved: u64 = self.hops.iter().map(|hop| hop.unobserved).sum();
        self.whole.unknown() + unobserved + u64::from(beside.blind)
    }

    fn latency(&self, threshold: &Threshold, topology: &Topology) -> Option<Span> {
        let (latencies, unknown) = match &threshold.part {
            Part::All => (&self.whole.latency, self.whole.untimed()),
            Part::Hop(name) => {
                let stage = stage(topology, name)?;
                (&self.hops.get(usize::from(stage.0))?.latency, self.untimed(stage, topology))
            }
            Part::Size(size) => self.sizes.get(size).map(|group| (&group.latency, group.untimed()))?,
            Part::Tenant(name) => {
                let group = self.tenants.get(&topology.tenant_by_name(name)?)?;
                (&group.latency, group.untimed())
            }
        };
        match threshold.aggregate {
            Aggregate::Percentile(percent) => latencies.between(percent, unknown),
            Aggregate::Max | Aggregate::Rate | Aggregate::Count | Aggregate::Value => {
                latencies.longest(unknown)
            }
        }
    }
}

/// The least time that a hop of a trace took.
fn least_of_hop(trace: &Trace, hop: StageId, topology: &Topology) -> Option<Duration> {
    let begun = trace.hop_start(topology, hop)?;
    Some(trace.arrival(hop)?.earliest.since(begun.latest))
}

/// A count of which `unknown` more may be, of so many.
#[expect(clippy::cast_precision_loss, reason = "a run has far fewer than 2^52 events")]
fn tally(threshold: &Threshold, count: u64, unknown: u64, of: u64) -> Option<Span> {
    let high = count + unknown;
    match threshold.aggregate {
        Aggregate::Count => Some(Span { low: count as f64, high: high as f64 }),
        Aggregate::Rate | Aggregate::Percentile(_) | Aggregate::Max | Aggregate::Value => {
            // A canary can have several copies.
            let low = count as f64 / of as f64;
            (of > 0).then(|| Span { low, high: (high as f64 / of as f64).min(1.0).max(low) })
        }
    }
}

/// The stage with this name.
#[must_use]
pub fn stage(topology: &Topology, name: &str) -> Option<StageId> {
    topology.stage_ids().find(|stage| &*topology.stage(*stage).name == name)
}

/// Whether canaries pass through a stage, so that the hop to it has a latency.
#[must_use]
pub fn is_hop(topology: &Topology, stage: StageId) -> bool {
    topology.stage(stage).role != Role::DeadLetter
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::canary::Integrity;
    use crate::domain::sighting::Stamp;
    use crate::domain::tag::{InstanceCode, Purpose, Tag, TenantCode, TraceId};
    use crate::domain::time::{Interval, Timestamp};
    use crate::domain::topology::fixture::{ACME, ARCHIVE, DEAD, STREAM, TABLE, TRANSIT, topology};
    use crate::domain::trace::{Arrival, Origin};
    use crate::load::threshold::Judged;

    fn t(secs: u64) -> Timestamp {
        Timestamp::from_secs(1_800_000_000) + Duration::from_secs(secs)
    }

    /// A canary of acme that was seen at these stages after so many seconds.
    fn trace(seen: &[(StageId, u64)]) -> Trace {
        let id = TraceId::new(t(0), [1; 10]);
        let tag = Tag::new(id, TenantCode::of("acme"), InstanceCode::of("me"), 500, Purpose::Load);
        let mut trace = Trace::new(tag, ACME, topology().stages().len(), Origin::Planned);
        for (stage, after) in seen {
            trace.stages[usize::from(stage.0)].arrival = Some(Box::new(Arrival {
                interval: Interval::exactly(t(*after)),
                noticed_at: t(*after),
                integrity: Integrity::Intact,
                stamp: Stamp::None,
                found_in: None,
            }));
        }
        trace
    }

    /// Figures of one canary that was sent and ended so.
    fn ended(outcome: Outcome, trace: &Trace) -> Figures {
        let mut figures = Figures::new(&topology());
        figures.sent(ACME, 500);
        for stage in [STREAM, TRANSIT, TABLE].into_iter().filter(|stage| trace.arrival(*stage).is_some()) {
            figures.hops[usize::from(stage.0)].arrived = 1;
        }
        let event = Event::Ended { tenant: ACME, trace: trace.id(), outcome, adopted: false };
        figures.take(&event, Some(trace), &topology());
        figures
    }

    #[test]
    fn an_arrival_counts_for_the_whole_its_size_and_its_tenant() {
        let figures = ended(Outcome::Delivered, &trace(&[(STREAM, 1), (TRANSIT, 2), (TABLE, 3)]));
        for group in [&figures.whole, &figures.sizes[&500], &figures.tenants[&ACME]] {
            assert_eq!((group.arrived, group.unknown(), group.untimed()), (1, 0, 0));
            // Above 256 ms, values are within 0.4 %.
            assert!((group.latency.at(50.0).unwrap() - 3.0).abs() < 0.012);
        }
    }

    #[test]
    fn an_arrival_while_the_stage_could_not_be_read_has_no_latency() {
        let trace = Trace { judgement: Judgement::Unjudged, ..trace(&[(STREAM, 1), (TABLE, 40)]) };
        let figures = ended(Outcome::Delivered, &trace);
        assert_eq!((figures.whole.arrived, figures.whole.unknown(), figures.whole.untimed()), (1, 0, 1));
        assert_eq!(figures.unjudged, 1);
    }

    #[test]
    fn an_unobserved_canary_may_be_lost_on_any_hop_and_is_certainly_lost_on_none() {
        let figures = ended(Outcome::Unobserved(UnobservedReason::Blind), &trace(&[(STREAM, 1)]));
        for stage in [STREAM, TRANSIT, TABLE] {
            assert_eq!(figures.lost_on(stage, &topology()), (0, 1), "{stage:?}");
        }
    }

    #[test]
    fn a_dead_letter_is_lost_on_the_hop_beside_its_stage() {
        let figures = ended(Outcome::DeadLettered(DEAD), &trace(&[(STREAM, 1)]));
        assert_eq!(figures.lost_on(TRANSIT, &topology()), (1, 1));
        assert_eq!(figures.lost_on(TABLE, &topology()), (0, 0));
        assert_eq!(figures.hops[usize::from(TRANSIT.0)].latency.missing, 1);
        assert_eq!(figures.hops[usize::from(TABLE.0)].latency.missing, 0, "it never entered that hop");
    }

    #[test]
    fn a_canary_that_a_stage_could_not_show_is_unobserved_there_unless_it_is_unknown_already() {
        let arrived = Trace { ended: Some((Outcome::Delivered, t(3))), ..trace(&[(STREAM, 1), (TABLE, 3)]) };
        let blind = Some((Outcome::Unobserved(UnobservedReason::Blind), t(200)));
        let unknown = Trace { ended: blind, ..arrived.clone() };
        for (trace, expected) in [(&arrived, 1), (&unknown, 0)] {
            let mut figures = Figures::new(&topology());
            let event = Event::HopUnobserved { tenant: ACME, hop: TRANSIT, trace: trace.id() };
            figures.take(&event, Some(trace), &topology());
            assert_eq!(figures.hops[usize::from(TRANSIT.0)].unobserved, expected);
        }
    }

    #[test]
    fn what_neither_a_stage_nor_its_parent_showed_leaves_the_hop_undecided() {
        let mut figures = Figures::new(&topology());
        for (stage, unobserved) in [(STREAM, 1), (ARCHIVE, 1), (TRANSIT, 1), (TABLE, 0)] {
            let hop = &mut figures.hops[usize::from(stage.0)];
            (hop.arrived, hop.unobserved) = (1, unobserved);
            hop.latency.add(Duration::from_secs(1), Duration::from_secs(1));
        }
        let judged = |subject: &str, expression: &str| {
            let threshold = Threshold::parse(subject, expression).unwrap();
            threshold.judge(figures.measure(&threshold, &Beside::default(), &topology()))
        };
        assert_eq!(judged("latency{hop:table}", "p(95)<30s"), Judged::Kept);
        assert_eq!(judged("latency{hop:transit}", "p(95)<30s"), Judged::Undecided);
        assert_eq!(judged("loss{hop:archive}", "rate<0.1"), Judged::Undecided);
    }

    #[test]
    fn an_arrival_at_a_side_stage_is_not_lost_also_if_its_latency_is_not_known() {
        let mut figures = Figures::new(&topology());
        for stage in [STREAM, ARCHIVE] {
            figures.hops[usize::from(stage.0)].arrived = 10;
        }
        assert_eq!(figures.lost_on(ARCHIVE, &topology()), (0, 0));
        let hop = &mut figures.hops[usize::from(ARCHIVE.0)];
        (hop.arrived, hop.latency.missing) = (7, 2);
        assert_eq!(figures.lost_on(ARCHIVE, &topology()), (2, 3), "of one, nothing is known");
    }

    #[test]
    fn a_cut_or_changed_copy_breaks_the_threshold_on_it_and_one_that_is_not_known_may() {
        let mut figures = ended(Outcome::Delivered, &trace(&[(STREAM, 1), (TRANSIT, 2), (TABLE, 3)]));
        let threshold = Threshold::parse("corrupted", "count==0").unwrap();
        let judged =
            |figures: &Figures| threshold.judge(figures.measure(&threshold, &Beside::default(), &topology()));
        assert_eq!(judged(&figures), Judged::Kept);
        figures.hops[usize::from(ARCHIVE.0)].unobserved = 1;
        assert_eq!(judged(&figures), Judged::Undecided);
        figures.hops[usize::from(TABLE.0)].corrupted = 1;
        assert_eq!(judged(&figures), Judged::Broken);
    }

    #[test]
    fn harm_of_the_warm_up_counts_with_its_canaries() {
        let mut figures = ended(Outcome::Delivered, &trace(&[(STREAM, 1), (TRANSIT, 2), (TABLE, 3)]));
        figures.add_warm_up(Harm { canaries: 3, leaks: 1, corrupted: 2 });
        let measured = |subject: &str| {
            let threshold = Threshold::parse(subject, "rate<0.1").unwrap();
            figures.measure(&threshold, &Beside::default(), &topology())
        };
        assert_eq!(measured("leaks"), Some(Span::exactly(0.25)));
        assert_eq!(measured("corrupted"), Some(Span::exactly(0.5)));
        assert_eq!(measured("loss"), Some(Span::exactly(0.0)));
    }

    #[test]
    fn a_put_without_an_answer_may_have_reached_the_log_group() {
        let figures = Figures { planned: 100, accepted: 90, ambiguous: 10, ..Figures::new(&topology()) };
        let threshold = Threshold::parse("reached", "rate>0.99").unwrap();
        let measured = figures.measure(&threshold, &Beside::default(), &topology());
        assert_eq!(measured, Some(Span { low: 0.9, high: 1.0 }));
    }

    #[test]
    fn a_refused_canary_was_never_in_the_pipeline() {
        let figures = ended(Outcome::Refused("no".into()), &trace(&[]));
        assert_eq!((figures.whole.taken(), figures.whole.lost, figures.whole.refused), (0, 0, 1));
    }
}
