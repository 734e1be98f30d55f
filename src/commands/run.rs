//! `traceprobe run`: the daemon.

use std::convert::Infallible;
use std::io::IsTerminal;
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};

use super::configuration::{Configuration, EX_CONFIG};
use super::log_fields::text_fields;
use super::output::{complain, say};
use super::panics;
use super::runtimes::Runtimes;
use super::signals::{Received, Signals};
use crate::config::{Config, Log, LogFormat, Place, environment, log_filter};
use crate::daemon::reload::Again;
use crate::daemon::run::{ClockStepped, Daemon, FaultyWebFile};
use crate::daemon::{clock, descriptors, log_level};
use crate::store::StoreError;

/// Exit code of a daemon that only has to be started again: `EX_TEMPFAIL` of `sysexits.h`.
const EX_TEMPFAIL: u8 = 75;
/// Exit code of a daemon whose store another process holds.
const STORE_HELD: u8 = 76;

/// Shown below the options of `traceprobe run --help`.
const EXIT_CODES: &str = "\
Exit codes:
   0  stopped by a signal
   1  failed, for the reason on stderr
  75  the system clock was set; start the daemon again
  76  another process held the store for longer than store.lock_timeout
  78  the configuration is faulty; every fault is on stderr
 130  stopped at once by SIGINT, as the second signal or while starting; 143 if it was SIGTERM";

/// Lines of the log that may wait for stderr. If it is blocked, later lines are lost, and nothing else.
const LOG_LINES: usize = 4_096;

/// Run the daemon: inject canaries, poll every stage for them, serve /metrics and /traces/recent.
///
/// Needs TRACEPROBE_TAG_KEY, or TRACEPROBE_TAG_KEY_FILE, in the environment: the secret that signs the tags.
/// Every key of the configuration can be overridden there, too, for example TRACEPROBE_PROBE_INTERVAL=10s.
///
/// On SIGTERM or SIGINT the daemon stops injecting, continues to poll for up to probe.stop_grace so that
/// canaries in flight can still arrive, and exits. A second signal ends it at once.
///
/// On SIGHUP it reads the configuration again and puts tenants and stages in force that were added, removed or
/// changed. A faulty one is refused, and so is one that needs a restart, such as a text in TRACEPROBE_CONFIG_TEXT; the
/// log names every reason.
#[derive(Debug, Args)]
#[command(after_long_help = EXIT_CODES)]
pub struct Run {
    #[command(flatten)]
    configuration: Configuration,
}

impl Run {
    /// Runs until SIGTERM or SIGINT.
    pub fn run(&self, runtimes: &Runtimes) -> End {
        match self.configuration.load() {
            Ok(config) => daemon(config, Some(self.again()), runtimes, std::future::pending()),
            Err(code) => End::InOrder(code),
        }
    }

    /// How the configuration is read again.
    fn again(&self) -> Again {
        match self.configuration.place(&environment()) {
            Ok(Place::Variable) => Again::Cannot(
                "the text of the configuration is in TRACEPROBE_CONFIG_TEXT, which cannot change while the process \
                 runs; restart it",
            ),
            Ok(place) => Again::With(Arc::new(move || place.load(environment()))),
            // It was read from there just now.
            Err(_) => Again::Cannot("the configuration is in two places"),
        }
    }
}

/// How the program ends.
#[derive(Debug)]
pub enum End {
    /// After a short wait for what is still running.
    InOrder(ExitCode),
    /// Without waiting.
    AtOnce(ExitCode),
}

/// Runs a daemon with this configuration until SIGTERM or SIGINT, and `beside` on the main thread. On SIGHUP, the
/// configuration is read `again`; with `None`, that ends the daemon, too.
pub fn daemon(
    config: Config,
    again: Option<Again>,
    runtimes: &Runtimes,
    beside: impl Future<Output = Infallible>,
) -> End {
    let _written_until_here = start_log(&config.log);
    for note in &config.notes {
        info!("{note}");
    }
    let total_stall = config.total_stall();
    let hang_up = if again.is_some() { HangUp::Reloads } else { HangUp::Ends };
    let again = again.unwrap_or(Again::Cannot("this daemon has no configuration file"));
    descriptors::raise();
    // Before anything that can take long, such as opening a store on a slow disk, and before the line that
    // says that the daemon listens: a reader of that line may send a signal at once.
    let mut signals = match runtimes.beside_tasks(async { Signals::catch() }) {
        Ok(signals) => signals,
        Err(error) => {
            complain!("cannot catch signals: {error}");
            return End::InOrder(ExitCode::FAILURE);
        }
    };
    let mut building = runtimes.start(Daemon::that_reloads(config, again, clock::system()));
    runtimes.beside_tasks(async {
        let built = tokio::select! {
            Some(built) = building.join_next() => built.unwrap_or_else(|panicked| Err(panicked.into())),
            signal = signals.stop() => return End::AtOnce(ExitCode::from(signal.exit_code())),
        };
        let daemon = match built {
            Ok(daemon) => daemon,
            Err(error) => return not_started(&error),
        };
        info!("{total_stall}");
        tokio::select! {
            end = until_stopped(daemon, signals, hang_up) => end,
            never = beside => match never {},
        }
    })
}

