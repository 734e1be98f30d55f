//! Leaked canaries: those that were found with another tenant.

use std::collections::{BTreeMap, VecDeque};

use super::Violation;
use crate::domain::sighting::Locator;
use crate::domain::tag::TraceId;
use crate::domain::topology::StageId;

/// Isolation violations that a snapshot shows.
pub(super) const MAX_SHOWN: usize = 100;
/// Leaked copies that are known, so that a copy that is read again is not counted again. Those of the oldest
/// canaries are forgotten first.
pub const MAX_KNOWN_LEAKS: usize = 10_000;

/// Isolation violations: the last ones to be shown, and all that are known, so that none is counted twice.
#[derive(Debug, Default)]
pub(super) struct Leaks {
    shown: VecDeque<Violation>,
    known: BTreeMap<(TraceId, StageId, Locator), Violation>,
}

impl Leaks {
    /// Remembers a leaked copy. Returns whether it is new.
    pub(super) fn remember(&mut self, found: Violation) -> bool {
        let key = (found.trace, found.stage, found.locator.clone());
        if self.known.contains_key(&key) {
            return false;
        }
        self.known.insert(key, found.clone());
        if self.known.len() > MAX_KNOWN_LEAKS {
            self.known.pop_first();
        }
        self.shown.push_back(found);
        if self.shown.len() > MAX_SHOWN {
            self.shown.pop_front();
        }
        true
    }

    /// Takes over violations of a previous run. Their tenants and stages must be those of the topology.
    pub(super) fn restore(&mut self, found: impl IntoIterator<Item = Violation>) {
        for violation in found {
            self.remember(violation);
        }
        self.shown.make_contiguous().sort_by_key(|violation| violation.at);
    }

    /// The last ones, oldest first.
    pub(super) fn shown(&self) -> impl Iterator<Item = &Violation> {
        self.shown.iter()
    }

    /// Every known leaked copy.
    pub(super) fn known(&self) -> impl Iterator<Item = &Violation> {
        self.known.values()
    }
}
