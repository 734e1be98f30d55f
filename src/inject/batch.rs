//! Splits due canaries into batches that PutLogEvents accepts. Usually there is one batch.

use std::time::Duration;

use super::CanaryLine;
use crate::domain::canary::MAX_MESSAGE_BYTES;
use crate::domain::tag::TraceId;
use crate::domain::tracker::PutResult;

/// The most events that PutLogEvents accepts in one call (AWS Logs API reference).
const MAX_EVENTS: usize = 10_000;
/// The most bytes that PutLogEvents accepts in one call, messages and overhead together (AWS Logs API
/// reference).
const MAX_BYTES: usize = 1_048_576;
/// Bytes that PutLogEvents counts for each event in addition to its message (AWS Logs API reference).
const EVENT_OVERHEAD_BYTES: usize = 26;
/// The first and last event of a batch are less than this apart. PutLogEvents accepts at most 24 hours (AWS
/// Logs API reference); exactly 24 hours already starts a new batch here, which is always accepted.
const MAX_SPAN: Duration = Duration::from_hours(24);

/// Returns the batches, and the results of canaries that are too large for any call. Batches are in order of
/// time, and so are the canaries in each.
pub(super) fn split(mut canaries: Vec<CanaryLine>) -> (Vec<Vec<CanaryLine>>, Vec<(TraceId, PutResult)>) {
    // PutLogEvents rejects a call whose events are not in chronological order.
    canaries.sort_by_key(|canary| canary.planned_at);
    let mut batches: Vec<Vec<CanaryLine>> = Vec::new();
    let mut too_large = Vec::new();
    let mut batch_bytes = 0;
    for canary in canaries {
        if canary.line.len() > MAX_MESSAGE_BYTES {
            let reason = format!(
                "the canary has {} bytes, but a log event may have at most {MAX_MESSAGE_BYTES}",
                canary.line.len()
            );
            too_large.push((canary.trace, PutResult::Refused { reason: reason.into() }));
            continue;
        }
        let event_bytes = canary.line.len() + EVENT_OVERHEAD_BYTES;
        match batches.last_mut() {
            Some(batch)
                if batch.len() < MAX_EVENTS
                    && batch_bytes + event_bytes <= MAX_BYTES
                    && batch
                        .first()
                        .is_some_and(|first| canary.planned_at.since(first.planned_at) < MAX_SPAN) =>
            {
                batch_bytes += event_bytes;
                batch.push(canary);
            }
            _ => {
                batch_bytes = event_bytes;
                batches.push(vec![canary]);
            }
        }
    }
    (batches, too_large)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::Timestamp;
    use crate::domain::topology::TenantId;

    fn canary(secs: i64, size: usize) -> CanaryLine {
        CanaryLine {
            trace: TraceId::new(Timestamp::from_secs(secs), [1; 10]),
            tenant: TenantId(0),
            planned_at: Timestamp::from_secs(secs),
            line: "x".repeat(size),
        }
    }

    #[test]
    fn due_canaries_go_into_one_call_in_order_of_time() {
        let (batches, too_large) = split(vec![canary(9, 10), canary(3, 10), canary(5, 10)]);
        let times: Vec<_> = batches[0].iter().map(|canary| canary.planned_at.millis() / 1_000).collect();
        assert_eq!((batches.len(), too_large.len()), (1, 0));
        assert_eq!(times, [3, 5, 9]);
    }

    #[test]
    fn a_call_has_at_most_1_mib_including_26_bytes_per_event() {
        let half = MAX_BYTES / 2 - EVENT_OVERHEAD_BYTES;
        assert_eq!(split(vec![canary(1, half), canary(2, half)]).0.len(), 1);
        assert_eq!(split(vec![canary(1, half), canary(2, half + 1)]).0.len(), 2);
    }

    #[test]
    fn a_call_has_at_most_ten_thousand_events_within_a_day() {
        let many = |count| (0..count).map(|_| canary(1, 1)).collect();
        assert_eq!(split(many(10_000)).0.len(), 1);
        assert_eq!(split(many(10_001)).0.len(), 2);
        assert_eq!(split(vec![canary(0, 1), canary(86_400, 1)]).0.len(), 2);
    }

    #[test]
    fn a_line_too_large_for_any_call_is_refused_and_the_others_are_sent() {
        let (batches, too_large) =
            split(vec![canary(1, MAX_MESSAGE_BYTES + 1), canary(2, MAX_MESSAGE_BYTES)]);
        assert_eq!((batches.len(), too_large.len()), (1, 1));
        assert!(matches!(too_large[0].1, PutResult::Refused { .. }));
    }
}
