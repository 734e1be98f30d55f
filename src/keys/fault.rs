//! What is wrong with a configuration, every fault of it at once.

use std::collections::BTreeSet;
use std::fmt;

/// One thing that is wrong: where, and what would be right.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Fault {
    /// The key (`stage.archive.key`), or the environment variable, or the file.
    pub key: String,
    /// What is wrong with it and what would be right. Never the value of a secret.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.message)
    }
}

/// Everything that is wrong with a configuration. Prints a line that counts them, then one line for each.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Faults {
    /// The file, as it was named.
    pub file: String,
    /// The faults in the order in which they were met, each once; never empty.
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

/// Stands where a value would: the fault that kept it from being read is already on the list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Reported;

/// A value, or the knowledge that its fault has been reported. Checks between values are left out where one of them
/// is missing, so that one mistake makes one line.
pub(crate) type Checked<T> = Result<T, Reported>;

/// Collects faults, each of them once: a stage is read for every tenant, and would report itself as often.
#[derive(Default, Debug)]
pub(crate) struct Collector {
    list: Vec<Fault>,
    seen: BTreeSet<Fault>,
}

impl Collector {
    pub(crate) fn report(&mut self, key: impl Into<String>, message: impl Into<String>) -> Reported {
        let fault = Fault { key: key.into(), message: message.into() };
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

/// ` (did you mean `give_up`?)` for the known name that is nearest to `unknown`, or nothing.
pub(crate) fn suggestion<'a>(unknown: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    // A third of the letters may be wrong: enough for two slips in a word, too little for another word.
    let limit = (unknown.chars().count() / 3).clamp(1, 3);
    known
        .into_iter()
        .map(|name| (strsim::osa_distance(unknown, name), name))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, name)| format!("; did you mean `{name}`?"))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_known_name_is_suggested_and_a_far_one_is_not() {
        let known = ["give_up", "grace", "slo"];
        assert_eq!(suggestion("giveup", known), "; did you mean `give_up`?");
        assert_eq!(suggestion("slo2", known), "; did you mean `slo`?");
        assert_eq!(
            suggestion("sol", known),
            "; did you mean `slo`?",
            "two letters that changed places are one slip"
        );
        assert_eq!(suggestion("colour", known), "");
    }

    #[test]
    fn the_same_fault_is_listed_once() {
        let mut faults = Collector::default();
        faults.report("a", "wrong");
        faults.report("a", "wrong");
        assert_eq!(faults.list().len(), 1);
    }
}
