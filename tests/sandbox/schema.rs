//! The observer of a table whose schema changes.

use std::sync::Arc;
use std::time::Duration;

use traceprobe::cloud::calls::Calls;
use traceprobe::cloud::google::{Auth, BIGQUERY, Google, GoogleSettings};
use traceprobe::domain::sighting::{Wanted, WantedTrace, list_drift};
use traceprobe::domain::tag::{InstanceCode, Keyring, Purpose, Tag, TagKey, TenantCode, TraceId};
use traceprobe::domain::time::{Timestamp, WallClock};
use traceprobe::observe::bigquery::{BigQuery, Settings, TableName};
use traceprobe::observe::{Observe as _, Recognizer};
use traceprobe::sandbox::{Drift, Fault};

use crate::clients::*;

#[tokio::test]
async fn the_columns_are_reported_whether_or_not_the_poll_succeeds() {
    let (sandbox, clients) = start(traceprobe::sandbox::Settings::brisk(4, 1)).await;
    let now = Timestamp::from_secs(1_795_321_800);
    let endpoints = [(BIGQUERY.name, clients.endpoints.bigquery.clone())].into();
    let google = GoogleSettings { endpoints, auth: Auth::None, ..GoogleSettings::default() };
    let google = Google::new(&google, Calls::default()).await.unwrap();
    let keys = Arc::new(Keyring::new(TagKey::new("0123456789abcdef").unwrap(), Vec::new()));
    let recognizer = Recognizer { keys, templates: Arc::default() };
    let settings = Settings {
        time_column: Some("ingest_time".into()),
        // The table is described at every poll.
        refresh: Duration::ZERO,
        ..Settings::new(TableName::parse("demo.logs.events").unwrap(), "trace_id")
    };
    let mut observer = BigQuery::new(settings, google, recognizer, WallClock::new(move || now));
    let trace = TraceId::new(now, [7; 10]);
    let tag = Tag::new(trace, TenantCode::of("acme"), InstanceCode::of("p"), 300, Purpose::Probe);
    let wanted =
        Wanted { waiting: [WantedTrace { tag, planned_at: now }].into(), revision: 1, ..Wanted::default() };

    let cases = [
        (None, true, ""),
        (Some(("level", Drift::Added)), true, "column level added (STRING)"),
        (
            Some(("ingest_time", Drift::Retyped)),
            false,
            "column ingest_time changed from TIMESTAMP to INTEGER",
        ),
        (
            Some(("ingest_time", Drift::Remoded)),
            true,
            "column ingest_time changed from TIMESTAMP to TIMESTAMP REQUIRED",
        ),
        (Some(("trace_id", Drift::Dropped)), false, "column trace_id removed (STRING)"),
        (None, true, ""),
    ];
    let mut first = None;
    for (fault, succeeds, reported) in cases {
        sandbox.clear_all();
        if let Some((column, change)) = fault {
            sandbox.fault(Fault::SchemaDrift { column: column.to_owned(), change });
        }
        let polled = observer.poll(&wanted).await;
        let schema = observer.schema().unwrap();
        let drift = first.get_or_insert_with(|| schema.clone()).drift(&schema);
        assert_eq!((polled.is_ok(), &*list_drift(&drift)), (succeeds, reported), "{polled:?}");
    }
}
