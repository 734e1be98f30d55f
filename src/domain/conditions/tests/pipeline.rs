//! The pipeline's faults: each begins at second 600 and ends at second 1,800.

use super::world::*;
use crate::domain::conditions::{ConditionName, Detail, Severity};
use crate::domain::quantile::Quantile;
use crate::domain::topology::HopRange;
use crate::domain::topology::fixture::*;
use crate::domain::tracker::LeakEpisode;

const BEGIN: u64 = 600;
const END: u64 = 1_800;

/// A script in which canaries of the fault's time meet `fate`.
fn faulty(fate: Fate) -> impl Fn(u64) -> Fate + 'static {
    move |planned| if (BEGIN..END).contains(&planned) { fate } else { WELL }
}

/// A script in which every third canary of the fault's time meets `fate`.
fn every_third(fate: Fate) -> impl Fn(u64) -> Fate + 'static {
    move |planned| {
        let hit = (BEGIN..END).contains(&planned) && (planned / INTERVAL).is_multiple_of(3);
        if hit { fate } else { WELL }
    }
}

#[test]
fn an_archive_that_drops_everything_is_missing_canaries() {
    let mut world = World::new(faulty(WELL.at(ARCHIVE, None)));
    // The third canary was planned at 660, and is missing 30 s after its arrival in the stream.
    let (on, missing) = world.until_on(ConditionName::Missing, ARCHIVE, 693);
    assert!(on > 660, "{on}");
    assert_eq!((missing.affected, missing.since), (Some(3), Some(t(BEGIN))));
    assert_eq!(missing.severity, Severity::Warning);
    let verdict = world.run_to(END).verdict();
    assert_eq!(
        problems(&verdict),
        ["missing", "hop_over_target"],
        "it is not lost, and nothing else is wrong"
    );
    // Two good canaries end it: the second was planned at 1,830.
    assert!(world.until_off(ConditionName::Missing, ARCHIVE, 1_835) > 1_800);
    assert_eq!(problems(&world.verdict()), [""; 0]);
    assert!(notes(&world.verdict()).contains(&"missing"));
}

#[test]
fn a_ratio_is_that_of_the_time_in_which_every_canary_is_remembered() {
    let rarely = |planned: u64| if planned.is_multiple_of(60) { WELL.at(ARCHIVE, None) } else { WELL };
    for (remember, of_tenant) in [(10_000, 100), (60, 20), (20, 60)] {
        let mut world = World::new(rarely).every(2).remembering(remember, of_tenant);
        for second in [400, 700, 1_000] {
            world.run_to(second);
            // 3.3 % are missing, and 5 % are a problem.
            let missing = world.problem(ConditionName::Missing, ARCHIVE);
            assert_eq!(missing, None, "{remember}, {of_tenant}, at {second}");
        }
    }
}

#[test]
fn the_beginning_of_an_episode_does_not_move_with_the_window() {
    let mut world = World::new(|planned| if planned >= BEGIN { WELL.at(ARCHIVE, None) } else { WELL });
    for second in [700, 2_000, 4_000, 8_000] {
        world.run_to(second);
        assert_eq!(world.problem(ConditionName::Missing, ARCHIVE).unwrap().since, Some(t(BEGIN)));
    }
}

#[test]
fn a_fifth_that_does_not_come_out_of_a_hop_is_missing_there_before_it_is_lost() {
    let mut world = World::new(|planned| if planned % 150 == 0 { Fate::stopped() } else { WELL });
    let (_, missing) = world.until_on(ConditionName::Missing, TRANSIT, 340);
    assert_eq!((missing.affected, missing.of), (Some(3), Some(11)));
    assert_eq!(problems(&world.run_to(600).verdict())[0], "missing");
    // Until then it does not flicker.
    for second in 600..GIVE_UP {
        world.run_to(second);
        assert!(world.problem(ConditionName::Missing, TRANSIT).is_some(), "at {second}");
    }
}

#[test]
fn a_loss_counts_when_it_is_proven_even_if_it_was_planned_before_the_window() {
    let verdict = after(GIVE_UP + 320, |planned| if planned % 150 == 0 { Fate::stopped() } else { WELL });
    let losing = verdict.conditions.iter().find(|it| it.name == ConditionName::Losing).unwrap();
    assert_eq!(losing.severity, Severity::Critical);
    assert_eq!(losing.subject.place, Some(HopRange::one(TRANSIT)));
    // In the window 24 of 30 arrived, and three deadlines passed.
    assert_eq!((losing.affected, losing.of, losing.since), (Some(3), Some(27), Some(t(0))));
}

