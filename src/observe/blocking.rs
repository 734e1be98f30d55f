//! Work that may take long without waiting for anything: opening what is packed.
//!
//! A page of 10 MiB inflates for some 70 ms, a record that is made to be a bomb for 0.2 s until its limit ends it, and a page may
//! hold several. On a task with one processor there is one worker, and while that inflates, no canary leaves and
//! no page is served. So the worker hands its other tasks to another thread first, and the kernel shares the processor.
//!
//! In place and not as a job of its own: nothing is copied or sent, and a look that is dropped has nothing running.

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::block_in_place;

/// Less than this is done in less time than handing over takes, and inflates for a few milliseconds at the very worst.
const WORTH_IT: usize = 1 << 10;

/// Does work on so many bytes without holding up other tasks.
pub(super) fn run_blocking<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    // A runtime of one thread, as in tests and benchmarks, has nobody to hand over to.
    let others = || Handle::try_current().is_ok_and(|it| it.runtime_flavor() == RuntimeFlavor::MultiThread);
    if bytes >= WORTH_IT && others() { block_in_place(work) } else { work() }
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
    async fn the_only_worker_goes_on_with_other_tasks() {
        let [begun, other_ran] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
        let mut tasks = JoinSet::new();
        let (begin, ran) = (begun.clone(), other_ran.clone());
        tasks.spawn(async move {
            run_blocking(WORTH_IT, || {
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
    async fn a_runtime_of_one_thread_does_it_itself() {
        assert_eq!(run_blocking(usize::MAX, || 7), 7);
    }

    #[test]
    fn without_a_runtime_it_is_done_at_once() {
        assert_eq!(run_blocking(usize::MAX, || 7), 7);
    }
}
