//! What to look at if a canary of `check --canary` did not arrive: where it was lost, and which keys may be wrong.

use std::collections::BTreeSet;

use super::patience::Patience;
use crate::cloud::Clients;
use crate::config::Config;
use crate::daemon::build;
use crate::daemon::canary::{Fate, Followed, State};
use crate::domain::foreign::ForeignText;
use crate::domain::proof::{Advice, Doubt};
use crate::domain::tag::MARKER;
use crate::domain::time::WallClock;
use crate::domain::topology::{SourceId, StageId, Tenant, TenantId, Topology};
use crate::observe::{self, LabelPlace, Recognizer, Site, spec};

/// Most sources that are examined: with more, one cause is behind all of them.
const EXAMINED: usize = 5;

/// Examines sources that do not have a canary.
pub(super) struct Adviser<'a> {
    config: &'a Config,
    clients: &'a Clients,
    clock: WallClock,
    patience: Patience,
    topology: Topology,
    recognizer: Recognizer,
    shared: observe::Shared,
    examined: BTreeSet<SourceId>,
}

impl<'a> Adviser<'a> {
    pub(super) fn new(
        config: &'a Config,
        clients: &'a Clients,
        clock: WallClock,
        patience: Patience,
    ) -> Self {
        let topology = config.topology();
        let recognizer = build::recognizer(&config.keyring, &topology);
        let (shared, examined) = Default::default();
        Self { config, clients, clock, patience, topology, recognizer, shared, examined }
    }

    /// What to look at because of this canary; empty if it is everywhere and whole.
    pub(super) async fn advise(&mut self, canary: &Followed) -> Vec<String> {
        let mut advice = Vec::new();
        let mut is_found = false;
        let stages: Vec<_> = self.topology.stage_ids().zip(&canary.stages).collect();
        for (stage, state) in stages {
            let name = self.topology.stage(stage).name.clone();
            let is_changed =
                canary.remarks.iter().any(|remark| remark.ends_with(&format!("changed at stage {name}")));
            let source = self.topology.source_of(canary.tenant, stage);
            let records = canary.records.get(usize::from(stage.0)).copied().unwrap_or_default();
            let mislabelled = canary.mislabelled.get(usize::from(stage.0)).and_then(Option::as_ref);
            if let (State::Missing(_), Some(seen)) = (state, mislabelled)
                && let Some(text) = self.of_label(canary.tenant, stage, source, seen)
            {
                advice.push(text);
                is_found |= canary.fate == Fate::Missing(stage);
                continue;
            }
            let doubt = match state {
                State::Missing(_) if self.was_due(canary, stage) => Doubt::Missing { records },
                State::Arrived(_) if is_changed => Doubt::Changed,
                State::Unreadable(_) => {
                    advice.push(format!(
                        "{name}: compare the format of what cannot be opened with docs/formats.md, which lists those that are read"
                    ));
                    continue;
                }
                State::Arrived(_) if canary.unchecked.get(usize::from(stage.0)) == Some(&true) => {
                    Doubt::Unchecked
                }
                _ => continue,
            };
            if self.examined.contains(&source) || self.examined.len() >= EXAMINED {
                continue;
            }
            self.examined.insert(source);
            for Advice { text, key, is_found: is_found_here } in self.examine(source, canary, doubt).await {
                let key = key.map(|key| format!(" (stage.{name}.{key})")).unwrap_or_default();
                advice.push(format!("{name}: {text}{key}"));
                is_found |= is_found_here && canary.fate == Fate::Missing(stage);
            }
        }
        // What was found where its keys do not look was not lost on the way.
        let on_the_way = self.on_the_way(canary).filter(|_| !is_found);
        on_the_way.into_iter().chain(advice).collect()
    }

