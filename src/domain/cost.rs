//! Prices of calls and bytes, and the permissions that they need. Each part of the probe states its own.
//!
//! Prices are list prices in US dollars, us-east-1 and BigQuery on demand, as of November 2026. Real bills
//! differ by region, discount and capacity mode; the estimate shows changes and is not for accounting.

/// An API operation that the probe calls.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Operation {
    /// The service, as in metrics: `kinesis`.
    pub service: &'static str,
    /// As the service names it: `GetRecords`.
    pub name: &'static str,
    /// The permission that its caller needs: an IAM action, or Google's permission.
    pub permission: &'static str,
    /// Price per call, in US dollars.
    pub dollars: f64,
}

/// The kinds of bytes that have a price.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bytes {
    /// Bytes that an observer reads.
    Read,
    /// Bytes that the service reports as billed.
    Billed,
    /// Bytes that are put into a log group.
    Put,
}

/// The price of one kind of bytes at one service.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct BytePrice {
    /// The service, as in metrics.
    pub service: &'static str,
    /// The kind of bytes.
    pub of: Bytes,
    /// Price per byte, in US dollars.
    pub dollars: f64,
}

/// What a part of the probe calls, and what that costs.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Costs {
    /// The operations that it calls.
    pub operations: &'static [Operation],
    /// The bytes that it pays for in addition to the calls.
    pub bytes: &'static [BytePrice],
}

impl Costs {
    /// Of a part that calls nothing.
    pub const NONE: Self = Self { operations: &[], bytes: &[] };

    /// The prices of this kind of bytes, one for each service that has one.
    pub fn of_byte(&self, of: Bytes) -> impl Iterator<Item = BytePrice> + use<> {
        self.bytes.iter().copied().filter(move |price| price.of == of)
    }
}
