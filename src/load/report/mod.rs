//! What is told of a run: a JSON document, from which everything else is printed.

mod cost;
mod harm;
pub mod html;
pub mod junit;
mod svg;
pub mod text;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::cost::{CostLine, TARGETS, Used, lines as cost_lines, per_million};
use super::estimate::short;
use super::figures::{Beside, Figures, Group, HopFigures, is_hop};
use super::latencies::Latencies;
use super::plan::Plan;
use super::prices::Prices;
use super::profile::Shape;
use super::ratio::Ratio;
use super::record::{Purpose, Puts, Record, Window};
use super::search::{Knee, Search};
use super::threshold::{Aggregate, Judged, Metric, Span, Threshold, cannot_show};
use crate::domain::aggregates::sketch::{MAX_BINS, Sketch};
use crate::domain::foreign::ForeignText;
use crate::domain::time::Timestamp;
use crate::domain::topology::{HopRange, StageId, TenantId, Topology};
use crate::keys::fault::listed;

/// Version of the shape of the JSON document. New fields do not change it.
pub const SCHEMA_VERSION: u32 = 1;
/// Most canaries of a slice of time: as many as a bin of its distribution can hold.
const MAX_SLICE: u64 = u32::MAX as u64;
/// If this machine misses more than this part of the events, it measures itself.
const MAX_MISSED: f64 = 0.01;

/// How a run ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Every threshold was kept.
    Passed,
    /// A threshold was broken, whatever could not be observed.
    Failed,
    /// It depends on what could not be observed.
    Inconclusive,
}

impl Verdict {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Inconclusive => "inconclusive",
        }
    }
}

/// What a report is made of, beside the plan and the record.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    pub record: &'a Record,
    pub search: Option<&'a Search>,
    /// Why it ended before everything was sent and had its outcome; `None` if it did not.
    pub cut: Option<String>,
    /// Sources that could not be read in the end.
    pub blind: &'a [(Arc<str>, String)],
    /// Tables at which second rows of so many canaries were not looked for as long as usual.
    pub cut_searches: &'a [(Arc<str>, u64)],
    /// Calls of PutLogEvents that were throttled, and all, warm-up included.
    pub throttled: u64,
    pub put_calls: u64,
    pub calls: &'a [(String, String, String, u64)],
    pub bytes: u64,
    pub refusal: Option<String>,
    pub began: Timestamp,
    pub finished: Timestamp,
    pub latest_send: Duration,
    pub version: &'a str,
    /// What the parts of the pipeline used; `None` if that was not to be read.
    pub used: Option<&'a [Used]>,
}

/// The document.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub schema_version: u32,
    /// Of the program.
    pub version: String,
    pub profile: String,
    pub description: String,
    pub began: String,
    pub finished: String,
    pub verdict: Verdict,
    /// Why it is not `passed`, and why the run ended early.
    pub reasons: Vec<String>,
    /// Of a search, those that every rate must keep: on leaks, and on what is cut or changed.
    pub thresholds: Vec<ThresholdLine>,
    /// Of everything that is judged.
    pub totals: Totals,
    pub end_to_end: Percentiles,
    pub hops: Vec<Series>,
    pub sizes: Vec<Series>,
    pub tenants: Vec<Series>,
    /// Where canaries were lost, and at which side stages they were missing. The latter may have arrived at the end
    /// stage.
    pub losses: Vec<Count>,
    pub unobserved: Vec<Count>,
    pub knee: Option<KneeLine>,
    pub trials: Vec<TrialLine>,
    pub throttled: u64,
    pub put_calls: u64,
    pub calls: Vec<Count>,
    pub cost: Vec<CostLine>,
    pub notes: Vec<String>,
    /// The run in pieces of time, warm-up included.
    pub slices: Vec<SliceLine>,
}

/// A threshold and what came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ThresholdLine {
    pub subject: String,
    pub expression: String,
    /// `kept`, `broken`, or `undecided`.
    pub judged: String,
    /// What was measured, for people.
    pub measured: String,
}

