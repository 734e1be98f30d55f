//! What calls and bytes cost, and what has to be allowed for them: values that a part states of itself.
//!
//! Prices are list prices in US dollars, us-east-1 and BigQuery on demand, as of November 2026. Real bills differ by
//! region, discount and capacity mode; they are for seeing a change, not for accounting.

/// An API operation that the probe calls.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Operation {
    /// The service, as in metrics: `kinesis`.
    pub service: &'static str,
    /// As the service names it: `GetRecords`.
    pub name: &'static str,
    /// What its caller must be allowed: the IAM action, or Google's permission.
    pub permission: &'static str,
    /// Price of a call, in US dollars.
    pub dollars: f64,
}

/// Which bytes have a price.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bytes {
    /// What an observer reads.
    Read,
    /// What the service says it billed.
    Billed,
    /// What is put into a log group.
    Put,
}

/// The price of bytes.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct BytePrice {
    /// The service, as in metrics.
    pub service: &'static str,
    /// Which bytes.
    pub of: Bytes,
    /// Price of a byte, in US dollars.
    pub dollars: f64,
}

/// What a part of the probe calls, and what that costs.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Costs {
    /// The operations that it calls.
    pub operations: &'static [Operation],
    /// The bytes that it pays for beside the calls.
    pub bytes: &'static [BytePrice],
}

impl Costs {
    /// Calls nothing, and costs nothing.
    pub const NONE: Self = Self { operations: &[], bytes: &[] };

    /// The price of a byte, over all services that take one.
    pub fn of_byte(&self, of: Bytes) -> impl Iterator<Item = BytePrice> + use<> {
        self.bytes.iter().copied().filter(move |price| price.of == of)
    }
}
