//! How many canaries may be in flight, and what a total stall takes.

use std::time::Duration;

use super::sections::MAX_IN_FLIGHT;
use super::settings::Probe;

/// What a trace takes in memory, in bytes, as measured with four stages.
const BYTES_EACH: usize = 1_200;
/// The smallest limit that follows from the configuration: there is room for what a previous run left that had
/// more tenants or a shorter interval. It takes 12 MB.
const SMALLEST: usize = 10_000;

/// How many canaries are in flight at once when nothing arrives any more and the end stage cannot be read: each
/// is followed for `give_up` and `grace`, and once more for `grace` after a restart. Two more are due before the
/// first one of a tenant ends.
pub(super) fn of_a_total_stall(probe: &Probe, intervals: impl Iterator<Item = Duration>) -> usize {
    let followed = probe.give_up + 2 * probe.grace;
    let of_tenant = |interval: Duration| followed.as_micros() / interval.as_micros().max(1) + 2;
    usize::try_from(intervals.map(of_tenant).sum::<u128>()).unwrap_or(usize::MAX)
}

/// The limit that is in force: as many as a total stall takes, unless it is set.
pub(super) fn limit(probe: &Probe, intervals: impl Iterator<Item = Duration>) -> usize {
    let most = usize::try_from(MAX_IN_FLIGHT).unwrap_or(usize::MAX);
    probe.max_in_flight.unwrap_or_else(|| of_a_total_stall(probe, intervals).clamp(SMALLEST, most))
}

/// What a total stall will take, as a sentence for the log.
pub(super) fn total_stall(probe: &Probe, intervals: impl Iterator<Item = Duration> + Clone) -> String {
    let (needed, limit) = (of_a_total_stall(probe, intervals.clone()), limit(probe, intervals));
    let megabytes = |count: usize| count.saturating_mul(BYTES_EACH).div_ceil(1_000_000);
    let stall =
        format!("a total stall puts up to {needed} canaries in flight, about {} MB", megabytes(needed));
    if needed <= limit {
        return format!("{stall}; probe.max_in_flight is {limit}");
    }
    format!(
        "{stall}, but probe.max_in_flight is {limit}, about {} MB: further canaries are not sent then and count as \
         missed",
        megabytes(limit)
    )
}
