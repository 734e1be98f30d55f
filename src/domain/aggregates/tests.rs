//! Single facts. That figures are those of the raw traces, wherever the probe is killed, is a property in
//! `store/tests/aggregates`.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::domain::canary::Integrity;
use crate::domain::conditions::{Assessment, Criteria};
use crate::domain::outcome::Outcome;
use crate::domain::quantile::Quantile;
use crate::domain::sighting::Stamp;
use crate::domain::tag::{InstanceCode, Purpose, Tag, TenantCode, TraceId};
use crate::domain::time::Interval;
use crate::domain::topology::fixture::*;
use crate::domain::topology::{HopRange, StageId};
use crate::domain::trace::{Arrival, Hop, Judgement, Put};
use crate::domain::tracker::{self, Snapshot, Tracker};

const SETTINGS: Settings = Settings { slo: s(30), give_up: s(900) };

const fn s(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// Seconds after 02:15:00 UTC.
fn t(secs: u64) -> Timestamp {
    Timestamp::from_secs(1_795_313_700) + s(secs)
}

fn aggregates() -> Aggregates {
    Aggregates::new(Arc::new(topology()), SETTINGS, t(0))
}

/// A canary of acme in flight, not seen anywhere.
fn canary(planned: u64) -> Trace {
    let id = TraceId::new(t(planned), [7; 10]);
    let tag = Tag::new(id, TenantCode::of("acme"), InstanceCode::of("me"), 200, Purpose::Probe);
    let mut trace = Trace::new(tag, ACME, 5, Origin::Planned);
    trace.put = Put::Accepted { at: t(planned) };
    trace
}

fn arrive(trace: &mut Trace, stage: StageId, after: u64, begun: u64) {
    let at = trace.planned_at + s(after);
    let visit = &mut trace.stages[usize::from(stage.0)];
    visit.arrival = Some(Box::new(Arrival {
        interval: Interval::exactly(at),
        noticed_at: at,
        integrity: Integrity::Intact,
        stamp: Stamp::None,
        found_in: None,
    }));
    visit.hop = Hop::Measured { latency: s(after - begun), was_overdue: false };
}

/// One that took this long end to end.
fn delivered(planned: u64, took: u64) -> Trace {
    let mut trace = canary(planned);
    arrive(&mut trace, STREAM, 1, 0);
    arrive(&mut trace, TRANSIT, 3, 1);
    arrive(&mut trace, TABLE, took, 3);
    trace.judgement = if took <= 30 { Judgement::Good } else { Judgement::Slow };
    trace.ended = Some((Outcome::Delivered, t(planned + took)));
    trace
}

/// One that waits for transit, which was read up to `seconds` after its planned injection.
fn overdue(planned: u64, seconds: u64) -> Trace {
    let mut trace = canary(planned);
    arrive(&mut trace, STREAM, 1, 0);
    for stage in [TRANSIT, TABLE] {
        trace.stages[usize::from(stage.0)].absent_until = Some(t(planned + seconds));
    }
    trace.stages[usize::from(TRANSIT.0)].hop = Hop::Overdue;
    trace.judgement = Judgement::Overdue;
    trace
}

/// One that transit lost.
fn lost(planned: u64) -> Trace {
    let mut trace = overdue(planned, 901);
    trace.stages[usize::from(TRANSIT.0)].hop = Hop::Missing;
    trace.ended = Some((Outcome::Lost(HopRange { first: TRANSIT, last: TRANSIT }), t(planned + 902)));
    trace
}

fn read(aggregates: &Aggregates, step: Step, open: &[Trace]) -> Vec<Bucket> {
    let selection = Selection { tenants: vec![ACME], step, slots: 0..=i64::MAX };
    aggregates.excerpt(&selection).with_open(open).tenants.remove(0).buckets
}

fn of(bucket: &Bucket, series: Series) -> Figures {
    bucket.hops.iter().find(|(of, _)| *of == series).map(|(_, figures)| *figures).unwrap_or_default()
}

#[test]
fn a_minute_without_canaries_has_no_bucket() {
    let mut figures = aggregates();
    figures.settle(&delivered(0, 5));
    figures.settle(&delivered(120, 5));
    let starts: Vec<_> = read(&figures, Step::Minute, &[]).iter().map(|bucket| bucket.start).collect();
    assert_eq!(starts, [t(0), t(120)]);
}

#[test]
fn a_canary_counts_in_the_minute_and_hour_of_its_planned_injection() {
    let mut figures = aggregates();
    figures.settle(&delivered(59, 5));
    for (step, start) in [(Step::Minute, t(0)), (Step::Hour, t(0) - s(900))] {
        let buckets = read(&figures, step, &[]);
        assert_eq!(buckets.iter().map(|bucket| bucket.start).collect::<Vec<_>>(), [start]);
        let end_to_end = of(&buckets[0], Series::EndToEnd);
        assert_eq!((end_to_end.judged, end_to_end.met, end_to_end.missing), (1, 1, 0));
    }
}

#[test]
fn a_percentile_that_falls_on_what_has_not_arrived_is_more_than() {
    let mut figures = aggregates();
    figures.settle(&delivered(0, 5));
    let buckets = read(&figures, Step::Minute, &[overdue(30, 200)]);
    let end_to_end = of(&buckets[0], Series::EndToEnd);
    assert_eq!((end_to_end.judged, end_to_end.met, end_to_end.missing, end_to_end.lost), (2, 1, 1, 0));
    let Some([Quantile::Exactly(median), Quantile::MoreThan(worst)]) = end_to_end.quantiles else {
        panic!("{end_to_end:?}");
    };
    assert!(median.abs_diff(s(5)) < Duration::from_millis(25), "{median:?}");
    assert!(worst <= s(200) && worst > s(198), "{worst:?}");
}

#[test]
fn late_evidence_corrects_the_bucket_while_its_canary_is_open() {
    let mut figures = aggregates();
    figures.settle(&delivered(0, 5));
    let mut late = overdue(30, 200);
    assert_eq!(of(&read(&figures, Step::Minute, &[late.clone()])[0], Series::Hop(TRANSIT)).missing, 1);
    arrive(&mut late, TRANSIT, 210, 1);
    let buckets = read(&figures, Step::Minute, &[late.clone()]);
    assert_eq!(of(&buckets[0], Series::Hop(TRANSIT)).missing, 0);
    assert_eq!(of(&buckets[0], Series::Hop(TRANSIT)).judged, 2);
    assert!(!buckets[0].is_final);
}

#[test]
fn a_bucket_is_final_when_it_is_over_and_no_older_canary_is_open() {
    let mut figures = aggregates();
    figures.settle(&delivered(0, 5));
    figures.close(Some(t(30)), t(600));
    assert!(!read(&figures, Step::Minute, &[])[0].is_final, "a canary of this minute is open");
    figures.settle(&lost(30));
    figures.close(Some(t(60)), t(600));
    let bucket = &read(&figures, Step::Minute, &[])[0];
    assert!(bucket.is_final);
    let hop = of(bucket, Series::Hop(TRANSIT));
    assert_eq!((hop.judged, hop.met, hop.missing, hop.lost), (2, 1, 1, 1));
    assert_eq!(of(bucket, Series::EndToEnd).lost, 1);
    assert!(!read(&figures, Step::Hour, &[])[0].is_final, "the hour is not over");
}

#[test]
fn a_final_bucket_has_the_figures_that_it_had_before() {
    let mut figures = aggregates();
    (0..60).for_each(|second| figures.settle(&delivered(second, 4 + second)));
    let before = read(&figures, Step::Minute, &[]);
    figures.close(None, t(600));
    let after = read(&figures, Step::Minute, &[]);
    assert_eq!(after[0].hops, before[0].hops);
    assert!(after[0].is_final);
}

#[test]
fn a_canary_that_is_settled_but_open_in_the_last_snapshot_counts_once() {
    let mut figures = aggregates();
    figures.settle(&delivered(0, 5));
    assert_eq!(read(&figures, Step::Minute, &[canary(0)])[0].canaries, 1);
}

#[test]
fn what_was_planned_before_the_probe_knew_is_not_counted() {
    let mut figures = Aggregates::new(Arc::new(topology()), SETTINGS, t(30));
    figures.settle(&delivered(0, 5));
    assert_eq!(read(&figures, Step::Minute, &[canary(20)]), []);
    figures.settle(&delivered(30, 5));
    assert_eq!(read(&figures, Step::Minute, &[])[0].canaries, 1);
    assert_eq!(figures.known_since(), t(30));
}

#[test]
fn a_canary_that_was_never_judged_is_counted_without_figures() {
    let mut figures = aggregates();
    let mut refused = canary(0);
    refused.ended = Some((Outcome::Refused("no".into()), t(1)));
    figures.settle(&refused);
    let buckets = read(&figures, Step::Minute, &[]);
    assert_eq!((buckets[0].canaries, buckets[0].hops.len()), (1, 0));
}

#[test]
fn minutes_are_kept_for_a_day_and_hours_for_30_days() {
    let mut figures = aggregates();
    let day = 86_400;
    for minute in 0..31 * 24 * 60 {
        let at = 60 * minute;
        figures.settle(&delivered(at, 5));
        figures.close(Some(t(at + 60)), t(at + 60) + MARGIN);
    }
    let oldest = |step| read(&figures, step, &[])[0].start;
    assert_eq!(oldest(Step::Minute), t(30 * day));
    assert_eq!(oldest(Step::Hour), t(day) - s(900));
    assert_eq!(read(&figures, Step::Minute, &[]).len(), 24 * 60);
    assert_eq!(read(&figures, Step::Hour, &[]).len(), 30 * 24 + 1, "and the hour that has begun");
}

#[test]
fn a_bucket_whose_canary_stays_open_longer_than_it_is_kept_is_forgotten() {
    let mut figures = aggregates();
    figures.settle(&delivered(0, 5));
    figures.close(Some(t(30)), t(600));
    figures.settle(&delivered(2 * 86_400, 5));
    figures.close(None, t(2 * 86_400 + 600));
    assert_eq!(read(&figures, Step::Minute, &[]).len(), 1);
}

fn snapshot(now: Timestamp, blind: bool) -> Snapshot {
    let settings = tracker::Settings {
        slo: s(30),
        give_up: s(900),
        grace: s(300),
        blind_after: s(30),
        recheck_for: s(60),
        copy_recheck: s(900),
        max_in_flight: 100,
        remember: 100,
        remember_of_tenant: 100,
        handover: Duration::ZERO,
        is_kept: true,
        instance: InstanceCode::of("me"),
    };
    let mut snapshot = Tracker::new(Arc::new(topology()), settings, now).snapshot(now);
    snapshot.finished = vec![Arc::new(delivered(0, 5))];
    for source in snapshot.sources.iter_mut().filter(|_| blind) {
        source.waiting = 1;
        source.blind_since = Some(now);
    }
    snapshot
}

fn judge(figures: &mut Aggregates, at: u64, blind: bool) {
    let snapshot = snapshot(t(at), blind);
    figures.judge(&Assessment::new(&snapshot, &Criteria::new(s(30))), t(at));
}

#[test]
fn the_health_of_a_minute_is_the_worst_of_it() {
    let mut figures = aggregates();
    judge(&mut figures, 60, false);
    judge(&mut figures, 125, false);
    judge(&mut figures, 130, true);
    judge(&mut figures, 135, false);
    let health: Vec<_> = read(&figures, Step::Minute, &[]).iter().map(|bucket| bucket.health).collect();
    assert_eq!(health, [Some(Health::Ok), Some(Health::Unknown)]);
    assert_eq!(read(&figures, Step::Hour, &[])[0].health, Some(Health::Unknown));
}

#[test]
fn a_tenant_without_a_judged_canary_is_unknown() {
    let mut figures = aggregates();
    let snapshot = Snapshot { finished: Vec::new(), ..snapshot(t(0), false) };
    figures.judge(&Assessment::new(&snapshot, &Criteria::new(s(30))), t(0));
    assert_eq!(read(&figures, Step::Minute, &[])[0].health, Some(Health::Unknown));
}

/// What was saved, for the next run.
fn kept(figures: &mut Aggregates) -> Kept {
    let Unsaved { known_since, buckets } = figures.unsaved();
    figures.saved();
    Kept { known_since: Some(known_since), buckets }
}

#[test]
fn a_bucket_goes_on_after_a_restart() {
    let mut before = aggregates();
    before.settle(&delivered(0, 5));
    let mut after = Aggregates::new(Arc::new(topology()), SETTINGS, t(40));
    after.restore(kept(&mut before), t(40));
    after.settle(&delivered(50, 40));
    let end_to_end = of(&read(&after, Step::Minute, &[])[0], Series::EndToEnd);
    assert_eq!((end_to_end.judged, end_to_end.met), (2, 1));
    assert_eq!(after.known_since(), t(0));
}

#[test]
fn what_was_counted_before_the_store_could_be_read_is_added_to_what_it_holds() {
    let mut before = aggregates();
    before.settle(&delivered(0, 5));
    let mut after = Aggregates::new(Arc::new(topology()), SETTINGS, t(40));
    after.settle(&delivered(50, 40));
    after.restore(kept(&mut before), t(55));
    assert_eq!(of(&read(&after, Step::Minute, &[])[0], Series::EndToEnd).judged, 2);
    assert_eq!(after.unsaved().buckets.len(), 2, "the sum is not on disk yet");
}

#[test]
fn only_what_changed_is_saved_again() {
    let mut figures = aggregates();
    figures.settle(&delivered(0, 5));
    assert_eq!(kept(&mut figures).buckets.len(), 2);
    assert_eq!(figures.unsaved().buckets.len(), 0);
    figures.settle(&delivered(61, 5));
    assert_eq!(figures.unsaved().buckets.len(), 2, "another minute, the same hour");
}

#[test]
fn health_alone_is_saved_when_its_minute_is_over() {
    let mut figures = aggregates();
    judge(&mut figures, 0, false);
    judge(&mut figures, 59, false);
    assert_eq!(figures.unsaved().buckets.len(), 0);
    judge(&mut figures, 60, false);
    assert_eq!(figures.unsaved().buckets.len(), 2 * topology().tenants().len());
}

#[test]
fn buckets_that_a_clock_left_in_the_future_are_dropped() {
    let mut before = aggregates();
    before.settle(&delivered(86_400, 5));
    let mut after = aggregates();
    after.restore(kept(&mut before), t(0));
    assert_eq!(read(&after, Step::Minute, &[]), []);
}

#[test]
fn figures_follow_the_names_of_their_hops_into_another_topology() {
    let map = topology();
    let mut figures = aggregates();
    figures.settle(&lost(0));
    let names: Vec<Arc<str>> = vec!["transit".into(), "removed".into(), END_TO_END.into(), "stream".into()];
    for bucket in kept(&mut figures).buckets {
        let ours: Vec<Arc<str>> = series(&map).into_iter().map(|series| series.name(&map)).collect();
        assert_eq!(with_layout(&bucket.bytes, &ours, &map), Some(bucket.bytes.clone()));
        assert_eq!(with_layout(&bucket.bytes, &names, &map), None, "another number of hops");
    }
    let mut transit = Tally::default();
    transit.add(Judged::Arrived { latency: s(3), met: true });
    let hops = [transit, Tally::default(), Tally::default(), Tally::default()];
    let content = Content { health: None, canaries: 1, hops: hops.to_vec() };
    let bytes = with_layout(&packed::pack_forming(&content), &names, &map).unwrap();
    let mut after = aggregates();
    let buckets = vec![KeptBucket { tenant: ACME, step: Step::Minute, start: t(0), bytes }];
    after.restore(Kept { known_since: None, buckets }, t(0));
    let bucket = &read(&after, Step::Minute, &[])[0];
    assert_eq!(bucket.hops.iter().map(|(series, _)| *series).collect::<Vec<_>>(), [Series::Hop(TRANSIT)]);
}
