//! Known mistakes of other probes: one test for each, named for the mistake.

#[path = "../support/mod.rs"]
mod support;

mod tracker;
mod wire;
