//! What is polled.

use schemars::JsonSchema;
use serde::Serialize;

use super::rfc3339;
use super::values;
use crate::domain::foreign::ForeignText;
use crate::domain::sighting::Drift;
use crate::web::view;

/// What is polled at a stage.
#[derive(Serialize, JsonSchema, Debug)]
pub(super) struct Source {
    /// Its name.
    source: String,
    /// The stage that it belongs to.
    stage: String,
    /// The kind of the stage.
    #[schemars(extend("enum" = values::kinds()))]
    kind: &'static str,
    /// A tenant's name, or `shared`.
    owner: String,
    /// How its polls go; an `idle` one is not polled, because nothing waits there.
    #[schemars(extend("enum" = values::POLLING))]
    state: &'static str,
    /// Since when it has been blind or failing.
    #[schemars(extend("format" = "date-time"))]
    since: Option<String>,
    /// The kind of failure.
    #[schemars(extend("enum" = values::failures()))]
    failure: Option<&'static str>,
    /// An explanation, or what is being decoded for long.
    reason: Option<String>,
    /// Number of failed polls in a row.
    failed_polls: u64,
    /// Number of traces that wait there.
    waiting: usize,
    /// Everything that arrived before this has been read.
    #[schemars(extend("format" = "date-time"))]
    watermark: Option<String>,
    /// How far the watermark is behind now while traces wait here, in seconds; 0 while nothing waits.
    watermark_age_seconds: f64,
    /// When it last answered.
    #[schemars(extend("format" = "date-time"))]
    last_answer: Option<String>,
    /// How far behind the newest record the last poll ended, in seconds, if the service reports it.
    behind_seconds: Option<f64>,
    /// How the table's schema differs from the expected one. `null` if there is no schema, or it is not known
    /// yet.
    drift: Option<Vec<DriftJson>>,
    /// Since when it differs.
    #[schemars(extend("format" = "date-time"))]
    drift_since: Option<String>,
    /// The value for `schema_accepted` if the change is intended and `schema` is not set.
    drift_accept: Option<String>,
}

/// A column that changed.
#[derive(Serialize, JsonSchema, Debug)]
#[schemars(rename = "ColumnChange")]
struct DriftJson {
    /// The column.
    column: String,
    /// What changed.
    #[schemars(extend("enum" = values::CHANGES))]
    change: &'static str,
    /// The type before, with the mode unless it is NULLABLE. `null` for a new column.
    from: Option<String>,
    /// The type now. `null` for a removed column.
    to: Option<String>,
}

impl Source {
    pub(super) fn new(view: &view::Source) -> Self {
        let drifted = view.drifted.as_ref();
        Self {
            source: view.name.to_string(),
            stage: view.stage.to_string(),
            kind: view.kind,
            owner: view.owner.to_string(),
            state: view.state.word(),
            since: view.since.map(rfc3339),
            failure: view.failure,
            reason: (!view.reason.is_empty()).then(|| view.reason.clone()),
            failed_polls: view.failed_polls,
            waiting: view.waiting,
            watermark: view.watermark.map(rfc3339),
            watermark_age_seconds: view.watermark_age.as_secs_f64(),
            last_answer: view.last_answer.map(rfc3339),
            behind_seconds: view.behind.map(|behind| behind.as_secs_f64()),
            drift: drifted.map(|drifted| drifted.changes.iter().map(DriftJson::new).collect()),
            drift_since: drifted.and_then(|drifted| drifted.since).map(rfc3339),
            drift_accept: drifted.and_then(|drifted| drifted.accept).map(|of| of.to_string()),
        }
    }
}

impl DriftJson {
    fn new(drift: &Drift) -> Self {
        let text = |text: &Option<ForeignText>| text.as_deref().map(str::to_owned);
        Self {
            column: drift.column.to_string(),
            change: drift.change(),
            from: text(&drift.from),
            to: text(&drift.to),
        }
    }
}
