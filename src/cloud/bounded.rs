//! Bounds what is held of answers.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use aws_sdk_sts::config::interceptors::BeforeDeserializationInterceptorContextMut;
use aws_sdk_sts::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_sts::error::BoxError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_types::body::{Error, SdkBody};
use http_body::{Body, Frame, SizeHint};

/// Largest answer that is held whole, in bytes. BigQuery limits a page of results to 20 MB; GetRecords gives at most
/// 10 MiB, which are 14 MB of base64; a page of GetMetricData has 100,800 values, some MB (CloudWatch API reference).
pub const MAX_ANSWER_BYTES: usize = 32 << 20;

/// What it costs to hold a chunk, beside its bytes: a peer may send one byte in each.
const CHUNK_BYTES: usize = 64;

/// Operations whose answers are read piece by piece. Whoever reads them bounds them; see also [`Held`].
const STREAMED: [&str; 2] = ["GetObject", "SubscribeToShard"];

/// Lets the reading of an answer fail where it becomes longer than [`MAX_ANSWER_BYTES`], unless it is not held whole.
pub fn bound(response: &mut HttpResponse, operation: &str) {
    let is_held = !response.status().is_success() || !STREAMED.contains(&operation);
    if is_held && response.body().bytes().is_none_or(|bytes| bytes.len() > MAX_ANSWER_BYTES) {
        Held::default().count(response);
    }
}

/// How much of an answer is held. Of an answer that is read piece by piece, this is what has come of the next piece: as
/// an interceptor of the call, it lets the reading fail where that becomes longer than [`MAX_ANSWER_BYTES`]. Clones count
/// the same.
#[derive(Clone, Debug, Default)]
pub struct Held(Arc<AtomicUsize>);

impl Held {
    /// Notes that a piece was taken.
    pub fn release(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// Whether more has come than may be held.
    #[must_use]
    pub fn is_too_much(&self) -> bool {
        self.0.load(Ordering::Relaxed) > MAX_ANSWER_BYTES
    }

    fn count(self, response: &mut HttpResponse) {
        let body = response.take_body();
        *response.body_mut() = SdkBody::from_body_1_x(Bounded { body, held: self });
    }
}

impl Intercept for Held {
    fn name(&self) -> &'static str {
        "Held"
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let response = context.response_mut();
        if response.status().is_success() {
            self.clone().count(response);
        }
        Ok(())
    }
}

/// The body of an answer of another client; `None` where it is longer than [`MAX_ANSWER_BYTES`].
///
/// # Errors
///
/// If it cannot be read to its end.
pub async fn whole(answer: &mut reqwest::Response) -> reqwest::Result<Option<Vec<u8>>> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        if body.len() + chunk.len() > MAX_ANSWER_BYTES {
            return Ok(None);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Some(body))
}

/// The answer is longer than it may be.
#[derive(Debug, thiserror::Error)]
#[error("it has more than {} MiB", MAX_ANSWER_BYTES >> 20)]
struct TooLong;

struct Bounded {
    body: SdkBody,
    held: Held,
}

impl Body for Bounded {
    type Data = <SdkBody as Body>::Data;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        let data = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref());
        if let Some(data) = data {
            self.held.0.fetch_add(data.len() + CHUNK_BYTES, Ordering::Relaxed);
        }
        if self.held.is_too_much() {
            return Poll::Ready(Some(Err(TooLong.into())));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        Body::is_end_stream(&self.body)
    }

    fn size_hint(&self) -> SizeHint {
        Body::size_hint(&self.body)
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use aws_smithy_runtime_api::http::StatusCode;
    use bytes::Bytes;
    use futures::{StreamExt as _, stream};
    use http_body_util::{BodyExt as _, StreamBody};

    use super::*;

    /// Reads an answer of so many chunks to its end.
    async fn read(chunks: usize, chunk: &'static [u8]) -> Result<usize, String> {
        let frames =
            stream::iter(0..chunks).map(|_| Ok::<_, io::Error>(Frame::data(Bytes::from_static(chunk))));
        let body = SdkBody::from_body_1_x(StreamBody::new(frames));
        let mut response = HttpResponse::new(StatusCode::try_from(200).unwrap(), body);
        bound(&mut response, "GetRecords");
        let whole = response.take_body().collect().await.map_err(|error| error.to_string())?;
        Ok(whole.to_bytes().len())
    }

    #[tokio::test]
    async fn an_answer_that_is_held_whole_has_a_bound() {
        let mib: &'static [u8] = vec![0; 1 << 20].leak();
        assert_eq!(read(31, mib).await, Ok(31 << 20));
        assert_eq!(read(33, mib).await, Err("it has more than 32 MiB".to_owned()));
        assert!(read(600_000, b"x").await.is_err(), "tiny chunks cost more than their bytes");
    }
}
