//! What the answer of a put means.

use std::sync::Arc;

use super::{Event, PutResult, Tracker};
use crate::domain::outcome::Outcome;
use crate::domain::tag::TraceId;
use crate::domain::time::Timestamp;
use crate::domain::trace::Put;

impl Tracker {
    /// Takes the result of a put.
    pub(super) fn put(&mut self, id: TraceId, result: PutResult, now: Timestamp, events: &mut Vec<Event>) {
        // The pipeline can deliver a canary before a slow put is answered.
        let trace = self.open.get_mut(&id).or_else(|| self.finished.get_mut(id));
        let Some(trace) = trace.map(Arc::make_mut) else {
            return;
        };
        // A second result would be counted twice, and could contradict what a loss was concluded from.
        if trace.put != Put::Planned {
            return;
        }
        self.outbox.note_changed(id);
        let (tenant, group) = (trace.tenant, trace.log_group);
        let state = &mut self.injections[usize::from(tenant.0)];
        let result = match result {
            // If it was seen, an earlier attempt was taken whose answer was lost, and maybe more than one was.
            PutResult::Refused { .. } if trace.taken() => PutResult::Accepted { doubled: true },
            other => other,
        };
        match result {
            PutResult::Accepted { doubled } => {
                trace.put = Put::Accepted { at: now };
                trace.doubled_by_us |= doubled;
                state.record_accepted(group, now);
                events.push(Event::Accepted { tenant, trace: id });
            }
            PutResult::Ambiguous { doubled, reason } => {
                trace.put = Put::Ambiguous { at: now };
                trace.doubled_by_us |= doubled;
                state.record_refused(group, reason.clone(), now);
                events.push(Event::Ambiguous { tenant, trace: id, reason });
            }
            PutResult::Refused { reason } => {
                trace.put = Put::Refused { at: now };
                state.record_refused(group, reason.clone(), now);
                if trace.ended.is_none() {
                    self.end(id, Outcome::Refused(reason), now, events);
                }
                self.count(id, events);
                self.finish(id);
                return;
            }
        }
        self.judge_copies_that_overtook_the_answer(id, now, events);
        self.consider(id, now, events);
    }
}

#[cfg(test)]
impl PutResult {
    /// No attempt was answered.
    pub(crate) fn ambiguous(doubled: bool) -> Self {
        Self::Ambiguous { doubled, reason: "no answer".into() }
    }
}
