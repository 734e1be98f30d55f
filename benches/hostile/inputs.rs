//! Hostile records and objects, and how to inflate each with its codec alone.
//!
//! Whoever can write a log line can write these. A genuine tag is no secret: it stands in the tenant's own
//! log group.

#[path = "parquet.rs"]
mod parquet;
#[path = "steps.rs"]
mod steps;

use std::io::{Read, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use md5::{Digest, Md5};
use prost::encoding::encode_varint;
use traceprobe::domain::canary::Template;
use traceprobe::domain::tag::{InstanceCode, Keyring, Purpose, Tag, TagKey, TenantCode, TraceId};
use traceprobe::domain::time::Timestamp;

const MIB: usize = 1 << 20;

/// A hostile record or object.
pub struct Hostile {
    /// What it is, for the table.
    pub name: String,
    /// The bytes as they arrive.
    pub bytes: Vec<u8>,
    /// Inflates them and does nothing else; `None` if nothing in them is compressed. It reads at most as many
    /// bytes as it is told, and returns how many it read.
    pub inflate: Option<Inflate>,
}

/// Inflates a record up to a limit of bytes.
pub type Inflate = Box<dyn Fn(&[u8], u64) -> u64>;

/// The keys that sign the genuine tags.
pub fn keys() -> Keyring {
    Keyring::new(TagKey::new("0123456789abcdef").expect("the key is long enough"), Vec::new())
}

/// Whose canaries the genuine ones are.
pub fn tenant() -> TenantCode {
    TenantCode::of("acme")
}

/// A genuine tag of a canary of `size` bytes.
pub fn tag(keys: &Keyring, nth: u8, size: u32) -> (Tag, String) {
    let trace = TraceId::new(Timestamp::from_millis(1_795_321_781_000 + i64::from(nth)), [nth; 10]);
    let tag = Tag::new(trace, tenant(), InstanceCode::of("probe-1"), size, Purpose::Probe);
    (tag, keys.sign(&tag).as_str().to_owned())
}

/// All inputs. `scale` is 1 for the sizes that the table is about; larger numbers make them so many times
/// smaller.
pub fn all(scale: usize) -> Vec<Hostile> {
    let mut inputs = plain(scale);
    inputs.extend(repeated(scale));
    inputs.extend(nested(scale));
    inputs.extend(bombs(scale));
    inputs.extend(parquet::all(scale));
    inputs.extend(steps::all(scale));
    inputs
}

fn uncompressed(name: &str, bytes: Vec<u8>) -> Hostile {
    Hostile { name: format!("{name}, plain"), bytes, inflate: None }
}

fn gzipped(name: &str, text: &[u8]) -> Hostile {
    let inflate = |bytes: &[u8], limit| drain(MultiGzDecoder::new(bytes), limit);
    Hostile { name: format!("{name}, gzip"), bytes: gzip(text), inflate: Some(Box::new(inflate)) }
}

fn zstandard(name: &str, text: &[u8]) -> Hostile {
    Hostile { name: format!("{name}, zstd"), bytes: zstd(text), inflate: Some(Box::new(unzstd)) }
}

/// Records that are not compressed, of about 1 MB, as one CloudWatch event can be.
fn plain(scale: usize) -> Vec<Hostile> {
    let keys = keys();
    let len = MIB / scale;
    let upto = |unit: &[u8]| unit.repeat(len / unit.len());
    let mut rng = fastrand::Rng::with_seed(5);
    let (large, text) = tag(&keys, 1, 10_240);
    let canary = Template::default().render(&large, &keys.sign(&large));
    let noise: Vec<u8> = (0..3 * MIB / scale).map(|_| rng.u8(..)).collect();
    let mut forged = String::new();
    while forged.len() < len {
        forged += &format!("zqtp2{:032x}{}\n", rng.u128(..), "0".repeat(29));
    }
    let mut stored = GzEncoder::new(Vec::new(), Compression::none());
    let stored = stored.write_all(forged.as_bytes()).and_then(|()| stored.finish());
    let nested = (0..5).fold(noise.clone(), |inner, _| STANDARD.encode(inner).into_bytes());
    vec![
        uncompressed("a genuine tag on one line", upto(text.as_bytes())),
        uncompressed("a genuine tag on many lines", upto(format!("{text}\n").as_bytes())),
        uncompressed("a genuine canary cut in half", upto(&canary.as_bytes()[..canary.len() / 2])),
        uncompressed("a genuine canary of 10 KB", upto(format!("{canary}\n").as_bytes())),
        uncompressed("forged tags", forged.into_bytes()),
        uncompressed("forged tags stored in gzip", stored.expect("a Vec takes every write")),
        uncompressed("markers", upto(b"zqtp")),
        uncompressed("words that are nearly base64", upto(&[&[b'A'; 64][..], b" "].concat())),
        uncompressed("one run of base64", STANDARD.encode(&noise).into_bytes()),
        uncompressed("five layers of base64", nested),
        uncompressed("random bytes", noise),
        uncompressed("starts of zlib", upto(b"\n\x78\x9c")),
        uncompressed("starts of gzip", upto(b"\x1f\x8b\x08\x00")),
        uncompressed("starts of zstd", upto(b"\x28\xb5\x2f\xfd")),
        uncompressed("starts of LZ4", upto(b"\x04\x22\x4d\x18\x60\x70\x73")),
        uncompressed("starts of bzip2", upto(b"BZh91AY&SY")),
        uncompressed("backslashes", upto(b"\\")),
        uncompressed("braces", upto(b"}{")),
        uncompressed(
            "KPL of 100,000 starts of zstd",
            kpl(100_000 / scale, b"\x28\xb5\x2f\xfd\x04\x00\x01\0\0"),
        ),
        uncompressed("KPL of 100,000 empty gzips", kpl(100_000 / scale, &gzip(b""))),
        uncompressed("KPL of 100,000 short texts", kpl(100_000 / scale, b"hello")),
        uncompressed("KPL of 15,000 genuine tags", kpl(15_000 / scale, text.as_bytes())),
    ]
}

/// Small records that inflate to much work.
fn repeated(scale: usize) -> Vec<Hostile> {
    let keys = keys();
    let mut inputs = Vec::new();
    for size in [100, 10_240, 1_000_000] {
        let (_, text) = tag(&keys, 1, size);
        for count in [1_000, 50_000, 2_200_000] {
            let name = format!("{count} x a genuine tag of {size} bytes");
            inputs.push(gzipped(&name, &text.as_bytes().repeat(count / scale)));
        }
    }
    let (large, text) = tag(&keys, 1, 10_240);
    let canary = Template::default().render(&large, &keys.sign(&large));
    let lines = format!("{text}\n").repeat(2_200_000 / scale);
    let many: String = (0..250).map(|nth| tag(&keys, nth, 10_240).1 + "\n").collect();
    let halves: String = (0..200)
        .map(|nth| {
            let (tag, _) = tag(&keys, nth, 10_240);
            Template::default().render(&tag, &keys.sign(&tag))[..5_000].to_owned() + "\n"
        })
        .collect();
    let mut rng = fastrand::Rng::with_seed(6);
    let forged: String =
        (0..100_000 / scale).map(|_| format!("zqtp2{:032x}{}\n", rng.u128(..), "0".repeat(29))).collect();
    inputs.extend([
        gzipped("2,200,000 lines of a genuine tag", lines.as_bytes()),
        zstandard("2,200,000 lines of a genuine tag", lines.as_bytes()),
        gzipped("250 genuine tags in turn", many.repeat(8_000 / scale).as_bytes()),
        zstandard("200 genuine canaries cut in half, in turn", halves.repeat(100 / scale).as_bytes()),
        gzipped("a genuine canary of 10 KB", format!("{canary}\n").repeat(12_000 / scale).as_bytes()),
        zstandard("100,000 forged tags, 20 times", forged.repeat(20).as_bytes()),
        gzipped("markers", &b"zqtp".repeat(30 * MIB / scale)),
        gzipped("words that are nearly base64", &[&[b'A'; 64][..], b" "].concat().repeat(2 * MIB / scale)),
        gzipped("hashes in lines", &b"image=sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08 level=INFO took=12 ms\n".repeat(MIB / scale)),
        gzipped("one run of base64", &vec![b'A'; 120 * MIB / scale]),
        gzipped("starts of zlib", &b"\n\x78\x9c".repeat(40 * MIB / scale)),
        gzipped("starts of zstd", &b"\x28\xb5\x2f\xfd".repeat(30 * MIB / scale)),
        gzipped("backslashes", &vec![b'\\'; 120 * MIB / scale]),
        gzipped("braces", &b"}{".repeat(60 * MIB / scale)),
        gzipped("a tag and braces", &[text.as_bytes(), &b"}{".repeat(60 * MIB / scale)].concat()),
        gzipped("line breaks", &vec![b'\n'; 120 * MIB / scale]),
    ]);
    inputs
}

/// Empty members and members within members.
fn nested(scale: usize) -> Vec<Hostile> {
    let empty = gzip(b"");
    let empties = empty.repeat(700_000 / scale / empty.len());
    let deep = (0..7).fold(vec![b' '; 64 * MIB / scale], |inner, _| gzip(&inner));
    let inflate_all = |layers: usize| {
        move |bytes: &[u8], limit: u64| {
            let mut inner = bytes.to_vec();
            let mut total = 0;
            for _ in 0..layers {
                let mut out = Vec::new();
                let read = MultiGzDecoder::new(&inner[..]).take(limit - total).read_to_end(&mut out);
                total += read.unwrap_or(out.len()) as u64;
                inner = out;
            }
            total
        }
    };
    vec![
        Hostile {
            name: "empty gzips, 0.7 MB".to_owned(),
            bytes: empties.clone(),
            inflate: Some(Box::new(inflate_all(1))),
        },
        Hostile {
            name: "gzip of 2,000,000 empty gzips".to_owned(),
            bytes: gzip(&empty.repeat(2_000_000 / scale)),
            inflate: Some(Box::new(inflate_all(2))),
        },
        Hostile {
            name: "seven gzips, one inside the other".to_owned(),
            bytes: deep,
            inflate: Some(Box::new(inflate_all(7))),
        },
    ]
}

/// A little that inflates to very much, in every codec.
fn bombs(scale: usize) -> Vec<Hostile> {
    let zeros = vec![0; 256 * MIB / scale];
    let bomb = |name: &str, bytes: Vec<u8>, inflate: Inflate| Hostile {
        name: format!("bomb of zeros, {name}"),
        bytes,
        inflate: Some(inflate),
    };
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
    let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::best());
    let mut snappy = snap::write::FrameEncoder::new(Vec::new());
    for sink in [&mut zlib as &mut dyn Write, &mut bzip2, &mut snappy] {
        sink.write_all(&zeros).expect("a Vec takes every write");
    }
    let block = lz4_flex::block::compress(&zeros[..4 * MIB]);
    let mut lz4 = vec![0x04, 0x22, 0x4d, 0x18, 0x60, 0x70, 0x73];
    for _ in 0..zeros.len() / (4 * MIB) {
        lz4.extend(u32::try_from(block.len()).expect("it is short").to_le_bytes());
        lz4.extend(&block);
    }
    lz4.extend([0; 4]);
    let packed = block.clone();
    let unlz4 = move |_: &[u8], limit: u64| {
        let mut out = vec![0; 4 * MIB];
        let mut total = 0;
        while total < limit.min((256 * MIB / scale) as u64) {
            total += lz4_flex::block::decompress_into(&packed, &mut out).expect("it was just packed") as u64;
        }
        total
    };
    let mut raw = DeflateEncoder::new(Vec::new(), Compression::default());
    raw.write_all(&zeros).expect("a Vec takes every write");
    let raw = raw.finish().expect("a Vec takes every write");
    let inside = raw.clone();
    let undeflate = move |_: &[u8], limit: u64| drain(DeflateDecoder::new(&inside[..]), limit);
    vec![
        bomb("gzip", gzip(&zeros), Box::new(|bytes, limit| drain(MultiGzDecoder::new(bytes), limit))),
        bomb(
            "zlib",
            zlib.finish().expect("a Vec takes every write"),
            Box::new(|bytes, limit| drain(ZlibDecoder::new(bytes), limit)),
        ),
        bomb("zstd", zstd(&zeros), Box::new(unzstd)),
        bomb(
            "bzip2",
            bzip2.finish().expect("a Vec takes every write"),
            Box::new(|bytes, limit| drain(bzip2::read::BzDecoder::new(bytes), limit)),
        ),
        bomb("LZ4", lz4, Box::new(unlz4)),
        bomb(
            "Snappy",
            snappy.into_inner().unwrap_or_else(|_| panic!("a Vec takes every write")),
            Box::new(|bytes, limit| drain(snap::read::FrameDecoder::new(bytes), limit)),
        ),
        bomb("ZIP", zip(&raw, zeros.len()), Box::new(undeflate.clone())),
        bomb("Avro", avro(&raw), Box::new(undeflate)),
    ]
}

