//! From rows to sightings.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde_json::Value;

use super::columns::{Columns, TimeColumn};
use super::settings::{IdIs, IdMatch, TimeIs};
use crate::domain::canary::{Integrity, Start};
use crate::domain::foreign::ForeignText;
use crate::domain::format::FoundIn;
use crate::domain::sighting::{Locator, ReadStats, Sighting, Stamp};
use crate::domain::tag::{MARKER, NotOurs, Tag, TenantCode, TraceId};
use crate::domain::time::Timestamp;
use crate::observe::Recognizer;
use crate::observe::decode::{Halt, Limits, scan_until};

/// How many tags in the body of a row are verified. A row is one canary, and names it a few times.
const MAX_TRIED_TAGS: usize = 16;
/// How much of a body around its tag is compared with what was sent, beyond twice the size of the canary, in
/// bytes. Fields may have been re-ordered, and escaping makes them longer.
const AROUND: usize = 16 << 10;

/// The values of a row, in the order of [`Columns::positions`].
pub(super) type Row = Vec<Option<Value>>;

/// Turns the rows of one query into sightings.
pub(super) struct Reader<'a> {
    pub(super) table: &'a str,
    pub(super) id_is: IdIs,
    pub(super) columns: &'a Columns,
    pub(super) recognizer: &'a Recognizer,
    /// What the query looked for, by trace.
    pub(super) wanted: &'a HashMap<TraceId, Tag>,
    /// Whose canaries may be in the table, where the query looked for others', too.
    pub(super) owners: Option<&'a [TenantCode]>,
    /// Labels by what the table shows of them, where its column of tenants is of type INTEGER.
    pub(super) padded_labels: Option<&'a BTreeMap<String, Arc<str>>>,
    /// Ends the reading.
    pub(super) halt: &'a Halt,
}

impl Reader<'_> {
    /// Reads all rows of a query's answer, which was complete at `seen_by`, or those before it is ended.
    pub(super) fn read(&self, rows: &[Row], seen_by: Timestamp, stats: &mut ReadStats) -> Vec<Sighting> {
        let mut sightings = Vec::with_capacity(rows.len());
        for row in rows.iter().take_while(|_| !self.halt.is_set()) {
            stats.records += 1;
            stats.bytes += row.iter().flatten().map(|cell| text(cell).len() as u64).sum::<u64>();
            let tags = self.tags(row, stats);
            let ours = tags.iter().filter(|tag| self.is_of_interest(tag));
            sightings.extend(ours.map(|tag| self.sighting(*tag, row, seen_by)));
        }
        self.number_copies(&mut sightings);
        sightings
    }

    /// Gives each copy a locator. A table has no name for a row, so copies are numbered by age: a second row
    /// is another copy, and reading the same rows again gives them the same numbers. Rows that mean different
    /// things are numbered apart. Otherwise the tenant's own row would become another copy as soon as a
    /// leaked one is older or, without an order, is listed first.
    fn number_copies(&self, sightings: &mut [Sighting]) {
        sightings.sort_by_key(|sighting| match sighting.stamp {
            Stamp::Millis(at) | Stamp::Seconds(at) | Stamp::NotBefore(at) => at,
            Stamp::None => Timestamp::MAX,
        });
        let mut copies: HashMap<(TraceId, Option<ForeignText>, bool), u32> = HashMap::new();
        for sighting in sightings {
            let changed = matches!(sighting.integrity, Integrity::Corrupted { .. });
            let number = copies.entry((sighting.tag.trace, sighting.label.clone(), changed)).or_default();
            *number += 1;
            let changed = if changed { "changed " } else { "" };
            let whose = sighting.label.as_ref().map_or_else(String::new, |label| format!(" of {label}"));
            sighting.locator = Locator::new(format!("{} {changed}row {number}{whose}", self.table));
        }
    }

    /// Whether the query looked for its id, or it is of a tenant of ours that has no place here. What probes
    /// of other tenants leave here is theirs to follow.
    fn is_of_interest(&self, tag: &Tag) -> bool {
        let has_no_place = |owners: &[TenantCode]| {
            self.recognizer.tenant(tag).is_some_and(|tenant| !owners.contains(&tenant))
        };
        self.wanted.contains_key(&tag.trace) || self.owners.is_some_and(has_no_place)
    }

    fn sighting(&self, tag: Tag, row: &Row, seen_by: Timestamp) -> Sighting {
        let positions = self.columns.positions();
        let cell = |position: Option<usize>| row.get(position?)?.as_ref();
        let time = cell(positions.time).and_then(instant).map(Timestamp::floor_to_millis);
        let stamp = match (&self.columns.time, time) {
            (Some(TimeColumn { is: TimeIs::Inserted, .. }), Some(at)) => Stamp::Millis(at),
            (Some(TimeColumn { is: TimeIs::Written, .. }), Some(at)) => Stamp::NotBefore(at),
            // A row without its time has arrived all the same.
            (_, None) | (None, Some(_)) => Stamp::None,
        };
        let body = cell(positions.body);
        Sighting {
            tag,
            stamp,
            seen_by,
            locator: Locator::new(""),
            label: cell(positions.tenant).map(|cell| self.label(&text(cell))),
            integrity: body.map_or(Integrity::Unchecked, |body| self.integrity(&tag, &text(body))),
            found_in: FoundIn::default(),
        }
    }

    fn label(&self, shown: &str) -> ForeignText {
        let padded = self.padded_labels.and_then(|labels| labels.get(shown));
        ForeignText::label(padded.map_or(shown, |label| &**label))
    }

    /// The tags of a row. Counts what is none.
    fn tags(&self, row: &Row, stats: &mut ReadStats) -> Vec<Tag> {
        let id = row.get(self.columns.positions().id).and_then(Option::as_ref);
        let id = id.and_then(Value::as_str).unwrap_or_default();
        let tag = match (self.columns.id_match, self.id_is) {
            (IdMatch::Contains, _) => return self.tags_within(id, stats),
            (IdMatch::Exact, IdIs::Tag) => self.recognizer.keys.read(id.as_bytes()),
            (IdMatch::Exact, IdIs::TraceId) => TraceId::parse(id)
                .and_then(|trace| self.wanted.get(&trace).copied())
                .ok_or(NotOurs::Malformed),
        };
        match tag {
            Ok(tag) => return vec![tag],
            // Found by their beginning, such rows come again with every poll, and are no news.
            Err(_) if self.owners.is_some() => {}
            Err(NotOurs::Foreign) => stats.foreign_tags += 1,
            Err(NotOurs::Malformed) => stats.decode_errors += 1,
        }
        Vec::new()
    }

    /// The tags inside a text, each once: a row is one copy, however often it names its canary.
    fn tags_within(&self, text: &str, stats: &mut ReadStats) -> Vec<Tag> {
        let scan = scan_until(self.halt, self.recognizer, Limits::RECORD, text.as_bytes());
        // A row comes again with every poll that looks for a canary in it, so what stands beside one is no
        // news.
        if scan.found.is_empty() && self.owners.is_none() {
            stats.foreign_tags += scan.foreign_tags;
            stats.decode_errors += scan.decode_errors();
        }
        let mut tags: Vec<Tag> = Vec::new();
        for found in scan.found {
            if tags.iter().all(|tag| tag.trace != found.tag.trace) {
                tags.push(found.tag);
            }
        }
        tags
    }

    fn integrity(&self, tag: &Tag, body: &str) -> Integrity {
        let Some(template) = self.recognizer.template(tag) else {
            return Integrity::Unchecked;
        };
        let signed = self.recognizer.keys.sign(tag);
        let body = body.as_bytes();
        // Where the body is the parsed message only, there is no tag in it, and its padding is compared.
        let windows = || body.windows(signed.as_str().len()).enumerate();
        let as_signed = windows().find(|(_, window)| window.eq_ignore_ascii_case(signed.as_str().as_bytes()));
        // An older key may have signed it; each that is tried takes a verification.
        let by_any_key = || {
            let tags = windows().filter(|(_, window)| window.starts_with(MARKER.as_bytes()));
            tags.take(MAX_TRIED_TAGS).find(|(_, window)| self.recognizer.keys.read(window) == Ok(*tag))
        };
        let at = as_signed.or_else(by_any_key).map_or(body.len(), |(at, _)| at);
        // No more is compared than may be of the canary, however long the body is.
        let reach = AROUND + 2 * tag.size as usize;
        let (from, to) = (at.saturating_sub(reach), body.len().min(at + reach));
        let start = if from > 0 { Start::Within } else { Start::Record };
        match template.inspect(tag, &signed, &body[from..to], at - from, start) {
            Integrity::Corrupted { .. } if to - from < body.len() => Integrity::Unchecked,
            integrity => integrity,
        }
    }
}

