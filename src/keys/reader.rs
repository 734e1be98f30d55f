//! Reads one table. The environment takes precedence over the file, and the file over the default; the origin
//! of each value is kept, so that it can be shown.

use std::collections::{BTreeMap, BTreeSet};

use toml::{Table, Value};

use super::fault::{Checked, Collector, Reported, suggestion};
use super::key::{Fallback, Key};
use super::secret::{Secret, masked_urls};
use super::value::Parsed;

/// Which environment variables belong to a program's configuration.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Variables {
    /// Prefix of its variables, without the underscore: `PROGRAM`.
    pub(crate) prefix: &'static str,
    /// Variables with that prefix that are read but do not override a key.
    pub(crate) others: &'static [&'static str],
    /// Whether other software set a variable that matches no key, by what follows the prefix in its name, and by its
    /// value. It is ignored then.
    pub(crate) is_foreign: fn(&str, &str) -> bool,
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
    }

    fn are_foreign(&self, name: &str, value: &str) -> bool {
        name.strip_prefix(self.prefix).is_some_and(|rest| (self.is_foreign)(rest, value))
    }
}

/// One place to read keys from: a table of the file, and the variables that override it.
#[derive(Clone, Debug)]
pub(crate) struct Layer<'a> {
    /// Prefix of its keys in messages: `stage.archive`.
    pub(crate) path: String,
    /// Prefix of its variables; `None` if the table has no name, so that no variable can refer to it.
    pub(crate) variables: Option<String>,
    pub(crate) table: Option<&'a Table>,
    /// Its header in the file: `[[stage]]`.
    pub(crate) header: String,
    /// Its place among all tables when the configuration is shown.
    pub(crate) order: (usize, usize, usize),
}

impl<'a> Layer<'a> {
    pub(crate) fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.path)
    }

    fn variable(&self, name: &str) -> Option<String> {
        // The variable is derived from the name, so the name itself cannot be overridden.
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

/// One effective value; `None` if the key is not set and has no default of its own.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    pub(crate) name: &'static str,
    pub(crate) value: Option<Value>,
    /// The value itself where the one that is shown hides some of it, to tell another secret from the same.
    pub(crate) secret: Option<Secret>,
    pub(crate) origin: Origin,
}

/// All values in force, table by table.
pub(crate) type ShownTables = BTreeMap<(usize, usize, usize), (String, Vec<Shown>)>;

