//! Whether the file that is open is still the one at its path.
//!
//! A file that was deleted or replaced stays open, and every write to it succeeds, but no later process finds
//! it. With a write-ahead log, SQLite compares the two only when it closes the file.

use std::fs::{self, Metadata};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The file at a path when it was opened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct OpenFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl OpenFile {
    /// The file that was just opened. `None` if its identity cannot be read.
    pub(super) fn at(path: &Path) -> Option<Self> {
        let identity = identity(&fs::metadata(path).ok()?);
        Some(Self { path: path.to_owned(), identity })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether another file, or none, is at the path now. Not if that cannot be determined: the file itself
    /// can be written.
    pub(super) fn is_gone(&self) -> bool {
        match fs::metadata(&self.path) {
            Ok(now) => identity(&now) != self.identity,
            Err(error) => error.kind() == ErrorKind::NotFound,
        }
    }
}

/// The device and the inode, by which SQLite as well tells files apart.
#[cfg(unix)]
fn identity(file: &Metadata) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt as _;

    (file.dev(), file.ino())
}

/// Elsewhere a path that exists counts as unchanged.
#[cfg(not(unix))]
fn identity(_file: &Metadata) -> (u64, u64) {
    (0, 0)
}
