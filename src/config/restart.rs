//! What of a new configuration needs a restart of the process.

use serde_json::{Map, Value as Json};

use super::{Config, TAG_KEY};

/// The tables of which every key can change while the process runs, apart from the template of canaries. The daemon does
/// not use the last one.
const FREE: [&str; 5] = ["tenant", "stage", "canary", "budgets", "load"];
/// Other keys that can. They are defaults of tenants.
const FREE_KEYS: [&str; 1] = ["probe.interval"];

impl Config {
    /// What of `next` cannot replace this configuration while the process runs: one sentence each. A change is
    /// refused as a whole, because one that is half in force is in no file.
    #[must_use]
    pub fn needs_restart(&self, next: &Self) -> Vec<String> {
        let mut needs = Vec::new();
        let tables = |config: &Self| match config.to_json_without_secrets() {
            Json::Object(tables) => tables,
            _ => Map::new(),
        };
        compare("", &tables(self), &tables(next), &mut needs);
        if !self.keyring.is_same_as(&next.keyring) {
            needs.push(format!(
                "{TAG_KEY} or its file has another key, and what is in flight was signed with the present one"
            ));
        }
        for tenant in &next.tenants {
            let present = self.tenants.iter().find(|other| other.name == tenant.name);
            if present.is_some_and(|present| present.template != tenant.template) {
                let name = &tenant.name;
                needs.push(format!(
                    "tenant.{name}.template: what is in flight was written with the present one"
                ));
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
}

fn compare(path: &str, before: &Map<String, Json>, next: &Map<String, Json>, needs: &mut Vec<String>) {
    let mut names: Vec<_> = before.keys().chain(next.keys()).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let key = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        if FREE.contains(&key.as_str()) || FREE_KEYS.contains(&key.as_str()) {
            continue;
        }
        match (before.get(name), next.get(name)) {
            (Some(Json::Object(before)), Some(Json::Object(next))) => compare(&key, before, next, needs),
            (before, next) if before == next => {}
            (before, next) => {
                let shown = |value: Option<&Json>| value.map_or("not set".to_owned(), Json::to_string);
                needs.push(format!("{key}: {} is in force, the file has {}", shown(before), shown(next)));
            }
        }
    }
}

#[cfg(test)]
mod tests;
