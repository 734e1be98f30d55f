//! Requests to the page.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, header};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tower::ServiceExt as _;
use traceprobe::config::{Config, TAG_KEY};
use traceprobe::domain::aggregates::{History, TenantHistory};
use traceprobe::domain::foreign::ForeignText;
use traceprobe::domain::sighting::FailureKind;
use traceprobe::domain::time::{Timestamp, WallClock};
use traceprobe::domain::tracker::{Input, PutResult, Snapshot, Tracker};
use traceprobe::web::{App, Settings, router};

use super::world::{KEY, recognizer, tag};

/// An element that no page has. Requests of the corpus have it wherever a text can stand.
const INJECTED: &str = "<zq";

const CONFIG: &str = r#"
[aws]
region = "eu-central-1"
[[tenant]]
name = "acme"
log_group = "/acme"
[[tenant]]
name = "globex"
log_group = "/globex"
[[stage]]
name = "stream"
kind = "kinesis"
stream = "logs-{tenant}"
[[stage]]
name = "table"
kind = "bigquery"
after = "stream"
table = "p.d.t"
id_column = "trace_id"
end = true
"#;

static APP: LazyLock<App> = LazyLock::new(app);

/// The first line is a path with its query, the others are headers. The answer comes, is no fault of ours, and
/// shows nothing of the request as markup.
pub fn web(data: &[u8]) {
    thread_local! {
        static RUNTIME: Runtime = Builder::new_current_thread().enable_time().build().expect("no I/O is needed");
        static ROUTER: Router = router(APP.clone());
    }
    let mut lines = data.split(|byte| *byte == b'\n');
    let mut request = Request::builder().uri(lines.next().unwrap_or_default());
    for line in lines {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        request = request.header(&line[..colon], line[colon + 1..].trim_ascii());
    }
    // Not a request that the server would pass on.
    let Ok(request) = request.body(Body::empty()) else { return };
    let uri = request.uri().clone();
    let answer = RUNTIME.with(|runtime| {
        runtime.block_on(async {
            let Ok(answer) = ROUTER.with(Router::clone).oneshot(request).await;
            let (head, body) = answer.into_parts();
            (head, to_bytes(body, usize::MAX).await.expect("the body is at hand"))
        })
    });
    let (head, body) = answer;
    let ready = uri.path() == "/readyz" || uri.path() == "/healthz";
    assert!(ready || !head.status.is_server_error(), "{} for {uri}", head.status);
    assert!(head.headers.contains_key(header::CONTENT_SECURITY_POLICY), "no policy for {uri}");
    let kind = head.headers.get(header::CONTENT_TYPE).map_or(&b""[..], |kind| kind.as_bytes());
    let compressed = head.headers.contains_key(header::CONTENT_ENCODING);
    if kind.starts_with(b"text/html") && !compressed {
        let page = String::from_utf8(body.to_vec()).expect("pages are UTF-8");
        assert!(!page.contains(INJECTED), "the page for {uri} has an element of the request");
    }
}

fn app() -> App {
    let env = [(TAG_KEY, KEY), ("HOSTNAME", "probe-1")];
    let env = env.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let config = Config::parse(CONFIG, env).expect("the configuration is valid");
    let snapshot = snapshot(&config);
    let now = snapshot.at + Duration::from_millis(250);
    let (_, receiver) = watch::channel(Arc::new(snapshot));
    App {
        snapshot: receiver,
        clock: WallClock::new(move || now),
        settings: Arc::new(Settings {
            version: "0.1.0".to_owned(),
            runbook: None,
            log_groups: BTreeMap::new(),
            external_url: None,
            criteria: config.criteria(),
            give_up: config.probe.give_up,
            remember: config.probe.remember,
            stale_after: Duration::from_secs(30),
            pipeline: traceprobe::domain::pipeline::Pipeline::default(),
            endpoints: config.tool_endpoints(),
            evidence: BTreeMap::new(),
        }),
        config: Arc::new(config.to_json_without_secrets()),
        ready: Arc::new(|| Err("`table` has not been read yet".to_owned())),
        scrape: Arc::new(|format| format!("# {format:?}\nup 1\n")),
        sign: Arc::new(|tag| recognizer().keys.sign(tag)),
        history: Arc::new(|selection| History {
            known_since: Timestamp::from_secs(0),
            tenants: selection
                .tenants
                .iter()
                .map(|tenant| TenantHistory { tenant: *tenant, buckets: Vec::new() })
                .collect(),
        }),
        drill: None,
        reload: None,
        log_level: None,
    }
}

/// A trace in flight, a refused one, and a stage that cannot be read; the texts from outside have the element.
fn snapshot(config: &Config) -> Snapshot {
    let topology = Arc::new(config.topology());
    let first = tag("acme", 1, 500);
    let now = first.trace.planned_at();
    let mut tracker = Tracker::new(topology.clone(), config.tracker_settings(), now);
    for tag in [first, tag("globex", 2, 500)] {
        tracker.plan(tag, now, &mut Vec::new()).expect("there is room");
        let result = if tag == first {
            PutResult::Accepted { doubled: false }
        } else {
            PutResult::Refused { reason: format!("{INJECTED} onload=x>").into() }
        };
        tracker.apply(Input::Put { trace: tag.trace, result }, now);
    }
    let detail = ForeignText::new(&format!("{INJECTED} onload=x>"));
    for source in topology.source_ids() {
        let failed = Input::PollFailed { source, kind: FailureKind::Denied, detail: detail.clone() };
        tracker.apply(failed, now + Duration::from_secs(40));
    }
    tracker.snapshot(now + Duration::from_secs(90))
}
