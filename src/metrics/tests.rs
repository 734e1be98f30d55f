use super::*;
use crate::config::Config;
use crate::domain::canary::Integrity;
use crate::domain::conditions::Criteria;
use crate::domain::copies::UnchargedReason;
use crate::domain::cost::{BytePrice, Costs, Operation};
use crate::domain::format::FoundIn;
use crate::domain::sighting::{Drift, FailureKind, Locator, Poll, Sighting, Stamp};
use crate::domain::tag::{InstanceCode, Purpose, Tag};
use crate::domain::time::Interval;
use crate::domain::topology::{Capabilities, HopRange, Role, Source, Stage, fixture};
use crate::domain::tracker::{Drifted, Input, LeakedTenant, PutResult, Queue, Settings, Tracker};

fn metrics() -> Metrics {
    let bounds = BucketBounds::new(&[1, 10, 30, 60, 300].map(Duration::from_secs));
    Metrics::new(Arc::new(fixture::topology()), &bounds, Arc::new(Vec::new), StageCosts::default()).unwrap()
}

fn rules() -> Settings {
    let any = Duration::from_secs(30);
    Settings {
        slo: any,
        give_up: any,
        grace: any,
        blind_after: any,
        recheck_for: any,
        copy_recheck: any,
        max_in_flight: 10,
        remember: 10,
        remember_of_tenant: 10,
        handover: Duration::ZERO,
        is_kept: true,
        instance: InstanceCode::of("me"),
    }
}

#[test]
fn every_series_of_every_tenant_is_initialised_to_0() {
    let text = metrics().render(Format::Text);
    for series in [
        r#"traceprobe_traces_total{outcome="lost",tenant="globex"} 0"#,
        r#"traceprobe_lost_total{stage="transit..table",tenant="acme"} 0"#,
        r#"traceprobe_e2e_latency_seconds_bucket{tenant="acme",le="30.0"} 0"#,
        r#"traceprobe_e2e_latency_seconds_count{tenant="acme"} 0"#,
        r#"traceprobe_isolation_violations_total{stage="table",tenant="acme"} 0"#,
        r#"traceprobe_observer_polls_total{owner="shared",result="throttled",stage="table"} 0"#,
        r#"traceprobe_injections_total{result="missed",tenant="acme"} 0"#,
        "traceprobe_store_degraded 0\n",
        "traceprobe_clock_error_bound_seconds 0\n",
        "traceprobe_clock_synchronized 1\n",
    ] {
        assert!(text.contains(series), "{series} is not in\n{text}");
    }
}

