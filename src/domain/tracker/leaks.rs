//! The isolation violations that are remembered: a leak is an incident, and must outlive a restart of the probe, as a row on
//! the page and as a copy that is not counted a second time when it is read again.

use super::{Tracker, Violation};

/// Isolation violations that are shown.
pub(super) const MAX_VIOLATIONS: usize = 100;
/// Leaked copies that are known, so that one that is read again is not counted again. Those of the oldest canaries are
/// forgotten first.
pub const MAX_KNOWN_LEAKS: usize = 10_000;

impl Tracker {
    /// Takes over the violations that a store remembers: before anything is applied, or as soon as the store can be read.
    ///
    /// Their tenants and stages must be those of the topology.
    pub fn restore_violations(&mut self, violations: impl IntoIterator<Item = Violation>) {
        for seen in violations {
            self.remember_leak(seen);
        }
        self.violations.make_contiguous().sort_by_key(|seen| seen.at);
    }

    /// The violations that were found since the last call, for the store.
    pub fn take_unsaved_violations(&mut self) -> Vec<Violation> {
        std::mem::take(&mut self.unsaved_violations)
    }

    /// Every violation that is remembered: for a store that has lost count.
    #[must_use]
    pub fn all_violations(&self) -> Vec<Violation> {
        self.known_leaks.values().cloned().collect()
    }

    /// Remembers a leaked copy; says whether it was not known.
    pub(super) fn remember_leak(&mut self, seen: Violation) -> bool {
        let key = (seen.trace, seen.stage, seen.locator.clone());
        if self.known_leaks.contains_key(&key) {
            return false;
        }
        self.known_leaks.insert(key, seen.clone());
        if self.known_leaks.len() > MAX_KNOWN_LEAKS {
            self.known_leaks.pop_first();
        }
        self.violations.push_back(seen);
        if self.violations.len() > MAX_VIOLATIONS {
            self.violations.pop_front();
        }
        true
    }
}
