//! The faults that a host and a network have, against a probe with a store, in front of a sandbox that knows
//! what truly happened. Nothing may be lost and nothing invented.
//!
//! The short form takes seconds and runs with the other tests. `make faults` runs the long one and prints the
//! table of `docs/faults.md`. `TRACEPROBE_FAULTS_ROW` selects one row by its name.

mod host;
mod mount;
mod network;
#[expect(dead_code, reason = "the restart tests use the rest")]
#[path = "../restart/probe.rs"]
mod probe;
mod process;
mod row;
#[expect(dead_code, reason = "the restart tests use the rest")]
#[path = "../restart/scene.rs"]
mod scene;
#[path = "../support/mod.rs"]
mod support;
mod verdict;

use std::time::Duration;

use futures::stream::{self, StreamExt};

use self::row::{Form, Row, Rows};

/// Rows that run at a time. Most of them wait.
const AT_ONCE: usize = 4;

#[tokio::test(flavor = "multi_thread")]
async fn no_fault_of_host_or_network_loses_or_invents_an_outcome() {
    let form = match std::env::var("TRACEPROBE_FAULTS").as_deref() {
        Ok("long") => Form::Long,
        _ => Form::Short,
    };
    let only = std::env::var("TRACEPROBE_FAULTS_ROW").ok();
    let rows = rows(form).into_iter().filter(|(name, _)| only.as_deref().is_none_or(|only| only == *name));
    #[expect(clippy::disallowed_methods, reason = "each is awaited, and a panic is its result")]
    let running = rows.map(|(name, row)| async move { (name, tokio::spawn(row).await) });
    let rows: Vec<_> = stream::iter(running).buffered(AT_ONCE).collect().await;

    println!("{}", Row::HEAD);
    for (name, row) in &rows {
        match row {
            Ok(row) => println!("{}", row.line(name)),
            Err(_) => println!("| {name} | FAILED, as printed above |"),
        }
    }
    let failed = rows.iter().filter(|(_, row)| !row.as_ref().is_ok_and(|row| row.faults.is_empty()));
    let failed: Vec<_> = failed.map(|(name, row)| (name, row.as_ref().map(|row| &row.faults))).collect();
    assert!(failed.is_empty(), "{failed:#?}");
}

fn rows(form: Form) -> Rows {
    let s = Duration::from_secs;
    vec![
        ("killed", Box::pin(process::killed(form.of(4, 60)))),
        ("stopped", Box::pin(process::stopped(form.of(s(8), s(120))))),
        ("descriptors", Box::pin(process::few_descriptors())),
        ("memory", Box::pin(process::little_memory(form.of(4, 40)))),
        ("stderr", Box::pin(process::blocked_stderr(form.of(10, 100)))),
        ("panic", Box::pin(process::panicked_task())),
        ("away", Box::pin(network::away(form.of(s(8), s(300))))),
        ("full", Box::pin(host::full_disk(form.of(10, 100)))),
        ("read-only", Box::pin(host::read_only_store(form.of(10, 100)))),
        ("clock", Box::pin(host::clock_steps(form.of(&[1_000][..], &[1_000, -1_000, 5, -5])))),
    ]
}
