//! Healthy traffic, in which one canary in a hundred is slow, lost, doubled or cut, as in the demo.

use super::world::*;
use crate::domain::topology::fixture::*;

/// A number below 1,000 that looks random, for each canary and seed.
fn dice(seed: u64, planned: u64) -> u64 {
    let mut mixed = (seed << 32 ^ planned).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^= mixed >> 29;
    mixed = mixed.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed ^ mixed >> 32) % 1_000
}

/// What becomes of a canary: in ten cases of a thousand, something.
fn background(dice: u64) -> Fate {
    match dice {
        0 => Fate::stopped(),
        1 => WELL.at(TABLE, None),
        2 => WELL.at(ARCHIVE, None),
        3 => Fate { doubled: Some(TABLE), ..WELL },
        4 => Fate { doubled: Some(STREAM), ..WELL },
        5 => Fate { damaged: Some(TRANSIT), ..WELL },
        6 => WELL.at(TABLE, 45_000),
        7 => WELL.at(TRANSIT, 16_000).at(TABLE, 22_000),
        8 => WELL.at(TRANSIT, None),
        9 => Fate { put: Some(8), ..WELL },
        _ => WELL,
    }
}

#[test]
fn no_condition_is_a_problem_in_an_hour_with_one_per_cent_of_background() {
    let mut touched = 0;
    for seed in 0..12 {
        let mut world = World::new(move |planned| background(dice(seed, planned)));
        for second in (0..3_600).step_by(10) {
            let verdict = world.run_to(second).verdict();
            assert!(problems(&verdict).is_empty(), "seed {seed}, second {second}: {verdict:#?}");
        }
        touched += (0..3_600).step_by(30).filter(|planned| dice(seed, *planned) < 10).count();
    }
    assert!((7..30).contains(&touched), "{touched} of 1,440 canaries had something");
}

#[test]
fn one_lost_canary_is_a_note_and_the_tenant_is_ok() {
    let verdict = after(GIVE_UP + 660, |planned| if planned == 600 { Fate::stopped() } else { WELL });
    assert_eq!((problems(&verdict), notes(&verdict)), (vec![], vec!["losing"]));
    assert!(verdict.judged.is_some());
}
