//! traceprobe.
pub mod domain;
