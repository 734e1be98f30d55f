//! What a poll calls when many traces are in flight: the same as for one.

use std::collections::BTreeMap;
use std::time::Duration;

use traceprobe::cloud::calls::Calls;
use traceprobe::config::Config;
use traceprobe::daemon::{build, clock};
use traceprobe::domain::sighting::{Wanted, WantedTrace};
use traceprobe::domain::tag::{InstanceCode, Purpose, Tag, TenantCode, TraceId};
use traceprobe::domain::time::Timestamp;
use traceprobe::observe::Site;

use crate::support::stand::{Stand, variables};

/// So many traces, whose canaries were planned one after the other until now. The oldest is equally old,
/// however many there are.
fn waiting(code: TenantCode, traces: u32, now: Timestamp) -> Wanted {
    const OLDEST: Duration = Duration::from_mins(14);
    let planned = |nth: u32| {
        let planned_at = now - OLDEST + OLDEST * nth / traces;
        let mut random = [0; 10];
        random[6..].copy_from_slice(&nth.to_be_bytes());
        let trace = TraceId::new(planned_at, random);
        let tag = Tag::new(trace, code, InstanceCode::of("absent"), 100, Purpose::Check);
        WantedTrace { tag, planned_at }
    };
    Wanted { waiting: (0..traces).map(planned).collect(), ..Wanted::default() }
}

/// Polls every source twice. Returns the calls by service and operation.
async fn calls_of_polls(traces: u32) -> BTreeMap<String, u64> {
    let stand = Stand::brisk(1).await;
    let config = Config::load(&stand.config(), variables(&[])).expect("it is sound");
    let topology = config.topology();
    let recognizer = build::recognizer(&config.keyring, &topology);
    let clients = build::clients(&config.aws, &config.google, Calls::default()).await;
    let clients = clients.expect("they need nothing");
    let clock = clock::system().wall();
    let wanted = waiting(topology.tenants()[0].code, traces, clock.now());
    for (id, source) in topology.source_ids().zip(&config.sources) {
        let site = Site {
            topology: &topology,
            source: id,
            rhythm: source.rhythm,
            clients: &clients,
            recognizer: &recognizer,
            clock: &clock,
        };
        for _ in 0..2 {
            let poll = source.settings.poll_once(&site, &wanted).await.expect("the client was made");
            let poll = poll.unwrap_or_else(|error| panic!("{}: {error}", source.name));
            assert!(poll.watermark.is_some(), "{} was not read to its end", source.name);
        }
    }
    let mut calls = BTreeMap::new();
    for count in stand.sandbox.calls() {
        *calls.entry(format!("{} {}", count.service, count.operation)).or_default() += count.calls;
    }
    calls
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_traces_in_flight_cost_the_calls_of_one() {
    let one = calls_of_polls(1).await;
    let operations = ["GetRecords", "ListObjectsV2", "jobs.query"];
    assert!(operations.iter().all(|name| one.keys().any(|call| call.ends_with(name))), "{one:?}");
    for traces in [100, 10_000, 100_000] {
        assert_eq!(calls_of_polls(traces).await, one, "{traces} in flight");
    }
}
