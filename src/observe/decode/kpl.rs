//! Aggregates of the Kinesis Producer Library: many small records in one.
//!
//! Magic, a protobuf message, and its MD5. Only the data of the sub-records is of interest, so the message is
//! walked field by field instead of built as a value: a hostile one of a few megabytes would become gigabytes
//! of tables.

use md5::{Digest, Md5};
use prost::encoding::{WireType, decode_key, decode_varint};

/// How an aggregate begins ("KPL Aggregated Record Format").
pub(super) const MAGIC: &[u8] = &[0xf3, 0x89, 0x9a, 0xc2];
const MD5_LEN: usize = 16;
/// `AggregatedRecord.records`.
const RECORDS: u32 = 3;
/// `Record.data`.
const DATA: u32 = 3;

/// The sub-records of an aggregate.
pub(super) struct SubRecords<'a> {
    /// The data of each.
    pub(super) data: Vec<&'a [u8]>,
    /// Whether there were more than the limit.
    pub(super) more: bool,
}

/// Opens an aggregate; `None` when it is none, in which case the format says to take it for a plain record.
pub(super) fn open(record: &[u8], max_records: usize) -> Option<SubRecords<'_>> {
    let body = record.strip_prefix(MAGIC)?;
    let (message, sum) = body.split_at_checked(body.len().checked_sub(MD5_LEN)?)?;
    if Md5::digest(message).as_slice() != sum {
        return None;
    }
    let mut records = SubRecords { data: Vec::new(), more: false };
    let mut fields = Fields(message);
    while let Some((number, value)) = fields.next()? {
        let Some(record) = value.filter(|_| number == RECORDS) else {
            continue;
        };
        if records.data.len() == max_records {
            records.more = true;
            break;
        }
        let mut data: &[u8] = &[];
        let mut inner = Fields(record);
        while let Some((number, value)) = inner.next()? {
            if let (DATA, Some(value)) = (number, value) {
                data = value;
            }
        }
        records.data.push(data);
    }
    Some(records)
}

/// The fields of a protobuf message.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// The next field's number and, where it is of that kind, its bytes. The outer `None` says that it is
    /// malformed.
    #[expect(clippy::type_complexity, reason = "a field or the end, or neither")]
    fn next(&mut self) -> Option<Option<(u32, Option<&'a [u8]>)>> {
        if self.0.is_empty() {
            return Some(None);
        }
        let (number, wire) = decode_key(&mut self.0).ok()?;
        let value = match wire {
            WireType::Varint => {
                decode_varint(&mut self.0).ok()?;
                None
            }
            WireType::SixtyFourBit => {
                self.take(8)?;
                None
            }
            WireType::ThirtyTwoBit => {
                self.take(4)?;
                None
            }
            WireType::LengthDelimited => {
                let len = usize::try_from(decode_varint(&mut self.0).ok()?).ok()?;
                Some(self.take(len)?)
            }
            WireType::StartGroup | WireType::EndGroup => return None,
        };
        Some(Some((number, value)))
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }
}
