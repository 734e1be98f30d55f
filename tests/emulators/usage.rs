//! What a load cost, from metrics that were put into CloudWatch.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value as Json, json};
use tokio::process::Command;
use traceprobe::cloud::account::Account;
use traceprobe::cloud::aws::{Aws, Request};
use traceprobe::cloud::calls::Calls;
use traceprobe::config::Config;
use traceprobe::daemon::clock;
use traceprobe::daemon::load::usage;
use traceprobe::load::prices::{Prices, SHIPPED};
use traceprobe::load::record::{Purpose, Record};
use traceprobe::load::report::{Used, cost_lines, per_million};

use super::support::pipeline::set_up;

/// A start takes 3 s, and several times that on a busy machine.
const STARTS_WITHIN: Duration = Duration::from_secs(60);

const CONFIG: &str = r#"
[probe]
listen = "127.0.0.1:0"
[aws]
region = "eu-central-1"
endpoint = "ENDPOINT"
auth = "none"
[pipeline]
central_stream = "central"
export = "export"
vpn_connections = ["vpn-1"]
archive_metrics = "whole"
[[tenant]]
name = "acme"
log_group = "/acme"
[[stage]]
name = "stream"
kind = "kinesis"
stream = "logs-{tenant}"
[[stage]]
name = "archive"
kind = "s3"
after = "stream"
bucket = "sre-archive"
key = "%Y/%m/%d/"
end = true
"#;

