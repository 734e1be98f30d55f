//! The query parameters of a page: which traces to show.
//!
//! An invalid value is refused with an explanation. Showing everything instead would answer a different
//! request, and the reader might not notice.

use std::fmt::Write as _;

use super::words::{self, percent_encoded};
use crate::domain::conditions::ConditionName;
use crate::domain::flaw::Flaw;
use crate::domain::foreign::ForeignText;
use crate::domain::outcome::Outcome;
use crate::domain::tag::TraceId;
use crate::domain::time::Timestamp;
use crate::domain::topology::{StageId, TenantId, Topology};
use crate::domain::trace::{Hop, Standing, Trace};

/// Default number of traces in JSON.
pub(crate) const DEFAULT_LIMIT: usize = 100;
/// Default number of rows on a page. The others are a link away.
pub(crate) const ROWS: usize = 50;
/// Maximum number of rows on a page. Such a page is about 1 MB.
pub(crate) const MAX_LIMIT: usize = 1000;
/// Selects every outcome but `delivered`.
const FAILED: &str = "failed";
/// Selects every trace with which something is wrong.
const MATTERS: &str = "matters";
/// Shows every tenant, whatever their number.
const ALL: &str = "all";
/// The label of a trace without an outcome.
const IN_FLIGHT: &str = "in_flight";

/// Which traces to show.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Filter {
    /// Only this tenant's.
    pub(crate) tenant: Option<TenantId>,
    /// Only traces that wait for this stage, were lost on the hop to it, or missed it.
    pub(crate) stage: Option<StageId>,
    /// Only traces with one of these outcomes or flaws, or `in_flight`; all if empty.
    pub(crate) outcomes: Vec<&'static str>,
    /// Only traces that such a condition counts.
    pub(crate) condition: Option<ConditionName>,
    /// Only traces that were planned at or after this.
    pub(crate) since: Option<Timestamp>,
    /// Only traces that were planned at or before this.
    pub(crate) until: Option<Timestamp>,
    /// Only traces older than this one.
    pub(crate) before: Option<TraceId>,
    /// Only traces newer than this one, and of those the oldest.
    pub(crate) after: Option<TraceId>,
    /// Maximum number of rows.
    pub(crate) limit: usize,
    /// Whether every tenant is shown, whatever their number.
    pub(crate) show_all: bool,
    /// The parameters as given, for links and the form.
    given: Vec<(String, String)>,
}

#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("`{}={}`: {should}", ForeignText::new(parameter), ForeignText::new(value))]
pub(crate) struct FilterError {
    pub(crate) parameter: String,
    pub(crate) value: String,
    /// What would be valid, as the end of a sentence.
    pub(crate) should: String,
}

/// The parameters, in their order in links.
const PARAMETERS: [&str; 11] = [
    "tenant",
    "stage",
    "outcome",
    "condition",
    "since",
    "until",
    "before",
    "after",
    "limit",
    "show",
    "format",
];
/// The parameters that do not select traces.
const NO_SELECTION: [&str; 4] = ["limit", "show", "before", "after"];
/// The ranges that the page links to.
pub(crate) const RANGES: [(&str, &str); 5] =
    [("15m", "15 min"), ("1h", "1 h"), ("6h", "6 h"), ("24h", "24 h"), ("7d", "7 d")];

