//! AWS clients for many accounts over one connection pool.
//!
//! By default the SDK gives every client a pool of its own and every client configuration a credential cache
//! of its own. Here all clients share one pool, and all clients of a role share its credentials, so that
//! fifty tenants cost no more than fifty AssumeRole calls per hour.
//!
//! SDK retries are off for the services that are polled or written to, because our own loop must see and
//! count every error. They are on for STS, with a separate retry budget for each role: the default budget is
//! shared by the whole process, so that one tenant with a wrong role would use up the retries of all others.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use aws_config::identity::IdentityCache;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{
    ProvideCredentials, SharedCredentialsProvider, future::ProvideCredentials as Providing,
};
use aws_sdk_sts::config::retry::RetryPartition;
use aws_sdk_sts::config::{SharedHttpClient, SharedIdentityCache};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};

use super::account::{Account, Role};
use super::calls::{Calls, CountCalls};

/// How to reach AWS.
#[derive(Clone, Debug, Default)]
pub struct AwsSettings {
    /// Region of tenants and stages that set none; `None` to take it from the environment.
    pub region: Option<String>,
    /// Replaces the endpoints of all services, for emulators and private links.
    pub endpoint: Option<String>,
    /// Endpoints of single services, by their names in metrics; they take precedence over `endpoint`.
    pub endpoints: BTreeMap<&'static str, String>,
    /// Whether to sign with fixed dummy credentials, for emulators.
    pub anonymous: bool,
    /// Time limits of every call.
    pub timeouts: Timeouts,
}

/// Time limits of a call. By itself, the SDK sets only the first of them.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// Time to connect, including TLS.
    pub connect: Duration,
    /// Time from the request to the first byte of the answer.
    pub read: Duration,
    /// Time of one attempt, from start to end.
    pub attempt: Duration,
    /// Time of all attempts and the pauses between them.
    pub operation: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(3),
            read: Duration::from_secs(10),
            attempt: Duration::from_secs(15),
            operation: Duration::from_secs(30),
        }
    }
}

/// Session name that the CloudTrail of an account shows for calls with its role.
const SESSION_NAME: &str = "traceprobe";

type RoleIdentity = (SharedCredentialsProvider, SharedIdentityCache);

/// Makes AWS clients. Clones share connections, credentials and counters.
#[derive(Clone, Debug)]
pub struct Aws {
    base: SdkConfig,
    settings: Arc<AwsSettings>,
    calls: Calls,
    // A mutex, because tenants and stages are built in any order and must find each other's roles; held for
    // one lookup at start-up.
    roles: Arc<Mutex<HashMap<Role, RoleIdentity>>>,
}

impl Aws {
    /// Reads credentials and region from the usual places: environment, profile, container, instance.
    ///
    /// It does not call the services of the pipeline; wrong credentials show at the first call there.
    pub async fn new(settings: AwsSettings, calls: Calls) -> Self {
        let http = aws_smithy_http_client::Builder::new()
            .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
            .build_https();
        Self::with_http_client(settings, calls, http).await
    }

    pub(super) async fn with_http_client(
        settings: AwsSettings,
        calls: Calls,
        http: SharedHttpClient,
    ) -> Self {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(settings.timeouts.connect)
            .read_timeout(settings.timeouts.read)
            .operation_attempt_timeout(settings.timeouts.attempt)
            .operation_timeout(settings.timeouts.operation)
            .build();
        // Pinned, so that an update of the SDK cannot change timeouts or retries unnoticed.
        let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
            .http_client(http)
            .identity_cache(IdentityCache::lazy().build())
            .timeout_config(timeouts)
            .retry_config(RetryConfig::standard());
        if let Some(region) = &settings.region {
            loader = loader.region(Region::new(region.clone()));
        }
        if settings.anonymous {
            // Emulators require a signature but do not verify it.
            loader = loader.credentials_provider(Credentials::new("test", "test", None, None, "anonymous"));
        }
        Self { base: loader.load().await, settings: Arc::new(settings), calls, roles: Arc::default() }
    }

    /// Returns the counter of all calls that its clients make.
    #[must_use]
    pub fn calls(&self) -> &Calls {
        &self.calls
    }

    /// Returns the region of clients that set none.
    #[must_use]
    pub fn region(&self) -> Option<&str> {
        self.base.region().map(AsRef::as_ref)
    }

    /// Returns a client configuration with the credentials of a role, or our own for `None`, and a region, or
    /// our own for `None`.
    ///
    /// All configurations of a role share one credential cache, whatever their regions. The role is assumed
    /// when the first client needs it.
    #[must_use]
    pub fn for_role(&self, role: Option<&Role>, region: Option<&str>) -> SdkConfig {
        let mut config = self.base.to_builder();
        if let Some(role) = role {
            let mut roles = self.roles.lock().unwrap_or_else(PoisonError::into_inner);
            let (credentials, cache) = roles
                .entry(role.clone())
                .or_insert_with(|| (self.assume(role), IdentityCache::lazy().build()));
            config = config.credentials_provider(credentials.clone()).identity_cache(cache.clone());
        }
        if let Some(region) = region {
            config = config.region(Region::new(region.to_owned()));
        }
        config.build()
    }

