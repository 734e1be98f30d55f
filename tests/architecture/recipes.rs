//! CONTRIBUTING.md and ARCHITECTURE.md name paths, commands and identifiers. Every one of them must exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use traceprobe::domain::kind::Kind;

use crate::rust_files;

const DOCUMENTS: [&str; 2] = ["ARCHITECTURE.md", "CONTRIBUTING.md"];

/// The texts between backquotes, outside code blocks.
fn code_spans(text: &str) -> Vec<String> {
    let prose: Vec<&str> = text.split("```").step_by(2).collect();
    let prose = prose.concat();
    let spans = prose.split('`').skip(1).step_by(2);
    spans.map(|span| span.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

/// The lines of code blocks that a shell would run.
fn shell_lines(text: &str) -> Vec<String> {
    let blocks = text.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    let lines = blocks.flat_map(str::lines).filter_map(|line| line.split('#').next());
    lines.map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect()
}

fn is_path(span: &str) -> bool {
    let names_a_file = [".md", ".rs", ".toml", ".json", ".yml"].iter().any(|ending| span.ends_with(ending));
    (span.contains('/') || names_a_file) && !span.contains([' ', ':', '{', '<', '…'])
}

/// Words that can be identifiers, in the order in which they stand.
fn identifiers(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')).collect()
}

/// The fault of a command, if it names a target or a test that does not exist.
fn fault_of_command(command: &str, makefile: &str, code: &BTreeSet<&str>) -> Option<String> {
    let words: Vec<&str> = command.split_whitespace().collect();
    match words.as_slice() {
        ["make", targets @ ..] => {
            let missing = targets.iter().find(|target| !makefile.contains(&format!("\n{target}:")));
            missing.map(|target| format!("no target `{target}` in the Makefile"))
        }
        ["cargo", "test", "--test", name] => {
            let there = [format!("tests/{name}.rs"), format!("tests/{name}/main.rs")];
            let missing = !there.iter().any(|path| Path::new(path).exists());
            missing.then(|| format!("no test {name}"))
        }
        ["cargo", "test", "--lib", module] => {
            let path = format!("src/{}", module.replace("::", "/"));
            let there = [format!("{path}.rs"), format!("{path}/mod.rs")];
            (!there.iter().any(|file| Path::new(file).exists())).then(|| format!("no module {module}"))
        }
        _ => {
            let missing = identifiers(command).into_iter().find(|word| !code.contains(word));
            missing.filter(|_| !command.starts_with("cargo ")).map(|word| format!("no `{word}` anywhere"))
        }
    }
}

#[test]
fn what_the_documents_name_exists() {
    let makefile = fs::read_to_string("Makefile").unwrap();
    let mut code = String::new();
    let files = ["src", "tests"].iter().flat_map(|folder| rust_files(Path::new(folder)));
    let others = ["config/traceprobe.toml", "clippy.toml"].map(Path::new);
    for file in files.chain(others.map(Path::to_path_buf)) {
        code += &fs::read_to_string(file).unwrap();
    }
    let code = identifiers(&code);
    let mut faults = Vec::new();
    for document in DOCUMENTS {
        let text = fs::read_to_string(document).unwrap();
        for span in code_spans(&text).into_iter().chain(shell_lines(&text)) {
            // The example of a commit's subject.
            if span.contains(": ") {
                continue;
            }
            let fault = if is_path(&span) {
                (!Path::new(&span).exists()).then(|| "no such path".to_owned())
            } else {
                fault_of_command(&span, &makefile, &code)
            };
            faults.extend(fault.map(|fault| format!("{document}: `{span}`: {fault}")));
        }
        let links = text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
        let gone =
            links.filter(|link| !link.is_empty() && !link.contains("://") && !Path::new(link).exists());
        faults.extend(gone.map(|link| format!("{document}: nothing at {link}")));
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

/// The parts of the recipe "Add a kind of stage" that no other test checks.
#[test]
fn every_kind_has_its_files_and_every_policy_its_row() {
    for kind in Kind::ALL {
        let folder = Path::new("src/observe").join(kind.name());
        for file in ["mod.rs", "permissions.json", "tests.rs"] {
            assert!(folder.join(file).exists(), "{kind} has no {}", folder.join(file).display());
        }
    }
    let permissions = fs::read_to_string("docs/permissions.md").unwrap();
    for policy in fs::read_dir("config/iam").unwrap() {
        let path = policy.unwrap().path().display().to_string();
        assert!(permissions.contains(&format!("](../{path})")), "docs/permissions.md has no row for {path}");
    }
}

/// The recipe "Add an alert". A test of the rules checks that each links to a chapter of the runbook.
#[test]
fn every_alert_has_a_test() {
    let read = |path: &str| fs::read_to_string(path).unwrap();
    let (rules, tests) = (read("config/prometheus/rules.yml"), read("tests/rules/scenarios.rs"));
    let alerts: Vec<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() > 10, "{alerts:?}");
    for alert in alerts {
        let is_the_subject =
            tests.contains(&format!("\"{alert}\"")) || tests.contains(&format!("\"{alert} "));
        let is_named = is_the_subject || tests.contains(&format!("alertname=\\\"{alert}\\\""));
        assert!(is_named, "{alert} has no test");
    }
}
