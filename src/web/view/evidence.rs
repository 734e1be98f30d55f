//! What shows a trace at its stages: sources, stored copies, and commands and pages that look them up.

use std::sync::Arc;

use crate::domain::copies::{StoredCopy, Uncharged, uncharged};
use crate::domain::evidence::{Evidence, Link, Lookup, Question};
use crate::domain::sighting::Locator;
use crate::domain::topology::StageId;
use crate::domain::trace::Trace;
use crate::domain::tracker::{Snapshot, Violation};
use crate::web::app::App;
use crate::web::words;

/// Commands and console pages.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Lookups {
    pub(crate) commands: Vec<Lookup>,
    pub(crate) links: Vec<Link>,
}

/// The source at a stage, and what looks the trace up there.
#[derive(Clone, Debug)]
pub(crate) struct StageSource {
    /// The kind of the stage.
    pub(crate) kind: &'static str,
    /// The name of the source.
    pub(crate) name: Arc<str>,
    /// Each copy.
    pub(crate) copies: Vec<StageCopy>,
    /// What searches for it; empty if a copy was seen.
    pub(crate) lookups: Lookups,
    /// Why polls of the source fail now, and since when.
    pub(crate) failing: Option<String>,
}

#[derive(Clone, Debug)]
pub(crate) struct StageCopy {
    pub(crate) locator: String,
    /// Why it is not charged to the pipeline; `None` for the first copy and for duplicates.
    pub(crate) uncharged: Option<Uncharged>,
    /// What fetches it.
    pub(crate) lookups: Lookups,
}

impl Lookups {
    /// What shows the canary in its log group; empty if it is not known which that is.
    pub(super) fn in_log_group(app: &App, trace: &Trace, tag: &str) -> Self {
        let question = Question { copy: None, tag, planned_at: trace.planned_at };
        let of_tenant = app.settings.log_groups.get(&trace.tenant);
        let evidence = of_tenant.zip(trace.log_group).and_then(|(all, group)| all.get(usize::from(group.0)));
        evidence.map(|evidence| Self::of(app, &**evidence, question)).unwrap_or_default()
    }

    fn of(app: &App, evidence: &dyn Evidence, question: Question<'_>) -> Self {
        let commands = evidence.lookups(question).into_iter();
        let told =
            |lookup: Lookup| Lookup { command: app.settings.endpoints.told(&lookup.command), ..lookup };
        Self { commands: commands.map(told).collect(), links: evidence.consoles(question) }
    }
}

/// A copy of the canary at another tenant, with what fetches it.
#[derive(Clone, Debug)]
pub(crate) struct LeakedCopy {
    /// The name of the stage.
    pub(crate) stage: Arc<str>,
    pub(crate) kind: &'static str,
    /// The name of the source that must not hold it.
    pub(crate) source: Arc<str>,
    pub(crate) locator: String,
    pub(crate) lookups: Lookups,
}

impl LeakedCopy {
    /// `None` if it is not known in which source it is.
    pub(super) fn new(app: &App, snapshot: &Snapshot, seen: &Violation, tag: &str) -> Option<Self> {
        let map = &snapshot.topology;
        // A source of several tenants is the same for the one whose canary it is.
        let source = map.source_of(seen.found_with.or(seen.tenant.known())?, seen.stage);
        let evidence = app.settings.evidence.get(&source)?;
        let planned_at = seen.trace.planned_at();
        let question = Question { copy: Some(&seen.locator), tag, planned_at };
        Some(Self {
            stage: map.stage(seen.stage).name.clone(),
            kind: map.stage(seen.stage).kind.name(),
            source: map.source(source).name.clone(),
            locator: seen.locator.to_string(),
            lookups: Lookups::of(app, &**evidence, question),
        })
    }
}

impl StageSource {
    pub(super) fn new(app: &App, snapshot: &Snapshot, trace: &Trace, stage: StageId, tag: &str) -> Self {
        let map = &snapshot.topology;
        let source = map.source_of(trace.tenant, stage);
        let evidence = app.settings.evidence.get(&source);
        let lookups = |copy: Option<&Locator>| {
            let question = Question { copy, tag, planned_at: trace.planned_at };
            evidence.map(|evidence| Lookups::of(app, &**evidence, question)).unwrap_or_default()
        };
        let copies = &trace.visit(stage).copies;
        let copy = |copy: &StoredCopy| StageCopy {
            locator: copy.locator.to_string(),
            uncharged: uncharged(copies).find(|(known, _)| **known == copy.locator).map(|(_, why)| why),
            lookups: lookups(Some(&copy.locator)),
        };
        let view = snapshot.sources.get(source.0 as usize);
        let blind = view.and_then(|view| view.blind_for(trace.tenant));
        let failing = || {
            let failing = view.and_then(|view| view.failing.as_ref())?;
            Some((failing.since, failing.detail.clone()))
        };
        Self {
            kind: map.stage(stage).kind.name(),
            name: map.source(source).name.clone(),
            copies: copies.iter().map(copy).collect(),
            lookups: if copies.is_empty() { lookups(None) } else { Lookups::default() },
            failing: blind
                .or_else(failing)
                .map(|(since, why)| format!("{why} (since {})", words::clock(since, snapshot.at))),
        }
    }
}