/// Counts of canaries.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Totals {
    pub seconds: f64,
    pub planned: u64,
    pub missed: u64,
    pub sent: u64,
    pub accepted: u64,
    pub ambiguous: u64,
    pub refused: u64,
    pub arrived: u64,
    pub late: u64,
    pub lost: u64,
    /// In flight when the run ended, or unobserved.
    pub unknown: u64,
    /// Found at the end stage after they had been given up.
    pub found_late: u64,
    pub duplicates: u64,
    /// Found with another tenant, warm-up included.
    pub leaks: u64,
    /// Copies that were cut or changed, warm-up included.
    pub corrupted: u64,
    /// Bytes put into log groups, warm-up included.
    pub bytes: u64,
    /// Events per second.
    pub due_rate: f64,
    pub accepted_rate: f64,
    /// Of those whose outcome is known, with the 95 % interval of Wilson.
    pub loss: Option<RatioLine>,
    /// How late this machine handed over an event, at most.
    pub latest_send_seconds: f64,
}

/// A ratio with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RatioLine {
    pub value: f64,
    pub low: f64,
    pub high: f64,
}

/// Percentiles in seconds: the most that each can be, whatever is not known. `null` if there are none, if one falls on
/// a canary that never arrived, or if it may, because it is not known whether enough others arrived.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Percentiles {
    pub count: u64,
    /// Provably never arrived.
    pub missing: u64,
    /// Of which it is not known when they arrived, or whether.
    pub unknown: u64,
    pub p50: Option<f64>,
    pub p95: Option<f64>,
    pub p99: Option<f64>,
    /// The least that each can be; 0 if it may fall on a canary of which nothing is known. Stages that do not stamp
    /// arrivals are known only to the poll, so the true percentile lies between the two.
    #[serde(default)]
    pub p50_from: Option<f64>,
    #[serde(default)]
    pub p95_from: Option<f64>,
    #[serde(default)]
    pub p99_from: Option<f64>,
    /// The distribution: number of a bin, and count.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bins: Vec<(u16, u32)>,
}

impl Percentiles {
    /// Checks the counts of a slice, which is at this place of the file.
    fn check(&self, place: &str) -> Result<(), String> {
        let counts = [("missing", self.missing), ("unknown", self.unknown)];
        if let Some((key, count)) = counts.into_iter().find(|(_, count)| *count > MAX_SLICE) {
            return Err(format!("has {place}.{key} = {count}; a slice has at most {MAX_SLICE} canaries"));
        }
        if Sketch::of_bins(self.bins.clone()).is_none() {
            return Err(format!(
                "has {place}.bins that are not a distribution; write pairs of a bin below {MAX_BINS}, ascending, and a \
                 count above 0"
            ));
        }
        Ok(())
    }
}

/// Percentiles of a hop, a size or a tenant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Series {
    pub name: String,
    #[serde(flatten)]
    pub percentiles: Percentiles,
    /// In seconds.
    pub target: Option<f64>,
    /// Certainly lost on this hop, and at most.
    pub lost: (u64, u64),
    pub duplicates: u64,
    pub leaks: u64,
}

/// How many of what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Count {
    pub what: String,
    pub count: u64,
}

/// Where the pipeline stops keeping up, in events per second.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KneeLine {
    /// The highest rate that kept all thresholds.
    pub good: Option<f64>,
    /// The lowest that did not.
    pub bad: Option<f64>,
    /// The rate that came out of the end while the queue grew: `rate / (1 + growth)` of the first bad rate.
    pub throughput: Option<f64>,
}

/// A trial of a search.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrialLine {
    pub rate: f64,
    pub judged: String,
    pub accepted_rate: f64,
    /// Seconds of latency per second.
    pub growth: Option<f64>,
    pub lost: u64,
    pub latency: Percentiles,
    /// The thresholds that it broke.
    pub broken: Vec<String>,
}

