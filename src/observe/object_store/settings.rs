//! The keys of a stage whose records are objects, whoever's store it is.

use std::time::Duration;

use super::{KeyLabels, KeyTemplate};
use crate::domain::topology::Topology;
use crate::keys::fault::Checked;
use crate::keys::key::{Key, Shape};
use crate::keys::reader::Reader;
use crate::keys::value;
use crate::observe::decode::Limits;
use crate::observe::kinds::{Attribution, Scope};
use crate::observe::{GAPS, Gaps};

/// The largest object that is kept in view of a container's memory and a look's timeout.
const MAX_OBJECT: u64 = 5 << 30;
/// A writer that collects for longer is no place for canaries that are given up after minutes.
const MAX_KEY_SLACK: Duration = Duration::from_secs(86_400);
/// A thousand pages of a listing, and about 300 MB to remember them.
const MAX_KEYS: u32 = 1_000_000;
/// Time fields of a key, by what they give.
const TIME_FIELDS: &str = "YmdjHM";

/// The keys of whatever reads objects, read by [`Settings::read`].
pub(in crate::observe) const KEYS: [Key; 8] = [
    Key::text("bucket").required(),
    Key::text("key").required(),
    Key::text("key_slack").or("5m"),
    Key::new("ordered_keys", Shape::Boolean).or("false"),
    Key::new("max_keys", Shape::Integer).or("50000"),
    Key::text("max_object").or("64MB"),
    Key::text("max_inflated").or("256MB"),
    Key::text("gaps").or("skip"),
];

/// What to read, and how much of it at a time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// The bucket.
    pub bucket: String,
    /// What keys begin with, by time.
    pub key: KeyTemplate,
    /// What follows the tenant's name in a key where that stands right after `key`. The prefix is then listed once for all
    /// tenants, and keys say whose an object is.
    pub after_tenant: Option<String>,
    /// How far the clocks of writers, of the store and our own may be apart.
    pub slack: Duration,
    /// How long before a canary the time in the key of its object may be, where a writer names an object by the oldest
    /// record in it: at least as long as it collects records. Prefixes are listed from so much earlier on.
    pub key_slack: Duration,
    /// Prefixes that are listed in one look.
    pub max_prefixes: usize,
    /// Keys that are listed in one look, and remembered for as long as their prefix is listed.
    pub max_keys_per_poll: usize,
    /// Objects that are opened in one look; the rest is left to the next.
    pub max_objects_per_poll: usize,
    /// Most bytes of an object that are fetched. While a canary may lie behind them, none is called absent.
    pub max_object_bytes: u64,
    /// What an object may inflate to, in bytes. While a canary may lie behind them, none is called absent.
    pub max_inflated_bytes: u64,
    /// Whether objects are read that were written while nothing waited, as far as the listed prefixes reach back.
    pub gaps: Gaps,
    /// Within a prefix, keys grow with time, so a listing may begin after keys that were read, as far behind as
    /// `key_slack` and `slack` say: of several writers one may be slow to put an object whose key sorts before others'.
    pub ordered_keys: bool,
}

impl Settings {
    /// The settings for a bucket that nobody has asked to read otherwise.
    #[must_use]
    pub fn new(bucket: impl Into<String>, key: KeyTemplate) -> Self {
        Self {
            bucket: bucket.into(),
            key,
            after_tenant: None,
            slack: Duration::from_secs(60),
            // What Firehose collects unless told otherwise (Firehose developer guide, buffering hints); it names objects
            // by the arrival of their oldest record.
            key_slack: Duration::from_secs(300),
            max_prefixes: 64,
            max_keys_per_poll: 50_000,
            max_objects_per_poll: 500,
            max_object_bytes: 512 << 20,
            max_inflated_bytes: Limits::OBJECT.max_inflated_bytes,
            gaps: Gaps::Skip,
            ordered_keys: false,
        }
    }

