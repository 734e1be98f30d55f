//! What is wrong with a canary, what that means and what to do.

use std::sync::Arc;

use super::lane::{Lane, Presence};
use super::mark::Mark;
use super::story::Story;
use super::violation::Violation;
use crate::domain::canary::Integrity;
use crate::domain::conditions::ConditionName;
use crate::domain::copies::CopyStanding;
use crate::domain::outcome::{Outcome, UnobservedReason};
use crate::domain::topology::{HopRange, Role};
use crate::domain::trace::Judgement;
use crate::web::words;

/// Something that is wrong with a canary.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    /// The name in JSON.
    pub(crate) key: &'static str,
    /// The same on the page.
    pub(crate) title: String,
    pub(crate) mark: Mark,
    /// The stage at which it is wrong.
    pub(crate) stage: Option<Arc<str>>,
    pub(crate) facts: Vec<(&'static str, String)>,
    /// Stored copies to compare.
    pub(crate) copies: Vec<String>,
    pub(crate) meaning: String,
    pub(crate) action: String,
    /// The address of the runbook's chapter.
    pub(crate) runbook: String,
    /// What the first sentence adds about it; empty if that is about it anyway.
    pub(super) clause: String,
}

impl Story<'_> {
    fn finding(&self, key: &'static str, mark: Mark, chapter: &str, stage: Option<&Arc<str>>) -> Finding {
        Finding {
            key,
            title: String::new(),
            mark,
            stage: stage.cloned(),
            facts: Vec::new(),
            copies: Vec::new(),
            meaning: String::new(),
            action: String::new(),
            runbook: self.runbook(chapter, stage.map(AsRef::as_ref)),
            clause: String::new(),
        }
    }

    /// What the outcome means; `None` if all is well.
    pub(super) fn outcome(&self) -> Option<Finding> {
        let trace = self.view.trace;
        match (&trace.ended, trace.found_late) {
            (Some((Outcome::Refused(_), _)), _) => Some(self.refused()),
            (Some((Outcome::Late, _)), _) | (Some(_), Some(_)) => Some(self.late()),
            (Some((Outcome::Lost(hops), _)), None) => Some(self.lost(*hops)),
            (Some((Outcome::DeadLettered(_), _)), None) => Some(self.dead_lettered()),
            (Some((Outcome::Unobserved(reason), _)), None) => Some(self.unobserved(*reason)),
            (Some((Outcome::Delivered, _)), None) => self.slow(),
            (None, _) => self.waiting(),
        }
    }

    fn lost(&self, hops: HopRange) -> Finding {
        let map = &self.snapshot.topology;
        let (from, lane) = (self.from(), self.lost_before(hops));
        let to = lane.map_or(&map.stage(hops.last).name, |lane| &lane.name);
        let end = &map.stage(map.end()).name;
        let mut facts = vec![self.last_seen_fact(), ("counted for hop", hops.display(map).to_string())];
        facts.extend(lane.map(|lane| ("proof", self.not_found(lane))));
        let give_up = words::short(self.settings.give_up);
        Finding {
            title: format!("Lost between {from} and {to}"),
            facts,
            meaning: format!(
                "{end} was read past the deadline of {give_up} and does not hold it. Whatever moves events from {from} to {to} dropped it, and may have dropped clients' events with it."
            ),
            action: match self.first_corrupted() {
                Some(lane) => format!(
                    "Start at {}, where it was cut or changed already: the next step probably could not parse it.",
                    lane.name
                ),
                None => format!(
                    "Check the errors and retries of that step around {}. If other canaries got through at that time, compare their size with this one's.",
                    self.clock(self.view.brief.planned_at)
                ),
            },
            ..self.finding("lost", Mark::Broken, ConditionName::Losing.profile().chapter, Some(to))
        }
    }

    /// The first stage of the main path that has it cut or changed.
    fn first_corrupted(&self) -> Option<&Lane<'_>> {
        let is_corrupted = |lane: &&Lane<'_>| {
            let arrival = lane.visit.arrival.as_ref();
            arrival.is_some_and(|arrival| matches!(arrival.integrity, Integrity::Corrupted { .. }))
        };
        self.view.lanes.iter().filter(|lane| !lane.side).find(is_corrupted)
    }

    fn dead_lettered(&self) -> Finding {
        let map = &self.snapshot.topology;
        let dead = self.view.lanes.iter().zip(self.sources).find(|(lane, _)| {
            map.stage(lane.stage).role == Role::DeadLetter && matches!(lane.presence, Presence::Seen(_))
        });
        let from = self.from();
        let next = self.next().map_or_else(|| "the next stage".to_owned(), |lane| lane.name.to_string());
        let mut facts = vec![("hop that gave up", format!("{from} to {next}"))];
        let mut copies = Vec::new();
        if let Some((_, source)) = dead {
            facts.insert(0, ("dead letters", source.name.to_string()));
            copies = source.copies.iter().map(|copy| copy.locator.clone()).collect();
        }
        Finding {
            title: "In the dead letters".to_owned(),
            facts,
            copies,
            meaning: format!(
                "What moves events from {from} to {next} gave up on it and put it there. It did not reach {next}, but it is kept and can be replayed."
            ),
            action: "Read what the function that gave up logged at that minute, repair its cause, then replay the dead letters before they expire (commands below).".to_owned(),
            ..self.finding("dead_lettered", Mark::Broken, "dead-lettered", dead.map(|(lane, _)| &lane.name))
        }
    }

    fn late(&self) -> Finding {
        let end = &self.snapshot.topology.stage(self.snapshot.topology.end()).name;
        let mut facts = vec![("deadline", words::short(self.settings.give_up))];
        facts.extend(self.view.latency.map(|took| ("took", words::short(took))));
        facts.extend(self.slowest());
        Finding {
            title: "Arrived after it was given up, or after its deadline".to_owned(),
            facts,
            meaning: format!(
                "It is in {end}, so nothing of it is lost. Counters keep what was decided first."
            ),
            action: "Find the hop that took the time: the longest bar below.".to_owned(),
            ..self.finding("late", Mark::Poor, "late-arrivals", Some(end))
        }
    }

    fn slow(&self) -> Option<Finding> {
        if !matches!(self.view.trace.judgement, Judgement::Slow | Judgement::Overdue) {
            return None;
        }
        let mut facts = vec![("SLO", words::short(self.settings.criteria.slo))];
        facts.extend(self.view.latency.map(|took| ("took", words::short(took))));
        facts.extend(self.slowest());
        let slowest = self.view.lanes.iter().filter(|lane| !lane.side).max_by_key(|lane| lane.latency());
        Some(Finding {
            title: "Slower than the SLO".to_owned(),
            facts,
            meaning: "It arrived, but clients see events this late in queries and alerts.".to_owned(),
            action: "Start with the slowest hop. Compare it with other canaries of the same size.".to_owned(),
            clause: "slower than its SLO".to_owned(),
            ..self.finding(
                "slow",
                Mark::Poor,
                ConditionName::Slow.profile().chapter,
                slowest.map(|lane| &lane.name),
            )
        })
    }

    /// The hop of the main path that took longest.
    fn slowest(&self) -> Option<(&'static str, String)> {
        let on_path = self.view.lanes.iter().filter(|lane| !lane.side);
        let lane = on_path.max_by_key(|lane| lane.latency())?;
        let took = words::short(lane.latency()?);
        let target =
            lane.target.map_or_else(String::new, |at| format!(", its target is {}", words::short(at)));
        Some(("slowest hop", format!("{}: {took}{target}", lane.name)))
    }

    fn unobserved(&self, reason: UnobservedReason) -> Finding {
        let map = &self.snapshot.topology;
        let end = &map.stage(map.end()).name;
        let (meaning, action) = match reason {
            UnobservedReason::Blind => (
                format!("{end} could not be read from before its deadline to the end of the grace period after it. It may have arrived or not."),
                "Find out why the probe could not read the stage: permission, quota, network.".to_owned(),
            ),
            UnobservedReason::Unreadable => (
                format!("Records in {end} could not be decoded, and it may be in one of them."),
                "Check the format of the records that the sources table names.".to_owned(),
            ),
            UnobservedReason::NeverSeen => (
                format!("{end} has never shown a canary of this tenant, so its absence proves nothing: format, key, column or pattern may be wrong."),
                "Compare the configuration of the stage with what is stored there (commands below).".to_owned(),
            ),
            UnobservedReason::AmbiguousPut => (
                "CloudWatch Logs did not answer, and no stage has shown it. It may never have entered the pipeline.".to_owned(),
                "Search the log group for it. If it is there, check the first hop.".to_owned(),
            ),
            UnobservedReason::ClockStepped => (
                "The system's clock was set while it was in flight, so its times cannot be compared.".to_owned(),
                "Nothing, unless it happens again: then repair time synchronization on the host.".to_owned(),
            ),
            UnobservedReason::HandedOver => (
                "The process that sent it was stopped while it was in flight, and no store is kept. Its successor shows what it still finds of it.".to_owned(),
                "Look for it on the page of the process that runs now, and in the table.".to_owned(),
            ),
        };
        let chapter = match reason {
            UnobservedReason::NeverSeen => ConditionName::NeverSeen.profile().chapter,
            UnobservedReason::Blind
            | UnobservedReason::Unreadable
            | UnobservedReason::AmbiguousPut
            | UnobservedReason::ClockStepped
            | UnobservedReason::HandedOver => "unobserved",
        };
        let source = self.view.lanes.iter().zip(self.sources).find(|(lane, _)| lane.stage == map.end());
        let failing = source.and_then(|(_, source)| source.failing.clone());
        Finding {
            title: "Why the probe cannot know".to_owned(),
            facts: [("reason", self.view.unobserved(reason)), self.last_seen_fact()]
                .into_iter()
                .chain(failing.map(|why| ("polls fail now", why)))
                .collect(),
            meaning: format!(
                "{meaning} This is a fault of the probe or its configuration; it says nothing about the pipeline."
            ),
            action,
            ..self.finding("unobserved", Mark::Unknown, chapter, Some(end))
        }
    }

    fn refused(&self) -> Finding {
        Finding {
            title: "Never entered the pipeline".to_owned(),
            meaning: "CloudWatch Logs did not take the canary. The pipeline is not tested until it takes them again; clients' own events may be refused too.".to_owned(),
            action: "Check the permission of the probe's role on the log group, and the quota of PutLogEvents.".to_owned(),
            ..self.finding("refused", Mark::Unknown, ConditionName::NotInjecting.profile().chapter, None)
        }
    }

    fn waiting(&self) -> Option<Finding> {
        let lane = self.next()?;
        let source = self.view.lanes.iter().zip(self.sources).find(|(other, _)| other.stage == lane.stage);
        match &lane.presence {
            Presence::Overdue { .. } => Some(Finding {
                title: format!("Overdue at {}", lane.name),
                facts: vec![self.last_seen_fact(), ("proof", self.not_found(lane))],
                meaning: format!(
                    "It can still arrive: it counts as lost {} after it was sent.",
                    words::short(self.settings.give_up)
                ),
                action: format!("Check what moves events from {} to {} now.", self.from(), lane.name),
                ..self.finding(
                    "overdue",
                    Mark::Broken,
                    ConditionName::Missing.profile().chapter,
                    Some(&lane.name),
                )
            }),
            Presence::Blind { since } => Some(Finding {
                title: format!("{} cannot be read", lane.name),
                facts: std::iter::once(("since", self.clock(*since)))
                    .chain(source.and_then(|(_, source)| source.failing.clone()).map(|why| ("reason", why)))
                    .collect(),
                meaning: "It may have arrived. The probe cannot know until it can read the stage again."
                    .to_owned(),
                action: "Restore the probe's access to the stage. The pipeline itself may be well."
                    .to_owned(),
                ..self.finding(
                    "blind",
                    Mark::Unknown,
                    ConditionName::CannotSee.profile().chapter,
                    Some(&lane.name),
                )
            }),
            Presence::Waiting { .. }
            | Presence::Seen(_)
            | Presence::Never { .. }
            | Presence::Unproven
            | Presence::NotReached => None,
        }
    }

    pub(super) fn leaked(&self, violations: &[Violation]) -> Option<Finding> {
        let first = violations.iter().min_by_key(|seen| seen.at)?;
        let tenant = &first.tenant;
        let facts = violations.iter().flat_map(|seen| {
            [
                ("found in", format!("{} ({})", seen.found_in, seen.stage)),
                ("noticed", words::instant(seen.at)),
                ("copy", seen.locator.to_string()),
            ]
        });
        Some(Finding {
            title: format!("Leaked to another tenant at {}", first.stage),
            facts: std::iter::once(("whose", tenant.to_string())).chain(facts).collect(),
            meaning: format!(
                "An event of {tenant} is where another tenant's events are kept: whoever may read that source can read events of {tenant}. The first stage on the path that shows it is where it went wrong; later ones follow from it."
            ),
            action: "Treat it as a data incident: stop the step that mixes them up, and keep the evidence before you delete anything.".to_owned(),
            clause: format!("leaked: found in {}", first.found_in),
            ..self.finding("leaked", Mark::Broken, ConditionName::Leaking.profile().chapter, Some(&first.stage))
        })
    }

    pub(super) fn corrupted(&self, lane: &Lane<'_>) -> Option<Finding> {
        let Integrity::Corrupted { kept_bytes, sent_bytes } = lane.visit.arrival.as_ref()?.integrity else {
            return None;
        };
        let missing = sent_bytes.saturating_sub(kept_bytes);
        let percent = missing * 100 / sent_bytes.max(1);
        Some(Finding {
            title: format!("Cut or changed at {}", lane.name),
            facts: vec![
                ("sent", format!("{sent_bytes} bytes")),
                ("unchanged", format!("{kept_bytes} bytes")),
                ("missing or changed", format!("{missing} bytes ({percent} %)")),
            ],
            meaning: format!(
                "What is stored in {} is not what was sent: clients' events of this size are cut or changed too. The first stage that shows it is where it happens.",
                lane.name
            ),
            action: "Compare the stored record with the size that was sent: limits of a field, an encoding, a parser.".to_owned(),
            clause: format!("cut or changed at {}: {kept_bytes} of {sent_bytes} bytes are left", lane.name),
            ..self.finding("corrupted", Mark::Broken, ConditionName::Corruption.profile().chapter, Some(&lane.name))
        })
    }

    pub(super) fn duplicated(&self, lane: &Lane<'_>) -> Option<Finding> {
        let copies = &lane.visit.copies;
        let extra = copies.iter().filter(|copy| copy.standing == CopyStanding::Duplicate).count();
        (extra > 0).then(|| Finding {
            title: format!("Stored {} at {}", times(extra + 1), lane.name),
            copies: copies.iter().map(|copy| copy.locator.to_string()).collect(),
            meaning: format!(
                "{} holds it more than once: queries there count events twice. Later stages may have copied what an earlier one doubled.",
                lane.name
            ),
            action: "Compare the copies (commands below): the time between them tells a retry from a replay.".to_owned(),
            clause: format!("stored {} at {}", times(extra + 1), lane.name),
            ..self.finding("duplicated", Mark::Poor, ConditionName::Duplicates.profile().chapter, Some(&lane.name))
        })
    }

    /// A stage that does not have it although that did not decide the outcome.
    pub(super) fn absent(&self, lane: &Lane<'_>) -> Option<Finding> {
        let Presence::Never { until } = lane.presence else { return None };
        // That it is lost there is the outcome.
        if !lane.side && matches!(self.view.trace.ended, Some((Outcome::Lost(_), _))) {
            return None;
        }
        let name = if lane.side { ConditionName::Missing } else { ConditionName::Skipped };
        let effect = if lane.side {
            "It is off the main path, so end to end is not affected."
        } else {
            "Later stages may have it all the same: the events took another way, or the stage is misconfigured."
        };
        Some(Finding {
            title: format!("Missing from {}", lane.name),
            facts: vec![("proof", self.not_found(lane))],
            meaning: format!(
                "{} was read up to {} and does not hold it. {effect}",
                lane.name,
                self.clock(until)
            ),
            action: format!("Check what writes to {}.", lane.name),
            clause: format!("missing from {}", lane.name),
            ..self.finding(name.profile().key, Mark::Poor, name.profile().chapter, Some(&lane.name))
        })
    }
}

fn times(count: usize) -> String {
    if count == 2 { "twice".to_owned() } else { format!("{count} times") }
}
