//! Sends finished traces in batches.

use std::time::Duration;

use backoff::ExponentialBackoff;
use backoff::backoff::Backoff as _;
use prost::Message as _;
use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::message::ExportResponse;
use super::spans::{Source, request};
use super::{Finished, Settings};
use crate::cloud::failure::causes;
use crate::domain::foreign::ForeignText;
use crate::keys::secret::masked_urls;
use crate::metrics::{Exported, Exports};

/// Most traces of one request.
const BATCH: usize = 100;
/// How long the first trace of a batch waits for others.
const COLLECT: Duration = Duration::from_secs(2);
/// How long a request may take (OpenTelemetry, OTLP exporter configuration).
const REQUEST: Duration = Duration::from_secs(10);
/// How long a batch is tried before it is given up. Longer outages cost traces: the queue is full by then.
const TRIED_FOR: Duration = Duration::from_mins(5);
/// Longest pause that a receiver may ask for.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);
/// How long what is left may take at the end.
const LAST: Duration = Duration::from_secs(2);
/// Largest answer that is read.
const MAX_ANSWER: usize = 64 << 10;

/// How a request ended that was not a success.
enum Failed {
    /// It may succeed later, at the earliest after this pause (OTLP specification, "Failures" and "OTLP/HTTP
    /// Throttling").
    Retryable(String, Option<Duration>),
    /// It never will.
    Permanent(String),
}

/// Sends what is queued until `end`, and then what is left, once.
pub async fn run(
    settings: Settings,
    source: Source,
    mut queue: mpsc::Receiver<Finished>,
    exports: Exports,
    end: CancellationToken,
) {
    let sender = match Sender::new(&settings, source, exports) {
        Ok(sender) => sender,
        Err(error) => {
            warn!("no traces are exported: {error}");
            return end.cancelled().await;
        }
    };
    let mut batch = Vec::new();
    let mut failing = false;
    loop {
        tokio::select! {
            biased;
            () = end.cancelled() => break,
            received = queue.recv_many(&mut batch, BATCH) => {
                if received == 0 {
                    return end.cancelled().await;
                }
            }
        }
        let full = Instant::now() + COLLECT;
        while batch.len() < BATCH {
            let room = BATCH - batch.len();
            tokio::select! {
                () = end.cancelled() => break,
                () = sleep_until(full) => break,
                _ = queue.recv_many(&mut batch, room) => {}
            }
        }
        let sent = tokio::select! {
            () = end.cancelled() => break,
            sent = sender.send(&batch, &mut failing) => sent,
        };
        sender.exports.count(if sent { Exported::Sent } else { Exported::Failed }, batch.len());
        batch.clear();
    }
    while let Ok(finished) = queue.try_recv() {
        batch.push(finished);
    }
    if !batch.is_empty() {
        let sent = matches!(timeout(LAST, sender.send_once(&batch)).await, Ok(Ok(())));
        sender.exports.count(if sent { Exported::Sent } else { Exported::Failed }, batch.len());
    }
}

struct Sender {
    http: reqwest::Client,
    url: String,
    headers: HeaderMap,
    source: Source,
    exports: Exports,
}

impl Sender {
    fn new(settings: &Settings, source: Source, exports: Exports) -> Result<Self, String> {
        crate::cloud::install_tls();
        let http = settings
            .proxy
            .of_client(reqwest::Client::builder())
            .and_then(|client| client.timeout(REQUEST).redirect(reqwest::redirect::Policy::none()).build());
        let mut headers: HeaderMap = settings.headers.iter().cloned().collect();
        headers.insert(CONTENT_TYPE, reqwest::header::HeaderValue::from_static("application/x-protobuf"));
        let url = format!("{}/v1/traces", settings.endpoint.trim_end_matches('/'));
        Ok(Self { http: http.map_err(|error| causes(&error))?, url, headers, source, exports })
    }

