//! `/traces/{id}` as a page: the texts for its view.

use std::time::Duration;

use askama::Template;

use super::app::App;
use super::page::Head;
use super::view::{Lane, One, Presence, StageSource, TraceView};
use super::waterfall::{self, Axis, Waterfall};
use super::words;
use crate::domain::copies::{Uncharged, UnchargedReason};
use crate::domain::evidence::Lookup;
use crate::domain::outcome::Outcome;
use crate::domain::tag::MARKER;
use crate::domain::time::Timestamp;
use crate::domain::trace::{Judgement, Put, Trace};

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
    /// A second drawing of the completed hops, if a long wait afterwards makes them too narrow in the first.
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
    text: String,
    tone: &'static str,
    facts: Vec<(&'static str, String)>,
    copies: Vec<Copy>,
    lookups: Vec<Lookup>,
}

struct Copy {
    locator: String,
    /// Why it is not charged to the pipeline, as a phrase.
    uncharged: Option<&'static str>,
    lookups: Vec<Lookup>,
}

struct Moment {
    at: String,
    after: String,
    text: String,
}

impl Page {
    pub(crate) fn new(app: &App, view: &One<'_>) -> Self {
        let (now, slo) = (view.at, view.settings.criteria.slo);
        let TraceView { brief, trace, lanes, arrival, .. } = &view.trace;
        let extent = waterfall::extent(lanes, trace.planned_at, now);
        let axis = Axis::holding(trace.planned_at, extent);
        let title = format!("{} {}", brief.outcome, brief.detail);
        let after = |at: Timestamp| words::exact(at.since(trace.planned_at));
        Self {
            head: Head::at(app, &format!("{} · trace", title.trim()), brief.mark, now),
            id: brief.id.to_string(),
            tenant: brief.tenant.to_string(),
            outcome: brief.outcome,
            tone: brief.mark.class(),
            detail: brief.detail.clone(),
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
            ago: words::ago(trace.planned_at, now),
            size: format!("{} bytes", trace.tag.size),
            put: put(trace),
            doubled_by_us: trace.doubled_by_us,
            waterfall: waterfall::draw(lanes, axis, slo, now),
            enlarged: enlarged(&view.trace, now, axis, slo),
            stages: lanes
                .iter()
                .zip(&view.sources)
                .map(|(lane, source)| StageCard::new(lane, source, now))
                .collect(),
            timeline: timeline(&view.trace, now, slo),
            violations: view
                .violations
                .iter()
                .map(|seen| {
                    format!(
                        "{}: found in {} at {}, copy {}",
                        words::instant(seen.at),
                        seen.found_in,
                        seen.stage,
                        seen.locator,
                    )
                })
                .collect(),
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

/// Below this fraction of the axis (1/8), the completed hops are drawn a second time.
const FLAT: u32 = 8;

fn enlarged(view: &TraceView<'_>, now: Timestamp, axis: Axis, slo: Duration) -> Option<Waterfall> {
    let seen: Vec<_> =
        view.lanes.iter().filter(|lane| matches!(lane.presence, Presence::Seen(_))).cloned().collect();
    let planned_at = view.brief.planned_at;
    let closer = Axis::holding(planned_at, waterfall::extent(&seen, planned_at, now));
    (!seen.is_empty() && closer.length * FLAT <= axis.length)
        .then(|| waterfall::draw(&seen, closer, slo, now))
}

impl StageCard {
    fn new(lane: &Lane<'_>, source: &StageSource, now: Timestamp) -> Self {
        Self {
            name: lane.name.to_string(),
            kind: source.kind,
            source: source.name.to_string(),
            side: lane.side,
            text: waterfall::text(lane, now),
            tone: match lane.presence {
                Presence::Seen(_) if lane.over_target() => "poor",
                Presence::Seen(_) => "well",
                Presence::Waiting { .. } | Presence::NotReached => "pending",
                Presence::Overdue { .. } | Presence::Never { .. } => "broken",
                Presence::Blind { .. } | Presence::Unproven => "unknown",
            },
            facts: facts(lane),
            copies: source
                .copies
                .iter()
                .map(|copy| Copy {
                    locator: copy.locator.clone(),
                    uncharged: copy.uncharged.map(uncharged),
                    lookups: copy.lookups.clone(),
                })
                .collect(),
            lookups: source.lookups.clone(),
        }
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

fn facts(lane: &Lane<'_>) -> Vec<(&'static str, String)> {
    let visit = lane.visit;
    let mut facts = Vec::new();
    if let Some(arrival) = &visit.arrival {
        let interval = arrival.interval;
        facts.push(("arrived not before", words::instant(interval.earliest)));
        facts.push(("arrived by", words::instant(interval.latest)));
        facts.push(("uncertainty", words::exact(interval.width())));
        let noticed = arrival.noticed_at.since(interval.latest);
        facts.push((
            "noticed",
            if noticed.is_zero() {
                "at once".to_owned()
            } else {
                format!("{} later, which is not part of the latency", words::exact(noticed))
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
    if visit.empty_polls > 0 || visit.arrival.is_none() {
        let polls = usize::try_from(visit.empty_polls).unwrap_or(usize::MAX);
        facts.push(("not found in", words::count(polls, "poll", "polls")));
    }
    if visit.gap_since_poll {
        facts.push((
            "gap",
            "the stage could not be read for some time after the last poll without it".to_owned(),
        ));
    }
    facts
}

fn put(trace: &Trace) -> String {
    let after = |at: Timestamp| words::exact(at.since(trace.planned_at));
    match trace.put {
        Put::Planned => "no result yet".to_owned(),
        Put::Accepted { at } => format!("accepted {} after the plan", after(at)),
        Put::Ambiguous { at } => format!("no answer within {}: it may have been accepted", after(at)),
        Put::Refused { at } => format!("refused {} after the plan", after(at)),
    }
}

fn judgement(trace: &Trace) -> &'static str {
    match (trace.judgement, &trace.ended) {
        (Judgement::Pending, None) => "not decided yet",
        (Judgement::Pending, Some(_)) => "not judged, because it says nothing about the pipeline",
        (Judgement::Good, _) => "within the threshold",
        (Judgement::Slow, _) => "arrived over the threshold",
        (Judgement::Overdue, _) => "missed the threshold",
        (Judgement::Unjudged, _) => "not judged: the interval of its arrival includes the threshold",
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
            moments.push((arrival.interval.latest, format!("had arrived at {name} by now{took}")));
        } else if let (Some(until), Presence::Overdue { .. } | Presence::Never { .. }) =
            (lane.visit.absent_until, &lane.presence)
        {
            let polls = usize::try_from(lane.visit.empty_polls).unwrap_or(usize::MAX);
            let polls = words::count(polls, "poll", "polls");
            moments.push((until, format!("still not at {name}, after {polls}")));
        }
        if let Presence::Blind { since } = lane.presence {
            moments.push((since, format!("{name} could not be read from here on")));
        }
    }
    if trace.planned_at + slo < now {
        let met = view.arrival.is_some_and(|at| at.latest <= trace.planned_at + slo);
        if !met {
            moments.push((trace.planned_at + slo, format!("threshold of {}", words::short(slo))));
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
