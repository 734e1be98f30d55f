//! What people and Prometheus see.
//!
//! Pages are pure functions of a snapshot: a view is built from it, and a template prints the view. So every
//! state of the page is tested without a server, and a request never waits for the engine. Nothing here
//! changes state, and nothing here knows the rest of the daemon: the scrape, readiness and the configuration
//! are passed in.
//!
//! Everything that a page shows may come from outside (a tenant's label, a row, an error text). So templates
//! escape all of it, and a content security policy allows only the page's own resources.

mod accept;
mod access;
mod app;
mod compress;
mod detail;
mod drill;
mod figures;
mod filter;
mod fold;
mod history;
mod hosts;
mod incidents;
mod json;
mod lanes;
mod live;
mod log_level;
mod matters;
mod openapi;
mod page;
mod permits;
mod probe;
mod recent;
mod reload;
mod routes;
mod row;
mod runbook;
mod scrape;
mod server;
mod strip;
mod timeline;
mod view;
mod waiting;
mod waterfall;
mod words;

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod tests;

pub use self::access::Gate;
pub use self::app::{
    App, Apps, Check, DrillControl, HistoryReader, LogLevel, Reload, Scraper, Settings, Signer,
};
pub use self::hosts::only_for_hosts;
pub use self::routes::router;
pub use self::server::{Limits, serve};
pub use self::waiting::waiting;
