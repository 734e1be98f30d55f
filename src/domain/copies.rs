//! Stored copies of a canary, and why some are not charged to the pipeline.

use super::sighting::Locator;
use super::tag::InstanceCode;
use super::time::Timestamp;

/// Most records of one source that are checked at a time.
pub const MAX_CHECKED_RECORDS: usize = 16;

/// A stored copy of a canary at one stage.
#[derive(Clone, PartialEq, Debug)]
pub struct StoredCopy {
    /// Where it is, or was.
    pub locator: Locator,
    /// The run of a probe that sent it, if it is not the one in the tag of the trace: a process that sent the
    /// same slot.
    pub other_sender: Option<InstanceCode>,
    /// Whether it is known to have been deleted.
    pub gone: bool,
    /// What it counts as.
    pub standing: CopyStanding,
}

impl StoredCopy {
    /// A copy that is not known to be gone.
    #[must_use]
    pub const fn new(locator: Locator, other_sender: Option<InstanceCode>, standing: CopyStanding) -> Self {
        Self { locator, other_sender, gone: false, standing }
    }
}

/// What a stored copy counts as.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CopyStanding {
    /// The first copy, with which others are compared.
    First,
    /// Found in bytes that were not decoded, which shows that the canary is there but not how often.
    Undecoded,
    /// A second copy that was found before its put was answered, so the probe may have made it.
    AwaitsPut,
    /// A second copy that may have been moved: whether both exist is checked at this time.
    Pending(Check),
    /// A duplicate. Counted for the first of them at the stage only.
    Duplicate,
    /// A second copy that is not charged to the pipeline.
    Uncharged(UnchargedReason),
}

/// Why a copy is not charged to the pipeline.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Uncharged {
    /// Not decided yet.
    Pending,
    /// Decided.
    For(UnchargedReason),
}

impl Uncharged {
    /// The name in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::For(reason) => reason.as_str(),
        }
    }
}

/// The copies of a canary at one stage that are not charged to the pipeline, or not yet, and why.
pub fn uncharged(copies: &[StoredCopy]) -> impl Iterator<Item = (&Locator, Uncharged)> {
    let is_alone = |of: &StoredCopy| copies.iter().all(|copy| copy.locator.record() == of.locator.record());
    copies.iter().filter_map(move |copy| {
        let reason = match copy.standing {
            CopyStanding::First | CopyStanding::Duplicate => return None,
            CopyStanding::AwaitsPut | CopyStanding::Pending(_) => Uncharged::Pending,
            CopyStanding::Undecoded if is_alone(copy) => return None,
            CopyStanding::Undecoded => Uncharged::For(UnchargedReason::Unknown),
            CopyStanding::Uncharged(reason) => Uncharged::For(reason),
        };
        Some((&copy.locator, reason))
    })
}

/// A check whether copies still exist.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Check {
    /// When it is due.
    pub at: Timestamp,
    /// Which of the two it is.
    pub round: Round,
}

/// The checks of a second copy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Round {
    /// At once: whether the first copy exists.
    First,
    /// Again later: whether both exist.
    Last,
}

/// Whether a record or object exists.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Presence {
    /// It does.
    There,
    /// It was deleted or overwritten.
    Gone,
    /// The probe may not know.
    Unknown,
}

/// Why a second copy is not counted as a duplicate.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum UnchargedReason {
    /// The put was retried after a missing answer, so the probe may have made the copy itself.
    RetriedPut,
    /// It is in the same record or object as another copy: one writer put both there.
    SameRecord,
    /// Another record has the tag without the rest of the canary, which is whole elsewhere: a log line that
    /// mentions the canary.
    Mention,
    /// The other copy was deleted: it was moved or merged.
    Moved,
    /// Another process sent the same slot: the predecessor or the successor of this one, or another probe with
    /// the same key.
    SecondSender,
    /// Whether it is a second copy, or who made it, is unknown: it was found in bytes that were not decoded,
    /// whether the first one still exists could not be checked, or the answer to the put is lost with the
    /// process that sent it.
    Unknown,
}

impl UnchargedReason {
    /// Every reason, to initialise the series.
    pub const ALL: [Self; 6] =
        [Self::RetriedPut, Self::SameRecord, Self::Mention, Self::Moved, Self::SecondSender, Self::Unknown];

    /// As a label value.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RetriedPut => "retried_put",
            Self::SameRecord => "same_record",
            Self::Mention => "mention",
            Self::Moved => "moved",
            Self::SecondSender => "second_sender",
            Self::Unknown => "unknown",
        }
    }

    /// Reads what [`Self::as_str`] wrote.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == text)
    }
}
