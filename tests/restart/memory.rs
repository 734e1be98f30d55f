//! What a new life must know of the one before, beside its traces.

use std::collections::BTreeSet;

use traceprobe::sandbox::{Drift, Fault, Stage, StageEffect};

use super::LANDS_WITHIN;
use super::probe::Probe;
use super::scene::Scene;
use super::support::page::{Recent, Trace, Violation};

const TABLE: &str = "bigquery";

fn changes(recent: &Recent) -> Vec<(&str, &str)> {
    let drift = recent.sources.iter().filter(|source| source.stage == TABLE).flat_map(|source| &source.drift);
    drift.flatten().map(|one| (one.column.as_str(), one.change.as_str())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_changes_while_the_probe_is_down_has_drifted_until_someone_accepts_it() {
    let scene = Scene::set("drift", 1).await;
    let files = scene.files("probe", "300ms");
    let probe = Probe::start(&files).await;
    let recent = probe.until("it is at work", LANDS_WITHIN, |recent| recent.ended("delivered") >= 1).await;
    assert_eq!(changes(&recent), []);
    probe.kill().await;
    scene.sandbox.fault(Fault::SchemaDrift { column: "host".to_owned(), change: Drift::Added });

    // The second of these lives begins while the table is changed, and accepts it no more than the first.
    let (mut accept, mut since) = (None, None);
    for run in 1..=2 {
        let probe = Probe::start(&files).await;
        let told = |recent: &Recent| changes(recent) == [("host", "added")];
        let recent = probe.until("the drift is told", LANDS_WITHIN, told).await;
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
        let said = probe.said();
        assert_eq!(said.matches("schema of bigquery drifted").count(), run, "{said}");
        assert!(said.contains("column host added (STRING)") && said.contains(&key), "{said}");
        probe.kill().await;
    }

    files.add_to_stage(TABLE, &format!("schema_accepted = [\"{}\"]", accept.unwrap()));
    let probe = Probe::start(&files).await;
    let read =
        |recent: &Recent| recent.sources.iter().any(|source| source.stage == TABLE && source.drift.is_some());
    let recent = probe.until("the table is read", LANDS_WITHIN, read).await;
    assert_eq!(changes(&recent), []);
    probe.kill().await;
    // What was accepted is what it should be from now on.
    files.add_to_stage(TABLE, "");
    scene.sandbox.clear_all();
    let probe = Probe::start(&files).await;
    let told = |recent: &Recent| changes(recent) == [("host", "removed")];
    probe.until("the way back is a drift, too", LANDS_WITHIN, told).await;
    probe.kill().await;
    scene.sandbox.stop().await;
}

const LEAKS: &str = "traceprobe_isolation_violations_total";

#[tokio::test(flavor = "multi_thread")]
async fn a_leak_is_still_told_after_a_restart_and_not_counted_a_second_time() {
    let scene = Scene::set("leak", 1).await;
    let [acme, globex] = ["acme", "globex"];
    let files = scene.files("probe", "300ms");
    let leak = StageEffect::Leak { probability: 1.0, into: globex.to_owned() };
    let leak = scene.sandbox.fault(Fault::tenant_stage(acme, Stage::Archive, leak)).unwrap();
    let probe = Probe::start(&files).await;
    probe.until("canaries leak", LANDS_WITHIN, |recent| recent.violations.len() >= 3).await;
    scene.sandbox.clear(leak);
    let at_home = |trace: &Trace| trace.is_seen_at("archive");
    let archived = |recent: &Recent, tenant: &str, newer_than: &str| {
        recent.traces.iter().any(|row| row.tenant == tenant && row.id.as_str() > newer_than && at_home(row))
    };
    // What was under way may have leaked as well. It is over when one is at home, and all before it are somewhere.
    let over = |recent: &Recent| {
        let somewhere =
            |trace: &&Trace| at_home(trace) || recent.violations.iter().any(|seen| seen.trace == trace.id);
        let mut rows: Vec<&Trace> = recent.traces.iter().filter(|row| row.tenant == acme).collect();
        rows.sort_by(|one, other| one.id.cmp(&other.id));
        rows.iter().take_while(|row| somewhere(row)).any(|row| at_home(row))
    };
    let first_run = probe.until("the leak is over", LANDS_WITHIN, over).await;
    assert!(probe.metrics().await.sum(LEAKS, &[]) >= first_run.violations.len() as f64);
    probe.kill().await;

    let newest = first_run.traces.iter().map(|row| row.id.clone()).max().unwrap();
    let probe = Probe::start(&files).await;
    // The archives of the last minute are read again for these, and with them what leaked.
    let read = |recent: &Recent| [acme, globex].iter().all(|tenant| archived(recent, tenant, &newest));
    let recent = probe.until("the archives were read", LANDS_WITHIN, read).await;
    let of = |recent: &Recent| recent.violations.iter().cloned().collect::<BTreeSet<Violation>>();
    let (before, now) = (of(&first_run), of(&recent));
    assert!(before.is_subset(&now), "{before:?} became {now:?}");
    // One that overtook others may have leaked unseen, or in the last moment of the first life; all else is known.
    let (counted, new) = (probe.metrics().await.sum(LEAKS, &[]), now.len() - before.len());
    assert!(counted <= new as f64, "{counted} are counted, and {new} are new");
    let verdict = recent.tenants.iter().find(|tenant| tenant.name == acme).unwrap();
    assert_eq!(verdict.verdict.condition, "leaking");
    assert!(probe.html().await.contains(&first_run.violations[0].found_in));
    probe.kill().await;
    scene.sandbox.stop().await;
}
