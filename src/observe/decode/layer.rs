//! One wrapper: looks at how the bytes begin, takes the wrapper off, and hands what is inside to the next
//! layer.
//!
//! A layer is a row of segments: members of compressed bytes, and text before, between and after them.
//! Members of one format that follow on each other share what is inside, as lines may run on from one to the
//! next.
//!
//! Whether a member begins is not always certain. So it is on trial at first: its raw bytes are kept until
//! enough of it was decompressed, and are taken for text if it was none.

use super::avro::Avro;
use super::codec::{Codec, End, Output, SnappyWalk, codec, guarded, snappy_block};
use super::magic::{Begin, HEAD, Place, begin, find_member};
use super::part::{Finished, Part, Trust};
use super::tar::{self, Tar};
use super::utf16::Utf16;
use super::zip::Zip;
use super::{Context, Copy, kpl, parquet, text_sample, work};
use crate::domain::format::{Format, Shape, UnreadableReason};

/// A trial is over after so many raw bytes, or so many decompressed ones.
const TRIAL_RAW: usize = 4 << 10;
const TRIAL_OUT: usize = 64 << 10;

/// So many bytes of text come of nothing but a member.
const MIN_TEXT: usize = 32;

/// What comes again comes with so much of what follows.
const JOINED: usize = 1 << 10;

/// Text is gone through by so much at a time.
const TEXT_PIECE: usize = 16 << 10;

pub(super) struct Layer {
    depth: usize,
    /// The formats around it.
    shape: Shape,
    trust: Trust,
    state: State,
    /// Where the bytes stand that come next.
    place: Place,
    /// Bytes that do not tell yet what begins.
    head: Vec<u8>,
    /// The text that is being searched. It stays open while a member is on trial.
    part: Option<Box<Part>>,
    /// What is inside the latest members.
    inner: Option<(Format, Box<Layer>)>,
    /// A line break stood between two members.
    broken: bool,
    /// The text ends with a line break.
    after_break: bool,
    /// So many bytes are text, whatever they look like: they have been tried.
    plain: usize,
    /// Whether members are looked for in text.
    detect: bool,
    copies: Vec<Copy>,
    unknown: bool,
}

enum State {
    /// Something begins.
    Begins,
    Text,
    Stream(Box<Stream>),
    /// A skippable frame: its header, how much of it is left, and a search of it as it is, since its length may be
    /// wrong.
    Skippable(Vec<u8>, u64, Box<Part>),
    /// Perhaps one bare Snappy block.
    Walk(Box<SnappyWalk>, Vec<u8>),
    /// Held until its end.
    Held(Format, Vec<u8>),
    Zip(Box<Zip>),
    Tar(Box<Tar>),
    Avro(Box<Avro>),
    Utf16(Box<Utf16>),
}

struct Stream {
    format: Format,
    codec: Box<dyn Codec>,
    sure: bool,
    trial: Option<Trial>,
    out: Output,
}

#[derive(Default)]
struct Trial {
    raw: Vec<u8>,
    out: Vec<u8>,
}

/// How to go on.
enum Next {
    /// So much of the input is done with.
    Took(usize),
    /// So much was taken, but these bytes come again before the rest.
    Again(usize, Vec<u8>),
}

impl Layer {
    pub(super) fn new(depth: usize, shape: Shape, trust: Trust) -> Self {
        Self {
            depth,
            shape,
            trust,
            state: State::Begins,
            place: Place::Start,
            head: Vec::new(),
            part: None,
            inner: None,
            broken: false,
            after_break: true,
            plain: 0,
            detect: true,
            copies: Vec::new(),
            unknown: false,
        }
    }

    /// For the values of a container: nothing begins at their start but text, which may have members in it.
    pub(super) fn values(depth: usize, shape: Shape, trust: Trust) -> Self {
        Self { state: State::Text, ..Self::new(depth, shape, trust) }
    }

    pub(super) fn push(&mut self, bytes: &[u8], context: &mut Context) {
        self.feed(bytes, false, context);
    }

