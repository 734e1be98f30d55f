//! The settings of a sandbox: its tenants, the pace of its pipeline, and the seed that makes a run
//! repeatable.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::names::Stage;

/// The account that owns the streams, the buckets and the probe. A caller whose key the sandbox did not issue
/// belongs to it.
pub const SRE_ACCOUNT: &str = "999999999999";
/// The region in every ARN.
pub const REGION: &str = "eu-central-1";
/// Bucket of the archive and of the dead letters.
pub const ARCHIVE_BUCKET: &str = "sre-archive";
/// Bucket of the transit objects.
pub const TRANSIT_BUCKET: &str = "sre-transit";
/// Bucket in Google Cloud Storage of the copies of the transit objects.
pub const TRANSFER_BUCKET: &str = "gcp-transit";
/// Project, dataset and name of the only table.
pub const TABLE: (&str, &str, &str) = ("demo", "logs", "events");

/// One client of the pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantSpec {
    pub name: String,
    /// Twelve digits.
    pub account: String,
    pub log_group: String,
    pub role_arn: String,
    pub external_id: String,
}

impl TenantSpec {
    /// A tenant whose account, log group and role follow from its name and its position in the list.
    pub fn named(name: &str, index: usize) -> Self {
        let account =
            format!("{:012}", 111_111_111_111_u64.saturating_mul(index as u64 % 8 + 1) + index as u64 / 8);
        Self {
            name: name.to_owned(),
            log_group: format!("/ecs/{name}/app"),
            role_arn: format!("arn:aws:iam::{account}:role/traceprobe-inject"),
            external_id: format!("{name}-external-id"),
            account,
        }
    }
}

/// How the pipeline behaves while no fault is switched on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Profile {
    /// Every event is delivered once.
    #[default]
    Calm,
    /// About one event in a hundred is slow, lost or duplicated.
    Believable,
}

/// How long a hop takes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "shape", rename_all = "snake_case")]
pub enum Distribution {
    /// Always the same.
    Fixed { ms: f64 },
    /// Uniform between the two.
    Uniform { min_ms: f64, max_ms: f64 },
    /// Log-normal with `sigma` as the standard deviation of the logarithm; capped at ten times the median, to
    /// bound the length of a run.
    LogNormal { median_ms: f64, sigma: f64 },
}

impl Distribution {
    /// Draws a delay. It always takes two random numbers, so that a change of shape does not shift later
    /// draws.
    pub(crate) fn draw(self, rng: &mut fastrand::Rng) -> Duration {
        let (a, b) = (rng.f64(), rng.f64());
        let ms = match self {
            Self::Fixed { ms } => ms,
            Self::Uniform { min_ms, max_ms } => min_ms + (max_ms - min_ms) * a,
            Self::LogNormal { median_ms, sigma } => {
                // Box-Muller transform; 1 - a keeps the argument of the logarithm above zero.
                let normal = (-2.0 * (1.0 - a).ln()).sqrt() * (std::f64::consts::TAU * b).cos();
                (median_ms * (sigma * normal).exp()).min(median_ms * 10.0)
            }
        };
        // A delay beyond a day is a mistyped fault; `from_secs_f64` would panic on a negative or huge one.
        Duration::from_secs_f64((ms / 1_000.0).clamp(0.0, 86_400.0))
    }
}

/// The usual duration of every hop, and its part that is batching.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    /// Log group to stream.
    pub forward: Distribution,
    /// Stream to archive; includes `archive_batch`.
    pub archive: Distribution,
    /// Stream to transit; includes `transit_batch`.
    pub export: Distribution,
    /// Transit object to table row.
    pub transfer: Distribution,
    /// Transit object to its copy in Google Cloud Storage.
    pub copy: Distribution,
    /// How long the archive writer collects lines of a tenant for one object.
    pub archive_batch: Duration,
    /// How long the exporter collects lines of all tenants for one object.
    pub transit_batch: Duration,
    /// How long a query takes to run.
    pub query: Distribution,
}

impl Pace {
    /// Like a healthy production pipeline: about 4 to 12 s end to end.
    pub fn lifelike() -> Self {
        Self {
            forward: Distribution::LogNormal { median_ms: 45.0, sigma: 0.5 },
            archive: Distribution::Uniform { min_ms: 1_000.0, max_ms: 5_000.0 },
            export: Distribution::Uniform { min_ms: 2_000.0, max_ms: 8_000.0 },
            transfer: Distribution::Uniform { min_ms: 500.0, max_ms: 4_000.0 },
            copy: Distribution::Uniform { min_ms: 300.0, max_ms: 2_500.0 },
            archive_batch: Duration::from_secs(1),
            transit_batch: Duration::from_millis(500),
            query: Distribution::LogNormal { median_ms: 120.0, sigma: 0.4 },
        }
    }

