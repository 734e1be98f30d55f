//! The runs of a probe: when each began and ended, and what its page and metrics showed meanwhile.
//!
//! They decide whether evidence could have been read. They use the watermarks of the sources and no trace, so
//! that a trace that was forgotten is not excused by its own record.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::time::Duration;

use traceprobe::domain::copies::{CopyStanding, StoredCopy};
use traceprobe::domain::outcome::Outcome;
use traceprobe::domain::tag::TraceId;
use traceprobe::domain::time::Timestamp;
use traceprobe::domain::topology::Topology;
use traceprobe::domain::trace::{Hop, Judgement, Put, Trace};

use super::scene::now;
use super::support::client::Client;
use super::support::metrics::Metrics;
use super::support::page::Source;

/// The owner of a source that several tenants share.
const SHARED: &str = "shared";
const POLL_EVERY: Duration = Duration::from_millis(200);

/// The runs of one probe, in order.
#[derive(Default)]
pub struct Runs(Vec<Run>);

/// One process, from start to end.
pub struct Run {
    began: Timestamp,
    ended: Timestamp,
    shown: Vec<Shown>,
    /// The last scrape while the store could be written.
    counted: Option<Metrics>,
    /// The sources with a failed poll.
    failing: BTreeSet<Key>,
}

/// The stage and the owner of a source.
type Key = (String, String);

fn keys(stage: &str, tenant: &str) -> [Key; 2] {
    [tenant, SHARED].map(|owner| (stage.to_owned(), owner.to_owned()))
}

/// What a page showed.
struct Shown {
    /// When the answer had arrived.
    at: Timestamp,
    /// The watermark of each source, while the store could be written.
    read_up_to: BTreeMap<Key, Timestamp>,
}

impl Runs {
    pub fn add(&mut self, run: Run) {
        self.0.push(run);
    }

    /// Whether, before `until`, a page showed a watermark beyond `mark` for a tenant's source.
    pub fn read_beyond(&self, mark: Timestamp, stage: &str, tenant: &str, until: Timestamp) -> bool {
        self.marks(stage, tenant).any(|(at, read)| at < until && read > mark)
    }

    /// The latest watermark beyond `from` of a tenant's source that a page showed before `until`.
    pub fn last_read(
        &self,
        stage: &str,
        tenant: &str,
        from: Timestamp,
        until: Timestamp,
    ) -> Option<Timestamp> {
        let marks = self.marks(stage, tenant);
        marks.filter(|(at, read)| *at < until && *read > from).map(|(_, read)| read).max()
    }

    fn marks(&self, stage: &str, tenant: &str) -> impl Iterator<Item = (Timestamp, Timestamp)> {
        let keys = keys(stage, tenant);
        let shown = self.0.iter().flat_map(|run| &run.shown);
        shown.filter_map(move |shown| {
            Some((shown.at, *keys.iter().find_map(|key| shown.read_up_to.get(key))?))
        })
    }

    /// Whether a poll of a tenant's source failed in any run that was up between two instants. After a failed
    /// poll the probe need not wait for another.
    pub fn failing(&self, stage: &str, tenant: &str, from: Timestamp, to: Timestamp) -> bool {
        let mut up = self.0.iter().filter(|run| run.began < to && from < run.ended);
        up.any(|run| keys(stage, tenant).iter().any(|key| run.failing.contains(key)))
    }

    /// Fails if a latency histogram or the SLO counted a trace in two runs.
    pub fn assert_counted_once(&self, kept: &BTreeMap<TraceId, Trace>, map: &Topology) {
        let counted = |name: &str, labels: &[(&str, &str)], traces: usize| {
            let runs = self.0.iter().filter_map(|run| run.counted.as_ref());
            let sum: f64 = runs.map(|counted| counted.sum(name, labels)).sum();
            assert!(sum <= traces as f64, "{sum} of {name} {labels:?} were counted for {traces} traces");
        };
        for tenant in map.tenant_ids() {
            let of_tenant = || kept.values().filter(|trace| trace.tenant == tenant);
            let name = &*map.tenant(tenant).name;
            let judged = |trace: &&Trace| match trace.judgement {
                Judgement::Good | Judgement::Slow | Judgement::Overdue => true,
                Judgement::Pending | Judgement::Unjudged => false,
            };
            let judged = of_tenant().filter(judged).count();
            counted("traceprobe_slo_traces_total", &[("tenant", name)], judged);
            counted("traceprobe_e2e_latency_seconds_count", &[("tenant", name)], judged);
            for hop in map.stage_ids() {
                let made = |trace: &&Trace| match trace.visit(hop).hop {
                    Hop::Measured { .. } | Hop::Overdue | Hop::Missing | Hop::NeverSeen | Hop::Inherited => {
                        true
                    }
                    Hop::Open | Hop::Unjudged | Hop::Inverted | Hop::Skipped => false,
                };
                let labels = [("tenant", name), ("stage", &*map.stage(hop).name)];
                counted("traceprobe_hop_latency_seconds_count", &labels, of_tenant().filter(made).count());
            }
        }
    }

    /// The index of the run in which a canary was planned.
    pub fn of(&self, planned_at: Timestamp) -> Option<usize> {
        self.0.iter().position(|run| run.began <= planned_at && planned_at <= run.ended)
    }
}

impl Run {
    pub fn begin() -> Self {
        let now = now();
        Self { began: now, ended: now, shown: Vec::new(), counted: None, failing: BTreeSet::new() }
    }

    pub fn end(&mut self) {
        self.ended = now();
    }

