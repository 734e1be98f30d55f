//! `/traces/recent`.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

use super::condition::ConditionJson;
use super::incident::IncidentJson;
use super::source::Source;
use super::tenant::Tenant;
use super::trace::TraceJson;
use super::{SCHEMA_VERSION, rfc3339};
use crate::domain::drill::Drills;
use crate::domain::time::Interval;
use crate::web::view::{self, Matter};

/// The answer of `/traces/recent`.
#[derive(Serialize, JsonSchema, Debug)]
#[schemars(rename = "RecentTraces")]
pub(crate) struct Recent {
    /// Version of the shape of the answers, see "What stays".
    schema_version: u32,
    /// The instant of the snapshot that the answer describes.
    #[schemars(extend("format" = "date-time"))]
    at: String,
    /// The same instant in seconds since 1970.
    at_epoch_seconds: f64,
    /// Version of the probe.
    version: String,
    /// End-to-end threshold, in seconds.
    slo_seconds: f64,
    /// Time from the planned injection to the deadline, in seconds. A trace that is proven absent after it is
    /// lost.
    give_up_seconds: f64,
    /// Since when and why the store cannot be written, so that a restart would forget what is in flight.
    /// `null` if it can.
    not_kept: Option<String>,
    /// When canaries were planned that may have no outcome: the probe began at its end, a previous run may have
    /// had them in flight, and no store kept them. `null` if a store is kept.
    forgotten: Option<SpanJson>,
    /// Whether the probe's own clock is synchronized, as ECS reports it. `null` if it is not reported.
    clock_synchronized: Option<bool>,
    /// Maximum error of the probe's own clock, in seconds, as ECS reports it. It is added to the
    /// `clock_allowance` of every stage.
    clock_error_bound_seconds: Option<f64>,
    /// Drills of the alert path. `null` if they are not enabled.
    drill: Option<DrillJson>,
    /// Everything that is wrong now, and notes of what was; the worst first, whatever the parameters.
    conditions: Vec<ConditionJson>,
    /// What was and is wrong, from when to when. Those that go on come first; at most 100.
    incidents: Vec<IncidentJson>,
    /// The tenants with their verdicts and figures; the worst verdict first.
    tenants: Vec<Tenant>,
    /// Number of remembered traces that match the parameters.
    matching: usize,
    /// Query of the page with older traces (`?outcome=lost&before=…`). `null` if there are none.
    next: Option<String>,
    /// Query of the page with newer traces. `null` if there are none.
    previous: Option<String>,
    /// When the oldest trace was planned since which every finished one is remembered. Older ones are remembered
    /// only if something is wrong with them, or if they are among the newest of their tenant.
    #[schemars(extend("format" = "date-time"))]
    known_since: Option<String>,
    /// The traces that match the parameters, newest first, at most `limit`.
    traces: Vec<TraceJson>,
    /// Traces with which something is wrong, by what and where; the worst first.
    matters: Vec<MatterJson>,
    /// Failed traces, kept separately so that successes cannot evict them; newest first, at most `limit`.
    failures: Vec<TraceJson>,
    /// Canaries that were found at another tenant; newest first.
    violations: Vec<ViolationJson>,
    /// What is polled, and how that goes.
    sources: Vec<Source>,
}

/// A span of time.
#[derive(Serialize, JsonSchema, Debug)]
#[schemars(rename = "Span")]
struct SpanJson {
    /// Its beginning.
    #[schemars(extend("format" = "date-time"))]
    from: String,
    /// Its end, which is not part of it.
    #[schemars(extend("format" = "date-time"))]
    to: String,
}

impl SpanJson {
    fn new(span: Interval) -> Self {
        Self { from: rfc3339(span.earliest), to: rfc3339(span.latest) }
    }
}

/// Drills of the alert path, see [drill.md](drill.md).
#[derive(Serialize, JsonSchema, Debug)]
#[schemars(rename = "Drills")]
struct DrillJson {
    /// When the drill that goes on began. `null` if none does.
    #[schemars(extend("format" = "date-time"))]
    active_since: Option<String>,
    /// When the drill that goes on ends.
    #[schemars(extend("format" = "date-time"))]
    active_until: Option<String>,
    /// When the schedule begins the next one.
    #[schemars(extend("format" = "date-time"))]
    next: Option<String>,
    /// When the last drill whose notification arrived began.
    #[schemars(extend("format" = "date-time"))]
    last_began: Option<String>,
    /// When that notification arrived.
    #[schemars(extend("format" = "date-time"))]
    last_rang: Option<String>,
    /// When the last drill began if no notification of it arrived.
    #[schemars(extend("format" = "date-time"))]
    silent: Option<String>,
}

