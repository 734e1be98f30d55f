//! The rules of ARCHITECTURE.md and CONTRIBUTING.md that a machine can check: imports run as the diagram
//! draws them, each part knows only what it may, and what the two documents name exists.

#[path = "architecture/diagram.rs"]
mod diagram;
#[path = "architecture/imports.rs"]
mod imports;
#[path = "architecture/recipes.rs"]
mod recipes;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use traceprobe::domain::kind::Kind;

/// Crates that a folder must not know, as the start of a path.
const MUST_NOT_NAME: [(&str, &[&str]); 2] = [
    ("domain", &["tokio", "serde", "serde_json", "axum", "reqwest", "prometheus", "aws_", "gcp_", "tracing"]),
    ("config", &["tokio", "axum", "reqwest", "aws_", "gcp_"]),
];

/// Words of the product, which the reader of keys must not know.
const PRODUCT: [&str; 8] = ["traceprobe", "tenant", "stage", "canary", "trace", "source", "sighting", "tag"];

#[test]
fn the_imports_are_the_arrows_of_the_diagram() {
    let drawn = diagram::arrows();
    let none = BTreeSet::new();
    let mut faults = Vec::new();
    let mut found = diagram::Arrows::new();
    for (part, file, names) in imports_of_parts() {
        for name in names.iter().filter(|name| **name != part) {
            if !drawn.get(&part).unwrap_or(&none).contains(name) {
                faults.push(format!("{}: the diagram has no arrow {part} -> {name}", file.display()));
            }
        }
        found.entry(part).or_default().extend(names);
    }
    for (part, names) in &drawn {
        let unused = names.difference(found.get(part).unwrap_or(&none));
        faults.extend(unused.map(|name| format!("ARCHITECTURE.md: nothing in {part} imports {name}")));
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn the_diagram_has_no_cycle() {
    assert_eq!(diagram::cycle(&diagram::arrows()), None);
}

/// Each file outside tests with its part (a folder of `src/`, or `main`) and the parts that it imports.
fn imports_of_parts() -> Vec<(String, PathBuf, BTreeSet<String>)> {
    let parts: BTreeMap<String, Vec<PathBuf>> = folders()
        .into_iter()
        .map(|folder| (folder.clone(), rust_files(&Path::new("src").join(folder))))
        .chain([("main".to_owned(), vec![PathBuf::from("src/main.rs")])])
        .collect();
    let mut imported = Vec::new();
    for (part, files) in &parts {
        for file in files.iter().filter(|file| !is_test(file)) {
            let names = imports::of_file(file, &fs::read_to_string(file).unwrap());
            let known = |name: &String| parts.contains_key(name) || name == imports::EVERYTHING;
            imported.push((part.clone(), file.clone(), names.into_iter().filter(known).collect()));
        }
    }
    imported
}

fn folders() -> Vec<String> {
    let paths = fs::read_dir("src").unwrap().map(|entry| entry.unwrap().path());
    let folders = paths.filter(|path| path.is_dir());
    folders.map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect()
}

#[test]
fn the_program_is_a_call_into_the_library() {
    let code = code_of(Path::new("src/main.rs"));
    assert!(code.contains("traceprobe::commands::run_program()"), "{code}");
    // A longer one would be compiled twice, for the program and for its tests.
    assert!(code.lines().count() <= 10, "{code}");
}

/// The container image is built without the sandbox, so only the demo may need it.
#[test]
fn only_the_demo_imports_the_sandbox() {
    for (part, file, names) in imports_of_parts() {
        let is_demo = file.starts_with("src/commands/demo") || file == Path::new("src/commands/demo.rs");
        let imports = part != "sandbox" && names.contains("sandbox");
        assert!(is_demo || !imports, "{} imports the sandbox", file.display());
    }
}

#[test]
fn the_domain_knows_no_clock_no_async_and_no_client() {
    let mut faults = BTreeSet::new();
    for (folder, banned) in MUST_NOT_NAME {
        for file in rust_files(&Path::new("src").join(folder)) {
            let code = code_of(&file);
            for banned in banned {
                let names = |line: &str| {
                    line.trim_start().starts_with(&format!("use {banned}"))
                        || line.contains(&format!(" {banned}::"))
                };
                if code.lines().any(names) {
                    faults.insert(format!("{}: `{folder}` must not name `{banned}`", file.display()));
                }
            }
            if folder == "domain" && (code.contains("async fn") || code.contains(".await")) {
                faults.insert(format!("{}: `domain` must not wait", file.display()));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn a_kind_is_one_folder_that_does_not_know_the_others() {
    for kind in Kind::ALL {
        let folder = Path::new("src/observe").join(kind.name());
        let files = rust_files(&folder);
        assert!(!files.is_empty(), "{kind} has no folder {}", folder.display());
        for file in files {
            for other in Kind::ALL.iter().filter(|other| *other != kind) {
                let code = code_of(&file);
                let paths = [format!("observe::{other}"), format!("super::{other}")];
                let named = paths.iter().any(|path| {
                    // `s3` is also the beginning of a name such as `s3_express`.
                    let after = |at: usize| code[at + path.len()..].chars().next();
                    code.match_indices(path).any(|(at, _)| {
                        after(at).is_none_or(|next| !next.is_ascii_alphanumeric() && next != '_')
                    })
                });
                assert!(!named, "{} names {other}", file.display());
            }
        }
    }
}

#[test]
fn only_the_list_of_folders_matches_on_the_kind() {
    let mut faults = BTreeSet::new();
    for file in rust_files(Path::new("src")) {
        let listed = file.ends_with("domain/kind.rs") || file.ends_with("observe/mod.rs");
        let in_a_folder =
            Kind::ALL.iter().any(|kind| file.starts_with(Path::new("src/observe").join(kind.name())));
        let code = code_of(&file);
        if listed || in_a_folder || !code.contains("kind::Kind") {
            continue;
        }
        for line in code.lines() {
            let arm = line.contains("Kind::") && line.contains("=>");
            let compared =
                line.contains("== Kind::") || line.contains("!= Kind::") || line.contains("matches!");
            if (arm || compared) && line.contains(" Kind::") {
                faults.insert(format!("{}: {}", file.display(), line.trim()));
            }
        }
    }
    assert!(faults.is_empty(), "only values may tell what a kind can do: {faults:#?}");
}

#[test]
fn the_reader_of_keys_does_not_know_the_product() {
    for file in rust_files(Path::new("src/keys")) {
        let code = code_of(&file).to_lowercase();
        for word in PRODUCT {
            let whole = |at: usize| {
                let letter = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphabetic());
                !letter(code[..at].chars().next_back()) && !letter(code[at + word.len()..].chars().next())
            };
            assert!(!code.match_indices(word).any(|(at, _)| whole(at)), "{} mentions {word}", file.display());
        }
    }
}

#[test]
fn every_folder_has_a_row_in_the_table() {
    let text = fs::read_to_string("ARCHITECTURE.md").unwrap();
    for folder in folders() {
        let row = format!("| `src/{folder}/` |");
        assert!(text.contains(&row), "ARCHITECTURE.md does not say what src/{folder}/ holds");
    }
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let paths = entries.map(|entry| entry.unwrap().path());
    let files = paths.flat_map(|path| if path.is_dir() { rust_files(&path) } else { vec![path] });
    files.filter(|path| path.extension().is_some_and(|extension| extension == "rs")).collect()
}

/// The code without comments and tests, which may use anything.
fn code_of(file: &Path) -> String {
    if is_test(file) {
        return String::new();
    }
    let text = fs::read_to_string(file).unwrap();
    let code = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    code.lines().filter(|line| !line.trim_start().starts_with("//")).map(|line| format!("{line}\n")).collect()
}

/// Whether a file holds tests, by its name or by how the file of its folder declares it.
fn is_test(file: &Path) -> bool {
    if file.components().any(|part| part.as_os_str() == "tests" || part.as_os_str() == "tests.rs") {
        return true;
    }
    let parent = file.parent().unwrap().join("mod.rs");
    let name = file.file_stem().unwrap().to_string_lossy();
    let declared = fs::read_to_string(parent).unwrap_or_default();
    declared.contains(&format!("#[cfg(test)]\nmod {name};"))
}
