//! The daemon in front of one tenant per format, each written by a library that others maintain: as records
//! of a stream, as objects of an archive, and as objects of the end stage.
//!
//! `formats.py` writes what `packers.py` packs, and drops one canary of each tenant. What is expected of a
//! tenant stands beside its format there.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use tokio::time::Instant;

use crate::support::daemon::Daemon;
use crate::support::metrics::Metrics;
use crate::support::page::{Condition, Recent, Stage, Trace, Verdict};
use crate::support::pipeline::Driver;
use crate::{one_at_a_time, variables};

const STAGES: [&str; 3] = ["stream", "archive", "end"];
const FORMATS: &str = include_str!("../../docs/formats.md");
/// 65 s on two quiet cores.
const ENDED_WITHIN: Duration = Duration::from_secs(180);
const SETTLED_WITHIN: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn every_format_is_read_or_named_and_no_canary_is_called_lost_that_was_written() {
    let _lock = one_at_a_time().await;
    let (_driver, about): (Driver, About) = Driver::start("formats.py", "formats", &[]).await;
    let config = Path::new(env!("CARGO_TARGET_TMPDIR")).join("emulators-formats.toml");
    std::fs::write(&config, configuration(&about)).expect("cannot write the configuration");
    let daemon = Daemon::start(&config, variables(&about.credentials)).await;

    let enough = |recent: &Recent| {
        about.formats.iter().all(|format| {
            recent.of(&format.tenant).filter(|trace| trace.has_ended()).count() >= format.wanted()
        })
    };
    daemon.until("the first canaries of each tenant have ended", ENDED_WITHIN, enough).await;
    // A stage may be polled a little later than the next, and may be blind meanwhile.
    let deadline = Instant::now() + SETTLED_WITHIN;
    loop {
        let evidence = Evidence::of(&daemon, &about).await;
        let found = about.formats.iter().map(|format| Found { format, evidence: &evidence });
        let faults: Vec<String> = found.clone().flat_map(|one| one.faults()).collect();
        if faults.is_empty() {
            found.for_each(|one| println!("{}", one.row()));
            break;
        }
        if Instant::now() > deadline {
            let rows: Vec<String> = found.map(|one| one.row()).collect();
            let log = about.truth_file.with_file_name("daemon.log");
            std::fs::write(&log, &evidence.log).expect("cannot write the log of the daemon");
            let (count, faults, rows) = (faults.len(), faults.join("\n"), rows.join("\n"));
            panic!(
                "all tenants:\n{rows}\n\n{count} faults; the daemon's log is {}:\n{faults}",
                log.display()
            );
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

#[test]
fn every_format_that_the_page_calls_read_is_written_by_a_tenant() {
    let packers = include_str!("packers.py");
    for format in FORMATS.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" | yes |")) {
        let named = |shape: &str| shape.split(" > ").any(|one| one == format.0);
        let shapes = packers.split("READ, \"").skip(1).filter_map(|rest| Some(rest.split_once('"')?.0));
        assert!(shapes.into_iter().any(named), "no tenant writes {}", format.0);
    }
}

/// The line that the driver prints when it is ready.
#[derive(Debug, Deserialize)]
struct About {
    aws_endpoint: String,
    region: String,
    credentials: HashMap<String, String>,
    log_group: String,
    /// Template with `{tenant}`.
    stream: String,
    bucket: String,
    /// Template with `{tenant}` and time fields.
    archive_key: String,
    /// Template with time fields; all tenants share what comes before `{tenant}`.
    end_key: String,
    truth_file: PathBuf,
    formats: Vec<Format>,
}

#[derive(Debug, Deserialize)]
struct Format {
    tenant: String,
    expected: Expected,
    /// The formats from the outside in, as in `docs/formats.md`.
    shape: String,
    /// How many canaries are written at a time.
    batch: usize,
    /// The seconds between two canaries.
    interval: u64,
}

impl Format {
    /// How many canaries must have ended. The second is dropped; what is found again after it proves that.
    fn wanted(&self) -> usize {
        match self.expected {
            Expected::Unreadable => 2,
            Expected::Read | Expected::Kept | Expected::Unknown | Expected::Changes => 3 * self.batch,
        }
    }
}

/// `packers.py` describes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Expected {
    Read,
    Kept,
    Unreadable,
    Unknown,
    Changes,
}

impl About {
    /// The ids of the traces that the driver dropped.
    fn dropped(&self) -> BTreeSet<String> {
        #[derive(Deserialize)]
        struct Taken {
            canary: String,
            dropped: bool,
        }
        let text = std::fs::read_to_string(&self.truth_file).expect("cannot read the truth");
        let taken = text.lines().map(|line| {
            serde_json::from_str::<Taken>(line).unwrap_or_else(|error| panic!("truth line {line}: {error}"))
        });
        let dropped = taken.filter(|taken| taken.dropped).map(|Taken { canary, .. }| {
            let tag = &canary[canary.find("zqtp").expect("a canary has a tag")..];
            tag[crate::support::pipeline::ID_IN_TAG].to_owned()
        });
        dropped.collect()
    }
}

