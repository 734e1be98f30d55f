//! The one place where the machine's clocks are read.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::domain::steady::{ClockPair, Compared, SteadyClock};
use crate::domain::time::{Timestamp, WallClock};

/// If reading both clocks takes longer, the process was preempted and the pair is not of one instant.
const MAX_APART: Duration = Duration::from_millis(1);
/// Attempts at an undisturbed pair before the probe starts; a process is seldom preempted twice in a row.
const TRIES: u32 = 100;

/// The probe's clock: the system time at the start of the process, plus the time that the machine has run
/// since. It never steps. See [`SteadyClock`].
#[derive(Clone)]
pub struct ProbeClock {
    running: Arc<dyn Fn() -> Duration + Send + Sync>,
    system: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    /// Every task reads it, and the engine corrects it a few times a second. The lock is held for the
    /// arithmetic only.
    steady: Arc<Mutex<SteadyClock>>,
}

impl ProbeClock {
    /// Makes a clock from two sources: how long the machine has been running, and the system's wall clock.
    pub fn new(
        running: impl Fn() -> Duration + Send + Sync + 'static,
        system: impl Fn() -> Timestamp + Send + Sync + 'static,
    ) -> Self {
        let mut best = read_both(&running, &system);
        for _ in 1..TRIES {
            if best.1 <= MAX_APART {
                break;
            }
            let next = read_both(&running, &system);
            best = if next.1 < best.1 { next } else { best };
        }
        let steady = Arc::new(Mutex::new(SteadyClock::new(best.0)));
        Self { running: Arc::new(running), system: Arc::new(system), steady }
    }

    #[must_use]
    pub fn now(&self) -> Timestamp {
        let running = (self.running)();
        self.steady().at(running)
    }

    /// Returns a read-only handle to this clock, for the tasks that time-stamp what they do.
    #[must_use]
    pub fn wall(&self) -> WallClock {
        let clock = self.clone();
        WallClock::new(move || clock.now())
    }

    /// Compares this clock with the system clock and starts to follow it slowly. Returns `None` if the two
    /// could not be read close enough together.
    #[must_use]
    pub fn check(&self) -> Option<Compared> {
        let (pair, apart) = read_both(&*self.running, &*self.system);
        (apart <= MAX_APART).then(|| self.steady().compare(pair))
    }

    fn steady(&self) -> MutexGuard<'_, SteadyClock> {
        // A panic cannot leave it half updated: `compare` only assigns fields.
        self.steady.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads the system clock between two reads of the running time, and returns how far apart those two were.
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

/// Returns the probe's clock on top of the machine's own clocks.
#[must_use]
pub fn system() -> ProbeClock {
    ProbeClock::new(running, read)
}

#[expect(clippy::disallowed_methods, reason = "this is the clock that all other code is given")]
fn read() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX))
}

/// Time since boot, including suspend. NTP disciplines its rate, and nothing steps it (clock_gettime(2)).
#[cfg(target_os = "linux")]
#[expect(clippy::disallowed_methods, reason = "this is the clock that all other code is given")]
fn running() -> Duration {
    let since_boot = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let nanos = u32::try_from(since_boot.tv_nsec).unwrap_or(0);
    Duration::new(u64::try_from(since_boot.tv_sec).unwrap_or(0), nanos)
}

/// Time since the first call. Whether suspended time counts depends on the system; if it does not, waking up
/// looks like a step of the system clock.
#[cfg(not(target_os = "linux"))]
#[expect(clippy::disallowed_methods, reason = "this is the clock that all other code is given")]
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
    fn the_clock_shows_the_system_time_and_advances() {
        let clock = system();
        let (before, shown, after) = (read(), clock.now(), read());
        let near = Duration::from_secs(1);
        assert!(shown + near > before && shown < after + near, "{shown} is not about {before}");
        assert!(clock.now() >= shown);
        assert!(clock.wall().now() >= shown);
    }

    #[test]
    fn clocks_that_were_read_too_far_apart_are_not_compared() {
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
        assert_eq!(clock.check(), None, "the process was preempted for two seconds");
        PAUSE.store(0, Ordering::Relaxed);
        let ahead = Offset::between(Timestamp::from_micros(2_000_000), Timestamp::from_micros(3_000_000));
        assert_eq!(clock.check(), Some(Compared::Within(ahead)));
        SYSTEM.store(9_000_000, Ordering::Relaxed);
        assert!(matches!(clock.check(), Some(Compared::Stepped(_))));
    }
}
