//! Every fault of a service, as the clients see it.

use std::time::Duration;

use aws_sdk_sts::error::{ProvideErrorMetadata, SdkError};
use serde_json::json;
use traceprobe::sandbox::{
    Damage, Distribution, Drift, Fate, Fault, Rejection, Sandbox, Service, ServiceEffect, Settings, Stage,
    StageEffect,
};

use crate::clients::*;

/// The result of one call to each service: "ok", an error code, or the kind of failure.
async fn outcomes(clients: &Clients, logs: &aws_sdk_cloudwatchlogs::Client) -> [(Service, String); 6] {
    fn aws<T, E: ProvideErrorMetadata, R>(result: Result<T, SdkError<E, R>>) -> String {
        match result {
            Ok(_) => "ok".to_owned(),
            Err(SdkError::ServiceError(error)) => error.err().code().unwrap_or("no code").to_owned(),
            Err(SdkError::DispatchFailure(_)) => "dispatch".to_owned(),
            Err(SdkError::ResponseError(_)) => "response".to_owned(),
            Err(_) => "other".to_owned(),
        }
    }
    fn google(answer: reqwest::Result<(u16, serde_json::Value)>) -> String {
        match answer {
            Ok((200, _)) => "ok".to_owned(),
            Ok((status, body)) => {
                format!("{status} {}", body["error"]["errors"][0]["reason"].as_str().unwrap_or("page"))
            }
            Err(_) => "dispatch".to_owned(),
        }
    }
    let query = clients.try_query(ids_query("SELECT trace_id FROM demo.logs.events", &[])).await;
    let list = clients.try_get(&format!("{}/storage/v1/b/gcp-transit/o", clients.endpoints.gcs)).await;
    [
        (Service::Logs, aws(logs.filter_log_events().log_group_name("/ecs/acme/app").send().await)),
        (Service::Kinesis, aws(clients.kinesis.list_shards().stream_name("logs-acme").send().await)),
        (Service::S3, aws(clients.s3.list_objects_v2().bucket("sre-archive").send().await)),
        (Service::Sts, aws(clients.sts.get_caller_identity().send().await)),
        (Service::Bigquery, google(query)),
        (Service::Gcs, google(list)),
    ]
}

/// Injects an effect into one service after the other. Checks that only this service fails, with the expected
/// error.
async fn assert_fails_alone(effect: ServiceEffect, expected: [&str; 6]) {
    let (sandbox, clients) = start(Settings::brisk(4, 1)).await;
    let logs = clients.logs(0).await;
    for (faulty, expected) in Service::ALL.into_iter().zip(expected) {
        let id = sandbox.fault(Fault::service(faulty, effect)).unwrap();
        for (service, outcome) in outcomes(&clients, &logs).await {
            assert_eq!(
                outcome,
                if service == faulty { expected } else { "ok" },
                "{service} while {faulty} has {effect:?}"
            );
        }
        assert!(sandbox.clear(id));
    }
    assert!(outcomes(&clients, &logs).await.iter().all(|(_, outcome)| outcome == "ok"));
}

#[tokio::test]
async fn each_service_throttles_with_its_own_error() {
    let errors = [
        "ThrottlingException",
        "ProvisionedThroughputExceededException",
        "SlowDown",
        "Throttling",
        "429 rateLimitExceeded",
        "429 rateLimitExceeded",
    ];
    assert_fails_alone(ServiceEffect::Throttle, errors).await;
}

#[tokio::test]
async fn each_service_denies_with_its_own_error() {
    let errors = [
        "AccessDeniedException",
        "AccessDeniedException",
        "AccessDenied",
        "AccessDenied",
        "403 accessDenied",
        "403 forbidden",
    ];
    assert_fails_alone(ServiceEffect::Deny, errors).await;
}

#[tokio::test]
async fn each_service_fails_with_its_own_server_error() {
    let errors = [
        "InternalFailure",
        "InternalFailure",
        "InternalError",
        "InternalFailure",
        "500 internalError",
        "500 backendError",
    ];
    assert_fails_alone(ServiceEffect::ServerError { status: 500 }, errors).await;
    let errors = [
        "ServiceUnavailableException",
        "ServiceUnavailable",
        "ServiceUnavailable",
        "InternalFailure",
        "503 page",
        "503 page",
    ];
    assert_fails_alone(ServiceEffect::ServerError { status: 503 }, errors).await;
}

