//! What Lambda writes to S3 for a batch of a Kinesis stream that it has given up on.
//!
//! The key, the fields and that `payload` is the whole event are after the AWS Lambda developer guide, "Retain
//! discarded batch records for a Kinesis Data Streams event source". The payload itself is made here, since it
//! has a signed canary in it.

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use super::*;

const RECORD: &str = include_str!("../fixtures/lambda-on-failure.json");
const SHARD: &str = "aws/lambda/14b064bc-2681-4d73-bd4a-6a8d29b9a1f8/shardId-000000000001/";

/// A record as Lambda hands it to a function: what the subscription of a log group wrote to the stream.
fn kinesis_record(number: u32, message: &str) -> Value {
    let event = json!({"id": "38", "timestamp": 1_795_323_570_000_u64, "message": message});
    let envelope = json!({
        "messageType": "DATA_MESSAGE",
        "owner": "111111111111",
        "logGroup": "/ecs/acme/app",
        "logStream": "traceprobe/probe-1",
        "subscriptionFilters": ["to-stream"],
        "logEvents": [event],
    });
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(envelope.to_string().as_bytes()).unwrap();
    json!({
        "kinesis": {
            "kinesisSchemaVersion": "1.0",
            "partitionKey": "7c0e",
            "sequenceNumber": format!("4960118965842235937883629852182763847532018901230970472{number}"),
            "data": STANDARD.encode(encoder.finish().unwrap()),
            "approximateArrivalTimestamp": 1_795_323_570.835,
        },
        "eventSource": "aws:kinesis",
        "eventVersion": "1.0",
        "eventID": format!("shardId-000000000001:{number}"),
        "eventName": "aws:kinesis:record",
        "invokeIdentityArn": "arn:aws:iam::123456789012:role/aggregator",
        "awsRegion": "eu-central-1",
        "eventSourceARN": "arn:aws:kinesis:eu-central-1:123456789012:stream/logs-acme",
    })
}

/// The object for a batch of these log lines.
fn object(messages: &[&str]) -> String {
    let records: Vec<_> =
        (0..).zip(messages).map(|(number, message)| kinesis_record(number, message)).collect();
    let mut invocation: Value = serde_json::from_str(RECORD).unwrap();
    invocation["payload"] = json!({ "Records": records }).to_string().into();
    invocation.to_string()
}

/// A stage for one shard, as `docs/recipes/dead-letters.md` configures it.
fn stage() -> Settings {
    Settings { key: KeyTemplate::new(format!("{SHARD}%Y-%m-%dT%H.")), ..settings() }
}

#[tokio::test]
async fn a_canary_in_a_batch_that_lambda_gave_up_is_found_whole() {
    let bucket = Bucket::default();
    let key = format!("{SHARD}2026-11-22T04.59.58-6d9cb6a4-26a3-4f4e-8f0b-21b9a4f2f0c1");
    bucket.put(&key, object(&["noise", canary(1).trim_end(), "noise"]), "e", t(-1));
    let poll = bucket.s3(stage()).poll(&wanted()).await.unwrap();
    let found: Vec<_> = poll.sightings.iter().map(|seen| (seen.tag, seen.integrity)).collect();
    assert_eq!(found, [(tag(1), Integrity::Intact)]);
}

#[tokio::test]
async fn a_batch_without_the_canary_is_readable_and_proves_it_absent() {
    let bucket = Bucket::default();
    let key = format!("{SHARD}2026-11-22T04.59.58-6d9cb6a4-26a3-4f4e-8f0b-21b9a4f2f0c1");
    bucket.put(&key, object(&["noise", "noise"]), "e", t(-1));
    let poll = bucket.s3(stage()).poll(&wanted()).await.unwrap();
    assert_eq!((poll.sightings.len(), poll.unreadable.len(), poll.watermark), (0, 0, Some(t(0))));
}
