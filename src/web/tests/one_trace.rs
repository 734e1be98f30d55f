//! The page of one trace.

use super::*;
use crate::domain::canary::Integrity;
use crate::domain::conditions::ConditionName;
use crate::domain::copies::{CopyStanding, StoredCopy};
use crate::domain::outcome::{Outcome, UnobservedReason};
use crate::domain::sighting::Locator;
use crate::domain::tool_endpoints::{AwsEndpoint, ToolEndpoints};
use crate::domain::topology::{StageId, TenantId};
use crate::domain::trace::Trace;
use crate::domain::tracker::{LeakedTenant, Snapshot, Violation};
use crate::web::app::Settings;

/// A snapshot whose last finished trace was changed, and the page of that trace.
async fn changed(change: impl FnOnce(&mut Trace)) -> (App, String) {
    let mut snapshot = after(5, healthy);
    let last = snapshot.finished.last_mut().unwrap();
    change(Arc::make_mut(last));
    let id = last.id();
    let app = app(snapshot);
    let body = page(&app, &format!("/traces/{id}")).await;
    (app, body)
}

async fn of(app: &App, select: impl Fn(&Snapshot) -> Option<&Arc<Trace>>) -> String {
    let id = select(&app.snapshot.borrow()).unwrap().id();
    page(app, &format!("/traces/{id}")).await
}

fn first_line(body: &str) -> String {
    text(body, "trace").lines().next().unwrap().to_owned()
}

fn copy_at(trace: &mut Trace, stage: StageId, locator: &str, standing: CopyStanding) {
    trace.stages[usize::from(stage.0)].copies.push(StoredCopy::new(Locator::new(locator), None, standing));
}

#[tokio::test]
async fn a_lost_canary_is_told_in_one_sentence() {
    let app = app(after(38, stuck));
    let body = of(&app, |snapshot| snapshot.finished.iter().find(|trace| trace.is_failure())).await;
    let line = first_line(&body);
    assert!(line.starts_with("lost Lost between tenant_stream and transit: sent 02:"), "{line}");
    assert!(
        line.contains(" UTC, seen at tenant_stream 650 ms later, not found in transit in 901 polls"),
        "{line}"
    );
}

#[tokio::test]
async fn a_delivered_canary_has_nothing_to_do() {
    let (_, body) = changed(|_| ()).await;
    assert!(first_line(&body).starts_with("delivered Delivered to bigquery in "), "{}", first_line(&body));
    assert!(text(&body, "trace").contains("met its SLO of 30 s"));
    assert!(!body.contains("class=\"finding"));
}

#[tokio::test]
async fn both_copies_of_a_duplicate_are_in_one_list() {
    let (_, body) =
        changed(|trace| copy_at(trace, TABLE, "my-project.logs.events row 2", CopyStanding::Duplicate)).await;
    assert!(first_line(&body).ends_with("; stored twice at bigquery."), "{}", first_line(&body));
    let pair = body.split("<ol class=\"pair\">").nth(1).unwrap().split("</ol>").next().unwrap();
    assert_eq!(pair.matches("<li>").count(), 2, "{pair}");
    assert!(pair.contains("my-project.logs.events row 2"), "{pair}");
}

#[tokio::test]
async fn a_copy_that_is_not_charged_is_no_duplicate() {
    use crate::domain::copies::UnchargedReason;

    let standing = CopyStanding::Uncharged(UnchargedReason::RetriedPut);
    let (_, body) = changed(|trace| copy_at(trace, TABLE, "row 2", standing)).await;
    assert!(!body.contains("class=\"finding"));
    assert!(body.contains("not charged: the probe may have sent it twice"));
}

#[tokio::test]
async fn a_corrupted_canary_says_how_much_is_left() {
    let (_, body) = changed(|trace| {
        let arrival = trace.stages[usize::from(TRANSIT.0)].arrival.as_mut().unwrap();
        arrival.integrity = Integrity::Corrupted { kept_bytes: 200, sent_bytes: 10_000 };
    })
    .await;
    let line = first_line(&body);
    assert!(line.ends_with("; cut or changed at transit: 200 of 10000 bytes are left."), "{line}");
    assert!(text(&body, "trace").contains("9800 bytes (98 %)"));
}

