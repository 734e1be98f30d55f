//! What it costs. Run by hand: `cargo test --release store::tests::cost -- --ignored --nocapture`.

use super::history::t;
use super::*;
use crate::domain::canary::Integrity;
use crate::domain::sighting::Locator;
use crate::domain::tag::Tag;
use crate::domain::time::Interval;
use crate::domain::trace::Arrival;

#[test]
#[ignore = "a measurement, not a fact"]
fn a_hundred_thousand_traces_in_a_thousand_commits() {
    let folder = Folder::new();
    let mut store = open(&folder.file()).unwrap().store;
    let made: Vec<_> = (0..100_000_u32).map(delivered).map(|trace| (Arc::new(trace), true)).collect();
    let begun = tokio::time::Instant::now();
    let mut slowest = Duration::ZERO;
    for batch in made.chunks(100) {
        let begun = tokio::time::Instant::now();
        store.save(batch).unwrap();
        slowest = slowest.max(begun.elapsed());
    }
    println!("saved 100000 traces in 1000 commits: {:?}, the slowest {slowest:?}", begun.elapsed());
    let begun = tokio::time::Instant::now();
    for one in made.chunks(1).take(1_000) {
        store.save(one).unwrap();
    }
    println!("1000 commits of one trace each: {:?}", begun.elapsed());
    let begun = tokio::time::Instant::now();
    let loaded = store.load(Range { delivered: 10_000, ..ALL }).unwrap();
    println!("loaded {} traces: {:?}", loaded.traces.len(), begun.elapsed());
    let begun = tokio::time::Instant::now();
    store.save_all(&made[..20_000]).unwrap();
    println!("saved all of 20000: {:?}", begun.elapsed());
    let begun = tokio::time::Instant::now();
    let pruned = store.prune(10_000, Timestamp::MIN).unwrap();
    println!("pruned {pruned}: {:?}", begun.elapsed());
    drop(store);
    let size = fs::metadata(folder.file()).unwrap().len();
    let begun = tokio::time::Instant::now();
    drop(open(&folder.file()).unwrap());
    println!("opened and checked {size} bytes: {:?}", begun.elapsed());
}

fn delivered(n: u32) -> Trace {
    let planned = t(u64::from(n) / 10);
    let mut random = [0; 10];
    random[..4].copy_from_slice(&n.to_be_bytes());
    let tag = Tag { trace: TraceId::new(planned, random), ..canary(1) };
    let mut trace = Trace::new(tag, ACME, 5, Origin::Planned);
    for (at, visit) in trace.stages.iter_mut().enumerate().take(4) {
        let latest = planned + Duration::from_secs(at as u64 + 1);
        visit.arrival = Some(Arrival {
            interval: Interval::new(planned, latest),
            noticed_at: latest,
            integrity: Integrity::Intact,
        });
        visit.absent_until = Some(planned);
        visit.looks_in_vain = 3;
        visit.copies = vec![Locator::new(format!("shardId-000000000000/4965990{n:040}"))];
        visit.hop = Hop::Measured { latency: Duration::from_secs(1), was_overdue: false };
    }
    trace.ended = Some((Outcome::Delivered, planned + Duration::from_secs(5)));
    trace
}
