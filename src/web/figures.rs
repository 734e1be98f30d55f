//! The hops against their targets on the page: a table for each of few tenants, and one line for each other.

use super::fold::Fold;
use super::view::{HopFigures, Mark, Recent, SizeFigures, Tenant};
use super::words;
use crate::domain::quantile::{Level, Quantile};
use crate::domain::time::Timestamp;

/// Tenants that have a table of all hops.
const TABLES: usize = 4;

/// The section of hops.
pub(crate) struct Figures {
    /// Of the columns.
    pub(crate) levels: [Level; 3],
    /// Within which time the canaries were planned.
    pub(crate) window: String,
    pub(crate) tables: Vec<Table>,
    pub(crate) lines: Vec<Line>,
    /// Number of tenants that are folded.
    pub(crate) folded: usize,
}

/// All hops of one tenant.
pub(crate) struct Table {
    pub(crate) tenant: String,
    pub(crate) mark: Mark,
    pub(crate) word: &'static str,
    pub(crate) hops: Vec<HopLine>,
    pub(crate) sizes: Vec<SizeLine>,
}

/// End to end of one tenant.
pub(crate) struct Line {
    pub(crate) tenant: String,
    pub(crate) link: String,
    pub(crate) figures: HopLine,
}

pub(crate) struct SizeLine {
    pub(crate) size: String,
    pub(crate) cells: Vec<Cell>,
    pub(crate) judged: usize,
    pub(crate) missing: usize,
}

pub(crate) struct HopLine {
    pub(crate) name: String,
    pub(crate) side: bool,
    pub(crate) whole: bool,
    pub(crate) cells: Vec<Cell>,
    pub(crate) target: String,
    pub(crate) over: bool,
    pub(crate) blind_since: Option<String>,
    pub(crate) judged: usize,
    pub(crate) missing: usize,
    pub(crate) error: String,
}

pub(crate) struct Cell {
    pub(crate) text: String,
    pub(crate) over: bool,
}

impl Figures {
    pub(crate) fn new(view: &Recent<'_>, fold: &Fold) -> Self {
        let now = view.at;
        let shown: Vec<&Tenant> = fold.singles().filter_map(|at| view.tenants.get(at)).collect();
        let few = shown.len() <= TABLES && fold.folded() == 0;
        // Of many, those with a problem.
        let is_table = |tenant: &&&Tenant| few || tenant.verdict.is_problem;
        let tables: Vec<_> = shown.iter().filter(is_table).take(TABLES).collect();
        let has_table = |tenant: &&&Tenant| tables.iter().any(|it| it.id == tenant.id);
        let lines = shown.iter().filter(|tenant| !has_table(tenant));
        Self {
            levels: Level::SHOWN,
            window: window(view),
            lines: lines.filter_map(|tenant| Line::new(tenant, view, now)).collect(),
            tables: tables.into_iter().map(|tenant| Table::new(tenant, now)).collect(),
            folded: fold.folded(),
        }
    }
}

/// Within which time the canaries of the figures were planned, as text.
fn window(view: &Recent<'_>) -> String {
    let windows = || view.tenants.iter().map(|tenant| tenant.window);
    let (shortest, longest) = (windows().min().unwrap_or_default(), windows().max().unwrap_or_default());
    let last = format!("the last {}", words::short(shortest));
    if shortest == longest { last } else { format!("{last} to {}, by tenant", words::short(longest)) }
}

impl Table {
    fn new(tenant: &Tenant, now: Timestamp) -> Self {
        let verdict = &tenant.verdict;
        let whole = tenant.hops.last();
        Self {
            tenant: verdict.tenant.to_string(),
            mark: verdict.mark,
            word: verdict.word,
            hops: tenant.hops.iter().map(|hop| HopLine::new(hop, now)).collect(),
            sizes: tenant.sizes.iter().map(|figures| SizeLine::new(figures, whole)).collect(),
        }
    }
}

impl Line {
    fn new(tenant: &Tenant, view: &Recent<'_>, now: Timestamp) -> Option<Self> {
        let name = &tenant.verdict.tenant;
        Some(Self {
            tenant: name.to_string(),
            link: format!("{}#hops", view.filter.link("tenant", name)),
            figures: HopLine::new(tenant.hops.last()?, now),
        })
    }
}

impl HopLine {
    fn new(figures: &HopFigures, now: Timestamp) -> Self {
        Self {
            name: figures.name.to_string(),
            side: figures.side,
            whole: figures.stage.is_none(),
            cells: cells(figures.quantiles, |quantile| figures.over(quantile)),
            target: figures.target.map_or_else(|| "–".to_owned(), words::short),
            over: figures.is_over() == Some(true),
            blind_since: figures.blind_since.map(|since| words::clock(since, now)),
            judged: figures.judged,
            missing: figures.missing,
            error: figures
                .error
                .map_or_else(|| "–".to_owned(), |error| format!("± {}", words::short(error / 2))),
        }
    }
}

impl SizeLine {
    fn new(figures: &SizeFigures, end_to_end: Option<&HopFigures>) -> Self {
        Self {
            size: words::bytes(figures.bytes),
            cells: cells(figures.quantiles, |quantile| end_to_end.is_some_and(|whole| whole.over(quantile))),
            judged: figures.judged,
            missing: figures.missing,
        }
    }
}

fn cells(quantiles: Option<[Quantile; 3]>, over: impl Fn(Quantile) -> bool) -> Vec<Cell> {
    match quantiles {
        Some(all) => {
            all.map(|quantile| Cell { text: words::quantile(quantile), over: over(quantile) }).into()
        }
        None => (0..3).map(|_| Cell { text: "–".to_owned(), over: false }).collect(),
    }
}
