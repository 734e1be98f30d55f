//! Runs work that keeps a processor busy for long: decompressing and scanning records.
//!
//! Inflating a page of 10 MiB takes some 70 ms, and a decompression bomb 0.2 s until its limit stops it; a
//! page may hold several. In a container with one processor the runtime has one worker, and while that
//! inflates, no canary leaves and no page is served. Therefore the worker first hands its other tasks to
//! another thread, and the kernel shares the processor.
//!
//! The work runs in place rather than as a job of its own: nothing is copied or sent, and a dropped poll
//! leaves nothing running.

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::block_in_place;

/// Fewer bytes are processed faster than tasks are handed over, and inflate for a few milliseconds at worst.
const MIN_BYTES: usize = 1 << 10;

/// Runs `work`, which processes this many bytes, without delaying other tasks.
pub(super) fn run_blocking<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    // `block_in_place` panics on a runtime of one thread, as in tests and benchmarks.
    let multi_thread =
        || Handle::try_current().is_ok_and(|it| it.runtime_flavor() == RuntimeFlavor::MultiThread);
    if bytes >= MIN_BYTES && multi_thread() { block_in_place(work) } else { work() }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use tokio::task::JoinSet;
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn other_tasks_run_while_the_only_worker_is_busy() {
        let [begun, other_ran] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
        let mut tasks = JoinSet::new();
        let (begin, ran) = (begun.clone(), other_ran.clone());
        tasks.spawn(async move {
            run_blocking(MIN_BYTES, || {
                begin.store(true, Ordering::Release);
                let until = Instant::now() + Duration::from_secs(30);
                while !ran.load(Ordering::Acquire) && Instant::now() < until {
                    std::thread::yield_now();
                }
                ran.load(Ordering::Acquire)
            })
        });
        while !begun.load(Ordering::Acquire) {
            tokio::task::yield_now().await;
        }
        tasks.spawn(async move {
            other_ran.store(true, Ordering::Release);
            true
        });
        assert_eq!(tasks.join_all().await, [true, true]);
    }

    #[tokio::test]
    async fn a_runtime_of_one_thread_runs_the_work_itself() {
        assert_eq!(run_blocking(usize::MAX, || 7), 7);
    }

    #[test]
    fn without_a_runtime_the_work_is_run_directly() {
        assert_eq!(run_blocking(usize::MAX, || 7), 7);
    }
}
