//! When the first poll for the traces that wait at a source is worth a call.
//!
//! Not before the stage before has shown one of them. Where the source says itself when a canary arrived, not before
//! it has probably arrived, either: a poll before that would show nothing, and one after it tells the arrival as
//! precisely. Polls at a threshold or a deadline do not wait, nor does any poll for long; the poll loop sees to both.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Tracker, on_the_way};
use crate::domain::sighting::{Stamp, WantedTrace};
use crate::domain::tag::{Purpose, TraceId};
use crate::domain::time::Timestamp;
use crate::domain::topology::{SourceId, StageId};

/// For how long after its planned injection a trace may delay the first poll for it.
const YOUNG_FOR: Duration = Duration::from_mins(1);

/// How long the last canaries took from the stage before to a source, by the stamps of both.
#[derive(Debug, Default)]
pub(super) struct Delays(VecDeque<Delay>);

/// How long one took at least and at most.
#[derive(Clone, Copy, Debug)]
struct Delay {
    least: Duration,
    most: Duration,
}

impl Delays {
    /// Fewer tell nothing.
    const MIN: usize = 3;
    /// Of the last ten, one may be slow without delaying the next first polls.
    const MAX: usize = 10;

    /// Notes an arrival; `None` if its stamp does not say by when it had arrived. A later poll would then make later
    /// arrivals less certain, so what is known is forgotten.
    fn note(&mut self, delay: Option<Delay>) {
        match delay {
            Some(delay) => self.0.push_back(delay),
            None => self.0.clear(),
        }
        if self.0.len() > Self::MAX {
            self.0.pop_front();
        }
    }

    /// How long the fastest took at least, and the slowest but one in ten at most; `None` if too little is known.
    fn usual(&self) -> Option<Delay> {
        let mut most: Vec<_> = self.0.iter().map(|delay| delay.most).collect();
        most.sort_unstable();
        let at = (most.len() * 9).div_ceil(10).checked_sub(1)?;
        let least = self.0.iter().map(|delay| delay.least).min()?;
        let most = most.get(at).copied().filter(|_| most.len() >= Self::MIN)?;
        Some(Delay { least, most })
    }
}

impl Tracker {
    /// Until when a first poll for the traces that wait at a source would show nothing: [`Timestamp::MAX`] if none of
    /// them was seen at the stage before, although that one is read, and `None` if a poll is worth a call now.
    /// Told of young traces only, because looking through all traces of a stall would take long.
    pub(super) fn nothing_before(&self, source: SourceId) -> Option<Timestamp> {
        let stage = self.topology.source(source).stage;
        let before = self.topology.stage(stage).parent?;
        let waiting = &self.sources[source].waiting;
        let is_young = |oldest: &WantedTrace| self.latest_now.since(oldest.planned_at) < YOUNG_FOR;
        waiting.first().filter(|oldest| is_young(oldest))?;
        let mut first = Timestamp::MAX;
        for wanted in waiting.iter() {
            first = first.min(self.expected_at(wanted, source, before)?);
            if first <= self.latest_now {
                return None;
            }
        }
        Some(first)
    }

    /// When a waiting trace has probably arrived; `None` if it may have at any time.
    fn expected_at(&self, wanted: &WantedTrace, source: SourceId, before: StageId) -> Option<Timestamp> {
        let Some(trace) = self.open.get(&wanted.tag.trace) else {
            return Some(Timestamp::MAX);
        };
        let Some(left) = &trace.visit(before).arrival else {
            let source = self.topology.source_of(trace.tenant, before);
            return self.sources[source].may_prove(trace.tenant).then_some(Timestamp::MAX);
        };
        // Whoever waits for a check or a load waits for its end.
        let usual = self.sources[source].delays.usual().filter(|_| wanted.tag.purpose() == Purpose::Probe)?;
        let since = left.interval.latest;
        // One that may have arrived by now is sooner told by a poll than by a stamp that is cut to the second.
        (since + usual.least > left.noticed_at).then_some(since + usual.most)
    }

    /// Notes how long a trace took to a stage where it arrived.
    pub(super) fn note_delay(&mut self, id: TraceId, stage: StageId) {
        let spec = self.topology.stage(stage);
        let Some(trace) = self.open.get(&id).filter(|_| on_the_way(spec.role)) else { return };
        let Some(arrival) = &trace.visit(stage).arrival else { return };
        let Some(left) = spec.parent.and_then(|before| trace.arrival(before)) else { return };
        let stamped = match arrival.stamp {
            Stamp::Millis(_) | Stamp::Seconds(_) => arrival.stamp.interval(),
            Stamp::NotBefore(_) | Stamp::None => None,
        };
        // Not by the poll that found it: what that tells would make the next one come earlier and earlier, or later.
        let stamped = stamped.map(|stamped| stamped.widen(self.allowance(stage)));
        let agreed = stamped.filter(|stamped| stamped.intersect(arrival.interval).is_some());
        let after = |at: Timestamp| at.since(left.latest);
        let delay =
            agreed.map(|stamped| Delay { least: after(stamped.earliest), most: after(stamped.latest) });
        let source = self.topology.source_of(trace.tenant, stage);
        self.sources[source].delays.note(delay);
    }
}
