//! A simulated pipeline with every kind of fault. It decides where and when every copy of a canary is stored.

use fastrand::Rng;

use super::compaction::Compaction;
use super::history::*;
use super::observers::{Observer, Reads};

pub const STREAM: usize = 0;
pub const ARCHIVE: usize = 1;
pub const TRANSIT: usize = 2;
pub const TABLE: usize = 3;
pub const DEAD: usize = 4;

/// The time stamps of a stage.
#[derive(Clone, Copy, Debug)]
pub enum StampKind {
    Millis,
    Seconds,
    /// Seconds, but one object in three is a multipart upload.
    Objects,
    Silent,
}

impl StampKind {
    /// The kind of stamps of merged objects. One object has one stamp.
    fn of_merged(self) -> Self {
        match self {
            Self::Objects => Self::Seconds,
            Self::Millis | Self::Seconds | Self::Silent => self,
        }
    }

    fn stamp(self, rng: &mut Rng, by_its_clock: Micros) -> Stamped {
        let seconds = by_its_clock.div_euclid(SECOND) * SECOND;
        match self {
            Self::Millis => Stamped::Millis(by_its_clock.div_euclid(MILLI) * MILLI),
            Self::Seconds => Stamped::Seconds(seconds),
            Self::Objects if rng.u8(0..3) == 0 => {
                Stamped::NotBefore((by_its_clock - rng.i64(0..20 * SECOND)).div_euclid(SECOND) * SECOND)
            }
            Self::Objects => Stamped::Seconds(seconds),
            Self::Silent => Stamped::Nothing,
        }
    }
}

/// The time during which a fault holds.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    pub from: Micros,
    pub to: Micros,
}

impl Window {
    pub fn draw(rng: &mut Rng, begin: Micros, end: Micros, longest: Micros) -> Self {
        let from = rng.i64(begin..end);
        // Uniform on a logarithmic scale.
        let length = (longest as f64).powf(rng.f64()) as Micros;
        Self { from, to: from + length.max(SECOND) }
    }

    pub fn holds(&self, at: Micros) -> bool {
        self.from <= at && at < self.to
    }
}

/// The probability of each fault, for each canary at each place where it can happen.
#[derive(Clone, Copy, Debug)]
pub struct Odds {
    pub lost: f64,
    pub slow: f64,
    pub very_late: f64,
    pub duplicated: f64,
    pub reordered: f64,
    pub corrupted: f64,
    pub leaked: f64,
    pub dead_lettered: f64,
    pub refused: f64,
    pub ambiguous: f64,
    pub doubled: f64,
    pub slow_answer: f64,
}

impl Odds {
    /// Draws all probabilities, most of them small.
    pub fn draw(rng: &mut Rng) -> Self {
        // In some runs, many copies are damaged, so that several of one canary are.
        let most_corrupted = [0.05, 0.05, 0.05, 0.8][rng.usize(0..4)];
        let mut up_to = |most: f64| most * rng.f64() * rng.f64();
        Self {
            lost: up_to(0.10),
            slow: up_to(0.20),
            very_late: up_to(0.06),
            duplicated: up_to(0.10),
            reordered: up_to(0.10),
            corrupted: up_to(most_corrupted),
            leaked: up_to(0.06),
            dead_lettered: up_to(0.05),
            refused: up_to(0.08),
            ambiguous: up_to(0.10),
            doubled: up_to(0.06),
            slow_answer: up_to(0.10),
        }
    }
}

/// The pipeline of one run.
#[derive(Debug)]
pub struct Pipeline {
    pub odds: Odds,
    pub stamp_kinds: Vec<StampKind>,
    /// The usual time to reach each stage.
    pub delay: Vec<Micros>,
    /// While one holds, nothing reaches the stage; it arrives afterwards.
    pub stalls: Vec<(usize, Window)>,
    /// While one holds, everything bound for the stage is lost.
    pub drops: Vec<(usize, Window)>,
    /// While one holds, everything that reaches the stage is also stored with another tenant.
    pub leaks: Vec<(usize, Window)>,
    /// While one holds, nothing is stored at the stage, but the later ones get it.
    pub skips: Vec<(usize, Window)>,
    /// For each stage: whether rows have a tenant column.
    pub labelled: Vec<bool>,
    /// How it writes each tenant's canaries to each source: `[source][tenant]`.
    pub formats: Vec<Vec<Format>>,
    /// While one holds, another process sends the same slots.
    pub second_sender: Vec<Window>,
    /// For each stage: how it merges objects, if it does.
    pub compactions: Vec<Option<Compaction>>,
}

/// The number of formats that are not opened.
const SHAPES: Shape = 3;

