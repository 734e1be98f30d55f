//! What a report says of what is known.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::domain::outcome::UnobservedReason;
use crate::domain::tag::TraceId;
use crate::domain::topology::fixture::{ACME, ARCHIVE, DEAD, TABLE, TRANSIT, topology};
use crate::load::compare::{Change, compare, doubts};
use crate::load::plan::tests::{CEILINGS, lane};
use crate::load::prices::SHIPPED;
use crate::load::profile::Profile;
use crate::load::search::Rates;

const PHASES: &str = "description = \"A test\"\n[[phase]]\nrate = 10\nduration = \"1m\"";

fn plan(text: &str) -> Plan {
    let profile = Profile::parse("own", text).unwrap();
    Plan::new(profile, vec![lane(0, "acme")], &topology(), Duration::from_secs(30), &CEILINGS).unwrap()
}

fn t(secs: i64) -> Timestamp {
    Timestamp::from_secs(1_800_000_000 + secs)
}

/// A minute in which 600 canaries arrived after 2 seconds, half a second a hop, apart from what `change`
/// does.
fn record(change: impl Fn(&mut Figures)) -> Record {
    let mut record = Record::new(Arc::new(topology()));
    record.begin(Purpose::Judged, t(0), t(60), 10.0);
    for at in 0..600 {
        record.sent(ACME, 500, t(0) + Duration::from_millis(100) * at);
    }
    let figures = &mut record.windows[0].figures;
    figures.accepted = 600;
    let groups = [&mut figures.whole]
        .into_iter()
        .chain(figures.sizes.values_mut())
        .chain(figures.tenants.values_mut());
    for group in groups {
        group.arrived = 600;
        (0..600).for_each(|_| group.latency.add(Duration::from_secs(1), Duration::from_secs(2)));
    }
    for hop in &mut figures.hops {
        hop.arrived = 600;
        (0..600).for_each(|_| hop.latency.add(Duration::from_millis(490), Duration::from_millis(500)));
    }
    change(figures);
    record
}

fn facts<'a>(record: &'a Record, search: Option<&'a Search>) -> Facts<'a> {
    Facts {
        record,
        search,
        cut: None,
        blind: &[],
        cut_searches: &[],
        throttled: 0,
        put_calls: 100,
        calls: &[],
        bytes: 300_000,
        refusal: None,
        began: t(0),
        finished: t(70),
        latest_send: Duration::from_millis(3),
        version: "1.2.3",
        used: None,
    }
}

fn report_of(facts: &Facts<'_>) -> Report {
    Report::new(&plan(PHASES), &Prices::parse("prices", SHIPPED).unwrap(), facts)
}

fn report(change: impl Fn(&mut Figures)) -> Report {
    report_of(&facts(&record(change), None))
}

/// So many canaries did not arrive.
fn take_away(figures: &mut Figures, count: u64) {
    let kept = usize::try_from(600 - count).unwrap();
    figures.whole.arrived = 600 - count;
    figures.whole.latency = Latencies::default();
    (0..kept).for_each(|_| figures.whole.latency.add(Duration::from_secs(2), Duration::from_secs(2)));
}

#[test]
fn a_run_in_which_everything_arrived_in_time_has_passed() {
    let report = report(|_| {});
    assert_eq!((report.verdict, report.reasons), (Verdict::Passed, Vec::<String>::new()));
}

#[test]
fn losses_break_the_thresholds_of_their_hop_and_of_the_whole() {
    let report = report(|figures| {
        take_away(figures, 12);
        figures.whole.lost = 12;
        figures.whole.latency.missing = 12;
        figures.lost.insert((TRANSIT, TRANSIT), 12);
    });
    assert_eq!(report.verdict, Verdict::Failed);
    let expected = ["loss: rate<0.007", "loss{hop:transit}: rate<0.005"];
    assert_eq!(report.reasons, expected.map(|of| format!("{of} is broken: 2.0000 %")));
    assert_eq!(report.losses, [Count { what: "lost on transit".to_owned(), count: 12 }]);
}

