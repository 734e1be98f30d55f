//! Settings of a Kinesis stage: its keys, its defaults, the operations that it calls and their costs.

use std::time::Duration;

use super::get_records::is_arn;
use super::read_budget::Pages;
use super::{Kinesis, proof};
use crate::cloud::account::{self, Account, account_of_arn};
use crate::cloud::{NoClient, Provider};
use crate::domain::cost::{BytePrice, Bytes, Costs, Operation};
use crate::domain::evidence::{Evidence, Link, Lookup, NamedPlace, Question};
use crate::domain::proof::Proof;
use crate::domain::shell::{UNPACK, in_region, quoted};
use crate::domain::sighting::Wanted;
use crate::domain::time::Timestamp;
use crate::domain::topology::Capabilities;
use crate::keys::fault::Checked;
use crate::keys::key::{Key, Shape};
use crate::keys::reader::Reader;
use crate::keys::value;
use crate::observe::console;
use crate::observe::kinds::{Attribution, KindSettings, Scope, Site, Spec, seconds};
use crate::observe::pace::Rhythm;
use crate::observe::{GAPS, Gaps};

/// GetRecords returns at most this many records (AWS Kinesis API reference).
const MAX_RECORDS: u32 = 10_000;
/// Less would not suffice to read a stream that carries only canaries.
const MIN_BYTES_PER_SECOND: u64 = 16 << 10;
/// A shard delivers this many bytes per second to all its readers together (Kinesis quotas).
const MAX_BYTES_PER_SECOND: u64 = 2 << 20;

static KEYS: [Key; 9] = {
    let [region, role_arn, external_id] = account::KEYS;
    [
        Key::text("stream").required(),
        Key::text("mode").or("get_records").one_of(&["get_records", "enhanced_fan_out"]),
        Key::text("consumer"),
        Key::new("max_records", Shape::Integer).or("10000"),
        Key::text("gaps").or("skip"),
        Key::text("max_bytes_per_second").or("512KB"),
        region,
        role_arn,
        external_id,
    ]
};

/// The keys, defaults, capabilities and costs of the kind.
pub(in crate::observe) static SPEC: Spec = Spec {
    keys: &KEYS,
    // A shard allows five reads per second to all its readers together, and a record is readable only a
    // moment after its arrival stamp.
    rhythm: Rhythm { interval: seconds(1), timeout: seconds(10), settle: seconds(1), ..Rhythm::USUAL },
    provider: Provider::Aws,
    capabilities: Capabilities { behind: true, ..Capabilities::ABSENCE },
    costs: Costs {
        operations: &[
            operation("ListShards", "kinesis:ListShards"),
            operation("GetShardIterator", "kinesis:GetShardIterator"),
            operation("GetRecords", "kinesis:GetRecords"),
            operation("DescribeStreamConsumer", "kinesis:DescribeStreamConsumer"),
            operation("SubscribeToShard", "kinesis:SubscribeToShard"),
        ],
        // On-demand standard (Kinesis Data Streams pricing, $0.04 a GB retrieved).
        bytes: &[BytePrice { service: "kinesis", of: Bytes::Read, dollars: 0.04 / 1e9 }],
    },
    permissions: include_str!("permissions.json"),
};

/// On-demand standard (Kinesis Data Streams pricing, $0.05 a GB retrieved with enhanced fan-out).
const FANNED_OUT: &[BytePrice] = &[BytePrice { service: "kinesis", of: Bytes::Read, dollars: 0.05 / 1e9 }];

/// How the stream is read. The names are those of the configuration.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    GetRecords,
    EnhancedFanOut,
}

const MODES: [(&str, Mode); 2] =
    [("get_records", Mode::GetRecords), ("enhanced_fan_out", Mode::EnhancedFanOut)];

const fn operation(name: &'static str, permission: &'static str) -> Operation {
    Operation { service: "kinesis", name, permission, dollars: 0.0 }
}

/// Which stream to poll, and how much of it at a time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Region of the stream, and the role that may read it.
    pub account: Account,
    /// Name or ARN of the stream.
    pub stream: String,
    /// Name or ARN of the registered consumer to which the service sends what arrives (enhanced fan-out); `None` to
    /// call GetRecords.
    pub consumer: Option<String>,
    /// Maximum number of records per call; at most 10,000 (Kinesis API reference, GetRecords).
    pub max_records_per_call: i32,
    /// Maximum bytes of records read per second and shard. All its readers share 2 MiB (Kinesis quotas).
    pub max_bytes_per_second: u64,
    /// Pages read from one shard per poll, a second apart: the first page after a cursor was opened is often
    /// empty. The poll must end before the next one is due.
    pub pages_per_poll: u8,
    /// After this many bytes of records, a poll makes no further call.
    pub max_bytes_per_poll: u64,
    /// Maximum number of GetRecords calls per poll.
    pub max_calls_per_poll: usize,
    /// How long a record may take from its arrival stamp until it is readable.
    pub settle: Duration,
    /// Whether records that arrived while nothing waited are read.
    pub gaps: Gaps,
    /// How far before the oldest waiting trace a cursor is opened: arrival stamps may be out of order, and
    /// clocks may disagree.
    pub lookback: Duration,
}

