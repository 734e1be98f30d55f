//! The canaries of `check --canary`: shown while they travel, and what became of them.

use std::time::Duration;

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::advice::Adviser;
use super::finding::Mark;
use super::lookups::{CanaryLookup, lookups, story};
use super::patience::Patience;
use super::report::{Format, Progress, Report};
use crate::cloud::Clients;
use crate::commands::output::say;
use crate::config::Config;
use crate::daemon::canary::{self, Errand, Fate, Followed, State};
use crate::daemon::clock::ProbeClock;
use crate::domain::foreign::ForeignText;
use crate::domain::topology::{StageId, Topology};

/// Exit code if a canary did not arrive where it should have.
pub(super) const MISSING: u8 = 3;
/// Exit code if a stage could not be read, so that it is unknown whether a canary arrived.
pub(super) const UNKNOWN: u8 = 4;

/// Most canaries of an interrupted check that come with commands: with more, those of the first show how to look.
const WITH_COMMANDS: usize = 5;

/// What became of one canary. The fields are the JSON that docs/check.md documents.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(super) struct CanaryReport {
    pub(super) mark: Mark,
    tenant: String,
    log_group: String,
    /// The id of its trace, as the page shows it.
    trace: String,
    /// `delivered`, `dead_lettered`, `refused`, `missing`, `unknown` or `waiting`.
    outcome: &'static str,
    /// From the planned injection to the end stage; `null` if it was not delivered.
    seconds: Option<f64>,
    detail: String,
    stages: Vec<StageReport>,
    /// Second copies and changes.
    remarks: Vec<String>,
    /// What to look at, where it is missing or changed.
    advice: Vec<String>,
    /// Commands that look for it, if it was still followed when the check was interrupted.
    lookups: Vec<CanaryLookup>,
    /// Where it was found with another tenant; `null` if it was not.
    leaked: Option<String>,
    #[serde(skip)]
    exit_code: u8,
}

/// One stage of a canary.
#[derive(Clone, PartialEq, Debug, Serialize)]
struct StageReport {
    stage: String,
    /// `arrived`, `waiting`, `missing`, `unreadable`, `cannot_see`, `not_given_up` or `not_awaited`.
    state: &'static str,
    /// From the planned injection to the arrival; `null` if it was not seen.
    seconds: Option<f64>,
    detail: String,
}

/// Sends the canaries, shows where they are, and adds what became of them to the report. Returns the exit code.
pub(super) async fn send(
    config: &Config,
    clients: Clients,
    clock: ProbeClock,
    errand: &Errand,
    stop: &CancellationToken,
    report: &mut Report,
) -> anyhow::Result<u8> {
    let topology = config.topology();
    let mut live = Live::new(report.format(), errand.timeout, &topology);
    let run = canary::run(config, clients.clone(), clock.clone(), errand, stop, |now| live.show(now));
    let followed = run.await?;
    live.progress.clear();
    let patience = Patience::new(errand.timeout, config.probe.give_up);
    let mut adviser = Adviser::new(config, &clients, clock.wall(), patience);
    let (mut code, mut with_commands) = (0, 0);
    for canary in &followed {
        let (advice, lookups) = match (stop.is_cancelled(), canary.has_ended()) {
            (false, _) => (adviser.advise(canary).await, Vec::new()),
            (true, true) => Default::default(),
            (true, false) => {
                with_commands += 1;
                let is_shown = with_commands <= WITH_COMMANDS;
                let lookups = if is_shown { lookups(config, &topology, canary) } else { Vec::new() };
                (vec![story(config, &topology, canary)], lookups)
            }
        };
        let canary = CanaryReport { advice, lookups, ..CanaryReport::of(canary, &topology, patience) };
        code = code.max(canary.exit_code);
        report.add_canary(canary);
    }
    Ok(code)
}

/// Shows each change once.
struct Live<'a> {
    format: Format,
    topology: &'a Topology,
    timeout: Duration,
    began: tokio::time::Instant,
    /// What was shown of each canary.
    shown: Vec<Vec<&'static str>>,
    progress: Progress,
}

