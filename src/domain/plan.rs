//! The plan of a tenant's canaries: in which slot each is due, when exactly, and with which trace id.
//!
//! All of it follows from the key that signs tags, the tenant and the interval, so a plan needs no memory. A
//! process that replaces another one knows what that one should have sent, and two that send one slot send one
//! trace id, which makes their copies copies of one canary.
//!
//! A slot is an interval since the Unix epoch, and its number is part of what is hashed, as is the length of
//! the interval: the slots of another interval are other slots. Whoever does not have the key can foresee
//! neither the instants nor the ids.

use std::time::Duration;

use super::tag::{TagKey, TenantCode, TraceId};
use super::time::Timestamp;
use super::topology::LogGroupId;

/// The plan of one tenant.
#[derive(Clone, Debug)]
pub struct Plan {
    key: TagKey,
    tenant: TenantCode,
    /// In microseconds; at least 1,000, because the time in an id has milliseconds.
    interval: u64,
    /// Where in every slot the time begins within which its canary is due, in microseconds.
    phase: u64,
}

/// One canary of a plan.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slot {
    /// How many intervals lie between the epoch and this one.
    pub number: u64,
    /// When its canary is due, in whole milliseconds.
    pub planned_at: Timestamp,
    /// The id of its canary.
    pub trace: TraceId,
}

impl Plan {
    /// The plan of a tenant under a key.
    ///
    /// Where in a slot its canary is due depends on the tenant, so that tenants do not send in lockstep, and on
    /// the number of the slot, so that a pipeline that works in periods is not always met at the same point.
    /// Two canaries are at least three quarters of an interval apart, three at most two and a quarter: the
    /// first two of a stall decide how soon it is told.
    #[must_use]
    pub fn new(key: TagKey, tenant: TenantCode, interval: Duration) -> Self {
        let interval = u64::try_from(interval.as_micros()).unwrap_or(u64::MAX).max(1_000);
        let mut plan = Self { key, tenant, interval, phase: 0 };
        plan.phase = plan.bits(b"traceprobe phase 1\0", 0).1 % (interval - plan.jitter()).max(1);
        plan
    }

    /// The length of a slot.
    #[must_use]
    pub const fn interval(&self) -> Duration {
        Duration::from_micros(self.interval)
    }

    /// The slot with this number.
    #[must_use]
    pub fn slot(&self, number: u64) -> Slot {
        let (random, jitter) = self.bits(b"traceprobe slot 1\0", number);
        let within = self.phase + jitter % self.jitter();
        let at = i64::try_from(self.interval.saturating_mul(number).saturating_add(within));
        let planned_at = Timestamp::from_micros(at.unwrap_or(i64::MAX)).floor_to_millis();
        Slot { number, planned_at, trace: TraceId::new(planned_at, random) }
    }

    /// The number of the slot in which an instant lies.
    #[must_use]
    pub fn number_at(&self, at: Timestamp) -> u64 {
        u64::try_from(at.micros()).unwrap_or(0) / self.interval
    }

    /// The first slot whose canary is due at an instant or later.
    #[must_use]
    pub fn first_from(&self, start: Timestamp) -> Slot {
        let mut slot = self.slot(self.number_at(start));
        while slot.planned_at < start {
            slot = self.slot(slot.number + 1);
        }
        slot
    }

    /// The slot with this trace id; `None` if it is none of this plan's.
    #[must_use]
    pub fn find(&self, trace: TraceId) -> Option<Slot> {
        let near = self.number_at(trace.planned_at());
        // Rounded down to a millisecond, the instant of a slot may lie in the one before.
        [near, near + 1].map(|number| self.slot(number)).into_iter().find(|slot| slot.trace == trace)
    }

    /// Within how much of a slot its canary may be due, in microseconds.
    const fn jitter(&self) -> u64 {
        self.interval / 4
    }

    /// The bits of one slot: those of its id, and those of its jitter.
    fn bits(&self, domain: &[u8], number: u64) -> ([u8; 10], u64) {
        let numbers = [self.tenant.value(), self.interval, number].map(u64::to_be_bytes);
        let hash = self.key.hmac([domain, &numbers[0], &numbers[1], &numbers[2]]);
        let of_id = std::array::from_fn(|at| hash[at]);
        (of_id, u64::from_be_bytes(std::array::from_fn(|at| hash[16 + at])))
    }
}

impl Slot {
    /// The log group into which the canary is put, of this many, which are used in turn.
    #[must_use]
    pub fn log_group(&self, groups: usize) -> LogGroupId {
        let groups = u64::try_from(groups).unwrap_or(1).max(1);
        LogGroupId(u16::try_from(self.number % groups).unwrap_or_default())
    }

