//! The seam: what a store of objects must be able to do.

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;

use crate::domain::sighting::Stamp;
use crate::observe::ObserveError;

/// A bucket whose objects have keys.
///
/// One page, one object: it does not retry, count or keep anything. Clones share connections.
pub trait ObjectStore: Clone + Send + Sync + 'static {
    /// The body of an object.
    type Body: Body;

    /// What people call a key: `s3://bucket/key`.
    fn uri(&self, key: &str) -> String;

    /// What one stored copy is called, as the first part of a locator. Where overwriting a key makes another copy that
    /// can be told from the first, the version is in it.
    fn copy(&self, key: &str, version: &str) -> Arc<str>;

    /// One page of the keys that begin so, in the order of their bytes.
    fn list(
        &self,
        prefix: &str,
        from: Position<'_>,
    ) -> impl Future<Output = Result<Page, ObserveError>> + Send;

    /// An object as it was listed, or its first so many bytes.
    fn get(
        &self,
        key: &str,
        version: &str,
        first: Option<u64>,
    ) -> impl Future<Output = Result<Self::Body, NotRead>> + Send;
}

/// The bytes of an object, a part at a time.
pub trait Body: Send {
    /// The next part; `None` after the last one. The error says why there is none.
    fn chunk(&mut self) -> impl Future<Output = Result<Option<Bytes>, String>> + Send;
}

/// Where a page of a listing begins.
#[derive(Clone, Copy, Debug)]
pub enum Position<'a> {
    /// With the first key.
    First,
    /// With the first key after this one.
    After(&'a str),
    /// Where the page before ended.
    Token(&'a str),
}

/// One page of a listing.
#[derive(Debug, Default)]
pub struct Page {
    pub objects: Vec<Listed>,
    /// Where the next page begins; `None` on the last.
    pub next: Option<String>,
}

/// One object of a listing.
#[derive(Debug)]
pub struct Listed {
    pub key: String,
    /// What changes when it is overwritten: an ETag, a generation.
    pub version: String,
    /// When the store says it was written.
    pub stamp: Stamp,
    /// In bytes, as far as the listing says.
    pub size: Option<u64>,
}

/// Why an object was not read.
#[derive(Debug)]
pub enum NotRead {
    /// It vanished after it was listed.
    Vanished,
    /// It was overwritten after it was listed; the next listing shows the new one.
    Replaced,
    /// It is there, and we must not have it: another key, a storage class that has to be restored.
    Refused(ObserveError),
    Failed(ObserveError),
}
