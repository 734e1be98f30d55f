//! The whole daemon, as a process, in front of the sandbox: what it says must be what happened.

#[path = "../support/mod.rs"]
mod support;

mod blindness;
mod commands;
mod cost;
mod garbage;
mod isolation;
mod outcomes;
mod stopping;
mod turmoil;

use std::time::Duration;

/// How long a test waits for something before it fails. Far more than it takes: the machine may be busy.
const SOON: Duration = Duration::from_secs(45);
