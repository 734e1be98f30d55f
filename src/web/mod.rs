//! What people and Prometheus see.
//!
//! Pages are pure functions of a snapshot: a view is built from it, a template prints the view. So every state of the
//! page is tested without a server, and a request never waits for the engine. Nothing here changes anything, and
//! nothing here knows who makes the numbers: a scrape, the state of health and the configuration are handed in.
//!
//! Everything that a page shows may have come from outside (a tenant's label, a row, an error text), so templates
//! escape all of it, and a content security policy forbids whatever the page did not bring itself.

mod accept;
mod app;
mod detail;
mod filter;
mod json;
mod page;
mod recent;
mod routes;
mod row;
mod runbook;
mod view;
mod waterfall;
mod words;

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod tests;

pub use self::app::{App, Check, Scraper, Settings, Signer};
pub use self::routes::router;
