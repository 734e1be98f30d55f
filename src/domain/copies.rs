//! Second stored copies of a canary, and why some are not charged to the pipeline.

/// Why a second copy is not counted as a duplicate.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum UnchargedReason {
    /// The put was retried after a missing answer, so the probe may have made the copy itself.
    RetriedPut,
}

impl UnchargedReason {
    /// Every reason, to initialise the series.
    pub const ALL: [Self; 1] = [Self::RetriedPut];

    /// As a label value.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RetriedPut => "retried_put",
        }
    }
}
