//! traceprobe.
pub mod domain;
pub mod observe;
