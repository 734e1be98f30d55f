//! What the store must hold once every canary has ended.
//!
//! The sandbox draws the fate of a tenant's *n*-th canary from its seed, the tenant and *n*, whatever the
//! probe does. So an undisturbed probe must end each canary as the sandbox says: delivered, or lost at the
//! first hop of the main path that it did not make. [`Reference`] checks this against a probe that was not
//! killed. A killed probe must reach the same outcome unless none of its runs could read the evidence. That
//! is decided by the truth and by the watermarks that its pages showed ([`Runs`]), never by what the probe
//! believes about the canary:
//!
//! * An arrival could be read if, before the canary expired, a page showed a watermark of its source beyond
//!   that arrival; an absence, if it showed a watermark beyond the deadline.
//! * `unobserved` is right only if the end stage could not be read, if the canary was never put, or if it was
//!   lost before the first stage and the probe was killed before it saw the answer to the put.
//! * A hop range is right only if none of its stages but the last could be read.
//! * Every stored copy that could be read was seen, and none was counted twice. Each interval holds the true
//!   arrival and no time that a previous run had excluded.

use std::collections::BTreeMap;
use std::time::Duration;

use traceprobe::domain::outcome::Outcome;
use traceprobe::domain::tag::TraceId;
use traceprobe::domain::time::Timestamp;
use traceprobe::domain::topology::{HopRange, StageId, Topology};
use traceprobe::domain::trace::{Put, Trace};
use traceprobe::sandbox::{Micros, Stage, TruthRecord};

use super::runs::Runs;
use super::scene::GIVE_UP;

const MAIN_PATH: [Stage; 3] = [Stage::TenantStream, Stage::Transit, Stage::Bigquery];
const STAGES: [Stage; 4] = [Stage::TenantStream, Stage::Archive, Stage::Transit, Stage::Bigquery];
/// A poll that began this long after the canary was put was looking for it, even on a busy machine: the
/// observers get the new list of wanted canaries right after the put.
const WANTED_AFTER: Duration = Duration::from_secs(1);
/// How long a put may be under way while others of its tenant begin and end: an attempt takes 5 s at most.
const OVERLAP: Duration = Duration::from_secs(5);

/// The number of canaries by how they were judged.
#[derive(Debug, Default)]
pub struct Tally {
    pub planned: usize,
    pub delivered: usize,
    /// Lost at exactly the true hop.
    pub lost: usize,
    /// Of the delivered and the lost: the answer to the put was never received, but the canary was seen.
    pub known_only_by_sighting: usize,
    /// Copies beyond the first that were seen.
    pub doubled: usize,
    /// Unobserved: the probe was killed between the plan and the put.
    pub never_put: usize,
    /// Unobserved: lost before the first stage, and the answer to the put was never received.
    pub lost_unnamed: usize,
    /// Unobserved: no run polled the end stage in time.
    pub down: usize,
    /// Lost in a range of hops, because no run polled some stage in time.
    pub hop_range: usize,
    /// Lost in a range of hops, because a poll of such a stage failed.
    pub failing_hop_range: usize,
    /// The pipeline was late, because the machine was busy. Any outcome is accepted.
    pub slow_pipeline: usize,
    /// Intervals that are narrower because a previous run had proven absence.
    pub narrowed: usize,
}

impl Tally {
    fn judged(&self) -> usize {
        let unobserved = self.never_put + self.lost_unnamed + self.down;
        let hop_ranges = self.hop_range + self.failing_hop_range;
        self.delivered + self.lost + unobserved + hop_ranges + self.slow_pipeline
    }
}

/// What truly happened to each tenant's canaries, in the order of their puts.
pub struct Reference(BTreeMap<String, Vec<TruthRecord>>);

impl Reference {
    pub fn new(truth: impl IntoIterator<Item = TruthRecord>) -> Self {
        let mut all = BTreeMap::<_, Vec<_>>::new();
        truth.into_iter().for_each(|record| all.entry(record.tenant.clone()).or_default().push(record));
        // A retried put takes two numbers, so the canaries after it cannot be compared.
        let once =
            |records: Vec<TruthRecord>| records.into_iter().take_while(|record| record.puts == 1).collect();
        Self(all.into_iter().map(|(tenant, records)| (tenant, once(records))).collect())
    }

    /// The number of canaries of the tenant with the most.
    pub fn longest(&self) -> usize {
        self.0.values().map(Vec::len).max().unwrap_or(0)
    }

    /// The number of canaries of the tenant with the fewest.
    pub fn shortest(&self) -> usize {
        self.0.values().map(Vec::len).min().unwrap_or(0)
    }

    /// Fails unless both pipelines treated the canaries that both of them took alike.
    pub fn assert_same_fates(&self, other: &Self) {
        for (tenant, records) in &self.0 {
            for (nth, (one, other)) in records.iter().zip(&other.0[tenant]).enumerate() {
                let fates =
                    [one, other].map(|record| (lost_at(record), STAGES.map(|at| record.copies(at).count())));
                assert_eq!(fates[0], fates[1], "canary {nth} of {tenant}");
            }
        }
    }
}

