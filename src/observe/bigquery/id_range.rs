//! The ids of many traces in one query, however many they are.
//!
//! An id begins with the instant for which its canary was planned, so the ids of all waiting traces lie in one
//! range, which a clustered table is read by. Canaries that have arrived lie in it, too. They must not come
//! back with each poll, so a query also names the end of each id that is looked for, which is random: 12 of its
//! 32 digits. A row of another trace may have the same end, at a chance of 1 in 10^14 for each that waits, and
//! is dropped when it is read. That nothing else narrows the query down, such as what an earlier poll saw, is
//! what lets it prove absence ([why](../../../docs/adr/0009-many-ids-in-one-query.md)).

use super::settings::{IdIs, IdMatch};
use crate::domain::sighting::WantedTrace;
use crate::domain::tag::{HEAD_LEN, MARKER, TraceId, Version};

/// Digits of a trace id (RFC 9562, in hexadecimal digits).
const DIGITS: usize = 32;

/// How many of the last digits of a trace id stand in a query. They are all random in a UUIDv7, of which the
/// last 62 bits are (RFC 9562, section 5.7).
const END: usize = 12;

/// From the oldest to the newest of some traces.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct IdRange {
    oldest: TraceId,
    newest: TraceId,
    /// The versions of their tags.
    versions: Vec<Version>,
}

impl IdRange {
    /// `None` without traces.
    pub(super) fn of(traces: &[WantedTrace]) -> Option<Self> {
        let ids = || traces.iter().map(|trace| trace.tag.trace);
        let of = |version: &Version| traces.iter().any(|trace| trace.tag.version() == *version);
        let versions = Version::ALL.into_iter().filter(of).collect();
        Some(Self { oldest: ids().min()?, newest: ids().max()?, versions })
    }

    /// The condition that a row is of one of the traces whose ends are the parameter `ends`.
    pub(super) fn condition(&self, text: &str, id_match: IdMatch, id_is: IdIs) -> String {
        match id_match {
            IdMatch::Exact => self.exact(text, id_is),
            IdMatch::Contains => within(text),
        }
    }

    /// A function of the column would make BigQuery read it whole, so it is applied within the range only.
    fn exact(&self, id: &str, id_is: IdIs) -> String {
        let bounds: Vec<(String, String)> = match id_is {
            IdIs::TraceId => vec![(self.oldest.to_string(), self.newest.to_string())],
            IdIs::Tag => {
                let head = |version: &Version, trace: TraceId| format!("{MARKER}{version}{trace}");
                // What follows the trace id in a tag is below `z`.
                let of = |version| (head(version, self.oldest), head(version, self.newest) + "z");
                self.versions.iter().map(of).collect()
            }
        };
        let cases = [str::to_ascii_lowercase, str::to_ascii_uppercase];
        let ranges: Vec<_> = cases
            .iter()
            .flat_map(|cased| bounds.iter().map(move |(from, to)| (cased(from), cased(to))))
            .map(|(from, to)| format!("{id} BETWEEN '{from}' AND '{to}'"))
            .collect();
        let head = match id_is {
            IdIs::Tag => HEAD_LEN,
            IdIs::TraceId => 0,
        };
        // SQL counts from 1.
        let at = head + DIGITS - END + 1;
        let ranges = ranges.join(" OR ");
        format!("(({ranges}) AND LOWER(SUBSTR({id}, {at}, {END})) IN UNNEST(SPLIT(@ends, ',')))")
    }
}

/// Any tag of a text counts, not only the first.
fn within(text: &str) -> String {
    let versions: String = Version::ALL.iter().map(|version| version.digit()).collect();
    let (before, hex) = (DIGITS - END, "[0-9a-f]");
    format!(
        "EXISTS(SELECT 1 FROM UNNEST(REGEXP_EXTRACT_ALL(LOWER({text}), \
         '{MARKER}[{versions}]{hex}{{{before}}}({hex}{{{END}}})')) AS part WHERE part IN UNNEST(SPLIT(@ends, ',')))"
    )
}

/// The ends of these traces, as the parameter `ends`.
pub(super) fn ends(traces: &[WantedTrace]) -> String {
    const MASK: u128 = (1 << (4 * END)) - 1;
    let mut text = String::with_capacity(traces.len() * (END + 1));
    for trace in traces {
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(&format!("{:0END$x}", trace.tag.trace.as_u128() & MASK));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::tag::{InstanceCode, Purpose, Tag, TenantCode};
    use crate::domain::time::Timestamp;

    // 2026-11-22T04:29:41Z
    const AT: i64 = 1_795_321_781;

    fn trace(secs: i64, random: u8) -> WantedTrace {
        let planned_at = Timestamp::from_secs(AT + secs);
        let trace = TraceId::new(planned_at, [random; 10]);
        let tag = Tag::new(trace, TenantCode::of("a"), InstanceCode::of("b"), 100, Purpose::Probe);
        WantedTrace { tag, planned_at }
    }

    fn condition(id_match: IdMatch, id_is: IdIs) -> String {
        let range = IdRange::of(&[trace(7, 9), trace(0, 1), trace(3, 2)]).unwrap();
        range.condition("`id`", id_match, id_is)
    }

    #[test]
    fn tags_are_one_range_in_either_case() {
        assert_eq!(
            condition(IdMatch::Exact, IdIs::Tag),
            "((`id` BETWEEN 'zqtp201a201845b0871018101010101010101' AND 'zqtp201a20184766079098909090909090909z' \
             OR `id` BETWEEN 'ZQTP201A201845B0871018101010101010101' AND 'ZQTP201A20184766079098909090909090909Z') \
             AND LOWER(SUBSTR(`id`, 26, 12)) IN UNNEST(SPLIT(@ends, ',')))"
        );
    }

    #[test]
    fn trace_ids_are_compared_without_what_a_tag_has_before_and_after_them() {
        let condition = condition(IdMatch::Exact, IdIs::TraceId);
        let expected =
            "((`id` BETWEEN '01a201845b0871018101010101010101' AND '01a20184766079098909090909090909'";
        assert!(condition.starts_with(expected), "{condition}");
        assert!(condition.contains("SUBSTR(`id`, 21, 12)"), "{condition}");
    }

    #[test]
    fn every_tag_inside_a_text_is_compared() {
        assert_eq!(
            condition(IdMatch::Contains, IdIs::Tag),
            "EXISTS(SELECT 1 FROM UNNEST(REGEXP_EXTRACT_ALL(LOWER(`id`), \
             'zqtp[12][0-9a-f]{20}([0-9a-f]{12})')) AS part WHERE part IN UNNEST(SPLIT(@ends, ',')))"
        );
    }

    #[test]
    fn an_end_is_the_last_digits_of_an_id_with_its_zeros() {
        let short = TraceId::from_u128(0x0abc);
        let mut zeros = trace(0, 1);
        zeros.tag = Tag::new(short, TenantCode::of("a"), InstanceCode::of("b"), 100, Purpose::Probe);
        assert_eq!(ends(&[trace(0, 1), zeros]), "010101010101,000000000abc");
    }

    #[test]
    fn a_hundred_thousand_traces_take_little_over_a_megabyte() {
        let traces = vec![trace(0, 1); 100_000];
        assert!(ends(&traces).len() < 1_300_000);
    }
}