/// A piece of the time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SliceLine {
    /// Seconds since the first event.
    pub from: f64,
    pub seconds: f64,
    pub is_judged: bool,
    /// The trial of a search that it is of, from 0. `null` if it is of none.
    #[serde(default)]
    pub trial: Option<usize>,
    pub due: u64,
    pub accepted: u64,
    pub lost: u64,
    pub end_to_end: Percentiles,
    pub hops: BTreeMap<String, Percentiles>,
    pub sizes: BTreeMap<String, Percentiles>,
}

impl Report {
    /// What a run has shown.
    #[must_use]
    pub fn new(plan: &Plan, prices: &Prices, facts: &Facts<'_>) -> Self {
        let record = facts.record;
        let topology = record.topology();
        let mut judged = record.judged();
        let warm_up = harm::of_warm_up(record);
        judged.add_warm_up(warm_up);
        // Without a search, one window is judged.
        let window = record.windows.iter().rfind(|window| window.purpose == Purpose::Judged);
        let Puts { throttled, all: calls } = window.map(|window| window.puts).unwrap_or_default();
        let beside = Beside {
            blind: !facts.blind.is_empty(),
            cut_searches: facts.cut_searches.iter().map(|(_, canaries)| canaries).sum(),
            throttled,
            calls,
            growth: None,
        };
        let search = facts.search.map(|search| judged_again(search, plan, record, beside.cut_searches));
        let search = search.as_ref();
        let trials = search.map(|it| trials(plan, record, it, beside.cut_searches)).unwrap_or_default();
        let thresholds = match search {
            Some(search) => harm::thresholds(plan, record, search, beside.cut_searches),
            None => threshold_lines(&plan.thresholds, &judged, &beside, topology),
        };
        let (verdict, reasons) = verdict(plan, facts, search, &judged, &thresholds);
        let seconds: f64 = of_purpose(record, Purpose::Judged).map(length).sum();
        let rate = |count: u64| if seconds > 0.0 { count as f64 / seconds } else { 0.0 };
        let (whole, found) = (&judged.whole, judged.harm());
        let totals = Totals {
            seconds,
            planned: judged.planned,
            missed: judged.missed,
            sent: whole.sent,
            accepted: judged.accepted,
            ambiguous: judged.ambiguous,
            refused: whole.refused,
            arrived: whole.arrived,
            late: judged.late,
            lost: whole.lost,
            unknown: whole.unknown(),
            found_late: judged.found_late,
            duplicates: judged.hops.iter().map(|hop| hop.duplicates).sum(),
            leaks: found.leaks + warm_up.leaks,
            corrupted: found.corrupted + warm_up.corrupted,
            bytes: facts.bytes,
            due_rate: rate(judged.planned),
            accepted_rate: rate(judged.accepted),
            loss: Ratio::of(whole.lost, whole.arrived + whole.lost)
                .map(|Ratio { value, low, high }| RatioLine { value, low, high }),
            latest_send_seconds: facts.latest_send.as_secs_f64(),
        };
        let mut notes = plan.notes.clone();
        notes.extend(facts.refusal.iter().map(|reason| format!("a log group refused events: {reason}")));
        notes.extend(unchecked(&judged));
        notes.extend(unobserved_at(&judged, topology));
        notes.extend(facts.cut_searches.iter().map(|(table, canaries)| {
            format!("second rows of {canaries} canaries in {table} were looked for for less than two minutes")
        }));
        notes.extend(harm::note(warm_up));
        notes.extend(search.and_then(Search::stopped).map(str::to_owned));
        notes.extend(not_read(plan, topology));
        notes.extend(too_few(plan, record, search, &judged, &beside));
        let call = |(service, operation, result, count): &(String, String, String, u64)| Count {
            what: format!("{service} {operation}, {result}"),
            count: *count,
        };
        Self {
            schema_version: SCHEMA_VERSION,
            version: facts.version.to_owned(),
            profile: plan.profile.name.clone(),
            description: plan.profile.description.clone(),
            began: facts.began.to_rfc3339(),
            finished: facts.finished.to_rfc3339(),
            verdict,
            reasons,
            thresholds,
            end_to_end: percentiles(&whole.latency, whole.untimed(), Detail::Distribution),
            hops: hops(&judged, topology),
            sizes: judged.sizes.iter().map(|(size, group)| series(&format!("{size} B"), group)).collect(),
            tenants: judged
                .tenants
                .iter()
                .map(|(tenant, group)| series(&topology.tenant(*tenant).name, group))
                .collect(),
            losses: losses(&judged, topology),
            unobserved: judged
                .unobserved
                .iter()
                .map(|(why, count)| Count { what: why.as_str().to_owned(), count: *count })
                .collect(),
            knee: search.map(knee),
            trials,
            throttled: facts.throttled,
            put_calls: facts.put_calls,
            calls: facts.calls.iter().map(call).collect(),
            cost: costs(prices, facts),
            notes,
            slices: slices(record, facts.began, search.map_or(0, |it| it.trials().len())),
            totals,
        }
    }

