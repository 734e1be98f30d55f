//! The real clients, configured for a sandbox, and operations that several tests need.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_cloudwatchlogs::types::InputLogEvent;
use aws_sdk_kinesis::types::{Record, ShardIteratorType};
use aws_sdk_s3::operation::get_object::GetObjectError;
use aws_sdk_sts::config::retry::RetryConfig;
use aws_sdk_sts::config::{BehaviorVersion, Credentials, Region, SharedCredentialsProvider};
use gcp_bigquery_client::error::BQError;
use traceprobe::sandbox::{Endpoints, Sandbox, Settings, Stage, TenantSpec, TruthRecord};

/// How long a test waits for a condition before it fails.
const DEADLINE: Duration = Duration::from_secs(15);

pub struct Clients {
    pub endpoints: Endpoints,
    pub tenants: Vec<TenantSpec>,
    pub sts: aws_sdk_sts::Client,
    pub kinesis: aws_sdk_kinesis::Client,
    pub s3: aws_sdk_s3::Client,
    pub bigquery: gcp_bigquery_client::Client,
    pub http: reqwest::Client,
}

/// The sandbox's BigQuery takes any token.
#[derive(Clone)]
struct NoToken;

#[async_trait::async_trait]
impl gcp_bigquery_client::auth::Authenticator for NoToken {
    async fn access_token(&self) -> Result<String, BQError> {
        Ok("none".to_owned())
    }
}

/// Builds a service's client with an endpoint and credentials, without retries.
macro_rules! client {
    ($service:ident, $endpoint:expr, $credentials:expr $(, $more:ident)*) => {
        $service::Client::from_conf(
            $service::Config::builder()
                .behavior_version(BehaviorVersion::v2026_01_12())
                .region(Region::new("eu-central-1"))
                .endpoint_url($endpoint)
                .credentials_provider(SharedCredentialsProvider::new($credentials))
                .retry_config(RetryConfig::disabled())
                $(.$more(true))*
                .build(),
        )
    };
}

/// Credentials of the SRE account.
pub fn sre() -> Credentials {
    Credentials::new("AKIAIOSFODNN7EXAMPLE", "secret", None, None, "test")
}

pub async fn start(settings: Settings) -> (Sandbox, Clients) {
    // Fails if another test of this process has installed it.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let sandbox = Sandbox::start(settings).await.unwrap();
    let endpoints = sandbox.endpoints().clone();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let bigquery = gcp_bigquery_client::client_builder::ClientBuilder::new()
        .with_v2_base_url(endpoints.bigquery.clone())
        .with_client(http.clone())
        .build_from_authenticator(Arc::new(NoToken))
        .await
        .unwrap();
    let clients = Clients {
        sts: client!(aws_sdk_sts, &endpoints.sts, sre()),
        kinesis: client!(aws_sdk_kinesis, &endpoints.kinesis, sre()),
        s3: client!(aws_sdk_s3, &endpoints.s3, sre(), force_path_style),
        tenants: sandbox.tenants().to_vec(),
        endpoints,
        bigquery,
        http,
    };
    (sandbox, clients)
}

impl Clients {
    pub fn logs_as(&self, credentials: Credentials) -> aws_sdk_cloudwatchlogs::Client {
        client!(aws_sdk_cloudwatchlogs, &self.endpoints.logs, credentials)
    }

    pub fn kinesis_as(&self, credentials: Credentials) -> aws_sdk_kinesis::Client {
        client!(aws_sdk_kinesis, &self.endpoints.kinesis, credentials)
    }

    /// Credentials of a tenant's role.
    pub async fn assume(&self, tenant: usize) -> Credentials {
        let spec = &self.tenants[tenant];
        let request = self.sts.assume_role().role_arn(&spec.role_arn).role_session_name("test");
        let assumed = request.external_id(&spec.external_id).send().await.unwrap();
        let given = assumed.credentials().unwrap();
        let token = Some(given.session_token().to_owned());
        Credentials::new(given.access_key_id(), given.secret_access_key(), token, None, "test")
    }