    pub(super) fn finish(mut self, context: &mut Context) -> Finished {
        loop {
            let again = match std::mem::replace(&mut self.state, State::Text) {
                // What is held is not looked at any more.
                State::Begins | State::Walk(..) | State::Held(..) if context.work.is_over() => None,
                State::Begins if self.head.is_empty() => None,
                State::Begins => {
                    self.state = State::Begins;
                    Some(std::mem::take(&mut self.head))
                }
                State::Stream(stream) => self.end_stream(*stream, context),
                State::Walk(walk, held) => self.end_walk(&walk, held, context),
                State::Held(format, held) => self.end_held(format, held, context),
                State::Zip(zip) => {
                    self.end_zip(*zip, context);
                    None
                }
                State::Tar(tar) => {
                    let copies = tar.finish(context);
                    self.collect(copies, context);
                    None
                }
                State::Avro(avro) => {
                    let copies = avro.finish(context);
                    self.collect(copies, context);
                    None
                }
                State::Utf16(utf16) => {
                    let (finished, copies) = utf16.finish(context);
                    self.close(finished, context);
                    self.collect(copies, context);
                    None
                }
                State::Skippable(_, _, skipped) => {
                    self.end_skipped(*skipped, context);
                    let of_lz4 = matches!(self.inner, Some((Format::Lz4 | Format::Lz4Legacy, _)));
                    let format = if of_lz4 { Format::Lz4 } else { Format::Zstd };
                    context.unreadable(self.shape.then(format), UnreadableReason::Truncated);
                    None
                }
                State::Text => None,
            };
            match again {
                Some(bytes) if !bytes.is_empty() => self.feed(&bytes, true, context),
                _ => break,
            }
        }
        self.close_inner(context);
        self.close_part(context);
        Finished { copies: self.copies, unknown: self.unknown }
    }

    fn feed(&mut self, bytes: &[u8], last: bool, context: &mut Context) {
        let mut rest = bytes;
        // What comes again before the rest, the next of it last, and how far it was taken.
        let mut again: Vec<(Vec<u8>, usize)> = Vec::new();
        loop {
            while again.pop_if(|(bytes, at)| *at == bytes.len()).is_some() {}
            let input = again.last().map_or(rest, |(bytes, at)| &bytes[*at..]);
            context.work.spend(work::STEP);
            if input.is_empty() || context.work.is_over() {
                return;
            }
            let is_last = last && (again.is_empty() || (again.len() == 1 && rest.is_empty()));
            let (mut taken, more) = match self.step(input, is_last, context) {
                Next::Took(taken) => (taken, None),
                Next::Again(taken, more) => (taken, Some(more)),
            };
            let more = more.map(|mut more| {
                // With a little of what follows: whatever begins at its end would be tried on these bytes alone.
                let joined = if more.len() < TEXT_PIECE { JOINED } else { 0 };
                let after = &input[taken..input.len().min(taken + joined)];
                more.extend_from_slice(after);
                taken += after.len();
                (more, 0)
            });
            match again.last_mut() {
                Some((_, at)) => *at += taken,
                None => rest = &rest[taken..],
            }
            again.extend(more);
        }
    }

    /// Takes some of `input`, which is not empty. `last` says that nothing follows on it.
    fn step(&mut self, input: &[u8], last: bool, context: &mut Context) -> Next {
        match std::mem::replace(&mut self.state, State::Text) {
            State::Begins => self.begins(input, last, context),
            State::Text => Next::Took(self.text(input, context)),
            State::Stream(stream) => self.stream(stream, input, context),
            State::Skippable(header, left, skipped) => self.skip(header, left, skipped, input, context),
            State::Walk(walk, held) => self.walk(walk, held, input, context),
            State::Held(format, held) => self.hold(format, held, input, context),
            State::Zip(mut zip) => {
                let taken = zip.push(input, context);
                if zip.is_whole() {
                    self.end_zip(*zip, context);
                    self.state = State::Begins;
                    self.place = Place::Between;
                    self.broken = false;
                } else {
                    self.state = State::Zip(zip);
                }
                Next::Took(taken)
            }
            State::Tar(mut tar) => {
                tar.push(input, context);
                self.state = State::Tar(tar);
                Next::Took(input.len())
            }
            State::Avro(mut avro) => {
                avro.push(input, context);
                self.state = State::Avro(avro);
                Next::Took(input.len())
            }
            State::Utf16(mut utf16) => {
                utf16.push(input, context);
                self.state = State::Utf16(utf16);
                Next::Took(input.len())
            }
        }
    }