    /// For tests: well under half a second end to end.
    pub fn brisk() -> Self {
        Self {
            forward: Distribution::Fixed { ms: 5.0 },
            archive: Distribution::Fixed { ms: 30.0 },
            export: Distribution::Fixed { ms: 30.0 },
            transfer: Distribution::Fixed { ms: 20.0 },
            copy: Distribution::Fixed { ms: 15.0 },
            archive_batch: Duration::from_millis(10),
            transit_batch: Duration::from_millis(10),
            query: Distribution::Fixed { ms: 1.0 },
        }
    }

    pub(crate) fn of(&self, hop: Stage) -> Distribution {
        match hop {
            Stage::LogGroup | Stage::DeadLetter => Distribution::Fixed { ms: 0.0 },
            Stage::TenantStream => self.forward,
            Stage::Archive => self.archive,
            Stage::Transit => self.export,
            Stage::Bigquery => self.transfer,
            Stage::Transfer => self.copy,
        }
    }

    pub(crate) fn batch(&self, stage: Stage) -> Duration {
        match stage {
            Stage::Archive => self.archive_batch,
            Stage::Transit => self.transit_batch,
            Stage::LogGroup | Stage::TenantStream | Stage::Bigquery | Stage::DeadLetter | Stage::Transfer => {
                Duration::ZERO
            }
        }
    }
}

/// Everything that a sandbox needs to start.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Runs with the same seed give the n-th canary of a tenant the same delays and the same fate.
    pub seed: u64,
    pub tenants: Vec<TenantSpec>,
    pub profile: Profile,
    pub pace: Pace,
    /// Ordinary log lines per tenant and second.
    pub noise_per_second: f64,
    pub shards_per_stream: usize,
    /// How long a row stays in the streaming buffer, where its `_PARTITIONTIME` is NULL.
    pub streaming_buffer: Duration,
    /// Bytes of older rows that a query without a partition predicate scans in addition to the rows.
    pub history_bytes: u64,
    /// How long records, objects, rows and log events are kept.
    pub retention: Duration,
    /// Maximum number of records in a stream, objects in a bucket, rows in the table and events in a log
    /// group.
    pub capacity: usize,
    /// Port of the admin listener on loopback; 0 lets the system choose.
    pub admin_port: u16,
}

/// Names of the demo's tenants; further tenants are numbered.
const NAMES: [&str; 12] = [
    "acme",
    "globex",
    "initech",
    "umbrella",
    "hooli",
    "stark",
    "wayne",
    "tyrell",
    "wonka",
    "cyberdyne",
    "soylent",
    "aperture",
];

impl Settings {
    /// A believable pipeline with `tenants` tenants, some noise, and rare mishaps.
    pub fn demo(seed: u64, tenants: usize) -> Self {
        let tenants = (0..tenants)
            .map(|index| match NAMES.get(index) {
                Some(name) => TenantSpec::named(name, index),
                None => TenantSpec::named(&format!("tenant{index}"), index),
            })
            .collect();
        Self {
            seed,
            tenants,
            profile: Profile::Believable,
            pace: Pace::lifelike(),
            noise_per_second: 5.0,
            shards_per_stream: 2,
            streaming_buffer: Duration::from_secs(120),
            history_bytes: 64 << 20,
            retention: Duration::from_secs(600),
            capacity: 50_000,
            admin_port: 0,
        }
    }

    /// The same tenants without mishaps or noise, at the pace of a test.
    pub fn brisk(seed: u64, tenants: usize) -> Self {
        Self {
            profile: Profile::Calm,
            pace: Pace::brisk(),
            noise_per_second: 0.0,
            history_bytes: 0,
            ..Self::demo(seed, tenants)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_tenant_has_its_own_account() {
        let settings = Settings::demo(1, 30);
        let mut accounts: Vec<_> = settings.tenants.iter().map(|tenant| tenant.account.clone()).collect();
        accounts.sort();
        accounts.dedup();
        assert_eq!(accounts.len(), 30);
        assert!(accounts.iter().all(|account| account.len() == 12 && account != SRE_ACCOUNT));
    }

    #[test]
    fn a_log_normal_delay_has_its_median_and_its_cap() {
        let mut rng = fastrand::Rng::with_seed(7);
        let shape = Distribution::LogNormal { median_ms: 100.0, sigma: 1.0 };
        let mut drawn: Vec<_> = (0..2_001).map(|_| shape.draw(&mut rng)).collect();
        drawn.sort();
        let median = drawn[1_000].as_secs_f64();
        assert!((0.09..0.11).contains(&median), "{median}");
        assert!(drawn[2_000] <= Duration::from_secs(1));
    }
}
