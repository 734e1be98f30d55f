//! Each condition is on while its fault lasts and off after it, and none is ever on in healthy traffic.

mod documentation;
mod healthy;
mod log_groups;
mod order;
mod pipeline;
mod probe;
mod stuck;
pub(in crate::domain) mod world;
