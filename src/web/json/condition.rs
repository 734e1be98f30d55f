//! What is wrong now.

use schemars::JsonSchema;
use serde::Serialize;

use super::rfc3339;
use super::values;
use crate::domain::time::Timestamp;
use crate::web::view::ConditionView;

/// Something that is wrong: with a stage or a hop of a tenant, with a tenant, with a stage of all tenants, or
/// with the probe. Both `tenant` and `stage` are `null` for the probe.
#[derive(Serialize, JsonSchema, Debug)]
#[schemars(rename = "Condition")]
pub(super) struct ConditionJson {
    /// Its name. [conditions.md](conditions.md) defines each.
    #[schemars(extend("enum" = values::conditions()))]
    condition: &'static str,
    /// How bad it is: `critical` and `warning` are problems, a `note` takes no OK away.
    #[schemars(extend("enum" = values::SEVERITIES))]
    severity: &'static str,
    /// Whose it is. `null` if it is of all tenants or of the probe.
    tenant: Option<String>,
    /// Where it is, also a hop range (`transit..bigquery`). `null` if it is of a tenant as a whole or of the
    /// probe.
    stage: Option<String>,
    /// The tenant's log groups that are concerned. Empty if all are, or if it is not known which.
    log_groups: Vec<String>,
    /// When the unbroken episode began, which does not move while it lasts. `null` if that is not known.
    #[schemars(extend("format" = "date-time"))]
    since: Option<String>,
    /// The same instant in seconds since 1970.
    since_epoch_seconds: Option<f64>,
    /// When the last affected canary was planned, for `same_name` the other process's; for `leaking`, when it
    /// was found. `null` for others that count no canaries.
    #[schemars(extend("format" = "date-time"))]
    last: Option<String>,
    /// Number of affected canaries. `null` if it does not count them.
    affected: Option<usize>,
    /// Number of canaries among which the affected ones are counted.
    of: Option<usize>,
    /// Whose fault it is: `pipeline` or `probe`.
    blame: &'static str,
    /// A sentence for people.
    text: String,
    /// What to do first, as a sentence. `null` for a note.
    first_step: Option<String>,
    /// Address of the runbook's chapter on it. `null` for a note.
    runbook: Option<String>,
}

impl ConditionJson {
    pub(super) fn new(view: &ConditionView) -> Self {
        Self {
            condition: view.key,
            severity: view.severity.as_str(),
            tenant: view.tenant.as_deref().map(str::to_owned),
            stage: view.place.clone(),
            log_groups: view.log_groups.iter().map(ToString::to_string).collect(),
            since: view.since.map(rfc3339),
            since_epoch_seconds: view.since.map(Timestamp::as_secs_f64),
            last: view.last.map(rfc3339),
            affected: view.affected,
            of: view.of,
            blame: view.blame,
            text: view.text.clone(),
            first_step: view.severity.is_problem().then(|| view.first_step.clone()),
            runbook: view.runbook.clone(),
        }
    }
}
