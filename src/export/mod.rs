//! Hands the lives of canaries to a tracing backend, as OpenTelemetry traces over OTLP/HTTP.
//!
//! The id of a canary is a valid W3C trace id and is used as it is, so that a canary is found there by the id that the
//! page shows. Nothing here may slow the probe down: what does not fit into the queue is dropped and counted.

mod message;
mod send;
mod spans;

use std::sync::Arc;

use reqwest::header::{HeaderName, HeaderValue};
use tokio::sync::mpsc;

use crate::cloud::proxy::Proxy;
use crate::domain::tag::TraceId;
use crate::domain::topology::Topology;
use crate::domain::trace::Trace;
use crate::metrics::{Exported, Exports};

pub use send::run;
pub use spans::Source;

/// Traces that may wait to be sent, about 2 KB each.
const QUEUE: usize = 1_000;

/// Where traces go, and which.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// The base URL; `/v1/traces` is appended.
    pub endpoint: String,
    /// Headers of each request, mostly a password.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// One in this many delivered canaries is exported; none if it is 0. All others are, always.
    pub sample: u32,
    /// How requests leave.
    pub proxy: Proxy,
}

/// A finished trace, and what its ids mean.
pub type Finished = (Arc<Trace>, Arc<Topology>);

/// The engine's end of the queue.
#[derive(Clone, Debug)]
pub struct Exporter {
    queue: mpsc::Sender<Finished>,
    sample: u32,
    exports: Exports,
}

impl Exporter {
    /// Returns both ends of the queue.
    #[must_use]
    pub fn new(settings: &Settings, exports: Exports) -> (Self, mpsc::Receiver<Finished>) {
        let (queue, to_send) = mpsc::channel(QUEUE);
        (Self { queue, sample: settings.sample, exports }, to_send)
    }

    /// Queues those that are to be exported. Never waits.
    pub fn offer(&self, finished: &[Arc<Trace>], topology: &Arc<Topology>) {
        for trace in finished.iter().filter(|trace| topology.drill() != Some(trace.tenant)) {
            if (trace.is_failure() || is_sampled(trace.id(), self.sample))
                && self.queue.try_send((trace.clone(), topology.clone())).is_err()
            {
                self.exports.count(Exported::Dropped, 1);
            }
        }
    }
}

/// Whether a delivered canary is one of the sample. The last bytes of its id are random, and every process decides
/// the same (W3C Trace Context, level 2, random trace id).
fn is_sampled(id: TraceId, sample: u32) -> bool {
    let random = id
        .as_u128()
        .to_be_bytes()
        .iter()
        .rev()
        .take(7)
        .fold(0_u64, |random, byte| random << 8 | u64::from(*byte));
    sample > 0 && random.is_multiple_of(u64::from(sample))
}

#[cfg(test)]
mod tests;