impl Settings {
    /// Returns the default settings for a stream.
    #[must_use]
    pub fn new(account: Account, stream: impl Into<String>) -> Self {
        Self {
            account,
            stream: stream.into(),
            consumer: None,
            max_records_per_call: 10_000,
            max_bytes_per_second: 512 << 10,
            pages_per_poll: 2,
            max_bytes_per_poll: 64 << 20,
            max_calls_per_poll: 1_000,
            settle: Duration::from_secs(1),
            gaps: Gaps::Skip,
            lookback: Duration::from_secs(10),
        }
    }

    /// The name of the stream, which is the end of an ARN.
    fn name(&self) -> &str {
        self.stream.rsplit('/').next().unwrap_or(&self.stream)
    }
}

impl KindSettings for Settings {
    type Observer = Kinesis;
    type Shared = Pages;

    fn read(read: &mut Reader<'_, '_>, scope: &Scope<'_>) -> Checked<Self> {
        let stream = read.get("stream", scope.expanded(check_stream));
        let max_records = read.get("max_records", value::count(1, MAX_RECORDS));
        let gaps = read.get("gaps", value::choice(&GAPS));
        let max_bytes_per_second = read.get(
            "max_bytes_per_second",
            value::size_within(
                MIN_BYTES_PER_SECOND,
                MAX_BYTES_PER_SECOND,
                "; a shard delivers 2MB per second to all its readers together",
            ),
        );
        let mode = read.get("mode", value::choice(&MODES));
        let consumer = read.find("consumer", scope.expanded(check_consumer));
        let consumer = match (mode?, consumer?) {
            (Mode::EnhancedFanOut, None) => Err(read.report(
                "consumer",
                "missing; mode = \"enhanced_fan_out\" needs the name or ARN of a consumer that is registered with the stream, for example \"traceprobe\"",
            )),
            (Mode::GetRecords, Some(_)) => Err(read.report(
                "consumer",
                "has no effect with mode = \"get_records\"; write mode = \"enhanced_fan_out\", or remove consumer",
            )),
            (_, consumer) => Ok(consumer),
        };
        let account = Account::read(read, scope.region, stream.as_deref().ok());
        if let (Ok(Some(consumer)), Ok(stream), Ok(account)) = (&consumer, &stream, &account) {
            check_consumer_of(consumer, stream, &account.region)
                .map_err(|wrong| read.report("consumer", wrong))?;
        }
        Ok(Self {
            max_records_per_call: i32::try_from(max_records?).unwrap_or(i32::MAX),
            gaps: gaps?,
            max_bytes_per_second: max_bytes_per_second?,
            consumer: consumer?,
            ..Self::new(account?, stream?)
        })
    }

    fn spec() -> &'static Spec {
        &SPEC
    }

    async fn prove(&self, site: &Site<'_>, shared: &Pages, wanted: &Wanted) -> Result<Vec<Proof>, NoClient> {
        proof::prove(self, site, shared, wanted).await
    }

    fn resource(&self) -> String {
        self.stream.clone()
    }

    fn identity(&self) -> String {
        let account = account_of_arn(&self.stream).or(self.account.number()).unwrap_or_default();
        format!("{} {account} {}", self.name(), self.account.identity())
    }

    fn account(&self) -> Option<&Account> {
        Some(&self.account)
    }

    fn attribution(&self) -> Attribution {
        Attribution { labelled: false, by_tag: true, remedy: "" }
    }

    fn costs(&self) -> Costs {
        let bytes = if self.consumer.is_some() { FANNED_OUT } else { SPEC.costs.bytes };
        Costs { bytes, ..SPEC.costs }
    }

    fn reads_gaps(&self) -> bool {
        self.gaps == Gaps::Read
    }

    fn observer(&self, site: &Site<'_>, pages: &Pages) -> Result<Kinesis, NoClient> {
        let settings = Self {
            // A second each, and one second of reserve before the next poll, which reads any further pages.
            pages_per_poll: u8::try_from(site.rhythm.interval.as_secs().saturating_sub(1).clamp(1, 4))
                .unwrap_or(1),
            settle: site.rhythm.settle,
            ..self.clone()
        };
        let aws = &site.clients.aws;
        let config = aws_sdk_kinesis::config::Builder::from(&aws.config("kinesis", &self.account))
            .interceptor(aws.counting("kinesis", &self.account))
            .build();
        let client = aws_sdk_kinesis::Client::from_conf(config);
        let (recognizer, clock) = (site.recognizer.clone(), site.clock.clone());
        let kinesis = Kinesis::new(settings, pages.clone(), client, recognizer, clock);
        Ok(kinesis.naming(aws.clone()).within(site.rhythm))
    }
}

