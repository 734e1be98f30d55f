//! What queries are charged with, and the bounds on it.

use super::*;

fn unfinished() -> Reply {
    (200, json!({"jobComplete": false, "jobReference": {"projectId": "payer", "jobId": "j"}}))
}

#[tokio::test]
async fn a_query_that_is_given_up_is_charged_with_the_most_that_it_may_be_billed_for() {
    let mut replies = vec![table(), dry_run(0)];
    replies.extend(std::iter::repeat_with(unfinished).take(4));
    let settings = Settings { daily_bytes_billed: Some(100 << 20), ..settings() };
    let (mut observer, server) = observer(replies, settings.within(Duration::from_secs(30))).await;
    assert_eq!(observer.poll(&wanted()).await.unwrap_err().kind, FailureKind::Timeout);
    assert_eq!(observer.take_unreported().stats.billed_bytes, 100 << 20);
    assert!(observer.take_unreported().is_empty(), "it is charged once");
    assert_eq!(server.request(2).1["jobTimeoutMs"], "24000", "BigQuery stops it before the poll is over");
    assert_eq!(observer.poll(&wanted()).await.unwrap_err().kind, FailureKind::OverBudget, "of the day");
}

#[tokio::test]
async fn a_slow_query_is_waited_for_until_the_end_of_a_long_poll() {
    let mut replies = vec![table(), dry_run(0)];
    replies.extend(std::iter::repeat_with(unfinished).take(6));
    replies.push(rows(&[row(NOW * 1_000_000)]));
    let (mut observer, server) = observer(replies, settings().within(Duration::from_mins(2))).await;
    assert_eq!(observer.poll(&wanted()).await.unwrap().sightings.len(), 1);
    let (_, query) = server.request(2);
    assert_eq!((&query["timeoutMs"], &query["jobTimeoutMs"]), (&json!(15_000), &json!("96000")));
    assert!(server.paths()[3].contains("timeoutMs=15000"), "{:?}", server.paths());
}

#[tokio::test]
async fn a_poll_that_is_dropped_leaves_its_query_behind_and_the_bill() {
    let replies = vec![table(), dry_run(0), (200, json!("never")), rows(&[])];
    let (mut observer, server) = observer(replies, settings()).await;
    let wanted = wanted();
    {
        let mut poll = std::pin::pin!(observer.poll(&wanted));
        while server.paths().len() < 3 {
            let wait = tokio::time::timeout(Duration::from_millis(5), poll.as_mut());
            assert!(wait.await.is_err());
        }
    }
    let poll = observer.poll(&wanted).await.unwrap();
    assert_eq!(poll.stats.billed_bytes, (100 << 20) + (10 << 20), "with the next report at the latest");
}

#[tokio::test]
async fn a_query_that_is_not_taken_or_fails_is_not_charged() {
    let refused = |reason: &str| {
        (400, json!({"error": {"code": 400, "message": "", "errors": [{"reason": reason, "message": ""}]}}))
    };
    let failed = (
        200,
        json!({"jobComplete": true, "errors": [{"reason": "invalidQuery", "message": "Syntax error"}]}),
    );
    for reply in [refused("bytesBilledLimitExceeded"), refused("rateLimitExceeded"), failed] {
        let (mut observer, _) = observer(vec![table(), dry_run(0), reply], settings()).await;
        observer.poll(&wanted()).await.unwrap_err();
        assert!(observer.take_unreported().is_empty());
    }
}

#[tokio::test]
async fn a_table_that_is_too_expensive_is_never_queried() {
    let (mut observer, server) = observer(vec![table(), dry_run(147 << 30)], settings()).await;
    let error = observer.poll(&wanted()).await.unwrap_err();
    assert_eq!(error.kind, FailureKind::OverBudget);
    assert!(error.detail.contains("150528 MB") && error.detail.contains("100 MB"), "{error}");
    assert!(error.detail.contains("cluster it by `trace_id`"), "{error}");
    assert_eq!(server.paths().len(), 2);
}

/// A table that is clustered by these columns.
fn clustered(by: &[&str]) -> Reply {
    let (status, mut body) = table();
    body["clustering"] = json!({"fields": by});
    (status, body)
}

/// An answer without rows that was billed so much.
fn billed(bytes: u64) -> Reply {
    let (status, mut body) = rows(&[]);
    body["totalBytesBilled"] = json!(bytes.to_string());
    (status, body)
}

#[tokio::test]
async fn a_clustered_table_is_queried_although_a_dry_run_says_that_it_may_be_expensive() {
    let replies = vec![clustered(&["trace_id"]), dry_run(3 << 30), billed(20 << 20), billed(20 << 20)];
    let (mut observer, server) = observer(replies, settings()).await;
    for _ in 0..2 {
        let poll = observer.poll(&wanted()).await.unwrap();
        assert!(poll.watermark.is_some());
        assert_eq!(poll.stats.billed_bytes, 20 << 20);
    }
    assert_eq!(server.request(2).1["maximumBytesBilled"], (6_u64 << 30).to_string());
}

