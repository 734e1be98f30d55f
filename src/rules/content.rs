//! Events that arrive changed or twice, and tables that change.

use super::promql::Probe;
use super::rule::{Alert, Cause, Group};

pub(super) fn group(probe: &Probe<'_>) -> Group {
    let duplicates = Alert {
        comment: "Every hop delivers at least once, so a second copy now and then is within the contract. The \
                  condition begins with three of the canaries in its window, and more than 5 %."
            .to_owned(),
        summary: "{{ $labels.tenant }}: canaries are stored twice at {{ $labels.stage }}".to_owned(),
        description: "Copies that the probe may have made itself, and objects that were moved, are not counted. Look for \
                      timeouts and retries of what writes to that stage, and whether it marks its writes so that they \
                      can be recognised."
            .to_owned(),
        ..Alert::warning(
            "TraceprobeDuplicates",
            "duplicates",
            Cause::Content,
            probe.condition("tenant, stage", "duplicates", &[]),
        )
    };
    let corrupted = Alert {
        summary: "{{ $labels.tenant }}: canaries are cut or altered on the way to {{ $labels.stage }}"
            .to_owned(),
        description:
            "The trace's page shows which size is concerned and what differs. Look for a limit on length, a \
                      masking policy, or a changed transformer in front of that stage."
                .to_owned(),
        ..Alert::warning(
            "TraceprobeCorrupted",
            "corruption",
            Cause::Content,
            probe.condition("tenant, stage", "corruption", &[]),
        )
    };
    let drift = Alert {
        comment: "tenant is empty for a table of all tenants.".to_owned(),
        summary: "{{ with $labels.tenant }}{{ . }}{{ else }}all tenants{{ end }}: the table at {{ $labels.stage }} has \
                  other columns than expected"
            .to_owned(),
        description: "Rows that do not fit are refused by the table. The page names the columns; compare them with the \
                      last release of the loader. If the change is intended, the page also names the key that accepts \
                      it."
            .to_owned(),
        ..Alert::warning(
            "TraceprobeSchemaDrift",
            "schema-drift",
            Cause::Content,
            probe.condition("tenant, stage", "schema_drift", &[]),
        )
    };
    let letters = Alert {
        summary: "{{ if $labels.tenant }}{{ $labels.tenant }}: {{ end }}the dead-letter queue of {{ $labels.stage }} is not \
                  empty"
            .to_owned(),
        description: "Whose messages these are is not known. If canaries get through, some events are refused for what is \
                      in them; the function that gave up logged the error."
            .to_owned(),
        ..Alert::warning(
            "TraceprobeDeadLettersWaiting",
            "dead-letters-waiting",
            Cause::Content,
            probe.condition("tenant, stage", "dead_letters_waiting", &[]),
        )
    };
    let all = [duplicates, corrupted, drift, letters];
    Group::new("traceprobe-content", all.into_iter().map(Into::into).collect())
}