/// Checks a stream: a name or an ARN.
fn check_stream(text: String) -> Result<String, String> {
    let name = match text.split(':').collect::<Vec<_>>().as_slice() {
        ["arn", _, "kinesis", _, _, resource] => resource.strip_prefix("stream/"),
        [name] => Some(*name),
        _ => None,
    };
    if name.is_some_and(is_name) {
        return Ok(text);
    }
    Err(format!(
        "\"{text}\" is not a valid stream name or ARN; write {A_NAME}, for example \"logs-{{tenant}}\", or a whole ARN"
    ))
}

/// Checks a consumer: a name or an ARN.
fn check_consumer(text: String) -> Result<String, String> {
    let name = if text.contains(':') { consumer_of_arn(&text).map(|arn| arn.name) } else { Some(&*text) };
    if name.is_some_and(is_name) {
        return Ok(text);
    }
    Err(format!(
        "\"{text}\" is not a valid consumer; write {A_NAME}, for example \"traceprobe\", or its whole ARN, which ends with the time of its registration"
    ))
}

/// What names are, for people.
const A_NAME: &str = "a name of up to 128 letters, digits, `_`, `.` and `-` ({tenant} is replaced)";

/// The parts of the ARN of a consumer.
struct ConsumerArn<'a> {
    /// The ARN of its stream.
    stream: &'a str,
    region: &'a str,
    stream_name: &'a str,
    name: &'a str,
}

/// `arn:aws:kinesis:REGION:ACCOUNT:stream/STREAM/consumer/NAME:SECONDS` (AWS Kinesis API reference, Consumer).
fn consumer_of_arn(arn: &str) -> Option<ConsumerArn<'_>> {
    let (stream, consumer) = arn.split_once("/consumer/")?;
    let (name, created) = consumer.split_once(':')?;
    let ["arn", _, "kinesis", region, _, resource] = *stream.split(':').collect::<Vec<_>>() else {
        return None;
    };
    let stream_name = resource.strip_prefix("stream/").filter(|name| is_name(name))?;
    let is_time = !created.is_empty() && created.bytes().all(|b| b.is_ascii_digit());
    is_time.then_some(ConsumerArn { stream, region, stream_name, name })
}

/// Checks that a consumer is one of this stream. The service would find it, and send what another stream gets.
fn check_consumer_of(consumer: &str, stream: &str, region: &str) -> Result<(), String> {
    let Some(arn) = consumer_of_arn(consumer) else { return Ok(()) };
    let of_stream = if is_arn(stream) { arn.stream == stream } else { arn.stream_name == stream };
    if !of_stream {
        let named = if is_arn(stream) { arn.stream } else { arn.stream_name };
        return Err(format!("is registered with stream \"{named}\", and stream is \"{stream}\""));
    }
    if arn.region != region {
        return Err(format!("is a consumer in region {}, and the stream's is {region}", arn.region));
    }
    Ok(())
}

/// `[a-zA-Z0-9_.-]{1,128}` (AWS Kinesis API reference, CreateStream and RegisterStreamConsumer).
fn is_name(text: &str) -> bool {
    (1..=128).contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
}

impl Evidence for Settings {
    fn names(&self, _: Timestamp) -> Vec<NamedPlace> {
        vec![
            // Commands take the name.
            ("STREAM", self.name().to_owned()),
            ("STREAM_REGION", self.account.region.clone()),
            ("STREAM_ACCOUNT", self.account.holder()),
        ]
    }

    fn checks(&self) -> &'static str {
        "kinesis-stream"
    }

    fn lookups(&self, question: Question<'_>) -> Vec<Lookup> {
        let region = in_region(&self.account.region);
        let stream = match self.stream.starts_with("arn:") {
            true => format!("--stream-arn {}", quoted(&self.stream)),
            false => format!("--stream-name {}", quoted(&self.stream)),
        };
        let Some(copy) = question.copy else {
            return vec![
                Lookup {
                    what: "list the shards",
                    command: format!("aws kinesis list-shards{region} {stream}"),
                },
                Lookup {
                    what: "search every shard from the planned injection on",
                    command: search(&region, &stream, question),
                },
            ];
        };
        let Some((shard, sequence)) = shard_and_sequence(copy.as_str()) else {
            return Vec::new();
        };
        let read = format!(
            "aws kinesis get-records{region} --limit 1 --shard-iterator \"$(aws kinesis get-shard-iterator{region} \
             {stream} --shard-id {} --shard-iterator-type AT_SEQUENCE_NUMBER --starting-sequence-number {} \
             --query ShardIterator --output text)\"",
            quoted(shard),
            quoted(sequence),
        );
        let data = format!("{read} --query 'Records[0].Data' --output text | base64 --decode | {UNPACK}");
        vec![
            Lookup { what: "read the record", command: read },
            Lookup { what: "read its data", command: data },
        ]
    }

    fn consoles(&self, _: Question<'_>) -> Vec<Link> {
        vec![Link {
            what: "data viewer in the Kinesis console",
            url: console::stream(&self.account.region, self.name()),
        }]
    }
}

