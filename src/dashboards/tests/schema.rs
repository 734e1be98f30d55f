//! Compares JSON with a schema of names and types, as `tests/dashboards/schemas.py` writes it.

use std::collections::BTreeMap;

use serde_json::Value;

/// Classes by name, each with the types of its fields.
pub(super) struct Schema(Value);

impl Schema {
    pub(super) fn new(text: &str) -> Self {
        Self(serde_json::from_str(text).unwrap())
    }

    /// Every fault of a value that should be of a class. `more` are fields of classes that a product writes and reads
    /// although its schema does not have them.
    pub(super) fn faults(&self, value: &Value, class: &str, more: &BTreeMap<&str, Vec<&str>>) -> Vec<String> {
        let mut faults = Vec::new();
        self.class(value, class, class, more, &mut faults);
        faults
    }

    fn class(
        &self,
        value: &Value,
        class: &str,
        path: &str,
        more: &BTreeMap<&str, Vec<&str>>,
        faults: &mut Vec<String>,
    ) {
        let fields = self.0[class].as_object().unwrap_or_else(|| panic!("the schema has no {class}"));
        let Some(given) = value.as_object() else {
            faults.push(format!("{path} is not an object"));
            return;
        };
        for (name, value) in given {
            let path = format!("{path}.{name}");
            match fields.get(name) {
                Some(kind) => self.kind(value, kind, &path, more, faults),
                None if more.get(class).is_some_and(|names| names.contains(&name.as_str())) => {}
                None => faults.push(format!("{path} is not in {class}")),
            }
        }
    }

    fn kind(
        &self,
        value: &Value,
        kind: &Value,
        path: &str,
        more: &BTreeMap<&str, Vec<&str>>,
        faults: &mut Vec<String>,
    ) {
        if let Some(plain) = kind.as_str() {
            let fits = match plain {
                "string" => value.is_string(),
                "integer" => value.is_u64() || value.is_i64(),
                "number" => value.is_number() || value.is_null(),
                "boolean" => value.is_boolean(),
                "any" => true,
                other => panic!("the schema has the type {other}"),
            };
            if !fits {
                faults.push(format!("{path} is not of type {plain}: {value}"));
            }
            return;
        }
        let (name, of) = kind.as_object().and_then(|kind| kind.iter().next()).unwrap();
        match name.as_str() {
            "ref" => self.class(value, of.as_str().unwrap(), path, more, faults),
            "enum" => {
                if !of.as_array().unwrap().contains(value) {
                    faults.push(format!("{path} is not one of {of}: {value}"));
                }
            }
            "array" => match value.as_array() {
                Some(items) => {
                    for (index, item) in items.iter().enumerate() {
                        self.kind(item, of, &format!("{path}[{index}]"), more, faults);
                    }
                }
                None => faults.push(format!("{path} is not a list")),
            },
            "map" => match value.as_object() {
                Some(fields) => fields
                    .iter()
                    .for_each(|(key, value)| self.kind(value, of, &format!("{path}.{key}"), more, faults)),
                None => faults.push(format!("{path} is not an object")),
            },
            "union" => {
                let fits = of.as_array().unwrap().iter().any(|kind| {
                    let mut own = Vec::new();
                    self.kind(value, kind, path, more, &mut own);
                    own.is_empty()
                });
                if !fits {
                    faults.push(format!("{path} fits none of {of}: {value}"));
                }
            }
            other => panic!("the schema has the kind {other}"),
        }
    }
}

#[test]
fn a_wrong_name_a_wrong_type_and_a_wrong_value_are_found() {
    let schema = Schema::new(
        r#"{"Chart": {"name": "string", "mode": {"enum": ["LINE"]}, "of": {"array": {"ref": "Chart"}}}}"#,
    );
    let faults = |json: &str| schema.faults(&serde_json::from_str(json).unwrap(), "Chart", &BTreeMap::new());
    assert!(faults(r#"{"name": "a", "of": [{"mode": "LINE"}]}"#).is_empty());
    assert_eq!(faults(r#"{"nam": "a"}"#), ["Chart.nam is not in Chart"]);
    assert_eq!(faults(r#"{"of": [{"name": 1}]}"#), ["Chart.of[0].name is not of type string: 1"]);
    assert_eq!(faults(r#"{"mode": "LINES"}"#), ["Chart.mode is not one of [\"LINE\"]: \"LINES\""]);
}
