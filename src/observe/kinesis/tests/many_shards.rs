use super::*;

const DELAY: Duration = Duration::from_millis(50);

/// A stream of so many shards, whose answers take a while.
fn slow(count: usize) -> Service {
    let names: Vec<String> = (0..count).map(|n| format!("s-{n}")).collect();
    let ids: Vec<&str> = names.iter().map(String::as_str).collect();
    let scripts: Vec<(&str, &[Value])> = ids.iter().map(|id| (*id, &[][..])).collect();
    let service = Service::new(&[shards(&ids)], &scripts);
    service.state.lock().unwrap().delay = DELAY;
    service
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_more_shards_than_one_poll_has_time_for_is_proven_after_some_polls() {
    let service = slow(1_000);
    let rhythm = Rhythm { timeout: Duration::from_secs(10), ..Rhythm::USUAL };
    let mut kinesis = service.kinesis_in_time(settings(), Pages::default()).within(rhythm);
    let mut watermarks = Vec::new();
    for _ in 0..12 {
        let wanted = wanted();
        let poll = tokio::time::timeout(rhythm.timeout, poll_once(&mut kinesis, &wanted)).await;
        let poll = poll.expect("it ends in time").unwrap();
        assert!(poll.watermark <= Some(poll.started - Duration::from_secs(1)));
        watermarks.push(poll.watermark);
    }
    // An iterator of each shard is opened first, which takes as long as the call that needs it.
    let first = watermarks.iter().position(Option::is_some).expect("the oldest tip is a watermark");
    assert!(first <= 6, "{watermarks:?}");
    assert!(watermarks[first..].is_sorted() && watermarks[first] < watermarks[11], "{watermarks:?}");
}

#[tokio::test(start_paused = true)]
async fn streams_that_do_not_answer_do_not_hold_up_the_others() {
    let pages = Pages::default();
    let mut hung: Vec<Kinesis> = (0..10)
        .map(|_| {
            let service = slow(8);
            service.state.lock().unwrap().hangs = true;
            service.kinesis_in_time(settings(), pages.clone())
        })
        .collect();
    let wanted = wanted();
    let healthy = slow(8);
    let mut healthy = healthy.kinesis_in_time(settings(), pages);
    let hung = futures::future::join_all(hung.iter_mut().map(|kinesis| kinesis.poll(&wanted)));
    let mut hung = std::pin::pin!(hung);
    for nth in 0..5 {
        tokio::time::timeout(GAP, hung.as_mut()).await.expect_err("no stream answers");
        let begun = Instant::now();
        let poll = tokio::select! {
            biased;
            _ = hung.as_mut() => panic!("no stream answers"),
            poll = healthy.poll(&wanted) => poll.unwrap(),
        };
        assert!(poll.watermark.is_some() && begun.elapsed() < Duration::from_secs(1), "poll {nth}");
    }
}
