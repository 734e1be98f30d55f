//! Log messages for events. Each failure is logged once, here.
//!
//! Messages are complete without their fields, which are for filtering. Events of every canary are at
//! `debug`.

use std::collections::BTreeMap;
use std::time::Duration;

use tracing::{Level, debug, error, info, warn};

use super::log_repeats::{Occurrence, Repeats};
use crate::domain::count::{counted, counted_len};
use crate::domain::foreign::ForeignText;
use crate::domain::incidents::{Episode, Step};
use crate::domain::outcome::Outcome;
use crate::domain::sighting::list_drift;
use crate::domain::steady::Offset;
use crate::domain::tag::TraceId;
use crate::domain::time::Timestamp;
use crate::domain::topology::{SourceId, StageId, TenantId, Topology};
use crate::domain::trace::Trace;
use crate::domain::tracker::{Event, Tracker};
use crate::store::{Loaded, Quarantined};

/// Writes events. What fails again and again is written once and then in summaries ([`Repeats`]).
#[derive(Debug, Default)]
pub struct EventLog {
    repeats: Repeats,
}

impl EventLog {
    pub fn write(&mut self, event: &Event, map: &Topology, now: Timestamp) {
        match failure(event, map) {
            Some(occurrence) => self.repeats.note(occurrence, now),
            None => write_once(event, map),
        }
    }

    /// Writes the summaries that are due.
    pub fn summarise(&mut self, now: Timestamp) {
        self.repeats.summarise(now);
    }

    /// Writes the summaries that are not due yet, at the end.
    pub fn finish(mut self) {
        self.repeats.finish();
    }
}

