//! The probe itself on the page: its sources, its injection, its clock and its drills.

use std::sync::Arc;

use super::page::{Age, Moment};
use super::view::{Injection, Recent, Source, State, Tenant};
use super::words;
use crate::domain::drill::{DrillProof, Drills};
use crate::domain::time::{Interval, OwnClock, Timestamp};

/// Healthy sources on the page.
const HEALTHY_SHOWN: usize = 60;
/// With at most this many, healthy sources are unfolded.
const HEALTHY_OPEN: usize = 12;
/// Tenants into whose log groups canaries go, on the page.
const INJECTIONS_SHOWN: usize = 10;

/// The section of the probe.
pub(crate) struct Probe {
    pub(crate) failing: Vec<SourceLine>,
    pub(crate) healthy: Vec<SourceLine>,
    pub(crate) healthy_open: bool,
    /// Number of healthy sources, shown or not.
    pub(crate) all_healthy: usize,
    /// What is not looked for while nothing waits.
    pub(crate) gaps: String,
    /// A sentence on the error of the probe's own clock; `None` if it is not synchronized, or the platform
    /// does not report it.
    pub(crate) clock: Option<String>,
    /// Which canaries of a previous run may have no outcome; `None` if a store is kept.
    pub(crate) forgotten: Option<String>,
    /// When the pager was last proven to ring; `None` if drills are not enabled.
    pub(crate) drill: Option<String>,
    pub(crate) injections: Vec<InjectionLine>,
    /// Number of further tenants whose canaries are accepted.
    pub(crate) more_injections: usize,
}

pub(crate) struct SourceLine {
    pub(crate) name: String,
    pub(crate) stage: String,
    pub(crate) owner: String,
    pub(crate) state: State,
    pub(crate) since: Option<(Moment, Age)>,
    pub(crate) read_up_to: Option<Age>,
    pub(crate) last_answer: Option<Age>,
    pub(crate) waiting: usize,
    pub(crate) reason: String,
}

pub(crate) struct InjectionLine {
    pub(crate) tenant: String,
    pub(crate) ok: bool,
    pub(crate) text: &'static str,
    /// When that was.
    pub(crate) at: Option<(Moment, Age)>,
    pub(crate) more: String,
    pub(crate) missed: u64,
}

impl Probe {
    pub(crate) fn new(view: &Recent<'_>) -> Self {
        let now = view.at;
        let mut sources: Vec<_> = view.sources.iter().filter(|source| source.admitted).collect();
        sources.sort_by_key(|source| (source.state, source.since));
        let (failing, healthy): (Vec<_>, Vec<_>) =
            sources.into_iter().partition(|source| source.state.is_failing());
        let is_worth = |tenant: &&Tenant| is_refused(tenant) || tenant.missed > 0;
        let (refused, accepted): (Vec<_>, Vec<_>) = view.tenants.iter().partition(is_worth);
        let shown = INJECTIONS_SHOWN.saturating_sub(refused.len()).min(accepted.len());
        let line = |tenant: &&Tenant| InjectionLine::new(tenant, now);
        Self {
            failing: failing.into_iter().take(HEALTHY_SHOWN).map(|it| SourceLine::new(it, now)).collect(),
            healthy_open: healthy.len() <= HEALTHY_OPEN,
            all_healthy: healthy.len(),
            gaps: gaps_line(&view.gapless_stages),
            healthy: healthy.into_iter().take(HEALTHY_SHOWN).map(|it| SourceLine::new(it, now)).collect(),
            clock: view.clock.filter(|clock| clock.synchronized).map(|clock| clock_line(clock, now)),
            forgotten: view.forgotten.map(|span| forgotten_line(span, now)),
            drill: view.drills.as_ref().map(|drills| drill_line(drills, now)),
            injections: refused.iter().chain(&accepted[..shown]).map(line).collect(),
            more_injections: accepted.len() - shown,
        }
    }
}

/// `Second copies and leaks are looked for only while a canary waits, except at archive (gaps = "read").`
fn gaps_line(gapless: &[Arc<str>]) -> String {
    let except = match gapless {
        [] => String::new(),
        names => format!(", except at {} (gaps = \"read\")", names.join(", ")),
    };
    format!("Second copies and leaks are looked for only while a canary waits{except}.")
}

