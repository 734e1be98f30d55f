//! Every fault of the pipeline, as the clients see it.

use std::collections::BTreeSet;
use std::time::Duration;

use traceprobe::sandbox::{
    Damage, Distribution, Fate, Fault, Incident, Sandbox, Settings, Stage, StageEffect, TruthRecord,
};

use crate::clients::*;

async fn with(stage: Stage, effect: StageEffect) -> (Sandbox, Clients) {
    let (sandbox, clients) = start(Settings::brisk(3, 2)).await;
    sandbox.fault(Fault::tenant_stage("acme", stage, effect));
    (sandbox, clients)
}

const LOSE: StageEffect = StageEffect::Lose { probability: 1.0 };
const DUPLICATE: StageEffect = StageEffect::Duplicate { probability: 1.0 };

fn leak() -> StageEffect {
    StageEffect::Leak { probability: 1.0, into: "globex".to_owned() }
}

#[tokio::test]
async fn a_delayed_hop_takes_at_least_the_delay() {
    let delay = Distribution::Fixed { ms: 400.0 };
    let (sandbox, clients) = with(Stage::Transit, StageEffect::Delay { delay }).await;
    clients.put(0, 0..1).await;
    clients.put(1, 0..1).await;
    let slow = arrival(&sandbox, &token(0, 0), Stage::Transit).await;
    let usual = arrival(&sandbox, &token(1, 0), Stage::Transit).await;
    let took = |record: &TruthRecord| {
        record.arrived(Stage::Transit).unwrap().since(record.arrived(Stage::TenantStream).unwrap())
    };
    assert!(took(&slow) >= Duration::from_millis(400));
    assert!(took(&usual) < took(&slow));
}

#[tokio::test]
async fn a_delay_is_drawn_from_its_distribution() {
    let shapes = [
        (Distribution::Uniform { min_ms: 200.0, max_ms: 400.0 }, 200..=400),
        (Distribution::LogNormal { median_ms: 30.0, sigma: 0.6 }, 0..=300),
    ];
    for (delay, within) in shapes {
        let (sandbox, clients) = with(Stage::TenantStream, StageEffect::Delay { delay }).await;
        clients.put(0, 0..20).await;
        let mut took = BTreeSet::new();
        for number in 0..20 {
            let record = arrival(&sandbox, &token(0, number), Stage::TenantStream).await;
            let hop =
                record.arrived(Stage::TenantStream).unwrap().since(record.arrived(Stage::LogGroup).unwrap());
            // A busy machine is late, never early.
            assert!(hop >= Duration::from_millis(*within.start()), "{hop:?}");
            took.insert(hop.as_millis());
        }
        assert!(took.len() > 5, "too few different delays: {took:?}");
    }
}

#[tokio::test]
async fn events_held_back_by_a_stall_continue_when_it_ends() {
    let (sandbox, clients) = with(Stage::Bigquery, StageEffect::Stall).await;
    clients.put(0, 0..3).await;
    clients.put(1, 0..1).await;
    arrival(&sandbox, &token(0, 2), Stage::Transit).await;
    arrival(&sandbox, &token(1, 0), Stage::Bigquery).await;
    let tokens: Vec<_> = (0..3).map(|number| token(0, number)).collect();
    assert!(clients.rows(&tokens).await.is_empty());
    sandbox.clear_all();
    for one in &tokens {
        arrival(&sandbox, one, Stage::Bigquery).await;
    }
    assert_eq!(clients.rows(&tokens).await.len(), 3);
}

#[tokio::test]
async fn a_stall_can_end_after_a_set_time() {
    let (sandbox, clients) = start(Settings::brisk(3, 1)).await;
    let stall = Fault::stage(Stage::TenantStream, StageEffect::Stall);
    sandbox.fault_for(stall, Duration::from_millis(300));
    let end = sandbox.faults()[0].until.unwrap();
    clients.put(0, 0..1).await;
    let record = arrival(&sandbox, &token(0, 0), Stage::TenantStream).await;
    assert!(record.arrived(Stage::TenantStream).unwrap() >= end);
    assert!(sandbox.faults().is_empty());
}

