//! The pages, as HTML and JSON, in several states, and the routes.

mod first_screen;
mod one_trace;

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode, header};
use tower::ServiceExt as _;

use super::app::App;

use super::fixture::*;
use super::page::{SCRIPT, STYLE};
use super::permits::Permits;
use super::routes::{POLICY, router, router_with};
use crate::domain::sighting::Decoding;
use crate::domain::time::WallClock;
use crate::metrics::Format;

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

async fn request(app: &App, method: &str, path: &str, accept: &str) -> Answer {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::ACCEPT, accept)
        .body(Body::empty())
        .unwrap();
    let response = router(app.clone()).oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    Answer { status: parts.status, headers: parts.headers, body: String::from_utf8(body.to_vec()).unwrap() }
}

async fn page(app: &App, path: &str) -> String {
    let answer = request(app, "GET", path, "text/html").await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    answer.body
}

async fn json(app: &App, path: &str) -> serde_json::Value {
    let answer = request(app, "GET", path, "application/json").await;
    serde_json::from_str(&answer.body).unwrap()
}

/// The text of a part of a page, without the markup.
fn text(page: &str, id: &str) -> String {
    let start = page.find(&format!("id=\"{id}\"")).unwrap();
    let part = &page[start..];
    let part = &part[part.find('>').unwrap() + 1..part.find("</section>").unwrap_or(part.len())];
    let mut text = String::new();
    let mut inside = false;
    for c in part.chars() {
        match c {
            '<' => inside = true,
            '>' => {
                inside = false;
                text.push(' ');
            }
            c if !inside => text.push(c),
            _ => {}
        }
    }
    let mut lines: Vec<_> =
        text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    lines.retain(|line| !line.is_empty());
    lines.join("\n")
}

/// The text above the traces: the heading, the incidents and the tenants.
fn above(page: &str) -> String {
    ["now", "incidents", "tenants"].map(|id| text(page, id)).join("\n")
}

/// The JSON with its keys sorted: their order otherwise depends on the features of a library.
fn sorted(json: &serde_json::Value) -> serde_json::Value {
    match json {
        serde_json::Value::Object(map) => {
            let ordered: std::collections::BTreeMap<_, _> =
                map.iter().map(|(k, v)| (k.clone(), sorted(v))).collect();
            ordered.into_iter().collect()
        }
        serde_json::Value::Array(list) => list.iter().map(sorted).collect(),
        other => other.clone(),
    }
}

#[tokio::test]
async fn a_trace_is_the_same_in_both_json_answers() {
    let app = app(after(17, stuck_soon));
    let recent = json(&app, "/traces/recent?tenant=acme&outcome=in_flight&limit=1&format=json").await;
    insta::assert_snapshot!("recent_json", format!("{:#}", sorted(&recent)));
    let id = recent["traces"][0]["id"].as_str().unwrap();
    let one = json(&app, &format!("/traces/{id}")).await;
    assert_eq!(one["trace"], recent["traces"][0]);
    assert_eq!(one["tag"].as_str().unwrap().len(), crate::domain::tag::TAG_LEN);
}

#[tokio::test]
async fn every_field_of_the_json_is_described() {
    fn fields(value: &serde_json::Value, into: &mut std::collections::BTreeSet<String>) {
        match value {
            serde_json::Value::Object(object) => {
                for (name, value) in object {
                    into.insert(name.clone());
                    fields(value, into);
                }
            }
            serde_json::Value::Array(items) => items.iter().for_each(|item| fields(item, into)),
            _ => {}
        }
    }
    let described = include_str!("../../docs/api.md");
    let mut found = std::collections::BTreeSet::new();
    for (_, minutes, script) in [STATES[3], STATES[6]] {
        let app = app(after(minutes, script));
        let recent = json(&app, "/traces/recent").await;
        let id = recent["traces"][0]["id"].as_str().unwrap().to_owned();
        fields(&recent, &mut found);
        fields(&json(&app, &format!("/traces/{id}")).await, &mut found);
        fields(&json(&app, "/history").await, &mut found);
    }
    let word = |name: &&String| {
        described.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(|word| word == name.as_str())
    };
    let missing: Vec<_> = found.iter().filter(|name| !word(name)).collect();
    assert!(missing.is_empty(), "not in docs/api.md: {missing:?}");
}

