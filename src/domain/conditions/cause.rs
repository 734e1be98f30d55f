//! Which condition is the cause of another, so that people read of one thing once.

use super::condition::Condition;
use super::name::ConditionName;
use crate::domain::topology::{HopRange, Role, StageId, Topology};

impl ConditionName {
    /// What follows from a problem of this name, for the same tenant at the same stage or behind it.
    const fn consequences(self) -> &'static [Self] {
        use ConditionName::{
            CannotSee, ClockUnsynchronized, Corruption, DeadLettersWaiting, Duplicates, HopOverTarget,
            LateInjection, Leaking, Losing, Missing, NeverSeen, NotInjecting, OverBudget, ReloadFailed,
            SameName, SchemaDrift, Skipped, Slow, StoreDegraded, Stuck, TotalStall,
        };
        match self {
            TotalStall => &[Stuck, Losing, Missing, Slow, HopOverTarget],
            Stuck => &[Losing, Missing, Slow, HopOverTarget],
            Losing => &[Missing, Slow, HopOverTarget, DeadLettersWaiting],
            Missing => &[Slow, HopOverTarget],
            Slow => &[HopOverTarget],
            Leaking => &[Leaking, Duplicates],
            Duplicates => &[Duplicates],
            Corruption => &[Corruption],
            // With its first canary the source is no longer unseen, but it has not shown the earlier ones.
            NeverSeen => &[Losing, Missing, Skipped, Slow, HopOverTarget],
            HopOverTarget | DeadLettersWaiting | SchemaDrift | NotInjecting | CannotSee | LateInjection
            | Skipped | SameName | StoreDegraded | OverBudget | ReloadFailed | ClockUnsynchronized => &[],
        }
    }

    /// Whether what follows from it is at the same stage only: what a source does not show may still pass.
    const fn has_consequences_there_only(self) -> bool {
        matches!(self, Self::NeverSeen)
    }
}

impl Condition {
    /// Whether it follows from another problem, so that people need to read only that.
    #[must_use]
    pub fn follows_from(&self, other: &Self, map: &Topology) -> bool {
        if !other.is_problem() || (self.name, self.subject) == (other.name, other.subject) {
            return false;
        }
        let is_injected_late = other.name == ConditionName::LateInjection;
        if is_injected_late && self.subject.tenant == other.subject.tenant && self.is_excused() {
            return true;
        }
        let concerns = other.subject.tenant.is_none() || other.subject.tenant == self.subject.tenant;
        concerns
            && other.name.consequences().contains(&self.name)
            && is_behind(map, self.subject.place, other.subject.place)
            && (!other.name.has_consequences_there_only() || self.subject.place == other.subject.place)
    }

    /// Whether it is not the fault that its name says, because something else explains it.
    fn is_excused(&self) -> bool {
        self.blame != self.name.profile().blame
    }
}

/// Whether a place is the same as another, or behind it. What has no place is behind everything.
fn is_behind(map: &Topology, place: Option<HopRange>, other: Option<HopRange>) -> bool {
    let (Some(place), Some(other)) = (place, other) else { return place.is_none() };
    if place == other {
        return true;
    }
    let on_path = |stage: StageId| map.main_path().iter().position(|on_path| *on_path == stage);
    let parent = |stage: StageId| map.stage(stage).parent.and_then(on_path);
    let begins = match map.stage(other.first).role {
        // What is dead-lettered is missing at every stage that follows the same one.
        Role::DeadLetter => Some(parent(other.first).map_or(0, |at| at + 1)),
        Role::Way | Role::End => on_path(other.first),
    };
    let at = on_path(place.last).or_else(|| parent(place.last));
    begins.zip(at).is_some_and(|(begins, at)| at >= begins)
}
