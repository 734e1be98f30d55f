//! The signals that a daemon receives.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What the system says of this process (proc_pid_status(5)). Other systems than Linux have no such file.
const STATUS: &str = "/proc/self/status";

/// Signals that are caught from now on.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    /// Whether the program was started so that it survives its terminal, as by nohup.
    outlives_terminal: bool,
}

/// A signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    Stop(Stop),
    /// SIGHUP: the configuration is to be read again. A closed terminal sends it, too.
    HangUp,
}

/// A signal that ends the daemon, or a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// SIGTERM, which ECS and Kubernetes send.
    Terminate,
    /// SIGINT, which a terminal sends.
    Interrupt,
    /// SIGHUP, which a closed terminal sends. It does not end the daemon, for which it is [`Received::HangUp`].
    HangUp,
}

impl Stop {
    /// The name of the signal.
    pub fn name(self) -> &'static str {
        match self {
            Self::Terminate => "SIGTERM",
            Self::Interrupt => "SIGINT",
            Self::HangUp => "SIGHUP",
        }
    }

    /// The exit code of a process that the signal ended at once, as shells report it: 128 and its number.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Terminate => 143,
            Self::Interrupt => 130,
            Self::HangUp => 129,
        }
    }
}

impl Signals {
    /// Catches signals.
    ///
    /// # Errors
    ///
    /// If the system does not allow it.
    pub fn catch() -> io::Result<Self> {
        // Before it is caught: afterwards it is not ignored any more.
        let outlives_terminal = ignores_hang_up(&std::fs::read_to_string(STATUS).unwrap_or_default());
        Ok(Self {
            outlives_terminal,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for the next signal that ends the daemon.
    pub async fn stop(&mut self) -> Stop {
        tokio::select! {
            _ = self.terminate.recv() => Stop::Terminate,
            _ = self.interrupt.recv() => Stop::Interrupt,
        }
    }

    /// Waits for the next signal that ends a command, which has nothing to reload: also SIGHUP, unless the command was
    /// started by nohup. The demo is one.
    pub async fn stop_or_hang_up(&mut self) -> Stop {
        loop {
            match self.next().await {
                Received::Stop(stop) => return stop,
                Received::HangUp if self.outlives_terminal => {}
                Received::HangUp => return Stop::HangUp,
            }
        }
    }

    /// Waits for the next signal. One that arrived before is not lost.
    pub async fn next(&mut self) -> Received {
        tokio::select! {
            _ = self.hang_up.recv() => Received::HangUp,
            _ = self.terminate.recv() => Received::Stop(Stop::Terminate),
            _ = self.interrupt.recv() => Received::Stop(Stop::Interrupt),
        }
    }
}

/// Whether a process with this status ignores SIGHUP: the lowest bit of a mask in hexadecimal.
fn ignores_hang_up(status: &str) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nohup_is_known_by_the_ignored_signals() {
        // SIGPIPE, which every Rust program ignores, and with it SIGHUP.
        assert!(!ignores_hang_up("Name:\ttraceprobe\nSigIgn:\t0000000000001000\n"));
        assert!(ignores_hang_up("SigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\n"));
        assert!(!ignores_hang_up(""));
    }
}
