//! Clients of the web port that hold connections, and requests for names that are not ours. The command form
//! with thousands of connections is `make connections`.

use std::net::TcpStream;

use tokio::process::Command;

use crate::support::client::{Client, http};
use crate::support::metrics::Metrics;
use crate::support::process::{PROGRAM, Printed, Process};
use crate::support::stand::{Stand, variables};

fn connect(client: &Client, count: usize) -> Vec<TcpStream> {
    let address = client.address().trim_start_matches("http://");
    (0..count).map(|_| TcpStream::connect(address).unwrap()).collect()
}

/// Scrapes on a connection of its own. One that is kept may be closed just when a request is on its way, which
/// Prometheus repeats and this client does not.
async fn scrape(client: &Client) -> Metrics {
    let answer = http().get(format!("{}/metrics", client.address())).send().await;
    let answer = answer.unwrap_or_else(|error| panic!("{error}: {}", client.printed()));
    Metrics::parse(&answer.text().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_scrape_is_answered_while_others_hold_connections() {
    let stand = Stand::brisk(1).await;
    let daemon = stand.daemon(&[("WEB_MAX_CONNECTIONS", "16")]).await;
    let mut held = Vec::new();
    for _ in 0..5 {
        held.extend(connect(&daemon, 20));
        scrape(&daemon).await;
    }
    let metrics = scrape(&daemon).await;
    let closed = metrics.sum("traceprobe_web_connections_closed_total", &[("reason", "evicted")]);
    assert!(closed >= 100.0 - 16.0, "{closed} were closed");
    assert!(metrics.sum("traceprobe_web_connections", &[]) <= 16.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_scrape_is_answered_while_others_hold_more_connections_than_descriptors() {
    let stand = Stand::brisk(1).await;
    let config = stand.config();
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 64; exec \"$0\" \"$@\"", PROGRAM, "run", "--config"]).arg(&config);
    command.env_clear().envs(variables(&[]));
    let mut process = Process::spawn(&mut command, Printed::in_memory());
    let client = process.listening().await;
    let _held = connect(&client, 100);
    for _ in 0..3 {
        scrape(&client).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_configured_names_are_answered() {
    let mut stand = Stand::brisk(1).await;
    stand.configure("[web]\nhosts = [\"probe.example.org\"]\n");
    let daemon = stand.daemon(&[]).await;
    let status = async |path: &str, host: &str| {
        let request = http().get(format!("{}{path}", daemon.address())).header("host", host);
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(status("/config", "probe.example.org:9464").await, 200);
    assert_eq!(status("/config", "evil.example").await, 421);
    assert_eq!(status("/healthz", "evil.example").await, 200);
    // By its address.
    let metrics = daemon.metrics().await;
    assert_eq!(metrics.sum("traceprobe_web_refused_total", &[("reason", "host")]), 1.0);
}
