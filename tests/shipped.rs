//! Checks the files that users copy: the README's configuration, policies, the task definition, dashboards.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use traceprobe::config::Config;
use traceprobe::domain::kind::Kind;
use traceprobe::observe::spec;

fn key() -> [(String, String); 1] {
    [("TRACEPROBE_TAG_KEY".to_owned(), "0123456789abcdef".to_owned())]
}

#[test]
fn the_readmes_first_configuration_is_valid() {
    let readme = fs::read_to_string("README.md").unwrap();
    let block = readme.split("```toml").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let config = Config::parse(block, key()).unwrap_or_else(|faults| panic!("{faults}"));
    assert_eq!((config.tenants.len(), config.stages.len()), (1, 2));
}

/// The configurations of `docs/recipes/`.
fn recipes() -> Vec<PathBuf> {
    let files = files(Path::new("config/recipes"));
    assert!(files.len() >= 10, "only {} files", files.len());
    files
}

#[test]
fn the_configuration_of_every_recipe_is_valid() {
    let faults = recipes().into_iter().filter_map(|file| Config::load(&file, key()).err());
    let faults: Vec<_> = faults.map(|faults| faults.to_string()).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_recipe_names_its_configurations_and_is_linked_from_the_list() {
    let list = fs::read_to_string("docs/recipes/README.md").unwrap();
    let mut texts = String::new();
    for file in files(Path::new("docs/recipes")) {
        let name = file.file_name().unwrap().to_str().unwrap();
        if name == "README.md" {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains("../../config/recipes/"), "{name} names no configuration");
        assert!(list.contains(&format!("]({name})")), "{name} is not in the list");
        texts += &text;
    }
    for file in recipes() {
        assert!(texts.contains(&format!("../../{}", file.display())), "{} is in no recipe", file.display());
    }
}

#[test]
fn every_shipped_json_file_is_an_object() {
    let mut seen = 0;
    for folder in ["config/iam", "config/ecs", "dashboards/grafana"] {
        for file in files(Path::new(folder)).into_iter().filter(|file| file.extension().is_some()) {
            let text = fs::read_to_string(&file).unwrap();
            let json: serde_json::Value =
                serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
            assert!(json.is_object(), "{}", file.display());
            seen += 1;
        }
    }
    assert!(seen >= 9, "only {seen} files");
}

#[test]
fn no_policy_allows_all_actions_of_a_service() {
    for file in files(Path::new("config/iam")) {
        let json: serde_json::Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
        let Some(statements) = json["Statement"].as_array() else { continue };
        for statement in statements {
            let action = statement["Action"].to_string();
            assert!(action.contains(':'), "{}: {action}", file.display());
            assert!(!action.contains(":*\""), "{}: {action}", file.display());
        }
    }
}

/// All statements of AWS policies and all permissions of Google roles in `config/iam/`.
fn shipped_permissions() -> (Vec<serde_json::Value>, BTreeSet<String>) {
    let (mut statements, mut permissions) = (Vec::new(), BTreeSet::new());
    for file in files(Path::new("config/iam")) {
        let json: serde_json::Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
        statements.extend(json["Statement"].as_array().into_iter().flatten().cloned());
        permissions.extend(names(&json["includedPermissions"]));
    }
    (statements, permissions)
}

/// The names in a string or in a list of strings.
fn names(json: &serde_json::Value) -> BTreeSet<String> {
    let all = json.as_array().map_or(std::slice::from_ref(json), Vec::as_slice);
    all.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect()
}

#[test]
fn the_policies_grant_exactly_what_each_kind_of_stage_calls() {
    let (statements, permissions) = shipped_permissions();
    for kind in Kind::ALL {
        let spec = spec(*kind);
        let needs: serde_json::Value = serde_json::from_str(spec.permissions).unwrap();
        let mut granted = names(&needs["includedPermissions"]);
        assert!(granted.is_subset(&permissions), "{kind}: config/iam/ lacks some of {granted:?}");
        for statement in needs.as_array().into_iter().flatten() {
            assert!(statements.contains(statement), "{kind}: config/iam/ does not hold {statement:#}");
            granted.extend(names(&statement["Action"]));
        }
        // Running jobs is granted on the billed project, by a predefined role of Google.
        granted.extend(needs.get("includedPermissions").map(|_| "bigquery.jobs.create".to_owned()));
        let called: BTreeSet<_> = spec.costs.operations.iter().map(|of| of.permission.to_owned()).collect();
        let lacks: Vec<_> = called.difference(&granted).collect();
        assert!(lacks.is_empty(), "{kind} calls operations that are not allowed: {lacks:?}");
        granted.remove("bigquery.jobs.create");
        let unused: Vec<_> = granted.difference(&called).collect();
        assert!(unused.is_empty(), "{kind} is allowed operations that it never calls: {unused:?}");
    }
}

#[test]
fn ecs_waits_longer_than_the_daemons_stop_grace() {
    let text = fs::read_to_string("config/ecs/task-definition.json").unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let container = &json["containerDefinitions"][0];
    let config =
        Config::load(Path::new("config/traceprobe.toml"), key()).unwrap_or_else(|faults| panic!("{faults}"));
    let allowed = container["stopTimeout"].as_u64().unwrap();
    assert!(allowed > config.probe.stop_grace.as_secs(), "{allowed} s");
    assert!(container["healthCheck"]["command"].to_string().contains("healthcheck"));
}

#[test]
fn two_tasks_of_one_instance_name_never_run_at_once() {
    let json =
        |path| -> serde_json::Value { serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap() };
    let task = json("config/ecs/task-definition.json");
    let service = json("config/ecs/service.json");
    let variables = task["containerDefinitions"][0]["environment"].as_array().unwrap();
    assert!(variables.iter().any(|variable| variable["name"] == "TRACEPROBE_PROBE_INSTANCE"));
    assert_eq!(service["taskDefinition"], task["family"]);
    assert_eq!(
        (&service["desiredCount"], &service["deploymentConfiguration"]["maximumPercent"]),
        (&1.into(), &100.into())
    );
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// `.ci/production` checks the program that this flag builds.
#[test]
fn the_container_image_is_built_without_the_sandbox() {
    let dockerfile = fs::read_to_string("Dockerfile").unwrap();
    let build = dockerfile.lines().find(|line| line.contains("cargo build")).unwrap();
    assert!(build.contains(" --no-default-features "), "{build}");
    assert!(!build.contains("features sandbox") && !build.contains("all-features"), "{build}");
}

/// The labels of each metric, from the table in `docs/metrics.md`.
fn documented_labels() -> BTreeMap<String, Vec<String>> {
    let rows = fs::read_to_string("docs/metrics.md").unwrap();
    let cells = rows.lines().filter(|line| line.starts_with("| `traceprobe_"));
    cells
        .map(|line| {
            let cells: Vec<_> = line.split('|').map(str::trim).collect();
            let labels = cells[3].split(", ").map(str::to_owned).collect();
            (cells[1].trim_matches('`').to_owned(), labels)
        })
        .collect()
}

/// The text in the braces behind a metric's name at the beginning of `text`; empty without braces.
fn selector(text: &str) -> &str {
    let rest = text.trim_start_matches(|c: char| c == '_' || c.is_ascii_alphanumeric());
    rest.strip_prefix('{').and_then(|rest| rest.split('}').next()).unwrap_or_default()
}

/// What an expression selects although it has a tenant: everything that neither names the tenant nor leaves
/// out that of drills.
fn selects_the_drill(expression: &str, labels: &BTreeMap<String, Vec<String>>) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in expression.match_indices("traceprobe_") {
        let name =
            expression[at..].split(|c: char| c != '_' && !c.is_ascii_alphanumeric()).next().unwrap_or("");
        let base = ["_bucket", "_count", "_sum"].iter().find_map(|suffix| name.strip_suffix(suffix));
        let Some(of) = labels.get(name).or_else(|| base.and_then(|base| labels.get(base))) else { continue };
        let Some(label) = ["tenant", "owner"].into_iter().find(|label| of.iter().any(|it| it == label))
        else {
            continue;
        };
        let selector = selector(&expression[at..]);
        if !selector.contains(&format!("{label}=")) && !selector.contains(&format!("{label}!=")) {
            found.push(format!("{name} in {expression}"));
        }
    }
    found
}

#[test]
fn no_dashboard_shows_the_tenant_of_drills_among_the_others() {
    fn strings(value: &serde_json::Value, into: &mut Vec<String>) {
        match value {
            serde_json::Value::String(text) => into.push(text.clone()),
            serde_json::Value::Array(all) => all.iter().for_each(|value| strings(value, into)),
            serde_json::Value::Object(all) => {
                let shown =
                    all.iter().filter(|(key, _)| *key == "expr" || *key == "query" || *key == "definition");
                shown.for_each(|(_, value)| strings(value, into));
                all.values().filter(|value| !value.is_string()).for_each(|value| strings(value, into));
            }
            _ => {}
        }
    }
    let labels = documented_labels();
    let mut expressions = Vec::new();
    let dashboard = fs::read_to_string("dashboards/grafana/overview.json").unwrap();
    strings(&serde_json::from_str(&dashboard).unwrap(), &mut expressions);
    assert!(expressions.len() > 40, "only {} expressions were found", expressions.len());
    let found: Vec<_> =
        expressions.iter().flat_map(|expression| selects_the_drill(expression, &labels)).collect();
    assert_eq!(found, [""; 0]);
    assert_eq!(selects_the_drill("sum(traceprobe_e2e_latency_seconds_bucket)", &labels).len(), 1);
}