/// What the daemon tells, and what the driver has done.
struct Evidence {
    recent: Recent,
    metrics: Metrics,
    log: String,
    dropped: BTreeSet<String>,
}

impl Evidence {
    async fn of(daemon: &Daemon, about: &About) -> Evidence {
        let (recent, metrics) = (daemon.recent().await, daemon.metrics().await);
        Evidence { recent, metrics, log: daemon.printed(), dropped: about.dropped() }
    }
}

/// What the daemon found of one tenant.
#[derive(Clone, Copy)]
struct Found<'a> {
    format: &'a Format,
    evidence: &'a Evidence,
}

impl Found<'_> {
    fn traces(&self) -> impl Iterator<Item = &Trace> {
        let mut traces: Vec<&Trace> = self.evidence.recent.of(&self.format.tenant).collect();
        traces.sort_by(|a, b| a.planned_at.cmp(&b.planned_at));
        traces.into_iter()
    }

    fn verdict(&self) -> &Verdict {
        self.evidence.recent.verdict(&self.format.tenant)
    }

    fn conditions_at(&self, stage: &str) -> impl Iterator<Item = &Condition> {
        let conditions = self.evidence.recent.conditions.iter();
        conditions.filter(move |it| {
            it.tenant.as_ref() == Some(&self.format.tenant) && it.stage.as_deref() == Some(stage)
        })
    }

    fn is_blind(&self, stage: &str) -> bool {
        let labels = [("tenant", self.format.tenant.as_str()), ("stage", stage)];
        self.evidence.metrics.sum("traceprobe_stage_blind", &labels) > 0.0
    }

    /// One line for people.
    fn row(&self) -> String {
        let Format { tenant, shape, expected, .. } = self.format;
        let mut outcomes: BTreeMap<String, usize> = BTreeMap::new();
        for trace in self.traces() {
            let dropped = if self.evidence.dropped.contains(&trace.id) { "dropped " } else { "" };
            let reason = trace.reason.as_deref().unwrap_or_default();
            *outcomes
                .entry(format!("{dropped}{} {reason}", trace.outcome).trim_end().to_owned())
                .or_default() += 1;
        }
        let seen = STAGES.map(|stage| {
            let of: Vec<_> =
                self.traces().map(|trace| trace.stage(stage)).filter(|one| one.presence == "seen").collect();
            let kinds: BTreeSet<_> = of.iter().filter_map(|one| one.integrity.as_deref()).collect();
            let blind = if self.is_blind(stage) { " blind" } else { "" };
            format!("{stage} {} {kinds:?}{blind}", of.len())
        });
        format!(
            "{tenant:22} {shape:26} {expected:?} {outcomes:?} | {} | {}",
            seen.join(", "),
            self.verdict().text
        )
    }

    /// What is not as expected.
    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        self.never(&mut faults);
        match self.format.expected {
            Expected::Read => self.arrives(&["intact"], &mut faults),
            Expected::Kept => self.arrives(&["unchecked", "intact"], &mut faults),
            Expected::Unreadable => self.is_named(&mut faults),
            Expected::Unknown => {}
            Expected::Changes => self.changes(&mut faults),
        }
        let Format { tenant, shape, expected, .. } = self.format;
        faults.into_iter().map(|fault| format!("{tenant} ({shape}, {expected:?}): {fault}")).collect()
    }

    /// What must be true of no tenant.
    fn never(&self, faults: &mut Vec<String>) {
        let tenant = [("tenant", self.format.tenant.as_str())];
        for fault in ["duplicates", "corrupted", "isolation_violations"] {
            let count = self.evidence.metrics.sum(&format!("traceprobe_{fault}_total"), &tenant);
            if count > 0.0 {
                faults.push(format!("{count} {fault}"));
            }
        }
        for trace in self.traces() {
            if trace.outcome == "lost" && !self.evidence.dropped.contains(&trace.id) {
                faults.push(format!("{} was written and is called lost at {:?}", trace.id, trace.lost_at));
            }
            if ["late", "refused", "dead_lettered"].contains(&trace.outcome.as_str()) {
                faults.push(format!("{} is {}", trace.id, trace.outcome));
            }
            for Stage { stage, copies, integrity, .. } in &trace.stages {
                if copies.len() > 1 {
                    faults.push(format!("{} has copies at {stage}: {copies:?}", trace.id));
                }
                if integrity.as_deref() == Some("corrupted") {
                    faults.push(format!("{} is corrupted at {stage}", trace.id));
                }
                if self.evidence.dropped.contains(&trace.id) && !copies.is_empty() {
                    faults.push(format!("{} was dropped and is seen at {stage}: {copies:?}", trace.id));
                }
            }
        }
    }

    /// Every canary is delivered and found once at every stage; the dropped one is lost.
    fn arrives(&self, integrities: &[&str], faults: &mut Vec<String>) {
        for trace in self.traces().filter(|trace| trace.has_ended()) {
            let wanted = if self.evidence.dropped.contains(&trace.id) { "lost" } else { "delivered" };
            if trace.outcome != wanted {
                faults.push(format!("{} is {} ({:?}), not {wanted}", trace.id, trace.outcome, trace.reason));
            }
            if wanted == "lost" {
                continue;
            }
            for stage in STAGES.map(|stage| trace.stage(stage)) {
                // A side stage may be polled after the delivery.
                let is_waiting =
                    stage.stage != "end" && stage.presence != "seen" && stage.hop_state == "open";
                let is_well = stage.integrity.as_deref().is_some_and(|one| integrities.contains(&one));
                if !is_well && !is_waiting {
                    faults.push(format!(
                        "{} is {} at {}, hop {}, {:?}",
                        trace.id, stage.presence, stage.stage, stage.hop_state, stage.integrity
                    ));
                }
            }
        }
        faults.extend(
            STAGES.iter().filter(|stage| self.is_blind(stage)).map(|stage| format!("{stage} is blind")),
        );
    }

    /// Every stage is blind and names the format, and no outcome is claimed.
    fn is_named(&self, faults: &mut Vec<String>) {
        for trace in self.traces().filter(|trace| trace.has_ended()) {
            if (trace.outcome.as_str(), trace.reason.as_deref()) != ("unobserved", Some("unreadable")) {
                faults.push(format!("{} is {} ({:?})", trace.id, trace.outcome, trace.reason));
            }
        }
        for stage in STAGES {
            if !self.is_blind(stage) {
                faults.push(format!("{stage} is not blind"));
            }
        }
        let names = |text: &str| text.contains(&format!(" {}, ", self.format.shape));
        for stage in STAGES {
            let told: Vec<_> = self.conditions_at(stage).collect();
            let is_named =
                |condition: &&Condition| condition.condition == "cannot_see" && names(&condition.text);
            if !told.iter().any(is_named) {
                faults.push(format!("no condition names the format at {stage}: {told:?}"));
            }
        }
        for stage in STAGES {
            let of_stage = format!("stage {stage} is blind: ");
            let is_named = |line: &str| {
                line.contains(&of_stage)
                    && line.contains(&format!("tenant=\"{}\"", self.format.tenant))
                    && names(line)
            };
            if !self.evidence.log.lines().any(is_named) {
                let lines: Vec<_> =
                    self.evidence.log.lines().filter(|line| line.contains(&of_stage)).collect();
                faults.push(format!("the log does not name the format at {stage}: {:?}", lines.first()));
            }
        }
    }

    /// The first canary is delivered; from the third one on, nothing is known.
    fn changes(&self, faults: &mut Vec<String>) {
        for (at, trace) in self.traces().filter(|trace| trace.has_ended()).enumerate() {
            let wanted = if at == 0 { "delivered" } else { "unobserved" };
            if trace.outcome != wanted {
                faults.push(format!("canary {at}, {}, is {}, not {wanted}", trace.id, trace.outcome));
            }
        }
    }
}

