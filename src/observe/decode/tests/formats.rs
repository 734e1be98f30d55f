//! `docs/formats.md` lists every format once, and what it says of them is true.

use std::collections::{BTreeMap, BTreeSet};

use super::fixtures::{files, of_the_files};
use super::*;
use crate::domain::format::{Format, Shape};

/// How formats begin for which there is no file.
const STARTS: [(Format, &[u8]); 28] = [
    (Format::Lzip, b"LZIP\x01"),
    (Format::Lzo, b"\x89LZO\x00\x0d\x0a\x1a\x0a"),
    (Format::Compress, b"\x1f\x9d"),
    (Format::Deflate64, b"PK\x03\x04\x14\0\0\0\x09\0\0\0\0\0\0\0\0\0\xff\0\0\0\0\0\0\0\x01\0\0\0x"),
    (Format::Lzma, b"PK\x03\x04\x14\0\0\0\x0e\0\0\0\0\0\0\0\0\0\xff\0\0\0\0\0\0\0\x01\0\0\0x"),
    (Format::Rar, b"Rar!\x1a\x07\x01\x00"),
    (Format::SevenZip, b"7z\xbc\xaf\x27\x1c"),
    (Format::Arrow, b"\xff\xff\xff\xff"),
    (Format::Feather, b"FEA1"),
    (Format::SequenceFile, b"SEQ\x06"),
    (Format::RcFile, b"RCF\x01"),
    (Format::Ion, b"\xe0\x01\x00\xea"),
    (Format::Cbor, b"\xd9\xd9\xf7"),
    (Format::Smile, b":)\n"),
    (Format::JavaObject, b"\xac\xed\x00\x05"),
    (Format::Sqlite, b"SQLite format 3\x00"),
    (Format::Hdf5, b"\x89HDF\x0d\x0a\x1a\x0a"),
    (Format::Pdf, b"%PDF-1.7\n"),
    (Format::Pcap, b"\xd4\xc3\xb2\xa1"),
    (Format::Pcap, b"\x0a\x0d\x0d\x0a"),
    (Format::Evtx, b"ElfFile\x00"),
    (Format::Journal, b"LPKSHHRH"),
    (Format::Age, b"age-encryption.org/v1\n"),
    (Format::OpenSsl, b"Salted__"),
    (Format::OpenSsl, b"U2FsdGVkX1"),
    (Format::Pgp, b"-----BEGIN PGP MESSAGE-----\n"),
    (Format::AwsEncryption, b"\x02\x05\x78"),
    (Format::Binary, b""),
];

/// Each format with whether the page says that it is read.
fn page() -> Vec<(String, bool)> {
    let page = include_str!("../../../../docs/formats.md");
    let table = page.split("## Table").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows = table.lines().filter(|line| line.starts_with("| ")).skip(1);
    let cells = rows.map(|row| row.split('|').map(str::trim).collect::<Vec<_>>());
    cells.map(|cells| (cells[1].to_owned(), cells[2] == "yes")).collect()
}

#[test]
fn the_page_lists_every_format_once_and_says_whether_it_is_read() {
    let known: Vec<_> = Format::ALL.iter().map(|format| (format.to_string(), format.is_opened())).collect();
    let mut page = page();
    page.sort();
    let mut sorted = known;
    sorted.sort();
    assert_eq!(page, sorted);
}

#[test]
fn what_the_page_calls_read_is_opened_and_the_rest_is_named() {
    let noise: Vec<u8> = {
        let mut rng = fastrand::Rng::with_seed(11);
        (0..2_000).map(|_| rng.u8(..)).collect()
    };
    let starts = STARTS.iter().map(|(format, start)| (format.to_string(), [start, &noise[..]].concat()));
    let mut read = BTreeSet::new();
    let mut unreadable: BTreeMap<String, u64> = BTreeMap::new();
    for (_, bytes) in files().into_iter().chain(starts) {
        let scan = scan_record(&of_the_files(), Limits::OBJECT, &bytes);
        for found in scan.found.iter().filter(|found| found.found_in.decoded) {
            read.extend(found.found_in.shape.formats().map(|format| format.to_string()));
        }
        for (part, parts) in &scan.unreadable {
            *unreadable.entry(part.shape.innermost().unwrap().to_string()).or_default() += parts;
        }
    }
    for (format, is_read) in page() {
        assert_eq!(read.contains(&format), is_read, "{format}");
        assert!(is_read || unreadable.contains_key(&format), "{format} is not named");
    }
}

