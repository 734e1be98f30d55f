//! Bodies that trickle or do not come, from a store without a protocol.

use bytes::Bytes;
use tokio::time::{Instant, sleep, timeout};

use super::*;
use crate::domain::canary::Template;
use crate::domain::sighting::WantedTrace;
use crate::observe::fixtures::{recognizer, tag};

const RHYTHM: Rhythm = Rhythm::USUAL;

fn now() -> Timestamp {
    Timestamp::parse_rfc3339("2026-11-22T04:30:00Z").unwrap()
}

fn planned_at() -> Timestamp {
    now() - Duration::from_secs(30)
}

fn wanted() -> Wanted {
    let trace = WantedTrace { tag: tag(1, planned_at()), planned_at: planned_at() };
    Wanted { waiting: [trace].into(), ..Wanted::default() }
}

/// A body of which each piece arrives so long after the one before.
#[derive(Clone, Debug)]
struct Trickle {
    pieces: VecDeque<Bytes>,
    pause: Duration,
    served: Arc<AtomicU64>,
}

impl Body for Trickle {
    async fn chunk(&mut self) -> Result<Option<Bytes>, String> {
        sleep(self.pause).await;
        let piece = self.pieces.pop_front();
        self.served.fetch_add(piece.as_ref().map_or(0, |piece| piece.len() as u64), Ordering::Relaxed);
        Ok(piece)
    }
}

#[derive(Clone, Debug, Default)]
struct Store {
    objects: BTreeMap<String, Trickle>,
    /// What was sent of all bodies.
    served: Arc<AtomicU64>,
    /// The call for this key is never answered.
    stuck: Option<&'static str>,
    /// Listings tell that objects are so many bytes longer than they are.
    longer: u64,
}

impl Store {
    fn put(&mut self, key: &str, pieces: impl IntoIterator<Item = Bytes>, pause: Duration) {
        let (pieces, served) = (pieces.into_iter().collect(), self.served.clone());
        self.objects.insert(format!("in/04/{key}"), Trickle { pieces, pause, served });
    }

    /// 100 kB, of which a kilobyte arrives each second.
    fn put_slow(&mut self, key: &str) {
        let piece = Bytes::from("a line of somebody\n".repeat(60)).slice(..1_000);
        self.put(key, std::iter::repeat_n(piece, 100), Duration::from_secs(1));
    }

    fn put_canary(&mut self, key: &str) {
        let tag = tag(1, planned_at());
        let text = Template::default().render(&tag, &recognizer().keys.sign(&tag)) + "\n";
        self.put(key, [Bytes::from(text)], Duration::ZERO);
    }

    fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }

    fn observer(&self) -> ObjectObserver<Self> {
        let settings = Settings::new("b", KeyTemplate::new("in/%H/"));
        let begun = Instant::now();
        let clock = WallClock::new(move || now() + begun.elapsed());
        ObjectObserver::new(settings, self.clone(), None, recognizer(), clock).within(RHYTHM)
    }
}

impl ObjectStore for Store {
    type Body = Trickle;

    fn uri(&self, key: &str) -> String {
        format!("s3://b/{key}")
    }

    fn copy(&self, key: &str, _: &str) -> Arc<str> {
        self.uri(key).into()
    }

    fn key<'a>(&self, copy: &'a str) -> Option<&'a str> {
        copy.strip_prefix("s3://b/")
    }

    async fn list(&self, prefix: &str, _: Position<'_>) -> Result<Page, ObserveError> {
        let listed = |(key, body): (&String, &Trickle)| Listed {
            key: key.clone(),
            version: "v".to_owned(),
            stamp: Stamp::Seconds(now() - Duration::from_secs(2)),
            is_complete: false,
            size: Some(body.pieces.iter().map(|piece| piece.len() as u64).sum::<u64>() + self.longer),
        };
        let objects = self.objects.iter().filter(|(key, _)| key.starts_with(prefix)).map(listed);
        Ok(Page { objects: objects.collect(), next: None, date: None })
    }

    async fn get(&self, key: &str, _: &str, _: Option<u64>) -> Result<Trickle, GetError> {
        if self.stuck == Some(key) {
            std::future::pending::<()>().await;
        }
        self.objects.get(key).cloned().ok_or(GetError::Vanished)
    }
}