impl<'a> Live<'a> {
    fn new(format: Format, timeout: Duration, topology: &'a Topology) -> Self {
        let (began, progress) = (tokio::time::Instant::now(), Progress::new(0));
        Self { format, topology, timeout, began, shown: Vec::new(), progress }
    }

    fn show(&mut self, canaries: &[Followed]) {
        if self.shown.is_empty() && self.format == Format::Lines {
            let (count, timeout) = (canaries.len(), self.timeout.as_secs());
            let canaries = if count == 1 { "canary is" } else { "canaries are" };
            say!("          {count} {canaries} on the way, for at most {timeout} s");
        }
        self.shown.resize(canaries.len(), Vec::new());
        let mut waiting = Vec::new();
        for (canary, shown) in canaries.iter().zip(&mut self.shown) {
            shown.resize(canary.stages.len(), "");
            let tenant = &self.topology.tenant(canary.tenant).name;
            for ((stage, state), shown) in self.topology.stage_ids().zip(&canary.stages).zip(shown) {
                let name = &self.topology.stage(stage).name;
                if matches!(state, State::Waiting(_)) && !canary.has_ended() {
                    waiting.push(format!("{tenant} at {name}"));
                }
                let label = label(state);
                // Dead letters are of interest only if there is one.
                let is_quiet = matches!(state, State::Waiting(_) | State::NotGivenUp);
                if std::mem::replace(shown, label) != label && !is_quiet && self.format == Format::Lines {
                    self.progress.clear();
                    say!("          {tenant} ({}): {name}: {}", canary.log_group, describe(state));
                }
            }
        }
        let more = waiting.len().saturating_sub(3);
        waiting.truncate(3);
        let more = if more == 0 { String::new() } else { format!(" and {more} more") };
        let secs = self.began.elapsed().as_secs();
        let timeout = self.timeout.as_secs();
        self.progress.show(&format!("{secs} s of {timeout} s, waiting for {}{more}", waiting.join(", ")));
    }
}

const fn label(state: &State) -> &'static str {
    match state {
        State::Arrived(_) => "arrived",
        State::Waiting(_) => "waiting",
        State::Missing(_) => "missing",
        State::Unreadable(_) => "unreadable",
        State::Blind(_) => "cannot_see",
        State::NotGivenUp => "not_given_up",
        State::NotAwaited => "not_awaited",
    }
}

fn describe(state: &State) -> String {
    let polls = |count: &u32| if *count == 1 { "1 poll".to_owned() } else { format!("{count} polls") };
    match state {
        State::Arrived(after) => format!("arrived after {:.1} s", after.as_secs_f64()),
        State::Waiting(count) => format!("waiting, not there in {}", polls(count)),
        State::Missing(count) => format!("missing, not there in {}", polls(count)),
        State::Unreadable(text) => format!("unreadable, it may be in what cannot be opened: {text}"),
        State::Blind(text) => format!("cannot be read: {text}"),
        State::NotGivenUp => "not among the dead letters".to_owned(),
        State::NotAwaited => "not waited for, since the pipeline gave it up".to_owned(),
    }
}

