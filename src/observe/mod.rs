//! Finds canaries at the stages of a pipeline.
//!
//! A kind of stage is one folder: its keys, its observer, the commands that show its records, its operations
//! and prices, the permissions that it needs, and its tests. `kinds` defines what a folder provides, and the
//! list `kinds!` below is the only place that names all kinds. `decode` searches records for tags;
//! `object_store` reads any store of objects that have keys.
//!
//! An observer has one verb, [`Observe::poll`]. It does not retry, count or log; the loop in [`pace`] does
//! that for all kinds in the same way.

pub mod bigquery;
mod blocking;
pub mod cloudwatch_logs;
mod console;
pub mod decode;
mod failure;
#[cfg(test)]
mod fixtures;
pub mod gcs;
mod kinds;
pub mod kinesis;
pub mod object_store;
pub mod pace;
mod proving;
mod rate_limit;
pub mod s3;
pub mod sqs;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;

pub use self::blocking::Decoder;
pub(crate) use self::kinds::Scope;
pub use self::kinds::{Attribution, LabelPlace, Site, Spec};
use self::kinds::{KindSettings, kinds};
use crate::cloud::NoClient;
use crate::cloud::account::Account;
use crate::domain::canary::Template;
use crate::domain::copies::Presence;
use crate::domain::cost::Costs;
use crate::domain::evidence::Evidence;
use crate::domain::foreign::ForeignText;
use crate::domain::format::{Shape, Unreadable};
use crate::domain::kind::Kind;
use crate::domain::proof::{Advice, Doubt, Proof};
use crate::domain::schema::{ExpectedSchema, TableSchema};
use crate::domain::sighting::{
    FailureKind, Poll, ReadStats, RecordOwner, Sighting, UnreadableRecord, Wanted,
};
use crate::domain::tag::{Keyring, Tag, TenantCode};
use crate::domain::time::Timestamp;
use crate::keys::fault::Checked;
use crate::keys::reader::Reader;

kinds! {
    Kinesis: kinesis,
    S3: s3,
    Gcs: gcs,
    CloudWatchLogs: cloudwatch_logs,
    BigQuery: bigquery,
    Sqs: sqs,
}

/// Reads one source.
pub trait Observe: Send + 'static {
    /// Polls the source once, for all wanted traces together. If a kind cannot prove absence
    /// ([`Capabilities::absence`](crate::domain::topology::Capabilities)), its polls have no watermark, and
    /// every answered poll counts as complete.
    ///
    /// `wanted.waiting` is never empty. Do not retry, count or log: the loop polls again. Sleep only between
    /// two calls of one poll, to spare a quota. The poll may be dropped at any `await`, when it exceeds its
    /// timeout or the daemon stops, and polls go on afterwards: state that is kept between polls must survive
    /// that without skipping anything.
    fn poll(&mut self, wanted: &Wanted) -> impl Future<Output = Result<Poll, ObserveError>> + Send;

    /// Returns, once, what polls found that failed or were dropped. The loop calls it after every poll that
    /// returned no [`Poll`], so that a call that hangs or always fails does not withhold what other calls
    /// found.
    fn take_unreported(&mut self) -> Findings {
        Findings::default()
    }

    /// Returns the schema that the source had when it was last described; `None` before that, or if it has
    /// none. The tracker decides whether it is as expected. The loop calls it after every poll, including
    /// failed ones.
    fn schema(&self) -> Option<Arc<TableSchema>> {
        None
    }

    /// Returns which of these records or objects exist ([`Wanted::checks`]). A record whose check failed is
    /// not in the answer; it is checked again. The loop calls it after answered polls, and also while no
    /// trace waits. Only kinds that declare [`Capabilities::moves`](crate::domain::topology::Capabilities)
    /// are called.
    fn check(&mut self, _records: &[Arc<str>]) -> impl Future<Output = Vec<(Arc<str>, Presence)>> + Send {
        std::future::ready(Vec::new())
    }

    /// Returns what decodes its records, if they can take long. The loop tells it how long a poll may take,
    /// and reports what is being decoded.
    fn decoder(&mut self) -> Option<&mut Decoder> {
        None
    }

    /// Whether the source says when a canary arrived. If it does not, only polls without it bound its arrival
    /// from below, so none may be left out.
    fn stamps_arrivals(&self) -> bool {
        true
    }

    /// Called when no trace waits any more. Open cursors may be dropped; the next poll may be far off.
    fn on_idle(&mut self) {}
}

/// What to do with records that arrive while no trace waits at a source, when it is not polled.
///
/// Canaries that are waited for are found either way. A leaked canary or a second copy, which is not waited
/// for, is only noticed if it is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Gaps {
    /// The next poll starts a little before the oldest waiting trace.
    #[default]
    Skip,
    /// The next poll continues where the last one ended.
    Read,
}

