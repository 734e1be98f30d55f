//! Wrong lengths, which must not hide what they skip.

use super::bad::{avro, deflate, noise, told};
use super::*;

/// A skippable frame that states this length.
fn skippable(len: u32, bytes: &[u8]) -> Vec<u8> {
    [&[0x50, 0x2a, 0x4d, 0x18], &len.to_le_bytes()[..], bytes].concat()
}

/// A file of an archive, whose header states this length.
fn entry(method: u8, len: usize, bytes: &[u8]) -> Vec<u8> {
    let mut header = b"PK\x03\x04\x14\0\0\0".to_vec();
    header.extend([method, 0]);
    header.extend([0; 8]);
    header.extend(u32::try_from(len).unwrap().to_le_bytes());
    header.extend([0; 4]);
    header.extend(b"\x01\0\0\0a");
    [&header, bytes].concat()
}

/// The central directory for one file, with comments of these lengths that are not there.
fn directory(of_file: u8, of_archive: u8) -> Vec<u8> {
    let mut record = b"PK\x01\x02".to_vec();
    record.extend([0; 24]);
    record.extend([1, 0, 0, 0, of_file, 0]);
    record.extend([0; 12]);
    record.push(b'a');
    [&record[..], b"PK\x05\x06", &[0; 16][..], &[of_archive, 0]].concat()
}

fn zip(canary: &str) -> Vec<u8> {
    let raw = deflate(canary.as_bytes());
    [entry(8, raw.len(), &raw), directory(0, 0)].concat()
}

#[test]
fn what_follows_on_an_archive_is_read_whatever_it_is() {
    let one = zip(&canary(1));
    assert_eq!((copies(&one), told(&scan(&one)).len()), (1, 0));
    let two = canary(2);
    for (name, more) in [
        ("ZIP", zip(&two)),
        ("gzip", gzip(two.as_bytes())),
        ("zstd", zstd(two.as_bytes())),
        ("text", two.into_bytes()),
    ] {
        for between in [&b""[..], b"\n", &[0; 700]] {
            let scan = scan([&one, between, &more].concat());
            assert_eq!((scan.found.len(), told(&scan).len()), (2, 0), "{name} {:?}", told(&scan));
            assert!(scan.found.iter().all(|found| found.integrity == Integrity::Intact), "{name}");
        }
    }
    let scan = scan([one.clone(), noise(3_000)].concat());
    assert_eq!(scan.found.len(), 1);
    assert_eq!(told(&scan), ["binary, in a format that traceprobe does not know"]);
}

#[test]
fn every_record_that_a_directory_may_have_is_passed_over() {
    let raw = deflate(canary(1).as_bytes());
    let whole = directory(0, 0);
    let (header, end) = whole.split_at(whole.len() - 22);
    let zip64 = [b"PK\x06\x06\x2c\0\0\0\0\0\0\0", &[0; 44][..], b"PK\x06\x07", &[0; 16]].concat();
    let extra = b"PK\x06\x08\x03\0\0\0abc";
    let signature = b"PK\x05\x05\x03\0abc";
    let comment = [&end[..20], &[5, 0], b"a zip"].concat();
    let archive = [&entry(8, raw.len(), &raw)[..], extra, header, signature, &zip64, &comment].concat();
    let scan = scan([archive, gzip(canary(2).as_bytes())].concat());
    assert_eq!((scan.found.len(), told(&scan).len()), (2, 0), "{:?}", told(&scan));
}

#[test]
fn a_length_that_skips_what_follows_is_told() {
    let hidden = canary(2);
    let raw = deflate(canary(1).as_bytes());
    let hidden_zip = zip(&hidden);
    let archive = |directory: Vec<u8>| [entry(8, raw.len(), &raw), directory].concat();
    let mut tar = super::bad::tar(canary(1).as_bytes());
    // A file that is none, of 7 GiB.
    tar[156] = b'x';
    tar[124..135].copy_from_slice(b"70000000000");
    tar[148..156].fill(b' ');
    let sum: u32 = tar[..512].iter().map(|byte| u32::from(*byte)).sum();
    tar[148..154].copy_from_slice(format!("{sum:06o}").as_bytes());
    let packed = [&raw[..], &hidden_zip].concat();
    for (input, expected) in [
        (skippable(1 << 20, hidden.as_bytes()), "zstd, which ends too early"),
        (skippable(8, b"")[..6].to_vec(), "zstd, which ends too early"),
        (
            [zstd(canary(1).as_bytes()), skippable(1 << 20, &hidden_zip)].concat(),
            "zstd, which ends too early",
        ),
        (archive([directory(0, 200), hidden_zip[..100].to_vec()].concat()), "ZIP, which ends too early"),
        (archive(directory(255, 0)), "ZIP, which ends too early"),
        (archive(directory(0, 0)[..40].to_vec()), "ZIP, which ends too early"),
        (entry(8, packed.len(), &packed), "ZIP, which is damaged"),
        (tar, "tar, which ends too early"),
    ] {
        assert_eq!(told(&scan(&input)), [expected], "{}", String::from_utf8_lossy(&input));
    }
    for codec in ["deflate", "zstandard", "bzip2"] {
        let block = match codec {
            "deflate" => raw.clone(),
            "zstandard" => zstd(canary(1).as_bytes()),
            _ => super::bad::bzip2(canary(1).as_bytes()),
        };
        for (trailing, errors) in [(0, 0), (4, 0), (5, 1), (900, 1)] {
            let block = [block.clone(), vec![7; trailing]].concat();
            let scan = scan(avro(codec, &[(i64::try_from(block.len()).unwrap(), &block)]));
            assert_eq!((scan.found.len(), told(&scan).len()), (1, errors), "{codec}, {trailing}");
        }
    }
}