/// State shared by all readers of one configuration.
pub(crate) struct Context {
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) faults: Collector,
    pub(crate) shown: ShownTables,
    variables: Variables,
    /// Every variable that may be set, with the keys that it overrides; two keys make it ambiguous.
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

    /// Returns the name of the variable for a path: `PROGRAM_TENANT_ACME`.
    pub(crate) fn variable(&self, path: &[&str]) -> String {
        self.variables.name(path)
    }

    /// Returns the layer of a table that occurs once, such as `[probe]` or `[aws.endpoints]`.
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

    /// Reports unknown keys of a table, and registers the variables that override it. Call it once per table.
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

    /// Reports variables that override nothing, or two keys at once. Call it after all tables were surveyed.
    pub(crate) fn check_variables(&mut self) {
        let begin_as_ours = |name: &&String| name.starts_with(self.variables.prefix);
        for name in self.env.keys().filter(begin_as_ours) {
            if self.env.get(name).is_some_and(|value| value.contains(char::REPLACEMENT_CHARACTER)) {
                self.faults.report(name.clone(), "is not UTF-8".to_owned());
            }
        }
        for (name, value) in self.env.iter().filter(|(name, _)| self.variables.are_ours(name)) {
            match self.claimed.get(name) {
                None if self.variables.are_foreign(name, value) => {}
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

    /// Returns the table `name` inside `parent`, if there is one; reports a value that is not a table.
    pub(crate) fn table<'t>(
        &mut self,
        parent: Option<&'t Table>,
        path: &str,
        name: &str,
    ) -> Option<&'t Table> {
        match parent?.get(name)? {
            Value::Table(table) => Some(table),
            // Not quoted: it may be the secret that belongs into a key of the table.
            _ => {
                self.faults.report(path, format!("is not a table; write [{path}]"));
                None
            }
        }
    }

    /// Returns the tables `[[name]]`; reports a value that is not a list of tables.
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

/// Reads the keys of one table, or of a table with another one as its fallback.
pub(crate) struct Reader<'c, 'a> {
    pub(crate) context: &'c mut Context,
    /// The first layer that has a key wins; messages about a missing key name the last one.
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

    /// Returns the full name of a key for messages: where it is set, or where it would be set.
    pub(crate) fn key(&self, name: &str) -> String {
        let layer = self.given(self.registered(name)).map(|given| given.layer);
        self.layers[layer.unwrap_or(self.layers.len() - 1)].key(name)
    }

    /// Returns whether a key is set in any layer; it need not be a key of this reader.
    pub(crate) fn is_set(&self, key: &Key) -> bool {
        self.given(key).is_some()
    }

    /// Reports a fault of a key.
    pub(crate) fn report(&mut self, name: &str, message: impl Into<String>) -> Reported {
        let key = self.key(name);
        self.context.faults.report(key, message)
    }

    /// Reads the value of a key or its default; reports the key as missing if it has neither.
    pub(crate) fn get<T>(&mut self, name: &str, parse: impl Fn(&Value) -> Parsed<T>) -> Checked<T> {
        let fallback = match self.registered(name).fallback {
            Fallback::Value(text) => Some(text),
            Fallback::Required | Fallback::Elsewhere => None,
        };
        self.get_or(name, fallback, parse)
    }

    /// Like [`Reader::get`], with this default, written as in an environment variable.
    pub(crate) fn get_or<T>(
        &mut self,
        name: &str,
        fallback: Option<&str>,
        parse: impl Fn(&Value) -> Parsed<T>,
    ) -> Checked<T> {
        let shape = self.registered(name).shape;
        match self.read(name, fallback.map(|text| shape.read(text)), parse)? {
            Some(value) => Ok(value),
            None => {
                let message = match self.layers.last().and_then(|layer| layer.variable(name)) {
                    Some(variable) => format!("missing; set it here, or as {variable} in the environment"),
                    None => "missing; set it here".to_owned(),
                };
                Err(self.report(name, message))
            }
        }
    }

    /// Reads the value of a key; `None` if it is not set.
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
            // Task definitions often set a variable to an empty text; that overrides nothing.
            let text =
                variable.as_ref().and_then(|name| self.context.env.get(name)).filter(|text| !text.is_empty());
            let (value, origin) = match (text, variable) {
                (Some(text), Some(name)) => (key.shape.read(text), Origin::Variable(name)),
                _ => (place.table?.get(key.name)?.clone(), Origin::File),
            };
            // An empty text in the file is treated the same: `instance = ""` means the host name.
            if value.as_str() == Some("") {
                return None;
            }
            Some(Given { value, origin, layer })
        })
    }

    fn show(&mut self, layer: usize, key: &Key, value: Option<Value>, origin: Origin) {
        let name = key.name;
        let shown = value.as_ref().map(|value| {
            if key.masked { Value::String("…".to_owned()) } else { without_url_secrets(value.clone()) }
        });
        let hides = shown != value;
        let secret = value.filter(|_| hides).map(|value| Secret::new(value.to_string()));
        let value = shown;
        let place = &self.layers[layer];
        let (_, values) =
            self.context.shown.entry(place.order).or_insert_with(|| (place.header.clone(), Vec::new()));
        if values.iter().all(|shown| shown.name != name) {
            values.push(Shown { name, value, secret, origin });
        }
    }

    fn registered(&self, name: &str) -> &'static Key {
        self.keys
            .iter()
            .find(|key| key.name == name)
            .expect("every key that is read is listed in the keys of the reader")
    }
}

/// Masks what may be secret in the URLs of a value: see [`masked_urls`].
fn without_url_secrets(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(masked_urls(&text).into_owned()),
        Value::Array(items) => Value::Array(items.into_iter().map(without_url_secrets).collect()),
        other => other,
    }
}
