//! `traceprobe man`: prints manual pages, made from the same texts as `--help`.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, CommandFactory};
use clap_mangen::Man as Page;

use super::output::{complain, say};
use super::{NAME, Program};

/// Shown below the options of `traceprobe man --help`.
const GUIDE: &str = "\
To read a page without installing it:
  traceprobe man | man -l -
  traceprobe man check | man -l -

To install all of them, as a package does (`make package-files` writes them, too):
  traceprobe man --output /usr/local/share/man/man1";

/// Print a manual page, or write those of all commands into a folder.
#[derive(Debug, Args)]
#[command(after_long_help = GUIDE)]
pub struct Man {
    /// The command whose page is printed, such as `check`. Default: the page of the program.
    #[arg(value_name = "COMMAND", conflicts_with = "output")]
    command: Option<String>,
    /// Write the pages of the program and of every command into this folder, which is created.
    #[arg(short, long, value_name = "FOLDER")]
    output: Option<PathBuf>,
}

impl Man {
    /// Prints a page, or writes all of them.
    pub fn run(&self) -> ExitCode {
        let pages = pages();
        let done = match &self.output {
            Some(folder) => write(&pages, folder),
            None => self.print(&pages),
        };
        match done {
            Ok(()) => ExitCode::SUCCESS,
            Err(message) => {
                complain!("{message}");
                ExitCode::FAILURE
            }
        }
    }

    fn print(&self, pages: &[clap::Command]) -> Result<(), String> {
        let name = match &self.command {
            Some(command) => format!("{NAME}-{command}"),
            None => NAME.to_owned(),
        };
        let Some(page) = pages.iter().find(|page| page.get_name() == name) else {
            return Err(format!("there is no page {name}; `traceprobe --help` lists the commands"));
        };
        let text = render(page).map_err(|error| format!("cannot make the page {name}: {error}"))?;
        say!("{}", text.trim_end());
        Ok(())
    }
}

/// The program and its commands, each named as its page: `traceprobe`, `traceprobe-run`.
fn pages() -> Vec<clap::Command> {
    // The command `help` has nothing to say that the other pages do not.
    let mut program = Program::command().disable_help_subcommand(true);
    program.build();
    let commands = program.get_subcommands().map(|command| {
        let name = format!("{NAME}-{}", command.get_name());
        // clap's names live as long as the process, and so do these few.
        command.clone().name(&*name.leak()).version(env!("CARGO_PKG_VERSION"))
    });
    let commands: Vec<_> = commands.collect();
    [vec![program], commands].concat()
}

fn render(page: &clap::Command) -> io::Result<String> {
    let man = Page::new(page.clone()).manual("User Commands");
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    if page.has_subcommands() {
        man.render_subcommands_section(&mut text)?;
    }
    let mut text = String::from_utf8_lossy(&text).into_owned();
    if page.get_after_long_help().is_some() {
        let mut guide = Vec::new();
        man.render_extra_section(&mut guide)?;
        // Not filled: its commands are for copying, and its columns are aligned.
        let guide = String::from_utf8_lossy(&guide).replacen(".SH EXTRA\n", ".SH NOTES\n.nf\n", 1);
        text += &format!("{}\n.fi\n", guide.trim_end());
    }
    Ok(text)
}

fn write(pages: &[clap::Command], folder: &Path) -> Result<(), String> {
    let failed = |path: &Path, error| format!("cannot write {}: {error}", path.display());
    std::fs::create_dir_all(folder).map_err(|error| failed(folder, error))?;
    for page in pages {
        let path = folder.join(format!("{}.1", page.get_name()));
        render(page).and_then(|text| std::fs::write(&path, text)).map_err(|error| failed(&path, error))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_that_shows_how_to_call_it() {
        let pages = pages();
        let names: Vec<_> = pages.iter().map(clap::Command::get_name).collect();
        assert!(names.starts_with(&["traceprobe", "traceprobe-run", "traceprobe-check"]), "{names:?}");
        for page in &pages[1..] {
            let command = page.get_name().trim_start_matches("traceprobe-");
            let text = render(page).unwrap();
            assert!(text.contains(&format!("\\fBtraceprobe {command}\\fR")), "{command}: {text}");
        }
    }

    #[test]
    fn the_page_of_the_program_ends_with_its_guide_line_by_line() {
        let text = render(&pages()[0]).unwrap();
        let guide = text.split(".SH NOTES\n.nf\n").nth(1).unwrap();
        assert!(guide.starts_with("To watch a pipeline of your own:\n  1. "), "{guide}");
        assert!(guide.ends_with(".fi\n"), "{guide}");
        assert!(text.contains("traceprobe\\-check(1)"), "{text}");
    }
}
