//! The socket of a connection, with or without TLS.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::debug;

use super::activity::Activity;
use super::head::READ;
use crate::metrics::Closed;

/// First byte of a TLS connection: a record of its handshake (RFC 8446, section 5.1).
const HANDSHAKE: u8 = 22;
const NOT_TLS: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-type: text/plain; charset=utf-8\r\n\
    content-length: 37\r\n\r\nthis port speaks TLS; write https://\n";

/// What bytes are read from and written to.
pub(super) enum Socket {
    Plain(TcpStream),
    // On the heap, so that connections without TLS stay small.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Socket {
    /// Makes a connection with TLS. Until the head of the first request is complete, all of it counts as waiting for
    /// that head, so a client that stops in the middle of a handshake is closed as one that stops in the middle of a
    /// head.
    ///
    /// # Errors
    ///
    /// Why the connection must be closed.
    pub(super) async fn with_tls(
        mut socket: TcpStream,
        config: Arc<ServerConfig>,
        activity: &Activity,
    ) -> Result<Self, Closed> {
        let mut first = [0];
        match socket.peek(&mut first).await {
            Ok(0) | Err(_) => return Err(Closed::Client),
            Ok(_) => activity.received(Instant::now()),
        }
        if first != [HANDSHAKE] {
            // A person who has forgotten the `s` of https. If it cannot be told, there is nothing more to do.
            let _told = socket.write_all(NOT_TLS).await;
            return Err(Closed::Invalid);
        }
        match TlsAcceptor::from(config).accept(socket).await {
            Ok(stream) => Ok(Self::Tls(Box::new(stream))),
            Err(error) => {
                debug!("a TLS handshake failed: {error}");
                Err(Closed::Handshake)
            }
        }
    }

    /// Whether the client has shown a certificate, which TLS has verified then.
    pub(super) fn is_certified(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(stream) => stream.get_ref().1.peer_certificates().is_some(),
        }
    }

    /// Reads some bytes and hands them to `take`. Returns how many, 0 at the end. Nothing is kept while it waits.
    pub(super) async fn read_some(&mut self, mut take: impl FnMut(&[u8])) -> io::Result<usize> {
        std::future::poll_fn(|context| {
            let mut piece = [0; READ];
            let mut piece = ReadBuf::new(&mut piece);
            ready!(Pin::new(&mut *self).poll_read(context, &mut piece))?;
            take(piece.filled());
            Poll::Ready(Ok(piece.filled().len()))
        })
        .await
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_read(context, into),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_read(context, into),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write_vectored(context, parts),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_write_vectored(context, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(socket) => socket.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_flush(context),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_shutdown(context),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_to_plain_http_states_its_length() {
        let text = std::str::from_utf8(NOT_TLS).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}", body.len())), "{text}");
    }
}
