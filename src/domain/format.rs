//! The formats that records and objects come in, how they are nested, and why a part of one could not be read.

use std::fmt;

/// Defines [`Format`], with the usual spelling of each, and whether it is opened.
macro_rules! formats {
    ($($(#[$doc:meta])* $name:ident, $text:literal, $opened:literal;)*) => {
        /// A format that is recognised by what it looks like.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Format {
            $($(#[$doc])* $name,)*
        }

        impl Format {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Its usual spelling.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }

            /// Whether it is opened. What is in one that is not opened is searched as it is.
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
    /// Lines, JSON, CSV or other text, also with a few bytes in it that are none.
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
    /// The legacy frame of LZ4.
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
    /// LZMA in an XZ container.
    Xz, "xz", false;
    /// LZMA in an lzip container.
    Lzip, "lzip", false;
    /// Bare LZMA, within ZIP.
    Lzma, "LZMA", false;
    /// LZO, by `lzop` or within another format.
    Lzo, "LZO", false;
    /// Unix `compress`.
    Compress, "compress", false;
    /// Deflate with a window of 64 KiB, within ZIP.
    Deflate64, "Deflate64", false;
    /// RFC 7932; recognised only where another format names it.
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
    /// CBOR that describes itself.
    Cbor, "CBOR", false;
    /// Smile, the binary form of JSON that Jackson writes.
    Smile, "Smile", false;
    /// Serialised Java objects.
    JavaObject, "Java serialization", false;
    /// An SQLite database.
    Sqlite, "SQLite", false;
    /// HDF5.
    Hdf5, "HDF5", false;
    /// A PDF document.
    Pdf, "PDF", false;
    /// A packet capture.
    Pcap, "pcap", false;
    /// A Windows event log.
    Evtx, "EVTX", false;
    /// A file of the systemd journal.
    Journal, "systemd journal", false;
    /// Encrypted by `age`.
    Age, "age", false;
    /// Encrypted by `openssl enc`.
    OpenSsl, "openssl enc", false;
    /// Encrypted by OpenPGP.
    Pgp, "OpenPGP", false;
    /// Encrypted by the AWS Encryption SDK.
    AwsEncryption, "AWS Encryption SDK", false;
    /// Bytes that are no text and look like nothing that is known.
    Binary, "binary", false;
}

impl Format {
    /// Whether a string in it stands there as it is, unless its bytes are compressed as a whole. Others compress pieces,
    /// and repeat some values in statistics.
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

    /// Whether it hides what is in it from everyone without a key.
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

/// The formats around a piece of data, from the outermost to the first that was not opened: `gzip > ORC`.
///
/// Text around base64 is not named. Of more than eight formats, the first seven and the last are kept.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Shape(u64);

impl Shape {
    /// No format yet; what a record has before anything is known of it.
    pub const NONE: Self = Self(0);
    /// Text that is not wrapped in anything.
    pub const TEXT: Self = Self::NONE.then(Format::Text);
    /// Most formats that are kept.
    pub const MAX: usize = 8;

    /// This shape, with another format inside.
    #[must_use]
    pub const fn then(self, inner: Format) -> Self {
        // One byte for each format, the outermost in the highest, so that shapes sort from the outside in.
        let used = self.depth();
        let at = if used < Self::MAX { used } else { Self::MAX - 1 };
        let shift = 8 * (Self::MAX - 1 - at) as u32;
        Self((self.0 & !(0xff << shift)) | ((inner as u64 + 1) << shift))
    }

    /// How many formats it has.
    #[must_use]
    pub const fn depth(self) -> usize {
        Self::MAX - self.0.trailing_zeros() as usize / 8
    }

    /// The formats, outermost first.
    pub fn formats(self) -> impl Iterator<Item = Format> {
        let bytes = self.0.to_be_bytes().into_iter();
        bytes.map_while(|byte| Format::ALL.get(usize::from(byte.checked_sub(1)?)).copied())
    }

    /// The innermost format.
    #[must_use]
    pub fn last(self) -> Option<Format> {
        self.formats().last()
    }

    /// Whether all of it was opened and text was inside.
    #[must_use]
    pub fn is_text(self) -> bool {
        self.last() == Some(Format::Text)
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

/// Where a copy of a canary was found.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct FoundIn {
    /// The formats around it.
    pub shape: Shape,
    /// Whether it stood in decoded text. Otherwise it was found by luck in bytes that were not decoded, which say
    /// nothing about its integrity or the number of copies.
    pub decoded: bool,
    /// Whether the whole canary stood there as it was sent, and its surroundings repeat themselves as logs do. A
    /// compressor would have replaced the repetitions, and may leave one canary whole and hide the next.
    pub verbatim: bool,
}

impl Default for FoundIn {
    /// In plain text.
    fn default() -> Self {
        Self { shape: Shape::TEXT, decoded: true, verbatim: true }
    }
}

/// Why a part of a record or object could not be read.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub enum UnreadableReason {
    /// It is in a format that is not opened or not known.
    UnknownFormat,
    /// It is encrypted.
    Encrypted,
    /// It contradicts its own format.
    Damaged,
    /// It ends before its format says.
    Truncated,
    /// It goes beyond a limit of the probe's.
    OverLimit,
    /// The source does not hand it out.
    Refused,
    /// The decoder panicked.
    DecoderPanic,
}

impl UnreadableReason {
    /// All reasons, for series that are initialised to 0.
    pub const ALL: [Self; 7] = [
        Self::UnknownFormat,
        Self::Encrypted,
        Self::Damaged,
        Self::Truncated,
        Self::OverLimit,
        Self::Refused,
        Self::DecoderPanic,
    ];

    /// As a label value.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UnknownFormat => "unknown_format",
            Self::Encrypted => "encrypted",
            Self::Damaged => "damaged",
            Self::Truncated => "truncated",
            Self::OverLimit => "over_limit",
            Self::Refused => "refused",
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
    /// The formats, up to the one that could not be read.
    pub shape: Shape,
    /// Why.
    pub reason: UnreadableReason,
}

impl fmt::Display for Unreadable {
    /// For people: `ORC, which traceprobe does not open`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { shape, reason } = self;
        if *shape == Shape::NONE {
            f.write_str("a record or object")?;
        } else {
            write!(f, "{shape}")?;
        }
        f.write_str(match reason {
            UnreadableReason::UnknownFormat if shape.last() == Some(Format::Binary) => {
                ", in a format that traceprobe does not know"
            }
            UnreadableReason::UnknownFormat => ", which traceprobe does not open",
            UnreadableReason::Encrypted => ", which is encrypted",
            UnreadableReason::Damaged => ", which is damaged",
            UnreadableReason::Truncated => ", which ends too early",
            UnreadableReason::OverLimit => ", which goes beyond a limit of the probe's",
            UnreadableReason::Refused => ", which the source refuses to hand out",
            UnreadableReason::DecoderPanic => ", on which the decoder failed: please report it",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_names_its_formats_from_the_outside_in() {
        let shape = Shape::NONE.then(Format::Gzip).then(Format::Orc);
        assert_eq!(shape.to_string(), "gzip > ORC");
        assert_eq!((shape.depth(), shape.last()), (2, Some(Format::Orc)));
        assert!(!shape.is_text());
        assert!(Shape::NONE.then(Format::Gzip).then(Format::Text).is_text());
    }

    #[test]
    fn a_shape_of_more_than_eight_formats_keeps_the_innermost() {
        let deep = (0..20).fold(Shape::NONE, |shape, _| shape.then(Format::Gzip)).then(Format::Binary);
        assert_eq!((deep.depth(), deep.last()), (Shape::MAX, Some(Format::Binary)));
    }

    #[test]
    fn every_format_survives_in_a_shape() {
        for format in Format::ALL {
            assert_eq!(Shape::NONE.then(*format).last(), Some(*format));
        }
    }

    #[test]
    fn no_two_formats_have_one_name() {
        let mut names: Vec<_> = Format::ALL.iter().map(|format| format.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Format::ALL.len());
    }

    #[test]
    fn what_is_unreadable_is_told_with_its_formats_and_the_reason() {
        let orc =
            Unreadable { shape: Shape::NONE.then(Format::Orc), reason: UnreadableReason::UnknownFormat };
        assert_eq!(orc.to_string(), "ORC, which traceprobe does not open");
        let shape = Shape::NONE.then(Format::Gzip).then(Format::Binary);
        let binary = Unreadable { shape, reason: UnreadableReason::UnknownFormat };
        assert_eq!(binary.to_string(), "gzip > binary, in a format that traceprobe does not know");
    }
}
