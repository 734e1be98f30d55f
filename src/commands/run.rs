//! `traceprobe run`: the daemon.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tracing::error;
use tracing_subscriber::EnvFilter;

use super::log_fields::text_fields;
use crate::config::{Config, Log, LogFormat};
use crate::daemon::clock;
use crate::daemon::run::{ClockStepped, Daemon};
use crate::store::StoreError;

/// Exit code for a faulty configuration: `EX_CONFIG` of `sysexits.h`.
pub const EX_CONFIG: u8 = 78;
/// Exit code of a daemon that only has to be started again: `EX_TEMPFAIL` of `sysexits.h`.
const EX_TEMPFAIL: u8 = 75;

/// Shown below the options of `traceprobe run --help`.
const EXIT_CODES: &str = "\
Exit codes:
   0  stopped by a signal
   1  failed, for the reason on stderr
  75  the system clock was set; start the daemon again
  78  the configuration is faulty; every fault is on stderr";

/// Run the daemon: inject canaries, poll every stage for them, serve /metrics and /traces/recent.
///
/// Needs TRACEPROBE_TAG_KEY, or TRACEPROBE_TAG_KEY_FILE, in the environment: the secret that signs the tags.
/// Every key of the configuration can be overridden there, too, for example TRACEPROBE_PROBE_INTERVAL=10s.
///
/// On SIGTERM or SIGINT the daemon stops injecting, continues to poll for up to probe.stop_grace so that
/// canaries in flight can still arrive, and exits.
#[derive(Debug, Args)]
#[command(after_long_help = EXIT_CODES)]
pub struct Run {
    /// Path of the configuration; config/traceprobe.toml in the repository documents every key.
    #[arg(long, value_name = "FILE", env = "TRACEPROBE_CONFIG")]
    config: PathBuf,
}

impl Run {
    /// Runs until SIGTERM or SIGINT.
    pub async fn run(&self) -> ExitCode {
        match load(&self.config) {
            Ok(config) => daemon(config).await,
            Err(code) => code,
        }
    }
}

/// Reads a configuration. On failure, prints every fault and returns the exit code.
pub fn load(path: &std::path::Path) -> Result<Config, ExitCode> {
    // Variables that are not Unicode are ignored: none of ours can be one.
    let text =
        |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
    Config::load(path, std::env::vars_os().filter_map(text)).map_err(|faults| {
        eprintln!("{faults}");
        ExitCode::from(EX_CONFIG)
    })
}

/// Runs a daemon with this configuration until SIGTERM or SIGINT.
pub async fn daemon(config: Config) -> ExitCode {
    start_log(&config.log);
    for note in &config.notes {
        tracing::info!("{note}");
    }
    let daemon = match Daemon::new(config, clock::system()).await {
        Ok(daemon) => daemon,
        Err(error) => {
            eprintln!("cannot start: {error:#}");
            // Some faults of the configuration show only when the store that it names is opened.
            let fault = error.downcast_ref::<StoreError>().is_some_and(StoreError::is_permanent);
            return if fault { ExitCode::from(EX_CONFIG) } else { ExitCode::FAILURE };
        }
    };
    // Before the next line is printed: a reader of that line may send a signal at once.
    let stop = stop_signal();
    println!("listening on http://{}", daemon.address());
    match daemon.run(stop).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!("{error:#}");
            let start_again = error.downcast_ref::<ClockStepped>().is_some();
            if start_again { ExitCode::from(EX_TEMPFAIL) } else { ExitCode::FAILURE }
        }
    }
}

/// Waits for SIGTERM, which ECS and Kubernetes send, or SIGINT, which a terminal sends. Signals are caught
/// from the call on, not only from the first poll of the future.
pub fn stop_signal() -> impl Future<Output = ()> {
    let handlers = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    async {
        let (Ok(mut term), Ok(mut int)) = handlers else {
            // Without handlers, the default action of the signals ends the process, which is second best.
            return std::future::pending().await;
        };
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
    }
}

fn start_log(log: &Log) {
    // The level applies to our own lines. Libraries log errors only: we log each failure ourselves.
    let directives = format!("error,traceprobe={}", log.level);
    let filter = EnvFilter::try_new(directives).unwrap_or_else(|_| EnvFilter::new("error,traceprobe=info"));
    let ansi = std::io::stderr().is_terminal();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(ansi)
        // A line that cannot be written, as on a full disk, would be reported on the same stream by a
        // panicking macro.
        .log_internal_errors(false);
    // Fails only if a subscriber is already installed, as in tests.
    let _started = match log.format {
        LogFormat::Text => builder.fmt_fields(text_fields()).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
}
