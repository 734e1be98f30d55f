//! What hostile records cost, compared with inflating the same bytes and nothing else.
//!
//! The limits are those of a record of a stream. Prints medians, and exits with 1 if an input costs more than
//! `docs/benchmarks.md` says.

mod inputs;
#[path = "../stopwatch/mod.rs"]
mod stopwatch;

use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use traceprobe::domain::canary::Template;
use traceprobe::observe::Recognizer;
use traceprobe::observe::decode::{Limits, Scanner};

use self::inputs::{keys, tenant};

/// That of the program (`src/main.rs`).
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The body of an object arrives in pieces of about this size.
const PIECE: usize = 64 << 10;

/// What is compressed costs at most so many times what inflating it costs.
const MAX_RATIO: f64 = 3.0;
/// It may always cost so many milliseconds: some codecs inflate a bomb within the processor's cache, faster than
/// its bytes can be looked at.
const ALWAYS: f64 = 12.0;
/// What is not compressed costs at most so many milliseconds a MB.
const MAX_PER_MEGABYTE: f64 = 50.0;
/// How often what is over a limit is measured, since other work on the machine may be the reason.
const ATTEMPTS: usize = 3;

/// Processor time in milliseconds.
struct Cost {
    inflating: Option<f64>,
    probe: f64,
    megabytes: f64,
}

impl Cost {
    fn is_over(&self) -> bool {
        match self.inflating {
            Some(inflating) => self.probe > (MAX_RATIO * inflating).max(ALWAYS),
            None => self.probe > MAX_PER_MEGABYTE * self.megabytes,
        }
    }

    fn ratio(&self) -> String {
        match self.inflating {
            Some(inflating) => format!("{:.2}", self.probe / inflating),
            None => format!("{:.1} ms a MB", self.probe / self.megabytes),
        }
    }
}

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

fn main() -> ExitCode {
    let options = Options::parse();
    let recognizer =
        Recognizer { keys: Arc::new(keys()), templates: Arc::new([(tenant(), Template::default())]) };
    println!(
        "{:<46} {:>10} {:>10} {:>10} {:>10} {:>16}  result",
        "input", "arrives", "inflated", "inflating", "the probe", "ratio"
    );
    let mut over = 0;
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
        let measure = || Cost {
            probe: stopwatch::median(options.runs, scan) * 1e3,
            inflating: hostile.inflate.as_ref().map(|inflate| {
                stopwatch::median(options.runs, || inflate(&hostile.bytes, Limits::RECORD.max_inflated_bytes))
                    * 1e3
            }),
            megabytes: hostile.bytes.len() as f64 / 1e6,
        };
        let mut cost = measure();
        for _ in 1..ATTEMPTS {
            if cost.is_over() {
                cost = measure();
            }
        }
        println!(
            "{:<46} {:>7.3} MB {:>7.1} MB {:>7.1} ms {:>7.1} ms {:>16}  {} found{}{}",
            hostile.name,
            cost.megabytes,
            result.inflated_bytes as f64 / 1e6,
            cost.inflating.unwrap_or_default(),
            cost.probe,
            cost.ratio(),
            result.found.len(),
            if result.is_over_limit() { ", over a limit" } else { "" },
            if cost.is_over() { ": COSTS TOO MUCH" } else { "" },
        );
        over += usize::from(cost.is_over());
    }
    if over > 0 {
        println!("{over} inputs cost too much");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
