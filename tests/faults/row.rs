//! A row of the table.

use std::future::Future;
use std::pin::Pin;

use super::verdict::Tally;

/// How long the campaign takes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Short,
    Long,
}

impl Form {
    /// What this form has of a short and a long one.
    pub fn of<T>(self, short: T, long: T) -> T {
        if self == Form::Long { long } else { short }
    }
}

/// Rows that have not run yet, by name.
pub type Rows = Vec<(&'static str, Pin<Box<dyn Future<Output = Row> + Send>>)>;

/// What was done to a probe, and what came of it.
pub struct Row {
    /// The fault and its extent.
    pub fault: String,
    pub tally: Tally,
    /// The most memory that a process had, in MiB; `None` if the probe ran within the test.
    pub memory: Option<u64>,
    /// What else is worth knowing.
    pub remark: String,
    /// What is wrong. Empty if nothing is.
    pub faults: Vec<String>,
}

impl Row {
    pub const HEAD: &str = "| row | fault | canaries | delivered | unobserved | late | never sent | wrong | memory | remark |\n\
         | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |";

    /// A line of Markdown.
    pub fn line(&self, name: &str) -> String {
        let Tally { planned, delivered, unobserved, late, unsent, wrong, forgotten, invented } = self.tally;
        let wrong = wrong + forgotten + invented;
        let memory = self.memory.map_or_else(|| "-".to_owned(), |memory| format!("{memory} MiB"));
        let remark = if self.faults.is_empty() { self.remark.clone() } else { "FAILED".to_owned() };
        format!(
            "| {name} | {} | {planned} | {delivered} | {unobserved} | {late} | {unsent} | {wrong} | {memory} | {remark} |",
            self.fault
        )
    }
}
