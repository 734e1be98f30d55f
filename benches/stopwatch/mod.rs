//! How long a piece of work kept a processor busy, which on a machine that others use too says more than how long it took.

/// The system counts in ticks of up to 10 ms, so that less work than this is done several times in one run.
const AT_LEAST: f64 = 0.1;

/// Runs the work so many times, and gives the median of its processor time in seconds.
pub fn median<T>(runs: u8, mut run: impl FnMut() -> T) -> f64 {
    let mut seconds: Vec<f64> = (0..runs)
        .map(|_| {
            let before = busy();
            let mut times = 0.0;
            loop {
                let _kept = run();
                times += 1.0;
                let spent = busy() - before;
                if spent >= AT_LEAST {
                    return spent / times;
                }
            }
        })
        .collect();
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}

/// Seconds for which this thread has been on a processor.
fn busy() -> f64 {
    let path = "/proc/thread-self/schedstat";
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}; Linux has it"));
    let nanos = text.split(' ').next().and_then(|nanos| nanos.parse::<u64>().ok());
    nanos.unwrap_or_else(|| panic!("{path} says {text}")) as f64 / 1e9
}