#[test]
fn a_loss_on_one_of_several_hops_breaks_none_of_them_for_certain_but_the_whole() {
    let report = report(|figures| {
        take_away(figures, 12);
        figures.whole.lost = 12;
        figures.whole.latency.missing = 12;
        figures.lost.insert((TRANSIT, TABLE), 12);
    });
    assert_eq!(report.verdict, Verdict::Failed);
    let reasons = report.reasons.join("\n");
    assert!(reasons.starts_with("loss: rate<0.007 is broken: 2.0000 %"), "{reasons}");
    assert!(
        reasons.contains("loss{hop:transit}: rate<0.005 is undecided: between 0.0000 % and 2.0000 %"),
        "{reasons}"
    );
    assert!(reasons.contains("loss{hop:table}") && !reasons.contains("loss{hop:stream}"), "{reasons}");
}

#[test]
fn a_side_stage_that_misses_canaries_breaks_its_threshold_and_is_told() {
    let report = report(|figures| {
        let hop = &mut figures.hops[usize::from(ARCHIVE.0)];
        (hop.arrived, hop.latency.missing) = (576, 24);
    });
    assert_eq!(report.verdict, Verdict::Failed);
    assert_eq!(report.reasons, ["loss{hop:archive}: rate<0.005 is broken: 4.0000 %"]);
    assert_eq!(report.totals.lost, 0, "they arrived at the end stage");
    assert_eq!(report.losses, [Count { what: "missing at archive".to_owned(), count: 24 }]);
    assert!(text::summary(&report).contains(&"  missing at archive: 24".to_owned()));
    assert!(html::page(&report).contains("missing at archive"));
}

#[test]
fn a_pipeline_that_damages_events_has_failed() {
    let report = report(|figures| figures.hops[usize::from(TABLE.0)].corrupted = 600);
    assert_eq!((report.verdict, report.totals.corrupted), (Verdict::Failed, 600));
    assert_eq!(report.reasons, ["corrupted: count==0 is broken: 600"]);
}

/// The same with a warm-up before it, of which so many copies leaked and were damaged.
fn warmed_up(record: &Record, leaks: u64, corrupted: u64) -> Record {
    let mut with = Record::new(Arc::new(topology()));
    with.begin(Purpose::WarmUp, t(-10), t(0), 10.0);
    with.sent(ACME, 500, t(-5));
    let hop = &mut with.windows[0].figures.hops[0];
    (hop.leaks, hop.corrupted) = (leaks, corrupted);
    with.windows.extend(record.windows.iter().cloned());
    with
}

#[test]
fn what_leaks_or_is_damaged_in_the_warm_up_fails_the_run() {
    let told = |leaks, corrupted| report_of(&facts(&warmed_up(&record(|_| {}), leaks, corrupted), None));
    assert_eq!(told(0, 0).verdict, Verdict::Passed, "what became of the rest of the warm-up is not judged");
    let leaked = told(1, 0);
    assert_eq!((leaked.verdict, leaked.totals.leaks), (Verdict::Failed, 1));
    assert_eq!(leaked.reasons, ["leaks: count==0 is broken: 1"]);
    assert!(leaked.notes[0].ends_with(": 1 leaks, 0 corrupted"), "{:?}", leaked.notes);
    let damaged = told(0, 2);
    assert_eq!((damaged.verdict, damaged.totals.corrupted), (Verdict::Failed, 2));
}

/// The report of a search whose second rate broke a threshold.
fn two_rates(record: &Record) -> Report {
    let mut search = Search::new(Rates { rates: vec![10.0, 80.0], precision: 1.0 });
    search.take(10.0, Judged::Kept, None);
    search.take(80.0, Judged::Broken, None);
    let plan = plan("warm_up = \"10s\"\n[search]\nrates = [10, 80]\nhold = \"1m\"\nprecision = 1.0");
    Report::new(&plan, &Prices::parse("prices", SHIPPED).unwrap(), &facts(record, Some(&search)))
}

#[test]
fn a_search_in_which_something_leaks_or_is_damaged_has_failed_whatever_the_rate() {
    let mut quiet = record(|_| {});
    quiet.begin(Purpose::Judged, t(60), t(120), 80.0);
    let passed = two_rates(&quiet);
    assert_eq!(passed.verdict, Verdict::Passed, "{:?}", passed.reasons);
    let kept: Vec<_> = passed.thresholds.iter().map(|it| (&*it.subject, &*it.judged)).collect();
    assert_eq!(kept, [("leaks", "kept"), ("corrupted", "kept")]);
    let mut leaks = quiet.clone();
    leaks.windows[1].figures.hops[0].leaks = 4;
    let mut damages = quiet.clone();
    damages.windows[1].figures.hops[0].corrupted = 4;
    for (record, reason) in [
        (leaks, "leaks: count==0 is broken: 4 at 80 events a second"),
        (damages, "corrupted: count==0 is broken: 4 at 80 events a second"),
        (warmed_up(&quiet, 1, 0), "leaks: count==0 is broken: between 1 and 2 in the warm-up"),
    ] {
        let report = two_rates(&record);
        assert_eq!(report.verdict, Verdict::Failed);
        assert_eq!(report.reasons, [reason]);
        let xml = junit::xml(&report);
        let case = format!("name=\"{}: count==0\"><failure message=", reason.split(':').next().unwrap());
        assert!(xml.contains(&case) && xml.contains("name=\"search\""), "{xml}");
    }
}

