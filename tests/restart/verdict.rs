//! What must stand in the store once everything has landed, judged by the sandbox's truth alone.

use std::collections::BTreeMap;
use std::time::Duration;

use traceprobe::domain::outcome::Outcome;
use traceprobe::domain::tag::TraceId;
use traceprobe::domain::time::Timestamp;
use traceprobe::domain::topology::{StageId, Topology};
use traceprobe::domain::trace::{Put, Trace, Visit};
use traceprobe::sandbox::{Incident, Stage, TruthRecord};

/// As in the configuration of the scene.
const GIVE_UP: Duration = Duration::from_secs(6);
const GRACE: Duration = Duration::from_secs(8);
const MAIN_PATH: [Stage; 3] = [Stage::TenantStream, Stage::Transit, Stage::Bigquery];

/// What a run came to.
#[derive(Debug, Default)]
pub struct Tally {
    pub planned: usize,
    pub delivered: usize,
    pub lost: usize,
    /// Of these, at one hop and not somewhere on a stretch.
    pub lost_at_one_hop: usize,
    pub doubled: usize,
    /// Nobody can say, and rightly: it never was put, or whether it was was never learned.
    pub untold: usize,
    /// Nobody can say because the probe was down when there was something to be seen.
    pub down: usize,
}

/// The watch over one store through all lives of its probe: an outcome, once written, is never written again.
#[derive(Default)]
pub struct Watch {
    known: BTreeMap<TraceId, Option<(Outcome, Timestamp)>>,
}

impl Watch {
    /// Takes what the store holds now.
    pub fn read(&mut self, kept: &BTreeMap<TraceId, Trace>) {
        for (id, before) in &self.known {
            let trace = kept.get(id).unwrap_or_else(|| panic!("{id} was in the store and is not any more"));
            if before.is_some() {
                assert_eq!(trace.ended, *before, "{id} ended twice");
            }
        }
        self.known = kept.iter().map(|(id, trace)| (*id, trace.ended.clone())).collect();
    }
}

/// Holds every outcome against the truth.
pub fn judge(
    truth: &BTreeMap<TraceId, TruthRecord>,
    kept: &BTreeMap<TraceId, Trace>,
    map: &Topology,
) -> Tally {
    for id in truth.keys() {
        assert!(kept.contains_key(id), "{id} was sent, and the store does not know it");
    }
    let mut tally = Tally { planned: kept.len(), ..Tally::default() };
    let mut faults = Vec::new();
    for (id, trace) in kept {
        let Some(ended) = &trace.ended else {
            faults.push(format!("{id} has no outcome: {trace:?}"));
            continue;
        };
        let record = truth.get(id);
        if let Err(fault) = judge_one(record, trace, ended, map, &mut tally) {
            faults.push(format!("{id}: {fault}: {ended:?}\n  {trace:?}\n  {record:?}"));
        }
    }
    assert!(faults.is_empty(), "{} of {}:\n{}", faults.len(), kept.len(), faults.join("\n"));
    tally
}

fn judge_one(
    record: Option<&TruthRecord>,
    trace: &Trace,
    ended: &(Outcome, Timestamp),
    map: &Topology,
    tally: &mut Tally,
) -> Result<(), String> {
    let (outcome, ended_at) = (&ended.0, ended.1);
    let accepted = matches!(trace.put, Put::Accepted { .. });
    let Some(record) = record else {
        tally.untold += 1;
        return (!accepted && *outcome == Outcome::Unobserved).then_some(()).ok_or("it was never put".into());
    };
    let deadline = trace.planned_at + GIVE_UP;
    let arrived = record.arrived(Stage::Bigquery);
    let seen_in_time =
        |visit: &Visit| visit.arrival.as_ref().is_some_and(|arrival| arrival.noticed_at <= ended_at);
    // What a later look proved could not be waited for where a source was in trouble.
    let told =
        |visit: &Visit| seen_in_time(visit) || visit.absent_at(deadline) && ended_at >= deadline + GRACE;
    if *outcome == Outcome::Unobserved {
        let taken = accepted || trace.stages.iter().any(seen_in_time);
        if taken && told(trace.visit(map.end())) {
            return Err("the probe has seen its end, or that it never came there".into());
        }
        let count = if taken { &mut tally.down } else { &mut tally.untold };
        *count += 1;
        return Ok(());
    }
    if arrived.is_some() {
        if *outcome != Outcome::Delivered {
            return Err("it was delivered".into());
        }
        tally.delivered += 1;
        return judge_copies(record, trace, map, tally);
    }
    let seen = MAIN_PATH.iter().rposition(|stage| record.arrived(*stage).is_some());
    let lost_at = MAIN_PATH[seen.map_or(0, |at| at + 1)].name();
    let Outcome::Lost(stretch) = outcome else {
        return Err(format!("it was lost at {lost_at}"));
    };
    tally.lost += 1;
    let path = map.main_path();
    let place = |wanted: StageId| path.iter().position(|stage| *stage == wanted);
    let (first, last) = (place(stretch.first), place(stretch.last));
    let truly = path.iter().position(|stage| *map.stage(*stage).name == *lost_at);
    if truly < first || last < truly {
        return Err(format!("it was lost at {lost_at}, not at {}", stretch.display(map)));
    }
    tally.lost_at_one_hop += usize::from(first == last);
    // A stretch is right only where no life was long enough to read the stages in it past the deadline.
    let between =
        path.iter().skip_while(|stage| **stage != stretch.first).take_while(|stage| **stage != stretch.last);
    if between.map(|stage| trace.visit(*stage)).any(told) {
        return Err(format!("it is known better than {} where it was lost", stretch.display(map)));
    }
    Ok(())
}

/// Where the pipeline stored a second copy, the probe has seen two.
fn judge_copies(
    record: &TruthRecord,
    trace: &Trace,
    map: &Topology,
    tally: &mut Tally,
) -> Result<(), String> {
    for incident in &record.incidents {
        let Incident::Duplicated { stage } = incident else { continue };
        let id = map.stage_ids().find(|id| *map.stage(*id).name == *stage.name());
        let copies = &trace.visit(id.ok_or("no such stage")?).copies;
        // A stage that no life was long enough to read has shown none.
        if copies.len() == 1 {
            return Err(format!("of two copies at {stage} only one was seen"));
        }
        tally.doubled += usize::from(copies.len() > 1);
    }
    Ok(())
}