/// How the pipeline writes the canaries of one tenant to one source.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    Text,
    /// In a shape that is not opened.
    Hidden(Shape),
    /// In such a shape, but some are found by luck.
    Lucky(Shape),
    /// In such a shape, but as they were sent.
    Verbatim(Shape),
    /// Where the probe does not look, because key, column or pattern are wrong.
    Elsewhere,
    /// As text, and what was planned from an instant on in a shape that is not opened.
    HiddenFrom(Micros, Shape),
}

impl Format {
    fn draw(rng: &mut Rng, begin: Micros, end: Micros) -> Self {
        let shape = rng.usize(0..SHAPES);
        match rng.u8(0..10) {
            0 => Self::Hidden(shape),
            1 => Self::Lucky(shape),
            2 => Self::Verbatim(shape),
            3 => Self::HiddenFrom(rng.i64(begin..end), shape),
            _ => Self::Text,
        }
    }

    /// In what kind of record it writes a canary.
    fn write(self, rng: &mut Rng, planned: Micros) -> Written {
        match self {
            Self::HiddenFrom(from, shape) if planned >= from => Written::Hidden(shape),
            Self::Text | Self::HiddenFrom(..) => Written::Text,
            Self::Elsewhere => Written::Elsewhere,
            Self::Hidden(shape) => Written::Hidden(shape),
            Self::Lucky(shape) if rng.bool() => Written::Lucky(shape),
            Self::Lucky(shape) => Written::Hidden(shape),
            Self::Verbatim(shape) => Written::Verbatim(shape),
        }
    }
}

impl Pipeline {
    /// Draws a pipeline whose faults lie between two instants.
    pub fn draw(rng: &mut Rng, rules: &Rules, begin: Micros, end: Micros) -> Self {
        let mut windows = |most: usize, longest| -> Vec<(usize, Window)> {
            let count = rng.usize(0..=most);
            (0..count).map(|_| (rng.usize(STREAM..=DEAD), Window::draw(rng, begin, end, longest))).collect()
        };
        let (mut stalls, drops, leaks) =
            (windows(4, 300 * SECOND), windows(2, 120 * SECOND), windows(1, 120 * SECOND));
        let skips = windows(2, 300 * SECOND);
        if rng.bool() {
            // Long enough to be told.
            let (stage, from) = (rules.main_path[rng.usize(0..rules.main_path.len())], rng.i64(begin..end));
            stalls.push((stage, Window { from, to: from + rng.i64(60 * SECOND..300 * SECOND) }));
        }
        let stamp_kinds = (STREAM..=DEAD)
            .map(|_| match rng.u8(0..4) {
                0 => StampKind::Millis,
                1 => StampKind::Seconds,
                2 => StampKind::Objects,
                _ => StampKind::Silent,
            })
            .collect();
        Self {
            odds: Odds::draw(rng),
            stamp_kinds,
            delay: (STREAM..=DEAD).map(|_| rng.i64(20 * MILLI..4 * SECOND)).collect(),
            stalls,
            drops,
            leaks,
            skips,
            labelled: (STREAM..=DEAD).map(|_| rng.bool()).collect(),
            formats: Vec::new(),
            second_sender: Vec::new(),
            compactions: (STREAM..=DEAD)
                .map(|stage| rules.stages[stage].moves.then(|| Compaction::draw(rng, rules.copy_recheck)))
                .collect(),
        }
    }

    /// Draws how it writes to each source. A query by id finds rows, which can always be read.
    pub fn draw_formats(
        &mut self,
        rng: &mut Rng,
        rules: &Rules,
        observers: &[Observer],
        (begin, end): (Micros, Micros),
    ) {
        let all_text = rng.bool();
        let tenants = rules.source_of.len();
        let of_source = |(source, observer): (usize, &Observer)| {
            let text = all_text || observer.reads == Reads::ById;
            let stage = rules.stage_of(source);
            let of_tenant = |tenant: usize| match rng.u8(0..3) {
                0 if !rules.seen_before[tenant][stage] => Format::Elsewhere,
                _ if text => Format::Text,
                _ => Format::draw(rng, begin, end),
            };
            (0..tenants).map(of_tenant).collect()
        };
        self.formats = observers.iter().enumerate().map(of_source).collect();
    }

