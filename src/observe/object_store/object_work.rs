//! Fetches one object and decodes it piece by piece.
//!
//! A body may trickle for longer than a poll may take. A poll that waited for its end would be dropped, and so would
//! each one after it. So there is a limit to how long is waited for the bytes of one object, and what is beyond is
//! told as not read. What arrived is counted chunk by chunk, because a poll may be dropped at any of them.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, timeout};

use super::store::{Body, GetError, ObjectStore};
use super::{Object, presence};
use crate::domain::copies::Presence;
use crate::domain::count::counted;
use crate::domain::foreign::ForeignText;
use crate::domain::sighting::FailureKind;
use crate::observe::blocking::scan_briefly;
use crate::observe::decode::{Halt, Limits, Scan, Scanner};
use crate::observe::{Decoder, ObserveError, Recognizer};

/// How much of an object is fetched.
pub(super) struct Bounds {
    pub(super) max_bytes: u64,
    /// How long is waited for its bytes in all, without the time that decoding takes.
    pub(super) max_wait: Duration,
    /// Counts the bytes that arrive.
    pub(super) received: Arc<AtomicU64>,
}

/// What was found in an object, or in its first part up to a limit.
pub(super) struct Contents {
    pub(super) scan: Scan,
    /// Set if it did not arrive in time.
    pub(super) slow: Option<Slow>,
}

/// An object that did not arrive in time, as text for people.
pub(super) struct Slow {
    max_wait: Duration,
    arrived: u64,
    size: Option<u64>,
}

impl fmt::Display for Slow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (secs, arrived) = (self.max_wait.as_secs_f64(), size(self.arrived));
        write!(f, "it takes longer than {secs} s to fetch: {arrived}")?;
        match self.size {
            Some(whole) => write!(f, " of {} arrived", size(whole)),
            None => f.write_str(" arrived"),
        }
    }
}

/// `17 bytes`, `20 MB`.
fn size(bytes: u64) -> String {
    if bytes < 1 << 20 { counted(bytes, "byte") } else { format!("{} MB", bytes >> 20) }
}

/// Decodes one object, piece by piece.
pub(super) struct ObjectWork {
    decoder: Decoder,
    recognizer: Recognizer,
    limits: Limits,
    halt: Halt,
    /// Holds what the earlier pieces gave. `None` before the first one, and while a piece is being decoded.
    scanner: Option<Scanner>,
    /// How long the earlier pieces took.
    spent: Duration,
}

impl ObjectWork {
    pub(super) fn new(decoder: Decoder, recognizer: Recognizer, limits: Limits) -> Self {
        Self { decoder, recognizer, limits, halt: Halt::default(), scanner: None, spent: Duration::ZERO }
    }

    /// The scanner of the next piece.
    fn scanner(&mut self) -> Scanner {
        let begin = || Scanner::until(self.halt.clone(), self.recognizer.clone(), self.limits);
        self.scanner.take().unwrap_or_else(begin)
    }

    /// Decodes one more piece of the object `name`. Returns whether the rest would be read.
    async fn push(&mut self, name: &str, piece: Bytes) -> bool {
        let mut scanner = self.scanner();
        let work = move || {
            scanner.push(&piece);
            scanner
        };
        let scanner = self.run(name, work).await;
        let goes_on = !scanner.is_over();
        self.scanner = Some(scanner);
        goes_on
    }

    /// Decodes the last piece and ends the object. `cut` says that the rest was not fetched.
    async fn finish(mut self, name: &str, piece: Bytes, cut: bool) -> Scan {
        let is_whole = self.scanner.is_none() && !cut;
        let briefly =
            is_whole.then(|| scan_briefly(&self.recognizer, self.limits, std::slice::from_ref(&piece)));
        if let Some(scan) = briefly.flatten().and_then(|mut scans| scans.pop()) {
            return scan;
        }
        let mut scanner = self.scanner();
        // Some formats can only be decoded when the whole object has been read.
        let work = move || {
            scanner.push(&piece);
            if cut {
                scanner.cut_short();
            }
            scanner.finish()
        };
        self.run(name, work).await
    }

