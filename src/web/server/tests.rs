//! Clients that wait, flood or do not read, on real sockets with short limits.

mod tls;

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::routing::get;
use futures::stream;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use super::*;
use crate::domain::topology::fixture;
use crate::metrics::{BucketBounds, Metrics, StageCosts};

/// Longer than anything here takes, because the machine may be busy.
const SOON: Duration = Duration::from_secs(30);
/// Far more than the buffers of a socket hold.
const LARGE: usize = 32 << 20;

/// What an HTTP/2 client sends first.
const HTTP2_PREFACE: &str = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A server on a port of its own.
struct Served {
    address: SocketAddr,
    metrics: Metrics,
    end: CancellationToken,
    _tasks: JoinSet<()>,
}

fn routes() -> Router {
    let events = || async {
        let first = stream::iter([Ok::<_, io::Error>(Bytes::from_static(b"data: first\n\n"))]);
        Body::from_stream(futures::StreamExt::chain(first, stream::pending()))
    };
    Router::new()
        .route("/short", get(|| async { "short\n" }))
        .route("/large", get(|| async { "x".repeat(LARGE) }))
        .route("/events", get(events))
}

async fn served(limits: Limits) -> Served {
    served_with(limits, Gate::default()).await
}

async fn served_with(limits: Limits, gate: Gate) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let topology = Arc::new(fixture::topology());
    let bounds = BucketBounds::new(&[Duration::from_secs(1)]);
    let calls = Arc::new(Vec::new);
    let metrics = Metrics::new(topology, &bounds, calls, StageCosts::default()).unwrap();
    let end = CancellationToken::new();
    let mut tasks = JoinSet::new();
    tasks.spawn(serve(listener, routes(), Arc::new(gate), limits, metrics.connections(), end.clone()));
    Served { address, metrics, end, _tasks: tasks }
}

/// Limits that a test does not reach.
const WIDE: Limits = Limits::new(100, None);

impl Served {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Connects and sends this.
    async fn send(&self, text: &str) -> TcpStream {
        let mut socket = self.connect().await;
        socket.write_all(text.as_bytes()).await.unwrap();
        socket
    }

    /// A client that sends its request at once. Fails unless it is answered.
    async fn get_short(&self) -> TcpStream {
        let mut socket = self.send(&get_request("/short")).await;
        read_until(&mut socket, "short\n").await;
        socket
    }

    fn count(&self, name: &str, label: &str) -> u64 {
        let scrape = self.metrics.render(crate::metrics::Format::Text);
        let series = if label.is_empty() { name.to_owned() } else { format!("{name}{{reason=\"{label}\"}}") };
        let line = scrape.lines().find_map(|line| line.strip_prefix(&format!("{series} ")));
        line.unwrap_or_else(|| panic!("no series {series}")).parse().unwrap()
    }

    fn closed(&self, reason: Closed) -> u64 {
        self.count("traceprobe_web_connections_closed_total", reason.as_str())
    }

