//! One trace: its line in a list, and its stages.

use std::sync::Arc;
use std::time::Duration;

use super::lane::{Lane, Presence, lanes};
use super::mark::Mark;
use crate::domain::canary::Integrity;
use crate::domain::copies::{CopyStanding, StoredCopy};
use crate::domain::flaw::{Flaw, flaws};
use crate::domain::outcome::{Outcome, UnobservedReason};
use crate::domain::tag::TraceId;
use crate::domain::time::{Interval, Timestamp};
use crate::domain::topology::StageId;
use crate::domain::trace::{FoundLate, Judgement, Standing, Trace};
use crate::domain::tracker::Snapshot;

/// The line of a trace in a list.
#[derive(Clone, Debug)]
pub(crate) struct Brief {
    pub(crate) id: TraceId,
    /// The name of its tenant.
    pub(crate) tenant: Arc<str>,
    pub(crate) planned_at: Timestamp,
    /// The outcome in a word, or `in flight` or `overdue`.
    pub(crate) outcome: &'static str,
    /// Its colour and sign.
    pub(crate) mark: Mark,
    /// Where or why, next to the outcome.
    pub(crate) detail: String,
    /// Everything that is wrong with it, each with the name of the stage.
    pub(crate) flaws: Vec<(Flaw, Option<Arc<str>>)>,
    /// Those of them that the outcome does not tell, as text: `2 copies at bigquery`.
    pub(crate) also: Vec<String>,
}

/// A trace and its stages.
#[derive(Clone, Debug)]
pub(crate) struct TraceView<'a> {
    /// Its line in a list.
    pub(crate) brief: Brief,
    /// What the tracker knows.
    pub(crate) trace: &'a Trace,
    /// The log group that it was put into; `None` if that is not known.
    pub(crate) log_group: Option<Arc<str>>,
    /// Its state at each stage.
    pub(crate) lanes: Vec<Lane<'a>>,
    /// The hop range that lost it, or the dead-letter stage that has it.
    pub(crate) lost_at: Option<String>,
    /// The stage that it waits for; `None` once it has an outcome.
    pub(crate) next_stage: Option<Arc<str>>,
    /// Whether that stage cannot be read.
    pub(crate) cannot_see: bool,
    /// Its arrival at the end stage.
    pub(crate) arrival: Option<Interval>,
    /// The end-to-end latency.
    pub(crate) latency: Option<Duration>,
    /// The name of the end stage.
    end: Arc<str>,
}

impl Brief {
    pub(crate) fn new(trace: &Trace, snapshot: &Snapshot) -> Self {
        let found = all_flaws(trace, snapshot);
        let map = &snapshot.topology;
        Self {
            also: found.iter().filter_map(|(flaw, stage)| also(*flaw, (*stage)?, trace, snapshot)).collect(),
            flaws: found.iter().map(|(flaw, at)| (*flaw, at.map(|at| map.stage(at).name.clone()))).collect(),
            id: trace.id(),
            tenant: snapshot.topology.tenant(trace.tenant).name.clone(),
            planned_at: trace.planned_at,
            outcome: outcome_word(trace),
            mark: outcome_mark(trace),
            detail: outcome_detail(trace, snapshot),
        }
    }
}

impl<'a> TraceView<'a> {
    pub(crate) fn new(trace: &'a Trace, snapshot: &Snapshot) -> Self {
        let map = &snapshot.topology;
        let lanes = lanes(trace, snapshot);
        let waits_for = trace.ended.is_none().then(|| trace.next_stage(map)).flatten();
        let blind = |lane: &Lane<'_>| {
            waits_for == Some(lane.stage) && matches!(lane.presence, Presence::Blind { .. })
        };
        Self {
            brief: Brief::new(trace, snapshot),
            log_group: trace.log_group.map(|group| map.log_group(trace.tenant, group).clone()),
            lost_at: match &trace.ended {
                Some((Outcome::Lost(hop), _)) => Some(hop.display(map).to_string()),
                Some((Outcome::DeadLettered(stage), _)) => Some(map.stage(*stage).name.to_string()),
                Some((
                    Outcome::Delivered | Outcome::Late | Outcome::Unobserved(_) | Outcome::Refused(_),
                    _,
                ))
                | None => None,
            },
            next_stage: waits_for.map(|stage| map.stage(stage).name.clone()),
            cannot_see: lanes.iter().any(blind),
            arrival: trace.arrival(map.end()),
            latency: trace.latency(map),
            trace,
            lanes,
            end: map.stage(map.end()).name.clone(),
        }
    }

    /// Why its outcome is unknown, as text for people.
    pub(crate) fn unobserved(&self, reason: UnobservedReason) -> String {
        unobserved(reason, &self.end)
    }
}

