//! Settings of a CloudWatch Logs stage: its keys, its defaults, the operations that it calls.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::CloudWatchLogs;
use crate::cloud::account::{self, Account, account_of_arn};
use crate::cloud::{NoClient, Provider};
use crate::domain::cost::{Costs, Operation};
use crate::domain::evidence::{Evidence, LOG_GROUP_CHECKS, Link, Lookup, NamedPlace, Question};
use crate::domain::shell::{in_region, quoted};
use crate::domain::tag::MARKER;
use crate::domain::time::Timestamp;
use crate::domain::topology::Capabilities;
use crate::keys::fault::Checked;
use crate::keys::key::{Key, Shape};
use crate::keys::reader::Reader;
use crate::keys::value;
use crate::observe::console;
use crate::observe::kinds::{Attribution, KindSettings, Scope, Site, Spec, seconds};
use crate::observe::pace::Rhythm;
use crate::observe::rate_limit::RateLimit;
use crate::observe::{GAPS, Gaps};

/// FilterLogEvents calls per second that an account may make in the regions with the highest quota
/// (CloudWatch Logs quotas).
const MAX_FILTER_CALLS: u32 = 25;

static KEYS: [Key; 7] = {
    let [region, role_arn, external_id] = account::KEYS;
    [
        Key::text("log_group").required(),
        // Contains the marker of domain::tag; a test compares the two.
        Key::text("filter_pattern").or("%zqtp%"),
        Key::text("gaps").or("skip"),
        Key::new("max_calls_per_second", Shape::Integer).or("2"),
        region,
        role_arn,
        external_id,
    ]
};

/// The keys, defaults, capabilities and costs of the kind.
pub(in crate::observe) static SPEC: Spec = Spec {
    keys: &KEYS,
    // In some regions an account may make only five calls per second, and a search may miss the newest events
    // for a while.
    rhythm: Rhythm { interval: seconds(10), timeout: seconds(20), settle: seconds(10), ..Rhythm::USUAL },
    provider: Provider::Aws,
    capabilities: Capabilities::ABSENCE,
    costs: Costs {
        operations: &[Operation {
            service: "logs",
            name: "FilterLogEvents",
            permission: "logs:FilterLogEvents",
            dollars: 0.0,
        }],
        bytes: &[],
    },
    permissions: include_str!("permissions.json"),
};

/// Which log group to search, and how.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Region of the log group, and the role that may search it.
    pub account: Account,
    /// Name or ARN; an ARN may belong to another account that shares the log group with ours.
    pub log_group: String,
    /// The pattern that events must match. A plain term matches whole words only, but the marker is only the
    /// start of a word; a pattern between percent signs matches anywhere (CloudWatch Logs User Guide,
    /// "Supported regular expressions syntax").
    pub filter_pattern: String,
    /// How far before the oldest waiting canary the search begins, in case timestamps of the stage are early.
    pub lookback: Duration,
    /// How long an event may take until a search finds it. No bound is documented; 10 s covers known reports.
    pub settle: Duration,
    /// Whether events that were ingested while nothing waited are read.
    pub gaps: Gaps,
    /// Maximum number of pages per poll; the next poll continues a longer search.
    pub max_pages: usize,
    /// After this time a poll requests no further page and reports what it has found; a poll that the rate limit
    /// left no call by then fails. It must be shorter than the timeout of a poll by the time that one page may take.
    pub poll_time_budget: Duration,
    /// Minimum time between two calls of all sources that share a quota.
    pub min_call_interval: Duration,
}

impl Settings {
    /// Returns the default settings for a log group.
    #[must_use]
    pub fn new(account: Account, log_group: impl Into<String>) -> Self {
        Self {
            account,
            log_group: log_group.into(),
            filter_pattern: format!("%{MARKER}%"),
            lookback: Duration::from_mins(1),
            settle: Duration::from_secs(10),
            gaps: Gaps::Skip,
            max_pages: 20,
            poll_time_budget: Duration::from_secs(10),
            min_call_interval: Duration::from_millis(500),
        }
    }
}

/// The rate limit of each account and region, shared by all log groups there.
#[derive(Debug, Default)]
pub struct Quotas(
    // A mutex, because sources are built one by one and must find each other's limit; held at start-up only.
    Mutex<HashMap<(String, Option<String>), RateLimit>>,
);

impl Quotas {
    fn of(&self, account: &Account) -> RateLimit {
        let key = (account.region.clone(), account.number().map(str::to_owned));
        self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default().clone()
    }
}

impl KindSettings for Settings {
    type Observer = CloudWatchLogs;
    type Shared = Quotas;

    fn read(read: &mut Reader<'_, '_>, scope: &Scope<'_>) -> Checked<Self> {
        let log_group = read.get("log_group", scope.expanded(account::log_group));
        let filter_pattern = read.get("filter_pattern", value::text);
        let gaps = read.get("gaps", value::choice(&GAPS));
        let max_calls_per_second = read.get("max_calls_per_second", value::count(1, MAX_FILTER_CALLS));
        let account = Account::read(read, scope.region, log_group.as_deref().ok());
        Ok(Self {
            filter_pattern: filter_pattern?,
            gaps: gaps?,
            min_call_interval: Duration::from_secs(1) / max_calls_per_second?,
            ..Self::new(account?, log_group?)
        })
    }

