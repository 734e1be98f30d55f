//! Faults that can be switched on and off while the pipeline runs: types for tests, JSON for the admin
//! listener.
//!
//! A fault of a stage affects the hop that leads to it; a fault of a service affects its answers. This module
//! only records faults: the pipeline and the listeners query which ones apply.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::clock::Micros;
use super::names::{Service, Stage};
use super::settings::Distribution;

/// The default probability.
fn always() -> f64 {
    1.0
}

/// Something that goes wrong until it is cleared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Fault {
    /// The hop to a stage fails.
    Stage {
        stage: Stage,
        /// Only events of this tenant; all if absent.
        #[serde(default)]
        tenant: Option<String>,
        #[serde(flatten)]
        effect: StageEffect,
    },
    /// A service fails or does not answer.
    Service {
        service: Service,
        /// Only this operation, such as `GetRecords`; all if absent.
        #[serde(default)]
        operation: Option<String>,
        /// Only calls for this tenant's resources; all if absent.
        #[serde(default)]
        tenant: Option<String>,
        #[serde(flatten)]
        effect: ServiceEffect,
    },
    /// The clock of the service's stamps is off by `ms` (negative: behind).
    ClockOffset { service: Service, ms: i64 },
    /// Happens once, immediately: every open shard of the stream splits in two.
    Reshard { tenant: String },
    /// Happens once, immediately: all existing shard iterators expire.
    ExpireIterators {
        #[serde(default)]
        tenant: Option<String>,
    },
    /// Happens once, immediately: CloudWatch Logs refuses all sessions that STS has issued so far for the
    /// tenant's role, as after an administrator has revoked them.
    RevokeSessions { tenant: String },
    /// GetRecords returns empty pages and this MillisBehindLatest, although there are records.
    BehindLatest {
        #[serde(default)]
        tenant: Option<String>,
        ms: u64,
    },
    /// PutLogEvents answers 200, but lists all events as rejected and stores none.
    RejectLogEvents {
        #[serde(default)]
        tenant: Option<String>,
        reason: Rejection,
    },
    /// FilterLogEvents does not show events that were ingested less than this long ago, although the pipeline
    /// passes them on.
    LateFilter {
        #[serde(default)]
        tenant: Option<String>,
        ms: u64,
    },
    /// Objects are uploaded in parts: LastModified is `early_ms` before they become visible, and the ETag
    /// ends in `-2`. Stages in S3 only; Google Cloud Storage stamps an object when its upload ends.
    Multipart { stage: Stage, early_ms: u64 },
    /// Object keys no longer grow with time.
    UnorderedKeys { stage: Stage },
    /// The writer of a stage's objects collects lines for this long, in addition to the hop's usual time.
    /// Archive, transit and transfer only; the others store single lines.
    Batch { stage: Stage, ms: u64 },
    /// The objects of a stage in S3 are merged `every_ms` after the first of them was written, into one
    /// object beside them, and deleted `keep_ms` later.
    Compaction {
        stage: Stage,
        /// Only objects of this tenant; all if absent.
        #[serde(default)]
        tenant: Option<String>,
        every_ms: u64,
        keep_ms: u64,
    },
    /// Rows stay in the streaming buffer, where their `_PARTITIONTIME` is NULL, for this long.
    StreamingBuffer { ms: u64 },
    /// The table holds this many bytes in addition to its rows.
    TableSize { bytes: u64 },
    /// Queries take this long, so that `timeoutMs` can expire.
    SlowQuery { ms: u64 },
    /// A column of the table's schema has changed.
    SchemaDrift { column: String, change: Drift },
    /// Row access policies are on the table, and let the probe see the rows of these tenants only.
    RowPolicy {
        #[serde(default)]
        visible: Vec<String>,
    },
    /// A column is masked: BigQuery shows its default masking value instead.
    Masking { column: String },
}

