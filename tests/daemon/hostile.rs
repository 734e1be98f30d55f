//! An object that is made to take long, in a bucket that tenants share. Whoever can write a log line has a
//! genuine tag to make it of.

use std::io::Write;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use traceprobe::sandbox::TRANSIT_BUCKET;

use crate::SOON;
use crate::support::metrics::Metrics;
use crate::support::stand::Stand;

fn delivered(metrics: &Metrics, tenant: &str) -> f64 {
    metrics.sum("traceprobe_traces_total", &[("tenant", tenant), ("outcome", "delivered")])
}

/// One tag 2.2 million times on one line: 145 MB in 0.4 MB. Members that follow on each other are one text.
fn repeated(tag: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(tag.repeat(100_000).as_bytes()).unwrap();
    encoder.finish().unwrap().repeat(22)
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::disallowed_methods, reason = "the key must carry the hour that the daemon lists")]
async fn a_hostile_object_is_named_and_holds_up_neither_tenants_nor_the_end() {
    let stand = Stand::brisk(2).await;
    let keys = [("PROBE_INTERVAL", "200ms"), ("PROBE_GIVE_UP", "60s"), ("PROBE_STOP_GRACE", "10s")];
    let daemon = stand.daemon(&keys).await;
    daemon.until("a canary is delivered", SOON, |recent| recent.ended("delivered") >= 1).await;
    let tag = stand.sandbox.truth()[0].token.clone();
    let hour = jiff::Timestamp::now().strftime("%Y/%m/%d/%H").to_string();
    stand.sandbox.put_object(TRANSIT_BUCKET, &format!("transit/{hour}/hostile"), repeated(&tag));

    let named = format!("transit/{hour}/hostile (decoding it takes too much work)");
    daemon.until_printed(&named, SOON).await;
    let before = daemon.metrics().await;
    let (_, metrics) = daemon
        .until_seen("canaries of both tenants are delivered afterwards", SOON, |_, metrics| {
            ["acme", "globex"].iter().all(|it| delivered(metrics, it) >= delivered(&before, it) + 5.0)
        })
        .await;
    for outcome in ["lost", "late", "unobserved"] {
        assert_eq!(metrics.sum("traceprobe_traces_total", &[("outcome", outcome)]), 0.0, "{outcome}");
    }
    let (status, printed) = daemon.terminate(Duration::from_secs(20)).await;
    assert_eq!(status.code(), Some(0), "{printed}");
}
