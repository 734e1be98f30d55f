//! One run: a pipeline, observers and the tracker in virtual time, all drawn from one seed.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use traceprobe::domain::canary::{Integrity, Template};
use traceprobe::domain::sighting::{Locator, Reading, Sighting, Stamp, Sweep, Trouble};
use traceprobe::domain::tag::{Code, Tag, TraceId};
use traceprobe::domain::time::Timestamp;
use traceprobe::domain::topology::{
    Owner, Role, Source, SourceId, Stage, StageId, Tenant, TenantId, Topology,
};
use traceprobe::domain::tracker::{Event, Input, PutResult, Settings, Tracker};

use super::heard::Heard;
use super::history::*;
use super::observers::{Fate, Observer};
use super::pipeline::{ARCHIVE, DEAD, Pipeline, STREAM, TABLE, TRANSIT};

/// When the runs begin.
const EPOCH: Micros = 1_800_000_000 * SECOND;
/// What becomes of the first canaries is not different from what becomes of others, so the faults begin at once and
/// end with the last canary.
const MEAN_GAP: std::ops::Range<Micros> = 100 * MILLI..2 * SECOND;

/// What came of a run.
pub struct Outcome {
    pub history: History,
    pub tracker: Tracker,
    /// What the tracker's events said of each canary.
    pub heard: Vec<Heard>,
}

