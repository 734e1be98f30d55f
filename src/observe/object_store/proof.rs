//! Proves that a prefix can be read: a listing, and the newest object of the last prefix that has any.
//!
//! An hour without objects would hide that objects cannot be read, so it searches back to the last prefix that
//! has some. If there is none, the nearest prefix above with objects in it shows what may be wrong with the key.

use std::time::Duration;

use futures::StreamExt;
use futures::stream;
use tokio::time::{Instant, timeout_at};

use super::likely_form::{likely_form, with_placeholder};
use super::{Body, GetError, Listed, ObjectObserver, ObjectStore, Page, Position, Settings};
use crate::cloud::pending::Pending;
use crate::domain::count::counted;
use crate::domain::foreign::ForeignText;
use crate::domain::proof::{Proof, Refusal, Verdict};
use crate::domain::sighting::{FailureKind, Stamp, Wanted};
use crate::domain::time::Timestamp;
use crate::observe::ObserveError;
use crate::observe::kinds::{Site, Spec};
use crate::observe::proving::{in_time, no_answer, polled, refusal};

/// How many prefixes are searched, newest first: a day of hours. Each is a call of its own.
const PREFIXES: usize = 24;
/// How many of them at the same time: other sources are tried as well.
const AT_ONCE: usize = 2;
/// Pages of a prefix in which the newest object is searched. Any recent one would do.
const PAGES: usize = 3;

const NEWEST: &str = "newest object";

/// What was found.
enum Newest {
    Object(Listed),
    /// None in this many prefixes. Where there are objects, and one of them, if that is known.
    None {
        searched: usize,
        elsewhere: Above,
        /// When the oldest of the prefixes begins, about.
        since: Timestamp,
    },
    /// None in as many prefixes as were listed in time.
    NoTime {
        searched: usize,
    },
}

/// What is above a prefix without objects.
enum Above {
    Objects(Elsewhere),
    /// Every folder above was listed, and none has an object.
    Nothing,
    /// A folder could not be listed, for this reason; what is in it is unknown.
    Unknown(ForeignText),
}

