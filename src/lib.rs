//! Measures how long log events take over each hop of a multi-cloud log pipeline, and whether they arrive at
//! all.
//!
//! The library behind the program of the same name. [`domain`] holds the logic, [`daemon`] joins all parts,
//! [`commands`] is the command line; ARCHITECTURE.md describes the rest.

#![cfg_attr(not(test), warn(clippy::unwrap_used))]

pub mod cloud;
pub mod commands;
pub mod config;
pub mod daemon;
pub mod dashboards;
pub mod domain;
pub mod export;
pub mod inject;
mod keys;
pub mod load;
pub mod metrics;
pub mod observe;
pub mod rules;
#[cfg(feature = "sandbox")]
pub mod sandbox;
pub mod store;
pub mod web;
