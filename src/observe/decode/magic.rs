//! How formats begin: at the start of a part, after a member, and in the midst of text.

use std::cell::Cell;

use memchr::{memchr2_iter, memchr3_iter};

use super::kpl;
use crate::domain::format::Format;

/// How many bytes tell what begins.
pub(super) const HEAD: usize = 12;

/// RFC 1952, section 2.3.1: two bytes of magic, and deflate, the only method there is.
const GZIP: &[u8] = &[0x1f, 0x8b, 0x08];
/// RFC 8878, section 3.1.1.
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
/// "BZh", the size of blocks, and then the magic of a block or of the end.
const BZIP2: &[u8] = b"BZh";
const BZIP2_BLOCK: &[u8] = &[0x31, 0x41, 0x59, 0x26, 0x53, 0x59];
const BZIP2_END: &[u8] = &[0x17, 0x72, 0x45, 0x38, 0x50, 0x90];
/// "LZ4 Frame Format Description", 0x184D2204 and 0x184C2102, little-endian.
const LZ4: &[u8] = &[0x04, 0x22, 0x4d, 0x18];
const LZ4_LEGACY: &[u8] = &[0x02, 0x21, 0x4c, 0x18];
/// RFC 8878, section 3.1.2: 0x184D2A50 to 0x184D2A5F, little-endian. LZ4 has the same.
const SKIPPABLE: &[u8] = &[0x2a, 0x4d, 0x18];
/// "Snappy framing format description", section 4.1.
const SNAPPY_FRAMED: &[u8] = b"\xff\x06\x00\x00sNaPpY";
const SNAPPY_XERIAL: &[u8] = b"\x82SNAPPY\x00";
/// APPNOTE.TXT, sections 4.3.7 and 4.3.16, and 8.5.4 for archives that were meant to be split.
const ZIP: [&[u8]; 3] = [b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08PK\x03\x04"];
/// RFC 1950, section 2.2: deflate with a window of 32 KiB, and the check of the two bytes. Without a
/// dictionary, there are four.
const ZLIB: [[u8; 2]; 4] = [[0x78, 0x01], [0x78, 0x5e], [0x78, 0x9c], [0x78, 0xda]];

/// What begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Begin {
    /// A stream of compressed bytes. If it is not `sure`, it is one only if it can be decompressed.
    Stream { format: Format, sure: bool },
    /// A frame of zstd or LZ4 that holds nothing for us.
    Skippable,
    /// Something that makes up the rest of the part, or is an archive.
    Whole(Format),
    /// A byte order mark, which says how the text is encoded.
    Utf8Mark,
    /// A byte-order mark of UTF-16.
    Utf16Mark { big_endian: bool },
}

/// Where the bytes stand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// At the start of a part.
    Start,
    /// After a member.
    Between,
    /// In the midst of text.
    Within,
}

/// What begins with `head`, which is shorter than [`HEAD`] only at the end of the part.
pub(super) fn begin(head: &[u8], place: Place) -> Option<Begin> {
    let stream = |format, sure| Some(Begin::Stream { format, sure: sure && place != Place::Within });
    if head.starts_with(GZIP) {
        return has_flags(head).then_some(()).and_then(|()| stream(Format::Gzip, true));
    }
    if head.starts_with(ZSTD) {
        return stream(Format::Zstd, true);
    }
    if is_bzip2(head) {
        return stream(Format::Bzip2, true);
    }
    if head.starts_with(LZ4) {
        return stream(Format::Lz4, true);
    }
    if head.starts_with(LZ4_LEGACY) {
        return stream(Format::Lz4Legacy, true);
    }
    if head.starts_with(SNAPPY_FRAMED) {
        return stream(Format::SnappyFramed, true);
    }
    if head.starts_with(SNAPPY_XERIAL) {
        return stream(Format::SnappyXerial, true);
    }
    if head.get(1..4) == Some(SKIPPABLE) && (0x50..0x60).contains(&head[0]) {
        return Some(Begin::Skippable);
    }
    if ZLIB.iter().any(|magic| head.starts_with(magic)) {
        return stream(Format::Zlib, false);
    }
    if place != Place::Within && ZIP.iter().any(|magic| head.starts_with(magic)) {
        return Some(Begin::Whole(Format::Zip));
    }
    if place != Place::Start {
        return None;
    }
    if is_hadoop(head) {
        return stream(Format::SnappyHadoop, false);
    }
    match head {
        [b'P', b'A', b'R', b'1' | b'E', ..] => Some(Begin::Whole(Format::Parquet)),
        [b'O', b'b', b'j', 1, ..] => Some(Begin::Whole(Format::Avro)),
        [0xef, 0xbb, 0xbf, ..] => Some(Begin::Utf8Mark),
        // The first character of a log is ASCII.
        [0xff, 0xfe, 1..0x80, 0, ..] => Some(Begin::Utf16Mark { big_endian: false }),
        [0xfe, 0xff, 0, 1..0x80, ..] => Some(Begin::Utf16Mark { big_endian: true }),
        _ if head.starts_with(kpl::MAGIC) => Some(Begin::Whole(Format::Kpl)),
        _ => None,
    }
}