    /// Reads a document that [`Report`] wrote.
    ///
    /// # Errors
    ///
    /// What is wrong with it, for people.
    pub fn parse(text: &str) -> Result<Self, String> {
        let report: Self = serde_json::from_str(text).map_err(|error| {
            // It quotes what the file has in the place of a word.
            format!("is not a report of a load: {}", ForeignText::new(&error.to_string()))
        })?;
        match report.schema_version {
            SCHEMA_VERSION => report.check_slices().map(|()| report),
            other => Err(format!("has schema version {other}; this program reads version {SCHEMA_VERSION}")),
        }
    }

    /// Checks what the comparison of two reports adds up.
    fn check_slices(&self) -> Result<(), String> {
        for (at, slice) in self.slices.iter().enumerate() {
            slice.end_to_end.check(&format!("slices[{at}].end_to_end"))?;
            for (hop, of) in &slice.hops {
                of.check(&format!("slices[{at}].hops.{}", ForeignText::label(hop)))?;
            }
        }
        Ok(())
    }

    /// As JSON, in lines.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }
}

/// Which second copies the end of the run left unchecked.
fn unchecked(judged: &Figures) -> Option<String> {
    let copies = judged.unchecked();
    (copies > 0).then(|| {
        format!(
            "second copies left unchecked: {copies}. The pipeline may have moved them rather than stored them twice: the \
             run ended before probe.copy_recheck was over; a shorter one lets it tell"
        )
    })
}

/// At which stages canaries were given up because they could not be read.
fn unobserved_at(judged: &Figures, topology: &Topology) -> Vec<String> {
    let note = |(stage, hop): (StageId, &HopFigures)| {
        let stage = &topology.stage(stage).name;
        format!(
            "{stage} could not be read for {} canaries: copies and leaks there may have gone unnoticed",
            hop.unobserved
        )
    };
    let hops = topology.stage_ids().zip(&judged.hops);
    hops.filter(|(_, hop)| hop.unobserved > 0).map(note).collect()
}

/// What the run kept, and was too small to show: of a search, the trial with the fewest canaries that kept everything.
fn too_few(
    plan: &Plan,
    record: &Record,
    search: Option<&Search>,
    judged: &Figures,
    beside: &Beside,
) -> Vec<String> {
    let topology = record.topology();
    let of = |figures: &Figures, beside: &Beside| {
        let kept = plan.thresholds.iter().filter(|threshold| {
            threshold.judge(figures.measure(threshold, beside, topology)) == Judged::Kept
        });
        cannot_show(kept.map(|threshold| (threshold, figures.canaries(threshold, topology))))
    };
    let Some(search) = search else { return of(judged, beside) };
    let trials = search.trials().iter().zip(of_purpose(record, Purpose::Judged));
    let kept = trials.filter(|(trial, _)| trial.judged == Judged::Kept);
    let Some((trial, window)) = kept.min_by_key(|(_, window)| window.figures.whole.taken()) else {
        return Vec::new();
    };
    let all = of(&window.figures, &window.beside(beside.cut_searches));
    all.into_iter().map(|text| format!("at {} events a second, {text}", short(trial.rate))).collect()
}