/// The events that come again with each canary or poll while something fails.
fn failure(event: &Event, map: &Topology) -> Option<Occurrence> {
    let at = |stage: &StageId| map.stage(*stage).name.clone();
    let line = |what, tenant: &TenantId, stage: Option<&StageId>, trace: Option<&TraceId>, text: String| {
        Occurrence {
            level: Level::WARN,
            what,
            tenant: Some(map.tenant(*tenant).name.clone()),
            stage: stage.map(at),
            found_in: None,
            trace: trace.copied(),
            text,
        }
    };
    let warning = |what, tenant, stage, trace, text| Some(line(what, tenant, Some(stage), Some(trace), text));
    let note = |what, tenant, stage, trace, text| {
        Some(Occurrence { level: Level::INFO, ..line(what, tenant, Some(stage), Some(trace), text) })
    };
    match event {
        Event::Full { tenant } => {
            let text = "sent no canary: probe.max_in_flight traces are already in flight";
            Some(line("full", tenant, None, None, text.to_owned()))
        }
        Event::Missed { tenant, count } => {
            let text = format!("missed {count} scheduled canaries: the process was stopped or starved");
            Some(line("missed", tenant, None, None, text))
        }
        Event::Ambiguous { tenant, trace, reason } => {
            let text = format!("a put may have been accepted, so the canary stays in flight: {reason}");
            Some(line("ambiguous", tenant, None, Some(trace), text))
        }
        Event::HopOverdue { tenant, hop, trace } => {
            note("hop overdue", tenant, hop, trace, format!("hop {} is past its target", at(hop)))
        }
        Event::HopMissing { tenant, hop, trace, .. } => {
            warning("hop missing", tenant, hop, trace, format!("a canary never reached {}", at(hop)))
        }
        Event::HopNeverSeen { tenant, hop, trace, .. } => {
            let text =
                format!("gave up on hop {}: its source has never shown a canary of this tenant", at(hop));
            note("hop never seen", tenant, hop, trace, text)
        }
        Event::Overdue { tenant, trace } => {
            let text = "a canary is proven to have missed the end-to-end threshold";
            Some(line("overdue", tenant, None, Some(trace), text.to_owned()))
        }
        Event::Ended { tenant, trace, outcome, .. } => {
            let (what, text) = ended(outcome, map)?;
            let hop = match outcome {
                Outcome::Lost(hop) => Some(hop.display(map).to_string().into()),
                Outcome::DeadLettered(stage) => Some(at(stage)),
                Outcome::Delivered | Outcome::Late | Outcome::Unobserved(_) | Outcome::Refused(_) => None,
            };
            Some(Occurrence { stage: hop, ..line(what, tenant, None, Some(trace), text) })
        }
        Event::LateDiscovery { tenant, stage, trace } => {
            let text = format!("a canary that was given up had reached {} in time", at(stage));
            note("late discovery", tenant, stage, trace, text)
        }
        Event::LateArrival { tenant, stage, trace } => {
            let text = "a canary arrived after its deadline, when it was already given up";
            warning("late arrival", tenant, stage, trace, text.to_owned())
        }
        Event::Duplicate { tenant, stage, trace, locator } => {
            let text = format!("a canary is stored twice at {}: {locator}", at(stage));
            warning("duplicate", tenant, stage, trace, text)
        }
        Event::UnchargedCopy { tenant, stage, trace, reason } => {
            let text = format!(
                "another copy of a canary at {} is not charged to the pipeline: {}",
                at(stage),
                reason.as_str()
            );
            note(reason.as_str(), tenant, stage, trace, text)
        }
        Event::Corrupted { tenant, stage, trace } => {
            let text = format!("a canary arrived at {} truncated or changed", at(stage));
            warning("corrupted", tenant, stage, trace, text)
        }
        Event::IsolationViolation { tenant, stage, trace, found_in } => Some(Occurrence {
            level: Level::ERROR,
            what: "leaked",
            tenant: Some(tenant.name(map)),
            stage: Some(at(stage)),
            found_in: Some(found_in.clone()),
            trace: Some(*trace),
            text: format!("a canary of {} was found in {found_in}", tenant.name(map)),
        }),
        Event::SameName { stage, trace } => Some(Occurrence {
            level: Level::ERROR,
            what: "same name",
            tenant: None,
            stage: Some(at(stage)),
            found_in: None,
            trace: Some(*trace),
            text:
                "another process sends canaries under this instance's name; give each its own probe.instance"
                    .to_owned(),
        }),
        Event::ForeignTags { stage, source, count } => Some(Occurrence {
            level: Level::WARN,
            what: "foreign tags",
            tenant: None,
            stage: Some(at(stage)),
            found_in: None,
            trace: None,
            text: format!(
                "found {} in {} that none of our keys signed",
                counted(*count, "tag"),
                map.source(*source).name
            ),
        }),
        Event::ClockInversion { tenant, stage, trace } => warning(
            "clock inversion",
            tenant,
            stage,
            trace,
            format!("the clock of {} contradicts ours", at(stage)),
        ),
        Event::Planned { .. }
        | Event::Accepted { .. }
        | Event::Arrived { .. }
        | Event::HopMeasured { .. }
        | Event::HopUnobserved { .. }
        | Event::EndToEnd { .. }
        | Event::GaveUp { .. }
        | Event::Adopted { .. }
        | Event::Stray { .. }
        | Event::PollAnswered { .. }
        | Event::PollFailed { .. }
        | Event::WentBlind { .. }
        | Event::Unreadable { .. }
        | Event::FirstSeen { .. }
        | Event::SawAgain { .. }
        | Event::SchemaLearned { .. }
        | Event::SchemaDrifted { .. }
        | Event::SchemaRestored { .. }
        | Event::ClockAdrift { .. }
        | Event::ClockInStep { .. } => None,
    }
}

/// What an outcome is called and the line about it; `None` for the one that is as it should be.
fn ended(outcome: &Outcome, map: &Topology) -> Option<(&'static str, String)> {
    Some(match outcome {
        Outcome::Delivered => return None,
        Outcome::Late => ("late", "delivered after its deadline".to_owned()),
        Outcome::Lost(hop) => ("lost", format!("lost at {}", hop.display(map))),
        Outcome::DeadLettered(stage) => {
            ("dead-lettered", format!("dead-lettered: the canary is in {}", map.stage(*stage).name))
        }
        Outcome::Unobserved(reason) => (reason.as_str(), format!("unobserved: {}", reason.as_str())),
        Outcome::Refused(reason) => ("refused", format!("CloudWatch Logs did not accept a canary: {reason}")),
    })
}

