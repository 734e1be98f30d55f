//! Measures how long log events take over each hop of a log pipeline, and whether they arrive at all.
pub mod daemon;
pub mod domain;
pub mod metrics;
pub mod observe;
pub mod store;
