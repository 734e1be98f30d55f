//! Which objects of others are not fetched, because they were complete before a waiting canary was planned.

use super::*;
use crate::observe::object_store::{ObjectStore as _, Position};

/// The ETags of objects that were put by one request and in parts.
const WHOLE: &str = "d41d8cd98f00b204e9800998ecf8427e";
const PARTS: &str = "d41d8cd98f00b204e9800998ecf8427e-2";

/// An observer that has polled an empty bucket at second 0. The clock of the store is `ahead` seconds ahead of ours.
async fn polled(settings: Settings, ahead: i64) -> (Bucket, ObjectObserver<S3>) {
    let bucket = Bucket::default();
    let mut s3 = bucket.s3(settings);
    poll_at(&mut s3, &bucket, 0, ahead).await;
    (bucket, s3)
}

/// Polls for a canary that was planned 30 s before second 0, and returns which objects were fetched.
async fn poll_at(s3: &mut ObjectObserver<S3>, bucket: &Bucket, secs: i64, ahead: i64) -> Vec<String> {
    s3.clock = WallClock::new(move || t(secs));
    bucket.0.lock().unwrap().date = Some(t(secs + ahead));
    bucket.calls("");
    let poll = s3.poll(&wanted()).await.unwrap();
    assert_eq!(poll.watermark, Some(t(secs)));
    bucket.calls("GET")
}

fn a_minute() -> Settings {
    Settings { slack: Duration::from_secs(60), ..settings() }
}

/// Objects of others that were stamped so long before the canary was planned, in the hour of the polls.
fn put(bucket: &Bucket, before: &[i64], etag: &'static str) {
    for before in before {
        bucket.put(&format!("in/04/{before}{etag}"), "a line of somebody\n", etag, t(-30 - before));
    }
}

#[tokio::test]
async fn an_object_that_was_put_whole_before_a_canary_was_planned_is_not_fetched() {
    let (bucket, mut s3) = polled(a_minute(), 0).await;
    // Otherwise it would be known that none of them was there at second 0, whatever its stamp says.
    s3.prefixes_forgotten();
    put(&bucket, &[50, 20, 7], WHOLE);
    put(&bucket, &[5, 0], WHOLE);
    let fetched = poll_at(&mut s3, &bucket, 1, 0).await;
    assert_eq!(fetched, [format!("GET in/04/0{WHOLE}"), format!("GET in/04/5{WHOLE}")]);
}

#[tokio::test]
async fn an_object_that_was_uploaded_in_parts_is_fetched_however_early_its_stamp_is() {
    let (bucket, mut s3) = polled(a_minute(), 0).await;
    bucket.put("in/04/parts", canary(1), PARTS, t(-3_000));
    assert_eq!(poll_at(&mut s3, &bucket, 1, 0).await, ["GET in/04/parts"]);
}

#[tokio::test]
async fn an_object_is_fetched_as_before_where_its_etag_does_not_say_how_it_was_uploaded() {
    let (bucket, mut s3) = polled(a_minute(), 0).await;
    for etag in ["e", "", "d41d8cd98f00b204e9800998ecf8427", "zz1d8cd98f00b204e9800998ecf8427e"] {
        put(&bucket, &[50, 70], etag);
        assert_eq!(poll_at(&mut s3, &bucket, 1, 0).await, [format!("GET in/04/50{etag}")]);
    }
}

#[tokio::test]
async fn an_object_is_fetched_as_before_if_our_clock_is_ahead_of_that_of_the_store_or_that_is_unknown() {
    for (ahead, fetched) in [(10, 0), (0, 0), (-3, 0), (-4, 1), (-50, 1)] {
        let (bucket, mut s3) = polled(a_minute(), ahead).await;
        s3.prefixes_forgotten();
        put(&bucket, &[20], WHOLE);
        assert_eq!(poll_at(&mut s3, &bucket, 1, ahead).await.len(), fetched, "{ahead}");
    }
    let bucket = Bucket::default();
    let mut s3 = bucket.s3(a_minute());
    s3.poll(&wanted()).await.unwrap();
    s3.prefixes_forgotten();
    put(&bucket, &[20], WHOLE);
    s3.poll(&wanted()).await.unwrap();
    assert_eq!(bucket.calls("GET").len(), 1, "answers without a date");
}