/// The sources in which no canary of the run belongs. They are not read, so a leak into them is not noticed.
fn not_read(plan: &Plan, topology: &Topology) -> Option<String> {
    let is_loaded = |tenant: &TenantId| plan.lanes.iter().any(|lane| lane.tenant == *tenant);
    let sources = topology.source_ids().map(|id| topology.source(id));
    let others = sources.filter(|source| !source.tenants.iter().any(is_loaded));
    let names: Vec<&str> = others.map(|source| &*source.name).collect();
    (!names.is_empty()).then(|| {
        format!(
            "sources of tenants that were not loaded are not read, so the run notices no leak into them; a daemon \
             does: {}",
            listed(names)
        )
    })
}

fn costs(prices: &Prices, facts: &Facts<'_>) -> Vec<CostLine> {
    let not_read = [Used::Unknown {
        what: "everything behind the log groups".to_owned(),
        why: "--cost was not given".to_owned(),
    }];
    cost::lines(facts.bytes, facts.record, facts.used.unwrap_or(&not_read), prices)
}

fn verdict(
    plan: &Plan,
    facts: &Facts<'_>,
    search: Option<&Search>,
    judged: &Figures,
    thresholds: &[ThresholdLine],
) -> (Verdict, Vec<String>) {
    let mut reasons: Vec<String> = facts.cut.clone().into_iter().collect();
    let mut found = Judged::Kept;
    let mut worsen = |to: Judged| found = Judged::of_all([found, to]);
    if facts.cut.is_some() {
        // What the rest would have shown is unknown. The reason is among the reasons.
        worsen(Judged::Undecided);
    }
    for line in thresholds.iter().filter(|line| line.judged != Judged::Kept.as_str()) {
        let ThresholdLine { subject, expression, judged, measured } = line;
        reasons.push(format!("{subject}: {expression} is {judged}: {measured}"));
        worsen(if judged == Judged::Broken.as_str() { Judged::Broken } else { Judged::Undecided });
    }
    if let Some(search) = search {
        let Knee { good, bad } = search.knee();
        let at_least = match &plan.shape {
            Shape::Search { at_least, .. } => *at_least,
            Shape::Phases(_) => None,
        };
        if search.trials().is_empty() {
            reasons.push("no rate was tried to the end".to_owned());
            worsen(Judged::Undecided);
        }
        for trial in search.trials().iter().filter(|trial| trial.judged == Judged::Undecided) {
            reasons.push(format!(
                "whether {} events a second are good could not be observed",
                short(trial.rate)
            ));
            worsen(Judged::Undecided);
        }
        // Without a good rate, a trial below the first bad one is undecided.
        let is_lowest = |bad: f64| search.trials().iter().all(|trial| trial.rate >= bad);
        match (good, at_least) {
            (None, _) if bad.is_some_and(is_lowest) => {
                reasons.push("even the lowest rate broke a threshold".to_owned());
                worsen(Judged::Broken);
            }
            (good, Some(least)) if good.is_none_or(|good| good < least) => {
                let is_proven = bad.is_some_and(|bad| bad <= least);
                reasons.push(format!(
                    "search.at_least: {} events a second are not known to be good",
                    short(least)
                ));
                worsen(if is_proven { Judged::Broken } else { Judged::Undecided });
            }
            _ => {}
        }
    }
    for (source, reason) in facts.blind {
        reasons.push(format!("{source} could not be read: {reason}"));
        worsen(Judged::Undecided);
    }
    if judged.missed as f64 > MAX_MISSED * judged.planned as f64 {
        reasons.push(format!(
            "{} of {} events were not sent in time: this machine is too small, or log groups answer its puts too slowly; use a larger one or a lower rate",
            judged.missed, judged.planned
        ));
        worsen(Judged::Undecided);
    }
    if judged.planned == 0 {
        reasons.push("nothing was sent that is judged".to_owned());
        worsen(Judged::Undecided);
    }
    let verdict = match found {
        Judged::Kept => Verdict::Passed,
        Judged::Broken => Verdict::Failed,
        Judged::Undecided => Verdict::Inconclusive,
    };
    (verdict, reasons)
}

