//! The observer of BigQuery on the tables, columns and views of bqemulator, whose SQL is not ours.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use traceprobe::cloud::calls::Calls;
use traceprobe::cloud::google::{Auth, BIGQUERY, Google, GoogleSettings};
use traceprobe::daemon::clock;
use traceprobe::domain::sighting::{Poll, Stamp, Wanted, WantedTrace};
use traceprobe::domain::tag::{InstanceCode, Keyring, Purpose, Tag, TagKey, TenantCode, TraceId};
use traceprobe::domain::time::WallClock;
use traceprobe::observe::bigquery::{BigQuery, Id, IdMatch, Settings, TableName, TimeIs};
use traceprobe::observe::{Observe as _, ObserveError, Recognizer};

use crate::Scene;

const PROJECT: &str = "traceprobe-test";

/// Tables with one canary of `acme` in them, and what is needed to look for it.
struct Tables {
    google: Google,
    endpoint: String,
    keys: Arc<Keyring>,
    clock: WallClock,
    tag: Tag,
    _scene: Scene,
}

impl Tables {
    async fn set_up() -> Tables {
        let scene = Scene::set("tables").await;
        let endpoint = scene.pipeline.about.bigquery_endpoint.clone();
        let endpoints = [(BIGQUERY.name, endpoint.clone())].into();
        let google = GoogleSettings { endpoints, auth: Auth::None, ..GoogleSettings::default() };
        let clock = clock::system().wall();
        let trace = TraceId::new(clock.now(), [7; 10]);
        let tables = Tables {
            google: Google::new(&google, Calls::default()).await.unwrap(),
            endpoint,
            keys: Arc::new(Keyring::new(
                TagKey::new("a key that only the tests know: 0123456789").unwrap(),
                Vec::new(),
            )),
            clock,
            tag: Tag::new(trace, TenantCode::of("acme"), InstanceCode::of("p"), 300, Purpose::Probe),
            _scene: scene,
        };
        tables.fill().await;
        tables
    }

    async fn fill(&self) {
        let columns = json!([
            {"name": "trace_id", "type": "STRING"},
            {"name": "tenant", "type": "STRING"},
            {"name": "message", "type": "STRING"},
            {"name": "payload", "type": "JSON"},
            {"name": "tags", "type": "STRING", "mode": "REPEATED"},
            {"name": "created", "type": "STRING"},
            {"name": "written_at", "type": "TIMESTAMP"},
        ]);
        let token = self.keys.sign(&self.tag).to_string();
        let now = self.clock.now();
        let row = json!({
            "trace_id": token,
            "tenant": "acme",
            "message": format!("INFO canary {} came by", token.to_uppercase()),
            "payload": json!({"trace_id": token}).to_string(),
            "tags": ["a", token],
            "created": now.to_rfc3339(),
            "written_at": now.to_rfc3339(),
        });
        let noise = json!({"trace_id": "other", "message": "INFO zqtp is not all of a tag", "tags": []});
        let today = format!("forms_{}", now.strftime("%Y%m%d"));
        for name in ["forms", &today] {
            let reference = json!({"projectId": PROJECT, "datasetId": "logs", "tableId": name});
            self.post("tables", json!({"tableReference": reference, "schema": {"fields": columns}})).await;
            let rows = json!({"rows": [{"json": row}, {"json": noise}]});
            self.post(&format!("tables/{name}/insertAll"), rows).await;
        }
        let reference = json!({"projectId": PROJECT, "datasetId": "logs", "tableId": "view"});
        let query = format!("SELECT trace_id, created, written_at FROM `{PROJECT}.logs.forms`");
        self.post(
            "tables",
            json!({"tableReference": reference, "view": {"query": query, "useLegacySql": false}}),
        )
        .await;
    }

    async fn post(&self, path: &str, body: Value) {
        let url = format!("{}/projects/{PROJECT}/datasets/logs/{path}", self.endpoint);
        let answer = reqwest::Client::new().post(url).json(&body).send().await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert!(status.is_success() && !text.contains("\"errors\""), "{path}: {status} {text}");
    }

    async fn poll(&self, settings: Settings) -> Result<Poll, ObserveError> {
        let recognizer = Recognizer { keys: self.keys.clone(), templates: Arc::default() };
        let mut observer = BigQuery::new(settings, self.google.clone(), recognizer, self.clock.clone());
        observer.poll(&self.wanted(1)).await
    }

    /// So many waiting traces, of which that of the canary is the newest.
    fn wanted(&self, waiting: u64) -> Wanted {
        let own = WantedTrace { tag: self.tag, planned_at: self.tag.trace.planned_at() };
        let other = |nth: u64| {
            let planned_at = own.planned_at - Duration::from_millis(nth);
            let mut random = [3; 10];
            random[2..].copy_from_slice(&nth.to_be_bytes());
            let trace = TraceId::new(planned_at, random);
            let code = TenantCode::of("acme");
            let tag = Tag::new(trace, code, InstanceCode::of("p"), 300, Purpose::Probe);
            WantedTrace { tag, planned_at }
        };
        let waiting: Vec<_> = (1..waiting).rev().map(other).chain([own]).collect();
        Wanted { waiting: waiting.into(), ..Wanted::default() }
    }