    /// What differs if the canary is there with the label of somebody else; `None` if nothing but its tag says whose it is.
    fn of_label(
        &self,
        tenant: TenantId,
        stage: StageId,
        source: SourceId,
        seen: &ForeignText,
    ) -> Option<String> {
        let LabelPlace { key, has } = self.config.sources.get(source.0 as usize)?.settings.label_place()?;
        let Tenant { name, label, .. } = self.topology.tenant(tenant);
        let stage = &self.topology.stage(stage).name;
        let (other, right) = match self.topology.tenant_by_label(seen) {
            Some(other) => {
                let other = format!(", the label of tenant {},", self.topology.tenant(other).name);
                (other, format!("what writes it mixes tenants, or {key} does not name the tenant"))
            }
            // Each canary has another tag.
            None if seen.starts_with(MARKER) => (String::new(), format!("{key} does not name the tenant")),
            None => {
                let set = format!("write label = \"{seen}\"");
                (
                    String::new(),
                    format!("if that is how the pipeline names the tenant, {set}, else compare {key}"),
                )
            }
        };
        Some(format!(
            "{stage}: the canary is there, but {has} `{seen}`{other} and not `{label}`, the label of tenant {name}: {right} \
             (tenant.{name}.label, stage.{stage}.{key})"
        ))
    }

    /// Whether it should be there, because it reached the stage before. Behind the place where it was lost, nothing is
    /// wrong.
    fn was_due(&self, canary: &Followed, stage: StageId) -> bool {
        let arrived =
            |stage: StageId| matches!(canary.stages.get(usize::from(stage.0)), Some(State::Arrived(_)));
        !matches!(canary.fate, Fate::DeadLettered(_)) && self.topology.stage(stage).parent.is_none_or(arrived)
    }

    async fn examine(&self, source: SourceId, canary: &Followed, doubt: Doubt) -> Vec<Advice> {
        let Some(of) = self.config.sources.get(source.0 as usize) else { return Vec::new() };
        let Self { topology, clients, recognizer, clock, .. } = self;
        let site = Site { topology, source, rhythm: of.rhythm, clients, recognizer, clock };
        of.settings.advise(&site, &self.shared, &canary.tag, doubt).await
    }

    /// Between which stages it was lost, and what is there.
    fn on_the_way(&self, canary: &Followed) -> Option<String> {
        let name = |stage: StageId| self.topology.stage(stage).name.to_string();
        let last = self
            .topology
            .main_path()
            .iter()
            .rev()
            .find(|stage| matches!(canary.stages.get(usize::from(stage.0)), Some(State::Arrived(_))));
        let template = format!("the template of the canary (tenant.{}.template, or canary.template)", {
            &self.topology.tenant(canary.tenant).name
        });
        match (&canary.fate, last) {
            (Fate::Missing(stage), None) => Some(format!(
                "CloudWatch Logs took it, and {}: compare the subscription filter of {}, its pattern and its destination, with {}.{}",
                self.where_it_is(canary),
                canary.log_group,
                name(*stage),
                self.place_key(*stage),
            )),
            // It may still come, so no template is to blame.
            (Fate::Missing(_), Some(_)) if self.patience != Patience::Full => None,
            (Fate::Missing(stage), Some(last)) => Some(format!(
                "it was lost between {} and {}, or is at {} where its keys do not look: compare {template} with a line that what reads {} accepts",
                name(*last),
                name(*stage),
                name(*stage),
                name(*last),
            )),
            (Fate::DeadLettered(stage), _) => Some(format!(
                "what gave it up says why in {}; if it could not parse the line, compare {template} with a line of the client",
                name(*stage)
            )),
            (Fate::Waiting | Fate::Delivered(_) | Fate::Refused(_) | Fate::Unknown(_), _) => None,
        }
    }

    /// What is known of a canary that no stage of the main path has shown. What was not read may have it.
    fn where_it_is(&self, canary: &Followed) -> String {
        let named = |is_it: fn(&State) -> bool| {
            let stages = self.topology.stage_ids().zip(&canary.stages).filter(|(_, state)| is_it(state));
            stages.map(|(stage, _)| self.topology.stage(stage).name.to_string()).collect::<Vec<_>>()
        };
        let elsewhere = named(|state| matches!(state, State::Arrived(_)));
        if !elsewhere.is_empty() {
            return format!("of the stages only {} has it", elsewhere.join(", "));
        }
        match named(|state| matches!(state, State::Unreadable(_) | State::Blind(_))) {
            unreadable if unreadable.is_empty() => "no stage has it".to_owned(),
            unreadable => {
                format!("no stage that was read has it; {} could not be read", unreadable.join(", "))
            }
        }
    }

    fn place_key(&self, stage: StageId) -> &'static str {
        let of_stage = self.config.sources.iter().find(|source| source.stage == stage);
        of_stage.map_or("", |source| spec(source.settings.kind()).place_key())
    }
}
