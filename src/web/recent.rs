//! `/traces/recent`: which tenant, which hop, since when; then everything that bears it out.

use askama::Template;

use super::app::App;
use super::filter::{self, Filter};
use super::lane::lanes;
use super::mark::Mark;
use super::page::Head;
use super::row::{FailureLine, TraceRow, common_scale, short_id};
use super::selection::Selection;
use super::size::{self, SizeFigures};
use super::source::State;
use super::tenant::{self, HopFigures, Injection};
use super::{source, words};
use crate::domain::quantile::Quantile;
use crate::domain::time::{OwnClock, Timestamp};
use crate::domain::topology::TenantId;
use crate::domain::trace::Trace;
use crate::domain::tracker::{Snapshot, SourceView};
use crate::domain::verdict::{self, Severity, Verdict};

/// Failures of one tenant that the page shows before it refers to the filter.
const FAILURES_SHOWN: usize = 8;
/// Isolation violations that the page shows.
const VIOLATIONS_SHOWN: usize = 20;
/// Up to so many tenants the figures of all of them lie open.
const TENANTS_OPEN: usize = 4;

/// The page.
#[derive(Template)]
#[template(path = "recent.html")]
pub(crate) struct Page {
    head: Head,
    summary: String,
    mark: Mark,
    verdicts: Vec<VerdictLine>,
    window: String,
    interval: String,
    figures: Vec<TenantFigures>,
    fields: Fields,
    rows: Vec<TraceRow>,
    shown: String,
    stages: Vec<String>,
    nothing_planned: bool,
    failures: Vec<FailureList>,
    violations: Vec<ViolationLine>,
    /// Why nothing outlives a restart, where that is not as it should be.
    not_kept: Option<String>,
    /// What the platform says of the probe's own clock: whether it is kept in step, and how far off it may be.
    clock: Option<(bool, String)>,
    clock_runbook: String,
    drifted: Vec<DriftLine>,
    troubled: Vec<SourceLine>,
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
    matter: String,
    runbook: Option<String>,
    also: Vec<String>,
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

/// What the filter form holds.
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

/// A table whose schema is not what it should be.
struct DriftLine {
    stage: String,
    source: String,
    since: Option<(String, String)>,
    changes: String,
    /// What to configure if the change is wanted.
    remedy: String,
    runbook: String,
}

struct InjectionLine {
    tenant: String,
    ok: bool,
    text: String,
    missed: u64,
}

impl Page {
    pub(crate) fn new(app: &App, snapshot: &Snapshot, filter: &Filter) -> Self {
        let criteria = &app.settings.criteria;
        let map = &snapshot.topology;
        let verdicts = verdict::verdicts(snapshot, criteria);
        let selection = Selection::new(snapshot, filter);
        let of_tenant = |tenant: TenantId| filter.tenant.is_none_or(|only| only == tenant);
        let chosen = || verdicts.iter().filter(|verdict| of_tenant(verdict.tenant));
        let open = chosen().count() <= TENANTS_OPEN;
        let mark = verdicts.first().map_or(Mark::Pending, |worst| Mark::of(&worst.condition));
        let summary = summary(&verdicts, snapshot);
        let (troubled, healthy) = source::worst_first(snapshot)
            .into_iter()
            .filter(|view| map.source(view.source).tenants.iter().any(|tenant| of_tenant(*tenant)))
            .map(|view| SourceLine::new(snapshot, view))
            .partition(|line| line.state.is_troubled());
        let drifted = snapshot
            .sources
            .iter()
            .filter(|view| map.source(view.source).tenants.iter().any(|tenant| of_tenant(*tenant)))
            .filter_map(|view| DriftLine::new(app, snapshot, view))
            .collect();
        let scale = common_scale(&selection.traces, snapshot);
        let row = |trace: &&Trace| TraceRow::new(snapshot, trace, criteria.slo, scale);
        let first_lanes = selection.traces.first().map(|trace| lanes(trace, snapshot));
        Self {
            head: Head::at(app, &summary, mark, snapshot.at),
            mark,
            window: words::short(criteria.window),
            interval: words::short(criteria.interval),
            figures: chosen()
                .map(|verdict| {
                    let troubled = verdict.condition.profile().severity.is_problem();
                    TenantFigures::new(app, snapshot, verdict, open || troubled)
                })
                .collect(),
            verdicts: verdicts
                .iter()
                .map(|verdict| VerdictLine::new(app, snapshot, filter, verdict))
                .collect(),
            fields: Fields::new(snapshot, filter),
            rows: selection.traces.iter().map(row).collect(),
            shown: match selection.matching {
                all if all > selection.traces.len() => {
                    format!("the newest {} of {all}", selection.traces.len())
                }
                all => words::count(all, "trace", "traces"),
            },
            stages: first_lanes.into_iter().flatten().map(|lane| lane.name.to_string()).collect(),
            nothing_planned: snapshot.open.is_empty() && snapshot.finished.is_empty(),
            failures: chosen()
                .filter_map(|verdict| FailureList::new(snapshot, filter, verdict.tenant))
                .collect(),
            violations: violations(snapshot, filter),
            clock: snapshot.clock.map(|clock| (clock.synchronized, clock_line(clock, snapshot.at))),
            clock_runbook: app.settings.chapter("traceprobeclocknotsynchronized"),
            drifted,
            troubled,
            healthy,
            injections: chosen().map(|verdict| InjectionLine::new(snapshot, verdict.tenant)).collect(),
            not_kept: (app.kept)().err(),
            json_link: filter.link("format", "json"),
            summary,
        }
    }
}

/// The whole page in a line, for the title: it is read in a row of tabs.
fn summary(verdicts: &[Verdict], snapshot: &Snapshot) -> String {
    let severity = |verdict: &Verdict| verdict.condition.profile().severity;
    let troubled: Vec<_> = verdicts.iter().filter(|verdict| severity(verdict).is_problem()).collect();
    let pending = verdicts.iter().any(|verdict| severity(verdict) == Severity::Note);
    match troubled.as_slice() {
        [] if verdicts.is_empty() => "No tenant is configured".to_owned(),
        [] if pending => "Waiting for the first canaries".to_owned(),
        [] => match verdicts.len() {
            1 => "The tenant is OK".to_owned(),
            all => format!("All {all} tenants are OK"),
        },
        [worst, rest @ ..] => {
            let name = &snapshot.topology.tenant(worst.tenant).name;
            let what = tenant::word_and_place(&worst.condition, snapshot);
            let more = match rest.len() {
                0 => String::new(),
                1 => "; 1 more tenant in trouble".to_owned(),
                more => format!("; {more} more tenants in trouble"),
            };
            format!("{name} {what}{more}")
        }
    }
}

impl VerdictLine {
    fn new(app: &App, snapshot: &Snapshot, filter: &Filter, verdict: &Verdict) -> Self {
        let criteria = &app.settings.criteria;
        let condition = &verdict.condition;
        let name = snapshot.topology.tenant(verdict.tenant).name.to_string();
        let also = verdict.also.iter().map(|condition| {
            let what = tenant::word_and_place(condition, snapshot);
            format!("{what}: {}", tenant::matter(condition, criteria))
        });
        Self {
            mark: Mark::of(condition),
            word: condition.profile().word,
            link: filter.link("tenant", &name),
            tenant: name,
            place: tenant::place(condition, snapshot),
            since: verdict
                .since
                .map(|since| (words::clock(since, snapshot.at), words::age(snapshot.at.since(since)))),
            matter: tenant::matter(condition, criteria),
            runbook: app.settings.runbook(condition),
            also: also.collect(),
        }
    }
}

impl TenantFigures {
    fn new(app: &App, snapshot: &Snapshot, verdict: &Verdict, open: bool) -> Self {
        let hops = tenant::hops(snapshot, &app.settings.criteria, verdict.tenant);
        let end_to_end = hops.last().and_then(|hop| hop.quantiles).map_or_else(
            || "not measured yet".to_owned(),
            |[p50, p95, _]| format!("end to end P50 {}, P95 {}", words::quantile(p50), words::quantile(p95)),
        );
        Self {
            tenant: snapshot.topology.tenant(verdict.tenant).name.to_string(),
            open,
            mark: Mark::of(&verdict.condition),
            word: verdict.condition.profile().word,
            end_to_end,
            hops: hops.iter().map(|hop| HopLine::new(hop, snapshot.at)).collect(),
            sizes: size::sizes(snapshot, &app.settings.criteria, verdict.tenant)
                .iter()
                .map(|figures| SizeLine::new(figures, hops.last()))
                .collect(),
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
    fn new(snapshot: &Snapshot, filter: &Filter) -> Self {
        let map = &snapshot.topology;
        let named = |name: &str, parameter| (name.to_owned(), filter.given(parameter) == name);
        let quick = ["", "in_flight", "failed", "lost"];
        Self {
            tenants: map.tenants().iter().map(|tenant| named(&tenant.name, "tenant")).collect(),
            stages: map.stages().iter().map(|stage| named(&stage.name, "stage")).collect(),
            outcomes: filter::outcome_words()
                .into_iter()
                .map(|word| (word, filter.given("outcome") == word))
                .collect(),
            since: filter.given("since").to_owned(),
            until: filter.given("until").to_owned(),
            limit: filter.limit,
            is_set: filter.is_set(),
            quick: quick
                .map(|word| {
                    let name = if word.is_empty() { "all" } else { word };
                    let link = filter.link("outcome", word);
                    (name.replace('_', " "), if link.is_empty() { "?".to_owned() } else { link })
                })
                .into(),
        }
    }
}

impl FailureList {
    fn new(snapshot: &Snapshot, filter: &Filter, tenant: TenantId) -> Option<Self> {
        let failures = &snapshot.failures[usize::from(tenant.0)];
        let name = snapshot.topology.tenant(tenant).name.to_string();
        let rows: Vec<_> = failures
            .iter()
            .rev()
            .take(FAILURES_SHOWN)
            .map(|trace| FailureLine::new(snapshot, trace))
            .collect();
        (!rows.is_empty()).then(|| Self {
            more: failures.len() - rows.len(),
            link: format!("?tenant={}&outcome=failed&limit={}", filter::percent_encoded(&name), filter.limit),
            tenant: name,
            rows,
        })
    }
}

fn clock_line(clock: OwnClock, now: Timestamp) -> String {
    let bound = clock.error_bound.map_or_else(
        || "how far off it may be is not said".to_owned(),
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

fn violations(snapshot: &Snapshot, filter: &Filter) -> Vec<ViolationLine> {
    let map = &snapshot.topology;
    snapshot
        .violations
        .iter()
        .rev()
        .filter(|seen| filter.tenant.is_none_or(|tenant| tenant == seen.tenant))
        .take(VIOLATIONS_SHOWN)
        .map(|seen| ViolationLine {
            at: words::clock(seen.at, snapshot.at),
            ago: words::ago(seen.at, snapshot.at),
            tenant: map.tenant(seen.tenant).name.to_string(),
            stage: map.stage(seen.stage).name.to_string(),
            id: seen.trace.to_string(),
            short_id: short_id(seen.trace),
            found_in: seen.found_in.to_string(),
            locator: seen.locator.to_string(),
        })
        .collect()
}

impl SourceLine {
    fn new(snapshot: &Snapshot, view: &SourceView) -> Self {
        let spec = snapshot.topology.source(view.source);
        let never = || "never".to_owned();
        Self {
            name: spec.name.to_string(),
            stage: snapshot.topology.stage(spec.stage).name.to_string(),
            owner: source::owner(snapshot, view.source).to_string(),
            state: State::of(view),
            since: source::since(view)
                .map(|since| (words::clock(since, snapshot.at), words::age(snapshot.at.since(since)))),
            read_up_to: view.watermark.map_or_else(never, |mark| words::ago(mark, snapshot.at)),
            last_answer: view.last_answer.map_or_else(never, |at| words::ago(at, snapshot.at)),
            waiting: view.waiting,
            reason: match (source::reason(view), source::drift(view)) {
                (reason, None) => reason,
                (reason, Some(drift)) if reason.is_empty() => format!("schema drifted: {drift}"),
                (reason, Some(drift)) => format!("{reason}; schema drifted: {drift}"),
            },
        }
    }
}

impl DriftLine {
    fn new(app: &App, snapshot: &Snapshot, view: &SourceView) -> Option<Self> {
        let spec = snapshot.topology.source(view.source);
        let since = view.drifted.as_ref().and_then(|drifted| drifted.since);
        Some(Self {
            changes: source::drift(view)?,
            stage: snapshot.topology.stage(spec.stage).name.to_string(),
            source: spec.name.to_string(),
            since: since.map(|at| (words::clock(at, snapshot.at), words::age(snapshot.at.since(at)))),
            remedy: source::drift_remedy(view),
            runbook: app.settings.chapter("traceprobeschemadrift"),
        })
    }
}

impl InjectionLine {
    fn new(snapshot: &Snapshot, tenant: TenantId) -> Self {
        let since = |at| format!("{} ({})", words::clock(at, snapshot.at), words::ago(at, snapshot.at));
        let injection = tenant::injection(snapshot, tenant);
        let text = match &injection {
            Injection::NotBegun => "no canary has been planned yet".to_owned(),
            Injection::Accepted(at) => format!("last accepted {}", since(*at)),
            Injection::Unanswered(at) => format!("planned {}, not answered yet", since(*at)),
            Injection::Refusing(at, reason) => {
                format!("not accepted since {}: {reason}", since(*at))
            }
        };
        Self {
            tenant: snapshot.topology.tenant(tenant).name.to_string(),
            ok: !matches!(injection, Injection::Refusing(..)),
            text,
            missed: snapshot.tenants[usize::from(tenant.0)].missed,
        }
    }
}
