//! Checks the files that users copy: the README's configuration, policies, the task definition, dashboards.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use traceprobe::config::{Config, OTHER_VARIABLES};
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

#[test]
fn the_guide_for_machines_outside_ecs_names_only_what_there_is() {
    let guide = fs::read_to_string("docs/deploy-elsewhere.md").unwrap();
    assert!(fs::read_to_string("README.md").unwrap().contains("(docs/deploy-elsewhere.md)"));
    let keys = fs::read_to_string("config/traceprobe.toml").unwrap();
    let known = |name: &str| {
        let key = name.trim_start_matches("TRACEPROBE_").to_ascii_lowercase();
        let (table, key) = key.split_once('_').unwrap_or((&key, ""));
        OTHER_VARIABLES.contains(&name)
            || (keys.contains(&format!("[{table}]")) && keys.contains(&format!("\n# {key} = ")))
    };
    let variables = guide.split(|c: char| !c.is_ascii_uppercase() && c != '_');
    let variables: Vec<_> = variables.filter(|word| word.starts_with("TRACEPROBE_")).collect();
    assert!(variables.len() > 5, "{variables:?}");
    for name in variables {
        assert!(known(name), "{name} is not a valid variable");
    }
    let unit = fs::read_to_string("config/systemd/traceprobe.service").unwrap();
    for line in
        ["Restart=always", "RestartPreventExitStatus=78", "/etc/traceprobe/environment", "DynamicUser=yes"]
    {
        assert!(guide.contains(line) && unit.contains(line), "{line} is not in both");
    }
    let program = fs::read_to_string("src/commands/run.rs").unwrap();
    for code in ["75", "76", "78", "130", "143"] {
        assert!(guide.contains(code) && program.contains(code), "exit code {code} is not in both");
    }
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
    for folder in ["config/iam", "config/ecs", "config/google/alerting"] {
        for file in files(Path::new(folder)).into_iter().filter(|file| file.extension().is_some()) {
            let text = fs::read_to_string(&file).unwrap();
            let json: serde_json::Value =
                serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
            assert!(json.is_object(), "{}", file.display());
            seen += 1;
        }
    }
    assert!(seen >= 7, "only {seen} files");
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

/// Every role in a text of TOML, also in a comment, with the external id that follows it.
fn roles(text: &str) -> Vec<(String, String)> {
    let value = |line: &str, key: &str| {
        let rest = line.trim_start_matches("# ").strip_prefix(key)?.strip_prefix(" = \"")?;
        rest.split('"').next().map(str::to_owned)
    };
    let lines: Vec<_> = text.lines().map(str::trim).collect();
    let role = |at: usize| {
        let role = value(lines[at], "role_arn")?;
        let id = lines[at..].iter().take(4).find_map(|line| value(line, "external_id"));
        Some((role, id.unwrap_or_else(|| panic!("no external_id follows {}", lines[at]))))
    };
    (0..lines.len()).filter_map(role).collect()
}

/// Every role that README, the example and the recipes assume, with its external ids.
fn documented_roles() -> BTreeMap<String, BTreeSet<String>> {
    let files = recipes().into_iter().chain(["README.md", "config/traceprobe.toml"].map(PathBuf::from));
    let mut all: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for (role, id) in files.flat_map(|file| roles(&fs::read_to_string(file).unwrap())) {
        all.entry(role).or_default().insert(id);
    }
    all
}

fn policy(name: &str) -> serde_json::Value {
    serde_json::from_str(&fs::read_to_string(format!("config/iam/{name}.json")).unwrap()).unwrap()
}

/// The resources of a statement of a file.
fn resources(file: &str, sid: &str) -> BTreeSet<String> {
    let policy = policy(file);
    let statement = policy["Statement"].as_array().unwrap().iter().find(|statement| statement["Sid"] == sid);
    names(&statement.unwrap_or_else(|| panic!("{file} has no {sid}"))["Resource"])
}

#[test]
fn a_role_has_one_external_id_in_all_files_and_its_trust_policy_requires_it() {
    let roles = documented_roles();
    assert!(roles.len() >= 4, "{roles:?}");
    for (role, ids) in &roles {
        assert_eq!(ids.len(), 1, "{role} has the external ids {ids:?}");
    }
    for (trust, name) in
        [("tenant-inject-trust", "traceprobe-inject"), ("observer-role-trust", "traceprobe-observe")]
    {
        let required = policy(trust)["Statement"][0]["Condition"]["StringEquals"]["sts:ExternalId"].clone();
        let role = format!("arn:aws:iam::111111111111:role/{name}");
        assert_eq!(names(&required), roles[&role], "{trust} and {role}");
    }
}

#[test]
fn only_the_task_role_of_the_task_definition_is_trusted() {
    let task: serde_json::Value =
        serde_json::from_str(&fs::read_to_string("config/ecs/task-definition.json").unwrap()).unwrap();
    for trust in ["tenant-inject-trust", "observer-role-trust"] {
        assert_eq!(policy(trust)["Statement"][0]["Principal"]["AWS"], task["taskRoleArn"], "{trust}");
    }
    // Of both roles that ECS assumes.
    assert_eq!(policy("task-role-trust")["Statement"][0]["Principal"]["Service"], "ecs-tasks.amazonaws.com");
}

#[test]
fn the_task_role_may_do_what_the_example_needs_and_no_more() {
    let text = fs::read_to_string("config/traceprobe.toml").unwrap();
    let example: toml::Table = text.parse().unwrap();
    let tenants = example["tenant"].as_array().unwrap();
    let of_tenants = |key: &str| -> BTreeSet<String> {
        tenants.iter().map(|tenant| tenant[key].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(resources("task-role", "AssumeTheRolesOfTheTenants"), of_tenants("role_arn"));
    let stream = |tenant: String| format!("arn:aws:kinesis:eu-central-1:999999999999:stream/logs-{tenant}");
    let streams = of_tenants("name").into_iter().map(stream).collect();
    assert_eq!(resources("task-role", "ReadTheTenantStreams"), streams);
    let archive = |tenant: &String| format!("arn:aws:s3:::sre-archive/archive/tenant={tenant}/*");
    let mut objects: BTreeSet<_> = of_tenants("name").iter().map(archive).collect();
    objects.insert("arn:aws:s3:::sre-transit/transit/*".to_owned());
    assert_eq!(resources("task-role", "ReadTheObjects"), objects);
    let observers = documented_roles().into_keys().filter(|role| role.ends_with("/traceprobe-observe"));
    assert_eq!(resources("task-role-observer", "AssumeTheRoleOfTheObserver"), observers.collect());
    let acme = tenants.iter().find(|tenant| tenant["name"].as_str() == Some("acme")).unwrap();
    let log_group = format!("log-group:{}", acme["log_group"].as_str().unwrap());
    let written = resources("tenant-inject", "WriteCanariesToTheProbesLogStreamsOnly");
    assert_eq!(written.len(), 1);
    assert!(written.iter().all(|resource| resource.contains(&log_group)), "{written:?}");
}

/// Statements of calls that have no resource (Service Authorization Reference).
const WITHOUT_RESOURCE: [&str; 2] = ["LogInToTheImageRegistry", "TryTheFilterPatterns"];

#[test]
fn every_statement_names_its_resource_in_one_account() {
    for statement in shipped_permissions().0 {
        let sid = statement["Sid"].as_str().unwrap();
        for resource in names(&statement["Resource"]) {
            if resource == "*" {
                assert!(WITHOUT_RESOURCE.contains(&sid), "{sid} is allowed on everything");
                continue;
            }
            let parts: Vec<_> = resource.splitn(6, ':').collect();
            // An ARN of S3 has neither region nor account.
            let is_placed = parts[2] == "s3" || !parts[4].is_empty();
            let is_named = !parts[..5].concat().contains('*') && !parts[5].starts_with('*');
            assert!(is_placed && is_named, "{sid}: {resource}");
        }
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
fn a_deployment_starts_the_new_task_before_it_stops_the_old_one_and_both_have_one_name() {
    let json =
        |path| -> serde_json::Value { serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap() };
    let task = json("config/ecs/task-definition.json");
    let service = json("config/ecs/service.json");
    let variables = task["containerDefinitions"][0]["environment"].as_array().unwrap();
    assert!(variables.iter().any(|variable| variable["name"] == "TRACEPROBE_PROBE_INSTANCE"));
    assert_eq!(service["taskDefinition"], task["family"]);
    let deployment = &service["deploymentConfiguration"];
    assert_eq!(
        (&service["desiredCount"], &deployment["minimumHealthyPercent"], &deployment["maximumPercent"]),
        (&1.into(), &100.into(), &200.into())
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
    let builds: Vec<_> = dockerfile.lines().filter(|line| line.contains("cargo build")).collect();
    // The dependencies, then the program.
    assert_eq!(builds.len(), 2, "{builds:?}");
    for build in builds {
        assert!(build.contains(" --no-default-features "), "{build}");
        assert!(!build.contains("features sandbox") && !build.contains("all-features"), "{build}");
    }
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
    for file in files(Path::new("dashboards/grafana")) {
        if file.extension().is_some_and(|it| it == "json") {
            let dashboard = fs::read_to_string(file).unwrap();
            strings(&serde_json::from_str(&dashboard).unwrap(), &mut expressions);
        }
    }
    assert!(expressions.len() > 40, "only {} expressions were found", expressions.len());
    let found: Vec<_> =
        expressions.iter().flat_map(|expression| selects_the_drill(expression, &labels)).collect();
    assert_eq!(found, [""; 0]);
    assert_eq!(selects_the_drill("sum(traceprobe_e2e_latency_seconds_bucket)", &labels).len(), 1);
}
