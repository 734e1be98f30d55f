//! The program as a process: its output and its end.

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

/// The program under test.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_traceprobe");
/// A start takes about 0.2 s, and many times that on a busy machine.
const LISTENS_WITHIN: Duration = Duration::from_secs(60);
/// The program prints this before the address that it listens on.
const LISTENING: &str = "listening on ";

/// The output of a process.
#[derive(Clone)]
pub enum Printed {
    /// Both stdout and stderr.
    Memory(Arc<Mutex<String>>),
    /// Stderr only, appended to the file.
    File(PathBuf),
}

impl Printed {
    pub fn in_memory() -> Printed {
        Printed::Memory(Arc::default())
    }

    /// Everything printed so far.
    pub fn text(&self) -> String {
        match self {
            Printed::Memory(text) => text.lock().unwrap().clone(),
            Printed::File(path) => std::fs::read_to_string(path).unwrap_or_default(),
        }
    }
}

/// A process that is killed when it is dropped. [`Process::listening`] waits until it listens.
pub struct Process {
    process: Child,
    printed: Printed,
    /// Receives the address on which it listens; taken by [`Process::listening`].
    address: Option<oneshot::Receiver<String>>,
    listeners: Vec<JoinHandle<()>>,
}

impl Process {
    /// Starts it without waiting.
    pub fn spawn(command: &mut Command, printed: Printed) -> Process {
        let stderr = match &printed {
            Printed::Memory(_) => Stdio::piped(),
            Printed::File(path) => {
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
        let text = match &printed {
            Printed::Memory(text) => Some(text),
            Printed::File(_) => None,
        };
        let (address_sender, address) = oneshot::channel();
        let stdout = process.stdout.take().expect("stdout is piped");
        #[expect(clippy::disallowed_methods, reason = "the test owns them, and they end with the process")]
        let mut listeners = vec![tokio::spawn(listen(stdout, text.cloned(), Some(address_sender)))];
        if let Some(stderr) = process.stderr.take() {
            #[expect(clippy::disallowed_methods, reason = "as above")]
            listeners.push(tokio::spawn(listen(stderr, text.cloned(), None)));
        }
        Process { process, printed, address: Some(address), listeners }
    }

    /// Waits until it listens. May be called once.
    pub async fn listening(&mut self) -> Client {
        let address = self.address.take().expect("it listens already");
        match timeout(LISTENS_WITHIN, address).await {
            Ok(Ok(address)) => Client::new(address, self.printed.clone()),
            Ok(Err(_)) => panic!("the daemon ended before it listened: {}", self.printed.text()),
            Err(_) => panic!("the daemon does not listen: {}", self.printed.text()),
        }
    }

    /// The process id.
    pub fn id(&self) -> String {
        self.process.id().expect("the daemon has ended already").to_string()
    }

    pub async fn signal(&self, name: &str) {
        let id = self.id();
        let kill = Command::new("kill").args([&format!("-{name}"), &id]).status().await;
        assert!(kill.expect("cannot run kill").success(), "kill -{name} {id} failed");
    }

    /// Sends SIGKILL and does not wait.
    pub fn start_kill(&mut self) {
        self.process.start_kill().expect("the daemon has ended already");
    }

    /// Waits until it has ended and all of its output has been read.
    pub async fn ended(&mut self, within: Duration) -> ExitStatus {
        let status = match timeout(within, self.process.wait()).await {
            Ok(status) => status.expect("cannot wait for the daemon"),
            Err(_) => panic!("the daemon has not ended within {within:?}; it printed: {}", self.printed()),
        };
        for listener in self.listeners.drain(..) {
            listener.await.expect("a listener cannot panic");
        }
        status
    }

    /// Everything printed so far.
    pub fn printed(&self) -> String {
        self.printed.text()
    }
}

async fn listen(
    from: impl AsyncRead + Unpin,
    printed: Option<Arc<Mutex<String>>>,
    mut address_sender: Option<oneshot::Sender<String>>,
) {
    let mut lines = BufReader::new(from).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if let Some((_, rest)) = line.split_once(LISTENING)
            && let Some(sender) = address_sender.take()
        {
            let address = rest.split_whitespace().next().unwrap_or_default();
            // The receiver is gone if the test has failed or does not wait for the address.
            let _ = sender.send(address.to_owned());
        }
        if let Some(printed) = &printed {
            let mut printed = printed.lock().unwrap();
            printed.push_str(&line);
            printed.push('\n');
        }
    }
}