/// All stages follow injection, so that each is blind for itself.
fn configuration(about: &About) -> String {
    let About { aws_endpoint, region, log_group, stream, bucket, archive_key, end_key, .. } = about;
    let mut text = format!(
        r#"
[probe]
listen = "127.0.0.1:0"
instance = "test"
slo = "15s"
critical = "15s"
give_up = "20s"
grace = "12s"
blind_after = "30s"
stop_grace = "1s"

[canary]
sizes = ["300B", "2KB"]

[aws]
region = "{region}"
endpoint = "{aws_endpoint}"

[[stage]]
name = "stream"
kind = "kinesis"
stream = "{stream}"
interval = "5s"
missing_after = "8s"

[[stage]]
name = "archive"
kind = "s3"
bucket = "{bucket}"
key = "{archive_key}"
interval = "5s"
missing_after = "8s"

[[stage]]
name = "end"
kind = "s3"
bucket = "{bucket}"
key = "{end_key}"
interval = "2s"
missing_after = "8s"
end = true
"#
    );
    for Format { tenant, interval, .. } in &about.formats {
        text += &format!(
            r#"
[[tenant]]
name = "{tenant}"
log_group = "{log_group}"
log_stream = "{{tenant}}"
interval = "{interval}s"
"#
        );
    }
    text
}
