//! The names that take the place of the placeholders in commands.

use std::collections::BTreeMap;

use crate::domain::evidence::NamedPlace;
use crate::domain::shell::filled;
use crate::domain::tool_endpoints::ToolEndpoints;
use crate::domain::topology::{LogGroupId, StageId, TenantId, Topology};
use crate::domain::tracker::Snapshot;
use crate::web::app::App;

/// Names by their placeholders.
#[derive(Debug, Default)]
pub(super) struct Names {
    names: BTreeMap<&'static str, String>,
    endpoints: ToolEndpoints,
}

impl Names {
    /// What is known of a tenant at these stages: of the stage itself, of those before it, which its commands
    /// name as well, and of the tenant's log group.
    pub(super) fn of(app: &App, map: &Topology, tenant: Option<TenantId>, stages: &[StageId]) -> Self {
        let mut names = Self { endpoints: app.settings.endpoints.clone(), ..Self::default() };
        if let Some(tenant) = tenant {
            names.add([("TENANT", map.tenant(tenant).name.to_string())]);
        }
        if let [stage, ..] = stages {
            names.add([("STAGE", map.stage(*stage).name.to_string())]);
        }
        let at = app.snapshot.borrow().at;
        let pipeline = &app.settings.pipeline;
        if let [stage, ..] = stages {
            let name = tenant.map(|tenant| &*map.tenant(tenant).name);
            names.add(pipeline.function_into(map, *stage, name).map(|name| ("FUNCTION", name)));
        }
        names.add(pipeline.vpn_connections.first().map(|name| ("VPN_CONNECTION", name.clone())));
        for stage in stages {
            for stage in std::iter::successors(Some(*stage), |stage| map.stage(*stage).parent) {
                let source = match tenant {
                    Some(tenant) => Some(map.source_of(tenant, stage)),
                    None => shared_source(map, stage),
                };
                let evidence = source.and_then(|source| app.settings.evidence.get(&source));
                names.add(evidence.map(|evidence| evidence.names(at)).unwrap_or_default());
            }
        }
        let groups = tenant.and_then(|tenant| app.settings.log_groups.get(&tenant));
        let group = tenant.map(|tenant| concerned(&app.snapshot.borrow(), tenant));
        let group = groups.zip(group).and_then(|(groups, group)| groups.get(usize::from(group.0)));
        names.add(group.map(|group| group.names(at)).unwrap_or_default());
        names
    }

    /// Adds those that are not known yet: the nearest stage counts.
    fn add(&mut self, names: impl IntoIterator<Item = NamedPlace>) {
        for (placeholder, name) in names {
            self.names.entry(placeholder).or_insert(name);
        }
    }

    /// The command with the names that are known, and with the addresses of services that are not at their usual one.
    pub(super) fn fill(&self, command: &str) -> String {
        self.endpoints.told(&filled(command, |placeholder| self.names.get(placeholder).cloned()))
    }
}

/// The log group that an open incident of a tenant concerns; otherwise its first.
fn concerned(snapshot: &Snapshot, tenant: TenantId) -> LogGroupId {
    let open = snapshot.episodes.iter().rev().filter(|episode| !episode.has_ended());
    let mut of_tenant = open.filter(|episode| episode.condition.subject.tenant == Some(tenant));
    of_tenant.find_map(|episode| episode.condition.log_groups.first()).copied().unwrap_or(LogGroupId::FIRST)
}

/// The source of a stage that has only one.
fn shared_source(map: &Topology, stage: StageId) -> Option<crate::domain::topology::SourceId> {
    let mut sources = map.real_tenants().map(|tenant| map.source_of(tenant, stage));
    let first = sources.next()?;
    sources.all(|source| source == first).then_some(first)
}
