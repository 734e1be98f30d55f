//! The traps that other probes fell into, one test each, named for the trap.

#[path = "../support/mod.rs"]
mod support;

mod tracker;
mod wire;