    fn spec() -> &'static Spec {
        &SPEC
    }

    fn resource(&self) -> String {
        self.log_group.clone()
    }

    fn identity(&self) -> String {
        let name = account::log_group_name(&self.log_group);
        let account = account_of_arn(&self.log_group).or(self.account.number()).unwrap_or_default();
        format!("{name} {} {account} {}", self.filter_pattern, self.account.identity())
    }

    fn account(&self) -> Option<&Account> {
        Some(&self.account)
    }

    fn attribution(&self) -> Attribution {
        Attribution { labelled: false, by_tag: true, remedy: "" }
    }

    fn reads_gaps(&self) -> bool {
        self.gaps == Gaps::Read
    }

    fn observer(&self, site: &Site<'_>, quotas: &Quotas) -> Result<CloudWatchLogs, NoClient> {
        let Rhythm { timeout, settle, .. } = site.rhythm;
        let settings = Self { poll_time_budget: timeout / 2, settle, ..self.clone() };
        let client = site.clients.aws.logs(&self.account);
        let rate_limit = quotas.of(&self.account);
        Ok(CloudWatchLogs::new(settings, rate_limit, client, site.recognizer.clone(), site.clock.clone()))
    }
}

impl Evidence for Settings {
    fn names(&self, _: Timestamp) -> Vec<NamedPlace> {
        account::log_group_names(&self.log_group, &self.account)
    }

    fn checks(&self) -> &'static str {
        LOG_GROUP_CHECKS
    }

    fn lookups(&self, question: Question<'_>) -> Vec<Lookup> {
        let (region, name) = (in_region(&self.account.region), group_name(&self.log_group));
        let pattern = quoted(&format!("\"{}\"", question.tag));
        // Only this option takes ARNs, which reach a group of another account (AWS Logs API reference,
        // FilterLogEvents).
        let group = match name == self.log_group {
            true => format!("--log-group-name {}", quoted(name)),
            false => format!("--log-group-identifier {}", quoted(&self.log_group)),
        };
        let since = question.planned_at.strftime("%Y-%m-%dT%H:%M:%SZ");
        vec![
            Lookup {
                what: "search the log group",
                command: format!(
                    "aws logs filter-log-events{region} {group} --start-time {} --filter-pattern {pattern}",
                    question.planned_at.millis(),
                ),
            },
            Lookup {
                what: "read the log group from the planned injection on",
                command: format!("aws logs tail {}{region} --since {since} --format short", quoted(name)),
            },
        ]
    }

    fn consoles(&self, question: Question<'_>) -> Vec<Link> {
        vec![Link {
            what: "log events in the CloudWatch console",
            url: console::log_events(&self.account.region, group_name(&self.log_group), question),
        }]
    }
}

/// The name in an ARN, or the name itself.
fn group_name(log_group: &str) -> &str {
    log_group.rsplit(':').next().unwrap_or(log_group)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloud::account::Role;
    use crate::domain::time::Timestamp;

    const QUESTION: Question<'_> =
        Question { copy: None, tag: "zqtp1abc", planned_at: Timestamp::from_millis(1_795_321_781_123) };

    fn commands(log_group: &str) -> Vec<String> {
        let settings = Settings::new(Account::in_region("eu-central-1"), log_group);
        settings.lookups(QUESTION).into_iter().map(|lookup| lookup.command).collect()
    }

    #[test]
    fn a_log_group_is_searched_for_the_tag_and_read_from_the_injection_on() {
        assert_eq!(
            commands("/ecs/acme/app"),
            [
                "aws logs filter-log-events --region eu-central-1 --log-group-name /ecs/acme/app --start-time 1795321781123 --filter-pattern '\"zqtp1abc\"'",
                "aws logs tail /ecs/acme/app --region eu-central-1 --since 2026-11-22T04:29:41Z --format short",
            ]
        );
    }

    #[test]
    fn a_log_group_is_one_place_whether_it_is_given_by_its_name_or_its_arn() {
        let arn = "arn:aws:iam::111111111111:role/read".to_owned();
        let of_role =
            Account { role: Some(Role { arn, external_id: None }), ..Account::in_region("eu-central-1") };
        let identity = |account: &Account, group: &str| Settings::new(account.clone(), group).identity();
        let arn = "arn:aws:logs:eu-central-1:111111111111:log-group:/ecs/acme/app";
        assert_eq!(identity(&of_role, "/ecs/acme/app"), identity(&of_role, arn));
        assert_ne!(identity(&of_role, "/ecs/acme/app"), identity(&of_role, "/ecs/acme/web"));
    }

    #[test]
    fn a_log_group_of_another_account_is_searched_by_its_arn() {
        let arn = "arn:aws:logs:eu-central-1:111111111111:log-group:/ecs/acme/app";
        let command = &commands(arn)[0];
        assert!(command.contains(&format!("--log-group-identifier {arn} ")), "{command}");
    }
}