    /// Decides what begins.
    fn begins(&mut self, input: &[u8], last: bool, context: &mut Context) -> Next {
        self.state = State::Begins;
        if self.place == Place::Between && self.head.is_empty() {
            // What some writers put between members or at the end: line breaks, and zeros up to a block.
            let filler = input.iter().take_while(|byte| **byte == 0 || byte.is_ascii_whitespace()).count();
            if filler > 0 {
                self.broken |= input[..filler].contains(&b'\n');
                return Next::Took(filler);
            }
        }
        // A tar archive is known by a whole block.
        let needed = if self.place == Place::Start { tar::BLOCK } else { HEAD };
        if !self.head.is_empty() || (input.len() < needed && !last) {
            let missing = (needed - self.head.len()).min(input.len());
            self.head.extend_from_slice(&input[..missing]);
            if self.head.len() < needed {
                return Next::Took(missing);
            }
            return Next::Again(missing, std::mem::take(&mut self.head));
        }
        let place = std::mem::replace(&mut self.place, Place::Between);
        let begin = begin(&input[..input.len().min(HEAD)], place)
            .or((place == Place::Start && tar::is_header(input)).then_some(Begin::Whole(Format::Tar)));
        let Some(begin) = begin else {
            self.state = State::Text;
            self.plain = usize::from(place == Place::Within);
            if place == Place::Start {
                let mut walk = SnappyWalk::default();
                if walk.push(input, &mut context.work) {
                    self.state = State::Walk(Box::new(walk), Vec::new());
                    return self.first_of_walk(input, context);
                }
            }
            return Next::Took(0);
        };
        let format = match begin {
            Begin::Skippable => Format::Zstd,
            Begin::Utf8Mark => {
                self.state = State::Begins;
                return Next::Took(3);
            }
            Begin::Stream { format, .. } | Begin::Whole(format) => format,
            Begin::Utf16Mark { .. } => Format::Utf16,
        };
        if self.depth >= context.limits.max_depth {
            context.unreadable(self.shape.then(format), UnreadableReason::OverLimit);
            self.open_rest(format, context);
            return Next::Took(0);
        }
        let inside = self.shape.then(format);
        context.work.spend(work::decoder(format));
        self.state = match begin {
            Begin::Stream { sure, .. } => match codec(format) {
                Some(codec) => State::Stream(Box::new(Stream {
                    format,
                    codec,
                    sure,
                    trial: Some(Trial::default()),
                    out: Output::default(),
                })),
                None => State::Text,
            },
            Begin::Whole(Format::Zip) => State::Zip(Box::new(Zip::new(self.depth, inside))),
            Begin::Whole(Format::Tar) => State::Tar(Box::new(Tar::new(self.depth, inside))),
            Begin::Whole(Format::Avro) => State::Avro(Box::new(Avro::new(self.depth, inside))),
            Begin::Whole(format) => State::Held(format, Vec::new()),
            Begin::Utf16Mark { big_endian } => {
                let inner = Self::new(self.depth + 1, inside, self.trust);
                let raw = Part::skipped(self.depth, self.shape);
                self.state = State::Utf16(Box::new(Utf16::new(big_endian, inner, raw)));
                return Next::Took(2);
            }
            Begin::Skippable => {
                let skipped = Part::skipped(self.depth, inside);
                State::Skippable(Vec::new(), 0, Box::new(skipped))
            }
            Begin::Utf8Mark => State::Text,
        };
        Next::Took(0)
    }