#[test]
fn canaries_in_the_queue_of_a_rate_that_was_too_high_leave_a_search_decided() {
    let mut record = record(|_| {});
    record.begin(Purpose::Judged, t(60), t(120), 80.0);
    record.sent(ACME, 500, t(61));
    let report = two_rates(&record);
    assert_eq!(report.verdict, Verdict::Passed, "{:?}", report.reasons);
}

#[test]
fn a_percentile_lies_between_both_ends_whatever_is_not_known() {
    let mut latencies = Latencies::default();
    (0..100).for_each(|_| latencies.add(Duration::from_secs(1), Duration::from_secs(2)));
    let known = percentiles(&latencies, 0, Detail::Percentiles);
    assert!(known.p95.is_some_and(|p95| p95 > 1.9) && known.p95_from.is_some_and(|from| from > 0.9));
    let open = percentiles(&latencies, 20, Detail::Percentiles);
    assert_eq!((open.p95, open.p99), (None, None), "the longest may be among those that are not known");
    assert!(open.p95_from.is_some_and(|from| from > 0.9) && open.p50.is_some_and(|p50| p50 > 1.9));
    assert_eq!(
        [text::percentile(&open, open.p95), text::percentile(&Percentiles::default(), None)],
        ["never", "-"]
    );
    let summary = |unknown: u64| {
        let report = report(|figures| take_away(figures, unknown));
        text::summary(&report).join("\n")
    };
    assert!(!summary(0).contains("the true P95 lies between"), "{}", summary(0));
    assert!(summary(100).contains("the true P95 lies between"), "{}", summary(100));
}

#[test]
fn what_a_run_is_too_small_to_show_is_noted_with_what_it_kept() {
    let notes = report(|_| {}).notes;
    let expected = "600 canaries cannot show a loss below 0.64 %; a longer run is needed for ";
    assert!(notes.iter().any(|note| note.starts_with(expected)), "{notes:?}");
    let notes = searched("", &record(|_| {}), &[]).notes;
    let expected = format!("at 10 events a second, {expected}");
    assert!(notes.iter().any(|note| note.starts_with(&expected)), "{notes:?}");
}

#[test]
fn without_an_accepted_event_the_cost_for_a_million_is_not_known() {
    let report = report(|figures| figures.accepted = 0);
    assert_eq!(text::cost(&report), "cost for a million events: not known, because log groups accepted none");
}

#[test]
fn what_could_not_be_observed_is_neither_lost_nor_kept() {
    let report = report(|figures| {
        take_away(figures, 100);
        figures.unobserved.insert(UnobservedReason::Blind, 100);
    });
    assert_eq!(report.verdict, Verdict::Inconclusive);
    assert_eq!((report.totals.lost, report.totals.unknown), (0, 100));
    assert!(report.thresholds.iter().all(|line| line.judged != "broken"), "{:#?}", report.thresholds);
}

#[test]
fn a_threshold_that_holds_whatever_became_of_the_unobserved_is_kept() {
    let report = report(|figures| {
        take_away(figures, 1);
        figures.unobserved.insert(UnobservedReason::Blind, 1);
    });
    let judged = |subject: &str| {
        report.thresholds.iter().find(|line| line.subject == subject).map(|line| line.judged.as_str())
    };
    assert_eq!(judged("latency"), Some("kept"));
    assert_eq!(judged("loss{hop:stream}"), Some("undecided"), "1 of 600 is more than 0.1 %");
}

#[test]
fn what_this_machine_did_not_send_is_not_the_pipelines_fault() {
    let report = report(|figures| {
        figures.planned = 800;
        figures.missed = 200;
    });
    assert_eq!(report.verdict, Verdict::Inconclusive);
    assert!(
        report.reasons.iter().any(|reason| reason.contains("200 of 800 events were not sent")),
        "{:?}",
        report.reasons
    );
}