/// Draws a run of so many canaries from a seed and carries it out.
pub fn run(seed: u64, canaries: usize) -> Outcome {
    let mut rng = Rng::with_seed(seed);
    let gap = rng.i64(MEAN_GAP);
    let end = EPOCH + gap * i64::try_from(canaries).unwrap() + SECOND;
    let rules = draw_rules(&mut rng);
    let pipeline = Pipeline::draw(&mut rng, EPOCH, end);
    let observers = rules.owner.iter().map(|_| Observer::draw(&mut rng, EPOCH, end)).collect();
    let mut run = Run::new(seed, rules, observers);
    for number in 0..canaries {
        let planned = rng.i64(EPOCH / MILLI..end / MILLI) * MILLI;
        let tenant = rng.usize(0..run.history.rules.source_of.len());
        let random = number.to_be_bytes();
        let random = std::array::from_fn(|at| random.get(at).copied().unwrap_or_default());
        let id = TraceId::new(Timestamp::from_micros(planned), random).as_u128();
        // Each canary has dice of its own, so that a shorter run is not another one altogether.
        let mut dice = Rng::with_seed(seed ^ (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let canary = pipeline.inject(&mut dice, &run.history.rules, id, tenant, planned);
        run.add(canary);
    }
    run.go();
    Outcome { history: run.history, tracker: run.tracker, heard: run.heard }
}

fn draw_rules(rng: &mut Rng) -> Rules {
    let tenants = rng.usize(2..=4);
    // Half of the runs have clocks that are as good as they are trusted to be, and so must be right about every arrival.
    let honest = rng.u8(0..4) > 0;
    let mut stage = |name, parent| {
        let allowance = rng.i64(0..=500 * MILLI);
        let off = if honest { allowance } else { allowance * 4 + 2 * SECOND };
        let target = rng.i64(SECOND..20 * SECOND);
        StageRules { name, parent, target, allowance, offset: rng.i64(-off..=off) }
    };
    let stages = vec![
        stage("stream", None),
        stage("archive", Some(STREAM)),
        stage("transit", Some(STREAM)),
        stage("table", Some(TRANSIT)),
        stage("dead", Some(STREAM)),
    ];
    let mut owner = Vec::new();
    let mut source_of = vec![vec![0; stages.len()]; tenants];
    for stage in STREAM..=DEAD {
        let shared = rng.bool();
        for (tenant, row) in source_of.iter_mut().enumerate() {
            if tenant == 0 || !shared {
                owner.push((!shared).then_some(tenant));
            }
            row[stage] = owner.len() - 1;
        }
    }
    let slo = rng.i64(8..=30) * SECOND;
    Rules {
        slo,
        give_up: slo + rng.i64(30 * SECOND..150 * SECOND),
        grace: rng.i64(10 * SECOND..90 * SECOND),
        blind_after: rng.i64(12 * SECOND..30 * SECOND),
        stages,
        main_path: vec![STREAM, TRANSIT, TABLE],
        dead_letters: DEAD,
        source_of,
        owner,
    }
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Next {
    Plan(usize),
    Answer(usize),
    Look { source: usize, plan: u64 },
    LookEnds(usize),
}

struct Run {
    rng: Rng,
    history: History,
    tracker: Tracker,
    heard: Vec<Heard>,
    observers: Vec<Observer>,
    number: HashMap<u128, usize>,
    agenda: BinaryHeap<Reverse<(Micros, u64, Next)>>,
    entered: u64,
    now: Micros,
}

impl Run {
    fn new(seed: u64, rules: Rules, observers: Vec<Observer>) -> Self {
        let topology = Arc::new(topology(&rules));
        let micros = |micros| Duration::from_micros(u64::try_from(micros).unwrap());
        let settings = Settings {
            slo: micros(rules.slo),
            give_up: micros(rules.give_up),
            grace: micros(rules.grace),
            blind_after: micros(rules.blind_after),
            ride: Duration::from_secs(60),
            max_in_flight: usize::MAX,
            remember: usize::MAX,
            remember_failures: 10,
            instance: Code::of("me"),
        };
        Self {
            rng: Rng::with_seed(!seed),
            tracker: Tracker::new(topology, settings, time(EPOCH)),
            history: History { rules, canaries: Vec::new(), log: Vec::new(), shown_at: Vec::new() },
            heard: Vec::new(),
            observers,
            number: HashMap::new(),
            agenda: BinaryHeap::new(),
            entered: 0,
            now: EPOCH,
        }
    }

    fn add(&mut self, canary: Canary) {
        let number = self.history.canaries.len();
        for (at, copy) in canary.copies.iter().enumerate() {
            self.observers[copy.source].will_hold(number, at, copy.stored);
        }
        self.number.insert(canary.id, number);
        self.agenda(canary.leaves, Next::Plan(number));
        self.agenda(canary.answered, Next::Answer(number));
        self.history.canaries.push(canary);
        self.history.shown_at.push(Vec::new());
        self.heard.push(Heard::default());
    }

    fn agenda(&mut self, at: Micros, next: Next) {
        self.entered += 1;
        self.agenda.push(Reverse((at, self.entered, next)));
    }

    /// Until nothing is left to happen.
    fn go(&mut self) {
        loop {
            let next = self.agenda.peek().map(|Reverse((at, ..))| *at);
            let wake = self.tracker.next_deadline().map(Timestamp::micros);
            match (next, wake) {
                (None, None) => break,
                (next, Some(wake)) if next.is_none_or(|next| wake <= next) => {
                    self.now = self.now.max(wake);
                    self.note(What::TimePassed);
                    self.apply(Input::Tick);
                    let again = self.tracker.next_deadline().map(Timestamp::micros);
                    assert!(again.is_none_or(|again| again > self.now), "a tick changes what it was for");
                }
                (Some(_), _) => {
                    let Some(Reverse((at, _, next))) = self.agenda.pop() else { break };
                    self.now = self.now.max(at);
                    self.happen(next);
                }
                (None, Some(_)) => unreachable!("nothing is sooner than the deadline"),
            }
        }
        assert_eq!(self.tracker.in_flight(), 0, "given time, everything ends");
    }

    fn happen(&mut self, next: Next) {
        match next {
            Next::Plan(which) => {
                self.history.canaries[which].registered = self.history.log.len();
                self.note(What::Planned(which));
                let tag = self.tag(which);
                self.apply(Input::Planned { tag });
            }
            Next::Answer(which) => {
                self.note(What::Answered(which));
                let trace = self.tag(which).trace;
                let result = match self.history.canaries[which].answer {
                    Answer::Accepted => PutResult::Accepted { doubled: false },
                    Answer::AcceptedDoubled => PutResult::Accepted { doubled: true },
                    Answer::Ambiguous => PutResult::Ambiguous { doubled: false },
                    Answer::AmbiguousDoubled => PutResult::Ambiguous { doubled: true },
                    Answer::Refused => PutResult::Refused { reason: "no".into() },
                };
                self.apply(Input::Put { trace, result });
            }
            Next::Look { source, plan } => {
                if plan == self.observers[source].plan {
                    let after = self.history.log.len();
                    let ends = self.observers[source].start(&mut self.rng, self.now, after);
                    self.agenda(ends, Next::LookEnds(source));
                }
            }
            Next::LookEnds(source) => {
                self.look_ends(source);
                self.plan_look(source);
            }
        }
    }

    fn look_ends(&mut self, source: usize) {
        let observer = &mut self.observers[source];
        let (started, look) = observer.finish(&mut self.rng, source, &self.history.canaries, &self.number);
        let place = self.history.log.len();
        for shown in &look.shown {
            let places = &mut self.history.shown_at[shown.canary];
            if places.last() != Some(&place) {
                places.push(place);
            }
        }
        let id = SourceId(u32::try_from(source).unwrap());
        let input = match look.result {
            LookResult::Failed => {
                let trouble = if started.fate == Fate::Hangs { Trouble::TimedOut } else { Trouble::Failing };
                Input::LookFailed { source: id, trouble, detail: "scripted".into() }
            }
            LookResult::Incomplete | LookResult::Complete { .. } => {
                let watermark = match look.result {
                    LookResult::Complete { all_before } => Some(time(all_before)),
                    LookResult::Incomplete | LookResult::Failed => None,
                };
                let sweep = Sweep {
                    revision: started.wanted.revision,
                    started: time(started.at),
                    finished: time(started.ends),
                    watermark,
                    sightings: look.shown.iter().map(|shown| self.sighting(*shown)).collect(),
                    reading: Reading::default(),
                };
                Input::Swept { source: id, sweep }
            }
        };
        self.note(What::Looked(look));
        self.apply(input);
    }

    fn sighting(&self, shown: Shown) -> Sighting {
        let copy = self.history.canaries[shown.canary].copies[shown.copy];
        let stamp = match copy.stamp {
            Stamped::Millis(at) => Stamp::Millis(time(at)),
            Stamped::Seconds(at) => Stamp::Seconds(time(at)),
            Stamped::NotBefore(at) => Stamp::NotBefore(time(at)),
            Stamped::Nothing => Stamp::None,
        };
        let integrity = if copy.corrupted {
            Integrity::Corrupted { kept_bytes: 70, sent_bytes: 100 }
        } else {
            Integrity::Intact
        };
        Sighting {
            tag: self.tag(shown.canary),
            stamp,
            seen_by: time(shown.seen_by),
            locator: locator(shown.copy),
            label: copy.label.map(|tenant| name(tenant).into()),
            integrity,
        }
    }

    fn tag(&self, which: usize) -> Tag {
        let canary = &self.history.canaries[which];
        Tag {
            trace: TraceId::from_u128(canary.id),
            tenant: Code::of(&name(canary.tenant)),
            instance: Code::of("me"),
            size: 100,
        }
    }

    fn note(&mut self, what: What) {
        self.history.log.push(Entry { at: self.now, what });
    }

    fn apply(&mut self, input: Input) {
        for event in self.tracker.apply(input, time(self.now)) {
            self.hear(&event);
        }
        // As the engine and the store do.
        for source in self.tracker.take_changed() {
            let at = source.0 as usize;
            self.observers[at].wanted = self.tracker.wanted(source);
            self.plan_look(at);
        }
        self.tracker.take_unsaved();
    }

    fn hear(&mut self, event: &Event) {
        if let Some(trace) = Heard::about(event) {
            self.heard[self.number[&trace.as_u128()]].hear(event);
        }
    }

    fn plan_look(&mut self, source: usize) {
        let observer = &mut self.observers[source];
        observer.plan += 1;
        if let Some(at) = observer.next_look(self.now) {
            let plan = observer.plan;
            self.agenda(at, Next::Look { source, plan });
        }
    }
}

/// How a copy is named towards the tracker: by its number among the copies of its canary.
pub fn locator(copy: usize) -> Locator {
    Locator::new(copy.to_string())
}

fn time(micros: Micros) -> Timestamp {
    Timestamp::from_micros(micros)
}

fn name(tenant: usize) -> String {
    format!("tenant-{tenant}")
}

fn topology(rules: &Rules) -> Topology {
    let tenant = |number| Tenant {
        name: name(number).into(),
        code: Code::of(&name(number)),
        label: name(number).into(),
        template: Template::default(),
    };
    let id = |number| StageId(u16::try_from(number).unwrap());
    let tenant_id = |number| TenantId(u16::try_from(number).unwrap());
    let micros = |micros| Duration::from_micros(u64::try_from(micros).unwrap());
    let stage = |(number, stage): (usize, &StageRules)| Stage {
        name: stage.name.into(),
        kind: "model",
        parent: stage.parent.map(id),
        role: match number {
            TABLE => Role::End,
            DEAD => Role::DeadLetter,
            STREAM | ARCHIVE | TRANSIT => Role::Way,
            _ => unreachable!("there are five stages"),
        },
        target: Some(micros(stage.target)),
        clock_allowance: micros(stage.allowance),
    };
    let source = |(number, owner): (usize, &Option<usize>)| {
        let reads = |row: &Vec<usize>| row.iter().position(|source| *source == number);
        let stage = rules.source_of.iter().find_map(reads).unwrap();
        let tenants = (0..rules.source_of.len()).filter(|tenant| reads(&rules.source_of[*tenant]).is_some());
        Source {
            stage: id(stage),
            name: format!("source {number}").into(),
            owner: owner.map_or(Owner::Shared, |owner| Owner::One(tenant_id(owner))),
            tenants: tenants.map(tenant_id).collect(),
        }
    };
    Topology::new(
        (0..rules.source_of.len()).map(tenant).collect(),
        rules.stages.iter().enumerate().map(stage).collect(),
        rules.owner.iter().enumerate().map(source).collect(),
    )
    .unwrap()
}
