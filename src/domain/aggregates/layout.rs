//! The hops of a bucket and their order.

use std::sync::Arc;

use crate::domain::topology::{Role, StageId, Topology};

/// The name that stands for end to end.
pub const END_TO_END: &str = "end_to_end";

/// A hop, or end to end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Series {
    /// The hop into this stage.
    Hop(StageId),
    EndToEnd,
}

impl Series {
    /// As in parameters, JSON and the store.
    #[must_use]
    pub fn name(self, map: &Topology) -> Arc<str> {
        match self {
            Self::Hop(stage) => map.stage(stage).name.clone(),
            Self::EndToEnd => END_TO_END.into(),
        }
    }
}

/// The series of every tenant: the main path, side stages, then end to end. Dead-letter stages have no hop.
#[must_use]
pub fn series(map: &Topology) -> Vec<Series> {
    let path = map.main_path();
    let side_stages = map.stage_ids().filter(|stage| !path.contains(stage));
    let on_the_way = |stage: &StageId| match map.stage(*stage).role {
        Role::Way | Role::End => true,
        Role::DeadLetter => false,
    };
    let stages = path.iter().copied().chain(side_stages).filter(on_the_way);
    stages.map(Series::Hop).chain([Series::EndToEnd]).collect()
}
