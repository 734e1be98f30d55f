//! An Alertmanager: Debian's program, on a port that the system chose.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::server::tool;

const LISTENS_WITHIN: Duration = Duration::from_secs(60);
/// Part of the log line with the address that it listens on.
const LISTENING: &str = "msg=\"Listening on\" address=";
/// Where the example sends notifications.
const EXAMPLE: &str = "http://127.0.0.1:8080";

pub struct Alertmanager {
    /// Without a scheme.
    pub address: String,
    _process: Child,
    _log: JoinHandle<()>,
}

/// Where it sends notifications of drills.
const DRILL: &str = "http://127.0.0.1:9464/-/drill/notification\n";

/// The example, with the receivers at `sink`, and with drills also at the probe at `drill`.
pub fn configuration(example: &str, sink: &str, drill: &str) -> String {
    assert_eq!(example.matches(DRILL).count(), 1, "{example}");
    let both = format!("{drill}/-/drill/notification\n      - url: {EXAMPLE}/drill\n");
    example.replace(DRILL, &both).replace(EXAMPLE, sink)
}

impl Alertmanager {
    pub async fn start(folder: &Path, configuration: &str) -> Self {
        let file = folder.join("alertmanager.yml");
        std::fs::write(&file, configuration).expect("cannot write alertmanager.yml");
        let mut process = Command::new(tool("alertmanager").await)
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.path={}", folder.join("alertmanager").display()))
            .args(["--web.listen-address=127.0.0.1:0", "--cluster.listen-address="])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("cannot start Alertmanager");
        let mut lines = BufReader::new(process.stderr.take().expect("stderr is piped")).lines();
        let mut printed = String::new();
        let listening = async {
            while let Some(line) = lines.next_line().await.expect("its log is text") {
                if let Some((_, address)) = line.split_once(LISTENING) {
                    return address.trim().trim_matches('"').to_owned();
                }
                printed += &line;
                printed += "\n";
            }
            panic!("Alertmanager ended before it listened: {printed}")
        };
        let address = timeout(LISTENS_WITHIN, listening).await.expect("Alertmanager does not listen");
        #[expect(clippy::disallowed_methods, reason = "it ends with the process whose log it drains")]
        let log = tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self { address, _process: process, _log: log }
    }
}
