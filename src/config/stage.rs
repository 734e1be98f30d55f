//! Reads the tables `[[stage]]`: the keys of every stage, whatever its kind.

use std::time::Duration;

use toml::Table;

use super::keys;
use super::sections::{ProbeRead, not_a_bound};
use super::tenant;
use crate::domain::kind::Kind;
use crate::domain::topology::{Capabilities, Role};
use crate::keys::fault::{Checked, Reported};
use crate::keys::reader::{Context, Layer, Reader};
use crate::keys::value::{self, show_duration};
use crate::observe::pace::Rhythm;
use crate::observe::spec;

/// Least time after which a canary that was not found is missing. Shorter ones would call ordinary jitter
/// missing.
const MISSING_AFTER: Duration = Duration::from_secs(30);

/// The place of the stages among the tables when the configuration is shown.
pub(super) const ORDER: usize = 16;

const DAY: Duration = Duration::from_secs(86_400);

/// One stage as far as it could be read.
pub(super) struct StageRead<'a> {
    pub(super) layer: Layer<'a>,
    /// The name as written, even if it is not valid; the path of the table if the name is missing.
    pub(super) name: String,
    pub(super) checked_name: Checked<String>,
    pub(super) kind: Checked<Kind>,
    pub(super) after: Checked<Option<String>>,
    pub(super) role: Checked<Role>,
    pub(super) target: Checked<Option<Duration>>,
    pub(super) critical: Checked<Option<Duration>>,
    pub(super) rhythm: Checked<Rhythm>,
    pub(super) missing_after: Checked<Duration>,
    pub(super) clock_allowance: Checked<Duration>,
}

impl StageRead<'_> {
    pub(super) fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.layer.path)
    }
}

pub(super) fn read<'a>(context: &mut Context, root: &'a Table, probe: &ProbeRead) -> Vec<StageRead<'a>> {
    let ProbeRead { give_up, blind_after, ref buckets, .. } = *probe;
    let tables = context.tables(root, "stage");
    if tables.is_empty() && !root.contains_key("stage") {
        context
            .faults
            .report("stage", "no stage is defined, so no canary could be observed; add a [[stage]] table");
    }
    let mut stages: Vec<_> =
        tables.into_iter().enumerate().map(|(index, table)| one(context, index, table, give_up)).collect();
    for stage in &mut stages {
        if let (Ok(blind), Ok(rhythm)) = (blind_after, &mut stage.rhythm) {
            rhythm.proof_every = blind / 2;
        }
    }
    for stage in &stages {
        for (name, threshold) in [("target", stage.target), ("critical", stage.critical)] {
            if let (Ok(Some(threshold)), Ok(bounds)) = (threshold, buckets)
                && !bounds.contains(&threshold)
            {
                let key = stage.key(name);
                let message = not_a_bound(&key, threshold, bounds);
                context.faults.report(key, message);
            }
        }
        let Ok(Rhythm { interval, settle, .. }) = stage.rhythm else { continue };
        if interval * 2 + settle > DAY {
            context.faults.report(
                stage.key("interval"),
                format!(
                    "{} is too long with a settling time of {}: probe.blind_after must be at least {}, and may be at most {}; twice the interval and the settling time may be that long together",
                    show_duration(interval),
                    show_duration(settle),
                    show_duration(interval * 2 + settle),
                    show_duration(DAY)
                ),
            );
        } else if let Ok(blind) = blind_after
            && blind < interval * 2 + settle
        {
            context.faults.report(
                "probe.blind_after",
                format!(
                    "{} is too short for {}, which is polled every {} with a settling time of {}: the stage would be called blind while healthy; set probe.blind_after to at least {}",
                    show_duration(blind),
                    stage.layer.path,
                    show_duration(interval),
                    show_duration(settle),
                    show_duration(interval * 2 + settle)
                ),
            );
        }
    }
    stages
}

