//! What a run counts, and when a ceiling ends it.

use super::*;
use crate::domain::tag::{Keyring, TagKey};
use crate::domain::topology::LogGroupId;
use crate::domain::topology::fixture::{ACME, topology};
use crate::load::plan::tests::{CEILINGS, lane};
use crate::load::profile::Profile;

fn t(millis: u64) -> Timestamp {
    Timestamp::from_secs(1_800_000_000) + Duration::from_millis(millis)
}

fn plan(text: &str) -> Plan {
    let profile = Profile::parse("own", text).unwrap();
    Plan::new(profile, vec![lane(0, "acme")], &topology(), Duration::from_secs(30), &CEILINGS).unwrap()
}

/// A run that began at `t(0)`, and the queue to the log group of acme.
fn running<'a>(plan: &'a Plan, ceilings: &'a Ceilings) -> (Loop<'a>, mpsc::Receiver<CanaryLine>) {
    running_with(plan, ceilings, 1_000)
}

/// The same, with a queue for so many canaries.
fn running_with<'a>(
    plan: &'a Plan,
    ceilings: &'a Ceilings,
    room: usize,
) -> (Loop<'a>, mpsc::Receiver<CanaryLine>) {
    let topology = Arc::new(topology());
    let instance = InstanceCode::of("me");
    let settings = tracker::Settings {
        slo: Duration::from_secs(30),
        give_up: Duration::from_secs(120),
        grace: Duration::from_secs(60),
        blind_after: Duration::from_secs(20),
        recheck_for: Duration::from_secs(60),
        copy_recheck: Duration::from_secs(900),
        max_in_flight: 1_000,
        remember: 1_000,
        remember_of_tenant: 100,
        instance,
        handover: Duration::ZERO,
        is_kept: false,
    };
    let (queue, due) = mpsc::channel(room);
    let queues = sender::Queues::from([((ACME, LogGroupId(0)), queue)]);
    let keys = Keyring::new(TagKey::new("0123456789abcdef").unwrap(), Vec::new());
    let mut it = Loop {
        plan,
        ceilings,
        tracker: Tracker::new(topology.clone(), settings, t(0)),
        topology: topology.clone(),
        sender: Sender::new(plan, keys, instance, queues),
        record: Record::new(topology),
        search: match &plan.shape {
            Shape::Search { rates, .. } => Some(Search::new(rates.clone())),
            Shape::Phases(_) => None,
        },
        wanted: Vec::new(),
        changed: BTreeSet::new(),
        calls: Calls::default(),
        calls_before: (0, 0),
        doing: Doing::WarmUp,
        ended: Ended::Complete,
        wait_until: Timestamp::MAX,
        began: t(0),
        refusal: None,
        told: (t(0), 0),
        grace: Duration::from_secs(185),
        blind_since: None,
        patience: settings.blind_after,
    };
    it.begin(t(0));
    (it, due)
}

#[test]
fn calls_of_the_warm_up_are_not_judged() {
    let plan = plan("warm_up = \"10s\"\n[[phase]]\nrate = 1\nduration = \"20s\"");
    for (warm_up_ends, expected) in [(true, Puts { throttled: 0, all: 1 }), (false, Puts::default())] {
        let (mut it, _due) = running(&plan, &CEILINGS);
        let calls = it.calls.clone();
        calls.count("logs", "PutLogEvents", CallResult::Failed(FailureKind::Throttled));
        it.advance(t(9_000));
        calls.count("logs", "PutLogEvents", CallResult::Failed(FailureKind::Throttled));
        if warm_up_ends {
            it.advance(t(10_000));
            calls.count("logs", "PutLogEvents", CallResult::Ok);
        } else {
            it.stop(Ended::Stopped, t(9_500));
        }
        it.note_puts();
        assert_eq!(it.record.windows.last().map(|window| window.puts), Some(expected));
    }
}

