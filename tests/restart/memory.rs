//! What a run must remember of the previous one besides its traces: the schemas of tables, and leaks.

use std::collections::BTreeSet;

use traceprobe::sandbox::{Drift, Fault, Stage, StageEffect};

use super::probe::Probe;
use super::scene::Scene;
use super::support::SOON;
use super::support::page::{Recent, Trace, Violation};

const TABLE: &str = "bigquery";

fn changes(recent: &Recent) -> Vec<(&str, &str)> {
    let drift = recent.sources.iter().filter(|source| source.stage == TABLE).flat_map(|source| &source.drift);
    drift.flatten().map(|one| (one.column.as_str(), one.change.as_str())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_change_while_the_probe_is_down_is_drift_until_it_is_accepted() {
    let scene = Scene::set("drift", 1).await;
    let files = scene.files("probe", "300ms");
    let probe = Probe::start(&files).await;
    let recent = probe.until("a canary is delivered", SOON, |recent| recent.ended("delivered") >= 1).await;
    assert_eq!(changes(&recent), []);
    probe.kill().await;
    scene.sandbox.fault(Fault::SchemaDrift { column: "host".to_owned(), change: Drift::Added });

    // The second of these runs starts with the changed table and must not take it for the expected one.
    let (mut accept, mut since) = (None, None);
    for run in 1..=2 {
        let probe = Probe::start(&files).await;
        let is_drift = |recent: &Recent| changes(recent) == [("host", "added")];
        let recent = probe.until("the drift is reported", SOON, is_drift).await;
        assert_eq!(probe.metrics().await.sum("traceprobe_schema_drift", &[("stage", TABLE)]), 1.0);
        let source = recent.sources.iter().find(|source| source.stage == TABLE).unwrap();
        accept = source.drift_accept.clone();
        assert!(source.drift_since.is_some());
        assert_eq!(*since.get_or_insert_with(|| source.drift_since.clone()), source.drift_since);
        let key = format!("schema_accepted = [\"{}\"]", accept.as_deref().unwrap());
        let page = probe.html().await;
        assert!(
            page.contains("column host added (STRING)") && page.contains(&key.replace('"', "&#34;")),
            "{page}"
        );
        let printed = probe.printed();
        assert_eq!(printed.matches("schema of bigquery drifted").count(), run, "{printed}");
        assert!(printed.contains("column host added (STRING)") && printed.contains(&key), "{printed}");
        probe.kill().await;
    }

    files.add_to_stage(TABLE, &format!("schema_accepted = [\"{}\"]", accept.unwrap()));
    let probe = Probe::start(&files).await;
    let read =
        |recent: &Recent| recent.sources.iter().any(|source| source.stage == TABLE && source.drift.is_some());
    let recent = probe.until("the table is read", SOON, read).await;
    assert_eq!(changes(&recent), []);
    probe.kill().await;
    // The accepted schema is the expected one from now on.
    files.add_to_stage(TABLE, "");
    scene.sandbox.clear_all();
    let probe = Probe::start(&files).await;
    let is_drift = |recent: &Recent| changes(recent) == [("host", "removed")];
    probe.until("the return to the old schema is drift", SOON, is_drift).await;
    probe.kill().await;
    scene.sandbox.stop().await;
}

const LEAKS: &str = "traceprobe_isolation_violations_total";

#[tokio::test(flavor = "multi_thread")]
async fn a_leak_is_still_reported_after_a_restart_but_not_counted_again() {
    let scene = Scene::set("leak", 1).await;
    let [acme, globex] = ["acme", "globex"];
    let files = scene.files("probe", "300ms");
    let leak = StageEffect::Leak { probability: 1.0, into: globex.to_owned() };
    let leak = scene.sandbox.fault(Fault::tenant_stage(acme, Stage::Archive, leak)).unwrap();
    let probe = Probe::start(&files).await;
    probe.until("canaries leak", SOON, |recent| recent.violations.len() >= 3).await;
    scene.sandbox.clear(leak);
    let in_its_archive = |trace: &Trace| trace.is_seen_at("archive");
    let archived = |recent: &Recent, tenant: &str, newer_than: &str| {
        recent
            .traces
            .iter()
            .any(|row| row.tenant == tenant && row.id.as_str() > newer_than && in_its_archive(row))
    };
    // Canaries in flight may still leak. The leak is over when one reached its own archive and all before it
    // were found.
    let over = |recent: &Recent| {
        let found = |trace: &&Trace| {
            in_its_archive(trace) || recent.violations.iter().any(|seen| seen.trace == trace.id)
        };
        let mut rows: Vec<&Trace> = recent.traces.iter().filter(|row| row.tenant == acme).collect();
        rows.sort_by(|one, other| one.id.cmp(&other.id));
        rows.iter().take_while(|row| found(row)).any(|row| in_its_archive(row))
    };
    let first_run = probe.until("the leak is over", SOON, over).await;
    assert!(probe.metrics().await.sum(LEAKS, &[]) >= first_run.violations.len() as f64);
    probe.kill().await;

    let newest = first_run.traces.iter().map(|row| row.id.clone()).max().unwrap();
    let probe = Probe::start(&files).await;
    // For these canaries the last minute of the archives is read again, including the leaked ones.
    let read = |recent: &Recent| [acme, globex].iter().all(|tenant| archived(recent, tenant, &newest));
    let recent = probe.until("the archives were read", SOON, read).await;
    let of = |recent: &Recent| recent.violations.iter().cloned().collect::<BTreeSet<Violation>>();
    let (before, now) = (of(&first_run), of(&recent));
    assert!(before.is_subset(&now), "{before:?} became {now:?}");
    // A leak may be new if it overtook others or came when the first run was killed. All others are known.
    let (counted, new) = (probe.metrics().await.sum(LEAKS, &[]), now.len() - before.len());
    assert!(counted <= new as f64, "{counted} are counted, and {new} are new");
    let verdict = recent.tenants.iter().find(|tenant| tenant.name == acme).unwrap();
    assert_eq!(verdict.verdict.condition, "leaking");
    assert!(probe.html().await.contains(&first_run.violations[0].found_in));
    probe.kill().await;
    scene.sandbox.stop().await;
}