#[test]
fn events_that_log_groups_refused_count_against_the_rate() {
    let report = report(|figures| {
        figures.accepted = 500;
        figures.whole.refused = 100;
        take_away(figures, 100);
    });
    assert_eq!(report.verdict, Verdict::Failed);
    assert_eq!(report.reasons, ["reached: rate>0.99 is broken: 83.3333 %"]);
}

#[test]
fn calls_of_the_warm_up_are_not_judged() {
    let mut record = record(|_| {});
    record.windows[0].puts = Puts { throttled: 1, all: 200 };
    for (limit, verdict) in [("0.01", Verdict::Passed), ("0.001", Verdict::Failed)] {
        let plan = plan(&format!("{PHASES}\n[thresholds]\nthrottled = \"rate<{limit}\""));
        let facts = Facts { throttled: 50, put_calls: 250, ..facts(&record, None) };
        let report = Report::new(&plan, &Prices::parse("prices", SHIPPED).unwrap(), &facts);
        assert_eq!((report.verdict, report.throttled, report.put_calls), (verdict, 50, 250));
    }
}

#[test]
fn dead_letters_are_lost_on_the_hops_beside_their_stage() {
    let report = report(|figures| {
        take_away(figures, 60);
        figures.whole.lost = 60;
        figures.whole.latency.missing = 60;
        figures.dead_lettered.insert(DEAD, 60);
    });
    assert_eq!(report.verdict, Verdict::Failed);
    let lost = |name: &str| report.hops.iter().find(|hop| hop.name == name).map(|hop| hop.lost.0);
    assert_eq!((lost("stream"), lost("transit"), lost("table")), (Some(0), Some(60), Some(0)));
}

#[test]
fn a_search_reports_the_knee_and_what_comes_out() {
    let mut search = Search::new(Rates { rates: vec![40.0, 80.0], precision: 1.0 });
    search.take(40.0, Judged::Kept, None);
    search.take(80.0, Judged::Broken, None);
    let mut record = record(|_| {});
    record.begin(Purpose::Judged, t(60), t(120), 80.0);
    let text = "[search]\nrates = [40, 80]\nhold = \"1m\"\nprecision = 1.0";
    let report =
        Report::new(&plan(text), &Prices::parse("prices", SHIPPED).unwrap(), &facts(&record, Some(&search)));
    let knee = report.knee.unwrap();
    assert_eq!((report.verdict, knee.good, knee.bad), (Verdict::Passed, Some(40.0), Some(80.0)));
    assert_eq!(report.trials.len(), 2);
    assert!(report.slices.iter().all(|slice| slice.trial == Some(0)), "nothing was sent in the second");
}

#[test]
fn a_rate_that_must_be_good_and_is_not_fails_a_search() {
    let mut search = Search::new(Rates { rates: vec![40.0, 80.0], precision: 1.0 });
    search.take(40.0, Judged::Kept, None);
    search.take(80.0, Judged::Broken, None);
    let record = record(|_| {});
    let text = "[search]\nrates = [40, 80]\nhold = \"1m\"\nprecision = 1.0\nat_least = 80";
    let prices = Prices::parse("prices", SHIPPED).unwrap();
    let report = Report::new(&plan(text), &prices, &facts(&record, Some(&search)));
    assert_eq!(report.verdict, Verdict::Failed);
    assert!(report.reasons[0].starts_with("search.at_least: 80"), "{:?}", report.reasons);
}

/// The report of a search of one trial, which kept all thresholds when it was judged.
fn searched(more: &str, record: &Record, cut_searches: &[(Arc<str>, u64)]) -> Report {
    let mut search = Search::new(Rates { rates: vec![10.0], precision: 1.0 });
    search.take(10.0, Judged::Kept, None);
    let text = format!("[search]\nrates = [10]\nhold = \"1m\"\n{more}");
    let facts = Facts { cut_searches, ..facts(record, Some(&search)) };
    Report::new(&plan(&text), &Prices::parse("prices", SHIPPED).unwrap(), &facts)
}

