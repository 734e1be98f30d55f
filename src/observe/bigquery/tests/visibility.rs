//! Row access policies and masked columns, which hide what is there.

use super::*;
use crate::domain::sighting::RecordOwner;

const POLICY: &str = "a row access policy hides rows of `p.d.t`";

/// A result of these rows, of which a job was made.
fn with_job(found: &[[Value; 4]]) -> Reply {
    let (status, mut body) = rows(found);
    body["jobReference"] = json!({"projectId": "payer", "jobId": "j7", "location": "EU"});
    (status, body)
}

fn statistics(row_policy: bool, masking: bool) -> Reply {
    (
        200,
        json!({"statistics": {
            "rowLevelSecurityStatistics": {"rowLevelSecurityApplied": row_policy},
            "dataMaskingStatistics": {"dataMaskingApplied": masking},
        }}),
    )
}

fn found() -> [Value; 4] {
    row(NOW * 1_000_000)
}

/// A clock that moves two minutes with each poll, so that statistics are read wherever they are wanted.
fn stepping() -> (WallClock, Arc<Mutex<i64>>) {
    let now = Arc::new(Mutex::new(NOW));
    let read = now.clone();
    (WallClock::new(move || Timestamp::from_secs(*read.lock().unwrap())), now)
}

/// Polls after each other, two minutes apart. The outcome of each: sightings, or the failure.
async fn polls(replies: Vec<Reply>, wanted: &[Wanted]) -> (Vec<Result<usize, String>>, Server, BigQuery) {
    let mut all = vec![table(), dry_run(0)];
    all.extend(replies);
    let (mut observer, server) = observer(all, settings()).await;
    let (clock, now) = stepping();
    observer.clock = clock;
    let mut outcomes = Vec::new();
    for wanted in wanted {
        let polled = observer.poll(wanted).await;
        outcomes.push(polled.map(|poll| poll.sightings.len()).map_err(|error| error.detail.to_string()));
        *now.lock().unwrap() += 120;
    }
    (outcomes, server, observer)
}

/// Another canary of the same tenant waits; the first one was seen.
fn wanted_another() -> Wanted {
    let mut other = tag();
    other.trace = TraceId::new(Timestamp::from_secs(NOW + 60), [9; 10]);
    let waiting = [WantedTrace { tag: other, planned_at: other.trace.planned_at() }];
    Wanted { waiting: waiting.into(), recently_seen: wanted().waiting, ..Wanted::default() }
}

#[tokio::test]
async fn a_row_access_policy_makes_the_stage_blind() {
    let (outcomes, server, _) = polls(vec![with_job(&[]), statistics(true, false)], &[wanted()]).await;
    let error = outcomes[0].as_ref().unwrap_err();
    assert!(error.starts_with(POLICY) && error.contains("FILTER USING (TRUE)"), "{error}");
    assert_eq!(server.request(2).1["jobCreationMode"], "JOB_CREATION_REQUIRED");
    assert_eq!(server.paths()[3], "/v2/projects/payer/jobs/j7?location=EU");
}

#[tokio::test]
async fn without_a_policy_nothing_found_is_nothing_there() {
    let (outcomes, ..) = polls(vec![with_job(&[]), statistics(false, false)], &[wanted()]).await;
    assert_eq!(outcomes, [Ok(0)]);
}

#[tokio::test]
async fn statistics_are_read_once_a_minute_while_something_is_not_found() {
    let replies = vec![table(), dry_run(0), with_job(&[]), statistics(false, false), rows(&[]), rows(&[])];
    let (mut observer, server) = observer(replies, settings()).await;
    for _ in 0..3 {
        observer.poll(&wanted()).await.unwrap();
    }
    let modes = [2, 4, 5].map(|n| server.request(n).1["jobCreationMode"].clone());
    assert_eq!(modes, ["JOB_CREATION_REQUIRED", "JOB_CREATION_OPTIONAL", "JOB_CREATION_OPTIONAL"]);
}

#[tokio::test]
async fn statistics_are_not_read_again_while_everything_is_found() {
    let replies = vec![with_job(&[found()]), statistics(false, false), rows(&[found()])];
    let (outcomes, server, _) = polls(replies, &[wanted(), wanted()]).await;
    assert_eq!(outcomes, [Ok(1), Ok(1)]);
    assert_eq!(server.request(4).1["jobCreationMode"], "JOB_CREATION_OPTIONAL");
}

#[tokio::test]
async fn a_tenant_whose_canary_is_found_is_not_hidden_by_a_policy() {
    let replies =
        vec![with_job(&[found()]), statistics(true, false), with_job(&[found()]), statistics(true, false)];
    let (outcomes, ..) = polls(replies, &[wanted(), wanted_another()]).await;
    assert_eq!(outcomes, [Ok(1), Ok(1)], "all rows were granted, and the second canary is late");
}

/// Polls five seconds after each other, first for one canary, which is there, then for another one. Returns
/// what each poll proves absent up to: `None` for nothing.
async fn watermarks(replies: Vec<Reply>) -> (Vec<Result<Option<Timestamp>, String>>, Server) {
    let mut all = vec![table(), dry_run(0), with_job(&[found()]), statistics(false, false)];
    all.extend(replies);
    let (mut observer, server) = observer(all, settings()).await;
    let (clock, now) = stepping();
    observer.clock = clock;
    let mut outcomes = Vec::new();
    for wanted in [wanted(), wanted_another(), wanted_another(), wanted_another()] {
        let polled = observer.poll(&wanted).await;
        outcomes.push(polled.map(|poll| poll.watermark).map_err(|error| error.detail.to_string()));
        *now.lock().unwrap() += 5;
    }
    (outcomes, server)
}

