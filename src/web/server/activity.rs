//! What a connection is doing and since when: it decides when the connection is closed, and which one first.
//!
//! No I/O and no clock, so that every transition is tested without a socket.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use super::limits::{Limits, NEWCOMER};
use crate::metrics::Closed;

/// The state of one connection. Its own task writes it; the accept loop reads it to choose which to close.
#[derive(Debug)]
pub(super) struct Activity(
    /// Held for a few instructions, by the task of the connection, by the tasks of its HTTP/2 streams and by
    /// the accept loop.
    Mutex<State>,
);

#[derive(Clone, Copy, Debug)]
struct State {
    phase: Phase,
    /// Answers that are being written, event streams included.
    answers: usize,
    streams: usize,
    /// Bytes of these answers that are not in the connection's buffer yet.
    unsent: usize,
    /// Whether HTTP/2 is spoken.
    http2: bool,
    /// Since when the client has read nothing although there is something to read.
    blocked: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// There is no complete request.
    Waiting {
        since: Instant,
        /// When its first byte came.
        head: Option<Instant>,
    },
    /// Requests are being answered.
    Busy { progress: Instant },
    /// All requests have been answered.
    Idle { since: Instant },
}

/// The order in which connections are closed to make room, first to last; of one priority, the one that has
/// it for longest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Priority {
    /// Waits without a complete request, and had the time to send one.
    Waiting,
    /// Could be closed without loss.
    Idle,
    /// Has only just connected.
    Newcomer,
    /// Is being answered.
    Busy,
    Stream,
}

impl State {
    /// The client has read some of an answer.
    fn progressed(&mut self, now: Instant) {
        if let Phase::Busy { progress } = &mut self.phase {
            *progress = now;
        }
    }
}

