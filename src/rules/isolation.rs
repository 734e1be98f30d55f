//! Events of tenants that are mixed, and events of others.

use super::promql::Probe;
use super::rule::{About, Alert, Cause, Group};
use super::window::{self, Scale};

/// Parts of the scale that a leak stays in the alert: an hour, so that it is not overlooked.
const STAYS: u32 = 120;

pub(super) fn group(probe: &Probe<'_>, scale: &Scale) -> Group {
    let stays = window::text(scale.time(STAYS));
    let leaks = probe.increase("tenant, stage", "traceprobe_isolation_violations_total", &[], &stays);
    let leak = Alert {
        comment: "The target is zero, so one is enough.".to_owned(),
        summary:
            "{{ $labels.tenant }}: {{ printf \"%.0f\" $value }} canaries were found with another tenant at \
                  {{ $labels.stage }}"
                .to_owned(),
        description:
            "Treat it as a data incident: stop the writer in front of that stage, keep the evidence that the \
                      page shows (locator, object, row), and tell whoever owns data protection."
                .to_owned(),
        ..Alert::critical(
            "TraceprobeIsolationViolation",
            "traceprobeisolationviolation",
            Cause::Isolation,
            format!("{leaks} > 0.5"),
        )
    };
    let foreign = probe.increase("stage, owner", "traceprobe_foreign_tags_total", &[], &stays);
    let foreign = Alert {
        comment: "Nobody without the key can make a valid tag, so each one is a forgery or another probe.".to_owned(),
        about: About::Instance,
        summary: "{{ $labels.owner }}: {{ printf \"%.0f\" $value }} tags at {{ $labels.stage }} are not signed with a key \
                  of this probe"
            .to_owned(),
        description: "Another probe with another key writes into this pipeline, a key was changed without \
                      TRACEPROBE_TAG_KEYS_ACCEPTED, or somebody forges canaries. They are not counted as canaries."
            .to_owned(),
        ..Alert::warning(
            "TraceprobeForeignTags",
            "traceprobeforeigntags",
            Cause::Isolation,
            format!("{foreign} > 0.5"),
        )
    };
    Group::new("traceprobe-isolation", vec![leak.into(), foreign.into()])
}
