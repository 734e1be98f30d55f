//! Sends finished traces in batches.

use std::time::Duration;

use backoff::ExponentialBackoff;
use backoff::backoff::Backoff as _;
use prost::Message as _;
use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::message::{ExportRequest, ExportResponse};
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
/// Longest pause of our own between two requests.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);
/// Longest pause that a receiver may want. A value that is meant in milliseconds must not end the export.
const LONGEST_WANTED: Duration = Duration::from_hours(1);
/// How often the log tells of rejected spans, of which every batch may have some.
const TOLD_EVERY: Duration = Duration::from_hours(1);
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

/// Spans of a batch that were rejected although it was taken (OTLP specification, "Partial Success").
#[derive(Debug)]
struct Rejected {
    spans: usize,
    /// How many spans the batch has.
    of: usize,
    reason: ForeignText,
}

impl Rejected {
    /// How many traces of the batch were taken. The answer does not say which spans are missing: as many
    /// traces count as failed, in proportion and rounded up.
    fn taken(&self, batch: usize) -> usize {
        batch - (batch * self.spans).div_ceil(self.of)
    }
}

/// What is known of the receiver.
#[derive(Debug, Default)]
struct Receiver {
    /// Whether it took nothing last, which the log has told.
    fails: bool,
    /// Until then, nothing is sent: what it said to one batch counts for the next one, too.
    opens: Option<Instant>,
    /// When the log last told that it rejects spans.
    rejects: Option<Instant>,
}

impl Receiver {
    /// Whether the log is to tell that it rejects spans.
    fn tells_of_rejected(&mut self, now: Instant) -> bool {
        let is_due = self.rejects.is_none_or(|told| now.duration_since(told) >= TOLD_EVERY);
        if is_due {
            self.rejects = Some(now);
        }
        is_due
    }
}

