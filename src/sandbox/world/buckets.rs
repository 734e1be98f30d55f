//! S3 buckets: objects by key, and the lists that ListObjectsV2 answers.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;

use bytes::Bytes;

use super::super::clock::Micros;

/// One stored object.
#[derive(Debug, Clone)]
pub(crate) struct Object {
    pub body: Bytes,
    /// What LastModified says; of a multipart object, when its upload began.
    pub modified: Micros,
    /// When it became visible.
    pub visible: Micros,
    /// Parts of a multipart upload; 0 for a plain put.
    pub parts: u32,
    pub etag: String,
}

#[derive(Debug, Default)]
pub(crate) struct Bucket {
    pub objects: BTreeMap<String, Object>,
    order: VecDeque<String>,
}

/// One page of a list.
#[derive(Debug)]
pub(crate) struct Listing {
    pub entries: Vec<(String, Object)>,
    /// Groups below the delimiter.
    pub prefixes: Vec<String>,
    /// Continue after this key.
    pub next: Option<String>,
}

impl Bucket {
    pub(crate) fn put(&mut self, key: String, object: Object, capacity: usize) {
        self.order.push_back(key.clone());
        self.objects.insert(key, object);
        while self.order.len() > capacity {
            self.forget_oldest();
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

    /// Up to `max` keys with `prefix` that sort after `after`, each group below `delimiter` counting as one.
    pub(crate) fn list(
        &self,
        prefix: &str,
        delimiter: Option<&str>,
        after: Option<&str>,
        max: usize,
    ) -> Listing {
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after.to_owned()),
            _ => Bound::Included(prefix.to_owned()),
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
            let object =
                Object { body: Bytes::new(), modified: at, visible: at, parts: 0, etag: String::new() };
            bucket.put((*key).to_owned(), object, 100);
        }
        bucket
    }

    fn keys(listing: &Listing) -> Vec<&str> {
        listing.entries.iter().map(|(key, _)| key.as_str()).collect()
    }

    #[test]
    fn pages_follow_each_other() {
        let bucket = bucket(&["a/1", "a/2", "a/3", "b/1"]);
        let page = bucket.list("a/", None, None, 2);
        assert_eq!(keys(&page), ["a/1", "a/2"]);
        let page = bucket.list("a/", None, page.next.as_deref(), 2);
        assert_eq!(keys(&page), ["a/3"]);
        assert_eq!(page.next, None);
    }

    #[test]
    fn a_delimiter_groups_keys() {
        let listing = bucket(&["a", "b/1", "b/2", "c/1"]).list("", Some("/"), None, 10);
        assert_eq!(keys(&listing), ["a"]);
        assert_eq!(listing.prefixes, ["b/", "c/"]);
    }

    #[test]
    fn the_oldest_object_goes_first() {
        let mut bucket = bucket(&["z", "a"]);
        bucket.forget_before(Micros(1));
        assert_eq!(keys(&bucket.list("", None, None, 10)), ["a"]);
    }
}
