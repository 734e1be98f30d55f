//! Answers to calls that are signed here.

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::cloud::aws::Request;

/// Makes a call that is answered with this status, header and body, and returns the host, too.
async fn answered(status: &str, header: &str, body: &[u8]) -> (String, Result<serde_json::Value, String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let (aws, _) = aws((200, GRANTED)).await;
    let endpoints = BTreeMap::from([("monitoring", format!("http://{host}"))]);
    let aws = Aws { settings: Arc::new(AwsSettings { endpoints, ..(*aws.settings).clone() }), ..aws };
    let account = Account::in_region("eu-central-1");
    let request = Request {
        service: "monitoring",
        operation: "GetMetricData",
        account: &account,
        path: "/".to_owned(),
        post: Some(("GetMetricData", json!({}))),
    };
    let answering = async {
        let (mut connection, _) = listener.accept().await.unwrap();
        let mut bytes = [0; 4_096];
        let _ = connection.read(&mut bytes).await;
        let head = format!("HTTP/1.1 {status}\r\n{header}content-length: {}\r\n\r\n", body.len());
        let _ = connection.write_all(head.as_bytes()).await;
        // The client leaves while too much is written.
        let _ = connection.write_all(body).await;
    };
    let (answer, ()) = tokio::join!(aws.request(&request), answering);
    (host, answer.map_err(|reason| reason.to_string()))
}

#[tokio::test]
async fn a_success_is_json() {
    assert_eq!(answered("200 OK", "", b"{\"a\":1}").await.1, Ok(json!({ "a": 1 })));
    let (host, answer) = answered("200 OK", "", b"<html>\x1b login").await;
    let expected = format!("GetMetricData: the answer of {host} is not JSON: <html>\u{fffd} login");
    assert_eq!(answer.unwrap_err(), expected);
}

#[tokio::test]
async fn an_answer_has_a_bound() {
    let (host, answer) = answered("200 OK", "", &vec![b' '; (32 << 20) + 1]).await;
    let expected = format!("GetMetricData: the answer of {host} is larger than 32 MB");
    assert_eq!(answer.unwrap_err(), expected);
}

#[tokio::test]
async fn no_redirect_is_followed() {
    let (host, answer) = answered("307 Temporary Redirect", "location: http://127.0.0.1:1/\r\n", b"").await;
    let reason = answer.unwrap_err();
    assert!(
        reason.starts_with(&format!("GetMetricData: {host} redirects to somewhere else (307")),
        "{reason}"
    );
}
