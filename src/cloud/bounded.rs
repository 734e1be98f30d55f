//! Bounds the answers that are held whole.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_types::body::{Error, SdkBody};
use http_body::{Body, Frame, SizeHint};

/// Largest answer that is held whole, in bytes. BigQuery limits a page of results to 20 MB; GetRecords gives at most
/// 10 MiB, which are 14 MB of base64; a page of GetMetricData has 100,800 values, some MB (CloudWatch API reference).
pub const MAX_ANSWER_BYTES: usize = 32 << 20;

/// Operations whose answers are read piece by piece, by who bounds them.
const STREAMED: [&str; 2] = ["GetObject", "SubscribeToShard"];

/// Lets the reading of an answer fail where it becomes longer than [`MAX_ANSWER_BYTES`], unless it is not held whole.
pub fn bound(response: &mut HttpResponse, operation: &str) {
    let is_held = !response.status().is_success() || !STREAMED.contains(&operation);
    if is_held && response.body().bytes().is_none_or(|bytes| bytes.len() > MAX_ANSWER_BYTES) {
        let body = response.take_body();
        *response.body_mut() = SdkBody::from_body_1_x(Bounded { body, left: MAX_ANSWER_BYTES });
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
    left: usize,
}

impl Body for Bounded {
    type Data = <SdkBody as Body>::Data;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        let len =
            frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref()).map_or(0, |data| data.len());
        let Some(left) = self.left.checked_sub(len) else {
            return Poll::Ready(Some(Err(TooLong.into())));
        };
        self.left = left;
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        Body::is_end_stream(&self.body)
    }

    fn size_hint(&self) -> SizeHint {
        Body::size_hint(&self.body)
    }
}
