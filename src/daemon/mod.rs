//! Where the parts meet: building them from the configuration, the engine, the supervisor, the signals and the clock.

pub mod build;
pub mod clock;
mod clock_error;
pub mod engine;
mod injecting;
mod journal;
pub mod keeper;
mod last_scrape;
mod readiness;
pub mod run;
pub mod supervisor;
