//! The traces that the probe exports, read with OpenTelemetry's own classes.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;
use tokio::time::timeout;
use traceprobe::sandbox::{Access, Sandbox, Settings, Stage};

use super::support::daemon::Daemon;
use super::support::pipeline::{scripts, set_up};

const WITHIN: Duration = Duration::from_secs(90);
const STAGES: [(Stage, &str); 3] = [
    (Stage::TenantStream, "target = \"1s\"\ninterval = \"500ms\""),
    (Stage::Transit, "interval = \"500ms\""),
    (Stage::Bigquery, "interval = \"500ms\""),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_is_a_trace_of_opentelemetry_under_its_own_id() {
    let mut receiver = Command::new(set_up().await)
        .arg(scripts().join("otlp_receiver.py"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("cannot start the receiver");
    let mut lines = BufReader::new(receiver.stdout.take().expect("stdout is piped")).lines();
    let mut line = async || -> Value {
        let line = timeout(WITHIN, lines.next_line()).await.expect("the receiver prints nothing");
        let line = line.expect("it prints text").expect("the receiver has ended");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line}: {error}"))
    };
    let port = line().await["port"].as_u64().expect("it says its port");

    let sandbox = Sandbox::start(Settings::brisk(7, 1)).await.expect("cannot start the sandbox");
    let probe = "listen = \"127.0.0.1:0\"\ninstance = \"test\"\ninterval = \"500ms\"";
    let places = sandbox.probe_configuration(Access::TenantRoles, probe, &STAGES);
    let config = Path::new(env!("CARGO_TARGET_TMPDIR")).join("emulators-otlp.toml");
    let otlp = format!("\n[otlp]\nendpoint = \"http://127.0.0.1:{port}\"\nsample = 1\n");
    std::fs::write(&config, places + &otlp).expect("cannot write the configuration");
    let variables = [
        ("TRACEPROBE_TAG_KEY", "a key that only the tests know: 0123456789"),
        ("TRACEPROBE_OTLP_HEADERS", "api-key=hush"),
    ];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let daemon = Daemon::start(&config, variables).await;

    let request = line().await;
    assert_eq!(request["path"], "/v1/traces");
    assert_eq!(request["type"], "application/x-protobuf");
    assert_eq!(request["key"], "hush");
    assert_eq!(request["unknown"], false, "{request}");
    let spans = request["spans"].as_array().expect("it is a list");
    let root = spans.iter().find(|span| span["parent"] == "").expect("a trace has a root");
    let of_trace: Vec<_> = spans.iter().filter(|span| span["trace_id"] == root["trace_id"]).collect();
    let names: Vec<_> = of_trace.iter().map(|span| span["name"].as_str().expect("it has a name")).collect();
    assert_eq!(names, ["canary", "put", "hop tenant_stream", "hop transit", "hop bigquery"]);
    for span in &of_trace {
        assert_eq!(span["resource"]["attributes"][0]["value"]["stringValue"], "traceprobe");
        assert!(span["start"].as_u64() <= span["end"].as_u64(), "{span}");
        let parent = if *span == root { "" } else { root["span_id"].as_str().expect("it has an id") };
        assert_eq!(span["parent"], parent, "{span}");
    }
    assert_eq!((&root["status"], &of_trace[1]["status"]), (&1.into(), &1.into()), "delivered, and put");
    let locators = &of_trace[2]["attributes"]["traceprobe.locators"]["arrayValue"]["values"];
    assert!(locators[0]["stringValue"].as_str().is_some_and(|text| !text.is_empty()), "{locators}");
    let id = root["trace_id"].as_str().expect("it is text");
    let page: Value =
        serde_json::from_str(&daemon.get(&format!("/traces/{id}?format=json")).await).expect("JSON");
    assert_eq!(page["trace"]["id"], id, "the page knows the same id");
}
