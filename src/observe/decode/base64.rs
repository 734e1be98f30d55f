//! Finds long runs of base64 in text, and opens them while they pass.
//!
//! Both alphabets are taken, with or without padding, and what JSON encoders make of them: `\/`, `\u002b`,
//! `\u002f`, `\u003d`. A run goes on over line breaks as long as its lines have one length: RFC 7468 (PEM)
//! has 64 characters, RFC 2045 (MIME) 76, Ruby's `Base64.encode64` 60. A run that is no base64 after all (a
//! path, a hash) decodes to garbage in which nothing is found; that is cheaper than to be clever, and counts
//! as no fault unless most of a text is made of it.

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use memchr::memchr2_iter;

use super::codec::SnappyWalk;
use super::digits::{are_hex, count_digits, ends_run, plain_digit};
use super::layer::Layer;
use super::magic::{self, HEAD, Place, begin, find_member};
use super::part::Trust;
use super::search::{Found, MIN_LINE, Passage, Search, Suspects};
use super::{Context, Copy, work};
use crate::domain::format::{Format, Shape, UnreadableReason};
use crate::domain::tag::MARKER;

/// A line of this length can hold a whole tag, and so can be a record of its own.
const LONG_LINE: usize = 82;
/// Shortest run that can speak against a text in which it decodes to nothing we know. Keys, signatures and
/// hashes are shorter.
const MIN_UNKNOWN: u64 = 256;
/// Runs that are shorter are looked at as a whole. They cannot speak against a text.
const MAX_IDLE: usize = MIN_UNKNOWN as usize;
/// It must have so many different characters among the first so many: rulers and padding have fewer.
const MIN_VARIETY: u32 = 16;
const OPENING: usize = 64;
/// How much of a line is examined to tell whether it continues the run.
const MAX_LINE_SAMPLE: usize = 1 << 10;
/// Longest row of backslashes that is taken for an escape: eight levels of JSON in JSON have 255.
const MAX_BACKSLASHES: usize = 255;
/// Characters that are decoded at a time.
const BATCH: usize = 8 << 10;

const ENGINE: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireNone),
);

/// A run that has ended.
pub(super) struct Ended {
    /// Where its first character stands in the text.
    pub(super) start: usize,
    /// Where the first byte after it stands.
    pub(super) end: usize,
    /// What was in it.
    pub(super) copies: Vec<Copy>,
    /// How many of its bytes were not understood: all or none.
    pub(super) unknown: u64,
}

/// Looks for runs in one text. Positions count from the start of the text.
pub(super) struct RunFinder {
    depth: usize,
    /// The formats around the text.
    shape: Shape,
    at: usize,
    active: Option<Run>,
    /// A run was found, and wrappers may not be nested any deeper.
    too_deep: bool,
    /// The last run that held nothing: logs repeat the digest of an image in every line.
    idle: Vec<u8>,
}

impl RunFinder {
    pub(super) fn new(depth: usize, shape: Shape) -> Self {
        Self { depth, shape, at: 0, active: None, too_deep: false, idle: Vec::new() }
    }

    /// Up to where all runs are known; the text from here on is still needed.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// Goes on behind so many bytes, of which none is of a run.
    pub(super) fn leave_out(&mut self, len: usize) {
        self.at += len;
    }

    /// Where the run begins that has not ended yet.
    pub(super) fn open_since(&self) -> Option<usize> {
        self.active.as_ref().map(|run| run.start)
    }

    /// Goes on without opening anything, and notes once whether there was something to open.
    fn skip(&mut self, passage: Passage<'_>, suspects: &mut Suspects, context: &mut Context) {
        let end = passage.base + passage.bytes.len();
        if !self.too_deep {
            match Search::new(passage).next_run(self.at, suspects) {
                Some(Found::Run { at }) => {
                    context.unreadable(self.shape.then(Format::Base64), UnreadableReason::OverLimit);
                    self.too_deep = true;
                    self.at = at;
                }
                Some(Found::Nothing { up_to }) => self.at = up_to,
                None => {}
            }
        }
        if self.too_deep && self.at < end {
            suspects.push_back(self.at..end);
            self.at = end;
        }
    }