/// How a hop fails, or the stage that it leads to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "effect", rename_all = "snake_case")]
pub enum StageEffect {
    /// The hop takes this long instead of its usual time.
    Delay { delay: Distribution },
    /// Nothing passes until the fault is cleared; then everything that waited does.
    Stall,
    /// Events are dropped.
    Lose {
        #[serde(default = "always")]
        probability: f64,
    },
    /// Events are put under `dlq/` in the archive bucket instead.
    DeadLetter {
        #[serde(default = "always")]
        probability: f64,
    },
    /// A second copy is stored.
    Duplicate {
        #[serde(default = "always")]
        probability: f64,
    },
    /// Each event is delayed by up to `spread_ms` more, so that events overtake each other.
    Reorder { spread_ms: u64 },
    /// At most this many events a second pass; the others queue up. The events of all tenants that the fault affects
    /// share one queue.
    Limit { per_second: f64 },
    /// The message is damaged.
    Corrupt {
        #[serde(default = "always")]
        probability: f64,
        damage: Damage,
    },
    /// A copy is stored as the other tenant's. Together with [`StageEffect::Lose`], the event is misrouted.
    Leak {
        #[serde(default = "always")]
        probability: f64,
        into: String,
    },
}

/// How a message is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "how", rename_all = "snake_case")]
pub enum Damage {
    /// Only the first `bytes` bytes are left.
    Truncate { bytes: usize },
    /// Eight bytes before the last two are replaced.
    Mangle,
}

/// How a service fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "effect", rename_all = "snake_case")]
pub enum ServiceEffect {
    /// The service's own error for too many calls.
    Throttle,
    /// An answer with this status (500 to 599): a gateway's HTML for 502 and 503, otherwise the service's own
    /// error.
    ServerError { status: u16 },
    /// The service's own error for a missing permission.
    Deny,
    /// The service's own error for a wrong request, with a message of this many bytes that tries to forge log
    /// lines.
    LongError { bytes: usize },
    /// No answer until the fault is cleared.
    Hang,
    /// An answer that is this much later.
    Slow { ms: u64 },
    /// The connection is cut before the call takes effect.
    CutBefore,
    /// The connection is cut after the call took effect, which the caller cannot know.
    CutAfter,
}

/// Why PutLogEvents rejects events of a batch that it accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rejection {
    TooNew,
    TooOld,
    Expired,
}

/// How a column of the table has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Drift {
    Dropped,
    Added,
    /// Its type is now INTEGER.
    Retyped,
    /// Its mode is now REQUIRED.
    Remoded,
}

impl Fault {
    /// A fault on the hop to `stage`, for all tenants.
    pub fn stage(stage: Stage, effect: StageEffect) -> Self {
        Self::Stage { stage, tenant: None, effect }
    }

    /// A fault on the hop to `stage`, for one tenant.
    pub fn tenant_stage(tenant: &str, stage: Stage, effect: StageEffect) -> Self {
        Self::Stage { stage, tenant: Some(tenant.to_owned()), effect }
    }

    /// A fault of all operations of a service.
    pub fn service(service: Service, effect: ServiceEffect) -> Self {
        Self::Service { service, operation: None, tenant: None, effect }
    }

    /// A fault of one operation of a service.
    pub fn operation(service: Service, operation: &str, effect: ServiceEffect) -> Self {
        Self::Service { service, operation: Some(operation.to_owned()), tenant: None, effect }
    }

    /// Every tenant that the fault names.
    pub(crate) fn tenants(&self) -> Vec<&str> {
        match self {
            Self::Stage { tenant, effect, .. } => {
                let into = match effect {
                    StageEffect::Leak { into, .. } => Some(into),
                    StageEffect::Delay { .. }
                    | StageEffect::Stall
                    | StageEffect::Lose { .. }
                    | StageEffect::DeadLetter { .. }
                    | StageEffect::Duplicate { .. }
                    | StageEffect::Reorder { .. }
                    | StageEffect::Limit { .. }
                    | StageEffect::Corrupt { .. } => None,
                };
                tenant.iter().chain(into).map(String::as_str).collect()
            }
            Self::Service { tenant, .. }
            | Self::ExpireIterators { tenant }
            | Self::BehindLatest { tenant, .. }
            | Self::LateFilter { tenant, .. }
            | Self::Compaction { tenant, .. }
            | Self::RejectLogEvents { tenant, .. } => tenant.as_deref().into_iter().collect(),
            Self::Reshard { tenant } | Self::RevokeSessions { tenant } => vec![tenant],
            Self::RowPolicy { visible } => visible.iter().map(String::as_str).collect(),
            Self::ClockOffset { .. }
            | Self::Multipart { .. }
            | Self::UnorderedKeys { .. }
            | Self::Batch { .. }
            | Self::StreamingBuffer { .. }
            | Self::TableSize { .. }
            | Self::SlowQuery { .. }
            | Self::SchemaDrift { .. }
            | Self::Masking { .. } => Vec::new(),
        }
    }
}

