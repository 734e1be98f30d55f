//! `traceprobe check`: validates a configuration and tries every permission that it needs.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use crate::cloud::Clients;
use crate::cloud::account::Account;
use crate::cloud::calls::Calls;
use crate::config::Config;
use crate::daemon::build;
use crate::daemon::clock;
use crate::domain::sighting::{Poll, Wanted, WantedTrace};
use crate::domain::tag::{InstanceCode, Purpose, Tag, TenantCode, TraceId};
use crate::domain::time::WallClock;
use crate::observe::Site;

use super::configuration::Configuration;
use super::output::say;

/// Shown below the options of `traceprobe check --help`.
const EXIT_CODES: &str = "\
Exit codes:
   0  everything works
   1  a log group or source cannot be reached; its line says why
  78  the configuration is faulty; every fault is on stderr";

/// Check a configuration, then try every permission that it needs: one line per log group and source.
///
/// Each source is polled once, as the daemon would poll it. No event is put into any log group, but a missing
/// log stream is created, because that needs a permission of its own.
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
}

impl Check {
    /// Prints one line per check; [`EXIT_CODES`] lists what it returns.
    pub async fn run(&self) -> ExitCode {
        let config = match self.configuration.load() {
            Ok(config) => config,
            Err(code) => return code,
        };
        say!(
            "ok    configuration: {} tenants, {} stages, {} sources",
            config.tenants.len(),
            config.stages.len(),
            config.sources.len()
        );
        config.notes.iter().for_each(|note| say!("note  {note}"));
        if self.offline {
            return ExitCode::SUCCESS;
        }
        crate::cloud::install_tls();
        match try_everything(&config, &clock::system().wall()).await {
            Ok(0) => ExitCode::SUCCESS,
            Ok(failed) => {
                say!("{failed} {} failed", if failed == 1 { "check" } else { "checks" });
                ExitCode::FAILURE
            }
            Err(error) => {
                say!("FAIL  {error:#}");
                ExitCode::FAILURE
            }
        }
    }
}

