//! What the records of a source that could not be read mean for the proof of absence.
//!
//! A canary may be in a record that was not opened, so such a record withholds the proof of absence from
//! every canary that was planned before it arrived. Two things lift that, for one tenant at a time:
//!
//! * A later canary of the tenant was found here in a readable record. A stream that always carries
//!   somebody's binary records still proves losses; an archive that changes to a format that is not opened
//!   proves none. It lifts nothing where a record of the tenant's own format was not read to its end: of objects
//!   that are damaged, exceed a limit, are refused or are deleted too early, the next one may show its canary
//!   and this one hide another.
//! * An intact canary of the tenant was found in a record of the same shape. Formats such as MessagePack or
//!   protobuf keep strings as they are, so absence in that shape counts.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::foreign::ForeignText;
use crate::domain::format::{FoundIn, Shape};
use crate::domain::sighting::UnreadableRecord;
use crate::domain::time::Timestamp;
use crate::domain::topology::TenantId;

/// Most shapes that are told apart at one source for each tenant; the rest is one shape, which never gets credit.
const MAX_SHAPES: usize = 64;

/// What is known of the unreadable records of one source.
#[derive(Debug, Default)]
pub(super) struct Readability {
    /// Of each kind, the record that arrived last: a canary that may be in an earlier one may be in it, too.
    unreadable: BTreeMap<UnreadableKind, Part>,
    /// Shapes that are not opened, but in which an intact canary of the tenant was found.
    credited: BTreeSet<(TenantId, Shape)>,
    /// When the newest canary of each tenant that was found readable here was planned.
    readable: BTreeMap<TenantId, Timestamp>,
    /// The shapes in which canaries of a tenant were found readable.
    shapes: BTreeSet<(TenantId, Shape)>,
    /// Tenants whose canaries have been withheld for longer than they may be missing.
    blind: BTreeMap<TenantId, BlindTenant>,
}

/// A kind of records that could not be read.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct UnreadableKind {
    /// The tenant that they are labelled with; `None` if they may be anybody's.
    owner: Option<TenantId>,
    shape: Shape,
    /// They may be of a format that is read, and were not read to their end.
    in_part: bool,
}

#[derive(Clone, Debug)]
struct Part {
    arrived_by: Timestamp,
    text: ForeignText,
}

/// A tenant for whom a source is blind because its records cannot be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BlindTenant {
    /// Since when a canary has been missing that may be in what could not be read.
    pub since: Timestamp,
    /// What could not be read, as text for people.
    pub reason: ForeignText,
}

impl Readability {
    /// Takes in a sighting of a tenant's canary.
    pub(super) fn found(&mut self, tenant: TenantId, planned_at: Timestamp, found_in: FoundIn) {
        if !found_in.decoded && found_in.verbatim {
            self.credited.insert((tenant, found_in.shape));
        }
        if found_in.decoded || found_in.verbatim {
            let newest = self.readable.entry(tenant).or_insert(planned_at);
            *newest = planned_at.max(*newest);
            let of_tenant = self.shapes.range((tenant, Shape::NONE)..).take_while(|(of, _)| *of == tenant);
            if of_tenant.count() < MAX_SHAPES {
                self.shapes.insert((tenant, found_in.shape));
            }
        }
    }

    /// Takes in a record that could not be read. Returns whether none of its shape was known.
    pub(super) fn unreadable(&mut self, record: &UnreadableRecord, owner: Option<TenantId>) -> bool {
        let in_part = record.part.reason.is_of_what_is_read();
        let mut key = UnreadableKind { owner, shape: record.part.shape, in_part };
        let first = UnreadableKind { owner, shape: Shape::NONE, in_part: false };
        let of_owner = self.unreadable.range(first..).take_while(|(kind, _)| kind.owner == owner);
        if !self.unreadable.contains_key(&key) && of_owner.count() >= MAX_SHAPES {
            key.shape = Shape::NONE;
        }
        let new = !self.unreadable.contains_key(&key);
        let part = Part { arrived_by: record.arrived_by, text: record.text.clone() };
        let last = self.unreadable.entry(key).or_insert_with(|| part.clone());
        if last.arrived_by < part.arrived_by {
            *last = part;
        }
        new
    }

