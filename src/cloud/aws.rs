//! AWS clients for many accounts over one connection pool.
//!
//! By default the SDK gives every client a pool of its own and every client configuration a credential cache
//! of its own. Here all clients share one pool, and all clients of a role share its credentials, so that
//! fifty tenants cost no more than fifty AssumeRole calls per hour.
//!
//! SDK retries are off for the services that are polled or written to, because our own loop must see and
//! count every error. They are on for STS, with a separate retry budget for each role: the default budget is
//! shared by the whole process, so that one tenant with a wrong role would use up the retries of all others.

mod assumed_role;
mod home;
mod named_hosts;
mod own_credentials;
mod partition;
mod request;
mod server_date;
mod session;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_sts::config::retry::RetryPartition;
use aws_sdk_sts::config::{RuntimeComponents, SharedHttpClient, StalledStreamProtectionConfig};
use aws_smithy_http_client::Connector;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};

use self::assumed_role::AssumedRole;
use self::home::Home;
use self::named_hosts::NamedHosts;
use self::own_credentials::OwnCredentials;
pub use self::partition::dns_suffix;
pub use self::request::Request;
pub use self::server_date::ServerDate;
pub(in crate::cloud) use self::server_date::http_date;
pub(super) use self::session::Session;
use super::account::{Account, Role};
use super::calls::{Calls, CountCalls};
use super::failure::Failure;
use super::failure::answerer::{Answerer, Endpoint};
use super::failure::unreached::Directory;
use super::proxy::Proxy;
use crate::domain::time::Timestamp;

/// Endpoints of services, by their names in metrics.
pub type Endpoints = BTreeMap<&'static str, String>;

/// How to reach AWS.
#[derive(Clone, Debug, Default)]
pub struct AwsSettings {
    /// Region of tenants and stages that set none; `None` to take it from the environment.
    pub region: Option<String>,
    /// Replaces the endpoints of all services, for emulators and private links.
    pub endpoint: Option<String>,
    /// Endpoints of single services, by their names in metrics; they take precedence over `endpoint`.
    pub endpoints: Endpoints,
    /// Endpoints of single services in one region; they take precedence over those of all regions.
    pub regional_endpoints: BTreeMap<String, Endpoints>,
    /// Whether to sign with fixed dummy credentials, for emulators.
    pub anonymous: bool,
    /// Time limits of every call.
    pub timeouts: Timeouts,
    /// How calls leave.
    pub proxy: Proxy,
}

impl AwsSettings {
    /// The key and the URL of the endpoint that is configured for a service in a region; `None` for the usual one.
    #[must_use]
    pub fn endpoint_of(&self, service: &str, region: Option<&str>) -> Option<(String, &str)> {
        let regional =
            region.and_then(|region| Some((region, self.regional_endpoints.get(region)?.get(service)?)));
        if let Some((region, url)) = regional {
            return Some((format!("aws.endpoints.{region}.{service}"), url));
        }
        let of_service =
            self.endpoints.get(service).map(|url| (format!("aws.endpoints.{service}"), url.as_str()));
        of_service.or_else(|| Some(("aws.endpoint".to_owned(), self.endpoint.as_deref()?)))
    }

    /// Which keys name which hosts.
    fn directory(&self) -> Directory {
        let of_service =
            self.endpoints.iter().map(|(service, url)| (url, format!("aws.endpoints.{service}")));
        let regional = self.regional_endpoints.iter().flat_map(|(region, of_region)| {
            of_region.iter().map(move |(service, url)| (url, format!("aws.endpoints.{region}.{service}")))
        });
        let of_all = self.endpoint.iter().map(|url| (url, "aws.endpoint".to_owned()));
        let all = regional.chain(of_service).chain(of_all).map(|(url, key)| (url.clone(), key));
        Directory::new(all, self.proxy.is_set())
    }
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

/// Makes AWS clients. Clones share connections, credentials and counters.
#[derive(Clone, Debug)]
pub struct Aws {
    base: SdkConfig,
    settings: Arc<AwsSettings>,
    directory: Arc<Directory>,
    calls: Calls,
    /// The probe's own credentials.
    own: Session,
    /// Where they come from.
    credentials: OwnCredentials,
    http: SharedHttpClient,
    /// Whose they are.
    home: Arc<Home>,
    // A mutex, because tenants and stages are built in any order and must find each other's roles; held for
    // one lookup at start-up.
    roles: Arc<Mutex<HashMap<Role, RoleSession>>>,
}

/// Who we are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Caller {
    /// `arn:aws:sts::999999999999:assumed-role/traceprobe-task/…`.
    pub arn: String,
    /// The account's 12 digits.
    pub account: String,
    /// The time by the clock of the service, to the second; `None` if the answer does not say.
    pub server_date: Option<Timestamp>,
}

