//! Compares the store with the truth after a fault, in front of a pipeline that loses nothing.

use traceprobe::domain::outcome::Outcome;
use traceprobe::domain::time::{Interval, Timestamp};
use traceprobe::domain::trace::Trace;
use traceprobe::sandbox::{Stage, TruthRecord};

use super::row::Row;
use super::scene::{Files, Scene};

const STAGES: [Stage; 4] = [Stage::TenantStream, Stage::Archive, Stage::Transit, Stage::Bigquery];

/// The number of canaries by how they ended.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub planned: usize,
    pub delivered: usize,
    /// Unobserved, as no poll could show it in time.
    pub unobserved: usize,
    /// Lost or late, as it did not arrive in time.
    pub late: usize,
    /// Planned and never sent: unobserved, refused, or still open.
    pub unsent: usize,
    /// Lost or late, although it arrived in time.
    pub wrong: usize,
    /// Accepted by the pipeline, and without an outcome in the store.
    pub forgotten: usize,
    /// Seen where it never was, or more often than it is stored.
    pub invented: usize,
}

/// Whether a canary that arrived may end without anybody having seen it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Unobserved {
    /// The probe was kept from polling for longer than the deadline and the grace period.
    Allowed,
    Never,
}

/// Judges everything that the store has, and makes a row of it.
pub fn row(scene: &Scene, files: &Files, unobserved: Unobserved, fault: impl Into<String>) -> Row {
    let (truth, kept) = (scene.truth(), files.kept());
    let mut row = Row {
        fault: fault.into(),
        tally: Tally { planned: kept.len(), ..Tally::default() },
        memory: None,
        remark: String::new(),
        faults: Vec::new(),
    };
    for id in truth.keys().filter(|id| kept.get(id).is_none_or(|trace| trace.ended.is_none())) {
        row.tally.forgotten += 1;
        row.faults.push(format!("{id} was sent, and the store has {:?}", kept.get(id)));
    }
    let case = Case { scene, files, unobserved };
    for (id, trace) in &kept {
        if let Err(fault) = case.judge(trace, truth.get(id), &mut row.tally) {
            row.faults.push(format!("{id}: {fault}\n  {trace:?}\n  {:?}", truth.get(id)));
        }
    }
    if row.tally.delivered == 0 {
        row.faults.push("nothing was delivered".to_owned());
    }
    row
}

struct Case<'a> {
    scene: &'a Scene,
    files: &'a Files,
    unobserved: Unobserved,
}

impl Case<'_> {
    fn judge(&self, trace: &Trace, truth: Option<&TruthRecord>, tally: &mut Tally) -> Result<(), String> {
        let outcome = trace.ended.as_ref().map(|(outcome, _)| outcome);
        let Some(truth) = truth else {
            tally.unsent += 1;
            let seen = trace.stages.iter().any(|visit| visit.arrival.is_some());
            if seen || !matches!(outcome, None | Some(Outcome::Unobserved(_) | Outcome::Refused(_))) {
                tally.invented += 1;
                return Err("it was never sent".to_owned());
            }
            return Ok(());
        };
        // Counted as forgotten.
        let Some(outcome) = outcome else { return Ok(()) };
        let deadline = trace.planned_at + self.scene.give_up;
        let arrived = truth.arrived(Stage::Bigquery).map(|at| Timestamp::from_micros(at.0));
        let in_time = arrived.is_some_and(|at| at < deadline);
        match outcome {
            Outcome::Delivered => tally.delivered += 1,
            Outcome::Unobserved(_) if !in_time || self.unobserved == Unobserved::Allowed => {
                tally.unobserved += 1;
            }
            Outcome::Lost(_) | Outcome::Late if !in_time => tally.late += 1,
            Outcome::Unobserved(_)
            | Outcome::Lost(_)
            | Outcome::Late
            | Outcome::DeadLettered(_)
            | Outcome::Refused(_) => {
                tally.wrong += 1;
                return Err("it arrived in time".to_owned());
            }
        }
        self.stages(trace, truth).inspect_err(|_| tally.invented += 1)
    }

    fn stages(&self, trace: &Trace, truth: &TruthRecord) -> Result<(), String> {
        for id in self.files.map().stage_ids() {
            let name = &*self.files.map().stage(id).name;
            let Some(stage) = STAGES.into_iter().find(|stage| stage.name() == name) else { continue };
            let visit = trace.visit(id);
            let copies: Vec<_> = truth.copies(stage).map(|copy| Timestamp::from_micros(copy.at.0)).collect();
            if visit.copies.len() > copies.len() {
                return Err(format!("{} copies at {stage}, and it has {}", visit.copies.len(), copies.len()));
            }
            let holds = |interval: Interval| copies.iter().any(|at| interval.contains(*at));
            if visit.arrival.as_ref().is_some_and(|arrival| !holds(arrival.interval)) {
                return Err(format!("its interval at {stage} does not hold the true arrival"));
            }
        }
        Ok(())
    }
}