#[tokio::test]
async fn each_service_can_cut_the_connection() {
    assert_fails_alone(ServiceEffect::CutBefore, ["dispatch"; 6]).await;
    assert_fails_alone(ServiceEffect::CutAfter, ["dispatch"; 6]).await;
}

#[tokio::test]
async fn a_hanging_service_answers_when_the_fault_is_cleared() {
    let (sandbox, clients) = start(Settings::brisk(4, 1)).await;
    sandbox.fault(Fault::operation(Service::Kinesis, "ListShards", ServiceEffect::Hang));
    clients.kinesis.describe_stream_summary().stream_name("logs-acme").send().await.unwrap();
    let mut call = Box::pin(clients.kinesis.list_shards().stream_name("logs-acme").send());
    assert!(tokio::time::timeout(Duration::from_millis(200), &mut call).await.is_err());
    sandbox.clear_all();
    assert!(call.await.is_ok());
}

#[tokio::test]
async fn a_slow_service_answers_late() {
    let (sandbox, clients) = start(Settings::brisk(4, 1)).await;
    sandbox.fault(Fault::service(Service::S3, ServiceEffect::Slow { ms: 300 }));
    let before = micros();
    clients.keys("sre-archive", "archive/").await;
    assert!(micros() - before >= 300_000);
}

#[tokio::test]
async fn a_fault_of_one_tenants_calls_does_not_affect_the_others() {
    let (sandbox, clients) = start(Settings::brisk(4, 2)).await;
    let tenant = Some("acme".to_owned());
    for service in [Service::Kinesis, Service::S3] {
        let effect = ServiceEffect::Throttle;
        sandbox.fault(Fault::Service { service, operation: None, tenant: tenant.clone(), effect });
    }
    assert!(clients.kinesis.list_shards().stream_name("logs-acme").send().await.is_err());
    assert!(clients.kinesis.list_shards().stream_name("logs-globex").send().await.is_ok());
    let list = |prefix: &str| clients.s3.list_objects_v2().bucket("sre-archive").prefix(prefix).send();
    assert!(list("archive/tenant=acme/").await.is_err());
    assert!(list("archive/tenant=globex/").await.is_ok());
}

#[tokio::test]
async fn a_put_whose_connection_was_cut_may_have_been_accepted() {
    let (sandbox, clients) = start(Settings::brisk(4, 1)).await;
    let logs = clients.logs(0).await;
    let cut = |effect| sandbox.fault(Fault::operation(Service::Logs, "PutLogEvents", effect));
    cut(ServiceEffect::CutBefore);
    assert!(clients.put_request(&logs, 0, 0..1).send().await.is_err());
    sandbox.clear_all();
    cut(ServiceEffect::CutAfter);
    assert!(clients.put_request(&logs, 0, 1..2).send().await.is_err());
    sandbox.clear_all();
    arrival(&sandbox, &token(0, 1), Stage::Bigquery).await;
    assert_eq!(sandbox.truth().len(), 1, "the first put was accepted");
    // A client that retries stores it twice.
    clients.put_request(&logs, 0, 1..2).send().await.unwrap();
    let record = truth(&sandbox, &token(0, 1), |record| record.copies(Stage::Bigquery).count() == 2).await;
    assert_eq!((record.puts, record.fate), (2, Fate::Delivered));
}

#[tokio::test]
async fn rejected_events_are_listed_in_a_200_answer() {
    let (sandbox, clients) = start(Settings::brisk(4, 1)).await;
    let logs = clients.logs(0).await;
    for reason in [Rejection::TooNew, Rejection::TooOld, Rejection::Expired] {
        let id = sandbox.fault(Fault::RejectLogEvents { tenant: None, reason }).unwrap();
        let answer = clients.put_request(&logs, 0, 0..2).send().await.unwrap();
        let info = answer.rejected_log_events_info().unwrap();
        let listed = (
            info.too_new_log_event_start_index(),
            info.too_old_log_event_end_index(),
            info.expired_log_event_end_index(),
        );
        let expected = match reason {
            Rejection::TooNew => (Some(0), None, None),
            Rejection::TooOld => (None, Some(2), None),
            Rejection::Expired => (None, None, Some(2)),
        };
        assert_eq!(listed, expected);
        sandbox.clear(id);
    }
    assert!(sandbox.truth().is_empty());
}

