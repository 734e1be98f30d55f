//! What is true: time, tags, canaries, the topology, sightings, and the [`Tracker`](tracker::Tracker) that turns them into outcomes.
//!
//! Everything here is pure. Values go in together with the time at which they happened, events come out; nothing
//! waits, reads a clock, talks to a client or knows how it will be shown. So a day of canaries is tested in a
//! millisecond, and what the daemon decides at three in the morning can be replayed at a desk.

pub mod canary;
pub mod copies;
pub mod cost;
pub mod evidence;
pub mod format;
pub mod kind;
pub mod outcome;
pub mod quantile;
pub mod schedule;
pub mod schema;
pub mod sighting;
pub mod steady;
pub mod tag;
pub mod time;
pub mod topology;
pub mod trace;
pub mod tracker;
pub mod verdict;