    /// Reads [`KEYS`]; a bucket's name is checked by the rules of its store.
    pub(in crate::observe) fn read(
        read: &mut Reader<'_, '_>,
        scope: &Scope<'_>,
        check_bucket: impl Fn(String) -> Result<String, String>,
    ) -> Checked<Self> {
        let bucket = read.get("bucket", scope.expanded(check_bucket));
        let key = read.get("key", |value| {
            let (key, after) = split_key(value::text(value)?);
            let expanded = |text: &str| value::expand(text, &[("tenant", scope.tenant)]);
            after.as_deref().map(expanded).transpose()?;
            Ok((check_key(expanded(&key)?)?, after))
        });
        let key_slack = read.get("key_slack", value::duration_within(Duration::ZERO, MAX_KEY_SLACK, ""));
        let ordered_keys = read.get("ordered_keys", value::boolean);
        let max_keys = read.get("max_keys", value::count(1_000, MAX_KEYS));
        let max_object = read.get("max_object", value::size_within(1, MAX_OBJECT, ""));
        let max_inflated = read.get("max_inflated", value::size_within(1, MAX_OBJECT, ""));
        let gaps = read.get("gaps", value::choice(&GAPS));
        let (key, after_tenant) = key?;
        Ok(Self {
            after_tenant,
            key_slack: key_slack?,
            ordered_keys: ordered_keys?,
            max_keys_per_poll: usize::try_from(max_keys?).unwrap_or(usize::MAX),
            max_object_bytes: max_object?,
            max_inflated_bytes: max_inflated?,
            gaps: gaps?,
            ..Self::new(bucket?, KeyTemplate::new(key))
        })
    }

    /// For people: the bucket and the folders before the first time field, `sre-archive/archive/tenant=acme/…`.
    pub(in crate::observe) fn resource(&self) -> String {
        // The time fields say nothing of which source it is.
        let key = self.key.to_string();
        let fixed = key.split('%').next().unwrap_or_default();
        let prefix = fixed.rsplit_once('/').map_or("", |(folders, _)| folders);
        let slash = if prefix.is_empty() { "" } else { "/" };
        format!("{}/{prefix}{slash}…", self.bucket)
    }

    /// What is read, without how.
    pub(in crate::observe) fn identity(&self) -> String {
        format!("{}/{}", self.bucket, self.key)
    }

    /// Whether keys tell whose a canary is.
    pub(in crate::observe) fn attribution(&self) -> Attribution {
        Attribution {
            labelled: self.after_tenant.is_some(),
            by_tag: true,
            remedy: "; put {tenant} where it stands in key if keys say whose they are",
        }
    }

    /// How keys go on, where that says whose an object is.
    pub(in crate::observe) fn labels(&self, topology: &Topology) -> Option<KeyLabels> {
        let after = self.after_tenant.as_ref()?;
        let names = topology.tenants().iter().map(|tenant| (tenant.name.clone(), tenant.label.clone()));
        Some(KeyLabels::new(after, names))
    }
}

/// Cuts a key where the tenant's name stands in it after all time fields: what is before is listed for all tenants.
fn split_key(key: String) -> (String, Option<String>) {
    let timeless = key.rfind('%').map_or(key.len(), |at| at + 1);
    match key[timeless..].find("{tenant}") {
        None => (key, None),
        Some(at) => {
            let at = timeless + at;
            (key[..at].to_owned(), Some(key[at + "{tenant}".len()..].to_owned()))
        }
    }
}

/// A prefix with at least a date in it, or each look would list everything that was ever written.
fn check_key(text: String) -> Result<String, String> {
    let mut fields = String::new();
    let mut rest = text.split('%');
    rest.next();
    for part in rest {
        match part.chars().next() {
            Some(field) if TIME_FIELDS.contains(field) => fields.push(field),
            other => {
                let field = other.map(String::from).unwrap_or_default();
                return Err(format!(
                    "\"{text}\" has the unknown time field %{field}; known are %Y, %m, %d, %j, %H, %M (UTC)"
                ));
            }
        }
    }
    let has = |field| fields.contains(field);
    if fields.is_empty() {
        Err("no time field (%Y, %m, %d, %H), so each look would list the whole bucket; add for example dt=%Y-%m-%d/hour=%H/".to_owned())
    } else if has('Y') && (has('j') || (has('m') && has('d'))) {
        if has('M') && !has('H') {
            return Err(format!("\"{text}\" has minutes (%M) but no hours; add %H before them"));
        }
        Ok(text)
    } else {
        Err(format!(
            "\"{text}\" has time fields but no whole date, so prefixes would come round again; add %Y, %m and %d, for example dt=%Y-%m-%d/hour=%H/"
        ))
    }
}