fn threshold_lines(
    thresholds: &[Threshold],
    figures: &Figures,
    beside: &Beside,
    topology: &Topology,
) -> Vec<ThresholdLine> {
    let line = |threshold: &Threshold| {
        let measured = figures.measure(threshold, beside, topology);
        ThresholdLine {
            subject: threshold.subject(),
            expression: threshold.expression().to_owned(),
            judged: threshold.judge(measured).as_str().to_owned(),
            measured: shown(threshold, measured),
        }
    };
    thresholds.iter().map(line).collect()
}

/// What was measured, for people.
fn shown(threshold: &Threshold, measured: Option<Span>) -> String {
    let Some(Span { low, high }) = measured else { return "nothing was measured".to_owned() };
    let value = |value: f64| match (threshold.metric, threshold.aggregate) {
        (Metric::Latency, _) => text::seconds(value),
        (Metric::Growth, _) => format!("{value:.3}"),
        (_, Aggregate::Rate) => format!("{:.4} %", value * 100.0),
        _ => format!("{value:.0}"),
    };
    let (low, high) = (value(low), value(high));
    if low == high { low } else { format!("between {low} and {high}") }
}

fn of_purpose(record: &Record, purpose: Purpose) -> impl Iterator<Item = &Window> {
    record.windows.iter().filter(move |window| window.purpose == purpose)
}

fn length(window: &Window) -> f64 {
    window.until.since(window.from).as_secs_f64()
}

/// A search with its trials judged by what is known at the end of the run. A trial is judged first when all of its canaries
/// have their outcome; a leak may be found and a second copy checked long after that.
fn judged_again(search: &Search, plan: &Plan, record: &Record, cut_searches: u64) -> Search {
    let windows = of_purpose(record, Purpose::Judged);
    let mut search = search.clone();
    search.judge_again(windows.map(|window| record.judge_trial(window, &plan.thresholds, cut_searches)));
    search
}

fn trials(plan: &Plan, record: &Record, search: &Search, cut_searches: u64) -> Vec<TrialLine> {
    let topology = record.topology();
    let windows = of_purpose(record, Purpose::Judged);
    let line = |(trial, window): (&super::search::Trial, &Window)| {
        let beside = window.beside(cut_searches);
        let is_broken = |threshold: &&Threshold| {
            threshold.judge(window.figures.measure(threshold, &beside, topology)) == Judged::Broken
        };
        let whole = &window.figures.whole;
        TrialLine {
            rate: trial.rate,
            judged: trial.judged.as_str().to_owned(),
            accepted_rate: window.figures.accepted as f64 / length(window).max(f64::MIN_POSITIVE),
            growth: beside
                .growth
                .map(|span| f64::midpoint(span.low, span.high))
                .filter(|growth| growth.is_finite()),
            lost: whole.lost,
            latency: percentiles(&whole.latency, whole.untimed(), Detail::Percentiles),
            broken: match trial.judged {
                Judged::Broken => plan.thresholds.iter().filter(is_broken).map(ToString::to_string).collect(),
                Judged::Kept | Judged::Undecided => Vec::new(),
            },
        }
    };
    search.trials().iter().zip(windows).map(line).collect()
}

fn knee(search: &Search) -> KneeLine {
    let Knee { good, bad } = search.knee();
    KneeLine { good, bad, throughput: search.throughput() }
}

/// How much of a distribution is told.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Detail {
    Percentiles,
    Distribution,
}

fn percentiles(latencies: &Latencies, unknown: u64, detail: Detail) -> Percentiles {
    let between = |percent| latencies.between(percent, unknown);
    let at = |percent| between(percent).map(|it| it.high).filter(|it| it.is_finite());
    let from = |percent| between(percent).map(|it| it.low).filter(|it| it.is_finite());
    Percentiles {
        count: latencies.known(),
        missing: latencies.missing,
        unknown,
        p50: at(50.0),
        p95: at(95.0),
        p99: at(99.0),
        p50_from: from(50.0),
        p95_from: from(95.0),
        p99_from: from(99.0),
        bins: if detail == Detail::Distribution { latencies.arrived.bins().to_vec() } else { Vec::new() },
    }
}

