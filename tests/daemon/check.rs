//! `traceprobe check` in front of the sandbox: marks, causes, mends, exit codes.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::TcpListener;
use traceprobe::sandbox::{
    ARCHIVE_BUCKET, Fault, Service, ServiceEffect, Stage, StageEffect, TRANSIT_BUCKET,
};

use crate::SOON;
use crate::commands::program;
use crate::priced::now;
use crate::support::stand::{Stand, variables};

/// Runs `traceprobe check` with more arguments and keys.
async fn check(stand: &Stand, arguments: &[&str], keys: &[(&str, &str)]) -> (Output, String) {
    let config = stand.config();
    let all = [&["check", "--config", config.to_str().unwrap()], arguments].concat();
    let output = program(&all, &variables(keys)).await;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    (output, said)
}

/// The findings of `check --json`.
async fn findings(stand: &Stand, keys: &[(&str, &str)]) -> Vec<Value> {
    let (output, said) = check(stand, &["--json"], keys).await;
    let mut document: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
    assert_eq!(output.status.code().map(i64::from), document["exit_code"].as_i64(), "{said}");
    match document["findings"].take() {
        Value::Array(findings) => findings,
        other => panic!("{other}"),
    }
}

fn with_mark<'a>(findings: &'a [Value], mark: &str) -> Vec<&'a Value> {
    findings.iter().filter(|finding| finding["mark"] == mark).collect()
}

