//! traceprobe.
pub mod cloud;
pub mod domain;
pub mod inject;
pub mod observe;