    /// Searches text up to where a member may begin; how much was taken.
    fn text(&mut self, input: &[u8], context: &mut Context) -> usize {
        let plain = self.plain.min(input.len());
        self.plain = 0;
        // Pieces that fit into the nearest cache, because they are gone through several times.
        let input = &input[..input.len().min(TEXT_PIECE)];
        let member = self.detect.then(|| {
            let after_break = if plain == 0 { self.after_break } else { input[plain - 1] == b'\n' };
            let (member, compared) = find_member(&input[plain..], after_break);
            context.work.spend(compared * work::COMPARED);
            member
        });
        let mut member = member.flatten().map(|at| plain + at);
        if member.is_some() && context.trials_left == 0 {
            context.unreadable(self.shape, UnreadableReason::OverLimit);
            self.detect = false;
            member = None;
        }
        let text = &input[..member.unwrap_or(input.len())];
        if member.is_some() {
            self.state = State::Begins;
            self.place = Place::Within;
        }
        if let Some(last) = text.last() {
            self.after_break = *last == b'\n';
            self.open_part(context).push(text, context);
        }
        text.len()
    }

    fn stream(&mut self, mut stream: Box<Stream>, input: &[u8], context: &mut Context) -> Next {
        let mut taken = 0;
        loop {
            context.work.spend(work::STEP);
            stream.out.clear();
            let Stream { codec, out, .. } = &mut *stream;
            let step = guarded(|| codec.step(&input[taken..], out));
            let (read, end) = match step {
                Ok(step) => (step.taken.min(input.len() - taken), step.end),
                Err(panic) => (input.len() - taken, Some(End::Fault(panic))),
            };
            let idle = read == 0 && stream.out.is_empty();
            let end = end.or((idle && taken < input.len()).then_some(End::Fault(UnreadableReason::Damaged)));
            if let Some(trial) = &mut stream.trial {
                // What surely begins is handed on at once; its raw bytes are only kept until it gives
                // something.
                let gives = stream.sure && !stream.out.is_empty();
                if !gives {
                    trial.raw.extend_from_slice(&input[taken..taken + read]);
                    trial.out.extend_from_slice(&stream.out);
                    stream.out.clear();
                }
                let over = gives || trial.raw.len() >= TRIAL_RAW || trial.out.len() >= TRIAL_OUT;
                if gives || end == Some(End::Whole) || (end.is_none() && over) {
                    self.commit(&mut stream, context);
                }
            }
            taken += read;
            let fits = self.deliver(&stream.out, context);
            let end = if fits { end } else { Some(End::Fault(UnreadableReason::OverLimit)) };
            match end {
                None if idle => {
                    self.state = State::Stream(stream);
                    return Next::Took(taken);
                }
                None => {}
                Some(End::Whole) => {
                    self.state = State::Begins;
                    self.place = Place::Between;
                    self.broken = false;
                    let leftover = guarded(|| stream.codec.leftover()).unwrap_or_default();
                    return if leftover.is_empty() {
                        Next::Took(taken)
                    } else {
                        Next::Again(taken, leftover)
                    };
                }
                Some(End::Fault(reason)) => return self.fault(*stream, reason, taken, context),
            }
        }
    }

