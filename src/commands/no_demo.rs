//! `traceprobe demo` in a build without the sandbox, such as the container image: explains how to get it.

use std::ffi::{OsStr, OsString};
use std::process::ExitCode;

use clap::Args;

use super::output::complain;
use super::run::End;
use super::runtimes::Runtimes;

/// Exit code for wrong arguments, as clap uses it.
const USAGE: u8 = 2;

/// Watch the probe at work. Not available in this build, which was made without the feature `sandbox`.
///
/// To get it, run `cargo run -- demo` in a clone of the repository, which builds it with the default
/// features.
#[derive(Debug, Args)]
pub struct Demo {
    /// The arguments of the demo, which are accepted and ignored.
    #[arg(hide = true, trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

impl Demo {
    /// Prints how to get the demo, and returns exit code 2.
    pub fn run(&self, _: &Runtimes) -> End {
        complain!(
            "the demo is not available in this build, which was made without the feature `sandbox`; \
             in a clone of the repository, run: cargo run -- demo {}",
            self.arguments.join(OsStr::new(" ")).display()
        );
        End::InOrder(ExitCode::from(USAGE))
    }
}

#[cfg(test)]
mod tests {
    use clap::error::ErrorKind;
    use clap::{Args as _, Command};

    use super::*;

    fn demo() -> Command {
        Demo::augment_args(Command::new("demo"))
    }

    #[test]
    fn every_argument_of_the_demo_is_accepted_and_ignored() {
        for arguments in [&["demo"][..], &["demo", "--scenario", "stall"], &["demo", "--print-config"]] {
            assert!(demo().try_get_matches_from(arguments).is_ok(), "{arguments:?}");
        }
    }

    #[test]
    fn help_explains_how_to_get_the_demo() {
        let help = demo().try_get_matches_from(["demo", "--help"]).unwrap_err();
        assert_eq!(help.kind(), ErrorKind::DisplayHelp);
        assert!(help.to_string().contains("cargo run -- demo"), "{help}");
    }
}
