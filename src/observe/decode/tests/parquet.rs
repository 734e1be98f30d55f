//! Parquet pages: values of every length in every codec, and files that are small and ask for much.

use super::bad::{deflate, number, parquet, parquet_of, snappy, told, value};
use super::*;

/// Numbers as DELTA_BINARY_PACKED has them: a first one, and then equal steps without a bit each.
fn equal_numbers(count: usize, first: i64) -> Vec<u8> {
    let mut page = Vec::new();
    // The size of a block, its miniblocks, the numbers in all.
    for number in [count.next_multiple_of(4).max(4), 1, count] {
        encode_varint(number as u64, &mut page);
    }
    page.extend(number(first));
    page.extend(number(0));
    page.push(0);
    page
}

/// Lengths as DELTA_BINARY_PACKED has them: in one miniblock of numbers of `width` bits.
fn packed_lengths(lengths: &[usize], width: usize) -> Vec<u8> {
    let steps: Vec<i64> = lengths.windows(2).map(|pair| pair[1] as i64 - pair[0] as i64).collect();
    let least = *steps.iter().min().unwrap();
    let block = steps.len().next_multiple_of(128);
    let mut page = Vec::new();
    for number in [block, 1, lengths.len()] {
        encode_varint(number as u64, &mut page);
    }
    page.extend(number(i64::try_from(lengths[0]).unwrap()));
    page.extend(number(least));
    page.push(width as u8);
    let mut bits = vec![0; block * width / 8];
    for (at, step) in steps.iter().enumerate() {
        for bit in (0..width).filter(|bit| (step - least) >> bit & 1 == 1) {
            bits[(at * width + bit) / 8] |= 1 << ((at * width + bit) % 8);
        }
    }
    page.extend(bits);
    page
}

fn packed(codec: i64, page: &[u8]) -> Vec<u8> {
    match codec {
        1 => snappy(page),
        2 => gzip(page),
        6 => zstd(page),
        7 => lz4_flex::block::compress(page),
        _ => page.to_vec(),
    }
}

fn file(encoding: i64, codec: i64, page: &[u8]) -> Vec<u8> {
    parquet_of(encoding, codec, i64::try_from(page.len()).unwrap(), &packed(codec, page))
}

fn scan_object(bytes: impl AsRef<[u8]>) -> Scan {
    scan_record(&recognizer(), Limits::OBJECT, bytes.as_ref())
}

const CODECS: [i64; 5] = [0, 1, 2, 6, 7];

#[test]
fn values_of_any_length_are_found_wherever_the_pieces_of_a_page_end() {
    for codec in CODECS {
        for before in [0, 1, 31, 32_760, 65_530, 65_536, 200_000] {
            let padding = "x ".repeat(before / 2) + &"y".repeat(before % 2);
            let long = format!("{padding} {} {padding}", canary(1));
            let page =
                [value(padding.as_bytes()), value(long.as_bytes()), value(canary(2).as_bytes())].concat();
            let scan = scan_object(file(0, codec, &page));
            assert_eq!((scan.found.len(), told(&scan).len()), (2, 0), "{codec}, {before}: {:?}", told(&scan));
            assert!(scan.found.iter().all(|found| found.integrity == Integrity::Intact), "{codec}, {before}");
        }
        let long = gzip((noise_text(200_000) + &canary(1)).as_bytes());
        let scan = scan_object(file(0, codec, &[value(&long), value(canary(2).as_bytes())].concat()));
        assert_eq!((scan.found.len(), told(&scan).len()), (2, 0), "{codec}: {:?}", told(&scan));
    }
}

/// Text that does not compress well.
fn noise_text(len: usize) -> String {
    let mut rng = fastrand::Rng::with_seed(5);
    (0..len / 17).map(|_| format!("{:016x}\n", rng.u64(..))).collect()
}

#[test]
fn a_page_of_several_members_is_read_and_what_follows_on_them_is_damage() {
    let page = [value(canary(1).as_bytes()), value(canary(2).as_bytes())].concat();
    let len = i64::try_from(page.len()).unwrap();
    let (first, second) = page.split_at(700);
    for pack in [gzip as fn(&[u8]) -> Vec<u8>, zstd] {
        let codec = if pack(b"").starts_with(&[0x1f]) { 2 } else { 6 };
        let members = [pack(first), pack(b""), pack(second)].concat();
        let scan = scan_object(parquet(codec, len, &members));
        assert_eq!((scan.found.len(), told(&scan).len()), (2, 0), "{codec} {:?}", told(&scan));
        let hiding = [members, deflate(canary(3).as_bytes())].concat();
        let scan = scan_object(parquet(codec, len, &hiding));
        assert_eq!(told(&scan), ["Parquet, which is damaged"]);
        assert_eq!(scan.found.len(), 2);
        // Less than is stated.
        let scan = scan_object(parquet(codec, len + 1, &[pack(first), pack(second)].concat()));
        assert_eq!(told(&scan), ["Parquet, which is damaged"]);
        assert_eq!(scan.found.len(), 2);
    }
}

