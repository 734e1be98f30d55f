//! What the canaries of a bucket say about one hop: counts, and the distribution of latencies.

use std::time::Duration;

use super::judged::Judged;
use super::sketch::Sketch;
use crate::domain::quantile::{Level, Quantile};

/// The levels whose quantiles a bucket keeps.
pub(super) const LEVELS: [Level; 2] = [Level::P50, Level::JUDGED];

/// The figures of one hop, or end to end, of the canaries of a bucket.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Figures {
    /// Canaries that arrived, or are proven late. What follows counts these only.
    pub judged: u32,
    /// Canaries that met the hop's target, or end to end the SLO. Without a target, those that arrived.
    pub met: u32,
    /// Canaries that have not arrived.
    pub missing: u32,
    /// Missing ones that were given up.
    pub lost: u32,
    /// P50 and P95, within 0.4 % and a millisecond; `None` if no canary is judged.
    pub quantiles: Option<[Quantile; 2]>,
}

/// Figures that still change.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Tally {
    pub(super) met: u32,
    pub(super) lost: u32,
    pub(super) arrived: Sketch,
    /// How long canaries were proven absent that have not arrived.
    pub(super) absent: Sketch,
}

impl Tally {
    pub(super) fn add(&mut self, judged: Judged) {
        match judged {
            Judged::Not => {}
            Judged::Arrived { latency, met } => {
                self.met = self.met.saturating_add(u32::from(met));
                self.arrived.add(latency);
            }
            Judged::Absent { longer_than, lost } => {
                self.lost = self.lost.saturating_add(u32::from(lost));
                self.absent.add(longer_than);
            }
        }
    }

    /// Adds what other canaries of the same bucket say.
    pub(super) fn merge(&mut self, other: &Self) {
        self.met = self.met.saturating_add(other.met);
        self.lost = self.lost.saturating_add(other.lost);
        self.arrived.merge(&other.arrived);
        self.absent.merge(&other.absent);
    }

    pub(super) fn figures(&self) -> Figures {
        let (arrived, missing) = (self.arrived.len(), self.absent.len());
        let count = |of: usize| u32::try_from(of).unwrap_or(u32::MAX);
        Figures {
            judged: count(arrived + missing),
            met: self.met,
            missing: count(missing),
            lost: self.lost,
            quantiles: (arrived + missing > 0).then(|| LEVELS.map(|level| self.quantile(level))),
        }
    }

    /// As [`Sample::quantiles`](crate::domain::quantile::Sample::quantiles) defines it: what is missing took
    /// longer than all that arrived.
    fn quantile(&self, level: Level) -> Quantile {
        let millis = |millis: u32| Duration::from_millis(u64::from(millis));
        let arrived = self.arrived.len();
        let at = level.index_in(arrived + self.absent.len());
        match self.arrived.nth(at) {
            Some(bin) => Quantile::Exactly(millis(bin.middle())),
            None => {
                let absent = self.absent.nth(at.saturating_sub(arrived)).max(self.arrived.longest());
                Quantile::MoreThan(millis(absent.map_or(0, |bin| bin.lower())))
            }
        }
    }
}
