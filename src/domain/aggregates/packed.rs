//! A bucket in few bytes, in memory as in the store.
//!
//! A form, the health, the number of canaries, and then the figures of each hop; all numbers in LEB128. A
//! final bucket holds its percentiles, and one that still changes holds its sketches. The bytes come back
//! from a disk, so any of them must be refused or accepted without a panic and without much memory.

use std::time::Duration;

use super::health::Health;
use super::sketch::{MAX_BINS, Sketch};
use super::tally::{Figures, Tally};
use crate::domain::quantile::Quantile;

/// The first byte of a bucket that does not change any more.
const FINAL: u8 = 1;
/// The first byte of a bucket that still changes.
const FORMING: u8 = 2;

/// A bucket.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Content<T> {
    /// The worst verdict on the tenant in this time; `None` if there was none.
    pub(super) health: Option<Health>,
    /// How many canaries were planned in this time and are settled.
    pub(super) canaries: u32,
    /// By hop; empty if no canary says anything.
    pub(super) hops: Vec<T>,
}

impl<T> Default for Content<T> {
    fn default() -> Self {
        Self { health: None, canaries: 0, hops: Vec::new() }
    }
}

/// What bytes hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Unpacked {
    Final(Content<Figures>),
    Forming(Content<Tally>),
}

pub(super) fn pack_final(content: &Content<Figures>) -> Box<[u8]> {
    let mut bytes = head(FINAL, content);
    for figures in &content.hops {
        counts(&mut bytes, figures);
        for quantile in figures.quantiles.iter().flatten() {
            let (duration, more_than) = match quantile {
                Quantile::Exactly(duration) => (duration, 0),
                Quantile::MoreThan(duration) => (duration, 1),
            };
            let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX >> 1);
            number(&mut bytes, millis << 1 | more_than);
        }
    }
    bytes.into()
}

pub(super) fn pack_forming(content: &Content<Tally>) -> Box<[u8]> {
    let mut bytes = head(FORMING, content);
    for tally in &content.hops {
        let figures = tally.figures();
        counts(&mut bytes, &figures);
        if figures.judged > 0 {
            sketch(&mut bytes, &tally.arrived);
            sketch(&mut bytes, &tally.absent);
        }
    }
    bytes.into()
}

/// What the bytes of a bucket with this many hops hold; `None` if they are damaged.
pub(super) fn unpack(bytes: &[u8], hops: usize) -> Option<Unpacked> {
    let mut from = Reader { bytes };
    match from.byte()? {
        FINAL => from.content(hops, Reader::figures).map(Unpacked::Final),
        FORMING => from.content(hops, Reader::tally).map(Unpacked::Forming),
        _ => None,
    }
}

fn head<T>(form: u8, content: &Content<T>) -> Vec<u8> {
    let mut bytes = vec![form, content.health.map_or(0, Health::code)];
    number(&mut bytes, content.canaries.into());
    bytes
}

/// The counts; of a hop without judged canaries, one byte.
fn counts(to: &mut Vec<u8>, figures: &Figures) {
    number(to, figures.judged.into());
    if figures.judged > 0 {
        // In a healthy pipeline these three are 0.
        let not_met = (figures.judged - figures.missing).saturating_sub(figures.met);
        [not_met, figures.missing, figures.lost].iter().for_each(|count| number(to, (*count).into()));
    }
}

fn sketch(to: &mut Vec<u8>, sketch: &Sketch) {
    number(to, sketch.bins().len() as u64);
    let mut before = 0;
    for (bin, count) in sketch.bins() {
        number(to, u64::from(bin - before));
        number(to, (*count).into());
        before = *bin;
    }
}

fn number(to: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        to.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}

struct Reader<'a> {
    bytes: &'a [u8],
}

