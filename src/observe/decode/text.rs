//! Text: searches the marker, checks who signed what follows, and compares each copy with what was sent.
//!
//! Two searchers go through the same window, one for markers and one for runs of base64. What they find is
//! taken in the order in which it stands, up to where both have been, so that the result does not depend on
//! the chunks.

use std::collections::{HashMap, VecDeque};
use std::sync::LazyLock;

use memchr::{memchr, memchr3, memmem, memrchr};

use super::base64::{Ended, RunFinder};
use super::digits::has_letter;
use super::search::{Passage, Suspects};
use super::work::{self, Work};
use super::{Context, Copy, repeats};
use crate::domain::canary::{Integrity, Start};
use crate::domain::format::{Format, FoundIn, Shape};
use crate::domain::tag::{MARKER, Shape as TagShape, Tag, TraceId};

/// How much text before a tag is compared with what was sent, in bytes: fields may have been re-ordered.
const BEFORE: usize = 16 << 10;
/// How much text after a tag is compared, beyond twice the size of the canary, in bytes: escaping makes it
/// longer.
const AFTER: usize = 8 << 10;
/// How much text on either side is compared at first, beyond twice the size of the canary, in bytes.
const NEAR: usize = 1 << 10;
/// Canaries within so many bytes have the same surroundings.
const SHARED: usize = 4 << 10;
/// Shortest piece that can be filler; shorter ones are searched as fast.
const MIN_FILLER: usize = 4 << 10;
/// In what is this short, looking for the first letter of the marker first is faster than starting a search.
const SHORT: usize = 128;
/// Text is taken in by so much at a time.
const PIECE: usize = 64 << 10;

pub(super) struct Text {
    /// What a copy in it is found in.
    found_in: FoundIn,
    /// Bytes of runs of base64 that were not understood.
    unknown_runs: u64,
    window: Vec<u8>,
    /// What the last piece was, if it was only one byte over and over, and how long.
    filler: Option<(u8, usize)>,
    /// Where the window begins in the text. All positions count from the start of the text.
    base: usize,
    markers: Markers,
    runs: RunFinder,
    /// Where markers are still to be searched.
    suspects: Suspects,
    hits: VecDeque<Hit>,
    ended: VecDeque<Ended>,
    borders: Borders,
    seen: HashMap<TraceId, Seen>,
    /// The latest line with a copy.
    seen_in_line: Option<u64>,
    copies: Vec<Copy>,
    /// Hits whose surroundings have not been compared yet.
    unchecked: Vec<Unchecked>,
    surroundings: Surroundings,
}

/// What a text came to.
pub(super) struct Searched {
    pub(super) copies: Vec<Copy>,
    /// Bytes of runs of base64 that were not understood.
    pub(super) unknown_runs: u64,
}

/// A tag of ours.
struct Hit {
    at: usize,
    tag: Tag,
}

/// The latest copy of a trace.
#[derive(Clone, Copy)]
struct Seen {
    at: usize,
    copy: usize,
    record: Record,
    nested: bool,
}

struct Unchecked {
    at: usize,
    tag: Tag,
    copy: usize,
    /// Up to where no line break was found.
    searched: usize,
}

impl Text {
    pub(super) fn new(depth: usize, shape: Shape) -> Self {
        Self {
            found_in: FoundIn { shape: shape.then(Format::Text), decoded: true, verbatim: true },
            unknown_runs: 0,
            window: Vec::new(),
            filler: None,
            base: 0,
            markers: Markers { at: 0 },
            suspects: Suspects::new(),
            runs: RunFinder::new(depth, shape),
            hits: VecDeque::new(),
            ended: VecDeque::new(),
            borders: Borders::default(),
            seen: HashMap::new(),
            seen_in_line: None,
            copies: Vec::new(),
            unchecked: Vec::new(),
            surroundings: Surroundings::default(),
        }
    }

    pub(super) fn push(&mut self, bytes: &[u8], context: &mut Context) {
        for piece in bytes.chunks(PIECE) {
            if self.goes_on(piece) {
                continue;
            }
            self.window.extend_from_slice(piece);
            self.advance(false, context);
        }
    }

