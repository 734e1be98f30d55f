mod bad;
mod fixtures;
mod formats;
mod hidden;
mod hostile;
mod parquet;

use std::io::Write as _;
use std::sync::Arc;

use ::base64::Engine as _;
use ::base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use flate2::Compression;
use flate2::write::GzEncoder;
use md5::{Digest, Md5};
use proptest::prelude::*;
use prost::encoding::{WireType, encode_key, encode_varint};

use super::*;
use crate::domain::canary::Template;
use crate::domain::tag::{Claim, InstanceCode, Keyring, Purpose, TAG_LEN, TagKey, TenantCode, TraceId};
use crate::domain::time::Timestamp;
use crate::observe::fixtures::recognizer;

fn tag(n: u8, size: u32) -> Tag {
    tag_of("acme", n, size)
}

fn tag_of(tenant: &str, n: u8, size: u32) -> Tag {
    let trace = TraceId::new(Timestamp::from_millis(1_795_321_781_123), [n; 10]);
    Tag::new(trace, TenantCode::of(tenant), InstanceCode::of("probe-1"), size, Purpose::Probe)
}

/// The same canary as a release that wrote version 1 would have tagged it.
fn old(n: u8, size: u32) -> Tag {
    let tag = tag(n, size);
    let claim = Claim::V1 { tenant: TenantCode::of("acme").prefix() };
    Tag::remembered(tag.trace, claim, tag.instance, size)
}

fn text(tag: &Tag) -> String {
    recognizer().keys.sign(tag).as_str().to_owned()
}

fn line(tag: &Tag) -> String {
    Template::default().render(tag, &recognizer().keys.sign(tag))
}

fn canary(n: u8) -> String {
    line(&tag(n, 500))
}

fn scan(bytes: impl AsRef<[u8]>) -> Scan {
    scan_record(&recognizer(), Limits::RECORD, bytes.as_ref())
}

