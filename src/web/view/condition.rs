//! A condition as text.

use std::sync::Arc;

use super::first_step::first_step;
use super::mark::Mark;
use crate::domain::conditions::{Blame, Condition, ConditionName, Criteria, Detail, Precedence, Severity};
use crate::domain::quantile::Level;
use crate::domain::sighting::list_drift;
use crate::domain::time::Timestamp;
use crate::domain::topology::{HopRange, Role, Topology};
use crate::domain::tracker::Snapshot;
use crate::web::app::Settings;
use crate::web::words;

/// Log groups that are named; of others, only the number is told.
const LOG_GROUPS_NAMED: usize = 3;
/// Characters of a service's error in a summary.
const ERROR_SHOWN: usize = 300;

/// A condition as text.
#[derive(Clone, Debug)]
pub(crate) struct ConditionView {
    /// The name in JSON.
    pub(crate) key: &'static str,
    /// The name on the page.
    pub(crate) word: &'static str,
    /// How bad it is.
    pub(crate) severity: Severity,
    /// Sorts what is worse first.
    pub(crate) precedence: Precedence,
    /// Its colour and sign.
    pub(crate) mark: Mark,
    /// The tenant's name; `None` for a stage of all tenants, and for the probe.
    pub(crate) tenant: Option<Arc<str>>,
    /// Where it is wrong: `transit`, `archive..bigquery`; `None` for conditions without a place.
    pub(crate) place: Option<String>,
    /// The place for people: the hop that gave up on dead letters, and the log group that takes no canaries.
    pub(crate) site: Option<String>,
    /// The tenant's log groups that are concerned; empty if all are, or if it is not known which.
    pub(crate) log_groups: Vec<Arc<str>>,
    /// The same for people: `log group /ecs/acme/app`.
    pub(crate) which: Option<String>,
    /// The word and the place: `STUCK at transit`, `CANNOT SEE bigquery`, `SLOW`.
    pub(crate) what: String,
    /// Numbers or reason, to follow place and time.
    pub(crate) summary: String,
    /// The whole sentence: `STUCK at transit since 02:41:10 UTC (18 min): none of 36 canaries sent since then got
    /// through; 35 are overdue`. A note is short: `1 of 209 lost at bigquery 9 min ago`.
    pub(crate) text: String,
    /// When it began.
    pub(crate) since: Option<Timestamp>,
    /// When the last affected canary was planned.
    pub(crate) last: Option<Timestamp>,
    /// How many canaries are affected.
    pub(crate) affected: Option<usize>,
    /// Of how many.
    pub(crate) of: Option<usize>,
    /// Whose fault it is: `pipeline` or `probe`.
    pub(crate) blame: &'static str,
    /// What to do first, as a sentence.
    pub(crate) first_step: String,
    /// The address of the runbook's chapter; `None` for a note.
    pub(crate) runbook: Option<String>,
}

impl ConditionView {
    pub(crate) fn new(condition: &Condition, snapshot: &Snapshot, settings: &Settings) -> Self {
        let (map, now, profile) = (&*snapshot.topology, snapshot.at, condition.name.profile());
        let place = condition.subject.place.map(|place| place.display(map).to_string());
        let site = site(condition, map).or_else(|| place.clone());
        let what = match &site {
            Some(site) => format!("{} {}{site}", profile.word, profile.preposition),
            None => profile.word.to_owned(),
        };
        // Log groups differ by tenant, which must not keep tenants with the same problem apart.
        let which = log_groups(condition, map);
        let site = site.or_else(|| which.clone());
        let summary = match (&which, summary(condition, map, &settings.criteria)) {
            (Some(which), summary) => format!("{which}: {summary}"),
            (None, summary) => summary,
        };
        let since = condition.since.map_or_else(String::new, |since| {
            format!(" since {} ({})", words::clock(since, now), words::age(now.since(since)))
        });
        let text = if condition.is_problem() {
            format!("{what}{since}: {summary}")
        } else {
            note(condition, site.as_deref(), now)
        };
        let tenant = condition.subject.tenant.map(|tenant| map.tenant(tenant).name.clone());
        let stage = condition.subject.place.map(|place| map.stage(place.first).name.clone());
        let chapter = || settings.chapter_for(condition.chapter(map), tenant.as_deref(), stage.as_deref());
        Self {
            runbook: condition.is_problem().then(chapter),
            key: profile.key,
            word: profile.word,
            severity: condition.severity,
            precedence: condition.precedence(),
            mark: Mark::of(condition),
            blame: match condition.blame {
                Blame::Pipeline => "pipeline",
                Blame::Probe => "probe",
            },
            first_step: first_step(condition, map),
            tenant,
            place,
            site,
            log_groups: names_of(condition, map),
            which,
            what,
            summary,
            text,
            since: condition.since,
            last: condition.last,
            affected: condition.affected,
            of: condition.of,
        }
    }
}