    async fn run<T: Send + 'static>(&mut self, name: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
        let left = self.decoder.max_object_time().saturating_sub(self.spent);
        let timed = move || {
            let started = Instant::now();
            (work(), started.elapsed())
        };
        let (result, took) = self.decoder.run(name, usize::MAX, &self.halt, left, self.spent, timed).await;
        self.spent += took;
        result
    }
}

/// How long may still be waited for the store.
struct Patience(Duration);

impl Patience {
    /// Waits for the store; `None` if the time is up.
    async fn wait<T>(&mut self, answer: impl Future<Output = T>) -> Option<T> {
        let started = Instant::now();
        let answer = timeout(self.0, answer).await.ok();
        self.0 = self.0.saturating_sub(started.elapsed());
        answer
    }
}

/// Fetches an object and scans its first bytes.
pub(super) async fn read_object<S: ObjectStore>(
    store: S,
    bounds: Bounds,
    work: ObjectWork,
    object: Object,
) -> (Object, Result<Contents, GetError>) {
    let contents = match fetch(&store, &bounds, work, &object).await {
        // Where the right to list is bound to prefixes, as in our policies, S3 answers a request for a deleted object
        // with 403.
        Err(GetError::Refused(refusal)) if refusal.kind == FailureKind::Denied && !object.was_refused => {
            let copy = store.copy(&object.key, &object.version);
            match presence(&store, &copy).await {
                Some(Presence::Gone) => Err(GetError::Vanished),
                Some(Presence::There | Presence::Unknown) | None => Err(GetError::Refused(refusal)),
            }
        }
        contents => contents,
    };
    (object, contents)
}

async fn fetch<S: ObjectStore>(
    store: &S,
    bounds: &Bounds,
    mut work: ObjectWork,
    object: &Object,
) -> Result<Contents, GetError> {
    let &Bounds { max_bytes, max_wait, .. } = bounds;
    let name = ForeignText::label(&store.uri(&object.key));
    let nothing_arrived = || {
        let text = format!("reading {name}: nothing arrived within {} s", max_wait.as_secs_f64());
        GetError::Failed(ObserveError::new(FailureKind::Timeout, text))
    };
    // Bytes beyond the limit are not requested, so that they are neither sent nor billed.
    let first = object.size.filter(|size| *size > max_bytes).map(|_| max_bytes);
    let mut patience = Patience(max_wait);
    let answer = store.get(&object.key, &object.version, first);
    // Where nothing is answered, a poll that is dropped tells which call it was.
    let answer = if object.slow_tries > 0 { patience.wait(answer).await } else { Some(answer.await) };
    let mut body = answer.ok_or_else(nothing_arrived)??;
    let mut bytes = 0;
    // The newest chunk is decoded together with the end if none follows: most objects have only one.
    let mut newest = Bytes::new();
    let mut slow = None;
    let cut = loop {
        match patience.wait(body.chunk()).await {
            Some(Ok(Some(chunk))) => {
                bounds.received.fetch_add(chunk.len() as u64, Ordering::Relaxed);
                let left = usize::try_from(max_bytes - bytes).unwrap_or(usize::MAX);
                bytes = max_bytes.min(bytes + chunk.len() as u64);
                let before = std::mem::replace(&mut newest, chunk.slice(..chunk.len().min(left)));
                if !before.is_empty() && !work.push(&name, before).await {
                    // It exceeds a limit already, so the rest need not be fetched.
                    newest.clear();
                    break false;
                }
                if chunk.len() > left {
                    break true;
                }
            }
            Some(Ok(None)) => {
                let size = object.size.unwrap_or(bytes);
                if bytes < size.min(max_bytes) {
                    let text = format!("reading {name}: the body ended after {bytes} of {size} bytes");
                    return Err(GetError::Refused(ObserveError::new(FailureKind::Garbled, text)));
                }
                break size > bytes;
            }
            Some(Err(cause)) => {
                let text = format!("reading {name}: the body ended early after {bytes} bytes: {cause}");
                return Err(GetError::Failed(ObserveError::new(FailureKind::Unreachable, text)));
            }
            None if bytes == 0 => return Err(nothing_arrived()),
            None => {
                slow = Some(Slow { max_wait, arrived: bytes, size: object.size });
                break true;
            }
        }
    };
    let scan = work.finish(&name, newest, cut).await;
    Ok(Contents { scan, slow })
}
