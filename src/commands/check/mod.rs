//! `traceprobe check`: validates a configuration and tries everything that it needs.
//!
//! Three marks, because what could not be tried is not proven: `ok`, `FAIL` and `not tried`. Nothing is put into a
//! log group that anybody could find, except with `--canary`. The proofs of a kind of stage are in its folder
//! (`src/observe/`), those of a log group in `src/inject/`; here they are arranged and printed, with what mends them.

mod advice;
mod canary;
mod finding;
mod lookups;
mod mend;
mod patience;
mod region;
mod report;
mod run;
mod subject;
mod who;

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use tokio_util::sync::CancellationToken;

use self::finding::{Finding, Mark};
use self::report::{Format, Report};
use self::run::{Known, Stand};
use super::configuration::Configuration;
use super::output::complain;
use super::signals::Signals;
use crate::cloud::trust::check_roots;
use crate::config::Config;
use crate::daemon::canary::Errand;
use crate::daemon::clock::{self, ProbeClock};
use crate::daemon::run::gate;
use crate::domain::count::counted_len;
use crate::domain::topology::TenantId;

/// Exit code for wrong arguments, as clap has it.
const USAGE: u8 = 2;

/// Shown below the options of `traceprobe check --help`.
const EXIT_CODES: &str = "\
Marks:
  ok         it works, as far as the line says
  FAIL       it does not; the line has the service's own sentence, and those below it what mends it
  not tried  unknown, for the reason in the line
  note       a remark about what works; it is not counted, and does not change the exit code

Exit codes:
   0  nothing failed, and with --canary, every canary arrived everywhere
   1  something failed; its line says why
   2  wrong arguments, such as a tenant that is not in the file
   3  a canary was not accepted, is missing at a stage or not there yet when --timeout ended, is among the dead
      letters or was found with another tenant
   4  a stage could not be read in time, so whether a canary arrived there is unknown
  78  the configuration is faulty; every fault is on stderr
 130  stopped by SIGINT, after printing what was known; 143 if it was SIGTERM, 129 if SIGHUP";

/// Check a configuration, then try everything that it needs: one line per try.
///
/// Each source is polled once, as the daemon would poll it, and more is tried: the newest object, the columns, the
/// price of a poll. The right to put is tried with an event of 15 days ago, which CloudWatch Logs takes and does not
/// store. A missing log stream is created, because that needs a permission of its own.
///
/// With --canary, one real canary is then put into every log group and followed through the whole pipeline. A running
/// daemon does not count it.
///
/// Needs TRACEPROBE_TAG_KEY in the environment, as `traceprobe run` does.
#[derive(Debug, Args)]
#[command(after_long_help = EXIT_CODES)]
pub struct Check {
    #[command(flatten)]
    configuration: Configuration,
    /// Only validate the file; make no calls.
    #[arg(long, conflicts_with = "canary")]
    offline: bool,
    /// Print one JSON document instead of lines; docs/check.md describes it.
    #[arg(long)]
    json: bool,
    /// Check only what this tenant needs; may be repeated.
    #[arg(long, value_name = "NAME")]
    tenant: Vec<String>,
    /// Send one canary into each log group, and follow it until it has arrived everywhere.
    #[arg(long)]
    canary: bool,
    /// How long to follow canaries, such as 90s or 5m [default: probe.give_up]. What has not arrived by then is only
    /// called lost if that is not shorter than probe.give_up.
    #[arg(
        long,
        value_name = "DURATION",
        requires = "canary",
        conflicts_with = "offline",
        value_parser = duration
    )]
    timeout: Option<Duration>,
}

impl Check {
    /// Prints one line per try; [`EXIT_CODES`] lists what it returns.
    pub async fn run(&self) -> ExitCode {
        let config = match self.configuration.load() {
            Ok(config) => config,
            Err(code) => return code,
        };
        let tenants = match self.tenants(&config) {
            Ok(tenants) => tenants,
            Err(fault) => {
                complain!("{fault}");
                return ExitCode::from(USAGE);
            }
        };
        let format = if self.json { Format::Json } else { Format::Lines };
        let mut report = Report::new(format, config.tool_endpoints());
        report.add(Finding::general(Mark::Ok, "configuration", counts(&config)));
        config.notes.iter().for_each(|note| report.note(note));
        let stop = CancellationToken::new();
        let code = if self.offline {
            0
        } else {
            let trying = self.try_all(&config, tenants, &stop, &mut report);
            match until_signal(trying, &stop).await {
                Ok(code) => code,
                Err(error) => {
                    report.add(Finding::general(Mark::Fail, "check", format!("{error:#}")));
                    1
                }
            }
        };
        let code = match code {
            0 => u8::from(report.count(Mark::Fail) > 0),
            code => code,
        };
        report.finish(code);
        ExitCode::from(code)
    }

