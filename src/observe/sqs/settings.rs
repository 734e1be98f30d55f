//! Settings of a dead-letter queue: its keys, its defaults, the operations that it calls and their costs.

use std::time::Duration;

use super::Sqs;
use crate::cloud::account::{self, Account};
use crate::cloud::{NoClient, Provider};
use crate::domain::cost::{Costs, Operation};
use crate::domain::evidence::{Evidence, Link, Lookup, NamedPlace, Question};
use crate::domain::kind::Kind;
use crate::domain::shell::{in_region, quoted};
use crate::domain::time::Timestamp;
use crate::domain::topology::{Capabilities, SourceId, Topology};
use crate::keys::fault::Checked;
use crate::keys::key::{Key, Shape};
use crate::keys::reader::Reader;
use crate::keys::value;
use crate::observe::console;
use crate::observe::kinds::{Attribution, KindSettings, Scope, Site, Spec, seconds};
use crate::observe::pace::Rhythm;

/// A received message stays hidden from others for this long, so it must be short.
const MAX_HIDDEN: Duration = Duration::from_secs(5);
/// Most messages that a poll may receive.
const MAX_MESSAGES: u32 = 1_000;

static KEYS: [Key; 7] = {
    let [region, role_arn, external_id] = account::KEYS;
    [
        Key::text("queue_url").required(),
        Key::new("peek", Shape::Boolean).or("false"),
        Key::new("peek_messages", Shape::Integer).or("50"),
        Key::text("peek_hides").or("2s"),
        region,
        role_arn,
        external_id,
    ]
};

/// The keys, defaults, capabilities and costs of the kind.
pub(in crate::observe) static SPEC: Spec = Spec {
    keys: &KEYS,
    // Dead letters come minutes after the canary, after the last retry. Each peek hides messages from others
    // for a moment and counts as a receive.
    rhythm: Rhythm { interval: seconds(10), timeout: seconds(20), settle: seconds(0), ..Rhythm::USUAL },
    provider: Provider::Aws,
    capabilities: Capabilities { queue: true, ..Capabilities::PRESENCE },
    costs: Costs {
        // Standard queues, $0.40 a million requests (Amazon SQS pricing).
        operations: &[
            Operation {
                service: "sqs",
                name: "GetQueueAttributes",
                permission: "sqs:GetQueueAttributes",
                dollars: 0.40 / 1e6,
            },
            Operation {
                service: "sqs",
                name: "ReceiveMessage",
                permission: "sqs:ReceiveMessage",
                dollars: 0.40 / 1e6,
            },
        ],
        bytes: &[],
    },
    permissions: include_str!("permissions.json"),
};

/// Which queue to read, and whether its messages may be received.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Region of the queue, and the role that may read it.
    pub account: Account,
    /// URL of the queue.
    pub queue_url: String,
    /// Whether its owner allows that messages are received. Otherwise only their number is read.
    pub peek: bool,
    /// Maximum number of messages per poll.
    pub max_messages: usize,
    /// How long a received message stays hidden from others; whole seconds.
    pub hidden_for: Duration,
    /// After this time a poll receives no further messages.
    pub poll_time_budget: Duration,
}

impl Settings {
    /// Returns the default settings for a queue, whose messages are not received.
    #[must_use]
    pub fn new(account: Account, queue_url: impl Into<String>) -> Self {
        Self {
            account,
            queue_url: queue_url.into(),
            peek: false,
            max_messages: 50,
            hidden_for: Duration::from_secs(2),
            poll_time_budget: Duration::from_secs(10),
        }
    }

    /// The name of the queue, which is the end of its URL.
    fn name(&self) -> &str {
        self.queue_url.rsplit('/').next().unwrap_or(&self.queue_url)
    }
}

impl KindSettings for Settings {
    type Observer = Sqs;
    type Shared = ();

    fn read(read: &mut Reader<'_, '_>, scope: &Scope<'_>) -> Checked<Self> {
        let queue_url = read.get("queue_url", scope.expanded(check_url));
        let peek = read.get("peek", value::boolean);
        let max_messages = read.get("peek_messages", value::count(1, MAX_MESSAGES));
        let hidden_for =
            read.get("peek_hides", value::duration_within(Duration::from_secs(1), MAX_HIDDEN, ""));
        let arn = queue_url.as_deref().ok().and_then(arn);
        let account = Account::read(read, scope.region, arn.as_deref());
        Ok(Self {
            peek: peek?,
            max_messages: usize::try_from(max_messages?).unwrap_or(usize::MAX),
            hidden_for: hidden_for?,
            ..Self::new(account?, queue_url?)
        })
    }

    fn spec() -> &'static Spec {
        &SPEC
    }

    fn resource(&self) -> String {
        self.name().to_owned()
    }

    fn identity(&self) -> String {
        format!("{} {}", self.queue_url, self.account.identity())
    }

    fn account(&self) -> Option<&Account> {
        Some(&self.account)
    }

    fn attribution(&self) -> Attribution {
        Attribution { labelled: false, by_tag: true, remedy: "" }
    }

    fn context(&self, site: &Site<'_>) -> String {
        format!("{:?}", streams(site.topology))
    }

    fn observer(&self, site: &Site<'_>, (): &()) -> Result<Sqs, NoClient> {
        let settings = Self { poll_time_budget: site.rhythm.timeout / 2, ..self.clone() };
        let aws = &site.clients.aws;
        let config = aws_sdk_sqs::config::Builder::from(&aws.config("sqs", &self.account))
            .interceptor(aws.counting("sqs", &self.account))
            .build();
        let client = aws_sdk_sqs::Client::from_conf(config);
        let streams = streams(site.topology);
        Ok(Sqs::new(settings, streams, client, site.recognizer.clone(), site.clock.clone()))
    }
}

