//! Judges incidents: what they said at each review, from the truth and the log. It shares no code with them.

use std::collections::{BTreeMap, BTreeSet};

use traceprobe::domain::conditions::{Condition, ConditionName};
use traceprobe::domain::incidents::{Episode, IncidentId, State, Step};
use traceprobe::domain::topology::HopRange;

use super::history::*;
use super::hops::HopState;
use super::judge::{Ending, Facts, FoundAfterwards, Judged, Verdict};
use super::pipeline::{DEAD, TABLE};
use super::reviews::Review;
use super::run::Outcome as Run;

/// How often each thing happened.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    pub reviews: usize,
    /// Incidents that began or turned out to be one of it, by condition.
    pub began: BTreeMap<ConditionName, usize>,
    pub over: usize,
    pub unproven: usize,
    pub ended: usize,
    /// Came back before they had ended.
    pub returned: usize,
    pub merged: usize,
    /// Turned out to be another condition.
    pub turned: usize,
    /// Were open when the process ended, and known to the next one.
    pub outlived_runs: usize,
    /// Problems that belong to the episode of another one.
    pub explained: usize,
}

impl Tally {
    /// Whether everything happened.
    pub fn everything_happened(&self) -> bool {
        let names = [
            ConditionName::CannotSee,
            ConditionName::Corruption,
            ConditionName::Duplicates,
            ConditionName::HopOverTarget,
            ConditionName::LateInjection,
            ConditionName::Leaking,
            ConditionName::Losing,
            ConditionName::Missing,
            ConditionName::NeverSeen,
            ConditionName::NotInjecting,
            ConditionName::Skipped,
            ConditionName::Slow,
            ConditionName::Stuck,
            ConditionName::TotalStall,
        ];
        let counts = [
            self.over,
            self.unproven,
            self.ended,
            self.returned,
            self.merged,
            self.turned,
            self.outlived_runs,
            self.explained,
        ];
        names.iter().all(|name| self.began.contains_key(name)) && counts.iter().all(|count| *count > 0)
    }
}

/// What is wrong with what a run's incidents said; at most a few.
pub fn faults(run: &Run, verdicts: &[(usize, Verdict)], tally: &mut Tally) -> Vec<String> {
    let mut judge = Judge::new(run, verdicts);
    let mut faults = run.reviews.faults.clone();
    for review in &run.reviews.all {
        judge.review(review, tally);
        if !judge.faults.is_empty() {
            let after = (review.at - run.reviews.all[0].at) as f64 / 1e6;
            faults.push(format!("review {after:+.1} s, {} of the log", review.place));
            for it in &review.problems {
                let place = it.subject.place.map(|place| (place.first.0, place.last.0));
                let times = [it.since, it.last].map(|at| at.map(|at| at.micros()));
                faults.push(format!(
                    "  {:?} {:?} {place:?} {:?} {times:?}",
                    it.name, it.subject.tenant, it.blame
                ));
            }
            faults.append(&mut judge.faults);
            break;
        }
    }
    faults
}

/// What was told of one episode so far.
struct Told {
    last: Episode,
    /// The last canary that its own condition reported, and when it was last a problem.
    last_affected: Micros,
    seen_at: Micros,
}

struct Judge<'a> {
    run: &'a Run,
    verdicts: BTreeMap<usize, &'a Verdict>,
    /// By tenant, in the order of the planned injection.
    of_tenant: Vec<Vec<usize>>,
    told: BTreeMap<IncidentId, Told>,
    /// When each episode that is over was last seen with a problem that concerns its tenant.
    busy_at: BTreeMap<IncidentId, Micros>,
    /// When this run of the probe began to review.
    run_began: Micros,
    faults: Vec<String>,
}

