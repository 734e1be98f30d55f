//! A world of which incidents are made, as in the daemon.

use crate::domain::conditions::tests::world::*;
use crate::domain::conditions::{Assessment, ConditionName};
use crate::domain::incidents::{Episode, Incident, Incidents, Step};
use crate::domain::time::Timestamp;
use crate::domain::topology::fixture::*;
use crate::domain::tracker::Snapshot;

pub(super) const OVER_AFTER: u64 = 300;
/// Seconds between two updates, unless set. It is no divisor of the interval of canaries, so that updates fall into
/// different parts of it.
pub(super) const STEP: usize = 20;
/// When the faults begin and end, in seconds.
pub(super) const FAULTS: [(u64, u64); 3] = [(1_200, 2_400), (4_800, 6_000), (8_400, 9_000)];
pub(super) const HOURS: u64 = 3 * 3_600;

/// Changes a snapshot at a second.
type Change = Box<dyn Fn(&mut Snapshot, u64)>;

/// A world, with what follows from it as in the daemon.
pub(super) struct Night {
    world: World,
    pub(super) incidents: Incidents,
    change: Change,
    /// Seconds between two updates.
    pub(super) step: usize,
    pub(super) steps: Vec<(u64, Episode, Step)>,
    pub(super) found: Option<Assessment>,
}

impl Night {
    pub(super) fn new(world: World) -> Self {
        let incidents = Incidents::new(s(OVER_AFTER));
        Self { world, incidents, change: Box::new(|_, _| {}), step: STEP, steps: Vec::new(), found: None }
    }

    /// Changes each snapshot, for what the tracker does not know.
    pub(super) fn changed(self, change: impl Fn(&mut Snapshot, u64) + 'static) -> Self {
        Self { change: Box::new(change), ..self }
    }

    pub(super) fn run(&mut self, from: u64, to: u64) -> &mut Self {
        for second in (from..to).step_by(self.step) {
            self.world.run_to(second);
            self.publish(second);
        }
        self
    }

    fn publish(&mut self, second: u64) {
        let mut snapshot = self.world.snapshot();
        (self.change)(&mut snapshot, second);
        snapshot.episodes = self.incidents.shown();
        let found = Assessment::new(&snapshot, &criteria());
        for (episode, step) in self.incidents.update(&found, &snapshot) {
            self.steps.push((second, episode, step));
        }
        self.found = Some(found);
    }

    /// The incidents so far, the first first.
    pub(super) fn list(&self) -> Vec<Incident> {
        let mut all = Incident::group(&self.incidents.shown(), &topology_with("initech"));
        all.sort_by_key(|incident| incident.beginning);
        all
    }
}

pub(super) fn fault_at(second: u64) -> Option<(u64, u64)> {
    FAULTS.into_iter().find(|(begin, end)| (*begin..*end).contains(&second))
}

/// A world in which the canaries of the faults' times meet `fate`.
pub(super) fn faulty(fate: Fate) -> World {
    World::new(move |planned| if fault_at(planned).is_some() { fate } else { WELL })
}

/// A stall in front of transit during the faults: everything comes out when it is cleared.
pub(super) fn stalled(planned: u64) -> Fate {
    let late = |end: u64| (end - planned) * 1_000;
    fault_at(planned)
        .map_or(WELL, |(_, end)| WELL.at(TRANSIT, late(end) + 2_000).at(TABLE, late(end) + 5_000))
}

/// What each incident is, and the seconds of its beginning and end.
pub(super) fn told(all: &[Incident]) -> Vec<(ConditionName, i64, Option<i64>)> {
    let second = |at: Timestamp| at.as_secs_f64() as i64 - t(0).as_secs_f64() as i64;
    all.iter().map(|it| (it.name, second(it.beginning), it.end.map(second))).collect()
}

/// Asserts an instant: at this second, or at most so many later.
#[track_caller]
pub(super) fn assert_within(at: Timestamp, second: u64, later: u64) {
    assert!(at >= t(second) && at <= t(second + later), "{at} is not {} to {}", t(second), t(second + later));
}