fn series(name: &str, group: &Group) -> Series {
    Series {
        name: name.to_owned(),
        percentiles: percentiles(&group.latency, group.untimed(), Detail::Percentiles),
        target: None,
        lost: (group.lost, group.lost + group.unknown()),
        duplicates: 0,
        leaks: 0,
    }
}

fn hops(figures: &Figures, topology: &Topology) -> Vec<Series> {
    let hops = topology.stage_ids().filter(|stage| is_hop(topology, *stage));
    let one = |stage| {
        let spec = topology.stage(stage);
        let hop = figures.hops.get(usize::from(stage.0))?;
        Some(Series {
            name: spec.name.to_string(),
            percentiles: percentiles(&hop.latency, figures.untimed(stage, topology), Detail::Distribution),
            target: spec.target.map(|target| target.as_secs_f64()),
            lost: figures.lost_on(stage, topology),
            duplicates: hop.duplicates,
            leaks: hop.leaks,
        })
    };
    hops.filter_map(one).collect()
}

fn losses(figures: &Figures, topology: &Topology) -> Vec<Count> {
    let lost = figures.lost.iter().map(|((first, last), count)| Count {
        what: format!("lost on {}", HopRange { first: *first, last: *last }.display(topology)),
        count: *count,
    });
    let dead = figures.dead_lettered.iter().map(|(stage, count)| Count {
        what: format!("dead-lettered at {}", topology.stage(*stage).name),
        count: *count,
    });
    let side_stages = topology
        .stage_ids()
        .zip(&figures.hops)
        .filter(|(stage, _)| is_hop(topology, *stage) && !topology.main_path().contains(stage));
    let missing = side_stages.filter(|(_, hop)| hop.latency.missing > 0).map(|(stage, hop)| Count {
        what: format!("missing at {}", topology.stage(stage).name),
        count: hop.latency.missing,
    });
    lost.chain(dead).chain(missing).collect()
}

/// The slices of all windows. The first that are judged are of so many trials.
fn slices(record: &Record, began: Timestamp, trials: usize) -> Vec<SliceLine> {
    let topology = record.topology();
    let of_window = |window: &Window, trial: Option<usize>| -> Vec<SliceLine> {
        let slice = |slice: &super::record::Slice| {
            let figures = &slice.figures;
            let hops = topology.stage_ids().filter(|stage| is_hop(topology, *stage)).filter_map(|stage| {
                let hop = figures.hops.get(usize::from(stage.0))?;
                let untimed = figures.untimed(stage, topology);
                Some((
                    topology.stage(stage).name.to_string(),
                    percentiles(&hop.latency, untimed, Detail::Distribution),
                ))
            });
            let sizes = figures.sizes.iter().map(|(size, group)| {
                (format!("{size} B"), percentiles(&group.latency, group.untimed(), Detail::Percentiles))
            });
            let whole = &figures.whole;
            SliceLine {
                from: slice.from.since(began).as_secs_f64(),
                seconds: slice.length.as_secs_f64(),
                is_judged: window.purpose == Purpose::Judged,
                trial,
                due: figures.planned,
                accepted: figures.accepted,
                lost: whole.lost,
                end_to_end: percentiles(&whole.latency, whole.untimed(), Detail::Distribution),
                hops: hops.collect(),
                sizes: sizes.collect(),
            }
        };
        window.slices.iter().map(slice).collect()
    };
    let mut trials = 0..trials;
    let of_each = |window: &Window| {
        let trial = if window.purpose == Purpose::Judged { trials.next() } else { None };
        of_window(window, trial)
    };
    record.windows.iter().flat_map(of_each).collect()
}

#[cfg(test)]
mod tests;
