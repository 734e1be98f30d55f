//! The JSON schema accepts what the configuration accepts, and refuses what it refuses.

use std::path::{Path, PathBuf};

use jsonschema::Validator;
use serde_json::Value as Json;
use toml::Table;

use super::{GOOD, SHIPPED, faults, with};
use crate::config::{SECTIONS, keys, schema};

const WRITE: &str = "TRACEPROBE_WRITE_DOCS";

fn validator() -> Validator {
    jsonschema::draft7::new(&schema()).unwrap()
}

/// Why the schema refuses a file.
fn refused(validator: &Validator, file: &str) -> Vec<String> {
    let table: Table = file.parse().unwrap();
    let json = serde_json::to_value(table).unwrap();
    validator.iter_errors(&json).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

#[test]
fn the_shipped_schema_is_that_of_the_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/traceprobe.schema.json");
    let printed = format!("{:#}\n", schema());
    assert!(is_written_again(&path, &printed), "{} is outdated: run `make config-docs`", path.display());
}

/// Writes a file that is printed from the code, if `make config-docs` runs the test. Returns whether it is as printed.
pub(super) fn is_written_again(path: &Path, printed: &str) -> bool {
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(path, printed).unwrap();
    }
    std::fs::read_to_string(path).is_ok_and(|kept| kept == printed)
}

#[test]
fn editors_find_the_schema_in_the_first_line_of_the_shipped_file() {
    assert_eq!(SHIPPED.lines().next(), Some("#:schema ./traceprobe.schema.json"));
}

#[test]
fn every_table_of_a_file_is_in_the_schema() {
    let schema = schema();
    let mut tables: Vec<_> = schema["properties"].as_object().unwrap().keys().map(String::as_str).collect();
    let mut sections = SECTIONS.to_vec();
    tables.sort_unstable();
    sections.sort_unstable();
    assert_eq!(tables, sections);
}

#[test]
fn every_shipped_configuration_is_valid() {
    let validator = validator();
    let mut checked = 0;
    for path in toml_files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("config")) {
        // Profiles of loads are files of another kind.
        if path.parent().is_some_and(|folder| folder.ends_with("config/load")) {
            continue;
        }
        let file = std::fs::read_to_string(&path).unwrap();
        assert_eq!(refused(&validator, &file), Vec::<String>::new(), "{}", path.display());
        checked += 1;
    }
    assert!(checked >= 2, "only {checked} files");
    let readme = include_str!("../../../README.md");
    let block = readme.split("```toml").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    for file in [GOOD, block] {
        assert_eq!(refused(&validator, file), Vec::<String>::new());
    }
}

/// All TOML files in a folder and below it.
fn toml_files(folder: &Path) -> Vec<PathBuf> {
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let found = |path: PathBuf| match path.extension() {
        _ if path.is_dir() => toml_files(&path),
        Some(extension) if extension == "toml" => vec![path],
        _ => Vec::new(),
    };
    paths.flat_map(found).collect()
}

/// The shipped file with every key that is commented out set to its default or example.
#[test]
fn every_documented_value_is_valid() {
    let reference = crate::config::reference::read();
    let validator = validator();
    for (header, keys) in keys::all() {
        for key in keys {
            let Some(value) = reference[header].value(key.name) else { panic!("{header} {}", key.name) };
            let line = format!("{} = {value}", key.name);
            let file = match header {
                "[[tenant]]" | "[[stage]]" => continue,
                header => {
                    format!("{}\n{header}\n{line}\n", GOOD.replace(&format!("{header}\n"), "[ignored]\n"))
                }
            };
            let refused = refused(&validator, &file);
            let others: Vec<_> = refused.iter().filter(|fault| !fault.contains("'ignored'")).collect();
            assert!(others.is_empty(), "{header} {line}: {others:?}");
        }
    }
}