    /// Waits until a connection has been closed for this reason.
    async fn until_closed(&self, reason: Closed) {
        let counted = async {
            while self.closed(reason) == 0 {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(SOON, counted).await.unwrap_or_else(|_| panic!("none was closed: {reason:?}"));
    }
}

fn get_request(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n")
}

async fn read_until(socket: &mut TcpStream, what: &str) -> String {
    let mut read = Vec::new();
    let found = async {
        while !String::from_utf8_lossy(&read).contains(what) {
            let bytes = socket.read_buf(&mut read).await.unwrap();
            assert!(bytes > 0, "closed after {:?}", String::from_utf8_lossy(&read));
        }
    };
    timeout(SOON, found).await.unwrap_or_else(|_| panic!("not read: {what}"));
    String::from_utf8_lossy(&read).into_owned()
}

/// Waits until the other side has closed the connection; fails if it does not.
async fn until_gone(socket: &mut TcpStream) {
    let mut rest = Vec::new();
    let ended = timeout(SOON, socket.read_to_end(&mut rest)).await.expect("still open");
    if let Err(error) = ended {
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
}

fn short() -> Duration {
    Duration::from_millis(200)
}

const PEER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

#[tokio::test]
async fn a_connection_without_a_complete_request_costs_at_most_16_kb() {
    let served = served(WIDE).await;
    let shared = Shared {
        router: routes(),
        gate: Arc::default(),
        limits: WIDE,
        unsent: Arc::default(),
        streams: Arc::new(Semaphore::new(1)),
        http2_began: Notify::new(),
        counters: served.metrics.connections(),
        end: served.end.clone(),
    };
    let task = connection::serve(
        served.connect().await,
        PEER,
        Arc::new(Activity::new(Instant::now())),
        Arc::new(shared),
    );
    // The head that has been read, with the piece that is one too many, and the task that waits for more.
    let bytes = limits::MAX_HEAD + head::READ + size_of_val(&task);
    assert!(bytes <= 16 << 10, "{bytes} bytes");
}

#[tokio::test]
async fn a_connection_that_sends_nothing_is_closed() {
    let served = served(Limits { first_byte: short(), ..WIDE }).await;
    until_gone(&mut served.connect().await).await;
    served.until_closed(Closed::NoRequest).await;
}

#[tokio::test]
async fn an_unfinished_head_is_closed_in_the_first_and_in_a_later_request() {
    let served = served(Limits { head: short(), ..WIDE }).await;
    until_gone(&mut served.send("GET / HTTP/1.1\r\nx: y").await).await;
    let mut second = served.get_short().await;
    second.write_all(b"GET / HT").await.unwrap();
    until_gone(&mut second).await;
    timeout(SOON, async {
        while served.closed(Closed::SlowHead) < 2 {
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn the_beginning_of_an_http_2_connection_has_a_limit_too() {
    let served = served(Limits { head: short(), ..WIDE }).await;
    until_gone(&mut served.send("PRI * HTTP/2.0\r\n\r\n").await).await;
    until_gone(&mut served.send(HTTP2_PREFACE).await).await;
}

#[tokio::test]
async fn a_connection_serves_several_requests_and_is_closed_when_it_was_idle() {
    let served = served(Limits { idle: short(), ..WIDE }).await;
    let mut socket = served.send(&get_request("/short").repeat(2)).await;
    read_until(&mut socket, "short\n").await;
    until_gone(&mut socket).await;
    served.until_closed(Closed::Idle).await;
}

#[tokio::test]
async fn a_client_that_does_not_read_is_closed() {
    let served = served(Limits { write: short(), ..WIDE }).await;
    let mut socket = served.send(&get_request("/large")).await;
    served.until_closed(Closed::SlowReader).await;
    until_gone(&mut socket).await;
}

/// A frame of HTTP/2 (RFC 9113, section 4.1).
fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    [&[0, 0, length, kind, flags, 0, 0, 0, stream][..], payload].concat()
}

#[tokio::test]
async fn a_client_over_http_2_that_reads_no_answer_is_closed_although_it_pings() {
    let served = served(Limits { write: short(), ..WIDE }).await;
    let mut socket = served.send(HTTP2_PREFACE).await;
    // SETTINGS_INITIAL_WINDOW_SIZE is 0, and the head of a request is complete.
    let settings = frame(4, 0, 0, &[0, 4, 0, 0, 0, 0]);
    let head = frame(1, 0b101, 1, b"\x82\x86\x41\x01a\x04\x06/large");
    socket.write_all(&[settings, head].concat()).await.unwrap();
    let pings = async {
        while socket.write_all(&frame(6, 0, 0, &[0; 8])).await.is_ok() {
            sleep(Duration::from_millis(10)).await;
        }
        std::future::pending::<()>().await
    };
    tokio::select! {
        () = pings => unreachable!("it has no end"),
        () = served.until_closed(Closed::SlowReader) => {}
    }
}

#[tokio::test]
async fn a_large_answer_is_read_whole() {
    let served = served(WIDE).await;
    let mut socket = served.send("GET /large HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    let mut read = Vec::new();
    timeout(SOON, socket.read_to_end(&mut read)).await.unwrap().unwrap();
    assert!(read.ends_with(b"xx") && read.len() > LARGE, "{} bytes", read.len());
    served.until_closed(Closed::Client).await;
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused_in_words() {
    let served = served(WIDE).await;
    let mut socket = served.send(&format!("GET / HTTP/1.1\r\nx: {}", "y".repeat(20_000))).await;
    let answer = read_until(&mut socket, "12 KB").await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    drop(socket);
    served.until_closed(Closed::HeadTooLarge).await;
}

#[tokio::test]
async fn what_is_not_http_is_refused() {
    let served = served(WIDE).await;
    let answer = read_until(&mut served.send("\u{16}\u{3}\u{1}").await, "\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    served.until_closed(Closed::Invalid).await;
}

#[tokio::test]
async fn a_newcomer_takes_the_place_of_the_connection_that_waited_longest() {
    let served = served(Limits { connections: 3, ..WIDE }).await;
    let mut idle = served.get_short().await;
    let mut first = served.connect().await;
    // So old that it is no newcomer any more.
    sleep(limits::NEWCOMER).await;
    let _second = served.connect().await;
    let _newcomer = served.get_short().await;
    until_gone(&mut first).await;
    idle.write_all(get_request("/short").as_bytes()).await.unwrap();
    read_until(&mut idle, "short\n").await;
    assert_eq!(served.closed(Closed::Evicted), 1);
}

#[tokio::test]
async fn a_newcomer_is_served_while_all_places_are_idle() {
    let served = served(Limits { connections: 2, ..WIDE }).await;
    let mut oldest = served.get_short().await;
    let mut others = Vec::new();
    for _ in 0..20 {
        others.push(served.get_short().await);
    }
    until_gone(&mut oldest).await;
    assert_eq!(served.closed(Closed::Evicted), 19);
    assert_eq!(served.count("traceprobe_web_connections_accepted_total", ""), 21);
    assert_eq!(served.count("traceprobe_web_connections", ""), 2);
}

#[tokio::test]
async fn http_2_connections_without_a_request_make_room_for_each_other() {
    let served = served(Limits { connections: 4 * HTTP2_WAITING, ..WIDE }).await;
    let mut oldest = served.send(HTTP2_PREFACE).await;
    let mut others = Vec::new();
    for _ in 0..HTTP2_WAITING {
        others.push(served.send(HTTP2_PREFACE).await);
    }
    until_gone(&mut oldest).await;
    served.get_short().await;
    assert_eq!(served.closed(Closed::Evicted), 1);
}

#[tokio::test]
async fn an_address_has_as_many_connections_as_configured() {
    let served = served(Limits { per_peer: Some(1), ..WIDE }).await;
    let kept = served.get_short().await;
    until_gone(&mut served.connect().await).await;
    assert_eq!(served.count("traceprobe_web_refused_total", "peer"), 1);
    drop(kept);
    served.until_closed(Closed::Client).await;
    served.get_short().await;
}

#[tokio::test]
async fn unsent_answers_are_bounded_together() {
    let served = served(Limits { unsent: 2 * LARGE, ..WIDE }).await;
    let mut oldest = served.send(&get_request("/large")).await;
    read_until(&mut oldest, "xxx").await;
    let mut others = Vec::new();
    for _ in 0..3 {
        let mut socket = served.send(&get_request("/large")).await;
        read_until(&mut socket, "xxx").await;
        others.push(socket);
    }
    served.until_closed(Closed::Memory).await;
    served.get_short().await;
}

#[tokio::test]
async fn event_streams_have_a_bound_of_their_own_and_end_with_the_server() {
    let served = served(Limits { streams: 1, ..WIDE }).await;
    let mut events = served.send(&get_request("/events")).await;
    read_until(&mut events, "data: first").await;
    let refusal = read_until(&mut served.send(&get_request("/events")).await, "fetch the page").await;
    assert!(refusal.starts_with("HTTP/1.1 503 "), "{refusal}");
    served.end.cancel();
    until_gone(&mut events).await;
    served.until_closed(Closed::Stopped).await;
}

#[tokio::test]
async fn waiting_and_idle_connections_do_not_delay_the_end() {
    let served = served(WIDE).await;
    let (mut waiting, mut idle) = (served.send("GET / HTTP/1.1\r\n").await, served.get_short().await);
    served.end.cancel();
    until_gone(&mut waiting).await;
    until_gone(&mut idle).await;
}
