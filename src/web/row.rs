//! One trace in a list: a line of text and a drawing.

use std::time::Duration;

use super::view::{Brief, TraceView};
use super::waterfall::{self, Axis, Waterfall};
use super::words;
use crate::domain::tag::TraceId;
use crate::domain::time::Timestamp;

/// One trace in a list.
pub(crate) struct TraceRow {
    pub(crate) id: String,
    pub(crate) short_id: String,
    pub(crate) planned: String,
    pub(crate) ago: String,
    pub(crate) tenant: String,
    pub(crate) size: String,
    pub(crate) outcome: &'static str,
    pub(crate) tone: &'static str,
    pub(crate) detail: String,
    pub(crate) latency: String,
    pub(crate) error: Option<String>,
    pub(crate) waterfall: Waterfall,
    pub(crate) end: String,
}

/// One failed trace in a short list.
pub(crate) struct FailureLine {
    pub(crate) id: String,
    pub(crate) short_id: String,
    pub(crate) planned: String,
    pub(crate) ago: String,
    pub(crate) outcome: &'static str,
    pub(crate) tone: &'static str,
    pub(crate) detail: String,
}

impl TraceRow {
    pub(crate) fn new(view: &TraceView<'_>, now: Timestamp, slo: Duration, scale: Duration) -> Self {
        let TraceView { brief, trace, lanes, .. } = view;
        let extent = waterfall::extent(lanes, brief.planned_at, now);
        let axis = Axis::holding(brief.planned_at, extent.max(scale));
        let age = now.since(brief.planned_at);
        let latency = match (view.latency, &trace.ended) {
            (Some(latency), _) => words::short(latency),
            (None, None) if view.cannot_see => "cannot see".to_owned(),
            (None, None) => format!("> {}", words::age(age)),
            (None, Some(_)) => "–".to_owned(),
        };
        Self {
            id: brief.id.to_string(),
            short_id: short_id(brief.id),
            planned: words::clock(brief.planned_at, now),
            ago: words::age(age),
            tenant: brief.tenant.to_string(),
            size: words::bytes(trace.tag.size),
            outcome: brief.outcome,
            tone: brief.mark.class(),
            detail: brief.detail.clone(),
            latency,
            error: view.arrival.map(|at| words::short(at.width())),
            waterfall: waterfall::draw(lanes, axis, slo, now),
            end: words::short(axis.length),
        }
    }
}

impl FailureLine {
    pub(crate) fn new(brief: &Brief, now: Timestamp) -> Self {
        Self {
            id: brief.id.to_string(),
            short_id: short_id(brief.id),
            planned: words::clock(brief.planned_at, now),
            ago: words::age(now.since(brief.planned_at)),
            outcome: brief.outcome,
            tone: brief.mark.class(),
            detail: brief.detail.clone(),
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
