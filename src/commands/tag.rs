//! `traceprobe tag`: what a tag says.

use std::process::ExitCode;

use clap::Args;

use crate::domain::tag::{self, NotOurs};

/// Read a tag, or a whole log line that holds one, and say what it tells.
#[derive(Debug, Args)]
pub struct Tag {
    /// The tag: 61 letters and digits that begin with `zqtp1`. Text around it is ignored.
    text: String,
}

impl Tag {
    /// Prints what the tag says; with a key in the environment, also whether it is ours.
    pub fn run(&self) -> ExitCode {
        let lower = self.text.to_ascii_lowercase();
        let Some(at) = lower.find(tag::MARKER) else {
            eprintln!("there is no tag in this: a tag begins with `{}`", tag::MARKER);
            return ExitCode::FAILURE;
        };
        let bytes = &lower.as_bytes()[at..];
        let said = match tag::read_unverified(bytes) {
            Ok(said) => said,
            Err(error) => {
                eprintln!("{error}");
                return ExitCode::FAILURE;
            }
        };
        println!("trace     {}", said.trace);
        println!("planned   {}", said.trace.planned_at());
        println!("tenant    {} (code)", said.tenant);
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
