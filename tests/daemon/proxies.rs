//! A proxy between the probe and everything that it calls. It records to which hosts it was told to connect, and
//! whether the client then begins TLS with that host.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use futures::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::commands::program;
use crate::support::stand::variables;

/// Stages of every kind. One tenant is reached with the probe's own credentials, one with a role.
const CONFIG: &str = r#"
[aws]
region = "eu-central-1"
[[tenant]]
name = "acme"
log_group = "/acme"
[[tenant]]
name = "globex"
log_group = "/globex"
role_arn = "arn:aws:iam::222222222222:role/traceprobe"
external_id = "globex-1"
[[stage]]
name = "stream"
kind = "kinesis"
stream = "logs"
[[stage]]
name = "archive"
kind = "s3"
after = "stream"
bucket = "sre-archive"
key = "archive/%Y/%m/%d/{tenant}-"
[[stage]]
name = "transit"
kind = "gcs"
after = "stream"
bucket = "sre-transit"
key = "transit/%Y/%m/%d/{tenant}-"
[[stage]]
name = "table"
kind = "bigquery"
after = "stream"
table = "p.d.t"
id_column = "trace_id"
tenant_column = "tenant"
end = true
"#;

const AUTHORIZED_USER: &str =
    r#"{"type": "authorized_user", "client_id": "c", "client_secret": "s", "refresh_token": "r"}"#;
const WORKLOAD_IDENTITY: &str = r#"{"type": "external_account", "audience": "//iam.googleapis.com/pool/p",
    "subject_token_type": "urn:ietf:params:aws:token-type:aws4_request",
    "token_url": "https://sts.googleapis.com/v1/token", "credential_source": {"environment_id": "aws1"}}"#;

/// A listener that answers each connection as `answer` does.
#[expect(clippy::disallowed_methods, reason = "a server that lives as long as the test")]
async fn server<F>(answer: impl Fn(TcpStream, String) -> F + Clone + Send + 'static) -> SocketAddr
where
    F: Future<Output = std::io::Result<()>> + Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") && head.len() < 16_384 {
                    head.push(connection.read_u8().await?);
                }
                answer(connection, String::from_utf8_lossy(&head).into_owned()).await
            });
        }
    });
    address
}

type Seen = Arc<Mutex<BTreeSet<String>>>;

/// Records the first line of each request. A tunnel is granted, and ends after the client's first bytes.
async fn recording_proxy() -> (SocketAddr, Seen) {
    let seen = Seen::default();
    let record = seen.clone();
    let address = server(move |mut connection, head| {
        let seen = record.clone();
        async move {
            let mut words = head.split_whitespace();
            let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            let target = target.to_owned();
            let authorized = head.to_lowercase().contains("proxy-authorization: basic bwu6ahvzaa==");
            let mut hello = [0; 2_048];
            let mut read = 0;
            if method == "CONNECT" && authorized {
                connection.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
                read = connection.read(&mut hello).await?;
            }
            // A handshake record of TLS that names the host.
            let host = target.rsplit_once(':').map_or("", |(host, _)| host);
            let names_host = hello[..read].windows(host.len().max(1)).any(|part| part == host.as_bytes());
            let what = if hello[0] == 0x16 && names_host { "TLS" } else { "unexpected" };
            seen.lock().unwrap().insert(format!("{what} {target}"));
            Ok(())
        }
    })
    .await;
    (address, seen)
}

/// Serves container credentials, and counts how often.
async fn container_credentials() -> (SocketAddr, Arc<Mutex<usize>>) {
    const CREDENTIALS: &str = r#"{"AccessKeyId": "AKIA", "SecretAccessKey": "s", "Token": "t", "Expiration": "2100-01-01T00:00:00Z"}"#;
    let served = Arc::<Mutex<usize>>::default();
    let count = served.clone();
    let address = server(move |mut connection, _| {
        *count.lock().unwrap() += 1;
        let length = CREDENTIALS.len();
        let head = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
        async move { connection.write_all((head + CREDENTIALS).as_bytes()).await }
    })
    .await;
    (address, served)
}

fn file(name: &str, text: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("traceprobe-proxies-{}-{name}", std::process::id()));
    std::fs::write(&path, text).unwrap();
    path
}

/// Checks the configuration once with each way to authenticate with Google. Returns what the proxy saw, and how often
/// the container's credentials were fetched.
async fn check(name: &str, more: &[(&str, &str)]) -> (Vec<String>, usize) {
    let (proxy, seen) = recording_proxy().await;
    let (credentials, served) = container_credentials().await;
    let config = file(&format!("{name}.toml"), CONFIG);
    let user = file(&format!("{name}-user.json"), AUTHORIZED_USER);
    let identity = file(&format!("{name}-identity.json"), WORKLOAD_IDENTITY);
    let proxy = format!("http://me:hush@{proxy}");
    let credentials = format!("http://{credentials}/");
    let environment = [
        ("HTTPS_PROXY", proxy.as_str()),
        ("HTTP_PROXY", &proxy),
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", &credentials),
    ];
    let environment =
        environment.iter().chain(more).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let environment: Vec<_> = environment.collect();
    let runs = [("none", None), ("service_account", Some(&user)), ("workload_identity", Some(&identity))];
    join_all(runs.map(|(auth, file)| {
        let file = file.map_or("", |path| path.to_str().unwrap());
        let keys = variables(&[("GCP_AUTH", auth), ("GCP_CREDENTIALS_FILE", file)]);
        let environment: Vec<_> = environment.iter().cloned().chain(keys).collect();
        let config = config.to_str().unwrap().to_owned();
        async move {
            let output = program(&["check", "--config", &config], &environment).await;
            assert_eq!(output.status.code(), Some(1), "{output:?}");
        }
    }))
    .await;
    [config, user, identity].iter().for_each(|path| std::fs::remove_file(path).unwrap());
    let hosts = seen.lock().unwrap().iter().cloned().collect();
    let served = *served.lock().unwrap();
    (hosts, served)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_service_is_reached_through_the_proxy_and_the_containers_credentials_are_not() {
    let (hosts, served) = check("all", &[]).await;
    assert_eq!(
        hosts,
        [
            "TLS bigquery.googleapis.com:443",
            "TLS kinesis.eu-central-1.amazonaws.com:443",
            "TLS logs.eu-central-1.amazonaws.com:443",
            "TLS oauth2.googleapis.com:443",
            "TLS sre-archive.s3.eu-central-1.amazonaws.com:443",
            "TLS storage.googleapis.com:443",
            "TLS sts.eu-central-1.amazonaws.com:443",
            "TLS sts.googleapis.com:443",
        ]
    );
    assert!(served >= 3, "{served}");
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_of_no_proxy_are_reached_directly() {
    // A domain that never exists, so that nothing leaves this machine.
    let keys = [
        ("TRACEPROBE_AWS_ENDPOINTS_LOGS", "https://logs.invalid"),
        ("TRACEPROBE_AWS_ENDPOINTS_KINESIS", "https://kinesis.invalid"),
        ("TRACEPROBE_GCP_ENDPOINTS_GCS", "https://storage.invalid"),
        ("NO_PROXY", "127.0.0.1,.invalid"),
    ];
    let (hosts, _) = check("direct", &keys).await;
    assert_eq!(
        hosts,
        [
            "TLS bigquery.googleapis.com:443",
            "TLS oauth2.googleapis.com:443",
            "TLS sre-archive.s3.eu-central-1.amazonaws.com:443",
            "TLS sts.eu-central-1.amazonaws.com:443",
            "TLS sts.googleapis.com:443",
        ]
    );
}
