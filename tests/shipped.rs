//! What the repository shows to be copied works: the README's configuration, the policies, the task definition, the dashboards.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use traceprobe::config::Config;
use traceprobe::domain::kind::Kind;
use traceprobe::observe::spec;

fn key() -> [(String, String); 1] {
    [("TRACEPROBE_TAG_KEY".to_owned(), "0123456789abcdef".to_owned())]
}

#[test]
fn the_readmes_first_configuration_is_sound() {
    let readme = fs::read_to_string("README.md").unwrap();
    let block = readme.split("```toml").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let config = Config::parse(block, key()).unwrap_or_else(|faults| panic!("{faults}"));
    assert_eq!((config.tenants.len(), config.stages.len()), (1, 2));
}

#[test]
fn every_json_file_that_is_shipped_is_json() {
    let mut seen = 0;
    for folder in ["config/iam", "config/ecs", "dashboards/grafana"] {
        for file in files(Path::new(folder)) {
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
fn policies_name_their_actions_and_none_allows_everything() {
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

/// Every statement and every permission of Google's that is shipped.
fn shipped_permissions() -> (Vec<serde_json::Value>, BTreeSet<String>) {
    let (mut statements, mut permissions) = (Vec::new(), BTreeSet::new());
    for file in files(Path::new("config/iam")) {
        let json: serde_json::Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
        statements.extend(json["Statement"].as_array().into_iter().flatten().cloned());
        permissions.extend(names(&json["includedPermissions"]));
    }
    (statements, permissions)
}

/// A name, or a list of names.
fn names(json: &serde_json::Value) -> BTreeSet<String> {
    let all = json.as_array().map_or(std::slice::from_ref(json), Vec::as_slice);
    all.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect()
}

#[test]
fn the_policies_hold_what_each_kind_of_stage_says_it_needs() {
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
        // Running jobs is granted on the project that pays, by a role of Google's own.
        granted.extend(needs.get("includedPermissions").map(|_| "bigquery.jobs.create".to_owned()));
        let called: BTreeSet<_> = spec.costs.operations.iter().map(|of| of.permission.to_owned()).collect();
        let lacks: Vec<_> = called.difference(&granted).collect();
        assert!(lacks.is_empty(), "{kind} calls what nothing allows: {lacks:?}");
        granted.remove("bigquery.jobs.create");
        let spare: Vec<_> = granted.difference(&called).collect();
        assert!(spare.is_empty(), "{kind} is allowed what it never calls: {spare:?}");
    }
}

#[test]
fn the_task_outlives_the_daemons_own_stop() {
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
fn tasks_of_one_name_never_run_at_the_same_time() {
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

/// What the flag leaves out is checked by `.ci/production`.
#[test]
fn the_container_image_is_built_without_the_sandbox() {
    let dockerfile = fs::read_to_string("Dockerfile").unwrap();
    let build = dockerfile.lines().find(|line| line.contains("cargo build")).unwrap();
    assert!(build.contains(" --no-default-features "), "{build}");
    assert!(!build.contains("features sandbox") && !build.contains("all-features"), "{build}");
}
