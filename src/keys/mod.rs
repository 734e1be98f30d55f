//! Reads settings from tables of a file and the environment over them, and reports all faults at once.
//!
//! Tables are read by hand and not through `serde`, which stops at the first fault; a person who fixes a
//! configuration wants the whole list. Each fault names the key, the value and what would be right.
//!
//! A module that has settings lists their keys ([`key`]), reads them with a [`reader::Reader`] and parses
//! them with the functions in [`value`]. Nothing here knows the product: which tables exist and what their
//! keys mean is defined by the modules that read them. Nothing here may quote a secret.

pub(crate) mod fault;
pub(crate) mod key;
pub(crate) mod reader;
pub(crate) mod secret;
pub(crate) mod value;
