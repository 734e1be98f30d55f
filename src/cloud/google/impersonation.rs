//! Tokens of a service account for somebody who may impersonate it.

use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;

use super::error::GoogleError;
use super::fields::Fields;
use super::token_server::{Answered, Grant, answer, check_token_url, lasting};

/// The scope of the token with which a service account is impersonated.
pub(super) const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
/// The lifetime that is requested if the file does not say (AIP-4117).
const LIFETIME: u64 = 3_600;
/// The lifetimes that a file may ask for (AIP-4117). More than an hour needs a policy of the organization.
const LIFETIMES: std::ops::RangeInclusive<u64> = 600..=43_200;

/// The service account to impersonate.
pub(super) struct Impersonation {
    url: String,
    /// Service accounts that pass the right on, if the first in the chain may not impersonate the last itself.
    delegates: Vec<String>,
    lifetime: Duration,
}

/// The answer of `generateAccessToken` (Service Account Credentials API).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Generated {
    access_token: String,
    expire_time: Option<String>,
}

impl Impersonation {
    /// Reads what `external_account` and `impersonated_service_account` files say about it; `None` if nothing.
    pub(super) fn read(fields: Fields<'_>) -> Result<Option<Self>, String> {
        let Some(url) = fields.find("service_account_impersonation_url")? else { return Ok(None) };
        check_token_url(url)?;
        let more = fields.object("service_account_impersonation", "service_account_impersonation.")?;
        let lifetime = match more {
            Some(more) => more.number("token_lifetime_seconds")?,
            None => None,
        };
        let lifetime = lifetime.unwrap_or(LIFETIME);
        if !LIFETIMES.contains(&lifetime) {
            return Err(format!(
                "`service_account_impersonation.token_lifetime_seconds` is {lifetime}; it must be from {} to {}",
                LIFETIMES.start(),
                LIFETIMES.end()
            ));
        }
        let lifetime = Duration::from_secs(lifetime);
        Ok(Some(Self { url: url.to_owned(), delegates: fields.texts("delegates")?, lifetime }))
    }

    /// Exchanges a token with [`SCOPE`] for one of the service account.
    pub(super) async fn fetch(
        &self,
        http: &reqwest::Client,
        token: &str,
        scopes: &[&str],
    ) -> Result<Grant, GoogleError> {
        let mut body = json!({"scope": scopes, "lifetime": format!("{}s", self.lifetime.as_secs())});
        if !self.delegates.is_empty() {
            body["delegates"] = json!(self.delegates);
        }
        let request = http.post(&self.url).bearer_auth(token).json(&body);
        let Answered { content, at } = answer::<Generated>(request).await?;
        let said = content.expire_time.and_then(|time| time.parse::<Timestamp>().ok());
        // The end is compared with the server's own time, so that our clock does not matter.
        let lasts = match (said, at) {
            (Some(end), Some(at)) => Duration::try_from(end.duration_since(at)).unwrap_or_default(),
            _ => self.lifetime,
        };
        Ok(Grant { token: content.access_token, lasts: lasting(Some(lasts)) })
    }
}