/// Whether the flags of a gzip may be these: the reserved ones must be zero.
fn has_flags(gzip: &[u8]) -> bool {
    gzip.get(3).is_none_or(|flags| flags & 0xe0 == 0)
}

fn is_bzip2(head: &[u8]) -> bool {
    let Some((size, block)) = head.strip_prefix(BZIP2).and_then(<[u8]>::split_first) else {
        return false;
    };
    (b'1'..=b'9').contains(size) && (block.starts_with(BZIP2_BLOCK) || block.starts_with(BZIP2_END))
}

/// Two big-endian sizes and the size that the Snappy block states itself must agree. No text begins with a
/// zero.
fn is_hadoop(head: &[u8]) -> bool {
    let Some((sizes, block)) = head.split_first_chunk::<8>() else {
        return false;
    };
    let number = |at: usize| u32::from_be_bytes([sizes[at], sizes[at + 1], sizes[at + 2], sizes[at + 3]]);
    let (total, len) = (number(0), number(4));
    let mut stated = 0;
    for (at, byte) in block.iter().enumerate() {
        stated |= u32::from(byte & 0x7f) << (7 * at);
        if *byte < 0x80 {
            break;
        }
    }
    sizes[0] == 0 && len > 1 && len <= total + total / 6 + 32 && (1..=total).contains(&stated)
}

/// How many bytes of text that is all ASCII are looked at again at its end: the magics of zlib, bzip2 and LZ4
/// can be ASCII, but not this much of what follows.
const ASCII_TAIL: usize = 64;

/// Where in a piece of text a member may begin, and how many bytes had to be compared for that; `after_break` says that the
/// piece stands at the start of a line.
///
/// A candidate may be unfinished at the end of the piece. What compresses has bytes beyond ASCII in it, so
/// text without any is passed by.
pub(super) fn find_member(text: &[u8], after_break: bool) -> (Option<usize>, u64) {
    let skipped = if text.is_ascii() { text.len().saturating_sub(ASCII_TAIL) } else { 0 };
    let rest = &text[skipped..];
    let after_break = if skipped == 0 { after_break } else { text[skipped - 1] == b'\n' };
    let compared = Cell::new(0);
    let count = |_: &usize| compared.set(compared.get() + 1);
    let by_byte = memchr3_iter(GZIP[0], ZSTD[3], LZ4[0], rest).inspect(count).find_map(|at| match rest[at] {
        0x1f => (is_start(&rest[at..], &[GZIP]) && has_flags(&rest[at..])).then_some(at),
        0x04 => is_start(&rest[at..], &[LZ4]).then_some(at),
        _ => at.checked_sub(3).filter(|start| rest[*start..].starts_with(ZSTD)),
    });
    let is_zlib = |at: usize| is_start(&rest[at..], &ZLIB.each_ref().map(|magic| &magic[..]));
    // Without a searcher that has to be built: text often comes in pieces that are shorter than that is
    // worth.
    let by_letter = memchr2_iter(BZIP2[1], ZLIB[0][0], rest).inspect(count).find_map(|at| {
        let before = at.checked_sub(1);
        if rest[at] == ZLIB[0][0] {
            let starts_line = before.map_or(after_break, |before| rest[before] == b'\n');
            return (starts_line && is_zlib(at)).then_some(at);
        }
        let head = &rest[before?..];
        (is_start(head, &[BZIP2]) && (head.len() < 10 || is_bzip2(head))).then_some(before?)
    });
    let tail = rest.len().saturating_sub(3);
    let unfinished = (tail..rest.len()).find(|at| is_start(&rest[*at..], &[ZSTD, BZIP2]));
    let first = [by_byte, by_letter, unfinished].into_iter().flatten().min();
    (first.map(|at| skipped + at), compared.get())
}

/// Whether one of the magics begins here, or as much of it as there is text.
fn is_start(text: &[u8], magics: &[&[u8]]) -> bool {
    !text.is_empty()
        && magics.iter().any(|magic| {
            let len = magic.len().min(text.len());
            magic[..len] == text[..len]
        })
}

