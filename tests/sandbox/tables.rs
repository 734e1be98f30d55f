//! The observer of a table of each day, around midnight.

use std::sync::Arc;
use std::time::Duration;

use traceprobe::cloud::calls::Calls;
use traceprobe::cloud::google::{Auth, BIGQUERY, Google, GoogleSettings};
use traceprobe::domain::sighting::{Wanted, WantedTrace};
use traceprobe::domain::tag::{InstanceCode, Keyring, Purpose, Tag, TagKey, TenantCode, TraceId};
use traceprobe::domain::time::{Timestamp, WallClock};
use traceprobe::observe::bigquery::{BigQuery, Settings, TableName};
use traceprobe::observe::{Observe as _, Recognizer};
use traceprobe::sandbox::Stage;

use crate::clients::*;

const DAY: i64 = 86_400;

#[tokio::test]
async fn yesterdays_table_is_read_after_midnight_and_todays_need_not_exist_yet() {
    let (sandbox, clients) = start(traceprobe::sandbox::Settings::brisk(4, 1)).await;
    let keys = Arc::new(Keyring::new(TagKey::new("0123456789abcdef").unwrap(), Vec::new()));
    let trace = TraceId::new(Timestamp::from_millis(millis()), [7; 10]);
    let tag = Tag::new(trace, TenantCode::of("acme"), InstanceCode::of("p"), 300, Purpose::Probe);
    let token = keys.sign(&tag).to_string();
    let logs = clients.logs(0).await;
    logs.put_log_events()
        .log_group_name(&clients.tenants[0].log_group)
        .log_stream_name("probe")
        .log_events(event(millis(), &format!("{{\"trace_id\":\"{token}\"}}")))
        .send()
        .await
        .unwrap();
    let stored = arrival(&sandbox, &token, Stage::Bigquery).await.arrived(Stage::Bigquery).unwrap();

    // The first minutes of the day after that of the row.
    let midnight = (stored.0 / 1_000_000).div_euclid(DAY) * DAY + DAY;
    let now = Timestamp::from_secs(midnight + 600);
    let endpoints = [(BIGQUERY.name, clients.endpoints.bigquery.clone())].into();
    let google = GoogleSettings { endpoints, auth: Auth::None, ..GoogleSettings::default() };
    let google = Google::new(&google, Calls::default()).await.unwrap();
    let recognizer = Recognizer { keys, templates: Arc::default() };
    let settings = Settings {
        time_column: Some("ingest_time".into()),
        ..Settings::new(TableName::parse("demo.logs.events_%Y%m%d").unwrap(), "trace_id")
    };
    let mut observer = BigQuery::new(settings, google, recognizer, WallClock::new(move || now));
    let planned_at = now - Duration::from_mins(15);
    let wanted = Wanted { waiting: [WantedTrace { tag, planned_at }].into(), ..Wanted::default() };
    let poll = observer.poll(&wanted).await.unwrap();
    assert_eq!(poll.sightings.iter().map(|seen| seen.tag).collect::<Vec<_>>(), [tag]);
    assert_eq!(poll.watermark, Some(now));
}
