use super::*;
use crate::domain::topology::fixture::*;
use crate::domain::topology::{Role, Stage, Tenant};

/// The fixture's topology with these tenants and stages only, numbered from 0 in this order.
fn configured(tenants: &[&str], stages: &[&str]) -> Topology {
    let all = topology_with("initech");
    let stage = |name: &&str| -> Stage {
        let stage = all.stages().iter().find(|stage| *stage.name == **name).cloned();
        let mut stage = stage.unwrap_or_else(|| Stage { name: (*name).into(), ..all.stage(ARCHIVE).clone() });
        stage.parent = stage.parent.and_then(|parent| {
            let at = stages.iter().position(|other| *all.stage(parent).name == **other)?;
            Some(StageId(u16::try_from(at).unwrap()))
        });
        stage
    };
    let tenant = |name: &&str| -> Tenant {
        let known = all.tenants().iter().find(|tenant| *tenant.name == **name).cloned();
        known.unwrap_or_else(|| Tenant { name: (*name).into(), ..all.tenant(ACME).clone() })
    };
    let ids = || (0..).map(TenantId).take(tenants.len());
    let mut sources = Vec::new();
    for (at, name) in stages.iter().enumerate() {
        let stage = StageId(u16::try_from(at).unwrap());
        let source = |owner, tenants| Source { stage, name: (*name).into(), owner, tenants };
        if ["stream", "archive", "copy"].contains(name) {
            sources.extend(ids().map(|tenant| source(Owner::One(tenant), vec![tenant])));
        } else {
            sources.push(source(Owner::Shared, ids().collect()));
        }
    }
    Topology::new(tenants.iter().map(tenant).collect(), stages.iter().map(stage).collect(), sources).unwrap()
}

const STAGES: [&str; 3] = ["stream", "transit", "table"];

/// The source of `before` that reads the same: of the same tenant, or shared.
fn same(before: &Topology, next: &Topology) -> Vec<Option<SourceId>> {
    let names = |map: &Topology, source: &Source| match source.owner {
        Owner::One(tenant) => Some(map.tenant(tenant).name.clone()),
        Owner::Shared => None,
    };
    let of = |source: &Source| {
        before.sources().iter().position(|other| {
            before.stage(other.stage).name == next.stage(source.stage).name
                && names(before, other) == names(next, source)
        })
    };
    next.sources().iter().map(|source| of(source).map(|at| SourceId(u32::try_from(at).unwrap()))).collect()
}

fn then(before: &Topology, tenants: &[&str], stages: &[&str]) -> Successor {
    let next = configured(tenants, stages);
    before.succeeded_by(&next, &same(before, &next)).unwrap()
}

fn live(map: &Topology) -> Vec<&str> {
    map.tenant_ids().map(|id| &*map.tenant(id).name).collect()
}

#[test]
fn the_fixture_is_what_the_configuration_would_be() {
    let map = configured(&["acme", "globex"], &STAGES);
    assert_eq!(live(&map), ["acme", "globex"]);
    assert_eq!(map.main_path().len(), 3);
    assert!(map.stage(map.end()).role == Role::End);
}

#[test]
fn a_tenant_keeps_its_id_whatever_its_position_in_the_file_is() {
    let before = configured(&["acme", "globex"], &STAGES);
    let Successor { topology, tenants, .. } = then(&before, &["initech", "globex", "acme"], &STAGES);
    assert_eq!(tenants, [TenantId(2), GLOBEX, ACME]);
    assert_eq!(&*topology.tenant(ACME).name, "acme");
    for stage in topology.stage_ids() {
        assert_eq!(topology.source_of(ACME, stage), before.source_of(ACME, stage));
    }
}

#[test]
fn a_tenant_that_leaves_keeps_its_sources_until_it_is_gone() {
    let before = configured(&["acme", "globex"], &STAGES);
    let own = before.source_of(GLOBEX, STREAM);
    let map = then(&before, &["acme"], &STAGES).topology;
    assert_eq!(live(&map), ["acme", "globex"]);
    assert_eq!(map.leaving().collect::<Vec<_>>(), [GLOBEX]);
    assert!(map.has_source(own));
    let shared = map.source_of(GLOBEX, StageId(2));
    assert!(map.source(shared).tenants.contains(&GLOBEX), "its canaries in the table do not leak");
    let map = map.without(GLOBEX);
    assert_eq!(live(&map), ["acme"]);
    assert!(map.is_gone(GLOBEX) && !map.has_source(own) && map.has_source(shared));
    assert!(map.source(shared).tenants.contains(&GLOBEX), "nor are late ones");
}