impl Reader<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.bytes.split_first()?;
        self.bytes = rest;
        Some(*first)
    }

    fn number(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn count(&mut self) -> Option<u32> {
        self.number()?.try_into().ok()
    }

    /// The rest of a bucket, to the last byte.
    fn content<T>(mut self, hops: usize, hop: impl Fn(&mut Self) -> Option<T>) -> Option<Content<T>> {
        let health = match self.byte()? {
            0 => None,
            code => Some(Health::of_code(code)?),
        };
        let canaries = self.count()?;
        let hops = if self.bytes.is_empty() {
            Vec::new()
        } else {
            (0..hops).map(|_| hop(&mut self)).collect::<Option<_>>()?
        };
        self.bytes.is_empty().then_some(Content { health, canaries, hops })
    }

    /// The counts, without percentiles.
    fn counts(&mut self) -> Option<Figures> {
        let judged = self.count()?;
        if judged == 0 {
            return Some(Figures::default());
        }
        let (not_met, missing, lost) = (self.count()?, self.count()?, self.count()?);
        let met = judged.checked_sub(missing)?.checked_sub(not_met)?;
        (lost <= missing).then_some(Figures { judged, met, missing, lost, quantiles: None })
    }

    fn figures(&mut self) -> Option<Figures> {
        let mut figures = self.counts()?;
        if figures.judged > 0 {
            figures.quantiles = Some([self.quantile()?, self.quantile()?]);
        }
        Some(figures)
    }

    fn quantile(&mut self) -> Option<Quantile> {
        let value = self.number()?;
        let duration = Duration::from_millis(value >> 1);
        Some(if value & 1 == 0 { Quantile::Exactly(duration) } else { Quantile::MoreThan(duration) })
    }

    fn tally(&mut self) -> Option<Tally> {
        let Figures { judged, met, missing, lost, .. } = self.counts()?;
        if judged == 0 {
            return Some(Tally::default());
        }
        let (arrived, absent) = (self.sketch()?, self.sketch()?);
        let whole = arrived.len() == (judged - missing) as usize && absent.len() == missing as usize;
        whole.then_some(Tally { met, lost, arrived, absent })
    }

    fn sketch(&mut self) -> Option<Sketch> {
        let len = usize::try_from(self.number()?).ok().filter(|len| *len <= usize::from(MAX_BINS))?;
        let mut bins = Vec::new();
        let mut bin: u16 = 0;
        for _ in 0..len {
            bin = bin.checked_add(self.number()?.try_into().ok()?)?;
            bins.push((bin, self.count()?));
        }
        Sketch::of_bins(bins)
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::super::judged::Judged;
    use super::*;

    fn tally(canaries: &[(u32, u8)]) -> Tally {
        let mut tally = Tally::default();
        for (millis, kind) in canaries {
            let took = Duration::from_millis(u64::from(*millis));
            tally.add(match kind % 4 {
                0 => Judged::Arrived { latency: took, met: true },
                1 => Judged::Arrived { latency: took, met: false },
                2 => Judged::Absent { longer_than: took, lost: false },
                _ => Judged::Absent { longer_than: took, lost: true },
            });
        }
        tally
    }

    proptest! {
        #[test]
        fn a_bucket_comes_back_as_it_was(
            hops in vec(vec((any::<u32>(), any::<u8>()), 0..20), 3),
            code in 0_u8..=5,
            canaries: u32,
        ) {
            let hops: Vec<Tally> = hops.iter().map(|canaries| tally(canaries)).collect();
            let health = Health::of_code(code);
            let figures = hops.iter().map(Tally::figures).collect();
            let complete = Content { health, canaries, hops: figures };
            prop_assert_eq!(unpack(&pack_final(&complete), 3), Some(Unpacked::Final(complete)));
            let forming = Content { health, canaries, hops };
            prop_assert_eq!(unpack(&pack_forming(&forming), 3), Some(Unpacked::Forming(forming)));
        }

        #[test]
        fn damaged_bytes_are_refused_or_read_without_a_panic(bytes in vec(any::<u8>(), 0..200), hops in 0_usize..8) {
            if let Some(Unpacked::Forming(content)) = unpack(&bytes, hops) {
                let _ = pack_forming(&content);
            }
        }
    }

    #[test]
    fn two_canaries_at_six_hops_take_less_than_64_bytes() {
        let hop = tally(&[(4_200, 0), (31_000, 0)]).figures();
        let content = Content { health: Some(Health::Ok), canaries: 2, hops: vec![hop; 6] };
        assert!(pack_final(&content).len() < 64, "{}", pack_final(&content).len());
    }
}
