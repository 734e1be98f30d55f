//! Bad twins: what is damaged, cut off, encrypted, too large, or lies about its size.

use std::io::Write as _;

use flate2::write::{DeflateEncoder, ZlibEncoder};

use super::fixtures::{files, of_the_files};
use super::*;
use crate::domain::format::{Shape, Unreadable};
use crate::observe::decode::codec::guarded;

const MIB: usize = 1 << 20;

pub(super) fn told(scan: &Scan) -> Vec<String> {
    scan.unreadable.iter().map(|(part, _)| part.to_string()).collect()
}

pub(super) fn scan_with(limits: Limits, bytes: &[u8]) -> Scan {
    scan_record(&of_the_files(), limits, bytes)
}

pub(super) fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(super) fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(super) fn bzip2(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ::bzip2::write::BzEncoder::new(Vec::new(), ::bzip2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(super) fn snappy(bytes: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(bytes).unwrap()
}

/// One block in the frame of snappy-java.
pub(super) fn xerial(bytes: &[u8]) -> Vec<u8> {
    let raw = snappy(bytes);
    let len = u32::try_from(raw.len()).unwrap().to_be_bytes();
    [b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01", &len[..], &raw].concat()
}

/// An archive of one file.
pub(super) fn tar(bytes: &[u8]) -> Vec<u8> {
    let mut header = vec![0; 512];
    header[..7].copy_from_slice(b"app.log");
    header[124..135].copy_from_slice(format!("{:011o}", bytes.len()).as_bytes());
    header[156] = b'0';
    header[257..263].copy_from_slice(b"ustar\0");
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..154].copy_from_slice(format!("{sum:06o}").as_bytes());
    header[154] = 0;
    [header, bytes.to_vec(), vec![0; (512 - bytes.len() % 512) % 512 + 1_024]].concat()
}

/// An LZ4 frame of blocks of 4 MiB, each one blank and a reference to it.
fn lz4_of_blanks(blocks: usize) -> Vec<u8> {
    let len = (4 * MIB - 1 - 5 - 19) / 255;
    let mut block = vec![0x1f, b' ', 1, 0];
    block.extend(vec![255; len]);
    block.extend([0, 0x50]);
    block.extend(b"     ");
    let mut frame = vec![0x04, 0x22, 0x4d, 0x18, 0x60, 0x70, 0x73];
    for _ in 0..blocks {
        frame.extend(u32::try_from(block.len()).unwrap().to_le_bytes());
        frame.extend(&block);
    }
    frame.extend([0; 4]);
    frame
}

/// A number in Thrift's compact protocol.
pub(super) fn number(value: i64) -> Vec<u8> {
    let mut out = Vec::new();
    encode_varint(((value << 1) ^ (value >> 63)).cast_unsigned(), &mut out);
    out
}

/// A Parquet file of one column of strings and one page of plain values, whose header states these sizes.
pub(super) fn parquet(codec: i64, plain: i64, page: &[u8]) -> Vec<u8> {
    parquet_of(0, codec, plain, page)
}

/// The same in another encoding.
pub(super) fn parquet_of(encoding: i64, codec: i64, plain: i64, page: &[u8]) -> Vec<u8> {
    let mut file = b"PAR1".to_vec();
    let data_header = [
        vec![0x15],
        number(1),
        vec![0x15],
        number(encoding),
        vec![0x15],
        number(3),
        vec![0x15],
        number(3),
        vec![0],
    ];
    let header = [
        vec![0x15],
        number(0),
        vec![0x15],
        number(plain),
        vec![0x15],
        number(i64::try_from(page.len()).unwrap()),
        vec![0x2c],
        data_header.concat(),
        vec![0],
    ]
    .concat();
    file.extend(&header);
    file.extend(page);
    let len = i64::try_from(header.len() + page.len()).unwrap();
    let string = |text: &str| [vec![u8::try_from(text.len()).unwrap()], text.as_bytes().to_vec()].concat();
    let root = [vec![0x48], string("root"), vec![0x15], number(1), vec![0]].concat();
    let leaf = [vec![0x15], number(6), vec![0x25], number(0), vec![0x18], string("line"), vec![0]].concat();
    let meta = [
        vec![0x15],
        number(6),
        vec![0x19, 0x15],
        number(0),
        vec![0x19, 0x18],
        string("line"),
        vec![0x15],
        number(codec),
        vec![0x16],
        number(1),
        vec![0x16],
        number(plain),
        vec![0x16],
        number(len),
        vec![0x26],
        number(4),
        vec![0],
    ]
    .concat();
    let column = [vec![0x26], number(4), vec![0x1c], meta, vec![0]].concat();
    let group = [vec![0x19, 0x1c], column, vec![0x16], number(len), vec![0x16], number(1), vec![0]].concat();
    let footer = [
        vec![0x15],
        number(1),
        vec![0x19, 0x2c],
        root,
        leaf,
        vec![0x16],
        number(1),
        vec![0x19, 0x1c],
        group,
        vec![0],
    ]
    .concat();
    file.extend(&footer);
    file.extend(u32::try_from(footer.len()).unwrap().to_le_bytes());
    file.extend(b"PAR1");
    file
}

/// A value in PLAIN.
pub(super) fn value(text: &[u8]) -> Vec<u8> {
    [&u32::try_from(text.len()).unwrap().to_le_bytes()[..], text].concat()
}

pub(super) fn avro(codec: &str, blocks: &[(i64, &[u8])]) -> Vec<u8> {
    let text = |text: &str| [number(i64::try_from(text.len()).unwrap()), text.as_bytes().to_vec()].concat();
    let sync = [7; 16];
    let mut file =
        [b"Obj\x01".to_vec(), number(1), text("avro.codec"), text(codec), number(0), sync.to_vec()].concat();
    for (len, block) in blocks {
        file.extend([number(1), number(*len), block.to_vec(), sync.to_vec()].concat());
    }
    file
}

#[test]
fn a_panic_in_a_decoder_is_a_fault() {
    let caught = guarded(|| panic!("a decoder has a bug"));
    assert_eq!(caught, Err::<(), _>(UnreadableReason::DecoderPanic));
}

#[test]
fn a_parquet_file_that_we_wrote_is_opened() {
    let plain = value(canary(1).as_bytes());
    let len = i64::try_from(plain.len()).unwrap();
    for (codec, page) in [(0, plain.clone()), (1, snappy(&plain)), (2, gzip(&plain)), (6, zstd(&plain))] {
        let scan = scan(parquet(codec, len, &page));
        assert_eq!((scan.found.len(), told(&scan).len()), (1, 0), "{codec} {:?}", told(&scan));
        assert_eq!(scan.found[0].integrity, Integrity::Intact);
    }
}

#[test]
fn a_page_that_states_a_gibibyte_is_over_the_limit_in_every_codec() {
    let plain = value(canary(1).as_bytes());
    for (codec, page) in
        [(0, plain.clone()), (1, snappy(&plain)), (2, gzip(&plain)), (6, zstd(&plain)), (7, plain)]
    {
        let scan = scan_with(Limits::OBJECT, &parquet(codec, 1 << 30, &page));
        assert_eq!(told(&scan), ["Parquet, which exceeds one of the probe's limits"], "{codec}");
        assert_eq!(scan.inflated_bytes, 0);
    }
}

#[test]
fn a_page_that_inflates_beyond_what_it_states_is_damaged() {
    let plain = value(&vec![b' '; MIB]);
    for (codec, page) in [(1, snappy(&plain)), (2, gzip(&plain)), (6, zstd(&plain))] {
        assert_eq!(told(&scan(parquet(codec, 1_000, &page))), ["Parquet, which is damaged"], "{codec}");
    }
}

#[test]
fn a_damaged_or_missing_parquet_footer_is_told() {
    let mut file = files()["parquet-snappy"].clone();
    let len = u32::from_le_bytes(*file[..file.len() - 4].last_chunk().unwrap()) as usize;
    let footer = file.len() - 8 - len;
    file[footer..footer + 100].fill(0xff);
    assert_eq!(told(&scan(&file)), ["Parquet, which is damaged"]);
    let whole = files()["parquet-snappy"].clone();
    assert_eq!(told(&scan(&whole[..whole.len() - 50])), ["Parquet, which ends too early"]);
    let mut encrypted = whole;
    encrypted.splice(..4, *b"PARE");
    assert_eq!(told(&scan(&encrypted)), ["Parquet, which is encrypted"]);
}

#[test]
fn a_parquet_file_longer_than_what_may_be_held_is_over_the_limit() {
    let file = files()["parquet-none"].clone();
    let scan = scan_with(Limits { max_held_bytes: file.len() - 1, ..Limits::OBJECT }, &file);
    assert_eq!(told(&scan), ["Parquet, which exceeds one of the probe's limits"]);
}

#[test]
fn an_avro_block_that_lies_about_its_size_is_damaged_and_what_came_before_is_kept() {
    let canary = canary(1);
    let good = (i64::try_from(canary.len()).unwrap(), canary.as_bytes());
    for len in [0, 3, 499, 501, -1] {
        let scan = scan(avro("null", &[good, (len, canary.as_bytes()), good]));
        assert_eq!(told(&scan), ["Avro, which is damaged"], "{len}");
        assert!(!scan.found.is_empty(), "{len}");
    }
    let huge = scan(avro("null", &[good, (i64::MAX, canary.as_bytes())]));
    assert_eq!(told(&huge), ["Avro, which ends too early"]);
    let snappy = scan(avro("snappy", &[(i64::MAX, b"")]));
    assert_eq!(told(&snappy), ["Avro, which exceeds one of the probe's limits"]);
    let deflated = deflate(canary.as_bytes());
    let cut = i64::try_from(deflated.len() - 4).unwrap();
    assert_eq!(
        told(&scan(avro("deflate", &[(cut, &deflated[..deflated.len() - 4])]))),
        ["Avro, which is damaged"]
    );
}

#[test]
fn what_ends_early_because_the_rest_was_not_fetched_is_over_a_limit_and_not_truncated() {
    let mut scanner = Scanner::new(recognizer(), Limits::OBJECT);
    scanner.push(&gzip(&noise(9_000))[..5_000]);
    scanner.cut_short();
    let scan = scanner.finish();
    assert!(scan.unreadable.iter().any(|(part, _)| part.reason == UnreadableReason::OverLimit));
    assert!(scan.unreadable.iter().all(|(part, _)| part.reason != UnreadableReason::Truncated));
}

#[test]
fn a_bomb_in_any_codec_stops_at_the_limit() {
    let limits = Limits { max_inflated_bytes: MIB as u64, ..Limits::RECORD };
    let blanks = vec![b' '; 20 * MIB];
    let xerial = xerial(&blanks[..4 * MIB]);
    let zip = [
        b"PK\x03\x04\x14\0\x08\0\x08\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0x".to_vec(),
        deflate(&blanks),
    ]
    .concat();
    for (name, bomb) in [
        ("gzip", gzip(&blanks)),
        ("zlib", zlib(&blanks)),
        ("zstd", zstd(&blanks)),
        ("bzip2", bzip2(&blanks)),
        ("LZ4", lz4_of_blanks(5)),
        ("xerial Snappy", xerial),
        ("ZIP", zip),
        ("Avro", avro("deflate", &[(i64::try_from(deflate(&blanks).len()).unwrap(), &deflate(&blanks))])),
    ] {
        let scan = scan_with(limits, &bomb);
        assert_eq!(told(&scan), [format!("{name}, which exceeds one of the probe's limits")]);
        assert!(scan.inflated_bytes <= limits.max_inflated_bytes, "{name}");
    }
}

#[test]
fn several_bombs_have_one_limit() {
    let limits = Limits { max_inflated_bytes: MIB as u64, ..Limits::RECORD };
    let one = gzip(&vec![b' '; 700 << 10]);
    let scan = scan_with(limits, &one.repeat(50));
    assert!(scan.is_over_limit());
    assert!(scan.inflated_bytes <= limits.max_inflated_bytes);
}

#[test]
fn a_truncated_member_of_any_codec_is_told() {
    let plain: Vec<u8> =
        (0..400_u32).flat_map(|n| format!("{}\n", n.wrapping_mul(2_654_435_769)).into_bytes()).collect();
    let xerial = xerial(&plain);
    let lz4 = lz4_of_blanks(1);
    for (name, whole) in [
        ("gzip", gzip(&plain)),
        ("zlib", zlib(&plain)),
        ("zstd", zstd(&plain)),
        ("bzip2", bzip2(&plain)),
        ("LZ4", lz4),
        ("xerial Snappy", xerial),
    ] {
        assert!(told(&scan(&whole)).is_empty(), "{name}");
        let scan = scan(&whole[..whole.len() / 2]);
        assert_eq!(told(&scan), [format!("{name}, which ends too early")]);
    }
}

#[test]
fn text_that_begins_like_zlib_is_text() {
    for text in ["x^2 + y^2 = z^2, and so on for a while\n", "x\u{1}", "x^", "\nx^y\nx^z\n"] {
        let record = format!("{text}{}\n{text}", canary(1));
        let scan = scan(record);
        assert_eq!((scan.found.len(), told(&scan).len()), (1, 0), "{text:?}");
    }
}

#[test]
fn bytes_in_no_known_format_are_unreadable_and_hits_in_them_are_one_copy() {
    let noise = noise(3_000);
    let tag = text(&tag(1, 500));
    let record =
        [&noise[..1_000], tag.as_bytes(), &noise[1_000..2_000], tag.as_bytes(), &noise[2_000..]].concat();
    let scan = scan(record);
    assert_eq!(told(&scan), ["binary, in a format that traceprobe does not know"]);
    let [found] = &scan.found[..] else { panic!("{:?}", scan.found) };
    assert_eq!((found.integrity, found.found_in.decoded), (Integrity::Unchecked, false));
}

#[test]
fn hashes_and_keys_in_base64_are_no_reason_to_call_a_text_unreadable() {
    let key = STANDARD.encode(noise(64));
    let line = format!("{{\"key\":\"{key}\",\"user\":17,\"message\":\"signed in from a new device\"}}\n");
    assert!(told(&scan(line.repeat(20))).is_empty());
    let hashes: String = noise(3_200)
        .chunks(32)
        .map(|hash| hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n")
        .collect();
    assert!(told(&scan(hashes)).is_empty());
    assert!(told(&scan("-".repeat(5_000))).is_empty());
}

#[test]
fn a_record_that_is_base64_of_something_unknown_is_unreadable() {
    let record = format!("{{\"data\":\"{}\"}}", STANDARD.encode(noise(2_000)));
    assert_eq!(told(&scan(record)), ["base64 > binary, in a format that traceprobe does not know"]);
}

#[test]
fn encrypted_bytes_are_named() {
    let noise = noise(500);
    for (name, start) in [
        ("age", &b"age-encryption.org/v1\n-> X25519 abc\n"[..]),
        ("openssl enc", b"Salted__"),
        ("OpenPGP", b"\x85\x01\x0c\x03"),
        ("AWS Encryption SDK", b"\x02\x05\x78"),
    ] {
        assert_eq!(told(&scan([start, &noise].concat())), [format!("{name}, which is encrypted")]);
    }
}

#[test]
fn kinds_of_unreadable_parts_are_bounded_and_a_limit_is_always_one_of_them() {
    let noise = noise(200);
    let mut wrapped = noise.clone();
    let mut records = Vec::new();
    for _ in 0..6 {
        wrapped = gzip(&wrapped);
        records.push(wrapped.clone());
        records.push(zstd(&wrapped));
        records.push(zlib(&wrapped));
    }
    let bomb = gzip(&vec![b' '; MIB]);
    let limits = Limits { max_inflated_bytes: MIB as u64, ..Limits::RECORD };
    let shape = Shape::NONE.then(crate::domain::format::Format::Kpl);
    for with_bomb in [false, true] {
        let all = records.iter().chain(with_bomb.then_some(&bomb));
        let all: Vec<&[u8]> = all.map(Vec::as_slice).collect();
        let scan = scan_record(&recognizer(), limits, &kpl(&all));
        assert_eq!(scan.unreadable.len(), MAX_UNREADABLE - usize::from(!with_bomb));
        assert!(scan.unreadable.iter().all(|(part, _): &(Unreadable, u64)| part.shape > shape));
        assert_eq!(scan.is_over_limit(), with_bomb);
    }
}

#[test]
fn a_bare_snappy_block_that_is_too_large_too_deep_or_too_long_to_hold_is_told() {
    let mut text = vec![b' '; MIB];
    text.extend_from_slice(canary(1).as_bytes());
    let block = snappy(&text);
    assert_eq!(scan_record(&recognizer(), Limits::RECORD, &block).found.len(), 1);
    for limits in [
        Limits { max_inflated_bytes: MIB as u64, ..Limits::RECORD },
        Limits { max_held_bytes: block.len() - 1, ..Limits::RECORD },
        Limits { max_held_bytes: MIB, ..Limits::RECORD },
        Limits { max_depth: 0, ..Limits::RECORD },
    ] {
        let scan = scan_record(&recognizer(), limits, &block);
        assert_eq!(told(&scan), ["raw Snappy, which exceeds one of the probe's limits"], "{limits:?}");
    }
}

pub(super) fn noise(len: usize) -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(3);
    (0..len).map(|_| rng.u8(..)).collect()
}

/// One change to a file.
#[derive(Clone, Debug)]
enum Change {
    Flip(prop::sample::Index, u8),
    Cut(prop::sample::Index),
    Fill(prop::sample::Index, u8, usize),
    Repeat(prop::sample::Index, usize),
    Insert(prop::sample::Index, Vec<u8>),
}

fn change() -> impl Strategy<Value = Change> {
    let at = any::<prop::sample::Index>;
    prop_oneof![
        4 => (at(), any::<u8>()).prop_map(|(at, byte)| Change::Flip(at, byte)),
        2 => at().prop_map(Change::Cut),
        2 => (at(), any::<u8>(), 1_usize..40).prop_map(|(at, byte, len)| Change::Fill(at, byte, len)),
        1 => (at(), 1_usize..200).prop_map(|(at, len)| Change::Repeat(at, len)),
        1 => (at(), prop::collection::vec(any::<u8>(), 1..9)).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
    ]
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        match self {
            Self::Flip(at, byte) => {
                let at = at.index(bytes.len());
                bytes[at] ^= byte;
            }
            Self::Cut(at) => bytes.truncate(at.index(bytes.len())),
            Self::Fill(at, byte, len) => {
                let at = at.index(bytes.len());
                let end = bytes.len().min(at + len);
                bytes[at..end].fill(*byte);
            }
            Self::Repeat(at, len) => {
                let at = at.index(bytes.len());
                let piece = bytes[at..bytes.len().min(at + len)].to_vec();
                bytes.splice(at..at, piece);
            }
            Self::Insert(at, piece) => {
                let at = at.index(bytes.len());
                bytes.splice(at..at, piece.iter().copied());
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(800))]

    #[test]
    fn changed_files_never_panic_and_chunks_change_nothing(
        file: prop::sample::Index, other: prop::sample::Index, join: bool,
        changes in prop::collection::vec(change(), 1..4), sizes in prop::collection::vec(1_usize..3_000, 1..4),
    ) {
        let files: Vec<_> = files().into_values().collect();
        let mut bytes = file.get(&files).clone();
        if join {
            bytes.extend(other.get(&files));
        }
        changes.iter().for_each(|change| change.apply(&mut bytes));
        let limits = Limits { max_inflated_bytes: MIB as u64, max_held_bytes: MIB, ..Limits::OBJECT };
        let whole = scan_with(limits, &bytes);
        prop_assert!(whole.inflated_bytes <= limits.max_inflated_bytes);
        let mut scanner = Scanner::new(of_the_files(), limits);
        let mut rest = &bytes[..];
        for size in sizes.iter().cycle() {
            let (chunk, after) = rest.split_at(rest.len().min(*size));
            scanner.push(chunk);
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(scanner.finish(), whole);
    }
}

#[test]
fn a_canary_of_which_the_rest_was_not_fetched_is_not_corrupted() {
    let canary = canary(1);
    let text = format!("noise\n{canary}\n");
    let mut scanner = Scanner::new(recognizer(), Limits::OBJECT);
    scanner.push(&text.as_bytes()[..300]);
    scanner.cut_short();
    let found = scanner.finish().found;
    assert_eq!(found.iter().map(|found| found.integrity).collect::<Vec<_>>(), [Integrity::Unchecked]);
    let noise = noise(5_000);
    let packed = gzip(&[&noise[..], b"\n", canary.as_bytes()].concat());
    let limits = Limits { max_inflated_bytes: noise.len() as u64 + 300, ..Limits::OBJECT };
    let found = scan_record(&recognizer(), limits, &packed).found;
    assert_eq!(found.iter().map(|found| found.integrity).collect::<Vec<_>>(), [Integrity::Unchecked]);
}
