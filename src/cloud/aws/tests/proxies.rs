//! A proxy that does not open a tunnel.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::cloud::failure::Effect;
use crate::cloud::google::{Auth, BIGQUERY, Google, GoogleSettings, Request};
use crate::cloud::proxy::Proxy;

fn through(address: std::net::SocketAddr) -> Proxy {
    let variables = [("HTTPS_PROXY".to_owned(), format!("http://me:hush@{address}"))];
    Proxy::from_variables(&variables.into()).unwrap()
}

async fn aws_failure(proxy: Proxy) -> Failure {
    let settings =
        AwsSettings { region: Some("eu-central-1".into()), anonymous: true, proxy, ..AwsSettings::default() };
    let aws = Aws::new(settings, Calls::default()).await;
    let error = aws.logs(&Account::in_region("eu-central-1")).describe_log_groups().send().await.unwrap_err();
    Failure::of_aws(&error)
}

async fn google_failure(proxy: Proxy) -> Failure {
    let settings = GoogleSettings { auth: Auth::None, proxy, ..GoogleSettings::default() };
    let google = Google::new(&settings, Calls::default()).await.unwrap();
    google.send(Request::get(&BIGQUERY, "tables.get", "/x")).await.unwrap_err()
}

/// A proxy that gives every request this answer.
async fn answering(answer: &'static str) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    #[expect(clippy::disallowed_methods, reason = "a server that lives as long as the test")]
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let mut request = [0; 4_096];
            let _ = connection.read(&mut request).await;
            let _ = connection.write_all(answer.as_bytes()).await;
        }
    });
    address
}

#[tokio::test]
async fn nothing_was_sent_if_the_proxy_is_down_or_refuses_the_tunnel() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed = free.local_addr().unwrap();
    drop(free);
    let unauthorized =
        answering("HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n").await;
    let forbidden = answering("HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n").await;
    for address in [closed, unauthorized, forbidden] {
        for failure in [aws_failure(through(address)).await, google_failure(through(address)).await] {
            assert_eq!(
                (failure.kind, failure.effect),
                (FailureKind::Unreachable, Effect::NotSent),
                "{failure:?}"
            );
            assert!(!failure.text.contains("hush"), "{}", failure.text);
        }
    }
}
