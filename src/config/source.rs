//! Expands stages and tenants to sources: reads the keys of a kind, replaces `{tenant}`, merges equal ones.

use std::collections::BTreeMap;
use std::time::Duration;

use toml::{Table, Value};

use super::keys;
use super::route::suggestion_or_all;
use super::settings::{Probe, Source};
use super::stage::{StageRead, belongs_elsewhere};
use super::tenant::{self, TenantRead};
use crate::domain::kind::Kind;
use crate::domain::topology::{StageId, TenantId};
use crate::keys::fault::{Checked, Collector, Reported};
use crate::keys::key::Fallback;
use crate::keys::reader::{Context, Layer, Reader};
use crate::keys::value::show_duration;
use crate::observe::{Attribution, Scope, SourceSettings, object_store, spec};

/// Reads every stage for every tenant. `order` holds indices into `stages`, if possible parents first.
pub(super) fn read(
    context: &mut Context,
    stages: &[StageRead<'_>],
    order: &[usize],
    tenants: &[TenantRead<'_>],
    region: &Checked<Option<String>>,
    project: &Checked<Option<String>>,
) -> Checked<Vec<Source>> {
    let scope = |tenant| Scope { tenant, region, project };
    check_overrides(context, stages, tenants);
    let mut good = !tenants.is_empty();
    let mut sources = Vec::new();
    let mut places: BTreeMap<(Kind, String), (String, String)> = BTreeMap::new();
    for (position, index) in order.iter().enumerate() {
        let stage = &stages[*index];
        let Ok(kind) = stage.kind else {
            good = false;
            continue;
        };
        let mut merged: Vec<(SourceSettings, Vec<TenantId>)> = Vec::new();
        if tenants.is_empty() {
            let layers = vec![stage.layer.clone()];
            let mut reader = Reader::new(context, layers, spec(kind).keys);
            let _faults_only = SourceSettings::read(kind, &mut reader, &scope("tenant"));
        }
        for (number, tenant) in tenants.iter().enumerate() {
            let name = tenant.name.as_deref().unwrap_or("tenant");
            let mut layers: Vec<_> =
                override_layer(context, stage, *index, tenant, number).into_iter().collect();
            layers.push(stage.layer.clone());
            let mut reader = Reader::new(context, layers, spec(kind).keys);
            let Ok(source) = SourceSettings::read(kind, &mut reader, &scope(name)) else {
                good = false;
                continue;
            };
            let id = TenantId(u16::try_from(number).unwrap_or(u16::MAX));
            match merged.iter_mut().find(|(other, _)| *other == source) {
                Some((_, owners)) => owners.push(id),
                None => {
                    good &= claim(&mut context.faults, &mut places, stage, name, &source);
                    merged.push((source, vec![id]));
                }
            }
        }
        let names_tenant = names_tenant(stage, tenants);
        for (source, owners) in merged {
            let all = || {
                Ok(Source {
                    stage: StageId(u16::try_from(position).unwrap_or(u16::MAX)),
                    single_tenant: owners.len() == 1 && (tenants.len() > 1 || names_tenant),
                    tenants: owners,
                    name: source.name().into(),
                    settings: source,
                    rhythm: stage.rhythm?,
                })
            };
            match all() {
                Ok(source) => sources.push(source),
                Err(Reported) => good = false,
            }
        }
    }
    if good { Ok(sources) } else { Err(Reported) }
}

/// Whether the settings of a stage differ by tenant: they mention it, or it overrides them. A source of a
/// stage that is the same for every tenant may hold the events of tenants that are not configured here.
fn names_tenant(stage: &StageRead<'_>, tenants: &[TenantRead<'_>]) -> bool {
    let mentions = |table: &Table| table.values().any(|value| value.to_string().contains("{tenant}"));
    let overridden = |tenant: &TenantRead<'_>| {
        let table = tenant.table.get("stage").and_then(Value::as_table);
        table.is_some_and(|table| table.contains_key(&stage.name))
    };
    stage.layer.table.is_some_and(mentions) || tenants.iter().any(overridden)
}

