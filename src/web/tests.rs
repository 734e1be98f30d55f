//! Pages and their JSON twins in the states that a night may bring, and the routes.

use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode, header};
use tower::ServiceExt as _;

use super::fixture::*;
use super::*;

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

async fn ask(app: &App, method: &str, path: &str, accept: &str) -> Answer {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::ACCEPT, accept)
        .body(Body::empty())
        .unwrap();
    let response = router(app.clone()).oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    Answer {
        status: parts.status,
        headers: parts.headers,
        body: String::from_utf8(body.to_vec()).unwrap(),
    }
}

async fn page(app: &App, path: &str) -> String {
    let answer = ask(app, "GET", path, "text/html").await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    answer.body
}

async fn json(app: &App, path: &str) -> serde_json::Value {
    let answer = ask(app, "GET", path, "application/json").await;
    serde_json::from_str(&answer.body).unwrap()
}

/// What a reader sees of a part of a page: its text, without the markup.
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
    let mut lines: Vec<_> = text
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    lines.retain(|line| !line.is_empty());
    lines.join("\n")
}

const STATES: [(&str, u64, Script); 8] = [
    ("empty", 0, healthy),
    ("healthy", 40, healthy),
    ("stuck", 38, stuck),
    ("losing", 45, losing),
    ("blind", 25, blind),
    ("refusing", 20, refusing),
    ("leaking", 27, leaking),
    ("night", 38, night),
];

#[tokio::test]
async fn each_state_is_told_in_one_line_a_tenant() {
    let mut said = String::new();
    for (name, minutes, script) in STATES {
        let app = app(after(minutes, script));
        said += &format!("== {name}\n{}\n", text(&page(&app, "/traces/recent").await, "verdicts"));
    }
    insta::assert_snapshot!(said);
}

/// Writes each state where a browser can open it: `target/pages/<state>.html`.
#[tokio::test]
async fn each_state_can_be_looked_at() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("target/pages");
    std::fs::create_dir_all(folder.join("static/icon")).unwrap();
    std::fs::write(folder.join("static/page.css"), STYLE).unwrap();
    std::fs::write(folder.join("static/live.js"), SCRIPT).unwrap();
    let write = |name: String, page: String| {
        std::fs::write(folder.join(name), page.replace("\"/static/", "\"static/")).unwrap();
    };
    for (name, minutes, script) in STATES {
        let app = app(after(minutes, script));
        write(format!("{name}.html"), page(&app, "/traces/recent?limit=40").await);
        let snapshot = app.snapshot.borrow().clone();
        let one = snapshot.failures.iter().flatten().last().or(snapshot.open.first()).or(snapshot.finished.last());
        if let Some(trace) = one {
            write(format!("{name}-trace.html"), page(&app, &format!("/traces/{}", trace.id())).await);
        }
        if let Some(trace) = snapshot.finished.last() {
            write(format!("{name}-finished.html"), page(&app, &format!("/traces/{}", trace.id())).await);
        }
    }
}