    /// Draws what else is stored in the sources that are read as a whole.
    pub fn draw_others(
        &self,
        rng: &mut Rng,
        rules: &Rules,
        observers: &[Observer],
        (begin, end): (Micros, Micros),
        restarts: bool,
    ) -> Vec<Other> {
        let mut others = Vec::new();
        let tenants = rules.source_of.len();
        for (source, _) in
            observers.iter().enumerate().filter(|(_, observer)| observer.reads == Reads::Everything)
        {
            let stage = rules.stage_of(source);
            let label = |rng: &mut Rng| self.labelled[stage].then(|| rng.usize(0..=tenants));
            if rng.u8(0..4) == 0 {
                let (shape, longest) = (rng.usize(0..SHAPES), rng.i64(2 * SECOND..40 * SECOND));
                let mut stored = begin;
                while stored < end + rules.give_up + rules.grace {
                    stored += rng.i64(SECOND..longest);
                    let label = label(rng).filter(|_| rng.bool());
                    others.push(Other { source, stored, label, kind: OtherKind::Record(shape) });
                }
            }
            for _ in 0..rng.usize(0..6) {
                let stored = rng.i64(begin..end);
                others.push(Other { source, stored, label: label(rng), kind: OtherKind::UnknownTenant });
            }
            let tenant = rules.read_for[source][rng.usize(0..rules.read_for[source].len())];
            // After a restart, one that was planned before it would be taken for this probe's own.
            if !restarts && self.formats[source][tenant] == Format::Text && rng.bool() {
                let planned = rng.i64(begin / MILLI..end / MILLI) * MILLI;
                let (stored, label) =
                    (planned + rng.i64(0..20 * SECOND), self.labelled[stage].then_some(tenant));
                others.push(Other { source, stored, label, kind: OtherKind::SameName { tenant, planned } });
            }
        }
        others
    }

    /// Decides everything that happens to a canary.
    pub fn inject(&self, rng: &mut Rng, rules: &Rules, id: u128, tenant: usize, planned: Micros) -> Canary {
        let answer = self.draw_answer(rng);
        let leaves = planned + rng.i64(0..2 * SECOND) * i64::from(rng.u8(0..4) == 0);
        let answered = leaves
            + match answer {
                Answer::Accepted if rng.f64() < self.odds.slow_answer => rng.i64(SECOND..60 * SECOND),
                Answer::Refused if rng.f64() < self.odds.slow_answer * 3.0 => rng.i64(SECOND..60 * SECOND),
                Answer::Accepted | Answer::Refused => rng.i64(5 * MILLI..400 * MILLI),
                Answer::AcceptedDoubled | Answer::Ambiguous | Answer::AmbiguousDoubled => {
                    rng.i64(5 * SECOND..20 * SECOND)
                }
            };
        // The tries that CloudWatch Logs took, whatever it answered: when each was sent, and how long it
        // took.
        let tries = match answer {
            Answer::Accepted => vec![(leaves, rng.i64(0..answered - leaves))],
            Answer::Refused => vec![],
            Answer::Ambiguous => vec![(leaves, rng.i64(0..2 * SECOND)); usize::from(rng.bool())],
            Answer::AcceptedDoubled | Answer::AmbiguousDoubled => {
                let first = (leaves, rng.i64(0..SECOND));
                let second = (leaves + rng.i64(SECOND..4 * SECOND), rng.i64(0..SECOND));
                [first, second][usize::from(rng.bool())..].to_vec()
            }
        };
        let mut canary = Canary {
            id,
            tenant,
            planned,
            leaves,
            answer,
            answered,
            tries: Vec::new(),
            copies: Vec::new(),
            registered: None,
            answered_at: None,
        };
        let is_shared = self.second_sender.iter().any(|window| window.holds(planned));
        if is_shared && rng.u8(0..8) > 0 {
            // Not before this process has registered it. After that, either of the two may be first.
            let sent = leaves + rng.i64(0..3 * SECOND);
            canary.tries.push(sent);
            let took = rng.i64(0..SECOND);
            self.flow(rng, rules, &mut canary, sent + took);
            canary.tries.clear();
            canary.copies.iter_mut().for_each(|copy| copy.by_other = true);
        }
        for (sent, took) in tries {
            canary.tries.push(sent);
            self.flow(rng, rules, &mut canary, sent + took);
        }
        canary
    }

    fn draw_answer(&self, rng: &mut Rng) -> Answer {
        let mut left = rng.f64();
        let odds = [
            (self.odds.refused, Answer::Refused),
            (self.odds.ambiguous, Answer::Ambiguous),
            (self.odds.doubled / 2.0, Answer::AcceptedDoubled),
            (self.odds.doubled / 2.0, Answer::AmbiguousDoubled),
        ];
        for (odds, answer) in odds {
            if left < odds {
                return answer;
            }
            left -= odds;
        }
        Answer::Accepted
    }

