//! Decodes records on threads of their own, where the work can be abandoned.
//!
//! Decoding keeps a processor busy: a page of 10 MiB for some 70 ms, a decompression bomb for 0.3 s until its
//! limit ends it, an object of a gigabyte for seconds. On a worker of the runtime, the poll's own timeout
//! could not end it, and in a container with one processor no canary would leave and no page be served
//! meanwhile. So the work runs on a thread for blocking work, a poll that is dropped tells it to stop, and a
//! record that takes too long is ended with what was found in it.
//!
//! What is small, and takes little work, is decoded where it is (see [`scan_briefly`]): to wake another thread and be
//! woken by it would take longer.
//!
//! A record that exhausts its time must not be read again and again. So a caller moves past it, and reports
//! the rest of it as unreadable: see [`Decoder::scan`].

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::Recognizer;
use super::decode::{Halt, Limits, Scan, scan_record, scan_until};
use crate::domain::foreign::ForeignText;

/// Shorter input is decoded in place: it cannot inflate to more than a few milliseconds of work.
const MIN_BYTES: usize = 128;

/// At most so many bytes and records are tried without a thread.
const BRIEF_BYTES: usize = 16 << 10;
const BRIEF_RECORDS: usize = 16;

/// How long a record may be decoded where nothing else is configured: a quarter of the usual timeout.
const DEFAULT_TIME: Duration = Duration::from_millis(2_500);

/// Scans records on this thread if they are small and take little work. `None` if one would take more: it says nothing
/// about any of them.
pub(super) fn scan_briefly(
    recognizer: &Recognizer,
    limits: Limits,
    records: &[impl AsRef<[u8]>],
) -> Option<Vec<Scan>> {
    let bytes: usize = records.iter().map(|record| record.as_ref().len()).sum();
    if bytes > BRIEF_BYTES || records.len() > BRIEF_RECORDS {
        return None;
    }
    let scans = records.iter().map(|record| scan_record(recognizer, limits.brief(), record.as_ref()));
    scans.map(|scan| Some(scan).filter(|scan| !scan.is_over_limit())).collect()
}

/// Decodes for one source.
#[derive(Clone, Debug)]
pub struct Decoder {
    /// How long one record, or one page of records, may be decoded.
    max_time: Duration,
    activity: Activity,
    /// Lets one piece of work run at a time, so that what waits does not use up its own time, and
    /// a source takes one thread.
    slot: Arc<Semaphore>,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { max_time: DEFAULT_TIME, activity: Activity::default(), slot: Arc::new(Semaphore::new(1)) }
    }
}

impl Decoder {
    /// Leaves room for other records in a poll that may take so long.
    pub(super) fn set_timeout(&mut self, timeout: Duration) {
        self.max_time = timeout / 4;
    }

    /// How long one record, or one page of records, may be decoded.
    pub(super) const fn max_time(&self) -> Duration {
        self.max_time
    }

    /// What is being decoded.
    pub(super) const fn activity(&self) -> &Activity {
        &self.activity
    }

    /// How long one object may be decoded: there are few, and they are large.
    pub(super) fn max_object_time(&self) -> Duration {
        self.max_time * 2
    }

    /// Scans records in order until their time is up. Returns the scans of the first ones, at least one if
    /// there is a record. A record that exhausts the time of all is only among them if it is the first: it is
    /// over its limit then. The others are to be given again.
    pub(super) async fn scan(
        &self,
        name: &str,
        recognizer: &Recognizer,
        limits: Limits,
        records: Vec<Vec<u8>>,
    ) -> Vec<Scan> {
        if let Some(scans) = scan_briefly(recognizer, limits, &records) {
            return scans;
        }
        let bytes = records.iter().map(Vec::len).sum();
        let (halt, recognizer) = (Halt::default(), recognizer.clone());
        let scan_all = {
            let halt = halt.clone();
            move || {
                let mut scans = Vec::new();
                for record in &records {
                    let scan = scan_until(&halt, &recognizer, limits, record);
                    if halt.is_set() && !scans.is_empty() {
                        break;
                    }
                    scans.push(scan);
                }
                scans
            }
        };
        self.run(name, bytes, &halt, self.max_time, Duration::ZERO, scan_all).await
    }

