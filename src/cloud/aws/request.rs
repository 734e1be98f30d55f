//! Calls of operations for which no client of the SDK is linked: a request that is signed here.
//!
//! The metrics of CloudWatch and the settings of a function are read a few times in the life of a process. A
//! client of the SDK for each of them would cost every build more than it saves here.

use std::time::{Duration, SystemTime};

use aws_credential_types::provider::ProvideCredentials as _;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use serde_json::Value as Json;

use super::{Aws, dns_suffix};
use crate::cloud::account::Account;
use crate::cloud::bounded::{MAX_ANSWER_BYTES, whole};
use crate::cloud::calls::CallResult;
use crate::cloud::failure::causes;
use crate::domain::foreign::ForeignText;
use crate::domain::sighting::FailureKind;

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(15);

/// A request of a service that speaks JSON.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// As in metrics and endpoints: `monitoring`.
    pub service: &'static str,
    pub operation: &'static str,
    pub account: &'a Account,
    /// Below the endpoint, percent-encoded.
    pub path: String,
    /// The `X-Amz-Target` and the document of a POST; `None` for a GET.
    pub post: Option<(&'static str, Json)>,
}

impl Aws {
    /// Makes a call, once.
    ///
    /// # Errors
    ///
    /// What went wrong, for people.
    pub async fn request(&self, request: &Request<'_>) -> Result<Json, ForeignText> {
        let answer = self.try_request(request).await;
        let result = if answer.is_ok() { CallResult::Ok } else { CallResult::Failed(FailureKind::Error) };
        self.calls.count(request.service, request.operation, result);
        answer.map_err(|reason| format!("{}: {reason}", request.operation).into())
    }

    async fn try_request(&self, request: &Request<'_>) -> Result<Json, String> {
        let config = self.config(request.service, request.account);
        let region = &request.account.region;
        let endpoint = config.endpoint_url().map(str::to_owned);
        let usual = || format!("https://{}.{region}.{}", request.service, dns_suffix(region));
        let endpoint = endpoint.unwrap_or_else(usual);
        let url = format!("{}{}", endpoint.trim_end_matches('/'), request.path);
        let url = reqwest::Url::parse(&url).map_err(|error| error.to_string())?;
        let host = url.host_str().unwrap_or_default();
        let host = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        let mut headers = vec![("host", host.clone())];
        let (method, body) = match &request.post {
            Some((target, body)) => {
                headers.push(("content-type", "application/x-amz-json-1.0".to_owned()));
                headers.push(("x-amz-target", (*target).to_owned()));
                (reqwest::Method::POST, body.to_string())
            }
            None => (reqwest::Method::GET, String::new()),
        };
        let provider = config.credentials_provider().ok_or("there are no credentials")?;
        let identity = provider.provide_credentials().await.map_err(|error| causes(&error))?.into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(region)
            .name(request.service)
            .time(now())
            .settings(SigningSettings::default())
            .build()
            .map_err(|error| error.to_string())?
            .into();
        let plain = headers.iter().map(|(name, value)| (*name, value.as_str()));
        let signable =
            SignableRequest::new(method.as_str(), url.as_str(), plain, SignableBody::Bytes(body.as_bytes()));
        let signed =
            sign(signable.map_err(|error| error.to_string())?, &params).map_err(|error| error.to_string())?;
        let (instructions, _) = signed.into_parts();
        crate::cloud::install_tls();
        // The signature is of this host alone.
        let client = reqwest::Client::builder().timeout(TIMEOUT).redirect(reqwest::redirect::Policy::none());
        let client = self.settings.proxy.of_client(client);
        let client = client.map_err(|error| error.to_string())?.build().map_err(|error| error.to_string())?;
        let mut call = client.request(method, url).body(body);
        // The host is set by the client.
        for (name, value) in headers.iter().skip(1) {
            call = call.header(*name, value);
        }
        for (name, value) in instructions.headers() {
            call = call.header(name, value);
        }
        let mut answer = call.send().await.map_err(|error| causes(&error.without_url()))?;
        let status = answer.status();
        let body = whole(&mut answer).await.map_err(|error| causes(&error.without_url()))?;
        let too_large = || format!("the answer of {host} is larger than {} MB", MAX_ANSWER_BYTES >> 20);
        let body = body.ok_or_else(too_large)?;
        let json = serde_json::from_slice::<Json>(&body);
        if status.is_success() {
            let start = |_| format!("the answer of {host} is not JSON: {}", ForeignText::of_body(&body));
            return json.map_err(start);
        }
        if status.is_redirection() {
            return Err(format!("{host} redirects to somewhere else ({status}), which is not followed"));
        }
        let json = json.unwrap_or_default();
        let of = |key: &str| json.get(key).and_then(Json::as_str).unwrap_or_default();
        let code = [of("__type"), of("Code")].concat();
        let message = [of("message"), of("Message")].concat();
        Err(format!("{status} {} {message}", code.rsplit('#').next().unwrap_or_default()).trim().to_owned())
    }
}

#[expect(clippy::disallowed_methods, reason = "it goes into a signature and decides nothing here")]
fn now() -> SystemTime {
    SystemTime::now()
}
