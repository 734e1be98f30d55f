//! What `/traces/recent?format=json` says. The only place where the tests name its fields.

use serde::Deserialize;

#[derive(Debug, Deserialize)]
pub struct Recent {
    pub traces: Vec<Trace>,
}

#[derive(Debug, Deserialize)]
pub struct Trace {
    /// The whole tag.
    pub tag: String,
    pub tenant: String,
    /// Bytes.
    pub size: u64,
    /// Absent while it is in flight.
    pub outcome: Option<String>,
    pub arrivals: Vec<Arrival>,
}

/// µs of the probe's wall clock.
#[derive(Debug, Deserialize)]
pub struct Arrival {
    pub stage: String,
    pub earliest_us: i64,
    pub latest_us: i64,
}

impl Recent {
    pub fn ended(&self, outcome: &str) -> usize {
        self.traces.iter().filter(|trace| trace.outcome.as_deref() == Some(outcome)).count()
    }

    pub fn in_flight(&self) -> impl Iterator<Item = &Trace> {
        self.traces.iter().filter(|trace| trace.outcome.is_none())
    }
}
