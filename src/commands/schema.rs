//! `traceprobe schema`: prints the JSON schema of the configuration, with which editors complete and check it.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::output;
use crate::config;

/// Shown below the options of `traceprobe schema --help`.
const GUIDE: &str = "\
To have Taplo, or Even Better TOML in VS Code, complete the keys, explain them and mark misspelt ones:
  traceprobe schema -o traceprobe.schema.json
  # first line of traceprobe.toml, with a path relative to that file:
  #:schema ./traceprobe.schema.json

The schema knows the names of all keys, the types of their values, and which keys belong to which kind of stage. Whether
values fit each other, such as probe.slo and probe.buckets, only `traceprobe check --offline` can say.";

/// Print the JSON schema of the configuration, for editors.
#[derive(Debug, Args)]
#[command(after_long_help = GUIDE)]
pub struct Schema {
    /// Write to this file instead of stdout.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Schema {
    /// Prints the schema.
    pub fn run(&self) -> ExitCode {
        let text = format!("{:#}\n", config::schema());
        output::to_file_or_stdout(self.output.as_deref(), &text)
    }
}
