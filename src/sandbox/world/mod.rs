//! All state of a sandbox.
//!
//! It has one owner behind one lock. A task with a channel would not do: an object in a listing must be there
//! to get, and a copy's true arrival must be the instant at which a listener could first show it. Nothing
//! awaits while it holds the lock. The world knows no protocol; the listeners translate.

pub(crate) mod buckets;
pub(crate) mod jobs;
pub(crate) mod log_groups;
pub(crate) mod sessions;
pub(crate) mod streams;
pub(crate) mod table;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, watch};

use self::buckets::Bucket;
use self::jobs::Jobs;
use self::log_groups::LogGroup;
use self::sessions::Sessions;
use self::streams::Stream;
use self::table::Table;
use super::clock::{self, Micros};
use super::fault::{Fault, Faults};
use super::names::Service;
use super::pipeline::Pipeline;
use super::settings::{ARCHIVE_BUCKET, SRE_ACCOUNT, Settings, TRANSFER_BUCKET, TRANSIT_BUCKET, TenantSpec};
use super::truth::Truth;

/// Number of different (service, operation, resource) that are counted; further calls count under the
/// resource `other`.
const COUNTED_RESOURCES: usize = 10_000;

/// How often an operation was called on a resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallCount {
    pub service: Service,
    pub operation: String,
    /// Log group, stream and shard, bucket and prefix or key, role, table; empty if the call named none.
    pub resource: String,
    pub calls: u64,
}

/// One tenant with its log group and stream.
#[derive(Debug)]
pub(crate) struct Tenant {
    pub spec: TenantSpec,
    pub group: LogGroup,
    pub stream: Stream,
    /// Of its role.
    pub sessions: Sessions,
}

pub(crate) struct World {
    pub settings: Settings,
    pub tenants: Vec<Tenant>,
    pub archive: Bucket,
    pub transit: Bucket,
    /// In Google Cloud Storage.
    pub transfer: Bucket,
    pub table: Table,
    pub jobs: Jobs,
    pub faults: Faults,
    pub truth: Truth,
    pub pipeline: Pipeline,
    calls: BTreeMap<(Service, String, String), u64>,
}

impl World {
    pub(crate) fn new(settings: Settings, now: Micros) -> Self {
        let tenants = settings
            .tenants
            .iter()
            .map(|spec| Tenant {
                group: LogGroup::new(&spec.log_group, &spec.account, now),
                stream: Stream::new(&format!("logs-{}", spec.name), settings.shards_per_stream, now),
                sessions: Sessions::default(),
                spec: spec.clone(),
            })
            .collect();
        let pipeline = Pipeline::new(&settings, now);
        Self {
            settings,
            tenants,
            archive: Bucket::default(),
            transit: Bucket::default(),
            transfer: Bucket::default(),
            table: Table::default(),
            jobs: Jobs::default(),
            faults: Faults::default(),
            truth: Truth::default(),
            pipeline,
            calls: BTreeMap::new(),
        }
    }

    /// A bucket in S3.
    pub(crate) fn bucket(&self, name: &str) -> Option<&Bucket> {
        match name {
            ARCHIVE_BUCKET => Some(&self.archive),
            TRANSIT_BUCKET => Some(&self.transit),
            _ => None,
        }
    }

    /// A bucket in S3 or Google Cloud Storage; all names differ.
    pub(crate) fn bucket_mut(&mut self, name: &str) -> Option<&mut Bucket> {
        match name {
            ARCHIVE_BUCKET => Some(&mut self.archive),
            TRANSIT_BUCKET => Some(&mut self.transit),
            TRANSFER_BUCKET => Some(&mut self.transfer),
            _ => None,
        }
    }

