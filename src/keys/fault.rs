//! Faults of a configuration, collected so that all of them are reported at once.

use std::collections::BTreeSet;
use std::fmt;

use toml::de::{DeTable, Error};

use super::secret::masked_urls;

/// One fault: where it is, and what would be right.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Fault {
    /// The key (`stage.archive.key`), or the environment variable, or the file.
    pub key: String,
    /// What is wrong with the value and what would be right. Never quotes a secret.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.message)
    }
}

/// All faults of a configuration. Displays as one line with their number, then one line per fault.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Faults {
    /// The name of the file as the user wrote it, or what was read in its place.
    pub file: String,
    /// The faults in the order in which they were found, each once; never empty.
    pub list: Vec<Fault>,
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let faults = if self.list.len() == 1 { "fault" } else { "faults" };
        write!(f, "{} {faults} in {}:", self.list.len(), self.file)?;
        self.list.iter().try_for_each(|fault| write!(f, "\n  {fault}"))
    }
}

impl std::error::Error for Faults {}

/// Takes the place of a value whose fault has already been reported.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Reported;

/// A value, or the marker that its fault has been reported. Checks that compare values are skipped if one of
/// them is missing, so that one mistake makes one line.
pub(crate) type Checked<T> = Result<T, Reported>;

/// Collects faults without repeats: a stage is read once per tenant and would repeat its faults.
#[derive(Default, Debug)]
pub(crate) struct Collector {
    list: Vec<Fault>,
    seen: BTreeSet<Fault>,
}

impl Collector {
    pub(crate) fn report(&mut self, key: impl Into<String>, message: impl Into<String>) -> Reported {
        // A message quotes the value at fault, which may be a URL with a password.
        let message = masked_urls(&message.into()).into_owned();
        let fault = Fault { key: key.into(), message };
        if self.seen.insert(fault.clone()) {
            self.list.push(fault);
        }
        Reported
    }

    pub(crate) fn list(self) -> Vec<Fault> {
        self.list
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

/// Says where and why a text is not TOML. The parser's own text would quote the line, which may hold a secret.
pub(crate) fn not_toml(text: &str, error: &Error) -> String {
    let place = error.span().and_then(|span| text.get(..span.start)).map_or_else(String::new, |before| {
        let (line, in_line) = (before.matches('\n').count() + 1, before.rsplit('\n').next());
        let column = in_line.map_or(0, |in_line| in_line.chars().count()) + 1;
        format!(" at line {line}, column {column}")
    });
    // The parser has fixed texts. What follows it takes values that no type holds, and quotes them.
    let is_of_parser = DeTable::parse(text).is_err();
    let reason = if is_of_parser { error.message() } else { "a number is too large" };
    format!("is not valid TOML{place}: {reason}")
}

/// Returns ``; did you mean `give_up`?`` for the known name nearest to `unknown`, or an empty text.
pub(crate) fn suggestion<'a>(unknown: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    // A third of the letters may be wrong: enough for two typos, too few to suggest an unrelated word.
    let limit = (unknown.chars().count() / 3).clamp(1, 3);
    known
        .into_iter()
        .map(|name| (strsim::osa_distance(unknown, name), name))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, name)| format!("; did you mean `{name}`?"))
        .unwrap_or_default()
}

/// Most names that a message lists.
const LISTED: usize = 10;

/// Returns the known names for a message, as far as it has room for them: `acme, globex and 3 more`.
pub(crate) fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let mut names = names.into_iter();
    let text = names.by_ref().take(LISTED).collect::<Vec<_>>().join(", ");
    match names.count() {
        0 => text,
        more => format!("{text} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_known_name_is_suggested_and_a_far_one_is_not() {
        let known = ["give_up", "grace", "slo"];
        assert_eq!(suggestion("giveup", known), "; did you mean `give_up`?");
        assert_eq!(suggestion("slo2", known), "; did you mean `slo`?");
        assert_eq!(suggestion("sol", known), "; did you mean `slo`?", "two swapped letters are one typo");
        assert_eq!(suggestion("colour", known), "");
    }

    #[test]
    fn a_message_lists_the_first_names_only() {
        assert_eq!(listed(["acme", "globex"]), "acme, globex");
        assert_eq!(listed(["a"; 12]), format!("{} and 2 more", ["a"; 10].join(", ")));
    }

    #[test]
    fn a_text_that_is_not_toml_is_told_with_its_place_and_without_what_stands_there() {
        for (text, place) in [
            ("[otlp]\nheaders = \"api-key=hush\nsample = 1\n", "line 2"),
            ("[otlp]\nheaders = api-key=hush\n", "line 2"),
            ("headers = \"hush\"\nheaders = \"hush\"\n", "line 2, column 1: duplicate key"),
            ("a = 1\npin = 4242424242424242424242\n", "line 2, column 7: a number is too large"),
            ("pin = 18446744073709551615", "line 1, column 7: a number is too large"),
        ] {
            let told = not_toml(text, &text.parse::<toml::Table>().unwrap_err());
            assert!(told.starts_with(&format!("is not valid TOML at {place}")), "{told}");
            assert!(!told.contains("hush") && !told.contains("4242"), "{told}");
        }
    }

    #[test]
    fn the_same_fault_is_listed_once() {
        let mut faults = Collector::default();
        faults.report("a", "wrong");
        faults.report("a", "wrong");
        assert_eq!(faults.list().len(), 1);
    }
}
