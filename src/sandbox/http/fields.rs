//! Google's partial responses: the parameter `fields`, such as `items(name,size),nextPageToken` or
//! `items/name`.
//!
//! It is applied, and unknown fields are refused, so that a client that forgets to request a field fails here
//! and not only in the cloud.

use std::collections::BTreeMap;

use serde_json::Value;

/// The requested fields of a value; a field without fields below it is requested as a whole.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Fields(BTreeMap<String, Fields>);

impl Fields {
    /// Parses the parameter.
    ///
    /// # Errors
    /// The selection that is not valid.
    pub(super) fn parse(text: &str, known: &[&str]) -> Result<Self, String> {
        let mut rest = text;
        let fields = Self::list(&mut rest, known)?;
        if rest.is_empty() { Ok(fields) } else { Err(rest.to_owned()) }
    }

    fn list(rest: &mut &str, known: &[&str]) -> Result<Self, String> {
        let mut fields = BTreeMap::new();
        loop {
            let (name, below) = Self::one(rest, known)?;
            fields.insert(name, below);
            match rest.strip_prefix(',') {
                Some(more) => *rest = more,
                None => return Ok(Self(fields)),
            }
        }
    }

    fn one(rest: &mut &str, known: &[&str]) -> Result<(String, Self), String> {
        let end = rest.find([',', '/', '(', ')']).unwrap_or(rest.len());
        let (name, more) = rest.split_at(end);
        if name != "*" && !known.contains(&name) {
            return Err(name.to_owned());
        }
        *rest = more;
        let below = if let Some(more) = rest.strip_prefix('/') {
            *rest = more;
            let (name, below) = Self::one(rest, known)?;
            Self(BTreeMap::from([(name, below)]))
        } else if let Some(more) = rest.strip_prefix('(') {
            *rest = more;
            let below = Self::list(rest, known)?;
            *rest = rest.strip_prefix(')').ok_or_else(|| (*rest).to_owned())?;
            below
        } else {
            Self::default()
        };
        Ok((name.to_owned(), below))
    }

    /// Returns the requested fields of a value.
    pub(super) fn of(&self, value: Value) -> Value {
        if self.0.is_empty() {
            return value;
        }
        match value {
            Value::Object(map) => {
                let wanted = |(name, value): (String, Value)| {
                    let below = self.0.get(&name).or_else(|| self.0.get("*"))?;
                    Some((name, below.of(value)))
                };
                Value::Object(map.into_iter().filter_map(wanted).collect())
            }
            Value::Array(all) => Value::Array(all.into_iter().map(|value| self.of(value)).collect()),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const KNOWN: [&str; 4] = ["items", "name", "size", "nextPageToken"];

    #[test]
    fn only_the_requested_fields_are_left() {
        let page =
            json!({"nextPageToken": "t", "kind": "k", "items": [{"name": "a", "size": "1", "etag": "e"}]});
        let of = |text: &str| Fields::parse(text, &KNOWN).map(|fields| fields.of(page.clone()));
        assert_eq!(of("items(name,size)"), Ok(json!({"items": [{"name": "a", "size": "1"}]})));
        assert_eq!(
            of("nextPageToken,items/name"),
            Ok(json!({"nextPageToken": "t", "items": [{"name": "a"}]}))
        );
        assert_eq!(of("*"), Ok(page.clone()));
        assert_eq!(of("items"), Ok(json!({"items": page["items"].clone()})));
    }

    #[test]
    fn an_unknown_field_is_refused() {
        assert_eq!(Fields::parse("items(name,color)", &KNOWN), Err("color".to_owned()));
        assert!(Fields::parse("items(name", &KNOWN).is_err());
        assert!(Fields::parse("items)", &KNOWN).is_err());
        assert!(Fields::parse("", &KNOWN).is_err());
    }
}
