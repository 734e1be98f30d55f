//! The scenarios of the demo: the pipeline starts healthy and then breaks, so that the change is visible.

use std::fmt;
use std::time::Duration;

use clap::ValueEnum;

use super::super::output::say;
use crate::sandbox::{Distribution, Fault, Profile, Sandbox, Service, ServiceEffect, Stage, StageEffect};

/// How long the pipeline stays healthy before it breaks: a few canaries of each tenant arrive in this time.
const HEALTHY_FOR: Duration = Duration::from_secs(15);

/// What goes wrong. The first line of each variant is shown in `--help`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// Nothing is broken on purpose; about one event in a hundred is slow, lost or duplicated
    Healthy,
    /// One tenant's events stop reaching transit
    Stall,
    /// One in five of a tenant's events is dropped before transit; the rest arrive as fast as before
    Loss,
    /// One in three of a tenant's events becomes a dead letter instead of going to transit
    DeadLetter,
    /// One in five of a tenant's events is also written to another tenant's stream
    Leak,
    /// Kinesis throttles every read of one tenant's stream
    Throttled,
    /// BigQuery denies every query; the pipeline keeps writing to the table
    Blind,
    /// One in three of a tenant's events is stored twice in the table
    Duplicate,
    /// Each of a tenant's events takes 42 s from transit to the table
    Slow,
    /// One tenant's log group rejects its canaries
    NotInjecting,
}

/// A fault, and what is printed about it.
struct Plan {
    fault: Fault,
    /// What is printed when the fault begins: what is broken from now on.
    announcement: String,
    /// What the page and the metrics will show, and when.
    symptoms: &'static str,
}

impl Scenario {
    /// Returns how many tenants the scenario needs.
    #[must_use]
    pub fn tenants_needed(self) -> u8 {
        if self == Self::Leak { 2 } else { 1 }
    }

    /// Returns the profile of the pipeline. It is calm apart from a fault, so that nothing distracts from it.
    pub fn profile(self) -> Profile {
        if self == Self::Healthy { Profile::Believable } else { Profile::Calm }
    }

    /// Returns what the scenario switches on; `None` for nothing.
    #[must_use]
    pub fn fault(self, sandbox: &Sandbox) -> Option<Fault> {
        self.plan(sandbox).map(|plan| plan.fault)
    }

    /// Waits while the pipeline is healthy, then switches the fault on and explains it. Never returns.
    pub async fn play(self, sandbox: &Sandbox) -> std::convert::Infallible {
        let Some(plan) = self.plan(sandbox) else {
            say!("scenario {self}: nothing will be broken");
            return std::future::pending().await;
        };
        say!("scenario {self}: the pipeline is healthy for {} s", HEALTHY_FOR.as_secs());
        tokio::time::sleep(HEALTHY_FOR).await;
        sandbox.fault(plan.fault);
        say!("scenario {self}: {}", plan.announcement);
        say!("look for: {}", plan.symptoms);
        let admin = &sandbox.endpoints().admin;
        say!("to undo it, run: curl -X DELETE {admin}/faults");
        std::future::pending().await
    }

    /// Returns what the scenario does to the pipeline; `None` for nothing. It affects the first tenant.
    fn plan(self, sandbox: &Sandbox) -> Option<Plan> {
        let tenant = |index: usize| sandbox.tenants().get(index).map_or("", |tenant| &*tenant.name);
        let (first, second) = (tenant(0), tenant(1));
        let (fault, announcement, symptoms) = match self {
            Self::Healthy => return None,
            Self::Stall => (
                Fault::tenant_stage(first, Stage::Transit, StageEffect::Stall),
                format!("from now on, events of {first} no longer reach transit"),
                "STUCK at transit within half a minute, with a start time of about now; the other tenants stay OK. In Prometheus, the P95 of this tenant rises above 30 s.",
            ),
            Self::Loss => (
                Fault::tenant_stage(first, Stage::Transit, StageEffect::Lose { probability: 0.2 }),
                format!("from now on, one in five events of {first} is dropped before transit"),
                "MISSING at transit within a minute: some have not come out, the others are as fast as before; LOSING at transit after two minutes, when the first traces pass their deadline.",
            ),
            Self::DeadLetter => (
                Fault::tenant_stage(first, Stage::Transit, StageEffect::DeadLetter { probability: 0.33 }),
                format!("from now on, one in three events of {first} becomes a dead letter"),
                "LOSING at dead_letter within half a minute: a dead letter is proof, so there is no need to wait for the deadline.",
            ),
            Self::Leak => (
                Fault::tenant_stage(
                    first,
                    Stage::TenantStream,
                    StageEffect::Leak { probability: 0.2, into: second.to_owned() },
                ),
                format!(
                    "from now on, one in five events of {first} is also written to the stream of {second}"
                ),
                "LEAKING within half a minute, with the stream in which the copy was found.",
            ),
            Self::Throttled => (
                Fault::Service {
                    service: Service::Kinesis,
                    operation: Some("GetRecords".to_owned()),
                    tenant: Some(first.to_owned()),
                    effect: ServiceEffect::Throttle,
                },
                format!("from now on, Kinesis throttles every read of the stream of {first}"),
                "CANNOT SEE tenant_stream after 15 s, with the error of the service; the probe polls less often, but canaries are still delivered.",
            ),
            Self::Blind => (
                Fault::service(Service::Bigquery, ServiceEffect::Deny),
                "from now on, BigQuery denies every query; the pipeline keeps running".to_owned(),
                "CANNOT SEE bigquery for all tenants after 15 s; nothing is called slow or lost, and no latency is recorded. After three minutes the first traces end as unobserved.",
            ),
            Self::Duplicate => (
                Fault::tenant_stage(first, Stage::Bigquery, StageEffect::Duplicate { probability: 0.33 }),
                format!("from now on, one in three events of {first} is stored twice in the table"),
                "DUPLICATES at bigquery within a quarter of a minute; traces with two copies there, and traceprobe_duplicates_total. All arrive.",
            ),
            Self::Slow => (
                Fault::tenant_stage(
                    first,
                    Stage::Bigquery,
                    StageEffect::Delay { delay: Distribution::Fixed { ms: 42_000.0 } },
                ),
                format!("from now on, every event of {first} takes 42 s from transit to the table"),
                "STUCK for a moment, until the first event arrives, then SLOW: all arrive, but too late. The hop to bigquery is the one that misses its target.",
            ),
            Self::NotInjecting => (
                Fault::Service {
                    service: Service::Logs,
                    operation: Some("PutLogEvents".to_owned()),
                    tenant: Some(first.to_owned()),
                    effect: ServiceEffect::Deny,
                },
                format!("from now on, the log group of {first} rejects every canary"),
                "NOT INJECTING within seconds, with the error of CloudWatch Logs.",
            ),
        };
        Some(Plan { fault, announcement, symptoms })
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value();
        f.write_str(value.as_ref().map_or("", |value| value.get_name()))
    }
}