#[test]
fn a_value_that_says_to_be_longer_than_its_page_is_damage_and_the_ones_before_it_are_found() {
    for codec in CODECS {
        for len in [1_000, 70_000, u32::MAX] {
            let page = [value(canary(1).as_bytes()), len.to_le_bytes().to_vec(), vec![b'x'; 900]].concat();
            let scan = scan_object(file(0, codec, &page));
            assert_eq!(
                (scan.found.len(), told(&scan)),
                (1, vec!["Parquet, which is damaged".to_owned()]),
                "{codec}, {len}"
            );
        }
    }
}

#[test]
fn values_behind_their_lengths_and_values_that_begin_alike_are_found() {
    let one = canary(1);
    let len = i64::try_from(one.len()).unwrap();
    for codec in CODECS {
        let of_lengths = [equal_numbers(2, len), one.clone().into_bytes(), canary(2).into_bytes()].concat();
        let scan = scan_object(file(6, codec, &of_lengths));
        assert_eq!((scan.found.len(), told(&scan).len()), (2, 0), "{codec} {:?}", told(&scan));
        let alike = [equal_numbers(3, 0), equal_numbers(3, len), one.repeat(3).into_bytes()].concat();
        let scan = scan_object(file(7, codec, &alike));
        assert_eq!((scan.found.len(), told(&scan).len()), (1, 0), "{codec} {:?}", told(&scan));
    }
}

#[test]
fn values_behind_thousands_of_short_ones_are_found_whatever_the_width_of_their_lengths() {
    const COUNT: usize = 2_600;
    for (codec, width) in [(0, 12), (1, 13), (2, 17), (6, 33), (7, 63)] {
        let canaries = [1_022, 1_023, 1_024, 1_025, COUNT - 1];
        let values: Vec<String> = (0..COUNT)
            .map(|at| match canaries.iter().position(|of| *of == at) {
                Some(number) => canary(number as u8),
                None => "z".repeat(at % 20),
            })
            .collect();
        let lengths: Vec<usize> = values.iter().map(String::len).collect();
        let page = [packed_lengths(&lengths, width), values.concat().into_bytes()].concat();
        let scan = scan_object(file(6, codec, &page));
        assert_eq!((scan.found.len(), told(&scan).len()), (5, 0), "{codec}, {width}: {:?}", told(&scan));
        let short = &page[..page.len() - 1];
        let scan = scan_object(file(6, codec, short));
        assert_eq!(
            (scan.found.len(), told(&scan)),
            (4, vec!["Parquet, which is damaged".to_owned()]),
            "{codec}, {width}"
        );
    }
}

#[test]
fn numbers_without_a_bit_each_cost_no_more_than_their_bytes_allow() {
    let page = equal_numbers(1 << 20, 0);
    let scan = scan_object(file(6, 0, &page));
    assert_eq!(told(&scan), Vec::<String>::new());
    let scan = scan_object(file(6, 0, &equal_numbers((1 << 20) + 1, 0)));
    assert_eq!(told(&scan), ["Parquet, which exceeds one of the probe's limits"]);
    let scan =
        scan_record(&recognizer(), Limits { allowance: 1_000_000, ..Limits::RECORD }, &file(6, 0, &page));
    assert!(scan.exhausted);
    let negative = [equal_numbers(2, -5), vec![0; 64]].concat();
    assert_eq!(told(&scan_object(file(6, 0, &negative))), ["Parquet, which is damaged"]);
}

#[test]
fn a_footer_of_millions_of_columns_or_chunks_is_over_the_limit() {
    let field = |id_and_type: u8, len: usize| {
        let mut out = vec![id_and_type, 0xfc];
        encode_varint(len as u64, &mut out);
        out
    };
    // A schema of empty elements; and one of a single string with empty chunks of its column in many groups.
    let root = [vec![0x55], number(5_000_000), vec![0]].concat();
    let columns = [field(0x29, 5_000_001), root, vec![0; 5_000_001]].concat();
    let schema = [field(0x29, 2), vec![0x55, 2, 0, 0x15, 12, 0]].concat();
    let group = [field(0x19, 1), vec![0, 0]].concat();
    let chunks = [schema, field(0x29, 300_000), group.repeat(300_000), vec![0]].concat();
    let nested = [field(0x29, 1_000_000), [0x55, 2, 0].repeat(1_000_000), vec![0]].concat();
    for (footer, expected) in [
        (columns, "Parquet, which exceeds one of the probe's limits"),
        (chunks, "Parquet, which exceeds one of the probe's limits"),
        (nested, "Parquet, which is damaged"),
    ] {
        let len = u32::try_from(footer.len()).unwrap().to_le_bytes();
        let scan = scan_object([b"PAR1", &footer[..], &len, b"PAR1"].concat());
        assert_eq!(told(&scan), [expected]);
    }
}

