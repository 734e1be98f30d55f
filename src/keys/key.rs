//! One key of a table: its name, what stands behind the equals sign, and its default.

use toml::Value;

/// One key.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) shape: Shape,
    pub(crate) fallback: Fallback,
    /// Its value is not kept for showing.
    pub(crate) masked: bool,
}

/// What stands behind the equals sign, so that an environment variable can be read as the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// A string, whatever it means.
    Text,
    /// A whole number.
    Integer,
    /// `true` or `false`.
    Boolean,
    /// A list of strings; separated by commas in the environment.
    List,
}

/// What holds where the key is absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fallback {
    /// It must be there.
    Required,
    /// This, written as in an environment variable.
    Value(&'static str),
    /// Something that depends on other keys, or nothing.
    Elsewhere,
}

impl Key {
    pub(crate) const fn text(name: &'static str) -> Self {
        Self::new(name, Shape::Text)
    }

    pub(crate) const fn new(name: &'static str, shape: Shape) -> Self {
        Self { name, shape, fallback: Fallback::Elsewhere, masked: false }
    }

    pub(crate) const fn or(mut self, value: &'static str) -> Self {
        self.fallback = Fallback::Value(value);
        self
    }

    pub(crate) const fn required(mut self) -> Self {
        self.fallback = Fallback::Required;
        self
    }

    /// A key whose value is shown as `…`.
    pub(crate) const fn masked(mut self) -> Self {
        self.masked = true;
        self
    }
}

impl Shape {
    /// Reads the text of an environment variable. What cannot be read stays text, and the key's own parser complains.
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