/// A role that can be assumed, and its credentials once it was.
#[derive(Clone, Debug)]
struct RoleSession {
    provider: SharedCredentialsProvider,
    session: Session,
}

impl Aws {
    /// Reads credentials and region from the usual places: environment, profile, container, instance.
    ///
    /// It does not call the services of the pipeline; wrong credentials show at the first call there.
    pub async fn new(settings: AwsSettings, calls: Calls) -> Self {
        let proxy = settings.proxy.of_aws();
        // As `build_https` does, which disables proxies.
        let http =
            aws_smithy_http_client::Builder::new().build_with_connector_fn(move |settings, components| {
                let mut connector = Connector::builder();
                // Each new client asks for one that it never calls, and another set of roots would be parsed for it.
                if settings.is_none() {
                    return connector.build_http();
                }
                connector.set_connector_settings(settings.cloned());
                connector.set_sleep_impl(components.and_then(RuntimeComponents::sleep_impl));
                connector
                    .proxy_config(proxy.clone())
                    .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
                    .build()
            });
        Self::with_http_client(settings, calls, http).await
    }

    pub(super) async fn with_http_client(
        settings: AwsSettings,
        calls: Calls,
        http: SharedHttpClient,
    ) -> Self {
        let own = Session::new("the probe");
        let directory = Arc::new(settings.directory());
        let http = SharedHttpClient::new(NamedHosts { inner: http, directory: directory.clone() });
        let base = base_config(&settings, http.clone(), own.clone()).await;
        let credentials = OwnCredentials::new(base.credentials_provider());
        let base =
            base.to_builder().credentials_provider(SharedCredentialsProvider::new(credentials.clone()));
        let settings = Arc::new(settings);
        let (home, roles) = Default::default();
        Self { base: base.build(), settings, directory, calls, own, credentials, http, home, roles }
    }