fn write_once(event: &Event, map: &Topology) {
    let name = |tenant: &TenantId| map.tenant(*tenant).name.clone();
    let at = |stage: &StageId| map.stage(*stage).name.clone();
    let names = |source: &SourceId| {
        let source = map.source(*source);
        (map.stage(source.stage).name.clone(), source.name.clone())
    };
    match event {
        Event::Planned { tenant, trace } => {
            debug!(tenant = %name(tenant), %trace, "planned a canary")
        }
        Event::Accepted { tenant, trace } => debug!(tenant = %name(tenant), %trace, "put a canary"),
        Event::Arrived { tenant, stage, trace, interval, noticed_after } => debug!(
            tenant = %name(tenant), stage = %at(stage), %trace, latest = %interval.latest,
            width_seconds = interval.width().as_secs_f64(), noticed_after_seconds = noticed_after.as_secs_f64(), "arrived"
        ),
        Event::HopMeasured { tenant, hop, trace, latency, .. } => {
            debug!(tenant = %name(tenant), hop = %at(hop), %trace, latency_seconds = latency.as_secs_f64(), "hop measured");
        }
        Event::EndToEnd { tenant, trace, latency, judgement, .. } => debug!(
            tenant = %name(tenant), %trace, latency_seconds = latency.as_secs_f64(), ?judgement, "reached the end stage"
        ),
        Event::Ended { tenant, trace, .. } => debug!(tenant = %name(tenant), %trace, "delivered"),
        Event::HopUnobserved { tenant, hop, trace } => {
            debug!(tenant = %name(tenant), hop = %at(hop), %trace, "hop unobserved: its source could not be read");
        }
        // Written by `failure`.
        Event::GaveUp { .. }
        | Event::Full { .. }
        | Event::Missed { .. }
        | Event::Ambiguous { .. }
        | Event::HopOverdue { .. }
        | Event::HopMissing { .. }
        | Event::Overdue { .. }
        | Event::LateDiscovery { .. }
        | Event::LateArrival { .. }
        | Event::Duplicate { .. }
        | Event::UnchargedCopy { .. }
        | Event::Corrupted { .. }
        | Event::IsolationViolation { .. }
        | Event::SameName { .. }
        | Event::ForeignTags { .. }
        | Event::ClockInversion { .. }
        | Event::HopNeverSeen { .. } => {}
        Event::Adopted { tenant, trace } => {
            info!(tenant = %name(tenant), %trace, "adopted a canary of a previous run, known only by its tag");
        }
        Event::Stray { stage, other_instance, .. } => {
            debug!(stage = %at(stage), other_instance, "found a canary that belongs to no trace in memory");
        }
        Event::PollAnswered { source, complete, took, .. } => {
            debug!(source = %names(source).1, complete, took_seconds = took.as_secs_f64(), "polled");
        }
        Event::PollFailed { source, kind } => {
            debug!(source = %names(source).1, failure = %kind, "a poll failed")
        }
        Event::WentBlind { source, tenant, reason } => {
            let (stage, source) = names(source);
            let tenant = tenant.as_ref().map(|tenant| name(tenant).to_string());
            warn!(%stage, %source, tenant, "stage {stage} is blind: {source}: {reason}");
        }
        Event::Unreadable { source, reason, count, new_shape, .. } => {
            let ((stage, source), reason) = (names(source), reason.as_str());
            match new_shape {
                Some(text) => warn!(%stage, %source, reason, count, "cannot read records of {stage}: {text}"),
                None => debug!(%stage, %source, reason, count, "records could not be read"),
            }
        }
        Event::FirstSeen { source, tenant } => {
            let (stage, source) = names(source);
            info!(tenant = %name(tenant), %stage, %source, "first canary found at {stage}: {source}");
        }
        Event::SawAgain { source, tenant, blind_for } => {
            let (stage, source) = names(source);
            let (seconds, tenant) =
                (blind_for.as_secs(), tenant.as_ref().map(|tenant| name(tenant).to_string()));
            info!(%stage, %source, tenant, blind_seconds = seconds, "stage {stage} is visible again after {seconds} s: {source}");
        }
        Event::SchemaLearned { source, schema } => {
            let (stage, source) = names(source);
            let (columns, fingerprint) = (schema.columns.len(), schema.fingerprint());
            info!(
                %stage, %source, columns, %fingerprint,
                "learned the schema of {stage}: {source} has {}, fingerprint {fingerprint}",
                counted_len(columns, "column")
            );
        }
        Event::SchemaDrifted { source, changes, accept } => {
            let (stage, source) = names(source);
            let changes = list_drift(changes);
            let remedy = match accept {
                Some(accept) => format!("schema_accepted = [\"{accept}\"]"),
                None => "the columns in `schema`".to_owned(),
            };
            warn!(
                %stage, %source,
                "schema of {stage} drifted: {source}: {changes}; if that is intended, set {remedy} for the stage"
            );
        }
        Event::ClockAdrift { error_bound } => {
            let seconds = error_bound.map(|bound| bound.as_secs_f64());
            warn!(
                error_bound_seconds = seconds,
                "the probe's own clock is not synchronized: arrivals stamped by other clocks may be off by more than the allowance"
            );
        }
        Event::ClockInStep { error_bound } => {
            let seconds = error_bound.map(|bound| bound.as_secs_f64());
            info!(error_bound_seconds = seconds, "the probe's own clock is synchronized again");
        }
        Event::SchemaRestored { source } => {
            let (stage, source) = names(source);
            info!(%stage, %source, "schema of {stage} is as expected again: {source}");
        }
    }
}

