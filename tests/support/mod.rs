//! Shared by the tests of the whole daemon: the daemon as a process, the pipelines in front of it, and its
//! page and metrics.

#![allow(dead_code, reason = "each test binary uses only some of it")]

pub mod client;
pub mod daemon;
pub mod health;
pub mod metrics;
pub mod page;
pub mod pipeline;
pub mod process;
pub mod stand;

use std::time::Duration;

/// How long a test waits for a condition before it fails. Far more than it takes, because the machine may be
/// busy.
pub const SOON: Duration = Duration::from_secs(45);
