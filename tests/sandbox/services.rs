//! Every service without faults.

use std::time::Duration;

use aws_sdk_sts::error::ProvideErrorMetadata;
use traceprobe::sandbox::{Fate, Fault, Service, ServiceEffect, Settings, Stage, StageEffect};

use crate::clients::*;

#[tokio::test]
async fn a_canary_is_seen_at_every_stage_at_its_true_time() {
    let (sandbox, clients) = start(Settings::brisk(1, 2)).await;
    let before = micros();
    clients.put(0, 1..2).await;
    let record = arrival(&sandbox, &token(0, 1), Stage::Bigquery).await;
    let record = if record.arrived(Stage::Archive).is_some() {
        record
    } else {
        arrival(&sandbox, &token(0, 1), Stage::Archive).await
    };
    assert_eq!(record.fate, Fate::Delivered);
    let path = [Stage::LogGroup, Stage::TenantStream, Stage::Transit, Stage::Bigquery];
    let times: Vec<_> = path.iter().map(|stage| record.arrived(*stage).unwrap().0).collect();
    assert!(before <= times[0] && times.is_sorted() && times[3] <= micros(), "{before} {times:?}");

    let stream = clients.records(0).await;
    assert_eq!(stream.iter().map(enveloped).collect::<Vec<_>>(), [line(0, 1)]);
    // The wire format is seconds as a double, exact to a few hundred nanoseconds, so the stamp is rounded.
    let stamp = stream[0].approximate_arrival_timestamp().unwrap().as_nanos();
    assert_eq!(
        (stamp + 500_000) / 1_000_000,
        i128::from(record.arrived(Stage::TenantStream).unwrap().millis())
    );

    let listed = clients
        .s3
        .list_objects_v2()
        .bucket("sre-archive")
        .prefix("archive/tenant=acme/")
        .send()
        .await
        .unwrap();
    let modified = listed.contents()[0].last_modified().unwrap();
    assert_eq!(modified.subsec_nanos(), 0);
    assert_eq!(modified.secs(), record.arrived(Stage::Archive).unwrap().seconds());
    assert_eq!(clients.archived(0).await[0]["message"], line(0, 1));
    assert_eq!(clients.lines("sre-transit", "transit/").await[0]["tenant"], "acme");

    assert_eq!(clients.rows(&[token(0, 1)]).await, [(token(0, 1), "acme".to_owned(), line(0, 1))]);
    assert!(clients.archived(1).await.is_empty());
    assert!(clients.records(1).await.is_empty());
    sandbox.stop().await;
}

#[tokio::test]
async fn a_role_can_be_assumed_only_with_its_external_id() {
    let (_sandbox, clients) = start(Settings::brisk(1, 2)).await;
    let who = clients.sts.get_caller_identity().send().await.unwrap();
    assert_eq!(who.account(), Some("999999999999"));
    let acme = &clients.tenants[0];
    for external_id in [None, Some("globex-external-id".to_owned())] {
        let request = clients.sts.assume_role().role_arn(&acme.role_arn).role_session_name("test");
        let error = request.set_external_id(external_id).send().await.unwrap_err();
        assert_eq!(error.code(), Some("AccessDenied"));
        assert_eq!(error.raw_response().unwrap().status().as_u16(), 403);
    }
    let credentials = clients.assume(0).await;
    let error = clients
        .kinesis_as(credentials.clone())
        .list_shards()
        .stream_name("logs-acme")
        .send()
        .await
        .unwrap_err();
    assert_eq!(error.code(), Some("AccessDeniedException"));
    let logs = clients.logs_as(credentials);
    let error =
        logs.filter_log_events().log_group_name(&clients.tenants[1].log_group).send().await.unwrap_err();
    assert_eq!(error.code(), Some("AccessDeniedException"));
    let error =
        clients.logs_as(sre()).filter_log_events().log_group_name(&acme.log_group).send().await.unwrap_err();
    assert_eq!(error.code(), Some("AccessDeniedException"));
    let groups = logs.describe_log_groups().send().await.unwrap();
    assert_eq!(groups.log_groups()[0].log_group_name(), Some("/ecs/acme/app"));
}