impl<'a> Judge<'a> {
    fn new(run: &'a Run, verdicts: &'a [(usize, Verdict)]) -> Self {
        let canaries = &run.history.canaries;
        let mut of_tenant = vec![Vec::new(); run.history.rules.source_of.len()];
        for (which, _) in verdicts {
            of_tenant[canaries[*which].tenant].push(*which);
        }
        of_tenant
            .iter_mut()
            .for_each(|all| all.sort_by_key(|which| (canaries[*which].planned, canaries[*which].id)));
        Self {
            run,
            verdicts: verdicts.iter().map(|(which, verdict)| (*which, verdict)).collect(),
            of_tenant,
            told: BTreeMap::new(),
            busy_at: BTreeMap::new(),
            run_began: 0,
            faults: Vec::new(),
        }
    }

    fn review(&mut self, review: &Review, tally: &mut Tally) {
        tally.reviews += 1;
        if let Some(restored) = &review.restored {
            self.restart(restored, review, tally);
        }
        self.nothing_disappears(review, tally);
        let open = |it: &&Episode| !matches!(it.state, State::Ended { .. });
        let episodes: Vec<&Episode> = review.episodes.iter().map(AsRef::as_ref).collect();
        self.every_problem_belongs(review, &episodes.iter().copied().filter(open).collect::<Vec<_>>(), tally);
        for episode in &episodes {
            self.episode(review, episode, &episodes);
        }
        for (_, step) in &review.steps {
            match step {
                Step::Merged => tally.merged += 1,
                Step::Ended => tally.ended += 1,
                Step::Began | Step::Became { .. } | Step::Changed => {}
            }
        }
    }

    fn fault(&mut self, episode: &Episode, what: &str) {
        self.faults.push(format!("{what}: {episode:?}"));
    }

    fn planned(&self, which: usize) -> Micros {
        self.run.history.canaries[which].planned
    }

    /// Only what was stored is known afterwards, and just as it was.
    fn restart(&mut self, restored: &[Episode], review: &Review, tally: &mut Tally) {
        self.run_began = review.at;
        self.busy_at.clear();
        let ids: BTreeSet<_> = restored.iter().map(|it| it.id).collect();
        self.told.retain(|id, _| ids.contains(id));
        for episode in restored {
            tally.outlived_runs += usize::from(!matches!(episode.state, State::Ended { .. }));
            let Some(told) = self.told.get_mut(&episode.id) else {
                self.faults.push(format!("stored, but never told: {episode:?}"));
                continue;
            };
            // What was told last may not have been stored.
            let last = episode.condition.last.unwrap_or(episode.beginning);
            told.last_affected = last.max(episode.beginning).micros();
            if told.last.beginning != episode.beginning && told.last.condition.name == episode.condition.name
            {
                self.fault(episode, "its beginning was stored as another");
            }
        }
    }

    fn nothing_disappears(&mut self, review: &Review, tally: &mut Tally) {
        let shown: BTreeSet<_> = review.episodes.iter().map(|it| it.id).collect();
        let merged: BTreeSet<_> =
            review.steps.iter().filter(|(_, step)| *step == Step::Merged).map(|(it, _)| it.id).collect();
        let gone: Vec<_> = self.told.keys().copied().filter(|id| !shown.contains(id)).collect();
        for id in gone {
            let told = self.told.remove(&id).expect("it is one of them");
            let tenant = told.last.condition.subject.tenant;
            let takes_it = |it: &Episode| {
                it.id != id
                    && it.beginning <= told.last.beginning
                    && (it.condition.subject.tenant.is_none() || it.condition.subject.tenant == tenant)
                    && !matches!(it.state, State::Ended { .. })
            };
            if !merged.contains(&id) || !review.episodes.iter().any(|it| takes_it(it)) {
                self.fault(&told.last, "it disappeared");
            }
        }
        for episode in &review.episodes {
            let before = self.told.get(&episode.id).map(|told| (told.last.state, told.last.condition.name));
            let is_over = |state| matches!(state, State::Over { .. } | State::Ended { .. });
            match before {
                None => *tally.began.entry(episode.condition.name).or_default() += 1,
                Some((state, name)) => {
                    tally.returned += usize::from(is_over(state) && !is_over(episode.state));
                    tally.over += usize::from(!is_over(state) && is_over(episode.state));
                    if name != episode.condition.name {
                        tally.turned += 1;
                        *tally.began.entry(episode.condition.name).or_default() += 1;
                    }
                    tally.unproven +=
                        usize::from(episode.state == State::Unproven && state != State::Unproven);
                }
            }
        }
    }

