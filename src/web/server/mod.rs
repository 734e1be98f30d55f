//! The server: accepts connections and bounds what they may take.
//!
//! `axum::serve` has neither timeouts nor bounds, so any client could keep every descriptor or fill the
//! memory. Here, a connection has a deadline for its first byte, for the head of each request, for the time
//! between requests and for reading its answer, and there are at most so many connections. A newcomer is
//! never refused for that bound: the connection that has waited longest without a complete request makes
//! room, then the one that was idle longest. So a scrape is answered however many connections others hold.
//!
//! An answer without a known length is an event stream. Streams have a bound of their own, and end with the
//! daemon.
//!
//! Nothing here knows a route.

mod activity;
mod answer;
mod connection;
mod head;
mod limits;
mod socket;
mod stream;
mod table;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use self::activity::{Activity, Priority};
use self::answer::Unsent;
use self::connection::Shared;
use self::limits::HTTP2_WAITING;
pub use self::limits::Limits;
use self::table::{Open, Table};
use crate::domain::foreign::ForeignText;
use crate::metrics::{Closed, Connections, Refused};
use crate::web::access::Gate;

/// Pause after a failed accept, mostly because file descriptors have run out. Those of a closed connection
/// are free within it.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// How often it is looked whether the files of TLS and users have changed.
const REFRESH_EVERY: Duration = Duration::from_secs(10);

/// The address of the client, in the extensions of each request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// Serves `router` until `end`, and then until all requests have been answered. Connections have the TLS of `gate`.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    gate: Arc<Gate>,
    limits: Limits,
    counters: Connections,
    end: CancellationToken,
) {
    let streams = Arc::new(Semaphore::new(limits.streams));
    let unsent = Arc::new(Unsent::default());
    let http2_began = Notify::new();
    let shared = Shared { router, gate, limits, unsent, streams, http2_began, counters, end };
    let server = Server {
        shared: Arc::new(shared),
        table: Table::default(),
        tasks: JoinSet::new(),
        refreshing: JoinSet::new(),
        failing: false,
    };
    server.run(listener).await;
}

struct Server {
    shared: Arc<Shared>,
    table: Table,
    /// One for each connection. Dropping it ends them.
    tasks: JoinSet<Closed>,
    /// Reads changed files, at most one at a time.
    refreshing: JoinSet<()>,
    /// Whether the last accept failed.
    failing: bool,
}

impl Server {
    async fn run(mut self, listener: TcpListener) {
        let shared = self.shared.clone();
        let mut refresh = tokio::time::interval(REFRESH_EVERY);
        refresh.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shared.end.cancelled() => break,
                _ = refresh.tick(), if shared.gate.has_file() && self.refreshing.is_empty() => {
                    let gate = shared.gate.clone();
                    self.refreshing.spawn_blocking(move || gate.refresh());
                }
                Some(_read) = self.refreshing.join_next() => {}
                Some(ended) = self.tasks.join_next_with_id() => self.ended(ended),
                () = shared.unsent.grew.notified() => self.bound_unsent(),
                () = shared.http2_began.notified() => self.bound_http2(),
                accepted = listener.accept() => self.accepted(accepted).await,
            }
        }
        drop(listener);
        while let Some(ended) = self.tasks.join_next_with_id().await {
            self.ended(ended);
        }
    }

    async fn accepted(&mut self, accepted: io::Result<(TcpStream, SocketAddr)>) {
        let (socket, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => return self.failed(&error).await,
        };
        self.failing = false;
        let Shared { limits, counters, .. } = &*self.shared;
        // An IPv4 client of an IPv6 socket has two spellings.
        let peer = peer.ip().to_canonical();
        if limits.per_peer.is_some_and(|most| self.table.of_peer(peer) >= most) {
            counters.refused(Refused::Peer);
            return;
        }
        let now = Instant::now();
        while self.table.len() >= limits.connections && self.table.close_first(now, Priority::Stream) {
            counters.closed(Closed::Evicted);
        }
        counters.accepted();
        // Small answers must not wait for an acknowledgement; if this fails, they are only slower.
        let _ = socket.set_nodelay(true);
        let activity = Arc::new(Activity::new(now));
        let task = self.tasks.spawn(connection::serve(socket, peer, activity.clone(), self.shared.clone()));
        self.table.add(Open { peer, activity, task });
    }

    /// Makes room after an accept has failed.
    async fn failed(&mut self, error: &io::Error) {
        use io::ErrorKind::{ConnectionAborted, ConnectionReset};
        if matches!(error.kind(), ConnectionAborted | ConnectionReset) {
            return;
        }
        if !self.failing {
            warn!("cannot accept a connection: {error}");
            self.failing = true;
        }
        if self.table.close_first(Instant::now(), Priority::Newcomer) {
            self.shared.counters.closed(Closed::Evicted);
        }
        sleep(ACCEPT_PAUSE).await;
    }

    fn bound_unsent(&mut self) {
        let most = self.shared.limits.unsent;
        if self.shared.unsent.bytes() <= most {
            return;
        }
        // What closed connections held is given back only when their tasks end, so it is counted again here.
        while self.table.unsent() > most && self.table.close_slowest_reader() {
            self.shared.counters.closed(Closed::Memory);
        }
    }

    fn bound_http2(&mut self) {
        for _ in 0..self.table.close_waiting_over_http2(HTTP2_WAITING) {
            self.shared.counters.closed(Closed::Evicted);
        }
    }

    fn ended(&mut self, ended: Result<(Id, Closed), JoinError>) {
        let (id, reason) = match ended {
            Ok(ended) => ended,
            Err(error) => {
                if error.is_panic() {
                    // It may quote what the client sent.
                    warn!("serving a connection failed: {}", ForeignText::from(error.to_string()));
                }
                (error.id(), Closed::Invalid)
            }
        };
        // One that was closed to make room has been counted.
        if self.table.remove(id) {
            self.shared.counters.closed(reason);
        }
    }
}

#[cfg(test)]
mod tests;
