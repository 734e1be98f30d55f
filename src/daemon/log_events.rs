//! What the log says of events. Each failure is logged once, here.
//!
//! The message reads alone; the fields are for filtering. What happens with every canary is at `debug`.

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

/// Logs an event.
pub fn write(event: &Event, map: &Topology) {
    let name = |tenant: &TenantId| map.tenant(*tenant).name.clone();
    let at = |stage: &StageId| map.stage(*stage).name.clone();
    let place = |source: &SourceId| {
        let source = map.source(*source);
        (map.stage(source.stage).name.clone(), source.name.clone())
    };
    match event {
        Event::Planned { tenant, trace } => {
            debug!(tenant = %name(tenant), %trace, "planned a canary")
        }
        Event::Full { tenant } => {
            warn!(tenant = %name(tenant), "sent no canary: as many traces as probe.max_in_flight allows are in flight");
        }
        Event::Missed { tenant, count } => {
            warn!(tenant = %name(tenant), count, "missed {count} scheduled canaries: the process was stopped or starved");
        }
        Event::Accepted { tenant, trace } => debug!(tenant = %name(tenant), %trace, "put a canary"),
        Event::Ambiguous { tenant, trace } => {
            warn!(tenant = %name(tenant), %trace, "no answer to a put: the canary may have been taken, so it stays in flight");
        }
        Event::Arrived { tenant, stage, trace, interval, noticed_after } => debug!(
            tenant = %name(tenant), stage = %at(stage), %trace, latest = %interval.latest,
            width_seconds = interval.width().as_secs_f64(), noticed_after_seconds = noticed_after.as_secs_f64(), "seen"
        ),
        Event::HopMeasured { tenant, hop, trace, latency, .. } => {
            debug!(tenant = %name(tenant), hop = %at(hop), %trace, latency_seconds = latency.as_secs_f64(), "hop done");
        }
        Event::HopOverdue { tenant, hop, trace } => {
            info!(tenant = %name(tenant), hop = %at(hop), %trace, "hop {} is past its target", at(hop));
        }
        Event::HopMissing { tenant, hop, trace, .. } => {
            warn!(tenant = %name(tenant), hop = %at(hop), %trace, "a canary never reached {}", at(hop));
        }
        Event::EndToEnd { tenant, trace, latency, judgement, .. } => debug!(
            tenant = %name(tenant), %trace, latency_seconds = latency.as_secs_f64(), ?judgement, "reached the end"
        ),
        Event::Overdue { tenant, trace } => {
            warn!(tenant = %name(tenant), %trace, "a canary is proven to have missed the end-to-end threshold");
        }
        Event::GaveUp { .. } => {}
        Event::Ended { tenant, trace, outcome, .. } => ended(&name(tenant), trace, outcome, map),
        Event::LateDiscovery { tenant, stage, trace } => {
            info!(tenant = %name(tenant), stage = %at(stage), %trace, "a canary that had been given up had reached {} in time", at(stage));
        }
        Event::LateArrival { tenant, stage, trace } => {
            warn!(tenant = %name(tenant), stage = %at(stage), %trace, "a canary arrived after its deadline, when it had been given up");
        }
        Event::Duplicate { tenant, stage, trace, locator } => {
            warn!(tenant = %name(tenant), stage = %at(stage), %trace, %locator, "a canary is stored twice at {}", at(stage));
        }
        Event::UnchargedCopy { tenant, stage, trace, reason } => {
            info!(
                tenant = %name(tenant), stage = %at(stage), %trace, reason = reason.as_str(),
                "a canary is stored twice at {}, not charged: {}", at(stage), reason.as_str()
            );
        }
        Event::Corrupted { tenant, stage, trace } => {
            warn!(tenant = %name(tenant), stage = %at(stage), %trace, "a canary was cut or changed before {}", at(stage));
        }
        Event::IsolationViolation { tenant, stage, trace, found_in } => error!(
            tenant = %name(tenant), stage = %at(stage), %trace, %found_in,
            "a canary of tenant {} was found in {found_in}", name(tenant)
        ),
        Event::ForeignTags { stage, source, count } => warn!(
            stage = %at(stage), source = %place(source).1, count,
            "found {count} tags that none of our keys signed in {}", place(source).1
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
            debug!(source = %place(source).1, complete, took_seconds = took.as_secs_f64(), "polled");
        }
        Event::PollFailed { source, kind } => {
            debug!(source = %place(source).1, failure = %kind, "a poll failed")
        }
        Event::WentBlind { source, tenant, reason } => {
            let (stage, source) = place(source);
            let tenant = tenant.as_ref().map(|tenant| name(tenant).to_string());
            warn!(%stage, %source, tenant, %reason, "stage {stage} is blind: {source}: {reason}");
        }
        Event::Unreadable { source, reason, count, new_shape, .. } => {
            let ((stage, source), reason) = (place(source), reason.as_str());
            match new_shape {
                Some(text) => warn!(%stage, %source, reason, count, "cannot read records of {stage}: {text}"),
                None => debug!(%stage, %source, reason, count, "records could not be read"),
            }
        }
        Event::FirstSeen { source, tenant } => {
            let (stage, source) = place(source);
            info!(tenant = %name(tenant), %stage, %source, "first canary found at {stage}: {source}");
        }
        Event::HopNeverSeen { tenant, hop, trace, .. } => {
            info!(
                tenant = %name(tenant), hop = %at(hop), %trace,
                "gave up on hop {}: its source has never shown a canary of this tenant", at(hop)
            );
        }
        Event::SawAgain { source, tenant, blind_for } => {
            let (stage, source) = place(source);
            let (seconds, tenant) =
                (blind_for.as_secs(), tenant.as_ref().map(|tenant| name(tenant).to_string()));
            info!(%stage, %source, tenant, blind_seconds = seconds, "stage {stage} is visible again after {seconds} s: {source}");
        }
        Event::SchemaLearned { source, schema } => {
            let (stage, source) = place(source);
            let (columns, fingerprint) = (schema.columns.len(), schema.fingerprint());
            info!(
                %stage, %source, columns, %fingerprint,
                "learned the schema of {stage}: {source} has {columns} columns, fingerprint {fingerprint}"
            );
        }
        Event::SchemaDrifted { source, changes, accept } => {
            let (stage, source) = place(source);
            let changes = list_drift(changes);
            let remedy = match accept {
                Some(accept) => format!("schema_accepted = [\"{accept}\"]"),
                None => "the columns in `schema`".to_owned(),
            };
            warn!(
                %stage, %source, changes,
                "schema of {stage} drifted: {source}: {changes}; if that is wanted, set {remedy} for the stage"
            );
        }
        Event::ClockAdrift { error_bound } => {
            let seconds = error_bound.map(|bound| bound.as_secs_f64());
            warn!(
                error_bound_seconds = seconds,
                "the probe's own clock is not synchronized: arrivals that other clocks stamp may be off by more than is allowed for"
            );
        }
        Event::ClockInStep { error_bound } => {
            let seconds = error_bound.map(|bound| bound.as_secs_f64());
            info!(error_bound_seconds = seconds, "the probe's own clock is synchronized again");
        }
        Event::SchemaRestored { source } => {
            let (stage, source) = place(source);
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
            warn!(tenant, %trace, %stage, "the pipeline put a canary into {stage}");
        }
        Outcome::Unobserved(reason) => {
            let reason = reason.as_str();
            warn!(tenant, %trace, reason, "unobserved: {reason}")
        }
        Outcome::Refused(reason) => {
            warn!(tenant, %trace, %reason, "CloudWatch Logs did not take a canary: {reason}")
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

/// Logs what was still in flight at the end.
pub fn stopped<'a>(in_flight: impl Iterator<Item = &'a Trace>, map: &Topology, now: Timestamp) {
    let mut count = 0;
    for trace in in_flight {
        count += 1;
        let hop = trace.next_stage(map).map_or("the end", |stage| &*map.stage(stage).name);
        let tenant = &map.tenant(trace.tenant).name;
        let age = now.since(trace.planned_at).as_secs_f64();
        warn!(%tenant, trace = %trace.id(), next_stage = hop, age_seconds = age, "still in flight at the end");
    }
    info!(in_flight = count, "stopped with {count} traces in flight");
}

/// Logs what a previous run left behind.
pub fn store_loaded(loaded: &Loaded) {
    let traces = loaded.traces.len();
    info!(traces, "took over {traces} traces from the store");
    for (tenant, traces) in &loaded.unknown_tenants {
        warn!(
            tenant,
            traces, "the store holds {traces} traces of {tenant}, which is no longer configured: left there"
        );
    }
    for stage in &loaded.dropped_stages {
        warn!(stage, "traces in the store were at {stage}, which is no longer configured: dropped");
    }
    let unreadable = loaded.unreadable;
    if unreadable > 0 {
        warn!(unreadable, "{unreadable} traces in the store are not readable: left there");
    }
}

/// Logs that the daemon ends because time is not to be trusted.
pub fn clock_stepped(by: Offset, in_flight: usize) {
    let seconds = by.as_secs_f64();
    error!(
        step_seconds = seconds,
        in_flight,
        "the system's clock was set by {seconds:+.3} s: nothing can be measured across that, so {in_flight} traces in flight are unobserved and the process ends to be restarted"
    );
}

/// Logs that the system's clock is not where it was.
pub fn clock_followed(offset: Offset) {
    let seconds = offset.as_secs_f64();
    info!(
        offset_seconds = seconds,
        "the system's clock is {seconds:+.3} s ahead of the probe's, which follows at 0.5 ms a second and allows for it until then"
    );
}

/// Logs that the clock's error bound is unknown.
pub fn clock_unknown(reason: &str) {
    warn!(reason, "cannot tell how far off the probe's own clock may be: {reason}");
}

/// Logs that a damaged store made way for a fresh one.
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

/// Logs that the store was not closed.
pub fn store_left_open(limit: Duration) {
    let seconds = limit.as_secs_f64();
    warn!(
        limit_seconds = seconds,
        "the store could not be closed within {seconds} s; it recovers when it is next opened"
    );
}
