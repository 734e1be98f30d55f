//! A multi-tenant log pipeline in one process that speaks the real wire protocols on loopback: CloudWatch
//! Logs, Kinesis, S3, STS, BigQuery and Google Cloud Storage, with the pipeline's stages between them. For
//! the demo, the tests and the benchmarks.
//!
//! It records when every canary really arrived at each stage ([`Sandbox::truth`]), so a probe's accuracy can
//! be measured, and it can fail in the ways in which a pipeline or a cloud fails ([`Fault`]). Mocks behind
//! our own traits would leave the clients, their retries, timeouts and parsers untested. Existing emulators
//! are not enough, because none of them reshards, throttles, truncates stamps to seconds or keeps rows in a
//! streaming buffer.
//!
//! It must import nothing from the rest of the crate, and the probe must reach it only through the SDK
//! clients with endpoint overrides. It does not check signatures or tokens.
//!
//! The table is `demo.logs.events` with the columns `trace_id STRING, tenant STRING, message STRING,
//! ingest_time TIMESTAMP`; the buckets are `sre-archive` (`archive/tenant=<t>/dt=%Y-%m-%d/hour=%H/`,
//! `dlq/tenant=<t>/…`) and `sre-transit` (`transit/%Y/%m/%d/%H/`) in S3, and `gcp-transit`
//! (`transfer/%Y/%m/%d/%H/`, the hour being that of the transit object) in Google Cloud Storage; the streams
//! are `logs-<tenant>`.

mod clock;
mod fault;
mod http;
mod names;
mod pipeline;
mod probe;
mod settings;
mod tasks;
mod truth;
mod world;

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::clock::Micros;
pub use self::fault::{ActiveFault, Damage, Drift, Fault, Rejection, ServiceEffect, StageEffect};
pub use self::names::{Service, Stage};
pub use self::probe::Access;
pub use self::settings::{
    ARCHIVE_BUCKET, Distribution, Pace, Profile, REGION, SRE_ACCOUNT, Settings, TABLE, TRANSFER_BUCKET,
    TRANSIT_BUCKET, TenantSpec,
};
pub use self::truth::{Arrival, Fate, Incident, TruthRecord};
pub use self::world::CallCount;
pub use self::world::buckets::Packing;

use self::tasks::Tasks;
use self::world::Shared;
use self::world::buckets::Object;

/// Where the services listen, each as `http://127.0.0.1:port`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoints {
    pub logs: String,
    pub kinesis: String,
    pub s3: String,
    pub sts: String,
    /// With the path `/bigquery/v2`, as clients want their base address.
    pub bigquery: String,
    /// Google Cloud Storage.
    pub gcs: String,
    /// For people and tests; a probe must not use it.
    pub admin: String,
}

/// A running pipeline. Dropping it stops it; [`Sandbox::stop`] also waits until it has stopped.
pub struct Sandbox {
    shared: Arc<Shared>,
    endpoints: Endpoints,
    tenants: Vec<TenantSpec>,
    tasks: Tasks,
}

impl Sandbox {
    /// Binds all listeners on loopback and starts the pipeline.
    ///
    /// # Errors
    /// When a socket cannot be bound.
    pub async fn start(settings: Settings) -> std::io::Result<Self> {
        let tenants = settings.tenants.clone();
        let admin_port = settings.admin_port;
        let shared = Arc::new(Shared::new(settings));
        let mut tasks = Tasks::new();
        let mut listen = async |service| {
            let (listener, address) = http::bind(0).await?;
            http::serve(&mut tasks, service, listener, &shared);
            std::io::Result::Ok(format!("http://{address}"))
        };
        let (listener, admin) = http::bind(admin_port).await?;
        let endpoints = Endpoints {
            logs: listen(Service::Logs).await?,
            kinesis: listen(Service::Kinesis).await?,
            s3: listen(Service::S3).await?,
            sts: listen(Service::Sts).await?,
            bigquery: format!("{}/bigquery/v2", listen(Service::Bigquery).await?),
            gcs: listen(Service::Gcs).await?,
            admin: format!("http://{admin}"),
        };
        http::admin::serve(&mut tasks, listener, &shared, endpoints.clone());
        let stop = tasks.stop_token();
        tasks.start("pipeline", pipeline::run(Arc::clone(&shared), stop));
        Ok(Self { shared, endpoints, tenants, tasks })
    }

