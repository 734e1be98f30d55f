//! The tenants over time on the page: a line for each, with its state and its strips.

use super::filter::Filter;
use super::fold::Fold;
use super::page::Moment;
use super::strip::{self, Drawing, Legend};
use super::view::{Mark, Recent, Strip, Tenant, Timeline};
use super::words;
use crate::domain::aggregates::Step;
use crate::domain::time::Timestamp;

/// Tenants whose strips are shown by stage as well; of the others, their own page shows them.
const BY_STAGE: usize = 6;

/// Tenants that are named in a line of several.
const NAMED: usize = 4;

/// The section of tenants.
pub(crate) struct Tenants {
    pub(crate) lines: Vec<Line>,
    /// Number of tenants that have no line and are not OK.
    pub(crate) more: usize,
    /// The link that unfolds or folds, and its text.
    pub(crate) toggle: Option<(String, &'static str)>,
    pub(crate) hour_ticks: Vec<(usize, String)>,
    pub(crate) day_ticks: Vec<(usize, String)>,
    pub(crate) legend: Legend,
    /// Set if history begins within the last day.
    pub(crate) known_since: Option<Moment>,
}

/// One tenant, or several in the same state.
pub(crate) struct Line {
    pub(crate) name: String,
    /// `None` if it stands for several.
    pub(crate) link: Option<String>,
    pub(crate) mark: Mark,
    pub(crate) what: String,
    pub(crate) since: Option<Moment>,
    pub(crate) age: String,
    pub(crate) summary: String,
    /// Whose canaries were found with it.
    pub(crate) holds: Option<String>,
    pub(crate) also: Vec<String>,
    pub(crate) strips: Option<Pair>,
    pub(crate) stages: Vec<StageLine>,
}

/// The strips of a stage of a tenant.
pub(crate) struct StageLine {
    pub(crate) name: String,
    pub(crate) strips: Pair,
}

/// The last day and the last hour.
pub(crate) struct Pair {
    pub(crate) day: Drawing,
    pub(crate) hour: Drawing,
}

impl Tenants {
    pub(crate) fn new(view: &Recent<'_>, fold: &Fold, timeline: &Timeline) -> Self {
        let now = view.at;
        let mut by_stage = 0;
        let mut lines = Vec::new();
        for (positions, strips) in fold.lines.iter().zip(&timeline.lines) {
            let tenants: Vec<&Tenant> = positions.iter().filter_map(|at| view.tenants.get(*at)).collect();
            let stages = strips.as_ref().filter(|it| !it.stages.is_empty() && by_stage < BY_STAGE);
            by_stage += usize::from(stages.is_some());
            if let Some(line) = Line::of(&tenants, view.filter, now) {
                let strip = |strip: &Strip| StageLine {
                    name: strip.name.to_string(),
                    strips: Pair::new(strip, timeline, now),
                };
                lines.push(Line {
                    strips: strips.as_ref().map(|it| Pair::new(&it.whole, timeline, now)),
                    stages: stages.into_iter().flat_map(|it| it.stages.iter().map(strip)).collect(),
                    ..line
                });
            }
        }
        let (show, text) = if view.filter.show_all { ("", "fold") } else { ("all", "show all") };
        let since = timeline.known_since;
        let day = timeline.first_hour;
        Self {
            legend: Legend::of(lines.iter().flat_map(Line::drawings)),
            lines,
            more: fold.more,
            toggle: fold.is_long.then(|| (or_all(view.filter.link("show", show)), text)),
            hour_ticks: strip::ticks(Step::Minute, timeline.first_minute, 60),
            day_ticks: strip::ticks(Step::Hour, timeline.first_hour, 24),
            known_since: (since > day).then(|| Moment::new(since, now)),
        }
    }
}

/// An empty query would keep the one of the page.
fn or_all(link: String) -> String {
    if link.is_empty() { "?".to_owned() } else { link }
}

impl Line {
    fn drawings(&self) -> impl Iterator<Item = &Drawing> {
        let pairs = self.strips.iter().chain(self.stages.iter().map(|stage| &stage.strips));
        pairs.flat_map(|pair| [&pair.day, &pair.hour])
    }

    /// The line of a tenant, or of several in the same state; without strips.
    fn of(tenants: &[&Tenant], filter: &Filter, now: Timestamp) -> Option<Self> {
        let verdict = &tenants.first()?.verdict;
        let since = tenants.iter().filter_map(|tenant| tenant.verdict.since).min();
        let line = Self {
            name: verdict.tenant.to_string(),
            link: Some(filter.link("tenant", &verdict.tenant)),
            mark: verdict.mark,
            what: verdict.what.clone(),
            since: since.map(|at| Moment::new(at, now)),
            age: since.map_or_else(String::new, |at| words::age(now.since(at))),
            summary: verdict.summary.clone(),
            holds: verdict.holds.clone(),
            also: verdict.also_texts.clone(),
            strips: None,
            stages: Vec::new(),
        };
        if tenants.len() == 1 {
            return Some(line);
        }
        let names: Vec<_> = tenants.iter().take(NAMED).map(|tenant| &*tenant.verdict.tenant).collect();
        let more = if tenants.len() > NAMED { ", …" } else { "" };
        let notes = tenants.iter().filter(|tenant| !tenant.verdict.also.is_empty()).count();
        let summary = match (verdict.is_problem, notes) {
            (true, _) => format!("{}{more}", names.join(", ")),
            (false, 0) => "all of them without notes".to_owned(),
            (false, some) => format!("{some} of them with notes"),
        };
        let name =
            if verdict.is_problem { format!("{} tenants", tenants.len()) } else { tenants.len().to_string() };
        let all_hold = tenants.iter().all(|tenant| tenant.verdict.holds.is_some());
        let holds = all_hold.then(|| "hold copies of other tenants".to_owned());
        Some(Self { name, link: None, summary, holds, also: Vec::new(), ..line })
    }
}

impl Pair {
    fn new(strip: &Strip, timeline: &Timeline, now: Timestamp) -> Self {
        Self {
            day: strip::draw(&strip.hours, Step::Hour, timeline.first_hour, now),
            hour: strip::draw(&strip.minutes, Step::Minute, timeline.first_minute, now),
        }
    }
}