fn deny(service: Service, operation: &str, tenant: Option<&str>) -> Fault {
    Fault::Service {
        service,
        operation: Some(operation.to_owned()),
        tenant: tenant.map(str::to_owned),
        effect: ServiceEffect::Deny,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_that_works_fails_nothing_and_receives_no_canary() {
    let stand = Stand::brisk(2).await;
    let (output, said) = check(&stand, &[], &[]).await;
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(!said.contains("FAIL"), "{said}");
    let is_ok =
        |what: &str| said.lines().filter(|line| line.starts_with("ok ") && line.contains(what)).count();
    // Two log groups; four sources of each tenant and two shared ones; of these, one is a table.
    assert_eq!(
        (is_ok(": right to put: proven"), is_ok(": filter pattern: "), is_ok(": poll: ")),
        (2, 2, 10),
        "{said}"
    );
    assert_eq!((is_ok(": columns: "), is_ok(": price of a poll: "), is_ok(": clock: ")), (1, 1, 1), "{said}");
    assert!(stand.sandbox.truth().is_empty(), "a check sent a canary");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_cannot_be_assumed_fails_its_tenant_only_and_lists_what_it_may_be() {
    let stand = Stand::brisk(2).await;
    stand.sandbox.fault(deny(Service::Sts, "AssumeRole", Some("acme")));
    let findings = findings(&stand, &[]).await;
    let failed = with_mark(&findings, "fail");
    // Its log group is tried for writing and for reading.
    assert_eq!(failed.len(), 2, "{failed:#?}");
    for finding in failed {
        assert_eq!(finding["tenants"], serde_json::json!(["acme"]));
        assert_eq!(finding["failure"]["permission"], "sts:AssumeRole");
        assert_eq!(finding["mend"]["possibilities"].as_array().map(Vec::len), Some(4), "{finding:#}");
        let role = if finding["stage"].is_null() { "tenant-inject" } else { "observer-role" };
        assert_eq!(finding["mend"]["statement"]["file"], format!("config/iam/{role}-trust.json"));
    }
    let put = |finding: &&&Value| finding["what"] == "right to put";
    let ok = with_mark(&findings, "ok");
    assert_eq!(ok.iter().filter(put).map(|finding| &finding["tenants"][0]).collect::<Vec<_>>(), ["globex"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_right_to_put_fails_and_names_its_statement() {
    let stand = Stand::brisk(1).await;
    stand.sandbox.fault(deny(Service::Logs, "PutLogEvents", None));
    let findings = findings(&stand, &[]).await;
    let failed = with_mark(&findings, "fail");
    assert_eq!(failed.len(), 1, "{failed:#?}");
    assert_eq!(failed[0]["what"], "right to put");
    assert_eq!(failed[0]["mend"]["statement"]["sid"], "WriteCanariesToTheProbesLogStreamsOnly");
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_that_only_a_check_needs_are_not_tried_without_them_and_nothing_fails() {
    let stand = Stand::brisk(1).await;
    stand.sandbox.fault(deny(Service::Logs, "DescribeSubscriptionFilters", None));
    let findings = findings(&stand, &[]).await;
    assert_eq!(with_mark(&findings, "fail"), Vec::<&Value>::new());
    let not_tried = with_mark(&findings, "not_tried");
    let filters = not_tried.iter().find(|finding| finding["what"] == "subscription filters");
    let statement = &filters.expect("the filters are not tried")["mend"]["statement"];
    assert_eq!(statement["sid"], "SeeTheSubscriptionFilters");
    assert_eq!(statement["file"], "config/iam/tenant-inject-check.json");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_that_does_not_last_a_day_fails() {
    let stand = Stand::brisk(1).await;
    let findings = findings(&stand, &[("STAGE_BIGQUERY_DAILY_BYTES_BILLED", "100MB")]).await;
    let failed = with_mark(&findings, "fail");
    assert_eq!(failed.len(), 1, "{failed:#?}");
    assert_eq!(failed[0]["what"], "price of a poll");
    assert_eq!(failed[0]["mend"]["key"], "stage.bigquery.daily_bytes_billed");
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_of_google_that_cannot_be_used_stop_nothing_else() {
    let stand = Stand::brisk(1).await;
    let keys = [("GCP_AUTH", "service_account"), ("GCP_CREDENTIALS_FILE", "/no/such/file.json")];
    let findings = findings(&stand, &keys).await;
    let failed = with_mark(&findings, "fail");
    assert_eq!(failed.len(), 1, "{failed:#?}");
    // The variable is named, because the file has another value, or none.
    assert_eq!(failed[0]["mend"]["key"], "TRACEPROBE_GCP_CREDENTIALS_FILE, which sets gcp.credentials_file");
    assert!(failed[0]["detail"].as_str().unwrap().contains("/no/such/file.json"), "{:#}", failed[0]);
    let at_bigquery = |finding: &&&Value| finding["stage"] == "bigquery";
    assert_eq!(with_mark(&findings, "not_tried").iter().filter(at_bigquery).count(), 1);
    let put = |finding: &&&Value| finding["what"] == "right to put";
    assert_eq!(with_mark(&findings, "ok").iter().filter(put).count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_tenants_on_a_silent_service_take_no_longer_than_one() {
    let stand = Stand::brisk(8).await;
    stand.sandbox.fault(Fault::service(Service::Logs, ServiceEffect::Hang));
    stand.sandbox.fault(Fault::service(Service::Bigquery, ServiceEffect::Hang));
    // One after the other they would take 17 timeouts of 5 s, and `program` waits for 45 s.
    let (output, said) = check(&stand, &[], &[]).await;
    assert_eq!(output.status.code(), Some(1), "{said}");
    // Each log group is tried for writing and for reading.
    assert_eq!(said.lines().filter(|line| line.starts_with("FAIL")).count(), 8 * 2 + 1, "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_with_another_form_of_date_fails_and_is_told_with_the_right_one() {
    let stand = Stand::brisk(1).await;
    let key = now().strftime("transit/%Y/%m/%d/%H/1.gz");
    stand.sandbox.put_object(TRANSIT_BUCKET, &key, b"{}\n".to_vec());
    let findings = findings(&stand, &[("STAGE_TRANSIT_KEY", "transit/%d-%m-%Y/%H/")]).await;
    let failed = with_mark(&findings, "fail");
    assert_eq!(failed.len(), 1, "{failed:#?}");
    let detail = failed[0]["detail"].as_str().unwrap();
    assert!(detail.contains(&key) && detail.contains("key = \"transit/%Y/%m/%d/%H/\""), "{detail}");
    assert_eq!(failed[0]["mend"]["key"], "stage.transit.key");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_names_the_tenant_is_proposed_with_the_placeholder() {
    let stand = Stand::brisk(2).await;
    for tenant in ["acme", "globex"] {
        let key = now().strftime(&format!("archive/tenant={tenant}/dt=%Y-%m-%d/hour=%H/1.gz"));
        stand.sandbox.put_object(ARCHIVE_BUCKET, &key, b"{}\n".to_vec());
    }
    let right = "key = \"archive/tenant={tenant}/dt=%Y-%m-%d/hour=%H/\"";
    for wrong in ["archive/tenant={tenant}/date=%Y-%m-%d/hour=%H/", "archive/all/dt=%Y-%m-%d/hour=%H/"] {
        let findings = findings(&stand, &[("STAGE_ARCHIVE_KEY", wrong)]).await;
        let newest = |finding: &&Value| finding["stage"] == "archive" && finding["what"] == "newest object";
        let details: Vec<_> = findings.iter().filter(newest).filter_map(|it| it["detail"].as_str()).collect();
        assert!(!details.is_empty() && details.iter().all(|detail| detail.contains(right)), "{details:#?}");
    }
}

/// Accepts connections and never answers.
struct Silent {
    address: SocketAddr,
    /// Connections now, at most at once, and in all.
    counts: Arc<[AtomicUsize; 3]>,
}

impl Silent {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, counts) = (listener.local_addr().unwrap(), Arc::<[AtomicUsize; 3]>::default());
        let shared = counts.clone();
        #[expect(clippy::disallowed_methods, reason = "servers that live as long as the test")]
        tokio::spawn(async move {
            while let Ok((mut connection, _)) = listener.accept().await {
                let [now, most, all] = &*shared;
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                all.fetch_add(1, Ordering::SeqCst);
                let shared = shared.clone();
                tokio::spawn(async move {
                    let mut ignored = vec![0; 4_096];
                    while matches!(connection.read(&mut ignored).await, Ok(1..)) {}
                    shared[0].fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { address, counts }
    }

    fn at_once(&self) -> usize {
        self.counts[1].load(Ordering::SeqCst)
    }

    fn all(&self) -> usize {
        self.counts[2].load(Ordering::SeqCst)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_tenants_on_silent_services_take_two_timeouts_and_not_fifty() {
    const TENANTS: usize = 50;
    let stand = Stand::brisk(TENANTS).await;
    let services = ["AWS_ENDPOINTS_STS", "AWS_ENDPOINTS_LOGS", "AWS_ENDPOINTS_KINESIS", "AWS_ENDPOINTS_S3"];
    let mut silent = BTreeMap::new();
    for key in services.into_iter().chain(["GCP_ENDPOINTS_BIGQUERY"]) {
        silent.insert(key, Silent::start().await);
    }
    let urls: Vec<_> = silent.iter().map(|(key, it)| (*key, format!("http://{}", it.address))).collect();
    let keys: Vec<_> = urls.iter().map(|(key, url)| (*key, url.as_str())).collect();
    let findings = findings(&stand, &keys).await;
    let at_once = |key: &str| silent[key].at_once();
    // All wait side by side: for the tenants' roles, their streams, and their prefixes of two stages.
    assert!(at_once("AWS_ENDPOINTS_STS") >= TENANTS, "{}", at_once("AWS_ENDPOINTS_STS"));
    assert!(at_once("AWS_ENDPOINTS_KINESIS") >= TENANTS, "{}", at_once("AWS_ENDPOINTS_KINESIS"));
    assert!(at_once("AWS_ENDPOINTS_S3") > 2 * TENANTS, "{}", at_once("AWS_ENDPOINTS_S3"));
    // And none waits more than twice: 50 log groups for writing and reading, 50 streams, 101 prefixes, one table.
    let subjects = 4 * TENANTS + 2 + TENANTS;
    let calls: usize = silent.values().map(Silent::all).sum();
    assert!(calls <= 2 * subjects, "{calls} calls for {subjects} subjects");
    let tried = |finding: &&Value| finding["failure"]["kind"] == "timeout" && finding["subject"] != "probe";
    let timed_out: Vec<_> = findings.iter().filter(tried).collect();
    assert_eq!(timed_out.len(), subjects, "{findings:#?}");
    for finding in timed_out {
        let key = finding["mend"]["key"].as_str().unwrap_or_default();
        assert!(key.contains(".endpoints."), "no address is named: {finding:#}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_cannot_be_reached_is_named_with_host_operation_reason_and_key() {
    let stand = Stand::brisk(1).await;
    let closed = {
        // Closed again at once.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    let url = format!("http://{closed}");
    let unknown = "http://no-such-host.invalid:1";
    for (key, url, operation, reason, named) in [
        ("AWS_ENDPOINTS_KINESIS", &*url, "ListShards", "the connection was refused", "aws.endpoints.kinesis"),
        ("AWS_ENDPOINTS_S3", &url, "ListObjectsV2", "the connection was refused", "aws.endpoints.s3"),
        ("AWS_ENDPOINTS_STS", &url, "AssumeRole", "the connection was refused", "aws.endpoints.sts"),
        ("AWS_ENDPOINTS_LOGS", &url, "CreateLogStream", "the connection was refused", "aws.endpoints.logs"),
        (
            "AWS_ENDPOINTS_LOGS",
            unknown,
            "CreateLogStream",
            "DNS does not resolve the name",
            "aws.endpoints.logs",
        ),
        (
            "GCP_ENDPOINTS_BIGQUERY",
            &url,
            "tables.get",
            "the connection was refused",
            "gcp.endpoints.bigquery",
        ),
        (
            "GCP_ENDPOINTS_BIGQUERY",
            unknown,
            "tables.get",
            "DNS does not resolve the name",
            "gcp.endpoints.bigquery",
        ),
    ] {
        let findings = findings(&stand, &[(key, url)]).await;
        let host = url.trim_start_matches("http://");
        let says_all = |finding: &&Value| {
            let detail = finding["detail"].as_str().unwrap_or_default();
            [operation, host, reason, named].iter().all(|part| detail.contains(part))
        };
        let failed = with_mark(&findings, "fail");
        let told: Vec<_> = failed.iter().copied().filter(says_all).collect();
        assert!(!told.is_empty(), "{key}={url}: {failed:#?}");
        for finding in told {
            assert_eq!(finding["failure"]["kind"], "unreachable", "{finding:#}");
            assert_eq!(finding["mend"]["key"], named, "{finding:#}");
        }
    }
}

/// Answers every call with this status and text, as something else than a service does. Returns its address.
async fn something_else(status: u16, text: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let status = axum::http::StatusCode::from_u16(status).unwrap();
    let app = axum::Router::new().fallback(async move || (status, text));
    #[expect(clippy::disallowed_methods, reason = "a server that lives as long as the test")]
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    url
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_is_not_the_service_is_named_and_no_place_is_called_missing() {
    let pages =
        [something_else(404, "404 page not found").await, something_else(200, "<html>welcome</html>").await];
    let cases = [
        ("GCP_ENDPOINTS_BIGQUERY", "BigQuery", "gcp.endpoints.bigquery"),
        ("AWS_ENDPOINTS_KINESIS", "Kinesis", "aws.endpoints.kinesis"),
        ("AWS_ENDPOINTS_LOGS", "CloudWatch Logs", "aws.endpoints.logs"),
        ("AWS_ENDPOINTS_S3", "S3", "aws.endpoints.s3"),
        ("AWS_ENDPOINTS_STS", "STS", "aws.endpoints.sts"),
    ];
    for (key, title, named) in cases {
        for url in &pages {
            let url = format!("{url}/of/{title}").replace(' ', "-");
            // Several checks of one stream would exceed the reads that a shard allows.
            let stand = Stand::brisk(1).await;
            let findings = findings(&stand, &[(key, &url)]).await;
            let failed = with_mark(&findings, "fail");
            assert!(!failed.is_empty(), "{key}={url}: {findings:#?}");
            for finding in failed {
                let detail = finding["detail"].as_str().unwrap();
                let expected = format!("{named} is \"{url}\", which does not answer like {title}");
                assert!(detail.contains(&expected), "{detail}");
                assert_eq!(finding["mend"]["key"], named, "{finding:#}");
                assert!(finding["mend"]["command"].is_null(), "{finding:#}");
                assert_eq!(finding["mend"]["possibilities"], serde_json::json!([]), "{finding:#}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_path_in_the_short_form_of_an_endpoint_is_named_by_that_form() {
    let stand = Stand::brisk(1).await;
    let config = stand.config();
    let text = std::fs::read_to_string(&config).unwrap();
    let mut table: toml::Table = text.parse().unwrap();
    let gcp = table["gcp"].as_table_mut().unwrap();
    gcp["endpoints"].as_table_mut().unwrap().remove("bigquery").unwrap();
    let wrong = format!("{}/bigqury/v2", something_else(404, "404 page not found").await);
    gcp.insert("endpoint".to_owned(), wrong.clone().into());
    let config = config.with_file_name("short.toml");
    std::fs::write(&config, table.to_string()).unwrap();
    let output = program(&["check", "--config", config.to_str().unwrap()], &variables(&[])).await;
    let said = String::from_utf8_lossy(&output.stdout);
    let expected = format!("gcp.endpoint is \"{wrong}\", which does not answer like BigQuery");
    assert!(said.lines().any(|line| line.starts_with("FAIL") && line.contains(&expected)), "{said}");
    assert!(said.lines().any(|line| line.trim() == "key      gcp.endpoint"), "{said}");
    assert!(!said.contains("stage.bigquery.table"), "{said}");
}

/// Runs `check --canary --json`. Returns the exit code and the canaries.
async fn canaries(stand: &Stand, arguments: &[&str]) -> (Option<i32>, Vec<Value>) {
    let (output, said) = check(stand, &[&["--canary", "--json"], arguments].concat(), &[]).await;
    let mut document: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
    match document["canaries"].take() {
        Value::Array(canaries) => (output.status.code(), canaries),
        other => panic!("{other}: {said}"),
    }
}

fn state<'a>(canary: &'a Value, stage: &str) -> &'a str {
    let stages = canary["stages"].as_array().unwrap();
    let found = stages.iter().find(|it| it["stage"] == stage);
    found.unwrap_or_else(|| panic!("no {stage} in {canary:#}"))["state"].as_str().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_of_each_tenant_arrives_everywhere_and_no_daemon_counts_it() {
    let stand = Stand::brisk(2).await;
    let daemon = stand.daemon(&[("PROBE_INTERVAL", "2s")]).await;
    daemon.until("a canary is delivered", SOON, |recent| recent.ended("delivered") >= 1).await;
    let (code, canaries) = canaries(&stand, &[]).await;
    assert_eq!((code, canaries.len()), (Some(0), 2), "{canaries:#?}");
    for canary in &canaries {
        assert_eq!(canary["outcome"], "delivered", "{canary:#}");
        for stage in ["log_group", "tenant_stream", "archive", "transit", "bigquery"] {
            assert_eq!(state(canary, stage), "arrived", "{canary:#}");
        }
        assert_eq!(state(canary, "dead_letter"), "not_given_up");
    }
    let (recent, metrics) = (daemon.recent().await, daemon.metrics().await);
    for canary in &canaries {
        assert!(recent.trace(canary["trace"].as_str().unwrap()).is_none(), "the daemon follows {canary:#}");
    }
    for counted in ["stray_tags", "adopted_traces", "isolation_violations", "duplicates", "foreign_tags"] {
        assert_eq!(metrics.sum(&format!("traceprobe_{counted}_total"), &[]), 0.0, "{counted}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_tenants_that_are_named_get_a_canary() {
    let stand = Stand::brisk(2).await;
    let (code, canaries) = canaries(&stand, &["--tenant", "globex"]).await;
    let tenants: Vec<_> = canaries.iter().filter_map(|canary| canary["tenant"].as_str()).collect();
    assert_eq!((code, tenants), (Some(0), vec!["globex"]));
    assert_eq!(stand.sandbox.truth().len(), 1);
    let (output, _) = check(&stand, &["--canary", "--tenant", "globx"], &[]).await;
    assert_eq!(output.status.code(), Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_that_is_lost_is_missing_where_it_was_lost() {
    let stand = Stand::brisk(1).await;
    stand.sandbox.fault(Fault::stage(Stage::Bigquery, StageEffect::Lose { probability: 1.0 }));
    let (code, canaries) = canaries(&stand, &["--timeout", "5s"]).await;
    assert_eq!((code, &canaries[0]["outcome"]), (Some(3), &Value::from("missing")), "{canaries:#?}");
    assert_eq!((state(&canaries[0], "transit"), state(&canaries[0], "bigquery")), ("arrived", "missing"));
    let detail = canaries[0]["detail"].as_str().unwrap();
    assert!(detail.starts_with("lost after transit; bigquery: missing"), "{detail}");
    assert!(canaries[0]["advice"].to_string().contains("was lost between"), "{:#}", canaries[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_that_is_followed_for_less_than_its_deadline_is_not_called_lost() {
    let stand = Stand::brisk(1).await;
    stand.sandbox.fault(Fault::stage(Stage::Bigquery, StageEffect::Lose { probability: 1.0 }));
    let (code, canaries) = canaries(&stand, &["--timeout", "4s"]).await;
    assert_eq!((code, &canaries[0]["outcome"]), (Some(3), &Value::from("missing")), "{canaries:#?}");
    assert_eq!(
        canaries[0]["detail"],
        "not arrived at bigquery within 4 s (--timeout); it may still be on its way, probe.give_up is 5s"
    );
    let advice = canaries[0]["advice"].to_string();
    assert!(!advice.contains("was lost between"), "{advice}");
}

/// What `check --canary` says of one canary with these keys.
async fn canary_with(stand: &Stand, keys: &[(&str, &str)]) -> Value {
    let (output, said) = check(stand, &["--canary", "--json", "--timeout", "5s"], keys).await;
    let document: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
    assert_eq!(output.status.code(), Some(3), "{said}");
    document["canaries"][0].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_with_another_label_is_told_with_both_labels_and_the_keys() {
    let stand = Stand::brisk(1).await;
    for (keys, parts) in [
        (
            ("TENANT_ACME_LABEL", "acmecorp"),
            [
                "column `tenant` has `acme` and not `acmecorp`",
                "label = \"acme\"",
                "stage.bigquery.tenant_column",
            ],
        ),
        (
            ("STAGE_BIGQUERY_TENANT_COLUMN", "trace_id"),
            [
                "column `trace_id` has `zqtp",
                "and not `acme`, the label of tenant acme: tenant_column does not name the tenant",
                "tenant.acme.label",
            ],
        ),
    ] {
        let canary = canary_with(&stand, &[keys]).await;
        let advice: Vec<_> = canary["advice"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        assert_eq!(advice.len(), 1, "{canary:#}");
        for part in parts {
            assert!(advice[0].contains(part), "no {part:?} in {}", advice[0]);
        }
        let detail = canary["detail"].as_str().unwrap();
        assert!(detail.contains("bigquery: there, but with the label `"), "{detail}");
        assert!(!detail.contains("lost") && !detail.contains("another tenant"), "{detail}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_with_the_label_of_another_tenant_is_still_a_leak() {
    let stand = Stand::brisk(2).await;
    let keys = [("TENANT_ACME_LABEL", "globex"), ("TENANT_GLOBEX_LABEL", "acme")];
    let canary = canary_with(&stand, &keys).await;
    let advice = canary["advice"].to_string();
    assert!(advice.contains("has `acme`, the label of tenant globex, and not `globex`"), "{advice}");
    assert!(canary["detail"].as_str().unwrap().contains("found with another tenant"), "{canary:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_names_somebody_else_is_told_with_the_label_and_the_key() {
    let stand = Stand::brisk(1).await;
    let key = ("STAGE_TRANSIT_KEY", "transit/%Y/%m/%d/%H/{tenant}.ndjson");
    let canary = canary_with(&stand, &[key]).await;
    let advice = canary["advice"].to_string();
    for part in
        ["transit: the canary is there", "where {tenant} is in key", "and not `acme`", "stage.transit.key"]
    {
        assert!(advice.contains(part), "no {part:?} in {advice}");
    }
    assert!(!advice.contains("was lost between"), "{advice}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_that_only_a_side_stage_has_is_told_to_be_there() {
    let stand = Stand::brisk(1).await;
    stand.sandbox.fault(Fault::stage(Stage::TenantStream, StageEffect::Lose { probability: 1.0 }));
    let (code, canaries) = canaries(&stand, &["--timeout", "5s"]).await;
    assert_eq!((code, state(&canaries[0], "log_group")), (Some(3), "arrived"), "{canaries:#?}");
    let advice = canaries[0]["advice"].to_string();
    assert!(advice.contains("of the stages only log_group has it"), "{advice}");
    assert!(!advice.contains("no stage"), "{advice}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_at_a_stage_that_cannot_be_read_is_not_called_missing() {
    let stand = Stand::brisk(1).await;
    stand.sandbox.fault(Fault::service(Service::Bigquery, ServiceEffect::Deny));
    let (code, canaries) = canaries(&stand, &["--timeout", "5s"]).await;
    assert_eq!((code, &canaries[0]["outcome"]), (Some(4), &Value::from("unknown")), "{canaries:#?}");
    assert_eq!(state(&canaries[0], "bigquery"), "cannot_see");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_check_prints_what_is_known() {
    let stand = Stand::brisk(1).await;
    stand.sandbox.fault(Fault::stage(Stage::Bigquery, StageEffect::Lose { probability: 1.0 }));
    let config = stand.config();
    let mut check = tokio::process::Command::new(env!("CARGO_BIN_EXE_traceprobe"))
        .args(["check", "--canary", "--config", config.to_str().unwrap()])
        .env_clear()
        .envs(variables(&[]))
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(check.stdout.take().unwrap()).lines();
    let mut said = Vec::new();
    let until_it_ends = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if line.contains(": transit: arrived after") {
                let id = check.id().unwrap().to_string();
                assert!(
                    tokio::process::Command::new("kill")
                        .args(["-INT", &id])
                        .status()
                        .await
                        .unwrap()
                        .success()
                );
            }
            said.push(line);
        }
        check.wait().await.unwrap()
    };
    let status = tokio::time::timeout(SOON, until_it_ends).await.expect("it does not end");
    assert_eq!(status.code(), Some(130), "{said:#?}");
    assert!(said.iter().any(|line| line.starts_with("not tried canary of acme")), "{said:#?}");
    let hint = said.iter().find(|line| line.trim().starts_with("look ")).expect("it says what was sent");
    for part in [
        " zqtp",
        "was sent to /ecs/acme/app at 20",
        "CloudWatch Logs took it",
        "seen at ",
        "not yet at bigquery",
    ] {
        assert!(hint.contains(part), "no {part:?} in {hint}");
    }
    let tag = hint.split(' ').find(|word| word.starts_with("zqtp")).unwrap();
    let commands: Vec<_> = said.iter().filter(|line| line.trim().starts_with("run ")).collect();
    for parts in [
        ["aws --endpoint-url http://127.0.0.1", " logs filter-log-events", "# search the log group"],
        ["bq --api http://127.0.0.1", " query ", "# bigquery: query the row"],
    ] {
        let is_it = |line: &&&String| line.contains(tag) && parts.iter().all(|part| line.contains(part));
        assert_eq!(commands.iter().filter(is_it).count(), 1, "{parts:?}: {said:#?}");
    }
    let is_seen = |line: &&String| line.contains("# transit: ") || line.contains("run      SELECT");
    assert!(!commands.iter().any(is_seen), "{commands:#?}");
}
