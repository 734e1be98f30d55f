//! The table `[load]`.

use toml::Table;

use super::keys;
use super::sections::section;
use super::settings::Load;
use super::tenant::TenantRead;
use crate::keys::fault::{Checked, Collector, listed, suggestion};
use crate::keys::reader::Context;
use crate::keys::value;

/// Its place among the tables.
const ORDER: usize = 14;
/// More than any pipeline takes in a second.
const MAX_RATE: u32 = 100_000;
/// 1 PB, far above what anybody pays for.
const MOST_BYTES: u64 = 1 << 50;
const MOST_DOLLARS: u32 = 1_000_000;

/// Reads which tenants may be loaded, and how much.
pub(super) fn load(context: &mut Context, root: &Table) -> Checked<Load> {
    let mut read = section(context, root, "load", ORDER, &keys::LOAD, &[]);
    let allow = read.find("allow", value::list(value::text));
    let max_rate = read.get("max_rate", value::count(1, MAX_RATE));
    let max_events = read.get("max_events", value::count(1, u32::MAX));
    let max_bytes = read.get("max_bytes", value::size_within(1, MOST_BYTES, ""));
    let max_dollars = read.get("max_dollars", value::count(1, MOST_DOLLARS));
    let guard_url = read.find("guard_url", value::url("http://127.0.0.1:9464"));
    Ok(Load {
        allow: allow?.unwrap_or_default(),
        max_rate: max_rate?,
        max_events: max_events?,
        max_bytes: max_bytes?,
        max_dollars: max_dollars?,
        guard_url: guard_url?,
    })
}

/// Reports a name that is no tenant's: a load that was allowed for nobody would be noticed only when it is
/// refused.
pub(super) fn check_names(faults: &mut Collector, load: &Checked<Load>, tenants: &[TenantRead<'_>]) {
    let Ok(load) = load else { return };
    let names: Option<Vec<_>> =
        tenants.iter().map(|read| read.tenant.as_ref().ok().map(|tenant| &*tenant.name)).collect();
    let Some(names) = names else { return };
    for name in load.allow.iter().filter(|name| !names.contains(&name.as_str())) {
        let near = suggestion(name, names.iter().copied());
        let known = listed(names.iter().copied());
        faults
            .report("load.allow", format!("\"{name}\" is not the name of a tenant; there are {known}{near}"));
    }
}
