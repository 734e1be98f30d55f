//! Settings of a stage whose records are objects, for every object store.

use std::time::Duration;

use toml::Value;

use super::{KeyLabels, KeyTemplate};
use crate::domain::time::Timestamp;
use crate::domain::time_zone::TimeZone;
use crate::domain::topology::Topology;
use crate::keys::fault::{Checked, suggestion};
use crate::keys::key::{Key, Shape};
use crate::keys::reader::Reader;
use crate::keys::value::{self, Parsed};
use crate::observe::decode::Limits;
use crate::observe::kinds::{Attribution, LabelPlace, Scope};
use crate::observe::{GAPS, Gaps};

/// Most prefixes that commands name, each of which is a command of its own.
const MOST_SHOWN: usize = 4;
/// The largest object that a poll can read within its timeout and the memory of a container.
const MAX_OBJECT: u64 = 5 << 30;
/// A writer that collects records for a day is of no use for canaries that are given up after minutes.
const MAX_KEY_SLACK: Duration = Duration::from_secs(86_400);
/// A thousand pages of a listing, and about 300 MB of memory.
const MAX_KEYS: u32 = 1_000_000;
/// The letters of the time fields that a key may contain.
const TIME_FIELDS: &str = "YmdjHM";

/// The keys of every kind that reads objects, read by [`Settings::read`].
pub(in crate::observe) const KEYS: [Key; 9] = [
    Key::text("bucket").required(),
    Key::text("key").required(),
    Key::text("time_zone").or("UTC"),
    Key::text("key_slack").or("5m"),
    Key::new("ordered_keys", Shape::Boolean).or("false"),
    Key::new("max_keys", Shape::Integer).or("50000"),
    Key::text("max_object").or("64MB"),
    Key::text("max_inflated").or("256MB"),
    Key::text("gaps").or("skip"),
];

/// Which objects to poll, and how much of them at a time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// The name of the bucket.
    pub bucket: String,
    /// Prefix of the keys, with time fields in the time zone of the writer.
    pub key: KeyTemplate,
    /// The whole key as the configuration has it, with `{tenant}`.
    pub written_key: String,
    /// What follows the tenant's name in a key, if the name comes right after `key`. The prefix is then
    /// listed once for all tenants, and the key names the tenant of an object. `None` if keys do not.
    pub after_tenant: Option<String>,
    /// How far the clocks of writers, of the store and of the probe may differ.
    pub slack: Duration,
    /// How far the time in a key may precede a canary in the object. If a writer names objects by their
    /// oldest record, this is at least the time for which it collects records. Listings start that much
    /// earlier.
    pub key_slack: Duration,
    /// Maximum number of prefixes listed per poll.
    pub max_prefixes: usize,
    /// Maximum number of keys listed per poll, each remembered for as long as its prefix is listed.
    pub max_keys_per_poll: usize,
    /// Maximum number of objects opened per poll; the rest is left to the next poll.
    pub max_objects_per_poll: usize,
    /// Maximum bytes fetched of an object. While a canary may be behind them, none is called absent.
    pub max_object_bytes: u64,
    /// Maximum bytes that an object is inflated to. While a canary may be behind them, none is called absent.
    pub max_inflated_bytes: u64,
    /// Whether objects written while nothing waited are read, as far as the listed prefixes reach back.
    pub gaps: Gaps,
    /// Whether keys grow with time within a prefix. A listing then begins `key_slack` and `slack` behind the
    /// keys that were read, because a slow writer may put an object whose key sorts before those of others.
    pub ordered_keys: bool,
}

