//! The API of CloudWatch Logs in the AWS JSON 1.1 protocol: PutLogEvents, CreateLogStream, DescribeLogGroups,
//! DescribeLogStreams, DescribeSubscriptionFilters and FilterLogEvents.

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
use super::{Call, CallTarget, Failure, aws_error, aws_json, long_message, server_status};

/// Limits of a PutLogEvents batch (AWS Logs API reference): its size in bytes, to which each event adds 26,
/// its number of events, and the time between its first and last event.
const MAX_BATCH_BYTES: usize = 1_048_576;
const EVENT_OVERHEAD: usize = 26;
const MAX_BATCH_EVENTS: usize = 10_000;
const MAX_BATCH_SPAN_MS: i64 = 24 * 3_600_000;
/// Events that are further in the future or older than this are rejected individually; the rest of the batch
/// is accepted (AWS Logs API reference).
const MAX_FUTURE_MS: i64 = 2 * 3_600_000;
const MAX_AGE_MS: i64 = 14 * 24 * 3_600_000;
/// Maximum number of events on a FilterLogEvents page (AWS Logs API reference).
const MAX_PAGE_EVENTS: usize = 10_000;

/// Returns a field of a request; empty if it is missing or not a string.
fn str_field<'a>(body: &'a Value, key: &str) -> &'a str {
    body.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// Returns the name of the log group that a request names. Only an identifier may be an ARN.
fn group_name(body: &Value) -> String {
    let identifier = str_field(body, "logGroupIdentifier");
    if identifier.is_empty() {
        return str_field(body, "logGroupName").to_owned();
    }
    identifier.split(":log-group:").last().unwrap_or_default().trim_end_matches(":*").to_owned()
}

/// Identifies the operation, the log group and its tenant.
pub(super) fn identify(world: &World, call: &Call) -> CallTarget {
    let resource = group_name(&call.json());
    let tenant = world.tenants.iter().find(|tenant| tenant.group.name == resource);
    CallTarget { operation: call.target(), tenant: tenant.map(|tenant| tenant.spec.name.clone()), resource }
}