/// Tries every log group and source, and returns how many failed.
async fn try_everything(config: &Config, clock: &WallClock) -> anyhow::Result<usize> {
    let clients = build::clients(&config.aws, &config.google, Calls::default()).await?;
    let topology = config.topology();
    let own_account = own_account(config, &clients).await;
    let mut failed = 0;
    for destination in build::destinations(&config.tenants, &clients, clock) {
        let names = destination.tenants.iter().map(|(id, _)| &*config.tenants[usize::from(id.0)].name);
        let names: Vec<_> = names.collect();
        let reached = destination.injector.reach().await;
        let account = destination.tenants.first().map(|(id, _)| &config.tenants[usize::from(id.0)].account);
        let note = missing_external_id(account, own_account.as_deref());
        let reached = reached.map(|()| format!("the log stream exists{note}"));
        failed += print_result(&destination.name, &names, reached);
    }
    let recognizer = build::recognizer(&config.keyring, &topology);
    for (id, source) in topology.source_ids().zip(&config.sources) {
        let names = source.tenants.iter().map(|id| &*config.tenants[usize::from(id.0)].name);
        let names: Vec<_> = names.collect();
        let (topology, clients, recognizer, rhythm) = (&topology, &clients, &recognizer, source.rhythm);
        let site = Site { topology, source: id, rhythm, clients, recognizer, clock };
        let (timeout, wanted) = (source.rhythm.timeout, phantom_canary(config, clock));
        let polled = tokio::time::timeout(timeout, source.settings.poll_once(&site, &wanted)).await;
        let result = match polled {
            Ok(Ok(Ok(poll))) if is_unreadable(&poll) => Err(unreadable(&poll)),
            Ok(Ok(Ok(poll))) => {
                let end = match (poll.watermark, poll.stats.queued) {
                    (Some(_), _) => "read to its end".to_owned(),
                    (None, Some(messages)) => format!("readable, {messages} messages in the queue"),
                    (None, None) => "readable, end not reached yet".to_owned(),
                };
                let took = poll.finished.since(poll.started).as_millis();
                let mut text = format!("{end}, {} bytes in {took} ms", poll.stats.bytes);
                if !poll.unreadable.is_empty() {
                    write!(
                        text,
                        "; {} records could not be read: {}",
                        poll.stats.decode_errors,
                        unreadable(&poll)
                    )?;
                }
                text.push_str(&missing_external_id(source.settings.account(), own_account.as_deref()));
                Ok(text)
            }
            Ok(Ok(Err(error))) => Err(error.to_string()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no answer within {} s", timeout.as_secs())),
        };
        let stage = &config.stages[usize::from(source.stage.0)].name;
        failed += print_result(&format!("stage {stage}: {}", source.name), &names, result);
    }
    Ok(failed)
}

/// How long to wait for our own account's number, which only spares a note.
const IDENTITY_TIMEOUT: Duration = Duration::from_secs(5);

/// Returns the number of our own account if it matters: if a role is assumed without an external id.
async fn own_account(config: &Config, clients: &Clients) -> Option<String> {
    let tenants = config.tenants.iter().map(|tenant| Some(&tenant.account));
    let sources = config.sources.iter().map(|source| source.settings.account());
    if tenants.chain(sources).all(|account| missing_external_id(account, None).is_empty()) {
        return None;
    }
    let caller = tokio::time::timeout(IDENTITY_TIMEOUT, clients.aws.caller()).await.ok()?.ok()?;
    caller.split(':').nth(4).map(str::to_owned)
}

/// What to say of a role in another account that is assumed without an external id; empty if there is none. It
/// works, so the check is passed: but whoever operates a probe for others could be made to use this role for one
/// of them (the confused deputy, IAM user guide).
fn missing_external_id(account: Option<&Account>, own: Option<&str>) -> String {
    let Some(Account { role: Some(role), .. }) = account else { return String::new() };
    if role.external_id.is_some() || own.is_some_and(|own| role.arn.split(':').nth(4) == Some(own)) {
        return String::new();
    }
    format!(
        "; note: {} is in another account and is assumed without an external id; set external_id, and require it in the role's trust policy",
        role.arn
    )
}

/// Whether a poll read records and could open none of them completely: canaries would not be found there
/// either.
fn is_unreadable(poll: &Poll) -> bool {
    poll.stats.records > 0 && poll.stats.decode_errors >= poll.stats.records
}

/// What a poll could not read, as text for people.
fn unreadable(poll: &Poll) -> String {
    let records = poll.unreadable.iter().map(|record| &*record.text);
    records.take(3).collect::<Vec<_>>().join("; ")
}

/// Prints the line of one check and returns 1 if it failed, else 0.
fn print_result(what: &str, tenants: &[&str], result: Result<String, String>) -> usize {
    let tenants = tenants.join(", ");
    match result {
        Ok(detail) => {
            say!("ok    {what} ({tenants}): {detail}");
            0
        }
        Err(reason) => {
            say!("FAIL  {what} ({tenants}): {reason}");
            1
        }
    }
}

/// Returns a request for a canary that was never sent, planned a second ago.
fn phantom_canary(config: &Config, clock: &WallClock) -> Wanted {
    let planned_at = clock.now() - Duration::from_secs(1);
    let tenant = config.tenants.first().map_or("", |tenant| &*tenant.name);
    let trace = TraceId::new(planned_at, [0; 10]);
    let instance = InstanceCode::of(&config.probe.instance);
    let tag = Tag::new(trace, TenantCode::of(tenant), instance, 100, Purpose::Check);
    Wanted { revision: 0, waiting: Arc::new([WantedTrace { tag, planned_at }]), ..Wanted::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloud::account::Role;
    use crate::keys::secret::Secret;

    fn account(external_id: Option<&str>) -> Account {
        let arn = "arn:aws:iam::111111111111:role/traceprobe".to_owned();
        let role = Some(Role { arn, external_id: external_id.map(Secret::new) });
        Account { role, ..Account::in_region("eu-central-1") }
    }

    #[test]
    fn a_role_in_another_account_without_an_external_id_is_noted() {
        let note = missing_external_id(Some(&account(None)), Some("222222222222"));
        assert!(
            note.contains("arn:aws:iam::111111111111:role/traceprobe") && note.contains("set external_id"),
            "{note}"
        );
        assert_eq!(missing_external_id(Some(&account(None)), None), note, "unknown is not ours");
    }

    #[test]
    fn a_role_with_an_external_id_or_in_our_own_account_is_not_noted() {
        assert_eq!(missing_external_id(Some(&account(Some("id"))), None), "");
        assert_eq!(missing_external_id(Some(&account(None)), Some("111111111111")), "");
        assert_eq!(missing_external_id(Some(&Account::in_region("eu-central-1")), None), "");
        assert_eq!(missing_external_id(None, None), "");
    }
}
