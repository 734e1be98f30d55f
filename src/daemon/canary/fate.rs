//! What became of one canary, stage by stage.
//!
//! The tracker of a daemon calls nothing lost at a source that has never shown a canary, because its configuration may be
//! wrong. Here that is what somebody wants to know: a stage that was read and did not have the canary is missing it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::{Sent, Until};
use crate::domain::foreign::ForeignText;
use crate::domain::outcome::Outcome;
use crate::domain::tag::Tag;
use crate::domain::topology::{Role, SourceId, StageId, TenantId, Topology};
use crate::domain::trace::{Put, Standing, Trace};
use crate::domain::tracker::{Snapshot, SourceView};

/// One canary, as far as it is known.
#[derive(Clone, PartialEq, Debug)]
pub struct Followed {
    pub tenant: TenantId,
    /// The log group that it was put into.
    pub log_group: Arc<str>,
    /// The id of its trace, as the page shows it.
    pub trace: String,
    pub tag: Tag,
    /// What became of the call that put it; `None` before it was planned.
    pub put: Option<Put>,
    pub fate: Fate,
    /// By [`StageId`].
    pub stages: Vec<State>,
    /// How many records the polls of each stage read, by [`StageId`].
    pub records: Vec<u64>,
    /// Whether its content could not be checked where it was found, by [`StageId`].
    pub unchecked: Vec<bool>,
    /// With which label it was found where its tenant has another one, by [`StageId`].
    pub mislabelled: Vec<Option<ForeignText>>,
    /// What else was noticed: copies, changes.
    pub remarks: Vec<String>,
    /// Where it was found with another tenant; `None` if it was not.
    pub leaked: Option<ForeignText>,
    /// Whether it was given up, and a stage before that was hardly polled yet.
    pub is_awaited_before: bool,
}

/// What became of a canary.
#[derive(Clone, PartialEq, Debug)]
pub enum Fate {
    /// It is on its way.
    Waiting,
    /// It reached the end stage after this time.
    Delivered(Duration),
    /// The pipeline gave it up.
    DeadLettered(StageId),
    /// It was not put, for this reason.
    Refused(ForeignText),
    /// It was not seen at this stage of the main path, which was read.
    Missing(StageId),
    /// A stage of the main path could not be read.
    Unknown(StageId),
}

/// What is known of a canary at one stage.
#[derive(Clone, PartialEq, Debug)]
pub enum State {
    /// It arrived after this time.
    Arrived(Duration),
    /// It may still arrive; this many polls did not have it.
    Waiting(u32),
    /// This many polls did not have it.
    Missing(u32),
    /// It may be in a record that could not be read.
    Unreadable(ForeignText),
    /// The stage could not be read.
    Blind(ForeignText),
    /// It is not among the dead letters, where it should not be.
    NotGivenUp,
    /// It was not waited for to the end, because the pipeline had given it up.
    NotAwaited,
}

/// How many polls without it settle that a stage does not have a canary which is among the dead letters.
const POLLS_BEFORE: u32 = 2;

impl Followed {
    /// Whether nothing more is to be expected of it.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        match self.fate {
            Fate::Waiting | Fate::Missing(_) | Fate::Unknown(_) => false,
            Fate::Refused(_) => true,
            Fate::DeadLettered(_) => !self.is_awaited_before,
            Fate::Delivered(_) => !self
                .stages
                .iter()
                .any(|state| matches!(state, State::Waiting(_) | State::Unreadable(_) | State::Blind(_))),
        }
    }
}

