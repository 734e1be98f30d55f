//! Faults that can be switched on and off while the pipeline runs, typed for tests and as JSON for the admin listener.
//!
//! A fault of a stage acts on the hop that leads to it; a fault of a service acts on its answers. Nothing here acts by itself:
//! the pipeline and the listeners ask what holds at the moment.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::clock::Micros;
use super::names::{Service, Stage};
use super::settings::Distribution;

/// A certain probability.
fn always() -> f64 {
    1.0
}

/// Something that goes wrong until it is cleared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Fault {
    /// Something goes wrong on the hop to a stage.
    Stage {
        stage: Stage,
        /// Only events of this tenant; all when absent.
        #[serde(default)]
        tenant: Option<String>,
        #[serde(flatten)]
        effect: StageEffect,
    },
    /// A service answers badly or not at all.
    Service {
        service: Service,
        /// Only this operation, as in `GetRecords`; all when absent.
        #[serde(default)]
        operation: Option<String>,
        /// Only calls about this tenant's resources; all when absent.
        #[serde(default)]
        tenant: Option<String>,
        #[serde(flatten)]
        effect: ServiceEffect,
    },
    /// The clock from which the service takes the stamps it returns is off by `ms` (negative: behind).
    ClockOffset { service: Service, ms: i64 },
    /// Once, at once: every open shard of the stream splits in two.
    Reshard { tenant: String },
    /// Once, at once: every shard iterator handed out so far has expired.
    ExpireIterators {
        #[serde(default)]
        tenant: Option<String>,
    },
    /// GetRecords gives empty pages and this MillisBehindLatest, although there are records.
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
    /// FilterLogEvents does not show events that were ingested less than this long ago, although they flow on.
    LateFilter {
        #[serde(default)]
        tenant: Option<String>,
        ms: u64,
    },
    /// Objects are uploaded in parts: LastModified is `early_ms` before they become visible, and the ETag ends in `-2`.
    /// Stages in S3 only; Google Cloud Storage stamps an object when its upload ends.
    Multipart { stage: Stage, early_ms: u64 },
    /// Object keys no longer grow with time.
    UnorderedKeys { stage: Stage },
    /// The writer of a stage's objects collects lines for so long before it makes one object of them, on top of the hop's
    /// usual time. Archive, transit and transfer only; the others store lines one by one.
    Batch { stage: Stage, ms: u64 },
    /// Rows stay in the streaming buffer, where their `_PARTITIONTIME` is NULL, for so long; 0 for not at all.
    StreamingBuffer { ms: u64 },
    /// The table holds this many bytes besides the rows that are there.
    TableSize { bytes: u64 },
    /// Queries take this long, so that `timeoutMs` can run out.
    SlowQuery { ms: u64 },
    /// The table's schema is not what it was.
    SchemaDrift { column: String, change: Drift },
}

/// What goes wrong on a hop, or at the stage that it leads to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "effect", rename_all = "snake_case")]
pub enum StageEffect {
    /// The hop takes this long instead of its usual time.
    Delay { delay: Distribution },
    /// Nothing passes; when the fault is cleared, all that waited does.
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
    /// Another copy is stored.
    Duplicate {
        #[serde(default = "always")]
        probability: f64,
    },
    /// Each event is held back by up to `spread_ms` more, so that events overtake each other.
    Reorder { spread_ms: u64 },
    /// The message is damaged.
    Corrupt {
        #[serde(default = "always")]
        probability: f64,
        damage: Damage,
    },
    /// Another copy is stored as if it were the other tenant's. With [`StageEffect::Lose`] beside it, the event is misrouted.
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
    /// Too many calls, said in the words of the service.
    Throttle,
    /// An answer with this status (500 to 599); a gateway's HTML for 502 and 503, the service's own error else.
    ServerError { status: u16 },
    /// The caller may not.
    Deny,
    /// No answer until the fault is cleared.
    Hang,
    /// An answer that comes this much later.
    Slow { ms: u64 },
    /// The connection is cut before the call is carried out.
    CutBefore,
    /// The connection is cut after the call was carried out, so the caller cannot know.
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
    /// It is an INTEGER now.
    Retyped,
    /// It is REQUIRED now.
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
                    | StageEffect::Corrupt { .. } => None,
                };
                tenant.iter().chain(into).map(String::as_str).collect()
            }
            Self::Service { tenant, .. }
            | Self::ExpireIterators { tenant }
            | Self::BehindLatest { tenant, .. }
            | Self::LateFilter { tenant, .. }
            | Self::RejectLogEvents { tenant, .. } => tenant.as_deref().into_iter().collect(),
            Self::Reshard { tenant } => vec![tenant],
            Self::ClockOffset { .. }
            | Self::Multipart { .. }
            | Self::UnorderedKeys { .. }
            | Self::Batch { .. }
            | Self::StreamingBuffer { .. }
            | Self::TableSize { .. }
            | Self::SlowQuery { .. }
            | Self::SchemaDrift { .. } => Vec::new(),
        }
    }
}

/// A fault that is switched on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ActiveFault {
    pub id: u64,
    /// When it ends by itself.
    pub until: Option<Micros>,
    #[serde(flatten)]
    pub fault: Fault,
}

/// The faults that are switched on.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    active: Vec<ActiveFault>,
    last_id: u64,
    version: u64,
}

/// Whether a fault that is limited to `limit` concerns `tenant`. A call about no tenant's resource is met by unlimited faults only.
fn concerns(limit: Option<&String>, tenant: Option<&str>) -> bool {
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

    /// Ends the faults whose time is over.
    pub(crate) fn expire(&mut self, now: Micros) {
        let before = self.active.len();
        self.active.retain(|active| active.until.is_none_or(|until| now < until));
        self.version += u64::from(self.active.len() < before);
    }

    /// When the next fault ends by itself.
    pub(crate) fn next_end(&self) -> Option<Micros> {
        self.active.iter().filter_map(|active| active.until).min()
    }

    fn all(&self) -> impl Iterator<Item = &Fault> {
        self.active.iter().map(|active| &active.fault)
    }

    /// What holds on the hop to `at` for `of`, oldest first.
    pub(crate) fn of_stage<'a>(&'a self, at: Stage, of: &'a str) -> impl Iterator<Item = &'a StageEffect> {
        self.all().filter_map(move |fault| match fault {
            Fault::Stage { stage, tenant, effect } if *stage == at && concerns(tenant.as_ref(), Some(of)) => {
                Some(effect)
            }
            _ => None,
        })
    }

    pub(crate) fn is_stalled(&self, at: Stage, of: &str) -> bool {
        self.of_stage(at, of).any(|effect| *effect == StageEffect::Stall)
    }

    /// What holds for a call.
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
                    && concerns(tenant.as_ref(), about) =>
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
            Fault::BehindLatest { tenant, ms } if concerns(tenant.as_ref(), Some(of)) => Some(*ms),
            _ => None,
        })
    }

    pub(crate) fn filter_lag(&self, of: &str) -> Option<u64> {
        self.all().find_map(|fault| match fault {
            Fault::LateFilter { tenant, ms } if concerns(tenant.as_ref(), Some(of)) => Some(*ms),
            _ => None,
        })
    }

    pub(crate) fn rejection(&self, of: &str) -> Option<Rejection> {
        self.all().find_map(|fault| match fault {
            Fault::RejectLogEvents { tenant, reason } if concerns(tenant.as_ref(), Some(of)) => Some(*reason),
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
    fn a_fault_reads_and_prints_as_flat_json() {
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