/// Traces with the same flaw at the same stage.
#[derive(Serialize, JsonSchema, Debug)]
#[schemars(rename = "Matter")]
struct MatterJson {
    /// What is wrong with them, as in `flaws[]`.
    flaw: &'static str,
    /// The stage where it shows; `null` if at none in particular.
    stage: Option<String>,
    /// Number of remembered traces.
    count: usize,
    /// When the newest was planned.
    #[schemars(extend("format" = "date-time"))]
    newest: String,
    /// Their number by tenant, the largest first.
    tenants: Vec<MatterOfTenant>,
    /// The ids of the newest.
    newest_traces: Vec<String>,
}

/// Number of traces of a tenant.
#[derive(Serialize, JsonSchema, Debug)]
struct MatterOfTenant {
    /// The name of the tenant.
    tenant: String,
    /// How many.
    count: usize,
}

/// A canary that was found at another tenant.
#[derive(Serialize, JsonSchema, Debug)]
#[schemars(rename = "Violation")]
pub(super) struct ViolationJson {
    /// When it was found.
    #[schemars(extend("format" = "date-time"))]
    at: String,
    /// Whose canary it is.
    tenant: String,
    /// The stage.
    stage: String,
    /// The trace id.
    trace: String,
    /// The tenant at which it was found.
    found_in: String,
    /// Where the copy is.
    locator: String,
}

impl Recent {
    /// Prints the view.
    #[must_use]
    pub(crate) fn new(view: &view::Recent<'_>) -> Self {
        let settings = view.settings;
        Self {
            schema_version: SCHEMA_VERSION,
            at: rfc3339(view.at),
            at_epoch_seconds: view.at.as_secs_f64(),
            version: settings.version.clone(),
            slo_seconds: settings.criteria.slo.as_secs_f64(),
            give_up_seconds: settings.give_up.as_secs_f64(),
            not_kept: view.not_kept.clone(),
            forgotten: view.forgotten.map(SpanJson::new),
            clock_synchronized: view.clock.map(|clock| clock.synchronized),
            clock_error_bound_seconds: view
                .clock
                .and_then(|clock| clock.error_bound)
                .map(|bound| bound.as_secs_f64()),
            drill: view.drills.as_ref().map(DrillJson::new),
            conditions: view.conditions.iter().map(ConditionJson::new).collect(),
            incidents: view.incidents.iter().map(IncidentJson::new).collect(),
            tenants: view.tenants.iter().map(Tenant::new).collect(),
            matching: view.matching,
            next: view.next.clone(),
            previous: view.previous.clone(),
            known_since: view.known_since.map(rfc3339),
            matters: view.matters.iter().map(MatterJson::new).collect(),
            traces: view.traces.iter().map(TraceJson::new).collect(),
            failures: view.failures.iter().map(TraceJson::new).collect(),
            violations: view.violations.iter().map(ViolationJson::new).collect(),
            sources: view.sources.iter().map(Source::new).collect(),
        }
    }
}

impl DrillJson {
    fn new(drills: &Drills) -> Self {
        Self {
            active_since: drills.active.map(|(since, _)| rfc3339(since)),
            active_until: drills.active.map(|(_, until)| rfc3339(until)),
            next: drills.next.map(rfc3339),
            last_began: drills.proof.map(|proof| rfc3339(proof.began)),
            last_rang: drills.proof.map(|proof| rfc3339(proof.rang)),
            silent: drills.silent.map(rfc3339),
        }
    }
}

impl MatterJson {
    fn new(view: &Matter) -> Self {
        let of = |(tenant, count): &(Arc<str>, usize)| MatterOfTenant {
            tenant: tenant.to_string(),
            count: *count,
        };
        Self {
            flaw: view.flaw.as_str(),
            stage: view.stage.as_deref().map(str::to_owned),
            count: view.count,
            newest: rfc3339(view.newest),
            tenants: view.tenants.iter().map(of).collect(),
            newest_traces: view.traces.iter().map(|brief| brief.id.to_string()).collect(),
        }
    }
}

impl ViolationJson {
    pub(super) fn new(seen: &view::Violation) -> Self {
        Self {
            at: rfc3339(seen.at),
            tenant: seen.tenant.to_string(),
            stage: seen.stage.to_string(),
            trace: seen.trace.to_string(),
            found_in: seen.found_in.to_string(),
            locator: seen.locator.to_string(),
        }
    }
}