    /// Polls once for a hundred thousand waiting traces. Returns the calls of jobs.query, without dry runs.
    async fn poll_for_many(&self, settings: Settings) -> (Poll, u64) {
        let recognizer = Recognizer { keys: self.keys.clone(), templates: Arc::default() };
        let mut observer = BigQuery::new(settings, self.google.clone(), recognizer, self.clock.clone());
        let queries = || {
            let calls = self.google.calls().snapshot();
            let queries = calls.iter().filter(|(_, operation, ..)| *operation == "jobs.query");
            queries.map(|call| call.3).sum::<u64>()
        };
        // The first poll asks for the price as well.
        observer.poll(&self.wanted(1)).await.unwrap();
        let before = queries();
        let poll = observer.poll(&self.wanted(100_000)).await.unwrap();
        (poll, queries() - before)
    }

    async fn refusal(&self, settings: Settings) -> String {
        self.poll(settings).await.unwrap_err().detail.to_string()
    }
}

fn table(name: &str) -> TableName {
    TableName::parse(&format!("{PROJECT}.logs.{name}")).unwrap()
}

fn by_column(column: &str) -> Settings {
    Settings { time_column: Some("written_at".into()), ..Settings::new(table("forms"), column) }
}

fn by_expression(expression: &str) -> Settings {
    Settings { id: Id::Expression(expression.into()), ..by_column("trace_id") }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_is_found_in_every_form_of_table_and_what_cannot_serve_is_refused_by_name() {
    let tables = Tables::set_up().await;
    let contains = |settings| Settings { id_match: IdMatch::Contains, ..settings };
    let forms = [
        ("a column", by_column("trace_id")),
        (
            "a time that is said to be the arrival",
            Settings { time_is: Some(TimeIs::Inserted), ..by_column("trace_id") },
        ),
        ("a message", contains(by_column("message"))),
        (
            "a message in a table of one tenant",
            Settings { owners: Some(vec![TenantCode::of("acme")]), ..contains(by_column("message")) },
        ),
        ("JSON", by_expression("JSON_VALUE(payload, '$.trace_id')")),
        (
            "a repeated column",
            by_expression("(SELECT MAX(tag) FROM UNNEST(tags) AS tag WHERE STARTS_WITH(LOWER(tag), 'zqtp'))"),
        ),
        ("a table of each day", Settings { table: table("forms_%Y%m%d"), ..by_column("trace_id") }),
        ("a view", Settings { table: table("view"), ..by_column("trace_id") }),
    ];
    for (form, settings) in forms {
        let inserted = settings.time_is == Some(TimeIs::Inserted);
        let poll = tables.poll(settings.clone()).await.unwrap_or_else(|error| panic!("{form}: {error}"));
        let [sighting] = poll.sightings.as_slice() else { panic!("{form}: {poll:?}") };
        assert_eq!((sighting.tag, poll.watermark), (tables.tag, Some(poll.started)), "{form}");
        assert_eq!(poll.stats.foreign_tags, 0, "{form}");
        let (among_many, queries) = tables.poll_for_many(settings).await;
        let found: Vec<_> = among_many.sightings.iter().map(|sighting| sighting.tag).collect();
        assert_eq!((found.as_slice(), queries), (&[tables.tag][..], 1), "{form} among 100,000 traces");
        match sighting.stamp {
            Stamp::Millis(_) => assert!(inserted, "{form}: no schema says that this time is an arrival"),
            Stamp::NotBefore(at) => {
                assert!(!inserted && tables.clock.now().since(at) < Duration::from_secs(60), "{form}")
            }
            Stamp::Seconds(_) | Stamp::None => panic!("{form}: {sighting:?}"),
        }
    }

    let misspelt = Settings { tenant_column: Some("tennant".into()), ..by_column("trace_id") };
    assert_eq!(
        tables.refusal(misspelt).await,
        "column tennant of traceprobe-test.logs.forms does not exist; did you mean tenant? (tenant_column)"
    );
    let text = Settings { time_column: Some("created".into()), ..by_column("trace_id") };
    let refusal = tables.refusal(text).await;
    assert!(
        refusal.starts_with("created of traceprobe-test.logs.forms is STRING; it must be TIMESTAMP"),
        "{refusal}"
    );
    let in_view =
        Settings { table: table("view"), time_column: Some("created".into()), ..by_column("trace_id") };
    let refusal = tables.refusal(in_view).await;
    assert!(refusal.starts_with("created of traceprobe-test.logs.view is STRING"), "{refusal}");
    let refusal = tables.refusal(by_expression("JSON_VAL(payload)")).await;
    assert!(refusal.contains("Function not found: JSON_VAL"), "{refusal}");
    assert!(refusal.contains("(with id_expression = \"JSON_VAL(payload)\")"), "{refusal}");
}
