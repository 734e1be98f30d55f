//! A connection as hyper sees it: what was read of it already comes first, and what happens to it is noted.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::activity::Activity;
use super::socket::Socket;

/// The protocol that the first bytes of a connection speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

/// A connection whose first bytes have been read.
pub(super) struct Stream {
    read: Bytes,
    socket: Socket,
    activity: Arc<Activity>,
    protocol: Protocol,
}

impl Stream {
    pub(super) fn new(read: Bytes, socket: Socket, activity: Arc<Activity>, protocol: Protocol) -> Self {
        Self { read, socket, activity, protocol }
    }

    fn note(&self, written: &Poll<io::Result<usize>>) {
        match written {
            Poll::Ready(Ok(bytes)) if *bytes > 0 => self.activity.wrote(Instant::now()),
            Poll::Ready(_) => {}
            Poll::Pending => self.activity.blocked(Instant::now()),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.read.is_empty() {
            let bytes = self.read.len().min(into.remaining());
            into.put_slice(&self.read[..bytes]);
            self.read.advance(bytes);
            if self.read.is_empty() {
                // An empty slice would still keep the buffer.
                self.read = Bytes::new();
            }
            return Poll::Ready(Ok(()));
        }
        let before = into.filled().len();
        let read = Pin::new(&mut self.socket).poll_read(context, into);
        // With HTTP/2, bytes need not belong to a request: a client that only pings is idle.
        if self.protocol == Protocol::Http1 && into.filled().len() > before {
            self.activity.received(Instant::now());
        }
        read
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(context, bytes);
        self.note(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write_vectored(context, parts);
        self.note(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.socket).poll_flush(context);
        // TLS keeps the last bytes of an answer itself, so only a flush shows whether the client takes them. A plain
        // socket keeps none.
        if matches!(self.socket, Socket::Tls(_)) {
            match &flushed {
                Poll::Ready(Ok(())) => self.activity.wrote(Instant::now()),
                Poll::Ready(Err(_)) => {}
                Poll::Pending => self.activity.blocked(Instant::now()),
            }
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}