#[tokio::test]
async fn put_log_events_has_the_limits_of_cloudwatch_logs() {
    let (_sandbox, clients) = start(Settings::brisk(1, 1)).await;
    let logs = clients.logs_as(clients.assume(0).await);
    let group = &clients.tenants[0].log_group;
    let put = |events| {
        logs.put_log_events()
            .log_group_name(group)
            .log_stream_name("probe")
            .set_log_events(Some(events))
            .send()
    };
    let now = millis();

    let error = put(vec![event(now, "x")]).await.unwrap_err().into_service_error();
    assert!(error.is_resource_not_found_exception());
    let create = || logs.create_log_stream().log_group_name(group).log_stream_name("probe").send();
    create().await.unwrap();
    assert!(create().await.unwrap_err().into_service_error().is_resource_already_exists_exception());
    let streams = logs.describe_log_streams().log_group_name(group).send().await.unwrap();
    assert_eq!(streams.log_streams()[0].log_stream_name(), Some("probe"));

    let unordered = vec![event(now, "x"), event(now - 1, "y")];
    assert!(put(unordered).await.unwrap_err().into_service_error().is_invalid_parameter_exception());
    let long = vec![event(now - 25 * 3_600_000, "x"), event(now, "y")];
    assert!(put(long).await.unwrap_err().into_service_error().is_invalid_parameter_exception());
    let half = "x".repeat(524_288 - 26);
    put(vec![event(now, &half), event(now, &half)]).await.unwrap();
    let large = vec![event(now, &half), event(now, &format!("{half}x"))];
    assert!(put(large).await.unwrap_err().into_service_error().is_invalid_parameter_exception());

    let mixed =
        vec![event(now - 15 * 86_400_000, "old"), event(now, "good"), event(now + 3 * 3_600_000, "new")];
    let answer = put(mixed).await.unwrap();
    let rejected = answer.rejected_log_events_info().unwrap();
    assert_eq!(rejected.too_old_log_event_end_index(), Some(1));
    assert_eq!(rejected.too_new_log_event_start_index(), Some(2));
}

#[tokio::test]
async fn filter_log_events_returns_matching_events_in_pages() {
    let (_sandbox, clients) = start(Settings::brisk(1, 1)).await;
    let logs = clients.logs(0).await;
    let before = millis();
    clients.put_request(&logs, 0, 0..5).send().await.unwrap();
    let group = &clients.tenants[0].log_group;
    let noise = vec![event(millis(), "no canary")];
    logs.put_log_events()
        .log_group_name(group)
        .log_stream_name("probe")
        .set_log_events(Some(noise))
        .send()
        .await
        .unwrap();
    let mut seen = Vec::new();
    let mut next = None;
    loop {
        let request = logs
            .filter_log_events()
            .log_group_name(group)
            .filter_pattern("%zqtp%")
            .start_time(before)
            .limit(2);
        let page = request.set_next_token(next).send().await.unwrap();
        assert!(page.events().iter().all(|event| event.ingestion_time().unwrap() >= before));
        seen.extend(page.events().iter().map(|event| event.message().unwrap().to_owned()));
        next = page.next_token().map(str::to_owned);
        if next.is_none() {
            break;
        }
    }
    assert_eq!(seen, (0..5).map(|number| line(0, number)).collect::<Vec<_>>());
    let none = logs.filter_log_events().log_group_name(group).end_time(before).send().await.unwrap();
    assert!(none.events().is_empty());
}