    /// Why the absence of a canary is not proven by what was read; `None` if nothing withholds it.
    pub(super) fn withholds(&self, tenant: TenantId, planned_at: Timestamp) -> Option<ForeignText> {
        let lifted = self.readable.get(&tenant).is_some_and(|newest| *newest > planned_at);
        let concerns = |(kind, part): &(&UnreadableKind, &Part)| {
            kind.owner.is_none_or(|owner| owner == tenant)
                && !self.credited.contains(&(tenant, kind.shape))
                && part.arrived_by >= planned_at
                && (!lifted || kind.in_part && self.is_of(tenant, kind.shape))
        };
        let last = self.unreadable.iter().filter(concerns).max_by_key(|(_, part)| part.arrived_by);
        last.map(|(_, part)| part.text.clone())
    }

    /// Whether canaries of a tenant were found in records that begin with this shape.
    fn is_of(&self, tenant: TenantId, shape: Shape) -> bool {
        let mut found = self.shapes.range((tenant, Shape::NONE)..).take_while(|(of, _)| *of == tenant);
        found.any(|(_, found)| found.begins_with(shape))
    }

    /// Whether no record was met that could not be read, so that nothing is withheld.
    pub(super) fn is_clear(&self) -> bool {
        self.unreadable.is_empty()
    }

    /// The tenants for whom the source is blind.
    pub(super) const fn blind(&self) -> &BTreeMap<TenantId, BlindTenant> {
        &self.blind
    }

