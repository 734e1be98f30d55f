//! What became of a canary, in one sentence.

use super::evidence::StageSource;
use super::lane::{Lane, Presence};
use super::trace::TraceView;
use crate::domain::outcome::Outcome;
use crate::domain::time::Timestamp;
use crate::domain::topology::HopRange;
use crate::domain::trace::{FoundLate, Judgement};
use crate::domain::tracker::Snapshot;
use crate::web::app::Settings;
use crate::web::words;
use crate::web::words::percent_encoded;

/// What the sentence and the findings are written from.
pub(super) struct Story<'a> {
    pub(super) view: &'a TraceView<'a>,
    pub(super) sources: &'a [StageSource],
    pub(super) snapshot: &'a Snapshot,
    pub(super) settings: &'a Settings,
}

impl Story<'_> {
    pub(super) fn clock(&self, at: Timestamp) -> String {
        words::clock(at, self.snapshot.at)
    }

    /// Time since the planned injection.
    pub(super) fn after(&self, at: Timestamp) -> String {
        words::short(at.since(self.view.brief.planned_at))
    }

    fn sent(&self) -> String {
        format!("sent {}", self.clock(self.view.brief.planned_at))
    }

    /// The last stage of the main path that has it.
    fn last_seen(&self) -> Option<&Lane<'_>> {
        self.view.lanes.iter().rfind(|lane| !lane.side && matches!(lane.presence, Presence::Seen(_)))
    }

    /// Where it was last; the log group if no stage has shown it.
    pub(super) fn from(&self) -> String {
        self.last_seen().map_or_else(|| "the log group".to_owned(), |lane| lane.name.to_string())
    }

    fn seen(&self) -> String {
        match self.last_seen().map(|lane| (&lane.name, &lane.presence)) {
            Some((name, Presence::Seen(at))) => format!("seen at {name} {} later", self.after(at.latest)),
            Some(_) | None => "not seen at any stage".to_owned(),
        }
    }

    /// The same as a fact.
    pub(super) fn last_seen_fact(&self) -> (&'static str, String) {
        let text = match self.last_seen().map(|lane| (&lane.name, &lane.presence)) {
            Some((name, Presence::Seen(at))) => {
                format!("{name}, {} after it was sent", self.after(at.latest))
            }
            Some(_) | None => "at no stage".to_owned(),
        };
        ("last seen", text)
    }

    /// The stage of the main path that does not have it.
    pub(super) fn next(&self) -> Option<&Lane<'_>> {
        let next = self.view.trace.next_stage(&self.snapshot.topology)?;
        self.view.lanes.iter().find(|lane| lane.stage == next)
    }

    pub(super) fn not_found(&self, lane: &Lane<'_>) -> String {
        let name = &lane.name;
        match (lane.visit.empty_polls, lane.visit.absent_until) {
            (0, _) | (_, None) => format!("not found in {name}"),
            (polls, Some(until)) => {
                let polls = words::count(usize::try_from(polls).unwrap_or(usize::MAX), "poll", "polls");
                format!("not found in {name} in {polls} until {}", self.clock(until))
            }
        }
    }

    /// The first stage of a hop range that is proven not to have it. It may have been proven only after the
    /// range was counted.
    pub(super) fn lost_before(&self, hops: HopRange) -> Option<&Lane<'_>> {
        let on_path = || self.view.lanes.iter().filter(|lane| !lane.side);
        let proven = on_path().find(|lane| matches!(lane.presence, Presence::Never { .. }));
        proven.or_else(|| on_path().find(|lane| lane.stage == hops.last))
    }

    pub(super) fn runbook(&self, chapter: &str, stage: Option<&str>) -> String {
        if self.settings.runbook.is_some() {
            return self.settings.chapter(chapter);
        }
        // The probe's own page fills in its commands.
        let (page, chapter) = (self.settings.chapter(""), percent_encoded(chapter));
        let tenant = percent_encoded(&self.view.brief.tenant);
        let stage = stage.map_or_else(String::new, |stage| format!("&stage={}", percent_encoded(stage)));
        format!("{}?tenant={tenant}{stage}#{chapter}", page.trim_end_matches('#'))
    }

    pub(super) fn sentence(&self) -> String {
        let (view, map) = (self.view, &self.snapshot.topology);
        let (sent, seen, end) = (self.sent(), self.seen(), &map.stage(map.end()).name);
        let arrived = view.arrival.map(|at| (self.after(at.latest), self.clock(at.latest)));
        let (took, at) = arrived.unwrap_or_else(|| ("an unknown time".to_owned(), "unknown".to_owned()));
        match (&view.trace.ended, view.trace.found_late) {
            (Some((Outcome::Refused(reason), _)), _) => {
                format!("Never entered the pipeline: {sent}, CloudWatch Logs refused it: {reason}")
            }
            (Some((_, ended)), Some(when)) => {
                let late = match when {
                    FoundLate::InTime => "it may have arrived in time",
                    FoundLate::Late => "after its deadline",
                };
                let ended = self.clock(*ended);
                format!(
                    "Found in {end} after it was given up: {sent}, given up {ended}, arrived by {at}, {late}"
                )
            }
            (Some((Outcome::Delivered, _)), None) => {
                format!("Delivered to {end} in {took}: {sent}, arrived by {at}")
            }
            (Some((Outcome::Late, _)), None) => {
                let deadline = words::short(self.settings.give_up);
                format!(
                    "Late: {sent}, arrived in {end} by {at}, {took} later, after the deadline of {deadline}"
                )
            }
            (Some((Outcome::Lost(hops), _)), None) => {
                let (to, not_found) = match self.lost_before(*hops) {
                    Some(lane) => (lane.name.to_string(), self.not_found(lane)),
                    None => (hops.display(map).to_string(), "not found".to_owned()),
                };
                format!("Lost between {} and {to}: {sent}, {seen}, {not_found}", self.from())
            }
            (Some((Outcome::DeadLettered(stage), _)), None) => {
                let dead = &map.stage(*stage).name;
                let found = view.trace.arrival(*stage).map_or_else(String::new, |at| {
                    format!(", found in {dead} {} after it was sent", self.after(at.latest))
                });
                let gave_up = self.next().map_or_else(String::new, |lane| {
                    format!("Dead-lettered instead of reaching {}: ", lane.name)
                });
                format!("{gave_up}{sent}, {seen}{found}")
            }
            (Some((Outcome::Unobserved(reason), _)), None) => {
                format!("Unknown whether it reached {end}: {sent}, {seen}, {}", view.unobserved(*reason))
            }
            (None, _) => self.in_flight(&sent, &seen),
        }
    }

    fn in_flight(&self, sent: &str, seen: &str) -> String {
        let Some(lane) = self.next() else { return format!("Arrived at the end: {sent}, {seen}") };
        let (name, age) = (&lane.name, words::age(self.snapshot.at.since(self.view.brief.planned_at)));
        let state = match &lane.presence {
            Presence::Blind { since } => {
                format!("unknown whether it is in {name}, which cannot be read since {}", self.clock(*since))
            }
            Presence::Overdue { .. } => format!("overdue at {name}, {}", self.not_found(lane)),
            Presence::Waiting { .. }
            | Presence::Seen(_)
            | Presence::Never { .. }
            | Presence::Unproven
            | Presence::NotReached => format!("waiting for {name}"),
        };
        format!("In flight for {age}: {sent}, {seen}, {state}")
    }

    pub(super) fn slo(&self) -> (String, Option<bool>) {
        let slo = words::short(self.settings.criteria.slo);
        match (self.view.trace.judgement, &self.view.trace.ended) {
            (Judgement::Good, _) => (format!("met its SLO of {slo}"), Some(true)),
            (Judgement::Slow | Judgement::Overdue, _) => (format!("missed its SLO of {slo}"), Some(false)),
            (Judgement::Unjudged, _) => {
                (format!("unknown whether it met its SLO of {slo}: the time is within its ± range"), None)
            }
            (Judgement::Pending, None) => (format!("not decided yet, the SLO is {slo}"), None),
            (Judgement::Pending, Some(_)) => {
                (format!("not counted against the SLO of {slo}: it says nothing about the pipeline"), None)
            }
        }
    }
}