/// A footer of these columns and column chunks, each as its type and its fields.
fn footer(columns: &[u8], chunks: &[Vec<u8>]) -> Vec<u8> {
    let list = |id: u8, items: Vec<Vec<u8>>| {
        [vec![id << 4 | 9, u8::try_from(items.len()).unwrap() << 4 | 12], items.concat()].concat()
    };
    let mut schema = vec![[vec![0x55], number(i64::try_from(columns.len()).unwrap()), vec![0]].concat()];
    schema.extend(columns.iter().map(|kind| [vec![0x15], number(i64::from(*kind)), vec![0]].concat()));
    let group = [list(1, chunks.to_vec()), vec![0]].concat();
    [list(2, schema), list(2, vec![group]), vec![0]].concat()
}

/// A column chunk of this type and codec whose pages stand here.
fn chunk(kind: i64, codec: i64, values: i64, start: usize, len: usize) -> Vec<u8> {
    let long = |value: usize| number(i64::try_from(value).unwrap());
    let meta = [
        [vec![0x15], number(kind), vec![0x35], number(codec)].concat(),
        [vec![0x16], number(values), vec![0x26], long(len), vec![0x26], long(start), vec![0]].concat(),
    ]
    .concat();
    [vec![0x3c], meta, vec![0]].concat()
}

fn with_footer(pages: &[u8], footer: &[u8]) -> Vec<u8> {
    let len = u32::try_from(footer.len()).unwrap().to_le_bytes();
    [b"PAR1", pages, footer, &len, b"PAR1"].concat()
}

/// The header of a data page of plain values, and the page.
fn page(plain: i64, values: &[u8]) -> Vec<u8> {
    let short = |value: i64| [vec![0x15], number(value)].concat();
    let data = [short(2), short(0), short(3), short(3), vec![0]].concat();
    let len = i64::try_from(values.len()).unwrap();
    [short(0), short(plain), short(len), vec![0x2c], data, vec![0], values.to_vec()].concat()
}

const NUMBERS: u8 = 1;
const STRINGS: u8 = 6;

#[test]
fn what_belongs_to_no_column_of_strings_is_searched_as_it_is() {
    let lines = format!("a line\n{}\nanother line\n", canary(1)).into_bytes();
    let len = lines.len();
    let no_column = with_footer(&lines, &[0]);
    let no_chunk = with_footer(&lines, &footer(&[STRINGS], &[]));
    let of_numbers = with_footer(&lines, &footer(&[NUMBERS], &[chunk(1, 0, 9, 4, len)]));
    let empty = with_footer(&lines, &footer(&[STRINGS], &[chunk(6, 0, 0, 4, 0)]));
    for (name, file) in
        [("no column", no_column), ("no chunk", no_chunk), ("numbers", of_numbers), ("an empty chunk", empty)]
    {
        let scan = scan_object(file);
        assert_eq!(scan.found.len(), 1, "{name}: {:?}", told(&scan));
    }
}

#[test]
fn a_chunk_that_contradicts_what_stands_around_it_is_read_and_told() {
    let values = [value(canary(1).as_bytes()), value(canary(2).as_bytes())].concat();
    let good = page(i64::try_from(values.len()).unwrap(), &values);
    let len = good.len();
    let scan = scan_object(with_footer(&good, &footer(&[STRINGS], &[chunk(6, 0, 2, 4, len)])));
    assert_eq!((scan.found.len(), told(&scan).len()), (2, 0), "{:?}", told(&scan));
    // In another order than the schema has its columns.
    let swapped = footer(&[NUMBERS, STRINGS], &[chunk(6, 0, 2, 4, len), chunk(1, 0, 0, 4, 0)]);
    let scan = scan_object(with_footer(&good, &swapped));
    assert_eq!((scan.found.len(), told(&scan)), (2, vec!["Parquet, which is damaged".to_owned()]));
    // More values than its pages have.
    let scan = scan_object(with_footer(&good, &footer(&[STRINGS], &[chunk(6, 0, 3, 4, len)])));
    assert_eq!((scan.found.len(), told(&scan)), (2, vec!["Parquet, which ends too early".to_owned()]));
    // In another file, by its own account.
    let mut elsewhere = chunk(6, 0, 2, 4, len);
    elsewhere.splice(..1, [0x18, 1, b'x', 0x2c]);
    let scan = scan_object(with_footer(&good, &footer(&[STRINGS], &[elsewhere])));
    assert_eq!((scan.found.len(), told(&scan).len()), (2, 0), "{:?}", told(&scan));
    // A stored page that states no bytes, and has some.
    let empty = page(0, &values);
    let scan = scan_object(with_footer(&empty, &footer(&[STRINGS], &[chunk(6, 0, 2, 4, empty.len())])));
    assert_eq!(told(&scan), ["Parquet, which is damaged"]);
}

