//! What the person on call sees first: the heading, the incidents and the tenants over time.

use super::*;
use crate::domain::conditions::{Condition, ConditionName, Detail, Severity, Subject};
use crate::domain::incidents::State;
use crate::domain::time::Timestamp;
use crate::domain::topology::{LogGroupId, StageId, TenantId};
use crate::web::view::ConditionView;

async fn recent(app: &App) -> String {
    page(app, "/traces/recent").await
}

/// The words of the incidents that go on, in the order of the page.
fn cards(page: &str) -> Vec<&str> {
    let badges = page.split("class=\"badge\">").skip(1);
    badges.filter_map(|badge| badge.split("</span> ").nth(1)?.split('<').next()).collect()
}

/// The second tenant loses every fifth canary, and the third tenant's log group refuses all.
fn losing_beside_refusing(second: u64, tenant: TenantId) -> Weather {
    Weather { refused: refusing(second, tenant).refused, ..losing(second, tenant) }
}

#[tokio::test]
async fn incidents_are_in_the_order_of_the_heading_whatever_ratio_they_affect() {
    let page = recent(&app(after(45, losing_beside_refusing))).await;
    assert!(
        text(&page, "now").starts_with("✖ globex LOSING at bigquery; 1 more tenant"),
        "{}",
        text(&page, "now")
    );
    assert_eq!(cards(&page), ["LOSING", "NOT INJECTING"]);
}

#[tokio::test]
async fn the_heading_is_as_bad_as_an_incident_that_is_not_proven_to_be_over() {
    let mut snapshot = after(27, leaking);
    // The copies are no longer known, and nothing proves that there are no new ones.
    (snapshot.leaks, snapshot.violations) = (Vec::new(), Vec::new());
    let unproven = snapshot.episodes.iter().map(|episode| {
        let is_leak = episode.condition.name == ConditionName::Leaking;
        let state = if is_leak { State::Unproven } else { episode.state };
        Arc::new(crate::domain::incidents::Episode { state, ..(**episode).clone() })
    });
    snapshot.episodes = unproven.collect();
    let page = recent(&app(snapshot)).await;
    let heading = text(&page, "now");
    assert!(
        heading.starts_with("✖ acme LEAKING at tenant_stream, not proven to be over since 02:40:11"),
        "{heading}"
    );
    assert!(heading.contains("less severe: initech SLOW at bigquery"), "{heading}");
    assert!(page.contains("class=\"sum g-broken\""));
    assert_eq!(cards(&page), ["LEAKING", "SLOW"]);
}

#[tokio::test]
async fn what_was_stuck_and_is_only_slow_now_is_told_once_and_as_bad_as_it_is() {
    let mut snapshot = after(27, leaking);
    (snapshot.leaks, snapshot.violations) = (Vec::new(), Vec::new());
    let slow = snapshot.episodes.iter().filter(|episode| episode.condition.name == ConditionName::Slow);
    let worst = slow.map(|episode| {
        Arc::new(crate::domain::incidents::Episode { worst: Severity::Critical, ..(**episode).clone() })
    });
    snapshot.episodes = worst.collect();
    let page = recent(&app(snapshot)).await;
    let heading = text(&page, "now");
    assert!(heading.starts_with("▲ ") && heading.contains("SLOW at bigquery since"), "{heading}");
    assert!(!heading.contains("less severe") && !heading.contains("not proven"), "{heading}");
    assert!(page.contains("class=\"sum g-poor\""));
}

#[tokio::test]
async fn a_warning_does_not_compete_with_what_is_critical() {
    let heading = text(&recent(&app(after(27, leaking))).await, "now");
    assert!(heading.starts_with("✖ acme LEAKING at tenant_stream since"), "{heading}");
    assert!(heading.contains("1 other tenant with a warning"), "{heading}");
}

/// For six minutes, nothing of the first tenant reaches transit.
fn stuck_for_a_while(second: u64, tenant: TenantId) -> Weather {
    if second < 1_560 { stuck(second, tenant) } else { Weather::default() }
}

