//! One copy of a log event in the pipeline, and the random numbers that decide what happens to it.

use std::sync::Arc;

use super::super::fault::Damage;
use super::super::names::Stage;
use super::super::settings::Profile;

// What a random number decides. Each decision has its own constant, so that no decision changes the numbers
// of another.
const DELAY: u64 = 1;
const ARRIVAL: u64 = 2;
const MISHAP: u64 = 17;
/// For the seed of a leaked copy, so that its fate differs from that of the original.
pub(super) const LEAKED_COPY: u64 = 11;
/// For the seed of a duplicate.
pub(super) const DUPLICATE: u64 = 13;

/// One copy of a log event in the pipeline.
#[derive(Debug, Clone)]
pub(super) struct EventCopy {
    /// Index of the tenant that sent the event.
    pub sender: usize,
    /// Index of the tenant whose streams and prefixes this copy passes through. Differs from `sender` if the
    /// copy leaked.
    pub routed_to: usize,
    pub message: Arc<str>,
    /// The canary's token, under which the truth records it; `None` for other log events.
    pub token: Option<Arc<str>>,
    /// The event's time as the caller of PutLogEvents stated it, in milliseconds since the Unix epoch.
    pub timestamp_ms: i64,
    pub log_stream: Arc<str>,
    pub event_id: String,
    /// Seeds all random decisions about this copy.
    pub seed: u64,
    /// Whether this copy decides the event's fate in the truth: it travels on the main path, to the table,
    /// under its sender. Copies for the archive and the storage transfer do not, and neither do leaked ones.
    pub counts_for_truth: bool,
    /// What the believable profile does to it, and at the end of which hop.
    pub mishap: Option<(Mishap, Stage)>,
    /// The transit object that it is a line of, while that object is being transferred.
    pub transit_object: Option<Arc<TransitObject>>,
}

/// An object under the transit prefix that the storage transfer is to copy.
#[derive(Debug)]
pub(super) struct TransitObject {
    /// Its key without the first folder and the file extension.
    pub stem: String,
    /// How many transit objects were written before it.
    pub number: u64,
    /// Seeds the duration of the copy; taken from the first line.
    pub seed: u64,
}

/// What the believable profile does to about one event in a hundred, without a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mishap {
    Slow,
    Lost,
    Duplicated,
}

impl EventCopy {
    /// The random numbers for what happens to this copy at the end of the hop to `stage`.
    pub(super) fn arrival_rng(&self, stage: Stage) -> fastrand::Rng {
        fastrand::Rng::with_seed(mix(mix(self.seed, stage as u64 + 1), ARRIVAL))
    }

    /// The random numbers for the duration of the hop to `hop`. All lines of one transit object get the same
    /// ones.
    pub(super) fn delay_rng(&self, hop: Stage) -> fastrand::Rng {
        let seed = self.transit_object.as_ref().map_or(self.seed, |transit_object| transit_object.seed);
        fastrand::Rng::with_seed(mix(mix(seed, hop as u64 + 1), DELAY))
    }

    /// Truncates or overwrites the message.
    pub(super) fn apply_damage(&mut self, damage: Damage) {
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

/// Draws the mishap of an event and the hop at which it happens; `None` for about 99 events in a hundred. 0.4
/// % of all events are slow, 0.3 % lost, 0.3 % duplicated.
pub(super) fn draw_mishap(profile: Profile, seed: u64) -> Option<(Mishap, Stage)> {
    if profile == Profile::Calm {
        return None;
    }
    let mut rng = fastrand::Rng::with_seed(mix(seed, MISHAP));
    let kind = match rng.f64() {
        roll if roll < 0.004 => Mishap::Slow,
        roll if roll < 0.007 => Mishap::Lost,
        roll if roll < 0.010 => Mishap::Duplicated,
        _ => return None,
    };
    let hops = [Stage::TenantStream, Stage::Archive, Stage::Transit, Stage::Bigquery];
    Some((kind, hops[rng.usize(..hops.len())]))
}
