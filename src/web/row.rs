//! One trace in a list: a line of words and a drawing.

use std::time::Duration;

use super::lane::{Lane, Presence, lanes};
use super::waterfall::{self, Axis, Waterfall};
use super::words;
use crate::domain::outcome::Outcome;
use crate::domain::tag::TraceId;
use crate::domain::trace::{Afterwards, Judgement, Standing, Trace};
use crate::domain::tracker::Snapshot;

/// One trace in a list.
pub(crate) struct TraceRow {
    pub(crate) id: String,
    pub(crate) short_id: String,
    pub(crate) planned: String,
    pub(crate) ago: String,
    pub(crate) tenant: String,
    pub(crate) size: String,
    pub(crate) outcome: &'static str,
    pub(crate) tone: &'static str,
    pub(crate) detail: String,
    pub(crate) latency: String,
    pub(crate) error: Option<String>,
    pub(crate) waterfall: Waterfall,
    pub(crate) end: String,
}

/// One failed trace in a short list.
pub(crate) struct FailureLine {
    pub(crate) id: String,
    pub(crate) short_id: String,
    pub(crate) planned: String,
    pub(crate) ago: String,
    pub(crate) outcome: &'static str,
    pub(crate) tone: &'static str,
    pub(crate) detail: String,
}

impl TraceRow {
    pub(crate) fn new(snapshot: &Snapshot, trace: &Trace, slo: Duration, scale: Duration) -> Self {
        let map = &snapshot.topology;
        let lanes = lanes(trace, snapshot);
        let extent = waterfall::extent(&lanes, trace.planned_at, snapshot.at);
        let axis = Axis::holding(trace.planned_at, extent.max(scale));
        let age = snapshot.at.since(trace.planned_at);
        let unseen = |lane: &Lane<'_>| {
            trace.waiting_for(map) == Some(lane.stage) && matches!(lane.presence, Presence::Blind { .. })
        };
        let latency = match (trace.latency(map), &trace.ended) {
            (Some(latency), _) => words::short(latency),
            (None, None) if lanes.iter().any(unseen) => "cannot see".to_owned(),
            (None, None) => format!("> {}", words::age(age)),
            (None, Some(_)) => "–".to_owned(),
        };
        let error = trace.arrival(map.end()).map(|at| words::short(at.width()));
        Self {
            id: trace.id().to_string(),
            short_id: short_id(trace.id()),
            planned: words::clock(trace.planned_at, snapshot.at),
            ago: words::age(age),
            tenant: map.tenant(trace.tenant).name.to_string(),
            size: words::bytes(trace.tag.size),
            outcome: outcome_word(trace),
            tone: outcome_tone(trace),
            detail: outcome_detail(trace, snapshot),
            latency,
            error,
            waterfall: waterfall::draw(&lanes, axis, slo, snapshot.at),
            end: words::short(axis.length),
        }
    }
}

impl FailureLine {
    pub(crate) fn new(snapshot: &Snapshot, trace: &Trace) -> Self {
        Self {
            id: trace.id().to_string(),
            short_id: short_id(trace.id()),
            planned: words::clock(trace.planned_at, snapshot.at),
            ago: words::age(snapshot.at.since(trace.planned_at)),
            outcome: outcome_word(trace),
            tone: outcome_tone(trace),
            detail: outcome_detail(trace, snapshot),
        }
    }
}

/// One scale for as many rows as possible: that of all but the slowest twentieth of those that have arrived, since a
/// single lost trace would press all others flat.
pub(crate) fn common_scale(traces: &[&Trace], snapshot: &Snapshot) -> Duration {
    let mut latencies: Vec<_> = traces.iter().filter_map(|trace| trace.latency(&snapshot.topology)).collect();
    latencies.sort_unstable();
    latencies.get(latencies.len() * 19 / 20).copied().unwrap_or_default()
}

/// The last digits are random, the first only tell the time.
pub(crate) fn short_id(id: TraceId) -> String {
    let id = id.to_string();
    format!("…{}", &id[id.len() - 8..])
}

/// What stands beside the outcome: where, or why.
pub(crate) fn outcome_detail(trace: &Trace, snapshot: &Snapshot) -> String {
    let map = &snapshot.topology;
    match &trace.ended {
        Some((_, _)) if trace.afterwards == Some(Afterwards::InTime) => {
            "seen only after it had been given up".to_owned()
        }
        Some((Outcome::Lost(hop), _)) if trace.afterwards.is_some() => {
            format!("after it was given up as lost at {}", hop.display(map))
        }
        Some((Outcome::Lost(hop), _)) => format!("at {}", hop.display(map)),
        Some((Outcome::DeadLettered(stage), _)) => format!("in {}", map.stage(*stage).name),
        Some((Outcome::Refused(reason), _)) => reason.to_string(),
        Some((Outcome::Unobserved, _)) => {
            format!("{} could not be read", map.stage(map.end()).name)
        }
        Some((Outcome::Delivered | Outcome::Late, _)) => String::new(),
        None => {
            trace.waiting_for(map).map_or_else(String::new, |stage| format!("to {}", map.stage(stage).name))
        }
    }
}

/// The colour of an outcome.
pub(crate) fn outcome_tone(trace: &Trace) -> &'static str {
    match (trace.standing(), trace.judgement) {
        (Standing::InFlight, Judgement::Overdue) => "broken",
        (Standing::InFlight, _) => "pending",
        (Standing::Ended(Outcome::Delivered), Judgement::Slow | Judgement::Overdue) => "poor",
        (Standing::Ended(Outcome::Delivered), _) => "well",
        (Standing::Ended(Outcome::Late), _) => "poor",
        (Standing::Ended(Outcome::Lost(_) | Outcome::DeadLettered(_)), _) => "broken",
        (Standing::Ended(Outcome::Unobserved | Outcome::Refused(_)), _) => "unknown",
    }
}

/// The label with blanks.
pub(crate) fn outcome_word(trace: &Trace) -> &'static str {
    match trace.standing() {
        Standing::InFlight if trace.judgement == Judgement::Overdue => "overdue",
        Standing::InFlight => "in flight",
        Standing::Ended(Outcome::DeadLettered(_)) => "dead-lettered",
        Standing::Ended(outcome) => outcome.label(),
    }
}
