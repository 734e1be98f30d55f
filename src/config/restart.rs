//! What of a new configuration needs a restart of the process, and what changes without one.

use std::collections::{BTreeMap, BTreeSet};

use toml::Value;

use super::{Config, TAG_KEY, Tenant, show};
use crate::domain::topology::Topology;
use crate::keys::reader::{Origin, Shown};
use crate::keys::secret::Secret;

/// The tables of which every key can change while the process runs, apart from the template of canaries.
const FREE: [&str; 5] = ["tenant", "stage", "canary", "budgets", UNUSED];
/// The one of them that the daemon does not use.
const UNUSED: &str = "load";
/// Other keys that can: a default of tenants, and credentials, which are read again.
const FREE_KEYS: [&str; 2] = ["probe.interval", "gcp.credentials"];

/// All keys of a configuration by their full names.
type Keys<'a> = BTreeMap<String, &'a Shown>;

impl Config {
    /// What of `next` cannot replace this configuration while the process runs: one sentence each. A change is
    /// refused as a whole, because one that is half in force is in no file. `in_force` also has the tenants that
    /// leave.
    #[must_use]
    pub fn needs_restart(&self, next: &Self, in_force: &Topology) -> Vec<String> {
        let mut needs = Vec::new();
        let (before, after) = (show::by_name(&self.shown), show::by_name(&next.shown));
        for name in names(&before, &after).into_iter().filter(|name| !is_free(name)) {
            let (present, new) = (value_of(&before, name), value_of(&after, name));
            if present != new {
                let (shown, new) = (text(present), text(new));
                // Of a secret, no more than that is told.
                let another = if shown == new { "another " } else { "" };
                needs.push(format!("{name}: {shown} is in force, the file has {another}{new}"));
            }
        }
        if !self.keyring.is_same_as(&next.keyring) {
            needs.push(format!(
                "{TAG_KEY} or its file has another key, and what is in flight was signed with the present one"
            ));
        }
        for need in next.tenants.iter().filter_map(|tenant| of_template(tenant, in_force, &before, &after)) {
            // Tenants without a template of their own have one key in common.
            if !needs.contains(&need) {
                needs.push(need);
            }
        }
        let shape = |config: &Self| -> Vec<_> {
            let stages = config.stages.iter();
            stages.map(|stage| (stage.name.clone(), stage.parent, stage.role)).collect()
        };
        if self.drill.is_some() && shape(self) != shape(next) {
            needs.push(
                "stage: other stages, because the tenant of drills goes through all of them".to_owned(),
            );
        }
        needs
    }

    /// The keys that have other values in `next` and take effect while the process runs. Those of tenants and stages
    /// that are only in one of the two are not among them.
    #[must_use]
    pub fn changed_keys(&self, next: &Self) -> Vec<String> {
        let (before, after) = (show::by_name(&self.shown), show::by_name(&next.shown));
        let is_set =
            |keys: &Keys<'_>, name: &str| keys.get(name).is_some_and(|key| key.origin != Origin::Default);
        let in_both = |name: String| before.contains_key(&name) && after.contains_key(&name);
        let stays = |name: &str| match name.split('.').collect::<Vec<_>>().as_slice() {
            ["tenant", tenant, "stage", stage, ..] => {
                in_both(format!("tenant.{tenant}.name")) && in_both(format!("stage.{stage}.name"))
            }
            [list @ ("tenant" | "stage"), item, ..] => in_both(format!("{list}.{item}.name")),
            [table, ..] => *table != UNUSED,
            [] => false,
        };
        let changed = names(&before, &after).into_iter().filter(|name| {
            is_free(name)
                && stays(name)
                && value_of(&before, name) != value_of(&after, name)
                // A default follows from other keys, which are among them.
                && (is_set(&before, name) || is_set(&after, name))
        });
        changed.map(str::to_owned).collect()
    }
}

/// The names of both.
fn names<'a>(before: &'a Keys<'_>, after: &'a Keys<'_>) -> BTreeSet<&'a str> {
    before.keys().chain(after.keys()).map(String::as_str).collect()
}

fn is_free(name: &str) -> bool {
    let table = name.split('.').next().unwrap_or_default();
    FREE.contains(&table) || FREE_KEYS.contains(&name)
}

/// The value of a key as it is shown, and what that hides; `None` if it is not set.
fn value_of<'a>(keys: &Keys<'a>, name: &str) -> Option<(&'a Value, Option<&'a Secret>)> {
    let Shown { value, secret, .. } = keys.get(name).copied()?;
    Some((value.as_ref()?, secret.as_ref()))
}

/// A value as it is written in a message.
fn text(value: Option<(&Value, Option<&Secret>)>) -> String {
    value.map_or_else(|| "not set".to_owned(), |(value, _)| show::json_value(value).to_string())
}

/// What a tenant with another template needs, while canaries of it that were written with the present one are in
/// flight.
fn of_template(tenant: &Tenant, in_force: &Topology, before: &Keys<'_>, after: &Keys<'_>) -> Option<String> {
    let id = in_force.tenant_ids().find(|id| in_force.tenant(*id).name == tenant.name)?;
    if in_force.tenant(id).template == tenant.template {
        return None;
    }
    let own = format!("tenant.{}.template", tenant.name);
    let of_all = "canary.template";
    let set = |keys: &Keys<'_>| {
        let value = value_of(keys, &own).or_else(|| value_of(keys, of_all));
        if value.is_some() { text(value) } else { "the default template".to_owned() }
    };
    let is_own = value_of(before, &own).is_some() || value_of(after, &own).is_some();
    let key: &str = if is_own { &own } else { of_all };
    if in_force.leaving().any(|leaving| leaving == id) {
        return Some(format!(
            "{key}: the file has {}, and what is in flight of tenant {}, which was removed just now, was written with \
             another one; reload again once its canaries have ended, some minutes after probe.give_up, or restart",
            set(after),
            tenant.name
        ));
    }
    Some(format!(
        "{key}: {} is in force, the file has {}; what is in flight was written with the present one",
        set(before),
        set(after)
    ))
}

#[cfg(test)]
mod tests;
