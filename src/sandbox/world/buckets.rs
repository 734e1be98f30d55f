//! Buckets in S3 and Google Cloud Storage: objects by key, and their listings.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::super::clock::Micros;

#[derive(Debug, Clone)]
pub(crate) struct Object {
    pub body: Bytes,
    /// LastModified; for a multipart object, when its upload began.
    pub modified: Micros,
    /// When it became visible.
    pub visible: Micros,
    /// Parts of a multipart upload; 0 for a plain put.
    pub parts: u32,
    pub etag: String,
    /// How the body is packed according to its writer. Google Cloud Storage only.
    pub packing: Packing,
    /// Larger than that of any earlier object in the bucket, in microseconds. Google Cloud Storage only.
    pub generation: i64,
}

/// How an object's body is packed according to its metadata, whether that is true or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Packing {
    /// Not packed: `contentType` is `application/x-ndjson`.
    #[default]
    Plain,
    /// A gzip file: `contentType` is `application/gzip`.
    GzipFile,
    /// Text that is stored as gzip: `contentEncoding` is `gzip`, so a client that does not accept gzip gets
    /// the text.
    GzipEncoded,
}

#[derive(Debug, Default)]
pub(crate) struct Bucket {
    pub objects: BTreeMap<String, Object>,
    order: VecDeque<String>,
    last_generation: i64,
}

/// Where a listing begins.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Start<'a> {
    /// At the first key.
    First,
    /// At this key or the next larger one.
    At(&'a str),
    /// After this key.
    After(&'a str),
}

/// One page of a listing.
#[derive(Debug)]
pub(crate) struct Listing {
    pub entries: Vec<(String, Object)>,
    /// Groups of keys up to the delimiter.
    pub prefixes: Vec<String>,
    /// Continue after this key.
    pub next: Option<String>,
}

impl Bucket {
    pub(crate) fn put(&mut self, key: String, mut object: Object, capacity: usize) {
        self.last_generation = object.visible.0.max(self.last_generation + 1);
        object.generation = self.last_generation;
        if self.objects.contains_key(&key) {
            self.order.retain(|known| *known != key);
        }
        self.order.push_back(key.clone());
        self.objects.insert(key, object);
        while self.order.len() > capacity {
            self.forget_oldest();
        }
    }

    pub(crate) fn remove(&mut self, key: &str) {
        if self.objects.remove(key).is_some() {
            self.order.retain(|known| known != key);
        }
    }

    pub(crate) fn forget_before(&mut self, horizon: Micros) {
        while self
            .order
            .front()
            .and_then(|key| self.objects.get(key))
            .is_some_and(|object| object.visible < horizon)
        {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some(key) = self.order.pop_front() {
            self.objects.remove(&key);
        }
    }

    /// Up to `max` keys with `prefix` from `start` on, in byte order; each group below `delimiter` counts as
    /// one.
    pub(crate) fn list(
        &self,
        prefix: &str,
        delimiter: Option<&str>,
        start: Start<'_>,
        max: usize,
    ) -> Listing {
        let (from, after) = match start {
            Start::After(key) if key >= prefix => (Bound::Excluded(key.to_owned()), Some(key)),
            Start::At(key) if key >= prefix => (Bound::Included(key.to_owned()), None),
            Start::First | Start::At(_) | Start::After(_) => (Bound::Included(prefix.to_owned()), None),
        };
        let mut listing = Listing { entries: Vec::new(), prefixes: Vec::new(), next: None };
        let mut last: Option<&str> = None;
        let keys =
            self.objects.range((from, Bound::Unbounded)).take_while(|(key, _)| key.starts_with(prefix));
        for (key, object) in keys {
            let group = delimiter.and_then(|mark| {
                let rest = &key[prefix.len()..];
                rest.find(mark).map(|at| &key[..prefix.len() + at + mark.len()])
            });
            if let Some(group) = group
                && (listing.prefixes.last().is_some_and(|known| known == group)
                    || after.is_some_and(|after| after.starts_with(group)))
            {
                last = Some(key);
                continue;
            }
            if listing.entries.len() + listing.prefixes.len() >= max {
                listing.next = last.map(str::to_owned);
                break;
            }
            match group {
                Some(group) => listing.prefixes.push(group.to_owned()),
                None => listing.entries.push((key.clone(), object.clone())),
            }
            last = Some(key);
        }
        listing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(keys: &[&str]) -> Bucket {
        let mut bucket = Bucket::default();
        for (n, key) in keys.iter().enumerate() {
            let at = Micros(n as i64);
            let object = Object {
                body: Bytes::new(),
                modified: at,
                visible: at,
                parts: 0,
                etag: String::new(),
                packing: Packing::Plain,
                generation: 0,
            };
            bucket.put((*key).to_owned(), object, 100);
        }
        bucket
    }

    fn keys(listing: &Listing) -> Vec<&str> {
        listing.entries.iter().map(|(key, _)| key.as_str()).collect()
    }

    #[test]
    fn pages_continue_without_gap_or_overlap() {
        let bucket = bucket(&["a/1", "a/2", "a/3", "b/1"]);
        let page = bucket.list("a/", None, Start::First, 2);
        assert_eq!(keys(&page), ["a/1", "a/2"]);
        let page = bucket.list("a/", None, Start::After(&page.next.unwrap()), 2);
        assert_eq!(keys(&page), ["a/3"]);
        assert_eq!(page.next, None);
    }

    #[test]
    fn a_listing_starts_at_or_after_a_key() {
        let bucket = bucket(&["a/1", "a/2", "a/3"]);
        assert_eq!(keys(&bucket.list("a/", None, Start::At("a/2"), 9)), ["a/2", "a/3"]);
        assert_eq!(keys(&bucket.list("a/", None, Start::After("a/2"), 9)), ["a/3"]);
        assert_eq!(keys(&bucket.list("a/", None, Start::At("a/11"), 9)), ["a/2", "a/3"]);
        assert_eq!(keys(&bucket.list("a/", None, Start::At("A"), 9)).len(), 3);
        assert!(keys(&bucket.list("a/", None, Start::At("b"), 9)).is_empty());
    }

    #[test]
    fn an_overwritten_object_is_removed_once() {
        let mut bucket = bucket(&["a", "b", "a"]);
        let generation = |key: &str, bucket: &Bucket| bucket.objects[key].generation;
        assert!(generation("a", &bucket) > generation("b", &bucket));
        bucket.forget_before(Micros(2));
        assert_eq!(keys(&bucket.list("", None, Start::First, 10)), ["a"]);
        bucket.forget_before(Micros(3));
        assert!(bucket.objects.is_empty());
    }

    #[test]
    fn a_delimiter_groups_keys() {
        let listing = bucket(&["a", "b/1", "b/2", "c/1"]).list("", Some("/"), Start::First, 10);
        assert_eq!(keys(&listing), ["a"]);
        assert_eq!(listing.prefixes, ["b/", "c/"]);
    }

    #[test]
    fn the_oldest_object_is_removed_first() {
        let mut bucket = bucket(&["z", "a"]);
        bucket.forget_before(Micros(1));
        assert_eq!(keys(&bucket.list("", None, Start::First, 10)), ["a"]);
    }
}
