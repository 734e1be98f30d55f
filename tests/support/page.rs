//! The answer of `/traces/recent?format=json`. The only place where the tests name its fields.

use serde::{Deserialize, Deserializer};

#[derive(Debug, Deserialize)]
pub struct Recent {
    /// Why the store does not keep traces; `None` if it does.
    pub not_kept: Option<String>,
    pub conditions: Vec<Condition>,
    pub incidents: Vec<Incident>,
    pub tenants: Vec<Tenant>,
    pub traces: Vec<Trace>,
    pub violations: Vec<Violation>,
    pub sources: Vec<Source>,
}

#[derive(Debug, Deserialize)]
pub struct Condition {
    pub condition: String,
    pub severity: String,
    pub tenant: Option<String>,
    pub stage: Option<String>,
    pub log_groups: Vec<String>,
    pub affected: Option<usize>,
    pub of: Option<usize>,
    pub text: String,
}

#[derive(Debug, Deserialize)]
pub struct Incident {
    pub condition: String,
    pub state: String,
}

#[derive(Debug, Deserialize)]
pub struct Tenant {
    pub name: String,
    pub verdict: Verdict,
}

#[derive(Debug, Deserialize)]
pub struct Verdict {
    pub condition: String,
    pub place: Option<String>,
    pub text: String,
}

#[derive(Debug, Deserialize)]
pub struct Trace {
    /// 32 hexadecimal digits.
    pub id: String,
    pub tenant: String,
    pub log_group: Option<String>,
    /// RFC 3339; also what the parameter `until` takes.
    pub planned_at: String,
    pub size_bytes: u64,
    pub put: String,
    pub outcome: String,
    pub judgement: String,
    pub next_stage: Option<String>,
    pub lost_at: Option<String>,
    pub reason: Option<String>,
    pub doubled_by_us: bool,
    pub stages: Vec<Stage>,
}

#[derive(Debug, Deserialize)]
pub struct Stage {
    pub stage: String,
    pub presence: String,
    /// µs of the probe's wall clock, like `latest`.
    #[serde(deserialize_with = "micros")]
    pub earliest: Option<i64>,
    #[serde(deserialize_with = "micros")]
    pub latest: Option<i64>,
    #[serde(deserialize_with = "micros")]
    pub noticed_at: Option<i64>,
    pub hop_state: String,
    pub hop_latency_seconds: Option<f64>,
    pub copies: Vec<String>,
    pub uncharged_copies: Vec<UnchargedCopy>,
    pub integrity: Option<String>,
    pub kept_bytes: Option<usize>,
}

#[derive(Debug, Deserialize)]
pub struct UnchargedCopy {
    pub locator: String,
    pub reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub struct Violation {
    pub at: String,
    pub tenant: String,
    pub stage: String,
    pub trace: String,
    pub found_in: String,
    pub locator: String,
}

#[derive(Debug, Deserialize)]
pub struct Source {
    pub source: String,
    pub stage: String,
    /// A tenant, or `shared`.
    pub owner: String,
    pub state: String,
    pub reason: Option<String>,
    /// Everything that arrived before this has been read; µs of the probe's wall clock.
    #[serde(deserialize_with = "micros")]
    pub watermark: Option<i64>,
    /// `None` until the schema of the table has been read.
    pub drift: Option<Vec<Drift>>,
    pub drift_accept: Option<String>,
    pub drift_since: Option<String>,
}

/// A column that differs from the expected schema.
#[derive(Debug, Deserialize)]
pub struct Drift {
    pub column: String,
    pub change: String,
}

/// The arrival interval that the page gives, in µs of the probe's wall clock.
#[derive(Debug, Clone, Copy)]
pub struct Arrival<'a> {
    pub stage: &'a str,
    pub earliest: i64,
    pub latest: i64,
}

impl Recent {
    pub fn ended(&self, outcome: &str) -> usize {
        self.traces.iter().filter(|trace| trace.outcome == outcome).count()
    }

    /// The number of traces that were seen at a stage.
    pub fn seen_at(&self, stage: &str) -> usize {
        self.traces.iter().filter(|trace| trace.is_seen_at(stage)).count()
    }

    pub fn in_flight(&self) -> impl Iterator<Item = &Trace> {
        self.traces.iter().filter(|trace| !trace.has_ended())
    }

    pub fn trace(&self, id: &str) -> Option<&Trace> {
        self.traces.iter().find(|trace| trace.id == id)
    }

    pub fn of<'a>(&'a self, tenant: &'a str) -> impl Iterator<Item = &'a Trace> {
        self.traces.iter().filter(move |trace| trace.tenant == tenant)
    }

    /// The source of a stage that belongs to `owner`, a tenant or `shared`.
    pub fn source(&self, stage: &str, owner: &str) -> &Source {
        let found = self.sources.iter().find(|source| source.stage == stage && source.owner == owner);
        found.unwrap_or_else(|| panic!("no source of {owner} at {stage}: {:?}", self.sources))
    }

    pub fn verdict(&self, tenant: &str) -> &Verdict {
        let found = self.tenants.iter().find(|one| one.name == tenant);
        &found.unwrap_or_else(|| panic!("no tenant {tenant}")).verdict
    }
}

impl Trace {
    pub fn has_ended(&self) -> bool {
        self.outcome != "in_flight"
    }

    pub fn stage(&self, name: &str) -> &Stage {
        let found = self.stages.iter().find(|stage| stage.stage == name);
        found.unwrap_or_else(|| panic!("{} has no stage {name}", self.id))
    }

    pub fn is_seen_at(&self, stage: &str) -> bool {
        self.stage(stage).presence == "seen"
    }

    pub fn arrivals(&self) -> impl Iterator<Item = Arrival<'_>> {
        self.stages.iter().filter_map(|stage| {
            Some(Arrival { stage: &stage.stage, earliest: stage.earliest?, latest: stage.latest? })
        })
    }
}

fn micros<'de, D: Deserializer<'de>>(from: D) -> Result<Option<i64>, D::Error> {
    let text = Option::<String>::deserialize(from)?;
    let instant = |text: String| text.parse::<jiff::Timestamp>().map(jiff::Timestamp::as_microsecond);
    text.map(instant).transpose().map_err(serde::de::Error::custom)
}
