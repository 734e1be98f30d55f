//! Figures over time, as JSON: which buckets a request selects, and how they are written.

use schemars::JsonSchema;
use serde::Serialize;

use super::app::App;
use super::filter::{FilterError, instant, instant_form, listed};
use super::json::{QuantileJson, SCHEMA_VERSION, rfc3339};
use crate::domain::aggregates::{Bucket, Figures, Health, Selection, Series, Step, series};
use crate::domain::time::Timestamp;
use crate::domain::topology::{TenantId, Topology};
use crate::domain::tracker::Snapshot;

/// Most figures that a request may select: tenants times hops times buckets. Such an answer has 3 MB before
/// compression, like the longest page.
pub(crate) const MAX_FIGURES: u64 = 20_000;

const PARAMETERS: [&str; 6] = ["tenant", "stage", "since", "until", "step", "format"];

/// What a request selects.
#[derive(Debug)]
pub(crate) struct Query {
    selection: Selection,
    series: Vec<Series>,
}

/// The answer of `/history`.
#[derive(Serialize, JsonSchema, Debug)]
#[schemars(rename = "History")]
pub(crate) struct HistoryJson {
    /// Version of the shape of the answers, see "What stays".
    schema_version: u32,
    /// The instant that the answer describes.
    #[schemars(extend("format" = "date-time"))]
    at: String,
    /// The same instant in seconds since 1970.
    at_epoch_seconds: f64,
    /// Since when canaries are counted: without a store, since the start of the process; with one, since the
    /// store was first written by a version that keeps figures. Of the bucket that holds this instant, only a
    /// part is known.
    #[schemars(extend("format" = "date-time"))]
    known_since: String,
    /// The same instant in seconds since 1970.
    known_since_epoch_seconds: f64,
    /// How long a bucket is.
    #[schemars(extend("enum" = Step::ALL.map(Step::as_str)))]
    step: &'static str,
    /// How long a bucket is, in seconds.
    step_seconds: f64,
    /// When the first selected bucket begins.
    #[schemars(extend("format" = "date-time"))]
    since: String,
    /// When the last selected bucket ends.
    #[schemars(extend("format" = "date-time"))]
    until: String,
    /// The selected hops.
    stages: Vec<StageJson>,
    /// The selected tenants.
    tenants: Vec<TenantJson>,
}

/// A hop, or end to end.
#[derive(Serialize, JsonSchema, Debug)]
#[schemars(rename = "HopOfHistory")]
struct StageJson {
    /// The stage that the hop leads to, or `end_to_end`.
    stage: String,
    /// Whether it leads to a side stage.
    side: bool,
    /// How long it may take, in seconds; end to end, that is the SLO. `null` without a target.
    target_seconds: Option<f64>,
}

/// The figures of a tenant.
#[derive(Serialize, JsonSchema, Debug)]
#[schemars(rename = "TenantOverTime")]
struct TenantJson {
    /// The name of the tenant.
    name: String,
    /// Its buckets, oldest first. Where one is left out, nothing is known of that time: no canary was
    /// planned, and there was no verdict. That is not the same as zero.
    buckets: Vec<BucketJson>,
}

/// A tenant's figures of one minute or hour, of the canaries whose planned injection lies in it.
#[derive(Serialize, JsonSchema, Debug)]
#[schemars(rename = "Bucket")]
struct BucketJson {
    /// When it begins; full minutes and hours in UTC.
    #[schemars(extend("format" = "date-time"))]
    start: String,
    /// The same instant in seconds since 1970.
    start_epoch_seconds: f64,
    /// Whether it does not change any more: it is over, and no canary is open that was planned before its
    /// end.
    r#final: bool,
    /// The worst verdict on the tenant *during* this time, whenever the canaries were planned. From the best:
    /// `ok`, `note`, `unknown` (a stage could not be read, or no canary had been judged), `warning`,
    /// `critical`. `null` if there was none, because the probe did not run.
    #[schemars(extend("enum" = verdicts()))]
    verdict: Option<&'static str>,
    /// Number of canaries whose *planned injection* is in this time, including those without an outcome.
    canaries: u32,
    /// Each hop of which a canary is judged, and `end_to_end`.
    hops: Vec<HopJson>,
}