impl Filter {
    /// Parses a query.
    ///
    /// # Errors
    ///
    /// [`FilterError`] for the first invalid parameter.
    pub(crate) fn read(
        query: &[(String, String)],
        map: &Topology,
        now: Timestamp,
    ) -> Result<Self, FilterError> {
        let mut filter = Self {
            tenant: None,
            stage: None,
            outcomes: Vec::new(),
            since: None,
            until: None,
            condition: None,
            before: None,
            after: None,
            show_all: false,
            limit: DEFAULT_LIMIT,
            given: Vec::new(),
        };
        for (name, value) in query.iter().filter(|(_, value)| !value.is_empty()) {
            let wrong =
                |should: String| FilterError { parameter: name.clone(), value: value.clone(), should };
            let names = |all: Vec<&str>| listed(&all);
            match name.as_str() {
                "tenant" => {
                    let all = || map.tenant_ids().map(|id| &*map.tenant(id).name).collect();
                    let tenant = map.tenant_by_name(value);
                    filter.tenant = Some(tenant.ok_or_else(|| {
                        wrong(format!("there is no such tenant; there are {}", names(all())))
                    })?);
                }
                "stage" => {
                    let all = || map.stage_ids().map(|id| &*map.stage(id).name).collect();
                    let stage = map.stage_ids().find(|id| *map.stage(*id).name == **value);
                    filter.stage = Some(stage.ok_or_else(|| {
                        wrong(format!("there is no such stage; there are {}", names(all())))
                    })?);
                }
                "outcome" => {
                    for outcome in value.split(',').map(str::trim) {
                        filter.outcomes.extend(
                            outcomes(outcome).ok_or_else(|| {
                                wrong(format!("must be one of {}", listed(&outcome_values())))
                            })?,
                        );
                    }
                }
                "condition" => {
                    let all: Vec<_> = ConditionName::ALL.iter().map(|name| name.as_str()).collect();
                    let name = ConditionName::ALL.into_iter().find(|name| name.as_str() == value);
                    filter.condition =
                        Some(name.ok_or_else(|| wrong(format!("must be one of {}", names(all))))?);
                }
                "before" | "after" => {
                    let id = TraceId::parse(value).ok_or_else(|| {
                        wrong("must be a trace id of a `next` or `previous` link".to_owned())
                    })?;
                    if name == "before" { filter.before = Some(id) } else { filter.after = Some(id) }
                }
                "show" => {
                    if value != ALL {
                        return Err(wrong(format!("must be `{ALL}`")));
                    }
                    filter.show_all = true;
                }
                "since" => filter.since = Some(instant(value, now).ok_or_else(|| wrong(instant_form()))?),
                "until" => filter.until = Some(instant(value, now).ok_or_else(|| wrong(instant_form()))?),
                "limit" => {
                    let limit = value.parse().ok().filter(|n| (1..=MAX_LIMIT).contains(n));
                    filter.limit = limit
                        .ok_or_else(|| wrong(format!("must be a whole number from 1 to {MAX_LIMIT}")))?;
                }
                "format" => {
                    if !["html", "json"].contains(&value.as_str()) {
                        return Err(wrong("must be `html` or `json`".to_owned()));
                    }
                    continue;
                }
                _ => {
                    let known = listed(&PARAMETERS);
                    return Err(wrong(format!("there is no such parameter; there are {known}")));
                }
            }
            filter.given.push((name.clone(), value.clone()));
        }
        Ok(filter)
    }

    /// The filter of a page, which has fewer rows by default.
    #[must_use]
    pub(crate) fn of_page(self) -> Self {
        let limit = if self.given("limit").is_empty() { ROWS } else { self.limit };
        Self { limit, ..self }
    }

    /// Whether it excludes any trace for another reason than its limit.
    #[must_use]
    pub(crate) fn is_set(&self) -> bool {
        self.given.iter().any(|(name, _)| !NO_SELECTION.contains(&name.as_str()))
    }

    /// Whether a trace is of the tenant and the time.
    #[must_use]
    pub(crate) fn is_of(&self, trace: &Trace) -> bool {
        self.tenant.is_none_or(|tenant| trace.tenant == tenant)
            && self.since.is_none_or(|since| trace.planned_at >= since)
            && self.until.is_none_or(|until| trace.planned_at <= until)
    }

    /// Whether a trace of the tenant and the time matches the rest. `flaws` tells what is wrong with it.
    #[must_use]
    pub(crate) fn admits(
        &self,
        trace: &Trace,
        flaws: impl Fn(&Trace) -> Vec<(Flaw, Option<StageId>)>,
        map: &Topology,
    ) -> bool {
        let of_condition = self.condition.map(counted);
        if self.outcomes.is_empty() && of_condition.is_none() && self.stage.is_none() {
            return true;
        }
        let (found, label) = (flaws(trace), trace.standing().label());
        let waits = |stage: StageId| hangs_at(trace, stage, map);
        let has = |names: &[&str]| {
            let is_there =
                |at: Option<StageId>| self.stage.is_none_or(|stage| at == Some(stage) || waits(stage));
            names.contains(&label) && self.stage.is_none_or(waits)
                || found.iter().any(|(flaw, at)| names.contains(&flaw.as_str()) && is_there(*at))
        };
        let at_stage = |stage: StageId| waits(stage) || found.iter().any(|(_, at)| *at == Some(stage));
        (self.outcomes.is_empty() || has(&self.outcomes))
            && of_condition.is_none_or(has)
            && self.stage.is_none_or(at_stage)
    }

    /// The value of a parameter as given, for the form; empty if absent.
    #[must_use]
    pub(crate) fn given(&self, parameter: &str) -> &str {
        let last = self.given.iter().rev().find(|(name, _)| name == parameter);
        last.map_or("", |(_, value)| value)
    }

