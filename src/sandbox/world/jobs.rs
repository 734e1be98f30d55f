//! Query jobs: results that are computed when a query starts and can be read when its duration is over.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::super::clock::Micros;

/// Number of remembered jobs; the oldest is forgotten first.
const CAPACITY: usize = 1_000;

/// One value of a result.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Cell {
    Null,
    Text(Arc<str>),
    Stamp(Micros),
    Whole(i64),
}

/// A query's result, computed at its start.
#[derive(Debug)]
pub(crate) struct Job {
    pub id: String,
    pub project: String,
    pub ready: Micros,
    /// Names and types of the columns.
    pub columns: Vec<(String, &'static str)>,
    pub rows: Vec<Vec<Cell>>,
    pub processed: u64,
    pub billed: u64,
    /// Whether row access policies applied to it.
    pub row_policy: bool,
    /// Whether a column that it read was masked.
    pub masking: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Jobs {
    jobs: HashMap<String, Arc<Job>>,
    order: VecDeque<String>,
    last: u64,
}

impl Jobs {
    pub(crate) fn next_id(&mut self) -> String {
        self.last += 1;
        format!("job_sandbox{:012}", self.last)
    }

    pub(crate) fn add(&mut self, job: Arc<Job>) {
        self.order.push_back(job.id.clone());
        self.jobs.insert(job.id.clone(), job);
        if self.order.len() > CAPACITY
            && let Some(oldest) = self.order.pop_front()
        {
            self.jobs.remove(&oldest);
        }
    }

    pub(crate) fn get(&self, id: &str) -> Option<Arc<Job>> {
        self.jobs.get(id).cloned()
    }
}