#[tokio::test]
async fn a_stalled_log_group_hides_the_newest_events() {
    let (sandbox, clients) = with(Stage::LogGroup, StageEffect::Stall).await;
    clients.put(0, 0..1).await;
    let logs = clients.logs(0).await;
    let count = async || {
        let found =
            logs.filter_log_events().log_group_name("/ecs/acme/app").filter_pattern("zqtp*").send().await;
        assert!(found.is_err(), "a wildcard must be refused, because it is not modelled");
        let found = logs.filter_log_events().log_group_name("/ecs/acme/app").send().await;
        found.unwrap().events().len()
    };
    assert_eq!(count().await, 0);
    sandbox.clear_all();
    until("the event is found", async || (count().await == 1).then_some(())).await;
}

#[tokio::test]
async fn a_lost_event_is_absent_from_all_later_stages() {
    for (stage, stream, transit) in
        [(Stage::TenantStream, false, false), (Stage::Transit, true, false), (Stage::Bigquery, true, true)]
    {
        let (sandbox, clients) = with(stage, LOSE).await;
        clients.put(0, 0..1).await;
        let record = truth(&sandbox, &token(0, 0), |record| record.fate != Fate::InFlight).await;
        assert_eq!(record.fate, Fate::Lost { hop: stage });
        assert_eq!(record.incidents, [Incident::Dropped { hop: stage }]);
        assert_eq!(clients.records(0).await.len(), usize::from(stream), "{stage}");
        assert_eq!(clients.lines("sre-transit", "transit/").await.len(), usize::from(transit), "{stage}");
        assert!(clients.rows(&[token(0, 0)]).await.is_empty());
    }
}

#[tokio::test]
async fn an_event_that_the_archive_lost_is_still_delivered() {
    let (sandbox, clients) = with(Stage::Archive, LOSE).await;
    clients.put(0, 0..1).await;
    let record = truth(&sandbox, &token(0, 0), |record| {
        record.fate == Fate::Delivered && record.incidents == [Incident::Dropped { hop: Stage::Archive }]
    })
    .await;
    assert_eq!(record.arrived(Stage::Archive), None);
    assert!(clients.archived(0).await.is_empty());
    assert_eq!(clients.rows(&[token(0, 0)]).await.len(), 1);
}

#[tokio::test]
async fn a_duplicate_is_another_stored_copy() {
    for stage in [Stage::TenantStream, Stage::Archive, Stage::Transit, Stage::Bigquery] {
        let (sandbox, clients) = with(stage, DUPLICATE).await;
        clients.put(0, 0..1).await;
        let record = truth(&sandbox, &token(0, 0), |record| {
            record.copies(stage).count() == 2 && record.under_way() == 0
        })
        .await;
        let locators: BTreeSet<_> = record.copies(stage).map(|arrival| arrival.locator.clone()).collect();
        assert_eq!(locators.len(), 2, "{locators:?}");
        assert!(record.incidents.contains(&Incident::Duplicated { stage }));
        let copies = match stage {
            Stage::TenantStream => clients.records(0).await.len(),
            Stage::Archive => clients.archived(0).await.len(),
            Stage::Transit => clients.lines("sre-transit", "transit/").await.len(),
            _ => clients.rows(&[token(0, 0)]).await.len(),
        };
        assert_eq!(copies, 2, "{stage}");
    }
}

#[tokio::test]
async fn events_overtake_each_other_when_reordered() {
    let (sandbox, clients) = start(Settings { shards_per_stream: 1, ..Settings::brisk(3, 1) }).await;
    let order = async |numbers: std::ops::Range<u32>| {
        clients.put(0, numbers.clone()).await;
        for number in numbers.clone() {
            arrival(&sandbox, &token(0, number), Stage::TenantStream).await;
        }
        let records =
            until("the shard answers", async || Some(clients.records(0).await).filter(|all| !all.is_empty()))
                .await;
        let lines: Vec<_> = records.iter().map(enveloped).collect();
        let position = |number| lines.iter().position(|one| *one == line(0, number)).unwrap();
        numbers.map(position).collect::<Vec<_>>()
    };
    assert!(order(0..10).await.is_sorted());
    sandbox.fault(Fault::stage(Stage::TenantStream, StageEffect::Reorder { spread_ms: 200 }));
    assert!(!order(10..20).await.is_sorted());
}