const fn is_refused(tenant: &Tenant) -> bool {
    matches!(tenant.injection, Injection::Refusing(..))
}

/// `The pager was last proven to ring on … (3 d ago), 84 s after the drill began.`
fn drill_line(drills: &Drills, now: Timestamp) -> String {
    let proof = match drills.proof {
        Some(DrillProof { began, rang }) => format!(
            "The pager was last proven to ring at {} ({}), {} after the drill began",
            words::clock(rang, now),
            words::ago(rang, now),
            words::age(rang.since(began)),
        ),
        None => "The pager has not been proven to ring yet".to_owned(),
    };
    let present = match (drills.active, drills.silent, drills.next) {
        (Some((since, until)), _, _) => format!(
            "a drill has been going on since {}, until {} at the latest",
            words::clock(since, now),
            words::clock(until, now),
        ),
        (None, Some(began), _) => {
            format!("no notification of the drill of {} arrived", words::clock(began, now))
        }
        (None, None, Some(next)) => format!("the next drill is at {}", words::clock(next, now)),
        (None, None, None) => "no drill is scheduled".to_owned(),
    };
    format!("{proof}; {present}.")
}

/// `It began at … (3 h ago). Canaries planned from … until then may have no outcome: …`
fn forgotten_line(span: Interval, now: Timestamp) -> String {
    format!(
        "It began at {} ({}) and keeps no store. Canaries that were planned from {} until then may have no outcome: if \
         a previous run had them in flight and was killed, nobody counts them. What is found of them is shown, but not \
         counted.",
        words::clock(span.latest, now),
        words::ago(span.latest, now),
        words::clock(span.earliest, now),
    )
}

fn clock_line(clock: OwnClock, now: Timestamp) -> String {
    let bound = clock.error_bound.map_or_else(
        || "its error is not reported".to_owned(),
        |bound| {
            format!(
                "it may be off by {}, which is added to the allowance of every stage",
                words::short(bound)
            )
        },
    );
    match clock.compared_at {
        Some(at) => format!("{bound}; last compared {}", words::ago(at, now)),
        None => bound,
    }
}

impl SourceLine {
    fn new(source: &Source, now: Timestamp) -> Self {
        let age = |at: Option<Timestamp>| at.map(|at| Age::new(at, now));
        let reason = source.reason.clone();
        Self {
            name: source.name.to_string(),
            stage: source.stage.to_string(),
            owner: source.owner.to_string(),
            state: source.state,
            since: source.since.map(|at| (Moment::new(at, now), Age::new(at, now))),
            read_up_to: age(source.watermark),
            last_answer: age(source.last_answer),
            waiting: source.waiting,
            reason: match &source.drift {
                None => reason,
                Some(drift) if reason.is_empty() => format!("schema drifted: {drift}"),
                Some(drift) => format!("{reason}; schema drifted: {drift}"),
            },
        }
    }
}

impl InjectionLine {
    fn new(tenant: &Tenant, now: Timestamp) -> Self {
        let (text, at, more) = match &tenant.injection {
            Injection::NotBegun => ("no canary has been planned yet", None, String::new()),
            Injection::Accepted(at) => ("last accepted", Some(*at), String::new()),
            Injection::Unanswered(at) => ("planned", Some(*at), ", not answered yet".to_owned()),
            Injection::Refusing(at, reason) => ("not accepted since", Some(*at), format!(": {reason}")),
        };
        Self {
            tenant: tenant.verdict.tenant.to_string(),
            ok: !matches!(tenant.injection, Injection::Refusing(..)),
            text,
            at: at.map(|at| (Moment::new(at, now), Age::new(at, now))),
            more,
            missed: tenant.missed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_says_when_copies_and_leaks_go_unnoticed() {
        assert_eq!(gaps_line(&[]), "Second copies and leaks are looked for only while a canary waits.");
        assert_eq!(
            gaps_line(&["archive".into(), "transit".into()]),
            "Second copies and leaks are looked for only while a canary waits, except at archive, transit \
             (gaps = \"read\")."
        );
    }
}
