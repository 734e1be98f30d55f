//! `/traces/{id}`: everything that is known of one trace, and how to check it elsewhere.

use std::time::Duration;

use askama::Template;

use super::app::App;
use super::lane::{Lane, Presence, lanes};
use super::mark::Mark;
use super::page::Head;
use super::row::{outcome_detail, outcome_tone, outcome_word};
use super::waterfall::{self, Axis, Waterfall};
use super::words;
use crate::domain::evidence::{LookUp, Question};
use crate::domain::outcome::Outcome;
use crate::domain::tag::{self, MARKER, TraceId};
use crate::domain::time::Timestamp;
use crate::domain::trace::{Judgement, Put, Trace};
use crate::domain::tracker::Snapshot;

/// Reads the id in an address: 32 hexadecimal digits in any case, with or without dashes, or a whole tag.
pub(crate) fn read_id(text: &str) -> Option<TraceId> {
    let text = text.trim();
    if tag::Shape::of(text.as_bytes()) == tag::Shape::Whole(text.len()) {
        return tag::read_unverified(text.as_bytes()).ok().map(|tag| tag.trace);
    }
    // `TraceId::parse` also takes braces and URNs, which nobody means here.
    let digits = |c: char| c.is_ascii_hexdigit() || c == '-';
    text.chars().all(digits).then(|| TraceId::parse(text)).flatten()
}

/// The trace, wherever it is remembered.
pub(crate) fn find(snapshot: &Snapshot, id: TraceId) -> Option<&Trace> {
    let sorted = [&snapshot.open, &snapshot.finished];
    sorted
        .into_iter()
        .find_map(|list| list.binary_search_by_key(&id, |trace| trace.id()).ok().map(|at| &list[at]))
        .or_else(|| snapshot.failures.iter().flatten().find(|trace| trace.id() == id))
        .map(AsRef::as_ref)
}

/// Why there is no page for an id, and where else to look.
pub(crate) fn unknown(app: &App, snapshot: &Snapshot, id: TraceId) -> Vec<String> {
    let planned = id.planned_at();
    let mut said = Vec::new();
    said.push(if planned > snapshot.at {
        format!("{id} is not known. By its first digits it would be planned for {}, which has not come yet, so it is hardly one of ours.", words::instant(planned))
    } else {
        format!(
            "{id} is not known, or not known any more. By its first digits it was planned at {} ({}).",
            words::instant(planned),
            words::ago(planned, snapshot.at),
        )
    });
    let oldest = snapshot.finished.first().map_or_else(
        || "none has finished yet".to_owned(),
        |trace| format!("at present back to {}", words::instant(trace.planned_at)),
    );
    said.push(format!(
        "The last {} finished traces are remembered ({oldest}); the failed ones of each tenant are kept apart for longer.",
        app.settings.remember,
    ));
    said.push(format!(
        "It may be another instance's canary: each knows only its own. The stages themselves know more: search them for {id}."
    ));
    let like = format!("{MARKER}_{id}%");
    said.extend(app.settings.evidence.iter().find_map(|evidence| evidence.search(&like)));
    said
}