    /// Passes by a piece that is only one byte, over and over, like the piece before it: a bomb inflates faster
    /// than it can be searched. The window stays as it is, since it ends with the same bytes.
    fn goes_on(&mut self, piece: &[u8]) -> bool {
        let before = std::mem::replace(&mut self.filler, filler(piece));
        let is_settled = self.filler.is_some_and(|filler| before == Some(filler))
            && self.unchecked.is_empty()
            && self.hits.is_empty()
            && self.ended.is_empty()
            && self.suspects.is_empty()
            && self.runs.open_since().is_none();
        if is_settled {
            self.base += piece.len();
            self.markers.at += piece.len();
            self.runs.leave_out(piece.len());
            self.borders.jump(self.known());
        }
        is_settled
    }

    pub(super) fn finish(mut self, context: &mut Context) -> Searched {
        self.advance(true, context);
        Searched { copies: self.copies, unknown_runs: self.unknown_runs }
    }

    fn advance(&mut self, last: bool, context: &mut Context) {
        if context.work.is_over() {
            // The rest is not read, and what was not compared stays so.
            self.window.clear();
            return;
        }
        let (text, base) = (&self.window, self.base);
        let passage = Passage { bytes: text, base, last };
        self.runs.advance(passage, context, &mut self.ended, &mut self.suspects);
        self.markers.advance(passage, self.runs.position(), &mut self.suspects, context, &mut self.hits);
        self.merge(context);
        self.compare(last, context);
        self.trim();
    }

    /// Up to where both searchers have been.
    fn known(&self) -> usize {
        self.markers.at.min(self.runs.position())
    }

    fn merge(&mut self, context: &mut Context) {
        let known = self.known();
        loop {
            let hit = self.hits.front().map(|hit| hit.at).filter(|at| *at < known);
            let end = self.ended.front().map(|run| run.end).filter(|end| *end <= known);
            match (hit, end) {
                (Some(at), end) if end.is_none_or(|end| at < end) => {
                    let Some(hit) = self.hits.pop_front() else {
                        break;
                    };
                    self.cross(at, context);
                    self.take_hit(hit, context);
                }
                (_, Some(_)) => {
                    let Some(run) = self.ended.pop_front() else {
                        break;
                    };
                    self.cross(run.start, context);
                    self.borders.jump(run.end);
                    self.take_run(run, context);
                }
                (_, None) => break,
            }
        }
        self.cross(known, context);
    }

    /// Looks for borders of records up to `to`, outside runs of base64.
    fn cross(&mut self, to: usize, context: &mut Context) {
        let run = self.ended.front().map(|run| run.start);
        let to = run.or(self.runs.open_since()).map_or(to, |start| start.min(to));
        if self.borders_matter() {
            let steps = self.borders.cross(&self.window, self.base, to);
            context.work.spend(steps * work::BORDER);
        } else {
            self.borders.jump(to);
        }
    }

    /// Whether a copy stands in this line, to which another hit could belong.
    fn borders_matter(&self) -> bool {
        self.seen_in_line == Some(self.borders.record.line)
    }

    fn take_hit(&mut self, hit: Hit, context: &mut Context) {
        let record = self.borders.record;
        self.seen_in_line = Some(record.line);
        let copy = match self.seen.get(&hit.tag.trace) {
            Some(seen) if seen.is_one_with(record, Some(hit.at), hit.tag.size) => {
                context.copy_repeats();
                seen.copy
            }
            Some(_) | None => {
                let copy = Copy {
                    tag: hit.tag,
                    integrity: Integrity::Unchecked,
                    found_in: self.found_in,
                    compressed: false,
                };
                let Some(copy) = self.add(copy, context) else {
                    return;
                };
                let seen = Seen { at: hit.at, copy, record, nested: false };
                self.seen.insert(hit.tag.trace, seen);
                copy
            }
        };
        let settled = self.copies[copy].integrity == Integrity::Intact;
        if !settled && context.recognizer.template(&hit.tag).is_some() && context.may_compare(&hit.tag) {
            self.unchecked.push(Unchecked { at: hit.at, tag: hit.tag, copy, searched: hit.at });
        }
    }