    /// Every problem has its own open episode, or follows from one that has.
    fn every_problem_belongs(&mut self, review: &Review, open: &[&Episode], tally: &mut Tally) {
        for problem in &review.problems {
            self.nothing_gets_through(review, problem);
            let own = open.iter().filter(|it| is_of(&it.condition, problem)).count();
            if own > 1 {
                self.faults.push(format!("{own} open episodes of {problem:?}"));
            }
            if own == 0 {
                // Also by way of another problem, which has none either.
                let mut causes = vec![problem];
                let mut at = 0;
                while at < causes.len() {
                    let follows = |it: &&Condition| self.follows(causes[at], it) && !causes.contains(it);
                    let more: Vec<&Condition> = review.problems.iter().filter(follows).collect();
                    causes.extend(more);
                    at += 1;
                }
                let explains = |it: &&Episode| {
                    causes.iter().any(|one| is_of(&it.condition, one) || self.follows(one, &it.condition))
                };
                match open.iter().find(|it| explains(it)) {
                    Some(_) => tally.explained += 1,
                    None => {
                        let of_it = |it: &&&Episode| {
                            it.condition.subject.tenant.is_none_or(|of| Some(of) == problem.subject.tenant)
                        };
                        let one = |it: &&Episode| (it.condition.name, it.condition.subject.place, it.state);
                        let open: Vec<_> = open.iter().filter(of_it).map(one).collect();
                        self.faults.push(format!("belongs to no incident: {problem:?}; open: {open:?}"));
                    }
                }
            }
        }
    }

    /// While a hop is told to be stopped, nothing has passed it since the last overdue canary was planned.
    fn nothing_gets_through(&mut self, review: &Review, problem: &Condition) {
        let is_stopped = matches!(problem.name, ConditionName::Stuck | ConditionName::TotalStall);
        let (Some(place), Some(last)) = (problem.subject.place.filter(|_| is_stopped), problem.last) else {
            return;
        };
        let path = &self.run.history.rules.main_path;
        let from = path.iter().position(|stage| *stage == usize::from(place.first.0)).unwrap_or_default();
        let passage = |which: &usize| {
            let arrived = self.facts(*which, review.place)?.arrived;
            path[from..].iter().find_map(|stage| arrived[*stage]).map(|(_, latest)| latest)
        };
        let tenants = problem
            .subject
            .tenant
            .map_or(0..self.of_tenant.len(), |it| usize::from(it.0)..usize::from(it.0) + 1);
        let passed = self.of_tenant[tenants].iter().flatten().filter_map(passage).max();
        if passed.is_some_and(|at| at > last.micros()) {
            self.faults.push(format!("something passed at {passed:?}: {problem:?}"));
        }
    }

    /// Whether a problem follows from another one, by the documentation.
    fn follows(&self, problem: &Condition, from: &Condition) -> bool {
        use ConditionName::{
            Corruption, Duplicates, HopOverTarget, LateInjection, Leaking, Losing, Missing, NeverSeen,
            Skipped, Slow, Stuck, TotalStall,
        };
        let of_tenant = from.subject.tenant.is_none() || from.subject.tenant == problem.subject.tenant;
        if from.name == LateInjection && matches!(problem.name, Slow | HopOverTarget) {
            return of_tenant;
        }
        let named = match from.name {
            TotalStall => matches!(problem.name, Stuck | Losing | Missing | Slow | HopOverTarget),
            Stuck => matches!(problem.name, Losing | Missing | Slow | HopOverTarget),
            Losing => matches!(problem.name, Missing | Slow | HopOverTarget),
            Missing => matches!(problem.name, Slow | HopOverTarget),
            Slow => problem.name == HopOverTarget,
            Leaking => matches!(problem.name, Leaking | Duplicates),
            Duplicates => problem.name == Duplicates,
            Corruption => problem.name == Corruption,
            NeverSeen => {
                let is_there = problem.subject.place == from.subject.place;
                is_there && matches!(problem.name, Losing | Missing | Skipped | Slow | HopOverTarget)
            }
            _ => false,
        };
        let differs = (problem.name, problem.subject) != (from.name, from.subject);
        differs && named && of_tenant && self.is_behind(problem.subject.place, from.subject.place)
    }

