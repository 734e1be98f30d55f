//! Strips over time: how well tenants and hops were in each minute of the last hour and each hour of the last
//! day.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::flawed::{Flawed, Flaws, MARKED};
use super::recent::Recent;
use super::tenant::Tenant;
use crate::domain::aggregates::{Bucket, Figures, Health, Selection, Series, Step, TenantHistory};
use crate::domain::flaw::Flaw;
use crate::domain::time::Timestamp;
use crate::domain::topology::{TenantId, Topology};
use crate::domain::tracker::Snapshot;
use crate::web::app::App;

/// How many buckets of a step a strip has.
const fn slots(step: Step) -> i64 {
    match step {
        Step::Minute => 60,
        Step::Hour => 24,
    }
}

/// A line of more tenants than this has no strip: it would be made of too much.
const MOST_MERGED: usize = 200;

/// One minute or hour.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Slot {
    /// `None` if nothing is known of that time.
    pub(crate) health: Option<Health>,
    /// Canaries that were planned in this time.
    pub(crate) planned: u32,
    /// Those that are judged.
    pub(crate) judged: u32,
    /// Those that met the target.
    pub(crate) met: u32,
    /// What else was wrong with some of them.
    pub(crate) flaws: Flaws,
}

/// The last hour and the last day, each oldest first and ending now.
#[derive(Clone, Debug)]
pub(crate) struct Strip {
    pub(crate) name: Arc<str>,
    pub(crate) minutes: Vec<Slot>,
    pub(crate) hours: Vec<Slot>,
}

/// The strips of one tenant.
#[derive(Clone, Debug)]
pub(crate) struct TenantStrips {
    /// End to end.
    pub(crate) whole: Strip,
    /// By stage, the main path first; empty for a tenant that is OK.
    pub(crate) stages: Vec<Strip>,
}

/// The strips of a page.
#[derive(Clone, Debug)]
pub(crate) struct Timeline {
    /// When the first minute and the first hour begin.
    pub(crate) first_minute: Timestamp,
    pub(crate) first_hour: Timestamp,
    /// Since when canaries are counted.
    pub(crate) known_since: Timestamp,
    /// Of each line, in order; of several tenants together. `None` for a line of too many.
    pub(crate) lines: Vec<Option<TenantStrips>>,
}

impl Timeline {
    /// Reads the figures of tenants. Each line is of one or several, given by their positions in
    /// `view.tenants`.
    pub(crate) fn new(app: &App, snapshot: &Snapshot, view: &Recent<'_>, lines: &[Vec<usize>]) -> Self {
        let map = &snapshot.topology;
        let of_line = |line: &'_ Vec<usize>| -> Vec<&Tenant> {
            let some = if line.len() <= MOST_MERGED { line.as_slice() } else { &[] };
            some.iter().filter_map(|at| view.tenants.get(*at)).collect()
        };
        let lines: Vec<Vec<&Tenant>> = lines.iter().map(of_line).collect();
        let all: Vec<TenantId> = lines.iter().flatten().map(|tenant| tenant.id).collect();
        let read = |step: Step| {
            let last = step.slot_of(view.at);
            let selection = Selection { tenants: all.clone(), step, slots: last + 1 - slots(step)..=last };
            (app.history)(&selection)
        };
        let (minutes, hours) = (read(Step::Minute), read(Step::Hour));
        let first = |step: Step| step.start(step.slot_of(view.at) + 1 - slots(step));
        let by_tenant = |history: &[TenantHistory]| -> BTreeMap<TenantId, Vec<Bucket>> {
            history.iter().map(|it| (it.tenant, it.buckets.clone())).collect()
        };
        let known_since = minutes.known_since;
        let flawed = Flawed::since(first(Step::Hour), snapshot);
        let (minutes, hours) = (by_tenant(&minutes.tenants), by_tenant(&hours.tenants));
        let of = |history: &BTreeMap<TenantId, Vec<Bucket>>, tenant| -> Vec<Bucket> {
            history.get(&tenant).cloned().unwrap_or_default()
        };
        let strips = |tenant: &Tenant| {
            let (minutes, hours) = (of(&minutes, tenant.id), of(&hours, tenant.id));
            let row = |buckets: &[Bucket], step: Step, series: Series| {
                let first = step.slot_of(view.at) + 1 - slots(step);
                let slots = usize::try_from(slots(step)).unwrap_or_default();
                let flaws = flawed.in_slots(tenant.id, series, step, first, slots);
                row(buckets, step, first, series, &flaws)
            };
            let strip = |series: Series, name: Arc<str>| Strip {
                name,
                minutes: row(&minutes, Step::Minute, series),
                hours: row(&hours, Step::Hour, series),
            };
            let mut whole = strip(Series::EndToEnd, tenant.verdict.tenant.clone());
            bridge(&mut whole, map.tenant(tenant.id).interval);
            let verdict = &tenant.verdict;
            let by_stage = verdict.is_problem || verdict.holds.is_some() || view.filter.tenant.is_some();
            let hops = series_of(map).into_iter().filter(|_| by_stage);
            let stages = hops.map(|series| strip(series, series.name(map))).collect();
            TenantStrips { whole, stages }
        };
        let line = |tenants: &Vec<&Tenant>| {
            let mut all = tenants.iter().map(|tenant| strips(tenant));
            let mut first = all.next()?;
            all.for_each(|other| first.merge(&other));
            Some(first)
        };
        Self {
            first_minute: first(Step::Minute),
            first_hour: first(Step::Hour),
            known_since,
            lines: lines.iter().map(line).collect(),
        }
    }
}

