use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::daemon::hold::Polled;
use crate::daemon::reload::Reloads;
use crate::daemon::store_writer::{OpenedStore, Settings as WriterSettings};
use crate::domain::aggregates::{self, Aggregates, Kept, KeptBucket};
use crate::domain::conditions::Criteria;
use crate::domain::outcome::Outcome;
use crate::domain::tag::TagKey;
use crate::domain::topology::fixture;
use crate::domain::tracker::Settings;
use crate::inject::TenantPut;
use crate::metrics::{BucketBounds, Format, StageCosts};
use crate::store::Naming;
use crate::store::tests::{ALL, Folder, episode, open};

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// What the engine's surroundings hold of it.
struct Around {
    engine: Engine,
    outbound: mpsc::Receiver<CanaryLine>,
    puts: mpsc::Sender<Report>,
    changes: mpsc::Sender<Change>,
    _inputs: mpsc::Sender<Input>,
}

async fn engine(folder: &Folder, queue: usize) -> Around {
    engine_on(folder, queue, crate::daemon::clock::system()).await
}

async fn engine_on(folder: &Folder, queue: usize, clock: ProbeClock) -> Around {
    let topology = Arc::new(fixture::topology());
    let naming = Naming::Host("host".to_owned());
    let settings = WriterSettings::new(Some(folder.file()), 1_000, secs(86_400));
    let started = StoreWriter::open(settings, topology.clone(), naming, ALL, clock.wall()).await.unwrap();
    let OpenedStore { writer, instance, loaded } = started;
    let settings = Settings {
        slo: secs(30),
        give_up: secs(120),
        grace: secs(60),
        blind_after: secs(20),
        recheck_for: secs(60),
        copy_recheck: secs(900),
        max_in_flight: 1_000,
        remember: 1_000,
        remember_of_tenant: 100,
        instance: instance.code,
        handover: Duration::ZERO,
        is_kept: true,
    };
    let mut tracker = Tracker::new(topology.clone(), settings, clock.now());
    let limits = aggregates::Settings { slo: settings.slo, give_up: settings.give_up };
    let mut figures = Aggregates::new(topology.clone(), limits, clock.now());
    figures.restore(loaded.aggregates, clock.now());
    let figures = SharedFigures::new(figures);
    tracker.restore(loaded.traces, clock.now());
    let (to_injector, outbound) = mpsc::channel(queue);
    let (puts, from_injector) = mpsc::channel(16);
    let (inputs, from_observers) = mpsc::channel(16);
    let (to_engine, changes) = mpsc::channel(1);
    let keys = Arc::new(Keyring::new(TagKey::new("0123456789abcdef").unwrap(), Vec::new()));
    let plan = keys.plan(topology.tenant(TenantId(0)).code, Duration::from_millis(5));
    let schedule = schedule(clock.now(), plan);
    let engine = Engine {
        criteria: Criteria::new(settings.slo),
        incidents: Incidents::new(Duration::from_secs(300)),
        unsaved: Changes::default(),
        exporter: None,
        drills: None,
        tracker,
        metrics: Metrics::new(
            topology.clone(),
            &BucketBounds::new(&[secs(30)]),
            Arc::new(Vec::new),
            StageCosts::default(),
        )
        .unwrap(),
        store: writer,
        keys,
        instance: instance.code,
        lanes: [(fixture::ACME, Lane::new(schedule, vec![200], vec![outbound_to(to_injector)]))].into(),
        agenda: Agenda::default(),
        polled: topology.source_ids().map(|id| (id, Polled::of_drill(watch::Sender::default()))).collect(),
        changes,
        reloads: watch::Sender::new(Reloads::default()).subscribe(),
        budgets: crate::cloud::budget::Budgets::default(),
        in_force: None,
        quiet_since: BTreeMap::new(),
        snapshots: watch::Sender::new(Arc::new(
            Tracker::new(topology.clone(), settings, clock.now()).snapshot(clock.now()),
        )),
        inputs: from_observers,
        puts: from_injector,
        topology,
        clock,
        stop_grace: Duration::ZERO,
        scrapes: Arc::default(),
        figures,
    };
    Around { engine, outbound, puts, changes: to_engine, _inputs: inputs }
}