/// The ARN of a queue whose URL names its region: `https://sqs.eu-central-1.amazonaws.com/999999999999/letters`.
fn arn(url: &str) -> Option<String> {
    let (host, path) = url.strip_prefix("https://sqs.")?.split_once('/')?;
    let (region, _) = host.split_once(".amazonaws.com")?;
    let (account, name) = path.split_once('/')?;
    Some(format!("arn:aws:sqs:{region}:{account}:{name}"))
}

/// The streams that are read, by name or ARN as they are configured.
fn streams(map: &Topology) -> Vec<(String, SourceId)> {
    let all = map.source_ids().filter(|id| map.stage(map.source(*id).stage).kind == Kind::Kinesis);
    let prefix = format!("{} ", Kind::Kinesis);
    all.filter_map(|id| Some((map.source(id).name.strip_prefix(&prefix)?.to_owned(), id))).collect()
}

/// Checks the URL of a queue. FIFO queues end in `.fifo` (Amazon SQS developer guide).
fn check_url(text: String) -> Result<String, String> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let name = rest.and_then(|rest| rest.rsplit_once('/')).map_or("", |(_, name)| name);
    if let Some(name) = name.strip_suffix(".fifo") {
        return Err(format!(
            "\"{name}.fifo\" is a FIFO queue: a message that is received holds back those after it; set a standard queue, or read the dead letters in S3"
        ));
    }
    let is_name = (1..=80).contains(&name.len())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    if is_name {
        Ok(text)
    } else {
        Err(format!(
            "\"{text}\" is not the URL of a queue; write for example \"https://sqs.eu-central-1.amazonaws.com/999999999999/dead-letters\""
        ))
    }
}

impl Evidence for Settings {
    fn names(&self, _: Timestamp) -> Vec<NamedPlace> {
        vec![
            ("QUEUE_URL", self.queue_url.clone()),
            ("QUEUE_NAME", self.name().to_owned()),
            ("QUEUE_REGION", self.account.region.clone()),
        ]
    }

    fn checks(&self) -> &'static str {
        "dead-letter-queue"
    }

    fn lookups(&self, _: Question<'_>) -> Vec<Lookup> {
        let (region, url) = (in_region(&self.account.region), quoted(&self.queue_url));
        let depth = Lookup {
            what: "count the messages",
            command: format!(
                "aws sqs get-queue-attributes{region} --queue-url {url} --attribute-names \
                 ApproximateNumberOfMessages ApproximateNumberOfMessagesNotVisible"
            ),
        };
        let peek = Lookup {
            what: "receive some messages, which hides them from others for 2 s and counts as a receive",
            command: format!(
                "aws sqs receive-message{region} --queue-url {url} --visibility-timeout 2 --max-number-of-messages 10 \
                 --attribute-names All"
            ),
        };
        if self.peek { vec![depth, peek] } else { vec![depth] }
    }

    fn consoles(&self, _: Question<'_>) -> Vec<Link> {
        vec![Link {
            what: "queue in the SQS console",
            url: console::queue(&self.account.region, &self.queue_url),
        }]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fifo_queue_and_what_is_no_url_are_refused() {
        let good = "https://sqs.eu-central-1.amazonaws.com/999999999999/dead-letters";
        assert_eq!(check_url(good.to_owned()).as_deref(), Ok(good));
        let fifo = check_url(format!("{good}.fifo")).unwrap_err();
        assert!(fifo.contains("FIFO"), "{fifo}");
        for text in ["dead-letters", "arn:aws:sqs:eu-central-1:1:x", "https://sqs/1/", "https://sqs/1/a b"] {
            assert!(check_url(text.to_owned()).is_err(), "{text}");
        }
    }

    #[test]
    fn a_queue_is_in_the_region_that_its_url_names() {
        let url = "https://sqs.us-west-2.amazonaws.com/999999999999/dead-letters";
        assert_eq!(arn(url).as_deref(), Some("arn:aws:sqs:us-west-2:999999999999:dead-letters"));
        for url in ["http://127.0.0.1:4566/999999999999/dead-letters", "https://queue.example/1/a"] {
            assert_eq!(arn(url), None);
        }
    }

    #[test]
    fn people_are_told_what_receiving_does_and_only_where_it_is_allowed() {
        let settings = Settings::new(Account::in_region("eu-central-1"), "https://sqs/1/dead");
        let question = Question { copy: None, tag: "zqtp1abc", planned_at: Timestamp::from_secs(0) };
        assert_eq!(settings.lookups(question).len(), 1);
        let lookups = Settings { peek: true, ..settings }.lookups(question);
        assert!(lookups[1].what.contains("counts as a receive"));
        assert!(lookups[1].command.contains("--visibility-timeout 2"));
    }
}