fn text(cell: &Value) -> String {
    cell.as_str().map_or_else(|| cell.to_string(), str::to_owned)
}

/// Reads a TIMESTAMP, which BigQuery writes as microseconds on request and as seconds with a fraction or an
/// exponent otherwise, or a DATETIME, which is taken for UTC.
pub(super) fn instant(cell: &Value) -> Option<Timestamp> {
    let text = text(cell);
    if let Ok(number) = text.parse::<i64>() {
        // Whole seconds without a point would be in the year 3000 and later.
        const LATEST_SECOND: u64 = 32_503_680_000;
        return Some(if number.unsigned_abs() < LATEST_SECOND {
            Timestamp::from_secs(number)
        } else {
            Timestamp::from_micros(number)
        });
    }
    if let Ok(seconds) = text.parse::<f64>() {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the microseconds of this age fit, and others saturate"
        )]
        return seconds.is_finite().then(|| Timestamp::from_micros((seconds * 1e6).round() as i64));
    }
    Timestamp::parse_rfc3339(&text).or_else(|| Timestamp::parse_rfc3339(&format!("{text}Z")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_way_in_which_a_time_is_written_is_the_same_instant() {
        let at = Timestamp::from_micros(1_795_321_781_123_456);
        for cell in [
            json!("1795321781123456"),
            json!(1_795_321_781_123_456_i64),
            json!("1795321781.123456"),
            json!("1.795321781123456E9"),
            json!("2026-11-22T04:29:41.123456Z"),
            json!("2026-11-22T04:29:41.123456"),
            json!("2026-11-22 04:29:41.123456+00:00"),
        ] {
            assert_eq!(instant(&cell), Some(at), "{cell}");
        }
        assert_eq!(instant(&json!("1795321781")), Some(Timestamp::from_secs(1_795_321_781)));
        assert_eq!(instant(&json!("yesterday")), None);
        assert!(instant(&json!(i64::MIN)).is_some_and(|at| at < Timestamp::from_secs(0)));
    }

    #[test]
    fn the_most_extreme_numbers_are_read_as_instants() {
        for cell in [i64::MIN, i64::MAX] {
            assert_eq!(instant(&json!(cell)), Some(Timestamp::from_micros(cell)));
        }
    }
}
