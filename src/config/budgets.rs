//! The table `[budgets]`.

use toml::Table;

use super::keys;
use super::sections::section;
use crate::cloud::budget::{Budget, Limits};
use crate::domain::kind::Kind;
use crate::keys::fault::Checked;
use crate::keys::reader::Context;
use crate::keys::value;
use crate::observe::spec;

/// A smaller budget would not allow one poll of an ordinary source.
const LEAST_BYTES: u64 = 1 << 20;
/// Larger than what any source can give in a day, and small enough for the arithmetic of people.
const MOST_BYTES: u64 = 1 << 50;

/// Reads what polls of each service may take in a day.
pub(super) fn budgets(context: &mut Context, root: &Table) -> Checked<Vec<Budget>> {
    let mut read = section(context, root, "budgets", 11, &keys::BUDGETS, &[]);
    let mut budgets = Vec::new();
    for service in services() {
        let calls = read.find(&calls_key(service), value::count(1, u32::MAX));
        let bytes = value::size_within(LEAST_BYTES, MOST_BYTES, "");
        let bytes = read.find(&bytes_key(service), bytes);
        budgets.push((service, calls, bytes));
    }
    let checked = budgets.into_iter().map(|(service, calls, bytes)| {
        let limits = Limits { calls: calls?.map(u64::from), bytes: bytes? };
        Ok(Budget { service, operations: operations(service), limits })
    });
    checked.collect()
}

/// The services that are polled, in the order of the kinds.
pub(super) fn services() -> Vec<&'static str> {
    let mut services = Vec::new();
    for kind in Kind::ALL {
        let service = spec(*kind).service();
        if !services.contains(&service) {
            services.push(service);
        }
    }
    services
}

/// The operations with which a service is polled.
fn operations(service: &str) -> Vec<&'static str> {
    let all = Kind::ALL.iter().flat_map(|kind| spec(*kind).costs.operations);
    all.filter(|operation| operation.service == service).map(|operation| operation.name).collect()
}

pub(super) fn calls_key(service: &str) -> String {
    format!("{service}_calls")
}

pub(super) fn bytes_key(service: &str) -> String {
    format!("{service}_bytes")
}
