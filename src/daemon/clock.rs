//! The one place where the machine's clocks are read.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::domain::steady::{ClockPair, Compared, SteadyClock};
use crate::domain::time::{Timestamp, WallClock};

/// Readings that lie further apart are no reading of one instant: the process was put aside between them.
const AT_ONCE: Duration = Duration::from_millis(1);
/// How often to try to read them at once before the probe begins; a process is seldom put aside twice in a row.
const TRIES: u32 = 100;

/// The probe's clock: the system's time at the start of the process, and the time that the machine has been running since.
/// It never steps. See [`SteadyClock`].
#[derive(Clone)]
pub struct ProbeClock {
    running: Arc<dyn Fn() -> Duration + Send + Sync>,
    system: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    /// Everyone reads it, and the engine turns it a little a few times a second; nobody holds it for longer than that takes.
    steady: Arc<Mutex<SteadyClock>>,
}

impl ProbeClock {
    /// A clock on top of these two: how long the machine has been running, and what the system takes for the time.
    pub fn new(
        running: impl Fn() -> Duration + Send + Sync + 'static,
        system: impl Fn() -> Timestamp + Send + Sync + 'static,
    ) -> Self {
        let mut best = read_both(&running, &system);
        for _ in 1..TRIES {
            if best.1 <= AT_ONCE {
                break;
            }
            let next = read_both(&running, &system);
            best = if next.1 < best.1 { next } else { best };
        }
        let steady = Arc::new(Mutex::new(SteadyClock::new(best.0)));
        Self { running: Arc::new(running), system: Arc::new(system), steady }
    }

    /// The instant now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let running = (self.running)();
        self.steady().at(running)
    }

    /// For whoever must stamp what it did.
    #[must_use]
    pub fn wall(&self) -> WallClock {
        let clock = self.clone();
        WallClock::new(move || clock.now())
    }

    /// Compares it with the system's clock and follows that, slowly; `None` where the two could not be read at once.
    #[must_use]
    pub fn check(&self) -> Option<Compared> {
        let (pair, apart) = read_both(&*self.running, &*self.system);
        (apart <= AT_ONCE).then(|| self.steady().compare(pair))
    }

    fn steady(&self) -> MutexGuard<'_, SteadyClock> {
        // Nothing in there can be left half done.
        self.steady.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads the one between two readings of the other, and says how long that took.
fn read_both(running: &dyn Fn() -> Duration, system: &dyn Fn() -> Timestamp) -> (ClockPair, Duration) {
    let before = running();
    let system = system();
    let apart = running().saturating_sub(before);
    (ClockPair { running: before + apart / 2, system }, apart)
}

impl fmt::Debug for ProbeClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProbeClock").field("steady", &self.steady).finish_non_exhaustive()
    }
}

/// A clock on top of the machine's own.
#[must_use]
pub fn system() -> ProbeClock {
    ProbeClock::new(running, read)
}

#[expect(clippy::disallowed_methods, reason = "this is the clock that everyone else is handed")]
fn read() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX))
}

/// Since the machine was started, the time in which it slept included: NTP disciplines its rate, and nothing steps it
/// (clock_gettime(2)).
#[cfg(target_os = "linux")]
#[expect(clippy::disallowed_methods, reason = "this is the clock that everyone else is handed")]
fn running() -> Duration {
    let since_boot = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let nanos = u32::try_from(since_boot.tv_nsec).unwrap_or(0);
    Duration::new(u64::try_from(since_boot.tv_sec).unwrap_or(0), nanos)
}

/// Since it was asked for the first time. Whether a time in which the machine slept counts is up to the system; where it does
/// not, waking up is a step of the system's clock.
#[cfg(not(target_os = "linux"))]
#[expect(clippy::disallowed_methods, reason = "this is the clock that everyone else is handed")]
fn running() -> Duration {
    static FIRST: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    FIRST.get_or_init(std::time::Instant::now).elapsed()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

    use super::*;
    use crate::domain::steady::Offset;

    #[test]
    fn the_machines_clock_shows_the_systems_time_and_goes_on() {
        let clock = system();
        let (before, shown, after) = (read(), clock.now(), read());
        let near = Duration::from_secs(1);
        assert!(shown + near > before && shown < after + near, "{shown} is not about {before}");
        assert!(clock.now() >= shown);
        assert!(clock.wall().now() >= shown);
    }

    #[test]
    fn clock_readings_taken_too_far_apart_are_discarded() {
        static RUNNING: AtomicU64 = AtomicU64::new(0);
        static SYSTEM: AtomicI64 = AtomicI64::new(0);
        static PAUSE: AtomicU64 = AtomicU64::new(0);
        let system = || {
            RUNNING.fetch_add(PAUSE.load(Ordering::Relaxed), Ordering::Relaxed);
            Timestamp::from_micros(SYSTEM.load(Ordering::Relaxed))
        };
        let clock = ProbeClock::new(|| Duration::from_micros(RUNNING.load(Ordering::Relaxed)), system);
        assert_eq!(clock.now(), Timestamp::from_micros(0));
        SYSTEM.store(3_000_000, Ordering::Relaxed);
        PAUSE.store(2_000_000, Ordering::Relaxed);
        assert_eq!(clock.check(), None, "the process stood still for two seconds");
        PAUSE.store(0, Ordering::Relaxed);
        let ahead = Offset::between(Timestamp::from_micros(2_000_000), Timestamp::from_micros(3_000_000));
        assert_eq!(clock.check(), Some(Compared::Within(ahead)));
        SYSTEM.store(9_000_000, Ordering::Relaxed);
        assert!(matches!(clock.check(), Some(Compared::Stepped(_))));
    }
}
