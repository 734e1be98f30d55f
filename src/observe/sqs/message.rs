//! Dead letters that name records by their position in a stream and do not contain them.
//!
//! Lambda sends such a message for a batch of a Kinesis event source that it has given up on (AWS Lambda
//! developer guide, "Configuring destinations for Kinesis event sources"): `KinesisBatchInfo` with the stream's
//! ARN, the shard and the range of sequence numbers. In an SNS topic it stands, as a string, in `Message`.

use serde_json::Value;

/// A range of records of a shard.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct BatchInfo {
    pub(super) stream_arn: String,
    pub(super) shard: String,
    pub(super) first: String,
    pub(super) last: String,
}

impl BatchInfo {
    /// Reads the body of a message; `None` if it is not about a batch of a stream.
    pub(super) fn parse(body: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(body).ok()?;
        let inner = value.get("Message").and_then(Value::as_str);
        let inner: Option<Value> = inner.and_then(|text| serde_json::from_str(text).ok());
        let info = value.get("KinesisBatchInfo").or_else(|| inner.as_ref()?.get("KinesisBatchInfo"))?;
        let text = |name: &str| info.get(name).and_then(Value::as_str).map(str::to_owned);
        let number = |name: &str| text(name).filter(|it| is_sequence_number(it));
        Some(Self {
            stream_arn: text("streamArn")?,
            shard: text("shardId").filter(|it| is_shard_id(it))?,
            first: number("startSequenceNumber")?,
            last: number("endSequenceNumber")?,
        })
    }

    /// Whether a configured stream, given by name or ARN, is this one.
    pub(super) fn is_of(&self, stream: &str) -> bool {
        match stream.starts_with("arn:") {
            true => self.stream_arn == stream,
            false => self.stream_arn.rsplit_once(":stream/").is_some_and(|(_, name)| name == stream),
        }
    }
}

/// `0|([1-9]\d{0,128})` (AWS Kinesis API reference, SequenceNumber).
fn is_sequence_number(text: &str) -> bool {
    (1..=129).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// `[a-zA-Z0-9_.-]+`, at most 128 characters (AWS Kinesis API reference, ShardId).
fn is_shard_id(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    (1..=128).contains(&text.len()) && text.bytes().all(is_allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After the example of the AWS Lambda developer guide, "Configuring destinations for Kinesis event sources".
    const BATCH: &str = include_str!("fixtures/kinesis-on-failure.json");

    #[test]
    fn a_failed_batch_of_a_stream_is_named_by_shard_and_sequence_numbers() {
        let found = BatchInfo::parse(BATCH).unwrap();
        assert_eq!(found.shard, "shardId-000000000001");
        assert!(found.is_of("mystream"));
        assert!(found.is_of("arn:aws:kinesis:us-east-2:123456789012:stream/mystream"));
        assert!(!found.is_of("stream"));
        assert!(!found.is_of("arn:aws:kinesis:us-east-2:999999999999:stream/mystream"));
    }

    #[test]
    fn it_is_found_inside_a_notification_of_a_topic() {
        let wrapped = serde_json::json!({"Type": "Notification", "Message": BATCH}).to_string();
        assert_eq!(BatchInfo::parse(&wrapped), BatchInfo::parse(BATCH));
    }

    #[test]
    fn what_is_no_failed_batch_is_none() {
        for body in
            ["", "text", "[]", "{}", r#"{"Message": "text"}"#, r#"{"KinesisBatchInfo": {"shardId": "s"}}"#]
        {
            assert_eq!(BatchInfo::parse(body), None, "{body}");
        }
        let no_number = BATCH.replace("\"startSequenceNumber\": \"4", "\"startSequenceNumber\": \"x");
        assert_ne!(no_number, BATCH);
        assert_eq!(BatchInfo::parse(&no_number), None);
    }

    #[test]
    fn ids_and_numbers_that_kinesis_does_not_give_are_no_batch() {
        let with = |name: &str, value: &str| {
            let mut body: Value = serde_json::from_str(BATCH).unwrap();
            body["KinesisBatchInfo"][name] = value.into();
            BatchInfo::parse(&body.to_string()).is_some()
        };
        for name in ["startSequenceNumber", "endSequenceNumber"] {
            assert!(with(name, &"9".repeat(129)), "{name}");
            assert!(!with(name, &"9".repeat(130)) && !with(name, "") && !with(name, "-1"), "{name}");
        }
        assert!(with("shardId", &"s".repeat(128)));
        assert!(!with("shardId", &"s".repeat(129)) && !with("shardId", "") && !with("shardId", "a/b"));
    }
}
