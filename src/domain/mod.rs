//! What is true: time, tags, canaries, the topology, sightings, and the [`Tracker`](tracker::Tracker) that
//! turns them into outcomes.
//!
//! Everything here is pure. Values go in together with the time at which they happened, and events come out.
//! Nothing waits, reads a clock, calls a client or knows how it will be shown. So a test runs a day of
//! canaries in a millisecond, and any decision of the daemon can be replayed.

pub mod aggregates;
pub mod canary;
pub mod checkpoints;
pub mod conditions;
pub mod copies;
pub mod cost;
pub mod count;
pub mod drill;
pub mod evidence;
pub mod flaw;
pub mod foreign;
pub mod format;
pub mod incidents;
pub mod kind;
pub mod outcome;
pub mod pipeline;
pub mod plan;
pub mod proof;
pub mod quantile;
pub mod schedule;
pub mod schema;
pub mod shared_list;
pub mod shell;
pub mod sighting;
pub mod steady;
pub mod tag;
pub mod time;
pub mod time_zone;
pub mod tool_endpoints;
pub mod topology;
pub mod trace;
pub mod tracker;
