//! The life of a canary as spans: one for all of it, one for the put, and one for each hop.

use sha2::{Digest as _, Sha256};

use super::Finished;
use super::message::{
    ExportRequest, KeyValue, Resource, ResourceSpans, Scope, ScopeSpans, Span, SpanKind, Status, StatusCode,
    attribute,
};
use crate::domain::canary::Integrity;
use crate::domain::outcome::Outcome;
use crate::domain::time::Timestamp;
use crate::domain::topology::{StageId, Topology};
use crate::domain::trace::{Hop, Put, Trace};

/// Most places of copies that a span lists.
const MAX_LOCATORS: usize = 8;
/// Name of the span of a whole life, and what its id is made of.
const ROOT: &str = "canary";

/// Who exports.
#[derive(Clone, Debug)]
pub struct Source {
    /// The program's version.
    pub version: String,
    /// The name of this instance.
    pub instance: String,
}

/// Returns one request with all spans of these traces.
pub(super) fn request(source: &Source, finished: &[Finished]) -> ExportRequest {
    let resource = Resource {
        attributes: vec![
            attribute("service.name", "traceprobe"),
            attribute("service.version", &*source.version),
            attribute("service.instance.id", &*source.instance),
        ],
    };
    let scope = Scope { name: "traceprobe".to_owned(), version: source.version.clone() };
    let spans = finished.iter().flat_map(|(trace, topology)| of_trace(trace, topology)).collect();
    let scope_spans = vec![ScopeSpans { scope: Some(scope), spans }];
    ExportRequest { resource_spans: vec![ResourceSpans { resource: Some(resource), scope_spans }] }
}

fn of_trace(trace: &Trace, map: &Topology) -> Vec<Span> {
    let mut spans = vec![root(trace, map)];
    spans.extend(put(trace));
    spans.extend(map.stage_ids().filter_map(|stage| hop(trace, map, stage)));
    spans
}

fn root(trace: &Trace, map: &Topology) -> Span {
    let tenant = map.tenant(trace.tenant);
    let decided = trace.ended.as_ref().map(|(_, at)| *at);
    let arrived = trace.arrival(map.end()).map(|at| at.latest);
    let mut attributes = vec![
        attribute("traceprobe.tenant", &*tenant.name),
        attribute("traceprobe.outcome", trace.standing().label()),
        attribute("traceprobe.size_bytes", trace.tag.size),
    ];
    let group = trace.log_group.and_then(|group| tenant.log_groups.get(usize::from(group.0)));
    attributes.extend(group.map(|group| attribute("traceprobe.log_group", group.to_string())));
    if let Some(latency) = trace.latency(map) {
        attributes.push(attribute("traceprobe.latency_seconds", latency.as_secs_f64()));
    }
    let status = match trace.ended.as_ref().map(|(outcome, _)| outcome) {
        Some(Outcome::Delivered) => status(StatusCode::Ok, String::new()),
        // Not a failure of the pipeline: the outcome is unknown.
        Some(Outcome::Unobserved(reason)) => {
            status(StatusCode::Unset, format!("unobserved: {}", reason.as_str()))
        }
        Some(Outcome::Late) => status(StatusCode::Error, "arrived after its deadline".to_owned()),
        Some(Outcome::Lost(hop)) => status(StatusCode::Error, format!("lost on {}", hop.display(map))),
        Some(Outcome::DeadLettered(stage)) => {
            status(StatusCode::Error, format!("found in the dead letters at {}", map.stage(*stage).name))
        }
        Some(Outcome::Refused(reason)) => {
            status(StatusCode::Error, format!("refused by CloudWatch Logs: {reason}"))
        }
        None => status(StatusCode::Unset, String::new()),
    };
    let end = arrived.or(decided).unwrap_or(trace.planned_at);
    span(trace, ROOT, ROOT.to_owned(), SpanKind::Internal, (trace.planned_at, end), attributes, status)
}

/// The put into the log group, unless there was none.
fn put(trace: &Trace) -> Option<Span> {
    let (at, status) = match trace.put {
        Put::Planned => return None,
        Put::Accepted { at } => (at, status(StatusCode::Ok, String::new())),
        Put::Ambiguous { at } => (at, status(StatusCode::Unset, "not answered".to_owned())),
        Put::Refused { at } => (at, status(StatusCode::Error, "refused".to_owned())),
    };
    let when = (trace.planned_at, at);
    Some(span(trace, "put", "put".to_owned(), SpanKind::Producer, when, Vec::new(), status))
}