#[tokio::test]
async fn what_is_over_but_has_missing_canaries_is_not_called_recovered() {
    let app = app(after(28, stuck_for_a_while));
    let incidents = text(&recent(&app).await, "incidents");
    assert!(
        incidents.contains("but not all is well: 12 of 13 canaries from that time have not arrived"),
        "{incidents}"
    );
    assert!(!incidents.contains("recovered"), "{incidents}");
    let incident = &json(&app, "/traces/recent").await["incidents"][0];
    assert_eq!(incident["state"], "over");
    let report = incident["report"].as_str().unwrap();
    assert!(report.starts_with("INCIDENT acme: STUCK") && report.contains("\nopen:   12 of 13"), "{report}");
}

#[tokio::test]
async fn the_heading_is_not_green_while_canaries_of_an_incident_that_is_over_are_missing() {
    let page = recent(&app(after(30, stuck_for_a_while))).await;
    let heading = text(&page, "now");
    let text = "▲ acme STUCK at transit is over, but 12 of 13 canaries from that time have not arrived";
    assert!(heading.starts_with(text) && !heading.contains("OK"), "{heading}");
    assert!(page.contains("class=\"sum g-poor\""));
}

#[tokio::test]
async fn what_is_over_and_well_is_recovered() {
    fn blind_for_a_while(second: u64, tenant: TenantId) -> Weather {
        if second < 1_380 { blind(second, tenant) } else { Weather::default() }
    }
    let incidents = text(&recent(&app(after(24, blind_for_a_while))).await, "incidents");
    assert!(incidents.contains("recovered ") && !incidents.contains("not all is well"), "{incidents}");
}

#[tokio::test]
async fn a_leak_is_marked_in_the_strips_of_both_tenants_and_of_the_stage() {
    let page = recent(&app(after(27, leaking))).await;
    let tenants = text(&page, "tenants");
    for line in [
        "last day: critical 02:00 to now; 54 of 54 canaries in time; some leaked",
        "└ tenant_stream last day: critical",
    ] {
        assert!(tenants.contains(line), "{tenants}");
    }
    assert!(tenants.contains("✔ globex OK ✖ holds copies of acme"), "{tenants}");
    assert_eq!(tenants.matches("; some leaked in 1 min").count(), 4, "{tenants}");
}

#[tokio::test]
async fn the_first_lines_say_who_holds_copies_and_do_not_count_it_as_well() {
    let heading = text(&recent(&app(after(27, leaking))).await, "now");
    assert!(heading.ends_with("globex holds copies of acme"), "{heading}");
}

#[tokio::test]
async fn the_legend_has_no_mark_that_no_strip_has() {
    for (name, minutes, script) in STATES {
        let page = recent(&app(after(minutes, script))).await;
        let (strips, legend) = page.split_once("<p class=\"key\">").unwrap();
        let legend = legend.split("</p>").next().unwrap();
        for class in ["o", "u", "f0", "f1", "f2", "f3", "k0", "k1", "k2", "k3", "k4"] {
            let class = format!("<path class=\"{class}\"");
            assert_eq!(strips.contains(&class), legend.contains(&class), "{name}: {class}");
        }
    }
}

#[tokio::test]
async fn a_count_has_its_whole() {
    let page = recent(&app(after(38, stuck))).await;
    assert!(
        text(&page, "incidents").contains("none of 36 canaries sent since then got through; 35 are overdue")
    );
    assert!(text(&page, "matters").contains("6 of 228 remembered traces"), "{}", text(&page, "matters"));
}

#[tokio::test]
async fn an_incident_that_has_ended_says_how_many_of_how_many() {
    fn slow_for_a_while(second: u64, tenant: TenantId) -> Weather {
        let is_slow = tenant == INITECH && (900..1_200).contains(&second);
        Weather { slow: if is_slow { 38_000 } else { 0 }, ..Weather::default() }
    }
    let incidents = text(&recent(&app(after(40, slow_for_a_while))).await, "incidents");
    assert!(incidents.contains("initech SLOW bigquery : 10 of 10 canaries affected"), "{incidents}");
}