/// Logs that injection has ended.
pub fn stopping(in_flight: usize, grace: Duration) {
    info!(
        in_flight,
        grace_seconds = grace.as_secs_f64(),
        "stopping: injection has ended, in flight: {}",
        counted_len(in_flight, "trace")
    );
}

/// Maximum number of traces of a tenant that are named at the end. In a long stall there may be thousands.
const NAMED_AT_END: usize = 100;

/// Logs what is open at the end: the traces in flight with their names, and how many there are of each tenant.
pub fn stopped(tracker: &Tracker, map: &Topology, now: Timestamp) {
    let mut in_flight: BTreeMap<TenantId, Vec<&Trace>> = BTreeMap::new();
    for trace in tracker.in_flight_traces() {
        in_flight.entry(trace.tenant).or_default().push(trace);
    }
    for (tenant, traces) in &in_flight {
        let tenant = &map.tenant(*tenant).name;
        for trace in traces.iter().take(NAMED_AT_END) {
            let next_stage = trace.next_stage(map).map_or("none", |stage| &*map.stage(stage).name);
            let age = now.since(trace.planned_at).as_secs_f64();
            warn!(%tenant, trace = %trace.id(), next_stage, age_seconds = age, "still in flight at the end");
        }
        let unnamed = traces.len().saturating_sub(NAMED_AT_END);
        if unnamed > 0 {
            warn!(%tenant, unnamed, "{unnamed} more of {tenant} are still in flight at the end");
        }
    }
    let mut open: BTreeMap<(TenantId, StageId), usize> = BTreeMap::new();
    for (trace, stage) in tracker.open_at_side_stages() {
        *open.entry((trace.tenant, stage)).or_default() += 1;
    }
    for ((tenant, stage), traces) in open {
        let (tenant, stage) = (&map.tenant(tenant).name, &map.stage(stage).name);
        info!(%tenant, %stage, traces, "{} of {tenant} not yet seen at {stage} at the end", counted_len(traces, "finished trace"));
    }
    let count = tracker.in_flight();
    let each =
        in_flight.iter().map(|(tenant, traces)| format!("{} {}", map.tenant(*tenant).name, traces.len()));
    let each = each.collect::<Vec<_>>().join(", ");
    let of = if count == 0 { String::new() } else { format!(": {each}") };
    info!(in_flight = count, "stopped with {} in flight{of}", counted_len(count, "trace"));
}