/// A loop over the shards. One call of each shows up to 10 MB from this time on (AWS Kinesis API reference,
/// GetRecords), which is enough unless the stream is busy.
fn search(region: &str, stream: &str, question: Question<'_>) -> String {
    let from = question.planned_at.strftime("%Y-%m-%dT%H:%M:%SZ");
    format!(
        "for shard in $(aws kinesis list-shards{region} {stream} --query 'Shards[].ShardId' --output text); do \
         aws kinesis get-records{region} --shard-iterator \"$(aws kinesis get-shard-iterator{region} {stream} \
         --shard-id \"$shard\" --shard-iterator-type AT_TIMESTAMP --timestamp {from} --query ShardIterator \
         --output text)\" --query 'Records[].Data' --output text | tr '\\t' '\\n' | while read -r data; do \
         printf %s \"$data\" | base64 --decode | {UNPACK} | grep -a -F {}; done; done",
        quoted(question.tag),
    )
}

/// Extracts a shard id and a sequence number from a locator, whatever stands between them.
fn shard_and_sequence(locator: &str) -> Option<(&str, &str)> {
    let shard = locator.find("shardId-")?;
    let rest = &locator[shard..];
    let end = rest["shardId-".len()..].find(|c: char| !c.is_ascii_digit())? + "shardId-".len();
    let after = &rest[end..];
    let start = after.find(|c: char| c.is_ascii_digit())?;
    let number = &after[start..];
    let length = number.find(|c: char| !c.is_ascii_digit()).unwrap_or(number.len());
    Some((&rest[..end], &number[..length]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloud::account::Role;
    use crate::domain::sighting::Locator;

    #[test]
    fn a_stream_that_is_given_by_its_arn_is_read_by_it() {
        let arn = "arn:aws:kinesis:eu-central-1:111111111111:stream/logs-acme";
        let settings = Settings::new(Account::in_region("eu-central-1"), arn);
        let planned_at = Timestamp::from_secs(1_795_321_781);
        let said = settings.lookups(Question { copy: None, tag: "zqtp1abc", planned_at });
        assert_eq!(
            said[0].command,
            format!("aws kinesis list-shards --region eu-central-1 --stream-arn {arn}")
        );
    }

    #[test]
    fn a_stream_is_one_place_whether_it_is_given_by_its_name_or_its_arn() {
        let role = |number: &str, name: &str| {
            let arn = format!("arn:aws:iam::{number}:role/{name}");
            Account { role: Some(Role { arn, external_id: None }), ..Account::in_region("eu-central-1") }
        };
        let one = role("111111111111", "read");
        let identity = |account: &Account, stream: &str| Settings::new(account.clone(), stream).identity();
        let arn = "arn:aws:kinesis:eu-central-1:111111111111:stream/logs-acme";
        assert_eq!(identity(&one, "logs-acme"), identity(&one, arn));
        // Tenants may have roles of their own.
        assert_ne!(identity(&one, "logs-acme"), identity(&role("111111111111", "other"), "logs-acme"));
        assert_ne!(identity(&one, "logs-acme"), identity(&one, "logs-globex"));
        assert_ne!(identity(&one, "logs-acme"), identity(&role("222222222222", "read"), "logs-acme"));
    }

    #[test]
    fn the_command_reads_a_record_by_its_sequence_number() {
        let settings = Settings::new(Account::in_region("eu-central-1"), "logs-acme");
        let lookups = |copy: &str| {
            let copy = Locator::new(copy);
            let planned_at = Timestamp::from_secs(1_795_321_781);
            settings.lookups(Question { copy: Some(&copy), tag: "zqtp1abc", planned_at })
        };
        let found = lookups("shardId-000000000000:4959033827149/3");
        let command = &found[0].command;
        assert!(command.contains("--shard-id shardId-000000000000 "), "{command}");
        assert!(command.contains("--starting-sequence-number 4959033827149 "), "{command}");
        assert!(found[1].command.ends_with("| base64 --decode | gzip -dcf"), "{}", found[1].command);
        assert_eq!(lookups("who knows"), []);
    }
}
