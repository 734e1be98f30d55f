//! Load: what to send, by what a run is judged, and what is told of it.
//!
//! Everything here is values and arithmetic. [`daemon::load`](crate::daemon) sends the canaries and follows
//! them with the tracker of the daemon, so that a loss here is a loss there; what it learns comes together in
//! a [`Record`](record::Record). Nothing here waits, reads a clock or calls a client.

pub mod arrivals;
pub mod compare;
pub mod estimate;
pub mod figures;
pub mod latencies;
pub mod plan;
pub mod prices;
pub mod profile;
pub mod ratio;
pub mod record;
pub mod report;
pub mod rotation;
pub mod search;
pub mod threshold;
