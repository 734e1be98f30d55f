//! Prefixes whose keys grow with time, and some whose keys only seem to.

use super::*;
use crate::observe::pace::Rhythm;

/// A hundred objects of the last 25 seconds, in the order in which they were written.
fn bucket(key: impl Fn(i64) -> String) -> Bucket {
    let bucket = Bucket::default();
    for nth in 0..100 {
        let at = t(0) - Duration::from_millis(250) * u32::try_from(100 - nth).unwrap();
        bucket.put(&key(nth), "a line of somebody\n", "e", at);
    }
    bucket
}

fn growing(nth: i64) -> String {
    format!("in/04/{nth:03}")
}

fn observer(bucket: &Bucket) -> ObjectObserver<S3> {
    let mut s3 = bucket.s3(settings()).within(Rhythm::USUAL);
    s3.clock = WallClock::new(|| t(0));
    s3
}

/// Polls, and returns with the poll how its first listing began.
async fn poll_at(s3: &mut ObjectObserver<S3>, bucket: &Bucket, secs: i64) -> (Poll, Vec<String>) {
    s3.clock = WallClock::new(move || t(secs));
    bucket.calls("");
    let poll = s3.poll(&wanted()).await.unwrap();
    (poll, bucket.calls("LIST in/04/"))
}

const WHOLE: &str = "LIST in/04/ after ";

#[tokio::test]
async fn keys_that_grow_are_listed_from_the_last_old_one_on() {
    let bucket = bucket(growing);
    let mut s3 = observer(&bucket);
    let (_, lists) = poll_at(&mut s3, &bucket, 0).await;
    assert_eq!((lists[0].as_str(), lists.len()), (WHOLE, 50));
    bucket.put("in/04/100", canary(1), "e", t(0));
    let (poll, lists) = poll_at(&mut s3, &bucket, 5).await;
    assert_eq!(locators(&poll), ["s3://archive/in/04/100#0"]);
    assert!(lists[0].starts_with("LIST in/04/ after in/04/07") && lists.len() < 20, "{lists:?}");
}

#[tokio::test]
async fn only_a_whole_listing_proves_that_a_canary_is_absent() {
    let bucket = bucket(growing);
    let mut s3 = observer(&bucket);
    for (secs, proven) in [(0, 0), (5, 0), (10, 0), (15, 15)] {
        let (poll, lists) = poll_at(&mut s3, &bucket, secs).await;
        assert_eq!((poll.watermark, lists[0] == WHOLE), (Some(t(proven)), secs == proven), "{secs}");
    }
}

#[tokio::test]
async fn a_whole_listing_begins_the_earlier_the_longer_the_last_one_took() {
    // The first one takes 5 s, and 12.5 s.
    for (page, polls) in
        [(100, vec![(0, true), (6, false), (12, false), (18, true)]), (250, vec![(0, true), (14, true)])]
    {
        let bucket = bucket(growing);
        let mut s3 = observer(&bucket);
        for (secs, is_whole) in polls {
            let ticks = AtomicI64::new(0);
            s3.clock = WallClock::new(move || {
                let pages = u32::try_from(ticks.fetch_add(1, Ordering::Relaxed)).unwrap();
                t(secs) + Duration::from_millis(page) * pages
            });
            bucket.calls("");
            s3.poll(&wanted()).await.unwrap();
            assert_eq!(bucket.calls("LIST in/04/")[0] == WHOLE, is_whole, "{page}, {secs}");
        }
    }
}

#[tokio::test]
async fn keys_in_no_order_are_always_listed_whole() {
    // Multiplying by 37 modulo 100 puts them in another order.
    let bucket = bucket(|nth| format!("in/04/{:03}", nth * 37 % 100));
    let mut s3 = observer(&bucket);
    for secs in [0, 5] {
        let (poll, lists) = poll_at(&mut s3, &bucket, secs).await;
        assert_eq!((lists[0].as_str(), poll.watermark), (WHOLE, Some(t(secs))));
    }
}

#[tokio::test]
async fn a_late_key_is_found_by_the_next_whole_listing_and_then_all_listings_are_whole() {
    let bucket = bucket(growing);
    let mut s3 = observer(&bucket);
    poll_at(&mut s3, &bucket, 0).await;
    bucket.put("in/04/010-late", canary(1), "e", t(1));
    let (poll, _) = poll_at(&mut s3, &bucket, 5).await;
    assert_eq!((poll.sightings.len(), poll.watermark), (0, Some(t(0))));
    for nth in 100..150 {
        bucket.put(&growing(nth), "a line of somebody\n", "e", t(14));
    }
    let (poll, _) = poll_at(&mut s3, &bucket, 15).await;
    assert_eq!(locators(&poll), ["s3://archive/in/04/010-late#0"]);
    let (_, lists) = poll_at(&mut s3, &bucket, 20).await;
    assert_eq!(lists[0], WHOLE);
}

#[tokio::test]
async fn a_trace_that_is_older_than_those_before_makes_the_next_listing_whole() {
    let bucket = bucket(growing);
    bucket.put("in/04/000", canary(1), "e", t(-60));
    let mut s3 = observer(&bucket);
    let (poll, _) = poll_at(&mut s3, &bucket, 0).await;
    assert_eq!(poll.sightings.len(), 0, "it is older than what waits");
    let older = WantedTrace { tag: tag(1), planned_at: t(-70) };
    let wanted = Wanted { waiting: [older].into(), ..Wanted::default() };
    assert_eq!(locators(&s3.poll(&wanted).await.unwrap()), ["s3://archive/in/04/000#0"]);
}
