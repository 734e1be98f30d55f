//! The hops of a trace as bars on a time axis: geometry and texts, without markup.
//!
//! Positions are fractions of the width, so that a drawing fits any screen.

use std::fmt;
use std::time::Duration;

use super::view::{Lane, Presence};
use super::words;
use crate::domain::time::Timestamp;
use crate::domain::trace::Hop;

/// The possible lengths of an axis, in seconds: few, so that drawings in a list mostly have the same.
const LENGTHS: [u64; 19] = [
    1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1_200, 1_800, 3_600, 7_200, 14_400, 28_800, 86_400, 259_200,
    604_800,
];
/// Minimum width of a bar, as a fraction of the axis, so that it is visible.
const NARROWEST: f64 = 0.004;

/// A time axis that begins at the planned injection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Axis {
    /// Where it begins.
    pub(crate) start: Timestamp,
    pub(crate) length: Duration,
}

/// A position or width, as a fraction of the axis; displayed as a percentage.
#[derive(Clone, Copy, PartialEq, PartialOrd, Debug)]
pub(crate) struct Percent(f64);

impl Percent {
    /// As a fraction of the axis, from 0 to 1.
    #[must_use]
    pub(crate) const fn fraction(self) -> f64 {
        self.0
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2}%", self.0 * 100.0)
    }
}

/// The meaning of a bar.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Tone {
    /// A hop within its target.
    Done,
    /// A hop over its target.
    Over,
    /// The interval in which it arrived.
    Uncertain,
    /// The hop is in progress.
    Waiting,
    /// It is overdue, or proven absent.
    Missing,
    /// Unknown: the stage is blind, or absence is not proven.
    Unknown,
    /// Nothing to draw.
    Nothing,
}

impl Tone {
    /// The CSS class.
    #[must_use]
    pub(crate) const fn class(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Over => "over",
            Self::Uncertain => "uncertain",
            Self::Waiting => "waiting",
            Self::Missing => "missing",
            Self::Unknown => "unknown",
            Self::Nothing => "nothing",
        }
    }
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Bar {
    /// Where it begins.
    pub(crate) x: Percent,
    /// How wide it is.
    pub(crate) width: Percent,
    pub(crate) tone: Tone,
}

/// One stage in the drawing.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) bars: Vec<Bar>,
    /// The state as text.
    pub(crate) text: String,
    /// Selects the colour of the text.
    pub(crate) tone: Tone,
}

/// A drawing of all stages of a trace.
#[derive(Clone, Debug)]
pub(crate) struct Waterfall {
    /// One row for each stage.
    pub(crate) rows: Vec<Row>,
    /// Position of the end-to-end threshold, if it is on the axis.
    pub(crate) threshold: Option<Percent>,
}

impl Axis {
    /// The shortest axis that is at least this long; at most a week.
    #[must_use]
    pub(crate) fn holding(start: Timestamp, length: Duration) -> Self {
        let last = LENGTHS[LENGTHS.len() - 1];
        let secs = LENGTHS.into_iter().find(|secs| length <= Duration::from_secs(*secs));
        Self { start, length: Duration::from_secs(secs.unwrap_or(last)) }
    }

    /// The position of an instant; instants outside are at the ends.
    #[must_use]
    pub(crate) fn position(&self, at: Timestamp) -> Percent {
        Percent((at.since(self.start).as_secs_f64() / self.length.as_secs_f64()).min(1.0))
    }

    /// Where a span begins and how wide it is; wide enough to be visible.
    #[must_use]
    pub(crate) fn span(&self, from: Timestamp, to: Timestamp) -> (Percent, Percent) {
        let (from, to) = (self.position(from).0, self.position(to).0);
        let width = (to - from).max(NARROWEST);
        (Percent(from.min(1.0 - width)), Percent(width))
    }

    fn bar(&self, from: Timestamp, to: Timestamp, tone: Tone) -> Bar {
        let (x, width) = self.span(from, to);
        Bar { x, width, tone }
    }
}

