//! The body of an answer, in pieces, and what the answer takes while it has not been read.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio::time::Instant;
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::activity::Activity;
use super::limits::PIECE;

/// The bytes of all answers that clients have not read.
#[derive(Debug, Default)]
pub(super) struct Unsent {
    bytes: AtomicUsize,
    /// Notified whenever they have become more.
    pub(super) grew: Notify,
}

impl Unsent {
    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// A request that is being answered. Dropping it is the end of the answer.
#[derive(Debug)]
pub(super) struct Answering {
    activity: Arc<Activity>,
    unsent: Arc<Unsent>,
    bytes: usize,
    stream: Option<OwnedSemaphorePermit>,
}

impl Answering {
    /// A request whose head is complete.
    pub(super) fn new(activity: Arc<Activity>, unsent: Arc<Unsent>) -> Self {
        activity.began(Instant::now());
        Self { activity, unsent, bytes: 0, stream: None }
    }

    /// The answer has this many bytes.
    pub(super) fn holds(&mut self, bytes: usize) {
        self.bytes = bytes;
        self.activity.holds(bytes);
        self.unsent.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.unsent.grew.notify_one();
    }

    /// The answer is an event stream, and this is its place among them.
    pub(super) fn streams(&mut self, place: OwnedSemaphorePermit) {
        self.activity.streams();
        self.stream = Some(place);
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.unsent.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        self.activity.ended(Instant::now(), self.bytes, self.stream.is_some());
    }
}

/// The body of an answer.
pub(super) struct AnswerBody {
    body: Body,
    /// What was taken from `body` and not handed on.
    rest: Bytes,
    /// Ends an event stream; `None` for an answer that ends by itself.
    end: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    answering: Answering,
}

impl AnswerBody {
    pub(super) fn new(
        body: Body,
        answering: Answering,
        end: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    ) -> Self {
        Self { body, rest: Bytes::new(), end, answering }
    }

    /// Takes the next piece. It is copied if it is a part of more, because a part keeps the whole in memory
    /// until a slow client has read it, and nobody would count that.
    fn next_piece(&mut self) -> Bytes {
        if self.rest.len() <= PIECE {
            return std::mem::take(&mut self.rest);
        }
        let whole = self.rest.split_to(PIECE);
        Bytes::copy_from_slice(&whole)
    }
}

impl HttpBody for AnswerBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.rest.is_empty() {
            if let Some(end) = &mut self.end
                && end.as_mut().poll(context).is_ready()
            {
                return Poll::Ready(None);
            }
            let frame = match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => frame,
                end => return Poll::Ready(end),
            };
            match frame.into_data() {
                Ok(data) => self.rest = data,
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            }
        }
        self.answering.activity.took_piece(Instant::now());
        Poll::Ready(Some(Ok(Frame::data(self.next_piece()))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (rest, hint) = (self.rest.len() as u64, self.body.size_hint());
        hint.exact().map_or_else(SizeHint::new, |bytes| SizeHint::with_exact(bytes + rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answering() -> (Answering, Arc<Unsent>) {
        let unsent = Arc::new(Unsent::default());
        (Answering::new(Arc::new(Activity::new(Instant::now())), unsent.clone()), unsent)
    }

    #[tokio::test]
    async fn an_answer_arrives_whole_and_with_its_length() {
        let text: Vec<u8> = (0..PIECE * 3 + 5).map(|at| (at % 251) as u8).collect();
        let body = AnswerBody::new(Body::from(text.clone()), answering().0, None);
        assert_eq!(body.size_hint().exact(), Some(text.len() as u64));
        let read = axum::body::to_bytes(Body::new(body), usize::MAX).await.unwrap();
        assert_eq!(read, text);
    }

    #[test]
    fn an_answer_is_counted_until_it_ends() {
        let (mut answering, unsent) = answering();
        answering.holds(1_000);
        assert_eq!(unsent.bytes(), 1_000);
        drop(answering);
        assert_eq!(unsent.bytes(), 0);
    }
}
