//! Parts of a readable source that could not be read, and how long they withhold the watermark.
//!
//! Limits on the size and depth of decoded data keep a decompression bomb from ending the probe, and access
//! to a single object may be denied. A canary may be in the part that was not read, so no poll can prove the
//! absence of a canary that was planned before that part arrived. The watermark is one instant for all traces
//! of a source, so it is withheld while such a canary is waited for, but no longer: canaries planned later
//! cannot be in that part.

use std::collections::HashSet;
use std::sync::Arc;

use super::{Findings, ObserveError};
use crate::domain::sighting::{FailureKind, Poll, Sighting, Wanted};
use crate::domain::tag::TraceId;
use crate::domain::time::Timestamp;

/// The unreadable part of one source. Of several parts only the one that arrived last is kept: a trace that
/// can be in any of the others can also be in that one.
#[derive(Clone, Debug, Default)]
pub(super) struct Unreadable(Option<Part>);

#[derive(Clone, Debug)]
struct Part {
    /// The latest instant by our own clock at which it can have arrived.
    arrived_by: Timestamp,
    kind: FailureKind,
    text: Arc<str>,
}

impl Unreadable {
    /// Notes a part that was not read because of a limit. `name` says what it belongs to, such as `record 17
    /// in shard-0 of stream logs-acme`.
    pub(super) fn note_cut(&mut self, arrived_by: Timestamp, name: impl FnOnce() -> String) {
        let text = || format!("{} exceeds a limit of the probe and was read only in part", name());
        self.add(arrived_by, FailureKind::OverBudget, text);
    }

    /// Notes a part to which access was refused.
    pub(super) fn note_refused(&mut self, arrived_by: Timestamp, refusal: &ObserveError) {
        self.add(arrived_by, refusal.kind, || refusal.detail.to_string());
    }

    fn add(&mut self, arrived_by: Timestamp, kind: FailureKind, text: impl FnOnce() -> String) {
        if self.0.as_ref().is_none_or(|part| part.arrived_by < arrived_by) {
            self.0 = Some(Part { arrived_by, kind, text: text().into() });
        }
    }

    /// Makes the report of a poll from what it found. The watermark is withheld if a wanted canary that was
    /// not found may be in the unreadable part.
    ///
    /// # Errors
    ///
    /// If the watermark is withheld and there are no sightings. `unreported` is then left unchanged.
    pub(super) fn report(
        &self,
        unreported: &mut Findings,
        wanted: &Wanted,
        started: Timestamp,
        finished: Timestamp,
        watermark: Option<Timestamp>,
    ) -> Result<Poll, ObserveError> {
        let watermark = match self.withholds(wanted, &unreported.sightings) {
            None => watermark,
            Some(unreadable) if unreported.sightings.is_empty() => return Err(unreadable),
            Some(_) => None,
        };
        Ok(std::mem::take(unreported).into_poll(wanted, started, finished, watermark))
    }

    /// Returns why a poll that found `found` proves no absence; `None` if it found every canary that can be
    /// in the unreadable part.
    fn withholds(&self, wanted: &Wanted, found: &[Sighting]) -> Option<ObserveError> {
        let part = self.0.as_ref()?;
        let found: HashSet<TraceId> = found.iter().map(|sighting| sighting.tag.trace).collect();
        let mut missing = wanted.waiting.iter().filter(|trace| !found.contains(&trace.tag.trace));
        missing.any(|trace| trace.planned_at <= part.arrived_by).then(|| {
            let text = format!(
                "{}; a canary may be in the part that was not read, so canaries planned before {} are not counted as absent",
                part.text, part.arrived_by
            );
            ObserveError::new(part.kind, text)
        })
    }
}
