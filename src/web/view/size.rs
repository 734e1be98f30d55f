//! End-to-end latency by the size of the canary.
//!
//! On the page and in JSON only: as a label, sizes would multiply every bucket of the latency histogram.

use std::collections::BTreeMap;

use crate::domain::conditions::latency;
use crate::domain::quantile::{Level, Quantile};
use crate::domain::trace::{Judgement, Trace};
use crate::domain::tracker::Snapshot;

/// End-to-end latencies of canaries of one size.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SizeFigures {
    /// The size of the log line, in bytes.
    pub(crate) bytes: u32,
    /// At the shown levels; `None` if nothing has been judged.
    pub(crate) quantiles: Option<[Quantile; 3]>,
    /// Number of canaries in the sample.
    pub(crate) judged: usize,
    /// Number of canaries in the sample that have not arrived.
    pub(crate) missing: usize,
}

/// Computes the figures for each size of canary among a tenant's traces, smallest first.
///
/// The sample is the same as for the verdict: a trace that has not arrived counts as slower than its age.
#[must_use]
pub(crate) fn sizes(snapshot: &Snapshot, traces: &[&Trace]) -> Vec<SizeFigures> {
    let mut by_size: BTreeMap<u32, Vec<&Trace>> = BTreeMap::new();
    for trace in traces {
        by_size.entry(trace.tag.size).or_default().push(*trace);
    }
    let figures = by_size.into_iter().map(|(bytes, traces)| {
        let mut sample = latency::end_to_end(snapshot, &traces);
        SizeFigures {
            bytes,
            quantiles: sample.quantiles(Level::SHOWN),
            judged: sample.len(),
            missing: traces.iter().filter(|trace| trace.judgement == Judgement::Overdue).count(),
        }
    });
    figures.collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::hop::hops;
    use super::super::tenant::recent_by_tenant;
    use super::*;
    use crate::domain::conditions::Criteria;
    use crate::web::fixture::*;

    fn criteria() -> Criteria {
        Criteria::new(Duration::from_secs(30))
    }

    #[test]
    fn the_sizes_add_up_to_the_sample_of_the_verdict() {
        for script in [(|_, _| Weather::default()) as Script, stuck] {
            let snapshot = after(17, script);
            let traces = recent_by_tenant(&snapshot, &criteria())[0].clone();
            let figures = sizes(&snapshot, &traces);
            let bytes: Vec<_> = figures.iter().map(|size| size.bytes).collect();
            assert_eq!(bytes, [100, 500, 1_024, 5_120, 10_240]);
            let hops = hops(&snapshot, &criteria(), ACME, &traces);
            let whole = hops.last().unwrap();
            assert!(whole.judged > 0);
            assert_eq!(figures.iter().map(|size| size.judged).sum::<usize>(), whole.judged);
            assert_eq!(figures.iter().map(|size| size.missing).sum::<usize>(), whole.missing);
        }
    }
}
