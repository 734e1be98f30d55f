//! `traceprobe check` in front of the sandbox: marks, causes, mends, exit codes.

use std::process::Output;

use serde_json::Value;
use traceprobe::sandbox::{Fault, Service, ServiceEffect};

use crate::commands::program;
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
    assert_eq!(
        (is_ok(": columns: "), is_ok(": price of a poll: "), is_ok("who am I, AWS")),
        (1, 1, 1),
        "{said}"
    );
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
        assert_eq!(finding["mend"]["statement"]["file"], "config/iam/tenant-inject-trust.json");
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
    assert_eq!(failed[0]["mend"]["key"], "gcp.auth");
    let at_bigquery = |finding: &&&Value| finding["stage"] == "bigquery";
    assert_eq!(with_mark(&findings, "not_tried").iter().filter(at_bigquery).count(), 1);
    let put = |finding: &&&Value| finding["what"] == "right to put";
    assert_eq!(with_mark(&findings, "ok").iter().filter(put).count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_tenants_on_a_silent_service_take_no_longer_than_one() {
    let stand = Stand::brisk(20).await;
    stand.sandbox.fault(Fault::service(Service::Logs, ServiceEffect::Hang));
    stand.sandbox.fault(Fault::service(Service::Bigquery, ServiceEffect::Hang));
    // One after the other they would take 41 timeouts of 5 s, and `program` waits for a minute.
    let (output, said) = check(&stand, &[], &[]).await;
    assert_eq!(output.status.code(), Some(1), "{said}");
    // Each log group is tried for writing and for reading.
    assert_eq!(said.lines().filter(|line| line.starts_with("FAIL")).count(), 20 * 2 + 1, "{said}");
}
