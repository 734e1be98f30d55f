//! Kinesis Data Streams, JSON 1.1: ListShards, DescribeStreamSummary, GetShardIterator and GetRecords.

use axum::http::StatusCode;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::super::clock::{self, Micros};
use super::super::names::Service;
use super::super::settings::{REGION, SRE_ACCOUNT};
use super::super::world::streams::{
    Shard, ShardIterator, Start, Stream, StreamError, sequence_number, sequence_text,
};
use super::super::world::{Shared, World};
use super::{Call, CallTarget, Failure, aws_error, aws_json, long_message, server_status};

/// Maximum number of records in an answer of GetRecords (AWS Kinesis API reference).
const PAGE_RECORDS: usize = 10_000;

fn text<'a>(body: &'a Value, key: &str) -> &'a str {
    body.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn stream_name(body: &Value) -> String {
    if let Some((stream, _)) = opened(text(body, "ShardIterator")) {
        return stream;
    }
    if let Some(token) = body.get("NextToken").and_then(Value::as_str) {
        return token.split('/').next().unwrap_or_default().to_owned();
    }
    let name = text(body, "StreamName");
    if name.is_empty() {
        text(body, "StreamARN").rsplit('/').next().unwrap_or_default().to_owned()
    } else {
        name.to_owned()
    }
}

pub(super) fn identify(world: &World, call: &Call) -> CallTarget {
    let body = call.json();
    let stream = stream_name(&body);
    let tenant = world.tenants.iter().find(|tenant| tenant.stream.name == stream);
    let iterator = opened(text(&body, "ShardIterator"));
    let shard = iterator.map_or_else(|| text(&body, "ShardId").to_owned(), |(_, cursor)| cursor.shard);
    let resource = if shard.is_empty() { stream.clone() } else { format!("{stream}/{shard}") };
    CallTarget { operation: call.target(), tenant: tenant.map(|tenant| tenant.spec.name.clone()), resource }
}

