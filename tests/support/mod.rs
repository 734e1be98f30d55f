//! What the tests of the whole daemon share: the daemon as a process, the log pipeline that it
//! watches, and what it says.

#![allow(dead_code, reason = "each test binary uses its part")]

pub mod daemon;
pub mod metrics;
pub mod page;
pub mod pipeline;
pub mod stand;