    /// Sends a batch, again and again if that may help. Returns whether it was taken.
    async fn send(&self, batch: &[Finished], failing: &mut bool) -> bool {
        let mut pauses = ExponentialBackoff {
            initial_interval: Duration::from_secs(1),
            current_interval: Duration::from_secs(1),
            max_interval: LONGEST_PAUSE,
            // It would read the real clock.
            max_elapsed_time: None,
            ..ExponentialBackoff::default()
        };
        let give_up = Instant::now() + TRIED_FOR;
        loop {
            let (text, pause) = match self.send_once(batch).await {
                Ok(()) => {
                    if std::mem::take(failing) {
                        info!("traces are exported again");
                    }
                    return true;
                }
                Err(Failed::Permanent(text)) => (text, None),
                Err(Failed::Retryable(text, wanted)) => {
                    let own = pauses.next_backoff().unwrap_or(LONGEST_PAUSE);
                    (text, Some(wanted.map_or(own, |wanted| wanted.min(LONGEST_PAUSE))))
                }
            };
            // Once, not for each batch of an outage.
            if !std::mem::replace(failing, true) {
                warn!("cannot export traces: {text}");
            }
            match pause {
                Some(pause) if Instant::now() + pause < give_up => sleep(pause).await,
                _ => return false,
            }
        }
    }

    async fn send_once(&self, batch: &[Finished]) -> Result<(), Failed> {
        let body = request(&self.source, batch).encode_to_vec();
        let answer = self.http.post(&self.url).headers(self.headers.clone()).body(body).send().await;
        let mut answer = answer.map_err(|error| Failed::Retryable(causes(&error), None))?;
        let status = answer.status().as_u16();
        // The client has taken user and password out of it.
        let url = masked_urls(answer.url().as_str()).into_owned();
        let pause =
            answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let mut body = Vec::new();
        while let Ok(Some(chunk)) = answer.chunk().await {
            if body.len() + chunk.len() > MAX_ANSWER {
                break;
            }
            body.extend_from_slice(&chunk);
        }
        match status {
            200..=299 => {
                let partial = ExportResponse::decode(&*body).ok().and_then(|answer| answer.partial_success);
                if let Some(partial) = partial.filter(|partial| partial.rejected_spans > 0) {
                    let rejected = partial.rejected_spans;
                    let text = ForeignText::from(partial.error_message);
                    warn!("the receiver of traces took a batch without {rejected} of its spans: {text}");
                }
                Ok(())
            }
            429 | 502 | 503 | 504 => {
                let text = format!("HTTP {status} from {url}");
                Err(Failed::Retryable(text, pause.map(Duration::from_secs)))
            }
            _ => {
                let text = format!("HTTP {status} from {url}: {}", ForeignText::of_body(&body));
                Err(Failed::Permanent(text))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::domain::topology::fixture;
    use crate::export::tests::{metrics, settings};

    #[tokio::test]
    async fn a_refusal_is_told_without_what_is_secret_in_the_endpoint() {
        let metrics = metrics(&Arc::new(fixture::topology()));
        for (status, query) in [("401 Unauthorized", ""), ("503 Service Unavailable", "?key=hush")] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            // A quote ends a URL within a text.
            let endpoint = format!("http://probe:it's-hush@{address}{query}");
            let source = Source { version: "0".to_owned(), instance: "test".to_owned() };
            let settings = Settings { endpoint, ..settings(0) };
            let sender = Sender::new(&settings, source, metrics.exports()).unwrap();
            let answering = async {
                let (mut connection, _) = listener.accept().await.unwrap();
                let _ = connection.read(&mut [0; 4_096]).await;
                let head = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
                let _ = connection.write_all(head.as_bytes()).await;
            };
            let (sent, ()) = tokio::join!(sender.send_once(&[]), answering);
            let Err(Failed::Retryable(text, _) | Failed::Permanent(text)) = sent else {
                panic!("it was taken");
            };
            let expected = format!("HTTP {} from http://{address}/", &status[..3]);
            assert!(text.starts_with(&expected) && !text.contains("hush"), "{text}");
        }
    }
}
