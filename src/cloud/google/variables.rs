//! The environment variables that Google's own libraries read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The variables of `gcp.credentials` and `gcp.credentials_file`.
pub(super) const TEXT: &str = "TRACEPROBE_GCP_CREDENTIALS";
pub(super) const FILE: &str = "TRACEPROBE_GCP_CREDENTIALS_FILE";

/// What the environment says about Google. The default is an environment without any of these variables.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct GoogleVariables {
    /// `GOOGLE_APPLICATION_CREDENTIALS`: the file with the application default credentials.
    pub credentials_file: Option<PathBuf>,
    /// Where `gcloud auth application-default login` leaves its file, whether or not there is one.
    pub gcloud_file: Option<PathBuf>,
    /// `GOOGLE_CLOUD_QUOTA_PROJECT`: whose quota calls are counted against. Takes precedence over the file's.
    pub quota_project: Option<String>,
    /// `GOOGLE_CLOUD_UNIVERSE_DOMAIN`: the domain of Google's services, if not `googleapis.com`.
    pub universe_domain: Option<String>,
    /// Whether `TRACEPROBE_GCP_CREDENTIALS` is set, so that `gcp.credentials` is that variable.
    pub gives_text: bool,
    /// Whether `TRACEPROBE_GCP_CREDENTIALS_FILE` is set.
    pub gives_file: bool,
    /// `GCE_METADATA_HOST`: the metadata server, as a host with an optional port.
    pub metadata_host: Option<String>,
}

impl GoogleVariables {
    /// Reads them. An empty variable counts as not set.
    #[must_use]
    pub fn read(variables: &BTreeMap<String, String>) -> Self {
        let text = |name: &str| {
            let value = variables.get(name).map(|value| value.trim());
            value.filter(|value| !value.is_empty()).map(str::to_owned)
        };
        // gcloud's folder can be moved with CLOUDSDK_CONFIG (gcloud topic configurations).
        let gcloud = text("CLOUDSDK_CONFIG")
            .map(PathBuf::from)
            .or_else(|| text("HOME").map(|home| Path::new(&home).join(".config/gcloud")));
        Self {
            credentials_file: text("GOOGLE_APPLICATION_CREDENTIALS").map(PathBuf::from),
            gcloud_file: gcloud.map(|folder| folder.join("application_default_credentials.json")),
            quota_project: text("GOOGLE_CLOUD_QUOTA_PROJECT"),
            universe_domain: text("GOOGLE_CLOUD_UNIVERSE_DOMAIN"),
            gives_text: text(TEXT).is_some(),
            gives_file: text(FILE).is_some(),
            metadata_host: text("GCE_METADATA_HOST"),
        }
    }
}
