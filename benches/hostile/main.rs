//! What hostile records cost, compared with inflating the same bytes and nothing else.
//!
//! The limits are those of a record of a stream. Prints medians; see `docs/benchmarks.md`.

mod inputs;
#[path = "../stopwatch/mod.rs"]
mod stopwatch;

use std::sync::Arc;

use clap::Parser;
use traceprobe::domain::canary::Template;
use traceprobe::observe::Recognizer;
use traceprobe::observe::decode::{Limits, Scanner};

use self::inputs::{keys, tenant};

/// The body of an object arrives in pieces of about this size.
const PIECE: usize = 64 << 10;

/// Measure hostile records.
#[derive(Debug, Parser)]
struct Options {
    /// Number of runs; the median is printed.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..))]
    runs: u8,
    /// Only inputs whose name contains this.
    #[arg(value_name = "NAME", default_value = "")]
    only: String,
    /// Set by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let options = Options::parse();
    let recognizer =
        Recognizer { keys: Arc::new(keys()), templates: Arc::new([(tenant(), Template::default())]) };
    println!(
        "{:<46} {:>10} {:>10} {:>10} {:>10} {:>16}  result",
        "input", "arrives", "inflated", "inflating", "the probe", "ratio"
    );
    for hostile in inputs::all(1) {
        if !hostile.name.contains(&options.only) {
            continue;
        }
        let scan = || {
            let mut scanner = Scanner::new(recognizer.clone(), Limits::RECORD);
            hostile.bytes.chunks(PIECE).for_each(|piece| scanner.push(piece));
            scanner.finish()
        };
        let result = scan();
        let probe = stopwatch::median(options.runs, scan) * 1e3;
        let baseline = hostile.inflate.as_ref().map(|inflate| {
            stopwatch::median(options.runs, || inflate(&hostile.bytes, Limits::RECORD.max_inflated_bytes))
                * 1e3
        });
        let megabytes = hostile.bytes.len() as f64 / 1e6;
        let ratio = match baseline {
            Some(baseline) => format!("{:.2}", probe / baseline),
            None => format!("{:.1} ms a MB", probe / megabytes),
        };
        println!(
            "{:<46} {:>7.3} MB {:>7.1} MB {:>7.1} ms {:>7.1} ms {ratio:>16}  {} found{}",
            hostile.name,
            megabytes,
            result.inflated_bytes as f64 / 1e6,
            baseline.unwrap_or_default(),
            probe,
            result.found.len(),
            if result.is_over_limit() { ", over a limit" } else { "" },
        );
    }
}
