//! The daemon as a process: started from its binary, watched over HTTP, ended by a signal.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::metrics::Metrics;
use super::page::Recent;

const LISTENS_WITHIN: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(300);
/// What the daemon prints before the address that it listens on.
const LISTENING: &str = "listening on ";

pub struct Daemon {
    address: String,
    process: Child,
    http: reqwest::Client,
    said: Arc<Mutex<String>>,
    listeners: Vec<JoinHandle<()>>,
}

impl Daemon {
    /// Runs the daemon on the configuration at `config`, with no environment but `variables`.
    pub async fn start(config: &Path, variables: impl IntoIterator<Item = (String, String)>) -> Daemon {
        Daemon::spawn(&["run".as_ref(), "--config".as_ref(), config.as_os_str()], variables).await
    }

    /// Runs the program with these arguments, and waits until it listens.
    pub async fn spawn(
        arguments: &[&OsStr],
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Daemon {
        // The crate's TLS has no provider of its own; the client wants one even for plain HTTP.
        // Another test of this binary may have been faster.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let mut process = Command::new(env!("CARGO_BIN_EXE_traceprobe"))
            .args(arguments)
            .env_clear()
            .envs(variables)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("cannot start the daemon");
        let said = Arc::new(Mutex::new(String::new()));
        let (tell, address) = oneshot::channel();
        let stdout = process.stdout.take().expect("stdout is piped");
        let stderr = process.stderr.take().expect("stderr is piped");
        #[expect(clippy::disallowed_methods, reason = "the test owns them, and ends them with the daemon")]
        let listeners = vec![
            tokio::spawn(listen(stdout, Arc::clone(&said), Some(tell))),
            tokio::spawn(listen(stderr, Arc::clone(&said), None)),
        ];
        let address = match timeout(LISTENS_WITHIN, address).await {
            Ok(Ok(address)) => address,
            Ok(Err(_)) => panic!("the daemon ended before it listened: {}", said.lock().unwrap()),
            Err(_) => panic!("the daemon does not listen: {}", said.lock().unwrap()),
        };
        let http =
            reqwest::Client::builder().no_proxy().build().expect("a client without TLS roots can be built");
        Daemon { address, process, http, said, listeners }
    }

    /// With the scheme.
    pub fn address(&self) -> &str {
        &self.address
    }

    pub async fn recent(&self) -> Recent {
        let text = self.get("/traces/recent?format=json&limit=1000").await;
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("/traces/recent: {error} in {text}"))
    }

    pub async fn metrics(&self) -> Metrics {
        Metrics::parse(&self.get("/metrics").await)
    }

    /// Looks at page and metrics until `is_so`, and returns what they showed then.
    pub async fn until_seen(
        &self,
        what: &str,
        within: Duration,
        is_so: impl Fn(&Recent, &Metrics) -> bool,
    ) -> (Recent, Metrics) {
        let mut last = String::new();
        let look = async {
            loop {
                // The page second: what the metrics say of a state, it then says too.
                let metrics = self.metrics().await;
                let recent = self.recent().await;
                if is_so(&recent, &metrics) {
                    return (recent, metrics);
                }
                last = format!("{:?}", recent.sources);
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        match timeout(within, look).await {
            Ok(seen) => seen,
            Err(_) => {
                panic!("not within {within:?}: {what}; sources: {last}; the daemon said: {}", self.said())
            }
        }
    }

    pub async fn get(&self, path: &str) -> String {
        let url = format!("{}{path}", self.address);
        let failed =
            |error: reqwest::Error| -> String { panic!("{url}: {error}; the daemon said: {}", self.said()) };
        let answer = match self.http.get(&url).send().await.and_then(reqwest::Response::error_for_status) {
            Ok(answer) => answer,
            Err(error) => return failed(error),
        };
        answer.text().await.unwrap_or_else(failed)
    }

    /// Looks at the page until `is_so`, and returns what it showed then.
    pub async fn until(&self, what: &str, within: Duration, is_so: impl Fn(&Recent) -> bool) -> Recent {
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let look = async {
            loop {
                looks.tick().await;
                let recent = self.recent().await;
                if is_so(&recent) {
                    return recent;
                }
            }
        };
        match timeout(within, look).await {
            Ok(recent) => recent,
            Err(_) => panic!("not within {within:?}: {what}; the daemon said: {}", self.said()),
        }
    }

    /// Sends SIGTERM, and returns how it ended and everything that it had printed.
    pub async fn terminate(self, within: Duration) -> (ExitStatus, String) {
        self.signal("TERM").await;
        self.ended(within).await
    }

    pub async fn signal(&self, name: &str) {
        let id = self.process.id().expect("the daemon has ended already").to_string();
        let kill = Command::new("kill").args([&format!("-{name}"), &id]).status().await;
        assert!(kill.expect("cannot run kill").success(), "kill -{name} {id} failed");
    }

    /// Waits until it has printed this.
    pub async fn until_said(&self, what: &str, within: Duration) {
        let listening = async {
            while !self.said().contains(what) {
                tokio::time::sleep(LOOK_EVERY / 10).await;
            }
        };
        if timeout(within, listening).await.is_err() {
            panic!("not said within {within:?}: {what}; the daemon said: {}", self.said());
        }
    }

    /// Waits until it has ended, and returns how, and everything that it had printed.
    pub async fn ended(mut self, within: Duration) -> (ExitStatus, String) {
        let status = match timeout(within, self.process.wait()).await {
            Ok(status) => status.expect("cannot wait for the daemon"),
            Err(_) => panic!("the daemon runs {within:?} after SIGTERM; it said: {}", self.said()),
        };
        for listener in self.listeners.drain(..) {
            listener.await.expect("a listener cannot panic");
        }
        (status, self.said())
    }

    /// Everything that it has printed so far.
    pub fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }
}

async fn listen(
    from: impl AsyncRead + Unpin,
    said: Arc<Mutex<String>>,
    mut tell: Option<oneshot::Sender<String>>,
) {
    let mut lines = BufReader::new(from).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if let Some((_, rest)) = line.split_once(LISTENING)
            && let Some(tell) = tell.take()
        {
            let address = rest.split_whitespace().next().unwrap_or_default();
            // Nobody waits any more only when the test has failed already.
            let _ = tell.send(address.to_owned());
        }
        let mut said = said.lock().unwrap();
        said.push_str(&line);
        said.push('\n');
    }
}
