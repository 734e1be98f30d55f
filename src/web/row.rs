//! One trace in a list: a line of text and a drawing.

use std::fmt::Write as _;
use std::time::Duration;

use super::page::{Age, Moment};
use super::view::{Brief, Mark, TraceView, Violation};
use super::waterfall::{self, Axis, Percent, Tone, Waterfall};
use super::words;
use crate::domain::flaw::Flaw;
use crate::domain::tag::TraceId;
use crate::domain::time::Timestamp;

/// Height of a lane in the drawing of a row, in units.
const LANE: usize = 7;
/// Height of a bar.
const BAR: usize = 5;
/// Height of a bar that only says that it lies within.
const THIN: usize = 3;

/// One trace in a list.
pub(crate) struct TraceRow {
    pub(crate) id: String,
    pub(crate) short_id: String,
    pub(crate) planned: Moment,
    pub(crate) ago: String,
    pub(crate) tenant: String,
    pub(crate) size: String,
    pub(crate) outcome: &'static str,
    pub(crate) tone: &'static str,
    pub(crate) detail: String,
    /// What else is wrong with it.
    pub(crate) also: Vec<String>,
    pub(crate) latency: String,
    /// Set while it is counted: it took longer than this age.
    pub(crate) waits: Option<Age>,
    pub(crate) error: Option<String>,
    /// The hops as paths of the classes of the style.
    pub(crate) paths: Vec<(&'static str, String)>,
    pub(crate) height: usize,
    /// Position of the end-to-end threshold.
    pub(crate) threshold: Option<u32>,
    /// The state of each hop as text: its name, its class and the text. Empty if all are simply measured.
    pub(crate) steps: Vec<(String, &'static str, String)>,
    /// The hops' latencies, in their order, if all are simply measured.
    pub(crate) hops: String,
    pub(crate) end: String,
}

/// One trace in a short list.
pub(crate) struct BriefRow {
    pub(crate) id: String,
    pub(crate) short_id: String,
    pub(crate) planned: Moment,
    pub(crate) ago: String,
    pub(crate) tenant: String,
    pub(crate) outcome: &'static str,
    pub(crate) tone: &'static str,
    pub(crate) detail: String,
    pub(crate) also: Vec<String>,
}

impl TraceRow {
    pub(crate) fn new(view: &TraceView<'_>, now: Timestamp, slo: Duration, scale: Duration) -> Self {
        let TraceView { brief, trace, lanes, .. } = view;
        let extent = waterfall::extent(lanes, brief.planned_at, now);
        let axis = Axis::holding(brief.planned_at, extent.max(scale));
        let age = now.since(brief.planned_at);
        let waits = view.latency.is_none() && trace.ended.is_none() && !view.cannot_see;
        let latency = match (view.latency, &trace.ended) {
            _ if waits => String::new(),
            (Some(latency), _) => words::short(latency),
            (None, None) => "unknown".to_owned(),
            (None, Some(_)) => "–".to_owned(),
        };
        let drawing = waterfall::draw(lanes, axis, slo, now);
        let is_plain = drawing.rows.iter().all(|row| row.tone == Tone::Done);
        let hops: Vec<_> = drawing.rows.iter().map(|row| row.text.as_str()).collect();
        let steps = drawing.rows.iter().filter(|row| !is_plain && row.tone != Tone::Nothing);
        Self {
            id: brief.id.to_string(),
            short_id: short_id(brief.id),
            planned: Moment::new(brief.planned_at, now),
            ago: words::age(age),
            tenant: brief.tenant.to_string(),
            size: words::bytes(trace.tag.size),
            outcome: brief.outcome,
            tone: mark(brief).class(),
            detail: brief.detail.clone(),
            also: brief.also.clone(),
            latency,
            waits: waits.then(|| Age::new(brief.planned_at, now)),
            error: view.arrival.map(|at| words::short(at.width())),
            hops: if is_plain { hops.join(" · ") } else { String::new() },
            steps: steps.map(|row| (row.name.clone(), row.tone.class(), row.text.clone())).collect(),
            height: drawing.rows.len() * LANE,
            threshold: drawing.threshold.map(thousandths),
            paths: paths(&drawing),
            end: words::short(axis.length),
        }
    }
}

/// A position in thousandths of the axis.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is from 0 to 1")]
fn thousandths(position: Percent) -> u32 {
    (position.fraction() * 1_000.0).round() as u32
}

/// All bars of a tone are one path.
fn paths(drawing: &Waterfall) -> Vec<(&'static str, String)> {
    let mut paths: Vec<(&'static str, String)> = Vec::new();
    for (lane, row) in drawing.rows.iter().enumerate() {
        for bar in &row.bars {
            let height = if matches!(bar.tone, Tone::Uncertain | Tone::Unknown) { THIN } else { BAR };
            let (x, width) = (thousandths(bar.x), thousandths(bar.width).max(1));
            let y = lane * LANE + (LANE - height) / 2;
            let class = bar.tone.class();
            let at = paths.iter().position(|(own, _)| *own == class).unwrap_or_else(|| {
                paths.push((class, String::new()));
                paths.len() - 1
            });
            if let Some((_, path)) = paths.get_mut(at) {
                let _ = write!(path, "M{x} {y}h{width}v{height}h-{width}z");
            }
        }
    }
    paths
}

/// What was delivered in time is not well if something else is wrong with it.
fn mark(brief: &Brief) -> Mark {
    let is_leaked = brief.flaws.iter().any(|(flaw, _)| *flaw == Flaw::Leaked);
    match brief.mark {
        _ if is_leaked => Mark::Broken,
        Mark::Well if !brief.also.is_empty() => Mark::Poor,
        other => other,
    }
}

impl BriefRow {
    pub(crate) fn new(brief: &Brief, now: Timestamp) -> Self {
        Self {
            id: brief.id.to_string(),
            short_id: short_id(brief.id),
            planned: Moment::new(brief.planned_at, now),
            ago: words::age(now.since(brief.planned_at)),
            tenant: brief.tenant.to_string(),
            outcome: brief.outcome,
            tone: mark(brief).class(),
            detail: brief.detail.clone(),
            also: brief.also.clone(),
        }
    }

    /// The canary that was found with another tenant, at the time at which that was noticed.
    pub(crate) fn of_violation(seen: &Violation, now: Timestamp) -> Self {
        Self {
            id: seen.trace.to_string(),
            short_id: short_id(seen.trace),
            planned: Moment::new(seen.at, now),
            ago: words::age(now.since(seen.at)),
            tenant: seen.tenant.to_string(),
            outcome: "leaked",
            tone: Mark::Broken.class(),
            detail: String::new(),
            also: Vec::new(),
        }
    }
}

/// The common length of the rows' axes: the 95th percentile of the latencies. The maximum would let a single
/// lost trace compress all others.
pub(crate) fn common_scale(traces: &[TraceView<'_>]) -> Duration {
    let mut latencies: Vec<_> = traces.iter().filter_map(|trace| trace.latency).collect();
    latencies.sort_unstable();
    latencies.get(latencies.len() * 19 / 20).copied().unwrap_or_default()
}

/// The last digits of an id, which are random; the first ones are only the time.
pub(crate) fn short_id(id: TraceId) -> String {
    let id = id.to_string();
    format!("…{}", &id[id.len() - 8..])
}