/// A format that is named and not opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Named {
    pub(super) format: Format,
    /// Whether its magic cannot be the start of a text. Otherwise it only counts where the bytes are not
    /// text.
    pub(super) sure: bool,
}

/// How many bytes from the start are looked at by [`name`].
pub(super) const OPENING: usize = 40;

/// How formats begin, and whether no text can begin so.
const MAGICS: &[(&[u8], Format, bool)] = &[
    (b"\xfd7zXZ\x00", Format::Xz, true),
    (b"LZIP\x01", Format::Lzip, true),
    (b"\x89LZO\x00\x0d\x0a\x1a\x0a", Format::Lzo, true),
    (b"\x1f\x9d", Format::Compress, false),
    (b"Rar!\x1a\x07", Format::Rar, true),
    (b"7z\xbc\xaf\x27\x1c", Format::SevenZip, true),
    (b"ARROW1\x00\x00", Format::Arrow, true),
    (b"\xff\xff\xff\xff", Format::Arrow, false),
    (b"FEA1", Format::Feather, false),
    (b"SEQ\x06", Format::SequenceFile, true),
    (b"RCF\x01", Format::RcFile, true),
    (b"\xe0\x01\x00\xea", Format::Ion, true),
    (b"\xd9\xd9\xf7", Format::Cbor, false),
    (b":)\n", Format::Smile, false),
    (b"\xac\xed\x00\x05", Format::JavaObject, false),
    (b"SQLite format 3\x00", Format::Sqlite, true),
    (b"\x89HDF\x0d\x0a\x1a\x0a", Format::Hdf5, true),
    (b"%PDF-", Format::Pdf, false),
    (b"\xd4\xc3\xb2\xa1", Format::Pcap, true),
    (b"\xa1\xb2\xc3\xd4", Format::Pcap, true),
    (b"\x4d\x3c\xb2\xa1", Format::Pcap, true),
    (b"\xa1\xb2\x3c\x4d", Format::Pcap, true),
    (b"\x0a\x0d\x0d\x0a", Format::Pcap, false),
    (b"ElfFile\x00", Format::Evtx, true),
    (b"LPKSHHRH", Format::Journal, false),
    (b"age-encryption.org/v1\n", Format::Age, true),
    (b"-----BEGIN AGE ENCRYPTED FILE-----", Format::Age, true),
    (b"Salted__", Format::OpenSsl, false),
    // "Salted__" in base64, as `openssl enc -a` writes it.
    (b"U2FsdGVkX1", Format::OpenSsl, true),
    (b"-----BEGIN PGP MESSAGE-----", Format::Pgp, true),
    // Messages to an RSA key of 2048, 3072 or 4096 bits (RFC 9580, section 5.1), which is what GnuPG writes.
    (b"\x85\x01\x0c\x03", Format::Pgp, false),
    (b"\x85\x01\x8c\x03", Format::Pgp, false),
    (b"\x85\x02\x0c\x03", Format::Pgp, false),
    // Message format versions 1 and 2 ("AWS Encryption SDK message format reference").
    (b"\x01\x80\x03\x78", Format::AwsEncryption, false),
    (b"\x01\x80\x02\x14", Format::AwsEncryption, false),
    (b"\x01\x80\x01\x78", Format::AwsEncryption, false),
    (b"\x02\x05\x78", Format::AwsEncryption, false),
    (b"\x02\x04\x78", Format::AwsEncryption, false),
];

/// Whether a format begins with a byte: most parts are settled by their first byte.
const FIRST: [bool; 256] = {
    let mut first = [false; 256];
    first[ORC[0] as usize] = true;
    let mut at = 0;
    while at < MAGICS.len() {
        first[MAGICS[at].0[0] as usize] = true;
        at += 1;
    }
    first
};

const ORC: &[u8] = b"ORC";

/// What is not opened, by the first and the last bytes of a part.
pub(super) fn name(opening: &[u8], ending: &[u8]) -> Option<Named> {
    if !opening.first().is_some_and(|byte| FIRST[usize::from(*byte)]) {
        return None;
    }
    let known = MAGICS.iter().find(|(magic, ..)| opening.starts_with(magic));
    if let Some((_, format, sure)) = known {
        return Some(Named { format: *format, sure: *sure });
    }
    // The postscript at the end of an ORC file repeats the magic, as its last field, before its own length.
    if opening.starts_with(ORC) {
        let sure = ending.len() >= 5 && ending[ending.len() - 5..].starts_with(b"\x03ORC");
        return Some(Named { format: Format::Orc, sure });
    }
    None
}
