//! Hostile Parquet files.

use flate2::read::MultiGzDecoder;
use prost::encoding::encode_varint;

use super::{Hostile, MIB, drain, gzip, number, unzstd, zstd};

/// `CompressionCodec` of parquet.thrift.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Codec {
    None = 0,
    Gzip = 2,
    Zstd = 6,
}

/// `Encoding` of parquet.thrift.
#[derive(Clone, Copy)]
enum Encoding {
    Plain = 0,
    DeltaLength = 6,
    DeltaByteArray = 7,
}

/// Files whose pages inflate to much, or are many, or hold many values.
pub(super) fn all(scale: usize) -> Vec<Hostile> {
    let page_len = 32 * MIB / scale.min(32);
    let zeros = vec![0; page_len];
    let value = [&u32::try_from(page_len - 4).expect("it is short").to_le_bytes()[..], &zeros[4..]].concat();
    let long_value = [&equal_lengths(1, page_len / 2), &zeros[..page_len / 2]].concat();
    let short_values = [equal_lengths(100_000, 4), vec![0; 400_000]].concat();
    let tiny = [&[32, 0, 0, 0][..], &[b' '; 32]].concat().repeat(page_len / 36);
    let nothing = equal_lengths(1 << 20, 0);
    let repeated = [equal_lengths(1 << 18, 0), equal_lengths(1 << 18, 0)].concat();
    let wide = wide_lengths((1 << 20) / scale);
    let small = 10_000 / scale;
    vec![
        file("bomb of zeros", Encoding::Plain, Codec::Gzip, &value, 4),
        file("bomb of zeros in zstd", Encoding::Plain, Codec::Zstd, &value, 4),
        file("bomb of empty values", Encoding::Plain, Codec::Gzip, &zeros, 4),
        file("bomb of values of 32 bytes", Encoding::Plain, Codec::Gzip, &tiny, 4),
        file("bomb of a value behind its length", Encoding::DeltaLength, Codec::Gzip, &long_value, 8),
        file("values behind their lengths", Encoding::DeltaLength, Codec::Gzip, &short_values, 40),
        file("bombs of wide lengths", Encoding::DeltaLength, Codec::Zstd, &wide, 16),
        file("a million lengths without a bit a page", Encoding::DeltaLength, Codec::None, &nothing, small),
        file("values without a bit a page", Encoding::DeltaByteArray, Codec::None, &repeated, small),
        file("small pages of zstd", Encoding::Plain, Codec::Zstd, &[0; 40], small),
        file("small pages of gzip", Encoding::Plain, Codec::Gzip, &[0; 40], small),
        Hostile {
            name: "Parquet of empty columns".to_owned(),
            bytes: columns(2 * MIB / scale),
            inflate: None,
        },
        same_page(10_000 / scale),
    ]
}

/// A file of one column of strings in equal pages.
fn file(name: &str, encoding: Encoding, codec: Codec, page: &[u8], pages: usize) -> Hostile {
    let len = page.len();
    let packed = match codec {
        Codec::None => page.to_vec(),
        Codec::Gzip => gzip(page),
        Codec::Zstd => zstd(page),
    };
    let data = [
        field(0x15, number(1)),
        field(0x15, number(encoding as usize)),
        field(0x15, number(3)),
        field(0x15, number(3)),
    ];
    let header = [
        field(0x15, number(0)),
        field(0x15, number(len)),
        field(0x15, number(packed.len())),
        field(0x2c, [data.concat(), vec![0]].concat()),
        vec![0],
    ]
    .concat();
    let mut bytes = b"PAR1".to_vec();
    for _ in 0..pages {
        bytes.extend(&header);
        bytes.extend(&packed);
    }
    let of_pages = bytes.len() - 4;
    let root = [vec![0x48], string("root"), field(0x15, number(1)), vec![0]].concat();
    let leaf =
        [field(0x15, number(6)), field(0x25, number(0)), field(0x18, string("line")), vec![0]].concat();
    let meta = [
        field(0x15, number(6)),
        vec![0x19, 0x15],
        number(0),
        vec![0x19, 0x18],
        string("line"),
        field(0x15, number(codec as usize)),
        field(0x16, number(pages)),
        field(0x16, number(pages * len)),
        field(0x16, number(of_pages)),
        field(0x26, number(4)),
        vec![0],
    ]
    .concat();
    let column = [field(0x26, number(4)), field(0x1c, meta), vec![0]].concat();
    let group =
        [vec![0x19, 0x1c], column, field(0x16, number(of_pages)), field(0x16, number(pages)), vec![0]]
            .concat();
    let footer = [
        field(0x15, number(1)),
        vec![0x19, 0x2c],
        root,
        leaf,
        field(0x16, number(pages)),
        vec![0x19, 0x1c],
        group,
        vec![0],
    ]
    .concat();
    end(&mut bytes, &footer);
    let inflate = move |_: &[u8], limit: u64| {
        let mut total = 0;
        for _ in 0..pages {
            let left = limit.saturating_sub(total);
            total += match codec {
                Codec::Zstd => unzstd(&packed, left),
                _ => drain(MultiGzDecoder::new(&packed[..]), left),
            };
        }
        total
    };
    Hostile {
        name: format!("{name}, Parquet"),
        bytes,
        inflate: if codec == Codec::None { None } else { Some(Box::new(inflate)) },
    }
}

