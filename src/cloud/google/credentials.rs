//! Credentials of every type that Google's application default credentials have.

use std::path::PathBuf;

use aws_config::SdkConfig;
use serde_json::{Map, Value};

use super::GoogleSettings;
use super::error::GoogleError;
use super::external_account::ExternalAccount;
use super::fields::Fields;
use super::identity::Auth;
use super::impersonation::{self, Impersonation};
use super::metadata_server::{self, MetadataServer};
use super::refresh_token::RefreshToken;
use super::service_account::ServiceAccount;
use super::token_server::Grant;
use crate::keys::secret::Secret;

/// The domain of Google's services, unless credentials belong to another universe.
pub(super) const DEFAULT_UNIVERSE: &str = "googleapis.com";

/// What is right in the place of a file that cannot be read.
const FILE_EXPECTED: &str =
    "name a JSON file that this process may read, in a container by its path inside of it (docs/google.md)";

/// Where credentials are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Document {
    /// In a file.
    File(PathBuf),
    /// In the configuration itself, as the text that would be in the file.
    Text(Secret),
}

/// How tokens are obtained.
pub(super) enum Credentials {
    ServiceAccount(ServiceAccount),
    Login(RefreshToken),
    External(Box<ExternalAccount>),
    Impersonated { source: Box<Credentials>, account: Impersonation },
    Metadata(MetadataServer),
}

/// Credentials, and what else the file and the environment say about calls.
pub(super) struct Found {
    /// `None` if calls need no token.
    pub(super) credentials: Option<Credentials>,
    /// The project whose quota calls are counted against, if not that of the credentials.
    pub(super) quota_project: Option<String>,
    /// The domain of Google's services.
    pub(super) universe: String,
}

/// The types of credentials that a file may have.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Accepts {
    All,
    Keys,
    Federation,
    /// All but an impersonated account, whose source it is.
    Sources,
}

/// Reads the credentials that the settings name.
///
/// # Errors
///
/// [`GoogleError::Credentials`] if there is a file that cannot be used. It never quotes the content, which is secret.
pub(super) async fn find(settings: &GoogleSettings) -> Result<Found, GoogleError> {
    let variables = &settings.variables;
    let (credentials, quota_project, universe) = match &settings.auth {
        Auth::None => (None, None, None),
        Auth::ServiceAccount(it) => read(it, Accepts::Keys, settings).await?,
        Auth::WorkloadIdentity(it) => read(it, Accepts::Federation, settings).await?,
        Auth::ApplicationDefault => {
            let gcloud = variables.gcloud_file.as_ref().filter(|path| path.exists());
            match variables.credentials_file.as_ref().or(gcloud) {
                Some(path) => read(&Document::File(path.clone()), Accepts::All, settings).await?,
                None => {
                    let server = MetadataServer::new(variables.metadata_host.as_deref());
                    (Some(Credentials::Metadata(server)), None, None)
                }
            }
        }
    };
    let wanted = variables.universe_domain.clone();
    if let (Some(wanted), Some(universe)) = (&wanted, &universe)
        && wanted != universe
    {
        return Err(GoogleError::Credentials(format!(
            "they belong to the universe {universe}, but GOOGLE_CLOUD_UNIVERSE_DOMAIN is {wanted}"
        )));
    }
    let universe = universe.or(wanted).unwrap_or_else(|| DEFAULT_UNIVERSE.to_owned());
    let is_domain = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-';
    if !universe.chars().all(is_domain) {
        return Err(GoogleError::Credentials("their universe domain is not the name of a domain".to_owned()));
    }
    let quota_project = variables.quota_project.clone().or(quota_project);
    Ok(Found { credentials, quota_project, universe })
}

/// What a text that is no JSON object looks like. It may be a secret, so nothing of it is quoted.
fn likeness(text: &str) -> &'static str {
    let text = text.trim();
    let is_of_base64 = |c: char| c.is_ascii_alphanumeric() || "+/=-_\r\n".contains(c);
    if text.is_empty() {
        "; it is empty"
    } else if serde_json::from_str::<String>(text).is_ok_and(|inner| inner.trim_start().starts_with('{')) {
        "; it is the object in quotes, with a backslash before each quote: quoted once too often"
    } else if text.starts_with("{\\") {
        "; it has a backslash before each quote: quoted once too often"
    } else if text.starts_with('{') {
        "; it begins as an object, so it was cut or changed on the way"
    } else if !text.contains('\n') && (text.starts_with(['/', '.', '~']) || text.ends_with(".json")) {
        "; it looks like a path, which belongs into gcp.credentials_file"
    } else if text.chars().all(is_of_base64) {
        "; it looks like base64, and the JSON itself is expected"
    } else {
        ""
    }
}

type Read = (Option<Credentials>, Option<String>, Option<String>);

