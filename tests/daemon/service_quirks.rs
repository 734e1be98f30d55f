//! Oddities of the services in normal operation must not cost a canary.

use traceprobe::sandbox::{Fault, Service, Stage};

use crate::support::health::{assert_all_is_well, until_delivered};
use crate::support::stand::Stand;

#[tokio::test(flavor = "multi_thread")]
async fn multipart_objects_with_unordered_keys_are_found_with_their_arrival_times() {
    let stand = Stand::brisk(2).await;
    for stage in [Stage::Archive, Stage::Transit] {
        stand.sandbox.fault(Fault::Multipart { stage, early_ms: 1_500 });
        stand.sandbox.fault(Fault::UnorderedKeys { stage });
    }
    let daemon = stand.daemon(&[]).await;
    until_delivered(&daemon, 20.0).await;
    assert_all_is_well(&stand, &daemon).await;
}

/// Such an object may hold a canary although it was stamped long before that was planned.
#[tokio::test(flavor = "multi_thread")]
async fn a_canary_in_an_object_whose_upload_began_minutes_ago_is_found() {
    let stand = Stand::brisk(2).await;
    for stage in [Stage::Archive, Stage::Transit] {
        stand.sandbox.fault(Fault::Multipart { stage, early_ms: 150_000 });
    }
    let daemon = stand.daemon(&[]).await;
    until_delivered(&daemon, 20.0).await;
    assert_all_is_well(&stand, &daemon).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clocks_within_their_allowance_change_no_outcome() {
    let stand = Stand::brisk(1).await;
    stand.sandbox.fault(Fault::ClockOffset { service: Service::Kinesis, ms: -40 });
    stand.sandbox.fault(Fault::ClockOffset { service: Service::Bigquery, ms: 40 });
    let daemon = stand.daemon(&[]).await;
    until_delivered(&daemon, 20.0).await;
    assert_all_is_well(&stand, &daemon).await;
}