#[tokio::test]
async fn a_damaged_message_is_truncated_or_mangled() {
    let damages = [
        (Damage::Truncate { bytes: 90 }, line(0, 0)[..90].to_owned()),
        (Damage::Mangle, {
            let all = line(0, 0);
            format!("{}########\"}}", &all[..all.len() - 10])
        }),
    ];
    for (damage, expected) in damages {
        let (sandbox, clients) =
            with(Stage::Archive, StageEffect::Corrupt { probability: 1.0, damage }).await;
        clients.put(0, 0..1).await;
        let record = arrival(&sandbox, &token(0, 0), Stage::Archive).await;
        assert_eq!(record.incidents, [Incident::Corrupted { stage: Stage::Archive }]);
        assert_eq!(clients.archived(0).await[0]["message"], expected);
        arrival(&sandbox, &token(0, 0), Stage::Bigquery).await;
        assert_eq!(clients.rows(&[token(0, 0)]).await[0].2, line(0, 0), "the table does not have it intact");
    }
}

#[tokio::test]
async fn a_truncated_message_has_no_trace_id_in_the_table() {
    let damage = Damage::Truncate { bytes: 90 };
    let (sandbox, clients) = with(Stage::Transit, StageEffect::Corrupt { probability: 1.0, damage }).await;
    clients.put(0, 0..1).await;
    arrival(&sandbox, &token(0, 0), Stage::Bigquery).await;
    assert!(clients.rows(&[token(0, 0)]).await.is_empty());
    let (_, body) = clients.query(ids_query("SELECT trace_id, message FROM demo.logs.events", &[])).await;
    assert!(body["rows"][0]["f"][0]["v"].is_null());
    assert!(body["rows"][0]["f"][1]["v"].as_str().unwrap().contains(&token(0, 0)));
}

#[tokio::test]
async fn a_leaked_event_is_stored_with_the_other_tenant() {
    for stage in [Stage::TenantStream, Stage::Archive, Stage::Transit, Stage::Bigquery] {
        let (sandbox, clients) = with(stage, leak()).await;
        clients.put(0, 0..1).await;
        let leaked = |record: &traceprobe::sandbox::TruthRecord| {
            record.arrivals.iter().any(|arrival| arrival.stage == stage && arrival.tenant == "globex")
        };
        let record =
            truth(&sandbox, &token(0, 0), |record| leaked(record) && record.arrived(stage).is_some()).await;
        assert!(record.incidents.contains(&Incident::Leaked { stage, into: "globex".to_owned() }));
        match stage {
            Stage::TenantStream => assert_eq!(clients.records(1).await.len(), 1),
            Stage::Archive => assert_eq!(clients.archived(1).await.len(), 1),
            Stage::Transit => {
                let lines = clients.lines("sre-transit", "transit/").await;
                let labels: BTreeSet<_> = lines.iter().map(|line| line["tenant"].as_str().unwrap()).collect();
                assert_eq!(labels, BTreeSet::from(["acme", "globex"]));
            }
            _ => {
                let rows = clients.rows(&[token(0, 0)]).await;
                let labels: BTreeSet<_> = rows.iter().map(|row| row.1.as_str()).collect();
                assert_eq!(labels, BTreeSet::from(["acme", "globex"]));
            }
        }
    }
}

#[tokio::test]
async fn an_event_stored_only_with_another_tenant_is_lost() {
    let (sandbox, clients) = with(Stage::TenantStream, leak()).await;
    sandbox.fault(Fault::tenant_stage("acme", Stage::TenantStream, LOSE));
    clients.put(0, 0..1).await;
    let record = truth(&sandbox, &token(0, 0), |record| {
        record.arrivals.iter().any(|arrival| arrival.stage == Stage::Bigquery && arrival.tenant == "globex")
    })
    .await;
    assert_eq!(record.fate, Fate::Lost { hop: Stage::TenantStream });
    assert!(clients.records(0).await.is_empty());
    assert_eq!(clients.rows(&[token(0, 0)]).await[0].1, "globex");
}