    /// A member turned out to be damaged, or to be none.
    fn fault(
        &mut self,
        mut stream: Stream,
        reason: UnreadableReason,
        taken: usize,
        context: &mut Context,
    ) -> Next {
        let format = stream.format;
        let mut again = Vec::new();
        if let Some(trial) = &mut stream.trial {
            // Whatever gave a text was one, although it is damaged.
            let gave_text = trial.out.len() >= MIN_TEXT && text_sample::is_text(&trial.out);
            let judged = !gave_text
                && (reason == UnreadableReason::Damaged || reason == UnreadableReason::DecoderPanic);
            if judged && (!stream.sure || trial.out.is_empty()) {
                again = std::mem::take(&mut trial.raw);
            }
            if judged && !stream.sure {
                context.trials_left = context.trials_left.saturating_sub(1);
                self.plain = 1;
                return Next::Again(taken, again);
            }
            self.commit_all(&mut stream, context);
        }
        context.unreadable(self.shape.then(format), reason);
        self.open_rest(format, context);
        self.detect = reason != UnreadableReason::OverLimit;
        self.plain = 1;
        Next::Again(taken, again)
    }

    /// The end of the bytes within a member; what has to be looked at again.
    fn end_stream(&mut self, mut stream: Stream, context: &mut Context) -> Option<Vec<u8>> {
        if stream.codec.may_end() {
            self.commit_all(&mut stream, context);
            self.state = State::Begins;
            self.place = Place::Between;
            return Some(stream.codec.leftover());
        }
        if let Some(trial) = &mut stream.trial {
            let is_none = !stream.sure && (trial.out.is_empty() || text_sample::is_text(&trial.raw));
            if is_none {
                context.trials_left = context.trials_left.saturating_sub(1);
                self.plain = 1;
                return Some(std::mem::take(&mut trial.raw));
            }
            self.commit_all(&mut stream, context);
        }
        context.unreadable(self.shape.then(stream.format), UnreadableReason::Truncated);
        None
    }

    /// Ends a trial: it is a member.
    fn commit(&mut self, stream: &mut Stream, context: &mut Context) {
        let Some(trial) = stream.trial.take() else {
            return;
        };
        let follows = self.part.is_none();
        self.close_part(context);
        match &mut self.inner {
            Some((format, inner)) if follows && *format == stream.format => {
                if self.broken {
                    inner.push(b"\n", context);
                }
            }
            _ => {
                self.close_inner(context);
                let inner = Self::new(self.depth + 1, self.shape.then(stream.format), Trust::Judge);
                self.inner = Some((stream.format, Box::new(inner)));
            }
        }
        self.broken = false;
        // Goes into the buffer that is delivered next, so that the limit is checked in one place.
        if !trial.out.is_empty() {
            let more = std::mem::take(&mut stream.out);
            stream.out.extend(&trial.out);
            stream.out.extend(&more);
        }
    }

    /// Ends a trial at a fault or at the end, and hands on what came of it.
    fn commit_all(&mut self, stream: &mut Stream, context: &mut Context) {
        stream.out.clear();
        self.commit(stream, context);
        if !self.deliver(&stream.out, context) {
            context.unreadable(self.shape.then(stream.format), UnreadableReason::OverLimit);
        }
    }

    /// Hands decompressed bytes on; `false` when they are more than the limit.
    fn deliver(&mut self, out: &[u8], context: &mut Context) -> bool {
        if out.is_empty() {
            return true;
        }
        context.work.spend(work::PUSH);
        let allowed = context.allow_inflated(out.len());
        if let Some((_, inner)) = &mut self.inner {
            inner.push(&out[..allowed], context);
        }
        allowed == out.len()
    }

    fn skip(
        &mut self,
        mut header: Vec<u8>,
        mut left: u64,
        mut skipped: Box<Part>,
        input: &[u8],
        context: &mut Context,
    ) -> Next {
        let mut taken = 0;
        if header.len() < 8 {
            taken = (8 - header.len()).min(input.len());
            header.extend_from_slice(&input[..taken]);
            if let Some(size) = header.get(4..8) {
                left = u64::from(u32::from_le_bytes([size[0], size[1], size[2], size[3]]));
            }
        }
        let rest = &input[taken..];
        let len = usize::try_from(left).map_or(rest.len(), |left| left.min(rest.len()));
        context.quietly(|context| skipped.push(&rest[..len], context));
        left -= len as u64;
        self.place = Place::Between;
        if header.len() == 8 && left == 0 {
            self.end_skipped(*skipped, context);
            self.state = State::Begins;
        } else {
            self.state = State::Skippable(header, left, skipped);
        }
        Next::Took(taken + len)
    }