fn one<'a>(
    context: &mut Context,
    index: usize,
    table: &'a Table,
    give_up: Checked<Duration>,
) -> StageRead<'a> {
    let layer = tenant::layer(context, "stage", index, ORDER, table);
    let mut read = Reader::new(context, vec![layer.clone()], &keys::STAGE);
    let name = tenant::required_name(&mut read, "stage", index, "archive");
    let kinds: Vec<_> = Kind::ALL.iter().map(|kind| (kind.name(), *kind)).collect();
    let kind = read.get("kind", value::choice(&kinds));
    let after = read.find("after", value::text);
    let target = read.find("target", value::duration_within(Duration::from_millis(1), DAY, ""));
    let critical = read.find("critical", value::duration_within(Duration::from_millis(1), DAY, ""));
    if let (Ok(target), Ok(Some(critical))) = (target, critical)
        && target.is_none_or(|target| critical <= target)
    {
        let target = target.map_or("is not set".to_owned(), |target| format!("is {}", show_duration(target)));
        read.report(
            "critical",
            format!("{} is not larger than the stage's target, which {target}", show_duration(critical)),
        );
    }
    // If the kind is unknown, the defaults of any kind do, to find further faults.
    let usual = spec(kind.unwrap_or(Kind::Kinesis)).rhythm;
    let tick = Duration::from_millis(10);
    let mut duration = |name, usual: Duration, least| {
        read.get_or(name, Some(&show_duration(usual)), value::duration_within(least, DAY, ""))
    };
    let interval = duration("interval", usual.interval, tick);
    let timeout = duration("timeout", usual.timeout, tick);
    let settle = duration("settle", usual.settle, Duration::ZERO);
    let rhythm = || Ok(Rhythm { interval: interval?, timeout: timeout?, settle: settle?, ..usual });
    let usual_missing =
        target.unwrap_or_default().map_or(MISSING_AFTER, |target| MISSING_AFTER.max(target * 4));
    let missing_after = read.get_or(
        "missing_after",
        Some(&show_duration(usual_missing)),
        value::duration_within(Duration::from_millis(1), DAY, ""),
    );
    // The default may be longer than the deadlines of a test or a demo: nothing is called missing then.
    if let (Ok(missing_after), Ok(give_up)) = (missing_after, give_up)
        && missing_after > give_up
        && missing_after != usual_missing
    {
        read.report(
            "missing_after",
            format!(
                "{} is longer than probe.give_up, {}: a canary would be lost before it could be missing; shorten it, \
                 or lengthen probe.give_up",
                show_duration(missing_after),
                show_duration(give_up)
            ),
        );
    }
    let clock_allowance = read.get("clock_allowance", value::duration);
    let role = read.get("role", value::choice(&[("way", Role::Way), ("dead_letter", Role::DeadLetter)]));
    let end = read.get("end", value::boolean);
    if (role, end) == (Ok(Role::DeadLetter), Ok(true)) {
        read.report(
            "end",
            "a stage with role = \"dead_letter\" cannot be the end: what arrives there has failed; set end = true on the stage where canaries finally arrive",
        );
    }
    if let (Ok(kind), Ok(role)) = (kind, role) {
        check_role(&mut read, kind, spec(kind).capabilities, role);
    }
    let role = match (role, end) {
        (Ok(_), Ok(true)) => Ok(Role::End),
        (Ok(role), Ok(false)) => Ok(role),
        _ => Err(Reported),
    };
    check_keys(context, &layer, kind);
    StageRead {
        name: tenant::written_name(table).unwrap_or_else(|| layer.path.clone()),
        layer,
        checked_name: name,
        kind,
        after,
        role,
        target,
        critical,
        rhythm: rhythm(),
        missing_after,
        clock_allowance,
    }
}

/// Reports a stage on the main path whose polls cannot prove absence: nothing could be called lost there.
fn check_role(read: &mut Reader<'_, '_>, kind: Kind, capabilities: Capabilities, role: Role) {
    if !capabilities.absence && role != Role::DeadLetter {
        read.report(
            "role",
            format!(
                "a stage of kind {kind} cannot prove that a canary is absent, so it can only hold dead letters; set role = \"dead_letter\""
            ),
        );
    }
}

/// Reports unknown keys, and keys that belong to other kinds.
fn check_keys(context: &mut Context, layer: &Layer<'_>, kind: Checked<Kind>) {
    let all = || Kind::ALL.iter().flat_map(|kind| spec(*kind).keys);
    let known: Vec<_> = keys::STAGE.iter().chain(all()).collect();
    context.survey(layer, &known, &[]);
    let Ok(kind) = kind else { return };
    let own = |name: &str| keys::STAGE.iter().chain(spec(kind).keys).any(|key| key.name == name);
    for key in all().filter(|key| !own(key.name)) {
        let reader = Reader::new(context, vec![layer.clone()], spec(kind).keys);
        if reader.is_set(key) {
            let message = belongs_elsewhere(key.name, kind);
            context.faults.report(format!("{}.{}", layer.path, key.name), message);
        }
    }
}

pub(super) fn belongs_elsewhere(name: &str, kind: Kind) -> String {
    let owners: Vec<_> = Kind::ALL
        .iter()
        .filter(|other| spec(**other).keys.iter().any(|key| key.name == name))
        .map(|other| other.name())
        .collect();
    let kinds = if owners.len() == 1 { "kind" } else { "kinds" };
    format!("`{name}` belongs to {kinds} {}, but this stage is of kind {kind}; remove it", owners.join(", "))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_kind_that_cannot_prove_absence_only_holds_dead_letters() {
        let faults = |capabilities, role| {
            let mut context = Context::new(BTreeMap::new(), crate::config::VARIABLES);
            let table = "name = \"queue\"".parse::<Table>().unwrap();
            let layer = tenant::layer(&context, "stage", 0, ORDER, &table);
            let mut read = Reader::new(&mut context, vec![layer], &keys::STAGE);
            check_role(&mut read, Kind::S3, capabilities, role);
            context.faults.list()
        };
        assert_eq!(faults(Capabilities::ABSENCE, Role::Way), []);
        assert_eq!(faults(Capabilities::PRESENCE, Role::DeadLetter), []);
        let faults = faults(Capabilities::PRESENCE, Role::Way);
        assert_eq!((faults.len(), faults[0].key.as_str()), (1, "stage.queue.role"));
        assert!(faults[0].message.contains("set role = \"dead_letter\""), "{}", faults[0]);
    }
}
