//! CloudWatch Logs, JSON 1.1: PutLogEvents, CreateLogStream, DescribeLogGroups, DescribeLogStreams and
//! FilterLogEvents.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};

use super::super::clock::{self, Micros};
use super::super::fault::Rejection;
use super::super::names::Service;
use super::super::settings::REGION;
use super::super::world::log_groups::{LogFilter, LogGroup, pattern_text};
use super::super::world::{Shared, Tenant, World};
use super::{Call, Failure, Named, aws_error, aws_json, server_status};

/// Limits of a PutLogEvents batch (AWS Logs API reference): bytes, of which each event adds 26, events, and
/// time span.
const BATCH_BYTES: usize = 1_048_576;
const EVENT_OVERHEAD: usize = 26;
const BATCH_EVENTS: usize = 10_000;
const BATCH_SPAN_MS: i64 = 24 * 3_600_000;
/// Events newer or older than this are rejected one by one (AWS Logs API reference).
const TOO_NEW_MS: i64 = 2 * 3_600_000;
const TOO_OLD_MS: i64 = 14 * 24 * 3_600_000;
/// Maximum number of events on a FilterLogEvents page (AWS Logs API reference).
const PAGE_EVENTS: usize = 10_000;

fn text<'a>(body: &'a Value, key: &str) -> &'a str {
    body.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// The log group's name, which some operations also accept as an ARN.
fn group_name(body: &Value) -> String {
    let identifier = text(body, "logGroupIdentifier");
    let name = if identifier.is_empty() { text(body, "logGroupName") } else { identifier };
    name.split(":log-group:").last().unwrap_or_default().trim_end_matches(":*").to_owned()
}

pub(super) fn name(world: &World, call: &Call) -> Named {
    let resource = group_name(&call.json());
    let tenant = world.tenants.iter().find(|tenant| tenant.group.name == resource);
    Named { operation: call.target(), tenant: tenant.map(|tenant| tenant.spec.name.clone()), resource }
}

pub(super) fn fail(failure: Failure) -> Response {
    match failure {
        Failure::Throttled => invalid("ThrottlingException", "Rate exceeded"),
        Failure::Denied => {
            invalid("AccessDeniedException", "User is not authorized to perform this operation")
        }
        Failure::Server(status) => {
            let status = server_status(status);
            let code = if status == StatusCode::SERVICE_UNAVAILABLE {
                "ServiceUnavailableException"
            } else {
                "InternalFailure"
            };
            aws_error(status, code, "The service cannot complete the request.")
        }
    }
}

fn invalid(code: &str, message: &str) -> Response {
    aws_error(StatusCode::BAD_REQUEST, code, message)
}

pub(super) fn answer(shared: &Shared, operation: &str, call: &Call) -> Response {
    let body = call.json();
    let mut world = shared.lock();
    if operation == "DescribeLogGroups" {
        return describe_groups(&world, &body, &call.account);
    }
    let name = group_name(&body);
    let Some(tenant) = world.tenants.iter().position(|tenant| tenant.group.name == name) else {
        return invalid("ResourceNotFoundException", "The specified log group does not exist.");
    };
    let group = &world.tenants[tenant].group;
    if group.account != call.account {
        let message = format!(
            "User: arn:aws:sts::{}:assumed-role/sandbox/session is not authorized to perform: logs:{operation} on resource: {}",
            call.account,
            arn(group)
        );
        return invalid("AccessDeniedException", &message);
    }
    match operation {
        "PutLogEvents" => {
            let answer = put(&mut world, tenant, &body);
            shared.wake.notify_one();
            answer
        }
        "CreateLogStream" => create_stream(&mut world, tenant, &body),
        "DescribeLogStreams" => describe_streams(group, &body),
        "FilterLogEvents" => filter(&world, &world.tenants[tenant], &body),
        other => invalid("UnknownOperationException", &format!("{other} is not supported by the sandbox")),
    }
}

fn arn(group: &LogGroup) -> String {
    format!("arn:aws:logs:{REGION}:{}:log-group:{}", group.account, group.name)
}