/// Polls as the loop does. Returns what was found, also by a poll that fails or is dropped, and how it ended: `None` if
/// it was dropped.
async fn poll(observer: &mut ObjectObserver<Store>) -> (Findings, Option<Result<(), ObserveError>>) {
    let wanted = wanted();
    let polled = timeout(RHYTHM.timeout, observer.poll(&wanted)).await;
    match polled {
        Ok(Ok(Poll { sightings, stats, unreadable, .. })) => {
            (Findings { sightings, stats, unreadable }, Some(Ok(())))
        }
        Ok(Err(failure)) => (observer.take_unreported(), Some(Err(failure))),
        Err(_) => (observer.take_unreported(), None),
    }
}

/// How many objects exceeded a limit.
fn over_limit(findings: &Findings) -> u64 {
    let of_limits = findings.unreadable.iter();
    of_limits
        .filter(|record| record.part.reason == UnreadableReason::OverLimit)
        .map(|record| record.count)
        .sum()
}

#[tokio::test(start_paused = true)]
async fn objects_that_trickle_are_read_in_part_and_the_others_are_found() {
    let mut store = Store::default();
    for key in ["a", "b", "c", "d"] {
        store.put_slow(key);
    }
    store.put_canary("e");
    let mut observer = store.observer();
    let (found, ended) = poll(&mut observer).await;
    assert!(matches!(ended, Some(Ok(()))), "{ended:?}");
    assert_eq!((found.sightings.len(), over_limit(&found)), (1, 0), "each is tried again");
    let mut bytes = found.stats.bytes;
    for number in 0..8 {
        let (found, ended) = poll(&mut observer).await;
        assert!(matches!(ended, Some(Ok(()))), "{ended:?}");
        bytes += found.stats.bytes;
        assert_eq!(over_limit(&found), number % 2);
        if number % 2 == 0 {
            continue;
        }
        let text = &found.unreadable[0].text;
        assert!(text.contains(" (it takes longer than 12 s to fetch: "), "{text}");
        assert!(text.contains("000 bytes of 100000 bytes arrived)"), "{text}");
    }
    assert_eq!(bytes, store.served());
    let (again, _) = poll(&mut observer).await;
    assert!(again.is_empty(), "each is fetched three times: {again:?}");
}

#[tokio::test(start_paused = true)]
async fn more_slow_objects_than_fit_into_a_poll_are_read_by_the_next_ones() {
    let mut store = Store::default();
    for key in ["a", "b", "c", "d", "e", "f", "g", "h", "i"] {
        store.put_slow(key);
    }
    store.put_canary("z");
    let mut observer = store.observer();
    let (first, ended) = poll(&mut observer).await;
    assert!(ended.is_none(), "{ended:?}");
    assert_eq!(first.stats.bytes, store.served(), "what arrived of the ninth counts");
    let (mut bytes, mut slow) = (first.stats.bytes, over_limit(&first));
    for _ in 0..18 {
        let (found, ended) = poll(&mut observer).await;
        assert!(matches!(ended, Some(Ok(()))), "{ended:?}");
        (bytes, slow) = (bytes + found.stats.bytes, slow + over_limit(&found));
    }
    assert_eq!((slow, first.sightings.len()), (9, 1));
    assert_eq!(bytes, store.served());
}

#[tokio::test(start_paused = true)]
async fn after_a_poll_that_was_dropped_an_object_that_is_never_answered_is_named() {
    let mut store = Store { stuck: Some("in/04/a"), ..Store::default() };
    for key in ["a", "b"] {
        store.put_canary(key);
    }
    let mut observer = store.observer();
    let (first, ended) = poll(&mut observer).await;
    assert!(ended.is_none(), "{ended:?}");
    assert_eq!(first.sightings.len(), 1);
    for _ in 0..2 {
        let (_, ended) = poll(&mut observer).await;
        let failure = ended.unwrap().unwrap_err();
        let text = "reading s3://b/in/04/a: nothing arrived within 12 s";
        assert_eq!((failure.kind, &*failure.detail), (FailureKind::Timeout, text));
    }
}

#[tokio::test(start_paused = true)]
async fn bytes_of_an_object_that_is_shorter_than_listed_are_counted_once() {
    let mut store = Store { longer: 7, ..Store::default() };
    store.put_canary("a");
    let mut observer = store.observer();
    for _ in 0..2 {
        let before = store.served();
        let (found, ended) = poll(&mut observer).await;
        assert_eq!(ended.unwrap().unwrap_err().kind, FailureKind::Garbled);
        assert_eq!(found.stats.bytes, store.served() - before);
    }
}
