//! What a poll of the tracker is told of the model's copies.

use super::*;

impl Run {
    pub(super) fn sighting(&self, shown: Shown) -> Sighting {
        let copy = self.history.canaries[shown.canary].copies[shown.copy];
        let stamp = match copy.stamp {
            Stamped::Millis(at) => Stamp::Millis(time(at)),
            Stamped::Seconds(at) => Stamp::Seconds(time(at)),
            Stamped::NotBefore(at) => Stamp::NotBefore(time(at)),
            Stamped::Nothing => Stamp::None,
        };
        let integrity = match copy.written {
            Written::Lucky(_) => Integrity::Unchecked,
            _ if copy.corrupted => Integrity::Corrupted { kept_bytes: 70, sent_bytes: 100 },
            _ => Integrity::Intact,
        };
        let found_in = FoundIn {
            shape: copy.written.shape().map_or(format::Shape::TEXT, shape),
            decoded: copy.written == Written::Text,
            verbatim: copy.written.is_readable() && !copy.corrupted,
        };
        let tag =
            if copy.by_other { self.tag_by(another_process(), shown.canary) } else { self.tag(shown.canary) };
        Sighting {
            tag,
            stamp,
            seen_by: time(shown.seen_by),
            locator: locator(&self.history, shown.canary, shown.copy),
            label: copy.label.map(|tenant| name(tenant).into()),
            integrity,
            found_in,
        }
    }

    pub(super) fn other_sighting(&self, number: usize, seen_by: Micros) -> Sighting {
        let other = self.history.others[number];
        let random = (1 << 32 | number).to_be_bytes();
        let random = std::array::from_fn(|at| random.get(at).copied().unwrap_or_default());
        let (tenant, planned) = match other.kind {
            OtherKind::SameName { tenant, planned } => (name(tenant), planned),
            OtherKind::UnknownTenant | OtherKind::Record(_) => ("initech".into(), other.stored - SECOND),
        };
        let id = TraceId::new(time(planned), random);
        Sighting {
            tag: Tag::new(id, TenantCode::of(&tenant), another_process(), 100, Purpose::Probe),
            stamp: Stamp::None,
            seen_by: time(seen_by),
            locator: Locator::new(format!("other {number}")),
            label: other.label.map(|tenant| name(tenant).into()),
            integrity: Integrity::Unchecked,
            found_in: FoundIn::default(),
        }
    }

    pub(super) fn unreadable(&self, record: &Unreadable) -> UnreadableRecord {
        let part = format::Unreadable { shape: shape(record.shape), reason: UnreadableReason::UnknownFormat };
        UnreadableRecord {
            arrived_by: time(record.arrived_by),
            part,
            count: 1,
            owner: record.label.map(|tenant| RecordOwner::Label(name(tenant).into())),
            text: format!("an object is {part}").into(),
        }
    }

    /// The tag of a canary as its process sends it.
    pub(super) fn tag(&self, which: usize) -> Tag {
        self.tag_by(self.senders[which], which)
    }

    pub(super) fn tag_by(&self, sender: InstanceCode, which: usize) -> Tag {
        let canary = &self.history.canaries[which];
        let code = self.topology.tenant(tenant_id(canary.tenant)).code;
        Tag::new(TraceId::from_u128(canary.id), code, sender, 100, Purpose::Probe)
    }
}

/// A format that is not opened.
fn shape(number: Shape) -> format::Shape {
    let [orc, binary] = [Format::Orc, Format::Binary].map(|format| format::Shape::NONE.then(format));
    [orc, binary, format::Shape::NONE.then(Format::Gzip).then(Format::Orc)][number]
}

/// The locator of a copy: its object, and its canary and its number among the copies of that.
fn locator(history: &History, canary: usize, copy: usize) -> Locator {
    Locator::within(&history.object(canary, copy), format_args!("{canary}/{copy}"))
}

/// The number of a copy among those of its canary.
pub fn copy_at(locator: &Locator) -> usize {
    let (_, number) = locator.as_str().rsplit_once('/').unwrap();
    number.parse().unwrap()
}