#[tokio::test]
async fn a_dead_letter_is_written_to_the_archive_bucket() {
    let (sandbox, clients) = with(Stage::Transit, StageEffect::DeadLetter { probability: 1.0 }).await;
    clients.put(0, 0..1).await;
    let record = truth(&sandbox, &token(0, 0), |record| record.fate != Fate::InFlight).await;
    assert_eq!(record.fate, Fate::DeadLettered { hop: Stage::Transit });
    assert!(record.arrived(Stage::DeadLetter).is_some());
    assert_eq!(clients.lines("sre-archive", "dlq/tenant=acme/").await[0]["message"], line(0, 0));
    assert!(clients.rows(&[token(0, 0)]).await.is_empty());
}

#[tokio::test]
async fn a_multipart_object_is_stamped_before_it_is_visible() {
    let (sandbox, clients) = start(Settings::brisk(3, 1)).await;
    sandbox.fault(Fault::Multipart { stage: Stage::Archive, early_ms: 60_000 });
    clients.put(0, 0..1).await;
    let record = arrival(&sandbox, &token(0, 0), Stage::Archive).await;
    let listed = clients.s3.list_objects_v2().bucket("sre-archive").send().await.unwrap();
    let object = &listed.contents()[0];
    assert!(object.e_tag().unwrap().ends_with("-2\""));
    let early = record.arrived(Stage::Archive).unwrap().seconds() - object.last_modified().unwrap().secs();
    assert_eq!(early, 60);
}

#[tokio::test]
async fn a_batching_writer_puts_many_lines_into_one_object() {
    let (sandbox, clients) = start(Settings::brisk(3, 1)).await;
    sandbox.fault(Fault::Batch { stage: Stage::Archive, ms: 700 });
    for number in 0..5 {
        clients.put(0, number..number + 1).await;
    }
    let arrived = arrival(&sandbox, &token(0, 4), Stage::Archive).await;
    let first = arrival(&sandbox, &token(0, 0), Stage::Archive).await;
    let object = |record: &TruthRecord| {
        let copy = record.copies(Stage::Archive).next().unwrap();
        copy.locator.rsplit_once('#').map_or(copy.locator.clone(), |(key, _)| key.to_owned())
    };
    assert_eq!(object(&arrived), object(&first));
    let waited = first.arrived(Stage::Archive).unwrap().since(first.arrived(Stage::TenantStream).unwrap());
    assert!(waited >= Duration::from_millis(700), "{waited:?}");
}

#[tokio::test]
async fn unordered_keys_do_not_grow_with_time() {
    let (sandbox, clients) = start(Settings::brisk(3, 1)).await;
    let keys = async |numbers: std::ops::Range<u32>| {
        let mut keys = Vec::new();
        for number in numbers {
            clients.put(0, number..number + 1).await;
            let record = arrival(&sandbox, &token(0, number), Stage::Archive).await;
            keys.push(record.copies(Stage::Archive).next().unwrap().locator.clone());
        }
        keys
    };
    assert!(keys(0..5).await.is_sorted());
    sandbox.fault(Fault::UnorderedKeys { stage: Stage::Archive });
    assert!(!keys(5..10).await.is_sorted());
}

#[tokio::test]
async fn compaction_merges_objects_and_deletes_them_later() {
    let (sandbox, clients) = start(Settings::brisk(3, 2)).await;
    let tenant = Some("acme".to_owned());
    sandbox.fault(Fault::Compaction { stage: Stage::Archive, tenant, every_ms: 600, keep_ms: 600 });
    for number in 0..2 {
        clients.put(0, number..number + 1).await;
        arrival(&sandbox, &token(0, number), Stage::Archive).await;
    }
    let stored = async || {
        let lines = clients.lines("sre-archive", "archive/tenant=acme/").await;
        let listed = clients.s3.list_objects_v2().bucket("sre-archive").send().await.unwrap();
        (listed.contents().len(), lines.len())
    };
    let becomes = async |state| {
        while stored().await != state {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    // Two objects of a line each, then the merged one beside them, then that one alone.
    let merged = async {
        becomes((3, 4)).await;
        becomes((1, 2)).await;
    };
    tokio::time::timeout(Duration::from_secs(30), merged).await.expect("the objects were not merged");
}