    fn assume(&self, role: &Role) -> SharedCredentialsProvider {
        SharedCredentialsProvider::new(AssumedRole {
            sts: self.sts(&self.base, role.arn.clone()),
            role: role.clone(),
        })
    }

    /// Returns the configuration of a client of one service: without retries, with the service's endpoint.
    ///
    /// The caller must add [`Aws::counting`] to the client, so that its calls are counted.
    #[must_use]
    pub fn config(&self, service: &'static str, account: &Account) -> SdkConfig {
        let config = self.for_role(account.role.as_ref(), Some(&account.region));
        let endpoint = self.endpoint(service, &config);
        let mut config = config.to_builder();
        config.set_endpoint_url(endpoint);
        config.retry_config(RetryConfig::disabled()).build()
    }

    /// Returns a client of CloudWatch Logs that does not retry.
    #[must_use]
    pub fn logs(&self, account: &Account) -> aws_sdk_cloudwatchlogs::Client {
        let config = self.config("logs", account);
        let config =
            aws_sdk_cloudwatchlogs::config::Builder::from(&config).interceptor(self.counting("logs"));
        aws_sdk_cloudwatchlogs::Client::from_conf(config.build())
    }

    /// Returns a client of STS. It retries, because it is used only at start-up and once an hour per role.
    fn sts(&self, config: &SdkConfig, partition: String) -> aws_sdk_sts::Client {
        let mut builder = aws_sdk_sts::config::Builder::from(config)
            .retry_partition(RetryPartition::new(partition))
            .interceptor(self.counting("sts"));
        builder.set_endpoint_url(self.endpoint("sts", config));
        aws_sdk_sts::Client::from_conf(builder.build())
    }

    /// Returns the ARN of our own identity: the first thing to check when access is denied.
    ///
    /// # Errors
    ///
    /// The error of the SDK if there are no credentials or they are not valid.
    pub async fn caller(&self, config: &SdkConfig) -> Result<String, aws_sdk_sts::Error> {
        let sts = self.sts(config, "caller".to_owned());
        let identity = sts.get_caller_identity().send().await?;
        Ok(identity.arn.unwrap_or_default())
    }

    /// Returns an interceptor that counts the calls of a client, and lets none leave unencrypted unless the
    /// endpoint is configured as http.
    #[must_use]
    pub fn counting(&self, service: &'static str) -> CountCalls {
        let endpoint = self.endpoint(service, &self.base);
        let plain_http = endpoint.is_some_and(|url| url.to_ascii_lowercase().starts_with("http://"));
        CountCalls { service, calls: self.calls.clone(), plain_http }
    }

    fn endpoint(&self, service: &str, config: &SdkConfig) -> Option<String> {
        let own = self.settings.endpoints.get(service);
        own.or(self.settings.endpoint.as_ref()).cloned().or_else(|| config.endpoint_url().map(str::to_owned))
    }
}

/// Assumes a role. The SDK's own provider cannot count calls, nor have a retry budget of its own.
#[derive(Debug)]
struct AssumedRole {
    sts: aws_sdk_sts::Client,
    role: Role,
}

impl AssumedRole {
    async fn assume(&self) -> Result<Credentials, CredentialsError> {
        let answer = self
            .sts
            .assume_role()
            .role_arn(&self.role.arn)
            .role_session_name(SESSION_NAME)
            .set_external_id(self.role.external_id.as_ref().map(|id| id.expose().to_owned()))
            .send()
            .await
            .map_err(CredentialsError::provider_error)?;
        let granted = answer
            .credentials
            .ok_or_else(|| CredentialsError::unhandled("the answer to AssumeRole contains no credentials"))?;
        let expiry = SystemTime::try_from(granted.expiration).map_err(CredentialsError::unhandled)?;
        Ok(Credentials::new(
            granted.access_key_id,
            granted.secret_access_key,
            Some(granted.session_token),
            Some(expiry),
            "AssumeRole",
        ))
    }
}

impl ProvideCredentials for AssumedRole {
    fn provide_credentials<'a>(&'a self) -> Providing<'a>
    where
        Self: 'a,
    {
        Providing::new(self.assume())
    }
}

#[cfg(test)]
mod tests {
    use aws_smithy_http_client::test_util::infallible_client_fn;
    use aws_smithy_types::body::SdkBody;

    use super::*;
    use crate::cloud::calls::CallResult;
    use crate::cloud::failure::Failure;
    use crate::domain::sighting::FailureKind;
    use crate::keys::secret::Secret;

    const GRANTED: &str = r#"<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult>
        <Credentials><AccessKeyId>ASIA</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken>
        <Expiration>2100-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>"#;
    const DENIED: &str = r#"<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>
        <Code>AccessDenied</Code><Message>not authorized to perform sts:AssumeRole</Message></Error></ErrorResponse>"#;

    type Requests = Arc<Mutex<Vec<(String, String)>>>;

