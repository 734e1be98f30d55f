//! Every statement of the shipped policies is needed, and `traceprobe check` names it if it is missing.
//!
//! MiniStack has every place that the policies name. For each statement, `statements.py` grants all the others, and
//! `check --json` runs as the task: it must name that statement and its file. What MiniStack cannot refuse is listed
//! with the reason. `make statements` prints the table.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tokio::process::Command;
use tokio::time::timeout;

use crate::support::pipeline::Driver;
use crate::support::process::PROGRAM;
use crate::variables;

const ENDS_WITHIN: Duration = Duration::from_secs(60);

/// What no emulator here can refuse: a whole file, or one statement of it.
const NOT_TRIED: [(&str, Option<&str>, &str); 12] = [
    ("task-role", Some("DecryptTheStreams"), "MiniStack encrypts no stream"),
    ("task-role", Some("DecryptTheObjects"), "MiniStack asks KMS for no reader of an object"),
    (
        "task-role-dead-letter-stage",
        Some("DecryptTheDeadLetters"),
        "MiniStack asks KMS for no reader of an object",
    ),
    (
        "task-role-dead-letter-queue",
        Some("DecryptTheDeadLetterQueue"),
        "MiniStack asks KMS for no reader of a queue",
    ),
    (
        "task-role-trust",
        None,
        "the program cannot see why ECS gives it no credentials; the launcher evaluates it",
    ),
    ("task-role-store", None, "ECS mounts the file system with it, before the program starts"),
    ("task-role-remote-write", None, "the sidecar writes with it"),
    ("execution-role", None, "ECS uses it, before the program starts"),
    ("execution-role-configuration", None, "ECS uses it, before the program starts"),
    ("tenant-inject-check", Some("TryTheFilterPatterns"), "MiniStack has none of its calls"),
    ("bigquery-table-reader", None, "bqemulator takes any token"),
    ("gcs-object-reader", None, "fake-gcs-server takes any token"),
];

#[tokio::test(flavor = "multi_thread")]
async fn check_names_the_statement_that_is_missing() {
    let (mut driver, about): (Driver, About) = Driver::start("statements.py", "statements", &[]).await;
    let config = Path::new(env!("CARGO_TARGET_TMPDIR")).join("emulators-statements.toml");
    std::fs::write(&config, configuration(&about)).expect("cannot write the configuration");
    let whole = Report::of(&config, &about).await;
    let lacking: Vec<_> = whole.findings.iter().filter(|finding| finding.mark != "ok").collect();
    assert!(lacking.is_empty(), "with every statement: {lacking:#?}");

    let mut faults = Vec::new();
    println!("| file | statement | mark | what check says |\n|---|---|---|---|");
    for Statement { file, sid } in shipped() {
        if let Some(why) = not_tried(&file, &sid) {
            println!("| {file} | {sid} | not tried | {why} |");
            continue;
        }
        assert!(about.granted.contains(&file), "the driver never grants {file}");
        driver.execute(&format!("without {file} {sid}")).await;
        let report = Report::of(&config, &about).await;
        let named: BTreeSet<_> = report.named("fail").collect();
        let wanted = (sid.as_str(), format!("config/iam/{file}.json"));
        match report.findings.iter().find(|finding| finding.names(wanted.0, &wanted.1)) {
            Some(finding) => println!("| {file} | {sid} | {} | {} |", finding.mark, finding.row()),
            None => faults.push(format!("without {sid} of {file}: {:#?}", report.lacking())),
        }
        // A role that cannot be assumed may lack either of two.
        let others = named.iter().filter(|(named, _)| *named != sid && !may_be_either(named, &sid));
        faults.extend(others.map(|other| format!("without {sid}, check names {other:?}")));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Whether AWS gives one answer for the absence of both: that of the caller's right and that of the trust.
fn may_be_either(named: &str, missing: &str) -> bool {
    let assuming = |sid: &str| sid.starts_with("AssumeTheRole") || sid.starts_with("OnlyTheProbe");
    assuming(named) && assuming(missing)
}

fn not_tried(file: &str, sid: &str) -> Option<&'static str> {
    let fits = |(of, one, _): &&(&str, Option<&str>, &str)| *of == file && one.is_none_or(|one| one == sid);
    NOT_TRIED.iter().find(fits).map(|(_, _, why)| *why)
}

struct Statement {
    file: String,
    sid: String,
}

/// Every statement of every file. A role of Google Cloud counts as one.
fn shipped() -> Vec<Statement> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/iam");
    let mut files: BTreeMap<String, serde_json::Value> = BTreeMap::new();
    for entry in std::fs::read_dir(folder).expect("there are policies") {
        let path = entry.expect("it can be read").path();
        let text = std::fs::read_to_string(&path).expect("it can be read");
        let name = path.file_stem().and_then(|name| name.to_str()).expect("it has a name").to_owned();
        files.insert(name, serde_json::from_str(&text).expect("it is JSON"));
    }
    let statements = files.into_iter().flat_map(|(file, json)| {
        let sids: Vec<String> = match json["Statement"].as_array() {
            Some(all) => {
                all.iter().map(|one| one["Sid"].as_str().expect("it has a Sid").to_owned()).collect()
            }
            None => vec!["the whole role".to_owned()],
        };
        sids.into_iter().map(move |sid| Statement { file: file.clone(), sid })
    });
    statements.collect()
}

