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
        let told = told(&scan(&input));
        assert_eq!(told.first().map(String::as_str), Some(expected), "{}", String::from_utf8_lossy(&input));
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

/// Hides `lines` in what a format skips, between text and text.
type Hide = fn(&[u8]) -> Vec<u8>;

const HIDES: [(&str, Hide); 8] = [
    ("a skippable frame", |lines| skippable(u32::try_from(lines.len()).unwrap(), lines)),
    ("the comment of a ZIP", |lines| {
        let mut end = [&b"PK\x05\x06"[..], &[0; 16]].concat();
        end.extend(u16::try_from(lines.len()).unwrap().to_le_bytes());
        [&end, lines].concat()
    }),
    ("the end of a ZIP64", |lines| {
        let len = (lines.len() as u64).to_le_bytes();
        [&entry(0, 1, b"a"), &b"PK\x05\x05\0\0PK\x06\x06"[..], &len, lines, &directory(0, 0)].concat()
    }),
    ("the extra field of a ZIP", |lines| {
        let mut header = entry(0, 0, b"");
        header[28..30].copy_from_slice(&u16::try_from(lines.len()).unwrap().to_le_bytes());
        [&header, lines, &directory(0, 0)].concat()
    }),
    ("the name of a gzip", |lines| {
        [b"\x1f\x8b\x08\x08\0\0\0\0\0\x03", lines, b"\0\x03\0\0\0\0\0\0\0\0\0"].concat()
    }),
    ("the comment of a gzip", |lines| {
        [b"\x1f\x8b\x08\x10\0\0\0\0\0\x03", lines, b"\0\x03\0\0\0\0\0\0\0\0\0"].concat()
    }),
    ("the extra field of a gzip", |lines| {
        let len = u16::try_from(lines.len()).unwrap().to_le_bytes();
        [b"\x1f\x8b\x08\x04\0\0\0\0\0\x03", &len[..], lines, b"\x03\0\0\0\0\0\0\0\0\0"].concat()
    }),
    ("a chunk of framed Snappy", |lines| {
        let len = u32::try_from(lines.len()).unwrap().to_le_bytes();
        [b"\xff\x06\0\0sNaPpY\xfe", &len[..3], lines].concat()
    }),
];

#[test]
fn what_a_format_skips_is_searched_or_told() {
    let lines = format!("a line\n{}\nanother line\n", canary(1));
    let text = "one more line\n".repeat(2_000);
    for (name, hide) in HIDES {
        let hidden = hide(lines.as_bytes());
        let empty = gzip(b"");
        for input in [
            hidden.clone(),
            [text.as_bytes(), &empty, &hidden, text.as_bytes()].concat(),
            [text.as_bytes(), &hidden, text.as_bytes()].concat(),
        ] {
            let scan = scan(input);
            assert!(scan.found.len() == 1 || !scan.unreadable.is_empty(), "{name}: silently left out");
            assert!(scan.found.len() <= 1, "{name}");
        }
    }
}

#[test]
fn a_canary_where_a_format_has_no_data_says_nothing_of_the_canaries_in_its_data() {
    let lines = format!("a line\n{}\nanother line\n", canary(1)).into_bytes();
    let len = i64::try_from(lines.len()).unwrap();
    let skipped = HIDES.map(|(name, hide)| (name, hide(&lines)));
    let unknown = [
        ("a method of ZIP", [entry(99, lines.len(), &lines), directory(0, 0)].concat()),
        ("a codec of Avro", avro("lz4", &[(len, &lines)])),
        ("a codec of Parquet", super::bad::parquet(4, len, &lines)),
        (
            "what follows on damage in a tar",
            [&super::bad::tar(b"a line")[..1_024], &[7; 512], &lines].concat(),
        ),
    ];
    for (name, input) in skipped.into_iter().chain(unknown) {
        let scan = scan(input);
        for found in &scan.found {
            assert!(!found.found_in.decoded && !found.found_in.verbatim, "{name}: {found:?}");
        }
        assert!(scan.found.len() == 1 || !scan.unreadable.is_empty(), "{name}: {:?}", scan.found);
    }
}

#[test]
fn a_mark_of_utf_16_before_lines_of_others_hides_none_of_them() {
    let lines = format!("line\n{}\n", canary(1));
    for (mark, shift) in [(b"\xff\xfea\0", ""), (b"\xfe\xff\0a", ""), (b"\xff\xfea\0", "x")] {
        let scan = scan([&mark[..], shift.as_bytes(), lines.as_bytes()].concat());
        assert_eq!(scan.found.len(), 1, "{mark:?}");
    }
    let whole: Vec<u8> =
        "\u{feff}".encode_utf16().chain(lines.encode_utf16()).flat_map(u16::to_le_bytes).collect();
    let scan = scan(whole);
    assert_eq!((scan.found.len(), told(&scan).len()), (1, 0), "{:?}", told(&scan));
}

