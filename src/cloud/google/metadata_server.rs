//! Tokens of the service account that is attached to a machine of Google Cloud.

use super::error::GoogleError;
use super::token_server::{Grant, grant};

/// The host of the metadata server (Compute Engine, "About VM metadata").
const HOST: &str = "metadata.google.internal";

/// How the failure of such a token begins. `check` tells by it what is to be set.
pub const NO_FILE: &str = "no Google credentials file was found";
/// The same with all that follows, behind a text.
pub(super) const WITHOUT_FILE: &str = ": no Google credentials file was found, so ADC asked the metadata server of \
     Google Compute Engine; on ECS, set GOOGLE_APPLICATION_CREDENTIALS to the federation file (docs/google.md)";

/// The server that Google Cloud serves on the machine itself, over plain http.
pub(super) struct MetadataServer {
    host: String,
}

impl MetadataServer {
    /// Returns the server at `host`, if given, in place of Google's own name for it.
    pub(super) fn new(host: Option<&str>) -> Self {
        Self { host: host.unwrap_or(HOST).to_owned() }
    }

    pub(super) async fn fetch(&self, http: &reqwest::Client, scopes: &[&str]) -> Result<Grant, GoogleError> {
        let url = format!("http://{}/computeMetadata/v1/instance/service-accounts/default/token", self.host);
        // Machines with a fixed set of scopes ignore the parameter.
        let request =
            http.get(url).query(&[("scopes", scopes.join(","))]).header("Metadata-Flavor", "Google");
        grant(request).await.map_err(|error| {
            // The cause comes last, because its advice is for hosts that should be there.
            let explain = |text: String| format!("{}: {text}", WITHOUT_FILE.trim_start_matches(": "));
            match error {
                GoogleError::TokenDenied(text) => GoogleError::TokenDenied(explain(text)),
                GoogleError::TokenFetchFailed(text) => GoogleError::TokenFetchFailed(explain(text)),
                other => other,
            }
        })
    }
}
