//! What is shown, read from a snapshot once. Pages and JSON are both printed from it and never see the
//! snapshot, so that they cannot disagree.
//!
//! It holds facts (instants, durations, names, orders) and the sentences that page and JSON have in common.
//! How a duration is written in a table is left to the printing code.

mod condition;
mod evidence;
mod fate;
mod finding;
mod first_step;
mod flawed;
mod hop;
mod incident;
mod lane;
mod mark;
mod matter;
mod one;
mod recent;
mod remaining;
mod selection;
mod sent;
mod size;
mod source;
mod story;
mod strip;
mod tenant;
mod trace;
mod verdict;
mod violation;

pub(crate) use self::condition::ConditionView;
pub(crate) use self::evidence::{LeakedCopy, Lookups, StageSource};
pub(crate) use self::finding::Finding;
#[cfg(test)]
pub(crate) use self::flawed::Flaws;
pub(crate) use self::flawed::MARKED;
pub(crate) use self::hop::HopFigures;
pub(crate) use self::incident::{EpisodeView, IncidentView};
pub(crate) use self::lane::{Lane, Presence};
pub(crate) use self::mark::Mark;
pub(crate) use self::matter::Matter;
pub(crate) use self::one::{One, read_id, unknown};
pub(crate) use self::recent::Recent;
pub(crate) use self::size::SizeFigures;
pub(crate) use self::source::{Source, State};
pub(crate) use self::strip::{Slot, Strip, Timeline};
pub(crate) use self::tenant::{Injection, Tenant};
pub(crate) use self::trace::{Brief, TraceView};
pub(crate) use self::verdict::VerdictView;
pub(crate) use self::violation::Violation;
