//! Records that are made to cost much take little processor time. The program behind `cargo bench --bench
//! hostile` measures the same ones at full size.

#[path = "../benches/hostile/inputs.rs"]
mod inputs;
#[path = "../benches/stopwatch/mod.rs"]
mod stopwatch;

use std::sync::Arc;

use traceprobe::domain::canary::Template;
use traceprobe::observe::Recognizer;
use traceprobe::observe::decode::{Limits, scan_record};

use self::inputs::{keys, tenant};

/// So many times smaller than in the benchmark.
const SCALE: usize = 64;
/// Processor time of any record, in seconds. An unoptimized build takes up to 50 times as long as another, in
/// which it is 0.04 s.
const ALLOWANCE: f64 = 2.0;
/// How many times as long as inflating it a record may take beyond that.
const RATIO: f64 = 6.0;

#[test]
fn hostile_records_take_little_more_than_inflating_them() {
    let recognizer =
        Recognizer { keys: Arc::new(keys()), templates: Arc::new([(tenant(), Template::default())]) };
    for hostile in inputs::all(SCALE) {
        let took = stopwatch::median(1, || scan_record(&recognizer, Limits::RECORD, &hostile.bytes));
        let inflate = hostile.inflate.as_ref();
        let inflating = inflate.map_or(0.0, |inflate| {
            stopwatch::median(1, || inflate(&hostile.bytes, Limits::RECORD.max_inflated_bytes))
        });
        println!("{took:.3} s, inflating alone {inflating:.3} s: {}", hostile.name);
        let at_most = ALLOWANCE + RATIO * inflating;
        assert!(took < at_most, "{} took {took} s, inflating alone {inflating} s", hostile.name);
    }
}
