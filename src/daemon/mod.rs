//! Builds all parts from the configuration and runs them: the engine, the supervisor, shutdown and the clock.

pub mod build;
pub mod canary;
#[cfg(test)]
pub(crate) mod captured_log;
pub mod clock;
mod clock_error;
pub mod descriptors;
mod drill;
pub mod engine;
mod figures;
mod hold;
mod injecting;
mod last_scrape;
pub mod load;
mod log_events;
pub mod log_level;
mod log_repeats;
mod random;
mod readiness;
pub mod reload;
mod roster;
pub mod run;
mod store_lock;
mod store_writer;
pub mod supervisor;
mod wire;