/// Objects above the prefix.
struct Elsewhere {
    folder: String,
    /// The newest of those that were listed.
    newest: Listed,
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
            let why = match (failed.kind, failed.permission) {
                (FailureKind::Garbled, _) => "the poll read objects that cannot be opened",
                (_, Some("s3:GetObject" | "storage.objects.get")) => "the poll could not read an object",
                _ => "the prefix could not be listed",
            };
            let newest = Proof::not_tried(NEWEST, why);
            return vec![poll, newest];
        }
        let limit = site.rhythm.timeout;
        let newest = match self.newest(site.clock.now(), limit).await {
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
            Ok(Newest::NoTime { searched }) => {
                let why = format!("there was none in the last {}, and no time for more", prefixes(searched));
                Proof::not_tried(NEWEST, why)
            }
            Ok(Newest::None { searched, elsewhere, since }) => {
                let tenants = site.topology.source(site.source).tenants.iter();
                let names: Vec<_> = tenants.map(|id| &*site.topology.tenant(*id).name).collect();
                none(&self.settings, &names, &resource, searched, elsewhere, since)
            }
        };
        vec![poll, newest]
    }

    /// Searches for at most about `limit`. Only a call without an answer is silence.
    async fn newest(&self, now: Timestamp, limit: Duration) -> Result<Newest, ObserveError> {
        let prefixes = self.settings.key.last_prefixes(now + self.settings.slack, PREFIXES);
        let count = prefixes.len();
        let top = self.settings.key.prefix_of(now);
        let since = self.settings.key.began(prefixes.last().map_or("", String::as_str), now);
        let mut searches = stream::iter(prefixes).map(|prefix| self.newest_in(prefix)).buffered(AT_ONCE);
        let end = Instant::now() + limit;
        let pending = Pending::default();
        for searched in 0..count {
            let Ok(found) = timeout_at(end, pending.clone().noting(searches.next())).await else {
                return match searched {
                    0 => Err(no_answer(&pending.unanswered(limit))),
                    searched => Ok(Newest::NoTime { searched }),
                };
            };
            if let Some(newest) = found.transpose()?.flatten() {
                return Ok(Newest::Object(newest));
            }
        }
        drop(searches);
        let elsewhere = in_time(limit, self.elsewhere(&top)).await;
        let elsewhere = elsewhere.unwrap_or_else(|error| Above::Unknown(error.detail));
        Ok(Newest::None { searched: count, elsewhere, since })
    }

    async fn newest_in(&self, prefix: String) -> Result<Option<Listed>, ObserveError> {
        let mut newest: Option<Listed> = None;
        let mut token: Option<String> = None;
        for _ in 0..PAGES {
            let position = token.as_deref().map_or(Position::First, Position::Token);
            let Page { objects, next, date: _ } = self.store.list(&prefix, position).await?;
            let with_bytes = objects.into_iter().filter(|object| object.size != Some(0));
            newest = newest.into_iter().chain(with_bytes).max_by_key(|object| written_at(object.stamp));
            token = next;
            if token.is_none() {
                break;
            }
        }
        Ok(newest)
    }

    /// The nearest folder above that has objects.
    async fn elsewhere(&self, prefix: &str) -> Result<Above, ObserveError> {
        let mut above = prefix.trim_end_matches('/');
        loop {
            above = above.rfind('/').map_or("", |at| &above[..at]);
            let folder = if above.is_empty() { String::new() } else { format!("{above}/") };
            // The right to list may end here, as it does with a condition on the prefix.
            if let Some(newest) = self.newest_in(folder.clone()).await? {
                return Ok(Above::Objects(Elsewhere { folder, newest }));
            }
            if above.is_empty() {
                return Ok(Above::Nothing);
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

/// `prefix`, or `3 prefixes`, to follow "the last".
fn prefixes(count: usize) -> String {
    if count == 1 { "prefix".to_owned() } else { format!("{count} prefixes") }
}

fn describe(uri: &str, object: &Listed) -> String {
    let (uri, size) = (ForeignText::label(uri), object.size.unwrap_or_default());
    format!("{uri} of {} ({}) is readable", written_at(object.stamp).to_rfc3339(), counted(size, "byte"))
}

/// No object where one was expected. That the writer puts them elsewhere below the same folder is a fault of `key`;
/// anything else may only mean that nothing was written yet.
fn none(
    settings: &Settings,
    tenants: &[&str],
    resource: &str,
    searched: usize,
    elsewhere: Above,
    since: Timestamp,
) -> Proof {
    let key = &settings.key;
    let template = key.to_string();
    let none = match searched {
        1 => format!("there is no object under {template}"),
        count => format!("there is no object in the last {count} prefixes of {template}"),
    };
    let without_example =
        |why| Proof { what: NEWEST, verdict: Verdict::NotTried { why, permission: None, key: Some("key") } };
    let Elsewhere { folder, newest } = match elsewhere {
        Above::Objects(elsewhere) => elsewhere,
        Above::Nothing => {
            return without_example(format!(
                "{none}, nor in any folder above; the writer may not have begun"
            ));
        }
        Above::Unknown(reason) => {
            return without_example(format!(
                "{none}; the writer may not have begun, or puts them elsewhere: a folder above cannot be listed \
                 ({reason})"
            ));
        }
    };
    let written = written_at(newest.stamp);
    let form = likely_form(&newest.key, written, key.zone()).filter(|form| *form != template);
    let (in_folder, example) = (ForeignText::label(&folder), ForeignText::label(&newest.key));
    let mut text = format!(
        "{none}; the nearest folder with objects is \"{in_folder}\", for example {example} of {}",
        written.to_rfc3339()
    );
    if let Some(form) = &form {
        let form = ForeignText::label(&proposed(settings, tenants, form, &newest.key));
        text = format!("{text}, whose dates are written as in key = \"{form}\"");
    }
    let is_now = written >= since;
    let is_same_place = form.as_deref().is_some_and(|form| fixed_folder(form) == fixed_folder(&template));
    if is_now && is_same_place {
        let refusal = Refusal {
            kind: FailureKind::NotFound,
            permission: None,
            resource: resource.to_owned(),
            text: text.into(),
            key: Some("key"),
        };
        return Proof::failed(NEWEST, refusal);
    }
    let why = if is_now {
        format!("{text}; it may belong to others, so compare it with key")
    } else {
        format!("{text}; nothing newer is there, so the writer may have stopped, or not begun")
    };
    Proof { what: NEWEST, verdict: Verdict::NotTried { why, permission: None, key: Some("key") } }
}

/// The key to write for a form of folders, as it is for every tenant. `object` is a key that has this form.
fn proposed(settings: &Settings, tenants: &[&str], form: &str, object: &str) -> String {
    let proposed = with_placeholder(form, tenants, &settings.written_key);
    let file = object.rsplit('/').next().unwrap_or_default();
    let named = settings.after_tenant.as_ref().filter(|after| {
        let is_of = |name: &&str| {
            file.strip_prefix(*name).is_some_and(|rest| rest.starts_with(&after.replace("{tenant}", name)))
        };
        !proposed.contains("{tenant}") && tenants.iter().any(is_of)
    });
    // The file names the tenant as before.
    named.map_or_else(|| proposed.clone(), |after| format!("{proposed}{{tenant}}{after}"))
}

/// The folders before the first time field.
fn fixed_folder(template: &str) -> &str {
    let fixed = template.split('%').next().unwrap_or_default();
    fixed.rsplit_once('/').map_or("", |(folders, _)| folders)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::object_store::KeyTemplate;

    fn why(above: Above) -> String {
        let settings = Settings::new("b", KeyTemplate::new("in/%d/"));
        match none(&settings, &["acme"], "s3://b/in/%d/", 24, above, Timestamp::MIN).verdict {
            Verdict::NotTried { why, .. } => why,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_tenant_that_the_file_names_stays_in_the_key() {
        let key = KeyTemplate::new("in/%d-%m-%Y/");
        let settings = Settings { after_tenant: Some("-".to_owned()), ..Settings::new("b", key) };
        let of = |form, object| proposed(&settings, &["acme"], form, object);
        assert_eq!(of("in/%Y/%m/%d/", "in/2026/11/26/acme-1.gz"), "in/%Y/%m/%d/{tenant}-");
        assert_eq!(of("in/%Y/%m/%d/", "in/2026/11/26/1.gz"), "in/%Y/%m/%d/");
        assert_eq!(of("in/%Y/%m/%d/acme/", "in/2026/11/26/acme/acme-1.gz"), "in/%Y/%m/%d/{tenant}/");
    }

    #[test]
    fn a_folder_that_cannot_be_listed_is_not_called_empty() {
        let listed = why(Above::Nothing);
        assert!(listed.contains("nor in any folder above"), "{listed}");
        let denied = why(Above::Unknown("ListObjectsV2 on s3://b/in/: AccessDenied: no".into()));
        assert!(!denied.contains("nor in"), "{denied}");
        assert!(denied.contains("cannot be listed") && denied.contains("AccessDenied"), "{denied}");
    }
}