/// A fault that is switched on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ActiveFault {
    pub id: u64,
    /// When it is cleared automatically; `None` if never.
    pub until: Option<Micros>,
    #[serde(flatten)]
    pub fault: Fault,
}

/// When objects are merged, and how long they stay after that.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Compaction {
    pub every: Duration,
    pub keep: Duration,
}

/// The faults that are switched on.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    active: Vec<ActiveFault>,
    last_id: u64,
    version: u64,
}

/// Whether a fault that is limited to `limit` affects `tenant`. Only unlimited faults affect a call for no
/// tenant's resource.
fn affects(limit: Option<&String>, tenant: Option<&str>) -> bool {
    limit.is_none_or(|limit| Some(limit.as_str()) == tenant)
}

impl Faults {
    pub(crate) fn add(&mut self, fault: Fault, until: Option<Micros>) -> u64 {
        self.last_id += 1;
        self.version += 1;
        self.active.push(ActiveFault { id: self.last_id, until, fault });
        self.last_id
    }

    pub(crate) fn clear(&mut self, id: u64) -> bool {
        let before = self.active.len();
        self.active.retain(|active| active.id != id);
        self.version += 1;
        self.active.len() < before
    }

    pub(crate) fn clear_all(&mut self) {
        self.active.clear();
        self.version += 1;
    }

