//! Calls in front of servers that answer once.

mod credentials;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use super::*;

const STORAGE: Service = Service {
    name: "gcs",
    title: "Cloud Storage",
    base_url: "https://storage.googleapis.com",
    scope: "https://www.googleapis.com/auth/devstorage.read_only",
};

/// Starts a server that reads one request and then calls `reply`. Returns its address and the request.
async fn server<F>(reply: impl FnOnce(TcpStream) -> F + Send + 'static) -> (String, oneshot::Receiver<String>)
where
    F: Future<Output = ()> + Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (send_request, request) = oneshot::channel();
    #[expect(clippy::disallowed_methods, reason = "a server that lives as long as the test")]
    tokio::spawn(async move {
        let (mut connection, _) = listener.accept().await.unwrap();
        let mut buffer = vec![0; 4_096];
        let read = connection.read(&mut buffer).await.unwrap_or(0);
        let _ = send_request.send(String::from_utf8_lossy(&buffer[..read]).into_owned());
        reply(connection).await;
    });
    (format!("http://{address}/v2/"), request)
}

async fn answers(reply: &'static str) -> (String, oneshot::Receiver<String>) {
    server(async move |mut connection| connection.write_all(reply.as_bytes()).await.unwrap()).await
}

async fn holds(_connection: TcpStream) {
    std::future::pending().await
}

async fn google(endpoint: String) -> Google {
    let settings = GoogleSettings {
        services: vec![BIGQUERY, STORAGE],
        endpoints: [("bigquery", endpoint.clone()), ("gcs", endpoint)].into(),
        auth: Auth::None,
        timeouts: GoogleTimeouts {
            request: Duration::from_millis(500),
            idle: Duration::from_millis(500),
            ..GoogleTimeouts::default()
        },
        ..GoogleSettings::default()
    };
    Google::new(&settings, Calls::default()).await.unwrap()
}

async fn get(google: &Google) -> Result<Answer, Failure> {
    google.send(Request::get(&BIGQUERY, "tables.get", "/x")).await
}

fn object() -> Request<'static> {
    let path = path_of(["b", "transit", "o", "2026/11/a b.gz"]);
    Request::get(&STORAGE, "objects.get", path)
        .query([("alt", "media".to_owned())])
        .header(reqwest::header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"))
}

#[tokio::test]
async fn an_error_answer_keeps_its_status_retry_after_and_text() {
    let reply = "HTTP/1.1 503 Busy\r\nretry-after: 4\r\ncontent-length: 4\r\nconnection: close\r\n\r\nbusy";
    let google = google(answers(reply).await.0).await;
    let failure = get(&google).await.unwrap_err();
    assert_eq!(
        (failure.status, failure.retry_after, failure.effect),
        (Some(503), Some(Duration::from_secs(4)), Effect::Refused)
    );
    assert_eq!(failure.text, "HTTP 503 from 127.0.0.1 without an error code: busy");
    let failed = CallResult::Failed(FailureKind::Error);
    assert_eq!(google.calls().snapshot(), [("bigquery", "tables.get".to_owned(), failed, 1)]);
}

#[tokio::test]
async fn a_silent_server_and_a_closed_port_are_different_failures() {
    let silent = google(server(holds).await.0).await;
    let error = get(&silent).await.unwrap_err();
    assert_eq!((error.kind, error.effect), (FailureKind::Timeout, Effect::Unknown), "{error:?}");
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let error = google(format!("http://{address}")).await.open(object()).await.unwrap_err();
    assert_eq!((error.kind, error.effect), (FailureKind::Unreachable, Effect::NotSent));
    let text = error.text;
    assert!(text.contains("refused") && text.starts_with("Cloud Storage: cannot reach 127.0.0.1:"), "{text}");
}

#[tokio::test]
async fn without_an_endpoint_of_http_nothing_is_sent_over_http() {
    let (endpoint, mut request) = answers("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let service = Service { base_url: Box::leak(endpoint.into_boxed_str()), ..STORAGE };
    let settings = GoogleSettings { services: vec![service], auth: Auth::None, ..GoogleSettings::default() };
    let google = Google::new(&settings, Calls::default()).await.unwrap();
    let failure = google.send(Request::get(&service, "objects.list", "/x")).await.unwrap_err();
    assert_eq!(failure.effect, Effect::NotSent, "{failure:?}");
    assert!(request.try_recv().is_err());
}

#[tokio::test]
async fn the_secrets_of_an_endpoint_are_not_in_its_errors() {
    let google = google("http://user:hush@127.0.0.1:1/v2?key=hush".to_owned()).await;
    let failure = get(&google).await.unwrap_err();
    assert!(failure.text.contains("127.0.0.1:1") && !failure.text.contains("hush"), "{}", failure.text);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let reply = "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n";
    let failure = get(&google(answers(reply).await.0).await).await.unwrap_err();
    assert_eq!((failure.status, failure.kind), (Some(302), FailureKind::Unreachable));
}

#[tokio::test]
async fn an_answer_that_cannot_be_parsed_is_a_failed_call() {
    let google = google(answers("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n<html>").await.0).await;
    let request = Request::get(&BIGQUERY, "tables.get", "/x");
    let read = google.read(request, |body| serde_json::from_slice::<serde_json::Value>(body)).await;
    assert_eq!(read.unwrap_err().kind, FailureKind::Garbled);
    let failed = CallResult::Failed(FailureKind::Garbled);
    assert_eq!(google.calls().snapshot(), [("bigquery", "tables.get".to_owned(), failed, 1)]);
}

#[tokio::test]
async fn an_object_is_streamed_as_stored_and_its_name_is_encoded() {
    let reply = "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 8\r\n\r\nnot gzip";
    let (endpoint, request) = answers(reply).await;
    let google = google(endpoint).await;
    let mut stream = google.open(object()).await.unwrap();
    assert_eq!(
        (stream.status, &stream.headers["content-encoding"]),
        (200, &HeaderValue::from_static("gzip"))
    );
    let mut body = Vec::new();
    while let Some(chunk) = stream.chunk().await.unwrap() {
        body.extend_from_slice(&chunk);
    }
    assert_eq!(body, b"not gzip");
    let request = request.await.unwrap();
    assert!(request.starts_with("GET /v2/b/transit/o/2026%2F11%2Fa%20b.gz?alt=media HTTP/1.1"), "{request}");
    assert!(request.contains("accept-encoding: gzip\r\n"), "{request}");
    assert_eq!(google.calls().snapshot(), [("gcs", "objects.get".to_owned(), CallResult::Ok, 1)]);
}

#[tokio::test]
async fn a_stream_may_take_longer_than_a_call_but_must_not_stall() {
    let (endpoint, _request) = server(async |mut connection: TcpStream| {
        let head = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n";
        connection.write_all(head.as_bytes()).await.unwrap();
        for _ in 0..7 {
            connection.write_all(b"x").await.unwrap();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        std::future::pending().await
    })
    .await;
    let google = google(endpoint).await;
    let mut stream = google.open(object()).await.unwrap();
    let mut bytes = 0;
    let error = loop {
        match stream.chunk().await {
            Ok(chunk) => bytes += chunk.unwrap().len(),
            Err(error) => break error,
        }
    };
    assert_eq!(bytes, 7);
    assert_eq!(error.kind, FailureKind::Timeout, "{error:?}");
}
