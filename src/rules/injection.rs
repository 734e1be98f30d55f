//! Canaries that do not get into the log group.

use super::cohort::Cohort;
use super::promql::Lookup;
use super::rule::{Alert, Cause, Group};
use super::window::Scale;

pub(super) fn group(cohort: &Cohort<'_>, scale: &Scale) -> Group {
    let probe = &cohort.probe;
    let not_injecting = Alert {
        comment: "Decided by the probe: refused for one and a half intervals, or none sent for three.".to_owned(),
        hold: Some(scale.time(2)),
        summary: "{{ $labels.tenant }}: CloudWatch Logs accepts no canaries, so nothing is measured".to_owned(),
        description: "The page has the error. Refused: permission, role, or log group. No answer: network or endpoint. None \
                      sent: the probe has no CPU time, or too many canaries are in flight."
            .to_owned(),
        ..Alert::critical(
            "TraceprobeNotInjecting",
            "traceprobenotinjecting",
            Cause::Injection,
            probe.condition("tenant", "not_injecting", &[]),
        )
    };
    let long = cohort.over(30);
    let of = |matchers: &[&str]| probe.increase("tenant", "traceprobe_injections_total", matchers, &long);
    let failed = of(&["result!=\"accepted\""]);
    let planned = Lookup {
        before: "sum(increase(",
        name: "traceprobe_injections_total",
        matchers: &[],
        after: &format!("[{long}]))"),
        of: &["instance", "tenant"],
    };
    let failing = Alert {
        comment: "Some are accepted, too many are not. At least three, so that one timeout is not an alert. \
                  Without those of TraceprobeNotInjecting, which are still counted after its end.".to_owned(),
        summary: format!(
            "{{{{ $labels.tenant }}}}: {{{{ printf \"%.0f\" $value }}}} of {} canaries did not get into CloudWatch Logs \
             cleanly",
            probe.number(&planned)
        ),
        description: "They were refused, timed out, or were missed by the probe. The numbers for this tenant rest on fewer \
                      canaries than they should."
            .to_owned(),
        ..Alert::warning(
            "TraceprobeInjectionsFailing",
            "traceprobeinjectionsfailing",
            Cause::Injection,
            format!(
                "{failed} > 2.5\nand on (job, instance, tenant)\n{failed}\n/ ({} > 0)\n> 0.1\n{}",
                of(&[]),
                probe.unless_it_was("not_injecting", &[], &long)
            ),
        )
    };
    let late = Alert {
        summary: "{{ $labels.tenant }}: CloudWatch Logs takes canaries late".to_owned(),
        description: "Latency counts from the planned injection, so end to end rises as well, although the pipeline may be \
                      well. Usual causes are throttling in the client's account, or a probe that is short of CPU time."
            .to_owned(),
        ..Alert::warning(
            "TraceprobeLateInjection",
            "late-injection",
            Cause::Injection,
            probe.condition("tenant", "late_injection", &[]),
        )
    };
    cohort.group("injection", vec![not_injecting.into(), failing.into(), late.into()])
}
