//! Where a report is written, and as what.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::load::report::{Report, html, junit};

/// `html=report.html`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Output {
    format: Format,
    file: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Json,
    Html,
    Junit,
}

impl FromStr for Output {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong =
            || format!("\"{text}\" is not a format and a file; write json=FILE, html=FILE or junit=FILE");
        let (format, file) = text.split_once('=').filter(|(_, file)| !file.is_empty()).ok_or_else(wrong)?;
        let format = match format {
            "json" => Format::Json,
            "html" => Format::Html,
            "junit" => Format::Junit,
            _ => return Err(wrong()),
        };
        Ok(Self { format, file: file.into() })
    }
}

/// Writes every report that can be written, and returns why the others cannot.
pub(super) fn write(outputs: &[Output], report: &Report) -> Vec<String> {
    write_each(outputs, |format| match format {
        Format::Json => report.to_json(),
        Format::Html => html::page(report),
        Format::Junit => junit::xml(report),
    })
}

fn write_each(outputs: &[Output], text: impl Fn(Format) -> String) -> Vec<String> {
    let written = outputs.iter().map(|Output { format, file }| {
        fs::write(file, text(*format)).map_err(|error| format!("cannot write {}: {error}", file.display()))
    });
    written.filter_map(Result::err).collect()
}

/// Checks that every report can be written into a file of its own. Nothing is written: a file that exists stays as it
/// is, and one that does not is not left behind.
///
/// # Errors
///
/// Every fault, one in a line.
pub(super) fn check(outputs: &[Output]) -> Result<(), String> {
    let (mut taken, mut faults) = (BTreeSet::new(), Vec::new());
    for Output { file, .. } in outputs {
        let name = file.display();
        match place(file) {
            Ok(place) => {
                if place.is_some_and(|place| !taken.insert(place)) {
                    faults
                        .push(format!("--out names {name} twice; write each report into a file of its own"));
                }
            }
            Err(error) => faults.push(format!("cannot write {name}: {error}")),
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(faults.join("\n")) }
}

/// The file to which a path leads, if it can be written; `None` if it is a pipe or a device.
fn place(file: &Path) -> io::Result<Option<PathBuf>> {
    match fs::metadata(file) {
        // To open a pipe would wait for its reader, and to close it would end the reader.
        Ok(known) if !known.is_file() && !known.is_dir() => Ok(None),
        Ok(_) => {
            File::options().append(true).open(file)?;
            fs::canonicalize(file).map(Some)
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let folder = file.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let folder = fs::canonicalize(folder).map_err(|_| {
                io::Error::new(ErrorKind::NotFound, format!("there is no folder {}", folder.display()))
            })?;
            match File::create_new(file) {
                Ok(_) => fs::remove_file(file)?,
                // A link to a file that does not exist yet.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
            Ok(Some(folder.join(file.file_name().unwrap_or_default())))
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_is_a_format_and_a_file() {
        let expected = Output { format: Format::Html, file: "a=b.html".into() };
        assert_eq!("html=a=b.html".parse(), Ok(expected));
        for wrong in ["html", "html=", "pdf=a", "=a"] {
            assert!(wrong.parse::<Output>().is_err(), "{wrong}");
        }
    }

    /// An empty folder.
    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Self {
            let folder = std::env::temp_dir().join(format!("traceprobe-out-{:016x}", fastrand::u64(..)));
            fs::create_dir(&folder).unwrap();
            Self(folder)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    fn checked(files: &[&Path]) -> Result<(), String> {
        let output = |file: &&Path| Output { format: Format::Json, file: (*file).to_owned() };
        check(&files.iter().map(output).collect::<Vec<_>>())
    }

    #[test]
    fn every_report_that_cannot_be_written_is_told_before_the_run() {
        let folder = Folder::new();
        let missing = folder.0.join("missing");
        let faults = checked(&[&missing.join("a.json"), &folder.0]).unwrap_err();
        let lines: Vec<_> = faults.lines().collect();
        let expected = format!(
            "cannot write {}: there is no folder {}",
            missing.join("a.json").display(),
            missing.display()
        );
        assert_eq!(lines[0], expected);
        assert!(lines[1].starts_with(&format!("cannot write {}: Is a dir", folder.0.display())), "{faults}");
    }

    #[test]
    fn the_check_changes_no_file_and_leaves_none_behind() {
        let folder = Folder::new();
        let [old, new] = ["old.json", "new.json"].map(|name| folder.0.join(name));
        fs::write(&old, "a report").unwrap();
        assert_eq!(checked(&[&old, &new, Path::new("/dev/null"), Path::new("/dev/null")]), Ok(()));
        assert_eq!(fs::read_to_string(&old).unwrap(), "a report");
        assert!(!new.exists());
    }

    #[test]
    fn a_report_that_cannot_be_written_does_not_keep_the_others_from_it() {
        let folder = Folder::new();
        let last = folder.0.join("last.html");
        let files = [folder.0.join("missing").join("first.json"), last.clone()];
        let outputs = files.map(|file| Output { format: Format::Html, file });
        let unwritten = write_each(&outputs, |_| "a report".to_owned());
        assert!(unwritten.len() == 1 && unwritten[0].contains("first.json: No such file"), "{unwritten:?}");
        assert_eq!(fs::read_to_string(last).unwrap(), "a report");
    }

    #[test]
    fn two_reports_need_two_files() {
        let folder = Folder::new();
        let file = folder.0.join("report");
        let same = folder.0.join(".").join("report");
        for exists in [false, true] {
            if exists {
                fs::write(&file, "a report").unwrap();
            }
            let fault = checked(&[&file, &same]).unwrap_err();
            assert!(fault.contains(&format!("--out names {} twice", same.display())), "{fault}");
        }
    }
}