#[tokio::test]
async fn a_drifted_schema_is_on_the_page_and_in_json() {
    use crate::domain::sighting::Drift;
    use crate::domain::tracker::Drifted;

    let mut snapshot = after(2, |_, _| Weather::default());
    let table = snapshot.topology.source_of(ACME, TABLE);
    let added = Drift { column: "x".into(), from: None, to: Some("STRING".into()) };
    let since = Some(snapshot.at - std::time::Duration::from_secs(60));
    let accept = "0f1e2d3c".parse().ok();
    snapshot.sources[table.0 as usize].drifted = Some(Drifted { since, changes: [added].into(), accept });
    let app = app(snapshot);
    let page = page(&app, "/traces/recent").await;
    assert!(above(&page).contains("column x added (STRING)"), "{}", above(&page));
    assert!(above(&page).contains("set schema_accepted = [&#34;0f1e2d3c&#34;] for the stage"));
    assert!(text(&page, "probe").contains("schema drifted: column x added (STRING)"));
    let recent = json(&app, "/traces/recent").await;
    let drift = &recent["sources"][table.0 as usize]["drift"];
    let expected = serde_json::json!([{"column": "x", "change": "added", "from": null, "to": "STRING"}]);
    assert_eq!(*drift, expected);
    assert_eq!(recent["sources"][table.0 as usize]["drift_accept"], "0f1e2d3c");
}

#[tokio::test]
async fn an_unsynchronized_clock_is_reported_at_the_top_and_a_synchronized_one_at_the_foot() {
    use crate::domain::time::OwnClock;

    let mut snapshot = after(2, |_, _| Weather::default());
    let report = |snapshot: crate::domain::tracker::Snapshot| async move {
        let app = app(snapshot);
        let page = page(&app, "/traces/recent").await;
        let recent = json(&app, "/traces/recent").await;
        let both = [&recent["clock_synchronized"], &recent["clock_error_bound_seconds"]].map(Clone::clone);
        (above(&page), text(&page, "probe"), both)
    };
    let (above, below, [synchronized, bound]) = report(snapshot.clone()).await;
    assert!(!above.contains("clock") && !below.contains("clock"), "{above} {below}");
    assert!(synchronized.is_null() && bound.is_null());
    let error_bound = Some(std::time::Duration::from_millis(3));
    snapshot.clock = Some(OwnClock { error_bound, synchronized: false, compared_at: None });
    let (above, below, _) = report(snapshot.clone()).await;
    assert!(above.contains("CLOCK NOT SYNCHRONIZED fault of the probe\nit may be off by 3 ms"), "{above}");
    assert!(!below.contains("clock"), "{below}");
    snapshot.clock = Some(OwnClock { error_bound, synchronized: true, compared_at: None });
    let (above, below, [synchronized, bound]) = report(snapshot).await;
    assert!(!above.contains("clock"), "{above}");
    assert!(below.contains("The clock is synchronized: it may be off by 3 ms"), "{below}");
    assert_eq!((synchronized.as_bool(), bound.as_f64()), (Some(true), Some(0.003)));
}

fn stuck_soon(second: u64, tenant: crate::domain::topology::TenantId) -> Weather {
    stuck(second + 900, tenant)
}

#[tokio::test]
async fn the_heading_is_that_of_the_worst_tenant_and_the_pipeline_comes_before_the_probe() {
    let app = app(after(38, stuck_beside_refusing));
    let recent = page(&app, "/traces/recent").await;
    assert!(
        above(&recent).starts_with("✖ acme STUCK at transit; 1 more tenant with a problem since 02:35:"),
        "{}",
        above(&recent)
    );
    assert!(recent.contains("class=\"sum g-broken\""));
    assert!(recent.contains("/static/icon/broken.svg"));
    let tenants = json(&app, "/traces/recent").await["tenants"].clone();
    let conditions: Vec<_> = (0..3).map(|at| tenants[at]["verdict"]["condition"].as_str().unwrap()).collect();
    assert_eq!(conditions, ["stuck", "not_injecting", "ok"]);
}

#[tokio::test]
async fn what_is_wrong_comes_before_the_traces_and_the_probe_comes_last() {
    let app = app(after(38, stuck));
    let page = page(&app, "/traces/recent?tenant=acme&limit=3").await;
    let ids = ["now", "incidents", "tenants", "matters", "traces", "hops", "probe"];
    let positions = ids.map(|id| page.find(&format!("<section id=\"{id}\"")).unwrap());
    assert!(positions.is_sorted(), "{positions:?}");
    let texts: Vec<_> = ids.iter().map(|id| text(&page, id)).collect();
    insta::assert_snapshot!(texts.join("\n\n"));
}

#[tokio::test]
async fn the_page_of_a_trace_shows_its_history() {
    let app = app(after(38, stuck));
    let lost = app.snapshot.borrow().failures_of(crate::domain::topology::TenantId(0)).next().unwrap().id();
    insta::assert_snapshot!(text(&page(&app, &format!("/traces/{lost}")).await, "trace"));
}