/// The hop into a stage, if it began and anything is known of its end.
fn hop(trace: &Trace, map: &Topology, id: StageId) -> Option<Span> {
    let (stage, visit) = (map.stage(id), trace.visit(id));
    let parent = trace.hop_start(map, id).map(|start| start.latest);
    let mut attributes = vec![
        attribute("traceprobe.stage", &*stage.name),
        attribute("traceprobe.stage_kind", stage.kind.name()),
        attribute("traceprobe.hop", state(visit.hop)),
    ];
    let Some(arrival) = &visit.arrival else {
        let never = match visit.hop {
            Hop::Missing => status(StatusCode::Error, "proven absent at the deadline".to_owned()),
            Hop::NeverSeen => status(StatusCode::Unset, "not found, and nothing ever was here".to_owned()),
            Hop::Overdue => status(StatusCode::Error, "past its target, and not found".to_owned()),
            Hop::Open
            | Hop::Measured { .. }
            | Hop::Unjudged
            | Hop::Inverted
            | Hop::Inherited
            | Hop::Skipped => return None,
        };
        let end = trace.ended.as_ref().map_or(trace.planned_at, |(_, at)| *at);
        let when = (parent?, end);
        return Some(span(
            trace,
            &stage.name,
            name(&stage.name),
            SpanKind::Internal,
            when,
            attributes,
            never,
        ));
    };
    let (earliest, latest) = (arrival.interval.earliest, arrival.interval.latest);
    attributes.push(attribute("traceprobe.uncertainty_seconds", latest.since(earliest).as_secs_f64()));
    let copies = visit.copies.iter().take(MAX_LOCATORS).map(|copy| copy.locator.to_string());
    attributes.push(attribute("traceprobe.locators", copies.collect::<Vec<_>>()));
    attributes.push(attribute("traceprobe.copies", u32::try_from(visit.copies.len()).unwrap_or(u32::MAX)));
    let status = match visit.hop {
        _ if matches!(arrival.integrity, Integrity::Corrupted { .. }) => {
            status(StatusCode::Error, "arrived truncated or changed".to_owned())
        }
        Hop::Measured { was_overdue: true, .. } | Hop::Overdue => {
            status(StatusCode::Error, "past its target".to_owned())
        }
        Hop::Measured { was_overdue: false, .. } => status(StatusCode::Ok, String::new()),
        Hop::Open
        | Hop::Unjudged
        | Hop::Inverted
        | Hop::Inherited
        | Hop::Skipped
        | Hop::Missing
        | Hop::NeverSeen => status(StatusCode::Unset, String::new()),
    };
    // Without the parent, the time between the two is not known.
    let when = (parent.unwrap_or(latest), latest);
    Some(span(trace, &stage.name, name(&stage.name), SpanKind::Internal, when, attributes, status))
}

fn name(stage: &str) -> String {
    format!("hop {stage}")
}

const fn state(hop: Hop) -> &'static str {
    match hop {
        Hop::Open => "open",
        Hop::Overdue => "overdue",
        Hop::Measured { was_overdue: true, .. } => "late",
        Hop::Measured { was_overdue: false, .. } => "measured",
        Hop::Unjudged => "unjudged",
        Hop::Inverted => "inverted",
        Hop::Inherited => "inherited",
        Hop::Skipped => "skipped",
        Hop::Missing => "missing",
        Hop::NeverSeen => "never_seen",
    }
}

fn status(code: StatusCode, message: String) -> Status {
    Status { message, code: code.into() }
}

/// A span of a trace. Its id follows from the trace and `part`, so that a span that is sent twice is one span.
fn span(
    trace: &Trace,
    part: &str,
    name: String,
    kind: SpanKind,
    (start, end): (Timestamp, Timestamp),
    attributes: Vec<KeyValue>,
    status: Status,
) -> Span {
    let is_root = part == ROOT && name == ROOT;
    let trace_id = trace.id().as_u128().to_be_bytes().to_vec();
    let id = |part: &str, name: &str| {
        let digest = Sha256::new().chain_update(&trace_id).chain_update(name).chain_update(part).finalize();
        digest[..8].to_vec()
    };
    Span {
        span_id: id(part, &name),
        parent_span_id: if is_root { Vec::new() } else { id(ROOT, ROOT) },
        name,
        kind: kind.into(),
        // A stage's clock may be behind its parent's, but no span ends before it begins.
        start_time_unix_nano: nanos(start.min(end)),
        end_time_unix_nano: nanos(end),
        attributes,
        status: Some(status),
        trace_id,
    }
}

fn nanos(at: Timestamp) -> u64 {
    u64::try_from(at.micros()).unwrap_or(0).saturating_mul(1_000)
}