/// Numbers or reason, to follow place and time.
fn summary(condition: &Condition, map: &Topology, criteria: &Criteria) -> String {
    let affected = condition.affected.unwrap_or_default();
    let numbers = match condition.of {
        Some(of) => format!("{affected} of {of}"),
        None => affected.to_string(),
    };
    let side = match condition.subject.place {
        Some(place) if !map.main_path().contains(&place.first) => " (side stage: end to end is not affected)",
        Some(_) | None => "",
    };
    match (condition.name, &condition.detail) {
        (ConditionName::Leaking, Detail::FoundIn(source)) => format!("its canaries were found in {source}"),
        (ConditionName::Leaking, _) => "its canaries were found with another tenant".to_owned(),
        (ConditionName::TotalStall, Detail::Tenants { affected, of }) => {
            format!("nothing of any tenant arrives; canaries of {affected} of {of} tenants are overdue")
        }
        (ConditionName::TotalStall, _) => "nothing of any tenant arrives".to_owned(),
        // What is not due yet would seem to have passed if only the overdue ones were counted.
        (ConditionName::Stuck, detail) => {
            let numbers = match condition.of {
                Some(of) => {
                    format!("none of {of} canaries sent since then got through; {affected} are overdue")
                }
                None => format!(
                    "nothing gets through; {} overdue",
                    words::count(affected, "canary is", "canaries are")
                ),
            };
            match detail {
                Detail::Unseen(stages) => {
                    let names: Vec<&str> = stages.iter().map(|stage| &*map.stage(*stage).name).collect();
                    format!("{numbers}; perhaps in front of {}, which cannot be seen", names.join(" or "))
                }
                _ => numbers,
            }
        }
        (ConditionName::Losing, detail) => {
            let dead = condition.subject.place.and_then(|place| dead_lettered(map, place));
            match (dead, detail) {
                (_, Detail::NotArrived { dead_lettered: replayable @ 1.., lost: lost @ 1.. }) => {
                    format!("{numbers} did not arrive: {replayable} dead-lettered, {lost} lost")
                }
                (Some((hop, dead)), _) => format!("{numbers} could not pass {hop}; they are in {dead}"),
                (None, _) => format!("{numbers} did not arrive"),
            }
        }
        (ConditionName::Missing, Detail::Others(took)) => {
            format!("{numbers} have not arrived there, the others take {}{side}", words::short(*took))
        }
        (ConditionName::Missing, _) => format!("{numbers} have not arrived there{side}"),
        (ConditionName::Skipped, _) => {
            format!("{numbers} were not found there, although a later stage has them")
        }
        (ConditionName::NeverSeen, _) => format!(
            "0 of {affected} were found there, and none ever was: format, key, column or pattern wrong, or nothing is delivered{side}",
        ),
        (ConditionName::Slow, Detail::Slow { judged, hop, injected_late, injection }) => {
            let hop = hop.map_or_else(String::new, |took| format!("; this hop takes {}", words::short(took)));
            let injection = match injected_late {
                0 if *injection <= criteria.late_after => String::new(),
                0 => format!("; CloudWatch Logs took up to {} of it", words::short(*injection)),
                late => format!(
                    "; {late} of {affected} only because CloudWatch Logs took them late, after up to {}",
                    words::short(*injection)
                ),
            };
            format!(
                "{} {}, target {}{hop}{injection}",
                Level::JUDGED,
                words::quantile(*judged),
                words::short(criteria.slo)
            )
        }
        (ConditionName::Slow, _) => format!("{numbers} took longer than {}", words::short(criteria.slo)),
        (ConditionName::HopOverTarget, Detail::OverTarget { judged, target }) => {
            format!("{} {}, target {}{side}", Level::JUDGED, words::quantile(*judged), words::short(*target))
        }
        (ConditionName::HopOverTarget, _) => format!("{numbers} took longer than the target{side}"),
        (ConditionName::Duplicates, _) => format!("{numbers} were stored twice"),
        (ConditionName::Corruption, Detail::Kept { kept, sent }) => {
            format!("{numbers} were cut or changed; of one, {kept} of {sent} bytes are left")
        }
        (ConditionName::Corruption, _) => format!("{numbers} were cut or changed"),
        (ConditionName::LateInjection, Detail::Injection(longest)) => {
            format!("CloudWatch Logs took {numbers} late, after up to {}", words::short(*longest))
        }
        (ConditionName::LateInjection, _) => format!("CloudWatch Logs took {numbers} late"),
        (ConditionName::DeadLettersWaiting, Detail::Messages(count)) => {
            format!(
                "{} in the queue",
                words::count(usize::try_from(*count).unwrap_or(usize::MAX), "message", "messages")
            )
        }
        (ConditionName::DeadLettersWaiting, _) => "messages are in the queue".to_owned(),
        (ConditionName::SchemaDrift, Detail::Drift(changes)) => list_drift(changes),
        (ConditionName::CannotSee, Detail::Reason(reason)) => format!("{reason}{side}"),
        (ConditionName::NotInjecting, Detail::Reason(reason)) => shortened(reason.as_str()),
        (ConditionName::StoreDegraded, Detail::Reason(reason)) => {
            format!("traces are kept in memory only, so a restart would forget what is in flight: {reason}")
        }
        (ConditionName::OverBudget, Detail::Reason(reason)) => reason.to_string(),
        (ConditionName::ReloadFailed, Detail::Reason(reason)) => {
            format!("the configuration that was read last is not in force, the one before is: {reason}")
        }
        (ConditionName::SameName, _) => {
            "another process sends canaries under the name of this instance".to_owned()
        }
        (ConditionName::ClockUnsynchronized, detail) => {
            let bound = match detail {
                Detail::ErrorBound(Some(bound)) => format!("it may be off by {}", words::short(*bound)),
                _ => "its error is not reported".to_owned(),
            };
            format!("{bound}; arrivals with stamps of other clocks may be off by more than clock_allowance")
        }
        (
            ConditionName::SchemaDrift
            | ConditionName::CannotSee
            | ConditionName::NotInjecting
            | ConditionName::StoreDegraded
            | ConditionName::OverBudget
            | ConditionName::ReloadFailed,
            _,
        ) => String::new(),
    }
}