    async fn try_all(
        &self,
        config: &Config,
        tenants: Vec<TenantId>,
        stop: &CancellationToken,
        report: &mut Report,
    ) -> anyhow::Result<u8> {
        crate::cloud::install_tls();
        if let Err(none) = check_roots() {
            report.add(Finding::general(Mark::Fail, "certificates", none.to_string()));
            return Ok(0);
        }
        web_file(config).into_iter().for_each(|finding| report.add(finding));
        let clock: ProbeClock = clock::system();
        let wall = clock.wall();
        let clients = run::clients(config, report).await;
        let stand = Stand::new(config, &clients, &wall, &tenants);
        let mut known = Known::default();
        let tried_all = stop.run_until_cancelled(stand.try_everything(report, &mut known)).await.is_some();
        known.tell(config, report);
        if !tried_all || !self.canary {
            return Ok(0);
        }
        let timeout = self.timeout.unwrap_or(config.probe.give_up);
        let errand = Errand { tenants, timeout };
        canary::send(config, clients, clock, &errand, stop, report).await
    }

    /// The tenants that are named, or all.
    fn tenants(&self, config: &Config) -> Result<Vec<TenantId>, String> {
        let id = |at: usize| TenantId(u16::try_from(at).unwrap_or(u16::MAX));
        if self.tenant.is_empty() {
            return Ok((0..config.tenants.len()).map(id).collect());
        }
        let names = || config.tenants.iter().map(|tenant| &*tenant.name);
        let mut found: Vec<TenantId> = Vec::new();
        for name in &self.tenant {
            let at = names().position(|known| known == name).ok_or_else(|| {
                let known = names().take(10).collect::<Vec<_>>().join(", ");
                format!("there is no tenant \"{name}\"; the configuration has {known}")
            })?;
            if !found.contains(&id(at)) {
                found.push(id(at));
            }
        }
        Ok(found)
    }
}

/// Runs `work` to its end. A signal asks it to end, and its exit code is that of the signal then.
async fn until_signal(
    work: impl Future<Output = anyhow::Result<u8>>,
    stop: &CancellationToken,
) -> anyhow::Result<u8> {
    let mut work = std::pin::pin!(work);
    let mut signals = Signals::catch()?;
    tokio::select! {
        done = &mut work => done,
        signal = signals.stop_or_hang_up() => {
            stop.cancel();
            // It ends at once: what it waits for is dropped.
            let _known = work.await?;
            Ok(signal.exit_code())
        }
    }
}

/// What the web configuration file and the files that it names are worth; `None` if there is none.
fn web_file(config: &Config) -> Option<Finding> {
    let path = config.web.config_file.as_ref()?.display();
    Some(match gate(config) {
        Ok(gate) if gate.has_tls() => {
            Finding::general(Mark::Ok, "web.config_file", format!("{path}: the port speaks TLS"))
        }
        Ok(_) => Finding::general(Mark::Ok, "web.config_file", format!("{path}: the port has no TLS")),
        Err(faulty) => Finding::general(Mark::Fail, "web.config_file", faulty.0.join("; ")),
    })
}

fn counts(config: &Config) -> String {
    let (tenants, stages, sources) = (config.tenants.len(), config.stages.len(), config.sources.len());
    let [tenants, stages, sources] = [(tenants, "tenant"), (stages, "stage"), (sources, "source")]
        .map(|(count, noun)| counted_len(count, noun));
    format!("{tenants}, {stages}, {sources}")
}

/// Reads a duration, such as `90s` or `5m`.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("\"{text}\" is not a valid duration; write for example 90s or 5m");
    let unit = text.len().checked_sub(1).filter(|at| text.is_char_boundary(*at)).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(unit);
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        _ => return Err(wrong()),
    };
    let number: u32 = number.parse().map_err(|_| wrong())?;
    // A day is longer than any pipeline takes, and far from any overflow.
    match u64::from(number) * seconds {
        seconds @ 1..=86_400 => Ok(Duration::from_secs(seconds)),
        _ => Err(format!("\"{text}\" is out of range; write 1s to 24h")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        for wrong in ["", "5", "m", "0s", "25h", "5 m", "5µ", "99999999999s"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