/// Figures of a hop in a bucket.
#[derive(Serialize, JsonSchema, Debug)]
#[schemars(rename = "HopOfBucket")]
struct HopJson {
    /// The stage that the hop leads to, or `end_to_end`.
    stage: String,
    /// Number of canaries that arrived, or are proven late; the other counts are of these.
    judged: u32,
    /// Those that met the target. `null` for a hop without one.
    met: Option<u32>,
    /// Those that have not arrived.
    missing: u32,
    /// Those of the missing ones that were given up: end to end, lost or dead-lettered; at a hop, proven
    /// absent at the deadline.
    lost: u32,
    /// The median, within 0.4 % and a millisecond. `null` if nothing has been measured.
    p50: Option<QuantileJson>,
    /// The 95th percentile, as exact.
    p95: Option<QuantileJson>,
}

fn verdicts() -> Vec<Option<&'static str>> {
    let all = [Health::Ok, Health::Note, Health::Unknown, Health::Warning, Health::Critical];
    all.into_iter().map(|health| Some(health.as_str())).chain([None]).collect()
}

impl Query {
    /// Parses a query.
    ///
    /// # Errors
    ///
    /// [`FilterError`] for the first invalid parameter, or if it selects too much.
    pub(crate) fn read(
        query: &[(String, String)],
        map: &Topology,
        now: Timestamp,
    ) -> Result<Self, FilterError> {
        let (mut tenants, mut selected) = (map.tenant_ids().collect::<Vec<_>>(), series(map));
        let (mut since, mut until, mut step) = (None, now, Step::Minute);
        for (name, value) in query.iter().filter(|(_, value)| !value.is_empty()) {
            let wrong =
                |should: String| FilterError { parameter: name.clone(), value: value.clone(), should };
            match name.as_str() {
                "tenant" => {
                    let all: Vec<_> = map.tenant_ids().map(|id| &*map.tenant(id).name).collect();
                    let none = || wrong(format!("there is no such tenant; there are {}", listed(&all)));
                    tenants = vec![map.tenant_by_name(value).ok_or_else(none)?];
                }
                "stage" => {
                    selected = series(map);
                    let all: Vec<_> = selected.iter().map(|series| series.name(map)).collect();
                    let all: Vec<_> = all.iter().map(|name| &**name).collect();
                    let none = || wrong(format!("there is no such stage; there are {}", listed(&all)));
                    let at = all.iter().position(|name| *name == *value).ok_or_else(none)?;
                    selected = vec![selected[at]];
                }
                "since" => since = Some(instant(value, now).ok_or_else(|| wrong(instant_form()))?),
                "until" => until = instant(value, now).ok_or_else(|| wrong(instant_form()))?,
                "step" => {
                    let steps = listed(&Step::ALL.map(Step::as_str));
                    step = Step::parse(value).ok_or_else(|| wrong(format!("must be one of {steps}")))?;
                }
                "format" if value == "json" => {}
                "format" => return Err(wrong("must be `json`".to_owned())),
                _ => {
                    let known = listed(&PARAMETERS);
                    return Err(wrong(format!("there is no such parameter; there are {known}")));
                }
            }
        }
        let default = until
            - match step {
                Step::Minute => Step::Hour.length(),
                Step::Hour => 24 * Step::Hour.length(),
            };
        let since = since.unwrap_or(default);
        let slots = step.slot_of(since)..=step.slot_of(until);
        let buckets =
            u64::try_from(slots.end().saturating_sub(*slots.start()).saturating_add(1)).unwrap_or(0);
        let figures = buckets.saturating_mul((tenants.len() * selected.len()) as u64);
        if figures > MAX_FIGURES {
            return Err(FilterError {
                parameter: "since".to_owned(),
                value: rfc3339(since),
                should: format!(
                    "selects {figures} figures, and an answer has at most {MAX_FIGURES}: give a `tenant`, a \
                     `stage`, a shorter time or `step=hour`"
                ),
            });
        }
        Ok(Self { selection: Selection { tenants, step, slots }, series: selected })
    }
}