#[tokio::test]
async fn a_clustered_table_is_refused_after_two_polls_that_were_billed_too_much() {
    let describe = || [clustered(&["trace_id"]), dry_run(3 << 30)];
    let replies = describe().into_iter().chain([billed(1 << 30), billed(1 << 30)]);
    let replies = replies.chain(describe()).chain([billed(10 << 20), billed(10 << 20)]);
    let (mut observer, server) = observer(replies.collect(), settings()).await;
    for _ in 0..2 {
        observer.poll(&wanted()).await.unwrap();
    }
    let error = observer.poll(&wanted()).await.unwrap_err();
    assert_eq!(
        (error.kind, &*error.detail),
        (
            FailureKind::OverBudget,
            "one poll of `p.d.t` was billed 1024 MB, more than max_bytes_billed allows (100 MB): partition the table \
             by time, or bound the query with a predicate; the next poll is made at 10:30 UTC"
        )
    );
    assert_eq!(server.paths().len(), 4, "no query");
    observer.clock = WallClock::new(|| Timestamp::from_secs(NOW + 6 * 3_600));
    for _ in 0..2 {
        observer.poll(&wanted()).await.unwrap();
    }
}

#[tokio::test]
async fn a_table_that_is_clustered_by_another_column_first_is_refused_by_its_dry_run() {
    let replies = vec![clustered(&["tenant", "trace_id"]), dry_run(3 << 30)];
    let (mut observer, _) = observer(replies, settings()).await;
    let error = observer.poll(&wanted()).await.unwrap_err();
    assert!(error.detail.contains("cluster it by `trace_id`"), "{error}");
}

#[tokio::test]
async fn a_clustered_table_of_which_a_poll_could_cost_more_than_any_may_is_not_queried() {
    let (mut observer, server) = observer(vec![clustered(&["trace_id"]), dry_run(2 << 40)], settings()).await;
    let error = observer.poll(&wanted()).await.unwrap_err();
    assert_eq!(
        &*error.detail,
        "one poll of `p.d.t` may read up to 2097152 MB, more than 1000 times what max_bytes_billed allows (100 MB): \
         partition the table by time, or bound the query with a predicate"
    );
    assert_eq!(server.paths().len(), 2);
    let with_a_budget = Settings { daily_bytes_billed: Some(1 << 30), ..settings() };
    let (mut observer, _) =
        super::observer(vec![clustered(&["trace_id"]), dry_run(3 << 30)], with_a_budget).await;
    let error = observer.poll(&wanted()).await.unwrap_err();
    assert!(
        error.detail.contains("may read up to 3072 MB, more than daily_bytes_billed allows (1024 MB)"),
        "{error}"
    );
}

#[tokio::test]
async fn the_budget_of_a_day_ends_the_polls_until_midnight() {
    let settings = Settings { daily_bytes_billed: Some(10 << 20), ..settings() };
    let (mut observer, server) = observer(vec![table(), dry_run(0), rows(&[])], settings).await;
    observer.poll(&wanted()).await.unwrap();
    let error = observer.poll(&wanted()).await.unwrap_err();
    assert_eq!(error.kind, FailureKind::OverBudget);
    assert_eq!(
        Timestamp::from_secs(NOW) + error.retry_after.unwrap(),
        Timestamp::parse_rfc3339("2026-11-23T00:00:00Z").unwrap()
    );
    assert_eq!(server.paths().len(), 3);
}

#[tokio::test]
async fn an_error_inside_a_good_answer_is_a_failed_call_that_is_not_charged() {
    let denied = json!([{"reason": "accessDenied", "message": "no"}]);
    for reply in
        [json!({"jobComplete": true, "errors": denied}), json!({"status": {"errorResult": denied[0]}})]
    {
        let (mut observer, _) = observer(vec![table(), dry_run(0), (200, reply)], settings()).await;
        let error = observer.poll(&wanted()).await.unwrap_err();
        assert_eq!((error.kind, &*error.detail), (FailureKind::Denied, "query on `p.d.t`: accessDenied: no"));
        assert!(observer.take_unreported().is_empty());
        let calls = observer.google.calls().snapshot();
        let failed =
            calls.iter().find(|(_, _, result, _)| *result == CallResult::Failed(FailureKind::Denied));
        assert_eq!(
            failed.map(|(_, operation, _, count)| (operation.as_str(), *count)),
            Some(("jobs.query", 1))
        );
    }
}

#[tokio::test]
async fn a_query_whose_connection_is_cut_is_charged_with_the_most_that_it_may_be_billed_for() {
    let (mut observer, _) = observer(vec![table(), dry_run(0), (200, json!("cut"))], settings()).await;
    assert_eq!(observer.poll(&wanted()).await.unwrap_err().kind, FailureKind::Unreachable);
    assert_eq!(observer.take_unreported().stats.billed_bytes, 100 << 20);
}

#[tokio::test]
async fn a_table_whose_bytes_are_not_shown_is_charged_with_the_most_that_it_may_be_billed_for() {
    let schema = json!({"fields": [{"name": "probe_id", "type": "STRING"}]});
    let reply = (200, json!({"jobComplete": true, "schema": schema, "totalRows": "0"}));
    let (mut observer, _) = observer(vec![table(), dry_run(0), reply], settings()).await;
    assert_eq!(observer.poll(&wanted()).await.unwrap().stats.billed_bytes, 100 << 20);
}