fn put(world: &mut World, tenant: usize, body: &Value) -> Response {
    let stream: Arc<str> = text(body, "logStreamName").into();
    if !world.tenants[tenant].group.streams.contains_key(&*stream) {
        return invalid("ResourceNotFoundException", "The specified log stream does not exist.");
    }
    let events: Option<Vec<(i64, &str)>> =
        body.get("logEvents").and_then(Value::as_array).and_then(|events| {
            events
                .iter()
                .map(|event| Some((event.get("timestamp")?.as_i64()?, event.get("message")?.as_str()?)))
                .collect()
        });
    let Some(events) = events.filter(|events| !events.is_empty() && events.len() <= BATCH_EVENTS) else {
        return invalid(
            "InvalidParameterException",
            "1 to 10000 log events are required, each with timestamp and message",
        );
    };
    let bytes: usize = events.iter().map(|(_, message)| message.len() + EVENT_OVERHEAD).sum();
    if bytes > BATCH_BYTES {
        let message = format!("Upload too large: {bytes} bytes exceeds limit of {BATCH_BYTES}");
        return invalid("InvalidParameterException", &message);
    }
    if events.windows(2).any(|pair| pair[0].0 > pair[1].0) {
        return invalid(
            "InvalidParameterException",
            "Log events in a single PutLogEvents request must be in chronological order.",
        );
    }
    let now = clock::now();
    let service_now = world.stamp(Service::Logs, now).millis();
    let too_old = events.partition_point(|(stamp, _)| *stamp < service_now - TOO_OLD_MS);
    let too_new = events.partition_point(|(stamp, _)| *stamp <= service_now + TOO_NEW_MS);
    let valid = &events[too_old..too_new];
    if let (Some(first), Some(last)) = (valid.first(), valid.last())
        && last.0 - first.0 > BATCH_SPAN_MS
    {
        return invalid(
            "InvalidParameterException",
            "The batch of log events in a single PutLogEvents request cannot span more than 24 hours.",
        );
    }
    if world.is_full() {
        return invalid("ThrottlingException", "Rate exceeded");
    }
    let mut answer = json!({"nextSequenceToken": "49590338271490256608559692538361571095921575989136588898"});
    let name = world.tenants[tenant].spec.name.clone();
    if let Some(reason) = world.faults.rejection(&name) {
        answer["rejectedLogEventsInfo"] = match reason {
            Rejection::TooNew => json!({"tooNewLogEventStartIndex": 0}),
            Rejection::TooOld => json!({"tooOldLogEventEndIndex": events.len()}),
            Rejection::Expired => json!({"expiredLogEventEndIndex": events.len()}),
        };
        return aws_json(&answer);
    }
    if too_new < events.len() {
        answer["rejectedLogEventsInfo"]["tooNewLogEventStartIndex"] = json!(too_new);
    }
    if too_old > 0 {
        answer["rejectedLogEventsInfo"]["tooOldLogEventEndIndex"] = json!(too_old);
    }
    for (stamp, message) in valid {
        world.accept(tenant, &stream, *stamp, message, now);
    }
    aws_json(&answer)
}

fn create_stream(world: &mut World, tenant: usize, body: &Value) -> Response {
    let name = text(body, "logStreamName");
    // 1 to 512 characters without colon and asterisk (AWS Logs API reference).
    if name.is_empty() || name.len() > 512 || name.contains([':', '*']) {
        return invalid("InvalidParameterException", "The log stream name is not valid.");
    }
    let streams = &mut world.tenants[tenant].group.streams;
    if streams.contains_key(name) {
        return invalid("ResourceAlreadyExistsException", "The specified log stream already exists");
    }
    streams.insert(name.to_owned(), clock::now());
    aws_json(&json!({}))
}

fn describe_groups(world: &World, body: &Value, account: &str) -> Response {
    let prefix = text(body, "logGroupNamePrefix");
    let groups: Vec<Value> = world
        .tenants
        .iter()
        .map(|tenant| &tenant.group)
        .filter(|group| group.account == account && group.name.starts_with(prefix))
        .map(|group| {
            json!({
                "logGroupName": group.name,
                "arn": format!("{}:*", arn(group)),
                "logGroupArn": arn(group),
                "creationTime": group.created.millis(),
                "logGroupClass": "STANDARD",
                "metricFilterCount": 0,
                "storedBytes": 0,
            })
        })
        .collect();
    aws_json(&json!({"logGroups": groups}))
}

fn describe_streams(group: &LogGroup, body: &Value) -> Response {
    let prefix = text(body, "logStreamNamePrefix");
    let streams: Vec<Value> = group
        .streams
        .iter()
        .filter(|(name, _)| name.starts_with(prefix))
        .map(|(name, created)| {
            json!({
                "logStreamName": name,
                "creationTime": created.millis(),
                "arn": format!("{}:log-stream:{name}", arn(group)),
                "storedBytes": 0,
            })
        })
        .collect();
    aws_json(&json!({"logStreams": streams}))
}

fn filter(world: &World, tenant: &Tenant, body: &Value) -> Response {
    let pattern = match pattern_text(text(body, "filterPattern")) {
        Ok(pattern) => pattern,
        Err(message) => return invalid("InvalidParameterException", &message),
    };
    let limit =
        body.get("limit").and_then(Value::as_u64).map_or(Ok(PAGE_EVENTS), usize::try_from).unwrap_or(0);
    if limit == 0 || limit > PAGE_EVENTS {
        return invalid("InvalidParameterException", "limit must be between 1 and 10000");
    }
    let token = text(body, "nextToken");
    let after = token.split_once('/').and_then(|(stamp, id)| Some((stamp.parse().ok()?, id.to_owned())));
    if !token.is_empty() && after.is_none() {
        return invalid("InvalidParameterException", "The specified nextToken is invalid.");
    }
    let names = body.get("logStreamNames").and_then(Value::as_array);
    let lag = world.faults.filter_lag(&tenant.spec.name);
    let (page, more) = tenant.group.filter(&LogFilter {
        start: body.get("startTime").and_then(Value::as_i64),
        end: body.get("endTime").and_then(Value::as_i64),
        text: pattern,
        streams: names.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect(),
        stream_prefix: body.get("logStreamNamePrefix").and_then(Value::as_str).map(str::to_owned),
        after,
        limit,
        shown_until: lag.map(|ms| clock::now().before(Duration::from_millis(ms))),
    });
    let ingested = |at: Micros| world.stamp(Service::Logs, at).millis();
    let events: Vec<Value> = page
        .iter()
        .map(|event| {
            json!({
                "logStreamName": &*event.stream,
                "timestamp": event.timestamp,
                "message": &*event.message,
                "ingestionTime": ingested(event.ingested),
                "eventId": event.id,
            })
        })
        .collect();
    let mut answer = json!({"events": events, "searchedLogStreams": []});
    if let (true, Some(last)) = (more, page.last()) {
        answer["nextToken"] = json!(format!("{}/{}", last.timestamp, last.id));
    }
    aws_json(&answer)
}
