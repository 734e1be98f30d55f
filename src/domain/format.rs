//! The formats of records and objects, how formats are nested, and why a part of a record or object could not
//! be read.

use std::fmt;

/// Defines [`Format`]. A row has the name of the variant, the usual spelling of the format, and whether
/// traceprobe can decode it.
macro_rules! formats {
    ($($(#[$doc:meta])* $name:ident, $text:literal, $opened:literal;)*) => {
        /// A data format. The decoder recognises it in the data, or because the format around it names it.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Format {
            $($(#[$doc])* $name,)*
        }

        impl Format {
            /// All formats.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Its usual spelling.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }

            /// Whether traceprobe can decode this format. The raw bytes of other formats are searched
            /// undecoded.
            #[must_use]
            pub const fn is_opened(self) -> bool {
                match self {
                    $(Self::$name => $opened,)*
                }
            }
        }
    };
}

formats! {
    /// Lines, JSON, CSV or other text. A few bytes of it may be something else.
    Text, "text", true;
    /// RFC 1952.
    Gzip, "gzip", true;
    /// RFC 1950.
    Zlib, "zlib", true;
    /// RFC 8878.
    Zstd, "zstd", true;
    /// Burrows-Wheeler blocks, as `bzip2` writes them.
    Bzip2, "bzip2", true;
    /// LZ4 frames.
    Lz4, "LZ4", true;
    /// Legacy LZ4 frames.
    Lz4Legacy, "legacy LZ4", true;
    /// The framing format of Snappy.
    SnappyFramed, "framed Snappy", true;
    /// Snappy blocks as Hadoop's codec writes them.
    SnappyHadoop, "Hadoop Snappy", true;
    /// Snappy blocks as `snappy-java` writes them; Kafka uses it.
    SnappyXerial, "xerial Snappy", true;
    /// One Snappy block without a frame.
    SnappyRaw, "raw Snappy", true;
    /// A ZIP archive.
    Zip, "ZIP", true;
    /// A tar archive, POSIX or GNU.
    Tar, "tar", true;
    /// An aggregate of the Kinesis Producer Library.
    Kpl, "KPL", true;
    /// RFC 4648, both alphabets.
    Base64, "base64", true;
    /// UTF-16 with a byte order mark.
    Utf16, "UTF-16", true;
    /// Apache Parquet.
    Parquet, "Parquet", true;
    /// An Avro object container file.
    Avro, "Avro", true;
    /// Apache ORC.
    Orc, "ORC", false;
    /// LZMA2 in an XZ container.
    Xz, "xz", false;
    /// LZMA in an lzip container.
    Lzip, "lzip", false;
    /// LZMA without a container, as a method of ZIP.
    Lzma, "LZMA", false;
    /// LZO, as `lzop` writes it or within another format.
    Lzo, "LZO", false;
    /// LZW, as Unix `compress` writes it.
    Compress, "compress", false;
    /// Deflate with a window of 64 KiB, as a method of ZIP.
    Deflate64, "Deflate64", false;
    /// RFC 7932. It has no magic number, so it is recognised only where another format names it.
    Brotli, "Brotli", false;
    /// A RAR archive.
    Rar, "RAR", false;
    /// A 7z archive.
    SevenZip, "7z", false;
    /// An Arrow IPC file, also known as Feather version 2.
    Arrow, "Arrow", false;
    /// Feather version 1.
    Feather, "Feather", false;
    /// A Hadoop sequence file.
    SequenceFile, "SequenceFile", false;
    /// Hive's record columnar file.
    RcFile, "RCFile", false;
    /// Amazon Ion, binary.
    Ion, "Ion", false;
    /// CBOR that begins with the self-described tag (RFC 8949).
    Cbor, "CBOR", false;
    /// Smile, Jackson's binary form of JSON.
    Smile, "Smile", false;
    /// Serialised Java objects.
    JavaObject, "Java serialization", false;
    /// An SQLite database.
    Sqlite, "SQLite", false;
    /// HDF5.
    Hdf5, "HDF5", false;
    /// A PDF document.
    Pdf, "PDF", false;
    Pcap, "pcap", false;
    /// A Windows event log.
    Evtx, "EVTX", false;
    /// A log file of systemd-journald.
    Journal, "systemd journal", false;
    /// Encrypted by `age`.
    Age, "age", false;
    /// Encrypted by `openssl enc`.
    OpenSsl, "openssl enc", false;
    /// Encrypted by OpenPGP.
    Pgp, "OpenPGP", false;
    /// Encrypted by the AWS Encryption SDK.
    AwsEncryption, "AWS Encryption SDK", false;
    /// Bytes that are neither text nor any known format.
    Binary, "binary", false;
}

impl Format {
    /// Whether a string in it stands there as it is, unless its bytes are compressed as a whole. Others
    /// compress pieces, and repeat some values in statistics.
    #[must_use]
    pub const fn keeps_strings(self) -> bool {
        matches!(
            self,
            Self::Binary
                | Self::Cbor
                | Self::Smile
                | Self::Ion
                | Self::JavaObject
                | Self::Sqlite
                | Self::Pcap
                | Self::Arrow
                | Self::Feather
        )
    }

    /// Whether its contents cannot be read without a key.
    #[must_use]
    pub const fn is_encryption(self) -> bool {
        matches!(self, Self::Age | Self::OpenSsl | Self::Pgp | Self::AwsEncryption)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A chain of nested formats, outermost first: `gzip > ORC` is an ORC file compressed with gzip.
///
/// It ends at text or at the first format that could not be decoded. Text around base64 is left out. Of more
/// than [`MAX_DEPTH`](Self::MAX_DEPTH) formats, the outermost seven and the innermost are kept.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Shape(u64);

impl Shape {
    /// An empty chain: nothing is known of the data yet.
    pub const NONE: Self = Self(0);
    /// Text that is not wrapped in anything.
    pub const TEXT: Self = Self::NONE.then(Format::Text);
    /// The largest number of formats in a chain.
    pub const MAX_DEPTH: usize = 8;

    /// Returns this chain with one more format inside its innermost one: `gzip` then `ORC` is `gzip > ORC`.
    /// In a full chain it replaces the innermost format.
    #[must_use]
    pub const fn then(self, inner: Format) -> Self {
        // One byte per format, the outermost in the highest byte, so that shapes sort by their outermost
        // format first.
        let depth = self.depth();
        let at = if depth < Self::MAX_DEPTH { depth } else { Self::MAX_DEPTH - 1 };
        let shift = 8 * (Self::MAX_DEPTH - 1 - at) as u32;
        Self((self.0 & !(0xff << shift)) | ((inner as u64 + 1) << shift))
    }

    /// How many formats are in the chain.
    #[must_use]
    pub const fn depth(self) -> usize {
        Self::MAX_DEPTH - self.0.trailing_zeros() as usize / 8
    }

    /// The formats, outermost first.
    pub fn formats(self) -> impl Iterator<Item = Format> {
        let bytes = self.0.to_be_bytes().into_iter();
        bytes.map_while(|byte| Format::ALL.get(usize::from(byte.checked_sub(1)?)).copied())
    }

    /// Whether the outermost formats are those of `outer`.
    #[must_use]
    pub fn begins_with(self, outer: Self) -> bool {
        outer.formats().zip(self.formats()).all(|(a, b)| a == b) && outer.depth() <= self.depth()
    }

    /// The innermost format; `None` for an empty chain.
    #[must_use]
    pub fn innermost(self) -> Option<Format> {
        self.formats().last()
    }

    /// Whether everything was decoded and the innermost format is text.
    #[must_use]
    pub fn is_text(self) -> bool {
        self.innermost() == Some(Format::Text)
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, format) in self.formats().enumerate() {
            if at > 0 {
                f.write_str(" > ")?;
            }
            write!(f, "{format}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Shape({self})")
    }
}

/// How a copy of a canary was found: inside which formats, whether they were decoded, and whether the whole
/// canary was there.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct FoundIn {
    /// The formats around the copy.
    pub shape: Shape,
    /// Whether the copy was in decoded text. Otherwise its tag was found by chance in bytes that were not
    /// decoded, which say nothing about its integrity or the number of copies.
    pub decoded: bool,
    /// Whether the whole canary stood there as it was sent, and its surroundings repeat themselves as logs
    /// do. A compressor would have replaced the repetitions, and may leave one canary whole and hide the
    /// next.
    pub verbatim: bool,
}

impl Default for FoundIn {
    /// A whole canary in plain text, as it was sent.
    fn default() -> Self {
        Self { shape: Shape::TEXT, decoded: true, verbatim: true }
    }
}

/// Why a part of a record or object could not be read.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub enum UnreadableReason {
    /// It is in a format that traceprobe cannot decode or does not know.
    UnknownFormat,
    /// It is encrypted.
    Encrypted,
    /// It violates its own format.
    Damaged,
    /// It ends earlier than its format says.
    Truncated,
    /// It exceeds one of the probe's limits.
    OverLimit,
    /// The source refuses to return it.
    Refused,
    /// A policy of the source hides it.
    Hidden,
    /// It was deleted before it could be read.
    Deleted,
    DecoderPanic,
}

impl UnreadableReason {
    /// All reasons. Metrics have a series for each from the start.
    pub const ALL: [Self; 9] = [
        Self::UnknownFormat,
        Self::Encrypted,
        Self::Damaged,
        Self::Truncated,
        Self::OverLimit,
        Self::Refused,
        Self::Hidden,
        Self::Deleted,
        Self::DecoderPanic,
    ];

    /// Whether it may be about a record in a format that is read, of which all or a part was not read.
    #[must_use]
    pub const fn is_of_what_is_read(self) -> bool {
        match self {
            Self::Damaged
            | Self::Truncated
            | Self::OverLimit
            | Self::Refused
            | Self::Deleted
            | Self::DecoderPanic => true,
            Self::UnknownFormat | Self::Encrypted | Self::Hidden => false,
        }
    }

    /// The value of the label `reason` in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UnknownFormat => "unknown_format",
            Self::Encrypted => "encrypted",
            Self::Damaged => "damaged",
            Self::Truncated => "truncated",
            Self::OverLimit => "over_limit",
            Self::Refused => "refused",
            Self::Hidden => "hidden",
            Self::Deleted => "deleted",
            Self::DecoderPanic => "decoder_panic",
        }
    }
}

impl fmt::Display for UnreadableReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A part of a record or object that could not be read. A canary may be in it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct Unreadable {
    /// The nested formats; the innermost is the one that could not be read.
    pub shape: Shape,
    /// Why it could not be read.
    pub reason: UnreadableReason,
}

impl fmt::Display for Unreadable {
    /// As text for the log and the page: `ORC, which traceprobe does not open`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { shape, reason } = self;
        if *shape == Shape::NONE {
            f.write_str("a record or object")?;
        } else {
            write!(f, "{shape}")?;
        }
        f.write_str(match reason {
            UnreadableReason::UnknownFormat if shape.innermost() == Some(Format::Binary) => {
                ", in a format that traceprobe does not know"
            }
            UnreadableReason::UnknownFormat => ", which traceprobe does not open",
            UnreadableReason::Encrypted => ", which is encrypted",
            UnreadableReason::Damaged => ", which is damaged",
            UnreadableReason::Truncated => ", which ends too early",
            UnreadableReason::OverLimit => ", which exceeds one of the probe's limits",
            UnreadableReason::Refused => ", which the source refuses to return",
            UnreadableReason::Hidden => ", which a policy hides",
            UnreadableReason::Deleted => ", which was deleted before it could be read",
            UnreadableReason::DecoderPanic => ", which crashed the decoder; please report this bug",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_is_displayed_with_its_outermost_format_first() {
        let shape = Shape::NONE.then(Format::Gzip).then(Format::Orc);
        assert_eq!(shape.to_string(), "gzip > ORC");
        assert_eq!((shape.depth(), shape.innermost()), (2, Some(Format::Orc)));
        assert!(!shape.is_text());
        assert!(Shape::NONE.then(Format::Gzip).then(Format::Text).is_text());
    }

    #[test]
    fn a_shape_nested_deeper_than_the_maximum_keeps_its_innermost_format() {
        let deep = (0..20).fold(Shape::NONE, |shape, _| shape.then(Format::Gzip)).then(Format::Binary);
        assert_eq!((deep.depth(), deep.innermost()), (Shape::MAX_DEPTH, Some(Format::Binary)));
    }

    #[test]
    fn every_format_can_be_put_into_a_shape_and_read_back() {
        for format in Format::ALL {
            assert_eq!(Shape::NONE.then(*format).innermost(), Some(*format));
        }
    }

    #[test]
    fn every_format_has_its_own_spelling() {
        let mut names: Vec<_> = Format::ALL.iter().map(|format| format.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Format::ALL.len());
    }

    #[test]
    fn an_unreadable_part_is_displayed_with_its_formats_and_the_reason() {
        let orc =
            Unreadable { shape: Shape::NONE.then(Format::Orc), reason: UnreadableReason::UnknownFormat };
        assert_eq!(orc.to_string(), "ORC, which traceprobe does not open");
        let shape = Shape::NONE.then(Format::Gzip).then(Format::Binary);
        let binary = Unreadable { shape, reason: UnreadableReason::UnknownFormat };
        assert_eq!(binary.to_string(), "gzip > binary, in a format that traceprobe does not know");
    }
}