impl Settings {
    /// Returns the default settings for a bucket.
    #[must_use]
    pub fn new(bucket: impl Into<String>, key: KeyTemplate) -> Self {
        Self {
            bucket: bucket.into(),
            written_key: key.to_string(),
            key,
            after_tenant: None,
            slack: Duration::from_secs(60),
            // The default buffering time of Firehose (Firehose developer guide, buffering hints), which names
            // objects by the arrival of their oldest record.
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

    /// Reads [`KEYS`]; `check_bucket` applies the store's rules for bucket names.
    pub(in crate::observe) fn read(
        read: &mut Reader<'_, '_>,
        scope: &Scope<'_>,
        check_bucket: impl Fn(String) -> Result<String, String>,
    ) -> Checked<Self> {
        let bucket = read.get("bucket", scope.expanded(check_bucket));
        let key = read.get("key", |value| {
            let text = value::text(value)?;
            // Before it is expanded, so that a fault quotes the key as written, and once for all tenants.
            check_key(&text)?;
            let (key, after) = split_key(text.clone());
            let expanded = |text: &str| value::expand(text, &[("tenant", scope.tenant)]);
            after.as_deref().map(expanded).transpose()?;
            Ok((expanded(&key)?, after, text))
        });
        let time_zone = read.get("time_zone", time_zone);
        let key_slack = read.get("key_slack", value::duration_within(Duration::ZERO, MAX_KEY_SLACK, ""));
        let ordered_keys = read.get("ordered_keys", value::boolean);
        let max_keys = read.get("max_keys", value::count(1_000, MAX_KEYS));
        let max_object = read.get("max_object", value::size_within(1, MAX_OBJECT, ""));
        let max_inflated = read.get("max_inflated", value::size_within(1, MAX_OBJECT, ""));
        let gaps = read.get("gaps", value::choice(&GAPS));
        let (key, after_tenant, written_key) = key?;
        Ok(Self {
            written_key,
            after_tenant,
            key_slack: key_slack?,
            ordered_keys: ordered_keys?,
            max_keys_per_poll: usize::try_from(max_keys?).unwrap_or(usize::MAX),
            max_object_bytes: max_object?,
            max_inflated_bytes: max_inflated?,
            gaps: gaps?,
            ..Self::new(bucket?, KeyTemplate::new(key).in_zone(time_zone?))
        })
    }

    /// Display name: the bucket and the folders before the first time field,
    /// `sre-archive/archive/tenant=acme/…`.
    pub(in crate::observe) fn resource(&self) -> String {
        // Time fields do not help to tell sources apart.
        let key = self.key.to_string();
        let fixed = key.split('%').next().unwrap_or_default();
        let prefix = fixed.rsplit_once('/').map_or("", |(folders, _)| folders);
        let slash = if prefix.is_empty() { "" } else { "/" };
        format!("{}/{prefix}{slash}…", self.bucket)
    }

    /// Identifies what is read, without how it is read.
    pub(in crate::observe) fn identity(&self) -> String {
        format!("{}/{} {}", self.bucket, self.key, self.key.zone())
    }

    /// Returns the prefixes in which a canary may be that was planned at this time, that of this time first: as far
    /// before it as listings reach back, and as long after it. If there are many, they are the nearest.
    pub(in crate::observe) fn prefixes_around(&self, planned_at: Timestamp) -> Vec<String> {
        let own = self.key.prefix_of(planned_at);
        let reach = self.slack.max(self.key_slack);
        let all = self.key.prefixes(planned_at - reach, planned_at + reach, usize::MAX).unwrap_or_default();
        let at = all.iter().position(|prefix| *prefix == own).unwrap_or_default();
        let others = all.into_iter().skip(at.saturating_sub(1)).take(MOST_SHOWN).filter(|it| *it != own);
        std::iter::once(own.clone()).chain(others).collect()
    }

    /// Returns whether keys name the tenant of a canary.
    pub(in crate::observe) fn attribution(&self) -> Attribution {
        Attribution {
            labelled: self.after_tenant.is_some(),
            by_tag: true,
            remedy: "; put {tenant} into key at its place if keys name the tenant",
        }
    }

    /// Returns where the rest of a key names the tenant, if it does.
    pub(in crate::observe) fn label_place(&self) -> Option<LabelPlace> {
        let _after = self.after_tenant.as_ref()?;
        Some(LabelPlace { key: "key", has: "where {tenant} is in key, its object has".to_owned() })
    }

    /// Returns how the rest of a key names the tenant, if it does.
    pub(in crate::observe) fn labels(&self, topology: &Topology) -> Option<KeyLabels> {
        let after = self.after_tenant.as_ref()?;
        let names = topology.tenants().iter().map(|tenant| (tenant.name.clone(), tenant.label.clone()));
        Some(KeyLabels::new(after, names))
    }
}

/// Reads the name of a time zone.
fn time_zone(value: &Value) -> Parsed<TimeZone> {
    let text = value::text(value)?;
    TimeZone::named(&text).ok_or_else(|| {
        format!(
            "\"{text}\" is not a time zone of the IANA database; write for example \"Asia/Tokyo\"{}",
            near_zone(&text)
        )
    })
}

/// Suggests the time zone whose name, or at least whose city, is near to `unknown`. Abbreviations are never
/// suggested: `EST` is near to `PST`, and wrong.
fn near_zone(unknown: &str) -> String {
    let names: Vec<_> = TimeZone::names().into_iter().filter(|name| name.contains('/')).collect();
    let city = |name: &str| name.rsplit('/').next().unwrap_or_default().to_lowercase();
    match suggestion(unknown, names.iter().map(String::as_str)) {
        none if none.is_empty() => {
            let same_city = names.iter().find(|name| city(name) == city(unknown).replace(' ', "_"));
            same_city.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default()
        }
        near => near,
    }
}

/// Splits a key at `{tenant}` if that comes after all time fields: that part is listed once for all tenants.
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

/// Checks that a prefix contains at least a date; otherwise each poll would list all that was ever written.
fn check_key(text: &str) -> Result<(), String> {
    let mut fields = String::new();
    let mut rest = text.split('%');
    rest.next();
    for part in rest {
        match part.chars().next() {
            Some(field) if TIME_FIELDS.contains(field) => fields.push(field),
            other => {
                let field = other.map(String::from).unwrap_or_default();
                return Err(format!(
                    "\"{text}\" has the unknown time field %{field}; valid fields are %Y, %m, %d, %j, %H, %M"
                ));
            }
        }
    }
    let has = |field| fields.contains(field);
    if fields.is_empty() {
        Err(format!(
            "\"{text}\" has no time field (%Y, %m, %d, %H), so each poll would list everything below it; add for example dt=%Y-%m-%d/hour=%H/"
        ))
    } else if has('Y') && (has('j') || (has('m') && has('d'))) {
        if has('M') && !has('H') {
            return Err(format!("\"{text}\" has minutes (%M) but no hours (%H); add %H before %M"));
        }
        Ok(())
    } else {
        Err(format!(
            "\"{text}\" has time fields but no complete date, so prefixes would repeat; add %Y, %m and %d, for example dt=%Y-%m-%d/hour=%H/"
        ))
    }
}
