//! How small objects are merged into larger ones, and deleted.

use fastrand::Rng;

use super::history::*;

/// How the objects of a stage are merged.
#[derive(Clone, Copy, Debug)]
pub struct Compaction {
    /// How often small objects are merged.
    every: Micros,
    /// How often the merged ones are merged, if they are.
    again_every: Option<Micros>,
    /// How many of the small objects are merged.
    odds: f64,
    /// How many of those stay nevertheless, so that the canary is stored twice.
    stay: f64,
    /// When objects are deleted after they were merged, at the latest.
    longest_deletion: Micros,
    /// Several copies of one canary come into one object.
    joins_copies: bool,
}

/// Shortest time from the merger of objects until they are deleted. A poll that does not find a deleted object finds
/// the merged one, although a poll may leave out what was stored in the last ten seconds.
const SHORTEST_DELETION: Micros = 10 * SECOND;

impl Compaction {
    pub fn draw(rng: &mut Rng, copy_recheck: Micros) -> Self {
        let every = rng.i64(2 * SECOND..60 * SECOND);
        Self {
            every,
            again_every: rng.bool().then(|| every * rng.i64(2..6)),
            odds: rng.f64(),
            stay: 0.3 * rng.f64() * rng.f64(),
            // Some are deleted only after they were checked twice.
            longest_deletion: rng.i64(SHORTEST_DELETION + SECOND..2 * SHORTEST_DELETION + 2 * copy_recheck),
            joins_copies: rng.u8(0..4) == 0,
        }
    }

    /// Stores the last copy of a canary again in a merged object, or does not.
    pub fn merge(self, rng: &mut Rng, canary: &mut Canary, stamp: impl Fn(&mut Rng, Micros) -> Stamped) {
        if rng.f64() >= self.odds {
            return;
        }
        let small = canary.copies.last_mut().expect("a copy was stored");
        let number = small.stored / self.every + 1;
        let merged_at = number * self.every;
        let deleted = merged_at + rng.i64(SHORTEST_DELETION..self.longest_deletion);
        small.deleted = (rng.f64() >= self.stay).then_some(deleted);
        let mut merged = self.merged(canary, 1, number, merged_at);
        merged.stamp = stamp(rng, merged_at);
        if let Some(every) = self.again_every {
            let number = merged_at / every + 1;
            let again_at = number * every;
            // With all that it holds.
            merged.deleted = Some(again_at + self.longest_deletion);
            canary.copies.push(merged);
            merged = self.merged(canary, 2, number, again_at);
            merged.stamp = stamp(rng, again_at);
        }
        canary.copies.push(merged);
    }

    /// The last copy as it is stored in a merged object.
    fn merged(self, canary: &Canary, level: i64, number: i64, stored: Micros) -> Copy {
        let from = *canary.copies.last().expect("a copy is merged");
        let is_beside = |copy: &&Copy| {
            let Object::Merged(merged) = copy.object else { return false };
            (merged.source, merged.level, merged.number) == (from.source, level, number)
        };
        let beside = canary.copies.iter().filter(is_beside).count();
        // A mention is not joined with what it mentions: an object is read as a whole.
        let joins = self.joins_copies && !from.corrupted;
        let part = if joins { 0 } else { 1 + beside };
        let object = Object::Merged(Merged { source: from.source, level, number, part });
        Copy { stored, deleted: None, object, ..from }
    }
}
