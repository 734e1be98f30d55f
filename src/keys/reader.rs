//! Reading one table: environment before file before default, with a note of where each value came from.
//!
//! TOML is not deserialized into structs, because serde stops at the first fault, and a person who mends a
//! configuration wants all of them.

use std::collections::{BTreeMap, BTreeSet};

use toml::{Table, Value};

use super::fault::{Checked, Collector, Reported, suggestion};
use super::key::{Fallback, Key};
use super::value::{Parsed, quoted};

/// Which environment variables belong to a program's configuration.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Variables {
    /// What the names of its variables begin with, without the underscore: `PROGRAM`.
    pub(crate) prefix: &'static str,
    /// Variables with that prefix that do not override a key.
    pub(crate) others: &'static [&'static str],
    /// What variables with that prefix begin with that somebody else sets.
    pub(crate) foreign: &'static [&'static str],
}

impl Variables {
    /// `PROGRAM_…`, with `_` for everything that is not a letter or digit.
    fn name(&self, parts: &[&str]) -> String {
        let mut name = self.prefix.to_owned();
        for part in parts {
            name.push('_');
            name.extend(
                part.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }),
            );
        }
        name
    }

    fn are_ours(&self, name: &str) -> bool {
        name.strip_prefix(self.prefix).is_some_and(|rest| rest.starts_with('_'))
            && !self.others.contains(&name)
            && !self.foreign.iter().any(|prefix| name.starts_with(prefix))
    }
}

/// A place where keys may stand: a table of the file, and variables with a prefix.
#[derive(Clone, Debug)]
pub(crate) struct Layer<'a> {
    /// Its keys' prefix in messages: `stage.archive`.
    pub(crate) path: String,
    /// The prefix of its variables; `None` where it has no name.
    pub(crate) variables: Option<String>,
    pub(crate) table: Option<&'a Table>,
    /// Header in the file.
    pub(crate) header: String,
    /// Where it stands among all tables when the configuration is shown.
    pub(crate) order: (usize, usize, usize),
}

impl<'a> Layer<'a> {
    pub(crate) fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.path)
    }

    fn variable(&self, name: &str) -> Option<String> {
        // A name is what the variable is found by, so it cannot be overridden itself.
        (name != "name")
            .then_some(self.variables.as_ref())
            .flatten()
            .map(|prefix| format!("{prefix}_{}", name.to_ascii_uppercase()))
    }
}

/// Where a value came from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Origin {
    File,
    Variable(String),
    Default,
}

/// One value in force; `None` where the key is not set and has no default of its own.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    pub(crate) name: &'static str,
    pub(crate) value: Option<Value>,
    pub(crate) origin: Origin,
}

/// All values in force, table by table.
pub(crate) type ShownTables = BTreeMap<(usize, usize, usize), (String, Vec<Shown>)>;

/// What is shared by everything that is read.
pub(crate) struct Context {
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) faults: Collector,
    pub(crate) shown: ShownTables,
    variables: Variables,
    /// Each variable that would override something, and the keys that it would override.
    claimed: BTreeMap<String, BTreeSet<String>>,
}

impl Context {
    pub(crate) fn new(env: BTreeMap<String, String>, variables: Variables) -> Self {
        Self {
            env,
            faults: Collector::default(),
            shown: BTreeMap::new(),
            variables,
            claimed: BTreeMap::new(),
        }
    }

    /// The name of the variable for something with this path: `PROGRAM_TENANT_ACME`.
    pub(crate) fn variable(&self, path: &[&str]) -> String {
        self.variables.name(path)
    }

    /// The layer of a table that is there once, such as `[probe]` or `[aws.endpoints]`.
    pub(crate) fn section<'a>(&self, path: &[&str], order: usize, table: Option<&'a Table>) -> Layer<'a> {
        let name = path.join(".");
        Layer {
            header: format!("[{name}]"),
            path: name,
            variables: Some(self.variable(path)),
            table,
            order: (order, 0, 0),
        }
    }

    /// Complains about keys that a table must not have, and remembers which variables belong to it. Once for a table.
    pub(crate) fn survey(&mut self, layer: &Layer<'_>, keys: &[&'static Key], tables: &[&str]) {
        for key in keys {
            if let Some(name) = layer.variable(key.name) {
                self.claimed.entry(name).or_default().insert(layer.key(key.name));
            }
        }
        for name in layer.table.into_iter().flat_map(Table::keys) {
            let known = || keys.iter().map(|key| key.name).chain(tables.iter().copied());
            if !known().any(|key| key == name) {
                let near = suggestion(name, known());
                self.faults.report(layer.key(name), format!("unknown key{near}"));
            }
        }
    }

    /// Complains about variables that override nothing, or two things at once. After everything was surveyed.
    pub(crate) fn check_variables(&mut self) {
        for name in self.env.keys().filter(|name| self.variables.are_ours(name)) {
            match self.claimed.get(name) {
                None => {
                    let known = self.claimed.keys().map(String::as_str);
                    let near = suggestion(name, known.chain(self.variables.others.iter().copied()));
                    self.faults.report(name.clone(), format!("matches no key of this configuration{near}"));
                }
                Some(keys) if keys.len() > 1 => {
                    let keys: Vec<_> = keys.iter().map(String::as_str).collect();
                    self.faults.report(
                        name.clone(),
                        format!("could mean {}; set the keys in the file", keys.join(" or ")),
                    );
                }
                Some(_) => {}
            }
        }
    }

    /// The table `name` inside `parent`, where there is one; complains when it is something else.
    pub(crate) fn table<'t>(
        &mut self,
        parent: Option<&'t Table>,
        path: &str,
        name: &str,
    ) -> Option<&'t Table> {
        match parent?.get(name)? {
            Value::Table(table) => Some(table),
            other => {
                self.faults.report(path, format!("{} is no table; write [{path}]", quoted(other)));
                None
            }
        }
    }

    /// The tables `[[name]]`; complains when they are something else.
    pub(crate) fn tables<'t>(&mut self, root: &'t Table, name: &str) -> Vec<&'t Table> {
        let wrong = |faults: &mut Collector| {
            faults.report(name, format!("must be a list of tables; write [[{name}]]"));
            Vec::new()
        };
        match root.get(name) {
            None => Vec::new(),
            Some(Value::Array(items)) => {
                let tables: Option<Vec<_>> = items.iter().map(Value::as_table).collect();
                tables.unwrap_or_else(|| wrong(&mut self.faults))
            }
            Some(_) => wrong(&mut self.faults),
        }
    }
}

