//! Records that make many steps of few bytes, or the same work again and again.

use flate2::read::MultiGzDecoder;
use prost::encoding::encode_varint;

use super::{Hostile, MIB, drain, gzip};

/// How an LZ4 frame begins: its blocks are linked.
const LZ4_LINKED: &[u8] = &[0x04, 0x22, 0x4d, 0x18, 0x40, 0x40, 0xc0];

/// All of them; those that compress come in gzip.
pub(super) fn all(scale: usize) -> Vec<Hostile> {
    let zstd = [&[0x28, 0xb5, 0x2f, 0xfd, 0, 0x58][..], &vec![0; 64 * MIB / scale]].concat();
    let empty_blocks = [LZ4_LINKED, &[0, 0, 0, 0x80].repeat(16 * MIB / scale)].concat();
    let padding = [&b"\xff\x06\0\0sNaPpY"[..], &[0xfe, 0, 0, 0].repeat(16 * MIB / scale)].concat();
    let bytes = [LZ4_LINKED, &[1, 0, 0, 0x80, b'a'].repeat(4 * MIB / scale)].concat();
    let descriptors =
        [&b"PK\x03\x04\x14\0\0\0\0\0"[..], &[0; 20], &b"PK\x07\x08".repeat(16 * MIB / scale)].concat();
    let legacy =
        [&b"PAR1\n"[..], &gzip(b""), &[2, 0x21, 0x4c, 0x18].repeat(14_000), &vec![b' '; 64 * MIB / scale]];
    let flags = b"a line\x1f\x8b\x08\xe0".repeat(4 * MIB / scale);
    let letters = [&b"\xff"[..], &[b'x'; 4_000]].concat().repeat(64 * MIB / scale / 4_001);
    let utf16 = [&[0xff, 0xfe][..], &[b'a', 0].repeat(64 * MIB / scale)].concat();
    vec![
        in_gzip("empty blocks of zstd", &zstd),
        in_gzip("empty blocks of LZ4", &empty_blocks),
        in_gzip("empty padding of Snappy", &padding),
        in_gzip("blocks of a byte in LZ4", &bytes),
        plain("blocks of a byte in LZ4", bytes),
        in_gzip("data descriptors of ZIP", &descriptors),
        in_gzip("short members behind the magic of Parquet", &legacy.concat()),
        in_gzip("reserved flags of gzip", &flags),
        in_gzip("letters with which members begin", &letters),
        in_gzip("UTF-16", &utf16),
        in_gzip("headers of Avro in blocks of a byte", &avro_headers(2 * MIB / scale)),
        in_gzip("KPL of zeros in a tar", &tar(&kpl(10 * MIB / scale.min(10)), 12)),
        in_gzip("Snappy of no text in a tar", &tar(&snappy(3 * MIB / scale.min(3)), 30)),
    ]
}

fn plain(name: &str, bytes: Vec<u8>) -> Hostile {
    Hostile { name: format!("{name}, plain"), bytes, inflate: None }
}

fn in_gzip(name: &str, bytes: &[u8]) -> Hostile {
    Hostile {
        name: format!("{name}, gzip"),
        bytes: gzip(bytes),
        inflate: Some(Box::new(|bytes, limit| drain(MultiGzDecoder::new(bytes), limit))),
    }
}

/// A file of metadata without an end, which comes byte by byte.
fn avro_headers(len: usize) -> Vec<u8> {
    let mut header = b"Obj\x01".to_vec();
    encode_varint(1 << 40, &mut header);
    header.resize(len.min(MIB), 0);
    let blocks = header.iter().flat_map(|byte| [1, 0, 0, 0x80, *byte]);
    LZ4_LINKED.iter().copied().chain(blocks).collect()
}

fn kpl(len: usize) -> Vec<u8> {
    [&[0xf3, 0x89, 0x9a, 0xc2][..], &vec![0; len - 4]].concat()
}

/// A raw block of copies that give what is no text.
fn snappy(len: usize) -> Vec<u8> {
    let copies = len / 3;
    let mut block = Vec::new();
    encode_varint(copies as u64 * 64 + 1, &mut block);
    block.extend([0, 1]);
    block.extend([0xfe, 1, 0].repeat(copies));
    block
}

/// An archive of equal files.
fn tar(file: &[u8], count: usize) -> Vec<u8> {
    let mut header = vec![0; 512];
    header[..7].copy_from_slice(b"app.log");
    header[124..135].copy_from_slice(format!("{:011o}", file.len()).as_bytes());
    header[156] = b'0';
    header[257..263].copy_from_slice(b"ustar\0");
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..154].copy_from_slice(format!("{sum:06o}").as_bytes());
    header[154] = 0;
    [&header, file, &vec![0; (512 - file.len() % 512) % 512]].concat().repeat(count)
}