    /// The tenant whose label `tenant=<name>` is part of a resource's name.
    pub(crate) fn labelled<'a>(&self, resource: &'a str) -> Option<&'a str> {
        let label = resource.split("tenant=").nth(1).and_then(|rest| rest.split('/').next());
        label.filter(|name| self.tenant_index(name).is_some())
    }

    pub(crate) fn tenant_index(&self, name: &str) -> Option<usize> {
        self.tenants.iter().position(|tenant| tenant.spec.name == name)
    }

    pub(crate) fn count_call(&mut self, service: Service, operation: &str, resource: &str) {
        let full = self.calls.len() >= COUNTED_RESOURCES;
        let mut key = (service, operation.to_owned(), resource.to_owned());
        if full && !self.calls.contains_key(&key) {
            "other".clone_into(&mut key.2);
        }
        *self.calls.entry(key).or_default() += 1;
    }

    pub(crate) fn calls(&self) -> Vec<CallCount> {
        let counted =
            |((service, operation, resource), calls): (&(Service, String, String), &u64)| CallCount {
                service: *service,
                operation: operation.clone(),
                resource: resource.clone(),
                calls: *calls,
            };
        self.calls.iter().map(counted).collect()
    }

    /// Switches a fault on, or carries it out if it happens once.
    ///
    /// # Errors
    /// Names the tenant that does not exist.
    pub(crate) fn fault(
        &mut self,
        fault: Fault,
        until: Option<Micros>,
        now: Micros,
    ) -> Result<Option<u64>, String> {
        if let Some(name) = fault.tenants().into_iter().find(|name| self.tenant_index(name).is_none()) {
            return Err(format!("no tenant named {name}"));
        }
        match &fault {
            Fault::Reshard { tenant } => {
                if let Some(index) = self.tenant_index(tenant) {
                    self.tenants[index].stream.reshard(now);
                }
                Ok(None)
            }
            Fault::ExpireIterators { tenant } => {
                for stream in self
                    .tenants
                    .iter_mut()
                    .filter(|one| tenant.as_ref().is_none_or(|name| one.spec.name == *name))
                {
                    stream.stream.generation += 1;
                }
                Ok(None)
            }
            Fault::RevokeSessions { tenant } => {
                if let Some(index) = self.tenant_index(tenant) {
                    self.tenants[index].sessions.revoke();
                }
                Ok(None)
            }
            _ => Ok(Some(self.faults.add(fault, until))),
        }
    }

    /// How long a row stays in the streaming buffer.
    pub(crate) fn buffer(&self) -> Duration {
        self.faults.streaming_buffer().unwrap_or(self.settings.streaming_buffer)
    }

    /// An instant by the service's clock: the machine's with the service's offset.
    pub(crate) fn stamp(&self, service: Service, at: Micros) -> Micros {
        at.shifted(self.faults.clock_offset(service))
    }

    /// Whether `account` owns the streams and buckets.
    pub(crate) fn is_sre(account: &str) -> bool {
        account == SRE_ACCOUNT
    }

    pub(crate) fn forget_before(&mut self, horizon: Micros) {
        for tenant in &mut self.tenants {
            tenant.group.forget_before(horizon);
            tenant.stream.forget_before(horizon);
        }
        self.archive.forget_before(horizon);
        self.transit.forget_before(horizon);
        self.transfer.forget_before(horizon);
        self.table.forget_before(horizon);
    }
}

/// The world, and two notifications of changes.
pub(crate) struct Shared {
    world: Mutex<World>,
    /// Notified when the pipeline may have something to do earlier than it expects.
    pub wake: Notify,
    /// Changes whenever faults do, so that hanging calls can check them again.
    pub faults_changed: watch::Sender<u64>,
}

impl Shared {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            world: Mutex::new(World::new(settings, clock::now())),
            wake: Notify::new(),
            faults_changed: watch::Sender::new(0),
        }
    }

    /// The guard must not be held across an await.
    pub(crate) fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notifies everything that waits for a change of faults.
    pub(crate) fn announce_faults(&self) {
        self.faults_changed.send_modify(|version| *version += 1);
        self.wake.notify_one();
    }
}
