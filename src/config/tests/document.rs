//! `docs/configuration.md` is printed from the lists of keys and from the texts of `config/traceprobe.toml`.

use std::path::Path;

use super::schema::is_written_again;
use crate::config::reference::{self, Described};
use crate::config::{VARIABLES, keys};
use crate::domain::kind::Kind;
use crate::keys::key::{Fallback, Key, Shape};
use crate::observe::spec;

const INTRODUCTION: &str = "\
# Configuration

Every key of a configuration file, with its default and its meaning. This page is printed from the code by
`make config-docs`. [`config/traceprobe.toml`](../config/traceprobe.toml) says the same in the form of a file to copy.

* A key that is not listed here is refused, with the nearest one that is. `traceprobe check --offline --config FILE`
  reports all faults of a file at once.
* Durations are texts with units: `\"250ms\"`, `\"30s\"`, `\"1h30m\"`. Sizes are texts, too: `\"100B\"`, `\"10KB\"`, `\"64MB\"`,
  where a KB has 1024 bytes. An empty text is the same as leaving the key out.
* An environment variable overrides each key; its name is given with each table. Lists are separated by commas. A
  variable that matches no key or is not UTF-8 is a fault, and an empty one overrides nothing.
* The file is named by `--config` or `TRACEPROBE_CONFIG`; without both, it is `/etc/traceprobe/traceprobe.toml`. Or
  `TRACEPROBE_CONFIG_TEXT` holds its whole text ([deploy.md](deploy.md#5-the-configuration)).
* Secrets are read from the environment only: `TRACEPROBE_TAG_KEY`, or the path of a file with it in
  `TRACEPROBE_TAG_KEY_FILE`, and during a rotation `TRACEPROBE_TAG_KEYS_ACCEPTED`.
* [`config/traceprobe.schema.json`](../config/traceprobe.schema.json), which `traceprobe schema` prints as well, is the
  JSON schema of the file. With `#:schema ./traceprobe.schema.json` as the first line of a file beside it, Taplo and Even
  Better TOML complete keys, explain them, and mark what is misspelt.
";

#[test]
fn the_page_of_all_keys_is_that_of_the_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    assert!(is_written_again(&path, &print()), "{} is outdated: run `make config-docs`", path.display());
}

fn print() -> String {
    let reference = reference::read();
    let nothing = Described::default();
    let mut page = INTRODUCTION.to_owned();
    for (header, keys) in keys::all() {
        let described = reference.get(header).unwrap_or(&nothing);
        page += &format!("\n## `{header}`\n");
        if !described.text.is_empty() {
            page += &format!("\n{}\n", wrapped(&described.text, ""));
        }
        page += &format!("\n{}\n", wrapped(&variables(header), ""));
        let below = match header {
            "[aws.endpoints]" => "`[aws.endpoints.<region>]` has the same keys, for one region alone.",
            "[[tenant]]" => {
                "`[tenant.stage.<name>]` below a tenant has the keys of that stage's kind that are different for it."
            }
            _ => "",
        };
        if !below.is_empty() {
            page += &format!("\n{}\n", wrapped(below, ""));
        }
        match header {
            "[[stage]]" => page += &stage(described),
            _ => page += &list(&keys, described),
        }
    }
    page
}

/// How the variables of a table are named.
fn variables(header: &str) -> String {
    let path = header.trim_matches(['[', ']']);
    let prefix = format!("{}_{}_", VARIABLES.prefix, path.replace('.', "_").to_uppercase());
    match path {
        "tenant" | "stage" => format!("Variables: `{prefix}<NAME>_<KEY>`, with the name of the {path}."),
        _ => format!("Variables: `{prefix}<KEY>`."),
    }
}

/// The keys of all stages, then those of single kinds, together where several kinds have them.
fn stage(described: &Described) -> String {
    let mut text = list(&keys::STAGE.iter().collect::<Vec<_>>(), described);
    let mut groups: Vec<(Vec<&str>, Vec<&Key>)> = Vec::new();
    for key in keys::of_kinds() {
        let has = |kind: &&Kind| spec(**kind).keys.iter().any(|of_kind| of_kind.name == key.name);
        let owners: Vec<_> = Kind::ALL.iter().filter(has).map(|kind| kind.name()).collect();
        match groups.iter_mut().find(|(of_group, _)| *of_group == owners) {
            Some((_, keys)) => keys.push(key),
            None => groups.push((owners, vec![key])),
        }
    }
    // What most kinds have comes first, as in the file.
    groups.sort_by_key(|(owners, _)| std::cmp::Reverse(owners.len()));
    for (owners, keys) in groups {
        text += &format!("\n### Stages of kind `{}`\n{}", owners.join("`, `"), list(&keys, described));
    }
    text
}

/// A list of keys. Those with one text are one item.
fn list(keys: &[&Key], described: &Described) -> String {
    let mut text = "\n".to_owned();
    for group in keys.chunk_by(|one, next| described.text(one.name) == described.text(next.name)) {
        let names: Vec<_> = group.iter().map(|key| named(key, described)).collect();
        let meaning = group.first().map_or("", |key| described.text(key.name));
        let is_told = meaning.is_empty() || meaning == described.text;
        let item = if is_told {
            format!("{}.", names.join("; "))
        } else {
            format!("{}. {meaning}", names.join("; "))
        };
        text += &format!("* {}\n", wrapped(&item, "  "));
    }
    text
}

/// `listen` (text), default `"0.0.0.0:9464"`.
fn named(key: &Key, described: &Described) -> String {
    let shape = match key.shape {
        Shape::Text => "text",
        Shape::Integer => "number",
        Shape::Boolean => "boolean",
        Shape::List => "list",
    };
    let value = match key.fallback {
        Fallback::Value(text) => format!(", default `{}`", key.shape.read(text)),
        Fallback::Required => ", required".to_owned(),
        Fallback::Elsewhere => match described.value(key.name) {
            Some(example) => format!(", for example `{example}`"),
            None => String::new(),
        },
    };
    format!("**`{}`** ({shape}{value})", key.name)
}

/// Breaks a text into lines of at most 120 characters; those after the first begin with `indent`.
fn wrapped(text: &str, indent: &str) -> String {
    let mut lines: Vec<String> = vec![String::new()];
    for word in text.split(' ') {
        let last = lines.last_mut().expect("there is a first line");
        // Two characters are the mark of the list.
        if last.chars().count() + word.chars().count() + 3 > 120 && !last.trim().is_empty() {
            lines.push(format!("{indent}{word}"));
        } else if last.is_empty() {
            last.push_str(word);
        } else {
            *last += &format!(" {word}");
        }
    }
    lines.join("\n")
}