    /// Sends one accepted event through the stages.
    fn flow(&self, rng: &mut Rng, rules: &Rules, canary: &mut Canary, sent: Micros) {
        let Some(at_stream) = self.hop(rng, rules, canary, STREAM, sent) else {
            return;
        };
        self.hop(rng, rules, canary, ARCHIVE, at_stream);
        if rng.f64() < self.odds.dead_lettered {
            self.hop(rng, rules, canary, DEAD, at_stream);
            return;
        }
        let Some(at_transit) = self.hop(rng, rules, canary, TRANSIT, at_stream) else {
            return;
        };
        self.hop(rng, rules, canary, TABLE, at_transit);
    }

    /// Sends one event to one stage. Returns its arrival; `None` if it was lost.
    fn hop(
        &self,
        rng: &mut Rng,
        rules: &Rules,
        canary: &mut Canary,
        stage: usize,
        from: Micros,
    ) -> Option<Micros> {
        let odds = &self.odds;
        let mut at = from + self.delay[stage] / 2 + rng.i64(0..=self.delay[stage]);
        if rng.f64() < odds.slow {
            at += rng.i64(0..60 * SECOND);
        }
        if rng.f64() < odds.very_late {
            at += rng.i64(0..400 * SECOND);
        }
        if rng.f64() < odds.reordered {
            // It is visible here before it is at the parent stage, but not before it was put.
            let sent = *canary.tries.last().expect("it comes from a try");
            at = (from - rng.i64(0..3 * SECOND)).max(sent);
        }
        let here = |(place, _): &&(usize, Window)| *place == stage;
        for (_, stall) in self.stalls.iter().filter(here) {
            if stall.holds(at) {
                at = stall.to + rng.i64(0..2 * SECOND);
            }
        }
        if rng.f64() < odds.lost || self.drops.iter().filter(here).any(|(_, window)| window.holds(at)) {
            return None;
        }
        if self.skips.iter().filter(here).any(|(_, window)| window.holds(at)) {
            return Some(at);
        }
        let leaks = self.leaks.iter().filter(here).any(|(_, window)| window.holds(at));
        if leaks || rng.f64() < odds.leaked {
            self.leak(rng, rules, canary, stage, at);
            if rng.u8(0..4) == 0 {
                // It is stored there instead of with its own tenant. The later stages still get it.
                return Some(at);
            }
        }
        self.store(rng, rules, canary, stage, canary.tenant, canary.tenant, at);
        if rng.f64() < odds.duplicated {
            let again = at + rng.i64(0..30 * SECOND) * i64::from(rng.bool());
            self.store(rng, rules, canary, stage, canary.tenant, canary.tenant, again);
        }
        Some(at)
    }

    /// Stores a copy in another tenant's source, or in the shared one with another tenant's label.
    fn leak(&self, rng: &mut Rng, rules: &Rules, canary: &mut Canary, stage: usize, at: Micros) {
        let tenants = rules.source_of.len();
        let other = (canary.tenant + 1 + rng.usize(0..tenants - 1)) % tenants;
        let shared = rules.source_of[other][stage] == rules.source_of[canary.tenant][stage];
        if !shared || self.labelled[stage] {
            self.store(rng, rules, canary, stage, other, other, at);
        }
    }

    #[expect(clippy::too_many_arguments, reason = "all that decides where and when a copy is stored")]
    fn store(
        &self,
        rng: &mut Rng,
        rules: &Rules,
        canary: &mut Canary,
        stage: usize,
        in_source_of: usize,
        labelled: usize,
        stored: Micros,
    ) {
        let source = rules.source_of[in_source_of][stage];
        let written = self.formats[source][labelled].write(rng, canary.planned);
        // How often a copy is stored is told by what was decoded alone.
        let label = self.labelled[stage].then_some(labelled);
        let again =
            canary.copies.iter().any(|copy| (copy.stage, copy.source, copy.label) == (stage, source, label));
        if again && written != Written::Text {
            return;
        }
        let (kind, offset) = (self.stamp_kinds[stage], rules.stages[stage].offset);
        let copy = Copy {
            stage,
            source,
            sent: *canary.tries.last().expect("a copy comes from a try"),
            by_other: false,
            stored,
            deleted: None,
            object: Object::Own,
            stamp: kind.stamp(rng, stored + offset),
            label,
            corrupted: rng.f64() < self.odds.corrupted && written == Written::Text,
            written,
        };
        canary.copies.push(copy);
        if let Some(compaction) = self.compactions[stage].filter(|_| written == Written::Text) {
            compaction.merge(rng, canary, |rng, stored| kind.of_merged().stamp(rng, stored + offset));
        }
    }
}