/// Claims the place that a source reads; reports a fault and returns false if it is taken.
fn claim(
    faults: &mut Collector,
    places: &mut BTreeMap<(Kind, String), (String, String)>,
    stage: &StageRead<'_>,
    tenant: &str,
    source: &SourceSettings,
) -> bool {
    let claim = (stage.name.clone(), tenant.to_owned());
    let Some((other_stage, other_tenant)) = places.insert((source.kind(), source.identity()), claim) else {
        return true;
    };
    let message = if other_stage == stage.name {
        format!(
            "tenants {other_tenant} and {tenant} read {} with different settings, so they cannot share it; give both the same settings",
            source.name()
        )
    } else {
        format!(
            "reads the same place as stage {other_stage} ({}), so each canary would be seen at both stages at once; change {} in one of them",
            source.name(),
            place_keys(source.kind())
        )
    };
    faults.report(stage.layer.path.clone(), message);
    false
}

/// Returns the keys that say which place a source of this kind reads: `bucket or key`.
fn place_keys(kind: Kind) -> String {
    let required = spec(kind).keys.iter().filter(|key| matches!(key.fallback, Fallback::Required));
    required.map(|key| key.name).collect::<Vec<_>>().join(" or ")
}

/// Returns the layer of `[tenant.stage.<name>]` and reports its unknown keys; `None` if it is not a table.
fn override_layer<'a>(
    context: &mut Context,
    stage: &StageRead<'_>,
    index: usize,
    tenant: &TenantRead<'a>,
    number: usize,
) -> Option<Layer<'a>> {
    let path = format!("{}.stage", tenant.path);
    let table = tenant.table.get("stage").and_then(Value::as_table);
    let path = format!("{path}.{}", stage.name);
    let table = match table.and_then(|table| table.get(&stage.name)) {
        Some(Value::Table(table)) => Some(table),
        // Not quoted: it may be the external id that belongs into the table.
        Some(_) => {
            context.faults.report(path, format!("is not a table; write [tenant.stage.{}]", stage.name));
            return None;
        }
        None => None,
    };
    let variables =
        tenant.name.as_ref().map(|name| context.variable(&["tenant", name, "stage", &stage.name]));
    let layer = Layer {
        path,
        variables,
        table,
        header: format!("[tenant.stage.{}]", stage.name),
        order: (tenant::ORDER, number, index + 1),
    };
    let Ok(kind) = stage.kind else {
        return Some(layer);
    };
    context.survey(&layer, &spec(kind).keys.iter().collect::<Vec<_>>(), &foreign(kind));
    for name in table.into_iter().flat_map(Table::keys) {
        let key = format!("{}.{name}", layer.path);
        if spec(kind).keys.iter().any(|key| key.name == name) {
            continue;
        }
        if keys::STAGE.iter().any(|key| key.name == name) {
            context.faults.report(
                key,
                format!("`{name}` must be the same for all tenants; set it in stage.{}", stage.name),
            );
        } else if foreign(kind).contains(&name.as_str()) {
            context.faults.report(key, belongs_elsewhere(name, kind));
        }
    }
    Some(layer)
}

/// Keys that are not valid in an override of this kind: those of other kinds, and those of all stages.
fn foreign(kind: Kind) -> Vec<&'static str> {
    let others = Kind::ALL.iter().flat_map(|other| spec(*other).keys);
    keys::STAGE
        .iter()
        .chain(others)
        .map(|key| key.name)
        .filter(|name| spec(kind).keys.iter().all(|key| key.name != *name))
        .collect()
}

fn check_overrides(context: &mut Context, stages: &[StageRead<'_>], tenants: &[TenantRead<'_>]) {
    for tenant in tenants {
        let path = format!("{}.stage", tenant.path);
        let overrides = context.table(Some(tenant.table), &path, "stage");
        for name in overrides.into_iter().flat_map(Table::keys) {
            if !stages.iter().any(|stage| stage.name == *name) {
                let near = suggestion_or_all(name, stages);
                context
                    .faults
                    .report(format!("{path}.{name}"), format!("there is no stage \"{name}\"{near}"));
            }
        }
    }
}