    fn is_behind(&self, place: Option<HopRange>, from: Option<HopRange>) -> bool {
        let rules = &self.run.history.rules;
        let on_path = |stage: usize| rules.main_path.iter().position(|it| *it == stage);
        let (Some(place), Some(from)) = (place, from) else { return place.is_none() };
        let (first, last) = (usize::from(from.first.0), usize::from(place.last.0));
        let parent = |stage: usize| rules.stages[stage].parent.and_then(on_path);
        let begins = if first == DEAD { parent(first).map(|at| at + 1) } else { on_path(first) };
        let at = on_path(last).or_else(|| parent(last));
        place == from || begins.zip(at).is_some_and(|(begins, at)| at >= begins)
    }

    fn episode(&mut self, review: &Review, episode: &Episode, all: &[&Episode]) {
        let own = review.problems.iter().find(|problem| is_of(&episode.condition, problem));
        let ended_before =
            self.told.get(&episode.id).is_some_and(|told| matches!(told.last.state, State::Ended { .. }));
        if ended_before {
            return;
        }
        self.beginning(review, episode, own, all);
        let counted = own.and_then(|own| own.canaries.last()).map(|id| id.planned_at().micros());
        let (mut last_affected, mut seen_at) = (episode.beginning.micros(), review.at);
        if let Some(told) = self.told.get(&episode.id) {
            last_affected = last_affected.max(told.last_affected);
            seen_at = told.seen_at.max(self.run_began);
        }
        if let Some(at) = counted.filter(|_| matches!(episode.state, State::Ongoing)) {
            last_affected = last_affected.max(at);
        }
        if own.is_some() {
            seen_at = review.at;
        }
        self.state(review, episode, own, last_affected, seen_at);
        self.count(review, episode, own);
        self.told.insert(episode.id, Told { last: episode.clone(), last_affected, seen_at });
    }

    fn beginning(&mut self, review: &Review, episode: &Episode, own: Option<&Condition>, all: &[&Episode]) {
        let (name, subject) = (episode.condition.name, episode.condition.subject);
        let beginning = episode.beginning.micros();
        if let Some(told) = self.told.get(&episode.id) {
            // The same condition at an earlier stage is another one, unless there is only one place.
            let turned = !is_of(&told.last.condition, &episode.condition);
            let moved = told.last.beginning != episode.beginning;
            if moved && (!turned || told.last.beginning < episode.beginning) {
                let before = told.last.beginning;
                self.fault(episode, &format!("its beginning has moved from {before}"));
            }
            if !turned {
                return;
            }
        }
        let same = |it: &&&Episode| {
            it.id != episode.id && it.condition.name == name && it.condition.subject == subject
        };
        let floor = all.iter().filter(same).filter_map(|it| it.end()).max().map(|at| at.micros());
        if floor.is_some_and(|floor| beginning < floor) {
            self.fault(episode, "it began before the end of an earlier one");
        }
        let counts = counts_canaries(name);
        if !counts || episode.began_before {
            return;
        }
        let tenants =
            subject.tenant.map_or(0..self.of_tenant.len(), |it| usize::from(it.0)..usize::from(it.0) + 1);
        let mut candidates = self.of_tenant[tenants].iter().flatten().copied();
        // What turned out to be this may have begun with a canary that it affected otherwise.
        let kept = self.told.get(&episode.id).is_some_and(|told| told.last.beginning == episode.beginning);
        let affected = candidates.any(|which| {
            self.planned(which) == beginning
                && (kept || self.is_affected(name, subject.place, which, review.place))
        });
        if !affected {
            self.fault(episode, "it did not begin with an affected canary");
        }
        // What was affected immediately before, without a good one between, belongs to it.
        let Some(tenant) = subject.tenant.map(|it| usize::from(it.0)) else { return };
        if own.is_none_or(|own| own.subject.place != subject.place) || name == ConditionName::Losing {
            return;
        }
        // What is wrong now may have begun later than the episode, which was one of something else at first.
        if own.is_some_and(|own| own.since.is_some_and(|since| since.micros() > beginning)) {
            return;
        }
        let window = review.at - self.run.reviews.criteria.window.map_or(0, |it| it.as_micros() as Micros);
        let earlier = self.of_tenant[tenant].iter().rev().copied();
        let mut earlier = earlier.filter(|which| self.planned(*which) < beginning);
        let before = earlier.find(|which| {
            self.is_affected_now(name, subject.place, *which, review.place)
                || self.is_good(name, subject.place, *which, review.place)
        });
        if let Some(which) = before
            && self.is_affected_now(name, subject.place, which, review.place)
            && self.planned(which) >= floor.unwrap_or(window).max(window)
        {
            let planned = self.planned(which);
            self.fault(episode, &format!("canary {which}, planned at {planned}, was affected before"));
        }
    }

