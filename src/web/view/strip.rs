//! Strips over time: how well tenants and hops were in each minute of the last hour and each hour of the last
//! day.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::recent::Recent;
use super::tenant::Tenant;
use crate::domain::aggregates::{Bucket, Figures, Health, Selection, Series, Step, TenantHistory};
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

/// With more tenants than this, those that are folded have no common strip: it would be made of too much.
const MOST_MERGED: usize = 120;

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
    /// Of the tenants that are shown, by their position in [`Recent::tenants`].
    pub(crate) tenants: BTreeMap<usize, TenantStrips>,
    /// The tenants that are OK and folded, together.
    pub(crate) folded: Option<Strip>,
}

impl Timeline {
    /// Reads the figures of the tenants that are shown. `shown` and `folded` are positions in `view.tenants`.
    pub(crate) fn new(
        app: &App,
        snapshot: &Snapshot,
        view: &Recent<'_>,
        shown: &[usize],
        folded: &[usize],
    ) -> Self {
        let map = &snapshot.topology;
        let merged: &[usize] = if folded.len() <= MOST_MERGED { folded } else { &[] };
        let all: Vec<TenantId> =
            shown.iter().chain(merged).filter_map(|at| view.tenants.get(*at)).map(|it| it.id).collect();
        let read = |step: Step| {
            let last = step.slot_of(view.at);
            let selection = Selection { tenants: all.clone(), step, slots: last + 1 - slots(step)..=last };
            (app.history)(&selection)
        };
        let (minutes, hours) = (read(Step::Minute), read(Step::Hour));
        let first = |step: Step| step.start(step.slot_of(view.at) + 1 - slots(step));
        let of = |history: &[TenantHistory], tenant: TenantId| -> Vec<Bucket> {
            history.iter().find(|it| it.tenant == tenant).map_or_else(Vec::new, |it| it.buckets.clone())
        };
        let strips = |tenant: &Tenant| {
            let (minutes, hours) = (of(&minutes.tenants, tenant.id), of(&hours.tenants, tenant.id));
            let strip = |series: Series, name: Arc<str>| Strip {
                name,
                minutes: row(&minutes, Step::Minute, view.at, series),
                hours: row(&hours, Step::Hour, view.at, series),
            };
            let whole = strip(Series::EndToEnd, tenant.verdict.tenant.clone());
            let by_stage = tenant.verdict.is_problem || view.filter.tenant.is_some();
            let hops = series_of(map).into_iter().filter(|_| by_stage);
            let stages = hops.map(|series| strip(series, series.name(map))).collect();
            TenantStrips { whole, stages }
        };
        let interval = |tenant: &Tenant| map.tenant(tenant.id).interval;
        let mut tenants = BTreeMap::new();
        for at in shown {
            if let Some(tenant) = view.tenants.get(*at) {
                let mut strips = strips(tenant);
                bridge(&mut strips.whole, interval(tenant));
                tenants.insert(*at, strips);
            }
        }
        let mut common: Option<Strip> = None;
        for tenant in merged.iter().filter_map(|at| view.tenants.get(*at)) {
            let own = strips(tenant).whole;
            match &mut common {
                None => common = Some(own),
                Some(all) => all.merge(&own),
            }
        }
        Self {
            first_minute: first(Step::Minute),
            first_hour: first(Step::Hour),
            known_since: minutes.known_since,
            tenants,
            folded: common,
        }
    }
}

impl Strip {
    fn merge(&mut self, other: &Self) {
        let pairs =
            self.minutes.iter_mut().zip(&other.minutes).chain(self.hours.iter_mut().zip(&other.hours));
        for (own, other) in pairs {
            own.health = own.health.max(other.health);
            own.planned += other.planned;
            own.judged += other.judged;
            own.met += other.met;
        }
    }
}

/// The hops of which a tenant's page has strips.
fn series_of(map: &Topology) -> Vec<Series> {
    let all = crate::domain::aggregates::series(map);
    all.into_iter().filter(|series| *series != Series::EndToEnd).collect()
}

fn row(buckets: &[Bucket], step: Step, now: Timestamp, series: Series) -> Vec<Slot> {
    let first = step.slot_of(now) + 1 - slots(step);
    let mut row = vec![Slot::default(); usize::try_from(slots(step)).unwrap_or_default()];
    for bucket in buckets {
        let at = usize::try_from(step.slot_of(bucket.start) - first).ok();
        let Some(slot) = at.and_then(|at| row.get_mut(at)) else { continue };
        let figures = bucket.hops.iter().find(|(of, _)| *of == series).map(|(_, figures)| *figures);
        *slot = match series {
            Series::EndToEnd => Slot { health: bucket.health, ..counted(bucket, figures) },
            Series::Hop(_) => Slot { health: hop_health(bucket, figures), ..counted(bucket, figures) },
        };
    }
    row
}

fn counted(bucket: &Bucket, figures: Option<Figures>) -> Slot {
    let (judged, met) = figures.map_or((0, 0), |figures| (figures.judged, figures.met));
    Slot { health: None, planned: bucket.canaries, judged, met }
}

/// How well a hop was: there is no verdict on it, so it follows from its figures.
fn hop_health(bucket: &Bucket, figures: Option<Figures>) -> Option<Health> {
    match figures {
        Some(figures) if figures.missing > 0 => Some(Health::Critical),
        Some(figures) if figures.met < figures.judged => Some(Health::Warning),
        Some(_) => Some(Health::Ok),
        None if bucket.health == Some(Health::Unknown) && bucket.canaries > 0 => Some(Health::Unknown),
        None => None,
    }
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
        let slot = |planned| Slot { health: Some(Health::Ok), planned, judged: planned, met: planned };
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
