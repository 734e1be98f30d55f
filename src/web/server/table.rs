//! The open connections, and which of them to close for another.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use tokio::task::{AbortHandle, Id};
use tokio::time::Instant;

use super::activity::{Activity, Priority};

/// An open connection.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) peer: IpAddr,
    pub(super) activity: Arc<Activity>,
    pub(super) task: AbortHandle,
}

/// The open connections by the id of their task.
#[derive(Debug, Default)]
pub(super) struct Table(HashMap<Id, Open>);

impl Table {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn of_peer(&self, peer: IpAddr) -> usize {
        self.0.values().filter(|open| open.peer == peer).count()
    }

    pub(super) fn add(&mut self, open: Open) {
        self.0.insert(open.task.id(), open);
    }

    /// Forgets a connection whose task has ended. Returns whether it was still in the table.
    pub(super) fn remove(&mut self, id: Id) -> bool {
        self.0.remove(&id).is_some()
    }

    /// Closes the first connection in the order of [`Priority`], unless only those above `most` are
    /// left. Returns whether one was closed.
    pub(super) fn close_first(&mut self, now: Instant, most: Priority) -> bool {
        let by_priority = self.0.iter().map(|(id, open)| (open.activity.priority(now), *id));
        let first = by_priority.min_by_key(|(priority, _)| *priority);
        first.is_some_and(|((priority, _), id)| priority <= most && self.close(id))
    }

    /// Closes the HTTP/2 connections that have waited longest for their first request, until only `most` wait.
    /// Returns how many were closed.
    pub(super) fn close_waiting_over_http2(&mut self, most: usize) -> usize {
        let waiting = self.0.iter().filter_map(|(id, open)| Some((open.activity.waits_over_http2()?, *id)));
        let mut waiting: Vec<_> = waiting.collect();
        waiting.sort_unstable_by_key(|(since, _)| *since);
        let surplus = waiting.len().saturating_sub(most);
        waiting.iter().take(surplus).filter(|(_, id)| self.close(*id)).count()
    }

    /// Bytes of answers that clients have not read.
    pub(super) fn unsent(&self) -> usize {
        self.0.values().filter_map(|open| open.activity.unsent()).map(|(bytes, _)| bytes).sum()
    }

    /// Closes the connection whose client has read nothing of its answer for longest, except the one that has
    /// read last. Returns whether one was closed.
    pub(super) fn close_slowest_reader(&mut self) -> bool {
        let readers = self.0.iter().filter_map(|(id, open)| Some((open.activity.unsent()?.1, *id)));
        let mut readers: Vec<_> = readers.collect();
        readers.sort_unstable_by_key(|(progress, _)| *progress);
        match *readers {
            [(_, slowest), _, ..] => self.close(slowest),
            [] | [_] => false,
        }
    }

    fn close(&mut self, id: Id) -> bool {
        let open = self.0.remove(&id);
        // Ends the task at its next await, which drops the socket.
        open.is_some_and(|open| {
            open.task.abort();
            true
        })
    }
}