/// A page of Snappy that ends too early, and so many column chunks that are all this page.
fn same_page(chunks: usize) -> Hostile {
    let copies = MIB - 1;
    let mut page = Vec::new();
    encode_varint(copies as u64 * 64 + 1, &mut page);
    page.extend([0, b' ']);
    page.extend([0xfe, 1, 0].repeat(copies - 1));
    let data =
        [field(0x15, number(1)), field(0x15, number(0)), field(0x15, number(3)), field(0x15, number(3))];
    let header = [
        field(0x15, number(0)),
        field(0x15, number(copies * 64 + 1)),
        field(0x15, number(page.len())),
        field(0x2c, [data.concat(), vec![0]].concat()),
        vec![0],
    ];
    let mut bytes = [&b"PAR1"[..], &header.concat(), &page].concat();
    let len = bytes.len() - 4;
    let meta =
        [field(0x15, number(6)), field(0x35, number(1)), field(0x36, number(len)), field(0x26, number(4))];
    let chunk = [vec![0x3c], meta.concat(), vec![0, 0]].concat();
    let schema =
        [vec![0x29, 0x2c], field(0x55, number(1)), vec![0], field(0x15, number(6)), vec![0]].concat();
    let group = [vec![0x19, 0x1c], chunk, vec![0]].concat();
    let mut groups = vec![0x29, 0xfc];
    encode_varint(chunks as u64, &mut groups);
    end(&mut bytes, &[schema, groups, group.repeat(chunks), vec![0]].concat());
    let inflate = move |_: &[u8], limit| {
        let mut out = vec![0; snap::raw::decompress_len(&page).expect("it begins with its length")];
        let mut total = 0;
        while total + out.len() as u64 <= limit {
            // It fails at the end.
            let _ = std::hint::black_box(snap::raw::Decoder::new().decompress(&page, &mut out));
            total += out.len() as u64;
        }
        total
    };
    Hostile { name: "Parquet of one bad page, often".to_owned(), bytes, inflate: Some(Box::new(inflate)) }
}

/// A footer of so many columns that have neither a name nor a type.
fn columns(count: usize) -> Vec<u8> {
    let mut footer = vec![0x29, 0xfc];
    encode_varint(count as u64 + 1, &mut footer);
    footer.extend([field(0x55, number(count)), vec![0; count + 2]].concat());
    let mut bytes = b"PAR1".to_vec();
    end(&mut bytes, &footer);
    bytes
}

fn end(file: &mut Vec<u8>, footer: &[u8]) {
    file.extend(footer);
    file.extend(u32::try_from(footer.len()).expect("it is short").to_le_bytes());
    file.extend(b"PAR1");
}

fn field(id_and_type: u8, value: Vec<u8>) -> Vec<u8> {
    [vec![id_and_type], value].concat()
}

fn string(text: &str) -> Vec<u8> {
    [vec![u8::try_from(text.len()).expect("it is short")], text.as_bytes().to_vec()].concat()
}

/// The header of numbers in DELTA_BINARY_PACKED: one block of one miniblock, how many they are, and the first.
fn numbers(block: usize, count: usize, first: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for number in [block, 1, count] {
        encode_varint(number as u64, &mut out);
    }
    out.extend(number(first));
    out
}

/// Equal lengths, which take no bit each.
fn equal_lengths(count: usize, len: usize) -> Vec<u8> {
    [numbers(1 << 20, count, len), vec![0, 0]].concat()
}

/// Zeros of 64 bits each.
fn wide_lengths(count: usize) -> Vec<u8> {
    [numbers(count, count, 0), vec![0, 64], vec![0; 8 * count]].concat()
}