/// The place for people, where it is not the name of a stage.
fn site(condition: &Condition, map: &Topology) -> Option<String> {
    let place = condition.subject.place.filter(|_| condition.name == ConditionName::Losing)?;
    dead_lettered(map, place).map(|(hop, dead)| format!("{hop} (in {dead})"))
}

/// The hop of the main path that gave up, and the stage that holds its dead letters; `None` if the place holds none.
fn dead_lettered(map: &Topology, place: HopRange) -> Option<(String, &str)> {
    let dead = map.stage(place.first);
    let from = dead.parent.map_or("log group", |stage| &*map.stage(stage).name);
    let to =
        map.main_path().iter().map(|stage| map.stage(*stage)).find(|stage| stage.parent == dead.parent)?;
    (dead.role == Role::DeadLetter).then(|| (format!("{from} → {}", to.name), &*dead.name))
}

/// The names of the log groups that a condition concerns.
pub(super) fn names_of(condition: &Condition, map: &Topology) -> Vec<Arc<str>> {
    let Some(tenant) = condition.subject.tenant else { return Vec::new() };
    condition.log_groups.iter().map(|group| map.log_group(tenant, *group).clone()).collect()
}

/// The log groups that a condition concerns, as text; `None` if it concerns all, unless it is about them.
fn log_groups(condition: &Condition, map: &Topology) -> Option<String> {
    let tenant = condition.subject.tenant?;
    let names = match names_of(condition, map) {
        all if all.is_empty() && condition.name == ConditionName::NotInjecting => {
            map.tenant(tenant).log_groups.clone()
        }
        some => some,
    };
    // The name in an ARN, or the name itself.
    let short = |name: &Arc<str>| name.rsplit(':').next().unwrap_or_default().to_owned();
    let shown: Vec<_> = names.iter().take(LOG_GROUPS_NAMED).map(short).collect();
    let shown = shown.join(", ");
    match names.len() {
        0 => None,
        1 => Some(format!("log group {shown}")),
        few if few <= LOG_GROUPS_NAMED => Some(format!("log groups {shown}")),
        many => Some(format!("log groups {shown} and {} more", many - LOG_GROUPS_NAMED)),
    }
}

/// The begin of a service's error, which names what was refused. The whole text is with the state of the injection.
fn shortened(reason: &str) -> String {
    match reason.char_indices().nth(ERROR_SHOWN) {
        Some((end, _)) => format!("{}…", reason[..end].trim_end()),
        None => reason.to_owned(),
    }
}

/// A note: `1 of 209 lost at bigquery 9 min ago`.
fn note(condition: &Condition, place: Option<&str>, now: Timestamp) -> String {
    let what = match condition.name {
        ConditionName::OverBudget => return "a budget holds polls back for some seconds".to_owned(),
        ConditionName::Losing => "lost",
        ConditionName::Missing => "missing",
        ConditionName::Skipped => "skipped",
        ConditionName::Slow => "slow",
        ConditionName::HopOverTarget => "over target",
        ConditionName::Duplicates => "stored twice",
        ConditionName::Corruption => "cut or changed",
        ConditionName::LateInjection => "injected late",
        ConditionName::NeverSeen => "not found, as none ever was",
        // These have no notes.
        ConditionName::Leaking
        | ConditionName::TotalStall
        | ConditionName::Stuck
        | ConditionName::DeadLettersWaiting
        | ConditionName::SchemaDrift
        | ConditionName::NotInjecting
        | ConditionName::CannotSee
        | ConditionName::SameName
        | ConditionName::StoreDegraded
        | ConditionName::ReloadFailed
        | ConditionName::ClockUnsynchronized => condition.name.profile().word,
    };
    let (affected, of) = (condition.affected.unwrap_or_default(), condition.of.unwrap_or_default());
    let place = place.map_or_else(String::new, |place| format!(" at {place}"));
    let ago = condition.last.map_or_else(String::new, |last| format!(" {}", words::minutes_ago(last, now)));
    format!("{affected} of {of} {what}{place}{ago}")
}
