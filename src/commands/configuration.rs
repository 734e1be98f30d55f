//! Which configuration a command reads, and what happens if it is faulty.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;

use clap::builder::OsStringValueParser;
use clap::{Args, ValueHint};

use super::output::complain;
use crate::config::{CONFIG_FILE, Config, DEFAULT_FILE, Faults, Place, TAG_KEY, TAG_KEY_FILE, environment};

/// Exit code for a faulty configuration: `EX_CONFIG` of `sysexits.h`.
pub const EX_CONFIG: u8 = 78;

/// The configuration of a command: a file, or the text in the environment.
#[derive(Debug, Args)]
pub struct Configuration {
    #[arg(
        long,
        value_name = "FILE",
        env = CONFIG_FILE,
        value_hint = ValueHint::FilePath,
        value_parser = OsStringValueParser::new(),
        help = format!(
            "Path of the configuration [default: {DEFAULT_FILE}]; its text may be in TRACEPROBE_CONFIG_TEXT instead"
        ),
    )]
    config: Option<OsString>,
}

impl Configuration {
    /// Reads it. On failure, prints every fault and returns the exit code.
    pub fn load(&self) -> Result<Config, ExitCode> {
        self.load_with(environment())
    }

    /// Reads it for a command that signs no tag, so that it works where the key is not at hand.
    pub fn load_without_key(&self) -> Result<Config, ExitCode> {
        let mut env = environment();
        env.remove(TAG_KEY_FILE);
        env.insert(TAG_KEY.to_owned(), "0123456789abcdef".to_owned());
        self.load_with(env)
    }

    /// Where it is.
    pub fn place(&self, env: &BTreeMap<String, String>) -> Result<Place, Faults> {
        // As elsewhere, an empty variable is the same as none.
        let file = self.config.as_deref().filter(|file| *file != OsStr::new("")).map(Path::new);
        Place::choose(file, env)
    }

    fn load_with(&self, env: BTreeMap<String, String>) -> Result<Config, ExitCode> {
        let config = self.place(&env).and_then(|place| place.load(env));
        config.map_err(|faults| {
            complain!("{faults}");
            ExitCode::from(EX_CONFIG)
        })
    }
}