/// What is wrong with a trace, leaks included, each with its stage.
pub(crate) fn all_flaws(trace: &Trace, snapshot: &Snapshot) -> Vec<(Flaw, Option<StageId>)> {
    let leaks = snapshot.violations.iter().filter(|seen| seen.trace == trace.id());
    let mut found: Vec<_> = leaks.map(|seen| (Flaw::Leaked, Some(seen.stage))).collect();
    found.dedup();
    found.extend(flaws(trace, &snapshot.topology));
    found
}

/// A flaw that the outcome does not tell, as text.
fn also(flaw: Flaw, stage: StageId, trace: &Trace, snapshot: &Snapshot) -> Option<String> {
    let name = &snapshot.topology.stage(stage).name;
    let visit = trace.visit(stage);
    match flaw {
        Flaw::Leaked => Some(format!("leaked at {name}")),
        Flaw::Missing if trace.ended.is_some() => Some(format!("missing at {name}")),
        Flaw::Duplicated => {
            let is_counted =
                |copy: &&StoredCopy| matches!(copy.standing, CopyStanding::First | CopyStanding::Duplicate);
            let copies = visit.copies.iter().filter(is_counted).count();
            Some(format!("{} copies at {name}", copies.max(2)))
        }
        Flaw::Corrupted => match visit.arrival.as_ref().map(|arrival| arrival.integrity) {
            Some(Integrity::Corrupted { kept_bytes, sent_bytes }) => {
                Some(format!("{kept_bytes} of {sent_bytes} bytes intact at {name}"))
            }
            _ => Some(format!("cut or changed at {name}")),
        },
        Flaw::Slow => Some(format!("slow, most of it to {name}")),
        Flaw::Missing | Flaw::Lost | Flaw::DeadLettered | Flaw::Late | Flaw::Refused | Flaw::Unobserved => {
            None
        }
    }
}

/// Where or why, next to the outcome.
fn outcome_detail(trace: &Trace, snapshot: &Snapshot) -> String {
    let map = &snapshot.topology;
    match &trace.ended {
        Some((_, _)) if trace.found_late == Some(FoundLate::InTime) => {
            "seen only after it had been given up".to_owned()
        }
        Some((Outcome::Lost(hop), _)) if trace.found_late.is_some() => {
            format!("after it was given up as lost at {}", hop.display(map))
        }
        Some((Outcome::Lost(hop), _)) => format!("at {}", hop.display(map)),
        Some((Outcome::DeadLettered(stage), _)) => {
            let dead = &map.stage(*stage).name;
            let gave_up = trace.next_stage(map).map(|next| {
                let from = map.stage(next).parent.map_or("log group", |from| &*map.stage(from).name);
                format!("could not pass {from} → {}; ", map.stage(next).name)
            });
            format!("{}in {dead}", gave_up.unwrap_or_default())
        }
        Some((Outcome::Refused(reason), _)) => reason.to_string(),
        Some((Outcome::Unobserved(reason), _)) => unobserved(*reason, &map.stage(map.end()).name),
        Some((Outcome::Delivered | Outcome::Late, _)) => String::new(),
        None => {
            trace.next_stage(map).map_or_else(String::new, |stage| format!("to {}", map.stage(stage).name))
        }
    }
}

/// Why the outcome of a trace is unknown, as text for people.
fn unobserved(reason: UnobservedReason, end: &str) -> String {
    match reason {
        UnobservedReason::Blind => format!("{end} could not be read"),
        UnobservedReason::Unreadable => {
            format!("records of {end} could not be read, and it may be in one of them")
        }
        UnobservedReason::NeverSeen => format!("{end} has never shown a canary of this tenant"),
        UnobservedReason::AmbiguousPut => "the put was not answered, and it was seen nowhere".to_owned(),
        UnobservedReason::ClockStepped => "the system's clock was set while it was in flight".to_owned(),
        UnobservedReason::HandedOver => {
            "the process that sent it was stopped, and no store is kept".to_owned()
        }
    }
}

fn outcome_mark(trace: &Trace) -> Mark {
    match (trace.standing(), trace.judgement) {
        (Standing::InFlight, Judgement::Overdue) => Mark::Broken,
        (Standing::InFlight, _) => Mark::Pending,
        (Standing::Ended(Outcome::Delivered), Judgement::Slow | Judgement::Overdue) => Mark::Poor,
        (Standing::Ended(Outcome::Delivered), _) => Mark::Well,
        (Standing::Ended(Outcome::Late), _) => Mark::Poor,
        (Standing::Ended(Outcome::Lost(_) | Outcome::DeadLettered(_)), _) => Mark::Broken,
        (Standing::Ended(Outcome::Unobserved(_) | Outcome::Refused(_)), _) => Mark::Unknown,
    }
}

/// The outcome's label as words.
fn outcome_word(trace: &Trace) -> &'static str {
    match trace.standing() {
        Standing::InFlight if trace.judgement == Judgement::Overdue => "overdue",
        Standing::InFlight => "in flight",
        Standing::Ended(Outcome::DeadLettered(_)) => "dead-lettered",
        Standing::Ended(outcome) => outcome.label(),
    }
}