#[tokio::test]
async fn a_leaked_canary_says_whose_it_is_and_where_it_was_found() {
    let mut snapshot = after(5, healthy);
    let id = snapshot.finished.last().unwrap().id();
    snapshot.violations.push(Violation {
        at: snapshot.at,
        tenant: LeakedTenant::Known(TenantId(0)),
        found_with: Some(TenantId(1)),
        stage: STREAM,
        trace: id,
        found_in: "kinesis logs-globex".into(),
        locator: Locator::new("shardId-000000000000/7"),
    });
    let app = app(snapshot);
    let body = page(&app, &format!("/traces/{id}")).await;
    let whole = text(&body, "trace");
    assert!(first_line(&body).ends_with("; leaked: found in kinesis logs-globex."), "{}", first_line(&body));
    assert!(whole.contains("whose acme"), "{whole}");
    let command = "aws kinesis get-records --region eu-central-1 --limit 1 --shard-iterator";
    let of_copy = "--stream-name logs-globex --shard-id shardId-000000000000";
    let read = whole.split(command).skip(1).any(|rest| rest.contains(of_copy));
    assert!(read && whole.contains("leaked copy at tenant_stream"), "nothing fetches the copy: {whole}");
    assert!(body.contains("/static/icon/broken.svg"), "a leak is worse than a delivery is good");
}

#[tokio::test]
async fn an_unobserved_canary_says_why_the_probe_cannot_know() {
    for reason in UnobservedReason::ALL {
        let (_, body) = changed(|trace| {
            trace.stages[usize::from(TABLE.0)].arrival = None;
            trace.ended = Some((Outcome::Unobserved(reason), trace.planned_at));
        })
        .await;
        assert!(body.contains("Why the probe cannot know"), "{reason:?}");
        assert!(body.contains("it says nothing about the pipeline"), "{reason:?}");
        assert!(!text(&body, "trace").to_lowercase().contains("lost"), "{reason:?}");
    }
}

#[tokio::test]
async fn a_canary_at_a_blind_stage_is_unknown_with_the_reason() {
    let app = app(after(22, blind));
    let body = of(&app, |snapshot| snapshot.open.first()).await;
    let whole = text(&body, "trace");
    assert!(
        whole.contains("unknown whether it is in bigquery, which cannot be read since 02:35:03"),
        "{whole}"
    );
    assert!(whole.contains("User does not have bigquery.jobs.create permission"), "{whole}");
    assert!(body.contains("class=\"l-blind\""));
}

#[tokio::test]
async fn the_legend_explains_only_what_is_drawn() {
    let (_, body) = changed(|_| ()).await;
    assert!(body.contains("arrived within this interval"));
    assert!(!body.contains("not there when it should have been"));
}

#[tokio::test]
async fn every_lane_has_a_text_for_screen_readers() {
    let (_, body) = changed(|_| ()).await;
    for start in ["tenant_stream (kinesis): ", "archive (s3, off the main path): ", "bigquery (bigquery): "] {
        assert!(body.contains(&format!("role=\"img\" aria-label=\"{start}")), "{start}");
    }
}

#[tokio::test]
async fn every_copy_button_names_a_command() {
    let app = app(after(38, stuck));
    let body = of(&app, |snapshot| snapshot.finished.iter().find(|trace| trace.is_failure())).await;
    let targets: Vec<_> =
        body.split("data-copy=\"#").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    assert!(targets.len() >= 4, "{targets:?}");
    for target in &targets {
        assert_eq!(body.matches(&format!("<pre id=\"{target}\"")).count(), 1, "{target}");
    }
}

#[tokio::test]
async fn every_link_of_the_page_works_below_a_path_prefix() {
    let app = app(after(38, stuck));
    let body = of(&app, |snapshot| snapshot.finished.iter().find(|trace| trace.is_failure())).await;
    let main = body.split("<main").nth(1).unwrap().split("</main>").next().unwrap();
    let absolute: Vec<_> = main.split("href=\"/").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert!(absolute.is_empty(), "{absolute:?}");
}

#[tokio::test]
async fn the_runbook_of_the_probe_gets_the_tenant_and_the_stage() {
    let app = app(after(38, stuck));
    let settings = crate::web::Settings { runbook: None, ..(*app.settings).clone() };
    let app = App { settings: Arc::new(settings), ..app };
    let body = of(&app, |snapshot| snapshot.finished.iter().find(|trace| trace.is_failure())).await;
    let chapter = ConditionName::Losing.profile().chapter;
    let link = format!("href=\"../runbook?tenant=acme&#38;stage=transit#{chapter}\"");
    assert!(body.contains(&link), "{}", body.split("../runbook").nth(1).unwrap_or_default());
}

#[test]
fn every_chapter_that_a_finding_names_is_in_the_runbook() {
    let headings = include_str!("../../../docs/runbook.md").to_lowercase();
    for chapter in ["dead-lettered", "late-arrivals", "unobserved"] {
        assert!(headings.replace(' ', "-").contains(&format!("##-{chapter}\n")), "{chapter}");
    }
}

