//! Requests in front of a gate, without sockets.

use std::path::PathBuf;

use axum::body::Body;
use axum::routing::get;
use tower::ServiceExt as _;

use super::*;
use crate::domain::topology::fixture;
use crate::metrics::{BucketBounds, Metrics, StageCosts};

/// A web configuration file in a folder of its own.
struct File(PathBuf);

impl File {
    fn new(text: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("traceprobe-web-{:016x}", fastrand::u64(..)));
        std::fs::create_dir(&folder).unwrap();
        let file = Self(folder);
        file.write(text);
        file
    }

    fn write(&self, text: &str) {
        std::fs::write(self.path(), text).unwrap();
    }

    fn path(&self) -> PathBuf {
        self.0.join("web.yml")
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _removed = std::fs::remove_dir_all(&self.0);
    }
}

fn users() -> String {
    format!("basic_auth_users:\n  prometheus: {}\n", bcrypt::hash("right", 4).unwrap())
}

/// TLS with certificates of the tests, and more lines of its table.
fn tls(more: &str) -> String {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tls");
    format!(
        "tls_server_config:\n  cert_file: {folder}/server.pem\n  key_file: {folder}/server.key\n  client_ca_file: {folder}/ca.pem\n{more}"
    )
}

const REQUIRED: &str = "  client_auth_type: RequireAndVerifyClientCert\n";

fn read(file: &File, open: &[&str]) -> Gate {
    let open: Vec<_> = open.iter().map(|path| (*path).to_owned()).collect();
    Gate::read(&file.path(), &open).unwrap_or_else(|faults| panic!("{faults:?}"))
}

/// A request for a path, with or without a login and a certificate.
async fn request(gate: &Arc<Gate>, path: &str, login: Option<&str>, certified: bool) -> Response {
    let topology = Arc::new(fixture::topology());
    let bounds = BucketBounds::new(&[std::time::Duration::from_secs(1)]);
    let metrics = Metrics::new(topology, &bounds, Arc::new(Vec::new), StageCosts::default()).unwrap();
    let routes = Router::new().fallback(get(|| async { "seen" }));
    let pages = gate.clone().guard(routes, &metrics.connections());
    let mut request = Request::get(path).body(Body::empty()).unwrap();
    request.extensions_mut().insert(Certified(certified));
    if let Some(login) = login {
        let value = format!("Basic {}", STANDARD.encode(login));
        request.headers_mut().insert(header::AUTHORIZATION, value.parse().unwrap());
    }
    pages.oneshot(request).await.unwrap()
}

async fn status(gate: &Arc<Gate>, path: &str, login: Option<&str>, certified: bool) -> u16 {
    request(gate, path, login, certified).await.status().as_u16()
}

#[tokio::test]
async fn without_a_file_everything_is_open() {
    assert_eq!(status(&Arc::default(), "/config", None, false).await, 200);
}

#[tokio::test]
async fn with_users_only_a_right_password_is_let_in() {
    let gate = Arc::new(read(&File::new(&users()), &[]));
    assert_eq!(status(&gate, "/config", Some("prometheus:right"), false).await, 200);
    for login in [None, Some("prometheus:wrong"), Some("right"), Some("other:right")] {
        let refused = request(&gate, "/config", login, false).await;
        assert_eq!(refused.status().as_u16(), 401, "{login:?}");
        assert!(refused.headers().contains_key(header::WWW_AUTHENTICATE), "a browser must ask");
    }
}

#[tokio::test]
async fn open_paths_need_no_login_and_a_star_stands_for_all_below() {
    let gate = Arc::new(read(&File::new(&users()), &["/metrics", "/traces/*"]));
    for (path, expected) in [
        ("/metrics", 200),
        ("/metrics?x=y", 200),
        ("/metrics/", 401),
        ("/traces/recent", 200),
        ("/traces", 401),
        ("/config", 401),
        ("//metrics", 401),
    ] {
        assert_eq!(status(&gate, path, None, false).await, expected, "{path}");
    }
}