#[tokio::test]
async fn a_late_filter_hides_events_that_have_reached_the_table() {
    let (sandbox, clients) = start(Settings::brisk(4, 1)).await;
    sandbox.fault(Fault::LateFilter { tenant: None, ms: 60_000 });
    clients.put(0, 0..1).await;
    arrival(&sandbox, &token(0, 0), Stage::Bigquery).await;
    let logs = clients.logs(0).await;
    let found = async || {
        logs.filter_log_events().log_group_name("/ecs/acme/app").send().await.unwrap().events().len()
    };
    assert_eq!(found().await, 0);
    sandbox.clear_all();
    assert_eq!(found().await, 1);
}

/// The stamp of a canary at each service minus its true arrival, in ms.
async fn stamp_errors(sandbox: &Sandbox, clients: &Clients, number: u32) -> [i64; 4] {
    clients.put(0, number..number + 1).await;
    arrival(sandbox, &token(0, number), Stage::Archive).await;
    let record = arrival(sandbox, &token(0, number), Stage::Bigquery).await;
    let at = |stage| record.arrived(stage).unwrap().millis();
    let logs = clients.logs(0).await;
    let found = logs.filter_log_events().log_group_name("/ecs/acme/app").send().await.unwrap();
    let event =
        found.events().iter().find(|event| event.message().unwrap().contains(&token(0, number))).unwrap();
    let records = clients.records(0).await;
    let kept = records.iter().find(|kept| enveloped(kept).contains(&token(0, number))).unwrap();
    let stamp = (kept.approximate_arrival_timestamp().unwrap().as_nanos() + 500_000) / 1_000_000;
    let key = record.copies(Stage::Archive).next().unwrap().locator.split('#').next().unwrap().to_owned();
    let listed = clients.s3.list_objects_v2().bucket("sre-archive").prefix(key).send().await.unwrap();
    let modified = listed.contents()[0].last_modified().unwrap().secs();
    let mut query = ids_query(
        "SELECT ingest_time FROM demo.logs.events WHERE trace_id IN UNNEST(@ids)",
        &[token(0, number)],
    );
    query["formatOptions"] = json!({"useInt64Timestamp": true});
    let (_, body) = clients.query(query).await;
    let row: i64 = body["rows"][0]["f"][0]["v"].as_str().unwrap().parse().unwrap();
    [
        event.ingestion_time().unwrap() - at(Stage::LogGroup),
        i64::try_from(stamp).unwrap() - at(Stage::TenantStream),
        modified * 1_000 - at(Stage::Archive) / 1_000 * 1_000,
        row / 1_000 - at(Stage::Bigquery),
    ]
}

#[tokio::test]
async fn a_clock_offset_shifts_the_stamps_of_one_service() {
    let (sandbox, clients) = start(Settings::brisk(4, 1)).await;
    assert_eq!(stamp_errors(&sandbox, &clients, 0).await, [0; 4]);
    let offsets = [
        (Service::Logs, 1_000),
        (Service::Kinesis, -2_000),
        (Service::S3, 3_000),
        (Service::Bigquery, -4_000),
    ];
    for (service, ms) in offsets {
        sandbox.fault(Fault::ClockOffset { service, ms });
    }
    assert_eq!(stamp_errors(&sandbox, &clients, 1).await, [1_000, -2_000, 3_000, -4_000]);
}

#[tokio::test]
async fn faults_can_be_injected_and_cleared_over_http() {
    let (sandbox, clients) = start(Settings::brisk(4, 1)).await;
    let url = format!("{}/faults", clients.endpoints.admin);
    let post = |body: serde_json::Value| clients.http.post(&url).json(&body).send();
    let fault = json!({"kind": "service", "service": "kinesis", "effect": "throttle"});
    let created: serde_json::Value = post(fault).await.unwrap().json().await.unwrap();
    assert!(clients.kinesis.list_shards().stream_name("logs-acme").send().await.is_err());
    let listed: serde_json::Value = clients.http.get(&url).send().await.unwrap().json().await.unwrap();
    assert_eq!((&listed[0]["id"], &listed[0]["effect"]), (&created["id"], &json!("throttle")));
    let gone = clients.http.delete(format!("{url}/{}", created["id"])).send().await.unwrap();
    assert_eq!(gone.status(), 204);
    clients.kinesis.list_shards().stream_name("logs-acme").send().await.unwrap();

    let short = json!({"kind": "stage", "stage": "archive", "tenant": "acme", "effect": "delay",
        "delay": {"shape": "uniform", "min_ms": 1.0, "max_ms": 2.0}, "for_ms": 60_000});
    assert_eq!(post(short).await.unwrap().status(), 200);
    assert!(sandbox.faults()[0].until.is_some());
    assert_eq!(clients.http.delete(&url).send().await.unwrap().status(), 204);
    assert!(sandbox.faults().is_empty());
    for wrong in [json!({"kind": "nonsense"}), json!({"kind": "reshard", "tenant": "unknown"})] {
        assert_eq!(post(wrong).await.unwrap().status(), 400);
    }

    clients.put(0, 0..1).await;
    let truth: serde_json::Value = clients
        .http
        .get(format!("{}/truth", clients.endpoints.admin))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(truth[0]["token"], token(0, 0));
}

