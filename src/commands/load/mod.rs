//! `traceprobe load`: sends a load into the log groups of tenants that allow it, and judges what the pipeline
//! does.
//!
//! What is sent and judged is in `src/load/`, the run itself in `src/daemon/load/`. Here the arguments are
//! read, the estimate is shown and confirmed, and the report is written.

mod compare;
mod output;
mod progress;

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand, ValueHint};

use self::compare::Compare;
use self::output::Output;
use self::progress::Shown;
use super::configuration::{Configuration, EX_CONFIG};
use super::output::{complain, say};
use super::signals::{Signals, Stop};
use crate::cloud::calls::Calls;
use crate::config::Config;
use crate::daemon::load::{Controls, Ended, Guard, Run, usage};
use crate::daemon::{build, clock};
use crate::domain::topology::TenantId;
use crate::keys::fault::listed;
use crate::keys::secret::masked_urls;
use crate::keys::value;
use crate::load::estimate::Estimate;
use crate::load::plan::{Ceilings, Lane, Plan};
use crate::load::prices::{self, Prices};
use crate::load::profile::{Profile, SHIPPED};
use crate::load::report::{Facts, Report, Used, Verdict, text};

/// Exit code for wrong arguments, as clap has it, and for a load that is refused.
const USAGE: u8 = 2;
/// It depends on what could not be observed, as with `traceprobe check`.
const INCONCLUSIVE: u8 = 4;
/// The guard ended the run.
const GUARDED: u8 = 5;
/// A threshold was broken, as with k6.
const BROKEN: u8 = 99;

/// Shown below the options of `traceprobe load --help`.
const EXIT_CODES: &str = "\
Before it can be used, the configuration must name the tenants that may be loaded:
  [load]
  allow = [\"staging\"]

Exit codes:
   0  every threshold was kept; with --dry-run, the load would be allowed
   1  the run failed, or a report could not be written; the others are
   2  the arguments are wrong, or the load is refused: not allowed, above a ceiling, not confirmed, the guard sees a
      problem already, cannot tell or cannot be reached, or a file of --out cannot be written
   4  inconclusive: it depends on what could not be observed, such as a stage that could not be read
   5  the guard ended the run, because a tenant got a problem, or the daemon could not tell or be reached
  78  the configuration, the profile or the prices are faulty; every fault is on stderr
  99  a threshold was broken
 130  stopped by SIGINT, after the report; 143 if it was SIGTERM, 129 if it was SIGHUP, which a closed terminal sends
      (not with nohup). A second signal ends the run without waiting for canaries in flight, but not SIGHUP after SIGHUP";

/// Send a load into log groups and judge what the pipeline does with it.
///
/// Every event is a canary that is followed through every stage, with the truth of the daemon: what is lost is proven
/// absent, and a stage that cannot be read makes the result inconclusive, and is never a loss. A running daemon does not
/// count these canaries. docs/load.md describes profiles, thresholds and reports.
///
/// Needs TRACEPROBE_TAG_KEY in the environment, as `traceprobe run` does.
#[derive(Debug, Args)]
#[command(after_long_help = EXIT_CODES, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Load {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    configuration: Configuration,
    #[arg(
        long,
        value_name = "NAME",
        required = true,
        help = format!("The profile: {}, or the path of a file of your own", names())
    )]
    profile: Option<String>,
    /// Load only this tenant; may be repeated [default: all of load.allow].
    #[arg(long, value_name = "NAME")]
    tenant: Vec<String>,
    /// Multiply every rate of the profile by this.
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, value_parser = factor)]
    scale_rate: f64,
    /// Multiply every time of the profile by this, but not give_up, which is the time that the pipeline takes.
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, value_parser = factor)]
    scale_time: f64,
    /// List prices to use in place of those that are compiled in.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    prices: Option<PathBuf>,
    /// Do not ask for confirmation; needed where there is no terminal.
    #[arg(long)]
    yes: bool,
    /// Print the estimate, check whether the load would be allowed, and send nothing.
    #[arg(long)]
    dry_run: bool,
    /// Write the report as json, html or junit into a file; may be repeated.
    #[arg(long, value_name = "FORMAT=FILE")]
    out: Vec<Output>,
    /// After the run, wait this long for CloudWatch to have its metrics, and report what the pipeline cost.
    #[arg(long, value_name = "DURATION", num_args = 0..=1, default_missing_value = "3m", value_parser = wait)]
    cost: Option<Duration>,
    /// Serve metrics of the run at /metrics while it lasts; with port 0, stderr tells which port was free.
    #[arg(long, value_name = "ADDR")]
    metrics: Option<SocketAddr>,
}

