//! Episodes of conditions on disk, and the conversion in both directions.

use std::collections::HashSet;
use std::time::Duration;

use rusqlite::{Connection, Transaction, params};
use serde::{Deserialize, Serialize};

use super::record::stage_named;
use super::{Loaded, StoreError};
use crate::domain::conditions::{Blame, Condition, ConditionName, Detail, Severity, Subject};
use crate::domain::incidents::{AffectedCanaries, Episode, IncidentId, MAX_ENDED, State};
use crate::domain::time::Timestamp;
use crate::domain::topology::{HopRange, LogGroupId, TenantId, Topology};

/// An episode. Tenants and stages are stored by name, instants and durations in microseconds.
#[derive(Serialize, Deserialize)]
struct EpisodeRecord {
    incident: u64,
    condition: String,
    tenant: Option<String>,
    /// The first and the last hop.
    place: Option<(String, String)>,
    severity: SeverityRecord,
    worst: SeverityRecord,
    /// Whether the probe, its configuration or the injection path is to blame.
    blames_probe: bool,
    beginning: i64,
    began_before: bool,
    noticed_at: i64,
    state: StateRecord,
    last: Option<i64>,
    affected: Option<usize>,
    of: Option<usize>,
    /// By name, since the configuration numbers them.
    #[serde(default)]
    log_groups: Vec<String>,
    canaries: usize,
    /// When the last of them was planned.
    #[serde(default)]
    last_counted: Option<i64>,
    usual: Option<u64>,
    #[serde(default)]
    elsewhere_since: Option<i64>,
    detail: DetailRecord,
    #[serde(default)]
    consequences: Vec<ConsequenceRecord>,
}

/// A problem that followed from it.
#[derive(Serialize, Deserialize)]
struct ConsequenceRecord {
    condition: String,
    tenant: Option<String>,
    place: Option<(String, String)>,
    since: Option<i64>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum SeverityRecord {
    Critical,
    Warning,
    Note,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StateRecord {
    Ongoing,
    Unproven,
    Over { since: i64, well_from: i64 },
    Ended { at: i64 },
    Gone { at: i64 },
}

/// What is still worth telling when the episode is history.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum DetailRecord {
    None,
    Reason(String),
    FoundIn(String),
    Others(u64),
}

pub(super) fn upsert(
    to: &Transaction<'_>,
    changed: &[Episode],
    merged: &[IncidentId],
    map: &Topology,
) -> Result<(), StoreError> {
    let mut upsert = to.prepare(
        "INSERT INTO episode (id, ended_at, known) VALUES (?1, ?2, ?3)
         ON CONFLICT (id) DO UPDATE SET ended_at = excluded.ended_at, known = excluded.known",
    )?;
    for episode in changed {
        let ended_at = match episode.state {
            State::Ended { at } | State::Gone { at } => Some(at.micros()),
            State::Ongoing | State::Unproven | State::Over { .. } => None,
        };
        let known = serde_json::to_string(&EpisodeRecord::of(episode, map))?;
        upsert.execute(params![id_out(episode.id), ended_at, known])?;
    }
    let mut delete = to.prepare("DELETE FROM episode WHERE id = ?1")?;
    for id in merged {
        delete.execute([id_out(*id)])?;
    }
    Ok(())
}

/// Deletes the episodes that go on in the file but are not in `known`: they became part of others while nothing was saved.
/// Those of tenants and stages that are not configured stay, and what cannot be read.
pub(super) fn delete_merged(
    from: &Transaction<'_>,
    known: &[Episode],
    map: &Topology,
) -> Result<(), StoreError> {
    let known: HashSet<i64> = known.iter().map(|episode| id_out(episode.id)).collect();
    let mut select = from.prepare("SELECT id, known FROM episode WHERE ended_at IS NULL")?;
    let mut delete = from.prepare("DELETE FROM episode WHERE id = ?1")?;
    let rows: Vec<(i64, String)> =
        select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?;
    for (id, record) in rows.into_iter().filter(|(id, _)| !known.contains(id)) {
        let record = serde_json::from_str::<EpisodeRecord>(&record).ok();
        if record.and_then(|record| record.into_episode(id_in(id), map)).is_some() {
            delete.execute([id])?;
        }
    }
    Ok(())
}

/// Loads every episode that goes on and the last ones that have ended. Those of tenants and stages that are
/// no longer configured stay on disk.
pub(super) fn load(from: &Connection, map: &Topology, loaded: &mut Loaded) -> Result<(), StoreError> {
    let mut select = from.prepare(
        "SELECT id, known FROM episode
         WHERE ended_at IS NULL OR id IN (
             SELECT id FROM episode WHERE ended_at IS NOT NULL ORDER BY ended_at DESC LIMIT ?1)
         ORDER BY id",
    )?;
    let mut rows = select.query([i64::try_from(MAX_ENDED).unwrap_or(i64::MAX)])?;
    while let Some(row) = rows.next()? {
        let (id, known): (i64, String) = (row.get(0)?, row.get(1)?);
        match serde_json::from_str::<EpisodeRecord>(&known) {
            Ok(record) => {
                loaded.episodes.extend(record.into_episode(id_in(id), map));
            }
            Err(_) => loaded.unreadable += 1,
        }
    }
    Ok(())
}

/// Deletes the oldest ended episodes beyond the number that is ever loaded; at most `max_rows`.
pub(super) fn prune(from: &Transaction<'_>, max_rows: i64) -> Result<(), StoreError> {
    let keep = i64::try_from(MAX_ENDED).unwrap_or(i64::MAX);
    from.execute(
        "DELETE FROM episode WHERE id IN (
             SELECT id FROM episode WHERE ended_at IS NOT NULL ORDER BY ended_at DESC LIMIT ?1 OFFSET ?2)",
        params![max_rows, keep],
    )?;
    Ok(())
}

