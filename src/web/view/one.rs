//! Everything that is known about one trace, and how to verify it elsewhere.

use std::sync::Arc;

use super::trace::TraceView;
use super::violation::Violation;
use crate::domain::copies::{StoredCopy, Uncharged, uncharged};
use crate::domain::evidence::{Lookup, Question};
use crate::domain::sighting::Locator;
use crate::domain::tag::{self, MARKER, TraceId};
use crate::domain::time::Timestamp;
use crate::domain::topology::StageId;
use crate::domain::trace::Trace;
use crate::domain::tracker::Snapshot;
use crate::web::app::{App, Settings};
use crate::web::words;

#[derive(Clone, Debug)]
pub(crate) struct One<'a> {
    /// The instant of the snapshot.
    pub(crate) at: Timestamp,
    /// What does not change while the process runs.
    pub(crate) settings: &'a Settings,
    /// The trace and its stages.
    pub(crate) trace: TraceView<'a>,
    /// The source at each of its stages, in the order of its lanes.
    pub(crate) sources: Vec<StageSource>,
    /// Where it was found at another tenant.
    pub(crate) violations: Vec<Violation>,
    /// Its tag as it was sent.
    pub(crate) tag: String,
    /// The signature at the end of the tag.
    pub(crate) signature: String,
}

/// The source at a stage, and commands that look the trace up there.
#[derive(Clone, Debug)]
pub(crate) struct StageSource {
    /// The kind of the stage.
    pub(crate) kind: &'static str,
    /// The name of the source.
    pub(crate) name: Arc<str>,
    /// Each copy.
    pub(crate) copies: Vec<StageCopy>,
    /// Commands that search for it; empty if a copy was seen.
    pub(crate) lookups: Vec<Lookup>,
}

#[derive(Clone, Debug)]
pub(crate) struct StageCopy {
    pub(crate) locator: String,
    /// Why it is not charged to the pipeline; `None` for the first copy and for duplicates.
    pub(crate) uncharged: Option<Uncharged>,
    /// Commands that fetch it.
    pub(crate) lookups: Vec<Lookup>,
}

impl<'a> One<'a> {
    /// The trace with this id, if it is remembered.
    pub(crate) fn find(app: &'a App, snapshot: &'a Snapshot, id: TraceId) -> Option<Self> {
        let trace = TraceView::new(find(snapshot, id)?, snapshot);
        let signed = (app.sign)(&trace.trace.tag);
        let tag = signed.to_string();
        let source = |stage| StageSource::new(app, snapshot, trace.trace, stage, &tag);
        let violations = snapshot.violations.iter().filter(|seen| seen.trace == id);
        Some(Self {
            at: snapshot.at,
            settings: &app.settings,
            sources: trace.lanes.iter().map(|lane| source(lane.stage)).collect(),
            violations: violations.map(|seen| Violation::new(seen, snapshot)).collect(),
            signature: signed.signature().to_owned(),
            tag,
            trace,
        })
    }
}

impl StageSource {
    fn new(app: &App, snapshot: &Snapshot, trace: &Trace, stage: StageId, tag: &str) -> Self {
        let map = &snapshot.topology;
        let source = map.source_of(trace.tenant, stage);
        let evidence = app.settings.evidence.get(source.0 as usize);
        let lookup = |copy: Option<&Locator>| {
            let question = Question { copy, tag, planned_at: trace.planned_at };
            evidence.map(|evidence| evidence.lookups(question)).unwrap_or_default()
        };
        let copies = &trace.visit(stage).copies;
        let copy = |copy: &StoredCopy| StageCopy {
            locator: copy.locator.to_string(),
            uncharged: uncharged(copies).find(|(known, _)| **known == copy.locator).map(|(_, why)| why),
            lookups: lookup(Some(&copy.locator)),
        };
        Self {
            kind: map.stage(stage).kind.name(),
            name: map.source(source).name.clone(),
            copies: copies.iter().map(copy).collect(),
            lookups: if copies.is_empty() { lookup(None) } else { Vec::new() },
        }
    }
}

/// Parses the id in an address: 32 hexadecimal digits in any case, with or without dashes, or a whole tag.
pub(crate) fn read_id(text: &str) -> Option<TraceId> {
    let text = text.trim();
    if tag::Shape::of(text.as_bytes()) == tag::Shape::Whole(text.len()) {
        return tag::read_unverified(text.as_bytes()).ok().map(|tag| tag.trace);
    }
    // `TraceId::parse` also accepts braces and URNs, which are not meant here.
    let digits = |c: char| c.is_ascii_hexdigit() || c == '-';
    text.chars().all(digits).then(|| TraceId::parse(text)).flatten()
}

/// The trace, wherever it is remembered.
fn find(snapshot: &Snapshot, id: TraceId) -> Option<&Trace> {
    let sorted = [&snapshot.open, &snapshot.finished];
    sorted
        .into_iter()
        .find_map(|list| list.binary_search_by_key(&id, |trace| trace.id()).ok().map(|at| &list[at]))
        .map(AsRef::as_ref)
}

/// Why there is no page for an id, and where else to search.
pub(crate) fn unknown(app: &App, snapshot: &Snapshot, id: TraceId) -> Vec<String> {
    let planned = id.planned_at();
    let mut sentences = Vec::new();
    sentences.push(if planned > snapshot.at {
        format!("{id} is not known. Its first digits give a planned injection at {}, which is in the future, so it is probably not one of ours.", words::instant(planned))
    } else {
        format!(
            "{id} is not known, or no longer. Its first digits give a planned injection at {} ({}).",
            words::instant(planned),
            words::ago(planned, snapshot.at),
        )
    });
    let oldest = snapshot.complete_since.map_or_else(
        || "none has finished yet".to_owned(),
        |since| format!("currently back to {}", words::instant(since)),
    );
    sentences.push(format!(
        "The last {} finished traces are remembered ({oldest}); failed ones are kept longer, for each tenant.",
        app.settings.remember,
    ));
    sentences.push(format!(
        "It may be a canary of another instance: each knows only its own. Search the stages for {id}."
    ));
    let like = format!("{MARKER}_{id}%");
    sentences.extend(app.settings.evidence.iter().find_map(|evidence| evidence.search(&like)));
    sentences
}