#[derive(Debug, Subcommand)]
enum What {
    Compare(Compare),
}

impl Load {
    /// Runs it; [`EXIT_CODES`] lists what it returns.
    pub async fn run(&self) -> ExitCode {
        if let Some(What::Compare(compare)) = &self.what {
            return compare.run();
        }
        let config = match self.configuration.load() {
            Ok(config) => config,
            Err(code) => return code,
        };
        match self.run_with(&config).await {
            Ok(code) | Err(code) => ExitCode::from(code),
        }
    }

    async fn run_with(&self, config: &Config) -> Result<u8, u8> {
        output::check(&self.out).map_err(|reason| refuse(USAGE, &reason))?;
        let prices = self.prices()?;
        let name = self.profile.as_deref().unwrap_or_default();
        let profile = Profile::find(name).map_err(|faults| refuse(EX_CONFIG, &faults))?;
        let profile = profile.scaled(self.scale_rate, self.scale_time);
        let lanes = self.lanes(config).map_err(|reason| refuse(USAGE, &reason))?;
        let ceilings = ceilings(config);
        let plan =
            Plan::new(profile, lanes, &config.topology(), config.probe.slo, &ceilings).map_err(|faults| {
                refuse(
                    EX_CONFIG,
                    &format!("the profile does not fit the configuration:\n  {}", faults.join("\n  ")),
                )
            })?;
        let estimate = Estimate::new(&plan, &prices);
        estimate.lines(&plan).iter().for_each(|line| complain!("{line}"));
        let exceeds = estimate.exceeds(&ceilings);
        if !exceeds.is_empty() {
            let reason = "refused; set the key higher in the configuration, or choose a smaller profile or --scale-rate";
            return Err(refuse(USAGE, &format!("{reason}:\n  {}", exceeds.join("\n  "))));
        }
        let guard = guard(config, &plan).await?;
        if self.dry_run {
            return Ok(0);
        }
        if !self.yes {
            confirm()?;
        }
        let metrics = self.metrics()?;
        let mut signals =
            Signals::catch().map_err(|error| refuse(1, &format!("cannot catch signals: {error}")))?;
        let controls = Controls { guard, metrics, ..Controls::default() };
        let run = send(config, &plan, &ceilings, &controls);
        let (done, mut signal) = until_done(run, &controls, &mut signals).await;
        let run = done.map_err(|error| refuse(1, &format!("the run failed: {error:#}")))?;
        let used = match self.cost {
            Some(after) => tokio::select! {
                used = used(config, &run, after) => used
                    .inspect_err(|reason| {
                        complain!("{reason}: the report is written without what the pipeline used");
                    })
                    .ok(),
                stop = signals.stop_or_hang_up() => {
                    complain!("{}: the report is written without what the pipeline used", stop.name());
                    signal = Some(stop);
                    None
                }
            },
            None => None,
        };
        let report = report(&plan, &prices, &run, used.as_deref());
        text::summary(&report).iter().for_each(|line| say!("{line}"));
        let unwritten = output::write(&self.out, &report);
        unwritten.iter().for_each(|reason| complain!("{reason}"));
        if !unwritten.is_empty() {
            return Err(1);
        }
        Ok(match (signal, &run.ended, report.verdict) {
            (Some(signal), ..) => signal.exit_code(),
            (None, _, Verdict::Failed) => BROKEN,
            (None, Ended::Guarded(_), _) => GUARDED,
            (None, _, Verdict::Inconclusive) => INCONCLUSIVE,
            (None, _, Verdict::Passed) => 0,
        })
    }