#[test]
fn a_misspelt_key_is_refused_in_every_table() {
    let validator = validator();
    for (header, _) in keys::all() {
        let file = match header {
            "[[tenant]]" | "[[stage]]" => {
                with(&format!("{header}\n"), &format!("{header}\nmispelt = \"x\"\n"))
            }
            header => format!(
                "{}\n{header}\nmispelt = \"x\"\n",
                GOOD.replace(&format!("{header}\n"), "[ignored]\n")
            ),
        };
        let refused = refused(&validator, &file);
        assert!(refused.iter().any(|fault| fault.contains("'mispelt'")), "{header}: {refused:?}");
    }
}

#[test]
fn a_key_of_another_kind_and_a_value_of_another_type_are_refused_as_the_program_does() {
    let validator = validator();
    for (from, to) in [
        ("stream = \"logs-{tenant}\"", "stream = \"logs-{tenant}\"\nbucket = \"archive\""),
        ("kind = \"s3\"", "kind = \"s4\""),
        ("slo = \"30s\"", "slo = 30"),
        ("end = true", "end = \"true\""),
        ("log_group = \"/acme\"", "log_groups = []"),
        ("[log]", "[log]\nformat = \"xml\""),
        ("[aws]", "[aws.endpoints]\nkineses = \"http://127.0.0.1:1\"\n[aws]"),
        ("[probe]", "[prob]\n[probe]"),
    ] {
        let file = with(from, to);
        assert!(!refused(&validator, &file).is_empty(), "the schema accepts {to}");
        assert!(!faults(&file, &[]).is_empty(), "the program accepts {to}");
    }
}

#[test]
fn a_region_and_a_stage_of_a_tenant_have_tables_of_their_own() {
    let validator = validator();
    let endpoints =
        "[aws.endpoints.us-west-2]\nkinesis = \"http://127.0.0.1:1\"\n[[tenant]]\nname = \"acme\"";
    let stage = "log_group = \"/acme\"\n[tenant.stage.stream]\nstream = \"other\"";
    for (from, to) in [("[[tenant]]\nname = \"acme\"", endpoints), ("log_group = \"/acme\"", stage)] {
        let file = with(from, to);
        assert_eq!(refused(&validator, &file), Vec::<String>::new(), "{to}");
        assert_eq!(faults(&file, &[]), Vec::<String>::new(), "{to}");
    }
}

#[test]
fn the_choices_of_a_key_are_those_that_the_program_accepts() {
    for (header, keys) in keys::all() {
        for key in keys.iter().filter(|key| key.shape == crate::keys::key::Shape::Text) {
            // Kinds have their own keys, whose values they know alone.
            if header == "[[stage]]" && keys::STAGE.iter().all(|of_all| of_all.name != key.name)
                || key.name == "kind"
            {
                continue;
            }
            let line = format!("{} = \"no-such-choice\"", key.name);
            let file = match header {
                "[[tenant]]" | "[[stage]]" => with(&format!("{header}\n"), &format!("{header}\n{line}\n")),
                header => format!("{}\n{header}\n{line}\n", GOOD.replace(&format!("{header}\n"), "")),
            };
            let Ok(_) = file.parse::<Table>() else { continue };
            let faults = faults(&file, &[]);
            let listed =
                faults.iter().find_map(|fault| fault.split_once("is not one of ").map(|(_, list)| list));
            let choices: Vec<_> = key.choices.iter().map(|choice| format!("\"{choice}\"")).collect();
            assert_eq!(listed.unwrap_or_default(), choices.join(", "), "{header} {}", key.name);
        }
    }
}

#[test]
fn defaults_and_meanings_are_in_the_schema() {
    let schema = schema();
    let listen = &schema["properties"]["probe"]["properties"]["listen"];
    assert_eq!(listen["default"], "0.0.0.0:9464");
    assert!(listen["description"].as_str().unwrap().starts_with("Address and port of the pages"));
    let sizes = &schema["properties"]["canary"]["properties"]["sizes"];
    assert_eq!(sizes["default"], Json::from(vec!["100B", "500B", "1KB", "5KB", "10KB"]));
}
