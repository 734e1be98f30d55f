//! Imports run one way, as ARCHITECTURE.md draws them. Kept by reading the `use` lines and paths of every file.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use traceprobe::domain::kind::Kind;

/// Each folder of `src/`, and what else of the crate it may name.
const MAY_NAME: [(&str, &[&str]); 12] = [
    ("commands", &["domain", "cloud", "store", "observe", "config", "daemon", "sandbox"]),
    ("domain", &[]),
    ("keys", &[]),
    ("cloud", &["domain", "keys"]),
    ("sandbox", &[]),
    ("store", &["domain"]),
    ("metrics", &["domain"]),
    ("web", &["domain", "metrics"]),
    ("inject", &["domain", "cloud"]),
    ("observe", &["domain", "cloud", "keys"]),
    // It reads the settings of the parts that it configures by their own keys.
    ("config", &["domain", "keys", "cloud", "observe"]),
    ("daemon", &["domain", "cloud", "store", "metrics", "web", "inject", "observe", "config"]),
];

/// Crates that a folder must not know, as the start of a path.
const MUST_NOT_NAME: [(&str, &[&str]); 2] = [
    ("domain", &["tokio", "serde", "serde_json", "axum", "reqwest", "prometheus", "aws_", "gcp_", "tracing"]),
    ("config", &["tokio", "axum", "reqwest", "aws_", "gcp_"]),
];

/// Words of the product, which whoever only reads keys must not know.
const PRODUCT: [&str; 8] = ["traceprobe", "tenant", "stage", "canary", "trace", "source", "sighting", "tag"];

#[test]
fn imports_run_one_way() {
    let mut faults = BTreeSet::new();
    for (folder, allowed) in MAY_NAME {
        for file in rust_files(&Path::new("src").join(folder)) {
            for name in crate_names(&code_of(&file)) {
                let ours = MAY_NAME.iter().any(|(known, _)| *known == name);
                if ours && name != folder && !allowed.contains(&&*name) {
                    faults.insert(format!("{}: `{folder}` must not name `{name}`", file.display()));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn the_program_is_a_call_into_the_library() {
    let code = code_of(Path::new("src/main.rs"));
    assert!(code.contains("traceprobe::commands::run_program()"), "{code}");
    // More than this is compiled twice, once for the program and once for its tests.
    assert!(code.lines().count() <= 10, "{code}");
}

/// The container image is built without the sandbox, so nothing but the demo may need it.
#[test]
fn only_the_demo_names_the_sandbox() {
    for file in rust_files(Path::new("src")) {
        let is_allowed = ["src/sandbox", "src/commands/demo"]
            .iter()
            .any(|part| file.starts_with(part) || file.with_extension("") == Path::new(part));
        let names = crate_names(&code_of(&file)).contains("sandbox");
        assert!(is_allowed || !names, "{} names the sandbox", file.display());
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
                    // `s3` is no part of `s3_express`.
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
    assert!(faults.is_empty(), "what a kind can do must travel as a value: {faults:#?}");
}

#[test]
fn the_reader_of_keys_knows_no_word_of_the_product() {
    for file in rust_files(Path::new("src/keys")) {
        let code = code_of(&file).to_lowercase();
        for word in PRODUCT {
            let whole = |at: usize| {
                let letter = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphabetic());
                !letter(code[..at].chars().next_back()) && !letter(code[at + word.len()..].chars().next())
            };
            assert!(!code.match_indices(word).any(|(at, _)| whole(at)), "{} knows of {word}", file.display());
        }
    }
}

#[test]
fn every_folder_has_its_place_in_the_architecture() {
    let text = fs::read_to_string("ARCHITECTURE.md").unwrap();
    for entry in fs::read_dir("src").unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            let folder = path.display().to_string();
            assert!(
                text.contains(&format!("`{folder}/`")),
                "ARCHITECTURE.md does not say what {folder}/ is for"
            );
            let known = MAY_NAME.iter().any(|(known, _)| path.ends_with(known));
            assert!(known, "{folder} has no line in tests/architecture.rs");
        }
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

/// The code without comments, and without tests: those may reach for anything.
fn code_of(file: &Path) -> String {
    if file.components().any(|part| part.as_os_str() == "tests" || part.as_os_str() == "tests.rs") {
        return String::new();
    }
    if is_for_tests(file) {
        return String::new();
    }
    let text = fs::read_to_string(file).unwrap();
    let code = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    code.lines().filter(|line| !line.trim_start().starts_with("//")).map(|line| format!("{line}\n")).collect()
}

/// Whether the module is declared for tests only, in the file of its folder.
fn is_for_tests(file: &Path) -> bool {
    let parent = file.parent().unwrap().join("mod.rs");
    let name = file.file_stem().unwrap().to_string_lossy();
    let declared = fs::read_to_string(parent).unwrap_or_default();
    declared.contains(&format!("#[cfg(test)]\nmod {name};"))
}

/// The first names after `crate::`.
fn crate_names(code: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for piece in code.split("crate::").skip(1) {
        let group = piece.strip_prefix('{').and_then(|rest| rest.split('}').next());
        for piece in group.map_or_else(|| vec![piece], |group| group.split(',').collect()) {
            names.insert(piece.trim().chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect());
        }
    }
    names
}
