//! `/traces/recent` as a page: the texts and cells for its view.

use askama::Template;

use super::app::{App, Settings};
use super::filter::{self, Filter};
use super::page::Head;
use super::row::{FailureLine, TraceRow, common_scale, short_id};
use super::view::{
    ConditionView, HopFigures, IncidentView, Injection, Mark, Recent, SizeFigures, Source, State, Tenant,
    VerdictView, Violation,
};
use super::words;
use crate::domain::drill::{DrillProof, Drills};
use crate::domain::quantile::{Level, Quantile};
use crate::domain::time::{OwnClock, Timestamp};

/// Number of isolation violations on the page.
const VIOLATIONS_SHOWN: usize = 20;
/// Number of incidents on the page.
const INCIDENTS_SHOWN: usize = 10;
/// With at most this many tenants, the figures of all of them are unfolded.
const TENANTS_OPEN: usize = 4;

#[derive(Template)]
#[template(path = "recent.html")]
pub(crate) struct Page {
    head: Head,
    summary: String,
    mark: Mark,
    verdicts: Vec<VerdictLine>,
    window: String,
    interval: String,
    /// Of the columns of the figures.
    levels: [Level; 3],
    figures: Vec<TenantFigures>,
    fields: Fields,
    rows: Vec<TraceRow>,
    shown: String,
    stages: Vec<String>,
    nothing_planned: bool,
    failures: Vec<FailureList>,
    violations: Vec<ViolationLine>,
    /// When the pager was last proven to ring; `None` if drills are not enabled.
    drill: Option<String>,
    incidents: Vec<IncidentLine>,
    /// Number of incidents that are only in the JSON.
    more_incidents: usize,
    /// The probe's own faults.
    faults: Vec<FaultLine>,
    /// A sentence on the error of the probe's own clock; `None` if it is not synchronized, or the platform
    /// does not report it.
    clock: Option<String>,
    drifted: Vec<DriftLine>,
    failing: Vec<SourceLine>,
    healthy: Vec<SourceLine>,
    injections: Vec<InjectionLine>,
    json_link: String,
}

struct VerdictLine {
    mark: Mark,
    word: &'static str,
    tenant: String,
    link: String,
    place: Option<String>,
    since: Option<(String, String)>,
    summary: String,
    runbook: Option<String>,
    also: Vec<String>,
}

/// What was or is wrong, in a sentence.
struct IncidentLine {
    mark: Mark,
    text: String,
    runbook: String,
}

/// A fault of the probe itself.
struct FaultLine {
    what: String,
    since: Option<(String, String)>,
    summary: String,
    runbook: Option<String>,
}

struct TenantFigures {
    tenant: String,
    open: bool,
    mark: Mark,
    word: &'static str,
    end_to_end: String,
    hops: Vec<HopLine>,
    sizes: Vec<SizeLine>,
}

struct SizeLine {
    size: String,
    cells: Vec<Cell>,
    judged: usize,
    missing: usize,
}

struct HopLine {
    name: String,
    side: bool,
    whole: bool,
    cells: Vec<Cell>,
    target: String,
    over: bool,
    blind_since: Option<String>,
    judged: usize,
    missing: usize,
    error: String,
}

struct Cell {
    text: String,
    over: bool,
}