    fn take_run(&mut self, run: Ended, context: &mut Context) {
        let record = self.borders.record;
        let before = self.copies.len();
        self.unknown_runs += run.unknown;
        if !run.copies.is_empty() {
            self.seen_in_line = Some(record.line);
        }
        for found in run.copies {
            // Only the first copy inside can be the one that also stands outside; the run knew the others
            // apart.
            let outside = self
                .seen
                .get(&found.tag.trace)
                .filter(|seen| {
                    let inside = seen.nested && seen.at == run.start;
                    !inside && seen.copy < before && seen.is_one_with(record, None, 0)
                })
                .copied();
            let copy = match outside {
                Some(seen) => {
                    self.copies[seen.copy].join(found.integrity);
                    seen.copy
                }
                None => match self.add(found, context) {
                    Some(copy) => copy,
                    None => return,
                },
            };
            let seen = Seen { at: run.start, copy, record, nested: true };
            self.seen.insert(found.tag.trace, seen);
        }
    }

    fn add(&mut self, copy: Copy, context: &mut Context) -> Option<usize> {
        // One more than the limit, so that whoever enforces it sees that there were more.
        if self.copies.len() > context.limits.max_copies {
            context.work.end();
            return None;
        }
        context.copy_begins();
        self.copies.push(copy);
        Some(self.copies.len() - 1)
    }

    /// Compares hits whose surroundings are at hand.
    fn compare(&mut self, last: bool, context: &mut Context) {
        let (window, base) = (&self.window, self.base);
        let end = base + window.len();
        let (copies, surroundings) = (&mut self.copies, &mut self.surroundings);
        self.unchecked.retain_mut(|hit| {
            context.work.spend(work::STEP);
            let reach = hit.at + hit.tag.version().tag_len() + 2 * hit.tag.size as usize + AFTER;
            let upto = reach.min(end);
            let line_end =
                memchr(b'\n', &window[hit.searched - base..upto - base]).map(|at| hit.searched + at);
            hit.searched = upto;
            if line_end.is_none() && end < reach && !last {
                return true;
            }
            let from = hit.at.saturating_sub(BEFORE).max(base);
            let line_start =
                memrchr(b'\n', &window[from - base..hit.at - base]).map_or(from, |at| from + at + 1);
            let line = &window[line_start - base..line_end.unwrap_or(upto) - base];
            let start = if line_start == from && from > 0 { Start::Within } else { Start::Record };
            let Some(integrity) = inspect(&hit.tag, line, hit.at - line_start, start, context) else {
                return true;
            };
            // The rest of the line is beyond a limit of ours, not of the pipeline's.
            let is_cut = line_end.is_none() && upto == end && context.is_cut_short();
            let copy = &mut copies[hit.copy];
            copy.join(match integrity {
                Integrity::Corrupted { .. } if is_cut => Integrity::Unchecked,
                Integrity::Intact | Integrity::Unchecked | Integrity::Corrupted { .. } => integrity,
            });
            // Of others it is known that something is missing.
            if copy.integrity == Integrity::Intact {
                let size = hit.tag.size as usize;
                let before = &window[from - base..hit.at.saturating_sub(size).max(from) - base];
                let after = &window[(hit.at + size).min(upto) - base..upto - base];
                let after = &after[..after.len().min(BEFORE)];
                copy.compressed |= surroundings.are_compressed(hit.at, before, after, &mut context.work);
            }
            false
        });
    }

    /// Lets go of text that nobody needs any more.
    fn trim(&mut self) {
        let oldest = self.unchecked.first().map(|hit| hit.at);
        let compared = oldest.unwrap_or(usize::MAX).min(self.known());
        let queued = self.hits.front().map_or(usize::MAX, |hit| hit.at);
        let mut needed = compared.min(queued).saturating_sub(BEFORE);
        let in_run = self.runs.open_since() == Some(self.borders.at);
        if self.borders_matter() && !in_run {
            needed = needed.min(self.borders.at);
        }
        let free = needed.saturating_sub(self.base);
        // What is kept is moved, so no more is kept than let go.
        if free >= PIECE.max(self.window.len() / 2) {
            self.window.drain(..free);
            self.base = needed;
        }
    }
}

