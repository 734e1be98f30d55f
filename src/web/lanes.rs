//! The stages of one trace as named lanes on a time axis, for its page: geometry and texts, without markup.
//!
//! Positions are fractions of the width and heights are pixels, so that a drawing fits any screen and its text
//! keeps its size.

use std::time::Duration;

use super::view::{Lane, Presence, StageSource};
use super::waterfall::{Axis, Percent};
use super::words;
use crate::domain::time::{Interval, Timestamp};
use crate::domain::trace::Hop;

/// The threshold is on the axis if the axis need not become longer than this many times the trace.
const WORTH_THE_THRESHOLD: u32 = 3;
/// A target is marked if it is at least this part of the axis (1/20).
const NEAR: u32 = 20;
/// Labels beyond this fraction of the width end at their line instead of beginning there.
const FAR_RIGHT: f64 = 0.6;

/// What a shape means.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Meaning {
    /// It was on its way to the stage, or had not been found there yet.
    Waiting,
    /// It arrived within this interval.
    Arrived,
    /// The same, over the target of the hop.
    ArrivedOver,
    /// Proven absent although it should have been there.
    Missing,
    /// The stage could not be read, or its absence is not proven.
    Blind,
}

impl Meaning {
    /// The CSS class.
    #[must_use]
    pub(crate) const fn class(self) -> &'static str {
        match self {
            Self::Waiting => "l-waiting",
            Self::Arrived => "l-arrived",
            Self::ArrivedOver => "l-over",
            Self::Missing => "l-missing",
            Self::Blind => "l-blind",
        }
    }

    /// Its text in the legend.
    #[must_use]
    pub(crate) const fn legend(self) -> &'static str {
        match self {
            Self::Waiting => "waiting time of the hop",
            Self::Arrived => "arrived within this interval",
            Self::ArrivedOver => "arrived, over the target of the hop",
            Self::Missing => "not there when it should have been",
            Self::Blind => "unknown: not read, or not proven absent",
        }
    }

    const fn top_and_height(self) -> (u32, u32) {
        match self {
            Self::Waiting => (23, 6),
            Self::Arrived | Self::ArrivedOver | Self::Missing => (17, 18),
            Self::Blind => (19, 14),
        }
    }
}

/// A rectangle in a lane.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) meaning: Meaning,
    pub(crate) x: Percent,
    pub(crate) width: Percent,
    pub(crate) y: u32,
    pub(crate) height: u32,
}

/// A position with a text.
#[derive(Clone, Debug)]
pub(crate) struct Label {
    pub(crate) x: Percent,
    pub(crate) text: String,
    /// `start`, `middle` or `end`: which part of the text is at the position.
    pub(crate) anchor: &'static str,
}

/// One stage.
#[derive(Clone, Debug)]
pub(crate) struct LaneRow {
    pub(crate) name: String,
    pub(crate) kind: &'static str,
    pub(crate) side: bool,
    pub(crate) shapes: Vec<Shape>,
    pub(crate) target: Option<Label>,
    pub(crate) copies: Option<Label>,
    /// The state as text.
    pub(crate) state: String,
    /// The whole lane in one sentence, for screen readers.
    pub(crate) sentence: String,
    /// The class of the text.
    pub(crate) tone: &'static str,
}

/// All stages of a trace.
#[derive(Clone, Debug)]
pub(crate) struct Drawing {
    pub(crate) rows: Vec<LaneRow>,
    /// Ticks with seconds from the planned injection.
    pub(crate) ticks: Vec<Label>,
    /// The same in UTC.
    pub(crate) clocks: Vec<Label>,
    /// The end-to-end threshold.
    pub(crate) slo: Option<Label>,
    /// What occurs in it.
    pub(crate) legend: Vec<Meaning>,
}

