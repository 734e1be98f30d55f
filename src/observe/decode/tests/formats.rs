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
