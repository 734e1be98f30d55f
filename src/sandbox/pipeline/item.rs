//! One copy of a log event in the pipeline, and the random numbers that decide about it.

use std::sync::Arc;

use super::super::fault::Damage;
use super::super::names::Stage;
use super::super::settings::Profile;

/// One copy of a log event in the pipeline.
#[derive(Debug, Clone)]
pub(super) struct Item {
    /// Index of the tenant that sent it.
    pub owner: usize,
    /// Index of the tenant under whose name it travels.
    pub tenant: usize,
    pub message: Arc<str>,
    pub token: Option<Arc<str>>,
    /// The caller's stamp, ms.
    pub timestamp: i64,
    pub log_stream: Arc<str>,
    pub event_id: String,
    /// Seeds all random decisions about it.
    pub seed: u64,
    /// Whether it is to reach the table as its own tenant's.
    pub for_table: bool,
    pub mishap: Option<(Mishap, Stage)>,
    /// The object that it is a line of, while that object is being transferred.
    pub cargo: Option<Arc<Cargo>>,
}

/// A transit object that is to be copied.
#[derive(Debug)]
pub(super) struct Cargo {
    /// Its key without the first folder and the file extension.
    pub stem: String,
    /// Number of transit objects before it.
    pub number: u64,
    /// Seeds the duration of the copy; taken from the first line.
    pub seed: u64,
}

/// What the believable profile does to an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mishap {
    Slow,
    Lost,
    Doubled,
}

impl Item {
    /// The random numbers for one decision about it at one stage.
    pub(super) fn rng(&self, stage: Stage, decision: u64) -> fastrand::Rng {
        fastrand::Rng::with_seed(mix(mix(self.seed, stage as u64 + 1), decision))
    }

    /// The random numbers for the duration of a hop, the same for all lines of one object.
    pub(super) fn delay_rng(&self, hop: Stage) -> fastrand::Rng {
        let seed = self.cargo.as_ref().map_or(self.seed, |cargo| cargo.seed);
        fastrand::Rng::with_seed(mix(mix(seed, hop as u64 + 1), 1))
    }

    pub(super) fn damage(&mut self, damage: Damage) {
        let mut bytes = self.message.as_bytes().to_vec();
        match damage {
            Damage::Truncate { bytes: left } => bytes.truncate(left),
            Damage::Mangle => {
                let end = bytes.len().saturating_sub(2);
                bytes[end.saturating_sub(8)..end].fill(b'#');
            }
        }
        self.message = String::from_utf8_lossy(&bytes).into();
    }
}

/// Hashes two numbers into one (the finalizer of SplitMix64).
pub(super) fn mix(a: u64, b: u64) -> u64 {
    let mut z = a.wrapping_add(b.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// About one event in a hundred has one: 0.4 % slow, 0.3 % lost, 0.3 % duplicated.
pub(super) fn mishap(profile: Profile, seed: u64) -> Option<(Mishap, Stage)> {
    if profile == Profile::Calm {
        return None;
    }
    let mut rng = fastrand::Rng::with_seed(mix(seed, 17));
    let kind = match rng.f64() {
        chance if chance < 0.004 => Mishap::Slow,
        chance if chance < 0.007 => Mishap::Lost,
        chance if chance < 0.010 => Mishap::Doubled,
        _ => return None,
    };
    let hops = [Stage::TenantStream, Stage::Archive, Stage::Transit, Stage::Bigquery];
    Some((kind, hops[rng.usize(..hops.len())]))
}