/// Compares the canary whose tag stands at `at` in a line with what was sent; `None` if no more work is to be
/// spent on it.
fn inspect(tag: &Tag, line: &[u8], at: usize, start: Start, context: &mut Context) -> Option<Integrity> {
    let size = tag.size as usize;
    // Most canaries stand there as they were sent, and there may be many on one line. If one is whole in its
    // own surroundings, it is whole in all of the line.
    let reach = 2 * size + NEAR;
    let near = at.saturating_sub(reach)..line.len().min(at + reach);
    context.work.spend(work::VERIFY + (near.len() + size.min(near.len())) as u64 * work::COMPARE);
    if context.work.is_over() {
        return None;
    }
    let text = context.recognizer.keys.sign(tag);
    let template = context.recognizer.template(tag)?;
    let near_start = if near.start == 0 { start } else { Start::Record };
    let integrity = template.inspect(tag, &text, &line[near.clone()], at - near.start, near_start);
    if integrity == Integrity::Intact {
        return Some(integrity);
    }
    if near.len() == line.len() {
        return Some(integrity);
    }
    context.work.spend((line.len() + size.min(line.len())) as u64 * work::COMPARE_ALL);
    if context.work.is_over() {
        return None;
    }
    let template = context.recognizer.template(tag)?;
    Some(template.inspect(tag, &text, line, at, start))
}

/// Whether what stands around canaries was compressed, which many that stand close together share.
#[derive(Default)]
struct Surroundings {
    /// Where the canary stood for which it was last determined.
    checked_at: Option<usize>,
    compressed: bool,
}

impl Surroundings {
    fn are_compressed(&mut self, at: usize, before: &[u8], after: &[u8], work: &mut Work) -> bool {
        if self.checked_at.is_some_and(|checked| at < checked + SHARED) {
            return self.compressed;
        }
        let (missing, steps) = repeats::are_missing(before, after);
        work.spend(steps * work::GRAM + (before.len() + after.len()) as u64);
        (self.checked_at, self.compressed) = (Some(at), missing);
        missing
    }
}

/// The byte that a long piece consists of, if nothing that is looked for begins or goes on with it.
fn filler(piece: &[u8]) -> Option<(u8, usize)> {
    let first = *piece.first().filter(|_| piece.len() >= MIN_FILLER)?;
    let is_idle = matches!(first, 0 | b' ' | 0x80..);
    (is_idle && piece[1..] == piece[..piece.len() - 1]).then_some((first, piece.len()))
}

impl Seen {
    /// Whether a hit in `record` is the same copy; `at` is where it stands, if not within base64.
    fn is_one_with(&self, record: Record, at: Option<usize>, size: u32) -> bool {
        if self.record.line != record.line {
            return false;
        }
        self.record.part == record.part || (!self.nested && at.is_some_and(|at| at - self.at < size as usize))
    }
}

/// Finders of the marker in lower and in upper case. A scan of base64 opens a part for each run, so they are
/// made once.
static FINDERS: LazyLock<[memmem::Finder<'static>; 2]> = LazyLock::new(|| {
    [memmem::Finder::new(MARKER), memmem::Finder::new(&MARKER.to_ascii_uppercase()).into_owned()]
});

/// Searches the marker where a tag may be.
struct Markers {
    /// Up to where all tags are known.
    at: usize,
}

impl Markers {
    /// Goes on through `text` up to `known`, before which tags can only be in `suspects`.
    fn advance(
        &mut self,
        text: Passage<'_>,
        known: usize,
        suspects: &mut Suspects,
        context: &mut Context,
        hits: &mut VecDeque<Hit>,
    ) {
        let end = text.base + text.bytes.len();
        while let Some(suspect) = suspects.front() {
            self.at = self.at.max(suspect.start);
            // The last marker begins before the end of the suspect.
            let reach = suspect.end + MARKER.len() - 1;
            if !self.search(text, reach.min(end), context, hits) {
                return;
            }
            if reach > end && !text.last {
                self.at = self.at.max(suspect.end.min(end.saturating_sub(MARKER.len() - 1)));
                return;
            }
            suspects.pop_front();
        }
        self.at = self.at.max(known);
    }

