//! Log messages for events. Each failure is logged once, here.
//!
//! Messages are complete without their fields, which are for filtering. Events of every canary are at
//! `debug`.

use std::time::Duration;

use tracing::{debug, error, info, warn};

use crate::domain::outcome::Outcome;
use crate::domain::sighting::list_drift;
use crate::domain::steady::Offset;
use crate::domain::time::Timestamp;
use crate::domain::topology::{SourceId, StageId, TenantId, Topology};
use crate::domain::trace::Trace;
use crate::domain::tracker::Event;
use crate::store::{Loaded, Quarantined};

pub fn write(event: &Event, map: &Topology) {
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
        Event::Full { tenant } => {
            warn!(tenant = %name(tenant), "sent no canary: probe.max_in_flight traces are already in flight");
        }
        Event::Missed { tenant, count } => {
            warn!(tenant = %name(tenant), count, "missed {count} scheduled canaries: the process was stopped or starved");
        }
        Event::Accepted { tenant, trace } => debug!(tenant = %name(tenant), %trace, "put a canary"),
        Event::Ambiguous { tenant, trace } => {
            warn!(tenant = %name(tenant), %trace, "no answer to a put: the canary may have been accepted, so it stays in flight");
        }
        Event::Arrived { tenant, stage, trace, interval, noticed_after } => debug!(
            tenant = %name(tenant), stage = %at(stage), %trace, latest = %interval.latest,
            width_seconds = interval.width().as_secs_f64(), noticed_after_seconds = noticed_after.as_secs_f64(), "arrived"
        ),
        Event::HopMeasured { tenant, hop, trace, latency, .. } => {
            debug!(tenant = %name(tenant), hop = %at(hop), %trace, latency_seconds = latency.as_secs_f64(), "hop measured");
        }
        Event::HopOverdue { tenant, hop, trace } => {
            info!(tenant = %name(tenant), hop = %at(hop), %trace, "hop {} is past its target", at(hop));
        }
        Event::HopMissing { tenant, hop, trace, .. } => {
            warn!(tenant = %name(tenant), hop = %at(hop), %trace, "a canary never reached {}", at(hop));
        }
        Event::EndToEnd { tenant, trace, latency, judgement, .. } => debug!(
            tenant = %name(tenant), %trace, latency_seconds = latency.as_secs_f64(), ?judgement, "reached the end stage"
        ),
        Event::Overdue { tenant, trace } => {
            warn!(tenant = %name(tenant), %trace, "a canary is proven to have missed the end-to-end threshold");
        }
        Event::GaveUp { .. } => {}
        Event::Ended { tenant, trace, outcome, .. } => ended(&name(tenant), trace, outcome, map),
        Event::LateDiscovery { tenant, stage, trace } => {
            info!(tenant = %name(tenant), stage = %at(stage), %trace, "a canary that was given up had reached {} in time", at(stage));
        }
        Event::LateArrival { tenant, stage, trace } => {
            warn!(tenant = %name(tenant), stage = %at(stage), %trace, "a canary arrived after its deadline, when it was already given up");
        }
        Event::Duplicate { tenant, stage, trace, locator } => {
            warn!(tenant = %name(tenant), stage = %at(stage), %trace, %locator, "a canary is stored twice at {}", at(stage));
        }
        Event::UnchargedCopy { tenant, stage, trace, reason } => {
            info!(
                tenant = %name(tenant), stage = %at(stage), %trace, reason = reason.as_str(),
                "another copy of a canary at {} is not charged to the pipeline: {}", at(stage), reason.as_str()
            );
        }
        Event::Corrupted { tenant, stage, trace } => {
            warn!(tenant = %name(tenant), stage = %at(stage), %trace, "a canary arrived at {} truncated or changed", at(stage));
        }
        Event::IsolationViolation { tenant, stage, trace, found_in } => error!(
            tenant = %tenant.name(map), stage = %at(stage), %trace, %found_in,
            "a canary of {} was found in {found_in}", tenant.name(map)
        ),
        Event::SameName { stage, trace } => error!(
            stage = %at(stage), %trace,
            "another process sends canaries under this instance's name; give each its own probe.instance"
        ),
        Event::ForeignTags { stage, source, count } => warn!(
            stage = %at(stage), source = %names(source).1, count,
            "found {count} tags in {} that none of our keys signed", names(source).1
        ),
        Event::Adopted { tenant, trace } => {
            info!(tenant = %name(tenant), %trace, "adopted a canary of a previous run, known only by its tag");
        }
        Event::Stray { stage, other_instance, .. } => {
            debug!(stage = %at(stage), other_instance, "found a canary that belongs to no trace in memory");
        }
        Event::ClockInversion { tenant, stage, trace } => {
            warn!(tenant = %name(tenant), stage = %at(stage), %trace, "the clock of {} contradicts ours", at(stage));
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
            warn!(%stage, %source, tenant, %reason, "stage {stage} is blind: {source}: {reason}");
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
        Event::HopNeverSeen { tenant, hop, trace, .. } => {
            info!(
                tenant = %name(tenant), hop = %at(hop), %trace,
                "gave up on hop {}: its source has never shown a canary of this tenant", at(hop)
            );
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
                "learned the schema of {stage}: {source} has {columns} columns, fingerprint {fingerprint}"
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
                %stage, %source, changes,
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

fn ended(tenant: &str, trace: &crate::domain::tag::TraceId, outcome: &Outcome, map: &Topology) {
    match outcome {
        Outcome::Delivered => debug!(tenant, %trace, "delivered"),
        Outcome::Late => warn!(tenant, %trace, "delivered after its deadline"),
        Outcome::Lost(hop) => {
            warn!(tenant, %trace, hop = %hop.display(map), "lost at {}", hop.display(map))
        }
        Outcome::DeadLettered(stage) => {
            let stage = &map.stage(*stage).name;
            warn!(tenant, %trace, %stage, "dead-lettered: the canary is in {stage}");
        }
        Outcome::Unobserved(reason) => {
            let reason = reason.as_str();
            warn!(tenant, %trace, reason, "unobserved: {reason}")
        }
        Outcome::Refused(reason) => {
            warn!(tenant, %trace, %reason, "CloudWatch Logs did not accept a canary: {reason}")
        }
    }
}

/// Logs that injection has ended.
pub fn stopping(in_flight: usize, grace: Duration) {
    info!(
        in_flight,
        grace_seconds = grace.as_secs_f64(),
        "stopping: injection has ended, {in_flight} traces are in flight"
    );
}

/// Logs the traces that are still in flight at the end.
pub fn stopped<'a>(in_flight: impl Iterator<Item = &'a Trace>, map: &Topology, now: Timestamp) {
    let mut count = 0;
    for trace in in_flight {
        count += 1;
        let next_stage = trace.next_stage(map).map_or("none", |stage| &*map.stage(stage).name);
        let tenant = &map.tenant(trace.tenant).name;
        let age = now.since(trace.planned_at).as_secs_f64();
        warn!(%tenant, trace = %trace.id(), next_stage, age_seconds = age, "still in flight at the end");
    }
    info!(in_flight = count, "stopped with {count} traces in flight");
}

/// Logs what a previous run left behind.
pub fn store_loaded(loaded: &Loaded) {
    let traces = loaded.traces.len();
    info!(traces, "loaded {traces} traces from the store");
    for (tenant, traces) in &loaded.unknown_tenants {
        warn!(
            tenant,
            traces, "left {traces} traces of {tenant} in the store: the tenant is no longer configured"
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
        "the system clock was set by {seconds:+.3} s: nothing can be measured across such a step, so {in_flight} traces in flight are unobserved and the process ends to be restarted"
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
pub fn clock_unknown(reason: &str) {
    warn!(reason, "cannot read the error bound of the probe's own clock: {reason}");
}

/// Logs that a damaged store was replaced by a new one.
pub fn store_quarantined(store: &Quarantined) {
    let (path, damage) = (store.path.display(), &store.damage);
    error!(%path, %damage, "the store was damaged: it was moved to {path}, and a new one was started");
}

/// Logs that traces are kept in memory only.
pub fn store_degraded(reason: &str) {
    warn!(reason, "cannot write the store, so traces are kept in memory only: {reason}");
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
