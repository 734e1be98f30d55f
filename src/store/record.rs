//! A trace on disk, and the conversion in both directions.
//!
//! The store has record types of its own, so that the domain's types can change without a change of the file
//! format, and files of older versions stay readable: a new field gets a default, and no field ever changes
//! its meaning. Instants are microseconds since the Unix epoch, durations are microseconds.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::proof_source::mark;
use crate::domain::canary::Integrity;
use crate::domain::copies::{Check, CopyStanding, Round, StoredCopy, UnchargedReason};
use crate::domain::outcome::{Outcome, UnobservedReason};
use crate::domain::sighting::{Locator, Stamp};
use crate::domain::tag::{Claim, InstanceCode, Purpose, Tag, TenantCode, TenantPrefix, TraceId};
use crate::domain::time::{Interval, Timestamp};
use crate::domain::topology::{HopRange, LogGroupId, StageId, TenantId, Topology};
use crate::domain::trace::{Arrival, FoundLate, Hop, Judgement, Origin, Put, Trace, Visit};

/// The parts of a trace that have no column.
#[derive(Serialize, Deserialize)]
pub(super) struct Record {
    /// The 20-bit tenant code of a version 1 tag; `None` for version 2.
    #[serde(default, skip_serializing_if = "is_default")]
    tenant_code: Option<u32>,
    /// The tenant code and purpose of a version 2 tag; `None` for version 1.
    #[serde(default, skip_serializing_if = "is_default")]
    tag_2: Option<Tag2Record>,
    instance_code: u32,
    size: u32,
    put: PutRecord,
    #[serde(default, skip_serializing_if = "is_default")]
    doubled_by_us: bool,
    judgement: JudgementRecord,
    #[serde(default, skip_serializing_if = "is_default")]
    ended: Option<EndRecord>,
    #[serde(default, skip_serializing_if = "is_default")]
    came_late: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    found_in_time: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    origin: OriginRecord,
    /// By name, since the configuration numbers them.
    #[serde(default, skip_serializing_if = "is_default")]
    log_group: Option<String>,
    /// By stage name.
    visits: BTreeMap<String, VisitRecord>,
}

