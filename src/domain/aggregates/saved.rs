//! What of the buckets outlives a restart.
//!
//! A bucket is saved together with the canaries that were settled in it, in one transaction: the store never
//! has a canary that is closed but not counted, or counted but still open. So a process that takes over
//! counts each canary once. Only health may lack what was seen since the last full minute.

use std::sync::Arc;

use super::packed::{self, Content, Unpacked};
use super::{Aggregates, Key, Step, Tally};
use crate::domain::time::Timestamp;
use crate::domain::topology::{TenantId, Topology};

/// Buckets to save.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Unsaved {
    /// [`Aggregates::known_since`]; saved with any bucket.
    pub known_since: Timestamp,
    pub buckets: Vec<KeptBucket>,
}

/// A bucket as it is saved.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeptBucket {
    pub tenant: TenantId,
    pub step: Step,
    pub start: Timestamp,
    /// The figures, in the order of [`series`](super::series).
    pub bytes: Box<[u8]>,
}

/// What a store kept of previous runs.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Kept {
    /// `None` if the store has never been written with buckets.
    pub known_since: Option<Timestamp>,
    /// In any order.
    pub buckets: Vec<KeptBucket>,
}

impl Aggregates {
    /// The buckets that changed since the last call of [`saved`](Self::saved), as they are now.
    #[must_use]
    pub fn unsaved(&self) -> Unsaved {
        let bucket = |key: &Key| {
            let forming = self.forming.get(key).map(packed::pack_forming);
            let bytes = forming.or_else(|| Some(self.closed(*key)?.bytes.clone()))?;
            Some(kept(*key, bytes))
        };
        Unsaved { known_since: self.known_since, buckets: self.unsaved.iter().filter_map(bucket).collect() }
    }

    /// Every bucket, for a store that may lack any of them.
    #[must_use]
    pub fn everything(&self) -> Unsaved {
        let mut buckets = Vec::new();
        for step in Step::ALL {
            for (tenant, closed) in (0..).map(TenantId).zip(&self.closed[step as usize]) {
                let closed = closed.iter();
                buckets.extend(closed.map(|it| kept(Key { step, slot: it.slot, tenant }, it.bytes.clone())));
            }
        }
        buckets.extend(self.forming.iter().map(|(key, content)| kept(*key, packed::pack_forming(content))));
        // In the order of the rows of a store, which is the fastest to write.
        buckets.sort_unstable_by_key(|bucket| (bucket.step as u8, bucket.start, bucket.tenant));
        Unsaved { known_since: self.known_since, buckets }
    }

    /// Says that what [`unsaved`](Self::unsaved) returned is saved.
    pub fn saved(&mut self) {
        self.unsaved.clear();
    }

    /// Takes over what a previous run left: at the start, or as soon as the store can be read. Must come
    /// before canaries of that run are settled. Buckets that are not kept any longer are dropped.
    pub fn restore(&mut self, kept: Kept, now: Timestamp) {
        self.known_since = kept.known_since.map_or(self.known_since, |since| since.min(self.known_since));
        for KeptBucket { tenant, step, start, bytes } in kept.buckets {
            let key = Key { step, slot: step.slot_of(start), tenant };
            // A clock that was ahead may have left buckets of the future.
            if key.slot < step.oldest(now) || key.slot > step.slot_of(now) {
                continue;
            }
            match packed::unpack(&bytes, self.series.len()) {
                Some(Unpacked::Final(_)) => {
                    self.forming.remove(&key);
                    self.keep(key, bytes);
                }
                Some(Unpacked::Forming(content)) => {
                    if let Some(bucket) = self.forming(key) {
                        bucket.merge(content);
                    }
                }
                None => {}
            }
        }
    }
}

fn kept(key: Key, bytes: Box<[u8]>) -> KeptBucket {
    let Key { step, slot, tenant } = key;
    KeptBucket { tenant, step, start: step.start(slot), bytes }
}

/// The bytes of a bucket whose series had other names, for the series of a topology: those that are new have
/// no figures, and those that are gone are dropped. `None` if the bytes are damaged.
#[must_use]
pub fn with_layout(bytes: &[u8], names: &[Arc<str>], map: &Topology) -> Option<Box<[u8]>> {
    let wanted = self::names(map);
    let unpacked = packed::unpack(bytes, names.len())?;
    if wanted == names {
        return Some(bytes.into());
    }
    Some(match unpacked {
        Unpacked::Final(content) => packed::pack_final(&reordered(content, names, &wanted)),
        Unpacked::Forming(content) => packed::pack_forming(&reordered::<Tally>(content, names, &wanted)),
    })
}

/// The names of the series of a topology, in their order.
pub(super) fn names(map: &Topology) -> Vec<Arc<str>> {
    super::series(map).into_iter().map(|series| series.name(map)).collect()
}

pub(super) fn reordered<T: Clone + Default>(
    content: Content<T>,
    from: &[Arc<str>],
    to: &[Arc<str>],
) -> Content<T> {
    if content.hops.is_empty() {
        return content;
    }
    let of = |name| {
        let at = from.iter().position(|from| from == name);
        at.and_then(|at| content.hops.get(at)).cloned().unwrap_or_default()
    };
    let hops = to.iter().map(of).collect();
    Content { hops, ..content }
}