#[test]
fn a_start_names_its_own_format() {
    let noise: Vec<u8> = (0..2_000_u32).map(|n| (n.wrapping_mul(2_654_435_769) >> 24) as u8).collect();
    for (format, start) in STARTS {
        let scan = scan([start, &noise[..]].concat());
        let named: Vec<_> = scan.unreadable.iter().map(|(part, _)| part.shape).collect();
        let within_zip = Shape::NONE.then(Format::Zip).then(format);
        let expected = [Shape::NONE.then(format), within_zip];
        assert!(named.iter().any(|shape| expected.contains(shape)), "{format}: {named:?}");
    }
}

/// Rows of a service's log, with canaries among them, each after its length, as binary formats store strings.
fn rows_with(canaries: &[&str]) -> Vec<u8> {
    let line =
        |n: usize| format!("{{\"level\":\"INFO\",\"took\":{},\"path\":\"/api/{n:x}\"}}", n * 7919 % 991);
    let noise: Vec<_> = (0..40).map(line).collect();
    let (before, after) = noise.split_at(20);
    let lines = before
        .iter()
        .map(String::as_str)
        .chain(canaries.iter().copied())
        .chain(after.iter().map(String::as_str));
    let row = |line: &str| {
        [
            b"\x82\xa2at\xcf\0\x06\x60\xd5\xda\xb9\x01\xfa\xa4line\xda",
            &(line.len() as u16).to_be_bytes()[..],
            line.as_bytes(),
        ]
        .concat()
    };
    lines.flat_map(row).collect()
}

#[test]
fn a_format_that_keeps_strings_as_they_are_is_told_from_one_that_hides_some() {
    // Trace ids that do not repeat themselves.
    let canaries =
        [*b"\x1b\xe4\x59\xc2\x7d\x03\xa8\x96\x4f\xd1", *b"\x92\x3c\xf7\x08\xb5\x6e\x21\xda\x4a\x87"].map(
            |random| {
                let trace = TraceId::new(Timestamp::from_millis(1_795_321_781_123), random);
                line(&Tag::new(
                    trace,
                    TenantCode::of("acme"),
                    InstanceCode::of("probe-1"),
                    500,
                    Purpose::Probe,
                ))
            },
        );
    let rows = rows_with(&[&canaries[0], &canaries[1]]);
    let kept = scan(&rows).found;
    assert!(kept.iter().all(|found| !found.found_in.decoded && found.found_in.verbatim), "{kept:?}");
    assert_eq!(kept.len(), 2);
    let compressed = scan(lz4_flex::block::compress(&rows)).found;
    assert!(!compressed.is_empty(), "the compressor hides all");
    assert!(compressed.iter().all(|found| !found.found_in.verbatim), "{compressed:?}");
}

#[test]
fn a_format_that_compresses_pieces_and_repeats_values_in_statistics_keeps_nothing() {
    let canary = canary(1);
    let rows = rows_with(&[&canary]);
    let orc = scan([b"ORC", &rows[..], b"\x03ORC\x17"].concat());
    assert!(orc.found.iter().all(|found| !found.found_in.verbatim), "{:?}", orc.found);
    let sqlite = scan([b"SQLite format 3\0", &rows[..]].concat());
    assert!(sqlite.found.iter().all(|found| found.found_in.verbatim), "{:?}", sqlite.found);
    assert_eq!((orc.found.len(), sqlite.found.len()), (1, 1));
}