/// Reads to the end or to the limit, and returns how many bytes came.
fn drain(mut from: impl Read, limit: u64) -> u64 {
    let mut buffer = vec![0; 64 << 10];
    let mut total = 0;
    while total < limit {
        match from.read(&mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(read) => total += std::hint::black_box(read) as u64,
        }
    }
    total
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("a Vec takes every write")
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(bytes, 3).expect("there is memory")
}

fn unzstd(bytes: &[u8], limit: u64) -> u64 {
    zstd::stream::read::Decoder::new(bytes).map_or(0, |decoder| drain(decoder, limit))
}

/// An aggregate of many equal records.
fn kpl(count: usize, data: &[u8]) -> Vec<u8> {
    let mut message = Vec::new();
    let mut record = vec![0x08, 0, 0x1a];
    encode_varint(data.len() as u64, &mut record);
    record.extend(data);
    for _ in 0..count {
        message.push(0x1a);
        encode_varint(record.len() as u64, &mut message);
        message.extend(&record);
    }
    let sum = Md5::digest(&message);
    [&[0xf3, 0x89, 0x9a, 0xc2][..], &message, sum.as_slice()].concat()
}

/// An archive of one deflated entry.
fn zip(raw: &[u8], len: usize) -> Vec<u8> {
    let size = |len: usize| u32::try_from(len).expect("it is short").to_le_bytes();
    let mut header = b"PK\x03\x04\x14\0\0\0\x08\0\0\0\0\0\0\0\0\0".to_vec();
    header.extend(size(raw.len()));
    header.extend(size(len));
    header.extend(b"\x01\0\0\0a");
    [&header, raw, b"PK\x05\x06", &[0; 18]].concat()
}

/// A number in zigzag and variable length, as Avro and Thrift write it.
fn number(value: usize) -> Vec<u8> {
    let mut out = Vec::new();
    encode_varint(value as u64 * 2, &mut out);
    out
}

/// A file of one deflated block.
fn avro(raw: &[u8]) -> Vec<u8> {
    let text = |text: &str| [number(text.len()), text.as_bytes().to_vec()].concat();
    let header = [b"Obj\x01".to_vec(), number(1), text("avro.codec"), text("deflate"), number(0)].concat();
    let sync = [7; 16];
    [header, sync.to_vec(), number(1), number(raw.len()), raw.to_vec(), sync.to_vec()].concat()
}
