//! What becomes of a topology when the configuration changes while the process runs.
//!
//! Ids are places in lists that only grow, so an id means the same as long as the process lives: in a trace, in
//! an answer that is under way, in an incident. A tenant, a stage or a source that comes back gets its place
//! back. A tenant that is not configured any more *leaves*: it keeps its sources until nothing of it is awaited,
//! and is *gone* then. A stage that is not configured any more is gone at once.

use super::{Owner, Source, SourceId, StageId, TenantId, Topology};

/// Most stages of one process, those that are gone included. Each trace has a place for each of them.
const MAX_STAGES: usize = 256;

/// A topology that takes the place of another one.
#[derive(Clone, Debug)]
pub struct Successor {
    pub topology: Topology,
    /// The ids of the new configuration's tenants, in its order.
    pub tenants: Vec<TenantId>,
    /// The ids of its stages.
    pub stages: Vec<StageId>,
    /// The ids of its sources.
    pub sources: Vec<SourceId>,
}

/// More tenants or stages came and went than one process can tell apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("this process has known {known} {what} and can tell no more apart; restart it")]
pub struct TooMany {
    /// `tenants` or `stages`.
    pub what: &'static str,
    /// How many there were.
    pub known: usize,
}

impl Topology {
    /// Returns the topology that follows this one if the configuration becomes `next`, in the ids of this one.
    /// `same` has, for each source of `next`, the source of this topology that reads the same events.
    ///
    /// # Errors
    ///
    /// [`TooMany`] if there are no ids left.
    pub fn succeeded_by(&self, next: &Self, same: &[Option<SourceId>]) -> Result<Successor, TooMany> {
        let mut topology = self.clone();
        let mut tenants = Vec::new();
        for tenant in &next.tenants {
            let at = topology.tenants.iter().position(|known| known.name == tenant.name);
            let at = at.unwrap_or(topology.tenants.len());
            put(&mut topology.tenants, at, tenant.clone());
            tenants.push(TenantId(u16::try_from(at).map_err(|_| TooMany { what: "tenants", known: at })?));
        }
        let mut stages: Vec<StageId> = Vec::new();
        for stage in &next.stages {
            let at = topology.stages.iter().position(|known| known.name == stage.name);
            let at = at.unwrap_or(topology.stages.len());
            let parent = stage.parent.map(|parent| stages[usize::from(parent.0)]);
            put(&mut topology.stages, at, super::Stage { parent, ..stage.clone() });
            if at >= MAX_STAGES {
                return Err(TooMany { what: "stages", known: at });
            }
            stages.push(StageId(u16::try_from(at).map_err(|_| TooMany { what: "stages", known: at })?));
        }
        let leaving = self.live.tenants.iter().copied().filter(|id| !tenants.contains(id));
        let leaving: Vec<TenantId> = leaving.collect();
        let of_next = |id: TenantId| tenants[usize::from(id.0)];
        let mut sources = Vec::new();
        for (at, source) in next.sources.iter().enumerate() {
            let same = same.get(at).copied().flatten();
            // The canaries of a tenant that leaves, or is gone, belong there all the same.
            let before = same.map_or(&[][..], |same| &self.source(same).tenants);
            let own: Vec<TenantId> = source.tenants.iter().map(|id| of_next(*id)).collect();
            let others = before.iter().copied().filter(|id| !tenants.contains(id));
            let place = same.map_or(topology.sources.len(), |same| same.0 as usize);
            put(
                &mut topology.sources,
                place,
                Source {
                    stage: stages[usize::from(source.stage.0)],
                    name: source.name.clone(),
                    owner: match source.owner {
                        Owner::One(tenant) => Owner::One(of_next(tenant)),
                        Owner::Shared => Owner::Shared,
                    },
                    tenants: own.iter().copied().chain(others).collect(),
                },
            );
            sources
                .push(SourceId(u32::try_from(place).map_err(|_| TooMany { what: "sources", known: place })?));
        }
        topology.live = super::Live {
            tenants: tenants.iter().chain(&leaving).copied().collect(),
            leaving: leaving.iter().copied().collect(),
            stages: stages.clone(),
            sources: Vec::new(),
        };
        topology.source_of = topology.rows(self, next, &tenants, &stages, &sources);
        topology.live.sources.clone_from(&sources);
        topology.keep_sources_of_leaving();
        topology.main_path = next.main_path.iter().map(|id| stages[usize::from(id.0)]).collect();
        topology.drill = next.drill.map(of_next);
        Ok(Successor { topology, tenants, stages, sources })
    }

