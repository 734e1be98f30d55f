//! Every metric of the probe: name, type, labels, and the help text that says what to do about it.

use prometheus::core::Collector;
use prometheus::{
    Gauge, GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

use super::closing::{ClosingHistogram, Ladder};

/// One line of the metric table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// Its name.
    pub name: String,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// Its labels, in order.
    pub labels: Vec<&'static str>,
    /// The help text.
    pub help: &'static str,
}

/// Registers metrics and remembers how they were described.
pub(super) struct Definer {
    registry: Registry,
    pub(super) described: Vec<Described>,
}

impl Definer {
    pub(super) fn new(registry: Registry) -> Self {
        Self { registry, described: Vec::new() }
    }

    fn describe(&mut self, name: &str, kind: &'static str, labels: &[&'static str], help: &'static str) {
        self.described.push(Described { name: name.to_owned(), kind, labels: labels.to_vec(), help });
    }

    pub(super) fn register<C: Collector + Clone + 'static>(&self, collector: &C) -> prometheus::Result<()> {
        self.registry.register(Box::new(collector.clone()))
    }

    pub(super) fn describe_collected(
        &mut self,
        name: &str,
        kind: &'static str,
        labels: &[&'static str],
        help: &'static str,
    ) {
        self.describe(name, kind, labels, help);
    }

    fn counter(
        &mut self,
        name: &str,
        labels: &[&'static str],
        help: &'static str,
    ) -> prometheus::Result<IntCounterVec> {
        let vec = IntCounterVec::new(Opts::new(name, help), labels)?;
        self.register(&vec)?;
        self.describe(name, "counter", labels, help);
        Ok(vec)
    }

    fn gauge(
        &mut self,
        name: &str,
        labels: &[&'static str],
        help: &'static str,
    ) -> prometheus::Result<GaugeVec> {
        let vec = GaugeVec::new(Opts::new(name, help), labels)?;
        self.register(&vec)?;
        self.describe(name, "gauge", labels, help);
        Ok(vec)
    }

    fn int_gauge(
        &mut self,
        name: &str,
        labels: &[&'static str],
        help: &'static str,
    ) -> prometheus::Result<IntGaugeVec> {
        let vec = IntGaugeVec::new(Opts::new(name, help), labels)?;
        self.register(&vec)?;
        self.describe(name, "gauge", labels, help);
        Ok(vec)
    }

    fn histogram(
        &mut self,
        name: &str,
        labels: &[&'static str],
        buckets: &[f64],
        help: &'static str,
    ) -> prometheus::Result<HistogramVec> {
        let vec = HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets.to_vec()), labels)?;
        self.register(&vec)?;
        self.describe(name, "histogram", labels, help);
        Ok(vec)
    }

    fn closing(
        &mut self,
        name: &str,
        labels: &'static [&'static str],
        ladder: &Ladder,
        help: &'static str,
    ) -> prometheus::Result<ClosingHistogram> {
        let histogram = ClosingHistogram::new(name, help, labels, ladder.clone())?;
        self.register(&histogram)?;
        self.describe(name, "histogram", labels, help);
        Ok(histogram)
    }
}

/// Buckets for what the probe itself takes: calls, widths, delays; in seconds.
const OWN_SECONDS: [f64; 15] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// All families.
#[derive(Clone, Debug)]
pub(super) struct Families {
    pub(super) e2e_latency: ClosingHistogram,
    pub(super) hop_latency: ClosingHistogram,
    pub(super) traces: IntCounterVec,
    pub(super) adopted_traces: IntCounterVec,
    pub(super) lost: IntCounterVec,
    pub(super) missing_hops: IntCounterVec,
    pub(super) slo_traces: IntCounterVec,
    pub(super) slo_good: IntCounterVec,
    pub(super) unjudged: IntCounterVec,
    pub(super) in_flight: IntGaugeVec,
    pub(super) oldest_in_flight: GaugeVec,
    pub(super) injections: IntCounterVec,
    pub(super) injection_seconds: HistogramVec,
    pub(super) duplicates: IntCounterVec,
    pub(super) own_duplicates: IntCounterVec,
    pub(super) corrupted: IntCounterVec,
    pub(super) late_arrivals: IntCounterVec,
    pub(super) isolation: IntCounterVec,
    pub(super) foreign: IntCounterVec,
    pub(super) strays: IntCounterVec,
    pub(super) inversions: IntCounterVec,
    pub(super) uncertainty: HistogramVec,
    pub(super) detection_delay: HistogramVec,
    pub(super) sweeps: IntCounterVec,
    pub(super) sweep_seconds: HistogramVec,
    pub(super) watermark_age: GaugeVec,
    pub(super) blind: IntGaugeVec,
    pub(super) bytes_read: IntCounterVec,
    pub(super) records_read: IntCounterVec,
    pub(super) decode_errors: IntCounterVec,
    pub(super) behind: GaugeVec,
    pub(super) billed: IntCounterVec,
    pub(super) schema_drift: IntGaugeVec,
    pub(super) clock_error_bound: Gauge,
    pub(super) clock_synchronized: IntGauge,
    pub(super) clock_offset: Gauge,
    pub(super) store_degraded: IntGauge,
    pub(super) build_info: IntGaugeVec,
}

impl Families {
    pub(super) fn define(d: &mut Definer, ladder: &Ladder) -> prometheus::Result<Self> {
        Ok(Self {
            e2e_latency: d.closing(
                "traceprobe_e2e_latency_seconds",
                &["tenant"],
                ladder,
                "From planned injection to arrival at the end stage. A trace counts once: when it arrives, or as soon as it is proven to have missed the threshold, so a stall raises the quantiles instead of silencing them.",
            )?,
            hop_latency: d.closing(
                "traceprobe_hop_latency_seconds",
                &["tenant", "hop"],
                ladder,
                "From arrival at the stage before to arrival at this one, counted like end-to-end latency with the stage's own target as threshold. The hop whose quantile rises is the one to look at.",
            )?,
            traces: d.counter(
                "traceprobe_traces_total",
                &["tenant", "outcome"],
                "Traces by outcome; each ends in exactly one.",
            )?,
            adopted_traces: d.counter(
                "traceprobe_adopted_traces_total",
                &["tenant", "outcome"],
                "Traces by outcome that were taken over from an earlier life by their tag alone, without a store that knows them. That life may have counted them, so they are in no other counter.",
            )?,
            lost: d.counter(
                "traceprobe_lost_total",
                &["tenant", "hop"],
                "Lost traces by the hop that lost them, or by the stretch of hops where a stage between was blind (first..last). Look at the failures on /traces/recent.",
            )?,
            missing_hops: d.counter(
                "traceprobe_missing_hops_total",
                &["tenant", "hop"],
                "Traces that were at the stage before and provably never came to this one, whatever became of them: an archive that leaves out what is delivered shows here.",
            )?,
            slo_traces: d.counter(
                "traceprobe_slo_traces_total",
                &["tenant"],
                "Traces that were judged against the end-to-end threshold: each injected one, once it is known whether it met it.",
            )?,
            slo_good: d.counter(
                "traceprobe_slo_good_traces_total",
                &["tenant"],
                "Judged traces that met the end-to-end threshold. Divide by traceprobe_slo_traces_total for burn rates.",
            )?,
            unjudged: d.counter(
                "traceprobe_unjudged_traces_total",
                &["tenant"],
                "Delivered traces of which nobody can say whether they met the threshold, because the end stage was blind when it mattered. In no histogram.",
            )?,
            in_flight: d.int_gauge(
                "traceprobe_in_flight_traces",
                &["tenant", "waiting_for"],
                "Traces without an outcome, by the hop they are on as far as is known.",
            )?,
            oldest_in_flight: d.gauge(
                "traceprobe_oldest_in_flight_seconds",
                &["tenant", "waiting_for"],
                "Age of the oldest trace without an outcome, by the hop it is on; 0 when there is none. If it grows, that hop stands still, unless its stage is blind.",
            )?,
            injections: d.counter(
                "traceprobe_injections_total",
                &["tenant", "result"],
                "Planned canaries by what became of putting them: accepted, refused, ambiguous (no answer), missed (never sent, because the probe was stopped, starved or full).",
            )?,
            injection_seconds: d.histogram(
                "traceprobe_injection_seconds",
                &["tenant"],
                &OWN_SECONDS,
                "How long it took to put canaries into the log group, retries included. It is part of the latency, which counts from the plan.",
            )?,
            duplicates: d.counter(
                "traceprobe_duplicates_total",
                &["tenant", "stage"],
                "Second stored copies of a canary (another sequence number, key or row). Reading one copy twice is none. A copy that arrives while nothing waits is only read with gaps = read.",
            )?,
            own_duplicates: d.counter(
                "traceprobe_own_duplicates_total",
                &["tenant", "stage"],
                "Second stored copies of a canary whose put was retried after an answer went missing, so it may be our own doing and is not charged to the pipeline.",
            )?,
            corrupted: d.counter(
                "traceprobe_corrupted_total",
                &["tenant", "stage"],
                "Copies of a canary that were cut or changed. The trace's page tells after how many bytes.",
            )?,
            late_arrivals: d.counter(
                "traceprobe_late_arrivals_total",
                &["tenant", "stage"],
                "Traces that came to the end after their deadline and after they had been given up. If it follows losses, the deadline is too short or the pipeline very slow.",
            )?,
            isolation: d.counter(
                "traceprobe_isolation_violations_total",
                &["tenant", "stage"],
                "Canaries of this tenant found in another tenant's stream, prefix or rows. Any rise is an incident. What arrives at a stream, prefix or log group while nothing waits there is only read with gaps = read.",
            )?,
            foreign: d.counter(
                "traceprobe_foreign_tags_total",
                &["tenant", "stage"],
                "Tags that none of our keys signed, found in this tenant's source: forged, or another probe's with another key.",
            )?,
            strays: d.counter(
                "traceprobe_stray_tags_total",
                &["stage", "of"],
                "Tags of ours, of canaries that a probe sent to measure, that belong to no trace in memory: of another instance, or of an earlier life of this one.",
            )?,
            inversions: d.counter(
                "traceprobe_clock_inversions_total",
                &["tenant", "stage"],
                "Arrivals that the clocks contradict by more than the allowance: before the stage before, or outside of our own looks. Check the clocks, or widen clock_allowance.",
            )?,
            uncertainty: d.histogram(
                "traceprobe_arrival_uncertainty_seconds",
                &["stage"],
                &OWN_SECONDS,
                "Width of the arrival intervals: the error of every latency that ends at this stage.",
            )?,
            detection_delay: d.histogram(
                "traceprobe_detection_delay_seconds",
                &["stage"],
                &OWN_SECONDS,
                "From arrival to our noticing it. The probe's own delay, and no part of any latency.",
            )?,
            sweeps: d.counter(
                "traceprobe_observer_sweeps_total",
                &["stage", "tenant", "result"],
                "Looks at a source by result: ok, incomplete (answered, but the end was not reached), or what went wrong; one that went wrong after it had read something counts as both. tenant is \"shared\" for a source of several.",
            )?,
            sweep_seconds: d.histogram(
                "traceprobe_observer_sweep_seconds",
                &["stage"],
                &OWN_SECONDS,
                "How long a look took that was answered.",
            )?,
            watermark_age: d.gauge(
                "traceprobe_observer_watermark_age_seconds",
                &["stage", "tenant"],
                "How far behind now we can vouch for a source while traces wait at it; 0 when none does. Growing means blind.",
            )?,
            blind: d.int_gauge(
                "traceprobe_stage_blind",
                &["tenant", "stage"],
                "1 while nobody can say what is at this stage for this tenant. A fault of the probe, its permissions or the store's API; never counted as a loss.",
            )?,
            bytes_read: d.counter(
                "traceprobe_observer_bytes_read_total",
                &["stage"],
                "Bytes that looks brought over the wire.",
            )?,
            records_read: d.counter(
                "traceprobe_observer_records_read_total",
                &["stage"],
                "Records, objects or rows that were looked into.",
            )?,
            decode_errors: d.counter(
                "traceprobe_observer_decode_errors_total",
                &["stage"],
                "Records that could not be decoded, or only in part: garbage, truncated, too deep, too large.",
            )?,
            behind: d.gauge(
                "traceprobe_kinesis_behind_latest_seconds",
                &["tenant", "stage"],
                "How far behind the tip of the stream the last read ended (MillisBehindLatest). Above 0 for long, reading is throttled and absence cannot be proven.",
            )?,
            billed: d.counter(
                "traceprobe_bigquery_bytes_billed_total",
                &["stage"],
                "Bytes that BigQuery says it billed for the looks at this stage; a query that was given up counts with the most that it may bill (max_bytes_billed).",
            )?,
            schema_drift: d.int_gauge(
                "traceprobe_schema_drift",
                &["stage"],
                "Columns of the tables behind this stage that were added, removed, or changed in type or mode: against schema, or against what the probe found at its first look. The log and the page name them.",
            )?,
            clock_error_bound: d.gauge(
                "traceprobe_clock_error_bound_seconds",
                &[],
                "How far off the probe's own clock may be, as ECS says; added to the clock_allowance of every stage. 0 where nobody says.",
            )?.with_label_values::<&str>(&[]),
            clock_synchronized: d.int_gauge(
                "traceprobe_clock_synchronized",
                &[],
                "0 while ECS says that the probe's own clock is not kept in step: latencies to stages that stamp arrivals themselves are then not to be trusted. 1 otherwise, also where nobody says.",
            )?.with_label_values::<&str>(&[]),
            clock_offset: d.gauge(
                "traceprobe_clock_offset_seconds",
                &[],
                "By how much the system's clock is ahead of the probe's, which never steps; below 0, behind. Added to the clock_allowance of every stage, and made up for at 0.5 ms a second. Beyond 1.5 s the probe ends itself.",
            )?.with_label_values::<&str>(&[]),
            store_degraded: d.int_gauge(
                "traceprobe_store_degraded",
                &[],
                "1 while traces are kept in memory only, because the store cannot be written: a restart now would forget what is in flight. The log and the page say why. 0 with store.path = \"memory\", which promises nothing.",
            )?.with_label_values::<&str>(&[]),
            build_info: d.int_gauge("traceprobe_build_info", &["version"], "Always 1; the version of the probe.")?,
        })
    }
}