    /// Grows whenever faults are switched on or off.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    pub(crate) fn list(&self) -> &[ActiveFault] {
        &self.active
    }

    /// Clears the faults whose time is over.
    pub(crate) fn expire(&mut self, now: Micros) {
        let before = self.active.len();
        self.active.retain(|active| active.until.is_none_or(|until| now < until));
        self.version += u64::from(self.active.len() < before);
    }

    /// When the next fault is cleared automatically.
    pub(crate) fn next_end(&self) -> Option<Micros> {
        self.active.iter().filter_map(|active| active.until).min()
    }

    fn all(&self) -> impl Iterator<Item = &Fault> {
        self.active.iter().map(|active| &active.fault)
    }

    /// The effects on the hop to `at` for the tenant `of`, oldest first.
    pub(crate) fn of_stage<'a>(&'a self, at: Stage, of: &'a str) -> impl Iterator<Item = &'a StageEffect> {
        self.all().filter_map(move |fault| match fault {
            Fault::Stage { stage, tenant, effect } if *stage == at && affects(tenant.as_ref(), Some(of)) => {
                Some(effect)
            }
            _ => None,
        })
    }

    pub(crate) fn is_stalled(&self, at: Stage, of: &str) -> bool {
        self.of_stage(at, of).any(|effect| *effect == StageEffect::Stall)
    }

    /// The effects on a call.
    pub(crate) fn of_call<'a>(
        &'a self,
        to: Service,
        called: &'a str,
        about: Option<&'a str>,
    ) -> impl Iterator<Item = ServiceEffect> + 'a {
        self.all().filter_map(move |fault| match fault {
            Fault::Service { service, operation, tenant, effect }
                if *service == to
                    && operation.as_ref().is_none_or(|operation| operation == called)
                    && affects(tenant.as_ref(), about) =>
            {
                Some(*effect)
            }
            _ => None,
        })
    }

    /// By how many ms the service's clock is off.
    pub(crate) fn clock_offset(&self, of: Service) -> i64 {
        self.all()
            .map(|fault| match fault {
                Fault::ClockOffset { service, ms } if *service == of => *ms,
                _ => 0,
            })
            .sum()
    }

    pub(crate) fn behind_latest(&self, of: &str) -> Option<u64> {
        self.all().find_map(|fault| match fault {
            Fault::BehindLatest { tenant, ms } if affects(tenant.as_ref(), Some(of)) => Some(*ms),
            _ => None,
        })
    }

    pub(crate) fn filter_lag(&self, of: &str) -> Option<u64> {
        self.all().find_map(|fault| match fault {
            Fault::LateFilter { tenant, ms } if affects(tenant.as_ref(), Some(of)) => Some(*ms),
            _ => None,
        })
    }

    pub(crate) fn rejection(&self, of: &str) -> Option<Rejection> {
        self.all().find_map(|fault| match fault {
            Fault::RejectLogEvents { tenant, reason } if affects(tenant.as_ref(), Some(of)) => Some(*reason),
            _ => None,
        })
    }

    pub(crate) fn multipart_early(&self, at: Stage) -> Option<u64> {
        self.all().find_map(|fault| match fault {
            Fault::Multipart { stage, early_ms } if *stage == at => Some(*early_ms),
            _ => None,
        })
    }

    pub(crate) fn keys_unordered(&self, at: Stage) -> bool {
        self.all().any(|fault| matches!(fault, Fault::UnorderedKeys { stage } if *stage == at))
    }

    pub(crate) fn batch(&self, at: Stage) -> Option<Duration> {
        self.all().find_map(|fault| match fault {
            Fault::Batch { stage, ms } if *stage == at => Some(Duration::from_millis(*ms)),
            _ => None,
        })
    }

    /// How the objects of a stage and tenant are compacted.
    pub(crate) fn compaction(&self, at: Stage, of: &str) -> Option<Compaction> {
        self.all().find_map(|fault| match fault {
            Fault::Compaction { stage, tenant, every_ms, keep_ms }
                if *stage == at && affects(tenant.as_ref(), Some(of)) =>
            {
                let (every, keep) = (Duration::from_millis(*every_ms), Duration::from_millis(*keep_ms));
                Some(Compaction { every, keep })
            }
            _ => None,
        })
    }

    pub(crate) fn streaming_buffer(&self) -> Option<Duration> {
        self.all().find_map(|fault| match fault {
            Fault::StreamingBuffer { ms } => Some(Duration::from_millis(*ms)),
            _ => None,
        })
    }

    pub(crate) fn table_size(&self) -> Option<u64> {
        self.all().find_map(|fault| match fault {
            Fault::TableSize { bytes } => Some(*bytes),
            _ => None,
        })
    }

    pub(crate) fn query_ms(&self) -> Option<u64> {
        self.all().find_map(|fault| match fault {
            Fault::SlowQuery { ms } => Some(*ms),
            _ => None,
        })
    }

    /// The tenants whose rows the probe may see, where there are row access policies.
    pub(crate) fn row_policy(&self) -> Option<&[String]> {
        self.all().find_map(|fault| match fault {
            Fault::RowPolicy { visible } => Some(visible.as_slice()),
            _ => None,
        })
    }

    pub(crate) fn masks(&self, masked: &str) -> bool {
        self.all().any(|fault| matches!(fault, Fault::Masking { column } if column == masked))
    }

    pub(crate) fn drifts(&self) -> impl Iterator<Item = (&str, Drift)> {
        self.all().filter_map(|fault| match fault {
            Fault::SchemaDrift { column, change } => Some((column.as_str(), *change)),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_flat_json() {
        let text = r#"{"kind":"stage","stage":"archive","tenant":"acme","effect":"lose"}"#;
        let fault: Fault = serde_json::from_str(text).unwrap();
        assert_eq!(
            fault,
            Fault::tenant_stage("acme", Stage::Archive, StageEffect::Lose { probability: 1.0 })
        );
        let text = r#"{"kind":"service","service":"kinesis","operation":"GetRecords","effect":"server_error","status":503}"#;
        let fault: Fault = serde_json::from_str(text).unwrap();
        assert_eq!(
            fault,
            Fault::operation(Service::Kinesis, "GetRecords", ServiceEffect::ServerError { status: 503 })
        );
        let printed = serde_json::to_string(&fault).unwrap();
        assert_eq!(serde_json::from_str::<Fault>(&printed).unwrap(), fault);
    }

    #[test]
    fn a_fault_of_one_tenant_leaves_the_others_alone() {
        let mut faults = Faults::default();
        faults.add(Fault::tenant_stage("acme", Stage::Transit, StageEffect::Stall), Some(Micros(5)));
        assert!(faults.is_stalled(Stage::Transit, "acme"));
        assert!(!faults.is_stalled(Stage::Transit, "globex"));
        faults.expire(Micros(5));
        assert!(!faults.is_stalled(Stage::Transit, "acme"));
    }
}
