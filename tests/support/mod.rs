//! What the tests of the whole daemon share: the daemon as a process, the log pipeline that it
//! watches, and what it says.

#![allow(dead_code, reason = "each test binary uses its part")]

pub mod client;
pub mod daemon;
pub mod health;
pub mod metrics;
pub mod page;
pub mod pipeline;
pub mod process;
pub mod stand;

use std::time::Duration;

/// How long a test waits for something before it fails. Far more than it takes: the machine may be busy.
pub const SOON: Duration = Duration::from_secs(45);
