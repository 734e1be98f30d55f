//! Data that does not belong in a stream or bucket is counted and skipped. It harms neither the daemon nor a
//! canary.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use traceprobe::sandbox::{ARCHIVE_BUCKET, TRANSIT_BUCKET};

use crate::SOON;
use crate::support::metrics::Metrics;
use crate::support::stand::{Stand, delivered};

const MIB: usize = 1 << 20;
/// For a debug build. Leaves room for one record of 10 MiB as JSON and the copies made while it is decoded.
const MAX_MEMORY: f64 = (400 * MIB) as f64;

fn gzip(parts: impl IntoIterator<Item = Vec<u8>>) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    parts.into_iter().for_each(|part| encoder.write_all(&part).unwrap());
    encoder.finish().unwrap()
}

fn noise(bytes: usize) -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(9);
    (0..bytes).map(|_| rng.u8(..)).collect()
}

/// Payloads that must count as unreadable, named for what is wrong with them.
fn unreadable() -> Vec<(&'static str, Vec<u8>)> {
    let whole = gzip([vec![b'x'; 5_000], noise(5_000)]);
    let mut broken = whole.clone();
    let middle = broken.len() / 2;
    broken[middle..middle + 20].fill(0xff);
    vec![
        ("truncated", whole[..whole.len() / 2].to_vec()),
        ("corrupted", broken),
        ("header-alone", whole[..12].to_vec()),
        ("zstd", [&[0x28, 0xb5, 0x2f, 0xfd][..], &noise(500)].concat()),
        // In no known format, so that anything may be in it.
        ("binary", noise(100_000)),
        // 32 MB of zeros in some 30 KB.
        ("bomb", gzip((0..32).map(|_| vec![0; MIB]))),
    ]
}

/// Payloads that hold no canary but are not unreadable either.
fn harmless() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("empty", Vec::new()),
        ("invalid-utf8", b"\xff\xfe{\"message\":\"\xc3\x28 zqtp2\xff\"}\n".to_vec()),
        ("markers", b"zqtp1zqtp2".repeat(25_000)),
        ("brackets", vec![b'['; MIB]),
        ("control-message", gzip([br#"{"messageType":"CONTROL_MESSAGE","logEvents":[]}"#.to_vec()])),
    ]
}

fn errors(metrics: &Metrics, stage: &str) -> f64 {
    metrics.sum("traceprobe_observer_unreadable_records_total", &[("stage", stage)])
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::disallowed_methods, reason = "keys must carry the hour that the daemon lists")]
async fn garbage_is_counted_and_the_canaries_beside_it_are_found() {
    let stand = Stand::brisk(2).await;
    let keys = [
        ("PROBE_INTERVAL", "200ms"),
        ("PROBE_GIVE_UP", "60s"),
        ("STAGE_ARCHIVE_MAX_INFLATED", "8MB"),
        ("STAGE_TRANSIT_MAX_INFLATED", "8MB"),
        // An unoptimized build takes seconds for the largest record.
        ("STAGE_TENANT_STREAM_TIMEOUT", "20s"),
        ("STAGE_ARCHIVE_TIMEOUT", "20s"),
        ("STAGE_TRANSIT_TIMEOUT", "20s"),
        ("PROBE_BLIND_AFTER", "30s"),
    ];
    let daemon = stand.daemon(&keys).await;
    daemon.until("a canary is delivered", SOON, |recent| recent.ended("delivered") >= 1).await;
    let now = jiff::Timestamp::now();
    let (day, hour) = (now.strftime("%Y-%m-%d").to_string(), now.strftime("%H").to_string());
    let slashed = now.strftime("%Y/%m/%d/%H").to_string();
    for (name, bytes) in unreadable().into_iter().chain(harmless()) {
        let archive = format!("archive/tenant=acme/dt={day}/hour={hour}/{name}");
        stand.sandbox.put_object(ARCHIVE_BUCKET, &archive, bytes.clone());
        stand.sandbox.put_object(TRANSIT_BUCKET, &format!("transit/{slashed}/{name}"), bytes.clone());
        stand.sandbox.put_record("acme", bytes);
    }
    // The largest record that Kinesis takes.
    stand.sandbox.put_record("acme", noise(10 * MIB));

    let expected = unreadable().len() as f64;
    let (_, metrics) = daemon
        .until_seen("all unreadable payloads are counted", SOON, |_, metrics| {
            let objects = ["archive", "transit"].iter().all(|stage| errors(metrics, stage) >= expected);
            // 32 MB is within the stream's limit: a subscription's record may inflate to that.
            objects && errors(metrics, "tenant_stream") >= expected - 1.0
        })
        .await;
    let delivered_before = metrics.sum("traceprobe_traces_total", &[("outcome", "delivered")]);
    let (recent, metrics) = daemon
        .until_seen("canaries are delivered afterwards", SOON, |_, metrics| {
            metrics.sum("traceprobe_traces_total", &[("outcome", "delivered")]) >= delivered_before + 10.0
        })
        .await;
    for stage in ["archive", "transit", "tenant_stream"] {
        assert!(errors(&metrics, stage) <= expected * 2.0, "{stage}: {} errors", errors(&metrics, stage));
    }
    for outcome in ["lost", "late", "unobserved", "refused"] {
        assert_eq!(metrics.sum("traceprobe_traces_total", &[("outcome", outcome)]), 0.0, "{outcome}");
    }
    for fault in
        ["traceprobe_missing_hops_total", "traceprobe_duplicates_total", "traceprobe_corrupted_total"]
    {
        assert_eq!(metrics.sum(fault, &[]), 0.0, "{fault}");
    }
    stand.assert_intervals_hold(delivered(&recent));
    let memory = metrics.sum("process_resident_memory_bytes", &[]);
    assert!(memory < MAX_MEMORY, "{} MiB", memory / MIB as f64);
    assert!(!daemon.printed().contains("panicked"), "{}", daemon.printed());
}