    /// A tenant's log client with a stream to write to.
    pub async fn logs(&self, tenant: usize) -> aws_sdk_cloudwatchlogs::Client {
        let logs = self.logs_as(self.assume(tenant).await);
        let group = &self.tenants[tenant].log_group;
        // Fails if the stream exists from an earlier call.
        let _ = logs.create_log_stream().log_group_name(group).log_stream_name("probe").send().await;
        logs
    }

    /// Puts the canaries `numbers` of a tenant in one call.
    pub async fn put(&self, tenant: usize, numbers: std::ops::Range<u32>) {
        let logs = self.logs(tenant).await;
        self.put_request(&logs, tenant, numbers).send().await.unwrap();
    }

    pub fn put_request(
        &self,
        logs: &aws_sdk_cloudwatchlogs::Client,
        tenant: usize,
        numbers: std::ops::Range<u32>,
    ) -> aws_sdk_cloudwatchlogs::operation::put_log_events::builders::PutLogEventsFluentBuilder {
        let events = numbers.map(|number| event(millis(), &line(tenant, number)));
        let group = &self.tenants[tenant].log_group;
        logs.put_log_events()
            .log_group_name(group)
            .log_stream_name("probe")
            .set_log_events(Some(events.collect()))
    }

    /// The records of a tenant's stream, by shard. Those of a throttled shard are left out.
    pub async fn records(&self, tenant: usize) -> Vec<Record> {
        let stream = format!("logs-{}", self.tenants[tenant].name);
        let shards = self.kinesis.list_shards().stream_name(&stream).send().await.unwrap();
        let mut found = Vec::new();
        for shard in shards.shards() {
            let first = self.iterator(&stream, shard.shard_id(), ShardIteratorType::TrimHorizon).await;
            // Throttled after five calls a second; the caller tries again.
            if let Ok(page) = self.kinesis.get_records().shard_iterator(first).send().await {
                found.extend(page.records().iter().cloned());
            }
        }
        found
    }

    pub async fn iterator(&self, stream: &str, shard: &str, kind: ShardIteratorType) -> String {
        let request = self.kinesis.get_shard_iterator().stream_name(stream).shard_id(shard);
        request.shard_iterator_type(kind).send().await.unwrap().shard_iterator().unwrap().to_owned()
    }

    /// Keys below a prefix.
    pub async fn keys(&self, bucket: &str, prefix: &str) -> Vec<String> {
        let listed = self.s3.list_objects_v2().bucket(bucket).prefix(prefix).send().await.unwrap();
        listed.contents().iter().map(|object| object.key().unwrap().to_owned()).collect()
    }

    /// The lines of all objects below a prefix. One that is deleted after it was listed is left out.
    pub async fn lines(&self, bucket: &str, prefix: &str) -> Vec<serde_json::Value> {
        let mut lines = Vec::new();
        for key in self.keys(bucket, prefix).await {
            let object = match self.s3.get_object().bucket(bucket).key(&key).send().await {
                Ok(object) => object,
                Err(error) if error.as_service_error().is_some_and(GetObjectError::is_no_such_key) => {
                    continue;
                }
                Err(error) => panic!("{key}: {error:?}"),
            };
            let text = inflated(&object.body.collect().await.unwrap().to_vec());
            lines.extend(text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()));
        }
        lines
    }

    pub async fn archived(&self, tenant: usize) -> Vec<serde_json::Value> {
        self.lines("sre-archive", &format!("archive/tenant={}/", self.tenants[tenant].name)).await
    }

    /// A query over plain HTTP: status and body.
    pub async fn query(&self, body: serde_json::Value) -> (u16, serde_json::Value) {
        self.try_query(body).await.unwrap()
    }

    pub async fn try_query(&self, body: serde_json::Value) -> reqwest::Result<(u16, serde_json::Value)> {
        let url = format!("{}/projects/demo/queries", self.endpoints.bigquery);
        Self::answer(self.http.post(url).json(&body)).await
    }

    /// Status and body; the body is null if it is not JSON.
    pub async fn try_get(&self, url: &str) -> reqwest::Result<(u16, serde_json::Value)> {
        Self::answer(self.http.get(url)).await
    }

    async fn answer(request: reqwest::RequestBuilder) -> reqwest::Result<(u16, serde_json::Value)> {
        let answer = request.send().await?;
        let status = answer.status().as_u16();
        Ok((status, serde_json::from_str(&answer.text().await?).unwrap_or(serde_json::Value::Null)))
    }

    /// The rows of these tokens, as (trace_id, tenant, message).
    pub async fn rows(&self, tokens: &[String]) -> Vec<(String, String, String)> {
        let sql = "SELECT trace_id, tenant, message FROM `demo.logs.events` WHERE trace_id IN UNNEST(@ids)";
        let (status, body) = self.query(ids_query(sql, tokens)).await;
        assert_eq!(status, 200, "{body}");
        let text = |row: &serde_json::Value, column: usize| {
            row["f"][column]["v"].as_str().unwrap_or_default().to_owned()
        };
        let rows = body["rows"].as_array().cloned().unwrap_or_default();
        rows.iter().map(|row| (text(row, 0), text(row, 1), text(row, 2))).collect()
    }
}