/// Draws all stages, and a second time those that have it if a long wait afterwards makes them too narrow.
pub(crate) fn draw(
    lanes: &[Lane<'_>],
    sources: &[StageSource],
    planned: Timestamp,
    slo: Duration,
    now: Timestamp,
    extent: Duration,
) -> Drawing {
    let length = if slo <= extent * WORTH_THE_THRESHOLD { extent.max(slo) } else { extent };
    let axis = Axis::holding(planned, length);
    let rows: Vec<_> = lanes.iter().zip(sources).map(|(lane, source)| row(lane, source, axis, now)).collect();
    let mut legend: Vec<_> = rows.iter().flat_map(|row| &row.shapes).map(|shape| shape.meaning).collect();
    legend.sort_unstable();
    legend.dedup();
    let quarters = (0..=4_u32).map(|quarter| (quarter, axis.length * quarter / 4));
    let label = |quarter, after: Duration, text: String| Label {
        x: axis.position(planned + after),
        text,
        anchor: match quarter {
            0 => "start",
            4 => "end",
            _ => "middle",
        },
    };
    let subsecond = axis.length < Duration::from_secs(8);
    Drawing {
        ticks: quarters.clone().map(|(quarter, after)| label(quarter, after, seconds(after))).collect(),
        clocks: quarters
            .map(|(quarter, after)| {
                let format = if subsecond { "%H:%M:%S%.2f" } else { "%H:%M:%S" };
                label(quarter, after, (planned + after).strftime(format))
            })
            .collect(),
        slo: (slo <= axis.length).then(|| {
            let x = axis.position(planned + slo);
            Label { x, text: format!("SLO {}", words::short(slo)), anchor: anchor(x) }
        }),
        legend,
        rows,
    }
}

/// Seconds, with hundredths if needed.
fn seconds(after: Duration) -> String {
    let (whole, hundredths) = (after.as_secs(), after.subsec_millis() / 10);
    match hundredths {
        0 => format!("{whole} s"),
        tenths if tenths.is_multiple_of(10) => format!("{whole}.{} s", tenths / 10),
        _ => format!("{whole}.{hundredths:02} s"),
    }
}

fn anchor(x: Percent) -> &'static str {
    if x.fraction() > FAR_RIGHT { "end" } else { "start" }
}

fn row(lane: &Lane<'_>, source: &StageSource, axis: Axis, now: Timestamp) -> LaneRow {
    let state = state(lane, now);
    let target = lane.target.zip(lane.begun).and_then(|(target, begun)| {
        let at = begun.latest + target;
        let x = axis.position(at);
        // On a long axis it would be at the beginning of the hop.
        let is_apart = target * NEAR >= axis.length;
        (is_apart && at.since(axis.start) <= axis.length).then(|| Label {
            x,
            text: format!("target {}", words::short(target)),
            anchor: anchor(x),
        })
    });
    let arrived = lane.visit.arrival.as_ref().map(|arrival| arrival.interval);
    let own = lane.visit.copies.iter().filter(|copy| copy.other_sender.is_none()).count();
    let copies = arrived.filter(|_| own > 1).map(|at| {
        let x = axis.position(at.latest);
        Label { x, text: format!("×{own}"), anchor: anchor(x) }
    });
    let side = if lane.side { ", off the main path" } else { "" };
    LaneRow {
        sentence: format!("{} ({}{side}): {state}", lane.name, source.kind),
        name: lane.name.to_string(),
        kind: source.kind,
        side: lane.side,
        shapes: shapes(lane, axis, now),
        target,
        copies,
        state,
        tone: tone(lane),
    }
}