#[test]
fn bytes_behind_the_values_of_a_page_are_damage() {
    for encoding in [6, 7] {
        let none =
            [equal_numbers(0, 0), if encoding == 7 { equal_numbers(0, 0) } else { Vec::new() }].concat();
        let scan = scan_object(file(encoding, 0, &[&none, canary(1).as_bytes()].concat()));
        assert_eq!(told(&scan), ["Parquet, which is damaged"], "{encoding}");
    }
}

#[test]
fn a_canary_in_the_statistics_of_a_file_says_nothing_of_those_in_its_pages() {
    let pages = super::bad::noise(2_000);
    let statistics = canary(1);
    let footer = [footer(&[STRINGS], &[chunk(6, 4, 2, 4, pages.len())]), statistics.into_bytes()].concat();
    let scan = scan_object(with_footer(&pages, &footer));
    let [found] = &scan.found[..] else { panic!("{:?}", scan.found) };
    assert!(!found.found_in.decoded && !found.found_in.verbatim, "{found:?}");
    assert_eq!(scan.unreadable.len(), 1, "{:?}", told(&scan));
}

#[test]
fn a_file_without_rows_is_read() {
    // As pyarrow writes it: an empty dictionary page, and a data page that is said to stand at 0.
    let short = |value: i64| [vec![0x15], number(value)].concat();
    let dictionary = [short(2), short(0), short(0), vec![0x4c], short(0), short(0), vec![0, 0]].concat();
    let meta = [
        [short(6), vec![0x35], number(1), vec![0x16], number(0)].concat(),
        [vec![0x26], number(i64::try_from(dictionary.len()).unwrap())].concat(),
        [vec![0x26], number(0), vec![0x26], number(4), vec![0]].concat(),
    ];
    let chunk = [vec![0x3c], meta.concat(), vec![0]].concat();
    let no_rows = with_footer(&dictionary, &footer(&[STRINGS], &[chunk]));
    for file in [no_rows, with_footer(&[], &footer(&[STRINGS], &[])), with_footer(&[], &[0])] {
        assert_eq!(told(&scan_object(file)), Vec::<String>::new());
    }
}

#[test]
fn a_file_that_only_describes_others_is_no_damage() {
    let mut elsewhere = chunk(6, 0, 2, 4, 40);
    elsewhere.splice(..1, [0x18, 1, b'x', 0x2c]);
    let columns = vec![elsewhere; 8];
    assert_eq!(told(&scan_object(with_footer(&[], &footer(&[STRINGS; 8], &columns)))), Vec::<String>::new());
}

#[test]
fn an_index_of_values_that_were_cut_is_no_damage() {
    let packed = STANDARD.encode(gzip(canary(2).as_bytes()));
    let values = [value(canary(1).as_bytes()), value(packed.as_bytes())].concat();
    let good = page(i64::try_from(values.len()).unwrap(), &values);
    let index =
        [b"\x19\x28@", &packed.as_bytes()[..64], b"\x19\x28@", &packed.as_bytes()[..64], &[0]].concat();
    let whole =
        with_footer(&[&good[..], &index].concat(), &footer(&[STRINGS], &[chunk(6, 0, 2, 4, good.len())]));
    let scan = scan_object(whole);
    assert_eq!((scan.found.len(), told(&scan).len()), (2, 0), "{:?}", told(&scan));
}

#[test]
fn counts_of_values_do_not_overflow() {
    let short = |value: i64| [vec![0x15], number(value)].concat();
    let long = [vec![0x16], number(i64::MAX)].concat();
    let numbers = [short(0), short(0), short(0), vec![0x2c], long, short(8), vec![0, 0]].concat().repeat(3);
    let scan = scan_object(with_footer(&numbers, &footer(&[STRINGS], &[chunk(6, 0, 2, 4, numbers.len())])));
    assert_eq!(told(&scan), Vec::<String>::new());
}
