//! Shows the effective configuration: with defaults and overrides, without secrets.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};
use toml::Value;

use super::settings::{Source, Tenant};
use crate::keys::reader::{Origin, Shown, ShownTables};

/// Writes TOML, with a comment behind each value that does not come from the file.
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
    text += "\n# Resulting log groups and sources:\n";
    for tenant in tenants {
        text += &format!(
            "# inject {}: log {} {}, stream {}, region {}\n",
            tenant.name,
            if tenant.log_groups.len() == 1 { "group" } else { "groups" },
            tenant.log_groups.join(", "),
            tenant.log_stream,
            tenant.account.region
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

/// Returns the same values as JSON, table by table; keys that are not set are left out.
pub(super) fn to_json(tables: &ShownTables) -> Json {
    let mut root = Map::new();
    for (header, values) in tables.values() {
        let table = table_at(&mut root, header);
        for shown in values {
            if let Some(value) = &shown.value {
                table.insert(shown.name.to_owned(), json_value(value));
            }
        }
    }
    Json::Object(root)
}

/// Returns every key by its full name, as in faults: `tenant.acme.stage.archive.key`.
pub(super) fn by_name(tables: &ShownTables) -> BTreeMap<String, &Shown> {
    let mut all = BTreeMap::new();
    for ((order, index, _), (header, values)) in tables {
        let path = header.trim_matches(['[', ']']);
        // The name of the item of a list to which the table belongs.
        let item = tables.get(&(*order, *index, 0)).filter(|(header, _)| header.starts_with("[["));
        let name = item.and_then(|(_, values)| values.iter().find(|shown| shown.name == "name"));
        let name = name.and_then(|shown| shown.value.as_ref()).and_then(Value::as_str);
        let path = match (name, path.split_once('.')) {
            (None, _) => path.to_owned(),
            (Some(name), None) => format!("{path}.{name}"),
            (Some(name), Some((list, rest))) => format!("{list}.{name}.{rest}"),
        };
        all.extend(values.iter().map(|shown| (format!("{path}.{}", shown.name), shown)));
    }
    all
}

/// Returns the table under a header and creates it if it is new. As in TOML, `[[tenant]]` appends an element
/// to a list, and `[tenant.stage.archive]` belongs to the last element.
fn table_at<'a>(root: &'a mut Map<String, Json>, header: &str) -> &'a mut Map<String, Json> {
    let path: Vec<_> = header.trim_matches(['[', ']']).split('.').collect();
    let last = path.len() - 1;
    let mut table = root;
    for (depth, name) in path.into_iter().enumerate() {
        let is_list = depth == last && header.starts_with("[[");
        let new = if is_list { Json::Array(Vec::new()) } else { Json::Object(Map::new()) };
        let mut place = table.entry(name).or_insert(new);
        if let Json::Array(items) = place {
            if is_list {
                items.push(Json::Object(Map::new()));
            }
            place = items.last_mut().expect("a list is created with an element");
        }
        table = place.as_object_mut().expect("headers name tables, and no key has a table's name");
    }
    table
}

/// Returns a value as JSON.
pub(super) fn json_value(value: &Value) -> Json {
    match value {
        Value::String(text) => text.as_str().into(),
        Value::Integer(number) => (*number).into(),
        Value::Float(number) => (*number).into(),
        Value::Boolean(yes) => (*yes).into(),
        Value::Datetime(time) => time.to_string().into(),
        Value::Array(items) => items.iter().map(json_value).collect(),
        Value::Table(table) => table.iter().map(|(name, value)| (name.clone(), json_value(value))).collect(),
    }
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