fn copies(bytes: impl AsRef<[u8]>) -> usize {
    scan(bytes).found.len()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn kpl(records: &[&[u8]]) -> Vec<u8> {
    let mut message = Vec::new();
    encode_key(1, WireType::LengthDelimited, &mut message);
    encode_varint(3, &mut message);
    message.extend(b"key");
    for data in records {
        let mut record = Vec::new();
        encode_key(1, WireType::Varint, &mut record);
        encode_varint(0, &mut record);
        encode_key(3, WireType::LengthDelimited, &mut record);
        encode_varint(data.len() as u64, &mut record);
        record.extend(*data);
        encode_key(3, WireType::LengthDelimited, &mut message);
        encode_varint(record.len() as u64, &mut message);
        message.extend(record);
    }
    let sum = Md5::digest(&message);
    [kpl::MAGIC, &message, sum.as_slice()].concat()
}

fn wrapped(text: &str, width: usize, line_break: &str) -> String {
    let lines: Vec<&str> =
        (0..text.len()).step_by(width).map(|at| &text[at..text.len().min(at + width)]).collect();
    lines.join(line_break)
}

fn envelope(messages: &[&str]) -> String {
    let events: Vec<_> = messages
        .iter()
        .map(|message| serde_json::json!({"id": "38", "message": message, "timestamp": 1}))
        .collect();
    serde_json::json!({"messageType": "DATA_MESSAGE", "logGroup": "/ecs/acme", "logEvents": events})
        .to_string()
}

#[test]
fn a_subscription_envelope_gives_one_copy_for_each_log_event() {
    let canary = canary(1);
    let record = gzip(envelope(&["noise", &canary, "noise", &canary]).as_bytes());
    let scan = scan(record);
    assert_eq!(scan.found.len(), 2);
    assert_eq!((&*scan.found[0].place, &*scan.found[1].place), ("0", "1"));
    assert!(scan.found.iter().all(|found| found.tag == tag(1, 500)));
    assert!(scan.found.iter().all(|found| found.integrity == Integrity::Intact));
    assert_eq!((scan.decode_errors(), scan.foreign_tags), (0, 0));
}

#[test]
fn what_a_limit_left_out_is_told_from_what_is_damaged() {
    let canary = canary(1);
    let noise = vec![b'x'; 200_000];
    let with = |limits: Limits, bytes: &[u8]| {
        let scan = scan_record(&recognizer(), limits, bytes);
        (scan.found.len(), scan.decode_errors(), scan.is_over_limit())
    };
    let hidden = [&noise, canary.as_bytes()].concat();
    let small = Limits { max_inflated_bytes: 100_000, ..Limits::RECORD };
    for bomb in [gzip(&hidden), zstd(&hidden), STANDARD.encode(gzip(&hidden)).into_bytes()] {
        assert_eq!(with(small, &bomb), (0, 1, true));
        assert_eq!(with(Limits::RECORD, &bomb), (1, 0, false));
        let torn = with(Limits::RECORD, &bomb[..bomb.len() / 2]);
        assert_eq!(torn, (0, 1, false), "the rest is nowhere");
    }
    let flat = Limits { max_depth: 1, ..Limits::RECORD };
    for nested in [gzip(&gzip(canary.as_bytes())), gzip(STANDARD.encode(&canary).as_bytes())] {
        assert_eq!(with(flat, &nested), (0, 1, true));
    }
    assert_eq!(with(flat, &gzip(canary.as_bytes())), (1, 0, false));
    let few = Limits { max_kpl_records: 1, ..Limits::RECORD };
    assert_eq!(with(few, &kpl(&[b"first", canary.as_bytes()])), (0, 1, true));
    let one = Limits { max_copies: 1, ..Limits::RECORD };
    assert_eq!(with(one, format!("{canary}\n{canary}").as_bytes()), (1, 1, true));
}

#[test]
fn a_frame_of_zstd_that_needs_a_larger_window_than_we_give_is_sound_and_not_read() {
    let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
    encoder.long_distance_matching(true).unwrap();
    encoder.window_log(27).unwrap();
    encoder.write_all(canary(1).as_bytes()).unwrap();
    let scan = scan(encoder.finish().unwrap());
    assert_eq!((scan.found.len(), scan.decode_errors(), scan.is_over_limit()), (0, 1, true));
}

#[test]
fn a_line_that_repeats_the_tag_in_its_parsed_fields_is_one_copy() {
    let tag = tag(1, 500);
    let raw = line(&tag);
    let parsed = serde_json::json!({"raw": raw, "trace_id": text(&tag), "n": {"id": text(&tag)}});
    assert_eq!(copies(parsed.to_string()), 1);
    let with_line_end = serde_json::json!({"log": format!("{raw}\n"), "trace_id": text(&tag)});
    assert_eq!(copies(with_line_end.to_string()), 1);
    let list = format!(r#"[{{"k":"id","v":"{0}"}},{{"k":"trace_id","v":"{0}"}}]"#, text(&tag));
    assert_eq!(copies(list), 1);
}

#[test]
fn the_same_line_beside_its_base64_is_one_copy() {
    let tag = tag(1, 500);
    let raw = STANDARD.encode(line(&tag));
    assert_eq!(copies(format!(r#"{{"id":"{}","raw":"{raw}"}}"#, text(&tag))), 1);
    assert_eq!(copies(format!(r#"{{"raw":"{raw}","id":"{}"}}"#, text(&tag))), 1);
}

#[test]
fn records_of_base64_in_a_list_are_copies_of_their_own() {
    let raw = STANDARD.encode(gzip(canary(1).as_bytes()));
    let list = format!(r#"{{"records":[{{"data":"{raw}"}}, {{"data":"{raw}"}}]}}"#);
    assert_eq!(copies(list), 2);
}

#[test]
fn two_copies_inside_one_base64_text_stay_two_beside_a_plain_tag() {
    let raw = STANDARD.encode(format!("{0}\n{0}\n", canary(1)));
    let record = format!(r#"{{"id":"{}","raw":"{raw}"}}"#, text(&tag(1, 500)));
    assert_eq!(copies(record), 2);
}

#[test]
fn lines_and_objects_in_a_row_are_copies_of_their_own() {
    let canary = canary(1);
    assert_eq!(copies(format!("{canary}\n{canary}\n")), 2);
    assert_eq!(copies(format!("{canary}{canary}")), 2);
    let escaped = serde_json::to_string(&format!("{canary}\n{canary}\n")).unwrap();
    assert_eq!(copies(escaped), 2);
    let array = serde_json::to_string(&[&canary, &canary]).unwrap();
    assert_eq!(copies(array), 2);
}

#[test]
fn every_sub_record_of_an_aggregate_is_searched_and_one_with_a_bad_sum_is_searched_as_it_is() {
    let canary = canary(1);
    let mut record = kpl(&[b"noise", canary.as_bytes(), canary.as_bytes()]);
    assert_eq!(copies(&record), 2);
    *record.last_mut().unwrap() ^= 1;
    let scan = scan(&record);
    assert_eq!((scan.found.len(), scan.decode_errors()), (1, 1));
}

#[test]
fn more_sub_records_than_the_limit_are_skipped_and_counted() {
    let canary = canary(1);
    let record = kpl(&[b"noise", canary.as_bytes(), canary.as_bytes()]);
    let limits = Limits { max_kpl_records: 2, ..Limits::RECORD };
    let scan = scan_record(&recognizer(), limits, &record);
    assert_eq!((scan.found.len(), scan.decode_errors()), (1, 1));
}

#[test]
fn base64_is_found_in_every_form_that_encoders_give_it() {
    let raw = gzip(format!("{}\n{}", "noise ?>~ ".repeat(40), canary(1)).as_bytes());
    let standard = STANDARD.encode(&raw);
    for form in [
        standard.clone(),
        STANDARD_NO_PAD.encode(&raw),
        URL_SAFE.encode(&raw),
        URL_SAFE_NO_PAD.encode(&raw),
        standard.replace('/', "\\/").replace('=', "\\u003d"),
        standard.replace('/', "\\\\\\/").replace('+', "\\u002B"),
        wrapped(&standard, 76, "\r\n"),
        wrapped(&standard, 76, "\\r\\n"),
        wrapped(&standard, 64, "\n"),
        wrapped(&standard, 64, "\\\\n"),
    ] {
        for text in [
            form.clone(),
            format!(r#"{{"a":"x","data":"{form}","b":"y"}}"#),
            format!("word\\n{form}\\n and then"),
            format!("data:;base64,{form}\n"),
        ] {
            let scan = scan(&text);
            assert_eq!((scan.found.len(), scan.decode_errors()), (1, 0), "{text}");
            assert_eq!(scan.found[0].integrity, Integrity::Intact);
        }
    }
}

#[test]
fn members_and_frames_follow_on_each_other_with_or_without_line_breaks_between() {
    let (a, b) = (canary(1) + "\n", canary(2) + "\n");
    for wrap in [gzip, zstd] {
        let (a, b) = (wrap(a.as_bytes()), wrap(b.as_bytes()));
        for between in [&b""[..], b"\n"] {
            let scan = scan([&a, between, &b, between].concat());
            assert_eq!((scan.found.len(), scan.decode_errors()), (2, 0));
        }
    }
}

#[test]
fn what_came_before_a_fault_is_still_found() {
    let mut noise = 7_u32;
    let mut plain = (canary(1) + "\n").into_bytes();
    // Noise does not compress, so that there is much left to cut off.
    plain.extend((0..600_000).map(|_| {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        b' ' + ((noise >> 24) % 90) as u8
    }));
    for wrap in [gzip, zstd] {
        let whole = wrap(&plain);
        let cut = scan(&whole[..whole.len() / 2]);
        assert_eq!((cut.found.len(), cut.decode_errors()), (1, 1));
        let mut garbled = whole.clone();
        let from = whole.len() * 9 / 10;
        garbled[from..from + 40].fill(0xff);
        let garbled = scan(garbled);
        assert_eq!((garbled.found.len(), garbled.decode_errors()), (1, 1));
    }
    let trailing = scan([gzip(&plain), b"trailing".to_vec()].concat());
    assert_eq!((trailing.found.len(), trailing.decode_errors()), (1, 0), "it is text");
}

#[test]
fn a_bomb_is_counted_and_stops_at_the_limit() {
    let limits = Limits { max_inflated_bytes: 1 << 20, ..Limits::RECORD };
    for wrap in [gzip, zstd] {
        let bomb = wrap(&[(canary(1) + "\n").as_bytes(), &vec![b' '; 20 << 20]].concat());
        let scan = scan_record(&recognizer(), limits, &bomb);
        assert_eq!((scan.found.len(), scan.decode_errors()), (1, 1));
        assert_eq!(scan.inflated_bytes, 1 << 20);
    }
}

#[test]
fn wrappers_beyond_the_depth_are_counted_and_left() {
    let mut bytes = canary(1).into_bytes();
    for _ in 0..Limits::RECORD.max_depth {
        bytes = gzip(&bytes);
    }
    assert_eq!((copies(&bytes), scan(&bytes).decode_errors()), (1, 0));
    let deeper = scan(gzip(&bytes));
    assert_eq!((deeper.found.len(), deeper.decode_errors()), (0, 1));
}

#[test]
fn a_tag_of_another_key_is_foreign_and_a_half_one_is_nothing() {
    let key = TagKey::new("another key, sixteen+").unwrap();
    let foreign = Keyring::new(key, Vec::new()).sign(&tag(1, 500));
    let half = &text(&tag(1, 500))[..40];
    let scan = scan(format!("{foreign} {half} {half}"));
    assert_eq!((scan.found.len(), scan.foreign_tags, scan.decode_errors()), (0, 1, 0));
}

#[test]
fn a_copy_that_was_cut_is_corrupted_and_an_unknown_tenant_is_not_checked() {
    let canary = canary(1);
    let cut = scan(format!(r#"{{"message":{}}}"#, serde_json::to_string(&canary[..300]).unwrap()));
    assert_eq!(cut.found[0].integrity, Integrity::Corrupted { kept_bytes: 300, sent_bytes: 500 });
    let stranger = tag_of("stranger", 1, 500);
    assert_eq!(scan(line(&stranger)).found[0].integrity, Integrity::Unchecked);
}

#[test]
fn what_a_release_that_wrote_version_1_sent_is_found_and_intact() {
    // Two lines of its canaries, and the key and the names that it had.
    let lines = include_str!("../fixtures/version-1.ndjson");
    let key = TagKey::new((0..2).flat_map(|_| 0x0123_4567_89ab_cdef_u64.to_be_bytes()).collect::<Vec<_>>());
    let recognizer = Recognizer {
        keys: Arc::new(Keyring::new(key.unwrap(), Vec::new())),
        templates: ["zlib", "ruby64"].map(|name| (TenantCode::of(name), Template::default())).into(),
    };
    let found = scan_record(&recognizer, Limits::RECORD, lines.as_bytes()).found;
    assert_eq!(found.len(), 2);
    for (copy, name) in found.iter().zip(["zlib", "ruby64"]) {
        assert_eq!(copy.integrity, Integrity::Intact);
        assert_eq!(copy.tag.claim(), Claim::V1 { tenant: TenantCode::of(name).prefix() });
        assert_eq!((copy.tag.instance, copy.tag.size), (InstanceCode::of("cases"), 500));
        assert_eq!(recognizer.tenant(&copy.tag), Some(TenantCode::of(name)));
    }
}

#[test]
fn a_tag_of_version_2_that_was_cut_to_the_length_of_version_1_is_nothing() {
    for after in ["", " ", "\"", "00000", "-----"] {
        let scan = scan(format!("{}{after}", &text(&tag(1, 500))[..61]));
        assert_eq!((scan.found.len(), scan.decode_errors()), (0, 0), "{after}");
    }
}

#[test]
fn a_tag_is_not_a_run_of_base64_so_at_the_greatest_depth_nothing_is_unreadable() {
    let limits = Limits { max_depth: 0, ..Limits::RECORD };
    let half = &text(&tag(1, 500))[..65];
    for around in ["{}", " {} ", "\\n{}\\n", "order-{}/x", "{}{}", "{}\n{}", "{}-{} {}"] {
        for tag in [tag(1, 100), old(1, 100)] {
            let record = around.replace("{}", &text(&tag));
            let scan = scan_record(&recognizer(), limits, record.as_bytes());
            assert_eq!(scan.decode_errors(), 0, "{record}");
            assert!(!scan.found.is_empty(), "{record}");
        }
    }
    let run = scan_record(&recognizer(), limits, half.as_bytes());
    assert_eq!(run.decode_errors(), 1, "half of one may be anything");
}

#[test]
fn a_control_message_holds_nothing() {
    let record = gzip(br#"{"messageType":"CONTROL_MESSAGE","logEvents":[{"message":"CWL CONTROL MESSAGE: Checking health of destination Kinesis stream."}]}"#);
    let scan = scan(record);
    assert_eq!((scan.found.len(), scan.decode_errors()), (0, 0));
}

#[test]
fn a_record_of_ten_mebibytes_is_searched_to_its_end() {
    let noise = "an ordinary line of a log, with words and numbers 12345\n".repeat(190_000);
    let scan = scan(noise + &canary(1));
    assert_eq!((scan.found.len(), scan.decode_errors()), (1, 0));
}

#[derive(Clone, Copy, Debug)]
enum Wrap {
    JsonString,
    Base64,
    UrlSafe,
    Gzip,
    Zstd,
    Kpl,
    NoisyLines,
    Zlib,
    Bzip2,
    Xerial,
    Tar,
    AfterText,
}

impl Wrap {
    fn around(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::Zlib => bad::zlib(bytes),
            Self::Bzip2 => bad::bzip2(bytes),
            Self::Xerial => bad::xerial(bytes),
            Self::Tar => bad::tar(bytes),
            Self::AfterText => [b"a line of text\n", &gzip(bytes)[..], b"\nand another one\n"].concat(),
            // Only text has a place in JSON.
            Self::JsonString => match text_of(bytes) {
                Some(text) => serde_json::json!({"level": "info", "message": text}).to_string(),
                None => serde_json::json!({"data": STANDARD.encode(bytes)}).to_string(),
            }
            .into_bytes(),
            Self::Base64 => STANDARD.encode(bytes).into_bytes(),
            Self::UrlSafe => URL_SAFE_NO_PAD.encode(bytes).into_bytes(),
            Self::Gzip => gzip(bytes),
            Self::Zstd => zstd(bytes),
            Self::Kpl => kpl(&[b"{\"noise\":1}", bytes, b"zqtp2"]),
            Self::NoisyLines => match text_of(bytes) {
                Some(text) => format!("noise zqtp1 zqtp2\n{text}\n{{\"n\":\"\\u00e9\"}}\n").into_bytes(),
                None => format!("noise\n{}\nnoise\n", STANDARD.encode(bytes)).into_bytes(),
            },
        }
    }
}

/// What can stand in a line of text.
fn text_of(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok().filter(|text| !text.contains('\0'))
}

fn wrap() -> impl Strategy<Value = Wrap> {
    use Wrap::{
        AfterText, Base64, Bzip2, Gzip, JsonString, Kpl, NoisyLines, Tar, UrlSafe, Xerial, Zlib, Zstd,
    };
    prop::sample::select(vec![
        JsonString, Base64, UrlSafe, Gzip, Zstd, Kpl, NoisyLines, Zlib, Bzip2, Xerial, Tar, AfterText,
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn a_tag_is_found_once_in_any_stack_of_wrappers_and_half_of_one_never(
        wraps in prop::collection::vec(wrap(), 0..=7), size in 100_u32..3_000, upper: bool, cut in 1..TAG_LEN,
        only_the_tag: bool, is_old: bool,
    ) {
        let tag = if is_old { old(3, size) } else { tag(3, size) };
        let cut = cut.min(tag.version().tag_len() - 1);
        let mut line = if only_the_tag { text(&tag) } else { line(&tag) };
        if upper {
            line = line.to_ascii_uppercase();
        }
        let limits = Limits { max_depth: 16, ..Limits::RECORD };
        let wrapped = wraps.iter().fold(line.clone().into_bytes(), |bytes, wrap| wrap.around(&bytes));
        let scan = scan_record(&recognizer(), limits, &wrapped);
        prop_assert_eq!(scan.found.len(), 1);
        prop_assert_eq!(scan.found[0].tag, tag);
        prop_assert_eq!(scan.found[0].integrity, if only_the_tag { Integrity::Unchecked } else { Integrity::Intact });
        prop_assert_eq!(scan.decode_errors(), 0);

        let half = line.as_bytes()[..line.to_ascii_lowercase().find("zqtp").unwrap() + cut].to_vec();
        let wrapped = wraps.iter().fold(half, |bytes, wrap| wrap.around(&bytes));
        prop_assert_eq!(scan_record(&recognizer(), limits, &wrapped).found.len(), 0);
    }

    #[test]
    fn arbitrary_bytes_never_panic(
        magic in prop::sample::select(vec![&b""[..], b"\x1f\x8b\x08\x00", b"\x28\xb5\x2f\xfd", b"\xf3\x89\x9a\xc2", b"H4sI"]),
        bytes in prop::collection::vec(any::<u8>(), 0..2_000),
    ) {
        let _ = scan([magic, &bytes].concat());
    }

}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn texts_full_of_escapes_and_borders_never_panic_and_chunks_change_nothing(
        parts in prop::collection::vec(part(), 0..12), sizes in prop::collection::vec(1_usize..300, 1..8),
        packed in prop::sample::select(vec![<[u8]>::to_vec as fn(&[u8]) -> Vec<u8>, gzip, zstd]), whole: bool,
    ) {
        let bytes = packed(&parts.concat());
        let len = if whole { bytes.len() } else { bytes.len() * 2 / 3 };
        same_in_chunks(&bytes[..len], &sizes)?;
    }
}

fn same_in_chunks(bytes: &[u8], sizes: &[usize]) -> Result<(), TestCaseError> {
    let mut scanner = Scanner::new(recognizer(), Limits::RECORD);
    let mut rest = bytes;
    for size in sizes.iter().cycle() {
        let (chunk, after) = rest.split_at(rest.len().min(*size));
        scanner.push(chunk);
        rest = after;
        if rest.is_empty() {
            break;
        }
    }
    prop_assert_eq!(scanner.finish(), scan(bytes));
    Ok(())
}

fn part() -> impl Strategy<Value = Vec<u8>> {
    let fixed = prop::sample::select(vec![
        "\n",
        "\\n",
        "\\\\n",
        "},{",
        "}",
        "{",
        "\"",
        "\\/",
        "\\u003d",
        "=",
        "zqtp1",
        "zqtp2",
        "zqtp1ZQTP2",
        "zqtp2zqtp",
        " ",
        "\r\n",
        "\\",
    ]);
    prop_oneof![
        10 => fixed.prop_map(|text| text.as_bytes().to_vec()),
        10 => (1_u8..3).prop_map(|n| text(&tag(n, 100)).into_bytes()),
        5 => (1_u8..3).prop_map(|n| text(&old(n, 100)).into_bytes()),
        5 => (1_u8..3, 1..TAG_LEN).prop_map(|(n, cut)| text(&tag(n, 100)).as_bytes()[..cut].to_vec()),
        10 => (1_u8..3).prop_map(|n| canary(n).into_bytes()),
        10 => (1_u8..3).prop_map(|n| STANDARD.encode(gzip(canary(n).as_bytes())).into_bytes()),
        10 => (1_u8..3).prop_map(|n| wrapped(&STANDARD.encode(canary(n)), 76, "\r\n").into_bytes()),
        10 => "[A-Za-z0-9/+_-]{50,90}".prop_map(String::into_bytes),
        // Longer than a window, which takes its time.
        1 => (1_usize..90_000).prop_map(|len| vec![b'x'; len]),
        1 => (1_usize..20_000).prop_map(|len| b"words of text ".repeat(len / 14)),
        10 => prop::collection::vec(any::<u8>(), 0..100),
    ]
}

#[test]
fn a_frame_of_zstd_that_fills_the_last_piece_of_output_ends_there() {
    let canary = canary(1);
    for len in [32 << 10, 64 << 10, 128 << 10, 160 << 10] {
        let mut text = format!("{canary}\n").into_bytes();
        text.resize(len, b'x');
        let scan = scan(zstd(&text));
        assert_eq!((scan.found.len(), scan.decode_errors(), scan.inflated_bytes), (1, 0, len as u64));
    }
}

#[test]
fn an_empty_block_of_lz4_and_empty_padding_of_snappy_are_passed_over() {
    let line = format!("{}\n", canary(1));
    let len = u32::try_from(line.len()).unwrap();
    let stored = (len | 1 << 31).to_le_bytes();
    let lz4 = [b"\x04\x22\x4d\x18\x60\x40\x82\0\0\0\x80", &stored[..], line.as_bytes(), &[0; 4]].concat();
    let chunk = (len + 4).to_le_bytes();
    let snappy = [b"\xff\x06\0\0sNaPpY\xfe\0\0\0\x01", &chunk[..3], &[0; 4], line.as_bytes()].concat();
    for record in [lz4, snappy] {
        let scan = scan(record);
        assert_eq!((scan.found.len(), scan.decode_errors()), (1, 0));
    }
}
