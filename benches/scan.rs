//! The speed of searching records for canaries, by encoding, compared with baselines that only decode the
//! same bytes.
//!
//! Almost every byte that the probe reads is a log line of a client, so the text has no tags. Prints medians;
//! see `docs/benchmarks.md`.

#[path = "stopwatch/mod.rs"]
mod stopwatch;

use std::hint::black_box;
use std::io::{Read, Write};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Parser;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use memchr::memmem;
use serde_json::{Value, json};
use traceprobe::domain::canary::Template;
use traceprobe::domain::tag::{Keyring, TagKey, TenantCode};
use traceprobe::observe::Recognizer;
use traceprobe::observe::decode::{Limits, Scanner, scan_record};

/// The body of an object arrives in pieces of about this size.
const PIECE: usize = 64 << 10;

/// Measure the search for canaries.
#[derive(Debug, Parser)]
struct Options {
    /// MiB of log lines.
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u8).range(1..))]
    mib: u8,
    /// Number of runs; the median is printed.
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u8).range(1..))]
    runs: u8,
    /// Set by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let options = Options::parse();
    let lines = lines(usize::from(options.mib) << 20);
    let text = lines.concat();
    let gz = gzip(text.as_bytes());
    let envelopes: Vec<String> = lines.chunks(20).map(envelope).collect();
    let envelope_bytes: usize = envelopes.iter().map(String::len).sum();
    let records: Vec<Vec<u8>> = envelopes.iter().map(|envelope| gzip(envelope.as_bytes())).collect();
    let wrapped: Vec<String> = lines.chunks(10).map(wrap).collect();
    let encoded: Vec<String> = lines.chunks(10).map(|lines| STANDARD.encode(lines.concat())).collect();
    let wrapped_bytes: usize = wrapped.iter().map(String::len).sum();
    let recognizer = recognizer();
    let finder = memmem::Finder::new("zqtp");
    let scan = |bytes: &[u8]| {
        let mut scanner = Scanner::new(recognizer.clone(), Limits::OBJECT);
        bytes.chunks(PIECE).for_each(|piece| scanner.push(piece));
        let scan = scanner.finish();
        assert_eq!((scan.found.len(), scan.decode_errors()), (0, 0));
    };
    let mut buffer = vec![0; PIECE];
    let mut inflate = |bytes: &[u8], search: bool| {
        let mut decoder = GzDecoder::new(bytes);
        loop {
            let read = decoder.read(&mut buffer).expect("the input was just packed");
            if read == 0 {
                return;
            }
            if search {
                black_box(finder.find(&buffer[..read]));
            }
        }
    };
    println!(
        "median of {} runs over {} MiB of text without tags, in processor time",
        options.runs, options.mib
    );
    let show = |what: &str, bytes: usize, run: &mut dyn FnMut()| {
        let median = stopwatch::median(options.runs, run);
        println!("{what:<58} {:>9.0} MiB/s", bytes as f64 / median / f64::from(1 << 20));
    };
    println!("\nplain NDJSON");
    show("  the probe", text.len(), &mut || scan(text.as_bytes()));
    show("  baseline: memmem for the marker", text.len(), &mut || {
        black_box(finder.find(text.as_bytes()));
    });
    show("  baseline: parse each line, search its strings", text.len(), &mut || parse(&text));
    println!("\ngzip NDJSON, one object (MiB of text; packed {:.2}:1)", text.len() as f64 / gz.len() as f64);
    show("  the probe", text.len(), &mut || scan(&gz));
    show("  baseline: inflate only", text.len(), &mut || inflate(&gz, false));
    show("  baseline: inflate and memmem", text.len(), &mut || inflate(&gz, true));
    println!("\nCloudWatch envelopes, gzip, 20 events each (MiB of text)");
    show("  the probe", envelope_bytes, &mut || {
        for record in &records {
            assert!(scan_record(&recognizer, Limits::RECORD, record).found.is_empty());
        }
    });
    show("  baseline: inflate only", envelope_bytes, &mut || {
        records.iter().for_each(|record| inflate(record, false));
    });
    println!("\nbase64 of 10 lines in JSON (MiB of JSON)");
    show("  the probe", wrapped_bytes, &mut || {
        for record in &wrapped {
            assert!(scan_record(&recognizer, Limits::RECORD, record.as_bytes()).found.is_empty());
        }
    });
    show("  baseline: decode the base64 and memmem", wrapped_bytes, &mut || {
        for record in &encoded {
            let bytes = STANDARD.decode(record).expect("the input was just encoded");
            black_box(finder.find(&bytes));
        }
    });
}

/// Typical log lines of a service: JSON with ids, numbers and text.
fn lines(bytes: usize) -> Vec<String> {
    let mut rng = fastrand::Rng::with_seed(1);
    let (levels, services) = (["INFO", "INFO", "DEBUG", "WARN"], ["web", "orders", "billing"]);
    let paths = ["/api/orders", "/api/cart", "/login", "/api/search?q=lamp"];
    let mut lines = Vec::new();
    let mut total = 0;
    while total < bytes {
        let line = json!({
            "timestamp": format!("2026-11-22T04:{:02}:{:02}.{:03}Z", rng.u8(..60), rng.u8(..60), rng.u16(..1_000)),
            "level": levels[rng.usize(..4)],
            "service": services[rng.usize(..3)],
            "trace_id": format!("{:032x}", rng.u128(..)),
            "user": rng.u32(..100_000),
            "message": format!(
                "GET {} {} in {} ms for session {:016x}",
                paths[rng.usize(..4)],
                200 + rng.u16(..4) * 100,
                rng.u16(1..900),
                rng.u64(..)
            ),
        });
        let line = format!("{line}\n");
        total += line.len();
        lines.push(line);
    }
    lines
}

fn envelope(lines: &[String]) -> String {
    let events: Vec<Value> = lines
        .iter()
        .enumerate()
        .map(|(at, line)| json!({"id": format!("{at:056}"), "timestamp": 1_795_321_781_000_u64 + at as u64, "message": line.trim_end()}))
        .collect();
    json!({
        "messageType": "DATA_MESSAGE",
        "owner": "111111111111",
        "logGroup": "/ecs/acme/app",
        "logStream": "app/web-1",
        "subscriptionFilters": ["to-sre"],
        "logEvents": events,
    })
    .to_string()
}

fn wrap(lines: &[String]) -> String {
    json!({"recordId": "49590338271490256608559692538361571095921575989136588898", "data": STANDARD.encode(lines.concat())})
        .to_string()
}

fn parse(text: &str) {
    fn search(value: &Value) -> bool {
        match value {
            Value::String(text) => text.contains("zqtp"),
            Value::Array(items) => items.iter().any(search),
            Value::Object(fields) => fields.values().any(search),
            Value::Null | Value::Bool(_) | Value::Number(_) => false,
        }
    }
    for line in text.lines() {
        let value: Value = serde_json::from_str(line).expect("the input was just written");
        assert!(!search(&value));
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("a Vec takes every write")
}

fn recognizer() -> Recognizer {
    let key = TagKey::new("0123456789abcdef").expect("the key is long enough");
    Recognizer {
        keys: Arc::new(Keyring::new(key, Vec::new())),
        templates: Arc::new([(TenantCode::of("acme"), Template::default())]),
    }
}