    fn state(
        &mut self,
        review: &Review,
        episode: &Episode,
        own: Option<&Condition>,
        last: Micros,
        seen_at: Micros,
    ) {
        let (name, subject) = (episode.condition.name, episode.condition.subject);
        match episode.state {
            State::Ongoing if own.is_none() => {
                self.fault(episode, "it goes on, but is not a problem any more")
            }
            State::Ongoing => {}
            State::Gone { .. } => self.fault(episode, "its tenant and its stage are watched"),
            State::Unproven if own.is_some() => self.fault(episode, "it is a problem, and called unproven"),
            State::Unproven => {
                // Whether there is a second copy may not be known yet.
                let is_known = is_proven_by_canaries(name) && name != ConditionName::Duplicates;
                let Some(tenant) = subject.tenant.filter(|_| is_known) else { return };
                let good = |which: &&usize| {
                    self.planned(**which) > last && self.is_good(name, subject.place, **which, review.place)
                };
                if let Some(which) = self.of_tenant[usize::from(tenant.0)].iter().find(good).copied() {
                    self.fault(episode, &format!("it is over, which canary {which} proves"));
                }
            }
            State::Over { since, .. } | State::Ended { at: since } => {
                let is_new = self.told.get(&episode.id).is_none_or(|told| told.last.end() != Some(since));
                if since < episode.beginning || since.micros() > review.at {
                    self.fault(episode, "its end is not between its beginning and now");
                }
                if is_new && counts_canaries(name) && since.micros() <= last {
                    self.fault(
                        episode,
                        &format!("it ended before its last affected canary, planned at {last}"),
                    );
                }
                if is_new {
                    self.proof(review, episode, since.micros());
                }
                if matches!(episode.state, State::Ended { .. }) && own.is_some() {
                    self.fault(episode, "it has ended, but is a problem");
                }
                // What lingers keeps it open; without any other problem of the tenant, nothing does.
                let concerns = |it: &Condition| {
                    subject.tenant.is_none() || it.subject.tenant.is_none_or(|of| Some(of) == subject.tenant)
                };
                let busy = review.problems.iter().any(concerns);
                self.busy_at
                    .entry(episode.id)
                    .and_modify(|at| *at = if busy { review.at } else { *at })
                    .or_insert(review.at);
                let reviews = &self.run.reviews;
                let well = review.at - self.busy_at[&episode.id].max(seen_at);
                if matches!(episode.state, State::Over { .. })
                    && well > reviews.over_after + 2 * reviews.every
                {
                    self.fault(episode, "all has been well for long, but it has not ended");
                }
            }
        }
    }