fn id_out(id: IncidentId) -> i64 {
    i64::try_from(id.0).unwrap_or(i64::MAX)
}

fn id_in(id: i64) -> IncidentId {
    IncidentId(u64::try_from(id).unwrap_or_default())
}

impl EpisodeRecord {
    fn of(episode: &Episode, map: &Topology) -> Self {
        let (condition, name) = (&episode.condition, |stage| map.stage(stage).name.to_string());
        let place_of = |subject: Subject| subject.place.map(|place| (name(place.first), name(place.last)));
        let tenant_of = |subject: Subject| subject.tenant.map(|tenant| map.tenant(tenant).name.to_string());
        let place = place_of(condition.subject);
        let consequence = |((name, subject), since): (&(ConditionName, Subject), &Option<Timestamp>)| {
            let condition = name.as_str().to_owned();
            let (tenant, place) = (tenant_of(*subject), place_of(*subject));
            ConsequenceRecord { condition, tenant, place, since: since.map(Timestamp::micros) }
        };
        Self {
            incident: episode.incident.0,
            condition: condition.name.as_str().to_owned(),
            tenant: tenant_of(condition.subject),
            place,
            severity: SeverityRecord::of(condition.severity),
            worst: SeverityRecord::of(episode.worst),
            blames_probe: condition.blame == Blame::Probe,
            beginning: episode.beginning.micros(),
            began_before: episode.began_before,
            noticed_at: episode.noticed_at.micros(),
            state: StateRecord::of(episode.state),
            last: condition.last.map(Timestamp::micros),
            affected: condition.affected,
            of: condition.of,
            log_groups: log_groups_of(condition, map),
            canaries: episode.canaries.count(),
            last_counted: episode.canaries.last().map(Timestamp::micros),
            usual: episode.usual.map(micros),
            elsewhere_since: episode.elsewhere_since.map(Timestamp::micros),
            detail: DetailRecord::of(&condition.detail),
            consequences: episode.consequences.iter().map(consequence).collect(),
        }
    }

    /// Returns `None` if its tenant, its stage or the name of its condition is not known.
    fn into_episode(self, id: IncidentId, map: &Topology) -> Option<Episode> {
        let named = |key: &str| ConditionName::ALL.into_iter().find(|name| name.as_str() == key);
        let tenant = tenant_out(self.tenant.as_deref(), map)?;
        let place = place_out(self.place.as_ref(), map)?;
        let consequences = self.consequences.into_iter().filter_map(|it| {
            let tenant = tenant_out(it.tenant.as_deref(), map)?;
            let place = place_out(it.place.as_ref(), map)?;
            Some(((named(&it.condition)?, Subject { tenant, place }), it.since.map(Timestamp::from_micros)))
        });
        let (at, last) = (Timestamp::from_micros, self.last.map(Timestamp::from_micros));
        let condition = Condition {
            name: named(&self.condition)?,
            severity: self.severity.into(),
            blame: if self.blames_probe { Blame::Probe } else { Blame::Pipeline },
            subject: Subject { tenant, place },
            since: Some(at(self.beginning)),
            last,
            canaries: Vec::new(),
            affected: self.affected,
            of: self.of,
            log_groups: tenant
                .map(|tenant| log_groups_out(tenant, &self.log_groups, map))
                .unwrap_or_default(),
            detail: self.detail.into(),
        };
        Some(Episode {
            id,
            incident: IncidentId(self.incident),
            condition,
            beginning: at(self.beginning),
            began_before: self.began_before,
            noticed_at: at(self.noticed_at),
            state: self.state.into(),
            worst: self.worst.into(),
            canaries: AffectedCanaries::restored(self.canaries, self.last_counted.map(at)),
            usual: self.usual.map(Duration::from_micros),
            elsewhere_since: self.elsewhere_since.map(at),
            consequences: consequences.collect(),
        })
    }
}

