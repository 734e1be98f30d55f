//! The query parameters of a page: which traces to show.
//!
//! An invalid value is refused with an explanation. Showing everything instead would answer a different
//! request, and the reader might not notice.

use std::fmt::Write as _;

use super::words;
use crate::domain::outcome::Outcome;
use crate::domain::time::Timestamp;
use crate::domain::topology::{StageId, TenantId, Topology};
use crate::domain::trace::{Hop, Standing, Trace};

/// Default number of rows on a page.
pub(crate) const DEFAULT_LIMIT: usize = 100;
/// Maximum number of rows on a page. Such a page is about 2 MB.
pub(crate) const MAX_LIMIT: usize = 1000;
/// Selects every outcome but `delivered`.
const FAILED: &str = "failed";
/// The label of a trace without an outcome.
const IN_FLIGHT: &str = "in_flight";

/// Which traces to show.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Filter {
    /// Only this tenant's.
    pub(crate) tenant: Option<TenantId>,
    /// Only traces that wait for this stage, were lost on the hop to it, or missed it.
    pub(crate) stage: Option<StageId>,
    /// Only traces with one of these outcomes, or `in_flight`; all if empty.
    pub(crate) outcomes: Vec<&'static str>,
    /// Only traces that were planned at or after this.
    pub(crate) since: Option<Timestamp>,
    /// Only traces that were planned at or before this.
    pub(crate) until: Option<Timestamp>,
    /// Maximum number of rows.
    pub(crate) limit: usize,
    /// The parameters as given, for links and the form.
    given: Vec<(String, String)>,
}

#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("`{parameter}={value}`: {should}")]
pub(crate) struct FilterError {
    pub(crate) parameter: String,
    pub(crate) value: String,
    /// What would be valid, as the end of a sentence.
    pub(crate) should: String,
}

/// The parameters, in their order in links.
const PARAMETERS: [&str; 7] = ["tenant", "stage", "outcome", "since", "until", "limit", "format"];

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
            limit: DEFAULT_LIMIT,
            given: Vec::new(),
        };
        for (name, value) in query.iter().filter(|(_, value)| !value.is_empty()) {
            let wrong =
                |should: String| FilterError { parameter: name.clone(), value: value.clone(), should };
            let names = |all: Vec<&str>| listed(&all);
            match name.as_str() {
                "tenant" => {
                    let all = || map.tenants().iter().map(|tenant| &*tenant.name).collect();
                    let tenant = map.tenant_by_name(value);
                    filter.tenant = Some(tenant.ok_or_else(|| {
                        wrong(format!("there is no such tenant; there are {}", names(all())))
                    })?);
                }
                "stage" => {
                    let all = || map.stages().iter().map(|stage| &*stage.name).collect();
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

    /// Whether it excludes any trace for another reason than its limit.
    #[must_use]
    pub(crate) fn is_set(&self) -> bool {
        self.given.iter().any(|(name, _)| name != "limit")
    }

    /// Whether a trace matches.
    #[must_use]
    pub(crate) fn admits(&self, trace: &Trace, map: &Topology) -> bool {
        self.tenant.is_none_or(|tenant| trace.tenant == tenant)
            && self.since.is_none_or(|since| trace.planned_at >= since)
            && self.until.is_none_or(|until| trace.planned_at <= until)
            && (self.outcomes.is_empty() || self.outcomes.contains(&trace.standing().label()))
            && self.stage.is_none_or(|stage| hangs_at(trace, stage, map))
    }

    /// The value of a parameter as given, for the form; empty if absent.
    #[must_use]
    pub(crate) fn given(&self, parameter: &str) -> &str {
        let last = self.given.iter().rev().find(|(name, _)| name == parameter);
        last.map_or("", |(_, value)| value)
    }

    /// The query of a link to the same selection with one parameter changed; an empty value removes it.
    #[must_use]
    pub(crate) fn link(&self, parameter: &str, value: &str) -> String {
        let mut query = String::new();
        for name in PARAMETERS {
            let value = if name == parameter { value } else { self.given(name) };
            if !value.is_empty() {
                let sign = if query.is_empty() { '?' } else { '&' };
                let _ = write!(query, "{sign}{name}={}", percent_encoded(value));
            }
        }
        query
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
    let mut values = vec![IN_FLIGHT, FAILED];
    values.extend(Outcome::LABELS);
    values
}

fn outcomes(value: &str) -> Option<Vec<&'static str>> {
    match value {
        FAILED => {
            Some(Outcome::LABELS.into_iter().filter(|label| *label != Outcome::Delivered.label()).collect())
        }
        value if value == Standing::InFlight.label() => Some(vec![IN_FLIGHT]),
        value => Outcome::LABELS.into_iter().find(|label| *label == value).map(|label| vec![label]),
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

/// Encodes text for the query of a URL: all but the unreserved characters of RFC 3986, commas and colons.
#[must_use]
pub(crate) fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b',' | b':' => {
                encoded.push(char::from(byte));
            }
            _ => {
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
    }
    encoded
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
                "`outcome=lots`: must be one of `in_flight`, `failed`, `delivered`, `late`, `lost`, `dead_lettered`, `unobserved`, `refused`",
            ),
            (
                ("since", "noon"),
                "`since=noon`: must be an age such as `15m` or `2h`, or an instant such as `2026-11-22T02:41:10Z`",
            ),
            (
                ("tennant", "acme"),
                "`tennant=acme`: there is no such parameter; there are `tenant`, `stage`, `outcome`, `since`, `until`, `limit`, `format`",
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
        assert_eq!(percent_encoded("a&b=<é>"), "a%26b%3D%3C%C3%A9%3E");
    }
}