#[tokio::test]
async fn a_blind_stage_makes_no_canary_appear_lost() {
    let app = app(after(25, blind));
    let answer = json(&app, "/traces/recent?limit=1").await;
    assert_eq!(answer["tenants"][0]["verdict"]["condition"], "cannot_see");
    assert_eq!(answer["traces"][0]["stages"][2]["presence"], "blind");
    let page = page(&app, "/traces/recent?limit=1").await;
    assert!(text(&page, "rows").contains("bigquery cannot see since 02:35:03 UTC"));
    assert!(!text(&page, "rows").contains("not there"));
    assert!(text(&page, "hops").contains("cannot see since 02:35:03 UTC"));
}

#[tokio::test]
async fn a_source_names_what_it_has_been_decoding_for_long() {
    let mut snapshot = after(25, blind);
    let since = snapshot.at - Duration::from_secs(12);
    let decoding = Decoding { name: "s3://sre-transit/transit/a.gz".into(), since };
    snapshot.sources.last_mut().unwrap().decoding = Some(decoding);
    let app = app(snapshot);
    let answer = json(&app, "/traces/recent?limit=1").await;
    let text_of = "decoding s3://sre-transit/transit/a.gz for 12 s";
    let reasons = answer["sources"].as_array().unwrap().iter().filter(|source| source["reason"] == text_of);
    assert_eq!(reasons.count(), 1, "{}", answer["sources"]);
    assert!(text(&page(&app, "/traces/recent?limit=1").await, "probe").contains(text_of));
}

