//! `traceprobe run`: the daemon.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tracing::error;
use tracing_subscriber::EnvFilter;

use crate::config::{Config, Log, LogFormat};
use crate::daemon::clock;
use crate::daemon::run::{ClockStepped, Daemon};
use crate::store::StoreError;

/// What a faulty configuration ends with: `EX_CONFIG` of `sysexits.h`.
pub const EX_CONFIG: u8 = 78;
/// What a daemon ends with that only has to be started again: `EX_TEMPFAIL` of `sysexits.h`.
const EX_TEMPFAIL: u8 = 75;

/// Run the daemon: inject canaries, look for them at every stage, serve /metrics and /traces/recent.
#[derive(Debug, Args)]
pub struct Run {
    /// The configuration; config/traceprobe.toml in the repository documents every key.
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

/// Reads a configuration, or prints every fault of it.
pub fn load(path: &std::path::Path) -> Result<Config, ExitCode> {
    // Variables that are no text cannot be ours.
    let text =
        |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
    Config::load(path, std::env::vars_os().filter_map(text)).map_err(|faults| {
        eprintln!("{faults}");
        ExitCode::from(EX_CONFIG)
    })
}

/// Runs a daemon with this configuration until a signal comes.
pub async fn daemon(config: Config) -> ExitCode {
    start_log(&config.log);
    for note in &config.notes {
        tracing::info!("{note}");
    }
    let daemon = match Daemon::new(config, clock::system()).await {
        Ok(daemon) => daemon,
        Err(error) => {
            eprintln!("cannot start: {error:#}");
            // Some faults of the configuration show only when what it names is opened.
            let fault =
                error.downcast_ref::<StoreError>().is_some_and(StoreError::is_a_fault_of_configuration);
            return if fault { ExitCode::from(EX_CONFIG) } else { ExitCode::FAILURE };
        }
    };
    // Whoever reads the next line may send a signal at once.
    let stop = stop_signal();
    println!("listening on http://{}", daemon.address());
    match daemon.run(stop).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!("{error:#}");
            let again = error.downcast_ref::<ClockStepped>().is_some();
            if again { ExitCode::from(EX_TEMPFAIL) } else { ExitCode::FAILURE }
        }
    }
}

/// SIGTERM, as ECS and Kubernetes send it, or SIGINT, as a terminal does. Heard from the call on, not from the first poll.
pub fn stop_signal() -> impl Future<Output = ()> {
    let handlers = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    async {
        let (Ok(mut term), Ok(mut int)) = handlers else {
            // Without handlers the default action of the signals ends the process, which is the next best thing.
            return std::future::pending().await;
        };
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
    }
}

fn start_log(log: &Log) {
    // The level is ours; of the libraries only errors are wanted, since each failure is logged by us with its meaning.
    let directives = format!("error,traceprobe={}", log.level);
    let filter = EnvFilter::try_new(directives).unwrap_or_else(|_| EnvFilter::new("error,traceprobe=info"));
    let ansi = std::io::stderr().is_terminal();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(ansi)
        // A line that cannot be written, as on a full disk, would be reported on the same stream by a macro that panics.
        .log_internal_errors(false);
    // It fails only where a log was started before, as in a test.
    let _started = match log.format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
}