impl TenantStrips {
    fn merge(&mut self, other: &Self) {
        self.whole.merge(&other.whole);
        self.stages.iter_mut().zip(&other.stages).for_each(|(own, other)| own.merge(other));
    }
}

impl Strip {
    fn merge(&mut self, other: &Self) {
        let pairs =
            self.minutes.iter_mut().zip(&other.minutes).chain(self.hours.iter_mut().zip(&other.hours));
        for (own, other) in pairs {
            own.health = own.health.max(other.health);
            own.planned = own.planned.saturating_add(other.planned);
            own.judged = own.judged.saturating_add(other.judged);
            own.met = own.met.saturating_add(other.met);
            own.flaws.merge(other.flaws);
        }
    }
}

/// The hops of which a tenant's page has strips.
fn series_of(map: &Topology) -> Vec<Series> {
    let all = crate::domain::aggregates::series(map);
    all.into_iter().filter(|series| *series != Series::EndToEnd).collect()
}

/// The slots from `first` on, with what was wrong in each.
fn row(buckets: &[Bucket], step: Step, first: i64, series: Series, flaws: &[Flaws]) -> Vec<Slot> {
    let mut row: Vec<Slot> = flaws.iter().map(|flaws| Slot { flaws: *flaws, ..Slot::default() }).collect();
    for bucket in buckets {
        let at = usize::try_from(step.slot_of(bucket.start) - first).ok();
        let Some(slot) = at.and_then(|at| row.get_mut(at)) else { continue };
        let figures = bucket.hops.iter().find(|(of, _)| *of == series).map(|(_, figures)| *figures);
        let health = match series {
            Series::EndToEnd => bucket.health,
            Series::Hop(_) => hop_health(bucket, figures),
        };
        *slot = Slot { health, flaws: slot.flaws, ..counted(bucket, figures) };
    }
    // There is a verdict on a tenant, but none on a hop.
    if matches!(series, Series::Hop(_)) {
        row.iter_mut().for_each(|slot| slot.health = slot.health.max(flaw_health(slot.flaws)));
    }
    row
}

fn counted(bucket: &Bucket, figures: Option<Figures>) -> Slot {
    let (judged, met) = figures.map_or((0, 0), |figures| (figures.judged, figures.met));
    Slot { health: None, planned: bucket.canaries, judged, met, flaws: Flaws::default() }
}

/// How well a hop was: there is no verdict on it, so it follows from its figures.
fn hop_health(bucket: &Bucket, figures: Option<Figures>) -> Option<Health> {
    match figures {
        // As conditions: losses and a hop that nothing passes are critical, what is only missing is not. One canary
        // proves no stall.
        Some(figures) if figures.lost > 0 || (figures.missing > 1 && figures.missing == figures.judged) => {
            Some(Health::Critical)
        }
        Some(figures) if figures.missing > 0 || figures.met < figures.judged => Some(Health::Warning),
        Some(_) => Some(Health::Ok),
        None if bucket.health == Some(Health::Unknown) && bucket.canaries > 0 => Some(Health::Unknown),
        None => None,
    }
}

/// How bad it is for a hop that canaries were flawed there.
fn flaw_health(flaws: Flaws) -> Option<Health> {
    let of = |flaw: &Flaw| match flaw {
        Flaw::Leaked | Flaw::DeadLettered | Flaw::Lost | Flaw::Missing => Health::Critical,
        Flaw::Corrupted | Flaw::Duplicated | Flaw::Late | Flaw::Slow => Health::Warning,
        Flaw::Refused | Flaw::Unobserved => Health::Unknown,
    };
    MARKED.iter().filter(|flaw| flaws.contains(**flaw)).map(of).max()
}

/// With less than one canary a minute, the figures of a canary hold until the next one.
fn bridge(strip: &mut Strip, interval: Duration) {
    let reach = interval.as_secs().div_ceil(60);
    let mut last = (0_u64, Slot::default());
    for slot in &mut strip.minutes {
        if slot.planned > 0 {
            last = (reach, *slot);
        } else if last.0 > 1 && slot.health.is_some() {
            last.0 -= 1;
            *slot = Slot { health: slot.health, ..last.1 };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_of_a_canary_hold_until_the_next_one_is_due() {
        let slot = |planned| Slot {
            health: Some(Health::Ok),
            planned,
            judged: planned,
            met: planned,
            flaws: Flaws::default(),
        };
        let mut strip = Strip {
            name: "acme".into(),
            minutes: vec![slot(0), slot(1), slot(0), slot(0), slot(0)],
            hours: Vec::new(),
        };
        bridge(&mut strip, Duration::from_secs(180));
        let judged: Vec<_> = strip.minutes.iter().map(|slot| slot.judged).collect();
        assert_eq!(judged, [0, 1, 1, 1, 0]);
    }
}
