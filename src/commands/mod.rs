//! What the program can be asked to do, one file a subcommand.

pub mod check;
pub mod demo;
pub mod healthcheck;
pub mod run;
pub mod tag;