/// The length that a drawing of these lanes needs, from the planned injection.
#[must_use]
pub(crate) fn extent(lanes: &[Lane<'_>], planned: Timestamp, now: Timestamp) -> Duration {
    let end = |lane: &Lane<'_>| match (&lane.presence, lane.begun) {
        (Presence::Seen(arrived), _) => arrived.latest,
        (Presence::Waiting { age } | Presence::Overdue { age }, Some(begun)) => begun.latest + *age,
        (Presence::Never { until }, _) => *until,
        (Presence::Blind { .. }, _) => now,
        (Presence::Waiting { .. } | Presence::Overdue { .. }, None)
        | (Presence::Unproven | Presence::NotReached, _) => planned,
    };
    lanes.iter().map(end).max().unwrap_or(planned).since(planned)
}

/// Draws lanes on an axis.
#[must_use]
pub(crate) fn draw(lanes: &[Lane<'_>], axis: Axis, slo: Duration, now: Timestamp) -> Waterfall {
    let rows = lanes.iter().map(|lane| Row {
        name: lane.name.to_string(),
        bars: bars(lane, &axis, now),
        text: text(lane, now),
        tone: tone(lane),
    });
    Waterfall {
        rows: rows.collect(),
        threshold: (slo <= axis.length).then(|| axis.position(axis.start + slo)),
    }
}

fn bars(lane: &Lane<'_>, axis: &Axis, now: Timestamp) -> Vec<Bar> {
    let begun = lane.begun.map(|begun| begun.latest);
    let from = begun.unwrap_or(axis.start);
    let tone = tone(lane);
    match &lane.presence {
        Presence::Seen(arrived) => {
            let hop = begun.filter(|begun| *begun < arrived.earliest);
            hop.map(|begun| axis.bar(begun, arrived.earliest, tone))
                .into_iter()
                .chain([axis.bar(arrived.earliest, arrived.latest, Tone::Uncertain)])
                .collect()
        }
        Presence::Waiting { age } | Presence::Overdue { age } => {
            vec![axis.bar(from, from + *age, tone)]
        }
        Presence::Never { until } => vec![axis.bar(from, *until, tone)],
        Presence::Blind { .. } => vec![axis.bar(from, now, tone)],
        Presence::Unproven => vec![axis.bar(from, axis.start + axis.length, tone)],
        Presence::NotReached => Vec::new(),
    }
}

fn tone(lane: &Lane<'_>) -> Tone {
    match &lane.presence {
        Presence::Seen(_) if lane.over_target() => Tone::Over,
        Presence::Seen(_) => Tone::Done,
        Presence::Waiting { .. } => Tone::Waiting,
        Presence::Overdue { .. } | Presence::Never { .. } => Tone::Missing,
        Presence::Blind { .. } | Presence::Unproven => Tone::Unknown,
        Presence::NotReached => Tone::Nothing,
    }
}

/// The state of a lane as text.
#[must_use]
pub(crate) fn text(lane: &Lane<'_>, now: Timestamp) -> String {
    match &lane.presence {
        Presence::Seen(_) => match (lane.visit.hop, lane.target) {
            (Hop::Measured { latency, .. }, Some(target)) if latency > target => {
                format!("{} ▲ over {}", words::short(latency), words::short(target))
            }
            (Hop::Measured { latency, .. }, _) => words::short(latency),
            (Hop::Unjudged, _) => "arrived, not judged".to_owned(),
            (Hop::Inverted, _) => "arrived before its parent: the clocks disagree".to_owned(),
            (Hop::Inherited, _) => "arrived; counted before a restart or a reload".to_owned(),
            (Hop::Skipped, _) => "arrived, but not seen at the stage before".to_owned(),
            (Hop::Open | Hop::Overdue | Hop::Missing | Hop::NeverSeen, _) => "arrived".to_owned(),
        },
        Presence::Waiting { age } => format!("waiting {}", words::age(*age)),
        Presence::Overdue { age } => format!("not there after {}", words::age(*age)),
        Presence::Blind { since } => format!("cannot see since {}", words::clock(*since, now)),
        Presence::Never { until } => match lane.begun {
            Some(begun) => format!("never arrived (watched for {})", words::short(until.since(begun.latest))),
            None => "never arrived".to_owned(),
        },
        Presence::Unproven => "not seen, absence not proven".to_owned(),
        Presence::NotReached => "not reached".to_owned(),
    }
}
