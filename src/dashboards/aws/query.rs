//! What a panel asks CloudWatch for.

use crate::dashboards::limits::Bad;

/// A query of a panel.
#[derive(Clone, Debug)]
pub(crate) enum Query {
    /// A line for each place.
    Lines(Lines),
    /// A line for each series of a metric that CloudWatch finds, the worst ones, where a dimension is not known in
    /// advance.
    Search { meter: Meter, dimensions: &'static [&'static str], region: String },
}

/// A line for each place, by a formula.
#[derive(Clone, Debug)]
pub(crate) struct Lines {
    /// What the lines are, in front of the name of their place; empty if the panel's title says it.
    pub(crate) what: &'static str,
    /// `a` is the first meter, `b` the second: `100 * a / b`.
    pub(crate) formula: &'static str,
    pub(crate) meters: Vec<Meter>,
    pub(crate) places: Vec<Place>,
    /// Which of many places are shown.
    pub(crate) worst: Bad,
}

/// A statistic of a metric.
#[derive(Clone, Debug)]
pub(crate) struct Meter {
    pub(crate) namespace: &'static str,
    pub(crate) metric: &'static str,
    pub(crate) stat: Stat,
    /// Seconds that one value stands for.
    pub(crate) period: u32,
    /// Where it is measured, summed up, if not at the place of the line.
    pub(crate) own: Vec<Place>,
}

/// The dimensions of a metric, and the account that has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) label: String,
    pub(crate) dimensions: Vec<(&'static str, String)>,
    pub(crate) region: String,
    pub(crate) account: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Stat {
    Sum,
    Maximum,
    Minimum,
    P95,
}

impl Stat {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Sum => "Sum",
            Self::Maximum => "Maximum",
            Self::Minimum => "Minimum",
            Self::P95 => "p95",
        }
    }
}

impl Meter {
    pub(crate) const fn new(namespace: &'static str, metric: &'static str, stat: Stat) -> Self {
        Self { namespace, metric, stat, period: super::PERIOD, own: Vec::new() }
    }

    /// Measured elsewhere.
    pub(crate) fn at(self, own: Vec<Place>) -> Self {
        Self { own, ..self }
    }

    /// With a value for so many seconds.
    pub(crate) const fn every(mut self, period: u32) -> Self {
        self.period = period;
        self
    }
}

impl Lines {
    pub(crate) fn new(formula: &'static str, meters: Vec<Meter>, places: &[Place]) -> Self {
        Self { what: "", formula, meters, places: places.to_vec(), worst: Bad::Above }
    }

    /// One meter as it is.
    pub(crate) fn of(meter: Meter, places: &[Place]) -> Self {
        Self::new("a", vec![meter], places)
    }

    pub(crate) fn named(self, what: &'static str) -> Self {
        Self { what, ..self }
    }

    pub(crate) fn worst_low(self) -> Self {
        Self { worst: Bad::Below, ..self }
    }

    /// Whether a line is one meter without a formula.
    pub(crate) fn is_plain(&self) -> bool {
        self.formula == "a"
    }

    /// The formula with what stands for each meter.
    pub(crate) fn with(&self, stands_for: impl Fn(usize) -> String) -> String {
        let mut text = String::new();
        for c in self.formula.chars() {
            match c {
                'a'..='c' => text += &stands_for(c as usize - 'a' as usize),
                _ => text.push(c),
            }
        }
        text
    }

    pub(crate) fn label(&self, place: &Place) -> String {
        match (self.what, place.label.as_str()) {
            ("", label) => label.to_owned(),
            (what, "") => what.to_owned(),
            (what, label) => format!("{what} {label}"),
        }
    }
}