/// A state of twelve tenants.
fn twelve(minutes: u64, script: Script) -> App {
    let names: Vec<String> = (0..12).map(|number| format!("tenant{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    app(World::of(&names).run(minutes * 60, script))
}

#[tokio::test]
async fn many_tenants_that_are_ok_are_one_line_that_unfolds() {
    let app = twelve(5, healthy);
    let folded = page(&app, "/traces/recent").await;
    assert!(
        text(&folded, "tenants").contains("\n✔ 12 OK all of them without notes\n"),
        "{}",
        text(&folded, "tenants")
    );
    assert!(folded.contains("href=\"?show=all\""));
    let unfolded = page(&app, "/traces/recent?show=all").await;
    assert!(text(&unfolded, "tenants").contains("\n✔ tenant7 OK P95"), "{}", text(&unfolded, "tenants"));
}

#[tokio::test]
async fn many_tenants_with_the_same_problem_are_one_line_with_its_stages() {
    let app = twelve(25, blind);
    let tenants = text(&page(&app, "/traces/recent").await, "tenants");
    assert!(
        tenants.contains("\n? 12 tenants CANNOT SEE bigquery since 02:34:59 UTC ( 5 min 1 s ) tenant0,"),
        "{tenants}"
    );
    assert_eq!(tenants.matches("└ transit").count(), 1, "{tenants}");
    let heading = text(&page(&app, "/traces/recent").await, "now");
    assert!(heading.starts_with("? All 12 tenants: CANNOT SEE bigquery since 02:34:59 UTC"), "{heading}");
}

#[tokio::test]
async fn one_tenant_with_a_problem_is_named_before_all_that_are_ok() {
    let app = twelve(38, stuck);
    let page = page(&app, "/traces/recent").await;
    assert!(
        text(&page, "now")
            .starts_with("✖ tenant0 STUCK at transit since 02:35:11 UTC ( 17 min ) 11 other tenants OK")
    );
    let tenants = text(&page, "tenants");
    assert!(tenants.find("✖ tenant0 STUCK") < tenants.find("✔ 11 OK"), "{tenants}");
}

#[tokio::test]
async fn what_comes_from_outside_is_escaped() {
    const EVIL: &str = "<script>alert('x')</script>\"><img src=x onerror=y>";
    fn hostile(_: u64, tenant: crate::domain::topology::TenantId) -> Weather {
        Weather {
            refused: (tenant == INITECH).then_some(EVIL),
            blind: (tenant == GLOBEX).then_some((ARCHIVE, EVIL)),
            leaks_to: (tenant == GLOBEX).then_some(ACME),
            ..Weather::default()
        }
    }
    let app = app(World::new([EVIL, "globex", "initech"]).run(120, hostile));
    let id = app.snapshot.borrow().finished.last().unwrap().id();
    for path in ["/traces/recent".to_owned(), format!("/traces/{id}")] {
        let page = page(&app, &path).await;
        assert!(!page.contains("<script>") && !page.contains("<img"), "{path}");
    }
    let refused = page(&app, "/traces/recent?outcome=refused").await;
    assert!(refused.contains("&#60;script&#62;alert"), "{refused}");
    let wrong = request(&app, "GET", "/traces/recent?tenant=%3Cscript%3E", "text/html").await;
    assert_eq!(wrong.status, StatusCode::BAD_REQUEST);
    assert!(!wrong.body.contains("<script>"));
    // The link to a tenant's traces survives its name.
    let link = format!("/traces/recent?tenant={}", super::words::percent_encoded(EVIL));
    assert_eq!(request(&app, "GET", &link, "text/html").await.status, StatusCode::OK);
}

#[tokio::test]
async fn an_invalid_request_is_refused_with_a_reason() {
    let app = app(after(1, healthy));
    let answer = request(&app, "GET", "/traces/recent?limit=lots", "text/html").await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(answer.body.contains("must be a whole number from 1 to 1000"));
    let answer = request(&app, "GET", "/traces/recent?outcome=gone", "application/json").await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(answer.body.starts_with("{\"error\":\"`outcome=gone`: must be one of"), "{}", answer.body);
}

#[tokio::test]
async fn what_a_refusal_repeats_cannot_reverse_the_writing() {
    let app = app(after(1, healthy));
    for path in ["recent?tenant=%E2%80%AEx", "recent?%E2%80%AEx=1", "find?id=%E2%80%AEx"] {
        let answer = request(&app, "GET", &format!("/traces/{path}"), "text/html").await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        assert!(!answer.body.contains('\u{202e}'), "{path}: {}", answer.body);
    }
}

#[tokio::test]
async fn figures_over_time_add_up_to_those_of_the_page() {
    for script in [stuck as Script, losing, blind, refusing] {
        let app = app(after(28, script));
        let page = json(&app, "/traces/recent").await;
        let history = json(&app, "/history").await;
        let sum = |tenant: &str, stage: &str, count: &str| -> u64 {
            let tenants = history["tenants"].as_array().unwrap();
            let of_tenant = tenants.iter().find(|it| it["name"] == tenant).unwrap();
            let buckets = of_tenant["buckets"].as_array().unwrap().iter();
            let hops = buckets.flat_map(|bucket| bucket["hops"].as_array().unwrap());
            hops.filter(|hop| hop["stage"] == stage).map(|hop| hop[count].as_u64().unwrap()).sum()
        };
        for tenant in page["tenants"].as_array().unwrap() {
            for hop in tenant["hops"].as_array().unwrap() {
                let (name, stage) = (tenant["name"].as_str().unwrap(), hop["stage"].as_str().unwrap());
                for count in ["judged", "missing"] {
                    assert_eq!(
                        sum(name, stage, count),
                        hop[count].as_u64().unwrap(),
                        "{name}, {stage}, {count}"
                    );
                }
            }
        }
    }
}

#[tokio::test]
async fn a_request_for_figures_over_time_is_refused_as_json() {
    let app = app(after(1, healthy));
    let answer = request(&app, "GET", "/history?step=day", "text/html").await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert_eq!(answer.body, "{\"error\":\"`step=day`: must be one of `minute`, `hour`\"}");
}

#[tokio::test]
async fn figures_over_time_are_of_the_selected_tenant_stage_and_time() {
    let app = app(after(28, healthy));
    let history = json(&app, "/history?tenant=globex&stage=bigquery&since=10m&until=5m").await;
    assert_eq!(history["tenants"].as_array().unwrap().len(), 1);
    let buckets = history["tenants"][0]["buckets"].as_array().unwrap();
    let starts: Vec<_> = buckets.iter().map(|bucket| bucket["start"].as_str().unwrap()).collect();
    assert_eq!(starts.first(), Some(&"2026-11-22T02:33:00.000000Z"));
    assert_eq!(starts.last(), Some(&"2026-11-22T02:38:00.000000Z"));
    assert!(buckets.iter().all(|bucket| bucket["hops"].as_array().unwrap().len() == 1));
    assert_eq!(buckets[0]["hops"][0]["stage"], "bigquery");
}

#[tokio::test]
async fn an_id_is_accepted_in_every_form_that_people_paste() {
    let app = app(after(2, healthy));
    let trace = app.snapshot.borrow().finished[0].clone();
    let id = trace.id().to_string();
    let dashed = format!("{}-{}-{}-{}-{}", &id[..8], &id[8..12], &id[12..16], &id[16..20], &id[20..]);
    let tag = (app.sign)(&trace.tag).to_string();
    for form in [id.clone(), id.to_uppercase(), dashed, tag.clone(), tag.to_uppercase()] {
        assert!(page(&app, &format!("/traces/{form}")).await.contains(&id), "{form}");
    }
    for wrong in ["12", "%7B%7D", "urn:uuid:x", "é"] {
        let answer = request(&app, "GET", &format!("/traces/{wrong}"), "text/html").await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{wrong}");
    }
}

#[tokio::test]
async fn an_unknown_trace_is_answered_with_where_to_search() {
    let app = app(after(2, healthy));
    let answer = request(&app, "GET", "/traces/01a2011db07470008c6c15cb9469fd2e", "application/json").await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    insta::assert_snapshot!(answer.body);
}

#[tokio::test]
async fn health_is_that_of_the_probe_and_not_of_the_pipeline() {
    let stuck = app(after(38, stuck));
    assert_eq!(request(&stuck, "GET", "/healthz", "*/*").await.status, StatusCode::OK);
    let later = stuck.snapshot.borrow().at + Duration::from_secs(95);
    let stale = App { clock: WallClock::new(move || later), ..stuck };
    let answer = request(&stale, "GET", "/healthz", "*/*").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.body, "the engine has published nothing for 1 min 35 s\n");
    assert!(
        page(&stale, "/traces/recent").await.contains("The engine has published nothing for 1 min 35 s.")
    );
}

#[tokio::test]
async fn readiness_names_what_is_missing() {
    let app = app(after(0, healthy));
    let answer = request(&app, "GET", "/readyz", "*/*").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.body, "`bigquery` has not been read yet\n");
    let ready = App { ready: Arc::new(|| Ok(())), ..app };
    assert_eq!(request(&ready, "GET", "/readyz", "*/*").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_store_that_cannot_be_written_is_reported_at_the_top() {
    let mut snapshot = after(2, healthy);
    let since = snapshot.at - Duration::from_secs(60);
    snapshot.not_stored = Some((since, "disk full".into()));
    let full = app(snapshot);
    let verdicts = above(&page(&full, "/traces/recent").await);
    assert!(
        verdicts.starts_with("▲ STORE DEGRADED; all 3 tenants are OK since 02:16:00 UTC ( 1 min )\n"),
        "{verdicts}"
    );
    assert!(verdicts.contains("a restart would forget what is in flight: disk full"), "{verdicts}");
    let recent = json(&full, "/traces/recent?format=json").await;
    assert_eq!(recent["not_kept"], format!("since {since}: disk full"));
    assert_eq!(recent["conditions"][0]["condition"], "store_degraded");
    assert_eq!(recent["conditions"][0]["tenant"], serde_json::Value::Null);
}

#[tokio::test]
async fn an_archive_that_drops_everything_is_in_the_first_line() {
    let app = app(after(38, unarchived));
    let verdicts = above(&page(&app, "/traces/recent").await);
    assert!(verdicts.starts_with("▲ globex MISSING at archive since 02:3"), "{verdicts}");
    let recent = json(&app, "/traces/recent").await;
    let first = &recent["conditions"][0];
    let fields = ["condition", "severity", "tenant", "stage"].map(|name| first[name].as_str().unwrap());
    assert_eq!(fields, ["missing", "warning", "globex", "archive"]);
    assert_eq!(recent["tenants"][0]["verdict"]["condition"], "missing");
}

#[tokio::test]
async fn a_single_loss_is_a_note_beside_ok() {
    let app = app(after(38, one_lost));
    let verdicts = above(&page(&app, "/traces/recent").await);
    assert!(verdicts.starts_with("✔ All 3 tenants are OK with notes on 1 tenant\n"), "{verdicts}");
    assert!(verdicts.contains("; 1 of 60 lost at bigquery 27 min ago"), "{verdicts}");
    let recent = json(&app, "/traces/recent").await;
    let note = &recent["conditions"][0];
    assert_eq!((note["severity"].as_str(), note["affected"].as_u64()), (Some("note"), Some(1)));
    assert!(note["runbook"].is_null());
}

#[tokio::test]
async fn a_scrape_comes_in_the_requested_format() {
    let app = app(after(0, healthy));
    let accept = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.3";
    for (accept, format) in
        [(accept, Format::OpenMetrics), ("text/plain", Format::Text), ("*/*", Format::Text)]
    {
        let answer = request(&app, "GET", "/metrics", accept).await;
        assert_eq!(answer.headers[header::CONTENT_TYPE], format.content_type());
        assert_eq!(answer.body, format!("# {format:?}\nup 1\n"));
    }
}

#[tokio::test]
async fn every_answer_is_uncached_and_has_a_content_security_policy() {
    let app = app(after(1, healthy));
    for path in [
        "/",
        "/traces/recent",
        "/traces/invalid",
        "/history",
        "/missing",
        "/healthz",
        "/runbook",
        "/config",
        "/metrics",
    ] {
        let answer = request(&app, "GET", path, "text/html").await;
        assert_eq!(answer.headers[header::CACHE_CONTROL], "no-store", "{path}");
        assert_eq!(answer.headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff", "{path}");
        assert_eq!(answer.headers[header::CONTENT_SECURITY_POLICY], POLICY, "{path}");
    }
    for path in ["/traces/recent", "/runbook"] {
        let page = page(&app, path).await;
        assert!(
            !page.contains(" style=") && !page.contains(" onclick=") && !page.contains("<style"),
            "{path}"
        );
    }
    let config = request(&app, "GET", "/config", "*/*").await;
    assert_eq!(config.body, "{\n  \"probe\": {\n    \"slo\": \"30s\"\n  }\n}\n");
}

#[tokio::test(start_paused = true)]
async fn scrapes_and_health_checks_do_not_wait_for_pages() {
    let ready = App { ready: Arc::new(|| Ok(())), ..app(after(2, healthy)) };
    let router = router_with(ready, Permits::all_taken());
    let status = async |path: &str| {
        let request = Request::get(path).body(Body::empty()).unwrap();
        router.clone().oneshot(request).await.unwrap().status()
    };
    for path in ["/traces/recent", "/traces/abc", "/history", "/runbook", "/config", "/openapi.json"] {
        assert_eq!(status(path).await, StatusCode::SERVICE_UNAVAILABLE, "{path}");
    }
    for path in ["/metrics", "/healthz", "/readyz", "/-/healthy", "/-/ready", "/static/page.css"] {
        assert_eq!(status(path).await, StatusCode::OK, "{path}");
    }
}

#[tokio::test]
async fn a_page_of_another_site_may_read_but_not_change_anything() {
    let app = app(after(2, healthy));
    for (method, path, expected) in [
        ("GET", "/metrics", StatusCode::OK),
        ("POST", "/-/reload", StatusCode::FORBIDDEN),
        ("POST", "/-/drill", StatusCode::FORBIDDEN),
        ("POST", "/-/drill/notification", StatusCode::FORBIDDEN),
        ("PUT", "/-/log-level", StatusCode::FORBIDDEN),
    ] {
        let request = Request::builder().method(method).uri(path).header(header::HOST, "probe:9464");
        let request = request.header(header::ORIGIN, "http://evil.example").body(Body::empty()).unwrap();
        let response = router(app.clone()).oneshot(request).await.unwrap();
        assert_eq!(response.status(), expected, "{method} {path}");
    }
}

#[tokio::test]
async fn head_is_answered_without_a_body_and_other_methods_are_refused() {
    let app = app(after(1, healthy));
    for path in ["/traces/recent", "/metrics", "/healthz", "/static/page.css"] {
        let answer = request(&app, "HEAD", path, "*/*").await;
        assert_eq!((answer.status, answer.body.as_str()), (StatusCode::OK, ""), "{path}");
        assert_eq!(request(&app, "POST", path, "*/*").await.status, StatusCode::METHOD_NOT_ALLOWED);
    }
    let answer = request(&app, "GET", "/", "*/*").await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    assert_eq!(answer.headers[header::LOCATION], "traces/recent");
}

#[tokio::test]
async fn a_page_has_at_most_the_requested_rows_and_shows_how_many_there_are() {
    let app = app(after(40, healthy));
    let page = page(&app, "/traces/recent?limit=7").await;
    assert_eq!(page.matches("<th scope=\"row\" class=\"id\">").count(), 7);
    assert!(text(&page, "rows").contains("the newest 7 of 240"));
    let answer = json(&app, "/traces/recent?limit=7").await;
    assert_eq!(answer["traces"].as_array().unwrap().len(), 7);
    assert_eq!(answer["matching"], 240);
}

#[tokio::test]
async fn every_trace_is_on_one_page_of_the_chain_of_next_links() {
    let app = app(after(40, healthy));
    let (mut query, mut ids) = ("?limit=70".to_owned(), Vec::new());
    loop {
        let answer = json(&app, &format!("/traces/recent{query}")).await;
        let of_page =
            answer["traces"].as_array().unwrap().iter().map(|it| it["id"].as_str().unwrap().to_owned());
        ids.extend(of_page);
        match answer["next"].as_str() {
            Some(next) => query = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(ids.len(), 240);
    assert!(ids.is_sorted_by(|a, b| a > b));
}

#[tokio::test]
async fn a_page_has_fewer_rows_than_the_json_unless_a_number_is_given() {
    let app = app(after(40, healthy));
    for (query, rows) in [("", 50), ("?limit=70", 70)] {
        let page = page(&app, &format!("/traces/recent{query}")).await;
        assert_eq!(page.matches("<th scope=\"row\" class=\"id\">").count(), rows);
    }
    assert_eq!(json(&app, "/traces/recent").await["traces"].as_array().unwrap().len(), 100);
}

#[tokio::test]
async fn the_previous_link_leads_back() {
    let app = app(after(40, healthy));
    let first = json(&app, "/traces/recent?limit=70").await;
    let second = json(&app, &format!("/traces/recent{}", first["next"].as_str().unwrap())).await;
    let back = json(&app, &format!("/traces/recent{}", second["previous"].as_str().unwrap())).await;
    assert_eq!(back["traces"], first["traces"]);
    assert!(first["previous"].is_null());
}

#[tokio::test]
async fn the_last_page_says_since_when_traces_are_known() {
    let app = app(after(40, healthy));
    let newest = page(&app, "/traces/recent?limit=70").await;
    assert!(!newest.contains("Nothing older matches"));
    let last = page(&app, "/traces/recent?limit=1000").await;
    assert!(
        text(&last, "rows").contains("all traces are known since 02:15:02 UTC"),
        "{}",
        text(&last, "rows")
    );
}

#[tokio::test]
async fn a_filter_finds_the_traces_of_a_flaw_a_stage_and_a_condition() {
    let leaked = app(after(27, leaking));
    let lost = app(after(45, losing));
    for (app, query, count) in [
        (&leaked, "outcome=leaked", 2),
        (&leaked, "outcome=leaked&stage=tenant_stream", 2),
        (&leaked, "outcome=leaked&stage=transit", 0),
        (&leaked, "condition=leaking", 2),
        (&lost, "outcome=lost&stage=bigquery", 12),
        (&lost, "outcome=lost&stage=archive", 0),
        (&lost, "condition=losing", 12),
        (&lost, "condition=corruption", 0),
    ] {
        let answer = json(app, &format!("/traces/recent?{query}")).await;
        assert_eq!(answer["matching"], count, "{query}");
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_trace_is_in_its_row_and_in_json() {
    let app = app(after(27, leaking));
    let answer = json(&app, "/traces/recent?outcome=leaked&limit=1").await;
    let flaw = &answer["traces"][0]["flaws"][0];
    assert_eq!((flaw["flaw"].as_str(), flaw["stage"].as_str()), (Some("leaked"), Some("tenant_stream")));
    let page = page(&app, "/traces/recent?outcome=leaked&limit=1").await;
    assert!(text(&page, "rows").contains("leaked at tenant_stream"), "{}", text(&page, "rows"));
}

#[tokio::test]
async fn the_search_box_leads_to_the_trace() {
    let app = app(after(2, healthy));
    let trace = app.snapshot.borrow().finished[0].clone();
    let tag = (app.sign)(&trace.tag).to_string();
    for form in [trace.id().to_string(), format!("%20{tag}%20")] {
        let answer = request(&app, "GET", &format!("/traces/find?id={form}"), "text/html").await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER);
        assert_eq!(answer.headers[header::LOCATION], trace.id().to_string());
    }
}

#[tokio::test]
async fn a_search_for_what_is_no_id_is_answered_with_what_an_id_is() {
    let app = app(after(2, healthy));
    for (given, found) in [("12", "`12`:"), ("", "Nothing was entered.")] {
        let answer = request(&app, "GET", &format!("/traces/find?id={given}"), "text/html").await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        assert!(
            answer.body.contains(found) && answer.body.contains("32 hexadecimal digits"),
            "{}",
            answer.body
        );
    }
}

#[tokio::test]
async fn no_link_or_form_of_a_page_begins_at_the_root_of_the_host() {
    let app = app(after(38, night));
    let id = app.snapshot.borrow().finished[0].id();
    for path in [
        "/traces/recent".to_owned(),
        format!("/traces/{id}"),
        "/traces/find?id=x".to_owned(),
        "/x/y".to_owned(),
    ] {
        let page = request(&app, "GET", &path, "text/html").await.body;
        for attribute in ["href=\"/", "src=\"/", "action=\"/"] {
            assert!(!page.contains(attribute), "{path}: {attribute}");
        }
    }
}

#[tokio::test]
async fn the_report_of_an_incident_has_what_a_channel_needs() {
    let app = app(after(38, stuck));
    let incident = &json(&app, "/traces/recent").await["incidents"][0];
    let report = incident["report"].as_str().unwrap();
    for line in [
        "INCIDENT acme: STUCK at transit",
        "when:   since 2026-11-22 02:35:11 UTC (17 min)",
        "cause:  the pipeline",
        "page:   https://probe.example/traces/recent?tenant=acme",
        "guide:  https://probe.example/runbook?tenant=acme&stage=transit#stuck",
    ] {
        assert!(report.lines().any(|own| own == line), "{line} in {report}");
    }
}

const STATES: [(&str, u64, Script); 10] = [
    ("empty", 0, healthy),
    ("healthy", 40, healthy),
    ("stuck", 38, stuck),
    ("losing", 45, losing),
    ("blind", 25, blind),
    ("refusing", 20, refusing),
    ("leaking", 27, leaking),
    ("night", 38, night),
    ("unarchived", 38, unarchived),
    ("one_lost", 38, one_lost),
];

/// Also writes each state where a browser can open it: `target/pages/<state>.html`.
#[tokio::test]
async fn each_state_is_told_by_its_heading_and_its_incidents() {
    let mut lines = String::new();
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("target/pages");
    std::fs::create_dir_all(folder.join("static/icon")).unwrap();
    std::fs::write(folder.join("static/page.css"), STYLE).unwrap();
    std::fs::write(folder.join("static/live.js"), SCRIPT).unwrap();
    let write = |name: String, page: String| {
        std::fs::write(folder.join(name), page.replace("\"../static/", "\"static/")).unwrap();
    };
    for (name, minutes, script) in STATES {
        let app = app(after(minutes, script));
        let recent = page(&app, "/traces/recent?limit=12").await;
        let parts = ["now", "incidents", "tenants", "matters"].map(|id| text(&recent, id));
        lines += &format!("== {name}\n{}\n", parts.join("\n"));
        write(format!("{name}.html"), recent);
        let snapshot = app.snapshot.borrow().clone();
        let one = snapshot
            .finished
            .iter()
            .rfind(|trace| trace.is_failure())
            .or(snapshot.open.first())
            .or(snapshot.finished.last());
        if let Some(trace) = one {
            write(format!("{name}-trace.html"), page(&app, &format!("/traces/{}", trace.id())).await);
        }
        if let Some(trace) = snapshot.finished.last() {
            write(format!("{name}-finished.html"), page(&app, &format!("/traces/{}", trace.id())).await);
        }
    }
    insta::assert_snapshot!(lines);
}

/// The files of the folder: each may import only those before it. `mod.rs` declares them, and none imports
/// it.
const ORDER: [&str; 34] = [
    "accept",
    "words",
    "app",
    "filter",
    "waiting",
    "view",
    "waterfall",
    "lanes",
    "page",
    "row",
    "runbook",
    "fold",
    "strip",
    "timeline",
    "incidents",
    "matters",
    "figures",
    "probe",
    "recent",
    "detail",
    "json",
    "history",
    "compress",
    "access",
    "server",
    "drill",
    "log_level",
    "reload",
    "openapi",
    "live",
    "hosts",
    "permits",
    "scrape",
    "routes",
];
/// The files of `view/`, in the same way.
const VIEW_ORDER: [&str; 24] = [
    "mark",
    "lane",
    "hop",
    "size",
    "violation",
    "source",
    "first_step",
    "condition",
    "sent",
    "trace",
    "remaining",
    "incident",
    "verdict",
    "matter",
    "selection",
    "tenant",
    "evidence",
    "story",
    "finding",
    "fate",
    "one",
    "recent",
    "flawed",
    "strip",
];

/// A file's code without its tests.
fn code(file: &str) -> String {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/web").join(file);
    let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    text.split("#[cfg(test)]").next().unwrap().to_owned()
}

/// The names that follow a path in the `use` lines: `b` and `c` of `use a::{b, c::d};`.
fn names_after(code: &str, path: &str) -> Vec<String> {
    let path = format!("use {path}");
    let uses = code.split(&path).skip(1).filter_map(|rest| rest.split(';').next());
    let word =
        |item: &str| item.trim().split(|c: char| c != '_' && !c.is_alphanumeric()).next().map(str::to_owned);
    let names = uses.flat_map(|item| match item.strip_prefix('{') {
        Some(group) => group.trim_end_matches('}').split(',').filter_map(word).collect(),
        None => word(item).into_iter().collect::<Vec<_>>(),
    });
    names.filter(|name| !name.is_empty()).collect()
}

#[test]
fn imports_run_one_way_within_the_folder() {
    let mut faults = Vec::new();
    let mut check = |file: &str, named: Vec<String>, order: &[&str], at: usize| {
        let back = named.into_iter().filter(|name| !order[..at].contains(&name.as_str()));
        faults.extend(back.map(|name| format!("{file} must not import {name}")));
    };
    for (at, name) in ORDER.iter().enumerate().filter(|(_, name)| **name != "view") {
        let is_folder = ["access", "server", "live"].contains(name);
        let file = format!("{name}{}", if is_folder { "/mod.rs" } else { ".rs" });
        check(name, names_after(&code(&file), "super::"), &ORDER, at);
    }
    let view = ORDER.iter().position(|name| *name == "view").unwrap();
    for (at, name) in VIEW_ORDER.iter().enumerate() {
        let code = code(&format!("view/{name}.rs"));
        check(name, names_after(&code, "super::"), &VIEW_ORDER, at);
        check(name, names_after(&code, "crate::web::"), &ORDER, view);
    }
    assert!(faults.is_empty(), "{faults:#?}");
    let code = code("mod.rs");
    let mut undeclared: Vec<_> = code.lines().filter_map(|line| line.strip_prefix("mod ")).collect();
    undeclared.retain(|name| !ORDER.contains(&name.trim_end_matches(';')));
    assert!(undeclared.is_empty(), "not in the order: {undeclared:?}");
}

#[test]
fn pages_and_json_are_printed_from_the_view_and_not_from_a_snapshot() {
    for file in [
        "recent.rs",
        "incidents.rs",
        "timeline.rs",
        "matters.rs",
        "figures.rs",
        "probe.rs",
        "detail.rs",
        "row.rs",
        "waterfall.rs",
        "lanes.rs",
        "json.rs",
    ] {
        assert!(!code(file).contains("Snapshot"), "{file}");
    }
}