/// A metric of the sheet: namespace, name, dimensions, and two values that are added up.
type Put = (&'static str, &'static str, &'static [(&'static str, &'static str)], [f64; 2]);

const PUT: [Put; 9] = [
    ("AWS/Kinesis", "IncomingRecords", &[("StreamName", "logs-acme")], [600_000.0, 400_000.0]),
    ("AWS/Kinesis", "IncomingBytes", &[("StreamName", "logs-acme")], [300e6, 200e6]),
    ("AWS/Kinesis", "IncomingRecords", &[("StreamName", "central")], [1_000.0, 1_000.0]),
    ("AWS/Kinesis", "IncomingBytes", &[("StreamName", "central")], [256e6, 256e6]),
    ("AWS/Lambda", "Invocations", &[("FunctionName", "export")], [6_000.0, 4_000.0]),
    ("AWS/Lambda", "Duration", &[("FunctionName", "export")], [9e6, 11e6]),
    ("AWS/S3", "PutRequests", &[("BucketName", "sre-archive"), ("FilterId", "whole")], [3_000.0, 1_000.0]),
    ("AWS/S3", "GetRequests", &[("BucketName", "sre-archive"), ("FilterId", "whole")], [0.0, 50_000.0]),
    ("AWS/VPN", "TunnelDataOut", &[("VpnId", "vpn-1")], [400e6, 600e6]),
];

#[tokio::test(flavor = "multi_thread")]
async fn the_cost_of_metrics_that_were_put_is_that_of_a_worked_sheet() {
    traceprobe::cloud::install_tls();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("emulators-usage");
    std::fs::create_dir_all(&folder).expect("cannot make a folder");
    let port = {
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("there is a free port");
        free.local_addr().expect("it has an address").port()
    };
    let endpoint = format!("http://127.0.0.1:{port}");
    let _ministack = Command::new(set_up().await)
        .args(["-c", "from ministack import app; import sys; sys.argv = ['ministack']; app.main()"])
        .env("GATEWAY_PORT", port.to_string())
        .env("BIND_HOST", "127.0.0.1")
        .env("MINISTACK_REGION", "eu-central-1")
        .env("IOT_MTLS_ENABLED", "0")
        .env("SFTP_ENABLED", "0")
        .env("TMPDIR", &folder)
        .env("STATE_DIR", &folder)
        .env("S3_DATA_DIR", &folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("cannot start MiniStack");
    let http = reqwest::Client::builder().no_proxy().build().expect("it can be built");
    let is_up = async {
        while http.get(format!("{endpoint}/_ministack/health")).send().await.is_err() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(STARTS_WITHIN, is_up).await.expect("MiniStack does not start");

    let text = CONFIG.replace("ENDPOINT", &endpoint);
    let key = [("TRACEPROBE_TAG_KEY".to_owned(), "0123456789abcdef".to_owned())];
    let config = Config::parse(&text, key).unwrap_or_else(|faults| panic!("{faults}"));
    let aws = Aws::new(config.aws.clone(), Calls::default()).await;
    let now = clock::system().now();
    put_metrics(&aws, now.millis() / 1_000).await;
    let function = json!({
        "FunctionName": "export", "Runtime": "python3.11", "Role": "arn:aws:iam::000000000000:role/any",
        "Handler": "index.handler", "Code": { "ZipFile": "UEsFBgAAAAAAAAAAAAAAAAAAAAAAAA==" }, "MemorySize": 512,
    });
    let made = http.post(format!("{endpoint}/2015-03-31/functions")).json(&function).send().await;
    let made = made.expect("MiniStack answers").error_for_status();
    assert!(made.is_ok(), "{made:?}");

    let used = usage::read(&config, &aws, now - Duration::from_secs(600), now).await;
    let read: Vec<_> = used.iter().filter(|it| !matches!(it, Used::Unknown { .. })).collect();
    assert_eq!(read.len(), 5, "{used:#?}");
    let mut record = Record::new(Arc::new(config.topology()));
    record.begin(Purpose::Judged, now - Duration::from_secs(600), now, 1.0);
    record.windows[0].figures.accepted = 1_000_000;
    let prices = Prices::parse("prices", SHIPPED).unwrap_or_else(|faults| panic!("{faults}"));
    let lines = cost_lines(474_000_000, &record, &used, &prices);
    let cents = |what: &str| {
        let line = lines.iter().find(|line| line.what.starts_with(what));
        let line = line.unwrap_or_else(|| panic!("no line {what}: {lines:#?}"));
        (line.dollars.unwrap_or_else(|| panic!("{line:?}")) * 100.0).round() as i64
    };
    // 0.5 GB at 0.50.
    assert_eq!(cents("ingestion"), 25);
    // A million records at 0.014 a million; 2,000 records of 256 KB are 20,000 units of 25 KB.
    assert_eq!((cents("puts into stream logs-acme"), cents("puts into stream central")), (1, 0));
    // 0.01 million at 0.20; 20,000 s of half a GB at 0.0000166667.
    assert_eq!((cents("invocations of function export"), cents("run time of function export")), (0, 17));
    // 0.004 million at 5; 0.05 million at 0.40; 1 GB at 0.09.
    assert_eq!((cents("PUT requests"), cents("GET requests"), cents("egress over vpn-1")), (2, 2, 9));
    // 0.25 + 0.014 + 0.00028 + 0.002 + 0.166667 + 0.02 + 0.02 + 0.09.
    assert_eq!(per_million(&lines).map(|dollars| (dollars * 100.0).round() as i64), Some(56));
    let unknown: Vec<_> =
        lines.iter().filter(|line| line.dollars.is_none()).map(|line| &*line.what).collect();
    assert_eq!(unknown, ["inserts into BigQuery", "shards"], "what could not be read says so");
}

async fn put_metrics(aws: &Aws, now: i64) {
    let account = Account::in_region("eu-central-1");
    for (namespace, name, dimensions, values) in PUT {
        let dimensions: Vec<Json> =
            dimensions.iter().map(|(name, value)| json!({ "Name": name, "Value": value })).collect();
        // In two different minutes.
        let data = values.iter().zip([now - 300, now - 120]).map(|(value, at)| {
            json!({ "MetricName": name, "Dimensions": dimensions, "Timestamp": at, "Value": value })
        });
        let body = json!({ "Namespace": namespace, "MetricData": data.collect::<Vec<_>>() });
        let request = Request {
            service: "monitoring",
            operation: "PutMetricData",
            account: &account,
            path: "/".to_owned(),
            post: Some(("GraniteServiceVersion20100801.PutMetricData", body)),
        };
        aws.request(&request).await.unwrap_or_else(|reason| panic!("{reason}"));
    }
}