/// How long to wait for the next request: as long as the receiver wants, and never less than our own pause,
/// because a receiver that wants none would be called in a tight loop.
fn pause(own: Duration, wanted: Option<Duration>) -> Duration {
    wanted.map_or(own, |wanted| wanted.min(LONGEST_WANTED).max(own))
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
    let mut receiver = Receiver::default();
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
        let taken = tokio::select! {
            () = end.cancelled() => break,
            taken = sender.send(&batch, &mut receiver) => taken,
        };
        sender.count(taken, batch.len());
        batch.clear();
    }
    while let Ok(finished) = queue.try_recv() {
        batch.push(finished);
    }
    if !batch.is_empty() {
        let taken = match timeout(LAST, sender.send_once(&batch)).await {
            Ok(Ok(None)) => batch.len(),
            Ok(Ok(Some(rejected))) => rejected.taken(batch.len()),
            Ok(Err(_)) | Err(_) => 0,
        };
        sender.count(taken, batch.len());
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

    /// Counts a batch of which so many traces were taken.
    fn count(&self, taken: usize, batch: usize) {
        self.exports.count(Exported::Sent, taken);
        self.exports.count(Exported::Failed, batch - taken);
    }

    /// Sends a batch, again and again if that may help. Returns how many of its traces were taken.
    async fn send(&self, batch: &[Finished], receiver: &mut Receiver) -> usize {
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
            if let Some(opens) = receiver.opens {
                if opens >= give_up {
                    return 0;
                }
                sleep_until(opens).await;
            }
            let (text, pause) = match self.send_once(batch).await {
                Ok(rejected) => {
                    receiver.opens = None;
                    let taken = rejected.as_ref().map_or(batch.len(), |rejected| rejected.taken(batch.len()));
                    if taken > 0 && std::mem::take(&mut receiver.fails) {
                        info!("traces are exported again");
                    }
                    if let Some(Rejected { spans, of, reason }) = rejected
                        && receiver.tells_of_rejected(Instant::now())
                    {
                        warn!("the receiver of traces rejected {spans} of {of} spans of a batch: {reason}");
                    }
                    return taken;
                }
                Err(Failed::Permanent(text)) => (text, None),
                Err(Failed::Retryable(text, wanted)) => {
                    let own = pauses.next_backoff().unwrap_or(LONGEST_PAUSE);
                    (text, Some(pause(own, wanted)))
                }
            };
            // Once, not for each batch of an outage.
            if !std::mem::replace(&mut receiver.fails, true) {
                warn!("cannot export traces: {text}");
            }
            receiver.opens = pause.map(|pause| Instant::now() + pause);
            if pause.is_none() {
                return 0;
            }
        }
    }

    /// Sends a batch once. Returns what was rejected of one that was taken.
    async fn send_once(&self, batch: &[Finished]) -> Result<Option<Rejected>, Failed> {
        let request = request(&self.source, batch);
        let body = request.encode_to_vec();
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
                let of = span_count(&request);
                let rejected = partial.map(|partial| Rejected {
                    spans: usize::try_from(partial.rejected_spans).unwrap_or(0).min(of),
                    of,
                    reason: ForeignText::from(partial.error_message),
                });
                Ok(rejected.filter(|rejected| rejected.spans > 0))
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

fn span_count(request: &ExportRequest) -> usize {
    let scopes = request.resource_spans.iter().flat_map(|it| &it.scope_spans);
    scopes.map(|it| it.spans.len()).sum()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::domain::outcome::Outcome;
    use crate::domain::topology::fixture;
    use crate::export::message::PartialSuccess;
    use crate::export::tests::{metrics, settings, trace};
    use crate::metrics::Metrics;

    fn sender(endpoint: String, metrics: &Metrics) -> Sender {
        let source = Source { version: "0".to_owned(), instance: "test".to_owned() };
        let settings = Settings { endpoint, ..settings(0) };
        Sender::new(&settings, source, metrics.exports()).unwrap()
    }

    /// A receiver, and what sends to it.
    async fn stand() -> (TcpListener, Sender) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let metrics = metrics(&Arc::new(fixture::topology()));
        (listener, sender(endpoint, &metrics))
    }

    fn batch(traces: u8) -> Vec<Finished> {
        let map = Arc::new(fixture::topology());
        (0..traces).map(|random| (Arc::new(trace(&map, random, Outcome::Late)), map.clone())).collect()
    }

    /// Answers one request with a status, headers and a body.
    async fn answer(listener: &TcpListener, head: &str, body: &[u8]) {
        let (mut connection, _) = listener.accept().await.unwrap();
        let _ = connection.read(&mut [0; 4_096]).await;
        let head = format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
        let _ = connection.write_all(&[head.as_bytes(), body].concat()).await;
        let _ = connection.shutdown().await;
        // What is left of the request: unread, it would reset the connection before the answer is read.
        let _ = connection.read_to_end(&mut Vec::new()).await;
    }

    #[tokio::test]
    async fn a_refusal_is_told_without_what_is_secret_in_the_endpoint() {
        let metrics = metrics(&Arc::new(fixture::topology()));
        for (status, query) in [("401 Unauthorized", ""), ("503 Service Unavailable", "?key=hush")] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            // A quote ends a URL within a text.
            let sender = sender(format!("http://probe:it's-hush@{address}{query}"), &metrics);
            let (sent, ()) = tokio::join!(sender.send_once(&[]), answer(&listener, status, &[]));
            let Err(Failed::Retryable(text, _) | Failed::Permanent(text)) = sent else {
                panic!("it was taken");
            };
            let expected = format!("HTTP {} from http://{address}/", &status[..3]);
            assert!(text.starts_with(&expected) && !text.contains("hush"), "{text}");
        }
    }

    #[tokio::test]
    async fn traces_count_as_failed_in_proportion_to_their_rejected_spans() {
        // Each has one for its whole life, and one for its put.
        let batch = batch(4);
        for (rejected_spans, taken) in [(-1, 4), (0, 4), (1, 3), (4, 2), (7, 0), (8, 0), (i64::MAX, 0)] {
            let (listener, sender) = stand().await;
            let partial = PartialSuccess { rejected_spans, error_message: "too old".to_owned() };
            let body = ExportResponse { partial_success: Some(partial) }.encode_to_vec();
            let mut receiver = Receiver::default();
            let (sent, ()) =
                tokio::join!(sender.send(&batch, &mut receiver), answer(&listener, "200 OK", &body));
            assert_eq!(sent, taken, "{rejected_spans} of 8 spans");
        }
    }

    #[test]
    fn rejected_spans_are_told_once_an_hour() {
        let (mut receiver, now) = (Receiver::default(), Instant::now());
        let told = [0, 1, 59, 60, 119, 120]
            .map(|minutes| receiver.tells_of_rejected(now + Duration::from_mins(minutes)));
        assert_eq!(told, [true, false, false, true, false, true]);
    }

    #[test]
    fn a_pause_is_what_the_receiver_wants_but_not_shorter_than_our_own() {
        let secs = Duration::from_secs;
        let pauses = [None, Some(0), Some(3), Some(120), Some(u64::MAX)]
            .map(|wanted: Option<u64>| pause(secs(4), wanted.map(secs)).as_secs());
        assert_eq!(pauses, [4, 4, 4, 120, 3_600]);
    }

    #[tokio::test]
    async fn a_receiver_that_wants_no_pause_is_not_called_in_a_tight_loop() {
        let (listener, sender) = stand().await;
        let begun = Instant::now();
        let answers = async {
            answer(&listener, "503 Service Unavailable\r\nretry-after: 0", &[]).await;
            answer(&listener, "200 OK", &[]).await;
        };
        let (batch, mut receiver) = (batch(1), Receiver::default());
        let (sent, ()) = tokio::join!(sender.send(&batch, &mut receiver), answers);
        assert_eq!(sent, 1);
        assert!(begun.elapsed() >= Duration::from_millis(500), "the first pause is half a second at least");
    }

    #[tokio::test]
    async fn a_receiver_that_is_closed_for_longer_than_a_batch_is_tried_gets_no_request_meanwhile() {
        let (listener, sender) = stand().await;
        let (batch, mut receiver) = (batch(1), Receiver::default());
        let closed = answer(&listener, "429 Too Many Requests\r\nretry-after: 600", &[]);
        let (sent, ()) = tokio::join!(sender.send(&batch, &mut receiver), closed);
        assert_eq!(sent, 0);
        // Another request would be refused, and tried for minutes.
        drop(listener);
        let sent = timeout(Duration::from_secs(10), sender.send(&batch, &mut receiver)).await;
        assert_eq!(sent, Ok(0));
    }
}
