//! The whole daemon, as a process, in front of the sandbox: what it reports must be what happened.

#[path = "../support/mod.rs"]
mod support;

mod api;
mod blindness;
mod check;
mod cloud_storage;
mod commands;
mod conditions;
mod connections;
mod copies;
mod cost;
mod drill;
mod environment;
mod figures;
mod foreign_text;
mod garbage;
mod hostile;
mod in_flight;
mod isolation;
mod load;
mod outcomes;
mod output;
mod priced;
mod proxies;
mod reload;
mod service_quirks;
mod sessions;
mod stopping;
mod tables;

use self::support::SOON;