    /// Something in the log proves that it was over at this instant.
    fn proof(&mut self, review: &Review, episode: &Episode, end: Micros) {
        let (name, subject) = (episode.condition.name, episode.condition.subject);
        let tenants =
            subject.tenant.map_or(0..self.of_tenant.len(), |it| usize::from(it.0)..usize::from(it.0) + 1);
        let mut canaries = self.of_tenant[tenants].iter().flatten().copied();
        let place = subject.place.map(|place| usize::from(place.last.0));
        let proven = if is_proven_by_canaries(name) {
            canaries.any(|which| {
                self.planned(which) == end && self.is_good(name, subject.place, which, review.place)
            })
        } else if matches!(name, ConditionName::Stuck | ConditionName::TotalStall | ConditionName::NeverSeen)
        {
            canaries.any(|which| {
                let arrived = self.facts(which, review.place).map(|facts| facts.arrived).unwrap_or_default();
                let stages = if name == ConditionName::TotalStall { TABLE..STAGES } else { 0..STAGES };
                arrived[stages].iter().flatten().any(|(_, latest)| *latest == end)
            })
        } else if let (ConditionName::CannotSee, Some(tenant), Some(stage)) = (name, subject.tenant, place) {
            let source = self.run.history.rules.source_of[usize::from(tenant.0)][stage];
            let log = &self.run.history.log[..review.place];
            let is_restart = |entry: &Entry| matches!(entry.what, What::Restarted);
            let began = log.iter().rposition(is_restart).unwrap_or_default();
            log[began..].iter().any(|entry| {
                let What::PollAnswered(poll) = &entry.what else { return false };
                poll.source == source && matches!(poll.result, PollResult::Complete { .. })
            })
        } else {
            true
        };
        if !proven {
            self.fault(episode, "nothing proves its end");
        }
    }

    fn count(&mut self, review: &Review, episode: &Episode, own: Option<&Condition>) {
        let Some(affected) = episode.affected() else { return };
        let subject = episode.condition.subject;
        let goes_on = matches!(episode.state, State::Ongoing);
        if goes_on && own.is_some_and(|own| own.canaries.len() > affected) {
            self.fault(episode, "it affected fewer canaries than are reported");
        }
        if episode.condition.name == ConditionName::Leaking {
            return;
        }
        let tenants =
            subject.tenant.map_or(0..self.of_tenant.len(), |it| usize::from(it.0)..usize::from(it.0) + 1);
        // What is reported at once may include canaries of an earlier episode.
        let at_once = episode.condition.affected.unwrap_or_default();
        let canaries = self.of_tenant[tenants].iter().flatten();
        let all = canaries.filter(|which| {
            self.planned(**which) >= episode.beginning.micros()
                && self.is_affected_by_anything(**which, review.place)
        });
        let most = all.count().max(at_once);
        if affected > most {
            self.fault(episode, &format!("it affected {affected} canaries, but only {most} were"));
        }
    }

