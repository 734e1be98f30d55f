//! Every metric of the probe: name, kind, labels, and the help text that says what to do about it.
//!
//! A line in this file declares a metric: it registers it, creates every series of its label set, and adds
//! its row to the documentation. Only the place that counts it is elsewhere.

use super::family::{Counter, Declared, Gauge, IntGauge, Latency, Timing};
use super::labels::{
    BehindStageOwner, BilledStage, ClosedConnection, ExportedTraces, LeakStage, NoLabels, OfBuild,
    OfCondition, OfStage, OfTenant, QueueStageOwner, RefusedConnection, SchemaStage, StageOwner,
    StageOwnerResult, StageStray, StageUnreadable, TenantCondition, TenantHop, TenantHopRange, TenantOutcome,
    TenantPut, TenantStage, TenantStageReason, TenantWaiting,
};

use crate::domain::topology::Topology;

macro_rules! families {
    ($($field:ident: $family:ty = $name:literal, $help:literal;)*) => {
        #[derive(Clone, Debug)]
        pub(super) struct Families {
            $(pub(super) $field: $family),*
        }

        impl Families {
            /// Registers all families.
            pub(super) fn declare(declared: &mut Declared) -> prometheus::Result<Self> {
                Ok(Self { $($field: <$family>::declare(declared, $name, $help)?),* })
            }

            /// Has the series of a topology that succeeds another.
            pub(super) fn succeed(&self, before: &Topology, now: &Topology) {
                $(self.$field.succeed(before, now);)*
            }
        }
    };
}