    /// The query of a link to the same selection with one parameter changed; an empty value removes it. Such a
    /// link begins at the newest traces, unless the parameter is a cursor.
    #[must_use]
    pub(crate) fn link(&self, parameter: &str, value: &str) -> String {
        let mut query = String::new();
        for name in PARAMETERS {
            let is_cursor = |name: &str| matches!(name, "before" | "after");
            let value = if name == parameter { value } else { self.given(name) };
            if !value.is_empty() && (name == parameter || !is_cursor(name)) {
                let sign = if query.is_empty() { '?' } else { '&' };
                let _ = write!(query, "{sign}{name}={}", percent_encoded(value));
            }
        }
        query
    }
}

/// What a condition counts, as values of `outcome`.
const fn counted(condition: ConditionName) -> &'static [&'static str] {
    match condition {
        ConditionName::Leaking => &["leaked"],
        ConditionName::TotalStall | ConditionName::Stuck => &["missing", "lost"],
        ConditionName::Losing => &["lost", "dead_lettered"],
        ConditionName::DeadLettersWaiting => &["dead_lettered"],
        ConditionName::Missing | ConditionName::Skipped | ConditionName::NeverSeen => {
            &["missing", "lost", "unobserved"]
        }
        ConditionName::Corruption => &["corrupted"],
        ConditionName::Slow | ConditionName::HopOverTarget => &["slow", "late", "missing"],
        ConditionName::Duplicates => &["duplicated"],
        ConditionName::NotInjecting => &["refused"],
        ConditionName::CannotSee => &["unobserved"],
        // Their canaries are delivered like others, or they count none.
        ConditionName::LateInjection
        | ConditionName::SchemaDrift
        | ConditionName::SameName
        | ConditionName::StoreDegraded
        | ConditionName::OverBudget
        | ConditionName::ReloadFailed
        | ConditionName::ClockUnsynchronized => &[],
    }
}

/// Whether a trace waits for a stage, was lost on the hop to it, or missed it.
fn hangs_at(trace: &Trace, stage: StageId, map: &Topology) -> bool {
    let path = map.main_path();
    let place = |id: StageId| path.iter().position(|on_path| *on_path == id);
    let lost_there = match &trace.ended {
        Some((Outcome::Lost(hops), _)) => {
            place(stage).is_some_and(|at| place(hops.first) <= Some(at) && Some(at) <= place(hops.last))
        }
        Some((Outcome::DeadLettered(at), _)) => *at == stage,
        Some((Outcome::Unobserved(_), _)) => trace.next_stage(map) == Some(stage),
        Some((Outcome::Delivered | Outcome::Late | Outcome::Refused(_), _)) => false,
        None => trace.next_stage(map) == Some(stage),
    };
    lost_there || matches!(trace.visit(stage).hop, Hop::Missing | Hop::Overdue)
}

/// The values that `outcome` accepts.
#[must_use]
pub(crate) fn outcome_values() -> Vec<&'static str> {
    let mut values = vec![IN_FLIGHT, FAILED, MATTERS, Outcome::Delivered.label()];
    values.extend(Flaw::ALL.map(Flaw::as_str));
    values
}

/// The conditions that count canaries, as `condition` accepts them.
#[must_use]
pub(crate) fn condition_values() -> Vec<&'static str> {
    let with_traces = ConditionName::ALL.into_iter().filter(|name| !counted(*name).is_empty());
    with_traces.map(ConditionName::as_str).collect()
}

fn outcomes(value: &str) -> Option<Vec<&'static str>> {
    match value {
        FAILED => {
            Some(Outcome::LABELS.into_iter().filter(|label| *label != Outcome::Delivered.label()).collect())
        }
        MATTERS => Some(Flaw::ALL.map(Flaw::as_str).into()),
        value if value == Standing::InFlight.label() => Some(vec![IN_FLIGHT]),
        value if value == Outcome::Delivered.label() => Some(vec![Outcome::Delivered.label()]),
        value => Flaw::parse(value).map(|flaw| vec![flaw.as_str()]),
    }
}

/// An age or an instant, of the years that RFC 3339 can write.
pub(super) fn instant(value: &str, now: Timestamp) -> Option<Timestamp> {
    let at = words::parse_duration(value).map(|age| now - age).or_else(|| Timestamp::parse_rfc3339(value));
    at.filter(|at| (FIRST_INSTANT..LAST_INSTANT).contains(at))
}

