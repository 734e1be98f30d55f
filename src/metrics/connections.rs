//! Counts the connections of the web port: what was accepted, refused and closed, and why.

use std::sync::Arc;

use super::families::Families;
use super::labels::{ClosedConnection, RefusedConnection};

/// Declares an enum of reasons, the list of them, and their texts.
macro_rules! reasons {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum $name { $($(#[$variant_doc])* $variant),* }

        impl $name {
            pub(super) const ALL: &[Self] = &[$(Self::$variant),*];

            /// The value of the label.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),* }
            }
        }
    };
}

pub(super) use reasons;

reasons! {
    /// Why a connection ended.
    Closed {
        /// The client closed it, or asked for that with its last request.
        Client = "client",
        /// What it sent is not HTTP.
        Invalid = "invalid",
        /// Its TLS handshake failed, for example for want of a certificate.
        Handshake = "handshake",
        /// The head of a request was too large.
        HeadTooLarge = "head_too_large",
        /// It sent nothing.
        NoRequest = "no_request",
        /// It did not complete the head of a request.
        SlowHead = "slow_head",
        /// It sent no further request.
        Idle = "idle",
        /// It did not read its answer.
        SlowReader = "slow_reader",
        /// Another connection took its place.
        Evicted = "evicted",
        /// Answers that were not read took too much memory.
        Memory = "memory",
        /// The daemon stopped.
        Stopped = "stopped",
    }
}

reasons! {
    /// Why a connection or a request was refused.
    Refused {
        /// The address has as many connections as one may have.
        Peer = "peer",
        /// There are as many event streams as there may be.
        Streams = "streams",
        /// A client certificate is needed, and the client has none.
        Certificate = "certificate",
        /// The request has no user, or a wrong password.
        Login = "login",
        /// The request names a host that is not in `web.hosts`.
        Host = "host",
    }
}

/// The counters of the web port. Clones share the same numbers.
#[derive(Clone, Debug)]
pub struct Connections(pub(super) Arc<Families>);

impl Connections {
    /// Counts a connection that was accepted and is open from now on.
    pub fn accepted(&self) {
        self.0.connections_accepted.only().inc();
        self.0.connections.only().inc();
    }

    /// Counts the end of a connection that was open.
    pub fn closed(&self, reason: Closed) {
        self.0.connections.only().dec();
        self.0.connections_closed.at(ClosedConnection { reason }).inc();
    }

    /// Counts what was refused.
    pub fn refused(&self, reason: Refused) {
        self.0.connections_refused.at(RefusedConnection { reason }).inc();
    }
}
