//! One key of a table: its name, the type of its value, and its default.

use toml::Value;

/// A key that a table may have.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) shape: Shape,
    pub(crate) fallback: Fallback,
    /// Its value is shown as `…`, because it is a secret.
    pub(crate) masked: bool,
    /// The only values that it may have, for editors and documents; empty if there is no such list.
    pub(crate) choices: &'static [&'static str],
}

/// The type of a value in the file. An environment variable is converted to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// A string, whatever it holds: a name, a duration, a size.
    Text,
    Integer,
    /// `true` or `false`.
    Boolean,
    /// A list of strings; in the environment, one text separated by commas.
    List,
}

/// What applies when the key is not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fallback {
    /// The key must be set.
    Required,
    /// This default, written as in an environment variable.
    Value(&'static str),
    /// A default that depends on other keys, or none.
    Elsewhere,
}

impl Key {
    pub(crate) const fn text(name: &'static str) -> Self {
        Self::new(name, Shape::Text)
    }

    pub(crate) const fn new(name: &'static str, shape: Shape) -> Self {
        Self { name, shape, fallback: Fallback::Elsewhere, masked: false, choices: &[] }
    }

    pub(crate) const fn or(mut self, value: &'static str) -> Self {
        self.fallback = Fallback::Value(value);
        self
    }

    pub(crate) const fn required(mut self) -> Self {
        self.fallback = Fallback::Required;
        self
    }

    pub(crate) const fn one_of(mut self, choices: &'static [&'static str]) -> Self {
        self.choices = choices;
        self
    }

    pub(crate) const fn masked(mut self) -> Self {
        self.masked = true;
        self
    }
}

impl Shape {
    /// Converts the text of an environment variable. A text that cannot be converted is kept, so that the
    /// key's own parser reports it.
    pub(crate) fn read(self, text: &str) -> Value {
        match self {
            Self::Text => Value::String(text.to_owned()),
            Self::Integer => {
                text.trim().parse().map_or_else(|_| Value::String(text.to_owned()), Value::Integer)
            }
            Self::Boolean => {
                text.trim().parse().map_or_else(|_| Value::String(text.to_owned()), Value::Boolean)
            }
            Self::List => {
                Value::Array(text.split(',').map(|part| Value::String(part.trim().to_owned())).collect())
            }
        }
    }
}