    /// The length of a short run at the start of `text` that ends there and holds nothing.
    fn idle_run(&mut self, text: &[u8], context: &mut Context) -> Option<usize> {
        let text = text.get(..MAX_IDLE)?;
        let len = Some(count_digits(text)).filter(|len| *len < MAX_IDLE && ends_run(text[*len]))?;
        context.work.spend(work::IDLE_RUN);
        let run = &text[..len];
        if !is_idle(run) {
            return None;
        }
        // A tag is no part of what is passed by unread the next time.
        self.idle.clear();
        if !has_marker(run) {
            self.idle.extend_from_slice(run);
        }
        Some(len)
    }

    /// Goes on through what reaches at least up to [`RunFinder::position`]. Adds where tags may stand.
    pub(super) fn advance(
        &mut self,
        passage: Passage<'_>,
        context: &mut Context,
        ended: &mut impl Extend<Ended>,
        suspects: &mut Suspects,
    ) {
        let Passage { bytes: text, base, last } = passage;
        let end = base + text.len();
        if self.depth >= context.limits.max_depth {
            self.skip(passage, suspects, context);
            return;
        }
        loop {
            let Some(mut run) = self.active.take() else {
                let mut search = Search::new(passage).passing_by(&self.idle);
                let start = search.next_run(self.at, suspects);
                context.work.spend(search.idle_runs * work::REPEATED_RUN);
                match start {
                    None => return,
                    Some(Found::Nothing { up_to }) => {
                        self.at = up_to;
                        return;
                    }
                    Some(Found::Run { at }) => {
                        self.at = at;
                        if let Some(len) = self.idle_run(&text[at - base..], context) {
                            suspects.push_back(at..at + len);
                            self.at += len;
                            continue;
                        }
                        context.work.spend(work::LAYER);
                        if context.work.is_over() {
                            suspects.push_back(at..end);
                            self.at = end;
                            return;
                        }
                        self.active = Some(Run::new(self.at, self.depth, self.shape));
                    }
                }
                continue;
            };
            let from = self.at;
            let (taken, over) = run.feed(&text[self.at - base..], last, context);
            self.at += taken;
            let Some(End { skip }) = over else {
                suspects.push_back(from..self.at);
                self.active = Some(run);
                return;
            };
            let run_end = self.at;
            // What ended it is not the start of another one; and without a step there would be no end to this.
            self.at += skip.max(usize::from(run.start == run_end));
            self.at = self.at.min(end);
            suspects.push_back(from..self.at);
            let start = run.start;
            ended.extend([run.finish(start, run_end, context)]);
        }
    }
}

/// Whether a short run holds nothing, such as a hash. Logs have many, and most of the work would be to make a
/// layer for each.
fn is_idle(text: &[u8]) -> bool {
    let len = text.len();
    let mut digits = [0; MAX_IDLE];
    let digits = &mut digits[..len - usize::from(len % 4 == 1)];
    for (digit, byte) in digits.iter_mut().zip(text) {
        *digit = plain_digit(*byte);
    }
    let mut bytes = [0; MAX_IDLE];
    let Ok(decoded) = ENGINE.decode_slice(&digits, &mut bytes) else {
        return false;
    };
    let bytes = &bytes[..decoded];
    begin(&bytes[..bytes.len().min(HEAD)], Place::Start).is_none()
        && magic::name(bytes, bytes).is_none()
        && find_member(bytes, true).0.is_none()
        && !has_marker(bytes)
        && !has_run(bytes)
        && !SnappyWalk::is_block(bytes)
}

fn has_marker(bytes: &[u8]) -> bool {
    let first = MARKER.as_bytes()[0];
    let marker = |at: usize| {
        bytes.get(at..at + MARKER.len()).is_some_and(|it| it.eq_ignore_ascii_case(MARKER.as_bytes()))
    };
    memchr2_iter(first, first.to_ascii_uppercase(), bytes).any(marker)
}

fn has_run(bytes: &[u8]) -> bool {
    let mut search = Search::new(Passage { bytes, base: 0, last: true });
    matches!(search.next_run(0, &mut Suspects::new()), Some(Found::Run { .. }))
}

/// A run that is being decoded.
struct Run {
    start: usize,
    /// Characters since the last line break.
    line: usize,
    /// The length of its lines, once one has ended.
    width: Option<usize>,
    /// Whether all its digits are hexadecimal.
    is_hex: bool,
    opening: [u8; OPENING],
    opening_len: usize,
    padding: usize,
    digits: Vec<u8>,
    bytes: Vec<u8>,
    inner: Layer,
}