/// The hop of the main path that lost the canary; `None` if it reached the end.
fn lost_at(record: &TruthRecord) -> Option<Stage> {
    let seen = MAIN_PATH.iter().rposition(|stage| record.arrived(*stage).is_some());
    MAIN_PATH.get(seen.map_or(0, |at| at + 1)).copied()
}

/// Compares outcomes with the truth.
pub struct Judge<'a> {
    pub truth: &'a BTreeMap<TraceId, TruthRecord>,
    pub runs: &'a Runs,
    pub map: &'a Topology,
    /// `probe.grace` of the configuration.
    pub grace: Duration,
}

/// One canary that CloudWatch Logs accepted.
struct Case<'a> {
    judge: &'a Judge<'a>,
    record: &'a TruthRecord,
    trace: &'a Trace,
}

impl Judge<'_> {
    /// Fails unless every outcome is right.
    pub fn judge(&self, kept: &BTreeMap<TraceId, Trace>) -> Tally {
        for id in self.truth.keys() {
            assert!(kept.contains_key(id), "{id} was sent, but the store does not have it");
        }
        let mut tally = Tally { planned: kept.len(), ..Tally::default() };
        let mut faults = self.order_faults(kept);
        for (id, trace) in kept {
            let record = self.truth.get(id);
            let result = match (&trace.ended, record) {
                (None, _) => Err("it has no outcome".to_owned()),
                (Some((outcome, _)), None) => never_put(trace, outcome, &mut tally),
                (Some((outcome, _)), Some(record)) => {
                    let case = Case { judge: self, record, trace };
                    case.end(outcome, &mut tally).and_then(|()| case.stages(&mut tally))
                }
            };
            if let Err(fault) = result {
                faults.push(format!("{id}: {fault}\n  {trace:?}\n  {record:?}"));
            }
        }
        assert!(faults.is_empty(), "{} of {}:\n{}", faults.len(), kept.len(), faults.join("\n"));
        assert_eq!(tally.judged(), tally.planned, "{tally:#?}");
        tally
    }

    /// Within a run, puts of a tenant overlap only as long as a put may take: one without an answer cannot be followed by
    /// one with an answer that was planned later than that.
    fn order_faults(&self, kept: &BTreeMap<TraceId, Trace>) -> Vec<String> {
        let mut waits = BTreeMap::new();
        let mut faults = Vec::new();
        for (id, trace) in kept {
            let Some(run) = self.runs.of(trace.planned_at) else {
                faults.push(format!("{id} was planned by no run"));
                continue;
            };
            match trace.put {
                Put::Planned => drop(waits.insert((run, trace.tenant), *id)),
                Put::Accepted { .. } | Put::Refused { .. } => {
                    let waits: Option<TraceId> = waits.remove(&(run, trace.tenant));
                    if let Some(earlier) =
                        waits.filter(|it| trace.planned_at.since(it.planned_at()) > OVERLAP)
                    {
                        faults.push(format!("{id} was put and answered after {earlier}, which was not"));
                    }
                }
                Put::Ambiguous { .. } => {}
            }
        }
        faults
    }
}

/// A canary that was never put cannot be seen, and its absence proves nothing.
fn never_put(trace: &Trace, outcome: &Outcome, tally: &mut Tally) -> Result<(), String> {
    tally.never_put += 1;
    let seen = trace.stages.iter().any(|visit| visit.arrival.is_some() || !visit.copies.is_empty());
    if seen || matches!(trace.put, Put::Accepted { .. }) || !matches!(outcome, Outcome::Unobserved(_)) {
        return Err("it was never put".into());
    }
    Ok(())
}

