//! The verdict on each tenant: its worst problem, or OK.

use std::cmp::Reverse;

use super::condition::Condition;
use super::history::History;
use super::latency;
use crate::domain::quantile::{Level, Quantile};
use crate::domain::topology::TenantId;

/// The verdict on one tenant. It is OK if none of its conditions is a problem.
#[derive(Clone, PartialEq, Debug)]
pub struct Verdict {
    pub tenant: TenantId,
    /// Its conditions, worst first: problems, then notes.
    pub conditions: Vec<Condition>,
    /// Its judged quantile end to end; `None` if no canary of the window has been judged.
    pub judged: Option<Quantile>,
}

impl Verdict {
    /// Judges a tenant by its conditions.
    pub(super) fn new(history: &History<'_>, mut conditions: Vec<Condition>) -> Self {
        // The first stage on the path is the culprit, the later ones are consequences.
        let map = &*history.snapshot.topology;
        let place = |it: &Condition| it.subject.place.map(|place| map.order(place));
        conditions.sort_by_key(|it| (it.precedence(), place(it), Reverse(it.affected_millionths())));
        let recent: Vec<_> = history.recent().iter().map(|canary| canary.trace).collect();
        let judged = latency::end_to_end(history.snapshot, &recent).quantile(Level::JUDGED);
        Self { tenant: history.tenant, conditions, judged }
    }

    /// Its worst problem; `None` if it has none.
    #[must_use]
    pub fn problem(&self) -> Option<&Condition> {
        self.conditions.first().filter(|worst| worst.is_problem())
    }
}