#[derive(Serialize, Deserialize, PartialEq)]
struct Tag2Record {
    tenant_code: u64,
    purpose: u8,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum PutRecord {
    Planned,
    Accepted { at: i64 },
    Ambiguous { at: i64 },
    Refused { at: i64 },
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum JudgementRecord {
    Pending,
    Good,
    Slow,
    Overdue,
    Unjudged,
}

#[derive(Serialize, Deserialize, Default, PartialEq)]
#[serde(rename_all = "snake_case")]
enum OriginRecord {
    #[default]
    Planned,
    Restored,
    Adopted,
}

#[derive(Serialize, Deserialize, PartialEq)]
struct EndRecord {
    outcome: OutcomeRecord,
    at: i64,
}

#[derive(Serialize, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
enum OutcomeRecord {
    Delivered,
    Late,
    Lost {
        first: String,
        last: String,
    },
    DeadLettered {
        stage: String,
    },
    /// As it was written before there were reasons.
    Unobserved,
    UnobservedFor {
        reason: String,
    },
    Refused {
        reason: String,
    },
}

#[derive(Serialize, Deserialize)]
struct VisitRecord {
    #[serde(default, skip_serializing_if = "is_default")]
    arrival: Option<ArrivalRecord>,
    #[serde(default, skip_serializing_if = "is_default")]
    absent_until: Option<i64>,
    #[serde(default, skip_serializing_if = "is_default")]
    empty_polls: u32,
    #[serde(default, skip_serializing_if = "is_default")]
    gap_since_poll: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    withheld: bool,
    /// The [`mark`] of the source that was polled. `None` if none was, or if a version wrote it that did not
    /// know it.
    #[serde(default, skip_serializing_if = "is_default")]
    source: Option<u32>,
    #[serde(default, skip_serializing_if = "is_default")]
    copies: Vec<CopyRecord>,
    #[serde(default, skip_serializing_if = "is_default")]
    hop: HopRecord,
}

#[derive(Serialize, Deserialize, PartialEq)]
#[serde(untagged)]
enum CopyRecord {
    /// Written by versions that charged every copy after the first.
    Charged(String),
    Judged {
        locator: String,
        record_bytes: usize,
        /// Written by versions that knew only one other sender, and read by them.
        #[serde(default, skip_serializing_if = "is_default")]
        second_sender: bool,
        /// The code of the other sender.
        #[serde(default, skip_serializing_if = "is_default")]
        sender: Option<u32>,
        #[serde(default, skip_serializing_if = "is_default")]
        gone: bool,
        standing: StandingRecord,
    },
}

#[derive(Serialize, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
enum StandingRecord {
    First,
    Undecoded,
    AwaitsPut,
    Pending { at: i64, last: bool },
    Duplicate,
    Uncharged { reason: String },
}

#[derive(Serialize, Deserialize, PartialEq)]
struct ArrivalRecord {
    earliest: i64,
    latest: i64,
    noticed_at: i64,
    integrity: IntegrityRecord,
    #[serde(default, skip_serializing_if = "is_default")]
    stamp: StampRecord,
}

#[derive(Serialize, Deserialize, Default, PartialEq)]
#[serde(rename_all = "snake_case")]
enum StampRecord {
    #[default]
    None,
    Millis(i64),
    Seconds(i64),
    NotBefore(i64),
}

#[derive(Serialize, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
enum IntegrityRecord {
    Intact,
    Unchecked,
    Corrupted { kept_bytes: usize, sent_bytes: usize },
}

#[derive(Serialize, Deserialize, Default, PartialEq)]
#[serde(rename_all = "snake_case")]
enum HopRecord {
    #[default]
    Open,
    Overdue,
    Measured {
        latency: u64,
        was_overdue: bool,
    },
    Unjudged,
    Inverted,
    Inherited,
    Skipped,
    Missing,
    NeverSeen,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Why a row could not be converted to a trace.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    #[error("its JSON is malformed")]
    Json(#[from] serde_json::Error),
    #[error("a code of its tag is missing or out of range")]
    Code,
    #[error("its columns have unexpected types")]
    Row(#[from] rusqlite::Error),
    #[error("its outcome names a stage that is no longer configured")]
    Stage,
}

impl Record {
    pub(super) fn of(trace: &Trace, map: &Topology) -> Self {
        let visits = (0..).map(StageId).zip(&trace.stages).zip(map.stages());
        let visits = visits.filter(|((_, visit), _)| **visit != Visit::default());
        let ended = |(outcome, at): &(Outcome, Timestamp)| EndRecord {
            outcome: outcome_out(outcome, map),
            at: at.micros(),
        };
        Self {
            tenant_code: match trace.tag.claim() {
                Claim::V1 { tenant } => Some(tenant.value()),
                Claim::V2 { .. } => None,
            },
            tag_2: match trace.tag.claim() {
                Claim::V1 { .. } => None,
                Claim::V2 { tenant, purpose } => {
                    Some(Tag2Record { tenant_code: tenant.value(), purpose: purpose.value() })
                }
            },
            instance_code: trace.tag.instance.value(),
            size: trace.tag.size,
            put: match trace.put {
                Put::Planned => PutRecord::Planned,
                Put::Accepted { at } => PutRecord::Accepted { at: at.micros() },
                Put::Ambiguous { at } => PutRecord::Ambiguous { at: at.micros() },
                Put::Refused { at } => PutRecord::Refused { at: at.micros() },
            },
            log_group: trace.log_group.map(|group| map.log_group(trace.tenant, group).to_string()),
            doubled_by_us: trace.doubled_by_us,
            judgement: match trace.judgement {
                Judgement::Pending => JudgementRecord::Pending,
                Judgement::Good => JudgementRecord::Good,
                Judgement::Slow => JudgementRecord::Slow,
                Judgement::Overdue => JudgementRecord::Overdue,
                Judgement::Unjudged => JudgementRecord::Unjudged,
            },
            ended: trace.ended.as_ref().map(ended),
            came_late: trace.found_late == Some(FoundLate::Late),
            found_in_time: trace.found_late == Some(FoundLate::InTime),
            origin: match trace.origin {
                Origin::Planned => OriginRecord::Planned,
                Origin::Restored => OriginRecord::Restored,
                Origin::Adopted => OriginRecord::Adopted,
            },
            visits: visits
                .map(|((id, visit), stage)| {
                    let source = map.source(map.source_of(trace.tenant, id));
                    (stage.name.to_string(), visit_out(visit, mark(&source.name)))
                })
                .collect(),
        }
    }

    /// Converts it to a trace of the current topology. New stages get an empty visit; stages that are no
    /// longer configured are dropped and named in `dropped`.
    pub(super) fn into_trace(
        self,
        id: TraceId,
        tenant: TenantId,
        planned_at: Timestamp,
        map: &Topology,
        dropped: &mut BTreeSet<String>,
    ) -> Result<Trace, Unreadable> {
        let claim = match (self.tenant_code, self.tag_2) {
            (Some(prefix), None) => TenantPrefix::from_value(prefix).map(|tenant| Claim::V1 { tenant }),
            (None, Some(Tag2Record { tenant_code, purpose })) => TenantCode::from_value(tenant_code)
                .zip(Purpose::from_value(purpose))
                .map(|(tenant, purpose)| Claim::V2 { tenant, purpose }),
            (Some(_), Some(_)) | (None, None) => None,
        };
        let claim = claim.ok_or(Unreadable::Code)?;
        let instance = InstanceCode::from_value(self.instance_code).ok_or(Unreadable::Code)?;
        let tag = Tag::remembered(id, claim, instance, self.size);
        let mut stages = vec![Visit::default(); map.stages().len()];
        for (name, visit) in self.visits {
            match stage_named(&name, map) {
                Some(stage) => {
                    let source = map.source(map.source_of(tenant, stage));
                    let is_moved = visit.source.is_some_and(|polled| polled != mark(&source.name));
                    let is_over = self.ended.is_some() && map.main_path().contains(&stage);
                    let visit = visit_in(visit);
                    let unproven = is_moved && !is_over && awaits_polls(&visit);
                    stages[usize::from(stage.0)] = if unproven { without_proof(visit) } else { visit };
                }
                None => drop(dropped.insert(name)),
            }
        }
        let groups = &map.tenant(tenant).log_groups;
        let is_it = |group: &LogGroupId| self.log_group.as_deref() == Some(&*groups[usize::from(group.0)]);
        let log_group = match (&self.log_group, groups.as_slice()) {
            // Written before a tenant could have several.
            (None, [_]) if self.origin != OriginRecord::Adopted => Some(LogGroupId::FIRST),
            _ => map.log_group_ids(tenant).find(is_it),
        };
        Ok(Trace {
            tag,
            tenant,
            log_group,
            planned_at,
            put: match self.put {
                PutRecord::Planned => Put::Planned,
                PutRecord::Accepted { at } => Put::Accepted { at: Timestamp::from_micros(at) },
                PutRecord::Ambiguous { at } => Put::Ambiguous { at: Timestamp::from_micros(at) },
                PutRecord::Refused { at } => Put::Refused { at: Timestamp::from_micros(at) },
            },
            doubled_by_us: self.doubled_by_us,
            stages,
            judgement: match self.judgement {
                JudgementRecord::Pending => Judgement::Pending,
                JudgementRecord::Good => Judgement::Good,
                JudgementRecord::Slow => Judgement::Slow,
                JudgementRecord::Overdue => Judgement::Overdue,
                JudgementRecord::Unjudged => Judgement::Unjudged,
            },
            ended: match self.ended {
                None => None,
                Some(end) => Some((
                    outcome_in(end.outcome, map).ok_or(Unreadable::Stage)?,
                    Timestamp::from_micros(end.at),
                )),
            },
            found_late: match (self.came_late, self.found_in_time) {
                (true, _) => Some(FoundLate::Late),
                (false, true) => Some(FoundLate::InTime),
                (false, false) => None,
            },
            origin: match self.origin {
                OriginRecord::Planned => Origin::Planned,
                OriginRecord::Restored => Origin::Restored,
                OriginRecord::Adopted => Origin::Adopted,
            },
        })
    }
}

pub(super) fn stage_named(name: &str, map: &Topology) -> Option<StageId> {
    map.stage_ids().find(|id| &*map.stage(*id).name == name)
}

fn outcome_out(outcome: &Outcome, map: &Topology) -> OutcomeRecord {
    let name = |stage: StageId| map.stage(stage).name.to_string();
    match outcome {
        Outcome::Delivered => OutcomeRecord::Delivered,
        Outcome::Late => OutcomeRecord::Late,
        Outcome::Lost(hop_range) => {
            OutcomeRecord::Lost { first: name(hop_range.first), last: name(hop_range.last) }
        }
        Outcome::DeadLettered(stage) => OutcomeRecord::DeadLettered { stage: name(*stage) },
        Outcome::Unobserved(reason) => OutcomeRecord::UnobservedFor { reason: reason.as_str().to_owned() },
        Outcome::Refused(reason) => OutcomeRecord::Refused { reason: reason.to_string() },
    }
}

/// Converts an outcome to the current topology. A loss at a hop that no longer exists becomes a loss
/// somewhere on the main path. `None` for a dead-letter stage that no longer exists, because any other
/// outcome would be false.
fn outcome_in(outcome: OutcomeRecord, map: &Topology) -> Option<Outcome> {
    Some(match outcome {
        OutcomeRecord::Delivered => Outcome::Delivered,
        OutcomeRecord::Late => Outcome::Late,
        OutcomeRecord::Lost { first, last } => Outcome::Lost(hop_range_in(&first, &last, map)),
        OutcomeRecord::DeadLettered { stage } => Outcome::DeadLettered(stage_named(&stage, map)?),
        OutcomeRecord::Unobserved => Outcome::Unobserved(UnobservedReason::Blind),
        OutcomeRecord::UnobservedFor { reason } => {
            Outcome::Unobserved(UnobservedReason::parse(&reason).unwrap_or(UnobservedReason::Blind))
        }
        OutcomeRecord::Refused { reason } => Outcome::Refused(reason.into()),
    })
}

fn hop_range_in(first: &str, last: &str, map: &Topology) -> HopRange {
    let whole = HopRange { first: map.main_path()[0], last: map.end() };
    let place = |name: &str| map.main_path().iter().position(|stage| &*map.stage(*stage).name == name);
    match (place(first), place(last)) {
        (Some(from), Some(to)) if from <= to => {
            HopRange { first: map.main_path()[from], last: map.main_path()[to] }
        }
        _ => whole,
    }
}

/// Whether what polls prove still matters: the canary has not arrived, and the hop is not closed.
fn awaits_polls(visit: &Visit) -> bool {
    let is_open = match visit.hop {
        Hop::Open | Hop::Overdue | Hop::Inherited => true,
        Hop::Measured { .. }
        | Hop::Unjudged
        | Hop::Inverted
        | Hop::Skipped
        | Hop::Missing
        | Hop::NeverSeen => false,
    };
    is_open && visit.arrival.is_none()
}

/// The visit to a stage whose source is another one since it was polled.
fn without_proof(visit: Visit) -> Visit {
    Visit { absent_until: None, empty_polls: 0, withheld: false, ..visit }
}

/// Converts a visit to a stage whose source has this [`mark`].
fn visit_out(visit: &Visit, source: u32) -> VisitRecord {
    let was_polled = visit.absent_until.is_some() || visit.empty_polls > 0 || visit.withheld;
    VisitRecord {
        source: was_polled.then_some(source),
        arrival: visit.arrival.as_ref().map(|arrival| ArrivalRecord {
            earliest: arrival.interval.earliest.micros(),
            latest: arrival.interval.latest.micros(),
            noticed_at: arrival.noticed_at.micros(),
            integrity: match arrival.integrity {
                Integrity::Intact => IntegrityRecord::Intact,
                Integrity::Unchecked => IntegrityRecord::Unchecked,
                Integrity::Corrupted { kept_bytes, sent_bytes } => {
                    IntegrityRecord::Corrupted { kept_bytes, sent_bytes }
                }
            },
            stamp: match arrival.stamp {
                Stamp::None => StampRecord::None,
                Stamp::Millis(at) => StampRecord::Millis(at.micros()),
                Stamp::Seconds(at) => StampRecord::Seconds(at.micros()),
                Stamp::NotBefore(at) => StampRecord::NotBefore(at.micros()),
            },
        }),
        absent_until: visit.absent_until.map(Timestamp::micros),
        empty_polls: visit.empty_polls,
        gap_since_poll: visit.gap_since_poll,
        withheld: visit.withheld,
        copies: visit.copies.iter().map(copy_out).collect(),
        hop: match visit.hop {
            Hop::Open => HopRecord::Open,
            Hop::Overdue => HopRecord::Overdue,
            Hop::Measured { latency, was_overdue } => HopRecord::Measured {
                latency: u64::try_from(latency.as_micros()).unwrap_or(u64::MAX),
                was_overdue,
            },
            Hop::Unjudged => HopRecord::Unjudged,
            Hop::Inverted => HopRecord::Inverted,
            Hop::Inherited => HopRecord::Inherited,
            Hop::Skipped => HopRecord::Skipped,
            Hop::Missing => HopRecord::Missing,
            Hop::NeverSeen => HopRecord::NeverSeen,
        },
    }
}

fn visit_in(visit: VisitRecord) -> Visit {
    Visit {
        arrival: visit.arrival.map(|arrival| {
            Box::new(Arrival {
                interval: Interval {
                    earliest: Timestamp::from_micros(arrival.earliest),
                    latest: Timestamp::from_micros(arrival.latest),
                },
                noticed_at: Timestamp::from_micros(arrival.noticed_at),
                integrity: match arrival.integrity {
                    IntegrityRecord::Intact => Integrity::Intact,
                    IntegrityRecord::Unchecked => Integrity::Unchecked,
                    IntegrityRecord::Corrupted { kept_bytes, sent_bytes } => {
                        Integrity::Corrupted { kept_bytes, sent_bytes }
                    }
                },
                stamp: match arrival.stamp {
                    StampRecord::None => Stamp::None,
                    StampRecord::Millis(at) => Stamp::Millis(Timestamp::from_micros(at)),
                    StampRecord::Seconds(at) => Stamp::Seconds(Timestamp::from_micros(at)),
                    StampRecord::NotBefore(at) => Stamp::NotBefore(Timestamp::from_micros(at)),
                },
                // Formats are for people, and not worth their bytes in the store.
                found_in: None,
            })
        }),
        absent_until: visit.absent_until.map(Timestamp::from_micros),
        empty_polls: visit.empty_polls,
        gap_since_poll: visit.gap_since_poll,
        withheld: visit.withheld,
        copies: visit.copies.into_iter().enumerate().map(|(at, copy)| copy_in(at, copy)).collect(),
        hop: match visit.hop {
            HopRecord::Open => Hop::Open,
            HopRecord::Overdue => Hop::Overdue,
            HopRecord::Measured { latency, was_overdue } => {
                Hop::Measured { latency: Duration::from_micros(latency), was_overdue }
            }
            HopRecord::Unjudged => Hop::Unjudged,
            HopRecord::Inverted => Hop::Inverted,
            HopRecord::Inherited => Hop::Inherited,
            HopRecord::Skipped => Hop::Skipped,
            HopRecord::Missing => Hop::Missing,
            HopRecord::NeverSeen => Hop::NeverSeen,
        },
    }
}

fn copy_out(copy: &StoredCopy) -> CopyRecord {
    CopyRecord::Judged {
        locator: copy.locator.as_str().to_owned(),
        record_bytes: copy.locator.record().len(),
        second_sender: copy.other_sender.is_some(),
        sender: copy.other_sender.map(InstanceCode::value),
        gone: copy.gone,
        standing: match copy.standing {
            CopyStanding::First => StandingRecord::First,
            CopyStanding::Undecoded => StandingRecord::Undecoded,
            CopyStanding::AwaitsPut => StandingRecord::AwaitsPut,
            CopyStanding::Pending(Check { at, round }) => {
                StandingRecord::Pending { at: at.micros(), last: round == Round::Last }
            }
            CopyStanding::Duplicate => StandingRecord::Duplicate,
            CopyStanding::Uncharged(reason) => {
                StandingRecord::Uncharged { reason: reason.as_str().to_owned() }
            }
        },
    }
}

/// Converts the copy at this place of the list.
fn copy_in(at: usize, copy: CopyRecord) -> StoredCopy {
    match copy {
        CopyRecord::Charged(locator) => {
            let standing = if at == 0 { CopyStanding::First } else { CopyStanding::Duplicate };
            StoredCopy::new(Locator::new(locator), None, standing)
        }
        CopyRecord::Judged { locator, record_bytes, second_sender, sender, gone, standing } => StoredCopy {
            locator: Locator::remembered(locator, record_bytes),
            // An unknown one differs from that of the trace all the same.
            other_sender: second_sender
                .then(|| sender.and_then(InstanceCode::from_value).unwrap_or(InstanceCode::UNKNOWN)),
            gone,
            standing: match standing {
                StandingRecord::First => CopyStanding::First,
                StandingRecord::Undecoded => CopyStanding::Undecoded,
                StandingRecord::AwaitsPut => CopyStanding::AwaitsPut,
                StandingRecord::Pending { at, last } => CopyStanding::Pending(Check {
                    at: Timestamp::from_micros(at),
                    round: if last { Round::Last } else { Round::First },
                }),
                StandingRecord::Duplicate => CopyStanding::Duplicate,
                StandingRecord::Uncharged { reason } => CopyStanding::Uncharged(
                    UnchargedReason::parse(&reason).unwrap_or(UnchargedReason::Unknown),
                ),
            },
        },
    }
}