fn outbound_to(queue: mpsc::Sender<CanaryLine>) -> Outbound {
    Outbound::new(queue, CancellationToken::new())
}

/// The files as they are at this moment: what a process that is killed now leaves behind.
fn as_if_killed_now(folder: &Folder) -> Folder {
    let image = Folder::new();
    for name in ["store.db", "store.db-wal"] {
        fs::copy(folder.0.join(name), image.0.join(name)).unwrap();
    }
    image
}

#[tokio::test]
async fn a_stop_leaves_time_for_a_scrape_of_the_last_outcome() {
    let folder = Folder::new();
    let mut engine = engine(&folder, 16).await.engine;
    engine.stop_grace = secs(25);
    assert_eq!(engine.drain(), secs(25), "nobody scrapes");
    (0..3).for_each(|_| engine.scrapes.note());
    let wait = engine.scrapes.longest_wait().unwrap();
    assert_eq!(engine.drain() + wait, secs(25));
    engine.stop_grace = wait / 2;
    assert_eq!(engine.drain(), wait / 4, "scrapes are too rare");
}

#[tokio::test]
async fn a_canary_is_on_disk_before_it_leaves() {
    let folder = Folder::new();
    let mut around = engine(&folder, 16).await;
    let stop = CancellationToken::new();
    let observe = async {
        for _ in 0..10 {
            let canary = around.outbound.recv().await.unwrap();
            let image = as_if_killed_now(&folder);
            let loaded = open(&image.file()).unwrap().store.load(ALL).unwrap();
            assert!(loaded.traces.iter().any(|trace| trace.id() == canary.trace), "{canary:?}");
        }
        stop.cancel();
    };
    tokio::join!(around.engine.run(stop.clone()), observe);
    drop(around.puts);
}

#[tokio::test]
async fn an_engine_that_stopped_takes_up_what_was_in_flight() {
    let folder = Folder::new();
    let mut around = engine(&folder, 16).await;
    let stop = CancellationToken::new();
    let observe = async {
        let canary = around.outbound.recv().await.unwrap();
        stop.cancel();
        canary.trace
    };
    let (_, trace) = tokio::join!(around.engine.run(stop.clone()), observe);
    let again = engine(&folder, 16).await;
    assert!(again.engine.tracker.in_flight_traces().any(|open| open.id() == trace));
}

#[tokio::test]
async fn a_canary_for_which_the_queue_has_no_room_is_refused_and_never_leaves() {
    let folder = Folder::new();
    let around = engine(&folder, 1).await;
    let mut snapshots = around.engine.snapshots.subscribe();
    let stop = CancellationToken::new();
    let observe = async {
        let refused = |snapshot: &Arc<Snapshot>| snapshot.finished.iter().any(|trace| trace.is_failure());
        snapshots.wait_for(refused).await.unwrap();
        stop.cancel();
    };
    tokio::join!(around.engine.run(stop.clone()), observe);
    let mut outbound = around.outbound;
    assert!(outbound.recv().await.is_some());
    assert_eq!(outbound.recv().await, None, "only one had room");
}

