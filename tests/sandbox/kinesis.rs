//! Kinesis: iterators, resharding, and pages that end behind the tip.

use aws_sdk_kinesis::primitives::DateTime;
use aws_sdk_kinesis::types::ShardIteratorType;
use traceprobe::sandbox::{Fault, Settings, Stage};

use crate::clients::*;

const SHARD: &str = "shardId-000000000000";

#[tokio::test]
async fn kinesis_starts_at_any_requested_position() {
    let (sandbox, clients) = start(Settings { shards_per_stream: 1, ..Settings::brisk(1, 1) }).await;
    clients.put(0, 0..1).await;
    let first = arrival(&sandbox, &token(0, 0), Stage::TenantStream).await;
    clients.put(0, 1..2).await;
    let second = arrival(&sandbox, &token(0, 1), Stage::TenantStream).await;
    let sequence = first.arrivals[1].locator.split('/').nth(1).unwrap().to_owned();
    let at = DateTime::from_millis(second.arrived(Stage::TenantStream).unwrap().millis());
    let summary = clients.kinesis.describe_stream_summary().stream_name("logs-acme").send().await.unwrap();
    assert_eq!(summary.stream_description_summary().unwrap().open_shard_count(), 1);

    let starts = [
        (ShardIteratorType::TrimHorizon, 2),
        (ShardIteratorType::Latest, 0),
        (ShardIteratorType::AtSequenceNumber, 2),
        (ShardIteratorType::AfterSequenceNumber, 1),
        (ShardIteratorType::AtTimestamp, 1),
    ];
    for (kind, expected) in starts {
        let request = clients.kinesis.get_shard_iterator().stream_name("logs-acme").shard_id(SHARD);
        let request =
            request.shard_iterator_type(kind.clone()).starting_sequence_number(&sequence).timestamp(at);
        let iterator = request.send().await.unwrap();
        // Five start positions, because a shard answers five calls a second.
        let page =
            clients.kinesis.get_records().set_shard_iterator(iterator.shard_iterator).send().await.unwrap();
        assert_eq!((page.records().len(), page.millis_behind_latest()), (expected, Some(0)), "{kind}");
    }
    let iterator = clients.iterator("logs-acme", SHARD, ShardIteratorType::TrimHorizon).await;
    let calls = (0..12).map(|_| clients.kinesis.get_records().shard_iterator(&iterator).send());
    let answers = futures::future::join_all(calls).await;
    let errors =
        answers.into_iter().filter_map(|answer| answer.err().map(|error| error.into_service_error()));
    let throttled = errors.filter(|error| error.is_provisioned_throughput_exceeded_exception()).count();
    assert!(
        throttled >= 7,
        "only {throttled} of twelve calls at once were throttled, although a shard answers five a second"
    );
    let page = until("the shard answers again", async || {
        clients.kinesis.get_records().shard_iterator(&iterator).limit(1).send().await.ok()
    })
    .await;
    assert_eq!(page.records().len(), 1);
    assert!(page.millis_behind_latest().unwrap() > 0);
}

#[tokio::test]
async fn a_resharded_stream_leads_from_parents_to_children() {
    let (sandbox, clients) = start(Settings { shards_per_stream: 1, ..Settings::brisk(4, 1) }).await;
    clients.put(0, 0..1).await;
    arrival(&sandbox, &token(0, 0), Stage::TenantStream).await;
    let iterator = clients.iterator("logs-acme", SHARD, ShardIteratorType::TrimHorizon).await;
    sandbox.fault(Fault::Reshard { tenant: "acme".to_owned() });
    clients.put(0, 1..2).await;
    let after = arrival(&sandbox, &token(0, 1), Stage::TenantStream).await;

    let shards = clients.kinesis.list_shards().stream_name("logs-acme").send().await.unwrap();
    let parents: Vec<_> = shards.shards().iter().map(|shard| shard.parent_shard_id()).collect();
    assert_eq!(parents, [None, Some(SHARD), Some(SHARD)]);
    let closed = shards.shards()[0].sequence_number_range().unwrap();
    assert!(closed.ending_sequence_number().is_some());

    let page = clients.kinesis.get_records().shard_iterator(iterator).send().await.unwrap();
    assert_eq!(page.records().iter().map(enveloped).collect::<Vec<_>>(), [line(0, 0)]);
    assert_eq!(page.next_shard_iterator(), None);
    let children: Vec<_> = page.child_shards().iter().map(|child| child.shard_id().to_owned()).collect();
    assert_eq!(children, ["shardId-000000000001", "shardId-000000000002"]);
    let shard =
        after.copies(Stage::TenantStream).next().unwrap().locator.split('/').next().unwrap().to_owned();
    assert!(children.contains(&shard));
    let iterator = clients.iterator("logs-acme", &shard, ShardIteratorType::TrimHorizon).await;
    let page = clients.kinesis.get_records().shard_iterator(iterator).send().await.unwrap();
    assert_eq!(page.records().iter().map(enveloped).collect::<Vec<_>>(), [line(0, 1)]);
}

#[tokio::test]
async fn expired_iterators_are_refused_and_new_ones_accepted() {
    let (sandbox, clients) = start(Settings::brisk(4, 1)).await;
    let old = clients.iterator("logs-acme", SHARD, ShardIteratorType::Latest).await;
    sandbox.fault(Fault::ExpireIterators { tenant: None });
    let error = clients.kinesis.get_records().shard_iterator(old).send().await.unwrap_err();
    assert!(error.into_service_error().is_expired_iterator_exception());
    let new = clients.iterator("logs-acme", SHARD, ShardIteratorType::Latest).await;
    clients.kinesis.get_records().shard_iterator(new).send().await.unwrap();
}

#[tokio::test]
async fn an_empty_page_behind_the_tip_does_not_mean_that_records_are_absent() {
    let (sandbox, clients) = start(Settings { shards_per_stream: 1, ..Settings::brisk(4, 1) }).await;
    clients.put(0, 0..1).await;
    arrival(&sandbox, &token(0, 0), Stage::TenantStream).await;
    sandbox.fault(Fault::BehindLatest { tenant: None, ms: 1_234 });
    let mut iterator = clients.iterator("logs-acme", SHARD, ShardIteratorType::TrimHorizon).await;
    let page = clients.kinesis.get_records().shard_iterator(&iterator).send().await.unwrap();
    assert_eq!((page.records().len(), page.millis_behind_latest()), (0, Some(1_234)));
    iterator = page.next_shard_iterator().unwrap().to_owned();
    sandbox.clear_all();
    let page = until("the record is returned", async || {
        let page = clients.kinesis.get_records().shard_iterator(&iterator).send().await.ok();
        page.filter(|page| !page.records().is_empty())
    })
    .await;
    assert_eq!(page.millis_behind_latest(), Some(0));
}