impl CanaryReport {
    fn of(canary: &Followed, topology: &Topology, patience: Patience) -> Self {
        let name = |stage: StageId| topology.stage(stage).name.to_string();
        let stages = topology.stage_ids().zip(&canary.stages);
        let at = |stage: StageId| {
            let number = usize::from(stage.0);
            let Some(state) = canary.stages.get(number) else { return String::new() };
            match (state, canary.mislabelled.get(number)) {
                (State::Missing(_), Some(Some(seen))) => format!("there, but with the label `{seen}`"),
                (state, _) => describe(state),
            }
        };
        let stages: Vec<_> = stages
            .map(|(stage, state)| StageReport {
                stage: name(stage),
                state: label(state),
                seconds: if let State::Arrived(after) = state { Some(after.as_secs_f64()) } else { None },
                detail: at(stage),
            })
            .collect();
        let (outcome, mut detail, of_fate) = match &canary.fate {
            Fate::Waiting => ("waiting", "still on its way".to_owned(), UNKNOWN),
            Fate::Delivered(after) => {
                ("delivered", format!("delivered after {:.1} s", after.as_secs_f64()), 0)
            }
            Fate::DeadLettered(stage) => {
                let last = last_seen(canary, topology).map(|stage| format!(", last seen at {}", name(stage)));
                let text = format!(
                    "given up by the pipeline{}: it is at {}",
                    last.unwrap_or_default(),
                    name(*stage)
                );
                ("dead_lettered", text, MISSING)
            }
            Fate::Refused(reason) => ("refused", format!("not accepted: {reason}"), MISSING),
            Fate::Missing(stage) if is_mislabelled(canary, *stage) => {
                ("missing", format!("{}: {}", name(*stage), at(*stage)), MISSING)
            }
            Fate::Missing(stage) => {
                let last = last_seen(canary, topology);
                let after = last
                    .map_or_else(|| "after injection".to_owned(), |stage| format!("after {}", name(stage)));
                let lost = || format!("lost {after}; {}: {}", name(*stage), at(*stage));
                ("missing", patience.not_arrived_at(&name(*stage)).unwrap_or_else(lost), MISSING)
            }
            Fate::Unknown(stage) => ("unknown", format!("{}: {}", name(*stage), at(*stage)), UNKNOWN),
        };
        // A canary that was delivered may be missing at a side stage.
        let mut exit_code = of_fate;
        if of_fate == 0 {
            for stage in &stages {
                let code = match stage.state {
                    "missing" => MISSING,
                    "unreadable" | "cannot_see" => UNKNOWN,
                    _ => 0,
                };
                if code > 0 {
                    detail = format!("{detail}, but {}: {}", stage.stage, stage.detail);
                }
                exit_code = exit_code.max(code);
            }
        }
        let leaked = canary.leaked.as_ref().map(ToString::to_string);
        if let Some(leaked) = &leaked {
            // A label that no tenant has is no other tenant.
            let is_told = |seen: &ForeignText| topology.tenant_by_label(seen).is_none();
            if !canary.mislabelled.iter().flatten().any(is_told) {
                detail = format!("{detail}; found with another tenant: {leaked}");
            }
            exit_code = exit_code.max(MISSING);
        }
        let mark = match exit_code {
            0 => Mark::Ok,
            _ if outcome == "waiting" => Mark::NotTried,
            _ => Mark::Fail,
        };
        Self {
            mark,
            tenant: topology.tenant(canary.tenant).name.to_string(),
            log_group: canary.log_group.to_string(),
            trace: canary.trace.clone(),
            outcome,
            seconds: if let Fate::Delivered(after) = canary.fate { Some(after.as_secs_f64()) } else { None },
            detail,
            stages,
            remarks: canary.remarks.clone(),
            advice: Vec::new(),
            lookups: Vec::new(),
            leaked,
            exit_code,
        }
    }

    /// The lines for people.
    pub(super) fn lines(&self) -> Vec<String> {
        let Self { mark, tenant, log_group, trace, detail, remarks, stages, .. } = self;
        let mut lines = vec![format!("{} canary of {tenant} ({log_group}): {detail}", mark.column())];
        if *mark != Mark::Ok {
            lines.push(format!("          trace    {trace}"));
            // Of a canary that was not put, there is nothing to tell.
            let is_told = |stage: &&StageReport| stage.state != "not_given_up" && self.outcome != "refused";
            let stages = stages.iter().filter(is_told);
            lines.extend(stages.map(|stage| format!("          {:<16} {}", stage.stage, stage.detail)));
        }
        lines.extend(remarks.iter().map(|remark| format!("          note     {remark}")));
        lines.extend(self.advice.iter().map(|text| format!("          look     {text}")));
        lines.extend(self.lookups.iter().map(|lookup| format!("          run      {}", lookup.line())));
        lines
    }
}

/// Whether it is at a stage with a label that is not its tenant's.
fn is_mislabelled(canary: &Followed, stage: StageId) -> bool {
    matches!(canary.mislabelled.get(usize::from(stage.0)), Some(Some(_)))
}

/// The last stage of the main path at which it was seen.
fn last_seen(canary: &Followed, topology: &Topology) -> Option<StageId> {
    let arrived =
        |stage: &&StageId| matches!(canary.stages.get(usize::from(stage.0)), Some(State::Arrived(_)));
    topology.main_path().iter().rev().find(arrived).copied()
}