#[tokio::test]
async fn hostile_names_stay_text_on_the_page_and_one_word_in_commands() {
    const KEY: &str = "s3://sre-transit/a'b\"$(reboot)`id`;\n<script>&region=x";
    let (app, body) = changed(|trace| {
        trace.stages[usize::from(TRANSIT.0)].copies =
            vec![StoredCopy::new(Locator::new(KEY), None, CopyStanding::First)];
    })
    .await;
    assert!(!body.contains("<script>&"), "{body}");
    let id = app.snapshot.borrow().finished.last().unwrap().id();
    let one = json(&app, &format!("/traces/{id}")).await;
    let commands = one["evidence"][1]["commands"].as_array().unwrap().iter();
    let transit = one["evidence"].as_array().unwrap().iter().find(|it| it["stage"] == "transit").unwrap();
    assert!(commands.count() > 0);
    for command in transit["commands"].as_array().unwrap() {
        let command = command["command"].as_str().unwrap();
        assert!(command.contains(r#"a\047b"$(reboot)`id`;\012<script>&region=x'"#), "{command}");
        assert!(!command.contains('\n'), "{command}");
    }
    let url = transit["links"][0]["url"].as_str().unwrap();
    assert!(url.ends_with("prefix=a%27b%22%24%28reboot%29%60id%60%3B%0A%3Cscript%3E%26region%3Dx"), "{url}");
}

#[tokio::test]
async fn a_hostile_name_reaches_the_program_unchanged() {
    const NAME: &str = "a'b\"$(echo no)`echo no`;\\ \n&|<>*?~!#é";
    let (app, _) = changed(|trace| {
        trace.stages[usize::from(TRANSIT.0)].copies = vec![StoredCopy::new(
            Locator::new(format!("s3://sre-transit/{NAME}")),
            None,
            CopyStanding::First,
        )];
    })
    .await;
    let id = app.snapshot.borrow().finished.last().unwrap().id();
    let one = json(&app, &format!("/traces/{id}")).await;
    let transit = one["evidence"].as_array().unwrap().iter().find(|it| it["stage"] == "transit").unwrap();
    let commands = transit["commands"].as_array().unwrap();
    let head = commands.iter().find(|it| it["command"].as_str().unwrap().contains("head-object")).unwrap();
    let script = format!("aws() {{ printf %s \"${{@: -1}}\"; }}\n{}", head["command"].as_str().unwrap());
    let output = std::process::Command::new("bash").args(["-c", &script]).output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), NAME);
}

#[tokio::test]
async fn the_json_has_the_facts_of_the_page() {
    let app = app(after(38, stuck));
    let id = app.snapshot.borrow().finished.iter().find(|trace| trace.is_failure()).unwrap().id();
    let one = json(&app, &format!("/traces/{id}")).await;
    assert_eq!(one["met_slo"], false);
    assert_eq!(one["findings"][0]["finding"], "lost");
    let body = page(&app, &format!("/traces/{id}")).await;
    assert!(first_line(&body).contains(one["summary"].as_str().unwrap()), "{}", one["summary"]);
    assert_eq!(one["trace"]["stages"][0]["found_in"], "text");
    assert_eq!(one["trace"]["stages"][0]["stamp_means"], "arrived_within_1_ms");
}

#[tokio::test]
async fn the_page_of_an_unknown_trace_says_where_to_search() {
    let app = app(after(2, healthy));
    let answer = request(&app, "GET", "/traces/01a2011db07470008c6c15cb9469fd2e", "text/html").await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    assert!(answer.body.contains("It may be a canary of another instance"));
    assert!(answer.body.contains("In BigQuery: SELECT * FROM"));
}

#[tokio::test]
async fn commands_name_the_endpoints_that_are_configured() {
    let mut app = app(after(38, stuck));
    let endpoint = AwsEndpoint { service: None, region: None, url: "http://127.0.0.1:4566".to_owned() };
    let endpoints = ToolEndpoints::new(vec![endpoint], None, Some("http://127.0.0.1:9050/bigquery/v2"));
    app.settings = Arc::new(Settings { endpoints, ..(*app.settings).clone() });
    let id = app.snapshot.borrow().finished.last().unwrap().id();
    let one = json(&app, &format!("/traces/{id}")).await;
    let told = one.to_string();
    assert!(told.contains("aws --endpoint-url http://127.0.0.1:4566 kinesis "), "{told}");
    assert!(told.contains("bq --api http://127.0.0.1:9050 query "), "{told}");
    let runbook = page(&app, "/runbook?tenant=acme&stage=tenant_stream").await;
    assert!(runbook.contains("aws --endpoint-url http://127.0.0.1:4566 kinesis "), "{runbook}");
}
