//! What a run counts, and when a ceiling ends it.

use super::*;
use crate::domain::tag::{Keyring, TagKey};
use crate::domain::topology::LogGroupId;
use crate::domain::topology::fixture::{ACME, topology};
use crate::inject::CanaryLine;
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
    let (queue, due) = mpsc::channel(1_000);
    let queues = sender::Queues::from([((ACME, LogGroupId(0)), queue)]);
    let keys = Keyring::new(TagKey::new("0123456789abcdef").unwrap(), Vec::new());
    let mut it = Loop {
        plan,
        ceilings,
        tracker: Tracker::new(topology.clone(), settings, t(0)),
        topology: topology.clone(),
        sender: Sender::new(plan, keys, instance, queues),
        record: Record::new(topology),
        search: None,
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
