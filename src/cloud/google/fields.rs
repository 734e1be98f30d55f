//! The fields of a credentials file.

use serde_json::{Map, Value};

/// A JSON object of a credentials file. Errors name the key and never the value, which may be secret.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a> {
    map: &'a Map<String, Value>,
    /// The key of this object in the file, with a dot behind it; empty for the whole file.
    prefix: &'a str,
}

impl<'a> Fields<'a> {
    pub(super) fn new(map: &'a Map<String, Value>) -> Self {
        Self { map, prefix: "" }
    }

    /// Returns a text that must be there and not be empty.
    pub(super) fn text(&self, key: &str) -> Result<&'a str, String> {
        self.find(key)?.ok_or_else(|| format!("`{}{key}` is missing", self.prefix))
    }

    /// Returns a text; `None` if it is not there, `null` or empty.
    pub(super) fn find(&self, key: &str) -> Result<Option<&'a str>, String> {
        match self.map.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
            Some(_) => Err(format!("`{}{key}` is not a text", self.prefix)),
        }
    }

    /// Returns a whole number.
    pub(super) fn number(&self, key: &str) -> Result<Option<u64>, String> {
        match self.map.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match value.as_u64() {
                Some(number) => Ok(Some(number)),
                None => Err(format!("`{}{key}` is not a whole number", self.prefix)),
            },
        }
    }

    /// Returns an object inside this one. `prefix` is its key in the file, with a dot behind it.
    pub(super) fn object(&self, key: &str, prefix: &'a str) -> Result<Option<Fields<'a>>, String> {
        match self.map.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Object(map)) => Ok(Some(Fields { map, prefix })),
            Some(_) => Err(format!("`{}{key}` is not an object", self.prefix)),
        }
    }

    /// Returns a list of texts; empty if it is not there.
    pub(super) fn texts(&self, key: &str) -> Result<Vec<String>, String> {
        let wrong = || format!("`{}{key}` is not a list of texts", self.prefix);
        match self.map.get(key) {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::Array(items)) => {
                items.iter().map(|item| item.as_str().map(str::to_owned).ok_or_else(wrong)).collect()
            }
            Some(_) => Err(wrong()),
        }
    }

    /// Returns all pairs of an object whose values are texts.
    pub(super) fn pairs(&self) -> Result<Vec<(String, String)>, String> {
        let pair = |(name, value): (&String, &Value)| match value {
            Value::String(text) => Ok((name.clone(), text.clone())),
            _ => Err(format!("`{}{name}` is not a text", self.prefix)),
        };
        self.map.iter().map(pair).collect()
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.map.get(key).is_some_and(|value| !value.is_null())
    }
}
