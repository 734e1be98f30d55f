//! What is exported, and what is dropped.

use std::time::Duration;

use super::message::{Span, StatusCode};
use super::*;
use crate::domain::outcome::Outcome;
use crate::domain::tag::{InstanceCode, Purpose, Tag};
use crate::domain::time::Timestamp;
use crate::domain::topology::{HopRange, StageId, TenantId, fixture};
use crate::domain::trace::{Hop, Origin, Put};
use crate::metrics::{BucketBounds, Format, Metrics, StageCosts};

fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(1_000_000 + secs)
}

/// A trace that CloudWatch Logs took after a second, and that ended after a minute.
pub(super) fn trace(map: &Topology, random: u8, outcome: Outcome) -> Trace {
    let id = TraceId::new(at(0), [random; 10]);
    let tag = Tag::new(id, map.tenant(TenantId(0)).code, InstanceCode::of("test"), 100, Purpose::Probe);
    let mut trace = Trace::new(tag, TenantId(0), map.stage_ids().count(), Origin::Planned);
    trace.put = Put::Accepted { at: at(1) };
    trace.ended = Some((outcome, at(60)));
    trace
}

pub(super) fn metrics(map: &Arc<Topology>) -> Metrics {
    let bounds = BucketBounds::new(&[Duration::from_secs(1)]);
    Metrics::new(map.clone(), &bounds, Arc::new(Vec::new), StageCosts::default()).unwrap()
}

pub(super) fn settings(sample: u32) -> Settings {
    Settings {
        endpoint: "http://127.0.0.1:1".to_owned(),
        headers: Vec::new(),
        sample,
        proxy: Proxy::default(),
    }
}

fn spans(trace: Trace, map: &Arc<Topology>) -> Vec<Span> {
    let source = Source { version: "0".to_owned(), instance: "test".to_owned() };
    let request = spans::request(&source, &[(Arc::new(trace), map.clone())]);
    request.resource_spans.into_iter().flat_map(|it| it.scope_spans).flat_map(|it| it.spans).collect()
}

fn first_hop(map: &Topology) -> StageId {
    map.main_path()[0]
}

#[test]
fn a_lost_canary_is_an_error_at_the_hop_that_lost_it() {
    let map = Arc::new(fixture::topology());
    let hop = first_hop(&map);
    let mut lost = trace(&map, 1, Outcome::Lost(HopRange::one(hop)));
    lost.stages[usize::from(hop.0)].hop = Hop::Missing;
    let spans = spans(lost, &map);
    let errors: Vec<_> = spans
        .iter()
        .filter_map(|span| {
            let status = span.status.as_ref().unwrap();
            (status.code == StatusCode::Error as i32).then(|| (span.name.clone(), status.message.clone()))
        })
        .collect();
    let name = &map.stage(hop).name;
    let expected = [
        ("canary".to_owned(), format!("lost on {name}")),
        (format!("hop {name}"), "proven absent at the deadline".to_owned()),
    ];
    assert_eq!(errors, expected);
}

#[test]
fn an_unobserved_canary_is_no_error() {
    let map = Arc::new(fixture::topology());
    let reason = crate::domain::outcome::UnobservedReason::Blind;
    let spans = spans(trace(&map, 1, Outcome::Unobserved(reason)), &map);
    let status = spans[0].status.as_ref().unwrap();
    assert_eq!((status.code, &*status.message), (StatusCode::Unset as i32, "unobserved: blind"));
}

#[test]
fn a_trace_that_is_sent_twice_has_the_same_spans() {
    let map = Arc::new(fixture::topology());
    let once = spans(trace(&map, 1, Outcome::Delivered), &map);
    assert_eq!(once, spans(trace(&map, 1, Outcome::Delivered), &map));
    assert_eq!(once[0].trace_id, trace(&map, 1, Outcome::Delivered).id().as_u128().to_be_bytes());
    assert_ne!(once[0].span_id, once[1].span_id);
}

#[test]
fn all_failures_and_one_success_in_so_many_are_exported() {
    let map = Arc::new(fixture::topology());
    for (sample, outcome, expected) in [
        (0, Outcome::Delivered, 0),
        (1, Outcome::Delivered, 255),
        (0, Outcome::Late, 255),
        (1_000_000, Outcome::Late, 255),
    ] {
        let (exporter, mut queue) = Exporter::new(&settings(sample), metrics(&map).exports());
        let all: Vec<_> = (0..255).map(|random| Arc::new(trace(&map, random, outcome.clone()))).collect();
        exporter.offer(&all, &map);
        let mut taken = 0;
        while queue.try_recv().is_ok() {
            taken += 1;
        }
        assert_eq!(taken, expected, "{sample} {outcome:?}");
    }
}

#[test]
fn what_does_not_fit_into_the_queue_is_dropped_and_counted() {
    let map = Arc::new(fixture::topology());
    let metrics = metrics(&map);
    let (exporter, _queue) = Exporter::new(&settings(0), metrics.exports());
    let late = Arc::new(trace(&map, 1, Outcome::Late));
    exporter.offer(&vec![late; QUEUE + 3], &map);
    let scrape = metrics.render(Format::Text);
    assert!(scrape.contains("traceprobe_otlp_traces_total{result=\"dropped\"} 3\n"), "{scrape}");
}
