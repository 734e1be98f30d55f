//! The traces that matter on the page, by what is wrong with them and where.

use super::filter::Filter;
use super::page::Age;
use super::row::BriefRow;
use super::view::{Mark, Matter, Recent, Violation};
use super::words;
use crate::domain::flaw::Flaw;
use crate::domain::time::Timestamp;

/// Tenants that are named in a line.
const TENANTS_NAMED: usize = 4;
/// Isolation violations on the page.
const VIOLATIONS_SHOWN: usize = 20;

/// The section of traces that matter.
pub(crate) struct Matters {
    pub(crate) groups: Vec<Group>,
    pub(crate) violations: Vec<ViolationLine>,
    pub(crate) more_violations: usize,
}

/// Traces with which the same is wrong at the same stage.
pub(crate) struct Group {
    pub(crate) mark: Mark,
    pub(crate) what: String,
    pub(crate) count: usize,
    /// Number of remembered traces, flawed or not.
    pub(crate) of: usize,
    pub(crate) newest: Age,
    /// The name of each tenant, the number of its traces and the link to them.
    pub(crate) tenants: Vec<(String, usize, String)>,
    pub(crate) more_tenants: usize,
    /// The link to all of them.
    pub(crate) link: String,
    pub(crate) rows: Vec<BriefRow>,
}

pub(crate) struct ViolationLine {
    pub(crate) row: BriefRow,
    pub(crate) stage: String,
    pub(crate) found_in: String,
    pub(crate) locator: String,
}

impl Matters {
    pub(crate) fn new(view: &Recent<'_>) -> Self {
        let violations = view.violations.iter().take(VIOLATIONS_SHOWN);
        Self {
            groups: view.matters.iter().map(|matter| Group::new(matter, view.filter, view.at)).collect(),
            violations: violations.map(|seen| ViolationLine::new(seen, view.at)).collect(),
            more_violations: view.violations.len().saturating_sub(VIOLATIONS_SHOWN),
        }
    }
}

impl Group {
    fn new(matter: &Matter, filter: &Filter, now: Timestamp) -> Self {
        let stage = matter.stage.as_deref();
        let flaw = matter.flaw.as_str();
        let at = stage.map_or_else(String::new, |stage| format!("&stage={}", words::percent_encoded(stage)));
        let time: String = ["since", "until"]
            .into_iter()
            .filter(|name| !filter.given(name).is_empty())
            .map(|name| format!("&{name}={}", words::percent_encoded(filter.given(name))))
            .collect();
        let link = |tenant: &str| {
            let tenant = match tenant {
                "" => String::new(),
                name => format!("&tenant={}", words::percent_encoded(name)),
            };
            format!("?outcome={flaw}{at}{tenant}{time}#traces")
        };
        let tenants = matter.tenants.iter().take(TENANTS_NAMED);
        Self {
            mark: mark(matter.flaw),
            what: match stage {
                Some(stage) => format!("{} {} {stage}", word(matter.flaw), preposition(matter.flaw)),
                None => word(matter.flaw).to_owned(),
            },
            count: matter.count,
            of: matter.of,
            newest: Age::new(matter.newest, now),
            tenants: tenants.map(|(name, count)| (name.to_string(), *count, link(name))).collect(),
            more_tenants: matter.tenants.len().saturating_sub(TENANTS_NAMED),
            link: link(filter.given("tenant")),
            rows: matter.traces.iter().map(|brief| BriefRow::new(brief, now)).collect(),
        }
    }
}

const fn mark(flaw: Flaw) -> Mark {
    match flaw {
        Flaw::Leaked | Flaw::Lost | Flaw::DeadLettered | Flaw::Missing | Flaw::Corrupted => Mark::Broken,
        Flaw::Duplicated | Flaw::Late | Flaw::Slow => Mark::Poor,
        Flaw::Refused | Flaw::Unobserved => Mark::Unknown,
    }
}

const fn word(flaw: Flaw) -> &'static str {
    match flaw {
        Flaw::Leaked => "leaked",
        Flaw::Lost => "lost",
        Flaw::DeadLettered => "dead-lettered",
        Flaw::Missing => "missing",
        Flaw::Corrupted => "corrupted",
        Flaw::Duplicated => "stored twice",
        Flaw::Late => "late",
        Flaw::Slow => "slow",
        Flaw::Refused => "refused by CloudWatch Logs",
        Flaw::Unobserved => "unobserved",
    }
}

const fn preposition(flaw: Flaw) -> &'static str {
    match flaw {
        Flaw::DeadLettered => "in",
        _ => "at",
    }
}

impl ViolationLine {
    fn new(seen: &Violation, now: Timestamp) -> Self {
        Self {
            row: BriefRow::of_violation(seen, now),
            stage: seen.stage.to_string(),
            found_in: seen.found_in.to_string(),
            locator: seen.locator.to_string(),
        }
    }
}