pub(super) fn failure_response(failure: Failure) -> Response {
    match failure {
        Failure::Throttled => invalid("ProvisionedThroughputExceededException", "Rate exceeded for shard"),
        Failure::Denied => {
            invalid("AccessDeniedException", "User is not authorized to perform this operation")
        }
        Failure::Long(bytes) => invalid("ValidationException", &long_message(bytes)),
        Failure::Server(status) => {
            let status = server_status(status);
            let code = if status == StatusCode::SERVICE_UNAVAILABLE {
                "ServiceUnavailable"
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

pub(super) fn handle(shared: &Shared, operation: &str, call: &Call) -> Response {
    let body = call.json();
    let name = stream_name(&body);
    let mut world = shared.lock();
    if !World::is_sre(&call.account) {
        let message = format!(
            "User of account {} is not authorized to perform: kinesis:{operation} on stream {name}",
            call.account
        );
        return invalid("AccessDeniedException", &message);
    }
    let Some(tenant) = world.tenants.iter().position(|tenant| tenant.stream.name == name) else {
        let message = format!("Stream {name} under account {SRE_ACCOUNT} not found.");
        return invalid("ResourceNotFoundException", &message);
    };
    match operation {
        "ListShards" => list_shards(&world, &world.tenants[tenant].stream, &body),
        "DescribeStreamSummary" => summary(&world, &world.tenants[tenant].stream),
        "GetShardIterator" => iterator(&world, &world.tenants[tenant].stream, &body),
        "GetRecords" => records(&mut world, tenant, &body),
        other => invalid("UnknownOperationException", &format!("{other} is not supported by the sandbox")),
    }
}

/// Instants are fractional seconds in this protocol; the real service returns milliseconds.
fn seconds(at: Micros) -> Value {
    json!(at.millis() as f64 / 1_000.0)
}

fn instant(value: Option<&Value>) -> Option<Micros> {
    // Rounded to milliseconds, like the real service does.
    value?.as_f64().map(|seconds| Micros::from_millis((seconds * 1_000.0).round() as i64))
}

fn hash_range(range: (u128, u128)) -> Value {
    json!({"StartingHashKey": range.0.to_string(), "EndingHashKey": range.1.to_string()})
}

fn shard_json(shard: &Shard) -> Value {
    let mut answer = json!({
        "ShardId": shard.id,
        "HashKeyRange": hash_range(shard.hash_keys),
        "SequenceNumberRange": {"StartingSequenceNumber": sequence_text(shard.first_sequence)},
    });
    if let Some(last) = shard.last_sequence {
        answer["SequenceNumberRange"]["EndingSequenceNumber"] = json!(sequence_text(last));
    }
    if let Some(parent) = &shard.parent {
        answer["ParentShardId"] = json!(parent);
    }
    answer
}

fn list_shards(world: &World, stream: &Stream, body: &Value) -> Response {
    let filter = body.get("ShardFilter").cloned().unwrap_or(Value::Null);
    let offset = world.faults.clock_offset(Service::Kinesis);
    let at = instant(filter.get("Timestamp")).map(|at| at.shifted(-offset));
    let kind = text(&filter, "Type");
    let wanted = |shard: &&Shard| match (kind, at) {
        ("AT_LATEST", _) => shard.last_sequence.is_none(),
        ("AFTER_SHARD_ID", _) => shard.id.as_str() > text(&filter, "ShardId"),
        ("AT_TIMESTAMP", Some(at)) => {
            shard.created_at <= at && shard.closed_at.is_none_or(|closed| closed >= at)
        }
        ("FROM_TIMESTAMP", Some(at)) => shard.closed_at.is_none_or(|closed| closed >= at),
        _ => true,
    };
    let token = text(body, "NextToken").split_once('/').map(|(_, after)| after.to_owned());
    let after = token.unwrap_or_else(|| text(body, "ExclusiveStartShardId").to_owned());
    let max = body
        .get("MaxResults")
        .and_then(Value::as_u64)
        .map_or(1_000, |max| usize::try_from(max).unwrap_or(1_000))
        .max(1);
    let found: Vec<&Shard> = stream.shards.iter().filter(wanted).filter(|shard| shard.id > after).collect();
    let page: Vec<Value> = found.iter().take(max).map(|shard| shard_json(shard)).collect();
    let mut answer = json!({"Shards": page});
    if found.len() > max {
        answer["NextToken"] = json!(format!("{}/{}", stream.name, found[max - 1].id));
    }
    aws_json(&answer)
}

fn summary(world: &World, stream: &Stream) -> Response {
    aws_json(&json!({"StreamDescriptionSummary": {
        "StreamName": stream.name,
        "StreamARN": format!("arn:aws:kinesis:{REGION}:{SRE_ACCOUNT}:stream/{}", stream.name),
        "StreamStatus": "ACTIVE",
        "StreamModeDetails": {"StreamMode": "PROVISIONED"},
        "RetentionPeriodHours": 24,
        "StreamCreationTimestamp": seconds(world.stamp(Service::Kinesis, stream.created_at)),
        "EnhancedMonitoring": [{"ShardLevelMetrics": []}],
        "EncryptionType": "NONE",
        "OpenShardCount": stream.shards.iter().filter(|shard| shard.last_sequence.is_none()).count(),
        "ConsumerCount": 0,
    }}))
}

fn iterator(world: &World, stream: &Stream, body: &Value) -> Response {
    let sequence = sequence_number(text(body, "StartingSequenceNumber"));
    let offset = world.faults.clock_offset(Service::Kinesis);
    let start = match (text(body, "ShardIteratorType"), sequence, instant(body.get("Timestamp"))) {
        ("TRIM_HORIZON", _, _) => Start::TrimHorizon,
        ("LATEST", _, _) => Start::Latest,
        ("AT_SEQUENCE_NUMBER", Some(sequence), _) => Start::AtSequence(sequence),
        ("AFTER_SEQUENCE_NUMBER", Some(sequence), _) => Start::AfterSequence(sequence),
        // Stamps are in ms, so a record of the same ms is not older than the requested time.
        ("AT_TIMESTAMP", _, Some(at)) => Start::AtTime(at.shifted(-offset)),
        _ => {
            return invalid(
                "InvalidArgumentException",
                "ShardIteratorType needs its StartingSequenceNumber or Timestamp",
            );
        }
    };
    match stream.iterator(text(body, "ShardId"), start, clock::now()) {
        Ok(cursor) => aws_json(&json!({"ShardIterator": sealed(&stream.name, &cursor)})),
        Err(_) => {
            let message = format!(
                "Shard {} in stream {} under account {SRE_ACCOUNT} does not exist",
                text(body, "ShardId"),
                stream.name
            );
            invalid("ResourceNotFoundException", &message)
        }
    }
}

fn records(world: &mut World, tenant: usize, body: &Value) -> Response {
    let Some((_, cursor)) = opened(text(body, "ShardIterator")) else {
        return invalid("InvalidArgumentException", "Invalid ShardIterator.");
    };
    let limit = match body.get("Limit").map(Value::as_u64) {
        None => PAGE_RECORDS,
        Some(limit) => match limit
            .and_then(|limit| usize::try_from(limit).ok())
            .filter(|limit| (1..=PAGE_RECORDS).contains(limit))
        {
            Some(limit) => limit,
            None => {
                return invalid("InvalidArgumentException", "Limit must be between 1 and 10000");
            }
        },
    };
    let behind = world.faults.behind_latest(&world.tenants[tenant].spec.name);
    let offset = world.faults.clock_offset(Service::Kinesis);
    let stream = &mut world.tenants[tenant].stream;
    let page = match stream.read(&cursor, limit, behind.is_some(), clock::now()) {
        Ok(page) => page,
        Err(StreamError::Expired) => {
            let message =
                "Iterator expired. The iterator was created earlier than the 5 minutes that it is valid for.";
            return invalid("ExpiredIteratorException", message);
        }
        Err(StreamError::Throttled) => {
            let message = format!(
                "Rate exceeded for shard {} in stream {} under account {SRE_ACCOUNT}.",
                cursor.shard, stream.name
            );
            return invalid("ProvisionedThroughputExceededException", &message);
        }
        Err(StreamError::NoSuchShard) => {
            return invalid("ResourceNotFoundException", "The shard does not exist");
        }
    };
    let records: Vec<Value> = page
        .records
        .iter()
        .map(|record| {
            json!({
                "SequenceNumber": sequence_text(record.sequence),
                "ApproximateArrivalTimestamp": seconds(record.arrived_at.shifted(offset)),
                "Data": STANDARD.encode(&record.data),
                "PartitionKey": record.partition_key,
            })
        })
        .collect();
    let millis = behind.unwrap_or_else(|| u64::try_from(page.behind.as_millis()).unwrap_or(u64::MAX));
    let mut answer = json!({"Records": records, "MillisBehindLatest": millis});
    match &page.next_iterator {
        Some(next) => answer["NextShardIterator"] = json!(sealed(&stream.name, next)),
        None => {
            let children = page.children.iter();
            let children = children.map(|child| {
                json!({
                    "ShardId": child.id,
                    "ParentShards": [child.parent],
                    "HashKeyRange": hash_range(child.hash_keys),
                })
            });
            answer["ChildShards"] = children.collect();
        }
    }
    aws_json(&answer)
}

/// Encodes an iterator as the opaque text that clients get.
fn sealed(stream: &str, iterator: &ShardIterator) -> String {
    let ShardIterator { shard, next_sequence, issued_at, generation } = iterator;
    STANDARD.encode(format!("{stream}|{shard}|{next_sequence}|{}|{generation}", issued_at.0))
}

/// Decodes the output of [`sealed`]: the stream's name and the iterator.
fn opened(token: &str) -> Option<(String, ShardIterator)> {
    let plain = String::from_utf8(STANDARD.decode(token).ok()?).ok()?;
    let mut parts = plain.split('|');
    let stream = parts.next()?.to_owned();
    let shard = parts.next()?.to_owned();
    let mut number = || parts.next()?.parse::<u64>().ok();
    let (next_sequence, issued_at, generation) = (number()?, number()?, number()?);
    let issued_at = Micros(i64::try_from(issued_at).ok()?);
    Some((stream, ShardIterator { shard, next_sequence, issued_at, generation }))
}
