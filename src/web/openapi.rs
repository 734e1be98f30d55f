//! `/openapi.json`: what every route takes and answers, for programs.
//!
//! The schemas of the answers are derived from the structs that print them, so a field cannot be served without
//! a description. Routes and parameters are written by hand in [`operations`]; tests compare them with what the
//! router answers.

#[cfg(test)]
mod markdown;
mod operations;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Bytes;
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use crate::domain::aggregates::END_TO_END;
use crate::domain::topology::Topology;

/// Path of the document.
pub(super) const PATH: &str = "/openapi.json";

const INTRODUCTION: &str = include_str!("openapi/introduction.md");

/// The names that parameters take under a configuration.
#[derive(Default)]
struct Names {
    tenants: Vec<String>,
    stages: Vec<String>,
}

impl Names {
    fn of(map: &Topology) -> Self {
        let owned = |name: &str| name.to_owned();
        Self {
            tenants: map.tenant_ids().map(|id| owned(&map.tenant(id).name)).collect(),
            stages: map.stage_ids().map(|id| owned(&map.stage(id).name)).collect(),
        }
    }

    fn tenant(&self) -> Value {
        one_of(&self.tenants)
    }

    fn stage(&self) -> Value {
        one_of(&self.stages)
    }

    /// A stage, or end to end.
    fn hop(&self) -> Value {
        let known = (!self.stages.is_empty()).then_some(END_TO_END.to_owned());
        one_of(&self.stages.iter().cloned().chain(known).collect::<Vec<_>>())
    }
}

fn one_of(names: &[String]) -> Value {
    if names.is_empty() { json!({ "type": "string" }) } else { words(names) }
}

/// One of these words; or empty, which is as without the parameter, because forms send it so.
fn words<T: AsRef<str>>(words: &[T]) -> Value {
    let all: Vec<_> = words.iter().map(AsRef::as_ref).chain([""]).collect();
    json!({ "type": "string", "enum": all })
}

/// The text of the document, written once for each configuration: its tenants and stages are the values of the
/// parameters that name one.
#[derive(Debug, Default)]
pub(super) struct Description(
    // A mutex, because requests come from any thread; held while the text is written.
    Mutex<Option<(Arc<Topology>, Bytes)>>,
);

impl Description {
    pub(super) fn of(&self, map: &Arc<Topology>) -> Bytes {
        let mut written = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, text)) = &*written
            && Arc::ptr_eq(of, map)
        {
            return text.clone();
        }
        let text = Bytes::from(write(&Names::of(map)).to_string());
        *written = Some((map.clone(), text.clone()));
        text
    }
}

fn write(names: &Names) -> Value {
    // OpenAPI 3.1 takes schemas of JSON Schema 2020-12 as they are.
    let mut settings = SchemaSettings::draft2020_12().for_serialize();
    settings.definitions_path = "/components/schemas".into();
    settings.meta_schema = None;
    let mut requests = settings.clone().for_deserialize().into_generator();
    let mut answers = settings.into_generator();
    let paths = operations::paths(names, &mut answers, &mut requests);
    let schemas = answers.take_definitions(true).into_iter().chain(requests.take_definitions(true));
    let schemas: serde_json::Map<_, _> = schemas.map(flowing).collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "traceprobe",
            "version": env!("CARGO_PKG_VERSION"),
            "description": INTRODUCTION,
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        // Relative to this document, so that it holds behind a reverse proxy, too.
        "servers": [{ "url": "." }],
        "paths": paths,
        "components": { "schemas": schemas },
    })
}

/// The schema with its descriptions on one line each, because comments in the code are wrapped.
fn flowing((name, mut schema): (String, Value)) -> (String, Value) {
    fn flow(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    match value {
                        Value::String(text) if name == "description" => *text = text.replace('\n', " "),
                        other => flow(other),
                    }
                }
            }
            Value::Array(items) => items.iter_mut().for_each(flow),
            _ => {}
        }
    }
    flow(&mut schema);
    (name, schema)
}

/// A reference to the schema of a type, which is among the components from then on.
fn schema<T: schemars::JsonSchema>(schemas: &mut SchemaGenerator) -> Value {
    schemas.subschema_for::<T>().to_value()
}