/// Reads the keys of one table, or of a table over another one.
pub(crate) struct Reader<'c, 'a> {
    pub(crate) context: &'c mut Context,
    /// The first that has a key wins; the last is the one that messages name when a key is missing.
    layers: Vec<Layer<'a>>,
    keys: &'static [Key],
}

struct Given {
    value: Value,
    origin: Origin,
    layer: usize,
}

impl<'c, 'a> Reader<'c, 'a> {
    pub(crate) fn new(context: &'c mut Context, layers: Vec<Layer<'a>>, keys: &'static [Key]) -> Self {
        Self { context, layers, keys }
    }

    /// The full name of a key, for messages: where it is set, or where it would be.
    pub(crate) fn key(&self, name: &str) -> String {
        let layer = self.given(self.registered(name)).map(|given| given.layer);
        self.layers[layer.unwrap_or(self.layers.len() - 1)].key(name)
    }

    /// Whether a key, registered here or not, is set anywhere.
    pub(crate) fn is_set(&self, key: &Key) -> bool {
        self.given(key).is_some()
    }

    /// Adds a fault to a key.
    pub(crate) fn report(&mut self, name: &str, message: impl Into<String>) -> Reported {
        let key = self.key(name);
        self.context.faults.report(key, message)
    }

    /// The value of a key, or its default.
    pub(crate) fn get<T>(&mut self, name: &str, parse: impl Fn(&Value) -> Parsed<T>) -> Checked<T> {
        let fallback = match self.registered(name).fallback {
            Fallback::Value(text) => Some(text),
            Fallback::Required | Fallback::Elsewhere => None,
        };
        self.get_or(name, fallback, parse)
    }

    /// The value of a key, or this default, written as in an environment variable.
    pub(crate) fn get_or<T>(
        &mut self,
        name: &str,
        fallback: Option<&str>,
        parse: impl Fn(&Value) -> Parsed<T>,
    ) -> Checked<T> {
        let shape = self.registered(name).shape;
        match self.read(name, fallback.map(|text| shape.read(text)), parse)? {
            Some(value) => Ok(value),
            None => Err(self.report(name, "missing; it has no default")),
        }
    }

    /// The value of a key, if it has one.
    pub(crate) fn find<T>(&mut self, name: &str, parse: impl Fn(&Value) -> Parsed<T>) -> Checked<Option<T>> {
        self.read(name, None, parse)
    }

    fn read<T>(
        &mut self,
        name: &str,
        fallback: Option<Value>,
        parse: impl Fn(&Value) -> Parsed<T>,
    ) -> Checked<Option<T>> {
        let key = self.registered(name);
        let base = self.layers.len() - 1;
        let given = self.given(key);
        let (value, origin, layer) = match given {
            Some(given) => (Some(given.value), given.origin, given.layer),
            None => (fallback, Origin::Default, base),
        };
        self.show(layer, key, value.clone(), origin.clone());
        let Some(value) = value else {
            return Ok(None);
        };
        parse(&value).map(Some).map_err(|message| {
            let key = self.layers[layer].key(name);
            let from = match origin {
                Origin::Variable(variable) => format!(" (from {variable})"),
                Origin::File | Origin::Default => String::new(),
            };
            self.context.faults.report(key, format!("{message}{from}"))
        })
    }

    fn given(&self, key: &Key) -> Option<Given> {
        self.layers.iter().enumerate().find_map(|(layer, place)| {
            let variable = place.variable(key.name);
            // Templates of task definitions set variables to nothing where they have no value; that overrides nothing.
            let text =
                variable.as_ref().and_then(|name| self.context.env.get(name)).filter(|text| !text.is_empty());
            let (value, origin) = match (text, variable) {
                (Some(text), Some(name)) => (key.shape.read(text), Origin::Variable(name)),
                _ => (place.table?.get(key.name)?.clone(), Origin::File),
            };
            // So does an empty text in the file: `instance = ""` is the host name.
            if value.as_str() == Some("") {
                return None;
            }
            Some(Given { value, origin, layer })
        })
    }

    fn show(&mut self, layer: usize, key: &Key, value: Option<Value>, origin: Origin) {
        let name = key.name;
        let value = match value {
            Some(_) if key.masked => Some(Value::String("…".to_owned())),
            other => other,
        };
        let place = &self.layers[layer];
        let (_, values) =
            self.context.shown.entry(place.order).or_insert_with(|| (place.header.clone(), Vec::new()));
        if values.iter().all(|shown| shown.name != name) {
            values.push(Shown { name, value, origin });
        }
    }

    fn registered(&self, name: &str) -> &'static Key {
        self.keys.iter().find(|key| key.name == name).expect("every key that is read is in the registry")
    }
}