#[tokio::test]
async fn a_refused_injection_names_the_log_group_and_the_error() {
    let page = recent(&app(after(20, refusing))).await;
    let heading = text(&page, "now");
    assert!(
        heading.starts_with("? initech NOT INJECTING into log group /ecs/initech/app since"),
        "{heading}"
    );
    let incidents = text(&page, "incidents");
    assert!(incidents.contains("NOT INJECTING initech into log group /ecs/initech/app"), "{incidents}");
    assert!(incidents.contains("AccessDeniedException: not authorized"), "{incidents}");
}

#[test]
fn dead_letters_name_the_hop_that_gave_up() {
    let app = app(after(1, healthy));
    let mut snapshot = app.snapshot.borrow().as_ref().clone();
    snapshot.topology = Arc::new(with_dead_letters());
    let dead = snapshot.topology.stage_ids().last().unwrap();
    let losing = Condition {
        affected: Some(3),
        of: Some(12),
        ..fault(ConditionName::Losing, Subject::at(ACME, dead), snapshot.at)
    };
    let view = ConditionView::new(&losing, &snapshot, &app.settings);
    assert_eq!(view.what, "LOSING at transit → bigquery (in dead_letter)");
    assert_eq!(view.summary, "3 of 12 could not pass transit → bigquery; they are in dead_letter");
    assert_eq!(view.place.as_deref(), Some("dead_letter"));
    let mixed = Condition { detail: Detail::NotArrived { dead_lettered: 2, lost: 1 }, ..losing };
    let view = ConditionView::new(&mixed, &snapshot, &app.settings);
    assert_eq!(view.summary, "3 of 12 did not arrive: 2 dead-lettered, 1 lost");
}

#[tokio::test]
async fn every_age_is_counted_on_by_the_browser_from_the_same_instant() {
    for (name, minutes, script) in [STATES[2], STATES[4], STATES[6]] {
        let page = recent(&app(after(minutes, script))).await;
        // What people pass on is of the instant that it names.
        let mut rest = String::new();
        for part in page
            .split("<pre")
            .enumerate()
            .map(|(at, part)| if at == 0 { part } else { part.split_once("</pre>").unwrap().1 })
        {
            rest += part;
        }
        let ages = rest.matches("<time class=\"ago\" datetime=\"").count();
        let exact = rest.split("<time class=\"ago\" datetime=\"").skip(1);
        // Without milliseconds, the browser would count up to a second more than the server.
        assert_eq!(exact.filter(|it| it.as_bytes()[19] == b'.').count(), ages, "{name}");
        let outside: String = rest
            .split("<time class=\"ago\"")
            .enumerate()
            .map(|(at, part)| if at == 0 { part } else { part.split_once("</time>").unwrap().1 })
            .collect();
        for age in [" s ago", " s)"] {
            let found = outside.find(age).map(|at| &outside[at.saturating_sub(80)..at + 8]);
            assert_eq!(found, None, "{name}");
        }
    }
}

#[test]
fn a_problem_of_one_log_group_names_it() {
    let app = app(after(1, healthy));
    let snapshot = app.snapshot.borrow().as_ref().clone();
    let stuck = Condition {
        log_groups: vec![LogGroupId::FIRST],
        affected: Some(3),
        of: Some(3),
        ..fault(ConditionName::Stuck, Subject::at(ACME, StageId(0)), snapshot.at)
    };
    let view = ConditionView::new(&stuck, &snapshot, &app.settings);
    assert_eq!(view.what, "STUCK at tenant_stream", "so that tenants with the same problem stay together");
    assert!(view.summary.starts_with("log group /ecs/acme/app: none of 3 canaries"), "{}", view.summary);
    assert!(view.text.contains("/ecs/acme/app"), "{}", view.text);
}

fn fault(name: ConditionName, subject: Subject, since: Timestamp) -> Condition {
    Condition {
        name,
        severity: Severity::Critical,
        blame: crate::domain::conditions::Blame::Pipeline,
        subject,
        since: Some(since),
        last: None,
        canaries: Vec::new(),
        affected: None,
        of: None,
        log_groups: Vec::new(),
        detail: Detail::None,
    }
}
