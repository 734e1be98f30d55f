//! The Alertmanager configuration: who is told, and what is inhibited.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStderr, Command, Stdio};

use serde_json::Value;
use traceprobe::rules;

use super::promtool::{Folder, run, tool};
use super::rules_for;

fn configuration(folder: &Folder) -> String {
    let text = rules::to_alertmanager_yaml(&rules_for(30.0, 50));
    folder.write("alertmanager.yml", &text).display().to_string()
}

#[test]
fn each_severity_has_its_receiver() {
    let folder = Folder::new();
    let file = configuration(&folder);
    run("amtool", &["check-config", &file]);
    for (labels, receiver) in [
        (["severity=critical", "alertname=TraceprobeStuck"], "pager"),
        (["severity=warning", "alertname=TraceprobeLatencyHigh"], "chat"),
        (["severity=note", "alertname=TraceprobeTraceLost"], "none"),
        (["severity=none", "alertname=TraceprobeWatchdog"], "watchdog"),
    ] {
        let routed =
            run("amtool", &["config", "routes", "test", "--config.file", &file, labels[0], labels[1]]);
        // A remark on stderr follows.
        assert_eq!(routed.lines().next(), Some(receiver), "{labels:?}");
    }
}

/// An Alertmanager of its own; ends with the value.
struct Alertmanager {
    process: Child,
    url: String,
    /// Kept open, because writing to a closed pipe would end it; what it still writes fits into the pipe.
    _log: BufReader<ChildStderr>,
    _folder: Folder,
}

impl Alertmanager {
    fn start() -> Self {
        let folder = Folder::new();
        let file = configuration(&folder);
        let data = folder.write("data", "").with_file_name("storage");
        let mut process = Command::new(tool("alertmanager"))
            .arg(format!("--config.file={file}"))
            .arg(format!("--storage.path={}", data.display()))
            .args(["--web.listen-address=127.0.0.1:0", "--cluster.listen-address="])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("cannot start Alertmanager");
        let mut log = BufReader::new(process.stderr.take().expect("stderr is piped"));
        let mut printed = String::new();
        let url = loop {
            let before = printed.len();
            let read = log.read_line(&mut printed).expect("its log is text");
            assert!(read > 0, "Alertmanager ended before it listened: {printed}");
            if let Some((_, address)) = printed[before..].split_once("msg=\"Listening on\" address=") {
                break format!("http://{}", address.trim().trim_matches('"'));
            }
        };
        Self { process, url, _log: log, _folder: folder }
    }

    /// Makes alerts fire, each written as `alertname label=value`, and returns those that are not inhibited.
    fn told(&self, job: &str, alerts: &[&str]) -> Vec<String> {
        let url = format!("--alertmanager.url={}", self.url);
        let job = format!("job={job}");
        for alert in alerts {
            let mut arguments = vec![url.as_str(), "alert", "add", &job, "instance=a"];
            let alert = format!("alertname={alert}");
            arguments.extend(alert.split(' '));
            run("amtool", &arguments);
        }
        let query = run("amtool", &[&url, "alert", "query", "--output=json", "--active", &job]);
        let active: Vec<Value> = serde_json::from_str(&query).expect("amtool prints JSON");
        let mut names: Vec<String> = active
            .iter()
            .map(|alert| alert["labels"]["alertname"].as_str().unwrap_or_default().to_owned())
            .collect();
        names.sort();
        names
    }
}

impl Drop for Alertmanager {
    fn drop(&mut self) {
        let _ended = self.process.kill();
        let _reaped = self.process.wait();
    }
}