/// 0001-01-01, and a day before 10000-01-01, because answers name the end of a bucket.
const FIRST_INSTANT: Timestamp = Timestamp::from_secs(-62_135_596_800);
const LAST_INSTANT: Timestamp = Timestamp::from_secs(253_402_214_400);

pub(super) fn instant_form() -> String {
    "must be an age such as `15m` or `2h`, or an instant such as `2026-11-22T02:41:10Z`".to_owned()
}

/// Lists at most 12 names, so that the sentence stays readable.
pub(super) fn listed(names: &[&str]) -> String {
    const MOST: usize = 12;
    let some: Vec<_> = names.iter().take(MOST).map(|name| format!("`{name}`")).collect();
    match names.len().saturating_sub(MOST) {
        0 if names.is_empty() => "none".to_owned(),
        0 => some.join(", "),
        more => format!("{} and {more} more", some.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::topology::fixture::topology;

    fn read(query: &[(&str, &str)]) -> Result<Filter, String> {
        let query: Vec<_> =
            query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Filter::read(&query, &topology(), Timestamp::from_secs(10_000)).map_err(|error| error.to_string())
    }

    #[test]
    fn since_accepts_an_age_and_an_instant() {
        let age = read(&[("since", "15m")]).unwrap();
        assert_eq!(age.since, Some(Timestamp::from_secs(9_100)));
        let instant = read(&[("since", "1970-01-01T02:31:40Z")]).unwrap();
        assert_eq!(instant.since, age.since);
    }

    #[test]
    fn failed_selects_every_outcome_but_delivered() {
        let filter = read(&[("outcome", "failed")]).unwrap();
        assert_eq!(filter.outcomes, ["late", "lost", "dead_lettered", "unobserved", "refused"]);
    }

    #[test]
    fn an_invalid_value_is_refused_with_what_would_be_valid() {
        for (query, message) in [
            (("tenant", "acne"), "`tenant=acne`: there is no such tenant; there are `acme`, `globex`"),
            (("limit", "0"), "`limit=0`: must be a whole number from 1 to 1000"),
            (("limit", "5000"), "`limit=5000`: must be a whole number from 1 to 1000"),
            (
                ("outcome", "lots"),
                "`outcome=lots`: must be one of `in_flight`, `failed`, `matters`, `delivered`, `leaked`, `lost`, `dead_lettered`, `missing`, `corrupted`, `duplicated`, `late`, `slow` and 2 more",
            ),
            (
                ("since", "noon"),
                "`since=noon`: must be an age such as `15m` or `2h`, or an instant such as `2026-11-22T02:41:10Z`",
            ),
            (
                ("tennant", "acme"),
                "`tennant=acme`: there is no such parameter; there are `tenant`, `stage`, `outcome`, `condition`, `since`, `until`, `before`, `after`, `limit`, `show`, `format`",
            ),
            (
                ("before", "yesterday"),
                "`before=yesterday`: must be a trace id of a `next` or `previous` link",
            ),
        ] {
            assert_eq!(read(&[query]), Err(message.to_owned()));
        }
    }

    #[test]
    fn an_instant_is_of_a_year_that_can_be_written() {
        for wrong in ["183341913h", "9999-12-31T23:59:59Z", "-000001-01-01T00:00:00Z"] {
            assert!(read(&[("until", wrong)]).is_err(), "{wrong}");
        }
        assert!(read(&[("since", "0001-01-01T00:00:00Z"), ("until", "9999-12-30T00:00:00Z")]).is_ok());
    }

    #[test]
    fn empty_fields_of_a_form_do_not_filter() {
        let filter = read(&[("tenant", ""), ("outcome", ""), ("since", "")]).unwrap();
        assert!(!filter.is_set());
    }

    #[test]
    fn a_link_keeps_the_other_parameters_and_is_encoded() {
        let filter = read(&[("tenant", "acme"), ("limit", "20")]).unwrap();
        assert_eq!(filter.link("outcome", "lost"), "?tenant=acme&outcome=lost&limit=20");
        assert_eq!(filter.link("tenant", ""), "?limit=20");
        let page = read(&[("outcome", "lost"), ("before", "01a2011db07470008c6c15cb9469fd2e")]).unwrap();
        assert_eq!(page.link("since", "1h"), "?outcome=lost&since=1h");
        assert_eq!(percent_encoded("a&b=<é>"), "a%26b%3D%3C%C3%A9%3E");
    }
}