/// Logs that an episode of a condition began, turned out to be one of another condition, or ended.
pub fn incident(episode: &Episode, step: Step, map: &Topology) {
    let condition = episode.condition.name.as_str();
    let subject = episode.condition.subject;
    let tenant = subject.tenant.map(|tenant| map.tenant(tenant).name.to_string());
    let place = subject.place.map(|place| place.display(map).to_string());
    let of = tenant.as_ref().map_or_else(String::new, |tenant| format!("{tenant}: "));
    let at = place.as_ref().map_or_else(String::new, |place| format!(" at {place}"));
    let canaries = match episode.affected() {
        Some(1) => ", 1 canary affected".to_owned(),
        Some(count) => format!(", {count} canaries affected"),
        None => String::new(),
    };
    match (step, episode.end()) {
        (Step::Began, _) => {
            let since = episode.beginning;
            warn!(condition, tenant, stage = place, "incident: {of}{condition}{at} since {since}");
        }
        (Step::Became { was }, _) => {
            let (since, was) = (episode.beginning, was.as_str());
            warn!(
                condition,
                tenant,
                stage = place,
                "incident is now: {of}{condition}{at} since {since} (it was {was})"
            );
        }
        (Step::Ended, Some(end)) => {
            let since = episode.beginning;
            let is_over = if episode.is_gone() { "no longer watched" } else { "over" };
            info!(
                condition,
                tenant,
                stage = place,
                "incident {is_over}: {of}{condition}{at} from {since} to {end}{canaries}"
            );
        }
        (Step::Changed | Step::Merged | Step::Ended, _) => {}
    }
}

/// Logs what a previous run left behind.
pub fn store_loaded(loaded: &Loaded) {
    let traces = loaded.traces.len();
    info!(traces, "loaded {} from the store", counted_len(traces, "trace"));
    for (tenant, traces) in &loaded.unknown_tenants {
        warn!(
            tenant,
            traces,
            "left {} of {tenant} in the store: the tenant is no longer configured",
            counted_len(*traces, "trace")
        );
    }
    for stage in &loaded.dropped_stages {
        warn!(stage, "dropped what the store knew of stage {stage}: it is no longer configured");
    }
    let unreadable = loaded.unreadable;
    if unreadable > 0 {
        warn!(unreadable, "left {unreadable} unreadable rows in the store");
    }
}

/// Logs that the daemon ends because the system clock was set.
pub fn clock_stepped(by: Offset, in_flight: usize) {
    let seconds = by.as_secs_f64();
    error!(
        step_seconds = seconds,
        in_flight,
        "the system clock was set by {seconds:+.3} s: nothing can be measured across such a step, so what is in flight ({}) is unobserved and the process ends to be restarted",
        counted_len(in_flight, "trace")
    );
}

/// Logs a new offset of the system clock.
pub fn clock_followed(offset: Offset) {
    let seconds = offset.as_secs_f64();
    info!(
        offset_seconds = seconds,
        "the system clock is {seconds:+.3} s ahead of the probe's, which follows at 0.5 ms a second and widens intervals meanwhile"
    );
}

/// Logs that the clock's error bound is unknown.
pub fn clock_unknown(reason: &ForeignText) {
    warn!("cannot read the error bound of the probe's own clock: {reason}");
}

/// Logs that a damaged store was replaced by a new one.
pub fn store_quarantined(store: &Quarantined) {
    let (path, damage) = (store.path.display(), &store.damage);
    error!("the store was damaged ({damage}): it was moved to {path}, and a new one was started");
}

/// Logs that nothing is awaited of a tenant that is not configured any more.
pub fn tenant_gone(tenant: &str) {
    info!(tenant, "every canary of {tenant}, which was removed from the configuration, has its outcome");
}

/// Logs that a new configuration is in force, and the remarks about it.
pub fn reloaded(what: &str, notes: &[String]) {
    info!("the configuration was read again: {what}");
    for note in notes {
        info!("{note}");
    }
}

/// Logs that a configuration was refused, with every reason.
pub fn reload_refused(why: &str) {
    error!("the configuration was read again and is refused, the one before stays in force: {why}");
}

/// Logs that traces are kept in memory only.
pub fn store_degraded(reason: &str) {
    warn!("cannot write the store, so traces are kept in memory only: {reason}");
}

/// Logs that traces are on disk again.
pub fn store_recovered(after: Duration) {
    let seconds = after.as_secs();
    info!(degraded_seconds = seconds, "the store can be written again after {seconds} s");
}

/// Logs that the store could not be closed in time.
pub fn store_left_open(limit: Duration) {
    let seconds = limit.as_secs_f64();
    warn!(
        limit_seconds = seconds,
        "the store could not be closed within {seconds} s; it recovers when it is next opened"
    );
}
