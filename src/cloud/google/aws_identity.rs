//! Our AWS identity, in the form that Google takes.
//!
//! We sign a GetCallerIdentity request but do not send it. Google sends it, and learns from AWS who signed it.
//! Google's own libraries find AWS credentials only in the environment and on EC2, not in an ECS task, so the
//! request is signed here with the credentials that the AWS SDK finds.

use aws_config::SdkConfig;
use aws_credential_types::provider::ProvideCredentials as _;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use serde_json::json;

use super::error::GoogleError;
use super::fields::Fields;
use super::percent_encoded;
use super::token_server::now;
use crate::cloud::failure::causes;

/// The request that Google sends if the file does not name another (AIP-4117).
const VERIFICATION_URL: &str =
    "https://sts.{region}.amazonaws.com?Action=GetCallerIdentity&Version=2011-06-15";

/// Signs requests with our AWS credentials.
pub(super) struct AwsIdentity {
    aws: SdkConfig,
    /// With `{region}` in place of the region.
    verification_url: String,
}

impl AwsIdentity {
    /// Reads `credential_source` of a file for AWS.
    pub(super) fn read(source: Fields<'_>, aws: Option<&SdkConfig>) -> Result<Self, String> {
        let environment = source.text("environment_id")?;
        if environment != "aws1" {
            return Err(format!(
                "`credential_source.environment_id` is `{environment}`; only `aws1` is supported"
            ));
        }
        let url = source.find("regional_cred_verification_url")?.unwrap_or(VERIFICATION_URL);
        let aws = aws.ok_or("it needs an AWS identity, and there is none")?;
        Ok(Self { aws: aws.clone(), verification_url: url.to_owned() })
    }

    /// Returns a signed but unsent request as percent-encoded JSON.
    pub(super) async fn subject_token(&self, audience: &str) -> Result<String, GoogleError> {
        let unsigned = |reason: String| GoogleError::TokenFetchFailed(format!("our AWS identity: {reason}"));
        let provider =
            self.aws.credentials_provider().ok_or_else(|| unsigned("no credentials".to_owned()))?;
        let identity = provider.provide_credentials().await.map_err(|error| unsigned(causes(&error)))?.into();
        let region = self.aws.region().map(AsRef::as_ref);
        let region = region.ok_or_else(|| unsigned("no region; set aws.region or AWS_REGION".to_owned()))?;
        let url = reqwest::Url::parse(&self.verification_url.replace("{region}", region))
            .map_err(|error| unsigned(error.to_string()))?;
        let host = url.host_str().unwrap_or_default();
        let host = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        let mut headers = vec![("host", host), ("x-goog-cloud-target-resource", audience.to_owned())];
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(region)
            .name("sts")
            .time(now())
            .settings(SigningSettings::default())
            .build()
            .map_err(|error| unsigned(error.to_string()))?
            .into();
        let plain = headers.iter().map(|(name, value)| (*name, value.as_str()));
        let request = SignableRequest::new("POST", url.as_str(), plain, SignableBody::Bytes(&[]))
            .map_err(|error| unsigned(error.to_string()))?;
        let signed = sign(request, &params).map_err(|error| unsigned(error.to_string()))?;
        let (instructions, _) = signed.into_parts();
        headers.extend(instructions.headers().map(|(name, value)| (name, value.to_owned())));
        let headers: Vec<_> =
            headers.iter().map(|(name, value)| json!({"key": name, "value": value})).collect();
        let token = json!({"url": url.as_str(), "method": "POST", "headers": headers});
        Ok(percent_encoded(&token.to_string()))
    }
}