    fn end_skipped(&mut self, skipped: Part, context: &mut Context) {
        let copies = context.quietly(|context| skipped.finish(context).copies);
        self.collect(copies, context);
    }

    fn first_of_walk(&mut self, input: &[u8], context: &mut Context) -> Next {
        match std::mem::replace(&mut self.state, State::Text) {
            State::Walk(walk, held) => self.hold_walk(walk, held, input, context),
            _ => Next::Took(0),
        }
    }

    fn walk(
        &mut self,
        mut walk: Box<SnappyWalk>,
        held: Vec<u8>,
        input: &[u8],
        context: &mut Context,
    ) -> Next {
        if walk.push(input, &mut context.work) {
            return self.hold_walk(walk, held, input, context);
        }
        context.release(held.len());
        Next::Again(0, held)
    }

    /// Holds what may be more of a Snappy block.
    fn hold_walk(
        &mut self,
        walk: Box<SnappyWalk>,
        mut held: Vec<u8>,
        input: &[u8],
        context: &mut Context,
    ) -> Next {
        if context.hold(input.len()) {
            held.extend_from_slice(input);
            self.state = State::Walk(walk, held);
            return Next::Took(input.len());
        }
        context.release(held.len());
        self.snappy_over_limit(context);
        Next::Again(0, held)
    }

    /// What is most likely a Snappy block is not opened.
    fn snappy_over_limit(&mut self, context: &mut Context) {
        context.unreadable(self.shape.then(Format::SnappyRaw), UnreadableReason::OverLimit);
        self.open_rest(Format::SnappyRaw, context);
    }

    fn end_walk(&mut self, walk: &SnappyWalk, held: Vec<u8>, context: &mut Context) -> Option<Vec<u8>> {
        let again = if walk.is_whole() { self.open_walk(&held, context) } else { true };
        context.release(held.len());
        again.then_some(held)
    }

    /// Opens what is a Snappy block; whether it is to be searched as it is. It stays held, since what is inside may be
    /// another one.
    fn open_walk(&mut self, held: &[u8], context: &mut Context) -> bool {
        let mut out = Output::default();
        let opened = if self.depth < context.limits.max_depth {
            let room = usize::try_from(context.room()).unwrap_or(usize::MAX);
            let block = || snappy_block(held, room.min(context.limits.max_held_bytes), &mut out);
            guarded(block).and_then(|opened| opened)
        } else {
            Err(UnreadableReason::OverLimit)
        };
        context.allow_inflated(out.len());
        match opened {
            Ok(()) if text_sample::is_text(&out) => {}
            // Text that happens to be a block is read as what it is.
            Err(UnreadableReason::OverLimit) if !text_sample::is_text(held) => {
                self.snappy_over_limit(context);
                return true;
            }
            _ => return true,
        }
        let mut inner = Self::new(self.depth + 1, self.shape.then(Format::SnappyRaw), Trust::Judge);
        inner.push(&out, context);
        let finished = inner.finish(context);
        self.close(finished, context);
        false
    }

    fn hold(&mut self, format: Format, mut held: Vec<u8>, input: &[u8], context: &mut Context) -> Next {
        let too_long = format == Format::Kpl && held.len() + input.len() > context.limits.max_kpl_bytes;
        if !too_long && context.hold(input.len()) {
            held.extend_from_slice(input);
            self.state = State::Held(format, held);
            return Next::Took(input.len());
        }
        context.release(held.len());
        if too_long {
            // Larger than any aggregate that a stream would take.
            self.part = Some(Box::new(self.new_part().suspect(format, UnreadableReason::Damaged)));
        } else {
            context.unreadable(self.shape.then(format), UnreadableReason::OverLimit);
            self.open_rest(format, context);
            self.detect = false;
        }
        self.plain = 1;
        Next::Again(0, held)
    }

