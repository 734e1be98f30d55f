//! Dead letters in a queue, in every form in which the pipeline can send them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use aws_sdk_sqs::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_sqs::types::{MessageSystemAttributeName, QueueAttributeName};

use crate::support::page::{Recent, Trace};
use crate::support::pipeline::{About, Pipeline, Truth};
use crate::{CLOCK_ALLOWANCE_US, Scene, TENANTS, configuration, dead_letters, one_at_a_time};

const FORMS: [&str; 5] = ["record", "event", "on_failure", "notification", "batch"];
const CANARIES: usize = 100;
const STAGE: &str = "dead_letter";
/// The pipeline sends messages until the last canary is through.
const SETTLED_WITHIN_POLLS: usize = 60;

#[tokio::test(flavor = "multi_thread")]
async fn canaries_in_a_dead_letter_queue_are_dead_lettered_and_its_messages_stay() {
    let scene = set().await;
    let daemon = scene.start_daemon().await;
    let form_of = |trace: &Trace, truth: &Truth| {
        FORMS.into_iter().find(|form| !truth.of(&trace.id, &format!("{STAGE}:{form}")).is_empty())
    };
    // The ids of the traces decide which are given up, and how.
    let is_enough = |recent: &Recent| {
        if recent.ended("delivered") + recent.ended("dead_lettered") < CANARIES {
            return false;
        }
        let truth = scene.pipeline.truth();
        let ended = recent.traces.iter().filter(|trace| trace.has_ended());
        let forms: BTreeSet<&str> = ended.filter_map(|trace| form_of(trace, &truth)).collect();
        forms.len() == FORMS.len()
    };
    let recent = daemon
        .until("a hundred canaries have ended, and some in each form", Duration::from_secs(120), is_enough)
        .await;
    let waiting = recent.conditions.iter().filter(|it| it.condition == "dead_letters_waiting");
    let told: Vec<_> = waiting.map(|it| (it.tenant.as_deref(), it.stage.as_deref())).collect();
    assert_eq!(told, [(None, Some(STAGE))]);

    let truth = scene.pipeline.truth();
    let ended: Vec<&Trace> = recent.traces.iter().filter(|trace| trace.has_ended()).collect();
    let mut faults = Vec::new();
    let mut by_form: BTreeMap<&str, usize> = BTreeMap::new();
    for trace in &ended {
        let form = form_of(trace, &truth);
        faults.extend(wrong_outcome(trace, form, &truth));
        *by_form.entry(form.unwrap_or("delivered")).or_default() += 1;
    }
    assert!(faults.is_empty(), "{by_form:?}:\n{}", faults.join("\n"));
    let letters: usize = FORMS.iter().filter_map(|form| by_form.get(form)).sum();
    let of_ten = 10 * letters / ended.len();
    assert!((1..=5).contains(&of_ten), "{by_form:?}");

    daemon.terminate(Duration::from_secs(20)).await;
    let queue = Queue::new(&scene.pipeline.about);
    let sent = || letters_sent(&scene.pipeline.truth());
    let mut polls = tokio::time::interval(Duration::from_millis(500));
    for _ in 0..SETTLED_WITHIN_POLLS {
        polls.tick().await;
        if queue.visible().await == sent() {
            break;
        }
    }
    assert_eq!(queue.visible().await, sent(), "messages are gone");
    let counts = queue.receive_counts().await;
    assert!(counts.iter().all(|count| *count >= 2), "the probe's own receives count: {counts:?}");
}

async fn set() -> Scene {
    let lock = one_at_a_time().await;
    let pipeline = Pipeline::start_giving_up("letters", TENANTS, &FORMS).await;
    let config = Path::new(env!("CARGO_TARGET_TMPDIR")).join("emulators-letters.toml");
    let text = configuration(&pipeline.about).replace("interval = \"1200ms\"", "interval = \"400ms\"");
    let stage = dead_letters(&pipeline.about, STAGE, "2s");
    std::fs::write(&config, text + &stage).expect("cannot write the configuration");
    Scene { pipeline, config, _lock: lock }
}

/// What is wrong with the outcome of a canary that was given up in this form, or not at all.
fn wrong_outcome(trace: &Trace, form: Option<&str>, truth: &Truth) -> Option<String> {
    let (expected, place) = match form {
        Some(_) => ("dead_lettered", Some(STAGE)),
        None => ("delivered", None),
    };
    if (trace.outcome.as_str(), trace.lost_at.as_deref()) != (expected, place) {
        return Some(format!("{} ({form:?}) is {} at {:?}", trace.id, trace.outcome, trace.lost_at));
    }
    let arrival = trace.arrivals().find(|arrival| arrival.stage == STAGE)?;
    let [between] = truth.of(&trace.id, STAGE) else {
        return Some(format!("{} was given up {} times", trace.id, truth.of(&trace.id, STAGE).len()));
    };
    let is_true = arrival.earliest <= between.after_us + CLOCK_ALLOWANCE_US
        && arrival.latest >= between.before_us - CLOCK_ALLOWANCE_US;
    (!is_true).then(|| format!("{} came between {between:?}, and not {arrival:?}", trace.id))
}

/// How many messages the pipeline has sent: one for each record, and for the form `record` one for each canary.
fn letters_sent(truth: &Truth) -> usize {
    let of_form = |form: &&str| {
        let entries = truth.at(&format!("{STAGE}:{form}"));
        if **form == *"record" {
            return entries.len();
        }
        entries.iter().map(|entry| entry.before_us).collect::<BTreeSet<_>>().len()
    };
    FORMS.iter().map(of_form).sum()
}

/// The queue, as its owner sees it.
struct Queue {
    client: aws_sdk_sqs::Client,
    url: String,
}

impl Queue {
    fn new(about: &About) -> Self {
        let root = &about.root_credentials;
        let keys = Credentials::new(
            &root["AWS_ACCESS_KEY_ID"],
            &root["AWS_SECRET_ACCESS_KEY"],
            None,
            None,
            "the owner of the queue",
        );
        let config = aws_sdk_sqs::Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::new(about.region.clone()))
            .endpoint_url(&about.aws_endpoint)
            .credentials_provider(keys)
            .build();
        Self { client: aws_sdk_sqs::Client::from_conf(config), url: about.dead_letter_queue_url.clone() }
    }

    async fn visible(&self) -> usize {
        let name = QueueAttributeName::ApproximateNumberOfMessages;
        let request = self.client.get_queue_attributes().queue_url(&self.url).attribute_names(name.clone());
        let answer = request.send().await.expect("the queue is there").attributes.unwrap_or_default();
        answer[&name].parse().expect("it is a number")
    }

    async fn receive_counts(&self) -> Vec<usize> {
        let name = MessageSystemAttributeName::ApproximateReceiveCount;
        let request = self
            .client
            .receive_message()
            .queue_url(&self.url)
            .max_number_of_messages(10)
            .message_system_attribute_names(name.clone());
        let messages = request.send().await.expect("the queue is there").messages.unwrap_or_default();
        let count = |message: &aws_sdk_sqs::types::Message| message.attributes()?.get(&name)?.parse().ok();
        messages.iter().filter_map(count).collect()
    }
}
