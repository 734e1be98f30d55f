use super::*;

fn throttled() -> Value {
    error("ProvisionedThroughputExceededException")
}

#[tokio::test(start_paused = true)]
async fn throttling_of_one_shard_withholds_only_what_that_shard_has() {
    let service = Service::new(
        &[shards(&["s-0", "s-1"])],
        &[("s-0", &[throttled()]), ("s-1", &[page(&[record(1, "11")], Some("s-1"), 0)])],
    );
    let mut kinesis = service.kinesis(settings());
    let poll = poll_once(&mut kinesis, &wanted()).await.unwrap();
    assert_eq!((locators(&poll), poll.watermark), (vec!["s-1/11#0"], None), "the tip of s-0 is unknown");
    assert_eq!(poll_once(&mut kinesis, &wanted()).await.unwrap().watermark, Some(t(-1)));
}

#[tokio::test(start_paused = true)]
async fn shards_that_are_throttled_every_other_time_are_covered_up_to_the_poll_before() {
    let names: Vec<String> = (0..16).map(|n| format!("s-{n}")).collect();
    let ids: Vec<&str> = names.iter().map(String::as_str).collect();
    let answers = |nth: usize, id: &str| {
        let fine = page(&[], Some(id), 0);
        let tail = (1..20).map(|poll| if poll % 2 == nth % 2 { throttled() } else { fine.clone() });
        std::iter::once(fine.clone()).chain(tail).collect::<Vec<_>>()
    };
    let scripts: Vec<_> = ids.iter().enumerate().map(|(nth, id)| (*id, answers(nth, id))).collect();
    let scripts: Vec<_> = scripts.iter().map(|(id, answers)| (*id, answers.as_slice())).collect();
    let service = Service::new(&[shards(&ids)], &scripts);
    let mut kinesis = service.kinesis_in_time(settings(), Pages::default());
    let mut oldest = None;
    for nth in 0..12 {
        let poll = poll_once(&mut kinesis, &wanted()).await.unwrap();
        let oldest = oldest.replace(poll.started).unwrap_or(poll.started);
        assert_eq!(poll.watermark, Some(oldest - Duration::from_secs(1)), "poll {nth}");
    }
    assert_eq!(service.calls("GetRecords").len(), 12 * 16, "every shard is called in every poll");
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_stays_throttled_is_why_nothing_more_is_proven() {
    let mut script = vec![page(&[], Some("s-1"), 0)];
    script.resize(8, throttled());
    let service = Service::new(&[shards(&["s-0", "s-1"])], &[("s-0", &[]), ("s-1", &script)]);
    let mut kinesis = service.kinesis_in_time(settings(), Pages::default());
    let first = poll_once(&mut kinesis, &wanted()).await.unwrap();
    let mut failure = None;
    for _ in 0..20 {
        match poll_once(&mut kinesis, &wanted()).await {
            Ok(poll) if failure.is_none() => assert_eq!(poll.watermark, first.watermark),
            Ok(poll) => panic!("nothing more is proven: {poll:?}"),
            Err(error) => failure = Some(error),
        }
    }
    let failure = failure.expect("it is throttled for longer than a proof may be old");
    assert_eq!(failure.kind, FailureKind::Throttled);
    let text = failure.detail.as_str();
    assert!(text.starts_with("GetRecords on s-1 of stream logs-acme: ProvisionedThroughput"), "{text}");
    assert!(text.ends_with("; throttled for 19 s, and 1 of 2 shards are"), "{text}");
    let calls = |id| service.calls("GetRecords").iter().filter(|sent| sent["ShardIterator"] == id).count();
    assert_eq!((calls("s-0"), calls("s-1")), (21, 7), "only the throttled shard has pauses");
    tokio::time::sleep(Duration::from_secs(60)).await;
    service.state.lock().unwrap().pages.get_mut("s-1").unwrap().clear();
    let poll = poll_once(&mut kinesis, &wanted()).await.unwrap();
    assert_eq!(poll.watermark, Some(poll.started - Duration::from_secs(1)));
}

#[tokio::test(start_paused = true)]
async fn a_poll_that_waits_for_the_pauses_of_all_shards_is_a_failure() {
    let service = Service::new(&[shards(&["s-0"])], &[("s-0", &[throttled(), throttled()])]);
    let mut kinesis = service.kinesis(settings());
    for (polls, calls) in [(1, 1), (2, 2), (3, 2)] {
        let failure = poll_once(&mut kinesis, &wanted()).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Throttled);
        assert!(failure.detail.contains("GetRecords on s-0 of stream logs-acme"), "{failure}");
        assert_eq!(service.calls("GetRecords").len(), calls, "poll {polls}");
    }
    assert_eq!(poll_once(&mut kinesis, &wanted()).await.unwrap().watermark, Some(t(-1)));
}

#[tokio::test(start_paused = true)]
async fn what_was_throttled_before_nothing_waited_is_not_called_throttled_for_long() {
    let script = [page(&[], Some("s-1"), 0), throttled(), throttled()];
    let service = Service::new(&[shards(&["s-0", "s-1"])], &[("s-0", &[]), ("s-1", &script)]);
    let mut kinesis = service.kinesis_in_time(settings(), Pages::default());
    poll_once(&mut kinesis, &wanted()).await.unwrap();
    poll_once(&mut kinesis, &wanted()).await.unwrap();
    kinesis.on_idle();
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(poll_once(&mut kinesis, &wanted_from(t(600))).await.is_ok());
}
