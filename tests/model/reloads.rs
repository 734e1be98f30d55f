//! When another configuration is put in force: tenants go, and come back.

use fastrand::Rng;

use super::history::*;

/// How often something happened that has to do with a changed configuration.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Tenants that were removed, and how many canaries were in flight then.
    pub removed: usize,
    pub in_flight: usize,
    /// Tenants of which nothing was awaited any more.
    pub gone: usize,
    /// Tenants that came back while something of them was awaited, and after that.
    pub back_in_time: usize,
    pub back_again: usize,
    /// Canaries that were not sent, because their tenant was not configured.
    pub not_sent: usize,
}

impl Counts {
    pub fn add(&mut self, more: Self) {
        let Self { removed, in_flight, gone, back_in_time, back_again, not_sent } = more;
        self.removed += removed;
        self.in_flight += in_flight;
        self.gone += gone;
        self.back_in_time += back_in_time;
        self.back_again += back_again;
        self.not_sent += not_sent;
    }

    pub fn everything_happened(&self) -> bool {
        let Self { removed, in_flight, gone, back_in_time, back_again, not_sent } = *self;
        [removed, in_flight, gone, back_in_time, back_again, not_sent].iter().all(|count| *count > 0)
    }
}

/// A configuration.
#[derive(Clone, Debug)]
pub struct Reload {
    pub at: Micros,
    /// By tenant.
    pub configured: Vec<bool>,
}

/// Draws the configurations that follow the first one, which has all tenants: none in half of the runs.
pub fn draw(rng: &mut Rng, begin: Micros, end: Micros, tenants: usize) -> Vec<Reload> {
    // With few of them, nothing is awaited any more of a tenant before it comes back.
    let count = [0, 0, rng.usize(1..=4), rng.usize(4..=12)][rng.usize(0..4)];
    let reload = |_| {
        let mut configured: Vec<bool> = (0..tenants).map(|_| rng.u8(0..3) > 0).collect();
        configured[rng.usize(0..tenants)] = true;
        Reload { at: rng.i64(begin..end), configured }
    };
    (0..count).map(reload).collect()
}
