//! Which of a tenant's log groups a condition concerns.

use super::condition::Condition;
use super::criteria::Criteria;
use super::history::History;
use crate::domain::topology::LogGroupId;

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
                Some(other) => join(other, problem),
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
fn join(problem: &mut Condition, other: Condition) {
    problem.severity = problem.severity.min(other.severity);
    if other.subject.place < problem.subject.place {
        problem.subject = other.subject;
        problem.detail = other.detail;
    }
    problem.since = problem.since.min(other.since);
    problem.last = problem.last.max(other.last);
    problem.affected = problem.affected.zip(other.affected).map(|(a, b)| a + b);
    problem.of = problem.of.zip(other.of).map(|(a, b)| a + b);
    problem.canaries.extend(other.canaries);
    problem.canaries.sort_unstable();
    problem.log_groups.extend(other.log_groups);
}