/// The line that the driver prints when it is ready.
#[derive(Debug, Deserialize)]
struct About {
    aws_endpoint: String,
    credentials: HashMap<String, String>,
    aggregator_letters: String,
    forwarder_letters: String,
    /// The files that it grants.
    granted: Vec<String>,
}

/// What `check --json` printed.
#[derive(Debug, Deserialize)]
struct Report {
    findings: Vec<Finding>,
}

#[derive(Debug, Deserialize)]
struct Finding {
    mark: String,
    subject: String,
    what: String,
    detail: String,
    mend: Option<Mend>,
}

#[derive(Debug, Deserialize)]
struct Mend {
    statement: Option<Named>,
    possibilities: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Named {
    sid: Option<String>,
    file: Option<String>,
}

impl Report {
    async fn of(config: &Path, about: &About) -> Report {
        let run = Command::new(PROGRAM)
            .args(["check", "--json", "--config"])
            .arg(config)
            .env_clear()
            .envs(variables(&about.credentials))
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = timeout(ENDS_WITHIN, run).await.expect("check does not end").expect("it cannot start");
        let printed = String::from_utf8_lossy(&output.stdout);
        serde_json::from_str(&printed)
            .unwrap_or_else(|error| panic!("{error} in {printed}{}", String::from_utf8_lossy(&output.stderr)))
    }

    /// The statements of findings with this mark, by Sid and file.
    fn named(&self, mark: &str) -> impl Iterator<Item = (&str, &str)> {
        let findings = self.findings.iter().filter(move |finding| finding.mark == mark);
        let statements = findings.filter_map(|finding| finding.mend.as_ref()?.statement.as_ref());
        statements.filter_map(|statement| Some((statement.sid.as_deref()?, statement.file.as_deref()?)))
    }

    fn lacking(&self) -> Vec<&Finding> {
        self.findings.iter().filter(|finding| finding.mark != "ok").collect()
    }
}

impl Finding {
    /// As what is missing, or as one of several things that may be.
    fn names(&self, sid: &str, file: &str) -> bool {
        let Some(mend) = &self.mend else { return false };
        let is_it = |one: &Named| one.sid.as_deref() == Some(sid) && one.file.as_deref() == Some(file);
        mend.statement.as_ref().is_some_and(is_it)
            || mend.possibilities.iter().any(|text| text.contains(sid) && text.contains(file))
    }

    fn row(&self) -> String {
        let detail: String = self.detail.chars().take(200).collect();
        format!("{}, {}: {detail}", self.subject, self.what)
    }
}

/// The stages that the policies are for, with the names of their files.
fn configuration(about: &About) -> String {
    let About { aws_endpoint, aggregator_letters, forwarder_letters, .. } = about;
    format!(
        r#"
[aws]
region = "eu-central-1"
endpoint = "{aws_endpoint}"

[[tenant]]
name = "acme"
log_group = "/ecs/acme/app"
role_arn = "arn:aws:iam::111111111111:role/traceprobe-inject"
external_id = "acme-7f3a9c"

[[tenant]]
name = "globex"
log_group = "/ecs/globex/app"
role_arn = "arn:aws:iam::333333333333:role/traceprobe-inject"
external_id = "globex-1b90d4"

[tenant.stage.tenant_stream]
mode = "enhanced_fan_out"
consumer = "traceprobe"

[[stage]]
name = "tenant_stream"
kind = "kinesis"
stream = "logs-{{tenant}}"
timeout = "30s"

[[stage]]
name = "archive"
kind = "s3"
after = "tenant_stream"
bucket = "sre-archive"
key = "archive/tenant={{tenant}}/dt=%Y-%m-%d/hour=%H/"
timeout = "30s"

[[stage]]
name = "transit"
kind = "s3"
after = "tenant_stream"
bucket = "sre-transit"
key = "transit/%Y/%m/%d/%H/"
timeout = "30s"
end = true

[[stage]]
name = "export_log"
kind = "cloudwatch_logs"
after = "tenant_stream"
log_group = "/aws/lambda/export"
filter_pattern = "zqtp"
timeout = "30s"

[[stage]]
name = "dead_letters"
kind = "s3"
role = "dead_letter"
after = "tenant_stream"
bucket = "sre-archive"
key = "dlq/%Y/%m/%d/%H/"
timeout = "30s"

[[stage]]
name = "aggregator_dead_letters"
kind = "sqs"
role = "dead_letter"
after = "tenant_stream"
queue_url = "{aggregator_letters}"
peek = true
timeout = "30s"

[[stage]]
name = "forwarder_dead_letters"
kind = "sqs"
role = "dead_letter"
queue_url = "{forwarder_letters}"
role_arn = "arn:aws:iam::111111111111:role/traceprobe-observe"
external_id = "acme-7f3a9c"
timeout = "30s"
"#
    )
}
