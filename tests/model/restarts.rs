//! When the probe's process ends, and how long it is down.

use fastrand::Rng;

use super::history::*;

/// Where in a round of the engine the process ends. Only what was committed remains.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cut {
    /// While it was idle.
    BetweenRounds,
    /// The tracker has applied an input, but nothing of that is committed.
    BeforeCommit,
    /// The round is committed, but none of its effects happened: a planned canary is never put.
    BeforeEffects,
    /// It ended by itself, because the system's clock was set.
    ClockStep,
    /// It was stopped. With a store, that is like an end between two rounds.
    Stop,
}

/// One end of the process.
#[derive(Clone, Copy, Debug)]
pub struct Restart {
    pub at: Micros,
    pub cut: Cut,
    /// How long the probe is down.
    pub down: Micros,
}

/// Draws the restarts of a run, from none to many.
pub fn draw(rng: &mut Rng, begin: Micros, end: Micros, rules: &Rules) -> Vec<Restart> {
    let count = match rng.u8(0..16) {
        0..4 => 0,
        4..8 => 1,
        8..13 => rng.usize(2..=5),
        _ => rng.usize(6..=20),
    };
    let longest = 2 * (rules.give_up + rules.grace);
    (0..count)
        .map(|_| Restart {
            at: rng.i64(begin..end + rules.give_up),
            cut: match rng.u8(0..16) {
                0..5 => Cut::BetweenRounds,
                // Without a store, nothing is committed.
                5..10 if rules.is_kept => Cut::BeforeCommit,
                5..12 => Cut::BeforeEffects,
                12..15 if rules.is_kept => Cut::BeforeEffects,
                _ if !rules.is_kept => Cut::Stop,
                _ => Cut::ClockStep,
            },
            down: match rng.u8(0..4) {
                0 => 0,
                // Uniform on a logarithmic scale.
                _ => (longest as f64).powf(rng.f64()) as Micros,
            },
        })
        .collect()
}