/// The page.
#[derive(Template)]
#[template(path = "trace.html")]
pub(crate) struct Page {
    head: Head,
    id: String,
    tenant: String,
    outcome: &'static str,
    tone: &'static str,
    detail: String,
    latency: Option<String>,
    latency_range: Option<String>,
    judgement: &'static str,
    planned: String,
    ago: String,
    size: String,
    put: String,
    doubled_by_us: bool,
    waterfall: Waterfall,
    /// The hops that were made, where what it waited for afterwards presses them flat.
    enlarged: Option<Waterfall>,
    stages: Vec<StageCard>,
    timeline: Vec<Moment>,
    violations: Vec<String>,
    tag: String,
    tag_parts: Vec<(&'static str, String)>,
}

struct StageCard {
    name: String,
    kind: &'static str,
    source: String,
    side: bool,
    said: String,
    tone: &'static str,
    facts: Vec<(&'static str, String)>,
    copies: Vec<Copy>,
    look_ups: Vec<LookUp>,
}

struct Copy {
    locator: String,
    look_ups: Vec<LookUp>,
}

struct Moment {
    at: String,
    after: String,
    text: String,
}

impl Page {
    pub(crate) fn new(app: &App, snapshot: &Snapshot, trace: &Trace) -> Self {
        let map = &snapshot.topology;
        let lanes = lanes(trace, snapshot);
        let extent = waterfall::extent(&lanes, trace.planned_at, snapshot.at);
        let axis = Axis::holding(trace.planned_at, extent);
        let signed = (app.sign)(&trace.tag);
        let tag = signed.to_string();
        let title = format!("{} {}", outcome_word(trace), outcome_detail(trace, snapshot));
        let arrival = trace.arrival(map.end());
        let after = |at: Timestamp| words::exact(at.since(trace.planned_at));
        Self {
            head: Head::at(app, &format!("{} · trace", title.trim()), mark(trace), snapshot.at),
            id: trace.id().to_string(),
            tenant: map.tenant(trace.tenant).name.to_string(),
            outcome: outcome_word(trace),
            tone: outcome_tone(trace),
            detail: outcome_detail(trace, snapshot),
            latency: arrival.map(|at| after(at.latest)),
            latency_range: arrival.map(|at| {
                format!(
                    "It arrived between {} and {} after the planned injection; the later end is what counts.",
                    after(at.earliest),
                    after(at.latest),
                )
            }),
            judgement: judgement(trace),
            planned: words::instant(trace.planned_at),
            ago: words::ago(trace.planned_at, snapshot.at),
            size: format!("{} bytes", trace.tag.size),
            put: put(trace),
            doubled_by_us: trace.doubled_by_us,
            waterfall: waterfall::draw(&lanes, axis, app.settings.criteria.slo, snapshot.at),
            enlarged: enlarged(&lanes, trace, snapshot, axis, app.settings.criteria.slo),
            stages: lanes.iter().map(|lane| StageCard::new(app, snapshot, trace, lane, &tag)).collect(),
            timeline: timeline(trace, snapshot, app, &lanes),
            violations: snapshot
                .violations
                .iter()
                .filter(|seen| seen.trace == trace.id())
                .map(|seen| {
                    format!(
                        "{}: found in {} at {}, copy {}",
                        words::instant(seen.at),
                        seen.found_in,
                        map.stage(seen.stage).name,
                        seen.locator,
                    )
                })
                .collect(),
            tag_parts: vec![
                ("marker and version", format!("{MARKER}{}", trace.tag.version())),
                ("trace id", trace.id().to_string()),
                ("tenant code", trace.tag.tenant_digits()),
                ("instance code", trace.tag.instance.to_string()),
                ("size in bytes", trace.tag.size.to_string()),
                ("purpose", trace.tag.purpose().to_string()),
                ("signature", signed.signature().to_owned()),
            ],
            tag,
        }
    }
}

/// From this share of the axis on, bars are wide enough to be told apart.
const FLAT: u32 = 8;

fn enlarged(
    lanes: &[Lane<'_>],
    trace: &Trace,
    snapshot: &Snapshot,
    axis: Axis,
    slo: Duration,
) -> Option<Waterfall> {
    let seen: Vec<_> =
        lanes.iter().filter(|lane| matches!(lane.presence, Presence::Seen(_))).cloned().collect();
    let extent = waterfall::extent(&seen, trace.planned_at, snapshot.at);
    let closer = Axis::holding(trace.planned_at, extent);
    (!seen.is_empty() && closer.length * FLAT <= axis.length)
        .then(|| waterfall::draw(&seen, closer, slo, snapshot.at))
}

impl StageCard {
    fn new(app: &App, snapshot: &Snapshot, trace: &Trace, lane: &Lane<'_>, tag: &str) -> Self {
        let map = &snapshot.topology;
        let source = map.source_of(trace.tenant, lane.stage);
        let evidence = app.settings.evidence.get(source.0 as usize);
        let visit = lane.visit;
        let look_up = |copy| {
            let question = Question { copy, tag, planned_at: trace.planned_at };
            evidence.map(|evidence| evidence.look_ups(question)).unwrap_or_default()
        };
        Self {
            name: lane.name.to_string(),
            kind: map.stage(lane.stage).kind.name(),
            source: map.source(source).name.to_string(),
            side: lane.side,
            said: waterfall::said(lane, snapshot.at),
            tone: match lane.presence {
                Presence::Seen(_) if lane.over_target() => "poor",
                Presence::Seen(_) => "well",
                Presence::Waiting { .. } | Presence::NotReached => "pending",
                Presence::Overdue { .. } | Presence::Never { .. } => "broken",
                Presence::Blind { .. } | Presence::Unproven => "unknown",
            },
            facts: facts(lane),
            copies: visit
                .copies
                .iter()
                .map(|copy| Copy { locator: copy.to_string(), look_ups: look_up(Some(copy)) })
                .collect(),
            look_ups: if visit.copies.is_empty() { look_up(None) } else { Vec::new() },
        }
    }
}

fn facts(lane: &Lane<'_>) -> Vec<(&'static str, String)> {
    let visit = lane.visit;
    let mut facts = Vec::new();
    if let Some(arrival) = &visit.arrival {
        let interval = arrival.interval;
        facts.push(("arrived not before", words::instant(interval.earliest)));
        facts.push(("arrived by", words::instant(interval.latest)));
        facts.push(("known to within", words::exact(interval.width())));
        let noticed = arrival.noticed_at.since(interval.latest);
        facts.push((
            "noticed",
            if noticed.is_zero() {
                "by us at once".to_owned()
            } else {
                format!("{} later by us, which is no part of the latency", words::exact(noticed))
            },
        ));
        facts.push(("content", arrival.integrity.to_string()));
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
        facts.push(("proven absent until", words::instant(until)));
    }
    if visit.looks_in_vain > 0 || visit.arrival.is_none() {
        let looks = usize::try_from(visit.looks_in_vain).unwrap_or(usize::MAX);
        facts.push(("looked in vain", words::count(looks, "time", "times")));
    }
    if visit.unseen_gap {
        facts.push(("gap", "the stage could not be read for a while after the last look in vain".to_owned()));
    }
    facts
}

fn put(trace: &Trace) -> String {
    let after = |at: Timestamp| words::exact(at.since(trace.planned_at));
    match trace.put {
        Put::Planned => "not reported back yet".to_owned(),
        Put::Accepted { at } => format!("accepted {} after the plan", after(at)),
        Put::Ambiguous { at } => format!("no answer within {}: it may be in", after(at)),
        Put::Refused { at } => format!("refused {} after the plan", after(at)),
    }
}

fn judgement(trace: &Trace) -> &'static str {
    match (trace.judgement, &trace.ended) {
        (Judgement::Pending, None) => "not decided yet",
        (Judgement::Pending, Some(_)) => "not judged, since it says nothing of the pipeline",
        (Judgement::Good, _) => "within the threshold",
        (Judgement::Slow, _) => "arrived over the threshold",
        (Judgement::Overdue, _) => "missed the threshold",
        (Judgement::Unjudged, _) => "not judged: the end stage could not be read when it mattered",
    }
}

fn mark(trace: &Trace) -> Mark {
    match outcome_tone(trace) {
        "broken" => Mark::Broken,
        "unknown" => Mark::Unknown,
        "poor" => Mark::Poor,
        "well" => Mark::Well,
        _ => Mark::Pending,
    }
}

/// What happened, in order.
fn timeline(trace: &Trace, snapshot: &Snapshot, app: &App, lanes: &[Lane<'_>]) -> Vec<Moment> {
    let map = &snapshot.topology;
    let slo = app.settings.criteria.slo;
    let mut moments = vec![(trace.planned_at, "planned to leave; latency counts from here".to_owned())];
    moments.extend(match trace.put {
        Put::Planned => None,
        Put::Accepted { at } => Some((at, "CloudWatch Logs took it".to_owned())),
        Put::Ambiguous { at } => Some((at, "no answer from CloudWatch Logs; it may be in".to_owned())),
        Put::Refused { at } => Some((at, "CloudWatch Logs did not take it".to_owned())),
    });
    for lane in lanes {
        let name = &lane.name;
        if let Some(arrival) = &lane.visit.arrival {
            let took = lane
                .latency()
                .map_or_else(String::new, |latency| format!(", the hop took {}", words::short(latency)));
            moments.push((arrival.interval.latest, format!("had arrived at {name} by now{took}")));
        } else if let (Some(until), Presence::Overdue { .. } | Presence::Never { .. }) =
            (lane.visit.absent_until, &lane.presence)
        {
            let looks = usize::try_from(lane.visit.looks_in_vain).unwrap_or(usize::MAX);
            let looks = words::count(looks, "look", "looks");
            moments.push((until, format!("still not at {name}, after {looks}")));
        }
        if let Presence::Blind { since } = lane.presence {
            moments.push((since, format!("{name} could not be read from here on")));
        }
    }
    if trace.planned_at + slo < snapshot.at {
        let met = trace.arrival(map.end()).is_some_and(|at| at.latest <= trace.planned_at + slo);
        if !met {
            moments.push((trace.planned_at + slo, format!("threshold of {}", words::short(slo))));
        }
    }
    if let Some((outcome, at)) = &trace.ended {
        let said = match outcome {
            Outcome::Delivered => "counted as delivered".to_owned(),
            Outcome::Late => "counted as late: it came after its deadline".to_owned(),
            Outcome::Lost(hop) => format!("given up as lost at {}", hop.display(map)),
            Outcome::DeadLettered(stage) => {
                format!("found in the dead letters of {}", map.stage(*stage).name)
            }
            Outcome::Unobserved => "given up as unobserved: nobody can say".to_owned(),
            Outcome::Refused(reason) => format!("refused: {reason}"),
        };
        moments.push((*at, said));
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
