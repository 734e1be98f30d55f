//! Reading buckets.
//!
//! In two steps, because whoever holds the buckets must not hold them for long: an excerpt is copied, and
//! then what the open canaries say is added to it.

use std::collections::{BTreeMap, HashSet};
use std::ops::RangeInclusive;
use std::sync::Arc;

use super::packed::{self, Content, Unpacked};
use super::tally::{Figures, Tally};
use super::{Aggregates, Health, Key, Series, Settings, Step, said};
use crate::domain::tag::TraceId;
use crate::domain::time::Timestamp;
use crate::domain::topology::{TenantId, Topology};
use crate::domain::trace::{Origin, Trace};

/// What to read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Selection {
    /// Of these tenants.
    pub tenants: Vec<TenantId>,
    pub step: Step,
    /// The first and the last bucket, as [`Step::slot_of`] numbers them.
    pub slots: RangeInclusive<i64>,
}

/// The selected buckets, without the canaries that are open.
#[derive(Debug)]
pub struct Excerpt {
    topology: Arc<Topology>,
    settings: Settings,
    series: Vec<Series>,
    selection: Selection,
    known_since: Timestamp,
    closed: BTreeMap<Key, Box<[u8]>>,
    forming: BTreeMap<Key, Content<Tally>>,
    settled: HashSet<TraceId>,
}

/// The selected buckets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct History {
    /// [`Aggregates::known_since`].
    pub known_since: Timestamp,
    /// In the order of the selection.
    pub tenants: Vec<TenantHistory>,
}

/// The buckets of one tenant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TenantHistory {
    pub tenant: TenantId,
    /// Oldest first. Where there is none, nothing is known of that time.
    pub buckets: Vec<Bucket>,
}

/// One bucket.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bucket {
    /// When it begins.
    pub start: Timestamp,
    /// Whether it does not change any more.
    pub is_final: bool,
    /// The worst verdict on the tenant during this time; `None` if there was none.
    pub health: Option<Health>,
    /// Canaries that were planned in this time.
    pub canaries: u32,
    /// The figures of every hop of which a canary is judged.
    pub hops: Vec<(Series, Figures)>,
}

impl Aggregates {
    /// Copies the selected buckets.
    #[must_use]
    pub fn excerpt(&self, selection: &Selection) -> Excerpt {
        let Selection { tenants, step, slots } = selection;
        let key = |slot, tenant| Key { step: *step, slot, tenant };
        let mut closed = BTreeMap::new();
        for tenant in tenants {
            let Some(all) = self.closed[*step as usize].get(usize::from(tenant.0)) else { continue };
            let from = all.partition_point(|bucket| bucket.slot < *slots.start());
            let selected = all.range(from..).take_while(|bucket| bucket.slot <= *slots.end());
            closed.extend(selected.map(|bucket| (key(bucket.slot, *tenant), bucket.bytes.clone())));
        }
        let (first, last) = (key(*slots.start(), TenantId(0)), key(*slots.end(), TenantId(u16::MAX)));
        let forming = if first <= last { Some(self.forming.range(first..=last)) } else { None };
        let forming = forming.into_iter().flatten().filter(|(key, _)| tenants.contains(&key.tenant));
        Excerpt {
            topology: self.topology.clone(),
            settings: self.settings,
            series: self.series.clone(),
            selection: selection.clone(),
            known_since: self.known_since,
            closed,
            forming: forming.map(|(key, content)| (*key, content.clone())).collect(),
            settled: self.settled.clone(),
        }
    }
}

impl Excerpt {
    /// Adds what open canaries say. They must be those of the last snapshot that was published before the
    /// excerpt was copied.
    #[must_use]
    pub fn with_open<'a>(mut self, open: impl IntoIterator<Item = &'a Trace>) -> History {
        for trace in open {
            let (step, tenant) = (self.selection.step, trace.tenant);
            let key = Key { step, slot: step.slot_of(trace.planned_at), tenant };
            let counts = trace.origin != Origin::Adopted && trace.planned_at >= self.known_since;
            if counts
                && self.selection.slots.contains(&key.slot)
                && self.selection.tenants.contains(&tenant)
                && !self.settled.contains(&trace.id())
                && !self.closed.contains_key(&key)
            {
                let said = said(trace, &self.topology, &self.series, self.settings);
                self.forming.entry(key).or_default().add(&said);
            }
        }
        let mut of_tenants: BTreeMap<TenantId, Vec<Bucket>> = BTreeMap::new();
        let final_buckets =
            self.closed.iter().filter_map(|(key, bytes)| match packed::unpack(bytes, self.series.len())? {
                Unpacked::Final(content) => Some((*key, true, content)),
                Unpacked::Forming(content) => Some((*key, true, content.figures())),
            });
        let forming = self.forming.iter().map(|(key, content)| (*key, false, content.figures()));
        for (key, is_final, content) in final_buckets.chain(forming) {
            of_tenants.entry(key.tenant).or_default().push(self.bucket(key, is_final, &content));
        }
        let tenants = self.selection.tenants.iter().map(|tenant| {
            let mut buckets = of_tenants.remove(tenant).unwrap_or_default();
            buckets.sort_by_key(|bucket| bucket.start);
            TenantHistory { tenant: *tenant, buckets }
        });
        History { known_since: self.known_since, tenants: tenants.collect() }
    }

    fn bucket(&self, key: Key, is_final: bool, content: &Content<Figures>) -> Bucket {
        let hops = self.series.iter().copied().zip(content.hops.iter().copied());
        Bucket {
            start: key.step.start(key.slot),
            is_final,
            health: content.health,
            canaries: content.canaries,
            hops: hops.filter(|(_, figures)| figures.judged > 0).collect(),
        }
    }
}
