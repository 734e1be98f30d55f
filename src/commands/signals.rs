//! The signals that a daemon receives.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Signals that are caught from now on.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

/// A signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    Stop(Stop),
    /// SIGHUP: the configuration is to be read again. A closed terminal sends it, too.
    HangUp,
}

/// A signal that ends the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// SIGTERM, which ECS and Kubernetes send.
    Terminate,
    /// SIGINT, which a terminal sends.
    Interrupt,
}

impl Stop {
    /// The name of the signal.
    pub fn name(self) -> &'static str {
        match self {
            Self::Terminate => "SIGTERM",
            Self::Interrupt => "SIGINT",
        }
    }

    /// The exit code of a process that the signal ended at once, as shells report it: 128 and its number.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Terminate => 143,
            Self::Interrupt => 130,
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
        Ok(Self {
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

    /// Waits for the next signal. One that arrived before is not lost.
    pub async fn next(&mut self) -> Received {
        tokio::select! {
            _ = self.hang_up.recv() => Received::HangUp,
            _ = self.terminate.recv() => Received::Stop(Stop::Terminate),
            _ = self.interrupt.recv() => Received::Stop(Stop::Interrupt),
        }
    }
}
