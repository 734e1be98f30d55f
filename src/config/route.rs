//! The order of the stages: parents first, exactly one end, no cycles. Builds the topology for the tracker.

use super::settings::{Source, Tenant};
use super::stage::StageRead;
use crate::domain::tag::TenantCode;
use crate::domain::topology::{self, Owner, Role, Stage, StageId, Topology, TopologyError};
use crate::keys::fault::{Checked, Collector, Reported, suggestion};
use crate::observe::spec;

/// Returns an order in which parents come first: for each stage its index in `stages`, and the position of
/// its parent in the returned list.
pub(super) fn order(
    faults: &mut Collector,
    stages: &[StageRead<'_>],
) -> Checked<Vec<(usize, Option<usize>)>> {
    let mut good = !stages.is_empty();
    for (index, stage) in stages.iter().enumerate() {
        if stages[..index].iter().any(|other| other.name == stage.name) {
            faults.report(
                stage.key("name"),
                format!("two stages are named {}; names must be unique", stage.name),
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
                    let near = suggestion_or_all(after, stages);
                    Err(faults.report(stage.key("after"), format!("there is no stage \"{after}\"{near}")))
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
            // A stage waits until its parent is placed.
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
    good &= check_main_path(faults, stages, &parents);
    if good { Ok(order) } else { Err(Reported) }
}

/// Returns `; did you mean …?`, or the names of all stages if none is near.
pub(super) fn suggestion_or_all(unknown: &str, stages: &[StageRead<'_>]) -> String {
    let names = || stages.iter().map(|stage| stage.name.as_str());
    let near = suggestion(unknown, names());
    if near.is_empty() {
        format!("; the stages are {}", names().collect::<Vec<_>>().join(", "))
    } else {
        near
    }
}

/// Returns whether exactly one stage is the end. Reports nothing if the role of a stage could not be read.
fn check_end(faults: &mut Collector, stages: &[StageRead<'_>]) -> bool {
    let ends: Vec<_> = stages.iter().filter(|stage| stage.role == Ok(Role::End)).collect();
    let unknown = stages.iter().any(|stage| stage.role.is_err());
    match ends.as_slice() {
        [_] => return true,
        [] if stages.is_empty() || unknown => {}
        [] => {
            faults.report(
                "stage",
                "no stage has `end = true`; set it on the stage where canaries finally arrive",
            );
        }
        [first, others @ ..] => {
            for other in others {
                faults.report(
                    other.key("end"),
                    format!("stage {} already has `end = true`; only one stage can be the end", first.name),
                );
            }
        }
    }
    false
}

/// Returns whether no stage on the way to the end holds dead letters. Nothing that arrives there goes on, so nothing
/// would be delivered, and all would be called lost.
fn check_main_path(faults: &mut Collector, stages: &[StageRead<'_>], parents: &[Option<usize>]) -> bool {
    let Some(end) = stages.iter().position(|stage| stage.role == Ok(Role::End)) else { return true };
    let mut at = end;
    // There is no cycle.
    while let Some(before) = parents[at] {
        if stages[before].role == Ok(Role::DeadLetter) {
            let letters = &stages[before].name;
            let message = format!(
                "{letters} holds dead letters, so the end cannot follow it; set `after` to the stage that canaries \
                 pass on the way to {}, or remove it if they come from the log group",
                stages[end].name
            );
            faults.report(stages[at].key("after"), message);
            return false;
        }
        at = before;
    }
    true
}

/// Reports the cycle found by following parents from a stage that could not be placed.
fn report_cycle(
    faults: &mut Collector,
    stages: &[StageRead<'_>],
    parents: &[Option<usize>],
    placed: &[usize],
) {
    let Some(start) = (0..stages.len()).find(|index| !placed.contains(index)) else {
        return;
    };
    let mut path = vec![start];
    while let Some(Some(parent)) = path.last().map(|last| parents[*last]) {
        let first_visit = path.iter().position(|index| *index == parent);
        path.push(parent);
        if let Some(first_visit) = first_visit {
            let names: Vec<_> =
                path[first_visit..].iter().map(|index| stages[*index].name.as_str()).collect();
            let links: Vec<_> =
                names.windows(2).map(|pair| format!("{} after {}", pair[0], pair[1])).collect();
            faults.report(
                stages[parent].key("after"),
                format!(
                    "the stages form a cycle: {}; remove `after` from one of them so that it follows injection, or set it to a stage outside the cycle",
                    cycle_text(&links)
                ),
            );
            return;
        }
    }
}

/// Returns `a comes after b, and b after a` for the links of a cycle.
fn cycle_text(links: &[String]) -> String {
    let text = match links {
        [rest @ .., last] if !rest.is_empty() => format!("{}, and {last}", rest.join(", ")),
        links => links.join(", "),
    };
    text.replacen(" after ", " comes after ", 1)
}

/// Returns the stages in the given order, with parents as indices into it.
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
            critical: stage.critical?,
            missing_after: stage.missing_after?,
            clock_allowance: stage.clock_allowance?,
        })
    };
    order.iter().map(one).collect()
}

/// Builds the topology of the domain.
pub(super) fn topology(
    tenants: &[Tenant],
    stages: &[Stage],
    sources: &[Source],
) -> Result<Topology, TopologyError> {
    let tenants = tenants.iter().map(|tenant| topology::Tenant {
        name: tenant.name.clone(),
        code: TenantCode::of(&tenant.name),
        label: tenant.label.clone(),
        log_groups: tenant.log_groups.iter().map(|group| group.as_str().into()).collect(),
        template: tenant.template.clone(),
        interval: tenant.interval,
    });
    let mut stages = stages.to_vec();
    for (number, stage) in (0..).zip(&mut stages) {
        let mut of_stage = sources.iter().filter(|source| source.stage == StageId(number)).peekable();
        stage.capabilities.reads_gaps =
            of_stage.peek().is_some() && of_stage.all(|source| source.settings.reads_gaps());
    }
    let sources = sources.iter().map(|source| topology::Source {
        stage: source.stage,
        name: source.name.clone(),
        owner: match source.tenants.as_slice() {
            [one] if source.single_tenant => Owner::One(*one),
            _ => Owner::Shared,
        },
        tenants: source.tenants.clone(),
    });
    Topology::new(tenants.collect(), stages, sources.collect())
}
