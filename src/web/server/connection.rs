//! One connection, from its first byte to its end.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody as _};
use axum::http::{Request, Response, StatusCode};
use axum::response::IntoResponse as _;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::graceful::GracefulConnection;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;
use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::Peer;
use super::activity::Activity;
use super::answer::{AnswerBody, Answering, Unsent};
use super::head;
use super::limits::{BUFFER, HTTP2_REQUESTS, HTTP2_RESETS, Limits, MAX_HEAD};
use super::socket::Socket;
use super::stream::{Protocol, Stream};
use crate::metrics::{Closed, Connections, Refused};
use crate::web::access::{Certified, Gate};

/// What all connections share.
pub(super) struct Shared {
    pub(super) router: Router,
    /// Says whether connections have TLS.
    pub(super) gate: Arc<Gate>,
    pub(super) limits: Limits,
    pub(super) unsent: Arc<Unsent>,
    pub(super) streams: Arc<Semaphore>,
    /// Notified of each connection that speaks HTTP/2.
    pub(super) http2_began: Notify,
    pub(super) counters: Connections,
    /// Ends connections as soon as they have answered what they were asked.
    pub(super) end: CancellationToken,
}

/// Serves a connection until it ends, and returns why it ended.
pub(super) async fn serve(
    socket: TcpStream,
    peer: IpAddr,
    activity: Arc<Activity>,
    shared: Arc<Shared>,
) -> Closed {
    let work = async {
        let read = tokio::select! {
            biased;
            () = shared.end.cancelled() => return Closed::Stopped,
            read = begin(socket, &activity, &shared) => read,
        };
        match read {
            Ok((_, _, Protocol::Http2)) if !shared.gate.has_http2() => Closed::Invalid,
            Ok((socket, head, protocol)) => {
                let client = Client { peer, is_certified: socket.is_certified() };
                if protocol == Protocol::Http2 {
                    activity.speaks_http2();
                    shared.http2_began.notify_one();
                }
                let stream = Stream::new(head, socket, activity.clone(), protocol);
                // On the heap, so that the task of a connection that waits stays small.
                Box::pin(answer_requests(stream, protocol, client, &activity, &shared)).await
            }
            Err(reason) => reason,
        }
    };
    tokio::select! {
        reason = work => reason,
        reason = overdue(&activity, &shared.limits) => reason,
    }
}

/// Who is on the other side of a connection.
#[derive(Clone, Copy)]
struct Client {
    peer: IpAddr,
    is_certified: bool,
}

/// Reads until the head of the first request is complete, after the handshake if there is TLS.
async fn begin(
    socket: TcpStream,
    activity: &Activity,
    shared: &Shared,
) -> Result<(Socket, Bytes, Protocol), Closed> {
    let mut socket = match shared.gate.tls() {
        // On the heap, so that the task of a connection without TLS stays small.
        Some(config) => Box::pin(Socket::with_tls(socket, config, activity)).await?,
        None => Socket::Plain(socket),
    };
    let (head, protocol) = head::read(&mut socket, activity).await?;
    Ok((socket, head, protocol))
}

/// Waits until the connection's deadline has passed.
async fn overdue(activity: &Activity, limits: &Limits) -> Closed {
    loop {
        let now = Instant::now();
        let check = now + limits.check_every();
        let next = match activity.deadline(limits) {
            Some((deadline, reason)) if deadline <= now => return reason,
            // The deadline may move in either direction meanwhile.
            Some((deadline, _)) => deadline.min(check),
            None => check,
        };
        sleep_until(next).await;
    }
}

async fn answer_requests(
    stream: Stream,
    protocol: Protocol,
    client: Client,
    activity: &Arc<Activity>,
    shared: &Arc<Shared>,
) -> Closed {
    let service = service_fn(|request| answer(request, client, activity.clone(), shared.clone()));
    let stream = TokioIo::new(stream);
    match protocol {
        Protocol::Http1 => {
            // The timeouts are ours: hyper's would count an idle connection as one with a slow head.
            let mut http = http1::Builder::new();
            let connection =
                http.max_buf_size(BUFFER).header_read_timeout(None).serve_connection(stream, service);
            until_end(pin!(connection), &shared.end).await
        }
        Protocol::Http2 => {
            let mut http = http2::Builder::new(TokioExecutor::new());
            let buffer = u32::try_from(BUFFER).unwrap_or(u32::MAX);
            let connection = http
                .max_concurrent_streams(HTTP2_REQUESTS)
                .max_header_list_size(u32::try_from(MAX_HEAD).unwrap_or(u32::MAX))
                .max_pending_accept_reset_streams(HTTP2_RESETS)
                .max_local_error_reset_streams(HTTP2_RESETS)
                .max_send_buf_size(BUFFER)
                .initial_connection_window_size(buffer * 4)
                .initial_stream_window_size(buffer)
                .serve_connection(stream, service);
            until_end(pin!(connection), &shared.end).await
        }
    }
}

async fn until_end<C>(mut connection: Pin<&mut C>, end: &CancellationToken) -> Closed
where
    C: GracefulConnection<Error = hyper::Error>,
{
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = end.cancelled() => {
            connection.as_mut().graceful_shutdown();
            // The client's errors do not matter any more.
            let _ended = connection.await;
            return Closed::Stopped;
        }
    };
    match result {
        Err(error) if error.is_parse_too_large() => Closed::HeadTooLarge,
        Err(error) if error.is_parse() => Closed::Invalid,
        Ok(()) | Err(_) => Closed::Client,
    }
}

async fn answer(
    mut request: Request<Incoming>,
    client: Client,
    activity: Arc<Activity>,
    shared: Arc<Shared>,
) -> Result<Response<AnswerBody>, Infallible> {
    request.extensions_mut().insert(Peer(client.peer));
    request.extensions_mut().insert(Certified(client.is_certified));
    let mut answering = Answering::new(activity, shared.unsent.clone());
    let Ok(response) = TowerToHyperService::new(shared.router.clone()).call(request).await;
    let (head, body) = response.into_parts();
    let size = body.size_hint().exact().map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
    let response = match size {
        Some(bytes) => {
            answering.holds(bytes);
            Response::from_parts(head, AnswerBody::new(body, answering, None))
        }
        // Only an event stream does not know its length.
        None => match shared.streams.clone().try_acquire_owned() {
            Ok(place) => {
                answering.streams(place);
                let end = Box::pin(shared.end.clone().cancelled_owned());
                Response::from_parts(head, AnswerBody::new(body, answering, Some(end)))
            }
            Err(_) => {
                shared.counters.refused(Refused::Streams);
                let text = Bytes::from_static(b"too many event streams are open; fetch the page instead\n");
                let refusal = (StatusCode::SERVICE_UNAVAILABLE, Body::from(text)).into_response();
                refusal.map(|body| AnswerBody::new(body, answering, None))
            }
        },
    };
    Ok(response)
}
