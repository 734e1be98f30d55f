//! Everything that is known about one trace, and how to verify it elsewhere.

use super::evidence::{LeakedCopy, Lookups, StageSource};
use super::fate::Fate;
use super::trace::TraceView;
use super::violation::Violation;
use crate::domain::tag::{self, MARKER, TraceId};
use crate::domain::time::Timestamp;
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
    /// What shows it where it was put.
    pub(crate) log_group: Lookups,
    /// Its copies at other tenants.
    pub(crate) leaked: Vec<LeakedCopy>,
    /// What became of it.
    pub(crate) fate: Fate,
    /// Where it was found at another tenant.
    pub(crate) violations: Vec<Violation>,
    /// Its tag as it was sent.
    pub(crate) tag: String,
    /// The signature at the end of the tag.
    pub(crate) signature: String,
}

impl<'a> One<'a> {
    /// The trace with this id, if it is remembered.
    pub(crate) fn find(app: &'a App, snapshot: &'a Snapshot, id: TraceId) -> Option<Self> {
        let trace = TraceView::new(find(snapshot, id)?, snapshot);
        let signed = (app.sign)(&trace.trace.tag);
        let tag = signed.to_string();
        let source = |stage| StageSource::new(app, snapshot, trace.trace, stage, &tag);
        let leaks = || snapshot.violations.iter().filter(|seen| seen.trace == id);
        let leaked = leaks().filter_map(|seen| LeakedCopy::new(app, snapshot, seen, &tag));
        let violations: Vec<_> = leaks().map(|seen| Violation::new(seen, snapshot)).collect();
        let sources: Vec<_> = trace.lanes.iter().map(|lane| source(lane.stage)).collect();
        Some(Self {
            at: snapshot.at,
            settings: &app.settings,
            fate: Fate::new(&trace, &sources, &violations, snapshot, &app.settings),
            log_group: Lookups::in_log_group(app, trace.trace, &tag),
            leaked: leaked.collect(),
            sources,
            violations,
            signature: signed.signature().to_owned(),
            tag,
            trace,
        })
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
    sentences.extend(app.settings.evidence.values().find_map(|evidence| evidence.search(&like)));
    sentences
}