/// A request for jobs.query with one array parameter `ids`.
pub fn ids_query(sql: &str, tokens: &[String]) -> serde_json::Value {
    let values: Vec<_> = tokens.iter().map(|token| serde_json::json!({"value": token})).collect();
    serde_json::json!({
        "query": sql,
        "useLegacySql": false,
        "parameterMode": "NAMED",
        "queryParameters": [{
            "name": "ids",
            "parameterType": {"type": "ARRAY", "arrayType": {"type": "STRING"}},
            "parameterValue": {"arrayValues": values},
        }],
    })
}

/// Token number `number` of a tenant.
pub fn token(tenant: usize, number: u32) -> String {
    format!("zqtp2{:032x}{:029}", 0x0190_0000_0000_7000_u64 + u64::from(number), tenant)
}

/// The canary with that token.
pub fn line(tenant: usize, number: u32) -> String {
    format!(
        "{{\"trace_id\":\"{}\",\"message\":\"the quick brown fox number {number}\"}}",
        token(tenant, number)
    )
}

pub fn event(at: i64, message: &str) -> InputLogEvent {
    InputLogEvent::builder().timestamp(at).message(message).build().unwrap()
}

/// The machine's wall clock in milliseconds.
pub fn millis() -> i64 {
    micros() / 1_000
}

/// The machine's wall clock in microseconds.
#[expect(clippy::disallowed_methods, reason = "a test compares stamps with the machine's clock")]
pub fn micros() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(now.as_micros()).unwrap()
}

pub fn inflated(bytes: &[u8]) -> String {
    let mut text = String::new();
    flate2::read::MultiGzDecoder::new(bytes).read_to_string(&mut text).unwrap();
    text
}

/// The log message in a record's subscription envelope.
pub fn enveloped(record: &Record) -> String {
    let envelope: serde_json::Value = serde_json::from_str(&inflated(record.data().as_ref())).unwrap();
    assert_eq!(envelope["messageType"], "DATA_MESSAGE");
    envelope["logEvents"][0]["message"].as_str().unwrap().to_owned()
}

/// Calls `query` until it returns a value. Fails with `what` if it does not within [`DEADLINE`].
pub async fn until<T>(what: &str, mut query: impl AsyncFnMut() -> Option<T>) -> T {
    let polling = async {
        loop {
            if let Some(answer) = query().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(DEADLINE, polling).await.unwrap_or_else(|_| panic!("timed out waiting until {what}"))
}

/// Waits until `wanted` is true of a canary's truth.
pub async fn truth(sandbox: &Sandbox, token: &str, wanted: impl Fn(&TruthRecord) -> bool) -> TruthRecord {
    let what = format!("the truth about {token} is as expected");
    until(&what, async || sandbox.truth().into_iter().find(|record| record.token == token && wanted(record)))
        .await
}

/// Waits until a canary has arrived at a stage.
pub async fn arrival(sandbox: &Sandbox, token: &str, stage: Stage) -> TruthRecord {
    truth(sandbox, token, |record| record.arrived(stage).is_some()).await
}
