//! Nothing arrives any more. The probe decides it, so these alerts need neither a window nor `for`.

use super::cohort::Cohort;
use super::promql::{Lookup, Probe};
use super::rule::{About, Alert, Cause, Group};

/// After its end, for how many canaries an alert goes on: those of the window in which
/// [latency](super::latency) alerts still count the overdue ones, and two more. It inhibits them, so that the
/// end of a stall is not the beginning of another notification.
const KEEP: u32 = 12;

/// The stall of all tenants.
pub(super) fn total(probe: &Probe<'_>, slowest: &Cohort<'_>) -> Group {
    let waits = Lookup {
        before: "sum by (stage) (",
        name: "traceprobe_in_flight_traces",
        matchers: &[],
        after: ")",
        of: &["instance"],
    };
    let most = probe.largest_stage(&waits, "an unknown stage");
    let total = format!("max by (job, instance) ({}) > 0", probe.series("traceprobe_total_stall", &[]));
    let total = Alert {
        comment: "At least three tenants have an overdue canary, and nothing of any tenant has arrived since the \
                  first of them was planned. One notification for all tenants. keep_firing_for lasts until the \
                  windows of the tenants' alerts have forgotten the stall, so that they stay inhibited."
            .to_owned(),
        keep: Some(slowest.window(KEEP)),
        about: About::Instance,
        summary: format!("all tenants: nothing arrives any more from any tenant; most canaries wait for {most}"),
        description: "Something that all tenants share has stopped: the Lambda, credential or connection in front \
                      of that stage. Roll back its last deployment, and raise the retention of the streams if \
                      this will take long. Afterwards, the page says what was lost; that wakes somebody again only if \
                      it spends the error budget."
            .to_owned(),
        ..Alert::critical("TraceprobeTotalStall", "total-stall", Cause::Delivery, total)
    };
    Group::new("traceprobe-total-stall", vec![total.into()])
}

/// The stall of one tenant.
pub(super) fn group(cohort: &Cohort<'_>) -> Group {
    let probe = &cohort.probe;
    let waiting = Lookup {
        before: "sum(",
        matchers: &[],
        name: "traceprobe_in_flight_traces",
        after: ")",
        of: &["instance", "tenant", "stage"],
    };
    let stuck = Alert {
        comment:
            "Two canaries in a row are overdue, and nothing has arrived since. One overdue canary alone is a \
                  loss like any other."
                .to_owned(),
        keep: Some(cohort.window(KEEP)),
        summary: format!(
            "{{{{ $labels.tenant }}}}: nothing passes {{{{ $labels.stage }}}} any more; {} canaries wait there",
            probe.number(&waiting)
        ),
        description:
            "This tenant's part of the pipeline has stopped in front of that stage: its subscription \
                      filter, role, stream or event source mapping. What waits in a stream is safe until its \
                      retention ends. Afterwards, the page says what was lost; that wakes somebody again only if it \
                      spends the error budget."
                .to_owned(),
        ..Alert::critical(
            "TraceprobeStuck",
            "stuck",
            Cause::Delivery,
            probe.condition("tenant, stage", "stuck", &[]),
        )
    };
    cohort.group("stall", vec![stuck.into()])
}