impl Activity {
    /// The state of a connection that was accepted just now.
    pub(super) fn new(now: Instant) -> Self {
        let phase = Phase::Waiting { since: now, head: None };
        Self(Mutex::new(State { phase, answers: 0, streams: 0, unsent: 0, http2: false, blocked: None }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes of a request came. Those of a body, or of a request that follows an unanswered one, change
    /// nothing.
    pub(super) fn received(&self, now: Instant) {
        let mut state = self.state();
        match state.phase {
            Phase::Waiting { since, head: None } => {
                state.phase = Phase::Waiting { since, head: Some(now) };
            }
            Phase::Idle { .. } => state.phase = Phase::Waiting { since: now, head: Some(now) },
            Phase::Waiting { head: Some(_), .. } | Phase::Busy { .. } => {}
        }
    }

    /// The client has begun to speak HTTP/2.
    pub(super) fn speaks_http2(&self) {
        self.state().http2 = true;
    }

    /// The head of a request is complete, and its answer begins.
    pub(super) fn began(&self, now: Instant) {
        let mut state = self.state();
        state.answers += 1;
        state.phase = Phase::Busy { progress: now };
    }

    /// The answer of a request has this many bytes.
    pub(super) fn holds(&self, bytes: usize) {
        self.state().unsent += bytes;
    }

    /// The answer of a request is an event stream.
    pub(super) fn streams(&self) {
        self.state().streams += 1;
    }

    /// An answer is in the connection's buffer as a whole, or was given up.
    pub(super) fn ended(&self, now: Instant, bytes: usize, stream: bool) {
        let mut state = self.state();
        state.answers = state.answers.saturating_sub(1);
        state.streams = state.streams.saturating_sub(usize::from(stream));
        state.unsent = state.unsent.saturating_sub(bytes);
        if state.answers == 0 {
            state.phase = Phase::Idle { since: now };
        }
    }

    /// The client's side took bytes. With HTTP/2, they need not belong to an answer: to each ping comes a reply.
    pub(super) fn wrote(&self, now: Instant) {
        let mut state = self.state();
        state.blocked = None;
        if !state.http2 {
            state.progressed(now);
        }
    }

    /// hyper took a piece of an answer. With HTTP/2, it takes one when the client has made room for the one before. With
    /// HTTP/1, it does not wait for the client, and only what is written counts.
    pub(super) fn took_piece(&self, now: Instant) {
        let mut state = self.state();
        if state.http2 {
            state.progressed(now);
        }
    }

    /// The client's side takes no bytes at the moment.
    pub(super) fn blocked(&self, now: Instant) {
        self.state().blocked.get_or_insert(now);
    }

    /// When to close the connection if nothing happens, and why; `None` while an event stream has nothing to
    /// send.
    pub(super) fn deadline(&self, limits: &Limits) -> Option<(Instant, Closed)> {
        let state = *self.state();
        let own = match state.phase {
            Phase::Waiting { since, head: None } => Some((since + limits.first_byte, Closed::NoRequest)),
            Phase::Waiting { head: Some(began), .. } => Some((began + limits.head, Closed::SlowHead)),
            Phase::Busy { .. } if state.streams == state.answers => None,
            Phase::Busy { progress } => Some((progress + limits.write, Closed::SlowReader)),
            Phase::Idle { since } => Some((since + limits.idle, Closed::Idle)),
        };
        let blocked = state.blocked.map(|since| (since + limits.write, Closed::SlowReader));
        own.into_iter().chain(blocked).min_by_key(|(at, _)| *at)
    }

    /// Where it stands in the order in which connections are closed to make room.
    pub(super) fn priority(&self, now: Instant) -> (Priority, Instant) {
        let state = *self.state();
        match state.phase {
            Phase::Waiting { since, .. } if now.duration_since(since) >= NEWCOMER => {
                (Priority::Waiting, since)
            }
            Phase::Waiting { since, .. } => (Priority::Newcomer, since),
            Phase::Idle { since } => (Priority::Idle, since),
            Phase::Busy { progress } if state.streams > 0 => (Priority::Stream, progress),
            Phase::Busy { progress } => (Priority::Busy, progress),
        }
    }

    /// Since when it waits for the first request over HTTP/2; `None` if it does not.
    pub(super) fn waits_over_http2(&self) -> Option<Instant> {
        let state = *self.state();
        match state.phase {
            Phase::Waiting { since, .. } if state.http2 => Some(since),
            Phase::Waiting { .. } | Phase::Busy { .. } | Phase::Idle { .. } => None,
        }
    }

    /// Bytes of answers that the client has not read, and when it last read some; `None` if there are none.
    pub(super) fn unsent(&self) -> Option<(usize, Instant)> {
        let state = *self.state();
        match state.phase {
            Phase::Busy { progress } if state.unsent > 0 => Some((state.unsent, progress)),
            Phase::Waiting { .. } | Phase::Busy { .. } | Phase::Idle { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const LIMITS: Limits = Limits::new(10, None);

    fn s(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    fn reason(activity: &Activity) -> Closed {
        activity.deadline(&LIMITS).unwrap().1
    }

    #[test]
    fn a_head_that_comes_byte_by_byte_does_not_move_its_deadline() {
        let start = Instant::now();
        let activity = Activity::new(start);
        assert_eq!(activity.deadline(&LIMITS), Some((start + LIMITS.first_byte, Closed::NoRequest)));
        for second in 1..9 {
            activity.received(start + s(second));
        }
        assert_eq!(activity.deadline(&LIMITS), Some((start + s(1) + LIMITS.head, Closed::SlowHead)));
    }

    #[test]
    fn a_second_request_has_as_long_as_the_first() {
        let start = Instant::now();
        let activity = Activity::new(start);
        activity.received(start);
        activity.began(start);
        activity.ended(start + s(1), 0, false);
        assert_eq!(activity.deadline(&LIMITS), Some((start + s(1) + LIMITS.idle, Closed::Idle)));
        activity.received(start + s(60));
        assert_eq!(activity.deadline(&LIMITS), Some((start + s(60) + LIMITS.head, Closed::SlowHead)));
    }

    #[test]
    fn a_client_that_reads_slowly_is_kept_and_one_that_reads_nothing_is_not() {
        let start = Instant::now();
        let activity = Activity::new(start);
        activity.began(start);
        activity.holds(100);
        activity.wrote(start + s(15));
        activity.blocked(start + s(15));
        assert_eq!(activity.deadline(&LIMITS), Some((start + s(15) + LIMITS.write, Closed::SlowReader)));
        activity.wrote(start + s(30));
        assert_eq!(activity.deadline(&LIMITS), Some((start + s(30) + LIMITS.write, Closed::SlowReader)));
        // The rest of the answer is in the buffer, but the client has not taken it.
        activity.blocked(start + s(31));
        activity.ended(start + s(31), 100, false);
        assert_eq!(reason(&activity), Closed::SlowReader);
    }

    #[test]
    fn over_http_2_only_pieces_of_answers_are_progress() {
        let start = Instant::now();
        let activity = Activity::new(start);
        activity.speaks_http2();
        activity.began(start);
        activity.took_piece(start + s(1));
        activity.wrote(start + s(15));
        assert_eq!(activity.deadline(&LIMITS), Some((start + s(1) + LIMITS.write, Closed::SlowReader)));
        activity.took_piece(start + s(16));
        assert_eq!(activity.deadline(&LIMITS), Some((start + s(16) + LIMITS.write, Closed::SlowReader)));
    }

    #[test]
    fn an_event_stream_may_be_silent_but_must_be_read() {
        let start = Instant::now();
        let activity = Activity::new(start);
        activity.began(start);
        activity.streams();
        assert_eq!(activity.deadline(&LIMITS), None);
        activity.blocked(start + s(100));
        assert_eq!(activity.deadline(&LIMITS), Some((start + s(100) + LIMITS.write, Closed::SlowReader)));
    }

    #[test]
    fn those_without_a_request_go_first_then_the_idle_and_newcomers_after_them() {
        let start = Instant::now();
        let now = start + s(60);
        let waiting = Activity::new(start + s(50));
        let idle = Activity::new(start);
        idle.began(start);
        idle.ended(start, 0, false);
        let newcomer = Activity::new(now);
        let busy = Activity::new(start);
        busy.began(start);
        let priorities = [&waiting, &idle, &newcomer, &busy].map(|activity| activity.priority(now));
        assert!(priorities.is_sorted(), "{priorities:?}");
    }
}
