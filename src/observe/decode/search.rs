//! Finds where text may hold something of ours: a tag, or a run of base64.
//!
//! Both are long rows of characters that hardly anything else has so many of in a row. So one byte in three
//! is looked at, and what lies between is passed by unread.

use std::collections::VecDeque;
use std::ops::Range;

use memchr::{memchr2, memchr2_iter};

use super::digits::{
    CHUNK, empty_lines, ends_run, ends_within_run, has_letter, has_line_break, is_outside, last_outside,
};
use crate::domain::tag::{HEAD_LEN, MARKER, MIN_TAG_LEN, Shape as TagShape};

/// Shortest run that is opened, in characters. The shortest that can hold a whole tag has 82. A line of
/// wrapped base64 can be as short as this, and so a tag can be longer: see [`Search::next_run`].
pub(super) const MIN_RUN: usize = 64;
/// Shortest line into which base64 is wrapped. Lists of words and numbers have shorter ones.
pub(super) const MIN_LINE: usize = 32;
/// What is shorter holds neither a tag nor a run.
const MIN_LEN: usize = MIN_TAG_LEN;
const _: () = assert!(MIN_LEN <= MIN_RUN, "what is passed by must hold no run");
/// How many of the last characters of a window are looked at together.
const ENDING: usize = CHUNK;

/// Where tags may be, in the order of the text. Positions count from the start of the text.
pub(super) type Suspects = VecDeque<Range<usize>>;

pub(super) enum Found {
    Run { at: usize },
    Nothing { up_to: usize },
}

/// Some of a text.
#[derive(Clone, Copy)]
pub(super) struct Passage<'a> {
    pub(super) bytes: &'a [u8],
    /// Where it begins in the text.
    pub(super) base: usize,
    /// Whether nothing follows on it.
    pub(super) last: bool,
}

/// Goes through some text.
pub(super) struct Search<'a> {
    pub(super) passage: Passage<'a>,
    /// A run that holds nothing and is passed by; empty if there is none.
    idle: &'a [u8],
    /// How often it was.
    pub(super) idle_runs: u64,
    /// Where the text goes on behind the last of them.
    after_idle: usize,
    /// How far it was to that from where the text went on behind the one before it.
    idle_distance: usize,
}

impl<'a> Search<'a> {
    pub(super) const fn new(passage: Passage<'a>) -> Self {
        Self { passage, idle: &[], idle_runs: 0, after_idle: 0, idle_distance: 0 }
    }

    /// With a run that holds nothing and is passed by.
    pub(super) const fn passing_by(self, idle: &'a [u8]) -> Self {
        Self { idle, ..self }
    }

    /// Finds the first run from `from` on, and adds where tags may be before it.
    ///
    /// What begins here has its 61st character 60 bytes further on, whether a run or a tag. So the text is
    /// looked at there, backwards: ordinary text shows a blank or a quote after a few steps, and all before it
    /// can be skipped.
    ///
    /// A tag is not the beginning of a run, although its characters could be: every canary would be opened for
    /// nothing, and at the greatest depth every canary would be a record that was not read to its end.
    pub(super) fn next_run(&mut self, from: usize, suspects: &mut Suspects) -> Option<Found> {
        let Passage { bytes: text, base, last } = self.passage;
        let mut at = from - base;
        while let Some(window) = text.get(at..).and_then(<[u8]>::first_chunk::<MIN_LEN>) {
            if at == self.after_idle
                && let Some(start) = self.idle_again()
            {
                at = self.skip_idle(start);
                continue;
            }
            // Nearly always one of the last characters is of no run. This asks them all at once, without a
            // branch for each, and does not have to know which one it is: nothing that is long enough begins
            // before any of them and reaches beyond it.
            if !ends_within_run(window) {
                at += MIN_LEN - ENDING + 1;
                continue;
            }
            if self.is_idle_at(at) {
                at = self.skip_idle(at);
                continue;
            }
            if let Some(other) = last_outside(&window[..MIN_LEN - ENDING]) {
                at += other + 1;
                continue;
            }
            // A short line is none of base64, and neither is an empty one.
            let line = if has_line_break(window) { memchr2(b'\n', b'\r', window) } else { None };
            if let Some(len) = line.filter(|len| *len < MIN_LINE) {
                at += len + 1 + empty_lines(&text[at + len + 1..]);
                continue;
            }
            let Some(longer) = text.get(at..).and_then(<[u8]>::first_chunk::<MIN_RUN>) else {
                if last {
                    suspects.push_back(base + at..base + text.len());
                }
                break;
            };
            if let Some(other) = last_outside(&longer[MIN_LEN..]).map(|other| MIN_LEN + other) {
                suspects.push_back(base + at..base + at + other);
                at += other + 1;
                continue;
            }
            match tag_in(&text[at..], last) {
                TagInRun::None => return Some(Found::Run { at: base + at }),
                TagInRun::Until(end) => {
                    suspects.push_back(base + at..base + at + end);
                    at += end;
                }
                TagInRun::Unknown => break,
            }
        }
        let up_to = if last { text.len() } else { at };
        (base + text.len() > from).then_some(Found::Nothing { up_to: base + up_to })
    }

    /// Whether the idle run stands here.
    fn is_idle_at(&self, at: usize) -> bool {
        let text = self.passage.bytes.get(at..).filter(|_| !self.idle.is_empty());
        let next = text.and_then(|text| text.strip_prefix(self.idle)?.first());
        next.is_some_and(|next| ends_run(*next))
    }

    /// Where the idle run stands again, if it is as far away as the last time: lines that repeat a digest are often
    /// alike. What lies between is too short to hold a tag or a run, and its last character is of neither.
    fn idle_again(&self) -> Option<usize> {
        let start = self.after_idle + self.idle_distance;
        let ends_before = || self.passage.bytes.get(start - 1).is_some_and(|last| is_outside(*last));
        let is_short = (1..MIN_LEN).contains(&self.idle_distance);
        (is_short && ends_before() && self.is_idle_at(start)).then_some(start)
    }

    /// Skips the idle run. Returns where the text goes on.
    fn skip_idle(&mut self, start: usize) -> usize {
        self.idle_runs += 1;
        self.idle_distance = start - self.after_idle;
        self.after_idle = start + self.idle.len() + 1;
        self.after_idle
    }
}

/// Whether a tag stands where a run would begin.
enum TagInRun {
    None,
    /// Yes, and it ends here.
    Until(usize),
    /// It depends on what follows.
    Unknown,
}

/// Looks for a tag whose marker and version are among the first characters of a run.
fn tag_in(text: &[u8], last: bool) -> TagInRun {
    // By its first letter, which stands in one of 32 places of a run: looking at each place would cost more
    // than decoding.
    let first = MARKER.as_bytes()[0];
    let starts = &text[..=MIN_RUN - HEAD_LEN];
    if !has_letter(starts, first) {
        return TagInRun::None;
    }
    for at in memchr2_iter(first, first.to_ascii_uppercase(), starts) {
        match TagShape::of(&text[at..]) {
            TagShape::Whole(len) => return TagInRun::Until(at + len),
            TagShape::Unfinished if !last => return TagInRun::Unknown,
            TagShape::Unfinished | TagShape::Other => {}
        }
    }
    TagInRun::None
}