    /// Where the services listen.
    pub fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    /// The tenants, in the order of the settings.
    pub fn tenants(&self) -> &[TenantSpec] {
        &self.tenants
    }

    /// Switches a fault on until it is cleared, and returns its id; `None` for a fault that happens once.
    ///
    /// # Panics
    /// When the fault names a tenant that does not exist.
    pub fn fault(&self, fault: Fault) -> Option<u64> {
        self.switch_on(fault, None)
    }

    /// Switches a fault on for a duration, and returns its id; `None` for a fault that happens once.
    ///
    /// # Panics
    /// When the fault names a tenant that does not exist.
    pub fn fault_for(&self, fault: Fault, lasting: Duration) -> Option<u64> {
        self.switch_on(fault, Some(lasting))
    }

    fn switch_on(&self, fault: Fault, lasting: Option<Duration>) -> Option<u64> {
        let now = clock::now();
        let done = self.shared.lock().fault(fault, lasting.map(|lasting| now.after(lasting)), now);
        self.shared.announce_faults();
        match done {
            Ok(id) => id,
            Err(message) => panic!("a fault must name tenants of the sandbox: {message}"),
        }
    }

    /// Switches one fault off and releases what it held back. Returns whether it was on.
    pub fn clear(&self, id: u64) -> bool {
        let found = self.shared.lock().faults.clear(id);
        self.shared.announce_faults();
        found
    }

    /// Switches all faults off.
    pub fn clear_all(&self) {
        self.shared.lock().faults.clear_all();
        self.shared.announce_faults();
    }

    /// The faults that are switched on.
    pub fn faults(&self) -> Vec<ActiveFault> {
        self.shared.lock().faults.list().to_vec()
    }

    /// Puts arbitrary bytes into a tenant's stream as a record that did not come through the pipeline.
    ///
    /// # Panics
    /// When there is no such tenant.
    pub fn put_record(&self, tenant: &str, data: Vec<u8>) {
        let mut world = self.shared.lock();
        let capacity = world.settings.capacity;
        let Some(tenant) = world.tenant_index(tenant) else {
            panic!("cannot put a record for `{tenant}`, which is not a tenant of the sandbox");
        };
        world.tenants[tenant].stream.put("foreign".to_owned(), data.into(), clock::now(), capacity);
    }

    /// Puts a log event of the client's own into a tenant's log group; the pipeline passes it on.
    ///
    /// # Panics
    /// When there is no such tenant.
    pub fn put_log_event(&self, tenant: &str, message: &str) {
        let mut world = self.shared.lock();
        let Some(tenant) = world.tenant_index(tenant) else {
            panic!("cannot put a log event for `{tenant}`, which is not a tenant of the sandbox");
        };
        let now = clock::now();
        world.accept(tenant, &"client".into(), now.millis(), message, now);
        drop(world);
        self.shared.wake.notify_one();
    }

    /// Puts arbitrary bytes into a bucket as an object that the pipeline did not write.
    ///
    /// # Panics
    /// When there is no such bucket.
    pub fn put_object(&self, bucket: &str, key: &str, body: Vec<u8>) {
        self.put_packed_object(bucket, key, body, Packing::Plain);
    }

    /// The same for Google Cloud Storage, with metadata that state this packing whether it is true or not.
    ///
    /// # Panics
    /// When there is no such bucket.
    pub fn put_packed_object(&self, bucket: &str, key: &str, body: Vec<u8>, packing: Packing) {
        let mut world = self.shared.lock();
        let capacity = world.settings.capacity;
        let Some(bucket) = world.bucket_mut(bucket) else {
            panic!("cannot put an object into `{bucket}`, which is not a bucket of the sandbox");
        };
        let object = Object { packing, ..pipeline::plain_object(body.into(), clock::now()) };
        bucket.put(key.to_owned(), object, capacity);
    }

    /// What really happened to every canary, oldest first.
    pub fn truth(&self) -> Vec<TruthRecord> {
        self.shared.lock().truth.all()
    }

    /// How often each operation was called on each resource, whether or not it was answered.
    pub fn calls(&self) -> Vec<CallCount> {
        self.shared.lock().calls()
    }

    /// Stops the listeners and the pipeline, and waits until they have.
    pub async fn stop(self) {
        self.tasks.stop().await;
    }
}
