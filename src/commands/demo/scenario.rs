//! What goes wrong in a demo: a pipeline that is well at first, and then is not, so that a person sees the change.

use std::fmt;
use std::time::Duration;

use clap::ValueEnum;

use crate::sandbox::{Distribution, Fault, Profile, Sandbox, Service, ServiceEffect, Stage, StageEffect};

/// How long all is well before something goes wrong: a few canaries of each tenant arrive in this time.
const WELL_FOR: Duration = Duration::from_secs(15);

/// What goes wrong. The first line of each stands in `--help`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// Nothing on purpose; about one event in a hundred is slow, lost or doubled, as in life
    Healthy,
    /// Nothing of one tenant passes the hop to transit any more
    Stall,
    /// One event in five of one tenant is dropped before transit, and the others are as fast as ever
    Loss,
    /// One event in three of one tenant is put aside under dlq/ instead of going to transit
    DeadLetter,
    /// Events of one tenant also turn up in another tenant's stream
    Leak,
    /// Kinesis refuses every read of one tenant's stream as too many
    Throttled,
    /// The table cannot be read any more, while the pipeline goes on writing to it
    Blind,
    /// Every third event of one tenant is stored twice in the table
    Duplicate,
    /// Every event of one tenant takes 42 s from transit to the table
    Slow,
    /// One tenant's log group refuses the canaries
    NotInjecting,
}

/// A fault, and what is said about it.
struct Plan {
    fault: Fault,
    /// What was done.
    done: String,
    /// What can be seen of it, where and when.
    expect: &'static str,
}

impl Scenario {
    /// How many tenants it takes.
    pub fn tenants(self) -> u8 {
        if self == Self::Leak { 2 } else { 1 }
    }

    /// What happens beside the fault: nothing, so that nothing distracts from it.
    pub fn profile(self) -> Profile {
        if self == Self::Healthy { Profile::Believable } else { Profile::Calm }
    }

    /// Waits while all is well, then switches the fault on and says so. Never ends.
    pub async fn play(self, sandbox: &Sandbox) -> std::convert::Infallible {
        let Some(plan) = self.plan(sandbox) else {
            println!("scenario {self}: nothing is going to be broken");
            return std::future::pending().await;
        };
        println!("scenario {self}: all is well for {} s", WELL_FOR.as_secs());
        tokio::time::sleep(WELL_FOR).await;
        sandbox.fault(plan.fault);
        println!("scenario {self}: {}", plan.done);
        println!("look for: {}", plan.expect);
        let admin = &sandbox.endpoints().admin;
        println!("to mend it: curl -X DELETE {admin}/faults");
        std::future::pending().await
    }

    /// What it does to the pipeline; `None` for nothing. The first tenant is the one that suffers.
    fn plan(self, sandbox: &Sandbox) -> Option<Plan> {
        let tenant = |at: usize| sandbox.tenants().get(at).map_or("", |tenant| &*tenant.name);
        let (first, second) = (tenant(0), tenant(1));
        let (fault, done, expect) = match self {
            Self::Healthy => return None,
            Self::Stall => (
                Fault::tenant_stage(first, Stage::Transit, StageEffect::Stall),
                format!("nothing of {first} passes the hop to transit from now on"),
                "STUCK at transit half a minute from now, since about now; the other tenants stay OK. In Prometheus the P95 of this tenant rises above 30 s.",
            ),
            Self::Loss => (
                Fault::tenant_stage(first, Stage::Transit, StageEffect::Lose { probability: 0.2 }),
                format!("one event in five of {first} is dropped before transit from now on"),
                "SLOW half a minute from now, because more than one in twenty is overdue; LOSING at transit after two minutes, when the first is given up.",
            ),
            Self::DeadLetter => (
                Fault::tenant_stage(first, Stage::Transit, StageEffect::DeadLetter { probability: 0.33 }),
                format!("one event in three of {first} is put aside as a dead letter from now on"),
                "LOSING at dead_letter within half a minute: a dead letter is proof, so nobody waits for its deadline.",
            ),
            Self::Leak => (
                Fault::tenant_stage(
                    first,
                    Stage::TenantStream,
                    StageEffect::Leak { probability: 0.2, into: second.to_owned() },
                ),
                format!("one event in five of {first} is also written to the stream of {second} from now on"),
                "LEAKING within half a minute, with the stream in which the copy was found.",
            ),
            Self::Throttled => (
                Fault::Service {
                    service: Service::Kinesis,
                    operation: Some("GetRecords".to_owned()),
                    tenant: Some(first.to_owned()),
                    effect: ServiceEffect::Throttle,
                },
                format!("Kinesis throttles every read of the stream of {first} from now on"),
                "CANNOT SEE tenant_stream after 15 s, with the service's own words; looks become rarer, and its canaries are delivered all the same.",
            ),
            Self::Blind => (
                Fault::service(Service::Bigquery, ServiceEffect::Deny),
                "BigQuery denies every query from now on; the pipeline goes on".to_owned(),
                "CANNOT SEE bigquery for all tenants after 15 s; nothing is called slow or lost, and latency says nothing. After three minutes the first traces end as unobserved.",
            ),
            Self::Duplicate => (
                Fault::tenant_stage(first, Stage::Bigquery, StageEffect::Duplicate { probability: 0.33 }),
                format!("every third event of {first} is stored twice in the table from now on"),
                "traces with two copies at bigquery, and traceprobe_duplicates_total; the verdict stays OK, since all arrive.",
            ),
            Self::Slow => (
                Fault::tenant_stage(
                    first,
                    Stage::Bigquery,
                    StageEffect::Delay { delay: Distribution::Fixed { ms: 42_000.0 } },
                ),
                format!("every event of {first} takes 42 s from transit to the table from now on"),
                "SLOW, after a moment of STUCK in which none has come yet: all arrive, and too late. The hop to bigquery is the one beyond its target.",
            ),
            Self::NotInjecting => (
                Fault::Service {
                    service: Service::Logs,
                    operation: Some("PutLogEvents".to_owned()),
                    tenant: Some(first.to_owned()),
                    effect: ServiceEffect::Deny,
                },
                format!("the log group of {first} refuses every canary from now on"),
                "NOT INJECTING within seconds, with the reason that CloudWatch Logs gives.",
            ),
        };
        Some(Plan { fault, done, expect })
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value();
        f.write_str(value.as_ref().map_or("", |value| value.get_name()))
    }
}