#[test]
fn both_formats_hold_the_same_series() {
    let metrics = metrics();
    let series = |format| {
        let text = metrics.render(format);
        let lines = text.lines().filter(|line| !line.starts_with('#') && !line.starts_with("process_"));
        lines.map(|line| line.split(' ').next().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(series(Format::Text), series(Format::OpenMetrics));
}

#[test]
fn a_bucket_has_the_last_trace_as_its_exemplar() {
    let metrics = metrics();
    let trace = TraceId::from_u128(0xabc);
    let latency = Duration::from_secs(7);
    let tenant = fixture::ACME;
    let event = Event::EndToEnd { tenant, trace, latency, judgement: Judgement::Good, counted: false };
    metrics.record(&event, Timestamp::from_secs(1_000));
    let text = metrics.render(Format::OpenMetrics);
    let exemplar =
        r#"{tenant="acme",le="10.0"} 1 # {trace_id="00000000000000000000000000000abc"} 7.0 1000.000"#;
    assert!(text.contains(exemplar), "{text}");
    assert!(text.ends_with("# EOF\n"));
    assert!(!metrics.render(Format::Text).contains(" # {"), "the text format has no exemplars");
}

#[test]
fn the_documented_metric_table_matches_the_registry() {
    let shipped = include_str!("../../docs/metrics.md");
    assert!(
        shipped.contains(&metrics().table()),
        "docs/metrics.md is out of date; its table must be:\n\n{}",
        metrics().table()
    );
}

#[test]
fn a_scrape_never_sees_half_of_an_event() {
    let metrics = metrics();
    let number = |text: &str, series: &str| {
        let line = text.lines().find(|line| line.starts_with(series)).unwrap();
        line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()
    };
    std::thread::scope(|threads| {
        let counting = threads.spawn(|| {
            for n in 0..20_000 {
                let (tenant, trace) = (fixture::ACME, TraceId::from_u128(n));
                let latency = Duration::from_secs(7);
                let event =
                    Event::EndToEnd { tenant, trace, latency, judgement: Judgement::Good, counted: false };
                metrics.record(&event, Timestamp::from_secs(1_000));
            }
        });
        while !counting.is_finished() {
            let text = metrics.render(Format::Text);
            let met = number(&text, r#"traceprobe_e2e_latency_seconds_bucket{tenant="acme",le="30.0"}"#);
            assert_eq!(met, number(&text, r#"traceprobe_slo_good_traces_total{tenant="acme"}"#));
            assert_eq!(met, number(&text, r#"traceprobe_slo_traces_total{tenant="acme"}"#));
        }
    });
}

#[test]
fn drifted_columns_are_counted_for_tables_only_and_start_at_0() {
    let map = fixture::topology();
    let stages = map.stages().iter().cloned().map(|stage| match &*stage.name {
        "table" => Stage { capabilities: Capabilities { schema: true, ..stage.capabilities }, ..stage },
        _ => stage,
    });
    let map = Topology::new(map.tenants().to_vec(), stages.collect(), map.sources().to_vec()).unwrap();
    let map = Arc::new(map);
    let bounds = BucketBounds::new(&[1, 30].map(Duration::from_secs));
    let metrics = Metrics::new(map.clone(), &bounds, Arc::new(Vec::new), StageCosts::default()).unwrap();
    let series = || {
        let text = metrics.render(Format::Text);
        text.lines().filter(|line| line.starts_with("traceprobe_schema_drift{")).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(series(), r#"traceprobe_schema_drift{stage="table"} 0"#);
    let mut snapshot =
        Tracker::new(map.clone(), rules(), Timestamp::MIN).snapshot(Timestamp::from_secs(1_000));
    let table = map.source_of(fixture::ACME, map.end());
    let gone = Drift { column: "level".into(), from: Some("STRING".into()), to: None };
    snapshot.sources[table.0 as usize].drifted =
        Some(Drifted { since: None, changes: [gone].into(), accept: None });
    metrics.show(&snapshot);
    assert_eq!(series(), r#"traceprobe_schema_drift{stage="table"} 1"#);
}

#[test]
fn calls_and_bytes_are_priced_by_their_kind() {
    const LIST: Costs = Costs {
        operations: &[Operation { service: "store", name: "List", permission: "store:List", dollars: 0.25 }],
        bytes: &[BytePrice { service: "store", of: Bytes::Read, dollars: 0.5 }],
    };
    let map = Arc::new(fixture::topology());
    let stages = map.stage_ids().map(|stage| if stage == map.end() { LIST } else { Costs::NONE }).collect();
    let calls = || {
        let called = |operation: &str, count| Calls {
            service: "store".to_owned(),
            operation: operation.to_owned(),
            result: "ok".to_owned(),
            count,
        };
        vec![called("List", 3), called("Get", 100)]
    };
    let bounds = BucketBounds::new(&[Duration::from_secs(1)]);
    let costs = StageCosts { all: vec![LIST], stages, budgets: BudgetsSoFar::default() };
    let metrics = Metrics::new(map.clone(), &bounds, Arc::new(calls), costs).unwrap();
    let cost =
        |dollars: &str| format!("traceprobe_estimated_cost_dollars_total{{service=\"store\"}} {dollars}\n");
    assert!(metrics.render(Format::Text).contains(&cost("0.75")), "an operation without a price is free");
    for stage in map.stage_ids() {
        let source = map.source_of(fixture::ACME, stage);
        let stats = ReadStats { bytes: 4, ..ReadStats::default() };
        let polled = Event::PollAnswered { source, complete: true, took: Duration::ZERO, stats };
        metrics.record(&polled, Timestamp::from_secs(1));
    }
    assert!(metrics.render(Format::Text).contains(&cost("2.75")), "only the end stage is billed by the byte");
}

/// The fixture's topology, whose stages together have all optional capabilities.
fn capable_topology() -> Arc<Topology> {
    let map = fixture::topology();
    let stages = map.stages().iter().cloned().map(|stage| {
        let is = |name: &str| *stage.name == *name;
        let capabilities = Capabilities {
            absence: true,
            behind: is("stream"),
            queue: is("dead"),
            schema: is("table"),
            billed_bytes: is("table"),
            moves: false,
            reads_gaps: false,
        };
        Stage { capabilities, ..stage }
    });
    let stages = stages.collect();
    Arc::new(Topology::new(map.tenants().to_vec(), stages, map.sources().to_vec()).unwrap())
}

/// Every event that is counted, with every possible value of its labels.
fn every_event(map: &Topology) -> Vec<Event> {
    let trace = TraceId::from_u128(0xabc);
    let latency = Duration::from_secs(7);
    let waited = Duration::from_secs(300);
    let mut events = Vec::new();
    for tenant in map.tenant_ids() {
        events.extend([
            Event::Full { tenant },
            Event::Missed { tenant, count: 2 },
            Event::Accepted { tenant, trace },
            Event::Ambiguous { tenant, trace, reason: "no answer".into() },
            Event::Overdue { tenant, trace },
            Event::GaveUp { tenant, trace, waited, counted: false },
        ]);
        for judgement in [Judgement::Good, Judgement::Slow, Judgement::Unjudged] {
            events.push(Event::EndToEnd { tenant, trace, latency, judgement, counted: false });
        }
        let lost = HopRange::all(map.main_path()).map(Outcome::Lost);
        let dead = Outcome::DeadLettered(fixture::DEAD);
        let others = [
            Outcome::Delivered,
            Outcome::Late,
            Outcome::Unobserved(crate::domain::outcome::UnobservedReason::Blind),
            Outcome::Refused("full".into()),
            dead,
        ];
        for outcome in lost.chain(others) {
            for adopted in [true, false] {
                events.push(Event::Ended { tenant, trace, outcome: outcome.clone(), adopted });
            }
        }
        for stage in map.stage_ids() {
            let interval = Interval::new(Timestamp::from_secs(1), Timestamp::from_secs(3));
            let locator = Locator::new("row 1");
            events.extend([
                Event::Arrived { tenant, stage, trace, interval, noticed_after: latency },
                Event::LateArrival { tenant, stage, trace },
                Event::Duplicate { tenant, stage, trace, locator },
                Event::UnchargedCopy { tenant, stage, trace, reason: UnchargedReason::RetriedPut },
                Event::Corrupted { tenant, stage, trace },
                Event::IsolationViolation {
                    tenant: LeakedTenant::Known(tenant),
                    stage,
                    trace,
                    found_in: "elsewhere".into(),
                },
                Event::ClockInversion { tenant, stage, trace },
                Event::Stray { stage, tenant: Some(tenant), other_instance: true },
                Event::Stray { stage, tenant: Some(tenant), other_instance: false },
            ]);
            if map.stage(stage).role != Role::DeadLetter {
                events.extend([
                    Event::HopMeasured { tenant, hop: stage, trace, latency, counted: false },
                    Event::HopOverdue { tenant, hop: stage, trace },
                    Event::HopMissing { tenant, hop: stage, trace, waited: Some(waited), counted: true },
                ]);
            }
        }
    }
    for source in map.source_ids() {
        let stats =
            ReadStats { bytes: 4, records: 3, decode_errors: 2, billed_bytes: 1, ..ReadStats::default() };
        events.push(Event::ForeignTags { stage: map.source(source).stage, source, count: 5 });
        for complete in [true, false] {
            events.push(Event::PollAnswered { source, complete, took: latency, stats });
        }
        events.extend(FailureKind::ALL.map(|kind| Event::PollFailed { source, kind }));
    }
    events
}

fn criteria() -> Criteria {
    Criteria::new(Duration::from_secs(30))
}

#[test]
fn a_condition_is_1_while_it_is_a_problem() {
    let map = capable_topology();
    let bounds = BucketBounds::new(&[1, 30].map(Duration::from_secs));
    let metrics = Metrics::new(map.clone(), &bounds, Arc::new(Vec::new), StageCosts::default()).unwrap();
    let on = || {
        let text = metrics.render(Format::Text);
        let lines = text.lines().filter(|line| line.starts_with("traceprobe_condition{"));
        lines.filter_map(|line| line.strip_suffix(" 1")).map(str::to_owned).collect::<Vec<_>>()
    };
    let all = metrics.render(Format::Text).matches("\ntraceprobe_condition{").count();
    assert!(all > 100 && on().is_empty(), "{all} {:?}", on());
    let mut snapshot =
        Tracker::new(map.clone(), rules(), Timestamp::MIN).snapshot(Timestamp::from_secs(1_000));
    let stream = map.source_of(fixture::ACME, fixture::STREAM);
    snapshot.sources[stream.0 as usize].blind_since = Some(Timestamp::from_secs(960));
    snapshot.not_stored = Some((Timestamp::from_secs(970), "disk full".into()));
    metrics.show_conditions(&Assessment::new(&snapshot, &criteria()));
    let expected = [
        r#"traceprobe_condition{condition="cannot_see",stage="stream",tenant="acme"}"#,
        r#"traceprobe_condition{condition="store_degraded",stage="",tenant=""}"#,
    ];
    assert_eq!(on(), expected);
    snapshot.sources[stream.0 as usize].blind_since = None;
    metrics.show_conditions(&Assessment::new(&snapshot, &criteria()));
    assert_eq!(on(), expected[1..]);
}

/// A snapshot in which every gauge is above 0.
fn snapshot_with_failures(map: &Arc<Topology>) -> Snapshot {
    let mut tracker = Tracker::new(map.clone(), rules(), Timestamp::MIN);
    for tenant in map.tenant_ids() {
        let trace = TraceId::new(Timestamp::from_secs(900), [u8::try_from(tenant.0).unwrap(); 10]);
        let tag = Tag::new(trace, map.tenant(tenant).code, rules().instance, 200, Purpose::Probe);
        tracker.plan(tag, Timestamp::from_secs(900), &mut Vec::new()).unwrap();
    }
    let mut snapshot = tracker.snapshot(Timestamp::from_secs(1_000));
    for view in &mut snapshot.sources {
        let gone = Drift { column: "level".into(), from: Some("STRING".into()), to: None };
        view.waiting = 1;
        view.watermark = Some(Timestamp::from_secs(950));
        view.blind_since = Some(Timestamp::from_secs(960));
        view.behind = Some(Duration::from_secs(3));
        let has_columns = map.stage(map.source(view.source).stage).capabilities.schema;
        let drifted = Drifted { since: None, changes: [gone].into(), accept: None };
        view.drifted = Some(drifted).filter(|_| has_columns);
    }
    snapshot
}

#[test]
fn sources_with_the_same_labels_show_the_worst_of_them_and_all_messages() {
    let map = capable_topology();
    // At every stage a source for each tenant, as if others were at each of them.
    let shared = |(tenant, stage)| {
        let name = format!("{}.{}", map.stage(stage).name, map.tenant(tenant).name);
        Source { stage, name: name.into(), owner: Owner::Shared, tenants: vec![tenant] }
    };
    let places = map.stage_ids().flat_map(|stage| map.tenant_ids().map(move |tenant| (tenant, stage)));
    let sources = places.map(shared).collect();
    let map = Topology::new(map.tenants().to_vec(), map.stages().to_vec(), sources).unwrap();
    let map = Arc::new(map);
    let bounds = BucketBounds::new(&[1, 30].map(Duration::from_secs));
    let metrics = Metrics::new(map.clone(), &bounds, Arc::new(Vec::new), StageCosts::default()).unwrap();
    let mut snapshot =
        Tracker::new(map.clone(), rules(), Timestamp::MIN).snapshot(Timestamp::from_secs(1_000));
    let at = |stage| map.tenant_ids().map(move |tenant| (tenant, stage));
    let index = |(tenant, stage)| map.source_of(tenant, stage).0 as usize;
    for (place, seconds) in at(fixture::STREAM).zip([40, 2]) {
        let view = &mut snapshot.sources[index(place)];
        view.waiting = 1;
        view.watermark = Some(Timestamp::from_secs(1_000 - seconds));
        view.behind = Some(Duration::from_secs(seconds.cast_unsigned()));
    }
    for (place, messages) in at(fixture::DEAD).zip([5, 2]) {
        snapshot.sources[index(place)].queue = Some(Queue { messages, since: None });
    }
    metrics.show(&snapshot);
    let text = metrics.render(Format::Text);
    for series in [
        r#"traceprobe_observer_watermark_age_seconds{owner="shared",stage="stream"} 40"#,
        r#"traceprobe_kinesis_behind_latest_seconds{owner="shared",stage="stream"} 40"#,
        r#"traceprobe_dead_letters{owner="shared",stage="dead"} 7"#,
    ] {
        assert!(text.contains(series), "{series} is not in\n{text}");
    }
}

#[test]
fn every_series_exists_from_the_start() {
    let map = capable_topology();
    let bounds = BucketBounds::new(&[1, 30].map(Duration::from_secs));
    let metrics = Metrics::new(map.clone(), &bounds, Arc::new(Vec::new), StageCosts::default()).unwrap();
    let series = || {
        let text = metrics.render(Format::Text);
        let lines = text.lines().filter(|line| !line.starts_with('#') && !line.starts_with("process_"));
        lines.map(|line| line.rsplit_once(' ').unwrap().0.to_owned()).collect::<Vec<_>>()
    };
    let at_the_start = series();
    every_event(&map).iter().for_each(|event| metrics.record(event, Timestamp::from_secs(1_000)));
    map.tenant_ids().for_each(|tenant| metrics.put(tenant, Duration::from_secs(1), 200));
    let failing = snapshot_with_failures(&map);
    metrics.show(&failing);
    metrics.show_conditions(&Assessment::new(&failing, &criteria()));
    let added: Vec<_> = series().into_iter().filter(|series| !at_the_start.contains(series)).collect();
    assert_eq!(added, [""; 0]);
}

/// Of the shipped configuration, with dead letters as the fifth stage.
#[test]
fn a_tenant_has_at_most_270_series() {
    let shipped = include_str!("../../config/traceprobe.toml");
    let dead_letters = "[[stage]]\nname = \"dead_letters\"\nkind = \"sqs\"\nafter = \"tenant_stream\"\nrole = \"dead_letter\"\n\
        queue_url = \"https://sqs.eu-central-1.amazonaws.com/999999999999/dead-letters\"\npeek = true\n";
    let key = ("TRACEPROBE_TAG_KEY".to_owned(), "0123456789abcdef".to_owned());
    let config = Config::parse(&format!("{shipped}\n{dead_letters}"), [key]).unwrap();
    let map = Arc::new(config.topology());
    assert_eq!(map.stages().len(), 5);
    let bounds = BucketBounds::new(&config.probe.buckets);
    let metrics = Metrics::new(map.clone(), &bounds, Arc::new(Vec::new), StageCosts::default()).unwrap();
    let text = metrics.render(Format::Text);
    let of_tenant = format!("tenant=\"{}\"", map.tenants()[0].name);
    let series = text.lines().filter(|line| line.contains(&of_tenant)).count();
    assert!(series <= 270, "{series} series");
}

#[test]
fn a_hop_can_be_compared_with_its_own_thresholds() {
    let map = fixture::topology();
    let bounds = BucketBounds::new(&[1, 5, 6, 7, 30].map(Duration::from_secs));
    let with_target = |target| {
        let stages = map.stages().iter().cloned();
        let stages = stages.map(|stage| Stage { target: Some(Duration::from_secs(target)), ..stage });
        Arc::new(Topology::new(map.tenants().to_vec(), stages.collect(), map.sources().to_vec()).unwrap())
    };
    let metrics = Metrics::new(with_target(6), &bounds, Arc::new(Vec::new), StageCosts::default()).unwrap();
    let bounds_of_hop = || {
        let text = metrics.render(Format::Text);
        let of_hop = text.lines().filter(|line| {
            line.starts_with("traceprobe_hop_latency_seconds_bucket{tenant=\"acme\",stage=\"stream\"")
        });
        of_hop.filter_map(|line| line.split('"').nth(5).map(str::to_owned)).collect::<Vec<_>>()
    };
    assert_eq!(bounds_of_hop(), ["1.0", "5.0", "6.0", "30.0", "+Inf"]);
    metrics.succeed(with_target(7));
    assert_eq!(bounds_of_hop(), ["1.0", "5.0", "7.0", "30.0", "+Inf"]);
}

#[test]
fn a_budget_that_is_half_used_is_shown_by_service() {
    let map = Arc::new(fixture::topology());
    let bounds = BucketBounds::new(&[Duration::from_secs(1), Duration::from_secs(30)]);
    let used = BudgetUsed { service: "kinesis", of: "calls", ratio: 0.5 };
    let costs = StageCosts { budgets: BudgetsSoFar::new(move || vec![used]), ..StageCosts::default() };
    let metrics = Metrics::new(map, &bounds, Arc::new(Vec::new), costs).unwrap();
    let text = metrics.render(Format::Text);
    assert!(text.contains("# TYPE traceprobe_budget_used_ratio gauge"), "{text}");
    let line = text.lines().find(|line| line.starts_with("traceprobe_budget_used_ratio{")).unwrap();
    assert!(line.contains("service=\"kinesis\"") && line.contains("budget=\"calls\""), "{line}");
    assert!(line.ends_with(" 0.5"), "{line}");
}

/// The values of the lines of a scrape that begin like this.
fn values(metrics: &Metrics, begin: &str) -> Vec<f64> {
    let text = metrics.render(Format::Text);
    let lines = text.lines().filter(|line| line.starts_with(begin));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect()
}

#[test]
fn a_missing_hop_that_a_previous_run_counted_as_overdue_enters_no_histogram() {
    let metrics = metrics();
    let (tenant, hop, trace) = (fixture::ACME, fixture::ARCHIVE, TraceId::from_u128(1));
    let event = Event::HopMissing { tenant, hop, trace, waited: None, counted: true };
    metrics.record(&event, Timestamp::from_secs(1_000));
    let missing = r#"traceprobe_missing_hops_total{stage="archive",tenant="acme"}"#;
    assert_eq!(values(&metrics, missing), [1.0]);
    for number in ["count", "sum"] {
        let series = format!(r#"traceprobe_hop_latency_seconds_{number}{{tenant="acme",stage="archive"}}"#);
        assert_eq!(values(&metrics, &series), [0.0], "{series}");
    }
}

#[test]
fn no_bucket_exceeds_the_count_if_the_target_changes_while_a_hop_is_overdue() {
    let map = fixture::topology();
    let with_target = |target| {
        let stages = map.stages().iter().cloned();
        let stages = stages.map(|stage| Stage { target: Some(Duration::from_secs(target)), ..stage });
        Arc::new(Topology::new(map.tenants().to_vec(), stages.collect(), map.sources().to_vec()).unwrap())
    };
    let bounds = BucketBounds::new(&[1, 5, 6, 7, 30].map(Duration::from_secs));
    let metrics = Metrics::new(with_target(6), &bounds, Arc::new(Vec::new), StageCosts::default()).unwrap();
    let planned_at = Timestamp::from_secs(1_000);
    let after = |secs| planned_at + Duration::from_secs(secs);
    let mut tracker = Tracker::new(with_target(6), rules(), planned_at);
    let trace = TraceId::new(planned_at, [1; 10]);
    let tag = Tag::new(trace, map.tenant(fixture::ACME).code, rules().instance, 200, Purpose::Probe);
    tracker.plan(tag, planned_at, &mut Vec::new()).unwrap();
    let source = map.source_of(fixture::ACME, fixture::STREAM);
    let poll = |tracker: &Tracker, secs, sightings| Input::Polled {
        source,
        poll: Poll {
            revision: tracker.wanted(source).revision,
            started: after(secs),
            finished: after(secs),
            watermark: Some(after(secs)),
            sightings,
            stats: ReadStats::default(),
            unreadable: Vec::new(),
            failed_batches: Vec::new(),
        },
    };
    let record = |events: Vec<Event>, secs| events.iter().for_each(|it| metrics.record(it, after(secs)));
    let count = r#"traceprobe_hop_latency_seconds_count{tenant="acme",stage="stream"}"#;
    let put = Input::Put { trace, result: PutResult::Accepted { doubled: false } };
    record(tracker.apply(put, planned_at), 0);
    let nothing = poll(&tracker, 8, Vec::new());
    record(tracker.apply(nothing, after(8)), 8);
    assert_eq!(values(&metrics, count), [1.0], "it is overdue");
    let events = tracker.succeed(with_target(7), after(9));
    metrics.succeed(with_target(7));
    record(events, 9);
    let sighting = Sighting {
        tag,
        stamp: Stamp::Millis(after(9)),
        seen_by: after(10),
        locator: Locator::new("1"),
        label: None,
        integrity: Integrity::Intact,
        found_in: FoundIn::default(),
    };
    let arrival = poll(&tracker, 10, vec![sighting]);
    record(tracker.apply(arrival, after(10)), 10);
    let counted = values(&metrics, count)[0];
    let buckets = values(&metrics, r#"traceprobe_hop_latency_seconds_bucket{tenant="acme",stage="stream""#);
    assert_eq!(buckets.len(), 5);
    assert!(buckets.iter().all(|bucket| *bucket <= counted), "{buckets:?} {counted}");
}
