//! `traceprobe tag`: decodes a tag.

use std::process::ExitCode;

use clap::Args;

use super::output::{complain, say};
use crate::domain::tag::{self, NotOurs};

/// Shown below the options of `traceprobe tag --help`.
const EXIT_CODES: &str = "\
Exit codes:
   0  the tag was decoded; its signature is valid, or was not checked because there is no key
   1  there is no tag, or its signature is not valid
   2  wrong arguments";

/// Decode a tag, or a log line that contains one.
///
/// Prints the trace id, the planned time of injection, the codes of tenant and instance, and the size. With
/// TRACEPROBE_TAG_KEY in the environment, it also verifies the signature.
#[derive(Debug, Args)]
#[command(after_long_help = EXIT_CODES)]
pub struct Tag {
    /// The tag: `zqtp`, a version, and letters and digits, 66 characters in all, or 61 in version 1. Text
    /// around it is ignored.
    text: String,
}

impl Tag {
    /// Prints the fields of the tag, and whether its signature is valid if a key is set in the environment.
    pub fn run(&self) -> ExitCode {
        let text = self.text.as_bytes();
        let mut ends = (0..text.len()).map(|at| &text[at..]);
        let found = ends.find_map(|bytes| Some((bytes, tag::read_unverified(bytes).ok()?)));
        let Some((bytes, tag)) = found else {
            complain!("no tag found: {}", NotOurs::Malformed);
            return ExitCode::FAILURE;
        };
        say!("version   {}", tag.version());
        say!("purpose   {}", tag.purpose());
        say!("trace     {}", tag.trace);
        say!("planned   {}", tag.trace.planned_at());
        say!("tenant    {} (code)", tag.tenant_digits());
        say!("instance  {} (code)", tag.instance);
        say!("size      {} bytes", tag.size);
        match crate::config::keyring_from_env() {
            Err(error) => say!("signature not checked: {error}"),
            Ok(keys) => match keys.read(bytes) {
                Ok(_) => say!("signature valid"),
                Err(not_ours) => {
                    match not_ours {
                        NotOurs::Foreign => say!("signature NOT valid: made with another key, or forged"),
                        NotOurs::Malformed => say!("signature malformed"),
                    }
                    return ExitCode::FAILURE;
                }
            },
        }
        ExitCode::SUCCESS
    }
}
