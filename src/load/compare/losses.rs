//! Compares what two runs lost. A percentile does not tell it: that of a run that loses 2 % is as good as that of one
//! that loses nothing.

use super::{Change, Unknown, hop_names, sample_of};
use crate::domain::foreign::ForeignText;
use crate::load::ratio::Ratio;
use crate::load::report::{Report, SliceLine};

/// What two runs lost on one hop, or of all.
#[derive(Clone, Debug, PartialEq)]
pub struct Lost {
    pub name: ForeignText,
    /// Those that never arrived of those of which it is known, with the 95 % interval of Wilson. `None` of nothing.
    pub before: Option<Ratio>,
    pub after: Option<Ratio>,
    pub change: Change,
}

/// Compares the losses of every hop and of the whole, of the slices that are compared. They differ if their intervals have
/// nothing in common, whatever became of the canaries that are not known.
#[must_use]
pub fn losses(before: &Report, after: &Report) -> Vec<Lost> {
    let slices = super::compared(before, after);
    let one = |hop: Option<&str>| {
        let [before, after] = [&slices[0], &slices[1]].map(|slices| Tally::new(slices, hop));
        Lost {
            name: ForeignText::label(hop.unwrap_or("end to end")),
            before: before.known_ratio(),
            after: after.known_ratio(),
            change: change(before, after),
        }
    };
    hop_names(before, after).into_iter().map(one).collect()
}

/// How many canaries never arrived at a stage.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Tally {
    missing: u64,
    known: u64,
    /// Of which it is not known when they arrived, or whether.
    unknown: u64,
}

impl Tally {
    fn new(slices: &[&SliceLine], hop: Option<&str>) -> Self {
        let of = slices.iter().filter_map(|slice| match hop {
            None => Some(&slice.end_to_end),
            Some(hop) => slice.hops.get(hop),
        });
        of.fold(Self::default(), |sum, of| {
            let sample = sample_of(of, Unknown::LeftOut);
            Self {
                missing: sum.missing.saturating_add(sample.missing),
                known: sum.known.saturating_add(sample.known()),
                unknown: sum.unknown.saturating_add(of.unknown),
            }
        })
    }

    fn known_ratio(self) -> Option<Ratio> {
        Ratio::of(self.missing, self.known)
    }

    /// The ratio, if so many of those that are not known never arrived.
    fn ratio(self, of_unknown: u64) -> Option<Ratio> {
        Ratio::of(self.missing.saturating_add(of_unknown), self.known.saturating_add(self.unknown))
    }
}

fn change(before: Tally, after: Tally) -> Change {
    let if_known =
        |lost_before: u64, lost_after: u64| match (before.ratio(lost_before), after.ratio(lost_after)) {
            (Some(old), Some(new)) if new.low > old.high => Change::Worse,
            (Some(old), Some(new)) if new.high < old.low => Change::Better,
            (Some(_), Some(_)) => Change::Same,
            (None, _) | (_, None) => Change::Unknown,
        };
    let (least, most) = (if_known(before.unknown, 0), if_known(0, after.unknown));
    if least == most { least } else { Change::Unknown }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(missing: u64, known: u64, unknown: u64) -> Tally {
        Tally { missing, known, unknown }
    }

    #[test]
    fn a_run_that_loses_far_more_is_worse_whatever_its_percentiles_are() {
        // 12.75 % and 69.75 %, of both of which the P95 never arrived.
        let (before, after) = (tally(153, 1_200, 0), tally(837, 1_200, 0));
        assert_eq!(change(before, after), Change::Worse);
        assert_eq!(change(after, before), Change::Better);
        // None and 2.3 %, of both of which the P95 arrived.
        assert_eq!(change(tally(0, 1_200, 0), tally(28, 1_200, 0)), Change::Worse);
    }

    #[test]
    fn losses_whose_intervals_overlap_are_the_same() {
        assert_eq!(change(tally(0, 1_200, 0), tally(1, 1_200, 0)), Change::Same);
        assert_eq!(change(tally(10, 1_200, 0), tally(15, 1_200, 0)), Change::Same);
    }

    #[test]
    fn losses_that_depend_on_what_is_not_known_are_unknown() {
        assert_eq!(change(tally(0, 1_200, 0), tally(28, 1_170, 30)), Change::Worse);
        assert_eq!(change(tally(0, 1_200, 0), tally(0, 1_170, 30)), Change::Unknown);
        assert_eq!(change(Tally::default(), tally(0, 1_200, 0)), Change::Unknown);
    }
}