#[test]
fn what_cloudwatch_logs_adds_counts_for_the_ceiling_and_refused_events_do_not() {
    let plan = plan("sizes = [\"100B\"]\n[[phase]]\nrate = 10\nduration = \"10s\"");
    let ceilings = Ceilings { bytes: 5 * 126, ..CEILINGS };
    let (mut it, mut due) = running(&plan, &ceilings);
    it.send_due(t(400));
    assert_eq!(it.sender.bytes, 400);
    let refused = tracker::PutResult::Refused { reason: "no".into() };
    let results = vec![(due.try_recv().unwrap().trace, refused)];
    it.put(Report { results, puts: Vec::new() }, t(400));
    assert_eq!(it.sender.bytes, 300);
    it.send_due(t(500));
    assert_eq!((it.sender.bytes, it.ended.clone()), (400, Ended::Complete));
    it.send_due(t(600));
    assert_eq!((it.sender.bytes, it.ended.clone()), (500, Ended::Ceiling("load.max_bytes")));
}

/// What became of the events of the only window: due, missed, handed over, and refused.
fn counts(it: &Loop<'_>) -> [u64; 4] {
    let figures = &it.record.windows[0].figures;
    [figures.planned, figures.missed, figures.whole.sent, figures.whole.refused]
}

#[test]
fn what_its_injector_did_not_put_in_time_is_missed_and_breaks_nothing() {
    let text =
        "sizes = [\"100B\"]\n[[phase]]\nrate = 10\nduration = \"1s\"\n[thresholds]\nrefused = \"count==0\"";
    let plan = plan(text);
    let (mut it, mut due) = running(&plan, &CEILINGS);
    it.send_due(t(1_000));
    let lines: Vec<_> = std::iter::from_fn(|| due.try_recv().ok()).collect();
    it.miss(&lines[..4], t(4_000));
    assert_eq!(counts(&it), [10, 4, 6, 0]);
    assert_eq!((it.tracker.in_flight(), it.sender.bytes), (6, 600));
    let judged = it.record.judge_trial(&it.record.windows[0], &plan.thresholds, 0);
    assert_ne!(judged, Judged::Broken);
}

#[test]
fn what_the_queue_to_a_log_group_has_no_room_for_is_missed_and_not_refused() {
    let plan = plan("sizes = [\"100B\"]\n[[phase]]\nrate = 10\nduration = \"1s\"");
    let (mut it, _due) = running_with(&plan, &CEILINGS, 3);
    it.send_due(t(1_000));
    assert_eq!(counts(&it), [10, 7, 3, 0]);
    assert_eq!((it.tracker.in_flight(), it.sender.bytes, it.refusal.clone()), (3, 300, None));
}

/// What a search does after a bad rate of which canaries were given up, or none.
fn after_a_bad_rate(are_given_up: bool) -> (Doing, Option<String>) {
    let plan = plan("[search]\nrates = [20, 60]\nhold = \"6s\"");
    let (mut it, _due) = running(&plan, &CEILINGS);
    it.next_trial(t(0));
    assert_eq!(it.doing, Doing::Trial(20.0));
    it.search.as_mut().unwrap().take(20.0, Judged::Kept, None);
    it.next_trial(t(10_000));
    assert_eq!(it.doing, Doing::Trial(60.0));
    it.search.as_mut().unwrap().take(60.0, Judged::Broken, None);
    if are_given_up {
        let figures = &mut it.record.windows.last_mut().unwrap().figures;
        (figures.whole.sent, figures.whole.arrived) = (360, 50);
    }
    it.doing = Doing::Recovering;
    it.advance(t(200_000));
    (it.doing.clone(), it.search.as_ref().unwrap().stopped().map(ToOwned::to_owned))
}

#[test]
fn a_search_ends_if_canaries_of_a_bad_rate_were_given_up() {
    let (doing, why) = after_a_bad_rate(true);
    assert_eq!(doing, Doing::Draining);
    let why = why.unwrap();
    assert!(why.starts_with("the queue of 60/s may not be empty: 310 of its canaries"), "{why}");
}

#[test]
fn a_search_goes_on_below_a_bad_rate_whose_queue_is_empty() {
    assert_eq!(after_a_bad_rate(false), (Doing::Trial(40.0), None));
}
