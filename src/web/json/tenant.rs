//! A tenant: its verdict and its figures.

use schemars::JsonSchema;
use serde::Serialize;

use super::rfc3339;
use super::values::{self, InjectionState};
use crate::domain::quantile::Quantile;
use crate::domain::time::Timestamp;
use crate::web::view::{self, HopFigures, Injection, SizeFigures, VerdictView};

/// A tenant: its verdict and its figures.
#[derive(Serialize, JsonSchema, Debug)]
pub(super) struct Tenant {
    /// The name of the tenant.
    name: String,
    /// The verdict on it.
    verdict: VerdictJson,
    /// Figures and conditions are of canaries that were planned within this time, in seconds.
    window_seconds: f64,
    /// Each hop of the main path, then side stages, then `end_to_end`.
    hops: Vec<HopJson>,
    /// End to end for each size of canary, from the same sample as the verdict, the smallest first. Not in
    /// the metrics, where a label would multiply every bucket of the latency histogram by the number of
    /// sizes.
    sizes: Vec<SizeJson>,
    /// The injection of its canaries.
    injection: InjectionJson,
}

/// The verdict on a tenant.
#[derive(Serialize, JsonSchema, Debug)]
#[schemars(rename = "Verdict")]
struct VerdictJson {
    /// Its worst problem, as in `conditions[]`; `ok` if it has none; `waiting` if no canary has been judged
    /// yet either.
    #[schemars(extend("enum" = values::verdicts()))]
    condition: &'static str,
    /// The stage, hop or hop range (`transit..bigquery`) that it is about.
    place: Option<String>,
    /// Since when. `null` if nothing is wrong.
    #[schemars(extend("format" = "date-time"))]
    since: Option<String>,
    /// The same instant in seconds since 1970.
    since_epoch_seconds: Option<f64>,
    /// The verdict as a sentence for people; beside OK, with its notes.
    text: String,
    /// Address of the runbook's chapter on it. `null` if there is nothing to do.
    runbook: Option<String>,
    /// Its other conditions, notes included.
    also: Vec<Also>,
}

/// A further condition of a tenant.
#[derive(Serialize, JsonSchema, Debug)]
#[schemars(rename = "FurtherCondition")]
struct Also {
    /// The name of the condition.
    #[schemars(extend("enum" = values::conditions()))]
    condition: &'static str,
    /// How bad it is.
    #[schemars(extend("enum" = values::SEVERITIES))]
    severity: &'static str,
    /// The stage, hop or hop range.
    place: Option<String>,
    /// A sentence for people.
    text: String,
}

/// Figures of a hop, or end to end.
#[derive(Serialize, JsonSchema, Debug)]
#[schemars(rename = "Hop")]
struct HopJson {
    /// The stage that the hop leads to, or `end_to_end`.
    stage: String,
    /// Whether it leads to a side stage.
    side: bool,
    /// The median. `null` if nothing has been measured.
    p50: Option<QuantileJson>,
    /// The 95th percentile.
    p95: Option<QuantileJson>,
    /// The 99th percentile.
    p99: Option<QuantileJson>,
    /// Number of canaries in the sample.
    judged: usize,
    /// Number of those that have not arrived.
    missing: usize,
    /// 95th percentile of the widths of the arrival intervals, in seconds.
    uncertainty_seconds: Option<f64>,
    /// How long the hop may take, in seconds. `null` without a target.
    target_seconds: Option<f64>,
    /// Whether the 95th percentile is over the target.
    over_target: Option<bool>,
    /// Since when the stage has been blind; the figures are then older.
    #[schemars(extend("format" = "date-time"))]
    blind_since: Option<String>,
}

/// Figures of one size of canary.
#[derive(Serialize, JsonSchema, Debug)]
#[schemars(rename = "Size")]
struct SizeJson {
    /// The size, in bytes.
    size_bytes: u32,
    /// The median, end to end.
    p50: Option<QuantileJson>,
    /// The 95th percentile.
    p95: Option<QuantileJson>,
    /// The 99th percentile.
    p99: Option<QuantileJson>,
    /// Number of canaries in the sample.
    judged: usize,
    /// Number of those that have not arrived.
    missing: usize,
}

