//! A Prometheus server for the test: Debian's program, on a port that the system chose.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::support::client;

/// The very first run may install the package.
const FOUND_WITHIN: Duration = Duration::from_secs(300);
const LISTENS_WITHIN: Duration = Duration::from_secs(30);
/// Part of the log line with the address that it listens on.
const LISTENING: &str = "msg=\"Listening on\" address=";

pub struct Prometheus {
    address: String,
    http: reqwest::Client,
    _process: Child,
    _log: JoinHandle<()>,
}

/// Times, in seconds since the epoch, and values.
pub type Points = Vec<(f64, f64)>;

/// One series of a result.
#[derive(Debug, Deserialize)]
pub struct Series {
    pub metric: BTreeMap<String, String>,
    #[serde(default, rename = "values")]
    raw: Vec<(f64, String)>,
    #[serde(default, rename = "value")]
    one: Option<(f64, String)>,
}

impl Series {
    pub fn tenant(&self) -> &str {
        self.metric.get("tenant").map_or("", String::as_str)
    }

    pub fn points(&self) -> Points {
        let number = |(at, value): &(f64, String)| (*at, value.parse().expect("a value is a number"));
        self.raw.iter().chain(&self.one).map(number).collect()
    }
}

/// The path of a Prometheus program. Without it the test fails and says what to install; it is never skipped.
pub async fn tool(name: &str) -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools/promtool.sh");
    let run = Command::new("sh").arg(script).arg(name).kill_on_drop(true).output();
    let output =
        timeout(FOUND_WITHIN, run).await.expect("promtool.sh takes too long").expect("cannot start sh");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("a path is text").trim().into()
}

/// The complaints of promtool's linter about a scrape in text format; empty if there are none.
pub async fn lint(scrape: &str) -> String {
    let mut process = Command::new(tool("promtool").await)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("cannot start promtool");
    let mut stdin = process.stdin.take().expect("stdin is piped");
    stdin.write_all(scrape.as_bytes()).await.expect("promtool reads its input");
    drop(stdin);
    let output = process.wait_with_output().await.expect("cannot wait for promtool");
    let printed = [output.stdout, output.stderr].concat();
    let printed = String::from_utf8_lossy(&printed);
    if output.status.success() { printed.into_owned() } else { format!("{}: {printed}", output.status) }
}

/// Writes the configuration; JSON is valid YAML.
fn write(folder: &Path, config: &Value) -> PathBuf {
    let file = folder.join("prometheus.yml");
    std::fs::write(&file, config.to_string()).expect("cannot write prometheus.yml");
    file
}

impl Prometheus {
    /// Starts a server with this configuration, which stores its data in `folder`.
    pub async fn start(folder: &Path, config: &Value) -> Prometheus {
        let file = write(folder, config);
        let mut process = Command::new(tool("prometheus").await)
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .args(["--web.listen-address=127.0.0.1:0", "--enable-feature=exemplar-storage"])
            .arg("--web.enable-lifecycle")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("cannot start Prometheus");
        let mut lines = BufReader::new(process.stderr.take().expect("stderr is piped")).lines();
        let mut printed = String::new();
        let listening = async {
            while let Some(line) = lines.next_line().await.expect("its log is text") {
                if let Some((_, address)) = line.split_once(LISTENING) {
                    return format!("http://{}", address.trim_matches('"'));
                }
                printed += &line;
                printed += "\n";
            }
            panic!("Prometheus ended before it listened: {printed}")
        };
        let address = timeout(LISTENS_WITHIN, listening).await.expect("Prometheus does not listen");
        #[expect(clippy::disallowed_methods, reason = "it ends with the process whose log it drains")]
        let log = tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let http = client::http();
        let ready = async {
            let url = format!("{address}/-/ready");
            let mut polls = tokio::time::interval(Duration::from_millis(100));
            loop {
                polls.tick().await;
                if http.get(&url).send().await.is_ok_and(|answer| answer.status().is_success()) {
                    return;
                }
            }
        };
        timeout(LISTENS_WITHIN, ready).await.expect("Prometheus is not ready");
        Prometheus { address, http, _process: process, _log: log }
    }

    /// Lets it take another configuration.
    pub async fn reload(&self, folder: &Path, config: &Value) {
        write(folder, config);
        let answer = self.http.post(format!("{}/-/reload", self.address)).send().await;
        let answer = answer.expect("Prometheus does not answer");
        assert!(answer.status().is_success(), "{:?}", answer.text().await);
    }

    /// The `data` of an API answer.
    pub async fn get(&self, path: &str, parameters: &[(&str, &str)]) -> Value {
        let url = format!("{}/api/v1/{path}", self.address);
        let answer = self.http.get(&url).query(parameters).send().await;
        let answer = answer.unwrap_or_else(|error| panic!("{url}: {error}"));
        let mut body: Value = answer.json().await.unwrap_or_else(|error| panic!("{url}: {error}"));
        assert_eq!(body["status"], "success", "{path} {parameters:?}: {body}");
        body["data"].take()
    }

    pub async fn query(&self, expression: &str) -> Vec<Series> {
        self.series(&[("query", expression)]).await
    }

    /// Evaluates at an instant, in seconds since the epoch.
    pub async fn query_at(&self, expression: &str, at: f64) -> Vec<Series> {
        self.series(&[("query", expression), ("time", &at.to_string())]).await
    }

    async fn series(&self, parameters: &[(&str, &str)]) -> Vec<Series> {
        let data = self.get("query", parameters).await;
        serde_json::from_value(data["result"].clone()).unwrap_or_else(|error| panic!("{error} in {data}"))
    }

    /// Evaluates four times a second between two instants, in seconds since the epoch.
    pub async fn query_range(&self, expression: &str, from: f64, to: f64) -> Vec<Series> {
        self.query_range_by(expression, from, to, 0.25).await
    }

    /// Evaluates every so many seconds between two instants, in seconds since the epoch.
    pub async fn query_range_by(&self, expression: &str, from: f64, to: f64, step: f64) -> Vec<Series> {
        let (from, to, step) = (from.to_string(), to.to_string(), step.to_string());
        let parameters = [("query", expression), ("start", &from), ("end", &to), ("step", &step)];
        let data = self.get("query_range", &parameters).await;
        serde_json::from_value(data["result"].clone()).unwrap_or_else(|error| panic!("{error} in {data}"))
    }
}
