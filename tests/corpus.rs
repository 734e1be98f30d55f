//! Runs the fuzz targets over their corpus, in the normal build. `make fuzz` looks for more inputs.

#[path = "fuzz/targets/mod.rs"]
mod targets;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

#[test]
fn every_target_holds_over_its_corpus() {
    let mut broken = Vec::new();
    for (name, target) in targets::ALL {
        let inputs = inputs(name);
        assert!(inputs.len() > 5, "{name} has {} inputs", inputs.len());
        for path in inputs {
            let bytes = std::fs::read(&path).unwrap();
            if catch_unwind(AssertUnwindSafe(|| target(&bytes))).is_err() {
                broken.push(path);
            }
        }
    }
    assert!(broken.is_empty(), "what fails is printed above: {broken:?}");
}

#[test]
fn every_folder_of_the_corpus_is_that_of_a_target() {
    let names: BTreeSet<_> = targets::ALL.iter().map(|(name, _)| Path::new(name).to_owned()).collect();
    let folders = std::fs::read_dir(corpus()).unwrap().map(|entry| PathBuf::from(entry.unwrap().file_name()));
    assert_eq!(folders.collect::<BTreeSet<_>>(), names);
}

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus")
}

/// Files of the corpus. Every record that the decoders' own tests read is also one for `decode`.
fn inputs(target: &str) -> Vec<PathBuf> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/observe/decode/fixtures");
    let folders = std::iter::once(corpus().join(target)).chain((target == "decode").then_some(fixtures));
    let files = folders.flat_map(|folder| std::fs::read_dir(folder).unwrap());
    let mut files: Vec<_> = files.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn the_corpus_was_made_with_the_key_of_the_targets() {
    let text = std::fs::read(corpus().join("tag/version-2")).unwrap();
    assert_eq!(targets::world::recognizer().keys.read(&text), Ok(targets::world::tag("acme", 1, 500)));
}
