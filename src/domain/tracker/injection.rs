//! What the tracker knows about a tenant's injection.

use std::sync::Arc;

use crate::domain::foreign::ForeignText;
use crate::domain::time::Timestamp;
use crate::domain::topology::{LogGroupId, Tenant};

/// How a tenant's injection is doing.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct InjectionState {
    /// For when the latest canary was planned; `None` before the first one.
    pub(super) planned_at: Option<Timestamp>,
    /// What each of its log groups answered, by [`LogGroupId`].
    pub(super) log_groups: Vec<LogGroupState>,
    /// How many canaries were planned but never sent, since the start.
    pub(super) missed_count: u64,
    /// When a canary was last missed; `None` if none was.
    pub(super) missed_at: Option<Timestamp>,
}

/// What puts into one log group were answered.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LogGroupState {
    /// When a put was last accepted; `None` before the first time.
    pub accepted_at: Option<Timestamp>,
    /// When puts began to be refused, and why the last one was; `None` if the last one was accepted.
    pub refusing: Option<(Timestamp, ForeignText)>,
}

impl LogGroupState {
    fn accepted(&mut self, now: Timestamp) {
        self.accepted_at = Some(now);
        self.refusing = None;
    }

    fn refused(&mut self, reason: ForeignText, now: Timestamp) {
        let since = self.refusing.as_ref().map_or(now, |(since, _)| *since);
        self.refusing = Some((since, reason));
    }
}

impl InjectionState {
    pub(super) fn new(tenant: &Tenant) -> Self {
        let log_groups = vec![LogGroupState::default(); tenant.log_groups.len()];
        Self { planned_at: None, log_groups, missed_count: 0, missed_at: None }
    }

    /// Takes over other log groups: those that stay keep their state. Returns the new place of each old one.
    pub(super) fn regroup(&mut self, before: &Tenant, now: &Tenant) -> Vec<Option<LogGroupId>> {
        let old = std::mem::take(&mut self.log_groups);
        let place = |group: &Arc<str>| now.log_groups.iter().position(|other| other == group);
        let of = |group: &Arc<str>| {
            let at = before.log_groups.iter().position(|other| other == group);
            at.and_then(|at| old.get(at)).cloned().unwrap_or_default()
        };
        self.log_groups = now.log_groups.iter().map(of).collect();
        let ids = before.log_groups.iter().map(place);
        ids.map(|at| Some(LogGroupId(u16::try_from(at?).ok()?))).collect()
    }

    pub(super) fn record_accepted(&mut self, into: Option<LogGroupId>, now: Timestamp) {
        if let Some(state) = self.of(into) {
            state.accepted(now);
        }
    }

    pub(super) fn record_refused(&mut self, into: Option<LogGroupId>, reason: ForeignText, now: Timestamp) {
        if let Some(state) = self.of(into) {
            state.refused(reason, now);
        }
    }

    /// Takes over that a put of a previous run was accepted.
    pub(super) fn restore_accepted(&mut self, into: Option<LogGroupId>, at: Timestamp) {
        if let Some(state) = self.of(into) {
            state.accepted_at = state.accepted_at.max(Some(at));
        }
    }

    fn of(&mut self, group: Option<LogGroupId>) -> Option<&mut LogGroupState> {
        self.log_groups.get_mut(usize::from(group?.0))
    }

    pub(super) fn record_missed(&mut self, count: u64, now: Timestamp) {
        self.missed_count = self.missed_count.saturating_add(count);
        self.missed_at = Some(now);
    }
}