/// Reports a key of objects whose prefixes are so short that a poll cannot list all in which a canary may be that is
/// still looked for: after a stall, no poll would find anything any more.
pub(super) fn check_prefixes(
    faults: &mut Collector,
    stages: &[StageRead<'_>],
    order: &[usize],
    sources: &[Source],
    probe: &Probe,
) {
    // As long as a canary may be looked for, which is followed for `grace` once more after a restart.
    let followed = probe.give_up + 2 * probe.grace;
    for source in sources {
        let Some(objects) = objects(&source.settings) else { continue };
        let key = objects.key.to_string();
        let fields = [("%M", "minute", 60), ("%H", "hour", 3_600)];
        let Some((field, unit, seconds)) = fields.into_iter().find(|(field, ..)| key.contains(*field)) else {
            continue;
        };
        // The first and the last of them are listed in part.
        let listed = u32::try_from(objects.max_prefixes).unwrap_or(u32::MAX).saturating_sub(1);
        let most = Duration::from_secs(seconds).saturating_mul(listed).saturating_sub(objects.slack);
        let together = followed + objects.key_slack.max(objects.slack);
        let stage = order.get(usize::from(source.stage.0)).and_then(|index| stages.get(*index));
        if let Some(stage) = stage.filter(|_| together > most) {
            let message = format!(
                "\"{}\" has a prefix for each {unit}, of which a poll lists at most {}, too few for a canary that is \
                 still looked for: probe.give_up, twice probe.grace and key_slack are {} together, and may be at most \
                 {}; shorten one of them, or leave {field} out of the key",
                objects.written_key,
                objects.max_prefixes,
                show_duration(together),
                show_duration(most)
            );
            faults.report(stage.key("key"), message);
        }
    }
}

/// How a source reads objects; `None` if its records are none.
fn objects(settings: &SourceSettings) -> Option<&object_store::Settings> {
    match settings {
        SourceSettings::S3(s3) => Some(&s3.objects),
        SourceSettings::Gcs(gcs) => Some(&gcs.objects),
        SourceSettings::Kinesis(_)
        | SourceSettings::CloudWatchLogs(_)
        | SourceSettings::BigQuery(_)
        | SourceSettings::Sqs(_) => None,
    }
}

/// Returns remarks about a valid configuration: sources where leaks cannot be detected, and those that share too low a
/// rate limit.
pub(super) fn notes(
    stages: &[StageRead<'_>],
    order: &[usize],
    tenants: usize,
    sources: &[Source],
) -> Vec<String> {
    let note = |source: &Source| {
        let path = &stages.get(*order.get(usize::from(source.stage.0))?)?.layer.path;
        let (name, sharing) = (&source.name, source.tenants.len());
        let Attribution { labelled, by_tag, remedy } = source.settings.attribution();
        if sharing > 1 && !labelled {
            return Some(format!(
                "{path}: {sharing} tenants share {name}, and nothing in it names the tenant of a canary, so leaks can only be detected at other stages{remedy}"
            ));
        }
        (sharing < tenants && !by_tag).then(|| {
            format!(
                "{path}: trace ids in {name} do not name the tenant, so another tenant's canary in it goes unnoticed; leaks are detected where id_is = \"tag\", and at other stages"
            )
        })
    };
    sources.iter().filter_map(note).chain(crowded(stages, order, sources)).collect()
}

/// Returns a remark about each rate limit that does not allow every log group that shares it a call per interval.
fn crowded(stages: &[StageRead<'_>], order: &[usize], sources: &[Source]) -> Vec<String> {
    let mut limits: BTreeMap<_, Vec<(&Source, Duration)>> = BTreeMap::new();
    for source in sources {
        let SourceSettings::CloudWatchLogs(settings) = &source.settings else { continue };
        let place = (settings.account.region.as_str(), settings.account.number());
        limits.entry(place).or_default().push((source, settings.min_call_interval));
    }
    let note = |users: &Vec<(&Source, Duration)>| {
        let round: Duration = users.iter().map(|(_, pause)| *pause).sum();
        let (most_frequent, _) = users.iter().min_by_key(|(source, _)| source.rhythm.interval)?;
        let interval = most_frequent.rhythm.interval;
        let path = &stages.get(*order.get(usize::from(most_frequent.stage.0))?)?.layer.path;
        (round > interval).then(|| {
            format!(
                "{path}: {} log groups of one account and region share max_calls_per_second, so a round of polls takes {:.0} s, and interval is {}; raise max_calls_per_second, as far as the account's quota of FilterLogEvents allows, or interval",
                users.len(),
                round.as_secs_f64(),
                show_duration(interval)
            )
        })
    };
    limits.values().filter_map(note).collect()
}