/// Judges one canary. `trace` is `None` if it was never registered.
pub(super) fn of(
    sent: &Sent,
    trace: Option<&Trace>,
    snapshot: &Snapshot,
    unreadable: &HashMap<SourceId, ForeignText>,
    until: Until,
) -> Followed {
    let map = &*snapshot.topology;
    let given_up_at = trace.and_then(|trace| given_up_at(trace, map));
    // Once it has an outcome, it is not polled for any more.
    let is_open = trace.is_some_and(|trace| !matches!(trace.standing(), Standing::Ended(_)));
    let state = |stage: StageId| {
        let trace = trace?;
        let source = map.source_of(sent.tenant, stage);
        let view = snapshot.sources.iter().find(|view| view.source == source)?;
        // Nobody waited until the end for what was given up.
        let until_then = if given_up_at.is_some() { Until::Now } else { until };
        Some(match at_stage(trace, stage, map, view, unreadable.get(&source), until_then) {
            State::Waiting(_) if given_up_at.is_some() && until == Until::TheEnd => State::NotAwaited,
            state => state,
        })
    };
    let unregistered = || State::Blind("the canary was not sent".into());
    let stages: Vec<State> = map.stage_ids().map(|stage| state(stage).unwrap_or_else(unregistered)).collect();
    Followed {
        tag: sent.tag,
        records: Vec::new(),
        unchecked: Vec::new(),
        mislabelled: Vec::new(),
        tenant: sent.tenant,
        log_group: sent.log_group.clone(),
        trace: sent.trace.to_string(),
        put: trace.map(|trace| trace.put),
        is_awaited_before: is_open && given_up_at.is_some_and(|at| is_awaited_before(at, map, &stages)),
        fate: trace.map_or(Fate::Waiting, |trace| fate(trace, map, &stages, until)),
        stages,
        remarks: sent.remarks.clone(),
        leaked: sent.leaked.clone(),
    }
}

fn at_stage(
    trace: &Trace,
    stage: StageId,
    map: &Topology,
    view: &SourceView,
    unreadable: Option<&ForeignText>,
    until: Until,
) -> State {
    let visit = trace.visit(stage);
    if let Some(arrival) = &visit.arrival {
        return State::Arrived(arrival.interval.latest.since(trace.planned_at));
    }
    if map.stage(stage).role == Role::DeadLetter {
        return State::NotGivenUp;
    }
    if matches!(trace.put, Put::Refused { .. }) {
        return State::Waiting(0);
    }
    let of_tenant = view.blind_tenants.get(&trace.tenant).map(|blind| &blind.reason);
    // Without a proof of absence, a record that could not be read may be the reason.
    if visit.withheld || of_tenant.is_some() {
        return match (unreadable, of_tenant) {
            (Some(text), of_tenant) => State::Unreadable(of_tenant.unwrap_or(text).clone()),
            (None, Some(reason)) => State::Blind(reason.clone()),
            (None, None) => State::Blind("a record could not be read".into()),
        };
    }
    if let Some(failing) = &view.failing {
        return State::Blind(failing.detail.clone());
    }
    let is_read_past_its_time = trace.is_missing(map, stage);
    let is_side_stage = !map.main_path().contains(&stage);
    match (until, visit.absent_until) {
        (Until::TheEnd, None) => State::Blind("no poll was answered in time".into()),
        (Until::TheEnd, Some(_)) => State::Missing(visit.empty_polls),
        // The canary may be at the end already, and nobody waits longer for a side stage than for a stage.
        (Until::Now, Some(_)) if is_side_stage && is_read_past_its_time => State::Missing(visit.empty_polls),
        (Until::Now, _) => State::Waiting(visit.empty_polls),
    }
}

/// The dead letters among which it is.
fn given_up_at(trace: &Trace, map: &Topology) -> Option<StageId> {
    let is_dead_letter = |stage: &StageId| map.stage(*stage).role == Role::DeadLetter;
    map.stage_ids().filter(is_dead_letter).find(|stage| trace.arrival(*stage).is_some())
}

/// Whether a stage through which it came to these dead letters may still show it.
fn is_awaited_before(dead_letters: StageId, map: &Topology, stages: &[State]) -> bool {
    let mut before = std::iter::successors(map.stage(dead_letters).parent, |stage| map.stage(*stage).parent);
    let is_awaited =
        |stage: StageId| matches!(stages.get(usize::from(stage.0)), Some(State::Waiting(..POLLS_BEFORE)));
    before.any(is_awaited)
}

fn fate(trace: &Trace, map: &Topology, stages: &[State], until: Until) -> Fate {
    if let Some(latency) = trace.latency(map) {
        return Fate::Delivered(latency);
    }
    if let Standing::Ended(Outcome::Refused(reason)) = trace.standing() {
        return Fate::Refused(reason.clone());
    }
    if let Some(stage) = given_up_at(trace, map) {
        return Fate::DeadLettered(stage);
    }
    let Some(next) = trace.next_stage(map).filter(|_| until == Until::TheEnd) else { return Fate::Waiting };
    match stages.get(usize::from(next.0)) {
        Some(State::Missing(_)) => Fate::Missing(next),
        _ => Fate::Unknown(next),
    }
}
