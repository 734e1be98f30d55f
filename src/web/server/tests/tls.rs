//! The same bounds for clients that speak TLS, or stop in the middle of it.

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;
use crate::web::Gate;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tls");

/// A server with TLS, and with more lines in the table of its web configuration file.
async fn served_over_tls(limits: Limits, more: &str) -> Served {
    let path = std::env::temp_dir().join(format!("traceprobe-tls-{:016x}.yml", fastrand::u64(..)));
    let text = format!(
        "tls_server_config:\n  cert_file: {FOLDER}/server.pem\n  key_file: {FOLDER}/server.key\n{more}"
    );
    std::fs::write(&path, text).unwrap();
    let gate = Gate::read(&path, &[]).unwrap();
    std::fs::remove_file(&path).unwrap();
    served_with(limits, gate).await
}

const CLIENTS: &str = "  client_auth_type: RequireAndVerifyClientCert\n";

fn with_clients() -> String {
    format!("{CLIENTS}  client_ca_file: {FOLDER}/ca.pem\n")
}

/// A client that trusts the server, and shows the certificate of this name.
fn client(certificate: Option<&str>) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(format!("{FOLDER}/ca.pem")).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(rustls::crypto::aws_lc_rs::default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match certificate {
        None => builder.with_no_client_auth(),
        Some(name) => {
            let certificate = CertificateDer::from_pem_file(format!("{FOLDER}/{name}.pem")).unwrap();
            let key = PrivateKeyDer::from_pem_file(format!("{FOLDER}/{name}.key")).unwrap();
            builder.with_client_auth_cert(vec![certificate], key).unwrap()
        }
    };
    TlsConnector::from(Arc::new(config))
}

impl Served {
    async fn handshake(&self, certificate: Option<&str>) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from("localhost").unwrap();
        client(certificate).connect(name, self.connect().await).await
    }

    /// Sends a request over TLS, and returns the beginning of the answer.
    async fn get_over_tls(&self, certificate: Option<&str>) -> io::Result<String> {
        let mut stream = self.handshake(certificate).await?;
        stream.write_all(get_request("/short").as_bytes()).await?;
        let mut read = vec![0; 4_096];
        let bytes = timeout(SOON, stream.read(&mut read)).await.expect("no answer")?;
        Ok(String::from_utf8_lossy(&read[..bytes]).into_owned())
    }
}

#[tokio::test]
async fn a_request_over_tls_is_answered() {
    let served = served_over_tls(WIDE, "").await;
    let answer = served.get_over_tls(None).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn a_handshake_that_stops_is_closed_like_a_head_that_stops() {
    let served = served_over_tls(Limits { head: short(), ..WIDE }, "").await;
    let mut socket = served.connect().await;
    socket.write_all(&[22, 3, 1]).await.unwrap();
    until_gone(&mut socket).await;
    served.until_closed(Closed::SlowHead).await;
}

#[tokio::test]
async fn a_client_that_sends_nothing_after_its_handshake_is_closed() {
    let served = served_over_tls(Limits { head: short(), ..WIDE }, "").await;
    let _stream = served.handshake(None).await.unwrap();
    served.until_closed(Closed::SlowHead).await;
}

#[tokio::test]
async fn a_newcomer_over_tls_takes_the_place_of_a_handshake_that_stopped() {
    let served = served_over_tls(Limits::new(2, None), "").await;
    let mut stopped = Vec::new();
    for _ in 0..2 {
        let mut socket = served.connect().await;
        socket.write_all(&[22, 3, 1]).await.unwrap();
        stopped.push(socket);
    }
    // So old that they are no newcomers any more.
    sleep(limits::NEWCOMER).await;
    let answer = served.get_over_tls(None).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(served.closed(Closed::Evicted), 1);
}

#[tokio::test]
async fn plain_http_is_told_that_the_port_speaks_tls() {
    let served = served_over_tls(WIDE, "").await;
    let mut socket = served.send(&get_request("/short")).await;
    read_until(&mut socket, "this port speaks TLS").await;
}

#[tokio::test]
async fn a_client_without_the_required_certificate_is_not_answered() {
    let served = served_over_tls(WIDE, &with_clients()).await;
    for certificate in [None, Some("stranger")] {
        let answer = served.get_over_tls(certificate).await;
        assert!(answer.as_ref().map_or(true, String::is_empty), "{certificate:?}: {answer:?}");
    }
    served.until_closed(Closed::Handshake).await;
    let answer = served.get_over_tls(Some("client")).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn a_client_over_tls_that_reads_nothing_is_closed() {
    let served = served_over_tls(Limits { write: short(), ..WIDE }, "").await;
    let mut stream = served.handshake(None).await.unwrap();
    stream.write_all(get_request("/large").as_bytes()).await.unwrap();
    served.until_closed(Closed::SlowReader).await;
}