#[test]
fn a_file_of_a_tar_is_read_whatever_its_type_and_wherever_its_length_stands() {
    let of_kind = |kind: u8, name: &str, stated: usize, bytes: &[u8]| {
        let mut header = super::bad::tar(bytes);
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[156] = kind;
        header[124..135].copy_from_slice(format!("{stated:011o}").as_bytes());
        header[148..156].fill(b' ');
        let sum: u32 = header[..512].iter().map(|byte| u32::from(*byte)).sum();
        header[148..154].copy_from_slice(format!("{sum:06o}").as_bytes());
        header[154] = 0;
        header.truncate(header.len() - 1_024);
        header
    };
    let file = canary(1);
    for kind in *b"09ZM" {
        let scan = scan([of_kind(kind, "app.log", file.len(), file.as_bytes()), vec![0; 1_024]].concat());
        assert_eq!((scan.found.len(), told(&scan).len()), (1, 0), "{}", char::from(kind));
    }
    // The length stands in an extended header, and the file holds what would be skipped as one.
    let inside = of_kind(b'x', "attributes", 512, file.as_bytes());
    let stated = format!("size={}\n", inside.len());
    let line = format!("{} {stated}", stated.len() + 3);
    let extended = of_kind(b'x', "attributes", line.len(), line.as_bytes());
    let scan = scan([extended, of_kind(b'0', "app.log", 0, &inside), vec![0; 1_024]].concat());
    assert_eq!(scan.found.len(), 1, "{:?}", told(&scan));
}

#[test]
fn a_member_in_the_midst_of_text_is_told_if_it_gives_text_and_is_damaged() {
    let text = "one more line\n".repeat(2_000);
    let mut member = gzip(canary(1).as_bytes());
    let at = member.len() - 8;
    member[at] ^= 1;
    let scan = scan([text.as_bytes(), &member, text.as_bytes()].concat());
    assert_eq!(told(&scan), ["gzip, which is damaged"]);
    assert_eq!(scan.found.len(), 1);
}

#[test]
fn the_end_of_the_search_for_members_is_told() {
    let trials = b"\n\x78\x9c\x07".repeat(1_001);
    let text = "one more line\n".repeat(2_000);
    let scan = scan([&trials, text.as_bytes(), &gzip(canary(1).as_bytes()), text.as_bytes()].concat());
    assert!(scan.found.len() == 1 || scan.is_over_limit());
}

#[test]
fn numbers_that_a_format_skips_are_no_damage() {
    let canary = canary(1);
    let table: Vec<u8> = (0..400_u16).flat_map(|n| (n.wrapping_mul(40_503) | 10).to_le_bytes()).collect();
    // The table of chunks of dictzip.
    let plain = gzip(canary.as_bytes());
    let field = [b"RA", &u16::try_from(table.len()).unwrap().to_le_bytes()[..], &table].concat();
    let len = u16::try_from(field.len()).unwrap().to_le_bytes();
    let dictzip = [&plain[..3], &[4], &plain[4..10], &len, &field, &plain[10..]].concat();
    // An index of framed Snappy, and padding.
    let mut snappy = snap::write::FrameEncoder::new(Vec::new());
    snappy.write_all(canary.as_bytes()).unwrap();
    let mut framed = snappy.into_inner().unwrap();
    for kind in [0x99, 0xfe] {
        framed
            .extend([&[kind][..], &u32::try_from(table.len()).unwrap().to_le_bytes()[..3], &table].concat());
    }
    let utf16: Vec<u8> =
        "\u{feff}".encode_utf16().chain(canary.encode_utf16()).flat_map(u16::to_le_bytes).collect();
    let in_base64 = format!("{{\"message\":\"{}\"}}", STANDARD.encode(utf16));
    for (name, input) in [("dictzip", dictzip), ("framed Snappy", framed), ("UTF-16", in_base64.into_bytes())]
    {
        let scan = scan(input);
        assert_eq!((scan.found.len(), told(&scan).len()), (1, 0), "{name} {:?}", told(&scan));
    }
}

#[test]
fn a_file_of_a_zip_may_be_named_as_another_format_begins() {
    let raw = deflate(canary(1).as_bytes());
    let mut local = entry(8, raw.len(), b"");
    local.splice(26..28, [8, 0]);
    local.truncate(30);
    let mut central = directory(0, 0);
    central.splice(28..32, [8, 0, 40, 0]);
    central.splice(46..47, [&b"PARENTS/"[..], &[1; 40]].concat());
    let scan = scan([&local, &b"PARENTS/"[..], &raw, &central].concat());
    assert_eq!((scan.found.len(), told(&scan).len()), (1, 0), "{:?}", told(&scan));
}