#[test]
fn what_was_given_up_and_came_after_all_is_not_lost() {
    let late = (GIVE_UP + 400) * 1_000;
    let mut world = World::new(faulty(WELL.at(TABLE, late)));
    world.until_on(ConditionName::Losing, TABLE, BEGIN + GIVE_UP + 63);
    // All have come.
    world.run_to(END + GIVE_UP + 400 + 5);
    assert_eq!(world.problem(ConditionName::Losing, TABLE), None);
}

#[test]
fn of_what_does_not_arrive_the_lost_and_the_dead_lettered_are_told_apart() {
    // Of every six canaries, two are dead-lettered and one is lost at the same hop.
    let script = |planned: u64| match planned / INTERVAL % 6 {
        0 | 1 => WELL.at(DEAD, 6_000).at(TABLE, None),
        2 => WELL.at(TABLE, None),
        _ => WELL,
    };
    let mut world = World::new(script);
    let (_, losing) = world.until_on(ConditionName::Losing, DEAD, 2 * GIVE_UP);
    let verdict = world.run_to(3 * GIVE_UP).verdict();
    let now = verdict.conditions.iter().find(|it| it.name == ConditionName::Losing).unwrap();
    assert_eq!(losing.subject, now.subject);
    let Detail::NotArrived { dead_lettered, lost } = now.detail else { panic!("{now:?}") };
    assert_eq!(Some(dead_lettered + lost), now.affected);
    assert!(lost >= 4 && dead_lettered >= 8, "{now:?}");
}

#[test]
fn losses_are_over_once_they_left_the_window() {
    let mut world = World::new(faulty(WELL.at(TABLE, None)));
    world.until_on(ConditionName::Losing, TABLE, BEGIN + GIVE_UP + 63);
    world.until_off(ConditionName::Losing, TABLE, END + GIVE_UP + 15 * 60 + 5);
}

#[test]
fn a_stage_that_does_not_show_what_a_later_one_shows_is_skipped() {
    let mut world = World::new(faulty(WELL.at(TRANSIT, None)));
    // The third reached the table at 670, and transit has to be read 30 s past that.
    let (_, skipped) = world.until_on(ConditionName::Skipped, TRANSIT, 703);
    assert_eq!(skipped.since, Some(t(BEGIN)));
    assert_eq!(problems(&world.run_to(END).verdict()), ["skipped"], "what arrives at the end is not missing");
    world.until_off(ConditionName::Skipped, TRANSIT, 1_842);
}

#[test]
fn canaries_that_a_stage_drops_do_not_make_its_hop_slow() {
    for stage in [ARCHIVE, TRANSIT, TABLE] {
        let mut world = World::new(every_third(WELL.at(stage, None)));
        for second in BEGIN..END {
            let problems = problems(&world.run_to(second).verdict());
            assert!(!problems.contains(&"hop_over_target"), "{stage:?} at {second} s: {problems:?}");
        }
    }
}

#[test]
fn a_stage_that_was_never_seen_is_told_as_that_and_not_as_missing() {
    let mut world = World::unseen(|_| WELL.at(TRANSIT, None));
    let (_, unseen) = world.until_on(ConditionName::NeverSeen, TRANSIT, 65);
    assert_eq!(unseen.since, Some(t(0)));
    assert_eq!(problems(&world.run_to(600).verdict()), ["never_seen"]);
}

#[test]
fn a_stage_is_no_longer_unseen_with_its_first_canary() {
    let mut world = World::unseen(|planned| if planned < 300 { WELL.at(ARCHIVE, None) } else { WELL });
    world.until_on(ConditionName::NeverSeen, ARCHIVE, 65);
    assert!(world.problem(ConditionName::NeverSeen, ARCHIVE).unwrap().severity == Severity::Warning);
    world.until_off(ConditionName::NeverSeen, ARCHIVE, 303);
}

#[test]
fn a_table_that_is_late_is_slow_and_the_hop_is_named() {
    let mut world = World::new(faulty(WELL.at(TABLE, 45_000)));
    // The fourth was planned at 690 and is overdue at 720; before that, nothing passes for a moment.
    let (_, slow) = world.until_on(ConditionName::Slow, TABLE, 722);
    assert_eq!(slow.since, Some(t(BEGIN)));
    let slow = world.run_to(1_200).problem(ConditionName::Slow, TABLE).unwrap();
    let Detail::Slow {
        judged: Quantile::Exactly(judged) | Quantile::MoreThan(judged),
        hop,
        injected_late: 0,
        ..
    } = slow.detail
    else {
        panic!("{slow:?}")
    };
    assert!(judged > s(45) && hop.is_some_and(|hop| (s(39)..s(41)).contains(&hop)), "{slow:?}");
    assert_eq!(problems(&world.verdict()), ["slow", "hop_over_target"]);
    world.until_off(ConditionName::Slow, TABLE, 1_842);
    world.until_off(ConditionName::HopOverTarget, TABLE, 1_842);
}

