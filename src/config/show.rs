//! The configuration in force, for people: defaults and overrides included, secrets not.

use toml::Value;

use super::settings::{Source, Tenant};
use crate::keys::reader::{Origin, ShownTables};

/// TOML with a note behind each value that does not come from the file.
pub(super) fn to_toml(tables: &ShownTables, tenants: &[Tenant], sources: &[Source]) -> String {
    let mut text = String::new();
    for (header, values) in tables.values() {
        if !text.is_empty() {
            text.push('\n');
        }
        text += header;
        text.push('\n');
        for shown in values {
            let name = shown.name;
            match &shown.value {
                None => text += &format!("# {name} is not set"),
                Some(value) => text += &format!("{name} = {}", toml_value(value)),
            }
            match (&shown.origin, &shown.value) {
                (Origin::Variable(variable), _) => text += &format!("  # from {variable}"),
                (Origin::Default, Some(_)) => text += "  # default",
                (Origin::File, _) | (Origin::Default, None) => {}
            }
            text.push('\n');
        }
    }
    text += "\n# What this comes to:\n";
    for tenant in tenants {
        text += &format!(
            "# inject {}: log group {}, stream {}, region {}\n",
            tenant.name, tenant.log_group, tenant.log_stream, tenant.account.region
        );
    }
    for source in sources {
        let names: Vec<_> = source
            .tenants
            .iter()
            .filter_map(|id| tenants.get(usize::from(id.0)))
            .map(|tenant| &*tenant.name)
            .collect();
        text += &format!("# source {} (for {})\n", source.name, names.join(", "));
    }
    text
}

fn toml_value(value: &Value) -> String {
    match value {
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(toml_value).collect();
            format!("[{}]", items.join(", "))
        }
        other => other.to_string(),
    }
}