impl HistoryJson {
    pub(crate) fn new(app: &App, snapshot: &Snapshot, query: &Query) -> Self {
        let Query { selection, series } = query;
        let (map, step) = (&*snapshot.topology, selection.step);
        let history = (app.history)(selection);
        let target = |series: Series| match series {
            Series::Hop(stage) => map.stage(stage).target,
            Series::EndToEnd => Some(app.settings.criteria.slo),
        };
        let stage = |series: &Series| StageJson {
            stage: series.name(map).to_string(),
            side: matches!(series, Series::Hop(stage) if !map.main_path().contains(stage)),
            target_seconds: target(*series).map(|target| target.as_secs_f64()),
        };
        let hop = |(of, figures): &(Series, Figures)| {
            let quantile = |index: usize| figures.quantiles.map(|all| QuantileJson::new(all[index]));
            series.contains(of).then(|| HopJson {
                stage: of.name(map).to_string(),
                judged: figures.judged,
                met: target(*of).map(|_| figures.met),
                missing: figures.missing,
                lost: figures.lost,
                p50: quantile(0),
                p95: quantile(1),
            })
        };
        let bucket = |bucket: &Bucket| BucketJson {
            start: rfc3339(bucket.start),
            start_epoch_seconds: bucket.start.as_secs_f64(),
            r#final: bucket.is_final,
            verdict: bucket.health.map(|health| health.as_str()),
            canaries: bucket.canaries,
            hops: bucket.hops.iter().filter_map(hop).collect(),
        };
        let name = |tenant: TenantId| map.tenant(tenant).name.to_string();
        let tenants = history
            .tenants
            .iter()
            .map(|of| TenantJson { name: name(of.tenant), buckets: of.buckets.iter().map(bucket).collect() });
        Self {
            schema_version: SCHEMA_VERSION,
            at: rfc3339(snapshot.at),
            at_epoch_seconds: snapshot.at.as_secs_f64(),
            known_since: rfc3339(history.known_since),
            known_since_epoch_seconds: history.known_since.as_secs_f64(),
            step: step.as_str(),
            step_seconds: step.length().as_secs_f64(),
            since: rfc3339(step.start(*selection.slots.start())),
            until: rfc3339(step.start(selection.slots.end().saturating_add(1))),
            stages: series.iter().map(stage).collect(),
            tenants: tenants.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::aggregates::END_TO_END;
    use crate::domain::topology::fixture::topology;

    fn read(query: &[(&str, &str)]) -> Result<Query, String> {
        let query: Vec<_> =
            query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Query::read(&query, &topology(), Timestamp::from_secs(1_000_000)).map_err(|error| error.to_string())
    }

    #[test]
    fn without_parameters_it_is_every_hop_of_every_tenant_in_the_last_hour() {
        let Query { selection, series } = read(&[]).unwrap();
        assert_eq!(selection.tenants.len(), topology().tenants().len());
        assert_eq!(selection.step, Step::Minute);
        assert_eq!(selection.slots, 16_606..=16_666);
        assert_eq!(series.last(), Some(&Series::EndToEnd));
    }

    #[test]
    fn a_stage_selects_its_hop_and_end_to_end_is_one() {
        assert_eq!(read(&[("stage", END_TO_END)]).unwrap().series, [Series::EndToEnd]);
        assert!(matches!(read(&[("stage", "transit")]).unwrap().series[..], [Series::Hop(_)]));
    }

    #[test]
    fn an_invalid_value_is_refused_with_what_would_be_valid() {
        for (query, message) in [
            (("tenant", "acne"), "`tenant=acne`: there is no such tenant; there are `acme`, `globex`"),
            (("step", "day"), "`step=day`: must be one of `minute`, `hour`"),
            (("format", "html"), "`format=html`: must be `json`"),
            (
                ("from", "1h"),
                "`from=1h`: there is no such parameter; there are `tenant`, `stage`, `since`, `until`, `step`, `format`",
            ),
        ] {
            assert_eq!(read(&[query]).map(|_| ()), Err(message.to_owned()));
        }
    }

    #[test]
    fn a_request_that_selects_too_much_is_refused_with_how_much() {
        let error = read(&[("since", "1970-01-01T00:00:00Z")]).unwrap_err();
        assert!(error.contains("figures, and an answer has at most 20000"), "{error}");
        assert!(read(&[("since", "0001-01-01T00:00:00Z"), ("until", "9999-01-01T00:00:00Z")]).is_err());
    }

    #[test]
    fn a_day_of_one_tenant_by_the_minute_is_one_answer() {
        assert!(read(&[("tenant", "acme"), ("since", "1d")]).is_ok());
    }

    #[test]
    fn an_empty_time_selects_nothing() {
        let query = read(&[("since", "1h"), ("until", "2h")]).unwrap();
        assert!(query.selection.slots.is_empty());
    }
}
