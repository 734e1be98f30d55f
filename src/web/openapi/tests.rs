//! The document against the router, the answers and `docs/api.md`.

use std::collections::BTreeSet;
use std::path::Path;

use axum::body::{Body, to_bytes};
use axum::http::Request;
use serde_json::Value;
use tower::ServiceExt as _;

use super::*;
use crate::domain::topology::fixture;
use crate::web::fixture::{after, app, healthy};
use crate::web::router;

/// Set to anything, this writes `docs/api.md` again.
const WRITE: &str = "TRACEPROBE_WRITE_DOCS";

#[test]
fn the_documentation_of_the_api_is_that_of_the_document() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/api.md");
    let printed = markdown::print(&write(&Names::default()));
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(&path, &printed).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == printed, "docs/api.md is not what the code says: run `make api-docs` to write it again");
}

/// Every schema that describes a field, with the path to it.
fn fields(document: &Value) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        for (field, schema) in schema["properties"].as_object().into_iter().flatten() {
            found.push((format!("{name}.{field}"), schema.clone()));
        }
        for value in schema["oneOf"].as_array().into_iter().flatten() {
            found.push((format!("{name}: {}", value["const"]), value.clone()));
        }
    }
    found
}

#[test]
fn every_field_and_value_has_a_description() {
    let found = fields(&write(&Names::default()));
    assert!(found.len() > 150, "only {} fields", found.len());
    let without: Vec<_> = found
        .iter()
        .filter(|(_, schema)| schema["description"].as_str().is_none_or(str::is_empty))
        .map(|(name, _)| name)
        .collect();
    assert!(without.is_empty(), "write a comment (`///`) on the field: {without:?}");
}

#[test]
fn a_number_with_a_unit_says_so_in_its_description() {
    for (name, schema) in fields(&write(&Names::default())) {
        let text = schema["description"].as_str().unwrap_or_default();
        if name.ends_with("_seconds") {
            assert!(text.contains("seconds"), "{name}: {text}");
        }
        if name.ends_with("_bytes") {
            assert!(text.contains("bytes"), "{name}: {text}");
        }
    }
}

/// The routes in the source of the router.
fn routes() -> BTreeSet<String> {
    let source = include_str!("../routes.rs");
    let named = [("RUNBOOK", "/runbook"), ("openapi::PATH", PATH)]
        .into_iter()
        .chain([("drill::BEGIN", "/-/drill"), ("drill::RANG", "/-/drill/notification")])
        .chain([("reload::PATH", "/-/reload")]);
    let named: std::collections::BTreeMap<_, _> = named.collect();
    let arguments = source.split(".route(").skip(1).filter_map(|rest| rest.split(',').next());
    arguments
        .map(|path| match path.trim().strip_prefix('"') {
            Some(path) => path.trim_end_matches('"').to_owned(),
            None => (*named.get(path.trim()).unwrap_or_else(|| panic!("no path for {path}"))).to_owned(),
        })
        .collect()
}

#[test]
fn every_route_is_described() {
    let document = write(&Names::default());
    let described: BTreeSet<_> = document["paths"].as_object().unwrap().keys().cloned().collect();
    // Redirects, and what belongs to the pages.
    let other = |path: &String| path == "/" || path == "/traces" || path.starts_with("/static/");
    let routes: BTreeSet<_> = routes().into_iter().filter(|path| !other(path)).collect();
    assert_eq!(described, routes);
}

async fn get(path: &str) -> (u16, String) {
    let request = Request::get(path).header("accept", "application/json").body(Body::empty()).unwrap();
    let (parts, body) = router(app(after(2, healthy))).oneshot(request).await.unwrap().into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    (parts.status.as_u16(), String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn the_parameters_are_those_that_a_route_accepts() {
    let document = write(&Names::default());
    for (path, item) in document["paths"].as_object().unwrap() {
        let Some(parameters) = item["get"]["parameters"].as_array() else { continue };
        let described: BTreeSet<_> = parameters
            .iter()
            .filter(|parameter| parameter["in"] == "query")
            .map(|parameter| parameter["name"].as_str().unwrap().to_owned())
            .collect();
        let (_, refusal) = get(&format!("{path}?no-such-parameter=1")).await;
        let Some((_, listed)) = refusal.split_once("there are ") else { continue };
        let of_stream = path.ends_with("/events").then(|| "version".to_owned());
        let accepted = listed.split('`').skip(1).step_by(2).map(str::to_owned);
        let accepted: BTreeSet<_> = accepted.chain(of_stream).collect();
        assert_eq!(described, accepted, "{path}");
    }
}

#[tokio::test]
async fn the_document_names_the_tenants_and_stages_of_the_configuration() {
    let (status, text) = get(PATH).await;
    assert_eq!(status, 200);
    let document: Value = serde_json::from_str(&text).unwrap();
    let parameter = &document["paths"]["/history"]["get"]["parameters"];
    assert_eq!(parameter[0]["schema"]["enum"], json!(["acme", "globex", "initech", ""]));
    assert_eq!(
        parameter[1]["schema"]["enum"],
        json!(["tenant_stream", "archive", "transit", "bigquery", "end_to_end", ""])
    );
}

#[test]
fn the_document_is_written_once_for_each_configuration() {
    let (description, map) = (Description::default(), Arc::new(fixture::topology()));
    let first = description.of(&map);
    assert_eq!(description.of(&map).as_ptr(), first.as_ptr());
    let with_another = description.of(&Arc::new(fixture::topology_with("initech")));
    assert!(String::from_utf8_lossy(&with_another).contains("initech"));
}

#[tokio::test]
async fn every_answer_says_which_version_of_the_schema_it_has() {
    for path in ["/traces/recent", "/history"] {
        let answer: Value = serde_json::from_str(&get(path).await.1).unwrap();
        assert_eq!(answer["schema_version"], 1, "{path}");
    }
}