#[tokio::test]
async fn a_clock_that_is_set_ends_the_engine_and_what_was_in_flight_is_unobserved_on_disk() {
    let folder = Folder::new();
    let start = tokio::time::Instant::now();
    let set_by = Arc::new(AtomicU64::new(0));
    let shown = set_by.clone();
    let system =
        move || Timestamp::from_secs(1_800_000_000) + start.elapsed() + secs(shown.load(Ordering::Relaxed));
    let clock = ProbeClock::new(move || start.elapsed(), system);
    let mut around = engine_on(&folder, 1_000, clock).await;
    let stop = CancellationToken::new();
    let observe = async {
        for _ in 0..10 {
            around.outbound.recv().await.unwrap();
        }
        set_by.store(1_200, Ordering::Relaxed);
    };
    let (end, ()) = tokio::join!(around.engine.run(stop), observe);
    let End::ClockStepped(by) = end else { panic!("{end:?}") };
    // The two clocks are read one after the other, and time passes between.
    assert!(by.abs().abs_diff(secs(1_200)) < secs(1), "{by:?}");
    let loaded = open(&folder.file()).unwrap().store.load(ALL).unwrap();
    assert!(loaded.traces.len() >= 10);
    for trace in loaded.traces {
        assert!(matches!(trace.ended, Some((Outcome::Unobserved(_), _))), "{trace:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_whose_file_was_deleted_gets_every_bucket_again() {
    let folder = Folder::new();
    let mut engine = engine(&folder, 16).await.engine;
    let now = engine.clock.now();
    // Final, except for the last one, which still changes. None of them has changed since it was saved.
    let bucket = |hours: u64, form: u8| {
        let (step, tenant) = (aggregates::Step::Hour, fixture::ACME);
        let start = step.start(step.slot_of(now - secs(hours * 3_600)));
        KeptBucket { tenant, step, start, bytes: [form, 1, 0].into() }
    };
    let buckets: Vec<_> = (1..720).map(|hours| bucket(hours, 1)).chain([bucket(0, 2)]).collect();
    engine.figures.restore(Kept { known_since: Some(now), buckets: buckets.clone() }, now);
    let mut commit = async |id: u64| {
        engine.unsaved.episodes.push(episode(id, fixture::ACME));
        engine.commit(&mut Round::default(), true).await;
    };
    fs::remove_file(folder.file()).unwrap();
    tokio::time::advance(secs(60)).await;
    commit(1).await;
    commit(2).await;
    tokio::time::advance(secs(15)).await;
    commit(3).await;
    assert!(engine.store.degraded().is_none());
    engine.store.close().await;
    let mut found = open(&folder.file()).unwrap().store.load(ALL).unwrap().aggregates.buckets;
    found.sort_by_key(|bucket| std::cmp::Reverse(bucket.start));
    found.rotate_left(1);
    assert_eq!(found, buckets);
}

#[tokio::test]
async fn a_clock_that_is_a_little_off_is_followed_slowly() {
    let folder = Folder::new();
    let start = tokio::time::Instant::now();
    let system = move || Timestamp::from_secs(1_800_000_000) + start.elapsed() + ahead(start.elapsed());
    // Half a second forward, soon after the start.
    fn ahead(after: Duration) -> Duration {
        if after > Duration::from_millis(100) { Duration::from_millis(500) } else { Duration::ZERO }
    }
    let around = engine_on(&folder, 1_000, ProbeClock::new(move || start.elapsed(), system)).await;
    let metrics = around.engine.metrics.clone();
    let stop = CancellationToken::new();
    let observe = async {
        loop {
            let text = metrics.render(Format::Text);
            let offset = text.lines().find_map(|line| line.strip_prefix("traceprobe_clock_offset_seconds "));
            if offset.is_some_and(|offset| offset.starts_with("0.49") || offset.starts_with("0.5")) {
                break stop.cancel();
            }
            tokio::task::yield_now().await;
        }
    };
    let (end, ()) = tokio::join!(around.engine.run(stop.clone()), observe);
    assert_eq!(end, End::Stopped);
}

#[tokio::test]
async fn a_put_to_a_shared_log_group_is_counted_for_each_tenant() {
    let folder = Folder::new();
    let around = engine(&folder, 1_000).await;
    let metrics = around.engine.metrics.clone();
    let stop = CancellationToken::new();
    let took = |tenant, secs: u64| TenantPut { tenant, took: Duration::from_secs(secs), bytes: 200 };
    let puts = vec![took(fixture::ACME, 7), took(fixture::GLOBEX, 7), took(fixture::GLOBEX, 1)];
    around.puts.send(Report { results: Vec::new(), puts }).await.unwrap();
    let observe = async {
        let sum = r#"traceprobe_injection_duration_seconds_sum{tenant="globex"} 8"#;
        loop {
            let text = metrics.render(Format::Text);
            if text.contains(sum) {
                break stop.cancel();
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::join!(around.engine.run(stop.clone()), observe);
    let text = metrics.render(Format::Text);
    for series in [
        r#"traceprobe_injection_duration_seconds_count{tenant="acme"} 1"#,
        r#"traceprobe_injection_duration_seconds_sum{tenant="acme"} 7"#,
        r#"traceprobe_injection_duration_seconds_count{tenant="globex"} 2"#,
    ] {
        assert!(text.contains(series), "{series} is not in\n{text}");
    }
}

/// The change to the fixture's topology without globex, or with one more tenant, as who reads the file plans it.
fn change(before: &Topology, next: &Topology, lane: LaneChange) -> (Change, oneshot::Receiver<bool>) {
    let names =
        |map: &Topology, id| (map.source(id).stage, map.source(id).name.clone(), map.source(id).owner);
    let same =
        next.source_ids().map(|id| before.source_ids().find(|old| names(before, *old) == names(next, id)));
    let topology = Arc::new(before.succeeded_by(next, &same.collect::<Vec<_>>()).unwrap().topology);
    let new = topology.source_ids().filter(|id| !before.has_source(*id));
    let polled = new.map(|id| (id, Polled::of_drill(watch::Sender::default()))).collect();
    let (done, is_done) = oneshot::channel();
    let lanes = [(fixture::ACME, lane)].into();
    let (stage_costs, schemas) = (Vec::new(), Vec::new());
    (Change { topology, max_in_flight: 1_000, stage_costs, lanes, polled, schemas, done }, is_done)
}

#[tokio::test]
async fn a_lane_that_stays_goes_on_over_a_new_configuration() {
    let folder = Folder::new();
    let mut around = engine(&folder, 16).await;
    let before = around.engine.topology.clone();
    let (change, is_done) = change(&before, &fixture::topology_with("initech"), LaneChange::Stays);
    let stop = CancellationToken::new();
    let observe = async {
        let first = around.outbound.recv().await.unwrap();
        around.changes.send(change).await.unwrap();
        assert!(is_done.await.unwrap());
        let second = around.outbound.recv().await.unwrap();
        assert!(second.planned_at > first.planned_at);
        stop.cancel();
    };
    tokio::join!(around.engine.run(stop.clone()), observe);
}

#[tokio::test]
async fn a_change_that_was_planned_before_a_tenant_left_is_not_made() {
    let folder = Folder::new();
    let mut around = engine(&folder, 16).await;
    let snapshots = around.engine.snapshots.subscribe();
    let before = around.engine.topology.clone();
    let (change, is_done) = change(&before, &fixture::topology_with("initech"), LaneChange::Stays);
    // As if the engine had let go what the plan counts on.
    let gone = change.topology.source_ids().next().unwrap();
    around.engine.polled.remove(&gone);
    let stop = CancellationToken::new();
    let observe = async {
        around.changes.send(change).await.unwrap();
        assert!(!is_done.await.unwrap());
        stop.cancel();
    };
    tokio::join!(around.engine.run(stop.clone()), observe);
    assert_eq!(snapshots.borrow().topology.tenants().len(), 2);
}

#[tokio::test]
async fn an_incident_of_a_tenant_that_was_removed_is_shown_as_no_longer_watched() {
    let folder = Folder::new();
    let mut engine = engine(&folder, 16).await.engine;
    let now = engine.clock.now();
    let planned = |engine: &Engine, next| change(&engine.topology, &next, LaneChange::Stays).0.topology;
    let with_a_third = planned(&engine, fixture::topology_with("initech"));
    engine.replace_topology(&with_a_third, now, &mut Round::default());
    engine.incidents.restore(vec![episode(1, TenantId(2))]);
    engine.publish(now);
    let shown = |engine: &Engine| engine.snapshots.borrow().episodes.to_vec();
    assert!(matches!(shown(&engine)[..], [ref it] if !it.has_ended()), "{:?}", shown(&engine));
    let gone = Arc::new(planned(&engine, fixture::topology()).without(TenantId(2)));
    engine.replace_topology(&gone, now + secs(60), &mut Round::default());
    engine.publish(now + secs(60));
    assert!(matches!(shown(&engine)[..], [ref it] if it.is_gone()), "{:?}", shown(&engine));
}
