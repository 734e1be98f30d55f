//! Where the parts meet: building them from the configuration, the engine, the supervisor, the signals and the clock.

pub mod build;
pub mod clock;
mod clock_error;
pub mod engine;
mod injecting;
mod last_scrape;
mod log_events;
mod random;
mod readiness;
pub mod run;
pub mod store_writer;
pub mod supervisor;
mod wire;
