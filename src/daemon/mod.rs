//! Where the parts meet: building them from the configuration, the engine, the supervisor, the signals and the clock.

pub mod clock;
pub mod engine;
mod journal;
pub mod keeper;
pub mod supervisor;