#[test]
fn a_leak_that_is_found_after_its_trial_was_judged_breaks_the_trial() {
    let report = searched("", &record(|_| {}), &[]);
    assert_eq!((report.verdict, report.knee.unwrap().good), (Verdict::Passed, Some(10.0)));
    let report = searched("", &record(|figures| figures.hops[0].leaks = 1), &[]);
    let knee = report.knee.unwrap();
    assert_eq!((report.verdict, knee.good, knee.bad), (Verdict::Failed, None, Some(10.0)));
    assert_eq!(report.trials[0].broken, ["leaks: count==0"]);
}

#[test]
fn a_trial_is_undecided_if_the_end_of_the_run_leaves_copies_unchecked_or_searches_cut() {
    const NO_COPY: &str = "[thresholds]\nduplicates = \"count==0\"";
    let record = record(|_| {});
    assert_eq!(searched(NO_COPY, &record, &[]).verdict, Verdict::Passed);
    let mut unchecked = record.clone();
    unchecked.leave_unchecked(&[(TraceId::new(t(5), [1; 10]), TRANSIT)].into());
    let cut = [("logs".into(), 1)];
    for report in [searched(NO_COPY, &unchecked, &[]), searched(NO_COPY, &record, &cut)] {
        assert_eq!(report.verdict, Verdict::Inconclusive);
        assert_eq!(report.reasons, ["whether 10 events a second are good could not be observed"]);
        assert_eq!((report.trials[0].judged.as_str(), report.knee.unwrap().good), ("undecided", None));
    }
}

#[test]
fn a_broken_rate_above_one_that_is_undecided_is_not_the_lowest() {
    let mut search = Search::new(Rates { rates: vec![10.0, 20.0], precision: 1.0 });
    search.take(10.0, Judged::Kept, None);
    search.take(20.0, Judged::Broken, None);
    let mut record = record(|_| {});
    record.begin(Purpose::Judged, t(60), t(120), 20.0);
    let text = "[search]\nrates = [10, 20]\nhold = \"1m\"\n[thresholds]\nduplicates = \"count==0\"";
    let facts = Facts { cut_searches: &[("logs".into(), 1)], ..facts(&record, Some(&search)) };
    let report = Report::new(&plan(text), &Prices::parse("prices", SHIPPED).unwrap(), &facts);
    let expected = "whether 10 events a second are good could not be observed".to_owned();
    assert_eq!((report.verdict, report.reasons), (Verdict::Inconclusive, vec![expected]));
}

#[test]
fn what_a_stage_could_not_show_may_be_a_leak_or_a_copy() {
    let record = record(|figures| figures.hops[usize::from(TRANSIT.0)].unobserved = 3);
    let plan = plan(&format!("{PHASES}\n[thresholds]\nduplicates = \"count==0\""));
    let report = Report::new(&plan, &Prices::parse("prices", SHIPPED).unwrap(), &facts(&record, None));
    assert_eq!(report.verdict, Verdict::Inconclusive);
    let expected = ["leaks", "duplicates"].map(|of| format!("{of}: count==0 is undecided: between 0 and 3"));
    assert!(expected.iter().all(|reason| report.reasons.contains(reason)), "{:?}", report.reasons);
    assert!(report.notes[0].starts_with("transit could not be read for 3 canaries"), "{:?}", report.notes);
}

#[test]
fn the_summary_tells_the_verdict_first() {
    let report = report(|figures| {
        take_away(figures, 12);
        figures.whole.lost = 12;
        figures.whole.latency.missing = 12;
        figures.lost.insert((TRANSIT, TRANSIT), 12);
    });
    insta::assert_snapshot!(text::summary(&report).join("\n"));
}

#[test]
fn a_report_is_read_back_as_it_was_written() {
    let report = report(|_| {});
    assert_eq!(Report::parse(&report.to_json()), Ok(report));
    assert!(Report::parse("{}").unwrap_err().contains("is not a report of a load"));
}

