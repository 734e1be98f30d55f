//! Credentials of a role.

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, future::ProvideCredentials as Providing};

use crate::cloud::account::Role;

/// Session name that the CloudTrail of an account shows for calls with its role.
const SESSION_NAME: &str = "traceprobe";

/// Assumes a role. The SDK's own provider cannot count calls, nor have a retry budget of its own.
#[derive(Debug)]
pub(super) struct AssumedRole {
    pub(super) sts: aws_sdk_sts::Client,
    pub(super) role: Role,
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
