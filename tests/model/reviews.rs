//! What is published in a run: conditions and incidents, now and then.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use traceprobe::domain::conditions::{Assessment, Condition, Criteria};
use traceprobe::domain::incidents::{Episode, IncidentId, Incidents, Step};
use traceprobe::domain::time::Timestamp;
use traceprobe::domain::topology::Topology;
use traceprobe::domain::tracker::{Changes, Snapshot, Tracker};
use traceprobe::store::Store;

use super::history::*;
use super::run::EVERYTHING;

/// One review at what is wrong.
#[derive(Debug)]
pub struct Review {
    pub at: Micros,
    /// The length of the log.
    pub place: usize,
    pub problems: Vec<Condition>,
    /// All that are remembered.
    pub episodes: Vec<Arc<Episode>>,
    pub steps: Vec<(Episode, Step)>,
    /// It is the first one of a run of the probe, and these had been stored before.
    pub restored: Option<Vec<Episode>>,
}

/// The incidents of a run, and all that they said.
#[derive(Debug)]
pub struct Reviews {
    pub all: Vec<Review>,
    /// In every third run, because they take half of its time.
    pub are_taken: bool,
    /// Time between two reviews.
    pub every: Micros,
    /// No canary can have an effect after this.
    pub until: Micros,
    /// The longest time after which something is forgotten.
    pub longest: Micros,
    pub over_after: Micros,
    pub criteria: Criteria,
    /// Where incidents that went through the store differ from those that did not.
    pub faults: Vec<String>,
    map: Arc<Topology>,
    rng: Rng,
    incidents: Incidents,
    unsaved: Vec<(Episode, Step)>,
    committed: BTreeMap<IncidentId, Episode>,
    merged: Vec<IncidentId>,
    restored: Option<Vec<Episode>>,
    /// The same incidents, which went through a store.
    stored: Option<Incidents>,
}

impl Reviews {
    pub fn new(seed: u64, rules: &Rules, map: Arc<Topology>) -> Self {
        let mut rng = Rng::with_seed(seed ^ 0x1ac1_de47);
        let micros = |micros| Duration::from_micros(u64::try_from(micros).unwrap());
        let (window, over_after) = (rng.i64(60..300) * SECOND, rng.i64(20..120) * SECOND);
        let criteria = Criteria {
            window: Some(micros(window)),
            over_after: micros(over_after),
            copy_recheck: micros(rules.copy_recheck),
            ..Criteria::new(micros(rules.slo))
        };
        Self {
            all: Vec::new(),
            are_taken: seed.is_multiple_of(3),
            every: rng.i64(5 * SECOND..10 * SECOND),
            until: 0,
            longest: window + over_after + rules.copy_recheck + rules.give_up + rules.grace,
            over_after,
            criteria,
            faults: Vec::new(),
            map,
            rng,
            incidents: Incidents::new(criteria.over_after),
            unsaved: Vec::new(),
            committed: BTreeMap::new(),
            merged: Vec::new(),
            restored: None,
            stored: None,
        }
    }

    /// What the engine does when it publishes.
    pub fn review(&mut self, tracker: &Tracker, now: Timestamp, place: usize) {
        let mut snapshot = tracker.snapshot(now);
        snapshot.episodes = self.incidents.shown();
        let found = Assessment::new(&snapshot, &self.criteria);
        let steps = self.incidents.update(&found, &snapshot);
        self.compare_with_stored(&found, &snapshot);
        self.unsaved.extend(steps.iter().cloned());
        self.all.push(Review {
            at: now.micros(),
            place,
            problems: found.problems().cloned().collect(),
            episodes: self.incidents.shown().to_vec(),
            steps,
            restored: self.restored.take(),
        });
    }

    /// Now and then, sends the incidents through a store, and compares what they say from then on.
    fn compare_with_stored(&mut self, found: &Assessment, snapshot: &Snapshot) {
        if let Some(stored) = &mut self.stored {
            stored.update(found, snapshot);
            let told = |incidents: &Incidents| {
                let one = |it: &Episode| {
                    (
                        it.id,
                        it.condition.name,
                        it.condition.subject.tenant,
                        it.beginning,
                        it.end(),
                        it.has_ended(),
                    )
                };
                let mut all: Vec<_> = incidents.all().map(one).collect();
                all.sort_by_key(|it| it.0);
                all
            };
            let (one, other) = (told(&self.incidents), told(stored));
            if one != other {
                let lost: Vec<_> = one.iter().filter(|it| !other.contains(it)).collect();
                let changed: Vec<_> = other.iter().filter(|it| !one.contains(it)).collect();
                let at = snapshot.at.micros();
                self.faults.push(format!("at {at}, a store makes {changed:?} of {lost:?}"));
                self.stored = None;
            }
            let more = |it: &&Episode| {
                let counted = stored_count(self.stored.as_ref(), it.id);
                counted > it.canaries.count().max(it.affected().unwrap_or_default())
            };
            if let Some(more) = self.incidents.all().find(more) {
                self.faults.push(format!("counted more canaries after a restart: {more:?}"));
            }
        }
        if self.incidents.has_open() && self.rng.u8(0..16) == 0 {
            let mut store = Store::open(Path::new(":memory:"), self.map.clone(), snapshot.at).unwrap().store;
            let episodes = self.incidents.all().cloned().collect();
            store.save(&Changes { episodes, ..Changes::default() }).unwrap();
            let mut stored = Incidents::new(self.criteria.over_after);
            stored.restore(store.load(EVERYTHING).unwrap().episodes);
            self.stored = Some(stored);
        }
    }

    /// The changes are committed with the next round.
    pub fn commit(&mut self) {
        for (episode, step) in self.unsaved.drain(..) {
            match step {
                Step::Merged => self.merged.push(episode.id),
                Step::Began | Step::Became { .. } | Step::Changed | Step::Ended => {
                    drop(self.committed.insert(episode.id, episode));
                }
            }
        }
    }

    /// Takes what was committed and is not in the store yet.
    pub fn committed(&mut self) -> (Vec<Episode>, Vec<IncidentId>) {
        let committed = std::mem::take(&mut self.committed);
        (committed.into_values().collect(), std::mem::take(&mut self.merged))
    }

    /// A new run of the probe begins with these.
    pub fn restart(&mut self, episodes: Vec<Episode>) {
        self.unsaved.clear();
        self.stored = None;
        self.restored = Some(episodes.clone());
        self.incidents = Incidents::new(self.criteria.over_after);
        self.incidents.restore(episodes);
    }
}

fn stored_count(stored: Option<&Incidents>, id: IncidentId) -> usize {
    let found = stored.and_then(|stored| stored.all().find(|it| it.id == id));
    found.map_or(0, |it| it.canaries.count())
}