    /// Runs work on `bytes` bytes that ends soon after `halt` is set. It is set when `max_time` is up, or
    /// when the future is dropped. `before` is how long earlier parts of the same work took.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        name: &str,
        bytes: usize,
        halt: &Halt,
        max_time: Duration,
        before: Duration,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        if bytes < MIN_BYTES {
            return work();
        }
        // The semaphore is never closed.
        let permit = self.slot.clone().acquire_owned().await.ok();
        let _entry = self.activity.begin(name, before);
        let mut abandoned = HaltOnDrop(Some(halt));
        let mut job = tokio::task::spawn_blocking(move || {
            let result = work();
            drop(permit);
            result
        });
        let done = match tokio::time::timeout(max_time, &mut job).await {
            Ok(done) => done,
            Err(_) => {
                halt.set();
                job.await
            }
        };
        abandoned.0 = None;
        match done {
            Ok(result) => result,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is shutting down, and the poll with it.
                Err(_) => std::future::pending().await,
            },
        }
    }
}

/// Ends the work of a future that is dropped before its end.
struct HaltOnDrop<'a>(Option<&'a Halt>);

impl Drop for HaltOnDrop<'_> {
    fn drop(&mut self) {
        if let Some(halt) = self.0 {
            halt.set();
        }
    }
}

/// What a source is decoding now; clones show the same.
///
/// Behind a mutex because the poll that decodes and the loop that reports on it run at the same time. It is
/// held for a few instructions.
#[derive(Clone, Debug, Default)]
pub(super) struct Activity(Arc<Mutex<Entries>>);

#[derive(Debug, Default)]
struct Entries {
    next: u64,
    running: BTreeMap<u64, (ForeignText, Instant)>,
}

/// Something that is being decoded, until it is dropped.
pub(super) struct Entry<'a> {
    activity: &'a Activity,
    id: u64,
}

