//! Where a report is written, and as what.

use std::path::PathBuf;
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

impl Output {
    /// Writes the report.
    pub(super) fn write(&self, report: &Report) -> Result<(), String> {
        let text = match self.format {
            Format::Json => report.to_json(),
            Format::Html => html::page(report),
            Format::Junit => junit::xml(report),
        };
        std::fs::write(&self.file, text)
            .map_err(|error| format!("cannot write {}: {error}", self.file.display()))
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
}
