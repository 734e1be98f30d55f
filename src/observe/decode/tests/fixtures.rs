//! Files that ordinary libraries wrote (`fixtures/make.py`), and some that came out of pipelines
//! (`pipeline-*`). Each has one canary between two neighbour lines.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::*;

/// How the shape of what cannot be read is told, by the name of the file.
const UNREADABLE: [(&str, &str); 9] = [
    ("parquet-brotli", "Parquet > Brotli, which traceprobe does not open"),
    ("parquet-of-random-bytes", "Parquet > binary, in a format that traceprobe does not know"),
    ("avro-xz", "Avro > xz, which traceprobe does not open"),
    ("orc", "ORC, which traceprobe does not open"),
    ("orc-uncompressed", "ORC, which traceprobe does not open"),
    ("xz", "xz, which traceprobe does not open"),
    ("arrow", "Arrow, which traceprobe does not open"),
    ("gzip-of-xz", "gzip > xz, which traceprobe does not open"),
    ("zip-encrypted", "ZIP, which is encrypted"),
];

/// Who sent the canaries in the files: a release that wrote version 1, for tenants with these names.
pub(super) fn of_the_files() -> Recognizer {
    let key = TagKey::new((0..2).flat_map(|_| 0x0123_4567_89ab_cdef_u64.to_be_bytes()).collect::<Vec<_>>());
    let names =
        ["bz2", "lz4", "mixgzpl", "pqmidgz", "pqsnap", "ruby64", "snapraw", "snapxer", "zlib", "zlibnl"];
    Recognizer {
        keys: Arc::new(Keyring::new(key.unwrap(), Vec::new())),
        templates: names.map(|name| (TenantCode::of(name), Template::default())).into(),
    }
}

/// The files by name, without those that make or describe them.
pub(super) fn files() -> BTreeMap<String, Vec<u8>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/observe/decode/fixtures");
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .filter(|path| !path.extension().is_some_and(|kind| kind == "py" || kind == "ndjson"))
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read(&path).unwrap()))
        .collect()
}

fn scan_file(bytes: &[u8]) -> Scan {
    scan_record(&of_the_files(), Limits::OBJECT, bytes)
}

#[test]
fn in_every_file_that_is_opened_the_canary_is_found_intact_and_once() {
    let mut faults = Vec::new();
    for (name, bytes) in files().iter().filter(|(name, _)| !name.ends_with(".unreadable")) {
        let scan = scan_file(bytes);
        let found: Vec<_> = scan.found.iter().map(|found| (found.integrity, found.found_in)).collect();
        let good = matches!(found[..], [(Integrity::Intact, FoundIn { decoded: true, .. })]);
        if !good || !scan.unreadable.is_empty() {
            faults.push(format!("{name}: {found:?}, {:?}", scan.unreadable));
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn every_file_that_is_not_opened_is_named() {
    let files = files();
    let mut faults = Vec::new();
    for (name, text) in UNREADABLE {
        let scan = scan_file(&files[&format!("{name}.unreadable")]);
        let told: Vec<_> = scan.unreadable.iter().map(|(part, _)| part.to_string()).collect();
        if told != [text] {
            faults.push(format!("{name}: {told:?}"));
        }
        // Found by luck or not at all, but never called damaged or stored twice.
        let by_luck = scan.found.iter().all(|found| {
            found.integrity == Integrity::Intact
                || (found.integrity == Integrity::Unchecked && !found.found_in.decoded)
        });
        if !by_luck || scan.found.len() > 1 {
            faults.push(format!("{name}: {:?}", scan.found));
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
    assert_eq!(files.keys().filter(|name| name.ends_with(".unreadable")).count(), UNREADABLE.len());
}

#[test]
fn the_shape_tells_how_a_file_is_packed() {
    let files = files();
    for (name, shape) in [
        ("zlib", "zlib > text"),
        ("gzip-in-gzip", "gzip > gzip > text"),
        ("text-then-gzip", "gzip > text"),
        ("gzip-then-text", "text"),
        ("base64-of-zlib-ruby", "base64 > zlib > text"),
        ("kpl-of-zlib", "KPL > zlib > text"),
        ("parquet-snappy", "Parquet > text"),
        ("zip-bzip2", "ZIP > bzip2 > text"),
    ] {
        assert_eq!(scan_file(&files[name]).found[0].found_in.shape.to_string(), shape, "{name}");
    }
}

#[test]
fn chunks_change_nothing_in_any_file() {
    for (name, bytes) in files() {
        let whole = scan_file(&bytes);
        for size in [1, 7, 1_000] {
            let mut scanner = Scanner::new(of_the_files(), Limits::OBJECT);
            bytes.chunks(size).for_each(|chunk| scanner.push(chunk));
            assert_eq!(scanner.finish(), whole, "{name} in pieces of {size}");
        }
    }
}

/// What a lower limit leaves out is told, or a record that was tried with little would pass as read.
#[test]
fn lower_limits_change_nothing_without_saying_so_in_any_file() {
    let sizes = || (0..22).map(|power| (1 << power) - 1);
    let mut faults = Vec::new();
    for (name, bytes) in files() {
        let whole = scan_file(&bytes);
        let lower = sizes().flat_map(|size: usize| {
            let of = Limits::OBJECT;
            [
                Limits { max_inflated_bytes: size as u64, ..of },
                Limits { max_held_bytes: size, ..of },
                Limits { max_kpl_records: size, ..of },
                Limits { max_copies: size, ..of },
                Limits { max_depth: size, ..of },
                Limits { allowance: size as u64, ..of },
            ]
        });
        for limits in lower {
            let scan = scan_record(&of_the_files(), limits, &bytes);
            if scan != whole && !scan.is_over_limit() {
                faults.push(format!("{name}: {limits:?}: {scan:?}"));
            }
        }
    }
    assert!(faults.is_empty(), "{} faults, {faults:#?}", faults.len());
}
