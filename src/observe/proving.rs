//! What every kind of stage proves in the same way: that it can be polled, in time, and what a failure means.

use std::fmt::Write as _;
use std::time::Duration;

use super::{Observe, ObserveError, Site, Spec};
use crate::cloud::pending::{Unanswered, within};
use crate::domain::count::counted;
use crate::domain::proof::{Proof, Refusal};
use crate::domain::sighting::{FailureKind, Poll, Wanted};

/// Most unreadable records that are named.
const NAMED: usize = 3;

/// Runs one step, for at most as long as a poll may take.
pub(super) async fn in_time<T>(
    limit: Duration,
    step: impl Future<Output = Result<T, ObserveError>>,
) -> Result<T, ObserveError> {
    within(limit, step).await.unwrap_or_else(|unanswered| Err(no_answer(&unanswered)))
}

/// The failure of a step that was not answered in time.
pub(super) fn no_answer(unanswered: &Unanswered) -> ObserveError {
    ObserveError::new(FailureKind::Timeout, unanswered.to_string())
}

/// Polls once, as the daemon does.
pub(super) async fn polled<O: Observe>(
    observer: &mut O,
    site: &Site<'_>,
    spec: &Spec,
    resource: &str,
    wanted: &Wanted,
) -> (Proof, Option<Poll>) {
    const WHAT: &str = "poll";
    match in_time(site.rhythm.timeout, observer.poll(wanted)).await {
        Err(error) => (Proof::failed(WHAT, refusal(spec, resource, &error)), None),
        Ok(poll) if is_unreadable(&poll) => {
            let error = ObserveError::new(FailureKind::Garbled, unreadable(&poll));
            (Proof::failed(WHAT, refusal(spec, resource, &error)), Some(poll))
        }
        Ok(poll) => (Proof::ok(WHAT, describe(&poll)), Some(poll)),
    }
}

/// What a failure says of a source: the permission of the call that failed, and the key to look at.
pub(super) fn refusal(spec: &Spec, resource: &str, error: &ObserveError) -> Refusal {
    let text = error.detail.as_str();
    Refusal {
        kind: error.kind,
        permission: permission(spec, text),
        resource: called(text).unwrap_or(resource).to_owned(),
        text: error.detail.clone(),
        key: key(spec, error.kind, text),
    }
}

/// What was called, as the text of a failure names it: `GetObject on s3://b/k: AccessDenied`.
fn called(text: &str) -> Option<&str> {
    let (call, _) = text.split_once(": ")?;
    let (_, resource) = call.split_once(" on ").or_else(|| call.split_once(" of "))?;
    let resource = resource.trim_start_matches('`');
    resource.split('`').next()
}

/// The permission of the call that the text of a failure begins with.
fn permission(spec: &Spec, text: &str) -> Option<&'static str> {
    if text.contains(": AssumeRole: ") || text.starts_with("AssumeRole: ") {
        return Some("sts:AssumeRole");
    }
    let of = |name: &str| spec.costs.operations.iter().find(|operation| operation.name == name);
    let query = text.starts_with("query on ") || text.starts_with("dry run of a query on ");
    let named = if query { "jobs.query" } else { text.split(' ').next().unwrap_or_default() };
    of(named).map(|operation| operation.permission)
}

/// The key that a failure is about: the one that its text names, else the place that the source reads.
fn key(spec: &Spec, kind: FailureKind, text: &str) -> Option<&'static str> {
    let in_brackets = spec.keys.iter().find(|key| text.contains(&format!("({})", key.name)));
    // A word in plain English, such as `key` or `table`, names no key.
    let named = || spec.keys.iter().find(|key| key.name.contains('_') && text.contains(key.name));
    let region = || spec.keys.iter().find(|key| key.name == "region" && text.contains("set region of"));
    let found = in_brackets.or_else(named).or_else(region).map(|key| key.name);
    found.or_else(|| (kind == FailureKind::NotFound).then(|| spec.place_key()))
}

/// Whether a poll read records and could open none of them completely: canaries would not be found there
/// either.
fn is_unreadable(poll: &Poll) -> bool {
    poll.stats.records > 0 && poll.stats.decode_errors >= poll.stats.records
}

fn unreadable(poll: &Poll) -> String {
    let records = poll.unreadable.iter().map(|record| &*record.text);
    records.take(NAMED).collect::<Vec<_>>().join("; ")
}

fn describe(poll: &Poll) -> String {
    let end = match (poll.watermark, poll.stats.queued) {
        (Some(_), _) => "read to its end".to_owned(),
        (None, Some(messages)) => format!("readable, {} in the queue", counted(messages, "message")),
        (None, None) => "readable, end not reached yet".to_owned(),
    };
    let took = poll.finished.since(poll.started).as_millis();
    let mut text = format!("{end}, {} in {took} ms", counted(poll.stats.bytes, "byte"));
    if !poll.unreadable.is_empty() {
        // Writing to a String cannot fail.
        let records = counted(poll.stats.decode_errors, "record");
        let _ = write!(text, "; {records} could not be read: {}", unreadable(poll));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::kind::Kind;
    use crate::observe::spec;

    #[test]
    fn the_first_word_of_a_failure_names_the_permission() {
        for kind in Kind::ALL {
            for operation in spec(*kind).costs.operations {
                let text = format!("{} on x: AccessDenied: no", operation.name);
                let found = permission(spec(*kind), &text);
                assert_eq!(found, Some(operation.permission), "{kind}: {text}");
            }
        }
        let of = |text| permission(spec(Kind::BigQuery), text);
        assert_eq!(of("query on `p.d.t`: HTTP 403"), Some("bigquery.jobs.create"));
        assert_eq!(of("no answer within 5 s"), None);
        let denied = "GetRecords on stream s: AssumeRole: AccessDenied: no";
        assert_eq!(permission(spec(Kind::Kinesis), denied), Some("sts:AssumeRole"));
    }

    #[test]
    fn a_failure_names_what_was_called() {
        assert_eq!(called("GetObject on s3://b/k: AccessDenied: no"), Some("s3://b/k"));
        assert_eq!(called("tables.get of `p.d.t`: HTTP 404"), Some("p.d.t"));
        assert_eq!(called("no answer within 5 s"), None);
    }

    #[test]
    fn a_failure_names_the_key_that_it_is_about() {
        let of = |kind, failure, text| key(spec(kind), failure, text);
        let column = "column tennant of t does not exist; did you mean tenant? (tenant_column)";
        assert_eq!(of(Kind::BigQuery, FailureKind::NotFound, column), Some("tenant_column"));
        let budget = "one poll of `t` would read 200 MB, more than max_bytes_billed allows (100 MB): x";
        assert_eq!(of(Kind::BigQuery, FailureKind::OverBudget, budget), Some("max_bytes_billed"));
        let gone = "ListShards on stream s: ResourceNotFoundException: no";
        assert_eq!(of(Kind::Kinesis, FailureKind::NotFound, gone), Some("stream"));
        let region =
            "ListObjectsV2 on s3://b/: the bucket is in x, not in y; set region of the stage to \"x\": z";
        assert_eq!(of(Kind::S3, FailureKind::Error, region), Some("region"));
        assert_eq!(of(Kind::S3, FailureKind::Denied, "GetObject on s3://b/k: AccessDenied: no"), None);
    }
}
