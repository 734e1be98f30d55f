//! When the probe is cut down, and for how long it stays away.

use fastrand::Rng;

use super::history::*;

/// Where in a turn of the engine the process ends. What it has committed is on disk, and nothing else is left of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cut {
    /// Nothing was under way.
    BetweenRequests,
    /// It has taken an input, and drawn its conclusions, but nothing of that is on disk.
    BeforeTheCommit,
    /// It is on disk, but nothing of it was carried out: a canary that was to leave never does.
    BeforeItIsCarriedOut,
}

/// One end of the process.
#[derive(Clone, Copy, Debug)]
pub struct Restart {
    pub at: Micros,
    pub cut: Cut,
    /// How long it is away.
    pub down: Micros,
}

/// Draws the restarts of a run: in some runs none, in some of them many.
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
            cut: [Cut::BetweenRequests, Cut::BeforeTheCommit, Cut::BeforeItIsCarriedOut][rng.usize(0..3)],
            down: match rng.u8(0..4) {
                0 => 0,
                // Short ones are as likely as long ones, on a scale of magnitudes.
                _ => (longest as f64).powf(rng.f64()) as Micros,
            },
        })
        .collect()
}