#[tokio::test]
async fn a_required_certificate_is_required_for_all_but_open_paths() {
    let gate = Arc::new(read(&File::new(&tls(REQUIRED)), &["/healthz"]));
    assert_eq!(status(&gate, "/healthz", None, false).await, 200);
    assert_eq!(status(&gate, "/metrics", None, false).await, 403);
    assert_eq!(status(&gate, "/metrics", None, true).await, 200);
}

#[tokio::test]
async fn a_certificate_does_not_stand_for_a_password() {
    let gate = Arc::new(read(&File::new(&(tls(REQUIRED) + &users())), &[]));
    assert_eq!(status(&gate, "/metrics", None, true).await, 401);
    assert_eq!(status(&gate, "/metrics", Some("prometheus:right"), true).await, 200);
}

#[tokio::test]
async fn headers_are_added_to_every_answer() {
    let headers = "http_server_config:\n  headers:\n    X-Frame-Options: sameorigin\n";
    let gate = Arc::new(read(&File::new(&(users() + headers)), &[]));
    for login in [None, Some("prometheus:right")] {
        let answer = request(&gate, "/", login, false).await;
        assert_eq!(answer.headers()["x-frame-options"], "sameorigin");
    }
}

#[tokio::test]
async fn a_changed_file_is_in_force_and_a_faulty_one_is_not() {
    let file = File::new(&users());
    let gate = Arc::new(read(&file, &[]));
    assert_eq!(status(&gate, "/", None, false).await, 401);
    file.write("basic_auth_users: 1\n");
    gate.refresh();
    assert_eq!(status(&gate, "/", None, false).await, 401, "the former stays in force");
    file.write("# nobody has to log in\n");
    gate.refresh();
    assert_eq!(status(&gate, "/", None, false).await, 200);
}

#[tokio::test]
async fn a_file_that_is_replaced_while_it_is_read_is_read_again() {
    let file = File::new("");
    let (path, renewed) = (file.path(), file.0.join("renewed.yml"));
    std::fs::write(&renewed, "# nobody has to log in\n").unwrap();
    // A pipe has two ends, so its reader is in the middle of it when it is replaced.
    std::fs::remove_file(&path).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    let gate = std::thread::scope(|threads| {
        threads.spawn(|| {
            let mut pipe = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
            std::fs::rename(&renewed, &path).unwrap();
            std::io::Write::write_all(&mut pipe, users().as_bytes()).unwrap();
        });
        Arc::new(read(&file, &[]))
    });
    assert_eq!(status(&gate, "/", None, false).await, 401);
    gate.refresh();
    assert_eq!(status(&gate, "/", None, false).await, 200);
}

#[test]
fn a_certificate_without_its_key_is_a_fault() {
    faulty(&tls(REQUIRED).replace("server.key", "client.key"), "key_file");
}

#[test]
fn what_tls_cannot_do_is_a_fault_with_the_choices() {
    let with_ca = |more: &str| tls(&format!("{REQUIRED}{more}"));
    for (text, expected) in [
        (with_ca("  cipher_suites: [TLS_RSA_WITH_AES_128_CBC_SHA]\n"), "there are TLS_ECDHE_"),
        (with_ca("  curve_preferences: [CurveP521]\n"), "there are X25519"),
        (with_ca("").replace("server.pem", "missing.pem"), "tls_server_config.cert_file"),
        (with_ca("").replace("/ca.pem", "/server.key"), "tls_server_config.client_ca_file"),
    ] {
        faulty(&text, expected);
    }
}

#[test]
fn chosen_suites_and_curves_are_taken() {
    let more = "  cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305]\n  \
                curve_preferences: [X25519]\n  min_version: TLS12\n  max_version: TLS12\n";
    read(&File::new(&tls(&format!("{REQUIRED}{more}"))), &[]);
}

fn faulty(text: &str, expected: &str) {
    let file = File::new(text);
    let faults = Gate::read(&file.path(), &[]).err().unwrap_or_default().join("; ");
    assert!(faults.contains(expected), "{faults}");
}
