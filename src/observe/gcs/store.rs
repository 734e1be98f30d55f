//! Implements [`ObjectStore`] for a Google Cloud Storage bucket.

use std::sync::Arc;

use bytes::Bytes;
use reqwest::header::{ACCEPT_ENCODING, HeaderValue, RANGE};
use serde::Deserialize;

use super::STORAGE;
use crate::cloud::failure::Failure;
use crate::cloud::google::{Google, Request, Stream, path_of};
use crate::domain::sighting::{FailureKind, Stamp};
use crate::domain::time::Timestamp;
use crate::observe::ObserveError;
use crate::observe::object_store::{Body, GetError, Listed, ObjectStore, Page, Position};

/// The fields to request of a listing.
const FIELDS: &str = "nextPageToken,items(name,generation,size,timeCreated,timeFinalized)";

#[derive(Clone, Debug)]
pub struct Gcs {
    google: Google,
    bucket: Arc<str>,
    page: u32,
}

/// The answer of objects.list, restricted to [`FIELDS`] (Cloud Storage JSON API reference).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Listing {
    #[serde(default)]
    items: Vec<Item>,
    next_page_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Item {
    name: String,
    /// The API writes 64-bit numbers as strings.
    generation: String,
    size: Option<String>,
    time_created: String,
    /// Later than the creation if the object was appended to.
    time_finalized: Option<String>,
}

impl Gcs {
    pub(super) fn new(google: Google, bucket: &str, page: u32) -> Self {
        Self { google, bucket: bucket.into(), page }
    }

    /// Returns `/storage/v1/b/<bucket>/o`, and the object's name as one percent-encoded segment.
    fn path(&self, object: Option<&str>) -> String {
        path_of(["storage", "v1", "b", &self.bucket, "o"].into_iter().chain(object))
    }
}

impl Listing {
    /// The objects after `after`. The error is the name of an object whose time cannot be read.
    fn page(self, after: Option<&str>, date: Option<Timestamp>) -> Result<Page, String> {
        let mut objects = Vec::with_capacity(self.items.len());
        // `startOffset` is inclusive.
        for item in self.items.into_iter().filter(|item| after != Some(item.name.as_str())) {
            let name = item.name.clone();
            objects.push(item.listed().ok_or(name)?);
        }
        Ok(Page { objects, next: self.next_page_token, date })
    }
}

impl Item {
    fn listed(self) -> Option<Listed> {
        let created = Timestamp::parse_rfc3339(&self.time_created)?.floor_to_millis();
        let appended = self.time_finalized.is_some_and(|finalized| finalized != self.time_created);
        Some(Listed {
            key: self.name,
            version: self.generation,
            // Appended data arrived at an unknown time after the creation.
            stamp: if appended { Stamp::NotBefore(created) } else { Stamp::Millis(created) },
            // Composing and copying make a new object with a stamp of its own.
            is_complete: !appended,
            size: self.size.and_then(|size| size.parse().ok()),
        })
    }
}

impl ObjectStore for Gcs {
    type Body = Stream;

    fn uri(&self, key: &str) -> String {
        format!("gs://{}/{key}", self.bucket)
    }

    fn copy(&self, key: &str, version: &str) -> Arc<str> {
        format!("{}#{version}", self.uri(key)).into()
    }

    fn key<'a>(&self, copy: &'a str) -> Option<&'a str> {
        // The key itself may contain a `#`.
        copy.strip_prefix(&self.uri(""))?.rsplit_once('#').map(|(key, _)| key)
    }

    async fn list(&self, prefix: &str, from: Position<'_>) -> Result<Page, ObserveError> {
        let mut query = vec![
            ("prefix", prefix.to_owned()),
            ("maxResults", self.page.to_string()),
            ("fields", FIELDS.to_owned()),
        ];
        let after = match from {
            Position::First => None,
            Position::After(key) => Some(key),
            Position::Token(token) => {
                query.push(("pageToken", token.to_owned()));
                None
            }
        };
        query.extend(after.map(|key| ("startOffset", key.to_owned())));
        let request = Request::get(&STORAGE, "objects.list", self.path(None)).query(query);
        let listing =
            self.google.interpret(request, |answer| Ok((answer.parse(parse)?, answer.date()))).await;
        let (listing, date) =
            listing.map_err(|failure| failure.calling(&format!("objects.list on {}", self.uri(prefix))))?;
        listing.page(after, date).map_err(|name| {
            let text = format!("objects.list on {}: timeCreated of {name} is invalid", self.uri(prefix));
            ObserveError::new(FailureKind::Garbled, text)
        })
    }

    async fn get(&self, key: &str, version: &str, first: Option<u64>) -> Result<Stream, GetError> {
        // A condition rather than a generation: a request for a generation does not tell a deleted object
        // from an overwritten one.
        let query = [("alt", "media".to_owned()), ("ifGenerationMatch", version.to_owned())];
        let mut request = Request::get(&STORAGE, "objects.get", self.path(Some(key)))
            .query(query)
            // Otherwise the service decompresses objects stored as gzip (Cloud Storage docs, transcoding).
            .header(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        if let Some(bytes) = first {
            let range = format!("bytes=0-{}", bytes.saturating_sub(1));
            let range = HeaderValue::from_str(&range).expect("digits make a header");
            request = request.header(RANGE, range);
        }
        let stream = match self.google.open(request).await {
            Ok(stream) => stream,
            Err(failure) => return Err(get_error(failure, &format!("objects.get on {}", self.uri(key)))),
        };
        let generation = stream.headers.get("x-goog-generation").and_then(|value| value.to_str().ok());
        if generation.is_some_and(|generation| generation != version) {
            return Err(GetError::Replaced);
        }
        Ok(stream)
    }
}

fn parse(body: &[u8]) -> Result<Listing, serde_json::Error> {
    serde_json::from_slice(body)
}

/// Reads an answer of objects.list as [`Gcs::list`] does; `None` if a poll would fail.
#[cfg(feature = "fuzzing")]
#[must_use]
pub fn read_page(body: &[u8], after: Option<&str>) -> Option<Page> {
    parse(body).ok()?.page(after, None).ok()
}

fn get_error(failure: Failure, call: &str) -> GetError {
    match (failure.status, failure.kind) {
        (Some(404), _) => GetError::Vanished,
        (Some(412), _) => GetError::Replaced,
        // Concerns this object only, not the service. Throttling and timeouts are not refusals.
        (Some(400..=499), kind) if !matches!(kind, FailureKind::Throttled | FailureKind::Timeout) => {
            GetError::Refused(failure.calling(call).into())
        }
        _ => GetError::Failed(failure.calling(call).into()),
    }
}

impl Body for Stream {
    async fn chunk(&mut self) -> Result<Option<Bytes>, String> {
        Self::chunk(self).await.map_err(|failure| failure.text.to_string())
    }
}
