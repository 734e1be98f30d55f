//! What a client may take of the web port: time, memory, places.

use std::time::Duration;

/// Bounds of the web port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most open connections. A further one takes the place of another.
    pub connections: usize,
    /// Most open connections of one address; `None` for no such bound.
    pub per_peer: Option<usize>,
    /// Most event streams.
    pub streams: usize,
    /// Most bytes of answers that wait until clients read them. Beyond it, the connections that have read
    /// nothing for longest are closed.
    pub unsent: usize,
    /// From accepting a connection to its first byte.
    pub first_byte: Duration,
    /// From the first byte of a request to the end of its head.
    pub head: Duration,
    /// From the end of an answer to the next request.
    pub idle: Duration,
    /// How long a client may take none of an answer.
    pub write: Duration,
}

impl Limits {
    /// The bounds on time and memory, with this many connections. The timeouts are those of common servers: a
    /// client that is alive needs a fraction of them. `idle` is longer than the usual scrape interval of a
    /// minute, so that Prometheus can keep its connection.
    #[must_use]
    pub const fn new(connections: usize, per_peer: Option<usize>) -> Self {
        Self {
            connections,
            per_peer,
            streams: 320,
            unsent: 32 << 20,
            first_byte: Duration::from_secs(10),
            head: Duration::from_secs(10),
            idle: Duration::from_secs(120),
            write: Duration::from_secs(20),
        }
    }

    /// How often a connection is compared with its deadline, which moves with every byte. It is closed at most
    /// this much too late.
    pub(super) fn check_every(&self) -> Duration {
        self.first_byte.min(self.head).min(self.idle).min(self.write) / 4
    }
}

/// Largest head of a first request. Browsers send about 1 KB, and single sign-on may add some KB of cookies;
/// common servers accept 8 to 16 KB. A connection that has not completed a request costs this and about 2 KB.
pub(super) const MAX_HEAD: usize = 12 << 10;
/// Most bytes that hyper buffers of a connection in each direction. It must hold a head of the largest size.
pub(super) const BUFFER: usize = 16 << 10;
/// Size of the pieces in which an answer is handed to a connection. A whole answer would be copied into its
/// buffer, where nobody counts it.
pub(super) const PIECE: usize = 16 << 10;
/// Most requests that one HTTP/2 connection may have open. The page needs five.
pub(super) const HTTP2_REQUESTS: u32 = 16;
/// Most HTTP/2 connections that wait for their first request. The buffers that HTTP/2 needs from its beginning
/// cost more than a waiting connection may, so there are only as many as may connect at the same moment.
pub(super) const HTTP2_WAITING: usize = 64;
/// HTTP/2 streams that a client may open and reset before they were served (CVE-2023-44487).
pub(super) const HTTP2_RESETS: usize = 32;
/// How long a connection that waits is certain to be kept while another one is idle: a client that sends its
/// request at once needs less.
pub(super) const NEWCOMER: Duration = Duration::from_secs(1);