fn shapes(lane: &Lane<'_>, axis: Axis, now: Timestamp) -> Vec<Shape> {
    let from = lane.begun.map_or(axis.start, |begun| begun.latest);
    let end = axis.start + axis.length;
    let read = lane.visit.absent_until.unwrap_or(from).max(from);
    let spans = match &lane.presence {
        Presence::Seen(at) => {
            let meaning = if lane.over_target() { Meaning::ArrivedOver } else { Meaning::Arrived };
            // While the stage could not be read, only the end of the wait is known.
            let blind = lane.visit.gap_since_poll.then_some((Meaning::Blind, read, at.latest));
            let mut spans = vec![(Meaning::Waiting, from, at.earliest)];
            spans.extend(blind);
            spans.push((meaning, at.earliest, at.latest));
            spans
        }
        Presence::Waiting { age } => vec![(Meaning::Waiting, from, from + *age)],
        Presence::Overdue { age } => vec![(Meaning::Missing, from, from + *age)],
        Presence::Never { until } => vec![(Meaning::Missing, from, *until)],
        Presence::Blind { since } => {
            let since = (*since).max(from);
            vec![(Meaning::Waiting, from, since), (Meaning::Blind, since, now)]
        }
        Presence::Unproven => vec![(Meaning::Waiting, from, read), (Meaning::Blind, read, end)],
        Presence::NotReached => Vec::new(),
    };
    let is_drawn = |(meaning, from, to): &(Meaning, Timestamp, Timestamp)| {
        from < to || matches!(meaning, Meaning::Arrived | Meaning::ArrivedOver)
    };
    spans
        .into_iter()
        .filter(is_drawn)
        .map(|(meaning, from, to)| {
            let (x, width) = axis.span(from, to);
            let (y, height) = meaning.top_and_height();
            Shape { meaning, x, width, y, height }
        })
        .collect()
}

fn tone(lane: &Lane<'_>) -> &'static str {
    match &lane.presence {
        Presence::Seen(_) if lane.over_target() => "over",
        Presence::Seen(_) => "done",
        Presence::Waiting { .. } => "waiting",
        Presence::Overdue { .. } | Presence::Never { .. } => "missing",
        Presence::Blind { .. } | Presence::Unproven => "unknown",
        Presence::NotReached => "nothing",
    }
}

/// The middle of an interval after the planned injection, and how far it may be off: `4.1 s ± 0.1 s`.
pub(crate) fn plus_minus(at: Interval, planned: Timestamp) -> String {
    let half = at.width() / 2;
    let middle = at.earliest.since(planned) + half;
    format!("{} ± {}", words::short(middle), words::short(half))
}

/// The state of a lane as text.
#[must_use]
pub(crate) fn state(lane: &Lane<'_>, now: Timestamp) -> String {
    match &lane.presence {
        Presence::Seen(at) => {
            let half = words::short(at.width() / 2);
            let target = match (lane.latency(), lane.target) {
                (Some(took), Some(target)) if took > target => {
                    format!(", over its target of {}", words::short(target))
                }
                _ => String::new(),
            };
            match lane.visit.hop {
                Hop::Measured { latency, .. } => format!("took {} ± {half}{target}", words::short(latency)),
                Hop::Unjudged => format!("arrived, ± {half}: unknown whether within its target"),
                Hop::Inverted => "arrived before its parent: the clocks disagree".to_owned(),
                Hop::Inherited => "arrived; counted before a restart or a reload".to_owned(),
                Hop::Skipped => "arrived, but not found at the stage before".to_owned(),
                Hop::Open | Hop::Overdue | Hop::Missing | Hop::NeverSeen => format!("arrived, ± {half}"),
            }
        }
        Presence::Waiting { age } => format!("waiting for {}", words::age(*age)),
        Presence::Overdue { age } => format!("overdue, not there after {}", words::age(*age)),
        Presence::Blind { since } => format!("unknown: cannot be read since {}", words::clock(*since, now)),
        Presence::Never { until } => match lane.begun {
            Some(begun) => format!("not found, read for {}", words::short(until.since(begun.latest))),
            None => "not found".to_owned(),
        },
        Presence::Unproven => "unknown: not found, absence not proven".to_owned(),
        Presence::NotReached => "not reached".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arrival_is_its_middle_and_half_its_width() {
        let planned = Timestamp::from_secs(100);
        let at =
            Interval::new(planned + Duration::from_millis(4_000), planned + Duration::from_millis(4_200));
        assert_eq!(plus_minus(at, planned), "4.1 s ± 100 ms");
    }

    #[test]
    fn ticks_have_as_many_digits_as_they_need() {
        let texts = [0, 250, 500, 1_250, 75_000].map(|millis| seconds(Duration::from_millis(millis)));
        assert_eq!(texts, ["0 s", "0.25 s", "0.5 s", "1.25 s", "75 s"]);
    }
}
