//! Looking for canaries at the stages of a pipeline.
//!
//! A kind of stage is one folder: its keys, its observer, where a person looks its records up, what it calls and costs,
//! what it must be allowed, its tests. `kinds` says what a folder provides, and the list below is the only place that
//! knows them all. `decode` reads what stands in records, `object_store` whatever keeps objects under keys.
//!
//! An observer has one verb, [`Observe::poll`]. It does not retry, count or log; the loop in [`pace`] does all that for
//! every kind in the same way.

mod blocking;
pub mod decode;
mod failure;
#[cfg(test)]
mod fixtures;
mod kinds;
pub mod object_store;
pub mod pace;
mod rate_limit;
mod shell;
mod unreadable;

// The kinds.
pub mod bigquery;
pub mod cloudwatch_logs;
pub mod gcs;
pub mod kinesis;
pub mod s3;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;

pub(crate) use self::kinds::Scope;
pub use self::kinds::{Attribution, Site, Spec};
use self::kinds::{KindSettings, kinds};
use crate::cloud::NoClient;
use crate::domain::canary::Template;
use crate::domain::evidence::Evidence;
use crate::domain::kind::Kind;
use crate::domain::schema::{ExpectedSchema, TableSchema};
use crate::domain::sighting::{FailureKind, Poll, ReadStats, Sighting, UnreadableRecord, Wanted};
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
}

/// Reads one source.
pub trait Observe: Send + 'static {
    /// Looks once, for all wanted traces together. Where a kind cannot prove absence
    /// ([`Capabilities::absence`](crate::domain::topology::Capabilities)), no sweep has a watermark, and each that is answered
    /// counts as complete.
    ///
    /// `wanted.waiting` is never empty. Do not retry, count or log: the loop comes round again; and do not sleep but to
    /// leave a quota to others between two calls of one look. It may be dropped at any `await`, when it takes longer than
    /// its timeout or the daemon stops, and is asked again afterwards; whatever it keeps between looks must survive that
    /// without skipping anything.
    fn poll(&mut self, wanted: &Wanted) -> impl Future<Output = Result<Poll, ObserveError>> + Send;

    /// Gives away what looks found that failed or were dropped, and that no sweep reported. Asked after every look that
    /// gave no sweep: what one call that never ends, or fails each time, holds up must not be withheld with it.
    fn take_unreported(&mut self) -> Findings {
        Findings::default()
    }

    /// The schema that the source had when it was last described; `None` until it was, or where there is none. Whether
    /// that is the one it should have is the tracker's to say. Asked after every look, also one that failed.
    fn schema(&self) -> Option<Arc<TableSchema>> {
        None
    }

    /// Nothing waits any more; open cursors may be let go. The next look may be far off.
    fn rest(&mut self) {}
}

/// What becomes of what arrives while nothing waits at a source, when no look is made.
///
/// Whether a canary that is waited for has arrived is told either way. A leaked canary or a second copy, which nobody
/// waits for, is only noticed where it is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Gaps {
    /// The next look begins a little before what is waited for.
    #[default]
    Skip,
    /// The next look goes on where the last one ended.
    Read,
}

/// The words for it in a configuration.
const GAPS: [(&str, Gaps); 2] = [("skip", Gaps::Skip), ("read", Gaps::Read)];

/// What was found and not reported yet.
#[derive(Debug, Default)]
pub struct Findings {
    /// What was seen.
    pub sightings: Vec<Sighting>,
    /// What it took to see it.
    pub stats: ReadStats,
    /// Records that could not be read.
    pub unreadable: Vec<UnreadableRecord>,
}

impl Findings {
    /// As the sweep of a look: when it began and ended, and up to when everything has been read.
    #[must_use]
    pub fn into_poll(
        self,
        wanted: &Wanted,
        started: Timestamp,
        finished: Timestamp,
        watermark: Option<Timestamp>,
    ) -> Poll {
        let Self { sightings, stats, unreadable } = self;
        Poll { revision: wanted.revision, started, finished, watermark, sightings, stats, unreadable }
    }

    /// Nothing was seen, and nothing spent.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let ReadStats { bytes, records, decode_errors, foreign_tags, billed_bytes, behind: _ } = self.stats;
        self.sightings.is_empty()
            && self.unreadable.is_empty()
            && [bytes, records, decode_errors, foreign_tags, billed_bytes].iter().all(|count| *count == 0)
    }
}

/// Why a look failed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{detail}")]
pub struct ObserveError {
    /// What kind of failure.
    pub kind: FailureKind,
    /// What happened, in words for the person on call: what was asked, what was answered.
    pub detail: Arc<str>,
    /// How long the source asks to be left alone, where it says so.
    pub retry_after: Option<Duration>,
}

impl ObserveError {
    /// A failure without a hint when to come back.
    pub fn new(kind: FailureKind, detail: impl Into<Arc<str>>) -> Self {
        Self { kind, detail: detail.into(), retry_after: None }
    }
}

/// What an observer needs to tell our canaries from everything else.
#[derive(Clone, Debug)]
pub struct Recognizer {
    /// The keys that sign tags.
    pub keys: Arc<Keyring>,
    /// What each tenant's canaries look like, to check copies for truncation.
    pub templates: Arc<[(TenantCode, Template)]>,
}

impl Recognizer {
    /// The code of the tenant that a tag names.
    #[must_use]
    pub fn tenant(&self, tag: &Tag) -> Option<TenantCode> {
        self.named(tag).map(|(code, _)| *code)
    }

    /// The template of the tenant that a tag names.
    #[must_use]
    pub fn template(&self, tag: &Tag) -> Option<&Template> {
        self.named(tag).map(|(_, template)| template)
    }

    fn named(&self, tag: &Tag) -> Option<&(TenantCode, Template)> {
        tag.tenant_among(self.templates.iter(), |(code, _)| *code)
    }
}