    /// Has every identity's credentials read again before the next call. The SDK reads files such as
    /// `~/.aws/credentials` once, so their provider is made again.
    pub async fn renew(&self) {
        let base = base_config(&self.settings, self.http.clone(), self.own.clone()).await;
        self.credentials.replace(base.credentials_provider());
        self.own.forget();
        let roles = self.roles.lock().unwrap_or_else(PoisonError::into_inner);
        roles.values().for_each(|role| role.session.forget());
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
            let RoleSession { provider, session } = self.role(role);
            config = config.credentials_provider(provider).identity_cache(session);
        }
        if let Some(region) = region {
            config = config.region(Region::new(region.to_owned()));
        }
        config.build()
    }

    fn role(&self, role: &Role) -> RoleSession {
        let mut roles = self.roles.lock().unwrap_or_else(PoisonError::into_inner);
        let known = roles.entry(role.clone()).or_insert_with(|| {
            let assumed = AssumedRole { sts: self.sts(role.arn.clone()), role: role.clone() };
            RoleSession {
                provider: SharedCredentialsProvider::new(assumed),
                session: Session::new(role.arn.as_str()),
            }
        });
        known.clone()
    }

    /// Returns the session whose credentials sign the calls to an account.
    fn session(&self, account: &Account) -> Session {
        account.role.as_ref().map_or_else(|| self.own.clone(), |role| self.role(role).session)
    }

    /// Returns the configuration of a client of one service: without retries, with the service's endpoint.
    ///
    /// The caller must add [`Aws::counting`] to the client, so that its calls are counted.
    #[must_use]
    pub fn config(&self, service: &'static str, account: &Account) -> SdkConfig {
        let config = self.for_role(account.role.as_ref(), Some(&account.region));
        let endpoint = self.endpoint(service, Some(&account.region), &config);
        let mut config = config.to_builder();
        config.set_endpoint_url(endpoint);
        // A poll has a time of its own, in which it must have read its answers to the end.
        config.set_stalled_stream_protection(Some(StalledStreamProtectionConfig::disabled()));
        config.retry_config(RetryConfig::disabled()).build()
    }

    /// Returns a client of CloudWatch Logs that does not retry.
    #[must_use]
    pub fn logs(&self, account: &Account) -> aws_sdk_cloudwatchlogs::Client {
        let config = self.config("logs", account);
        let config = aws_sdk_cloudwatchlogs::config::Builder::from(&config)
            .interceptor(self.counting("logs", account));
        aws_sdk_cloudwatchlogs::Client::from_conf(config.build())
    }

    /// Returns a client of STS. It retries, because it is used only at start-up and once an hour per role.
    fn sts(&self, partition: String) -> aws_sdk_sts::Client {
        self.sts_with(partition, None)
    }

    fn sts_with(&self, partition: String, date: Option<ServerDate>) -> aws_sdk_sts::Client {
        let mut builder = aws_sdk_sts::config::Builder::from(&self.base)
            .retry_partition(RetryPartition::new(partition))
            .interceptor(self.interceptor("sts", self.region(), self.own.clone()));
        builder.set_endpoint_url(self.endpoint("sts", self.region(), &self.base));
        if let Some(date) = date {
            builder = builder.interceptor(date);
        }
        aws_sdk_sts::Client::from_conf(builder.build())
    }

    /// Returns who we are, for a role or for our own credentials: the first thing to check when access is denied.
    ///
    /// # Errors
    ///
    /// If there are no credentials, or they are not valid.
    pub async fn caller(&self) -> Result<Caller, Failure> {
        let date = ServerDate::default();
        let sts = self.sts_with("caller".to_owned(), Some(date.clone()));
        let identity = sts.get_caller_identity().send().await;
        let identity = identity.map_err(|error| Failure::of_aws(&error).calling("GetCallerIdentity"))?;
        Ok(Caller {
            arn: identity.arn.unwrap_or_default(),
            account: identity.account.unwrap_or_default(),
            server_date: date.take(),
        })
    }

    /// Returns an interceptor that counts the calls of a client of [`Aws::config`], lets none leave unencrypted
    /// unless the endpoint is configured as http, and has refused credentials replaced.
    #[must_use]
    pub fn counting(&self, service: &'static str, account: &Account) -> CountCalls {
        self.interceptor(service, Some(&account.region), self.session(account))
    }

    fn interceptor(&self, service: &'static str, region: Option<&str>, session: Session) -> CountCalls {
        let endpoint = self.endpoint(service, region, &self.base);
        let plain_http = endpoint.is_some_and(|url| url.to_ascii_lowercase().starts_with("http://"));
        let (calls, directory) = (self.calls.clone(), self.directory.clone());
        let answerer = self.answerer(service, region);
        CountCalls { service, calls, plain_http, answerer, session, directory }
    }

    /// Who should answer the calls to a service in a region.
    fn answerer(&self, service: &'static str, region: Option<&str>) -> Answerer {
        let configured = self.settings.endpoint_of(service, region);
        let of_environment = || Some(("AWS_ENDPOINT_URL".to_owned(), self.base.endpoint_url()?));
        let endpoint = configured.or_else(of_environment).map(|(key, url)| Endpoint::new(key, url));
        let region = region.unwrap_or("REGION");
        let usual = format!("https://{service}.{region}.{}", dns_suffix(region));
        Answerer { title: title(service), host: None, usual, endpoint }
    }

    /// Returns the endpoint of a service in a region; `None` for the one that the SDK knows.
    fn endpoint(&self, service: &str, region: Option<&str>, config: &SdkConfig) -> Option<String> {
        let configured = self.settings.endpoint_of(service, region).map(|(_, url)| url);
        configured.or_else(|| config.endpoint_url()).map(str::to_owned)
    }
}

/// The name of a service for people.
fn title(service: &'static str) -> &'static str {
    match service {
        "kinesis" => "Kinesis",
        "logs" => "CloudWatch Logs",
        "s3" => "S3",
        "sqs" => "SQS",
        "sts" => "STS",
        other => other,
    }
}

/// Finds credentials and region in the usual places.
async fn base_config(settings: &AwsSettings, http: SharedHttpClient, own: Session) -> SdkConfig {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(settings.timeouts.connect)
        .read_timeout(settings.timeouts.read)
        .operation_attempt_timeout(settings.timeouts.attempt)
        .operation_timeout(settings.timeouts.operation)
        .build();
    // Pinned, so that an update of the SDK cannot change timeouts or retries unnoticed.
    let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
        .http_client(http)
        .identity_cache(own)
        .timeout_config(timeouts)
        .retry_config(RetryConfig::standard());
    if let Some(region) = &settings.region {
        loader = loader.region(Region::new(region.clone()));
    }
    if settings.anonymous {
        // Emulators require a signature but do not verify it.
        loader = loader.credentials_provider(Credentials::new("test", "test", None, None, "anonymous"));
    }
    loader.load().await
}

#[cfg(test)]
mod tests;