#[tokio::test]
async fn an_object_that_appeared_long_after_its_stamp_is_fetched_and_so_are_others_from_then_on() {
    let (bucket, mut s3) = polled(a_minute(), 0).await;
    // A replica has the stamp of the original.
    put(&bucket, &[40], WHOLE);
    assert_eq!(poll_at(&mut s3, &bucket, 5, 0).await.len(), 1);
    s3.prefixes_forgotten();
    put(&bucket, &[20], WHOLE);
    assert_eq!(poll_at(&mut s3, &bucket, 10, 0).await.len(), 2);
}

#[tokio::test]
async fn a_poll_that_relied_on_stamps_before_they_turned_out_to_lag_proves_nothing_absent() {
    for ordered_keys in [false, true] {
        let (bucket, mut s3) = polled(Settings { ordered_keys, ..a_minute() }, 0).await;
        bucket.put("in/04/a", canary(1), WHOLE, t(-37));
        s3.prefixes_forgotten();
        assert!(poll_at(&mut s3, &bucket, 5, 0).await.is_empty(), "by its stamp, no canary can be in it");
        // This one appeared after second 5, and its stamp does not say so.
        bucket.put("in/04/z", "a line of somebody\n", WHOLE, t(-70));
        s3.clock = WallClock::new(|| t(6));
        bucket.0.lock().unwrap().date = Some(t(6));
        let poll = s3.poll(&wanted()).await.unwrap();
        assert_eq!((poll.sightings.len(), poll.watermark), (0, None), "ordered_keys = {ordered_keys}");
        let poll = s3.poll(&wanted()).await.unwrap();
        assert_eq!((poll.sightings.len(), poll.watermark), (1, Some(t(6))), "ordered_keys = {ordered_keys}");
    }
}

#[tokio::test]
async fn all_objects_of_a_gap_are_fetched() {
    let (bucket, mut s3) = polled(Settings { gaps: Gaps::Read, ..a_minute() }, 0).await;
    s3.prefixes_forgotten();
    put(&bucket, &[20], WHOLE);
    assert_eq!(poll_at(&mut s3, &bucket, 1, 0).await.len(), 1);
}

#[tokio::test]
async fn a_directory_bucket_says_nothing_by_its_etags_and_has_no_order() {
    let bucket = "archive--euc1-az1--x-s3";
    let key = KeyTemplate::new("in/%H/");
    let requests = Arc::<Mutex<Vec<String>>>::default();
    let sent = requests.clone();
    let http = infallible_client_fn(move |request: http::Request<SdkBody>| {
        sent.lock().unwrap().push(request.uri().to_string());
        let listed = format!(
            "<ListBucketResult><Contents><Key>in/04/a</Key><LastModified>{}</LastModified><ETag>{WHOLE}</ETag><Size>1</Size></Contents></ListBucketResult>",
            t(-30)
        );
        http::Response::new(SdkBody::from(listed))
    });
    let s3 = observer(http, Settings::new(bucket, key), None);
    for position in [Position::First, Position::After("in/04/0")] {
        let page = s3.store.list("in/04/", position).await.unwrap();
        let object = &page.objects[0];
        assert_eq!((object.stamp, object.is_complete), (Stamp::NotBefore(t(-30)), false));
    }
    let requests = requests.lock().unwrap();
    assert!(requests.iter().any(|request| request.contains("prefix=in")), "{requests:?}");
    assert!(!requests.iter().any(|request| request.contains("start-after")), "{requests:?}");
}
