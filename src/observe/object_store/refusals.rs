//! Since how many polls objects of a label have been refused, so that a label of which every new object is refused
//! does not make each poll fail.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::foreign::ForeignText;

/// The refusals of each label of which a refused object is known; `None` stands for the objects without a label.
///
/// They do not end when another object is read, because a writer may put some that are refused and some that are not.
#[derive(Debug, Default)]
pub(super) struct Refusals(BTreeMap<Option<ForeignText>, Streak>);

/// The polls in which objects of one label were refused.
#[derive(Clone, Copy, Debug)]
struct Streak {
    polls: u32,
    /// The number of the last of them.
    last: u64,
}

impl Refusals {
    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Notes that an object of this label was refused. Returns in how many polls that happened, with this one.
    pub(super) fn note(&mut self, label: Option<ForeignText>, poll_number: u64) -> u32 {
        let streak = self.0.entry(label).or_insert(Streak { polls: 1, last: poll_number });
        if streak.last != poll_number {
            *streak = Streak { polls: streak.polls.saturating_add(1), last: poll_number };
        }
        streak.polls
    }

    /// Whether an object of this label was refused in this poll.
    pub(super) fn has_one_in(&self, label: Option<&ForeignText>, poll_number: u64) -> bool {
        self.0.get(&label.cloned()).is_some_and(|streak| streak.last == poll_number)
    }

    /// Forgets the refusals of all other labels.
    pub(super) fn retain(&mut self, labels: &BTreeSet<Option<ForeignText>>) {
        self.0.retain(|label, _| labels.contains(label));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_poll_counts_once_and_a_label_without_refused_objects_begins_again() {
        let (a, b) = (Some(ForeignText::label("a")), Some(ForeignText::label("b")));
        let mut refusals = Refusals::default();
        for (poll, label, polls) in [(1, &a, 1), (1, &a, 1), (3, &a, 2), (3, &b, 1), (4, &a, 3)] {
            assert_eq!(refusals.note(label.clone(), poll), polls, "{poll} {label:?}");
        }
        assert_eq!([&a, &b].map(|label| refusals.has_one_in(label.as_ref(), 4)), [true, false]);
        refusals.retain(&BTreeSet::from([b.clone()]));
        assert_eq!((refusals.note(a, 5), refusals.note(b, 5)), (1, 2));
        refusals.retain(&BTreeSet::new());
        assert!(refusals.is_empty());
    }
}
