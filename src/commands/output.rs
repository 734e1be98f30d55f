//! Lines for stdout and stderr that may be lost.
//!
//! `println!` and `eprintln!` panic if a line cannot be written, as when the disk is full or the reader of a
//! pipe has ended. A daemon must not end for that reason, and a command must end with an exit code of its own.

use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether a line for stdout was lost. Static, because it belongs to the process, like stdout.
static LOST: AtomicBool = AtomicBool::new(false);

/// Whether lines for stdout go to stderr. Static for the same reason.
static IS_TAKEN: AtomicBool = AtomicBool::new(false);

/// Prints a line to stdout.
macro_rules! say {
    ($($text:tt)*) => { $crate::commands::output::to_stdout(format_args!($($text)*)) };
}

/// Prints a line to stderr.
macro_rules! complain {
    ($($text:tt)*) => { $crate::commands::output::to_stderr(format_args!($($text)*)) };
}

pub(super) use {complain, say};

/// From now on, lines for stdout go to stderr: what was printed so far is a file, to which they would not belong.
#[cfg(feature = "sandbox")]
pub(super) fn stdout_is_taken() {
    IS_TAKEN.store(true, Ordering::Relaxed);
}

pub(super) fn to_stdout(text: fmt::Arguments<'_>) {
    if IS_TAKEN.load(Ordering::Relaxed) {
        to_stderr(text);
        return;
    }
    if let Err(error) = print(io::stdout().lock(), text) {
        // A reader that has ended has read what it wanted: `traceprobe check | head -1`.
        let lost = error.kind() != ErrorKind::BrokenPipe;
        if lost && !LOST.swap(true, Ordering::Relaxed) {
            to_stderr(format_args!("cannot write to stdout: {error}"));
        }
    }
}

pub(super) fn to_stderr(text: fmt::Arguments<'_>) {
    // There is nowhere left to report it.
    let _printed = print(io::stderr().lock(), text);
}

/// Writes `text` to `file`, or prints it without one; says what failed.
pub(super) fn to_file_or_stdout(file: Option<&Path>, text: &str) -> ExitCode {
    let Some(file) = file else {
        say!("{}", text.trim_end());
        return ExitCode::SUCCESS;
    };
    match std::fs::write(file, text) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain!("cannot write {}: {error}", file.display());
            ExitCode::FAILURE
        }
    }
}

/// Whether stdout has not received a line that somebody may have wanted.
pub(super) fn was_lost() -> bool {
    LOST.load(Ordering::Relaxed)
}

fn print(mut to: impl Write, text: fmt::Arguments<'_>) -> io::Result<()> {
    // In one piece, so that lines of several processes do not mix.
    to.write_all(format!("{text}\n").as_bytes())?;
    to.flush()
}
