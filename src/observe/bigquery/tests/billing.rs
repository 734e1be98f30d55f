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
    assert_eq!(server.paths().len(), 2);
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
async fn a_table_whose_bytes_are_not_shown_is_charged_with_the_least() {
    let schema = json!({"fields": [{"name": "probe_id", "type": "STRING"}]});
    let reply = (200, json!({"jobComplete": true, "schema": schema, "totalRows": "0"}));
    let (mut observer, _) = observer(vec![table(), dry_run(0), reply], settings()).await;
    assert_eq!(observer.poll(&wanted()).await.unwrap().stats.billed_bytes, 10 << 20);
}
