//! What was and is wrong, from when to when.

use schemars::JsonSchema;
use serde::Serialize;

use super::rfc3339;
use super::values;
use crate::domain::time::Timestamp;
use crate::web::view::{EpisodeView, IncidentView};

/// What was or is wrong at one place, from its beginning to its end. [conditions.md](conditions.md#incidents)
/// says when that is.
#[derive(Serialize, JsonSchema, Debug)]
#[schemars(rename = "Incident")]
pub(super) struct IncidentJson {
    /// Stays the same for as long as the incident is remembered.
    id: String,
    /// The name of its condition.
    #[schemars(extend("enum" = values::conditions()))]
    condition: &'static str,
    /// The worst severity so far.
    #[schemars(extend("enum" = values::SEVERITIES))]
    severity: &'static str,
    /// Where it is, as for `conditions[]`.
    stage: Option<String>,
    /// `ongoing`; `unproven`: no longer seen, but nothing proves that it is over, because a stage is blind or
    /// no canaries are sent; `over`: it may come back and would be the same incident; `ended`.
    #[schemars(extend("enum" = values::STATES))]
    state: &'static str,
    /// The beginning of the earliest episode.
    #[schemars(extend("format" = "date-time"))]
    since: String,
    /// The same instant in seconds since 1970.
    since_epoch_seconds: f64,
    /// Whether it began before the probe could notice it.
    began_before: bool,
    /// When the last episode was over. `null` while one goes on.
    #[schemars(extend("format" = "date-time"))]
    until: Option<String>,
    /// The same instant in seconds since 1970.
    until_epoch_seconds: Option<f64>,
    /// Number of different canaries that it affected. `null` if it does not count canaries.
    canaries: Option<usize>,
    /// Whether it concerns every tenant, or none in particular.
    of_all_tenants: bool,
    /// The `id` of another incident that goes on, from which this one follows for all its tenants.
    follows_from: Option<String>,
    /// Whose fault it is: `pipeline` or `probe`.
    blame: &'static str,
    /// How bad it is, for people.
    summary: String,
    /// What to do first, as a sentence.
    first_step: String,
    /// Lines of plain text to pass on, with links if `web.external_url` is set.
    report: String,
    /// One episode for each tenant.
    episodes: Vec<EpisodeJson>,
    /// A sentence for people.
    text: String,
    /// Address of the runbook's chapter on it.
    runbook: String,
}

/// A tenant's part of an incident.
#[derive(Serialize, JsonSchema, Debug)]
#[schemars(rename = "Episode")]
struct EpisodeJson {
    /// Whose it is. `null` if it is of no tenant in particular.
    tenant: Option<String>,
    /// The tenant's log groups that are concerned, as of `conditions[]`.
    log_groups: Vec<String>,
    /// As of the incident.
    #[schemars(extend("enum" = values::STATES))]
    state: &'static str,
    /// When it began.
    #[schemars(extend("format" = "date-time"))]
    since: String,
    /// When it was over. `null` while it goes on.
    #[schemars(extend("format" = "date-time"))]
    until: Option<String>,
    /// Number of affected canaries in the window.
    affected: Option<usize>,
    /// Number of canaries in the window among which they are counted.
    of: Option<usize>,
    /// Number of affected canaries in all.
    canaries: Option<usize>,
    /// Median time of the hop, or of the whole path, before it began, in seconds.
    usual_seconds: Option<f64>,
    /// Conditions that followed from it.
    consequences: Vec<&'static str>,
}

impl IncidentJson {
    pub(super) fn new(view: &IncidentView) -> Self {
        Self {
            id: view.id.clone(),
            condition: view.key,
            severity: view.severity.as_str(),
            stage: view.place.clone(),
            state: view.state,
            since: rfc3339(view.beginning),
            since_epoch_seconds: view.beginning.as_secs_f64(),
            began_before: view.began_before,
            until: view.end.map(rfc3339),
            until_epoch_seconds: view.end.map(Timestamp::as_secs_f64),
            canaries: view.canaries,
            of_all_tenants: view.of_all,
            blame: view.blame,
            follows_from: view.follows_from.clone(),
            summary: view.summary.clone(),
            first_step: view.first_step.clone(),
            report: view.report.clone(),
            episodes: view.episodes.iter().map(EpisodeJson::new).collect(),
            text: view.text.clone(),
            runbook: view.runbook.clone(),
        }
    }
}

impl EpisodeJson {
    fn new(view: &EpisodeView) -> Self {
        Self {
            tenant: view.tenant.as_deref().map(str::to_owned),
            log_groups: view.log_groups.iter().map(ToString::to_string).collect(),
            state: view.state,
            since: rfc3339(view.beginning),
            until: view.end.map(rfc3339),
            affected: view.affected,
            of: view.of,
            canaries: view.canaries,
            usual_seconds: view.usual.map(|usual| usual.as_secs_f64()),
            consequences: view.consequences.clone(),
        }
    }
}