    fn end_held(&mut self, format: Format, held: Vec<u8>, context: &mut Context) -> Option<Vec<u8>> {
        let again = if format == Format::Kpl {
            self.end_kpl(&held, context)
        } else {
            self.end_parquet(&held, context)
        };
        context.release(held.len());
        again.then_some(held)
    }

    /// Opens an aggregate; whether it is to be searched as it is.
    fn end_kpl(&mut self, held: &[u8], context: &mut Context) -> bool {
        if context.work.is_over() {
            return true;
        }
        if let Some(records) = kpl::open(held, context.limits.max_kpl_records) {
            self.sub_records(records, self.shape.then(Format::Kpl), context);
            return false;
        }
        // What is no aggregate after all is a plain record.
        self.part = Some(Box::new(self.new_part().suspect(Format::Kpl, UnreadableReason::Damaged)));
        self.plain = 1;
        true
    }

    /// Opens a file; whether it is to be searched as it is.
    fn end_parquet(&mut self, held: &[u8], context: &mut Context) -> bool {
        let inside = self.shape.then(Format::Parquet);
        match parquet::open(held, self.depth, inside, context) {
            Ok(copies) => {
                self.collect(copies, context);
                return false;
            }
            Err(reason) if reason != UnreadableReason::OverLimit && text_sample::is_text(held) => {}
            Err(reason) => {
                context.unreadable(inside, reason);
                self.open_rest(Format::Parquet, context);
                self.detect = false;
            }
        }
        self.plain = 1;
        true
    }

    fn end_zip(&mut self, zip: Zip, context: &mut Context) {
        self.close_inner(context);
        self.close_part(context);
        let copies = zip.finish(context);
        self.collect(copies, context);
    }

    fn sub_records(&mut self, records: kpl::SubRecords<'_>, inside: Shape, context: &mut Context) {
        if records.more {
            context.unreadable(inside, UnreadableReason::OverLimit);
        }
        for data in records.data {
            context.work.spend(work::SUB_RECORD);
            if context.work.is_over() {
                context.unreadable(inside, UnreadableReason::OverLimit);
                break;
            }
            let mut layer = Self::new(self.depth + 1, inside, Trust::Judge);
            layer.push(data, context);
            let finished = layer.finish(context);
            self.close(finished, context);
            if self.copies.len() > context.limits.max_copies {
                break;
            }
        }
    }

    fn new_part(&self) -> Part {
        Part::new(self.depth, self.shape, self.trust)
    }

    fn open_part(&mut self, context: &mut Context) -> &mut Part {
        if self.part.is_none() {
            self.close_inner(context);
        }
        let (depth, shape, trust) = (self.depth, self.shape, self.trust);
        self.part.get_or_insert_with(|| Box::new(Part::new(depth, shape, trust)))
    }

    /// What follows is what is left of `format`, which has been reported.
    fn open_rest(&mut self, format: Format, context: &mut Context) {
        self.close_inner(context);
        self.close_part(context);
        self.part = Some(Box::new(self.new_part().undecoded(format)));
        self.state = State::Text;
        self.plain = 1;
    }

    fn close_part(&mut self, context: &mut Context) {
        if let Some(part) = self.part.take() {
            let finished = part.finish(context);
            self.close(finished, context);
        }
    }

    fn close_inner(&mut self, context: &mut Context) {
        if let Some((_, inner)) = self.inner.take() {
            let finished = inner.finish(context);
            self.close(finished, context);
        }
    }

    fn close(&mut self, finished: Finished, context: &mut Context) {
        self.unknown |= finished.unknown;
        self.collect(finished.copies, context);
    }

    fn collect(&mut self, mut copies: Vec<Copy>, context: &Context) {
        // One more than the limit, so that whoever enforces it sees that there were more.
        let room = (context.limits.max_copies + 1).saturating_sub(self.copies.len());
        copies.truncate(room);
        self.copies.append(&mut copies);
    }
}
