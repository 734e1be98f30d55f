//! When the canaries of a run are planned.

use super::*;

/// The plan of each tenant. Together they have a canary every `gap`.
pub(super) fn plans(rng: &mut Rng, tenants: usize, gap: Micros) -> Vec<Plan> {
    let key = TagKey::new(format!("{:032x}", rng.u128(..))).unwrap();
    let weights: Vec<_> = (0..tenants).map(|_| rng.f64() + 0.3).collect();
    let sum: f64 = weights.iter().sum();
    let plan = |(tenant, weight): (usize, f64)| {
        let interval = Duration::from_micros((gap as f64 * sum / weight) as u64);
        Plan::new(key.clone(), TenantCode::of(&name(tenant)), interval)
    };
    weights.into_iter().enumerate().map(plan).collect()
}

/// The slots of all tenants from the beginning on, in order.
pub(super) fn slots(plans: &[Plan]) -> impl Iterator<Item = (usize, Slot)> + use<> {
    let plans = plans.to_vec();
    let mut next: Vec<_> = plans.iter().map(|plan| plan.first_from(time(EPOCH))).collect();
    std::iter::from_fn(move || {
        let first = next.iter().enumerate().min_by_key(|(_, slot)| slot.planned_at);
        let (tenant, slot) = first.map(|(tenant, slot)| (tenant, *slot))?;
        next[tenant] = plans[tenant].slot(slot.number + 1);
        Some((tenant, slot))
    })
}