families! {
    e2e_latency: Latency<OfTenant> = "traceprobe_e2e_latency_seconds",
        "From planned injection to arrival at the end stage. Each trace counts once: when it arrives, or as soon as it is proven to have missed the SLO, so a stall raises the quantiles instead of silencing them.";
    hop_latency: Latency<TenantHop> = "traceprobe_hop_latency_seconds",
        "From arrival at the stage before to arrival at this stage; counted like end-to-end latency, with the stage's target as the threshold. Buckets: the stage's target and critical, 1, 5, 10, 30 and 60 s, and of probe.buckets those that are at least 1.8 times the one before. Compare the hops: the one whose quantile rises is the cause.";
    traces: Counter<TenantOutcome> = "traceprobe_traces_total",
        "Traces by outcome. Each trace ends in exactly one.";
    adopted_traces: Counter<TenantOutcome> = "traceprobe_adopted_traces_total",
        "Outcomes of traces that another process counts, or may have counted: without a store, those that were planned before this one began, and shortly after its start those that its predecessor sent too. They are in no other counter.";
    lost: Counter<TenantHopRange> = "traceprobe_lost_total",
        "Lost traces by the hop that lost them, or by a hop range (first..last) if a stage between was blind. See the traces that matter on /traces/recent.";
    missing_hops: Counter<TenantHop> = "traceprobe_missing_hops_total",
        "Traces that reached the stage before and provably never this one, whatever their outcome. An archive that leaves out delivered events shows here.";
    conditions: IntGauge<OfCondition> = "traceprobe_condition",
        "1 while a condition is a problem, as on /traces/recent; docs/conditions.md defines each. tenant is empty for a stage of all tenants, stage for a tenant as a whole, both for the probe itself. slow and losing name the hop that is to blame for most, so their stage may change: aggregate over it.";
    incidents: Counter<TenantCondition> = "traceprobe_incidents_total",
        "Incidents that began: unbroken episodes of a condition that is a problem. One that turns out to be another condition counts there, too. tenant is empty for a stage of all tenants and for the probe itself.";
    drill_active: IntGauge<NoLabels> = "traceprobe_drill_active",
        "1 while a drill withholds the canaries of the tenant drill.";
    drill_proven: Gauge<NoLabels> = "traceprobe_drill_last_proven_timestamp_seconds",
        "When a drill's notification last arrived, as seconds since 1970: then the pager was proven to ring. 0 if never.";
    total_stall: IntGauge<NoLabels> = "traceprobe_total_stall",
        "1 while nothing of any tenant arrives: at least three tenants have an overdue canary that was planned after the last delivery of anyone.";
    slo_traces: Counter<OfTenant> = "traceprobe_slo_traces_total",
        "Traces judged against the SLO: every injected trace, once it is known whether it met it.";
    slo_good: Counter<OfTenant> = "traceprobe_slo_good_traces_total",
        "Judged traces that met the SLO. Divide by traceprobe_slo_traces_total for burn rates.";
    unjudged: Counter<OfTenant> = "traceprobe_unjudged_traces_total",
        "Delivered traces that cannot be judged against the SLO because the end stage was blind at the threshold. They are in no histogram.";
    in_flight: IntGauge<TenantWaiting> = "traceprobe_in_flight_traces",
        "Traces without an outcome, by the next stage that has not shown them.";
    oldest_in_flight: Gauge<TenantWaiting> = "traceprobe_oldest_in_flight_seconds",
        "Age of the oldest trace without an outcome, by the next stage that has not shown it; 0 if there is none. If it grows, that hop has stopped, unless its stage is blind.";
    injections: Counter<TenantPut> = "traceprobe_injections_total",
        "Planned canaries by result of the put: accepted, refused, ambiguous (no answer), missed (never sent, because the probe was stopped, starved or full, or its clock set back).";
    injection_duration: Timing<OfTenant> = "traceprobe_injection_duration_seconds",
        "Time to put canaries into the log group, from the first attempt to the result, retries and pauses included. A call for several tenants counts once for each. Part of the latency, which counts from the plan.";
    duplicates: Counter<TenantStage> = "traceprobe_duplicates_total",
        "Canaries of which a second copy is stored (another sequence number, key or row), each counted once per stage. Reading one copy twice does not count. In S3 and Google Cloud Storage both copies must still exist after copy_recheck. Copies that arrive while nothing waits are only read with gaps = \"read\".";
    uncharged_copies: Counter<TenantStageReason> = "traceprobe_uncharged_copies_total",
        "Second copies that are not charged to the pipeline: retried_put (the probe may have sent it twice), same_record (one writer put both into one record or object), mention (a log line that has only the tag), moved (one of the two objects was deleted), second_sender (another process sent the same slot, as during a deployment), unknown (not decoded, the check was denied or not answered, or the answer to the put was lost in a restart). Other series than those of retried_put and second_sender appear with their first copy.";
    corrupted: Counter<TenantStage> = "traceprobe_corrupted_total",
        "Copies of a canary that were cut or changed. The trace's page shows how many bytes are intact.";
    late_arrivals: Counter<TenantStage> = "traceprobe_late_arrivals_total",
        "Traces that reached the end stage after they had been given up and after their deadline. If this follows losses, give_up is too short or the pipeline very slow.";
    isolation: Counter<LeakStage> = "traceprobe_isolation_violations_total",
        "Canaries of this tenant found in another tenant's stream, prefix or rows; tenant is \"unknown\" for a tenant that is not configured here. Treat any increase as an incident. What arrives while nothing waits is only read with gaps = \"read\".";
    foreign: Counter<StageOwner> = "traceprobe_foreign_tags_total",
        "Tags that none of our keys signed, by the source's owner: forged, or sent by another probe with another key.";
    strays: Counter<StageStray> = "traceprobe_stray_tags_total",
        "Our tags that belong to no trace in memory: of another instance, or of a previous run of this one.";
    inversions: Counter<TenantStage> = "traceprobe_clock_inversions_total",
        "Arrivals that contradict the clocks by more than the allowance: before the stage before, or outside the interval that polls prove. Check the clocks, or widen clock_allowance.";
    uncertainty: Timing<OfStage> = "traceprobe_arrival_uncertainty_seconds",
        "Width of the arrival intervals: the error of every latency that ends at this stage.";
    detection_delay: Timing<OfStage> = "traceprobe_detection_delay_seconds",
        "From arrival to detection by the probe. Not part of any latency.";
    polls: Counter<StageOwnerResult> = "traceprobe_observer_polls_total",
        "Polls of a source by result: ok, incomplete (answered, but the end was not reached), or the kind of failure. A poll that failed after it had read something counts as both. owner is a tenant, or shared for a source of several.";
    poll_duration: Timing<OfStage> = "traceprobe_observer_poll_duration_seconds",
        "Duration of answered polls.";
    watermark_age: Gauge<StageOwner> = "traceprobe_observer_watermark_age_seconds",
        "How far the watermark is behind now while traces wait at the source; 0 while none do. If it grows, the stage turns blind. Of several sources with these labels, the worst.";
    blind: IntGauge<TenantStage> = "traceprobe_stage_blind",
        "1 while the stage is blind for this tenant: the probe cannot read it. A fault of the probe, its permissions or the service's API; never counted as a loss.";
    bytes_read: Counter<OfStage> = "traceprobe_observer_bytes_read_total",
        "Bytes that polls transferred.";
    records_read: Counter<OfStage> = "traceprobe_observer_records_read_total",
        "Records, objects or rows that were scanned.";
    unreadable_records: Counter<StageUnreadable> = "traceprobe_observer_unreadable_records_total",
        "Records or objects of which a part could not be read, by reason. A canary may be in them, so they can make the stage blind; docs/formats.md lists what is read.";
    behind: Gauge<BehindStageOwner> = "traceprobe_kinesis_behind_latest_seconds",
        "How far behind the tip of the stream the last poll ended (MillisBehindLatest). If it stays above 0, reading is throttled and absence cannot be proven. Of several streams with these labels, the worst.";
    queued: Gauge<QueueStageOwner> = "traceprobe_dead_letters",
        "Messages in the dead-letter queue, those that are being handled included, as of the last poll. They are polled while canaries are in flight. Of several queues with these labels, all together.";
    billed: Counter<BilledStage> = "traceprobe_bigquery_bytes_billed_total",
        "Bytes that BigQuery billed for the polls of this stage. A query that was abandoned counts with the most that it may bill (max_bytes_billed).";
    schema_drift: IntGauge<SchemaStage> = "traceprobe_schema_drift",
        "Columns of the stage's tables that were added, removed, or changed in type or mode, compared with schema or with the first poll. The log and the page name them.";
    clock_error_bound: Gauge<NoLabels> = "traceprobe_clock_error_bound_seconds",
        "Error bound of the probe's own clock as ECS reports it, added to every stage's clock_allowance; 0 if it is not reported.";
    clock_synchronized: IntGauge<NoLabels> = "traceprobe_clock_synchronized",
        "0 while ECS reports that the probe's own clock is not synchronized: do not trust latencies to stages that stamp arrivals themselves. 1 otherwise, also if nothing is reported.";
    clock_offset: Gauge<NoLabels> = "traceprobe_clock_offset_seconds",
        "How far the system clock is ahead of the probe's, which never steps; negative if behind. Added to every stage's clock_allowance and corrected at 0.5 ms/s. Beyond 1.5 s the process ends.";
    store_degraded: IntGauge<NoLabels> = "traceprobe_store_degraded",
        "1 while the store cannot be written and traces are kept in memory only: a restart now would forget what is in flight. The log and the page say why. 0 with store.path = \"memory\".";
    reload_successful: IntGauge<NoLabels> = "traceprobe_config_last_reload_successful",
        "1 if the configuration that was read last is in force; 0 if it was refused and the one before stays in force. The log and the page name its faults.";
    reload_success_at: Gauge<NoLabels> = "traceprobe_config_last_reload_success_timestamp_seconds",
        "When the configuration in force was read, as seconds since 1970: at the start, or by the last reload that was not refused.";
    connections: IntGauge<NoLabels> = "traceprobe_web_connections",
        "Open connections of the web port. At web.max_connections, the one that has waited longest without a complete request is closed for a new one, then the longest idle.";
    connections_accepted: Counter<NoLabels> = "traceprobe_web_connections_accepted_total",
        "Connections that the web port accepted.";
    connections_closed: Counter<ClosedConnection> = "traceprobe_web_connections_closed_total",
        "Closed connections of the web port by reason: client (it closed), invalid (not HTTP), handshake (TLS failed), head_too_large, no_request and slow_head (no complete request in time), idle, slow_reader (did not read its answer), evicted (made room for a new one), memory (unread answers took too much), stopped. Many evicted, slow_head or memory: somebody floods the port.";
    connections_refused: Counter<RefusedConnection> = "traceprobe_web_refused_total",
        "What the web port refused by reason: peer (a connection beyond web.max_connections_per_peer), streams (too many event streams), host (the request names a host that is not in web.hosts), certificate and login (the client has not shown who it is).";
    exported: Counter<ExportedTraces> = "traceprobe_otlp_traces_total",
        "Traces that were to be exported over OTLP by result: sent, failed (refused, rejected in a partial success, or the receiver could not be reached for 5 minutes), dropped (the queue was full). It stays 0 unless otlp.endpoint is set.";
    build_info: IntGauge<OfBuild> = "traceprobe_build_info",
        "Always 1; labels give the version and revision.";
}
