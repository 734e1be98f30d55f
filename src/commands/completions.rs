//! `traceprobe completions`: prints what completes the commands and options in a shell.

use std::process::ExitCode;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::output::say;
use super::{NAME, Program};

/// Shown below the options of `traceprobe completions --help`.
const GUIDE: &str = "\
For yourself, until the next login or for good:
  source <(traceprobe completions bash)          # also as a line of ~/.bashrc
  source <(traceprobe completions zsh)           # also as a line of ~/.zshrc, behind compinit
  traceprobe completions fish > ~/.config/fish/completions/traceprobe.fish

For all users, as a package installs them (`make package-files` writes all three):
  /usr/share/bash-completion/completions/traceprobe
  /usr/share/zsh/site-functions/_traceprobe
  /usr/share/fish/vendor_completions.d/traceprobe.fish";

/// Print completions of commands and options for a shell.
#[derive(Debug, Args)]
#[command(after_long_help = GUIDE)]
pub struct Completions {
    /// The shell that reads them.
    shell: Shell,
}

impl Completions {
    /// Prints the script.
    pub fn run(&self) -> ExitCode {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Program::command(), NAME, &mut script);
        say!("{}", String::from_utf8_lossy(&script).trim_end());
        ExitCode::SUCCESS
    }
}