impl Activity {
    pub(super) fn begin(&self, name: &str, before: Duration) -> Entry<'_> {
        let now = Instant::now();
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.next += 1;
        let id = entries.next;
        entries.running.insert(id, (ForeignText::label(name), now.checked_sub(before).unwrap_or(now)));
        Entry { activity: self, id }
    }

    /// What has been decoded for longest, and for how long.
    pub(super) fn longest(&self) -> Option<(ForeignText, Duration)> {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let longest = entries.running.values().min_by_key(|(_, since)| *since);
        longest.map(|(name, since)| (name.clone(), since.elapsed()))
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        let mut entries = self.activity.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.running.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;
    use crate::domain::canary::Template;
    use crate::domain::time::Timestamp;
    use crate::observe::fixtures::{recognizer, tag};

    const LONG: Duration = Duration::from_secs(60);

    /// Works until it is halted, and says so.
    fn endless(halt: &Halt, ended: &tokio::sync::watch::Sender<bool>) -> impl FnOnce() + Send + use<> {
        let (halt, ended) = (halt.clone(), ended.clone());
        move || {
            while !halt.is_set() {
                std::thread::yield_now();
            }
            ended.send_replace(true);
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn other_tasks_run_while_a_record_is_decoded() {
        let halt = Halt::default();
        let decoder = Decoder::default();
        let work = {
            let halt = halt.clone();
            move || {
                while !halt.is_set() {
                    std::thread::yield_now();
                }
            }
        };
        let other = async { halt.set() };
        tokio::join!(decoder.run("record 1", MIN_BYTES, &halt, LONG, Duration::ZERO, work), other);
    }

    #[tokio::test]
    async fn work_ends_when_its_future_is_dropped() {
        let (ended, mut watch) = tokio::sync::watch::channel(false);
        let (halt, decoder) = (Halt::default(), Decoder::default());
        {
            let work = endless(&halt, &ended);
            let mut run = pin!(decoder.run("record 1", MIN_BYTES, &halt, LONG, Duration::ZERO, work));
            assert!(matches!(run.as_mut().poll(&mut Context::from_waker(Waker::noop())), Poll::Pending));
            assert_eq!(decoder.activity().longest().unwrap().0, "record 1");
        }
        watch.wait_for(|ended| *ended).await.unwrap();
        assert_eq!(decoder.activity().longest(), None);
    }

    #[tokio::test]
    async fn a_piece_that_ended_does_not_end_the_next_one() {
        let (halt, decoder) = (Halt::default(), Decoder::default());
        decoder.run("record 1", MIN_BYTES, &halt, LONG, Duration::ZERO, || ()).await;
        assert!(!halt.is_set());
    }

    #[tokio::test]
    async fn one_piece_of_work_runs_at_a_time_and_what_waits_is_not_being_decoded() {
        let decoder = Decoder::default();
        let [first, second, waiting] = [(); 3].map(|()| Halt::default());
        let slow = {
            let (waiting, activity) = (waiting.clone(), decoder.activity().clone());
            move || {
                while !waiting.is_set() {
                    std::thread::yield_now();
                }
                activity.0.lock().unwrap().running.len()
            }
        };
        let (running, (), ()) = tokio::join!(
            decoder.run("record 1", MIN_BYTES, &first, LONG, Duration::ZERO, slow),
            decoder.run("record 2", MIN_BYTES, &second, LONG, Duration::ZERO, || ()),
            async { waiting.set() },
        );
        assert_eq!(running, 1);
    }

    #[tokio::test]
    async fn work_ends_when_its_time_is_up() {
        let (ended, watch) = tokio::sync::watch::channel(false);
        let (halt, decoder) = (Halt::default(), Decoder::default());
        let work = endless(&halt, &ended);
        decoder.run("record 1", MIN_BYTES, &halt, Duration::from_millis(1), Duration::ZERO, work).await;
        assert!(*watch.borrow());
    }

    /// A gzip of so many blanks and a canary at their end.
    fn packed(blanks: usize) -> Vec<u8> {
        let (recognizer, tag) = (recognizer(), tag(1, Timestamp::from_secs(1_795_321_781)));
        let canary = Template::default().render(&tag, &recognizer.keys.sign(&tag));
        let text = [" ".repeat(blanks), canary].concat();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        std::io::Write::write_all(&mut gzip, text.as_bytes()).unwrap();
        gzip.finish().unwrap()
    }

    #[test]
    fn small_records_are_scanned_at_once() {
        let (decoder, recognizer) = (Decoder::default(), recognizer());
        let records = vec![packed(10_000), packed(100_000)];
        let mut scan = pin!(decoder.scan("page", &recognizer, Limits::RECORD, records));
        let Poll::Ready(scans) = scan.as_mut().poll(&mut Context::from_waker(Waker::noop())) else {
            panic!("it waits for a thread");
        };
        assert_eq!(scans.iter().map(|scan| scan.found.len()).collect::<Vec<_>>(), [1, 1]);
    }

    #[tokio::test]
    async fn a_small_record_that_grows_large_is_scanned_on_a_thread() {
        let (decoder, recognizer) = (Decoder::default(), recognizer());
        let record = packed(4_000_000);
        assert!(record.len() < BRIEF_BYTES, "{}", record.len());
        let mut scan = pin!(decoder.scan("page", &recognizer, Limits::RECORD, vec![record]));
        assert!(matches!(scan.as_mut().poll(&mut Context::from_waker(Waker::noop())), Poll::Pending));
        let scans = scan.await;
        assert_eq!((scans[0].found.len(), scans[0].decode_errors()), (1, 0));
    }

    #[tokio::test]
    async fn all_records_are_scanned_while_there_is_time() {
        let records = vec![b"hello\n".repeat(100); 3];
        let scans = Decoder::default().scan("page", &recognizer(), Limits::RECORD, records).await;
        assert_eq!(scans.len(), 3);
    }

    #[tokio::test]
    async fn a_record_that_exhausts_the_time_is_over_its_limit_and_the_next_is_left() {
        let records = vec![b"zqtp".repeat(1 << 20); 3];
        let decoder = Decoder { max_time: Duration::ZERO, ..Decoder::default() };
        let scans = decoder.scan("page", &recognizer(), Limits::RECORD, records).await;
        assert_eq!(scans.iter().map(Scan::is_over_limit).collect::<Vec<_>>(), [true]);
    }
}