/// What fires for one cause, and what somebody is told of it.
const CAUSES: [(&str, &[&str], &[&str]); 18] = [
    (
        "one tenant is stalled",
        &[
            "TraceprobeStuck severity=critical cause=delivery tenant=t1 stage=transit",
            "TraceprobeLatencyCritical severity=critical cause=delivery tenant=t1",
            "TraceprobeLatencyHigh severity=warning cause=delivery tenant=t1",
            "TraceprobeHopOverTarget severity=warning cause=delivery tenant=t1 stage=transit",
            "TraceprobeLosing severity=critical cause=delivery tenant=t1",
            "TraceprobeTraceLost severity=note cause=delivery tenant=t1 stage=transit",
            "TraceprobeBurnRateFast severity=warning cause=delivery tenant=t1",
        ],
        &["TraceprobeStuck"],
    ),
    (
        "all tenants are stalled",
        &[
            "TraceprobeTotalStall severity=critical cause=delivery",
            "TraceprobeStuck severity=critical cause=delivery tenant=t1 stage=transit",
            "TraceprobeStuck severity=critical cause=delivery tenant=t2 stage=transit",
            "TraceprobeLatencyCritical severity=critical cause=delivery tenant=t1",
            "TraceprobeLatencyHigh severity=warning cause=delivery tenant=t2",
            "TraceprobeBurnRateSlowPooled severity=warning cause=delivery",
        ],
        &["TraceprobeTotalStall"],
    ),
    (
        "a tenant loses a fifth",
        &[
            "TraceprobeLatencyCritical severity=critical cause=delivery tenant=t1",
            "TraceprobeLatencyHigh severity=warning cause=delivery tenant=t1",
            "TraceprobeMissing severity=warning cause=delivery tenant=t1 stage=transit",
            "TraceprobeLosing severity=critical cause=delivery tenant=t1",
            "TraceprobeHopSuccessCritical severity=critical cause=delivery tenant=t1 stage=transit",
            "TraceprobeTraceLost severity=note cause=delivery tenant=t1 stage=transit",
        ],
        &["TraceprobeLatencyCritical"],
    ),
    (
        "a leak at an early stage",
        &[
            "TraceprobeIsolationViolation severity=critical cause=isolation tenant=t1 stage=tenant_stream",
            "TraceprobeIsolationViolation severity=critical cause=isolation tenant=t1 stage=archive",
            "TraceprobeIsolationViolation severity=critical cause=isolation tenant=t1 stage=bigquery",
            "TraceprobeDuplicates severity=warning cause=content tenant=t1 stage=transit",
        ],
        &["TraceprobeIsolationViolation"],
    ),
    (
        "a blind stage",
        &[
            "TraceprobeStageBlind severity=critical cause=visibility tenant=t1 stage=bigquery",
            "TraceprobeUnobserved severity=critical cause=visibility tenant=t1",
            "TraceprobeBudgetExceeded severity=warning cause=visibility stage=bigquery owner=shared",
        ],
        &["TraceprobeStageBlind"],
    ),
    (
        "a budget that leaves out polls of two stages",
        &[
            "TraceprobeOverBudget severity=warning cause=probe",
            "TraceprobeBudgetExceeded severity=warning cause=visibility stage=transit owner=shared",
            "TraceprobeBudgetExceeded severity=warning cause=visibility stage=archive owner=t1",
        ],
        &["TraceprobeOverBudget"],
    ),
    (
        "a table whose polls would read too much",
        &["TraceprobeBudgetExceeded severity=warning cause=visibility stage=bigquery owner=shared"],
        &["TraceprobeBudgetExceeded"],
    ),
    (
        "a stage that was never seen",
        &[
            "TraceprobeNeverSeen severity=critical cause=visibility tenant=t1 stage=bigquery",
            "TraceprobeLatencyCritical severity=critical cause=delivery tenant=t1",
            "TraceprobeUnobserved severity=critical cause=visibility tenant=t1",
        ],
        &["TraceprobeNeverSeen"],
    ),
    (
        "no canary is accepted",
        &[
            "TraceprobeNotInjecting severity=critical cause=injection tenant=t1",
            "TraceprobeInjectionsFailing severity=warning cause=injection tenant=t1",
        ],
        &["TraceprobeNotInjecting"],
    ),
    (
        "an instance is dead",
        &[
            "TraceprobeInstanceDown severity=critical cause=probe",
            "TraceprobeTenantMissing severity=critical cause=probe tenant=t1",
        ],
        &["TraceprobeInstanceDown", "TraceprobeTenantMissing"],
    ),
    (
        "a side stage that was never seen, and a stall",
        &[
            "TraceprobeNeverSeen severity=warning cause=visibility tenant=t1 stage=archive",
            "TraceprobeMissing severity=warning cause=delivery tenant=t1 stage=archive",
            "TraceprobeStuck severity=critical cause=delivery tenant=t1 stage=bigquery",
            "TraceprobeLosing severity=critical cause=delivery tenant=t1",
            "TraceprobeUnobserved severity=critical cause=visibility tenant=t1",
        ],
        &["TraceprobeStuck", "TraceprobeUnobserved"],
    ),
    (
        "a stage of the main path that was never seen, and a slow pipeline",
        &[
            "TraceprobeNeverSeen severity=critical cause=visibility tenant=t1 stage=transit",
            "TraceprobeHopOverTarget severity=warning cause=delivery tenant=t1 stage=transit",
            "TraceprobeLatencyCritical severity=critical cause=delivery tenant=t1",
        ],
        &["TraceprobeLatencyCritical", "TraceprobeNeverSeen"],
    ),
    (
        "a blind side stage, and canaries without a verdict",
        &[
            "TraceprobeStageBlind severity=warning cause=visibility tenant=t1 stage=archive",
            "TraceprobeUnobserved severity=critical cause=visibility tenant=t1",
        ],
        &["TraceprobeUnobserved"],
    ),
    (
        "a tenant of which one log group takes no canaries, and a stall of the others",
        &[
            "TraceprobeNotInjecting severity=critical cause=injection tenant=t1",
            "TraceprobeStuck severity=critical cause=delivery tenant=t1 stage=transit",
            "TraceprobeHopOverTarget severity=warning cause=delivery tenant=t1 stage=transit",
        ],
        &["TraceprobeNotInjecting", "TraceprobeStuck"],
    ),
    (
        "a slow pipeline, and an archive that gets nothing",
        &[
            "TraceprobeLatencyHigh severity=warning cause=delivery tenant=t1",
            "TraceprobeHopOverTarget severity=warning cause=delivery tenant=t1 stage=tenant_stream",
            "TraceprobeMissing severity=warning cause=delivery tenant=t1 stage=archive",
        ],
        &["TraceprobeLatencyHigh", "TraceprobeMissing"],
    ),
    (
        "an archive that gets nothing, and a pipeline that spends its budget",
        &[
            "TraceprobeMissing severity=warning cause=delivery tenant=t1 stage=archive",
            "TraceprobeBurnRateSlow severity=warning cause=delivery tenant=t1",
        ],
        &["TraceprobeBurnRateSlow", "TraceprobeMissing"],
    ),
    (
        "an archive that gets nothing, and a stall behind it",
        &[
            "TraceprobeMissing severity=warning cause=delivery tenant=t1 stage=archive",
            "TraceprobeTraceLost severity=note cause=delivery tenant=t1 stage=archive",
            "TraceprobeStuck severity=critical cause=delivery tenant=t1 stage=bigquery",
            "TraceprobeLatencyHigh severity=warning cause=delivery tenant=t1",
        ],
        &["TraceprobeMissing", "TraceprobeStuck"],
    ),
    (
        "two faults of different causes",
        &[
            "TraceprobeStuck severity=critical cause=delivery tenant=t1 stage=transit",
            "TraceprobeIsolationViolation severity=critical cause=isolation tenant=t1 stage=bigquery",
            "TraceprobeLatencyHigh severity=warning cause=delivery tenant=t2",
        ],
        &["TraceprobeIsolationViolation", "TraceprobeLatencyHigh", "TraceprobeStuck"],
    ),
];

#[test]
fn one_cause_is_told_once() {
    let alertmanager = Alertmanager::start();
    for (number, (cause, alerts, told)) in CAUSES.iter().enumerate() {
        // A job for each, so that they do not meet.
        let found = alertmanager.told(&format!("job{number}"), alerts);
        assert_eq!(found, told.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>(), "{cause}");
    }
}