impl Case<'_> {
    fn deadline(&self) -> Timestamp {
        self.trace.planned_at + GIVE_UP
    }

    /// When it becomes unobserved if the end stage cannot be read.
    fn expiry(&self) -> Timestamp {
        self.deadline() + self.judge.grace
    }

    fn accepted(&self) -> bool {
        matches!(self.trace.put, Put::Accepted { .. })
    }

    /// Whether an arrival at a stage could be read in time.
    fn could_be_seen(&self, stage: Stage, arrived: Option<Micros>) -> bool {
        arrived.is_some_and(|at| {
            let mark = instant(at) + WANTED_AFTER;
            self.judge.runs.read_beyond(mark, stage.name(), &self.record.tenant, self.expiry())
        })
    }

    /// Whether its absence from a stage could be proven in time.
    fn could_be_proven_absent(&self, stage: Stage) -> bool {
        let (runs, tenant) = (self.judge.runs, &self.record.tenant);
        self.record.arrived(stage).is_none()
            && runs.read_beyond(self.deadline(), stage.name(), tenant, self.expiry())
            && !self.failing(stage)
    }

    /// Whether a poll of the stage failed in time, after which the probe need not have waited for another.
    fn failing(&self, stage: Stage) -> bool {
        let runs = self.judge.runs;
        runs.failing(stage.name(), &self.record.tenant, self.deadline(), self.expiry())
    }

    fn could_be_judged(&self, stage: Stage) -> bool {
        self.could_be_seen(stage, self.record.arrived(stage)) || self.could_be_proven_absent(stage)
    }

    fn end(&self, outcome: &Outcome, tally: &mut Tally) -> Result<(), String> {
        // On a busy machine the pipeline itself can be slow. What it delivers to a stage after the deadline
        // may be found there before or after the outcome is decided.
        let after_deadline = |stage: &Stage| {
            self.record.arrived(*stage).is_some_and(|at| instant(at) + WANTED_AFTER > self.deadline())
        };
        if MAIN_PATH.iter().any(after_deadline) {
            tally.slow_pipeline += 1;
            return Ok(());
        }
        let only_sighted = usize::from(!self.accepted());
        match (lost_at(self.record), outcome) {
            (None, Outcome::Delivered) => {
                tally.delivered += 1;
                tally.known_only_by_sighting += only_sighted;
            }
            (Some(hop), Outcome::Lost(hop_range)) => {
                self.lost(hop, *hop_range, tally)?;
                tally.known_only_by_sighting += only_sighted;
            }
            (hop, Outcome::Unobserved(_)) => return self.unobserved(hop, tally),
            (None, _) => return Err("it was delivered".into()),
            (Some(hop), _) => return Err(format!("it was lost at {hop}")),
        }
        Ok(())
    }

    fn lost(&self, hop: Stage, hop_range: HopRange, tally: &mut Tally) -> Result<(), String> {
        if !self.accepted() && STAGES.iter().all(|stage| self.record.arrived(*stage).is_none()) {
            return Err("no run could know that it was put".into());
        }
        let place = |id: StageId| {
            let name = &*self.judge.map.stage(id).name;
            MAIN_PATH.iter().position(|stage| stage.name() == name).expect("a hop of the main path")
        };
        let (first, last) = (place(hop_range.first), place(hop_range.last));
        let truly = MAIN_PATH.iter().position(|stage| *stage == hop).expect("a hop of the main path");
        if !(first..=last).contains(&truly) {
            return Err(format!("it was lost at {hop}"));
        }
        if let Some(stage) = MAIN_PATH[first..last].iter().find(|stage| self.could_be_judged(**stage)) {
            return Err(format!("it was lost at {hop}, and {stage} could be read"));
        }
        let failing = MAIN_PATH[first..last].iter().any(|stage| self.failing(*stage));
        let count = match (first == last, failing) {
            (true, _) => &mut tally.lost,
            (false, true) => &mut tally.failing_hop_range,
            (false, false) => &mut tally.hop_range,
        };
        *count += 1;
        Ok(())
    }

    fn unobserved(&self, hop: Option<Stage>, tally: &mut Tally) -> Result<(), String> {
        if hop == Some(Stage::TenantStream) && !self.accepted() {
            tally.lost_unnamed += 1;
            return Ok(());
        }
        let taken = self.accepted()
            || STAGES.iter().any(|stage| self.could_be_seen(*stage, self.record.arrived(*stage)));
        if taken && self.could_be_judged(Stage::Bigquery) {
            return Err("its end could be read".into());
        }
        tally.down += 1;
        Ok(())
    }

    /// Checks its copies and its interval at each stage.
    fn stages(&self, tally: &mut Tally) -> Result<(), String> {
        for id in self.judge.map.stage_ids() {
            let name = &*self.judge.map.stage(id).name;
            let stage =
                STAGES.into_iter().find(|stage| stage.name() == name).expect("a stage of the sandbox");
            let visit = self.trace.visit(id);
            let copies: Vec<_> = self.record.copies(stage).map(|copy| copy.at).collect();
            let due = copies.iter().filter(|at| self.could_be_seen(stage, Some(**at))).count();
            if !(due..=copies.len()).contains(&visit.copies.len()) {
                return Err(format!("{due} to {} copies at {stage} should have been seen", copies.len()));
            }
            tally.doubled += visit.copies.len().saturating_sub(1);
            let Some(arrival) = &visit.arrival else { continue };
            if !copies.iter().any(|at| arrival.interval.contains(instant(*at))) {
                return Err(format!("its interval at {stage} does not hold the true arrival"));
            }
            let in_since = instant(self.record.accepted) + WANTED_AFTER;
            let first = copies.into_iter().min().map_or(in_since, instant);
            let absent = self.judge.runs.last_read(name, &self.record.tenant, in_since, first);
            if absent.is_some_and(|absent| arrival.interval.earliest < absent) {
                return Err(format!("a poll had proven it absent from {stage} until {absent:?}"));
            }
            tally.narrowed += usize::from(absent.is_some());
        }
        Ok(())
    }
}

fn instant(at: Micros) -> Timestamp {
    Timestamp::from_micros(at.0)
}
