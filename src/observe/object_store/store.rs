//! The interface to an object store.

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;

use crate::domain::sighting::Stamp;
use crate::domain::time::Timestamp;
use crate::observe::ObserveError;

/// A bucket whose objects have keys.
///
/// Each call fetches one page or one object, without retries, counters or caches. Clones share connections.
pub trait ObjectStore: Clone + Send + Sync + 'static {
    type Body: Body;

    /// Returns the URI of a key, for people: `s3://bucket/key`.
    fn uri(&self, key: &str) -> String;

    /// Returns the name of one stored copy, the first part of a locator. It includes the version if
    /// overwriting a key makes a distinguishable copy.
    fn copy(&self, key: &str, version: &str) -> Arc<str>;

    /// Returns the key in the name of a stored copy; `None` if [`Self::copy`] did not return that name.
    fn key<'a>(&self, copy: &'a str) -> Option<&'a str>;

    /// Fetches one page of the objects whose keys begin with `prefix`, in byte order of the keys.
    fn list(
        &self,
        prefix: &str,
        from: Position<'_>,
    ) -> impl Future<Output = Result<Page, ObserveError>> + Send;

    /// Fetches the listed version of an object, or only its `first` bytes.
    fn get(
        &self,
        key: &str,
        version: &str,
        first: Option<u64>,
    ) -> impl Future<Output = Result<Self::Body, GetError>> + Send;
}

/// The bytes of an object, in chunks.
pub trait Body: Send {
    /// Returns the next chunk; `None` after the last one. The error is text for people.
    fn chunk(&mut self) -> impl Future<Output = Result<Option<Bytes>, String>> + Send;
}

/// Where a page of a listing begins.
#[derive(Clone, Copy, Debug)]
pub enum Position<'a> {
    /// At the first key.
    First,
    /// At the first key after this one.
    After(&'a str),
    /// Where the previous page ended.
    Token(&'a str),
}

/// One page of a listing.
#[derive(Debug, Default)]
pub struct Page {
    pub objects: Vec<Listed>,
    /// Where the next page begins; `None` on the last.
    pub next: Option<String>,
    /// When it was answered by the store's clock, cut to the second; `None` if the answer does not say.
    pub date: Option<Timestamp>,
}

/// One object of a listing.
#[derive(Debug)]
pub struct Listed {
    pub key: String,
    /// Changes when the object is overwritten: an ETag, a generation.
    pub version: String,
    /// The store's own stamp of when it was written.
    pub stamp: Stamp,
    /// Whether it is known that it was complete when it was stamped: every record in it had been written before.
    pub is_complete: bool,
    /// In bytes, as its body has them; `None` if the listing does not say.
    pub size: Option<u64>,
}

/// Why an object could not be read.
#[derive(Debug)]
pub enum GetError {
    /// It was deleted after it was listed.
    Vanished,
    /// It was overwritten after it was listed; the next listing shows the new version.
    Replaced,
    /// The object exists, but access to this object is refused: an encryption key that the probe may not use,
    /// or a storage class that must be restored first. Or what was read of it is not what was listed.
    Refused(ObserveError),
    /// The call failed for a reason that concerns the service, not this object.
    Failed(ObserveError),
}