/// The injection of a tenant's canaries.
#[derive(Serialize, JsonSchema, Debug)]
#[schemars(rename = "Injection")]
struct InjectionJson {
    /// How the last canaries were taken.
    state: InjectionState,
    /// When a canary was last planned or accepted, or since when none was accepted.
    #[schemars(extend("format" = "date-time"))]
    since: Option<String>,
    /// Why they are refused.
    reason: Option<String>,
    /// Number of scheduled canaries that were never sent.
    missed: u64,
}

/// A quantile of a latency.
#[derive(Serialize, JsonSchema, Debug)]
#[schemars(rename = "Quantile")]
pub(in crate::web) struct QuantileJson {
    /// The quantile, in seconds.
    seconds: f64,
    /// The quantile falls on canaries that have not arrived: it is greater than `seconds`.
    more_than: bool,
}

impl Tenant {
    pub(super) fn new(view: &view::Tenant) -> Self {
        Self {
            name: view.verdict.tenant.to_string(),
            verdict: VerdictJson::new(&view.verdict),
            window_seconds: view.window.as_secs_f64(),
            hops: view.hops.iter().map(HopJson::new).collect(),
            sizes: view.sizes.iter().map(SizeJson::new).collect(),
            injection: InjectionJson::new(&view.injection, view.missed),
        }
    }
}

impl VerdictJson {
    fn new(view: &VerdictView) -> Self {
        let also = view.also.iter().map(|also| Also {
            condition: also.key,
            severity: also.severity.as_str(),
            place: also.place.clone(),
            text: also.summary.clone(),
        });
        Self {
            condition: view.key,
            place: view.place.clone(),
            since: view.since.map(rfc3339),
            since_epoch_seconds: view.since.map(Timestamp::as_secs_f64),
            text: view.text.clone(),
            runbook: view.runbook.clone(),
            also: also.collect(),
        }
    }
}

impl HopJson {
    fn new(figures: &HopFigures) -> Self {
        let quantile = |index: usize| figures.quantiles.map(|all| QuantileJson::new(all[index]));
        Self {
            stage: match figures.stage {
                Some(_) => figures.name.to_string(),
                None => "end_to_end".to_owned(),
            },
            side: figures.side,
            p50: quantile(0),
            p95: quantile(1),
            p99: quantile(2),
            judged: figures.judged,
            missing: figures.missing,
            uncertainty_seconds: figures.error.map(|error| error.as_secs_f64()),
            target_seconds: figures.target.map(|target| target.as_secs_f64()),
            over_target: figures.is_over(),
            blind_since: figures.blind_since.map(rfc3339),
        }
    }
}

impl SizeJson {
    fn new(figures: &SizeFigures) -> Self {
        let quantile = |index: usize| figures.quantiles.map(|all| QuantileJson::new(all[index]));
        Self {
            size_bytes: figures.bytes,
            p50: quantile(0),
            p95: quantile(1),
            p99: quantile(2),
            judged: figures.judged,
            missing: figures.missing,
        }
    }
}

impl InjectionJson {
    fn new(injection: &Injection, missed: u64) -> Self {
        let (state, since, reason) = match injection {
            Injection::NotBegun => (InjectionState::NotBegun, None, None),
            Injection::Accepted(at) => (InjectionState::Accepted, Some(*at), None),
            Injection::Unanswered(at) => (InjectionState::Unanswered, Some(*at), None),
            Injection::Refusing(since, reason) => {
                (InjectionState::Refusing, Some(*since), Some(reason.to_string()))
            }
        };
        Self { state, since: since.map(rfc3339), reason, missed }
    }
}

impl QuantileJson {
    pub(in crate::web) fn new(quantile: Quantile) -> Self {
        let (duration, more_than) = match quantile {
            Quantile::Exactly(duration) => (duration, false),
            Quantile::MoreThan(duration) => (duration, true),
        };
        Self { seconds: duration.as_secs_f64(), more_than }
    }
}