#[tokio::test]
async fn no_poll_under_a_new_policy_proves_that_something_is_absent() {
    let replies = vec![rows(&[]), with_job(&[]), statistics(true, false), rows(&[])];
    let (outcomes, server) = watermarks(replies).await;
    assert_eq!(outcomes[..2], [Ok(Some(Timestamp::from_secs(NOW))), Ok(None)]);
    for blind in &outcomes[2..] {
        assert!(blind.as_ref().unwrap_err().starts_with(POLICY), "{blind:?}");
    }
    assert_eq!(server.request(5).1["jobCreationMode"], "JOB_CREATION_REQUIRED");
}

#[tokio::test]
async fn rows_that_were_deleted_cost_the_proof_of_one_poll() {
    let replies = vec![rows(&[]), with_job(&[]), statistics(false, false), rows(&[])];
    let (outcomes, _) = watermarks(replies).await;
    let at = |secs: i64| Ok(Some(Timestamp::from_secs(NOW + secs)));
    assert_eq!(outcomes, [at(0), Ok(None), at(10), at(15)]);
}

#[tokio::test]
async fn an_error_of_the_service_leaves_a_new_policy_in_doubt() {
    let failed = (503, refused("backendError", "try again"));
    let replies = vec![rows(&[]), with_job(&[]), failed, with_job(&[]), statistics(true, false)];
    let (outcomes, _) = watermarks(replies).await;
    assert_eq!(outcomes[1..3], [Ok(None), Ok(None)]);
    assert!(outcomes[3].as_ref().unwrap_err().starts_with(POLICY), "{outcomes:?}");
}

#[tokio::test]
async fn rows_that_were_deleted_cost_no_more_where_statistics_may_not_be_read() {
    let denied = (403, refused("accessDenied", "no"));
    let replies = vec![rows(&[]), with_job(&[]), denied, rows(&[])];
    let (outcomes, _) = watermarks(replies).await;
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == Ok(None)).count(), 1, "{outcomes:?}");
}

#[tokio::test]
async fn a_grant_that_is_withdrawn_is_noticed_by_a_row_that_vanishes() {
    let replies = vec![with_job(&[found()]), statistics(true, false), with_job(&[]), statistics(true, false)];
    let (outcomes, ..) = polls(replies, &[wanted(), wanted_another()]).await;
    assert_eq!(outcomes[0], Ok(1));
    assert!(outcomes[1].as_ref().unwrap_err().starts_with(POLICY));
}

#[tokio::test]
async fn what_was_seen_before_a_policy_is_no_evidence_under_it() {
    let without_recent = Wanted { recently_seen: [].into(), ..wanted_another() };
    let replies = vec![
        with_job(&[found()]),
        statistics(false, false),
        rows(&[]),
        with_job(&[]),
        statistics(true, false),
    ];
    let (outcomes, ..) = polls(replies, &[wanted(), without_recent.clone(), without_recent]).await;
    assert_eq!(outcomes[..2], [Ok(1), Ok(0)]);
    assert!(outcomes[2].as_ref().unwrap_err().starts_with(POLICY));
}

#[tokio::test]
async fn rows_that_are_hidden_of_one_tenant_only_leave_the_others_visible() {
    let trace = *wanted_another().waiting.first().unwrap();
    let (code, instance) = (TenantCode::of("globex"), InstanceCode::of("p"));
    let tag_of_globex = Tag::new(trace.tag.trace, code, instance, 300, Purpose::Probe);
    let waiting = [*wanted().waiting.first().unwrap(), WantedTrace { tag: tag_of_globex, ..trace }];
    let both = Wanted { waiting: waiting.into(), ..Wanted::default() };
    let replies = vec![table(), dry_run(0), with_job(&[found()]), statistics(true, false)];
    let (mut observer, _) = observer(replies, settings()).await;
    let poll = observer.poll(&both).await.unwrap();
    assert_eq!(poll.sightings.len(), 1);
    assert!(poll.watermark.is_some());
    let [hidden] = &poll.unreadable[..] else { panic!("{:?}", poll.unreadable) };
    assert_eq!(hidden.owner, Some(RecordOwner::Tag(tag_of_globex)));
    assert!(hidden.text.starts_with(POLICY), "{}", hidden.text);
}

#[tokio::test]
async fn a_masked_column_makes_the_stage_blind_and_what_it_shows_is_not_reported() {
    let mut masked = found();
    masked[2] = json!("");
    let (outcomes, _, mut observer) =
        polls(vec![with_job(&[masked]), statistics(false, true)], &[wanted()]).await;
    let error = outcomes[0].as_ref().unwrap_err();
    assert!(error.starts_with("a data policy masks a column of `p.d.t`"), "{error}");
    assert!(observer.take_unreported().sightings.is_empty());
}

#[tokio::test]
async fn a_policy_that_is_dropped_ends_the_blindness() {
    let replies = vec![with_job(&[]), statistics(true, false), with_job(&[]), statistics(false, false)];
    let (outcomes, ..) = polls(replies, &[wanted(), wanted()]).await;
    assert!(outcomes[0].is_err());
    assert_eq!(outcomes[1], Ok(0));
}

#[tokio::test]
async fn statistics_that_may_not_be_read_do_not_make_the_stage_blind() {
    let denied = || (403, refused("accessDenied", "no"));
    let replies = vec![with_job(&[]), denied(), with_job(&[]), denied()];
    let (outcomes, ..) = polls(replies, &[wanted(), wanted()]).await;
    assert_eq!(outcomes, [Ok(0), Ok(0)]);
}
