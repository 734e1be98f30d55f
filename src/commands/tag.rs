//! `traceprobe tag`: what a tag says.

use std::process::ExitCode;

use clap::Args;

use crate::domain::tag::{self, NotOurs};

/// Read a tag, or a whole log line that holds one, and say what it tells.
#[derive(Debug, Args)]
pub struct Tag {
    /// The tag: it begins with `zqtp` and its version, and is 66 letters and digits long, or 61 in version 1. Text around
    /// it is ignored.
    text: String,
}

impl Tag {
    /// Prints what the tag says; with a key in the environment, also whether it is ours.
    pub fn run(&self) -> ExitCode {
        let text = self.text.as_bytes();
        let mut ends = (0..text.len()).map(|at| &text[at..]);
        let found = ends.find_map(|bytes| Some((bytes, tag::read_unverified(bytes).ok()?)));
        let Some((bytes, said)) = found else {
            eprintln!("no tag found: {}", NotOurs::Malformed);
            return ExitCode::FAILURE;
        };
        println!("version   {}", said.version());
        println!("purpose   {}", said.purpose());
        println!("trace     {}", said.trace);
        println!("planned   {}", said.trace.planned_at());
        println!("tenant    {} (code)", said.tenant_digits());
        println!("instance  {} (code)", said.instance);
        println!("size      {} bytes", said.size);
        match crate::config::keyring_from_env() {
            Err(error) => println!("signature not checked: {error}"),
            Ok(keys) => match keys.read(bytes) {
                Ok(_) => println!("signature ours"),
                Err(NotOurs::Foreign) => println!("signature NOT ours: signed with another key, or forged"),
                Err(NotOurs::Malformed) => println!("signature malformed"),
            },
        }
        ExitCode::SUCCESS
    }
}
