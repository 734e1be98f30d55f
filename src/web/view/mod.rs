//! What is shown, read from a snapshot once: the pages and the JSON are both printed from it and never see the snapshot,
//! so that they cannot say different things.
//!
//! It holds facts (instants, durations, names, the order of things) and those sentences that page and JSON share. How
//! a duration reads in a table is up to whoever prints it.

mod hop;
mod lane;
mod mark;
mod one;
mod recent;
mod selection;
mod size;
mod source;
mod tenant;
mod trace;
mod verdict;
mod violation;

pub(crate) use self::hop::HopFigures;
pub(crate) use self::lane::{Lane, Presence};
pub(crate) use self::mark::Mark;
pub(crate) use self::one::{One, StageSource, read_id, unknown};
pub(crate) use self::recent::Recent;
pub(crate) use self::size::SizeFigures;
pub(crate) use self::source::{Source, State};
pub(crate) use self::tenant::{Injection, Tenant};
pub(crate) use self::trace::{Brief, TraceView};
pub(crate) use self::verdict::VerdictView;
pub(crate) use self::violation::Violation;