    /// Sets for whom the source is blind. Returns those who are new, and those for whom it no longer is.
    pub(super) fn update_blind(
        &mut self,
        blind: BTreeMap<TenantId, BlindTenant>,
    ) -> (Vec<TenantId>, Vec<(TenantId, Timestamp)>) {
        let before = std::mem::replace(&mut self.blind, blind);
        let new = self.blind.keys().filter(|tenant| !before.contains_key(tenant)).copied().collect();
        for (tenant, old) in &before {
            if let Some(now) = self.blind.get_mut(tenant) {
                // An episode begins with its first canary.
                now.since = now.since.min(old.since);
            }
        }
        let over = before.into_iter().filter(|(tenant, _)| !self.blind.contains_key(tenant));
        (new, over.map(|(tenant, old)| (tenant, old.since)).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::format::{Format, Unreadable, UnreadableReason};

    const ACME: TenantId = TenantId(0);
    const GLOBEX: TenantId = TenantId(1);
    const ORC: Shape = Shape::NONE.then(Format::Orc);
    const BINARY: Shape = Shape::NONE.then(Format::Binary);

    fn t(secs: u64) -> Timestamp {
        Timestamp::from_secs(1_000) + Duration::from_secs(secs)
    }

    fn record(shape: Shape, at: u64) -> UnreadableRecord {
        let part = Unreadable { shape, reason: UnreadableReason::UnknownFormat };
        UnreadableRecord {
            arrived_by: t(at),
            part,
            count: 1,
            owner: None,
            text: format!("a is {part}").into(),
        }
    }

    fn found(shape: Shape, decoded: bool, verbatim: bool) -> FoundIn {
        FoundIn { shape, decoded, verbatim }
    }

    #[test]
    fn an_unreadable_record_withholds_what_was_planned_before_it_arrived() {
        let mut source = Readability::default();
        assert!(source.unreadable(&record(ORC, 10), None));
        assert!(!source.unreadable(&record(ORC, 5), None));
        assert!(source.withholds(ACME, t(10)).is_some_and(|text| text.contains("ORC")));
        assert_eq!(source.withholds(ACME, t(11)), None);
    }

    #[test]
    fn a_later_readable_canary_of_the_same_tenant_lifts_it() {
        let mut source = Readability::default();
        source.unreadable(&record(BINARY, 10), None);
        source.found(ACME, t(3), found(Shape::TEXT, true, true));
        assert_eq!(source.withholds(ACME, t(2)), None);
        assert!(source.withholds(ACME, t(4)).is_some());
        assert!(source.withholds(GLOBEX, t(2)).is_some());
    }

    #[test]
    fn a_later_canary_lifts_nothing_where_records_of_its_own_format_are_not_read_to_their_end() {
        use UnreadableReason::{
            Damaged, DecoderPanic, Deleted, Encrypted, Hidden, OverLimit, Refused, Truncated, UnknownFormat,
        };
        let gzip = Shape::NONE.then(Format::Gzip);
        for (reason, shape, lifts) in [
            (OverLimit, Shape::NONE, false),
            (Deleted, Shape::NONE, false),
            (DecoderPanic, Shape::NONE, false),
            (Truncated, gzip, false),
            (Damaged, gzip, false),
            (Damaged, Shape::NONE.then(Format::Parquet), true),
            (Truncated, gzip.then(Format::Tar), true),
            (UnknownFormat, Shape::NONE.then(Format::Orc), true),
            (Encrypted, gzip, true),
            (Refused, Shape::NONE, false),
            (Hidden, Shape::NONE, true),
        ] {
            let mut source = Readability::default();
            let part = Unreadable { shape, reason };
            source.unreadable(&UnreadableRecord { part, ..record(shape, 10) }, None);
            source.found(ACME, t(9), found(gzip.then(Format::Text), true, true));
            assert_eq!(source.withholds(ACME, t(2)).is_none(), lifts, "{part}");
            assert!(source.withholds(ACME, t(9)).is_some(), "{part}: it is none later than itself");
            assert_eq!(source.withholds(ACME, t(11)), None, "{part}: planned after it arrived");
        }
    }

    #[test]
    fn credit_is_given_to_the_shape_in_which_an_intact_canary_stood_and_to_no_other() {
        let mut source = Readability::default();
        source.unreadable(&record(BINARY, 10), None);
        source.found(ACME, t(1), found(BINARY, false, true));
        assert_eq!(source.withholds(ACME, t(4)), None);
        assert!(source.withholds(GLOBEX, t(4)).is_some());
        source.unreadable(&record(ORC, 10), None);
        assert!(source.withholds(ACME, t(4)).is_some());
        source.found(ACME, t(2), found(ORC, false, false));
        assert!(source.withholds(ACME, t(4)).is_some(), "a tag that was found by luck proves nothing");
        source.found(ACME, t(9), found(ORC, false, false));
        assert!(source.withholds(ACME, t(4)).is_some(), "neither does a later one");
    }

    #[test]
    fn a_record_that_is_labelled_concerns_its_tenant_only() {
        let mut source = Readability::default();
        source.unreadable(&record(ORC, 10), Some(GLOBEX));
        assert_eq!(source.withholds(ACME, t(4)), None);
        assert!(source.withholds(GLOBEX, t(4)).is_some());
    }

    #[test]
    fn the_number_of_shapes_is_bounded() {
        let mut source = Readability::default();
        for format in Format::ALL.iter().flat_map(|a| Format::ALL.iter().map(move |b| (*a, *b))) {
            source.unreadable(&record(Shape::NONE.then(format.0).then(format.1), 10), Some(GLOBEX));
        }
        assert!(source.unreadable.len() <= MAX_SHAPES + 1);
        assert!(source.withholds(GLOBEX, t(4)).is_some());
        assert_eq!(source.withholds(ACME, t(4)), None, "they are of the other tenant still");
    }

    #[test]
    fn a_hundred_tenants_with_a_shape_of_credit_each_have_proof_of_absence() {
        let mut source = Readability::default();
        for tenant in (0..100).map(TenantId) {
            source.found(tenant, t(1), found(BINARY, false, true));
            source.unreadable(&record(BINARY, 10), Some(tenant));
        }
        for tenant in (0..100).map(TenantId) {
            assert_eq!(source.withholds(tenant, t(4)), None, "{tenant:?}");
        }
    }
}
