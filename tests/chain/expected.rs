//! What is told of each fault.

use traceprobe::commands::demo::Scenario;

/// What is broken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Break {
    Scenario(Scenario),
    /// Nothing of any tenant reaches transit any more.
    All,
    /// Nothing; a drill is begun.
    Drill,
}

/// Who hears of an alert.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Told {
    pub alert: &'static str,
    pub receiver: &'static str,
    /// `None` if the alert is about no stage.
    pub stage: Option<&'static str>,
}

pub struct Case {
    /// Also the name of its job.
    pub name: &'static str,
    pub breaks: Break,
    pub tenants: usize,
    /// Of the form with a tenth of the times.
    pub interval: &'static str,
    pub window: &'static str,
    /// One of these must be told; the first that comes is the notification.
    pub told: &'static [Told],
    /// What may be told beside it.
    pub also: &'static [Told],
    /// Whether other tenants than the first are affected.
    pub all_tenants: bool,
    pub at_most: usize,
}

const fn told(receiver: &'static str, alert: &'static str, stage: Option<&'static str>) -> Told {
    Told { alert, receiver, stage }
}

/// A tenth of the default.
const INTERVAL: &str = "3s";
/// For what happens to a part of the canaries, so that enough are affected within a minute.
const FREQUENT: &str = "1s";
const WINDOW: &str = "90s";

const fn case(name: &'static str, scenario: Scenario, told: &'static [Told]) -> Case {
    Case {
        name,
        breaks: Break::Scenario(scenario),
        tenants: 2,
        interval: INTERVAL,
        window: WINDOW,
        told,
        also: &[],
        all_tenants: false,
        at_most: 2,
    }
}

pub const CASES: [Case; 12] = [
    case("healthy", Scenario::Healthy, &[]),
    case("stall", Scenario::Stall, &[told("pager", "TraceprobeStuck", Some("transit"))]),
    Case {
        interval: FREQUENT,
        // A warning that is told before the critical alert has enough canaries.
        also: &[
            told("chat", "TraceprobeMissing", Some("transit")),
            told("chat", "TraceprobeLatencyHigh", None),
        ],
        // The warning; the page; and when canaries are late no more, that those were lost, or its end would be taken
        // for an all-clear.
        at_most: 3,
        ..case(
            "loss",
            Scenario::Loss,
            &[told("pager", "TraceprobeLatencyCritical", None), told("pager", "TraceprobeLosing", None)],
        )
    },
    Case {
        interval: FREQUENT,
        ..case("dead-letter", Scenario::DeadLetter, &[told("pager", "TraceprobeLosing", None)])
    },
    Case {
        interval: FREQUENT,
        // A leak stays in its alert for an hour at the usual window.
        window: "20s",
        // Where it is found first, if the stream was not read for a while.
        also: &[
            told("pager", "TraceprobeIsolationViolation", Some("archive")),
            told("pager", "TraceprobeIsolationViolation", Some("transit")),
            told("pager", "TraceprobeIsolationViolation", Some("bigquery")),
        ],
        ..case(
            "leak",
            Scenario::Leak,
            &[told("pager", "TraceprobeIsolationViolation", Some("tenant_stream"))],
        )
    },
    case("throttled", Scenario::Throttled, &[told("pager", "TraceprobeStageBlind", Some("tenant_stream"))]),
    Case {
        all_tenants: true,
        ..case("blind", Scenario::Blind, &[told("pager", "TraceprobeStageBlind", Some("bigquery"))])
    },
    Case {
        interval: FREQUENT,
        ..case("duplicate", Scenario::Duplicate, &[told("chat", "TraceprobeDuplicates", Some("bigquery"))])
    },
    Case {
        // Until the first slow one arrives, nothing does.
        also: &[
            told("pager", "TraceprobeStuck", Some("bigquery")),
            told("chat", "TraceprobeHopOverTarget", Some("bigquery")),
        ],
        ..case("slow", Scenario::Slow, &[told("chat", "TraceprobeLatencyHigh", None)])
    },
    case("not-injecting", Scenario::NotInjecting, &[told("pager", "TraceprobeNotInjecting", None)]),
    Case {
        breaks: Break::All,
        tenants: 50,
        interval: "5s",
        all_tenants: true,
        at_most: 3,
        also: &[told("pager", "TraceprobeStuck", Some("transit"))],
        ..case("stall-of-50", Scenario::Stall, &[told("pager", "TraceprobeTotalStall", None)])
    },
    Case {
        breaks: Break::Drill,
        tenants: 1,
        // Also of the tenant of the drill.
        also: &[told("drill", "TraceprobeMissing", Some("bigquery"))],
        ..case("drill", Scenario::Healthy, &[told("drill", "TraceprobeStuck", Some("bigquery"))])
    },
];
