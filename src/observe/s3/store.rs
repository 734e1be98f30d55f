//! Implements [`ObjectStore`] for an S3 bucket.

use std::error::Error;
use std::sync::Arc;

use aws_sdk_s3::Client;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::{ByteStream, DateTime};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use bytes::Bytes;

use crate::cloud::account::is_region;
use crate::cloud::aws::ServerDate;
use crate::cloud::failure::{Failure, moved};
use crate::domain::sighting::{FailureKind, Stamp};
use crate::domain::time::Timestamp;
use crate::observe::ObserveError;
use crate::observe::failure::causes;
use crate::observe::object_store::{Body, GetError, Listed, ObjectStore, Page, Position};

/// One bucket. Its client must not retry: the poll loop does.
#[derive(Clone, Debug)]
pub struct S3 {
    client: Client,
    bucket: Arc<str>,
}

impl S3 {
    pub(super) fn new(client: Client, bucket: &str) -> Self {
        Self { client, bucket: bucket.into() }
    }

    /// Whether a function transforms what is read (S3 user guide, Object Lambda). Then listed sizes, those of the
    /// stored objects, say nothing about it.
    fn is_transformed(&self) -> bool {
        self.bucket.contains(":s3-object-lambda:")
    }

    /// Makes the error of a failed call. If the answer names another region as that of the bucket, it says so.
    fn explain<E>(&self, call: &str, error: &SdkError<E>) -> ObserveError
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        let ours = self.client.config().region().map_or("", AsRef::as_ref);
        let mut failure = Failure::of_aws(error);
        let theirs = error.raw_response().and_then(bucket_region).filter(|theirs| *theirs != ours);
        if let Some(theirs) = theirs {
            failure.text = failure.text.after(&moved::hint(theirs, ours));
        }
        failure.calling(call).into()
    }
}

/// Returns the region in which the bucket is. S3 names it in a header when it redirects, and in the error document
/// when it refuses a signature for another region (S3 API reference, error responses).
fn bucket_region(answer: &HttpResponse) -> Option<&str> {
    let header = answer.headers().get("x-amz-bucket-region");
    let document = || {
        let text = std::str::from_utf8(answer.body().bytes()?).ok()?;
        text.split_once("<Region>")?.1.split_once("</Region>").map(|(region, _)| region)
    };
    header.or_else(document).filter(|region| is_region(region))
}

impl ObjectStore for S3 {
    type Body = ByteStream;

    fn uri(&self, key: &str) -> String {
        format!("s3://{}/{key}", self.bucket)
    }

    fn copy(&self, key: &str, _: &str) -> Arc<str> {
        self.uri(key).into()
    }

    fn key<'a>(&self, copy: &'a str) -> Option<&'a str> {
        copy.strip_prefix(&self.uri(""))
    }

    async fn list(&self, prefix: &str, from: Position<'_>) -> Result<Page, ObserveError> {
        let request = self.client.list_objects_v2().bucket(&*self.bucket).prefix(prefix);
        let request = match from {
            Position::First => request,
            // A directory bucket has no order of keys (S3 user guide, differences for directory buckets).
            Position::After(_) if is_directory(&self.bucket) => request,
            Position::After(key) => request.start_after(key),
            Position::Token(token) => request.continuation_token(token),
        };
        let date = ServerDate::default();
        let answer = request.customize().interceptor(date.clone()).send().await;
        let page = answer
            .map_err(|error| self.explain(&format!("ListObjectsV2 on {}", self.uri(prefix)), &error))?;
        let garbled = |what: &str| {
            let text = format!("ListObjectsV2 on {}: {what}", self.uri(prefix));
            ObserveError::new(FailureKind::Garbled, text)
        };
        let next = page.next_continuation_token.filter(|_| page.is_truncated == Some(true));
        if page.is_truncated == Some(true) && next.is_none() {
            return Err(garbled("more keys follow, but the answer has no token for them"));
        }
        let listed = |object: aws_sdk_s3::types::Object| {
            let modified = instant(&object.last_modified?);
            let version = object.e_tag.unwrap_or_default();
            // LastModified is truncated to the second. For a multipart object it is the start of the upload
            // (S3 user guide).
            let (stamp, is_complete) = if is_directory(&self.bucket) || is_multipart(&version) {
                (Stamp::NotBefore(modified), false)
            } else {
                (Stamp::Seconds(modified), is_put_whole(&version))
            };
            let size = object.size.filter(|_| !self.is_transformed());
            let size = size.and_then(|size| u64::try_from(size).ok());
            Some(Listed { key: object.key?, version, stamp, is_complete, size })
        };
        let objects: Option<Vec<_>> = page.contents.unwrap_or_default().into_iter().map(listed).collect();
        let objects = objects.ok_or_else(|| garbled("an object has no key or no time"))?;
        Ok(Page { objects, next, date: date.take() })
    }

    async fn get(&self, key: &str, version: &str, first: Option<u64>) -> Result<ByteStream, GetError> {
        let etag = (!version.is_empty()).then(|| version.to_owned());
        let range = first.map(|bytes| format!("bytes=0-{}", bytes - 1));
        let request = self.client.get_object().bucket(&*self.bucket).key(key).set_range(range);
        let error = match request.set_if_match(etag).send().await {
            Ok(answer) => return Ok(answer.body),
            Err(error) => error,
        };
        let explained = || self.explain(&format!("GetObject on {}", self.uri(key)), &error);
        Err(match error.code() {
            Some("NoSuchKey") => GetError::Vanished,
            Some("PreconditionFailed") => GetError::Replaced,
            // Concerns this object only, not the service.
            _ if is_refusal(error.raw_response().map_or(0, |raw| raw.status().as_u16())) => {
                match explained() {
                    error if error.kind == FailureKind::Throttled => GetError::Failed(error),
                    error => GetError::Refused(error),
                }
            }
            _ => GetError::Failed(explained()),
        })
    }
}

impl Body for ByteStream {
    async fn chunk(&mut self) -> Result<Option<Bytes>, String> {
        self.try_next().await.map_err(|error| causes(&error))
    }
}

/// Whether a bucket is a directory bucket (S3 user guide, directory bucket naming rules). Its ETags do not say how an
/// object was uploaded, so any may have been uploaded in parts, and its listings have no order.
pub(super) fn is_directory(bucket: &str) -> bool {
    bucket.ends_with("--x-s3")
}

/// Whether S3 understood the request and refused it. Throttling and timeouts are not refusals.
fn is_refusal(status: u16) -> bool {
    (400..500).contains(&status) && !matches!(status, 408 | 429)
}

/// Whether an object was uploaded in parts: then its ETag ends with the number of parts, `"…-12"`.
fn is_multipart(etag: &str) -> bool {
    let parts = etag.trim_matches('"').rsplit_once('-');
    parts.is_some_and(|(_, parts)| !parts.is_empty() && parts.bytes().all(|b| b.is_ascii_digit()))
}

/// Whether an object was put or copied by one request: then its ETag is 32 hexadecimal digits, whatever encrypts it.
/// The request has its length, so the writer had all of it before. A store that makes ETags in another way is not
/// relied on.
fn is_put_whole(etag: &str) -> bool {
    let digits = etag.trim_matches('"');
    digits.len() == 32 && digits.bytes().all(|b| b.is_ascii_hexdigit())
}

fn instant(date: &DateTime) -> Timestamp {
    date.to_millis().map_or(Timestamp::MIN, Timestamp::from_millis)
}
