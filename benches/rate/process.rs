//! What a process uses, as Linux counts it (proc(5)).

use std::time::Duration;

use tokio::time::sleep;

/// The unit of processor time in Linux (USER_HZ, proc(5)).
const TICKS_PER_SECOND: f64 = 100.0;

/// What a process used during a measurement, and this process beside it.
#[derive(Debug)]
pub struct Usage {
    /// Seconds of processor time, in its own code and the kernel's.
    pub busy: f64,
    /// The same of this process, in which the sandbox and the stub run.
    pub own: f64,
    /// At the end.
    pub resident_mib: u64,
    pub threads: u64,
}

impl Usage {
    /// Measures a process for so long; `None` if it has ended.
    pub async fn measure(process: u32, length: Duration) -> Option<Self> {
        let own = std::process::id();
        let before = (busy(process)?, busy(own)?);
        sleep(length).await;
        Some(Self {
            busy: busy(process)? - before.0,
            own: busy(own)? - before.1,
            resident_mib: status(process, "VmRSS:")? / 1_024,
            threads: status(process, "Threads:")?,
        })
    }
}

/// Seconds of processor time that a process has used.
fn busy(process: u32) -> Option<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The program's name may contain blanks, so fields are counted after it. utime and stime are fields 14
    // and 15.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ').skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    Some((ticks()? + ticks()?) / TICKS_PER_SECOND)
}

/// A number in the status of a process.
fn status(process: u32, key: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    line.trim().trim_end_matches("kB").trim().parse().ok()
}