/// At least one fault of each kind and each effect.
fn every_fault() -> Vec<Fault> {
    let delay = Distribution::LogNormal { median_ms: 20.0, sigma: 0.5 };
    let effects = [
        StageEffect::Delay { delay },
        StageEffect::Stall,
        StageEffect::Lose { probability: 0.5 },
        StageEffect::DeadLetter { probability: 0.5 },
        StageEffect::Duplicate { probability: 0.5 },
        StageEffect::Reorder { spread_ms: 20 },
        StageEffect::Corrupt { probability: 0.5, damage: Damage::Mangle },
        StageEffect::Corrupt { probability: 0.5, damage: Damage::Truncate { bytes: 70 } },
        StageEffect::Leak { probability: 0.5, into: "globex".to_owned() },
    ];
    let failures = [
        ServiceEffect::Throttle,
        ServiceEffect::ServerError { status: 503 },
        ServiceEffect::Deny,
        ServiceEffect::Hang,
        ServiceEffect::Slow { ms: 20 },
        ServiceEffect::CutBefore,
        ServiceEffect::CutAfter,
    ];
    let acme = || Some("acme".to_owned());
    let drift = |change| Fault::SchemaDrift { column: "level".to_owned(), change };
    let mut faults: Vec<_> =
        effects.into_iter().map(|effect| Fault::tenant_stage("acme", Stage::Transit, effect)).collect();
    faults.extend(failures.map(|effect| Fault::operation(Service::Kinesis, "GetRecords", effect)));
    faults.extend(
        [Rejection::TooNew, Rejection::TooOld, Rejection::Expired]
            .map(|reason| Fault::RejectLogEvents { tenant: acme(), reason }),
    );
    faults.extend([Drift::Added, Drift::Dropped, Drift::Retyped, Drift::Remoded].map(drift));
    faults.extend([
        Fault::ClockOffset { service: Service::S3, ms: -2_000 },
        Fault::BehindLatest { tenant: None, ms: 5_000 },
        Fault::LateFilter { tenant: acme(), ms: 500 },
        Fault::Multipart { stage: Stage::Archive, early_ms: 2_000 },
        Fault::UnorderedKeys { stage: Stage::Archive },
        Fault::Batch { stage: Stage::Transit, ms: 200 },
        Fault::StreamingBuffer { ms: 0 },
        Fault::TableSize { bytes: 1 << 40 },
        Fault::SlowQuery { ms: 20 },
    ]);
    faults
}

#[tokio::test]
async fn every_fault_can_be_injected_and_cleared_over_http() {
    let (sandbox, clients) = start(Settings::brisk(4, 2)).await;
    let url = format!("{}/faults", clients.endpoints.admin);
    let all = every_fault();
    let mut ids = Vec::new();
    for fault in &all {
        let posted = clients.http.post(&url).json(fault).send().await.unwrap();
        assert_eq!(posted.status(), 200, "{fault:?}");
        let created: serde_json::Value = posted.json().await.unwrap();
        ids.push(created["id"].as_u64().unwrap());
    }
    let listed: Vec<Fault> = sandbox.faults().into_iter().map(|active| active.fault).collect();
    assert_eq!(listed, all);
    for id in ids {
        let gone = clients.http.delete(format!("{url}/{id}")).send().await.unwrap();
        assert_eq!(gone.status(), 204);
    }
    assert!(sandbox.faults().is_empty());
    // These happen once, so there is nothing to clear.
    for once in [Fault::Reshard { tenant: "acme".to_owned() }, Fault::ExpireIterators { tenant: None }] {
        assert_eq!(clients.http.post(&url).json(&once).send().await.unwrap().status(), 200, "{once:?}");
    }
    assert!(sandbox.faults().is_empty());
}
