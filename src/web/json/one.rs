//! `/traces/{id}`.

use schemars::JsonSchema;
use serde::Serialize;

use super::recent::ViolationJson;
use super::trace::TraceJson;
use super::{SCHEMA_VERSION, rfc3339};
use crate::web::view::{self, Finding, Lane, LeakedCopy, Lookups, StageSource};

/// The answer of `/traces/{id}`.
#[derive(Serialize, JsonSchema, Debug)]
#[schemars(rename = "OneTrace")]
pub(crate) struct One {
    /// Version of the shape of the answers, see "What stays".
    schema_version: u32,
    /// The instant of the snapshot that the answer describes.
    #[schemars(extend("format" = "date-time"))]
    at: String,
    /// The same instant in seconds since 1970.
    at_epoch_seconds: f64,
    /// The tag of the canary as it was sent.
    tag: String,
    /// What became of it, in one sentence.
    summary: String,
    /// Whether it met the end-to-end threshold; `null` if that is not decided or unknown.
    met_slo: Option<bool>,
    /// The trace.
    trace: TraceJson,
    /// What is wrong with it, the worst first.
    findings: Vec<FindingJson>,
    /// For the log group and for each stage, what looks it up there.
    evidence: Vec<EvidenceJson>,
    /// Where this canary was found at another tenant.
    violations: Vec<ViolationJson>,
}

/// Something that is wrong with a canary.
#[derive(Serialize, JsonSchema, Debug)]
#[schemars(rename = "Finding")]
struct FindingJson {
    /// Which kind: `leaked`, `lost`, `dead_lettered`, `late`, `slow`, `unobserved`, `refused`, `overdue`, `blind`,
    /// `corrupted`, `duplicated`, `missing` or `skipped`.
    finding: &'static str,
    /// Where it shows; `null` if at no stage in particular.
    stage: Option<String>,
    /// The finding in a few words.
    title: String,
    /// What is known of it.
    facts: Vec<FactJson>,
    /// Locators of copies to compare.
    copies: Vec<String>,
    /// What it means for the client's events.
    meaning: String,
    /// What to do first.
    action: String,
    /// Address of the runbook's chapter.
    runbook: String,
}

/// A fact of a finding.
#[derive(Serialize, JsonSchema, Debug)]
#[schemars(rename = "Fact")]
struct FactJson {
    /// What it is.
    name: &'static str,
    /// For people.
    value: String,
}

/// What looks a canary up at a stage, in the log group, or at another tenant where a copy leaked to.
#[derive(Serialize, JsonSchema, Debug)]
#[schemars(rename = "Evidence")]
struct EvidenceJson {
    /// The stage; `null` for the log group.
    stage: Option<String>,
    /// The kind of the stage; `null` for the log group.
    kind: Option<&'static str>,
    /// The name of the source; `null` for the log group.
    source: Option<String>,
    /// Why polls of the source fail now; `null` while they do not.
    failing: Option<String>,
    /// Shell commands.
    commands: Vec<CommandJson>,
    /// Pages of the provider's console.
    links: Vec<LinkJson>,
}

/// A shell command.
#[derive(Serialize, JsonSchema, Debug)]
#[schemars(rename = "Command")]
struct CommandJson {
    /// Locator of the stored copy that it fetches; `null` if it searches.
    copy: Option<String>,
    /// What it does.
    what: &'static str,
    /// The command, quoted for a POSIX shell.
    command: String,
}

/// A page of a provider's console.
#[derive(Serialize, JsonSchema, Debug)]
#[schemars(rename = "Link")]
struct LinkJson {
    /// Locator of the stored copy that it shows; `null` if it shows where to search.
    copy: Option<String>,
    /// What it shows.
    what: &'static str,
    /// The address.
    url: String,
}

impl One {
    /// Prints the view of one trace.
    #[must_use]
    pub(crate) fn new(view: &view::One<'_>) -> Self {
        let stages = view.trace.lanes.iter().zip(&view.sources);
        Self {
            schema_version: SCHEMA_VERSION,
            at: rfc3339(view.at),
            at_epoch_seconds: view.at.as_secs_f64(),
            tag: view.tag.clone(),
            summary: view.fate.sentence.clone(),
            met_slo: view.fate.met_slo,
            trace: TraceJson::new(&view.trace),
            findings: view.fate.findings.iter().map(FindingJson::new).collect(),
            evidence: std::iter::once(EvidenceJson::of_log_group(&view.log_group))
                .chain(stages.map(|(lane, source)| EvidenceJson::of_stage(lane, source)))
                .chain(view.leaked.iter().map(EvidenceJson::of_leaked))
                .collect(),
            violations: view.violations.iter().map(ViolationJson::new).collect(),
        }
    }
}

impl FindingJson {
    fn new(finding: &Finding) -> Self {
        let fact = |(name, value): &(&'static str, String)| FactJson { name, value: value.clone() };
        Self {
            finding: finding.key,
            stage: finding.stage.as_deref().map(str::to_owned),
            title: finding.title.clone(),
            facts: finding.facts.iter().map(fact).collect(),
            copies: finding.copies.clone(),
            meaning: finding.meaning.clone(),
            action: finding.action.clone(),
            runbook: finding.runbook.clone(),
        }
    }
}

impl EvidenceJson {
    fn of_stage(lane: &Lane<'_>, source: &StageSource) -> Self {
        let of_copies = source.copies.iter().map(|copy| (Some(copy.locator.clone()), &copy.lookups));
        let all: Vec<_> = of_copies.chain([(None, &source.lookups)]).collect();
        Self {
            stage: Some(lane.name.to_string()),
            kind: Some(source.kind),
            source: Some(source.name.to_string()),
            failing: source.failing.clone(),
            ..Self::new(&all)
        }
    }

    fn of_leaked(copy: &LeakedCopy) -> Self {
        Self {
            stage: Some(copy.stage.to_string()),
            kind: Some(copy.kind),
            source: Some(copy.source.to_string()),
            ..Self::new(&[(Some(copy.locator.clone()), &copy.lookups)])
        }
    }

    fn of_log_group(lookups: &Lookups) -> Self {
        Self::new(&[(None, lookups)])
    }

    fn new(all: &[(Option<String>, &Lookups)]) -> Self {
        let commands = all.iter().flat_map(|(copy, lookups)| {
            lookups.commands.iter().map(|lookup| CommandJson {
                copy: copy.clone(),
                what: lookup.what,
                command: lookup.command.clone(),
            })
        });
        let links = all.iter().flat_map(|(copy, lookups)| {
            lookups.links.iter().map(|link| LinkJson {
                copy: copy.clone(),
                what: link.what,
                url: link.url.clone(),
            })
        });
        Self {
            stage: None,
            kind: None,
            source: None,
            failing: None,
            commands: commands.collect(),
            links: links.collect(),
        }
    }
}