    /// Returns the topology without a tenant that leaves: nothing of it is awaited any more.
    #[must_use]
    pub fn without(&self, tenant: TenantId) -> Self {
        let mut topology = self.clone();
        if topology.live.leaving.remove(&tenant) {
            topology.live.tenants.retain(|id| *id != tenant);
            let needed = |id: &SourceId| {
                let of = &self.source(*id).tenants;
                of.iter().any(|of| topology.live.tenants.contains(of) && self.reads(*of, *id))
            };
            topology.live.sources.retain(needed);
        }
        topology
    }

    /// Whether a tenant has a source of its own at a stage, or shares one. A tenant that leaves has none at a
    /// stage that was added since.
    #[must_use]
    pub fn is_observed(&self, tenant: TenantId, stage: StageId) -> bool {
        let source = self.source_of(tenant, stage);
        self.has_source(source) && self.source(source).tenants.contains(&tenant)
    }

    fn reads(&self, tenant: TenantId, source: SourceId) -> bool {
        self.source_of(tenant, self.source(source).stage) == source
    }

    /// The source of every tenant at every stage: of the new configuration, else as it was. Where there never
    /// was one, any source of the stage stands for it, and nothing waits there: see
    /// [`is_observed`](Self::is_observed).
    fn rows(
        &self,
        before: &Self,
        next: &Self,
        tenants: &[TenantId],
        stages: &[StageId],
        sources: &[SourceId],
    ) -> Vec<Vec<SourceId>> {
        let configured = |tenant: TenantId, stage: StageId| {
            let tenant = tenants.iter().position(|id| *id == tenant)?;
            let stage = stages.iter().position(|id| *id == stage)?;
            Some(sources[next.source_of[tenant][stage].0 as usize])
        };
        let earlier = |tenant: TenantId, stage: StageId| {
            before.source_of.get(usize::from(tenant.0))?.get(usize::from(stage.0)).copied()
        };
        let any = |stage: StageId| {
            let at = self.sources.iter().position(|source| source.stage == stage).unwrap_or_default();
            SourceId(u32::try_from(at).unwrap_or_default())
        };
        let all_stages = || (0..).map(StageId).take(self.stages.len());
        let row = |tenant: TenantId| {
            let of = |stage| configured(tenant, stage).or_else(|| earlier(tenant, stage));
            all_stages().map(|stage| of(stage).unwrap_or_else(|| any(stage))).collect()
        };
        self.known_tenants().map(row).collect()
    }

    /// A tenant that leaves is observed where it was, as far as the stages are still configured.
    fn keep_sources_of_leaving(&mut self) {
        let mut kept = Vec::new();
        for tenant in &self.live.leaving {
            let of = self.live.stages.iter().map(|stage| self.source_of(*tenant, *stage));
            kept.extend(of.filter(|id| self.source(*id).tenants.contains(tenant)));
        }
        self.live.sources.extend(kept);
        self.live.sources.sort_unstable();
        self.live.sources.dedup();
    }
}

/// Puts an item into its place, which is at most the end of the list.
fn put<T>(list: &mut Vec<T>, at: usize, item: T) {
    match list.get_mut(at) {
        Some(place) => *place = item,
        None => list.push(item),
    }
}

#[cfg(test)]
mod tests;
