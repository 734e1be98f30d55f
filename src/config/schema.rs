//! The JSON schema of the configuration, with which editors complete keys, explain them and mark misspelt ones.
//!
//! It is made of the same lists of keys that the configuration is read by, and of the texts of
//! `config/traceprobe.toml`. It describes a file alone: a key that must be set may also be set by an environment
//! variable, so only the keys that make a table what it is are required.

use serde_json::{Map, Value as Json, json};
use toml::Value;

use super::keys;
use super::reference::{self, Described, Reference};
use crate::domain::kind::Kind;
use crate::keys::key::{Fallback, Key, Shape};
use crate::observe::spec;

/// The newest draft that Taplo knows, which is also the one that every other editor knows.
const DRAFT: &str = "http://json-schema.org/draft-07/schema#";
/// Names that [`crate::cloud::account::is_region`] takes for regions.
const REGION: &str = "^[a-z]+(-[a-z]+)+-[0-9]+$";

/// Returns the JSON schema of a configuration file.
#[must_use]
pub fn schema() -> Json {
    let reference = reference::read();
    let mut root = table(Map::new(), "The configuration of traceprobe.");
    for (header, keys) in keys::all() {
        let described = described(&reference, header);
        let properties = keys.iter().map(|key| (key.name.to_owned(), property(key, described)));
        let mut of_table = table(properties.collect(), described.map_or("", |table| &table.text));
        if header.starts_with("[[") {
            of_table["required"] =
                names(keys.iter().filter(|key| key.fallback == Fallback::Required && is_ours(key)));
            of_table = json!({ "type": "array", "minItems": 1, "items": of_table });
        }
        place(&mut root, header.trim_matches(['[', ']']), of_table);
    }
    add_regions(&mut root);
    add_stages_of_tenants(&mut root, described(&reference, "[[stage]]"));
    add_kinds(&mut root);
    root["$schema"] = DRAFT.into();
    root["title"] = "traceprobe".into();
    root["required"] = json!(["tenant", "stage"]);
    root
}

fn described<'r>(reference: &'r Reference, header: &str) -> Option<&'r Described> {
    reference.get(header)
}

/// Whether a key belongs to `[[tenant]]` or to stages of every kind. A required key of one kind may be set for each
/// tenant instead.
fn is_ours(key: &Key) -> bool {
    keys::of_kinds().iter().all(|other| other.name != key.name)
}

fn names<'k>(keys: impl Iterator<Item = &'k &'static Key>) -> Json {
    keys.map(|key| key.name).collect()
}

/// A table with exactly these properties.
fn table(properties: Map<String, Json>, text: &str) -> Json {
    let mut table = json!({ "type": "object", "properties": properties, "additionalProperties": false });
    if !text.is_empty() {
        table["description"] = text.into();
    }
    table
}

/// Puts a table at its path, such as `aws.endpoints`. The tables above it are there already.
fn place(root: &mut Json, path: &str, table: Json) {
    let pointer = format!("/properties/{}", path.replace('.', "/properties/"));
    if let Some((parent, name)) = pointer.rsplit_once('/')
        && let Some(properties) = root.pointer_mut(parent).and_then(Json::as_object_mut)
    {
        properties.insert(name.to_owned(), table);
    }
}

/// A key of a table: its type, default and meaning.
fn property(key: &Key, described: Option<&Described>) -> Json {
    let mut property = match key.shape {
        Shape::Text => json!({ "type": "string" }),
        Shape::Integer => json!({ "type": "integer" }),
        Shape::Boolean => json!({ "type": "boolean" }),
        Shape::List => json!({ "type": "array", "items": { "type": "string" }, "minItems": 1 }),
    };
    if key.name == "kind" {
        property["enum"] = Kind::ALL.iter().map(|kind| kind.name()).collect();
    } else if !key.choices.is_empty() {
        property["enum"] = key.choices.iter().copied().collect();
    }
    match key.fallback {
        Fallback::Value(text) => property["default"] = json_of(&key.shape.read(text)),
        Fallback::Required | Fallback::Elsewhere => {
            let example = described.and_then(|table| table.value(key.name));
            if let Some(example) = example.filter(|_| !key.masked) {
                property["examples"] = json!([json_of(example)]);
            }
        }
    }
    let text = described.map_or("", |table| table.text(key.name));
    if !text.is_empty() {
        property["description"] = text.into();
    }
    property
}

/// Keys have no other values than these.
fn json_of(value: &Value) -> Json {
    match value {
        Value::Integer(number) => (*number).into(),
        Value::Float(number) => (*number).into(),
        Value::Boolean(truth) => (*truth).into(),
        Value::Array(items) => items.iter().map(json_of).collect(),
        Value::String(text) => text.clone().into(),
        Value::Datetime(_) | Value::Table(_) => value.to_string().into(),
    }
}

/// Allows `[aws.endpoints.eu-central-1]` with the same keys as `[aws.endpoints]`.
fn add_regions(root: &mut Json) {
    if let Some(endpoints) = root.pointer_mut("/properties/aws/properties/endpoints") {
        let of_region = endpoints.clone();
        endpoints["patternProperties"] = json!({ REGION: of_region });
    }
}

/// Allows `[tenant.stage.<name>]` with the keys of every kind.
fn add_stages_of_tenants(root: &mut Json, described: Option<&Described>) {
    let properties = keys::of_kinds().into_iter().map(|key| (key.name.to_owned(), property(key, described)));
    let of_stage = table(properties.collect(), "What is different at this stage for this tenant.");
    let stages = json!({
        "type": "object",
        "additionalProperties": of_stage,
        "description": "Stages that are different for this tenant, by name.",
    });
    if let Some(properties) =
        root.pointer_mut("/properties/tenant/items/properties").and_then(Json::as_object_mut)
    {
        properties.insert("stage".to_owned(), stages);
    }
}

/// Refuses keys at a stage that belong to other kinds. The list of all keys stays at the stage itself: editors
/// complete from there.
fn add_kinds(root: &mut Json) {
    let rule = |kind: &Kind| {
        let keys = keys::STAGE.iter().chain(spec(*kind).keys);
        json!({
            "if": { "properties": { "kind": { "const": kind.name() } }, "required": ["kind"] },
            "then": { "propertyNames": { "enum": keys.map(|key| key.name).collect::<Vec<_>>() } },
        })
    };
    if let Some(stage) = root.pointer_mut("/properties/stage/items") {
        stage["allOf"] = Kind::ALL.iter().map(rule).collect();
    }
}
