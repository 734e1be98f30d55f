//! The state of the pipeline: due actions, copies that a stall holds, and batches that are being collected.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::super::clock::Micros;
use super::super::names::Stage;
use super::super::settings::Settings;
use super::TIDY_EVERY;
use super::event_copy::{EventCopy, TransitObject};

/// An action that is due at some time.
#[derive(Debug)]
pub(super) enum Due {
    Arrive(Stage, Box<EventCopy>),
    /// Store a second copy.
    Store(Stage, Box<EventCopy>),
    /// Write the batch of a tenant, or of all tenants, as an object.
    Flush(Stage, usize),
    /// Write what has arrived of a transit object as its copy.
    Copy(Arc<TransitObject>),
    /// Merge the objects that were collected in a folder, and delete them so much later.
    Merge(Stage, String, Duration),
    /// Delete objects that were merged.
    Delete(Stage, Vec<String>),
    Noise(usize),
    Tidy,
}

#[derive(Debug)]
struct Entry {
    at: Micros,
    /// Keeps actions with the same instant in the order in which they were scheduled.
    order: u64,
    due: Due,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Entry {}
impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        // Reversed, because the heap yields its greatest element.
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}

/// Due actions, held copies and open batches.
#[derive(Debug)]
pub(crate) struct Pipeline {
    queue: BinaryHeap<Entry>,
    entered: u64,
    /// Copies that a stall holds.
    pub(super) parked: VecDeque<(Stage, Box<EventCopy>)>,
    /// Version of the faults under which they were parked; they are retried only when faults have changed.
    pub(super) parked_under: u64,
    /// Lines that the archive writer has collected, by tenant.
    pub(super) archive: Vec<Vec<EventCopy>>,
    /// Lines that the exporter has collected, of all tenants.
    pub(super) transit: Vec<EventCopy>,
    /// Lines that the storage transfer has received, by the stem of their object.
    pub(super) transfer: HashMap<String, Vec<EventCopy>>,
    /// Keys of the objects that are to be merged, by stage and folder.
    pub(super) compacted: HashMap<(Stage, String), Vec<String>>,
    /// When the next event may pass a hop whose rate is limited.
    pub(super) free_at: HashMap<Stage, Micros>,
    pub(super) canaries: Vec<u64>,
    pub(super) noise: Vec<u64>,
    pub(super) objects: u64,
    pub(super) transit_objects: u64,
}

impl Pipeline {
    pub(crate) fn new(settings: &Settings, now: Micros) -> Self {
        let tenants = settings.tenants.len();
        let mut pipeline = Self {
            queue: BinaryHeap::new(),
            entered: 0,
            parked: VecDeque::new(),
            parked_under: 0,
            archive: vec![Vec::new(); tenants],
            transit: Vec::new(),
            transfer: HashMap::new(),
            compacted: HashMap::new(),
            free_at: HashMap::new(),
            canaries: vec![0; tenants],
            noise: vec![0; tenants],
            objects: 0,
            transit_objects: 0,
        };
        pipeline.enter(now.after(TIDY_EVERY), Due::Tidy);
        if settings.noise_per_second > 0.0 {
            (0..tenants).for_each(|tenant| pipeline.enter(now, Due::Noise(tenant)));
        }
        pipeline
    }

    pub(super) fn enter(&mut self, at: Micros, due: Due) {
        self.entered += 1;
        self.queue.push(Entry { at, order: self.entered, due });
    }

    pub(super) fn under_way(&self) -> usize {
        self.queue.len() + self.parked.len()
    }

    pub(super) fn take_due(&mut self, now: Micros) -> Option<Due> {
        if self.queue.peek()?.at > now {
            return None;
        }
        self.queue.pop().map(|entry| entry.due)
    }

    /// When the next action is due.
    pub(super) fn next(&self) -> Option<Micros> {
        self.queue.peek().map(|entry| entry.at)
    }
}