async fn read(document: &Document, accepts: Accepts, settings: &GoogleSettings) -> Result<Read, GoogleError> {
    let from = settings.credentials_from().unwrap_or_default();
    let (name, text) = match document {
        Document::File(path) => {
            (format!("{} ({from})", path.display()), tokio::fs::read_to_string(path).await)
        }
        Document::Text(text) => (from, Ok(text.expose().to_owned())),
    };
    let unusable = |reason: String| GoogleError::Credentials(format!("{name}: {reason}"));
    let text = text.map_err(|error| unusable(format!("{error}; {FILE_EXPECTED}")))?;
    let map: Map<String, Value> = serde_json::from_str(&text).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        unusable(format!("not a JSON object (line {line}, column {column}){}", likeness(&text)))
    })?;
    let fields = Fields::new(&map);
    let parsed = || {
        let quota_project = fields.find("quota_project_id")?.map(str::to_owned);
        let universe = fields.find("universe_domain")?.map(str::to_owned);
        let of_default = universe.as_deref().or(settings.variables.universe_domain.as_deref());
        let of_default = of_default.is_none_or(|universe| universe == DEFAULT_UNIVERSE);
        let credentials = Credentials::read(fields, accepts, of_default, settings.aws.as_ref())?;
        Ok((Some(credentials), quota_project, universe))
    };
    parsed().map_err(unusable)
}

impl Credentials {
    fn read(
        fields: Fields<'_>,
        accepts: Accepts,
        universe_is_default: bool,
        aws: Option<&SdkConfig>,
    ) -> Result<Self, String> {
        // Key files of long ago have no type.
        let kind = fields.find("type")?.unwrap_or("service_account");
        accepts.check(kind)?;
        Ok(match kind {
            "service_account" => Self::ServiceAccount(ServiceAccount::read(fields, universe_is_default)?),
            "authorized_user" => Self::Login(RefreshToken::of_user(fields)?),
            "external_account_authorized_user" => Self::Login(RefreshToken::of_workforce(fields)?),
            "external_account" => Self::External(Box::new(ExternalAccount::read(fields, aws)?)),
            "impersonated_service_account" => {
                let source = fields.object("source_credentials", "source_credentials.")?;
                let source = source.ok_or("`source_credentials` is missing")?;
                let source = Self::read(source, Accepts::Sources, universe_is_default, aws)?;
                let account = Impersonation::read(fields)?;
                let account = account.ok_or("`service_account_impersonation_url` is missing")?;
                Self::Impersonated { source: Box::new(source), account }
            }
            other => return Err(format!("credentials of type `{other}` are not supported")),
        })
    }

    /// Fetches a token that is valid for all of `scopes`, except that a person's has those of the login.
    pub(super) async fn fetch(&self, http: &reqwest::Client, scopes: &[&str]) -> Result<Grant, GoogleError> {
        match self {
            Self::ServiceAccount(account) => account.fetch(http, scopes).await,
            Self::Login(login) => login.fetch(http).await,
            Self::External(account) => account.fetch(http, scopes).await,
            Self::Metadata(server) => server.fetch(http, scopes).await,
            Self::Impersonated { source, account } => {
                // The source is not impersonated itself, so this goes no deeper.
                let own = Box::pin(source.fetch(http, &[impersonation::SCOPE])).await?;
                account.fetch(http, &own.token, scopes).await
            }
        }
    }
}

impl Credentials {
    /// Why the server that gives the tokens was asked, to follow a text; empty if the credentials name it.
    pub(super) const fn hint(&self) -> &'static str {
        match self {
            Self::Metadata(_) => metadata_server::WITHOUT_FILE,
            Self::ServiceAccount(_) | Self::Login(_) | Self::External(_) | Self::Impersonated { .. } => "",
        }
    }
}

impl Accepts {
    fn check(self, kind: &str) -> Result<(), String> {
        let accepted = match self {
            Self::All => true,
            Self::Keys => matches!(kind, "service_account" | "authorized_user"),
            Self::Federation => kind == "external_account",
            Self::Sources => kind != "impersonated_service_account",
        };
        if accepted {
            return Ok(());
        }
        let instead = match self {
            Self::Keys => {
                "gcp.auth = \"service_account\" takes only the key of a service account; use \"workload_identity\" for \
                 `external_account`, or \"adc\" with GOOGLE_APPLICATION_CREDENTIALS for any type"
            }
            Self::Federation => {
                "gcp.auth = \"workload_identity\" takes only `external_account`; use \"service_account\" for a key, or \
                 \"adc\" with GOOGLE_APPLICATION_CREDENTIALS for any type"
            }
            Self::All | Self::Sources => {
                "`source_credentials` must be those of somebody who is not impersonated; list the accounts between in \
                 `delegates`"
            }
        };
        Err(format!("credentials of type `{kind}` cannot be used here: {instead}"))
    }
}
