//! The program as a process: what it prints, and how it ends.

use std::fs::OpenOptions;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::client::Client;

/// The program that the tests are about.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_traceprobe");
/// A start takes some 0.2 s; a busy machine takes many times that.
const LISTENS_WITHIN: Duration = Duration::from_secs(60);
/// What the program prints before the address that it listens on.
const LISTENING: &str = "listening on ";

/// What a process has printed.
#[derive(Clone)]
pub enum Said {
    /// On both of its outputs.
    Memory(Arc<Mutex<String>>),
    /// On stderr, after what was in the file before.
    File(PathBuf),
}

impl Said {
    pub fn in_memory() -> Said {
        Said::Memory(Arc::default())
    }

    /// All of it so far.
    pub fn text(&self) -> String {
        match self {
            Said::Memory(text) => text.lock().unwrap().clone(),
            Said::File(path) => std::fs::read_to_string(path).unwrap_or_default(),
        }
    }
}

/// A process that ends with the test at the latest. Whether it listens already is the caller's to wait for.
pub struct Process {
    process: Child,
    said: Said,
    /// The address on which it listens, once.
    address: Option<oneshot::Receiver<String>>,
    listeners: Vec<JoinHandle<()>>,
}

impl Process {
    /// Starts it, and waits for nothing.
    pub fn spawn(command: &mut Command, said: Said) -> Process {
        let stderr = match &said {
            Said::Memory(_) => Stdio::piped(),
            Said::File(path) => {
                let log = OpenOptions::new().create(true).append(true).open(path);
                log.unwrap_or_else(|error| panic!("{}: {error}", path.display())).into()
            }
        };
        let mut process = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .kill_on_drop(true)
            .spawn()
            .expect("cannot start the daemon");
        let text = match &said {
            Said::Memory(text) => Some(text),
            Said::File(_) => None,
        };
        let (tell, address) = oneshot::channel();
        let stdout = process.stdout.take().expect("stdout is piped");
        #[expect(clippy::disallowed_methods, reason = "the test owns them, and they end with the process")]
        let mut listeners = vec![tokio::spawn(listen(stdout, text.cloned(), Some(tell)))];
        if let Some(stderr) = process.stderr.take() {
            #[expect(clippy::disallowed_methods, reason = "as above")]
            listeners.push(tokio::spawn(listen(stderr, text.cloned(), None)));
        }
        Process { process, said, address: Some(address), listeners }
    }

    /// Waits until it listens. May be called once.
    pub async fn listening(&mut self) -> Client {
        let address = self.address.take().expect("it listens already");
        match timeout(LISTENS_WITHIN, address).await {
            Ok(Ok(address)) => Client::new(address, self.said.clone()),
            Ok(Err(_)) => panic!("the daemon ended before it listened: {}", self.said.text()),
            Err(_) => panic!("the daemon does not listen: {}", self.said.text()),
        }
    }

    /// Its number.
    pub fn id(&self) -> String {
        self.process.id().expect("the daemon has ended already").to_string()
    }

    pub async fn signal(&self, name: &str) {
        let id = self.id();
        let kill = Command::new("kill").args([&format!("-{name}"), &id]).status().await;
        assert!(kill.expect("cannot run kill").success(), "kill -{name} {id} failed");
    }

    /// SIGKILL, at once.
    pub fn start_kill(&mut self) {
        self.process.start_kill().expect("the daemon has ended already");
    }

    /// Waits until it has ended, and until all that it printed has been read.
    pub async fn ended(&mut self, within: Duration) -> ExitStatus {
        let status = match timeout(within, self.process.wait()).await {
            Ok(status) => status.expect("cannot wait for the daemon"),
            Err(_) => panic!("the daemon has not ended within {within:?}; it said: {}", self.said()),
        };
        for listener in self.listeners.drain(..) {
            listener.await.expect("a listener cannot panic");
        }
        status
    }

    /// Everything that it has printed so far.
    pub fn said(&self) -> String {
        self.said.text()
    }
}

async fn listen(
    from: impl AsyncRead + Unpin,
    said: Option<Arc<Mutex<String>>>,
    mut tell: Option<oneshot::Sender<String>>,
) {
    let mut lines = BufReader::new(from).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if let Some((_, rest)) = line.split_once(LISTENING)
            && let Some(tell) = tell.take()
        {
            let address = rest.split_whitespace().next().unwrap_or_default();
            // Nobody waits any more when the test has failed already, or never wanted to.
            let _ = tell.send(address.to_owned());
        }
        if let Some(said) = &said {
            let mut said = said.lock().unwrap();
            said.push_str(&line);
            said.push('\n');
        }
    }
}