#[test]
fn the_page_needs_nothing_from_anywhere() {
    let record = record(|_| {});
    let evil = "<script>alert(1)</script>".to_owned();
    let report = report_of(&Facts { cut: Some(evil.clone()), refusal: Some(evil), ..facts(&record, None) });
    let page = html::page(&report);
    for forbidden in ["<script", " src=", "<link", "url(", "@import", "<iframe", "<img"] {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
    assert!(page.contains("default-src 'none'"));
    assert!(page.find("<h1").unwrap() < page.find("<table").unwrap(), "the verdict comes first");
}

#[test]
fn in_junit_an_undecided_threshold_is_an_error_and_a_broken_one_a_failure() {
    let report = report(|figures| {
        take_away(figures, 100);
        figures.whole.lost = 50;
        figures.whole.latency.missing = 50;
        figures.lost.insert((TRANSIT, TRANSIT), 50);
    });
    let xml = junit::xml(&report);
    assert!(xml.contains("name=\"loss{hop:transit}: rate&lt;0.005\"><failure"), "{xml}");
    assert!(xml.contains("name=\"loss{hop:table}: rate&lt;0.001\"><error"), "{xml}");
    assert!(xml.contains("name=\"latency{hop:stream}: "), "{xml}");
}

#[test]
fn a_run_that_was_cut_short_has_not_passed() {
    let record = record(|_| {});
    let report = report_of(&Facts { cut: Some("stopped by a signal".to_owned()), ..facts(&record, None) });
    let xml = junit::xml(&report);
    assert!(xml.contains("failures=\"0\" errors=\"1\""), "{xml}");
    assert!(xml.contains("name=\"run\"><error message=\"stopped by a signal\"/>"), "{xml}");
    assert_eq!(
        (report.verdict, report.reasons),
        (Verdict::Inconclusive, vec!["stopped by a signal".to_owned()])
    );
}

#[test]
fn a_second_copy_that_was_not_checked_to_the_end_may_be_a_duplicate() {
    let mut record = record(|_| {});
    record.leave_unchecked(&[(TraceId::new(t(5), [1; 10]), TRANSIT)].into());
    let plan = plan(&format!("{PHASES}\n[thresholds]\nduplicates = \"count==0\""));
    let report = Report::new(&plan, &Prices::parse("prices", SHIPPED).unwrap(), &facts(&record, None));
    assert_eq!(report.verdict, Verdict::Inconclusive);
    assert!(report.reasons[0].starts_with("duplicates: "), "{:?}", report.reasons);
    assert!(report.notes[0].starts_with("second copies left unchecked: 1. "), "{:?}", report.notes);
}

#[test]
fn where_second_rows_were_searched_for_too_briefly_duplicates_are_undecided() {
    let record = record(|_| {});
    let plan = plan(&format!("{PHASES}\n[thresholds]\nduplicates = \"rate<0.5\"\nloss = \"rate<0.5\""));
    for (canaries, verdict) in [(299, Verdict::Passed), (301, Verdict::Inconclusive)] {
        let facts = Facts { cut_searches: &[("logs".into(), canaries)], ..facts(&record, None) };
        let report = Report::new(&plan, &Prices::parse("prices", SHIPPED).unwrap(), &facts);
        assert_eq!(report.verdict, verdict, "{:?}", report.reasons);
    }
}

#[test]
fn sources_of_tenants_that_are_not_loaded_are_named() {
    let notes = report(|_| {}).notes;
    assert_eq!(
        notes.iter().filter(|note| note.starts_with("sources of tenants that were not loaded")).count(),
        1,
        "{notes:?}"
    );
}

#[test]
fn a_comparison_depends_on_no_canary_that_is_not_known() {
    let run = |unknown: u64| {
        let mut report = report(|_| {});
        let mut known = Latencies::default();
        (unknown..100).for_each(|_| known.add(Duration::from_secs(1), Duration::from_secs(1)));
        let end_to_end = percentiles(&known, unknown, Detail::Distribution);
        let slice =
            SliceLine { end_to_end, hops: BTreeMap::new(), seconds: 60.0, ..report.slices[0].clone() };
        report.slices = vec![slice; 40];
        report.hops.clear();
        report
    };
    let change = |before: &Report, after: &Report| compare(before, after, 0.05)[0].change;
    assert_eq!(change(&run(0), &run(0)), Change::Same);
    assert_eq!(change(&run(1), &run(2)), Change::Same, "the percentile lies among those that are known");
    assert_eq!(change(&run(0), &run(50)), Change::Unknown);
    assert_eq!(change(&run(50), &run(0)), Change::Unknown);
}

#[test]
fn searches_are_compared_at_the_rates_that_were_good_in_both() {
    // Of each trial: the rate, how it was judged, and after how many seconds its canaries arrived.
    let run = |trials: &[(f64, Judged, u64)]| {
        let mut report = report(|_| {});
        report.knee = Some(KneeLine { good: None, bad: None, throughput: None });
        let slice = report.slices[0].clone();
        report.slices.clear();
        for (at, (rate, judged, seconds)) in trials.iter().enumerate() {
            let (mut known, latency) = (Latencies::default(), Duration::from_secs(*seconds));
            (0..100).for_each(|_| known.add(latency, latency));
            let latency = percentiles(&known, 0, Detail::Distribution);
            let end_to_end = latency.clone();
            let slice = SliceLine { trial: Some(at), end_to_end, seconds: 60.0, ..slice.clone() };
            report.slices.extend(std::iter::repeat_n(slice, 40));
            report.trials.push(TrialLine {
                rate: *rate,
                judged: judged.as_str().to_owned(),
                accepted_rate: *rate,
                growth: None,
                lost: 0,
                latency,
                broken: Vec::new(),
            });
        }
        report
    };
    let before = run(&[(50.0, Judged::Kept, 2), (100.0, Judged::Broken, 60)]);
    let faster = run(&[(50.0, Judged::Kept, 1), (100.0, Judged::Kept, 2), (200.0, Judged::Broken, 90)]);
    assert_eq!(compare(&before, &faster, 0.05)[0].change, Change::Better);
    let note = |rates: &str| {
        format!("of a search, only the rates that kept all thresholds in both runs are compared: {rates}")
    };
    assert!(doubts(&before, &faster).contains(&note("50/s")), "{:?}", doubts(&before, &faster));
    for other in [run(&[(50.0, Judged::Undecided, 2)]), report(|_| {})] {
        assert!(compare(&before, &other, 0.05).iter().all(|it| it.change == Change::Unknown));
        assert!(doubts(&before, &other).contains(&note("there are none")), "{:?}", doubts(&before, &other));
    }
}

#[test]
fn a_comparison_names_hops_and_tenants_that_only_one_run_has() {
    let (before, after) = (report(|_| {}), report(|_| {}));
    let fewer = Report { hops: before.hops[1..].to_vec(), tenants: Vec::new(), ..before.clone() };
    for (before, after) in [(&fewer, &after), (&after, &fewer)] {
        let compared = compare(before, after, 0.05);
        assert_eq!(compared.len(), before.hops.len().max(after.hops.len()) + 1);
        let notes = doubts(before, after);
        assert!(notes.iter().any(|note| note.starts_with("the tenants differ: ")), "{notes:?}");
    }
    let compared = compare(&fewer, &after, 0.05);
    assert_eq!(compared.last().map(|last| last.name.as_str()), Some(&*after.hops[0].name));
}

#[test]
fn a_count_of_a_report_that_no_slice_can_have_is_a_fault_of_the_file() {
    for count in [u64::MAX, 1 << 32] {
        let mut report = report(|_| {});
        report.slices[2].end_to_end.unknown = count;
        let fault = Report::parse(&report.to_json()).unwrap_err();
        let expected =
            format!("has slices[2].end_to_end.unknown = {count}; a slice has at most 4294967295 canaries");
        assert_eq!(fault, expected);
    }
    let mut report = report(|_| {});
    report.slices[0].hops.get_mut("transit").unwrap().bins = vec![(7, 1), (7, 1)];
    let fault = Report::parse(&report.to_json()).unwrap_err();
    assert!(fault.starts_with("has slices[0].hops.transit.bins that are not a distribution"), "{fault}");
}

#[test]
fn the_largest_counts_of_a_report_are_compared() {
    let mut report = report(|_| {});
    for of in report.slices.iter_mut().map(|slice| &mut slice.end_to_end) {
        (of.missing, of.unknown) = (u64::from(u32::MAX), u64::from(u32::MAX));
    }
    let report = Report::parse(&report.to_json()).unwrap();
    assert_eq!(compare(&report, &report, 0.05)[0].change, Change::Unknown, "nearly all never came");
}

#[test]
fn names_of_a_report_drive_no_terminal() {
    let evil = "\u{1b}[31mred\n".to_owned();
    let after = report(|_| {});
    let mut before = report(|_| {});
    before.profile = evil.clone();
    for of in [&mut before.hops[0], &mut before.tenants[0], &mut before.sizes[0]] {
        of.name.clone_from(&evil);
    }
    let mut told = doubts(&before, &after);
    assert_eq!(told.len(), 3, "{told:?}");
    told.extend(compare(&before, &after, 0.05).iter().map(|it| it.name.to_string()));
    told.push(Report::parse(&before.to_json().replace("\"passed\"", "\"\\u001b[2J\"")).unwrap_err());
    assert!(told.iter().all(|text| !text.contains(char::is_control)), "{told:?}");
}
