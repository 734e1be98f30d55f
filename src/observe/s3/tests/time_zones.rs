//! Keys in local time: around midnight and over both changes of daylight saving, every canary is found and few
//! prefixes are listed.

use std::collections::BTreeSet;

use super::*;
use crate::domain::time_zone::TimeZone;

const HOUR: i64 = 3_600;
/// A canary and a poll every ten minutes.
const STEP: Duration = Duration::from_mins(10);

fn at(text: &str) -> Timestamp {
    Timestamp::parse_rfc3339(text).unwrap()
}

/// The key that a writer uses whose clock shows `offset` seconds more than UTC.
fn key(named_at: Timestamp, offset: i64) -> String {
    let local = Timestamp::from_micros(named_at.micros() + offset * 1_000_000);
    // A writer makes keys unique.
    format!("{}-{}", local.strftime("in/%Y-%m-%d/%H/%H-%M-%S"), named_at.millis())
}

/// Plays six hours from `start`. The writer names each canary's object by the time of the canary, and names a copy
/// of it by the time of writing. Five seconds before each full hour there is a canary. `offset` is that of the
/// writer. Returns the most prefixes that a poll listed.
async fn play(zone: &str, start: &str, ordered_keys: bool, offset: impl Fn(Timestamp) -> i64) -> usize {
    let bucket = Bucket::default();
    let template = KeyTemplate::new("in/%Y-%m-%d/%H/").in_zone(TimeZone::named(zone).unwrap());
    let mut s3 = bucket.s3(Settings { ordered_keys, ..Settings::new("archive", template) });
    let mut most = 0;
    for step in 1..=36 {
        let planned_at = at(start) + STEP * step - Duration::from_secs(5);
        let written_at = planned_at + Duration::from_secs(10);
        let tag = fixtures::tag(1, planned_at);
        let text = Template::default().render(&tag, &recognizer().keys.sign(&tag)) + "\n";
        for named_at in [planned_at, written_at] {
            bucket.put(&key(named_at, offset(named_at)), text.clone(), "e", written_at);
        }
        s3.clock = WallClock::new(move || written_at + Duration::from_secs(10));
        let waiting = [WantedTrace { tag, planned_at }].into();
        let poll = s3.poll(&Wanted { waiting, ..Wanted::default() }).await.unwrap();
        let found = poll.sightings.iter().filter(|seen| seen.tag == tag).count();
        assert_eq!((found, poll.watermark.is_some()), (2, true), "{zone}, {planned_at}");
        let lists = bucket.calls("LIST");
        let prefixes: BTreeSet<_> = lists.iter().filter_map(|list| list.split(' ').nth(1)).collect();
        most = most.max(prefixes.len());
    }
    most
}

#[tokio::test]
async fn around_local_midnight_no_canary_is_missed_and_at_most_two_more_prefixes_are_listed() {
    for (zone, start, offset) in [
        ("Asia/Tokyo", "2026-11-22T12:00:00Z", 9 * HOUR),
        ("America/Los_Angeles", "2026-11-23T05:00:00Z", -8 * HOUR),
        ("Asia/Kathmandu", "2026-11-22T15:15:00Z", 5 * HOUR + 45 * 60),
    ] {
        let most = play(zone, start, false, |_| offset).await;
        assert!(most <= 3, "{zone}: {most}");
    }
}

#[tokio::test]
async fn over_both_changes_of_daylight_saving_no_canary_is_missed() {
    for (zone, start, change, before, after) in [
        ("Europe/Berlin", "2027-03-27T22:00:00Z", "2027-03-28T01:00:00Z", HOUR, 2 * HOUR),
        ("Europe/Berlin", "2027-10-30T22:00:00Z", "2027-10-31T01:00:00Z", 2 * HOUR, HOUR),
        ("America/Los_Angeles", "2027-03-14T07:00:00Z", "2027-03-14T10:00:00Z", -8 * HOUR, -7 * HOUR),
        ("America/Los_Angeles", "2027-11-07T06:00:00Z", "2027-11-07T09:00:00Z", -7 * HOUR, -8 * HOUR),
        ("Australia/Lord_Howe", "2027-10-02T12:30:00Z", "2027-10-02T15:30:00Z", 21 * HOUR / 2, 11 * HOUR),
        ("Australia/Lord_Howe", "2027-04-03T12:00:00Z", "2027-04-03T15:00:00Z", 11 * HOUR, 21 * HOUR / 2),
    ] {
        for ordered_keys in [false, true] {
            let offset = |instant| if instant < at(change) { before } else { after };
            let most = play(zone, start, ordered_keys, offset).await;
            assert!(most <= 3, "{zone}: {most}");
        }
    }
}

#[test]
fn the_commands_of_a_trace_name_the_prefix_in_local_time() {
    let template = KeyTemplate::new("in/%d/%H/").in_zone(TimeZone::named("Asia/Tokyo").unwrap());
    let settings = super::super::Settings {
        account: Account::in_region("ap-northeast-1"),
        objects: Settings::new("archive", template),
    };
    let planned_at = at("2026-11-22T15:00:00Z");
    let lookups = settings.lookups(Question { copy: None, tag: "zqtp2", planned_at });
    assert!(lookups[0].command.ends_with("s3://archive/in/23/00/"), "{}", lookups[0].command);
}
