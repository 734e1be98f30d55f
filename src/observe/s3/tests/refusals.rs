//! Objects that are refused or overwritten poll after poll: whom they concern, and that polls go on without them.

use super::*;
use crate::domain::sighting::RecordOwner;

const DENIED: (u16, &str) = (403, "AccessDenied");
/// Objects that are denied, one more before each poll.
const KEYS: [&str; 8] =
    ["in/04/a-0", "in/04/a-1", "in/04/a-2", "in/04/a-3", "in/04/a-4", "in/04/a-5", "in/04/a-6", "in/04/a-7"];

fn labels() -> Option<KeyLabels> {
    Some(KeyLabels::new("-", ["a", "b"].map(|name| (name.into(), name.into()))))
}

fn put_denied(bucket: &Bucket, key: &'static str) {
    bucket.put(key, canary(1), "e", t(-2));
    bucket.0.lock().unwrap().broken.insert(key, DENIED);
}

/// Puts one of them, and one that is readable.
fn put_both(bucket: &Bucket, nth: usize) {
    put_denied(bucket, KEYS[nth]);
    bucket.put(&format!("in/04/b-{nth}"), "a line of somebody\n", "e", t(-2));
}

#[tokio::test]
async fn a_tenant_of_which_every_new_object_is_denied_does_not_blind_the_others() {
    let bucket = Bucket::default();
    let mut s3 = bucket.labelled(settings(), labels());
    let of_a = Some(RecordOwner::Label("a".into()));
    for nth in 0..KEYS.len() {
        put_both(&bucket, nth);
        let polled = s3.poll(&wanted()).await;
        if nth < 2 {
            assert_eq!(polled.unwrap_err().kind, FailureKind::Denied);
            continue;
        }
        let poll = polled.unwrap();
        assert_eq!(poll.watermark, Some(poll.started), "{nth}");
        assert!(!poll.unreadable.is_empty(), "{nth}");
        assert!(poll.unreadable.iter().all(|record| record.owner == of_a), "{:?}", poll.unreadable);
    }
    bucket.0.lock().unwrap().broken.clear();
    bucket.put("in/04/a-8", canary(2), "e", t(-2));
    let mut found = 0;
    for _ in 0..2 {
        found += s3.poll(&wanted()).await.unwrap().sightings.len();
    }
    assert_eq!(found, KEYS.len() + 1, "all are read once they are granted");
    put_denied(&bucket, "in/04/a-9");
    assert_eq!(s3.poll(&wanted()).await.unwrap_err().kind, FailureKind::Denied, "it begins again");
}

#[tokio::test]
async fn polls_go_on_where_half_of_the_objects_are_denied() {
    let bucket = Bucket::default();
    let mut s3 = bucket.s3(settings());
    for nth in 0..KEYS.len() {
        put_both(&bucket, nth);
        let polled = s3.poll(&wanted()).await;
        if nth >= 2 {
            let poll = polled.unwrap();
            assert_eq!(poll.watermark, Some(poll.started), "{nth}");
        }
    }
}

#[tokio::test]
async fn a_poll_without_refusals_in_between_does_not_make_the_next_ones_fail() {
    let bucket = Bucket::default();
    let mut s3 = bucket.s3(settings());
    for nth in 0..KEYS.len() {
        put_both(&bucket, nth);
        for poll in [2 * nth, 2 * nth + 1] {
            bucket.put(&format!("in/04/c-{poll}"), "a line of somebody\n", "e", t(-2));
            let polled = s3.poll(&wanted()).await;
            assert!(poll < 2 || polled.is_ok(), "{poll}: {polled:?}");
        }
    }
}

#[tokio::test]
async fn an_object_that_was_deleted_is_gone_although_its_request_is_denied() {
    let bucket = Bucket::default();
    bucket.put("in/04/a", canary(1), "e", t(-2));
    bucket.0.lock().unwrap().vanishing = Some("in/04/a");
    let poll = bucket.s3(settings()).poll(&wanted()).await.unwrap();
    assert_eq!((poll.sightings.len(), poll.watermark), (0, Some(t(0))));
    let [record] = &poll.unreadable[..] else { panic!("{:?}", poll.unreadable) };
    assert_eq!(record.part.reason, UnreadableReason::Deleted);
}

#[tokio::test]
async fn an_object_that_is_always_overwritten_is_named_and_then_polls_go_on_without_it() {
    let bucket = Bucket::default();
    bucket.put("in/04/a", canary(1), "e", t(-2));
    bucket.0.lock().unwrap().broken.insert("in/04/a", (412, "PreconditionFailed"));
    let mut s3 = bucket.s3(settings());
    assert_eq!(s3.poll(&wanted()).await.unwrap().watermark, None, "once may be chance");
    let failure = s3.poll(&wanted()).await.unwrap_err();
    let text = "reading s3://archive/in/04/a: overwritten after it was listed, 2 times in a row";
    assert_eq!(&*failure.detail, text);
    for count in [1, 0] {
        let poll = s3.poll(&wanted()).await.unwrap();
        assert_eq!(poll.watermark, Some(poll.started));
        let [record] = &poll.unreadable[..] else { panic!("{:?}", poll.unreadable) };
        assert_eq!((record.part.reason, record.count), (UnreadableReason::Refused, count));
        assert_eq!(&*record.text, "s3://archive/in/04/a is overwritten faster than it can be read");
    }
    bucket.0.lock().unwrap().broken.clear();
    assert_eq!(locators(&s3.poll(&wanted()).await.unwrap()), ["s3://archive/in/04/a#0"]);
    bucket.put("in/04/a", canary(1), "e2", t(-1));
    bucket.0.lock().unwrap().broken.insert("in/04/a", (412, "PreconditionFailed"));
    assert_eq!(s3.poll(&wanted()).await.unwrap().watermark, None, "it is counted from the start again");
}