/// Their names in a configuration.
const GAPS: [(&str, Gaps); 2] = [("skip", Gaps::Skip), ("read", Gaps::Read)];

/// What an observer has found and not reported yet.
#[derive(Debug, Default)]
pub struct Findings {
    pub sightings: Vec<Sighting>,
    /// What was read to find them.
    pub stats: ReadStats,
    /// Records that could not be read.
    pub unreadable: Vec<UnreadableRecord>,
}

/// Most kinds of unreadable records, each with its owner, that are told apart in one poll.
const MAX_UNREADABLE: usize = 1_024;

impl Findings {
    /// Notes the parts of a record or object that could not be read. `arrived_by` is the latest instant by
    /// our own clock at which it can have arrived, `name` says which one it is: `record 17 in shard-0 of
    /// stream logs-acme`.
    pub fn note_unreadable(
        &mut self,
        arrived_by: Timestamp,
        parts: &[(Unreadable, u64)],
        label: Option<&ForeignText>,
        name: impl Fn() -> String,
    ) {
        for (part, count) in parts {
            self.note_kind(arrived_by, *part, *count, label.cloned().map(RecordOwner::Label), &name);
        }
    }

    fn note_kind(
        &mut self,
        arrived_by: Timestamp,
        mut part: Unreadable,
        count: u64,
        mut owner: Option<RecordOwner>,
        name: impl Fn() -> String,
    ) {
        let is_known = |record: &UnreadableRecord| record.part == part && record.owner == owner;
        let mut known = self.unreadable.iter().position(is_known);
        if known.is_none() && self.unreadable.len() >= MAX_UNREADABLE {
            // Anybody's and of no shape, so that no tenant's credit for a shape lifts what it withholds.
            (part.shape, owner) = (Shape::NONE, None);
            let is_rest = |record: &UnreadableRecord| record.part == part && record.owner.is_none();
            known = self.unreadable.iter().position(is_rest);
        }
        if let Some(record) = known.and_then(|at| self.unreadable.get_mut(at)) {
            record.count += count;
            record.arrived_by = record.arrived_by.max(arrived_by);
            return;
        }
        // The key of an object may be so long that the reason would be cut.
        let text = format!("{} is {part}", ForeignText::label(&name())).into();
        self.unreadable.push(UnreadableRecord { arrived_by, part, count, owner, text });
    }

    /// Makes the report of a poll for `wanted`. Everything that arrived before `watermark` has been read.
    #[must_use]
    pub fn into_poll(
        self,
        wanted: &Wanted,
        started: Timestamp,
        finished: Timestamp,
        watermark: Option<Timestamp>,
    ) -> Poll {
        let Self { sightings, stats, unreadable } = self;
        Poll {
            revision: wanted.revision,
            started,
            finished,
            watermark,
            sightings,
            stats,
            unreadable,
            failed_batches: Vec::new(),
        }
    }

    /// Whether nothing was found, read or billed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let ReadStats { bytes, records, decode_errors, foreign_tags, billed_bytes, behind: _, queued: _ } =
            self.stats;
        self.sightings.is_empty()
            && self.unreadable.is_empty()
            && [bytes, records, decode_errors, foreign_tags, billed_bytes].iter().all(|count| *count == 0)
    }
}

/// Why a poll failed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{detail}")]
pub struct ObserveError {
    pub kind: FailureKind,
    /// The call and its answer, as text for the person on call.
    pub detail: ForeignText,
    /// The pause that the source asks for, such as in a `Retry-After` header.
    pub retry_after: Option<Duration>,
}

impl ObserveError {
    /// A failure without a requested pause.
    pub fn new(kind: FailureKind, detail: impl Into<ForeignText>) -> Self {
        Self { kind, detail: detail.into(), retry_after: None }
    }
}

/// Tells our canaries from other data.
#[derive(Clone, Debug)]
pub struct Recognizer {
    /// The keys that sign tags.
    pub keys: Arc<Keyring>,
    /// The canary template of each tenant, to check copies for truncation.
    pub templates: Arc<[(TenantCode, Template)]>,
}

impl Recognizer {
    /// Returns the code of the tenant that a tag names; `None` if no such tenant is configured.
    #[must_use]
    pub fn tenant(&self, tag: &Tag) -> Option<TenantCode> {
        self.find(tag).map(|(code, _)| *code)
    }

    /// Returns the template of the tenant that a tag names; `None` if no such tenant is configured.
    #[must_use]
    pub fn template(&self, tag: &Tag) -> Option<&Template> {
        self.find(tag).map(|(_, template)| template)
    }

    fn find(&self, tag: &Tag) -> Option<&(TenantCode, Template)> {
        tag.tenant_among(self.templates.iter(), |(code, _)| *code)
    }
}
