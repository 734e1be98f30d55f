//! Proves that a prefix can be read: a listing, and the newest object of the last prefix that has any.
//!
//! An hour without objects would hide that objects cannot be read, so it searches back to the last prefix that
//! has some. If there is none, the nearest prefix above with objects in it shows what may be wrong with the key.

use futures::StreamExt;
use futures::stream;

use super::{Body, CONCURRENCY, GetError, Listed, ObjectObserver, ObjectStore, Page, Position};
use crate::domain::foreign::ForeignText;
use crate::domain::proof::{Proof, Verdict};
use crate::domain::sighting::{FailureKind, Stamp, Wanted};
use crate::domain::time::Timestamp;
use crate::observe::ObserveError;
use crate::observe::kinds::{Site, Spec};
use crate::observe::proving::{in_time, polled, refusal};

/// How many prefixes to look into, newest first: two days of hours. Each is a call of its own.
const PREFIXES: usize = 48;
/// Pages of a prefix in which the newest object is searched. Any recent one would do.
const PAGES: usize = 3;

const NEWEST: &str = "newest object";

/// What was found.
enum Newest {
    Object(Listed),
    /// None in this many prefixes. Where there are objects, and one of them, if that is known.
    None {
        searched: usize,
        elsewhere: Option<(String, String)>,
    },
}

impl<S: ObjectStore> ObjectObserver<S> {
    /// Polls as the daemon does, then reads the first byte of the newest object.
    pub(in crate::observe) async fn prove(
        mut self,
        site: &Site<'_>,
        spec: &Spec,
        wanted: &Wanted,
    ) -> Vec<Proof> {
        let resource = self.store.uri(&self.settings.key.to_string());
        let (poll, _) = polled(&mut self, site, spec, &resource, wanted).await;
        if let Verdict::Failed(failed) = &poll.verdict {
            // A poll that listed and could not read has tried what follows.
            let why = if failed.text.contains("GetObject") || failed.text.contains("objects.get") {
                "the poll could not read an object"
            } else {
                "the prefix could not be listed"
            };
            let newest = Proof::not_tried(NEWEST, why);
            return vec![poll, newest];
        }
        let limit = site.rhythm.timeout;
        let newest = match in_time(limit, self.newest(site.clock.now())).await {
            Err(error) => Proof::failed(NEWEST, refusal(spec, &resource, &error)),
            Ok(Newest::Object(object)) => {
                let uri = self.store.uri(&object.key);
                match in_time(limit, self.read_first_byte(&object)).await {
                    Err(error) => Proof::failed(NEWEST, refusal(spec, &uri, &error)),
                    Ok(true) => Proof::ok(NEWEST, describe(&uri, &object)),
                    Ok(false) => {
                        Proof::not_tried(NEWEST, "it was deleted or overwritten after it was listed")
                    }
                }
            }
            Ok(Newest::None { searched, elsewhere }) => {
                none(&self.settings.key.to_string(), searched, elsewhere)
            }
        };
        vec![poll, newest]
    }

    async fn newest(&self, now: Timestamp) -> Result<Newest, ObserveError> {
        let prefixes = self.settings.key.last_prefixes(now + self.settings.slack, PREFIXES);
        let searched = prefixes.len();
        let top = self.settings.key.prefix_of(now);
        let mut found = stream::iter(prefixes).map(|prefix| self.newest_in(prefix)).buffered(CONCURRENCY);
        while let Some(newest) = found.next().await {
            if let Some(newest) = newest? {
                return Ok(Newest::Object(newest));
            }
        }
        drop(found);
        Ok(Newest::None { searched, elsewhere: self.elsewhere(&top).await })
    }

    async fn newest_in(&self, prefix: String) -> Result<Option<Listed>, ObserveError> {
        let mut newest: Option<Listed> = None;
        let mut token: Option<String> = None;
        for _ in 0..PAGES {
            let position = token.as_deref().map_or(Position::First, Position::Token);
            let Page { objects, next } = self.store.list(&prefix, position).await?;
            let with_bytes = objects.into_iter().filter(|object| object.size != Some(0));
            newest = newest.into_iter().chain(with_bytes).max_by_key(|object| written_at(object.stamp));
            token = next;
            if token.is_none() {
                break;
            }
        }
        Ok(newest)
    }

    /// The nearest prefix above that has objects, and one of them.
    async fn elsewhere(&self, prefix: &str) -> Option<(String, String)> {
        let mut above = prefix.trim_end_matches('/');
        loop {
            above = above.rfind('/').map_or("", |at| &above[..at]);
            let folder = if above.is_empty() { String::new() } else { format!("{above}/") };
            // The right to list may end here, as it does with a condition on the prefix.
            let page = self.store.list(&folder, Position::First).await.ok()?;
            if let Some(object) = page.objects.into_iter().next_back() {
                return Some((folder, object.key));
            }
            if above.is_empty() {
                return None;
            }
        }
    }

    /// Reads the first byte of an object. Returns false if it is gone.
    async fn read_first_byte(&self, object: &Listed) -> Result<bool, ObserveError> {
        match self.store.get(&object.key, &object.version, Some(1)).await {
            Err(GetError::Vanished | GetError::Replaced) => Ok(false),
            Err(GetError::Refused(error) | GetError::Failed(error)) => Err(error),
            Ok(mut body) => body.chunk().await.map(|_| true).map_err(|cause| {
                let uri = self.store.uri(&object.key);
                ObserveError::new(FailureKind::Unreachable, format!("{uri} cannot be read: {cause}"))
            }),
        }
    }
}

fn written_at(stamp: Stamp) -> Timestamp {
    stamp.interval().map_or(Timestamp::MIN, |at| at.earliest)
}

fn describe(uri: &str, object: &Listed) -> String {
    let (uri, size) = (ForeignText::label(uri), object.size.unwrap_or_default());
    format!("{uri} of {} ({size} bytes) is readable", written_at(object.stamp).to_rfc3339())
}

fn none(key: &str, searched: usize, elsewhere: Option<(String, String)>) -> Proof {
    let searched = match searched {
        1 => format!("there is no object under {key}"),
        count => format!("there is no object in the last {count} prefixes of {key}"),
    };
    let verdict = match elsewhere {
        None => Verdict::NotTried { why: searched, permission: None, key: None },
        Some((folder, example)) => {
            let (folder, example) = (ForeignText::label(&folder), ForeignText::label(&example));
            let why =
                format!("{searched}; the nearest folder with objects is \"{folder}\", for example {example}");
            Verdict::NotTried { why, permission: None, key: Some("key") }
        }
    };
    Proof { what: NEWEST, verdict }
}
