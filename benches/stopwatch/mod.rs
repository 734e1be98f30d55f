//! Measures processor time, which varies less than wall clock time on a shared machine.

/// The system counts in ticks of up to 10 ms, so shorter work is repeated within a run. In seconds.
const AT_LEAST: f64 = 0.1;

/// Runs the work `runs` times. Returns the median of its processor time in seconds.
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

/// Processor time of this thread in seconds.
fn busy() -> f64 {
    let path = "/proc/thread-self/schedstat";
    let text = std::fs::read_to_string(path)
        .unwrap_or_else(|error| panic!("{path}: {error}; it exists on Linux only"));
    let nanos = text.split(' ').next().and_then(|nanos| nanos.parse::<u64>().ok());
    nanos.unwrap_or_else(|| panic!("{path} has no processor time: {text}")) as f64 / 1e9
}