fn log_groups_of(condition: &Condition, map: &Topology) -> Vec<String> {
    let Some(tenant) = condition.subject.tenant else { return Vec::new() };
    condition.log_groups.iter().map(|group| map.log_group(tenant, *group).to_string()).collect()
}

/// Those that the tenant still has.
fn log_groups_out(tenant: TenantId, names: &[String], map: &Topology) -> Vec<LogGroupId> {
    let is_named = |group: &LogGroupId| names.iter().any(|name| **name == **map.log_group(tenant, *group));
    map.log_group_ids(tenant).filter(is_named).collect()
}

/// `None` if the tenant is not configured any more.
fn tenant_out(name: Option<&str>, map: &Topology) -> Option<Option<TenantId>> {
    name.map(|name| map.tenant_by_name(name).ok_or(())).transpose().ok()
}

/// `None` if one of the stages is not configured any more.
fn place_out(names: Option<&(String, String)>, map: &Topology) -> Option<Option<HopRange>> {
    let Some((first, last)) = names else { return Some(None) };
    Some(Some(HopRange { first: stage_named(first, map)?, last: stage_named(last, map)? }))
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

impl SeverityRecord {
    const fn of(severity: Severity) -> Self {
        match severity {
            Severity::Critical => Self::Critical,
            Severity::Warning => Self::Warning,
            Severity::Note => Self::Note,
        }
    }
}

impl From<SeverityRecord> for Severity {
    fn from(record: SeverityRecord) -> Self {
        match record {
            SeverityRecord::Critical => Self::Critical,
            SeverityRecord::Warning => Self::Warning,
            SeverityRecord::Note => Self::Note,
        }
    }
}

impl StateRecord {
    fn of(state: State) -> Self {
        match state {
            State::Ongoing => Self::Ongoing,
            State::Unproven => Self::Unproven,
            State::Over { since, well_from } => {
                Self::Over { since: since.micros(), well_from: well_from.micros() }
            }
            State::Ended { at } => Self::Ended { at: at.micros() },
            State::Gone { at } => Self::Gone { at: at.micros() },
        }
    }
}

impl From<StateRecord> for State {
    fn from(record: StateRecord) -> Self {
        let at = Timestamp::from_micros;
        match record {
            StateRecord::Ongoing => Self::Ongoing,
            StateRecord::Unproven => Self::Unproven,
            StateRecord::Over { since, well_from } => {
                Self::Over { since: at(since), well_from: at(well_from) }
            }
            StateRecord::Ended { at: end } => Self::Ended { at: at(end) },
            StateRecord::Gone { at: end } => Self::Gone { at: at(end) },
        }
    }
}

impl DetailRecord {
    fn of(detail: &Detail) -> Self {
        match detail {
            Detail::Reason(text) => Self::Reason(text.to_string()),
            Detail::FoundIn(text) => Self::FoundIn(text.to_string()),
            Detail::Others(took) => Self::Others(micros(*took)),
            Detail::None
            | Detail::Tenants { .. }
            | Detail::NotArrived { .. }
            | Detail::Unseen(_)
            | Detail::OverTarget { .. }
            | Detail::Slow { .. }
            | Detail::Injection(_)
            | Detail::Kept { .. }
            | Detail::Messages(_)
            | Detail::Drift(_)
            | Detail::ErrorBound(_) => Self::None,
        }
    }
}

impl From<DetailRecord> for Detail {
    fn from(record: DetailRecord) -> Self {
        match record {
            DetailRecord::None => Self::None,
            DetailRecord::Reason(text) => Self::Reason(text.into()),
            DetailRecord::FoundIn(text) => Self::FoundIn(text.into()),
            DetailRecord::Others(took) => Self::Others(Duration::from_micros(took)),
        }
    }
}