    /// Polls page and metrics until it is dropped.
    pub async fn listen(&mut self, client: &Client) -> Infallible {
        loop {
            self.read_pages(client).await;
            tokio::time::sleep(POLL_EVERY).await;
        }
    }

    /// Polls page and metrics until every source was read and `ended` canaries have an outcome.
    pub async fn listen_until_at_work(&mut self, client: &Client, map: &Topology, ended: usize) {
        loop {
            self.read_pages(client).await;
            let read = self.shown.last().map_or(0, |shown| shown.read_up_to.len());
            let counted = self.counted.as_ref().map_or(0.0, |it| it.sum("traceprobe_traces_total", &[]));
            if read == map.sources().len() && counted >= ended as f64 {
                return;
            }
            tokio::time::sleep(POLL_EVERY).await;
        }
    }

    /// Fetches page and metrics once.
    pub async fn read_pages(&mut self, client: &Client) {
        let Some((recent, counted)) = client.poll().await else { return };
        for Source { stage, owner, .. } in &recent.sources {
            let labels = [("stage", &**stage), ("owner", &**owner), ("result", "ok")];
            let polls = |labels| counted.sum("traceprobe_observer_polls_total", labels);
            if polls(&labels[..2]) > polls(&labels) {
                self.failing.insert((stage.clone(), owner.clone()));
            }
        }
        // While the store cannot be written, measuring continues and counts need not be on disk.
        if recent.not_kept.is_some() || counted.sum("traceprobe_store_degraded", &[]) > 0.0 {
            self.counted = None;
            return;
        }
        self.counted = Some(counted);
        let mark = |source: Source| {
            let read = Timestamp::from_micros(source.watermark?);
            Some(((source.stage, source.owner), read))
        };
        let read_up_to = recent.sources.into_iter().filter_map(mark);
        self.shown.push(Shown { at: now(), read_up_to: read_up_to.collect() });
    }

    /// Fails unless everything that the run counted is in the store that it left, so that the next run does
    /// not count it again.
    pub fn assert_counts_are_stored(&self, kept: &BTreeMap<TraceId, Trace>, map: &Topology) {
        let Some(counted) = &self.counted else { return };
        let here = |at: Timestamp| (self.began..=self.ended).contains(&at);
        let check = |name: &str, labels: &[(&str, &str)], kept: usize| {
            let counted = counted.sum(name, labels);
            assert!(
                counted <= kept as f64,
                "{counted} of {name} {labels:?} were counted, {kept} are on disk"
            );
        };
        for tenant in map.tenant_ids() {
            let of_tenant = || kept.values().filter(|trace| trace.tenant == tenant);
            let name = &*map.tenant(tenant).name;
            for outcome in Outcome::LABELS {
                let ended = |trace: &&Trace| {
                    trace.ended.as_ref().is_some_and(|(ended, at)| ended.label() == outcome && here(*at))
                };
                let labels = [("tenant", name), ("outcome", outcome)];
                check("traceprobe_traces_total", &labels, of_tenant().filter(ended).count());
            }
            let accepted = |trace: &&Trace| matches!(trace.put, Put::Accepted { at } if here(at));
            let labels = [("tenant", name), ("result", "accepted")];
            check("traceprobe_injections_total", &labels, of_tenant().filter(accepted).count());
            for stage in map.stage_ids() {
                let is_duplicate = |copy: &StoredCopy| copy.standing == CopyStanding::Duplicate;
                let duplicates =
                    of_tenant().filter(|trace| trace.visit(stage).copies.iter().any(is_duplicate)).count();
                let labels = [("tenant", name), ("stage", &*map.stage(stage).name)];
                check("traceprobe_duplicates_total", &labels, duplicates);
            }
        }
        for stage in map.stage_ids() {
            let arrivals = kept.values().filter_map(|trace| trace.visit(stage).arrival.as_ref());
            let noticed = arrivals.filter(|arrival| here(arrival.noticed_at)).count();
            let labels = [("stage", &*map.stage(stage).name)];
            check("traceprobe_detection_delay_seconds_count", &labels, noticed);
        }
    }
}

/// Checks, over all runs, that what the store knows of a canary only grows.
#[derive(Default)]
pub struct StoreWatch(BTreeMap<TraceId, Trace>);

impl StoreWatch {
    /// Compares the store with what it held at the last call.
    pub fn read(&mut self, kept: &BTreeMap<TraceId, Trace>) {
        for (id, before) in &self.0 {
            let now = kept.get(id).unwrap_or_else(|| panic!("{id} is no longer on disk"));
            assert!(
                before.ended.is_none() || now.ended == before.ended,
                "{id} ended twice:\n{before:?}\n{now:?}"
            );
            let judged = before.judgement == Judgement::Pending || now.judgement != Judgement::Pending;
            assert!(judged, "{id} is pending again:\n{before:?}\n{now:?}");
            assert!(before.put == Put::Planned || now.put == before.put, "{id}:\n{before:?}\n{now:?}");
            for (before, now) in before.stages.iter().zip(&now.stages) {
                let arrived = before.arrival.is_none() || now.arrival == before.arrival;
                let counted = before.hop == Hop::Open || now.hop != Hop::Open;
                let absent = now.absent_until >= before.absent_until;
                let copies: BTreeSet<_> = now.copies.iter().map(|copy| &copy.locator).collect();
                let copied = before.copies.iter().all(|copy| copies.contains(&copy.locator));
                assert!(
                    arrived && absent && copied && counted,
                    "evidence of {id} was forgotten:\n{before:?}\n{now:?}"
                );
            }
        }
        self.0.clone_from(kept);
    }
}