fn not_started(error: &anyhow::Error) -> End {
    complain!("cannot start: {error:#}");
    if error.downcast_ref::<FaultyWebFile>().is_some() {
        return End::InOrder(ExitCode::from(EX_CONFIG));
    }
    End::InOrder(match error.downcast_ref::<StoreError>() {
        Some(StoreError::Locked(_)) => ExitCode::from(STORE_HELD),
        // Some faults of the configuration show only when the store that it names is opened.
        Some(error) if error.is_permanent() => ExitCode::from(EX_CONFIG),
        Some(_) | None => ExitCode::FAILURE,
    })
}

/// What SIGHUP does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum HangUp {
    /// The configuration is read again, or the log says why it cannot be.
    Reloads,
    Ends,
}

/// Runs until a signal ends it.
async fn until_stopped(daemon: Daemon, mut signals: Signals, hang_up: HangUp) -> End {
    say!("listening on {}://{}", daemon.scheme(), daemon.address());
    let (stop_grace, reloader) = (daemon.stop_grace(), daemon.reloader());
    let stop = CancellationToken::new();
    let mut running = pin!(daemon.run(stop.cancelled()));
    loop {
        tokio::select! {
            result = &mut running => return End::InOrder(exit_code(result)),
            signal = next(&mut signals, hang_up) => {
                let signal = match signal {
                    Received::Stop(signal) => signal,
                    Received::HangUp => {
                        reloader.request();
                        continue;
                    }
                };
                let name = signal.name();
                if stop.is_cancelled() {
                    warn!("{name}: the second signal ends the daemon at once");
                    return End::AtOnce(ExitCode::from(signal.exit_code()));
                }
                let secs = stop_grace.as_secs();
                info!("{name}: the daemon stops, within {secs} s and a few; a second signal ends it at once");
                stop.cancel();
            }
        }
    }
}

/// The next signal that says something to the daemon.
async fn next(signals: &mut Signals, hang_up: HangUp) -> Received {
    match hang_up {
        HangUp::Reloads => signals.next().await,
        HangUp::Ends => Received::Stop(signals.stop_or_hang_up().await),
    }
}

fn exit_code(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!("{error:#}");
            let start_again = error.downcast_ref::<ClockStepped>().is_some();
            if start_again { ExitCode::from(EX_TEMPFAIL) } else { ExitCode::FAILURE }
        }
    }
}

/// Starts the log. Dropping what it returns writes the lines that wait, for about a second at most.
fn start_log(log: &Log) -> WorkerGuard {
    let ansi = std::io::stderr().is_terminal();
    // Written by a thread of its own. If nobody reads stderr, a write to it blocks, and the first task that
    // logs would hang with all others behind it.
    let (stderr, guard) =
        NonBlockingBuilder::default().buffered_lines_limit(LOG_LINES).lossy(true).finish(std::io::stderr());
    let filter = log_filter(&log.level).expect("the configuration checked it");
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(stderr)
        .with_target(false)
        .with_ansi(ansi)
        // A line that cannot be written, as on a full disk, would be reported on the same stream by a
        // panicking macro.
        .log_internal_errors(false);
    // Fails only if a subscriber is already installed, as in tests.
    match log.format {
        LogFormat::Text => {
            let builder = builder.fmt_fields(text_fields()).with_filter_reloading();
            let handle = builder.reload_handle();
            let _started = builder.try_init();
            log_level::started(&log.level, move |filter| {
                handle.reload(filter).map_err(|error| error.to_string())
            });
        }
        LogFormat::Json => {
            let builder = builder.json().flatten_event(true).with_filter_reloading();
            let handle = builder.reload_handle();
            let _started = builder.try_init();
            log_level::started(&log.level, move |filter| {
                handle.reload(filter).map_err(|error| error.to_string())
            });
        }
    }
    panics::log();
    guard
}
