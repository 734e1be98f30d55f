//! Which stage follows which: parents first, one end, no circles; and the map that the tracker works on.

use super::settings::{Source, Tenant};
use super::stage::StageRead;
use crate::domain::tag::TenantCode;
use crate::domain::topology::{self, Owner, Role, Stage, StageId, Topology, TopologyError};
use crate::keys::fault::{Checked, Collector, Reported, suggestion};
use crate::observe::spec;

/// The order in which parents come first, as indices into `stages`, and each one's parent as an index into that order.
pub(super) fn order(
    faults: &mut Collector,
    stages: &[StageRead<'_>],
) -> Checked<Vec<(usize, Option<usize>)>> {
    let mut good = !stages.is_empty();
    for (index, stage) in stages.iter().enumerate() {
        if stages[..index].iter().any(|other| other.name == stage.name) {
            faults.report(
                stage.key("name"),
                format!("two stages are called {}; names must differ", stage.name),
            );
            good = false;
        }
    }
    good &= check_end(faults, stages);
    let mut parents = Vec::with_capacity(stages.len());
    for stage in stages {
        let parent = match &stage.after {
            Err(Reported) => Err(Reported),
            Ok(None) => Ok(None),
            Ok(Some(after)) => match stages.iter().position(|other| other.name == *after) {
                Some(parent) => Ok(Some(parent)),
                None => {
                    let near = suggestion(after, stages.iter().map(|other| other.name.as_str()));
                    Err(faults
                        .report(stage.key("after"), format!("there is no stage \"{after}\" to follow{near}")))
                }
            },
        };
        good &= parent.is_ok();
        parents.push(parent.unwrap_or(None));
    }
    let mut order: Vec<(usize, Option<usize>)> = Vec::new();
    while order.len() < stages.len() {
        let place = |order: &[(usize, Option<usize>)], wanted: usize| {
            order.iter().position(|(placed, _)| *placed == wanted)
        };
        let next = parents.iter().enumerate().find_map(|(index, parent)| {
            let parent = parent.map(|parent| place(&order, parent));
            // A parent that is not placed yet must wait its turn.
            (place(&order, index).is_none() && parent != Some(None)).then(|| (index, parent.flatten()))
        });
        match next {
            Some(next) => order.push(next),
            None => {
                let placed: Vec<_> = order.iter().map(|(index, _)| *index).collect();
                report_cycle(faults, stages, &parents, &placed);
                return Err(Reported);
            }
        }
    }
    if good { Ok(order) } else { Err(Reported) }
}

/// Whether exactly one stage is the end, as far as can be known.
fn check_end(faults: &mut Collector, stages: &[StageRead<'_>]) -> bool {
    let ends: Vec<_> = stages.iter().filter(|stage| stage.role == Ok(Role::End)).collect();
    let unsure = stages.iter().any(|stage| stage.role.is_err());
    match ends.as_slice() {
        [_] => return true,
        [] if stages.is_empty() || unsure => {}
        [] => {
            faults.report("stage", "none has `end = true`; mark the one where canaries arrive for good");
        }
        [first, others @ ..] => {
            for other in others {
                faults.report(
                    other.key("end"),
                    format!("{} is the end already; only one stage can be", first.name),
                );
            }
        }
    }
    false
}

/// Follows parents from any stage that could not be placed until one comes up again.
fn report_cycle(
    faults: &mut Collector,
    stages: &[StageRead<'_>],
    parents: &[Option<usize>],
    placed: &[usize],
) {
    let Some(start) = (0..stages.len()).find(|index| !placed.contains(index)) else {
        return;
    };
    let mut way = vec![start];
    while let Some(Some(parent)) = way.last().map(|last| parents[*last]) {
        let again = way.iter().position(|index| *index == parent);
        way.push(parent);
        if let Some(again) = again {
            let names: Vec<_> = way[again..].iter().map(|index| stages[*index].name.as_str()).collect();
            faults.report(
                stages[parent].key("after"),
                format!(
                    "the stages follow each other in a circle: {}; one of them must follow injection (no `after`) or another stage",
                    names.join(" after ")
                ),
            );
            return;
        }
    }
}

/// The stages in order.
pub(super) fn stages(read: &[StageRead<'_>], order: &[(usize, Option<usize>)]) -> Checked<Vec<Stage>> {
    let one = |(index, parent): &(usize, Option<usize>)| {
        let stage = &read[*index];
        Ok(Stage {
            name: stage.checked_name.clone()?.into(),
            kind: stage.kind?,
            capabilities: spec(stage.kind?).capabilities,
            parent: parent.map(|parent| StageId(u16::try_from(parent).unwrap_or(u16::MAX))),
            role: stage.role?,
            target: stage.target?,
            missing_after: stage.missing_after?,
            clock_allowance: stage.clock_allowance?,
        })
    };
    order.iter().map(one).collect()
}

/// The map in the domain's own terms.
pub(super) fn topology(
    tenants: &[Tenant],
    stages: &[Stage],
    sources: &[Source],
) -> Result<Topology, TopologyError> {
    let tenants = tenants.iter().map(|tenant| topology::Tenant {
        name: tenant.name.clone(),
        code: TenantCode::of(&tenant.name),
        label: tenant.label.clone(),
        template: tenant.template.clone(),
    });
    let sources = sources.iter().map(|source| topology::Source {
        stage: source.stage,
        name: source.name.clone(),
        owner: match source.tenants.as_slice() {
            [one] => Owner::One(*one),
            _ => Owner::Shared,
        },
        tenants: source.tenants.clone(),
    });
    Topology::new(tenants.collect(), stages.to_vec(), sources.collect())
}
