//! A web configuration file that Prometheus' own tool has checked, and scrapes by a real Prometheus over TLS, with a
//! client certificate and a password.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::json;
use tokio::process::Command;
use traceprobe::sandbox::{Access, Sandbox, Settings, Stage};

use super::server::{Prometheus, tool};
use super::support::daemon::Daemon;
use super::until;

const CERTIFICATES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tls");
const PASSWORD: &str = "only the tests know it";
/// Of the password, made by the C library.
const HASH: &str = "$2b$05$/FAH9Dcfri7R4kT7xXiafelD6yho/MOrl4GHsKdX3L99mnJ4UpMVi";

const STAGES: [(Stage, &str); 3] =
    [(Stage::TenantStream, "target = \"1s\""), (Stage::Transit, ""), (Stage::Bigquery, "")];

fn web_file() -> String {
    format!(
        "tls_server_config:
  cert_file: {CERTIFICATES}/server.pem
  key_file: {CERTIFICATES}/server.key
  client_auth_type: RequireAndVerifyClientCert
  client_ca_file: {CERTIFICATES}/ca.pem
  min_version: TLS12
  cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256]
http_server_config:
  http2: true
  headers:
    X-Frame-Options: deny
basic_auth_users:
  prometheus: {HASH}
"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_scrapes_with_what_the_file_requires_and_not_without() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("prometheus-web-file");
    let _last_run = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("cannot make a folder");
    let file = folder.join("web.yml");
    std::fs::write(&file, web_file()).expect("cannot write the file");
    let mut check = Command::new(tool("promtool").await);
    let checked = check.args(["check", "web-config"]).arg(&file).stdin(Stdio::null()).output().await;
    let checked = checked.expect("promtool runs");
    assert!(checked.status.success(), "{checked:?}");

    let sandbox = Sandbox::start(Settings::brisk(7, 1)).await.expect("cannot start the sandbox");
    let places = sandbox.probe_configuration(Access::TenantRoles, "listen = \"127.0.0.1:0\"", &STAGES);
    let config = folder.join("traceprobe.toml");
    let web = format!("[web]\nconfig_file = \"{}\"\nopen = []\n", file.display());
    std::fs::write(&config, format!("{places}\n{web}")).expect("cannot write the configuration");
    let key = ("TRACEPROBE_TAG_KEY".to_owned(), "the key of these tests: 0123456789".to_owned());
    let daemon = Daemon::start(&config, [key]).await;
    let target = daemon.address().strip_prefix("https://").expect("it says that it speaks TLS").to_owned();

    let tls = json!({
        "ca_file": format!("{CERTIFICATES}/ca.pem"),
        "cert_file": format!("{CERTIFICATES}/client.pem"), "key_file": format!("{CERTIFICATES}/client.key"),
    });
    let login = json!({"username": "prometheus", "password": PASSWORD});
    let job = |name: &str, tls: serde_json::Value, login: serde_json::Value| {
        json!({
            "job_name": name, "scheme": "https", "scrape_interval": "1s", "scrape_timeout": "1s",
            "static_configs": [{"targets": [target]}], "tls_config": tls, "basic_auth": login,
        })
    };
    let stranger = json!({"ca_file": tls["ca_file"]});
    let wrong = json!({"username": "prometheus", "password": "guessed"});
    let jobs = [
        job("right", tls.clone(), login.clone()),
        job("without_certificate", stranger, login),
        job("wrong_password", tls, wrong),
    ];
    let prometheus = Prometheus::start(&folder, &json!({"scrape_configs": jobs})).await;

    until("the right scrape succeeds", Duration::from_secs(60), async || {
        let found = prometheus.query("up{job=\"right\"} == 1").await;
        found.into_iter().next()
    })
    .await;
    let info = prometheus.query("traceprobe_build_info").await;
    assert_eq!(info.len(), 1, "one job has the metrics: {info:?}");
    for name in ["without_certificate", "wrong_password"] {
        until("another scrape fails", Duration::from_secs(60), async || {
            prometheus.query(&format!("up{{job=\"{name}\"}} == 0")).await.into_iter().next()
        })
        .await;
    }
}