/// What follows on a line break.
enum NextLine {
    Digits,
    Other,
    /// It depends on what follows.
    Unknown,
}

/// The run is over, because of something that is `skip` bytes long.
struct End {
    skip: usize,
}

/// What stands where no plain digit stands.
enum Unit {
    Digit(u8, usize),
    Padding(usize),
    LineBreak(usize),
    Other(usize),
    Unfinished,
}

impl Run {
    fn new(start: usize, depth: usize, shape: Shape) -> Self {
        Self {
            start,
            line: 0,
            width: None,
            is_hex: true,
            opening: [0; OPENING],
            opening_len: 0,
            padding: 0,
            digits: Vec::new(),
            bytes: Vec::new(),
            inner: Layer::new(depth + 1, shape.then(Format::Base64), Trust::Guess),
        }
    }

    /// Takes what belongs to it from the start of `text`: how many bytes, and whether that was the end.
    fn feed(&mut self, text: &[u8], last: bool, context: &mut Context) -> (usize, Option<End>) {
        let mut at = 0;
        while at < text.len() {
            let rest = &text[at..];
            let plain = count_digits(rest);
            if plain > 0 {
                if self.padding > 0 {
                    return (at, Some(End { skip: 0 }));
                }
                self.take(&rest[..plain], context);
                at += plain;
                continue;
            }
            match unit(rest, last) {
                Unit::Unfinished => return (at, None),
                Unit::Digit(digit, len) if self.padding == 0 => {
                    self.take(&[digit], context);
                    at += len;
                }
                Unit::Padding(len) if self.padding < 2 => {
                    self.padding += 1;
                    at += len;
                }
                Unit::LineBreak(len) if self.padding == 0 && self.may_wrap() => {
                    // A line break belongs to the run only if the run goes on behind it.
                    let len = match unit_after_break(&rest[len..], last) {
                        Some(Unit::LineBreak(second)) => len + second,
                        Some(_) => len,
                        None => return (at, None),
                    };
                    match self.next_line(&rest[len..], last) {
                        NextLine::Unknown => return (at, None),
                        NextLine::Other => return (at, Some(End { skip: len })),
                        NextLine::Digits => {
                            self.width = Some(self.line);
                            self.line = 0;
                            at += len;
                        }
                    }
                }
                Unit::Digit(_, len) | Unit::Padding(len) | Unit::LineBreak(len) | Unit::Other(len) => {
                    return (at, Some(End { skip: len }));
                }
            }
        }
        (at, last.then_some(End { skip: 0 }))
    }

    /// Whether the run can go on after a break of the line that ends here. Lines of one length may also be
    /// records of their own; long ones are only taken together where each ends with a whole byte, so that
    /// nothing is lost if so.
    fn may_wrap(&self) -> bool {
        let fits = self.line >= MIN_LINE && (self.line < LONG_LINE || self.line.is_multiple_of(4));
        fits && self.width.is_none_or(|width| width == self.line)
    }

    /// Whether the line after a break belongs to the run: it is as long as the one before, or it is the last
    /// one, which is shorter and has nothing else on it. An ordinary line that follows must not be taken for
    /// more bytes.
    fn next_line(&self, text: &[u8], last: bool) -> NextLine {
        let width = self.line;
        let line = &text[..text.len().min(width.min(MAX_LINE_SAMPLE) + 1)];
        let digits = count_digits(line);
        if digits == 0 && (last || !text.is_empty()) {
            return NextLine::Other;
        }
        let Some(after) = text.get(digits..).filter(|after| last || after.len() > 2) else {
            return NextLine::Unknown;
        };
        if digits > width {
            return NextLine::Other;
        }
        if digits == width || digits > MAX_LINE_SAMPLE {
            return NextLine::Digits;
        }
        let whole_bytes = |padding: usize| !width.is_multiple_of(4) || (digits + padding).is_multiple_of(4);
        if after.first() == Some(&b'\\') {
            return match unit(after, last) {
                Unit::Unfinished => NextLine::Unknown,
                Unit::Digit(..) | Unit::Padding(_) => NextLine::Digits,
                Unit::LineBreak(_) if !whole_bytes(0) => NextLine::Other,
                Unit::LineBreak(_) | Unit::Other(_) => NextLine::Digits,
            };
        }
        let padding = after.iter().take(2).take_while(|byte| **byte == b'=').count();
        let ends = match after.get(padding) {
            None | Some(b'"' | b'\'') => true,
            Some(b'\r' | b'\n' | b'\\' | b'<' | b',' | b')') => whole_bytes(padding),
            Some(_) => false,
        };
        if ends { NextLine::Digits } else { NextLine::Other }
    }

