//! What a reader wants to see of the traces: the query of a page, checked.
//!
//! A value that makes no sense is refused in words. Silently showing everything instead would answer another
//! question than the one that was asked, at an hour when nobody notices.

use std::fmt::Write as _;

use super::words;
use crate::domain::outcome::Outcome;
use crate::domain::time::Timestamp;
use crate::domain::topology::{StageId, TenantId, Topology};
use crate::domain::trace::{Hop, Standing, Trace};

/// Rows of a page when nothing is asked for.
pub(crate) const DEFAULT_LIMIT: usize = 100;
/// Most rows of a page. A page of this length is about 2 MB, and no person reads further.
pub(crate) const MAX_LIMIT: usize = 1000;
/// Stands for every outcome but `delivered`.
const FAILED: &str = "failed";
/// The label of a trace without an outcome.
const IN_FLIGHT: &str = "in_flight";

/// Which traces to show.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Filter {
    /// Only this tenant's.
    pub(crate) tenant: Option<TenantId>,
    /// Only traces that wait for this stage, were lost on the way to it, or missed it.
    pub(crate) stage: Option<StageId>,
    /// Only traces that stand so; empty for all.
    pub(crate) outcomes: Vec<&'static str>,
    /// Only traces that were planned at or after this.
    pub(crate) since: Option<Timestamp>,
    /// Only traces that were planned at or before this.
    pub(crate) until: Option<Timestamp>,
    /// At most so many.
    pub(crate) limit: usize,
    /// The query as it was given, for links and for the form.
    given: Vec<(String, String)>,
}

/// A parameter that makes no sense.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("`{parameter}={value}`: {should}")]
pub(crate) struct FilterError {
    /// Which one.
    pub(crate) parameter: String,
    /// What was given.
    pub(crate) value: String,
    /// What would be right.
    pub(crate) should: String,
}

/// The parameters, in the order in which links have them.
const PARAMETERS: [&str; 7] = ["tenant", "stage", "outcome", "since", "until", "limit", "format"];

impl Filter {
    /// Reads a query.
    ///
    /// # Errors
    ///
    /// [`FilterError`] for the first parameter that makes no sense.
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
                    for word in value.split(',').map(str::trim) {
                        filter.outcomes.extend(
                            outcomes(word).ok_or_else(|| {
                                wrong(format!("must be one of {}", listed(&outcome_words())))
                            })?,
                        );
                    }
                }
                "since" => filter.since = Some(instant(value, now).ok_or_else(|| wrong(when()))?),
                "until" => filter.until = Some(instant(value, now).ok_or_else(|| wrong(when()))?),
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

    /// Whether it lets anything but everything through.
    #[must_use]
    pub(crate) fn is_set(&self) -> bool {
        self.given.iter().any(|(name, _)| name != "limit")
    }

    /// Whether a trace is to be shown.
    #[must_use]
    pub(crate) fn admits(&self, trace: &Trace, map: &Topology) -> bool {
        self.tenant.is_none_or(|tenant| trace.tenant == tenant)
            && self.since.is_none_or(|since| trace.planned_at >= since)
            && self.until.is_none_or(|until| trace.planned_at <= until)
            && (self.outcomes.is_empty() || self.outcomes.contains(&trace.standing().label()))
            && self.stage.is_none_or(|stage| hangs_at(trace, stage, map))
    }

    /// What the form shows in a field.
    #[must_use]
    pub(crate) fn given(&self, parameter: &str) -> &str {
        let last = self.given.iter().rev().find(|(name, _)| name == parameter);
        last.map_or("", |(_, value)| value)
    }

    /// The query of a permanent link to the same selection with one parameter set otherwise; empty takes it away.
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

/// Whether a trace hangs at a stage: it waits for it, was lost on the way to it, or missed it.
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

/// The words that `outcome` takes.
#[must_use]
pub(crate) fn outcome_words() -> Vec<&'static str> {
    let mut words = vec![IN_FLIGHT, FAILED];
    words.extend(Outcome::LABELS);
    words
}

fn outcomes(word: &str) -> Option<Vec<&'static str>> {
    match word {
        FAILED => {
            Some(Outcome::LABELS.into_iter().filter(|label| *label != Outcome::Delivered.label()).collect())
        }
        word if word == Standing::InFlight.label() => Some(vec![IN_FLIGHT]),
        word => Outcome::LABELS.into_iter().find(|label| *label == word).map(|label| vec![label]),
    }
}

fn instant(value: &str, now: Timestamp) -> Option<Timestamp> {
    words::parse_duration(value).map(|age| now - age).or_else(|| Timestamp::parse_rfc3339(value))
}

fn when() -> String {
    "must be an age such as `15m` or `2h`, or an instant such as `2026-11-22T02:41:10Z`".to_owned()
}

/// At most as many names as a sentence bears.
fn listed(names: &[&str]) -> String {
    const MOST: usize = 12;
    let some: Vec<_> = names.iter().take(MOST).map(|name| format!("`{name}`")).collect();
    match names.len().saturating_sub(MOST) {
        0 if names.is_empty() => "none".to_owned(),
        0 => some.join(", "),
        more => format!("{} and {more} more", some.join(", ")),
    }
}

/// As in the query of a URL: all but the unreserved characters of RFC 3986 are encoded.
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
    fn an_age_and_an_instant_both_say_since_when() {
        let age = read(&[("since", "15m")]).unwrap();
        assert_eq!(age.since, Some(Timestamp::from_secs(9_100)));
        let instant = read(&[("since", "1970-01-01T02:31:40Z")]).unwrap();
        assert_eq!(instant.since, age.since);
    }

    #[test]
    fn failed_is_everything_that_did_not_go_well() {
        let filter = read(&[("outcome", "failed")]).unwrap();
        assert_eq!(filter.outcomes, ["late", "lost", "dead_lettered", "unobserved", "refused"]);
    }

    #[test]
    fn nonsense_is_refused_with_what_would_be_right() {
        for (query, said) in [
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
            assert_eq!(read(&[query]), Err(said.to_owned()));
        }
    }

    #[test]
    fn empty_fields_of_a_form_are_no_filters() {
        let filter = read(&[("tenant", ""), ("outcome", ""), ("since", "")]).unwrap();
        assert!(!filter.is_set());
    }

    #[test]
    fn a_link_keeps_the_other_parameters_and_encodes_what_a_url_cannot_hold() {
        let filter = read(&[("tenant", "acme"), ("limit", "20")]).unwrap();
        assert_eq!(filter.link("outcome", "lost"), "?tenant=acme&outcome=lost&limit=20");
        assert_eq!(filter.link("tenant", ""), "?limit=20");
        assert_eq!(percent_encoded("a&b=<é>"), "a%26b%3D%3C%C3%A9%3E");
    }
}