    /// Which of this many sizes the canary has. Every size is used in every log group.
    #[must_use]
    pub fn size(&self, sizes: usize, groups: usize) -> usize {
        let [sizes, groups] = [sizes, groups].map(|count| u64::try_from(count).unwrap_or(1).max(1));
        usize::try_from(self.number / groups % sizes).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn plan(tenant: &str, interval: Duration) -> Plan {
        Plan::new(TagKey::new("0123456789abcdef").unwrap(), TenantCode::of(tenant), interval)
    }

    fn every(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn the_same_slot_has_the_same_id_whoever_plans_it() {
        let slots = [plan("acme", every(30)), plan("acme", every(30))].map(|plan| plan.slot(60_000_000));
        assert_eq!(slots[0], slots[1]);
        assert_eq!(slots[0].trace.planned_at(), slots[0].planned_at);
    }

    #[test]
    fn another_key_tenant_interval_or_slot_is_another_canary() {
        let one = plan("acme", every(30)).slot(60_000_000);
        let key = TagKey::new("another key of 16 bytes").unwrap();
        let others = [
            Plan::new(key, TenantCode::of("acme"), every(30)).slot(60_000_000),
            plan("globex", every(30)).slot(60_000_000),
            plan("acme", every(60)).slot(30_000_000),
            plan("acme", every(30)).slot(60_000_001),
        ];
        let tail = |slot: &Slot| slot.trace.as_u128() & ((1 << 62) - 1);
        assert!(others.iter().all(|other| tail(other) != tail(&one)), "{one:?}, {others:?}");
    }

    #[test]
    fn a_plan_never_changes_from_one_release_to_the_next() {
        // A successor of another release must know the slots of its predecessor.
        let slot = plan("acme", every(30)).slot(59_844_059);
        assert_eq!(slot.trace.to_string(), "01a201847c4579ca9445b815654af904");
    }

    #[test]
    fn tenants_do_not_send_in_lockstep() {
        let offset = |tenant: &str| plan(tenant, every(30)).slot(0).planned_at.millis();
        let mut offsets: Vec<_> = (0..20).map(|n| offset(&format!("tenant-{n}"))).collect();
        offsets.sort_unstable();
        assert!(offsets[19] - offsets[0] > 10_000, "{offsets:?}");
    }

    #[test]
    fn log_groups_and_sizes_alternate_by_the_number_of_the_slot() {
        let plan = plan("acme", every(30));
        let alternating: Vec<_> =
            (0..6).map(|n| plan.slot(n)).map(|slot| (slot.log_group(2).0, slot.size(3, 2))).collect();
        assert_eq!(alternating, [(0, 0), (1, 0), (0, 1), (1, 1), (0, 2), (1, 2)]);
    }

    proptest! {
        #[test]
        fn every_slot_is_found_by_its_id_and_lies_in_its_interval(
            interval_micros in 1_000_u64..90_000_000_000, number in 0_u64..10_000,
        ) {
            let plan = plan("acme", Duration::from_micros(interval_micros));
            let slot = plan.slot(number);
            prop_assert_eq!(plan.find(slot.trace), Some(slot));
            let micros = u64::try_from(slot.planned_at.micros()).unwrap();
            prop_assert!(micros + 1_000 > number * interval_micros && micros < (number + 1) * interval_micros);
            prop_assert_eq!(plan.find(TraceId::new(slot.planned_at, [7; 10])), None);
        }

        #[test]
        fn canaries_are_neither_close_nor_far_apart(number in 0_u64..100_000, secs in 1_u64..100_000) {
            let plan = plan("acme", every(secs));
            let apart = plan.slot(number + 1).planned_at.since(plan.slot(number).planned_at);
            let (millisecond, interval) = (Duration::from_millis(1), every(secs));
            prop_assert!(apart + millisecond >= interval * 3 / 4 && apart <= interval * 5 / 4 + millisecond);
        }

        #[test]
        fn the_first_slot_is_the_first_that_is_not_in_the_past(
            interval_micros in 1_000_u64..100_000_000, start in 0_i64..1_000_000_000_000,
        ) {
            let plan = plan("acme", Duration::from_micros(interval_micros));
            let start = Timestamp::from_micros(start);
            let first = plan.first_from(start);
            prop_assert!(first.planned_at >= start);
            prop_assert!(first.number == 0 || plan.slot(first.number - 1).planned_at < start);
        }
    }
}