/// Makes the response of the service to a call that an injected fault makes fail.
pub(super) fn failure_response(failure: Failure) -> Response {
    match failure {
        Failure::Throttled => bad_request("ThrottlingException", "Rate exceeded"),
        Failure::Denied => {
            bad_request("AccessDeniedException", "User is not authorized to perform this operation")
        }
        Failure::Long(bytes) => bad_request("InvalidParameterException", &long_message(bytes)),
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

/// Makes a response with status 400 and an error code.
fn bad_request(code: &str, message: &str) -> Response {
    aws_error(StatusCode::BAD_REQUEST, code, message)
}

/// Carries out a call.
pub(super) fn handle(shared: &Shared, operation: &str, call: &Call) -> Response {
    let body = call.json();
    let mut world = shared.lock();
    if operation == "DescribeLogGroups" {
        return describe_groups(&world, &body, &call.account);
    }
    let name = group_name(&body);
    let Some(tenant_index) = world.tenants.iter().position(|tenant| tenant.group.name == name) else {
        return bad_request("ResourceNotFoundException", "The specified log group does not exist.");
    };
    let group = &world.tenants[tenant_index].group;
    if group.account != call.account {
        let message = format!(
            "User: arn:aws:sts::{}:assumed-role/sandbox/session is not authorized to perform: logs:{operation} on resource: {}",
            call.account,
            arn(group)
        );
        return bad_request("AccessDeniedException", &message);
    }
    if world.tenants[tenant_index].sessions.is_revoked(&call.key) {
        // A role's sessions are revoked by a policy that denies them everything (IAM user guide, "Revoke IAM role
        // temporary security credentials").
        let message = format!(
            "User: arn:aws:sts::{}:assumed-role/sandbox/session is not authorized to perform: logs:{operation} on resource: {} with an explicit deny in an identity-based policy",
            call.account,
            arn(group)
        );
        return bad_request("AccessDeniedException", &message);
    }
    match operation {
        "PutLogEvents" => {
            let response = put_log_events(&mut world, tenant_index, &body);
            shared.wake.notify_one();
            response
        }
        "CreateLogStream" => create_stream(&mut world, tenant_index, &body),
        "DescribeLogStreams" => describe_streams(group, &body),
        "DescribeSubscriptionFilters" => aws_json(&subscription_filters(group)),
        "FilterLogEvents" => filter_log_events(&world, &world.tenants[tenant_index], &body),
        other => {
            bad_request("UnknownOperationException", &format!("{other} is not supported by the sandbox"))
        }
    }
}

fn arn(group: &LogGroup) -> String {
    format!("arn:aws:logs:{REGION}:{}:log-group:{}", group.account, group.name)
}

fn put_log_events(world: &mut World, tenant_index: usize, body: &Value) -> Response {
    let stream: Arc<str> = str_field(body, "logStreamName").into();
    if !world.tenants[tenant_index].group.streams.contains_key(&*stream) {
        return bad_request("ResourceNotFoundException", "The specified log stream does not exist.");
    }
    let events: Option<Vec<(i64, &str)>> =
        body.get("logEvents").and_then(Value::as_array).and_then(|events| {
            events
                .iter()
                .map(|event| Some((event.get("timestamp")?.as_i64()?, event.get("message")?.as_str()?)))
                .collect()
        });
    let Some(events) = events.filter(|events| !events.is_empty() && events.len() <= MAX_BATCH_EVENTS) else {
        return bad_request(
            "InvalidParameterException",
            "1 to 10000 log events are required, each with timestamp and message",
        );
    };
    let bytes: usize = events.iter().map(|(_, message)| message.len() + EVENT_OVERHEAD).sum();
    if bytes > MAX_BATCH_BYTES {
        let message = format!("Upload too large: {bytes} bytes exceeds limit of {MAX_BATCH_BYTES}");
        return bad_request("InvalidParameterException", &message);
    }
    if events.windows(2).any(|pair| pair[0].0 > pair[1].0) {
        return bad_request(
            "InvalidParameterException",
            "Log events in a single PutLogEvents request must be in chronological order.",
        );
    }
    let now = clock::now();
    let service_now = world.stamp(Service::Logs, now).millis();
    let too_old_end = events.partition_point(|(stamp, _)| *stamp < service_now - MAX_AGE_MS);
    let too_new_start = events.partition_point(|(stamp, _)| *stamp <= service_now + MAX_FUTURE_MS);
    let valid = &events[too_old_end..too_new_start];
    if let (Some(first), Some(last)) = (valid.first(), valid.last())
        && last.0 - first.0 > MAX_BATCH_SPAN_MS
    {
        return bad_request(
            "InvalidParameterException",
            "The batch of log events in a single PutLogEvents request cannot span more than 24 hours.",
        );
    }
    if world.is_full() {
        return bad_request("ThrottlingException", "Rate exceeded");
    }
    let mut response =
        json!({"nextSequenceToken": "49590338271490256608559692538361571095921575989136588898"});
    let name = world.tenants[tenant_index].spec.name.clone();
    if let Some(reason) = world.faults.rejection(&name) {
        response["rejectedLogEventsInfo"] = match reason {
            Rejection::TooNew => json!({"tooNewLogEventStartIndex": 0}),
            Rejection::TooOld => json!({"tooOldLogEventEndIndex": events.len()}),
            Rejection::Expired => json!({"expiredLogEventEndIndex": events.len()}),
        };
        return aws_json(&response);
    }
    if too_new_start < events.len() {
        response["rejectedLogEventsInfo"]["tooNewLogEventStartIndex"] = json!(too_new_start);
    }
    if too_old_end > 0 {
        response["rejectedLogEventsInfo"]["tooOldLogEventEndIndex"] = json!(too_old_end);
    }
    for (stamp, message) in valid {
        world.accept(tenant_index, &stream, *stamp, message, now);
    }
    aws_json(&response)
}

fn create_stream(world: &mut World, tenant_index: usize, body: &Value) -> Response {
    let name = str_field(body, "logStreamName");
    // 1 to 512 characters without colon and asterisk (AWS Logs API reference).
    if name.is_empty() || name.len() > 512 || name.contains([':', '*']) {
        return bad_request("InvalidParameterException", "The log stream name is not valid.");
    }
    let streams = &mut world.tenants[tenant_index].group.streams;
    if streams.contains_key(name) {
        return bad_request("ResourceAlreadyExistsException", "The specified log stream already exists");
    }
    streams.insert(name.to_owned(), clock::now());
    aws_json(&json!({}))
}

fn describe_groups(world: &World, body: &Value, account: &str) -> Response {
    let prefix = str_field(body, "logGroupNamePrefix");
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

/// The one filter through which everything leaves.
fn subscription_filters(group: &LogGroup) -> Value {
    json!({"subscriptionFilters": [{
        "filterName": "forward",
        "logGroupName": group.name,
        "filterPattern": "",
        "destinationArn": format!("arn:aws:lambda:{REGION}:{}:function:forwarder", group.account),
        "creationTime": group.created.millis(),
    }]})
}

fn describe_streams(group: &LogGroup, body: &Value) -> Response {
    let prefix = str_field(body, "logStreamNamePrefix");
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

fn filter_log_events(world: &World, tenant: &Tenant, body: &Value) -> Response {
    let pattern = match pattern_text(str_field(body, "filterPattern")) {
        Ok(pattern) => pattern,
        Err(message) => return bad_request("InvalidParameterException", &message),
    };
    let limit =
        body.get("limit").and_then(Value::as_u64).map_or(Ok(MAX_PAGE_EVENTS), usize::try_from).unwrap_or(0);
    if limit == 0 || limit > MAX_PAGE_EVENTS {
        return bad_request("InvalidParameterException", "limit must be between 1 and 10000");
    }
    let token = str_field(body, "nextToken");
    let after = token.split_once('/').and_then(|(stamp, id)| Some((stamp.parse().ok()?, id.to_owned())));
    if !token.is_empty() && after.is_none() {
        return bad_request("InvalidParameterException", "The specified nextToken is invalid.");
    }
    let stream_names = body.get("logStreamNames").and_then(Value::as_array);
    let lag = world.faults.filter_lag(&tenant.spec.name);
    let (page, has_more) = tenant.group.filter(&LogFilter {
        start: body.get("startTime").and_then(Value::as_i64),
        end: body.get("endTime").and_then(Value::as_i64),
        text: pattern,
        streams: stream_names.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect(),
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
    let mut response = json!({"events": events, "searchedLogStreams": []});
    if let (true, Some(last)) = (has_more, page.last()) {
        response["nextToken"] = json!(format!("{}/{}", last.timestamp, last.id));
    }
    aws_json(&response)
}
