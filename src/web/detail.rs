//! `/traces/{id}` as a page: the texts for its view.

use std::time::Duration;

use askama::Template;

use super::app::App;
use super::lanes::{self, Drawing};
use super::page::Head;
use super::view::{Finding, Lane, LeakedCopy, Lookups, Mark, One, Presence, StageSource, TraceView};
use super::{waterfall, words};
use crate::domain::copies::{Uncharged, UnchargedReason};
use crate::domain::outcome::Outcome;
use crate::domain::sighting::Stamp;
use crate::domain::tag::MARKER;
use crate::domain::time::Timestamp;
use crate::domain::trace::{Put, Trace};

#[derive(Template)]
#[template(path = "trace.html")]
pub(crate) struct Page {
    head: Head,
    id: String,
    tenant: String,
    outcome: &'static str,
    tone: &'static str,
    sentence: String,
    /// Outcome and times at a glance.
    facts: Vec<(&'static str, String)>,
    findings: Vec<FindingCard>,
    drawing: Drawing,
    /// A second drawing of the completed hops, if a long wait afterwards makes them too narrow in the first.
    enlarged: Option<Drawing>,
    /// What was put, and where it shows.
    put: String,
    log_group: Commands,
    leaked: Vec<LeakedCard>,
    stages: Vec<StageCard>,
    timeline: Vec<Moment>,
    tag: String,
    tag_parts: Vec<(&'static str, String)>,
}

struct FindingCard {
    title: String,
    tone: &'static str,
    sign: &'static str,
    facts: Vec<(&'static str, String)>,
    copies: Vec<String>,
    meaning: String,
    action: String,
    runbook: String,
}

struct StageCard {
    name: String,
    source: String,
    side: bool,
    state: String,
    tone: &'static str,
    /// The columns of the table: took, arrived, target, polls.
    took: String,
    arrived: String,
    clock: String,
    target: String,
    polls: String,
    facts: Vec<(&'static str, String)>,
    copies: Vec<Copy>,
    lookups: Commands,
}

/// A copy at another tenant.
struct LeakedCard {
    source: String,
    stage: String,
    locator: String,
    lookups: Commands,
}

struct Copy {
    locator: String,
    /// Why it is not charged to the pipeline, as a phrase.
    uncharged: Option<&'static str>,
    lookups: Commands,
}

/// Commands, each with an id for its copy button, and links.
struct Commands {
    commands: Vec<Command>,
    links: Vec<(&'static str, String)>,
}

struct Command {
    id: String,
    what: &'static str,
    text: String,
}

struct Moment {
    at: String,
    after: String,
    text: String,
}

impl Page {
    pub(crate) fn new(app: &App, view: &One<'_>) -> Self {
        let (now, slo) = (view.at, view.settings.criteria.slo);
        let TraceView { brief, trace, lanes, .. } = &view.trace;
        let planned = trace.planned_at;
        let extent = extent(&view.trace, now);
        let title = format!("{} {}", brief.outcome, brief.detail);
        let mark = mark(brief.mark, &view.fate.findings);
        let mut next_id = 0..;
        let mut ids = move || format!("cmd-{}", next_id.next().unwrap_or(0));
        Self {
            head: Head::at(app, &format!("{} · trace", title.trim()), mark, now),
            id: brief.id.to_string(),
            tenant: brief.tenant.to_string(),
            outcome: word(brief.outcome, brief.mark, mark, &view.fate.findings),
            tone: mark.class(),
            sentence: view.fate.sentence.clone(),
            facts: summary(view),
            findings: view.fate.findings.iter().map(FindingCard::new).collect(),
            drawing: lanes::draw(lanes, &view.sources, planned, slo, now, extent),
            enlarged: enlarged(view, now, slo, extent),
            put: put(trace),
            log_group: Commands::new(&view.log_group, &mut ids),
            leaked: view.leaked.iter().map(|copy| LeakedCard::new(copy, &mut ids)).collect(),
            stages: lanes
                .iter()
                .zip(&view.sources)
                .map(|(lane, source)| StageCard::new(lane, source, planned, now, &mut ids))
                .collect(),
            timeline: timeline(&view.trace, now, slo),
            tag: view.tag.clone(),
            tag_parts: vec![
                ("marker and version", format!("{MARKER}{}", trace.tag.version())),
                ("trace id", brief.id.to_string()),
                ("tenant code", trace.tag.tenant_digits()),
                ("instance code", trace.tag.instance.to_string()),
                ("size in bytes", trace.tag.size.to_string()),
                ("purpose", trace.tag.purpose().to_string()),
                ("signature", view.signature.clone()),
            ],
        }
    }
}

/// The length of the axis. What is unknown up to the end is drawn up to the end.
fn extent(view: &TraceView<'_>, now: Timestamp) -> Duration {
    let planned = view.brief.planned_at;
    let drawn = waterfall::extent(&view.lanes, planned, now);
    let is_unknown = |lane: &Lane<'_>| !lane.side && lane.presence == Presence::Unproven;
    match &view.trace.ended {
        Some((_, ended)) if view.lanes.iter().any(is_unknown) => drawn.max(ended.since(planned)),
        Some(_) | None => drawn,
    }
}

/// The word for the badge: the outcome, or the finding that is worse.
fn word(outcome: &'static str, of: Mark, mark: Mark, findings: &[Finding]) -> &'static str {
    let worse = findings.iter().find(|finding| finding.mark == mark).filter(|_| of != mark);
    worse.map_or(outcome, |finding| finding.key)
}

/// That of the outcome, unless a finding is worse: what was delivered may have leaked.
fn mark(outcome: Mark, findings: &[Finding]) -> Mark {
    let worst = |mark: Mark| findings.iter().any(|finding| finding.mark == mark);
    match outcome {
        Mark::Well | Mark::Poor | Mark::Pending if worst(Mark::Broken) => Mark::Broken,
        Mark::Well if worst(Mark::Poor) => Mark::Poor,
        other => other,
    }
}

fn summary(view: &One<'_>) -> Vec<(&'static str, String)> {
    let (now, trace) = (view.at, view.trace.trace);
    let planned = trace.planned_at;
    let ended = trace.ended.as_ref().map_or_else(
        || "not yet".to_owned(),
        |(outcome, at)| format!("{}, decided {}", outcome.label().replace('_', "-"), words::clock(*at, now)),
    );
    let mut facts = vec![
        ("sent", format!("{} ({})", words::instant(planned), words::ago(planned, now))),
        ("put", put(trace)),
    ];
    facts.extend(view.trace.log_group.as_ref().map(|group| ("log group", group.to_string())));
    facts.push(("outcome", ended));
    facts.extend(view.trace.arrival.map(|at| {
        let exact = |at: Timestamp| words::exact(at.since(planned));
        let (earliest, latest) = (exact(at.earliest), exact(at.latest));
        ("end to end", format!("{latest}; it arrived between {earliest} and {latest}, the later end counts"))
    }));
    facts.push(("SLO", view.fate.slo.clone()));
    facts.push(("size", format!("{} bytes", trace.tag.size)));
    facts.push(("purpose", trace.tag.purpose().to_string()));
    facts
}

/// Below this fraction of the axis (1/8), the completed hops are drawn a second time.
const FLAT: u32 = 8;

fn enlarged(view: &One<'_>, now: Timestamp, slo: Duration, extent: Duration) -> Option<Drawing> {
    let planned = view.trace.brief.planned_at;
    let seen = |lane: &Lane<'_>| matches!(lane.presence, Presence::Seen(_));
    let pairs = view.trace.lanes.iter().zip(&view.sources).filter(|(lane, _)| seen(lane));
    let (lanes, sources): (Vec<_>, Vec<_>) =
        pairs.map(|(lane, source)| (lane.clone(), source.clone())).unzip();
    let closer = waterfall::extent(&lanes, planned, now);
    (!lanes.is_empty() && closer * FLAT <= extent)
        .then(|| lanes::draw(&lanes, &sources, planned, slo, now, closer))
}

impl FindingCard {
    fn new(finding: &Finding) -> Self {
        Self {
            title: finding.title.clone(),
            tone: finding.mark.class(),
            sign: finding.mark.sign(),
            facts: finding.facts.clone(),
            copies: finding.copies.clone(),
            meaning: finding.meaning.clone(),
            action: finding.action.clone(),
            runbook: relative(&finding.runbook),
        }
    }
}

/// An address of the probe as a link from this page, so that it works below the path prefix of a proxy.
fn relative(address: &str) -> String {
    match address.strip_prefix('/') {
        Some(rest) => format!("../{rest}"),
        None => address.to_owned(),
    }
}

impl LeakedCard {
    fn new(copy: &LeakedCopy, ids: &mut impl FnMut() -> String) -> Self {
        Self {
            source: copy.source.to_string(),
            stage: copy.stage.to_string(),
            locator: copy.locator.clone(),
            lookups: Commands::new(&copy.lookups, ids),
        }
    }
}

impl Commands {
    fn new(lookups: &Lookups, ids: &mut impl FnMut() -> String) -> Self {
        let command = |lookup: &crate::domain::evidence::Lookup| Command {
            id: ids(),
            what: lookup.what,
            text: lookup.command.clone(),
        };
        Self {
            commands: lookups.commands.iter().map(command).collect(),
            links: lookups.links.iter().map(|link| (link.what, link.url.clone())).collect(),
        }
    }
}

impl StageCard {
    fn new(
        lane: &Lane<'_>,
        source: &StageSource,
        planned: Timestamp,
        now: Timestamp,
        ids: &mut impl FnMut() -> String,
    ) -> Self {
        let arrived = lane.visit.arrival.as_ref().map(|arrival| arrival.interval);
        let none = || "–".to_owned();
        Self {
            name: lane.name.to_string(),
            source: source.name.to_string(),
            side: lane.side,
            state: lanes::state(lane, now),
            tone: match lane.presence {
                Presence::Seen(_) if lane.over_target() => "poor",
                Presence::Seen(_) => "well",
                Presence::Waiting { .. } | Presence::NotReached => "pending",
                Presence::Overdue { .. } | Presence::Never { .. } => "broken",
                Presence::Blind { .. } | Presence::Unproven => "unknown",
            },
            took: lane.latency().map_or_else(none, words::short),
            arrived: arrived.map_or_else(none, |at| lanes::plus_minus(at, planned)),
            clock: arrived.map_or_else(none, |at| at.latest.strftime("%H:%M:%S%.3f")),
            target: lane.target.map_or_else(none, words::short),
            polls: polls(lane),
            facts: facts(lane, source, planned),
            copies: source
                .copies
                .iter()
                .enumerate()
                .map(|(at, copy)| {
                    // One query shows all rows of a table.
                    let is_shown = source.copies[..at].iter().any(|before| before.lookups == copy.lookups);
                    let lookups = if is_shown { &Lookups::default() } else { &copy.lookups };
                    Copy {
                        locator: copy.locator.clone(),
                        uncharged: copy.uncharged.map(uncharged),
                        lookups: Commands::new(lookups, ids),
                    }
                })
                .collect(),
            lookups: Commands::new(&source.lookups, ids),
        }
    }
}

/// How many polls did not find it.
fn polls(lane: &Lane<'_>) -> String {
    let polls = usize::try_from(lane.visit.empty_polls).unwrap_or(usize::MAX);
    match (polls, &lane.visit.arrival) {
        (0, None) if matches!(lane.presence, Presence::Waiting { .. } | Presence::NotReached) => {
            "not polled for it yet".to_owned()
        }
        (0, None) => "no poll could prove anything".to_owned(),
        (0, Some(_)) => "found in the first".to_owned(),
        (_, None) => format!("not found in {}", words::count(polls, "poll", "polls")),
        (_, Some(_)) => format!("found after {}", words::count(polls, "poll", "polls")),
    }
}

fn uncharged(why: Uncharged) -> &'static str {
    match why {
        Uncharged::Pending => "not judged yet",
        Uncharged::For(reason) => match reason {
            UnchargedReason::RetriedPut => "not charged: the probe may have sent it twice",
            UnchargedReason::Mention => "not charged: mentions only the tag, without the rest of the canary",
            UnchargedReason::SameRecord => "not charged: in the same record or object as the other",
            UnchargedReason::Moved => "not charged: moved, one of the two was deleted",
            UnchargedReason::SecondSender => "not charged: sent by a second process with the probe's name",
            UnchargedReason::Unknown => "not charged: unknown whether two copies are stored",
        },
    }
}

/// What proves the state of a stage.
fn facts(lane: &Lane<'_>, source: &StageSource, planned: Timestamp) -> Vec<(&'static str, String)> {
    let visit = lane.visit;
    let mut facts = Vec::new();
    if let Some(arrival) = &visit.arrival {
        let interval = arrival.interval;
        facts.push((
            "arrived",
            format!(
                "{} after the planned injection: not before {}, by {}",
                lanes::plus_minus(interval, planned),
                words::instant(interval.earliest),
                words::instant(interval.latest),
            ),
        ));
    }
    if let Some(latency) = lane.latency() {
        let against = match lane.target {
            Some(target) if latency > target => {
                format!(", over its target of {}", words::short(target))
            }
            Some(target) => format!(", within its target of {}", words::short(target)),
            None => String::new(),
        };
        facts.push(("hop took", format!("{}{against}", words::exact(latency))));
    }
    if let Some(until) = visit.absent_until {
        let count = usize::try_from(visit.empty_polls).unwrap_or(usize::MAX);
        let count = words::count(count, "poll", "polls");
        facts.push((
            "not found",
            format!(
                "in {count}; the last of them had read everything that arrived before {}",
                words::instant(until)
            ),
        ));
    } else if visit.arrival.is_none() {
        facts.push(("not found", "no poll has covered it yet".to_owned()));
    }
    if visit.gap_since_poll {
        facts.push((
            "failed polls",
            "after the last poll without it, the stage could not be read for some time; that widens the interval"
                .to_owned(),
        ));
    }
    if let Some(arrival) = &visit.arrival {
        let noticed = arrival.noticed_at.since(arrival.interval.latest);
        let delay = if noticed.is_zero() {
            String::new()
        } else {
            format!(", {} later, which is not part of the latency", words::exact(noticed))
        };
        facts.push(("found", format!("by the poll of {}{delay}", words::instant(arrival.noticed_at))));
        facts.push(("time stamp", stamp(arrival.stamp)));
        facts.push(("content", arrival.integrity.to_string()));
        facts.extend(arrival.found_in.map(|found| {
            let how = if found.decoded { "" } else { ", in bytes that were not decoded" };
            ("found in", format!("{}{how}", found.shape))
        }));
    }
    if visit.withheld && visit.arrival.is_none() {
        facts.push((
            "undecoded",
            "the last poll met records that could not be decoded; it may be in one of them".to_owned(),
        ));
    }
    if let (Some(why), None) = (&source.failing, &visit.arrival) {
        facts.push(("polls fail now", why.clone()));
    }
    facts
}

/// The stamp of the service, and what it proves.
fn stamp(stamp: Stamp) -> String {
    match stamp {
        Stamp::Millis(at) => {
            format!("{}, by the clock of the service, to the millisecond", words::instant(at))
        }
        Stamp::Seconds(at) => format!(
            "{}, by the clock of the service, in whole seconds: it arrived within that second",
            at.strftime("%F %H:%M:%S UTC")
        ),
        Stamp::NotBefore(at) => {
            format!("{}, which proves only that it did not arrive before", words::instant(at))
        }
        Stamp::None => "none, so only the polls prove when it arrived".to_owned(),
    }
}

fn put(trace: &Trace) -> String {
    let after = |at: Timestamp| words::exact(at.since(trace.planned_at));
    match trace.put {
        Put::Planned => "no result yet".to_owned(),
        Put::Accepted { at } => format!("accepted by CloudWatch Logs after {}", after(at)),
        Put::Ambiguous { at } => format!("no answer within {}: it may have been accepted", after(at)),
        Put::Refused { at } => format!("refused by CloudWatch Logs after {}", after(at)),
    }
}

/// What happened, in order.
fn timeline(view: &TraceView<'_>, now: Timestamp, slo: Duration) -> Vec<Moment> {
    let trace = view.trace;
    let lost_at = view.lost_at.as_deref().unwrap_or_default();
    let mut moments = vec![(trace.planned_at, "planned injection; latency counts from here".to_owned())];
    moments.extend(match trace.put {
        Put::Planned => None,
        Put::Accepted { at } => Some((at, "CloudWatch Logs accepted it".to_owned())),
        Put::Ambiguous { at } => {
            Some((at, "no answer from CloudWatch Logs; it may have been accepted".to_owned()))
        }
        Put::Refused { at } => Some((at, "CloudWatch Logs refused it".to_owned())),
    });
    for lane in &view.lanes {
        let name = &lane.name;
        if let Some(arrival) = &lane.visit.arrival {
            let took = lane
                .latency()
                .map_or_else(String::new, |latency| format!(", the hop took {}", words::short(latency)));
            moments.push((arrival.interval.latest, format!("arrived at {name}{took}")));
        } else if let (Some(until), Presence::Overdue { .. } | Presence::Never { .. }) =
            (lane.visit.absent_until, &lane.presence)
        {
            let polls = usize::try_from(lane.visit.empty_polls).unwrap_or(usize::MAX);
            let polls = words::count(polls, "poll", "polls");
            moments.push((until, format!("not found in {name} in {polls} so far")));
        }
        if let Presence::Blind { since } = lane.presence {
            moments.push((since, format!("{name} cannot be read from here on")));
        }
    }
    if trace.planned_at + slo < now {
        let met = view.arrival.is_some_and(|at| at.latest <= trace.planned_at + slo);
        if !met {
            moments.push((trace.planned_at + slo, format!("SLO of {} missed", words::short(slo))));
        }
    }
    if let Some((outcome, at)) = &trace.ended {
        let text = match outcome {
            Outcome::Delivered => "counted as delivered".to_owned(),
            Outcome::Late => "counted as late: it arrived after its deadline".to_owned(),
            Outcome::Lost(_) => format!("given up as lost at {lost_at}"),
            Outcome::DeadLettered(_) => format!("found in the dead letters of {lost_at}"),
            Outcome::Unobserved(reason) => format!("given up as unobserved: {}", view.unobserved(*reason)),
            Outcome::Refused(reason) => format!("refused: {reason}"),
        };
        moments.push((*at, text));
    }
    moments.sort_by_key(|(at, _)| *at);
    moments
        .into_iter()
        .map(|(at, text)| Moment {
            at: at.strftime("%H:%M:%S%.3f"),
            after: format!("+{}", words::exact(at.since(trace.planned_at))),
            text,
        })
        .collect()
}
