//! Which of a tenant's log groups a condition concerns.

use super::condition::{Condition, Detail};
use super::criteria::Criteria;
use super::history::History;
use crate::domain::topology::{LogGroupId, Topology};

/// Judges each log group of a tenant with several by itself as well. What is a problem of some of them names
/// these, and is a problem however many others the tenant has.
pub(super) fn narrow(
    history: &History<'_>,
    criteria: &Criteria,
    find: impl Fn(&History<'_>) -> Vec<Condition>,
    found: &mut Vec<Condition>,
) {
    let groups: Vec<LogGroupId> = history.snapshot.topology.log_group_ids(history.tenant).collect();
    if groups.len() < 2 {
        return;
    }
    let mut narrowed: Vec<Condition> = Vec::new();
    for group in &groups {
        let of_group = find(&history.of(*group, criteria));
        for problem in of_group.into_iter().filter(Condition::is_problem) {
            let problem = Condition { log_groups: vec![*group], ..problem };
            match narrowed.iter_mut().find(|other| is_same(other, &problem)) {
                Some(other) => join(other, problem, &history.snapshot.topology),
                None => narrowed.push(problem),
            }
        }
    }
    for problem in narrowed {
        match found.iter_mut().find(|whole| is_same(whole, &problem)) {
            Some(whole) if problem.log_groups.len() == groups.len() && whole.is_problem() => {}
            Some(whole) => *whole = problem,
            None => found.push(problem),
        }
    }
    for condition in found.iter_mut().filter(|condition| condition.log_groups.len() == groups.len()) {
        condition.log_groups.clear();
    }
}

fn is_same(a: &Condition, b: &Condition) -> bool {
    a.name == b.name && (a.subject == b.subject || a.name.has_one_place())
}

/// Adds what another log group shows of the same problem. The first place on the path is the culprit.
fn join(problem: &mut Condition, other: Condition, map: &Topology) {
    problem.severity = problem.severity.min(other.severity);
    let place = |condition: &Condition| condition.subject.place.map(|place| map.order(place));
    let is_first = place(&other) < place(problem);
    if is_first {
        problem.subject = other.subject;
    }
    match (&mut problem.detail, other.detail) {
        (
            Detail::NotArrived { dead_lettered, lost },
            Detail::NotArrived { dead_lettered: more, lost: gone },
        ) => {
            *dead_lettered += more;
            *lost += gone;
        }
        (detail, other) if is_first => *detail = other,
        _ => {}
    }
    problem.since = problem.since.min(other.since);
    problem.last = problem.last.max(other.last);
    problem.affected = problem.affected.zip(other.affected).map(|(a, b)| a + b);
    problem.of = problem.of.zip(other.of).map(|(a, b)| a + b);
    problem.canaries.extend(other.canaries);
    problem.canaries.sort_unstable();
    problem.log_groups.extend(other.log_groups);
}