    /// Opens the port for metrics, and tells which one it is.
    fn metrics(&self) -> Result<Option<TcpListener>, u8> {
        let Some(address) = self.metrics else { return Ok(None) };
        let failed = |error| refuse(1, &format!("--metrics: cannot listen on {address}: {error}"));
        let port = TcpListener::bind(address).map_err(failed)?;
        complain!("metrics at http://{}/metrics", port.local_addr().map_err(failed)?);
        Ok(Some(port))
    }

    fn prices(&self) -> Result<Prices, u8> {
        let Some(path) = &self.prices else {
            return Prices::parse("config/load/prices.toml", prices::SHIPPED)
                .map_err(|faults| refuse(EX_CONFIG, &faults));
        };
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|error| refuse(EX_CONFIG, &format!("--prices: cannot read {name}: {error}")))?;
        Prices::parse(&name, &text).map_err(|faults| refuse(EX_CONFIG, &faults))
    }

    /// The tenants to load, if they may be.
    fn lanes(&self, config: &Config) -> Result<Vec<Lane>, String> {
        let allowed = &config.load.allow;
        if allowed.is_empty() {
            return Err("refused: load.allow names no tenant. A load takes quotas, money and the patience of whoever \
                        watches the pipeline, so the configuration must allow it:\n  [load]\n  allow = [\"staging\"]"
                .to_owned());
        }
        let names = if self.tenant.is_empty() { allowed } else { &self.tenant };
        if let Some(name) = names.iter().find(|name| !allowed.contains(name)) {
            return Err(format!(
                "refused: load.allow does not name tenant \"{name}\"; it has {}",
                listed(allowed.iter().map(String::as_str))
            ));
        }
        let tenants = config
            .tenants
            .iter()
            .enumerate()
            .filter(|(_, tenant)| names.iter().any(|it| **it == *tenant.name));
        let lane = |(at, tenant): (usize, &crate::config::Tenant)| Lane {
            tenant: TenantId(u16::try_from(at).unwrap_or(u16::MAX)),
            name: tenant.name.clone(),
            log_groups: u16::try_from(tenant.log_groups.len()).unwrap_or(u16::MAX),
            least_bytes: u32::try_from(tenant.template.min_size()).unwrap_or(u32::MAX),
            weight: 1,
        };
        Ok(tenants.map(lane).collect())
    }
}

/// Prints why nothing is sent, and returns the exit code.
fn refuse(code: u8, reason: &impl ToString) -> u8 {
    complain!("{}", reason.to_string());
    code
}

fn names() -> String {
    let names: Vec<_> = SHIPPED.iter().map(|(name, _)| *name).collect();
    names.join(", ")
}

fn ceilings(config: &Config) -> Ceilings {
    let load = &config.load;
    Ceilings {
        rate: f64::from(load.max_rate),
        events: u64::from(load.max_events),
        bytes: load.max_bytes,
        dollars: f64::from(load.max_dollars),
    }
}

/// The daemon that watches the tenants meanwhile, if there is one.
async fn guard(config: &Config, plan: &Plan) -> Result<Option<Guard>, u8> {
    let Some(url) = &config.load.guard_url else { return Ok(None) };
    let mut guard = Guard::new(url, &masked_urls(url)).map_err(|reason| refuse(USAGE, &reason))?;
    let tenants: Vec<_> = plan.lanes.iter().map(|lane| &*lane.name).collect();
    guard.begin(&tenants).await.map_err(|reason| refuse(USAGE, &format!("refused: {reason}")))?;
    Ok(Some(guard))
}

/// Waits until somebody agrees.
fn confirm() -> Result<(), u8> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(refuse(
            USAGE,
            &"refused: there is no terminal on which to confirm this; add --yes if it is intended",
        ));
    }
    // If it cannot be printed, nobody will answer.
    let _printed = write!(io::stderr(), "Type yes to send this: ").and_then(|()| io::stderr().flush());
    let mut answer = String::new();
    match io::stdin().lock().read_line(&mut answer) {
        Ok(_) if answer.trim() == "yes" => Ok(()),
        Ok(_) | Err(_) => Err(refuse(USAGE, &"not confirmed; nothing was sent")),
    }
}

