//! What must stand in the store once everything has landed, judged by the sandbox's truth alone.

use std::collections::BTreeMap;
use std::time::Duration;

use traceprobe::domain::outcome::Outcome;
use traceprobe::domain::tag::TraceId;
use traceprobe::domain::time::Timestamp;
use traceprobe::domain::topology::Topology;
use traceprobe::domain::trace::{Put, Trace};
use traceprobe::sandbox::{Incident, Stage, TruthRecord};

/// As in the configuration of the scene.
const GIVE_UP: Duration = Duration::from_secs(6);
const GRACE: Duration = Duration::from_secs(8);
/// A life of this length has looked at every source several times. A shorter one may have learned nothing.
const LONG_ENOUGH: Duration = Duration::from_millis(700);
const MAIN_PATH: [Stage; 3] = [Stage::TenantStream, Stage::Transit, Stage::Bigquery];

/// From when it listened until it was killed.
#[derive(Clone, Copy, Debug)]
pub struct Life {
    pub from: Timestamp,
    pub until: Timestamp,
}

/// What a run came to.
#[derive(Debug, Default)]
pub struct Tally {
    pub planned: usize,
    pub delivered: usize,
    pub lost: usize,
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
    lives: &[Life],
    map: &Topology,
) -> Tally {
    for id in truth.keys() {
        assert!(kept.contains_key(id), "{id} was sent, and the store does not know it");
    }
    let mut tally = Tally { planned: kept.len(), ..Tally::default() };
    let mut faults = Vec::new();
    for (id, trace) in kept {
        let Some((outcome, _)) = &trace.ended else {
            faults.push(format!("{id} has no outcome: {trace:?}"));
            continue;
        };
        let record = truth.get(id);
        if let Err(fault) = judge_one(record, trace, outcome, lives, map, &mut tally) {
            faults.push(format!("{id}: {fault}: {outcome:?}\n  {trace:?}\n  {record:?}"));
        }
    }
    assert!(faults.is_empty(), "{} of {}:\n{}", faults.len(), kept.len(), faults.join("\n"));
    tally
}

fn judge_one(
    record: Option<&TruthRecord>,
    trace: &Trace,
    outcome: &Outcome,
    lives: &[Life],
    map: &Topology,
    tally: &mut Tally,
) -> Result<(), String> {
    let accepted = matches!(trace.put, Put::Accepted { .. });
    let Some(record) = record else {
        tally.untold += 1;
        return (!accepted && *outcome == Outcome::Unobserved).then_some(()).ok_or("it was never put".into());
    };
    let deadline = trace.planned_at + GIVE_UP;
    let arrived = record.arrived(Stage::Bigquery);
    let evidence_from = arrived.map_or(deadline, |at| Timestamp::from_micros(at.0));
    let could_see = |life: &Life| {
        let (from, until) = (life.from.max(evidence_from), life.until.min(deadline + GRACE));
        until.since(from) >= LONG_ENOUGH
    };
    let was_down = !lives.iter().any(could_see);
    if *outcome == Outcome::Unobserved && was_down {
        tally.down += 1;
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
    if seen.is_none() && !accepted {
        tally.untold += 1;
        let right = *outcome == Outcome::Unobserved;
        return right.then_some(()).ok_or("whether it was put was never learned".into());
    }
    let Outcome::Lost(stretch) = outcome else {
        return Err(format!("it was lost at {lost_at}"));
    };
    tally.lost += 1;
    let named = stretch.display(map).to_string();
    if named != lost_at {
        return Err(format!("it was lost at {lost_at}, not at {named}"));
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
        if copies.len() < 2 {
            return Err(format!("of two copies at {stage} only {} was seen", copies.len()));
        }
        tally.doubled += 1;
    }
    Ok(())
}
