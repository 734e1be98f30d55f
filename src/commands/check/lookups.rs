//! How to look for a canary that is not followed any more: what was sent, how far it was seen, and the commands that search
//! for it where it was not seen yet.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::config::Config;
use crate::daemon::canary::{Followed, State};
use crate::domain::evidence::{Evidence, Lookup, Question, SAME_QUERY};
use crate::domain::topology::{SourceId, StageId, Topology};
use crate::domain::trace::Put;
use crate::observe::cloudwatch_logs;

/// A command that looks for a canary. The fields are the JSON that docs/check.md documents.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(super) struct CanaryLookup {
    /// `null` for the log group that it was put into.
    stage: Option<String>,
    /// What the command does: `search the log group`.
    what: &'static str,
    command: String,
}

impl CanaryLookup {
    /// The command as a line, with what it does behind it.
    pub(super) fn line(&self) -> String {
        let Self { stage, what, command } = self;
        let stage = stage.as_ref().map_or_else(String::new, |stage| format!("{stage}: "));
        format!("{command}    # {stage}{what}")
    }
}

/// What was sent, and how far it was seen.
pub(super) fn story(config: &Config, topology: &Topology, canary: &Followed) -> String {
    let name = |stage: StageId| topology.stage(stage).name.to_string();
    let stages = || topology.stage_ids().zip(&canary.stages);
    let named = |is_it: fn(&State) -> bool| {
        let stages = stages().filter(|(_, state)| is_it(state)).map(|(stage, _)| name(stage));
        stages.collect::<Vec<_>>().join(", ")
    };
    let seen = match named(|state| matches!(state, State::Arrived(_))) {
        none if none.is_empty() => "seen nowhere yet".to_owned(),
        stages => format!("seen at {stages}"),
    };
    let unseen = match named(|state| !matches!(state, State::Arrived(_) | State::NotGivenUp)) {
        none if none.is_empty() => String::new(),
        stages => format!(", not yet at {stages}"),
    };
    let put = match canary.put {
        Some(Put::Accepted { .. }) => "CloudWatch Logs took it",
        Some(Put::Refused { .. }) => "CloudWatch Logs refused it",
        Some(Put::Planned | Put::Ambiguous { .. }) | None => "CloudWatch Logs has not said that it took it",
    };
    format!(
        "{} was sent to {} at {}, and {put}; {seen}{unseen}",
        config.keyring.sign(&canary.tag),
        canary.log_group,
        canary.tag.trace.planned_at().to_rfc3339(),
    )
}

/// Commands that search for it: in its log group, and at every stage where it was not seen, also among dead letters.
pub(super) fn lookups(config: &Config, topology: &Topology, canary: &Followed) -> Vec<CanaryLookup> {
    let tag = config.keyring.sign(&canary.tag).to_string();
    let question = Question { copy: None, tag: &tag, planned_at: canary.tag.trace.planned_at() };
    let endpoints = config.tool_endpoints();
    let mut known = BTreeSet::new();
    let mut all = Vec::new();
    let mut add = |stage: Option<StageId>, evidence: &dyn Evidence| {
        for Lookup { what, command } in evidence.lookups(question) {
            // The log group may be that of a stage. A query for the console is no command.
            if what != SAME_QUERY && known.insert(command.clone()) {
                let stage = stage.map(|stage| topology.stage(stage).name.to_string());
                all.push(CanaryLookup { stage, what, command: endpoints.told(&command) });
            }
        }
    };
    if let Some(tenant) = config.tenants.get(usize::from(canary.tenant.0)) {
        add(None, &cloudwatch_logs::Settings::new(tenant.account.clone(), &*canary.log_group));
    }
    for (stage, state) in topology.stage_ids().zip(&canary.stages) {
        let SourceId(source) = topology.source_of(canary.tenant, stage);
        if let (false, Some(source)) =
            (matches!(state, State::Arrived(_)), config.sources.get(source as usize))
        {
            add(Some(stage), &*source.settings.evidence());
        }
    }
    all
}