#[tokio::test]
async fn s3_lists_in_pages_and_returns_ranges() {
    let (sandbox, clients) = start(Settings::brisk(1, 1)).await;
    for number in 0..3 {
        clients.put(0, number..number + 1).await;
        arrival(&sandbox, &token(0, number), Stage::Archive).await;
    }
    clients.s3.head_bucket().bucket("sre-archive").send().await.unwrap();
    assert!(clients.s3.head_bucket().bucket("other").send().await.is_err());
    let prefix = "archive/tenant=acme/";
    let all = clients.keys("sre-archive", prefix).await;
    assert_eq!(all.len(), 3);
    let list = || clients.s3.list_objects_v2().bucket("sre-archive").prefix(prefix);
    let first = list().max_keys(2).send().await.unwrap();
    assert_eq!((first.key_count(), first.is_truncated()), (Some(2), Some(true)));
    let rest = list().set_continuation_token(first.next_continuation_token).send().await.unwrap();
    assert_eq!(rest.contents()[0].key(), Some(all[2].as_str()));
    let later = list().start_after(&all[1]).send().await.unwrap();
    assert_eq!(later.contents().len(), 1);

    let get = |key: &str| clients.s3.get_object().bucket("sre-archive").key(key);
    let whole = get(&all[0]).send().await.unwrap().body.collect().await.unwrap().into_bytes();
    let part = get(&all[0]).range("bytes=2-5").send().await.unwrap();
    assert_eq!(part.content_range(), Some(format!("bytes 2-5/{}", whole.len()).as_str()));
    assert_eq!(part.body.collect().await.unwrap().into_bytes(), whole.slice(2..6));
    assert!(get("archive/none").send().await.unwrap_err().into_service_error().is_no_such_key());
}

#[tokio::test]
async fn noise_flows_through_the_pipeline_beside_the_canaries() {
    let (sandbox, clients) = start(Settings { noise_per_second: 50.0, ..Settings::brisk(1, 1) }).await;
    clients.put(0, 1..2).await;
    arrival(&sandbox, &token(0, 1), Stage::Bigquery).await;
    until("noise is in the archive", async || (clients.archived(0).await.len() > 10).then_some(())).await;
    assert_eq!(sandbox.truth().len(), 1, "noise is recorded as a canary");
}

#[tokio::test]
async fn the_same_seed_gives_the_same_fates() {
    let fates = async |seed: u64| {
        let (sandbox, clients) = start(Settings::brisk(seed, 1)).await;
        let lose = StageEffect::Lose { probability: 0.5 };
        sandbox.fault(Fault::stage(Stage::Transit, lose));
        clients.put(0, 0..40).await;
        let truth = until("every fate is known", async || {
            let truth = sandbox.truth();
            truth.iter().all(|record| record.fate != Fate::InFlight).then_some(truth)
        })
        .await;
        truth.iter().map(|record| record.fate == Fate::Delivered).collect::<Vec<_>>()
    };
    let (first, second, other) = (fates(1).await, fates(1).await, fates(2).await);
    assert!(first.contains(&true) && first.contains(&false));
    assert_eq!(first, second);
    assert_ne!(first, other);
}

#[tokio::test]
async fn calls_are_counted_by_service_operation_and_resource() {
    let (sandbox, clients) = start(Settings::brisk(1, 1)).await;
    clients.put(0, 1..2).await;
    clients.keys("sre-archive", "archive/").await;
    let calls = sandbox.calls();
    let count = |operation: &str, resource: &str| {
        calls
            .iter()
            .filter(|call| call.operation == operation && call.resource == resource)
            .map(|call| call.calls)
            .sum::<u64>()
    };
    assert_eq!(count("AssumeRole", &clients.tenants[0].role_arn), 1);
    assert_eq!(count("PutLogEvents", "/ecs/acme/app"), 1);
    assert_eq!(count("ListObjectsV2", "sre-archive/archive/"), 1);
    let listed: serde_json::Value = clients
        .http
        .get(format!("{}/calls", clients.endpoints.admin))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(listed.as_array().unwrap().len(), calls.len());
}

#[tokio::test]
async fn a_stopped_sandbox_ends_its_calls_and_frees_its_ports() {
    let (sandbox, clients) = start(Settings::brisk(1, 1)).await;
    sandbox.fault(Fault::service(Service::Kinesis, ServiceEffect::Hang));
    clients.keys("sre-archive", "archive/").await;
    let hanging = clients.kinesis.list_shards().stream_name("logs-acme").send();
    let stopping = async {
        let called = || sandbox.calls().iter().any(|call| call.operation == "ListShards");
        until("the call hangs", async || called().then_some(())).await;
        tokio::time::timeout(Duration::from_secs(5), sandbox.stop()).await.unwrap();
    };
    let (answer, ()) = tokio::join!(hanging, stopping);
    answer.unwrap();
    assert!(clients.s3.head_bucket().bucket("sre-archive").send().await.is_err());
}