#[test]
fn three_slow_canaries_are_a_note_and_the_fourth_makes_a_problem() {
    let slow_until = |end| move |planned| if planned < end { WELL.at(TABLE, 40_000) } else { WELL };
    let verdict = after(200, slow_until(90));
    assert_eq!((problems(&verdict), notes(&verdict)), (vec![], vec!["slow", "hop_over_target"]));
    assert!(problems(&after(145, slow_until(120))).contains(&"slow"));
}

#[test]
fn a_slow_hop_is_over_its_target_although_the_canaries_arrive_in_time() {
    let late = WELL.at(STREAM, 8_000).at(ARCHIVE, 9_500).at(TRANSIT, 12_000).at(TABLE, 18_000);
    let mut world = World::new(faulty(late));
    let (_, over) = world.until_on(ConditionName::HopOverTarget, STREAM, 692);
    assert_eq!((over.since, over.affected), (Some(t(BEGIN)), Some(4)));
    let verdict = world.run_to(END).verdict();
    assert_eq!(problems(&verdict), ["hop_over_target"]);
    let Detail::OverTarget { judged: Quantile::Exactly(judged), target } = verdict.conditions[0].detail
    else {
        panic!("{verdict:?}")
    };
    assert!(judged > s(8) && judged < s(9) && target == s(1), "{verdict:?}");
    world.until_off(ConditionName::HopOverTarget, STREAM, 1_832);
}

#[test]
fn a_hop_is_not_over_its_target_by_what_the_clocks_may_differ() {
    // 50 ms are allowed for the stage's clock.
    assert_eq!(problems(&after(900, |_| WELL.at(STREAM, 1_020))), [""; 0]);
}

#[test]
fn every_third_row_stored_twice_is_duplicates() {
    let mut world = World::new(every_third(Fate { doubled: Some(TABLE), ..WELL }));
    // The first was planned at 630; the third at 810, and it is in the table at 820.
    let (_, doubled) = world.until_on(ConditionName::Duplicates, TABLE, 821);
    assert_eq!((doubled.since, doubled.affected), (Some(t(630)), Some(3)));
    for second in 821..END {
        world.run_to(second);
        assert!(world.problem(ConditionName::Duplicates, TABLE).is_some(), "at {second}");
    }
    // The last one was planned at 1,710; eight good ones in a row would be unlikely by chance.
    assert_eq!(world.until_off(ConditionName::Duplicates, TABLE, 2_030), 1_960);
}

#[test]
fn a_tenant_with_few_canaries_is_judged_by_as_many_as_others() {
    let mut world = World::new(|at| if at % 3_600 == 600 { WELL.at(TABLE, 42_000) } else { WELL }).every(600);
    // Every sixth is slow. By 15 minutes, one or two would count.
    let (_, slow) = world.until_on(ConditionName::Slow, TABLE, 12_000);
    assert_eq!((slow.affected, slow.since), (Some(4), Some(t(600))));
}

#[test]
fn canaries_that_are_cut_are_corruption() {
    let mut world = World::new(every_third(Fate { damaged: Some(TRANSIT), ..WELL }));
    let (_, cut) = world.until_on(ConditionName::Corruption, TRANSIT, 816);
    assert_eq!(cut.detail, Detail::Kept { kept: 66, sent: 100 });
    assert_eq!(problems(&world.run_to(END).verdict()), ["corruption"]);
    world.until_off(ConditionName::Corruption, TRANSIT, 2_030);
}

#[test]
fn a_leak_is_a_problem_at_once_and_for_as_long_as_the_window() {
    let mut world = World::new(|_| WELL);
    let episode = |since: u64, last: u64, stage| LeakEpisode {
        tenant: ACME,
        stage,
        since: t(since),
        last: t(last),
        count: 2,
        found_in: "kinesis logs-globex".into(),
    };
    let mut snapshot = world.run_to(1_000).snapshot();
    snapshot.leaks = vec![episode(700, 990, STREAM), episode(994, 995, TABLE)];
    let verdict = of_acme(&snapshot);
    // The first stage on the path is the culprit.
    let leaking = &verdict.conditions[0];
    assert_eq!((leaking.name, leaking.subject.place), (ConditionName::Leaking, Some(HopRange::one(STREAM))));
    assert_eq!((leaking.since, leaking.affected), (Some(t(700)), Some(2)));
    let mut later = world.run_to(1_896).snapshot();
    later.leaks = snapshot.leaks;
    assert_eq!(problems(&of_acme(&later)), [""; 0]);
}