    /// Searches up to `to`; `false` if the rest cannot be searched yet.
    fn search(
        &mut self,
        text: Passage<'_>,
        to: usize,
        context: &mut Context,
        hits: &mut VecDeque<Hit>,
    ) -> bool {
        let base = text.base;
        let suspect = &text.bytes[self.at.min(to) - base..to - base];
        if suspect.len() <= SHORT && !has_letter(suspect, MARKER.as_bytes()[0]) {
            return true;
        }
        let find = |finder: &memmem::Finder<'_>, from: usize| {
            finder.find(&text.bytes[from.min(to) - base..to - base]).map(|at| from + at)
        };
        let [of_lower, of_upper] = &*FINDERS;
        let (mut lower, mut upper) = (find(of_lower, self.at), find(of_upper, self.at));
        while let Some(at) = [lower, upper].into_iter().flatten().min() {
            context.work.spend(work::MARKER);
            if context.work.is_over() {
                return false;
            }
            let rest = &text.bytes[at - base..];
            let next = match TagShape::of(rest) {
                TagShape::Unfinished if !text.last => {
                    self.at = at;
                    return false;
                }
                TagShape::Unfinished | TagShape::Other => at + 1,
                TagShape::Whole(len) => {
                    hits.extend(context.verify(&rest[..len]).map(|tag| Hit { at, tag }));
                    at + len
                }
            };
            self.at = next;
            if lower.is_some_and(|at| at < next) {
                lower = find(of_lower, next);
            }
            if upper.is_some_and(|at| at < next) {
                upper = find(of_upper, next);
            }
        }
        true
    }
}

/// Which record a position belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
struct Record {
    /// Grows at each line break.
    line: u64,
    /// Grows where a JSON object follows on another, or after an escaped line break.
    part: u64,
}

/// Counts the borders of records.
#[derive(Default)]
struct Borders {
    at: usize,
    record: Record,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    Plain,
    /// After the end of an object, and what may stand before the next.
    Brace,
    /// The same, and after backslashes.
    BraceSlash,
    /// After backslashes.
    Slash,
    /// After an escaped line break, where a quote would only end the string.
    Break,
}

impl Borders {
    /// Continues at `to` and skips what is before it.
    fn jump(&mut self, to: usize) {
        if to > self.at {
            self.at = to;
            self.state = State::Plain;
        }
    }

    /// Returns how many bytes were looked at one by one.
    fn cross(&mut self, text: &[u8], base: usize, to: usize) -> u64 {
        let mut steps = 0;
        while self.at < to {
            let rest = &text[self.at - base..to - base];
            if self.state == State::Plain {
                match memchr3(b'\n', b'}', b'\\', rest) {
                    None => {
                        self.at = to;
                        return steps;
                    }
                    Some(skip) => self.at += skip,
                }
            }
            let byte = text[self.at - base];
            self.step(byte);
            self.at += 1;
            steps += 1;
        }
        steps
    }

    fn step(&mut self, byte: u8) {
        self.state = match (self.state, byte) {
            (_, b'\n') => {
                self.record.line += 1;
                State::Plain
            }
            (_, b'}') => State::Brace,
            (State::Brace | State::BraceSlash, b'{') => {
                self.record.part += 1;
                State::Plain
            }
            (State::Brace | State::BraceSlash, b'\\') => State::BraceSlash,
            (State::Slash | State::BraceSlash, b'n') => State::Break,
            // Also what stands between the messages of binary formats.
            (State::Brace, b' ' | b',' | b'"' | 0..0x20 | 0x7f..)
            | (State::BraceSlash, b'"' | b'r' | b't')
            | (State::Break, b'"') => State::Brace,
            (State::Break, b'\\' | b' ' | b'\t') => State::Break,
            (State::Break, _) => {
                self.record.part += 1;
                State::Plain
            }
            (State::Plain | State::Slash, b'\\') => State::Slash,
            (State::Plain | State::Slash | State::Brace | State::BraceSlash, _) => State::Plain,
        };
    }
}
