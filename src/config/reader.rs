//! Reading one table: environment before file before default, with a note of where each value came from.
//!
//! TOML is not deserialized into structs, because serde stops at the first fault, and a person who mends a
//! configuration wants all of them.

use std::collections::{BTreeMap, BTreeSet};

use toml::{Table, Value};

use super::fault::{Checked, Collector, suggestion};
use super::keys::{Fallback, Key};
use super::secret;
use super::value::{Parsed, quoted};

/// Variables that are no overrides of keys: the tag keys, and where the file is.
pub const OTHER_VARIABLES: [&str; 4] =
    [secret::TAG_KEY, secret::TAG_KEY_FILE, secret::TAG_KEYS_ACCEPTED, "TRACEPROBE_CONFIG"];

/// Kubernetes puts these into every container beside a service that is called `traceprobe`.
const FOREIGN_VARIABLES: [&str; 2] = ["TRACEPROBE_SERVICE_", "TRACEPROBE_PORT"];

/// Keys whose values are not kept for showing. External ids are no secrets to AWS, but they are the other half of a
/// role's lock.
const MASKED: [&str; 1] = ["external_id"];

/// A place where keys may stand: a table of the file, and variables with a prefix.
#[derive(Clone, Debug)]
pub(super) struct Layer<'a> {
    /// Its keys' prefix in messages: `stage.archive`.
    pub(super) path: String,
    /// The prefix of its variables; `None` where it has no name.
    pub(super) variables: Option<String>,
    pub(super) table: Option<&'a Table>,
    /// Header in the file.
    pub(super) header: String,
    /// Where it stands among all tables when the configuration is shown.
    pub(super) order: (usize, usize, usize),
}

impl<'a> Layer<'a> {
    /// A table that is there once, such as `[probe]` or `[aws.endpoints]`.
    pub(super) fn section(name: &str, order: usize, table: Option<&'a Table>) -> Self {
        Self {
            path: name.to_owned(),
            variables: Some(variable(&[name])),
            table,
            header: format!("[{name}]"),
            order: (order, 0, 0),
        }
    }

    fn key(&self, name: &str) -> String {
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

/// `TRACEPROBE_…` with all that is no letter or digit as `_`.
pub(super) fn variable(parts: &[&str]) -> String {
    let mut name = "TRACEPROBE".to_owned();
    for part in parts {
        name.push('_');
        name.extend(part.chars().map(
            |c| {
                if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }
            },
        ));
    }
    name
}

/// Where a value came from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Origin {
    File,
    Variable(String),
    Default,
}

/// One value in force; `None` where the key is not set and has no default of its own.
#[derive(Clone, Debug)]
pub(super) struct Shown {
    pub(super) name: &'static str,
    pub(super) value: Option<Value>,
    pub(super) origin: Origin,
}

/// All values in force, table by table.
pub(super) type ShownTables = BTreeMap<(usize, usize, usize), (String, Vec<Shown>)>;

/// What is shared by everything that is read.
pub(super) struct Context {
    pub(super) env: BTreeMap<String, String>,
    pub(super) faults: Collector,
    pub(super) shown: ShownTables,
    /// Each variable that would override something, and the keys that it would override.
    claimed: BTreeMap<String, BTreeSet<String>>,
}

impl Context {
    pub(super) fn new(env: BTreeMap<String, String>) -> Self {
        Self { env, faults: Collector::default(), shown: BTreeMap::new(), claimed: BTreeMap::new() }
    }

    /// Complains about keys that a table must not have, and remembers which variables belong to it. Once for a table.
    pub(super) fn survey(&mut self, layer: &Layer<'_>, keys: &[&'static Key], tables: &[&str]) {
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
    pub(super) fn check_variables(&mut self) {
        let ours = self.env.keys().filter(|name| {
            name.starts_with("TRACEPROBE_")
                && !OTHER_VARIABLES.contains(&name.as_str())
                && !FOREIGN_VARIABLES.iter().any(|prefix| name.starts_with(prefix))
        });
        for name in ours {
            match self.claimed.get(name) {
                None => {
                    let known = self.claimed.keys().map(String::as_str);
                    let near = suggestion(name, known.chain(OTHER_VARIABLES));
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
    pub(super) fn table<'t>(
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
    pub(super) fn tables<'t>(&mut self, root: &'t Table, name: &str) -> Vec<&'t Table> {
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
pub(super) struct Reader<'c, 'a> {
    pub(super) context: &'c mut Context,
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
    pub(super) fn new(context: &'c mut Context, layers: Vec<Layer<'a>>, keys: &'static [Key]) -> Self {
        Self { context, layers, keys }
    }

    /// The full name of a key, for messages: where it is set, or where it would be.
    pub(super) fn key(&self, name: &str) -> String {
        let layer = self.given(self.registered(name)).map(|given| given.layer);
        self.layers[layer.unwrap_or(self.layers.len() - 1)].key(name)
    }

    /// Whether a key, registered here or not, is set anywhere.
    pub(super) fn is_set(&self, key: &Key) -> bool {
        self.given(key).is_some()
    }

    /// Adds a fault to a key.
    pub(super) fn report(&mut self, name: &str, message: impl Into<String>) -> super::fault::Reported {
        let key = self.key(name);
        self.context.faults.report(key, message)
    }

    /// The value of a key, or its default.
    pub(super) fn get<T>(&mut self, name: &str, parse: impl Fn(&Value) -> Parsed<T>) -> Checked<T> {
        let fallback = match self.registered(name).fallback {
            Fallback::Value(text) => Some(text),
            Fallback::Required | Fallback::Elsewhere => None,
        };
        self.get_or(name, fallback, parse)
    }

    /// The value of a key, or this default, written as in an environment variable.
    pub(super) fn get_or<T>(
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
    pub(super) fn find<T>(&mut self, name: &str, parse: impl Fn(&Value) -> Parsed<T>) -> Checked<Option<T>> {
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
        self.show(layer, key.name, value.clone(), origin.clone());
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

    fn show(&mut self, layer: usize, name: &'static str, value: Option<Value>, origin: Origin) {
        let value = match value {
            Some(_) if MASKED.contains(&name) => Some(Value::String("…".to_owned())),
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
