//! `traceprobe check`: validates a configuration and tries everything that it needs.
//!
//! Three marks, because what could not be tried is not proven: `ok`, `FAIL` and `not tried`. Nothing is put into a
//! log group that anybody could find, except with `--canary`. The proofs of a kind of stage are in its folder
//! (`src/observe/`), those of a log group in `src/inject/`; here they are arranged and printed, with what mends them.

mod finding;
mod mend;
mod report;
mod run;
mod subject;
mod who;

use std::process::ExitCode;

use clap::Args;

use self::finding::{Finding, Mark};
use self::report::{Format, Report};
use self::run::Stand;
use super::configuration::Configuration;
use crate::config::Config;
use crate::daemon::clock;
use crate::daemon::run::gate;

/// Shown below the options of `traceprobe check --help`.
const EXIT_CODES: &str = "\
Marks:
  ok         it works, as far as the line says
  FAIL       it does not; the line has the service's own sentence, and those below it what mends it
  not tried  unknown, for the reason in the line

Exit codes:
   0  nothing failed
   1  something failed; its line says why
  78  the configuration is faulty; every fault is on stderr";

/// Check a configuration, then try everything that it needs: one line per try.
///
/// Each source is polled once, as the daemon would poll it, and asked for more: the newest object, the columns, the
/// price of a poll. The right to put is tried with an event of 15 days ago, which CloudWatch Logs takes and does not
/// store. A missing log stream is created, because that needs a permission of its own.
///
/// Needs TRACEPROBE_TAG_KEY in the environment, as `traceprobe run` does.
#[derive(Debug, Args)]
#[command(after_long_help = EXIT_CODES)]
pub struct Check {
    #[command(flatten)]
    configuration: Configuration,
    /// Only validate the file; make no calls.
    #[arg(long)]
    offline: bool,
    /// Print one JSON document instead of lines; docs/check.md describes it.
    #[arg(long)]
    json: bool,
}

impl Check {
    /// Prints one line per try; [`EXIT_CODES`] lists what it returns.
    pub async fn run(&self) -> ExitCode {
        let config = match self.configuration.load() {
            Ok(config) => config,
            Err(code) => return code,
        };
        let mut report = Report::new(if self.json { Format::Json } else { Format::Lines });
        report.add(Finding::general(Mark::Ok, "configuration", counts(&config)));
        config.notes.iter().for_each(|note| report.note(note));
        if !self.offline {
            crate::cloud::install_tls();
            web_file(&config).into_iter().for_each(|finding| report.add(finding));
            let clock = clock::system().wall();
            let clients = run::clients(&config, &mut report).await;
            Stand::new(&config, &clients, &clock).try_everything(&mut report).await;
        }
        let code = u8::from(report.count(Mark::Fail) > 0);
        report.finish(code);
        ExitCode::from(code)
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
    format!("{tenants} tenants, {stages} stages, {sources} sources")
}