/// Runs a load to its end. The first signal ends sending, and a second one does not wait for what is in flight. Returns
/// the last signal, too.
async fn until_done(
    run: impl Future<Output = anyhow::Result<Run>>,
    controls: &Controls,
    signals: &mut Signals,
) -> (anyhow::Result<Run>, Option<Stop>) {
    let mut run = std::pin::pin!(run);
    let mut signal = None;
    loop {
        tokio::select! {
            done = &mut run => return (done, signal),
            stop = signals.stop_or_hang_up(), if !controls.at_once.is_cancelled() => {
                match signal {
                    None => {
                        let name = stop.name();
                        complain!("{name}: no more events; waiting for canaries in flight; a second signal ends at once");
                        controls.stop.cancel();
                    }
                    // A terminal that is closed sends more than one: its shell does, and the system.
                    Some(Stop::HangUp) if stop == Stop::HangUp => {}
                    Some(_) => controls.at_once.cancel(),
                }
                signal = Some(stop);
            }
        }
    }
}

async fn send(config: &Config, plan: &Plan, ceilings: &Ceilings, controls: &Controls) -> anyhow::Result<Run> {
    crate::cloud::install_tls();
    let clients = build::clients(&config.aws, &config.google, Calls::default()).await?;
    let mut shown = Shown::new();
    let run = crate::daemon::load::run(config, plan, ceilings, clients, clock::system(), controls, |it| {
        shown.show(it)
    });
    let run = run.await;
    shown.finish();
    run
}

fn report(plan: &Plan, prices: &Prices, run: &Run, used: Option<&[Used]>) -> Report {
    let cut = match &run.ended {
        Ended::Complete => None,
        Ended::Stopped => Some("stopped by a signal".to_owned()),
        Ended::Aborted(threshold) => Some(format!("ended early, because {threshold} was broken")),
        Ended::Guarded(reason) => Some(format!("ended by the guard: {reason}")),
        Ended::Ceiling(key) => Some(format!("ended at the ceiling {key}")),
        Ended::ClockStepped => Some("ended, because the system's clock was set".to_owned()),
    };
    let cut = match (cut, run.cut_short) {
        (cut, true) => Some(format!("{}; canaries in flight were not waited for", cut.unwrap_or_default())),
        (cut, false) => cut,
    };
    Report::new(
        plan,
        prices,
        &Facts {
            record: &run.record,
            search: run.search.as_ref(),
            cut,
            blind: &run.blind,
            cut_searches: &run.cut_searches,
            throttled: run.throttled,
            put_calls: run.put_calls,
            calls: &run.calls,
            bytes: run.bytes,
            refusal: run.refusal.clone(),
            began: run.began,
            finished: run.finished,
            latest_send: run.latest_send,
            version: env!("CARGO_PKG_VERSION"),
            used,
        },
    )
}

/// Waits, and reads what the parts of the pipeline used during a run.
async fn used(config: &Config, run: &Run, after: Duration) -> Result<Vec<Used>, String> {
    complain!("waiting {} s for the metrics of the pipeline", after.as_secs());
    tokio::time::sleep(after).await;
    let clients = build::clients(&config.aws, &config.google, Calls::default()).await;
    let clients = clients.map_err(|error| format!("{error:#}"))?;
    Ok(usage::read(config, &clients.aws, run.began, run.finished).await)
}

/// Reads how long to wait.
fn wait(text: &str) -> Result<Duration, String> {
    let most = Duration::from_hours(1);
    value::duration_within(Duration::ZERO, most, "")(&toml::Value::String(text.to_owned()))
}

/// Reads a factor.
fn factor(text: &str) -> Result<f64, String> {
    let factor = text.parse().ok().filter(|factor: &f64| (1e-5..=1e3).contains(factor));
    factor.ok_or_else(|| format!("\"{text}\" is not a valid factor; write 0.00001 to 1000"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_factor_is_more_than_nothing() {
        assert_eq!(factor("0.5"), Ok(0.5));
        for wrong in ["0", "-1", "NaN", "inf", "", "half"] {
            assert!(factor(wrong).is_err(), "{wrong}");
        }
    }
}
