//! Every metric of the probe: name, kind, labels, and the help text that says what to do about it.
//!
//! A line in here is all that declares a metric: it registers it, gives it every series that its labels can make, and
//! writes its row of the documentation. What remains is the place that counts.

use super::family::{Counter, Declared, Gauge, IntGauge, Latency, Timing};
use super::labels::{
    BehindStageOwner, BilledStage, NoLabels, OfBuild, OfStage, OfTenant, SchemaStage, StageOwner,
    StageOwnerResult, StageStray, TenantHop, TenantOutcome, TenantPut, TenantStage, TenantStretch,
    TenantWaiting,
};

macro_rules! families {
    ($($field:ident: $family:ty = $name:literal, $help:literal;)*) => {
        /// All families.
        #[derive(Clone, Debug)]
        pub(super) struct Families {
            $(pub(super) $field: $family),*
        }

        impl Families {
            /// Declares them all, in this order.
            pub(super) fn declare(declared: &mut Declared) -> prometheus::Result<Self> {
                Ok(Self { $($field: <$family>::declare(declared, $name, $help)?),* })
            }
        }
    };
}

families! {
    e2e_latency: Latency<OfTenant> = "traceprobe_e2e_latency_seconds",
        "From planned injection to arrival at the end stage. A trace counts once: when it arrives, or as soon as it is proven to have missed the threshold, so a stall raises the quantiles instead of silencing them.";
    hop_latency: Latency<TenantHop> = "traceprobe_hop_latency_seconds",
        "From arrival at the stage before to arrival at this one, counted like end-to-end latency with the stage's own target as threshold. The hop whose quantile rises is the one to look at.";
    traces: Counter<TenantOutcome> = "traceprobe_traces_total",
        "Traces by outcome; each ends in exactly one.";
    adopted_traces: Counter<TenantOutcome> = "traceprobe_adopted_traces_total",
        "Traces by outcome that were taken over from an earlier life by their tag alone, without a store that knows them. That life may have counted them, so they are in no other counter.";
    lost: Counter<TenantStretch> = "traceprobe_lost_total",
        "Lost traces by the hop that lost them, or by the stretch of hops where a stage between was blind (first..last). Look at the failures on /traces/recent.";
    missing_hops: Counter<TenantHop> = "traceprobe_missing_hops_total",
        "Traces that were at the stage before and provably never came to this one, whatever became of them: an archive that leaves out what is delivered shows here.";
    slo_traces: Counter<OfTenant> = "traceprobe_slo_traces_total",
        "Traces that were judged against the end-to-end threshold: each injected one, once it is known whether it met it.";
    slo_good: Counter<OfTenant> = "traceprobe_slo_good_traces_total",
        "Judged traces that met the end-to-end threshold. Divide by traceprobe_slo_traces_total for burn rates.";
    unjudged: Counter<OfTenant> = "traceprobe_unjudged_traces_total",
        "Delivered traces of which nobody can say whether they met the threshold, because the end stage was blind when it mattered. In no histogram.";
    in_flight: IntGauge<TenantWaiting> = "traceprobe_in_flight_traces",
        "Traces without an outcome, by the hop they are on as far as is known.";
    oldest_in_flight: Gauge<TenantWaiting> = "traceprobe_oldest_in_flight_seconds",
        "Age of the oldest trace without an outcome, by the hop it is on; 0 when there is none. If it grows, that hop stands still, unless its stage is blind.";
    injections: Counter<TenantPut> = "traceprobe_injections_total",
        "Planned canaries by what became of putting them: accepted, refused, ambiguous (no answer), missed (never sent, because the probe was stopped, starved or full).";
    injection_seconds: Timing<OfTenant> = "traceprobe_injection_seconds",
        "How long it took to put canaries into the log group, from the first try to the result, pauses between tries included; a call for several tenants counts once for each. It is part of the latency, which counts from the plan.";
    duplicates: Counter<TenantStage> = "traceprobe_duplicates_total",
        "Second stored copies of a canary (another sequence number, key or row). Reading one copy twice is none. A copy that arrives while nothing waits is only read with gaps = read.";
    own_duplicates: Counter<TenantStage> = "traceprobe_own_duplicates_total",
        "Second stored copies of a canary whose put was retried after an answer went missing, so it may be our own doing and is not charged to the pipeline.";
    corrupted: Counter<TenantStage> = "traceprobe_corrupted_total",
        "Copies of a canary that were cut or changed. The trace's page tells after how many bytes.";
    late_arrivals: Counter<TenantStage> = "traceprobe_late_arrivals_total",
        "Traces that came to the end after their deadline and after they had been given up. If it follows losses, the deadline is too short or the pipeline very slow.";
    isolation: Counter<TenantStage> = "traceprobe_isolation_violations_total",
        "Canaries of this tenant found in another tenant's stream, prefix or rows. Any rise is an incident. What arrives at a stream, prefix or log group while nothing waits there is only read with gaps = read.";
    foreign: Counter<StageOwner> = "traceprobe_foreign_tags_total",
        "Tags that none of our keys signed, found in this tenant's source: forged, or another probe's with another key.";
    strays: Counter<StageStray> = "traceprobe_stray_tags_total",
        "Tags of ours, of canaries that a probe sent to measure, that belong to no trace in memory: of another instance, or of an earlier life of this one.";
    inversions: Counter<TenantStage> = "traceprobe_clock_inversions_total",
        "Arrivals that the clocks contradict by more than the allowance: before the stage before, or outside of our own looks. Check the clocks, or widen clock_allowance.";
    uncertainty: Timing<OfStage> = "traceprobe_arrival_uncertainty_seconds",
        "Width of the arrival intervals: the error of every latency that ends at this stage.";
    detection_delay: Timing<OfStage> = "traceprobe_detection_delay_seconds",
        "From arrival to our noticing it. The probe's own delay, and no part of any latency.";
    sweeps: Counter<StageOwnerResult> = "traceprobe_observer_sweeps_total",
        "Looks at a source by result: ok, incomplete (answered, but the end was not reached), or what went wrong; one that went wrong after it had read something counts as both. tenant is \"shared\" for a source of several.";
    sweep_seconds: Timing<OfStage> = "traceprobe_observer_sweep_seconds",
        "How long a look took that was answered.";
    watermark_age: Gauge<StageOwner> = "traceprobe_observer_watermark_age_seconds",
        "How far behind now we can vouch for a source while traces wait at it; 0 when none does. Growing means blind.";
    blind: IntGauge<TenantStage> = "traceprobe_stage_blind",
        "1 while nobody can say what is at this stage for this tenant. A fault of the probe, its permissions or the store's API; never counted as a loss.";
    bytes_read: Counter<OfStage> = "traceprobe_observer_bytes_read_total",
        "Bytes that looks brought over the wire.";
    records_read: Counter<OfStage> = "traceprobe_observer_records_read_total",
        "Records, objects or rows that were looked into.";
    decode_errors: Counter<OfStage> = "traceprobe_observer_decode_errors_total",
        "Records that could not be decoded, or only in part: garbage, truncated, too deep, too large.";
    behind: Gauge<BehindStageOwner> = "traceprobe_kinesis_behind_latest_seconds",
        "How far behind the tip of the stream the last read ended (MillisBehindLatest). Above 0 for long, reading is throttled and absence cannot be proven.";
    billed: Counter<BilledStage> = "traceprobe_bigquery_bytes_billed_total",
        "Bytes that BigQuery says it billed for the looks at this stage; a query that was given up counts with the most that it may bill (max_bytes_billed).";
    schema_drift: IntGauge<SchemaStage> = "traceprobe_schema_drift",
        "Columns of the tables behind this stage that were added, removed, or changed in type or mode: against schema, or against what the probe found at its first look. The log and the page name them.";
    clock_error_bound: Gauge<NoLabels> = "traceprobe_clock_error_bound_seconds",
        "How far off the probe's own clock may be, as ECS says; added to the clock_allowance of every stage. 0 where nobody says.";
    clock_synchronized: IntGauge<NoLabels> = "traceprobe_clock_synchronized",
        "0 while ECS says that the probe's own clock is not kept in step: latencies to stages that stamp arrivals themselves are then not to be trusted. 1 otherwise, also where nobody says.";
    clock_offset: Gauge<NoLabels> = "traceprobe_clock_offset_seconds",
        "By how much the system's clock is ahead of the probe's, which never steps; below 0, behind. Added to the clock_allowance of every stage, and made up for at 0.5 ms a second. Beyond 1.5 s the probe ends itself.";
    store_degraded: IntGauge<NoLabels> = "traceprobe_store_degraded",
        "1 while traces are kept in memory only, because the store cannot be written: a restart now would forget what is in flight. The log and the page say why. 0 with store.path = \"memory\", which promises nothing.";
    build_info: IntGauge<OfBuild> = "traceprobe_build_info",
        "Always 1; the version of the probe.";
}