/// The values of the filter form.
struct Fields {
    tenants: Vec<(String, bool)>,
    stages: Vec<(String, bool)>,
    outcomes: Vec<(&'static str, bool)>,
    since: String,
    until: String,
    limit: usize,
    is_set: bool,
    quick: Vec<(String, String)>,
}

struct FailureList {
    tenant: String,
    link: String,
    rows: Vec<FailureLine>,
    more: usize,
}

struct ViolationLine {
    at: String,
    ago: String,
    tenant: String,
    stage: String,
    id: String,
    short_id: String,
    found_in: String,
    locator: String,
}

struct SourceLine {
    name: String,
    stage: String,
    owner: String,
    state: State,
    since: Option<(String, String)>,
    read_up_to: String,
    last_answer: String,
    waiting: usize,
    reason: String,
}

/// A table whose schema differs from the expected one.
struct DriftLine {
    stage: String,
    source: String,
    since: Option<(String, String)>,
    changes: String,
    /// What to configure if the change is intended.
    remedy: String,
    runbook: String,
}

struct InjectionLine {
    tenant: String,
    ok: bool,
    text: String,
    missed: u64,
}

/// Within which time the canaries of the figures were planned, as text.
fn window(view: &Recent<'_>) -> String {
    let windows = || view.tenants.iter().map(|tenant| tenant.window);
    let (shortest, longest) = (windows().min().unwrap_or_default(), windows().max().unwrap_or_default());
    let last = format!("the last {}", words::short(shortest));
    if shortest == longest { last } else { format!("{last} to {}, by tenant", words::short(longest)) }
}

impl Page {
    pub(crate) fn new(app: &App, view: &Recent<'_>) -> Self {
        let (now, filter, criteria) = (view.at, view.filter, &view.settings.criteria);
        let mut sources: Vec<_> = view.sources.iter().filter(|source| source.admitted).collect();
        sources.sort_by_key(|source| (source.state, source.since));
        let (failing, healthy) = sources
            .into_iter()
            .map(|source| SourceLine::new(source, now))
            .partition(|line| line.state.is_failing());
        let admitted = view.sources.iter().filter(|source| source.admitted);
        let scale = common_scale(&view.traces);
        let open = view.tenants.len() <= TENANTS_OPEN;
        Self {
            head: Head::at(app, &view.heading.text, view.heading.mark, now),
            summary: view.heading.text.clone(),
            mark: view.heading.mark,
            window: window(view),
            interval: words::short(view.shortest_interval),
            verdicts: view.verdicts.iter().map(|verdict| VerdictLine::new(verdict, filter, now)).collect(),
            levels: Level::SHOWN,
            figures: view.tenants.iter().map(|tenant| TenantFigures::new(tenant, now, open)).collect(),
            fields: Fields::new(view),
            rows: view.traces.iter().map(|trace| TraceRow::new(trace, now, criteria.slo, scale)).collect(),
            shown: match view.matching {
                all if all > view.traces.len() => format!("the newest {} of {all}", view.traces.len()),
                all => words::count(all, "trace", "traces"),
            },
            stages: view
                .traces
                .first()
                .into_iter()
                .flat_map(|trace| trace.lanes.iter().map(|lane| lane.name.to_string()))
                .collect(),
            nothing_planned: view.nothing_planned,
            failures: view
                .tenants
                .iter()
                .filter_map(|tenant| FailureList::new(tenant, filter, now))
                .collect(),
            drill: view.drills.as_ref().map(|drills| drill_line(drills, now)),
            incidents: view.incidents.iter().take(INCIDENTS_SHOWN).map(IncidentLine::new).collect(),
            more_incidents: view.incidents.len().saturating_sub(INCIDENTS_SHOWN),
            violations: view
                .violations
                .iter()
                .take(VIOLATIONS_SHOWN)
                .map(|seen| ViolationLine::new(seen, now))
                .collect(),
            clock: view.clock.filter(|clock| clock.synchronized).map(|clock| clock_line(clock, now)),
            // Schemas that drifted have lines of their own.
            faults: view
                .shared
                .iter()
                .filter(|it| it.place.is_none())
                .map(|it| FaultLine::new(it, now))
                .collect(),
            drifted: admitted.filter_map(|source| DriftLine::new(source, view.settings, now)).collect(),
            failing,
            healthy,
            injections: view.tenants.iter().map(|tenant| InjectionLine::new(tenant, now)).collect(),
            json_link: filter.link("format", "json"),
        }
    }
}

/// An instant and its age.
fn since(at: Timestamp, now: Timestamp) -> (String, String) {
    (words::clock(at, now), words::age(now.since(at)))
}

impl VerdictLine {
    fn new(verdict: &VerdictView, filter: &Filter, now: Timestamp) -> Self {
        Self {
            mark: verdict.mark,
            word: verdict.word,
            tenant: verdict.tenant.to_string(),
            link: filter.link("tenant", &verdict.tenant),
            place: verdict.place.clone(),
            since: verdict.since.map(|at| since(at, now)),
            summary: verdict.summary.clone(),
            runbook: verdict.runbook.clone(),
            also: verdict.also_texts.clone(),
        }
    }
}

/// `The pager was last proven to ring on … (3 d ago), 84 s after the drill began.`
fn drill_line(drills: &Drills, now: Timestamp) -> String {
    let proof = match drills.proof {
        Some(DrillProof { began, rang }) => format!(
            "The pager was last proven to ring at {} ({}), {} after the drill began",
            words::clock(rang, now),
            words::ago(rang, now),
            words::age(rang.since(began)),
        ),
        None => "The pager has not been proven to ring yet".to_owned(),
    };
    let present = match (drills.active, drills.silent, drills.next) {
        (Some((since, until)), _, _) => format!(
            "a drill goes on since {}, until {} at the latest",
            words::clock(since, now),
            words::clock(until, now),
        ),
        (None, Some(began), _) => {
            format!("no notification of the drill of {} arrived", words::clock(began, now))
        }
        (None, None, Some(next)) => format!("the next drill is at {}", words::clock(next, now)),
        (None, None, None) => "no drill is scheduled".to_owned(),
    };
    format!("{proof}; {present}.")
}

impl IncidentLine {
    fn new(incident: &IncidentView) -> Self {
        let (text, runbook) = (incident.text.clone(), incident.runbook.clone());
        Self { mark: incident.mark, text, runbook }
    }
}

impl FaultLine {
    fn new(fault: &ConditionView, now: Timestamp) -> Self {
        Self {
            what: fault.what.clone(),
            since: fault.since.map(|at| since(at, now)),
            summary: fault.summary.clone(),
            runbook: fault.runbook.clone(),
        }
    }
}

impl TenantFigures {
    fn new(tenant: &Tenant, now: Timestamp, open: bool) -> Self {
        let verdict = &tenant.verdict;
        let whole = tenant.hops.last();
        let end_to_end = whole.and_then(|hop| hop.quantiles.zip(hop.judged_quantile)).map_or_else(
            || "not measured yet".to_owned(),
            |([median, ..], judged)| {
                let (median, judged) = (words::quantile(median), words::quantile(judged));
                format!("end to end {} {median}, {} {judged}", Level::P50, Level::JUDGED)
            },
        );
        Self {
            tenant: verdict.tenant.to_string(),
            open: open || verdict.is_problem,
            mark: verdict.mark,
            word: verdict.word,
            end_to_end,
            hops: tenant.hops.iter().map(|hop| HopLine::new(hop, now)).collect(),
            sizes: tenant.sizes.iter().map(|figures| SizeLine::new(figures, whole)).collect(),
        }
    }
}

impl HopLine {
    fn new(figures: &HopFigures, now: Timestamp) -> Self {
        let cell =
            |quantile: Quantile| Cell { text: words::quantile(quantile), over: figures.over(quantile) };
        let none = || (0..3).map(|_| Cell { text: "–".to_owned(), over: false }).collect();
        Self {
            name: figures.name.to_string(),
            side: figures.side,
            whole: figures.stage.is_none(),
            cells: figures.quantiles.map_or_else(none, |all| all.map(cell).into()),
            target: figures.target.map_or_else(|| "–".to_owned(), words::short),
            over: figures.is_over() == Some(true),
            blind_since: figures.blind_since.map(|since| words::clock(since, now)),
            judged: figures.judged,
            missing: figures.missing,
            error: figures.error.map_or_else(|| "–".to_owned(), words::short),
        }
    }
}

impl SizeLine {
    fn new(figures: &SizeFigures, end_to_end: Option<&HopFigures>) -> Self {
        let over = |quantile| end_to_end.is_some_and(|whole| whole.over(quantile));
        let cell = |quantile| Cell { text: words::quantile(quantile), over: over(quantile) };
        let none = || (0..3).map(|_| Cell { text: "–".to_owned(), over: false }).collect();
        Self {
            size: words::bytes(figures.bytes),
            cells: figures.quantiles.map_or_else(none, |all| all.map(cell).into()),
            judged: figures.judged,
            missing: figures.missing,
        }
    }
}

impl Fields {
    fn new(view: &Recent<'_>) -> Self {
        let filter = view.filter;
        let named = |name: &str, parameter| (name.to_owned(), filter.given(parameter) == name);
        let quick = ["", "in_flight", "failed", "lost"];
        Self {
            tenants: view.tenant_names.iter().map(|name| named(name, "tenant")).collect(),
            stages: view.stage_names.iter().map(|name| named(name, "stage")).collect(),
            outcomes: filter::outcome_values()
                .into_iter()
                .map(|value| (value, filter.given("outcome") == value))
                .collect(),
            since: filter.given("since").to_owned(),
            until: filter.given("until").to_owned(),
            limit: filter.limit,
            is_set: filter.is_set(),
            quick: quick
                .map(|value| {
                    let name = if value.is_empty() { "all" } else { value };
                    let link = filter.link("outcome", value);
                    (name.replace('_', " "), if link.is_empty() { "?".to_owned() } else { link })
                })
                .into(),
        }
    }
}

impl FailureList {
    fn new(tenant: &Tenant, filter: &Filter, now: Timestamp) -> Option<Self> {
        let name = &tenant.verdict.tenant;
        (!tenant.failures.is_empty()).then(|| Self {
            rows: tenant.failures.iter().map(|brief| FailureLine::new(brief, now)).collect(),
            more: tenant.more_failures,
            link: format!("?tenant={}&outcome=failed&limit={}", filter::percent_encoded(name), filter.limit),
            tenant: name.to_string(),
        })
    }
}

fn clock_line(clock: OwnClock, now: Timestamp) -> String {
    let bound = clock.error_bound.map_or_else(
        || "its error is not reported".to_owned(),
        |bound| {
            format!(
                "it may be off by {}, which is added to the allowance of every stage",
                words::short(bound)
            )
        },
    );
    match clock.compared_at {
        Some(at) => format!("{bound}; last compared {}", words::ago(at, now)),
        None => bound,
    }
}

impl ViolationLine {
    fn new(seen: &Violation, now: Timestamp) -> Self {
        Self {
            at: words::clock(seen.at, now),
            ago: words::ago(seen.at, now),
            tenant: seen.tenant.to_string(),
            stage: seen.stage.to_string(),
            id: seen.trace.to_string(),
            short_id: short_id(seen.trace),
            found_in: seen.found_in.to_string(),
            locator: seen.locator.to_string(),
        }
    }
}

impl SourceLine {
    fn new(source: &Source, now: Timestamp) -> Self {
        let ago = |at: Option<Timestamp>| at.map_or_else(|| "never".to_owned(), |at| words::ago(at, now));
        let reason = source.reason.clone();
        Self {
            name: source.name.to_string(),
            stage: source.stage.to_string(),
            owner: source.owner.to_string(),
            state: source.state,
            since: source.since.map(|at| since(at, now)),
            read_up_to: ago(source.watermark),
            last_answer: ago(source.last_answer),
            waiting: source.waiting,
            reason: match &source.drift {
                None => reason,
                Some(drift) if reason.is_empty() => format!("schema drifted: {drift}"),
                Some(drift) => format!("{reason}; schema drifted: {drift}"),
            },
        }
    }
}

impl DriftLine {
    fn new(source: &Source, settings: &Settings, now: Timestamp) -> Option<Self> {
        let began = source.drifted.as_ref().and_then(|drifted| drifted.since);
        Some(Self {
            changes: source.drift.clone()?,
            stage: source.stage.to_string(),
            source: source.name.to_string(),
            since: began.map(|at| since(at, now)),
            remedy: source.drift_remedy.clone(),
            runbook: settings.chapter("schema-drift"),
        })
    }
}

impl InjectionLine {
    fn new(tenant: &Tenant, now: Timestamp) -> Self {
        let since = |at| format!("{} ({})", words::clock(at, now), words::ago(at, now));
        let text = match &tenant.injection {
            Injection::NotBegun => "no canary has been planned yet".to_owned(),
            Injection::Accepted(at) => format!("last accepted {}", since(*at)),
            Injection::Unanswered(at) => format!("planned {}, not answered yet", since(*at)),
            Injection::Refusing(at, reason) => {
                format!("not accepted since {}: {reason}", since(*at))
            }
        };
        Self {
            tenant: tenant.verdict.tenant.to_string(),
            ok: !matches!(tenant.injection, Injection::Refusing(..)),
            text,
            missed: tenant.missed,
        }
    }
}
