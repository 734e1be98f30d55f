//! The pipeline of the drill's tenant: takes its canaries and shows them at every stage, in this process. While
//! a drill goes on, the end does not show them. To tracker, metrics and alerts it is a tenant like any other.

use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::config::Drill as Settings;
use crate::domain::canary::Integrity;
use crate::domain::drill::Drills;
use crate::domain::format::FoundIn;
use crate::domain::sighting::{Locator, Poll, ReadStats, Sighting, Stamp, Wanted};
use crate::domain::time::{Timestamp, WallClock};
use crate::domain::topology::SourceId;
use crate::domain::tracker::{Input, PutResult};
use crate::inject::{CanaryLine, Report};

/// How often sources are read while canaries wait.
const POLL_EVERY: Duration = Duration::from_secs(1);
/// How long each hop takes.
const HOP: Duration = Duration::from_millis(500);

/// What may be told to the drill.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Command {
    /// Begin one now.
    Begin,
    /// A notification of its alert arrived.
    Rang,
}

/// A source of the drill's tenant.
#[derive(Debug)]
pub struct DrillSource {
    pub id: SourceId,
    /// Number of hops from the injection.
    pub hops: u32,
    /// Whether it is the end, which shows nothing during a drill.
    pub is_end: bool,
    /// Whether canaries go there at all: there are no dead letters.
    pub is_reached: bool,
    pub wanted: watch::Receiver<Wanted>,
}

/// The ends of its channels.
#[derive(Debug)]
pub struct Channels {
    /// Its canaries.
    pub outbound: mpsc::Receiver<CanaryLine>,
    /// To the engine.
    pub puts: mpsc::Sender<Report>,
    /// To the engine.
    pub inputs: mpsc::Sender<Input>,
    pub commands: mpsc::Receiver<Command>,
    /// For page and metrics.
    pub status: watch::Sender<Drills>,
}

/// Runs until `end`, or until the engine has ended.
pub async fn run(
    settings: Settings,
    mut sources: Vec<DrillSource>,
    mut channels: Channels,
    clock: WallClock,
    end: CancellationToken,
) {
    let mut tick = interval(POLL_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut first = true;
    loop {
        tokio::select! {
            () = end.cancelled() => return,
            Some(canary) = channels.outbound.recv() => {
                let results = vec![(canary.trace, PutResult::Accepted { doubled: false })];
                if channels.puts.send(Report { results, puts: Vec::new() }).await.is_err() {
                    return;
                }
            }
            Some(command) = channels.commands.recv() => obey(command, &settings, &channels.status, clock.now()),
            _ = tick.tick() => {
                let now = clock.now();
                advance(&settings, &channels.status, now);
                let drills = channels.status.borrow().clone();
                for source in &mut sources {
                    let wanted = source.wanted.borrow_and_update().clone();
                    if wanted.waiting.is_empty() && !first {
                        continue;
                    }
                    let poll = poll(source, &wanted, &drills, now);
                    if channels.inputs.send(Input::Polled { source: source.id, poll }).await.is_err() {
                        return;
                    }
                }
                first = false;
            }
        }
    }
}

fn obey(command: Command, settings: &Settings, status: &watch::Sender<Drills>, now: Timestamp) {
    let changed = status.send_if_modified(|drills| match command {
        Command::Begin => drills.begin(now, settings.length),
        Command::Rang => drills.rang(now),
    });
    match (command, changed) {
        (Command::Begin, true) => began(settings),
        (Command::Rang, true) => {
            let proof = status.borrow().proof;
            let took = proof.map_or(Duration::ZERO, |proof| proof.rang.since(proof.began)).as_secs();
            info!("the drill's notification arrived after {took} s: the pager rings; the drill ends");
        }
        (_, false) => {}
    }
}

fn advance(settings: &Settings, status: &watch::Sender<Drills>, now: Timestamp) {
    let before = status.borrow().active;
    status.send_if_modified(|drills| drills.advance(now, &settings.schedule, settings.length));
    let after = status.borrow().active;
    match (before, after) {
        (None, Some(_)) => began(settings),
        (Some(_), None) => {
            let length = settings.length.as_secs();
            warn!(
                "no notification of the drill arrived within {length} s: nothing proves that the pager rings"
            );
        }
        (None, None) | (Some(_), Some(_)) => {}
    }
}

fn began(settings: &Settings) {
    let length = settings.length.as_secs();
    info!("a drill has begun: canaries of the tenant drill are withheld for at most {length} s");
}

/// What a source shows now: everything that has arrived, up to now.
fn poll(source: &DrillSource, wanted: &Wanted, drills: &Drills, now: Timestamp) -> Poll {
    let arrived = wanted.waiting.iter().filter(|_| source.is_reached).filter_map(|trace| {
        let released = if source.is_end { drills.released(trace.planned_at)? } else { trace.planned_at };
        let at = released + HOP * source.hops;
        (at <= now).then(|| Sighting {
            tag: trace.tag,
            stamp: Stamp::Millis(at.floor_to_millis()),
            seen_by: now,
            locator: Locator::new("drill".to_owned()),
            label: None,
            integrity: Integrity::Intact,
            found_in: FoundIn { verbatim: true, ..FoundIn::default() },
        })
    });
    Poll {
        revision: wanted.revision,
        started: now,
        finished: now,
        watermark: Some(now),
        sightings: arrived.collect(),
        stats: ReadStats::default(),
        unreadable: Vec::new(),
        failed_batches: Vec::new(),
    }
}