    fn take(&mut self, digits: &[u8], context: &mut Context) {
        if self.opening_len < OPENING {
            let len = digits.len().min(OPENING - self.opening_len);
            self.opening[self.opening_len..self.opening_len + len].copy_from_slice(&digits[..len]);
            self.opening_len += len;
        }
        context.work.spend(digits.len() as u64 * work::BASE64_DIGIT);
        self.line += digits.len();
        self.is_hex = self.is_hex && are_hex(digits);
        for piece in digits.chunks(BATCH) {
            self.digits.extend(piece.iter().map(|digit| plain_digit(*digit)));
            if self.digits.len() >= BATCH {
                self.decode(self.digits.len() / 4 * 4, context);
            }
        }
    }

    fn decode(&mut self, len: usize, context: &mut Context) {
        self.bytes.clear();
        // Every character is of the alphabet and the length is one that can be, so there is nothing to fail.
        if ENGINE.decode_vec(&self.digits[..len], &mut self.bytes).is_ok() {
            self.inner.push(&self.bytes, context);
        }
        self.digits.drain(..len);
    }

    /// How many different characters are among its first ones.
    fn variety(&self) -> u32 {
        let seen =
            self.opening[..self.opening_len].iter().fold(0_u128, |seen, digit| seen | 1 << (digit & 0x7f));
        seen.count_ones()
    }

    fn finish(mut self, start: usize, end: usize, context: &mut Context) -> Ended {
        let len = self.digits.len();
        // A single character left over stands for no byte: the run was cut short.
        self.decode(len - usize::from(len % 4 == 1), context);
        let len = (end - start) as u64;
        let speaks = !self.is_hex && len >= MIN_UNKNOWN && self.variety() >= MIN_VARIETY;
        let finished = self.inner.finish(context);
        let unknown = if finished.unknown && speaks { len } else { 0 };
        Ended { start, end, copies: finished.copies, unknown }
    }
}

/// What follows on a line break, if that can be told: `\r\n` is two.
fn unit_after_break(text: &[u8], last: bool) -> Option<Unit> {
    match text.first() {
        None if last => Some(Unit::Other(0)),
        None => None,
        Some(b'\r' | b'\n' | b'\\') => match unit(text, last) {
            Unit::Unfinished => None,
            known => Some(known),
        },
        Some(_) => Some(Unit::Other(0)),
    }
}

/// Reads an escape, padding or line break; `text` is not empty.
fn unit(text: &[u8], last: bool) -> Unit {
    match text[0] {
        b'=' => Unit::Padding(1),
        b'\r' | b'\n' => Unit::LineBreak(1),
        b'\\' => {
            let slashes = text.iter().take(MAX_BACKSLASHES + 1).take_while(|byte| **byte == b'\\').count();
            if slashes > MAX_BACKSLASHES {
                return Unit::Other(slashes);
            }
            let cut = || {
                if last { Unit::Other(text.len()) } else { Unit::Unfinished }
            };
            let Some(letter) = text.get(slashes) else {
                return cut();
            };
            match letter {
                b'/' => Unit::Digit(b'/', slashes + 1),
                b'n' | b'r' | b't' => Unit::LineBreak(slashes + 1),
                b'u' => {
                    let Some(code) = text.get(slashes + 1..slashes + 5) else {
                        return cut();
                    };
                    let len = slashes + 5;
                    match code.to_ascii_lowercase().as_slice() {
                        b"003d" => Unit::Padding(len),
                        b"002b" => Unit::Digit(b'+', len),
                        b"002f" => Unit::Digit(b'/', len),
                        b"000a" | b"000d" => Unit::LineBreak(len),
                        _ => Unit::Other(len),
                    }
                }
                _ => Unit::Other(slashes + 1),
            }
        }
        _ => Unit::Other(0),
    }
}
