//! Since when an object must have been stamped for a waiting canary to be in it.
//!
//! A writer has all records of an object before it sends it whole, so the stamp of such an object cannot precede a
//! canary in it by more than the clocks differ. How much they differ is seen from the dates of the store's answers.
//! Where that is not known, where an object may have been stamped before it was complete, and where stamps turned
//! out to lag, an object is read if it was stamped at most a minute before the oldest waiting canary was planned.

use std::time::Duration;

use crate::domain::sighting::Stamp;
use crate::domain::time::Timestamp;

/// How much earlier than a canary in it an object may be stamped while the clocks agree: [`AHEAD`], and two seconds
/// between the store's own machines.
const MARGIN: Duration = Duration::from_secs(5);
/// The clocks agree if no answer ends later by our clock than this after its date: dates are cut to the second, and
/// the answer travels.
const AHEAD: Duration = Duration::from_secs(3);
/// For how long stamps are not relied on after an answer or an object cast doubt on them. A slow store must not make
/// every other poll rely on them.
const DOUBT: Duration = Duration::from_hours(1);

/// The stamps from which on objects are read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Since {
    /// Of any object.
    any: Timestamp,
    /// Of objects that were complete when they were stamped.
    complete: Timestamp,
}

impl Since {
    /// Whether an object with this stamp is too old to be read.
    pub(super) fn is_after(self, stamp: Stamp, is_complete: bool) -> bool {
        let from = if is_complete { self.complete } else { self.any };
        stamp.interval().is_some_and(|stamped| stamped.latest < from)
    }

    /// Whether every object that is read since `other` is also read since this.
    pub(super) fn covers(self, other: Self) -> bool {
        self.any <= other.any && self.complete <= other.complete
    }

    /// Whether an object with this stamp is too old only because it was complete.
    pub(super) fn is_after_only(self, stamp: Stamp, is_complete: bool) -> bool {
        self.is_after(stamp, is_complete) && !self.is_after(stamp, false)
    }

    /// Treats all objects alike.
    pub(super) fn widen(&mut self) {
        self.complete = self.any;
    }
}

/// Whether the stamps of a store can be relied on.
#[derive(Debug, Default)]
pub(super) struct Stamps {
    /// An answer has shown that our clock is not ahead of the store's.
    clocks_agree: bool,
    doubted_at: Option<Timestamp>,
}

impl Stamps {
    /// Since when an object must have been stamped to hold a canary that was planned since `planned`.
    pub(super) fn since(&self, planned: Timestamp, slack: Duration, started: Timestamp) -> Since {
        let is_doubted = self.doubted_at.is_some_and(|at| started.since(at) < DOUBT);
        let margin = if self.clocks_agree && !is_doubted { MARGIN.min(slack) } else { slack };
        Since { any: planned - slack, complete: planned - margin }
    }

    /// Compares the clocks: the date of an answer, and when it ended by our clock. Returns whether they agree.
    pub(super) fn compare(&mut self, date: Option<Timestamp>, ended: Timestamp) -> bool {
        let agree = date.is_some_and(|date| ended.since(date) <= AHEAD);
        if agree {
            self.clocks_agree = true;
        } else {
            self.doubted_at = Some(ended);
        }
        agree
    }

    /// Notes an object that the last whole listing, begun at `absent_at`, did not show. Returns whether its stamp is
    /// much earlier than that: it was stamped before it was complete, copied with its stamp, or the clocks differ.
    pub(super) fn appeared(&mut self, stamp: Stamp, absent_at: Timestamp, started: Timestamp) -> bool {
        let is_late = stamp.interval().is_some_and(|stamped| stamped.latest + MARGIN < absent_at);
        if is_late {
            self.doubted_at = Some(started);
        }
        is_late
    }
}