#[test]
fn a_tenant_that_comes_back_gets_its_id_and_its_sources_back() {
    let before = configured(&["acme", "globex"], &STAGES);
    let without = then(&before, &["acme"], &STAGES).topology.without(GLOBEX);
    let Successor { topology, tenants, sources, .. } = then(&without, &["globex", "acme"], &STAGES);
    assert_eq!(tenants, [GLOBEX, ACME]);
    assert!(sources.contains(&before.source_of(GLOBEX, STREAM)));
    assert_eq!(topology.leaving().count(), 0);
    assert!(topology.has_source(before.source_of(GLOBEX, STREAM)));
}

#[test]
fn a_configured_tenant_cannot_be_let_go() {
    let map = configured(&["acme", "globex"], &STAGES);
    assert_eq!(live(&map.without(GLOBEX)), ["acme", "globex"]);
}

#[test]
fn a_stage_in_the_middle_gets_an_id_of_its_own_and_comes_after_its_parent() {
    let before = configured(&["acme", "globex"], &STAGES);
    let with = ["stream", "archive", "transit", "table"];
    let Successor { topology, stages, .. } = then(&before, &["acme", "globex"], &with);
    assert_eq!(stages, [StageId(0), StageId(3), StageId(1), StageId(2)]);
    assert_eq!(topology.stage_ids().collect::<Vec<_>>(), stages);
    assert_eq!(topology.stage(StageId(3)).parent, Some(StageId(0)));
    assert_eq!(topology.main_path(), [StageId(0), StageId(1), StageId(2)]);
    assert!(topology.is_observed(GLOBEX, StageId(3)));
}

#[test]
fn a_tenant_that_leaves_is_not_observed_at_stages_that_are_added_later() {
    let before = configured(&["acme", "globex"], &STAGES);
    let leaving = then(&before, &["acme"], &STAGES).topology;
    let map = then(&leaving, &["acme"], &["stream", "archive", "transit", "table"]).topology;
    assert!(map.is_observed(ACME, StageId(3)) && !map.is_observed(GLOBEX, StageId(3)));
    assert!(map.is_observed(GLOBEX, STREAM));
}

#[test]
fn a_stage_that_is_removed_is_gone_and_its_name_is_still_known() {
    let before = configured(&["acme"], &["stream", "archive", "transit", "table"]);
    let map = then(&before, &["acme"], &STAGES).topology;
    assert!(!map.has_stage(StageId(1)) && !map.has_source(before.source_of(ACME, StageId(1))));
    assert_eq!(&*map.stage(StageId(1)).name, "archive");
}

#[test]
fn the_source_of_every_tenant_is_known_whatever_came_and_went() {
    let mut map = configured(&["acme", "globex"], &STAGES);
    let stages = [&STAGES[..], &["stream", "archive", "transit", "table"], &["stream", "table"]];
    let tenants = [&["acme"][..], &["globex", "initech"], &["hooli", "acme"], &["acme", "globex"]];
    for round in 0..12 {
        map = then(&map, tenants[round % 4], stages[round % 3]).topology;
        for tenant in map.leaving().collect::<Vec<_>>() {
            map = if round % 2 == 0 { map.without(tenant) } else { map };
        }
        for tenant in (0..).map(TenantId).take(map.tenants().len()) {
            for stage in (0..).map(StageId).take(map.stages().len()) {
                let source = map.source_of(tenant, stage);
                assert_eq!(map.source(source).stage, stage);
            }
        }
        for stage in map.stage_ids() {
            assert!(map.stage(stage).parent.is_none_or(|parent| map.has_stage(parent)));
        }
    }
    assert_eq!(map.tenants().len(), 4);
}

#[test]
fn more_stages_than_a_process_can_tell_apart_are_refused() {
    let mut map = configured(&["acme"], &STAGES);
    let failed = (0..300).find_map(|n| {
        let name = format!("extra{n}");
        let next = configured(&["acme"], &["stream", &name, "transit", "table"]);
        match map.succeeded_by(&next, &same(&map, &next)) {
            Ok(next) => {
                map = next.topology;
                None
            }
            Err(error) => Some(error),
        }
    });
    let error = failed.unwrap();
    assert_eq!(error, TooMany { what: "stages", known: MAX_STAGES });
    assert!(error.to_string().ends_with("restart it"));
}

#[test]
fn a_tenant_renamed_over_the_same_stream_takes_its_source() {
    let before = configured(&["acme"], &STAGES);
    let next = configured(&["hooli"], &STAGES);
    let own = before.source_of(ACME, STREAM);
    let same: Vec<_> = next.source_ids().map(Some).collect();
    let Successor { topology, tenants, .. } = before.succeeded_by(&next, &same).unwrap();
    assert_eq!(topology.source_of(tenants[0], STREAM), own);
    assert_eq!(topology.source(own).owner, Owner::One(tenants[0]));
    assert!(topology.source(own).tenants.contains(&ACME), "what is in flight is expected there");
}