    /// A fake of AWS: STS answers as given, other services with an empty success. Records URLs and bodies.
    async fn aws(sts: (u16, &'static str)) -> (Aws, Requests) {
        let requests = Requests::default();
        let log = requests.clone();
        let http = infallible_client_fn(move |request: http::Request<SdkBody>| {
            let body = request.body().bytes().unwrap_or_default();
            let body = String::from_utf8_lossy(body).into_owned();
            let is_sts = body.contains("Action=AssumeRole");
            log.lock().unwrap().push((request.uri().to_string(), body));
            let (status, body) = if is_sts { sts } else { (200, "") };
            http::Response::builder().status(status).body(SdkBody::from(body)).unwrap()
        });
        let settings = AwsSettings {
            region: Some("eu-central-1".into()),
            endpoint: Some("http://127.0.0.1:1/base".into()),
            endpoints: BTreeMap::from([("kinesis", "http://127.0.0.1:2".into())]),
            ..AwsSettings::default()
        };
        let mut aws = Aws::with_http_client(settings, Calls::default(), http).await;
        let own = Credentials::new("AKIA", "s", None, None, "test");
        aws.base = aws.base.to_builder().credentials_provider(SharedCredentialsProvider::new(own)).build();
        (aws, requests)
    }

    fn role() -> Role {
        Role { arn: "arn:aws:iam::111111111111:role/r".into(), external_id: Some(Secret::new("ext-1")) }
    }

    fn kinesis(aws: &Aws, account: &Account) -> aws_sdk_kinesis::Client {
        let config = aws.config("kinesis", account);
        let config = aws_sdk_kinesis::config::Builder::from(&config).interceptor(aws.counting("kinesis"));
        aws_sdk_kinesis::Client::from_conf(config.build())
    }

    #[tokio::test]
    async fn all_clients_of_a_role_use_one_assume_role_in_every_region() {
        let (aws, requests) = aws((200, GRANTED)).await;
        for region in ["eu-central-1", "us-east-1"] {
            let account = Account { region: region.into(), role: Some(role()) };
            aws.logs(&account).describe_log_groups().send().await.ok();
            kinesis(&aws, &account).list_shards().stream_name("s").send().await.ok();
        }
        let requests = requests.lock().unwrap();
        let assumed: Vec<_> = requests.iter().filter(|(_, body)| body.contains("AssumeRole")).collect();
        assert_eq!((requests.len(), assumed.len()), (5, 1), "{requests:?}");
        assert!(assumed[0].1.contains("ExternalId=ext-1"), "{assumed:?}");
        assert!(assumed[0].1.contains("RoleSessionName=traceprobe"));
        let counted = aws.calls().snapshot();
        assert!(counted.contains(&("sts", "AssumeRole".to_owned(), CallResult::Ok, 1)), "{counted:?}");
    }

    #[tokio::test]
    async fn a_denied_role_is_counted_for_sts_and_tried_once() {
        let (aws, requests) = aws((403, DENIED)).await;
        let account = Account { region: "eu-central-1".into(), role: Some(role()) };
        let error = aws.logs(&account).describe_log_groups().send().await.unwrap_err();
        assert!(matches!(error, aws_sdk_cloudwatchlogs::error::SdkError::DispatchFailure(_)), "{error:?}");
        assert_eq!(requests.lock().unwrap().len(), 1);
        assert_eq!(
            aws.calls().snapshot(),
            [("sts", "AssumeRole".to_owned(), CallResult::Failed(FailureKind::Denied), 1)]
        );
    }

    #[tokio::test]
    async fn without_an_endpoint_of_http_no_call_leaves_unencrypted() {
        let (aws, requests) = aws((200, GRANTED)).await;
        let settings = AwsSettings { endpoint: None, endpoints: BTreeMap::new(), ..(*aws.settings).clone() };
        let aws = Aws { settings: Arc::new(settings), ..aws };
        let account = Account::in_region("eu-central-1");
        // As `AWS_ENDPOINT_URL_KINESIS` sets it.
        let config = aws_sdk_kinesis::config::Builder::from(&aws.config("kinesis", &account))
            .endpoint_url("http://kinesis.example")
            .interceptor(aws.counting("kinesis"));
        let client = aws_sdk_kinesis::Client::from_conf(config.build());
        let error = client.list_shards().stream_name("s").send().await.unwrap_err();
        let failure = Failure::of_aws(&error);
        assert!(failure.text.contains("kinesis.example is not reached over https"), "{}", failure.text);
        assert!(requests.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn the_endpoint_of_a_service_takes_precedence_over_the_common_one() {
        let (aws, requests) = aws((200, GRANTED)).await;
        let account = Account::in_region("eu-central-1");
        kinesis(&aws, &account).list_shards().stream_name("s").send().await.ok();
        aws.logs(&account).describe_log_groups().send().await.ok();
        let requests = requests.lock().unwrap();
        assert_eq!(requests[0].0, "http://127.0.0.1:2/");
        assert!(requests[1].0.starts_with("http://127.0.0.1:1/base"), "{}", requests[1].0);
    }
}
