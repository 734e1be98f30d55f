//! The tenant streams are read with enhanced fan-out, whose subscriptions end, are renewed, and are taken away.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use aws_sdk_kinesis::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_kinesis::operation::subscribe_to_shard::SubscribeToShardOutput;
use aws_sdk_kinesis::types::{ShardIteratorType, StartingPosition};

use crate::support::daemon::Daemon;
use crate::support::page::{Recent, Trace};
use crate::support::pipeline::{About, Pipeline};
use crate::{Scene, TENANTS, configuration, one_at_a_time, wrong_arrivals};

const CANARIES: usize = 60;
const STAGE: &str = "tenant_stream";
const SHARD: &str = "shardId-000000000000";
/// Most times that the subscription is taken, until the probe notices, and how often it is looked at in between: if
/// nothing waits just then, there is nothing to notice.
const TAKEN_TIMES: usize = 5;
const POLLS: usize = 40;
/// The service takes a subscription from its reader at the earliest after five seconds.
const TAKEN_WITHIN_TRIES: usize = 30;

#[tokio::test(flavor = "multi_thread")]
async fn arrivals_by_enhanced_fan_out_are_true_while_another_reader_takes_the_subscription() {
    let scene = set().await;
    let daemon = scene.start_daemon().await;
    let some = |recent: &Recent| recent.ended("delivered") >= 10;
    daemon.until("ten canaries are delivered", Duration::from_secs(60), some).await;

    let mut losses = 0.0;
    for _ in 0..TAKEN_TIMES {
        let taken = take_the_subscription(&scene.pipeline.about).await;
        let mut polls = tokio::time::interval(Duration::from_millis(200));
        for _ in 0..POLLS {
            polls.tick().await;
            losses = failed_polls(&daemon).await;
            if losses > 0.0 {
                break;
            }
        }
        drop(taken);
        if losses > 0.0 {
            break;
        }
    }
    assert!(losses > 0.0, "no poll told that the subscription was taken");

    let enough = |recent: &Recent| recent.ended("delivered") >= CANARIES;
    let recent = daemon.until("sixty canaries are delivered", Duration::from_secs(120), enough).await;
    let metrics = daemon.metrics().await;
    for outcome in ["late", "lost", "unobserved"] {
        assert_eq!(metrics.sum("traceprobe_traces_total", &[("outcome", outcome)]), 0.0, "{outcome}");
    }
    let calls =
        |operation: &str| metrics.sum_so_far("traceprobe_api_calls_total", &[("operation", operation)]);
    assert_eq!(calls("GetRecords"), 0.0, "the stream was read otherwise, too");
    let subscribed = calls("SubscribeToShard");
    assert!(subscribed >= 4.0, "no subscription was renewed: {subscribed}");

    let delivered: Vec<&Trace> = recent.traces.iter().filter(|trace| trace.outcome == "delivered").collect();
    let truth = scene.truth_of(&delivered).await;
    let mut checked = BTreeMap::new();
    let mut faults = Vec::new();
    for trace in &delivered {
        faults.extend(wrong_arrivals(trace, &truth, &mut checked));
    }
    assert!(faults.is_empty(), "{} of {checked:?} arrivals are wrong:\n{}", faults.len(), faults.join("\n"));
    let count = checked.get(STAGE).copied().unwrap_or(0);
    assert!(count * 10 >= delivered.len() * 9, "only {count} arrivals at {STAGE}");
}

/// Polls of the first tenant's stream that failed.
async fn failed_polls(daemon: &Daemon) -> f64 {
    let metrics = daemon.metrics().await;
    let polls = |result: &str| {
        let labels = [("stage", STAGE), ("owner", "acme"), ("result", result)];
        metrics.sum("traceprobe_observer_polls_total", &labels)
    };
    let all = metrics.sum("traceprobe_observer_polls_total", &[("stage", STAGE), ("owner", "acme")]);
    all - polls("ok") - polls("incomplete")
}

async fn set() -> Scene {
    let lock = one_at_a_time().await;
    let pipeline = Pipeline::start("fan-out", TENANTS).await;
    let config = Path::new(env!("CARGO_TARGET_TMPDIR")).join("emulators-fan-out.toml");
    let text = configuration(&pipeline.about);
    let stream = format!("stream = \"{}\"\n", pipeline.about.stream);
    assert!(text.contains(&stream), "the stage has another stream");
    let fanned_out = format!("{stream}mode = \"enhanced_fan_out\"\nconsumer = \"traceprobe\"\n");
    std::fs::write(&config, text.replace(&stream, &fanned_out)).expect("cannot write the configuration");
    let scene = Scene { pipeline, config, _lock: lock };
    // Whoever lost the subscription may not take it back for five seconds.
    scene.set_probe("blind_after", "15s");
    scene
}

/// Subscribes to the first tenant's stream as another probe with the same consumer would.
async fn take_the_subscription(about: &About) -> SubscribeToShardOutput {
    let secret = |name: &str| about.root_credentials[name].clone();
    let credentials =
        Credentials::new(secret("AWS_ACCESS_KEY_ID"), secret("AWS_SECRET_ACCESS_KEY"), None, None, "test");
    let config = aws_sdk_kinesis::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(about.region.clone()))
        .endpoint_url(&about.aws_endpoint)
        .credentials_provider(credentials)
        .build();
    let kinesis = aws_sdk_kinesis::Client::from_conf(config);
    let name = about.stream.replace("{tenant}", &about.tenants[0].name);
    let stream = kinesis.describe_stream_summary().stream_name(name).send().await.expect("it is there");
    let arn = stream.stream_description_summary.expect("it is described").stream_arn;
    let consumers = kinesis.list_stream_consumers().stream_arn(arn).send().await.expect("it is there");
    let consumer = &consumers.consumers()[0].consumer_arn;
    let latest =
        StartingPosition::builder().r#type(ShardIteratorType::Latest).build().expect("it is complete");
    let mut tries = tokio::time::interval(Duration::from_millis(500));
    for _ in 0..TAKEN_WITHIN_TRIES {
        tries.tick().await;
        let call = kinesis.subscribe_to_shard().consumer_arn(consumer).shard_id(SHARD);
        if let Ok(subscription) = call.starting_position(latest.clone()).send().await {
            return subscription;
        }
    }
    panic!("the subscription cannot be taken");
}
