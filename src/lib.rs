//! traceprobe.
pub mod domain;
pub mod observe;
pub mod web;