    fn facts(&self, which: usize, place: usize) -> Option<&'a Facts> {
        let facts = &self.verdicts.get(&which)?.facts;
        let later = facts.partition_point(|(at, _)| *at < place);
        later.checked_sub(1).map(|last| &facts[last].1)
    }

    /// Everything that was known of a canary by an instant, oldest first.
    fn all_facts(&self, which: usize, place: usize) -> impl Iterator<Item = &'a Facts> {
        let facts = self.verdicts.get(&which).map_or(&[][..], |verdict| &verdict.facts);
        facts.iter().take_while(move |(at, _)| *at < place).map(|(_, facts)| facts)
    }

    /// Whether the fault ever affected a canary, as far as was known by then.
    fn is_affected(&self, name: ConditionName, place: Option<HopRange>, which: usize, at: usize) -> bool {
        self.all_facts(which, at).any(|facts| self.affected(name, place, which, facts))
            || (name == ConditionName::LateInjection && self.was_late(which))
    }

    fn is_affected_now(&self, name: ConditionName, place: Option<HopRange>, which: usize, at: usize) -> bool {
        match name {
            // When it was learned is not part of the facts.
            ConditionName::Duplicates
            | ConditionName::Corruption
            | ConditionName::LateInjection
            | ConditionName::Stuck
            | ConditionName::TotalStall
            | ConditionName::Skipped => false,
            // What does not arrive may be told as missing or lost.
            ConditionName::Slow => self.facts(which, at).is_some_and(|facts| {
                facts.arrived[TABLE].is_some() && self.affected(name, place, which, facts)
            }),
            ConditionName::HopOverTarget => self.facts(which, at).is_some_and(|facts| {
                let stage = place.map_or(TABLE, |place| usize::from(place.last.0));
                // One that came after it was given up stays missing.
                let has_come = facts.arrived[stage].is_some() && facts.hops[stage] != HopState::Missing;
                has_come && self.affected(name, place, which, facts)
            }),
            _ => self.facts(which, at).is_some_and(|facts| self.affected(name, place, which, facts)),
        }
    }

    fn is_affected_by_anything(&self, which: usize, at: usize) -> bool {
        let rules = &self.run.history.rules;
        let verdict = self.verdicts[&which];
        let copies = &verdict.copies;
        copies.charged.iter().any(|count| *count > 0)
            || copies.corrupted.iter().any(|count| *count > 0)
            || self.was_late(which)
            || self.all_facts(which, at).any(|facts| {
                matches!(facts.judged, Judged::Slow | Judged::Overdue)
                    || matches!(facts.outcome, Some(Ending::Lost(..) | Ending::DeadLettered))
                    || facts.missing.contains(&true)
                    || (0..STAGES).any(|stage| {
                        self.is_over_target(which, stage, facts)
                            || matches!(
                                facts.hops[stage],
                                HopState::Missing | HopState::NeverSeen | HopState::Skipped
                            )
                            || (rules.main_path.contains(&stage) && self.is_skipped(stage, facts))
                    })
            })
            || self.was_out_for_long(which, at)
    }

    /// Whether the log proves that it was not at some stage of the main path by its threshold.
    fn was_out_for_long(&self, which: usize, at: usize) -> bool {
        let (rules, planned) = (&self.run.history.rules, self.planned(which));
        let facts = self.facts(which, at);
        facts.is_some_and(|facts| {
            rules
                .main_path
                .iter()
                .any(|stage| facts.arrived[*stage].is_none_or(|(earliest, _)| earliest > planned + rules.slo))
        })
    }

    fn was_late(&self, which: usize) -> bool {
        let canary = &self.run.history.canaries[which];
        let late_after = self.run.reviews.criteria.late_after.as_micros() as Micros;
        canary.answered_at.is_none() || canary.answered - canary.planned > late_after
    }

    fn is_over_target(&self, which: usize, stage: usize, facts: &Facts) -> bool {
        let rules = &self.run.history.rules.stages[stage];
        let began = match rules.parent {
            None => Some(self.planned(which)),
            Some(parent) => facts.arrived[parent].map(|(_, latest)| latest),
        };
        match facts.hops[stage] {
            HopState::Overdue | HopState::Missing => true,
            HopState::Measured { .. } | HopState::Inherited => began
                .zip(facts.arrived[stage])
                .is_some_and(|(began, (earliest, _))| earliest - began > rules.target),
            HopState::Open
            | HopState::Unjudged
            | HopState::Inverted
            | HopState::Skipped
            | HopState::NeverSeen => false,
        }
    }

    fn is_skipped(&self, stage: usize, facts: &Facts) -> bool {
        let path = &self.run.history.rules.main_path;
        let at = path.iter().position(|it| *it == stage);
        facts.arrived[stage].is_none()
            && at.is_some_and(|at| path[at + 1..].iter().any(|later| facts.arrived[*later].is_some()))
    }

    fn affected(&self, name: ConditionName, place: Option<HopRange>, which: usize, facts: &Facts) -> bool {
        let verdict = self.verdicts[&which];
        let stage = place.map_or(TABLE, |place| usize::from(place.last.0));
        let on_path = self.run.history.rules.main_path.contains(&stage);
        let is_lost = matches!(facts.outcome, Some(Ending::Lost(..) | Ending::DeadLettered));
        let is_absent =
            facts.missing[stage] || matches!(facts.hops[stage], HopState::Missing | HopState::NeverSeen);
        match name {
            ConditionName::Missing => {
                let is_told = on_path
                    && ((is_lost && facts.found_afterwards.is_none()) || self.is_skipped(stage, facts));
                is_absent && facts.arrived[stage].is_none() && facts.taken && !is_told
            }
            ConditionName::NeverSeen => is_absent && facts.arrived[stage].is_none() && facts.taken,
            ConditionName::Losing => is_lost && facts.found_afterwards != Some(FoundAfterwards::InTime),
            ConditionName::Slow => matches!(facts.judged, Judged::Slow | Judged::Overdue),
            ConditionName::HopOverTarget => self.is_over_target(which, stage, facts),
            ConditionName::Skipped => self.is_skipped(stage, facts),
            ConditionName::Duplicates => verdict.copies.charged[stage] > 0,
            ConditionName::Corruption => verdict.copies.corrupted[stage] > 0,
            ConditionName::LateInjection => self.was_late(which),
            // Whatever the place: it may have moved.
            ConditionName::Stuck | ConditionName::TotalStall => facts.arrived[TABLE].is_none(),
            _ => true,
        }
    }

    /// Whether a canary shows that all is well there.
    fn is_good(&self, name: ConditionName, place: Option<HopRange>, which: usize, at: usize) -> bool {
        let Some(facts) = self.facts(which, at) else { return false };
        let verdict = self.verdicts[&which];
        let stage = place.map(|place| usize::from(place.last.0)).filter(|it| *it != DEAD).unwrap_or(TABLE);
        let is_here = facts.arrived[stage].is_some();
        match name {
            ConditionName::Slow => facts.judged == Judged::Good,
            ConditionName::Losing => facts.arrived[TABLE].is_some(),
            ConditionName::HopOverTarget => {
                is_here
                    && matches!(facts.hops[stage], HopState::Measured { .. } | HopState::Inherited)
                    && !self.is_over_target(which, stage, facts)
            }
            ConditionName::Corruption => {
                // What is found by luck says nothing about the rest of its record.
                let copies = &self.run.history.canaries[which].copies;
                let is_readable = |copy: &Copy| copy.stage == stage && copy.written.is_readable();
                is_here && verdict.copies.corrupted[stage] == 0 && copies.iter().any(is_readable)
            }
            ConditionName::LateInjection => {
                let canary = &self.run.history.canaries[which];
                canary.answered_at.is_some_and(|answered| answered < at)
                    && matches!(canary.answer, Answer::Accepted | Answer::AcceptedDoubled)
            }
            _ => is_here,
        }
    }
}

fn counts_canaries(name: ConditionName) -> bool {
    matches!(
        name,
        ConditionName::Missing
            | ConditionName::Losing
            | ConditionName::Slow
            | ConditionName::HopOverTarget
            | ConditionName::Skipped
            | ConditionName::Duplicates
            | ConditionName::Corruption
            | ConditionName::LateInjection
            | ConditionName::NeverSeen
            | ConditionName::Stuck
            | ConditionName::TotalStall
    )
}

fn is_proven_by_canaries(name: ConditionName) -> bool {
    counts_canaries(name)
        && !matches!(name, ConditionName::NeverSeen | ConditionName::Stuck | ConditionName::TotalStall)
}

/// Whether both are the same condition of the same tenant, at the same place unless there is only one.
fn is_of(of: &Condition, problem: &Condition) -> bool {
    let has_one_place = matches!(
        of.name,
        ConditionName::TotalStall | ConditionName::Stuck | ConditionName::Losing | ConditionName::Slow
    );
    of.name == problem.name
        && of.subject.tenant == problem.subject.tenant
        && (has_one_place || of.subject.place == problem.subject.place)
}
