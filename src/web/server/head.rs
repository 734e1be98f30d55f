//! Reads the head of a connection's first request, before hyper gets the connection.
//!
//! hyper allocates 16 KB for a connection before its first byte, and hyper-util's detection of the protocol
//! waits for that byte without a limit. Most connections of a flood never complete a head, so they must stay
//! cheap: nothing is allocated before the first byte, and then only what has arrived.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncWriteExt as _;
use tokio::time::{Instant, timeout};

use super::activity::Activity;
use super::limits::MAX_HEAD;
use super::socket::Socket;
use super::stream::Protocol;
use crate::metrics::Closed;

/// What an HTTP/2 client sends first (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Most bytes that are read at once.
pub(super) const READ: usize = 2 << 10;
/// Smallest step by which a head grows, so that one that comes byte by byte is not copied with each.
const GROWTH: usize = 512;
const TOO_LARGE: &[u8] = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\n\
    content-type: text/plain; charset=utf-8\r\ncontent-length: 46\r\n\r\nthe head of a request may have at most 12 KB\r\n";
/// A socket that is closed with bytes that it has not read resets the connection, and the client may lose the answer. So
/// what follows a head that is too large is read up to this size and time.
const MAX_LINGER_BYTES: usize = 1 << 20;
const MAX_LINGER: Duration = Duration::from_secs(2);

/// Reads until a head is complete. Returns what was read, at least the head, and which protocol it is.
///
/// # Errors
///
/// Why the connection must be closed.
pub(super) async fn read(socket: &mut Socket, activity: &Activity) -> Result<(Bytes, Protocol), Closed> {
    let mut head = Vec::new();
    loop {
        let before = head.len();
        let read = socket.read_some(|piece| {
            if head.capacity() - before < piece.len() {
                head.reserve_exact(piece.len().max(GROWTH));
            }
            head.extend_from_slice(piece);
        });
        match read.await {
            Ok(0) | Err(_) => return Err(Closed::Client),
            Ok(_) => activity.received(Instant::now()),
        }
        if let Some(protocol) = complete(&head, before) {
            return Ok((head.into(), protocol));
        }
        if head.len() > MAX_HEAD {
            drop(head);
            refuse(socket).await;
            return Err(Closed::HeadTooLarge);
        }
    }
}

/// Returns the protocol if the head is complete, or if it cannot become one and hyper should say so. The first
/// `seen` bytes are known not to contain the end.
fn complete(head: &[u8], seen: usize) -> Option<Protocol> {
    if PREFACE.starts_with(head.get(..PREFACE.len()).unwrap_or(head)) {
        return (head.len() >= PREFACE.len()).then_some(Protocol::Http2);
    }
    // A method, or the empty line that some clients send before it. Anything else is TLS, for example.
    let can_be_http = head.first().is_none_or(|byte| byte.is_ascii_alphabetic() || b"\r\n".contains(byte));
    if !can_be_http {
        return Some(Protocol::Http1);
    }
    let begin = head.iter().position(|byte| !b"\r\n".contains(byte))?;
    // The end is an empty line, which is at most four bytes long and may have begun in what was seen.
    let from = seen.saturating_sub(3).max(begin);
    let rest = &head[from..];
    let ends = |end: &[u8]| memchr::memmem::find(rest, end).is_some();
    // hyper also accepts lines that end without a carriage return.
    (ends(b"\n\r\n") || ends(b"\n\n")).then_some(Protocol::Http1)
}

async fn refuse(socket: &mut Socket) {
    let answer = async {
        socket.write_all(TOO_LARGE).await?;
        socket.shutdown().await?;
        let mut read = 0;
        while read < MAX_LINGER_BYTES {
            match socket.read_some(|_| {}).await? {
                0 => break,
                bytes => read += bytes,
            }
        }
        io::Result::Ok(())
    };
    // Whatever happens, the connection is closed next.
    let _answered = timeout(MAX_LINGER, answer).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(head: &[u8]) -> Option<Protocol> {
        complete(head, 0)
    }

    #[test]
    fn a_head_ends_with_an_empty_line() {
        assert_eq!(whole(b"GET / HTTP/1.1\r\nhost: a\r\n"), None);
        assert_eq!(whole(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"), Some(Protocol::Http1));
        assert_eq!(whole(b"GET / HTTP/1.1\nhost: a\n\nrest"), Some(Protocol::Http1));
    }

    #[test]
    fn empty_lines_before_a_request_do_not_end_it() {
        assert_eq!(whole(b"\r\n\r\n"), None);
        assert_eq!(whole(b"\r\n\r\nGET / HTTP/1.1\r\n"), None);
        assert_eq!(whole(b"\r\n\r\nGET / HTTP/1.1\r\n\r\n"), Some(Protocol::Http1));
    }

    #[test]
    fn an_end_that_comes_in_pieces_is_found() {
        let head = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
        for cut in 1..head.len() {
            assert_eq!(complete(&head[..cut], 0), None, "{cut}");
            assert_eq!(complete(head, cut), Some(Protocol::Http1), "{cut}");
        }
    }

    #[test]
    fn the_whole_preface_of_http_2_is_read_first() {
        for cut in 1..PREFACE.len() {
            assert_eq!(whole(&PREFACE[..cut]), None, "{cut}");
        }
        assert_eq!(whole(PREFACE), Some(Protocol::Http2));
        assert_eq!(whole(&[PREFACE, b"\0\0"].concat()), Some(Protocol::Http2));
    }

    #[test]
    fn a_tls_hello_need_not_be_complete() {
        assert_eq!(whole(&[22, 3, 1]), Some(Protocol::Http1));
    }

    #[test]
    fn the_refusal_states_its_length() {
        let text = std::str::from_utf8(TOO_LARGE).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}", body.len())), "{text}");
        assert!(body.contains(&format!("{} KB", MAX_HEAD >> 10)), "{text}");
    }
}
