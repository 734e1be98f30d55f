//! `/traces/recent` as a page: the parts of which its template consists.

use askama::Template;

use super::app::App;
use super::figures::Figures;
use super::filter::{self, Filter, RANGES};
use super::fold::Fold;
use super::incidents::Incidents;
use super::matters::Matters;
use super::page::{Head, Moment};
use super::probe::Probe;
use super::row::{TraceRow, common_scale};
use super::timeline::Tenants;
use super::view::{Mark, Recent, Timeline};
use super::words;

/// Tenants that hold copies of others and are named in the first lines.
const HOLDERS_NAMED: usize = 2;

#[derive(Template)]
#[template(path = "recent.html")]
pub(crate) struct Page {
    head: Head,
    summary: String,
    mark: Mark,
    /// Since when the worst problem has been one, and for how long.
    since: Option<(Moment, String)>,
    /// What else the first lines say: whose page it is, and how many tenants are OK.
    beside: String,
    incidents: Incidents,
    tenants: Tenants,
    matters: Matters,
    fields: Fields,
    rows: Vec<TraceRow>,
    shown: String,
    stages: Vec<String>,
    next: Option<String>,
    previous: Option<String>,
    /// Since when traces are known, on the last page.
    known_since: Option<Moment>,
    nothing_planned: bool,
    interval: String,
    figures: Figures,
    probe: Probe,
    json_link: String,
    /// The tenant whose page it is.
    only: Option<String>,
}

/// The values of the filter form.
struct Fields {
    tenants: Vec<(String, bool)>,
    stages: Vec<(String, bool)>,
    outcomes: Vec<(String, &'static str, bool)>,
    conditions: Vec<(String, &'static str, bool)>,
    since: String,
    until: String,
    limit: usize,
    is_set: bool,
    /// The text of each range, its link, and whether it is the current one.
    ranges: Vec<(&'static str, String, bool)>,
    quick: Vec<(String, String, bool)>,
}

impl Page {
    pub(crate) fn new(app: &App, view: &Recent<'_>, fold: &Fold, timeline: &Timeline) -> Self {
        let (now, filter, criteria) = (view.at, view.filter, &view.settings.criteria);
        let scale = common_scale(&view.traces);
        let cursor = |query: &Option<String>| query.as_ref().map(|query| format!("{query}#traces"));
        let since = view.heading.since;
        Self {
            head: Head::at(app, &view.heading.text, view.heading.mark, now),
            summary: view.heading.text.clone(),
            mark: view.heading.mark,
            since: since.map(|at| (Moment::new(at, now), words::age(now.since(at)))),
            beside: beside(view),
            incidents: Incidents::new(view),
            tenants: Tenants::new(view, fold, timeline),
            matters: Matters::new(view),
            fields: Fields::new(view),
            rows: view.traces.iter().map(|trace| TraceRow::new(trace, now, criteria.slo, scale)).collect(),
            shown: shown(view),
            stages: view
                .traces
                .first()
                .into_iter()
                .flat_map(|trace| trace.lanes.iter().map(|lane| lane.name.to_string()))
                .collect(),
            next: cursor(&view.next),
            previous: cursor(&view.previous),
            known_since: view.known_since.filter(|_| view.next.is_none()).map(|at| Moment::new(at, now)),
            nothing_planned: view.nothing_planned,
            interval: words::short(view.shortest_interval),
            figures: Figures::new(view, fold),
            probe: Probe::new(view),
            json_link: filter.link("format", "json"),
            only: Some(filter.given("tenant")).filter(|name| !name.is_empty()).map(str::to_owned),
        }
    }
}

/// What is less bad, who holds copies of others, and how many tenants are well, beside a heading that names the worst.
fn beside(view: &Recent<'_>) -> String {
    let failing = view.verdicts.iter().filter(|verdict| verdict.is_problem).count();
    let holders = view.verdicts.iter().filter(|verdict| !verdict.is_problem && verdict.holds.is_some());
    let mut texts = view.heading.lesser.clone();
    texts.extend(
        holders
            .clone()
            .take(HOLDERS_NAMED)
            .filter_map(|it| Some(format!("{} {}", it.tenant, it.holds.as_deref()?))),
    );
    let ok = view.verdicts.iter().filter(|verdict| verdict.key == "ok" && verdict.holds.is_none()).count();
    let notes = view.verdicts.iter().filter(|it| !it.is_problem && !it.also.is_empty()).count();
    texts.extend(match (failing, notes) {
        (0, 0) => None,
        (0, some) => Some(format!("with notes on {}", words::count(some, "tenant", "tenants"))),
        (_, _) if ok == 0 => None,
        (_, _) => Some(format!("{} OK", words::count(ok, "other tenant", "other tenants"))),
    });
    texts.join("; ")
}

/// Which of the matching traces are on the page.
fn shown(view: &Recent<'_>) -> String {
    let (from, here, all) = (view.newer, view.traces.len(), view.matching);
    match here {
        0 => "no trace".to_owned(),
        _ if here == all => words::count(all, "trace", "traces"),
        _ if from == 0 => format!("the newest {here} of {all} traces"),
        _ => format!("traces {} to {} of {all}, newest first", from + 1, from + here),
    }
}

impl Fields {
    fn new(view: &Recent<'_>) -> Self {
        let filter = view.filter;
        let named = |name: &str, parameter| (name.to_owned(), filter.given(parameter) == name);
        let value =
            |name: &'static str, parameter| (name.replace('_', " "), name, filter.given(parameter) == name);
        let quick = ["", "matters", "in_flight", "failed"];
        Self {
            tenants: view.tenant_names.iter().map(|name| named(name, "tenant")).collect(),
            stages: view.stage_names.iter().map(|name| named(name, "stage")).collect(),
            outcomes: filter::outcome_values().into_iter().map(|name| value(name, "outcome")).collect(),
            conditions: filter::condition_values().into_iter().map(|name| value(name, "condition")).collect(),
            since: filter.given("since").to_owned(),
            until: filter.given("until").to_owned(),
            limit: filter.limit,
            is_set: filter.is_set(),
            ranges: RANGES
                .map(|(given, text)| {
                    (text, traces_link(filter, "since", given), filter.given("since") == given)
                })
                .into(),
            quick: quick
                .map(|value| {
                    let name = if value.is_empty() { "all" } else { value };
                    let is_current = filter.given("outcome") == value;
                    (name.replace('_', " "), traces_link(filter, "outcome", value), is_current)
                })
                .into(),
        }
    }
}

fn traces_link(filter: &Filter, parameter: &str, value: &str) -> String {
    match filter.link(parameter, value) {
        none if none.is_empty() => "?#traces".to_owned(),
        link => format!("{link}#traces"),
    }
}
