//! Google tokens for an identity that another party proves, without a key (workload identity federation).

use std::path::PathBuf;

use aws_config::SdkConfig;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};

use super::aws_identity::AwsIdentity;
use super::error::GoogleError;
use super::fields::Fields;
use super::impersonation::{self, Impersonation};
use super::percent_encoded;
use super::token_server::{Grant, body, check_identity_url, check_token_url, grant};

/// Type of the subject token for AWS (Google Cloud IAM, workload identity federation with AWS).
const AWS_TOKEN: &str = "urn:ietf:params:aws:token-type:aws4_request";

/// A file of type `external_account`, as `gcloud iam workload-identity-pools create-cred-config` writes it.
pub(super) struct ExternalAccount {
    audience: String,
    subject_token_type: String,
    token_url: String,
    source: Source,
    impersonation: Option<Impersonation>,
    /// Id and secret of the client, which files for people may have.
    client: Option<(String, Option<String>)>,
    /// Whose project is charged for the exchange, if the identity is a person's.
    workforce_project: Option<String>,
}

/// Where the identity comes from. It is read again for every exchange, because it expires.
enum Source {
    Aws(Box<AwsIdentity>),
    File(PathBuf, Format),
    Url { url: String, headers: HeaderMap, format: Format },
}

/// How the identity is written.
enum Format {
    Text,
    /// A JSON object with the identity in this field.
    Json(String),
}

impl ExternalAccount {
    pub(super) fn read(fields: Fields<'_>, aws: Option<&SdkConfig>) -> Result<Self, String> {
        let source = fields.object("credential_source", "credential_source.")?;
        let source = source.ok_or("`credential_source` is missing")?;
        let subject_token_type = fields.text("subject_token_type")?.to_owned();
        let source = Source::read(source, &subject_token_type, aws)?;
        let token_url = fields.text("token_url")?.to_owned();
        check_token_url(&token_url)?;
        let client = fields.find("client_id")?.map(str::to_owned);
        let secret = fields.find("client_secret")?.map(str::to_owned);
        Ok(Self {
            audience: fields.text("audience")?.to_owned(),
            subject_token_type,
            token_url,
            source,
            impersonation: Impersonation::read(fields)?,
            client: client.map(|id| (id, secret)),
            workforce_project: fields.find("workforce_pool_user_project")?.map(str::to_owned),
        })
    }

    pub(super) async fn fetch(&self, http: &reqwest::Client, scopes: &[&str]) -> Result<Grant, GoogleError> {
        let subject = self.source.subject_token(http, &self.audience).await?;
        match &self.impersonation {
            None => self.exchange(http, &subject, &scopes.join(" ")).await,
            Some(impersonation) => {
                let own = self.exchange(http, &subject, impersonation::SCOPE).await?;
                impersonation.fetch(http, &own.token, scopes).await
            }
        }
    }

    /// Exchanges the identity for a token (RFC 8693).
    async fn exchange(
        &self,
        http: &reqwest::Client,
        subject: &str,
        scope: &str,
    ) -> Result<Grant, GoogleError> {
        let mut form = vec![
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("audience", &*self.audience),
            ("scope", scope),
            ("requested_token_type", "urn:ietf:params:oauth:token-type:access_token"),
            ("subject_token_type", &*self.subject_token_type),
            ("subject_token", subject),
        ];
        let mut request = http.post(&self.token_url);
        let options;
        match (&self.client, &self.workforce_project) {
            (Some((id, secret)), _) => request = request.basic_auth(id, secret.as_ref()),
            (None, Some(project)) => {
                options = percent_encoded(&json!({"userProject": project}).to_string());
                form.push(("options", &options));
            }
            (None, None) => {}
        }
        grant(request.form(&form)).await
    }
}

impl Source {
    fn read(source: Fields<'_>, token_type: &str, aws: Option<&SdkConfig>) -> Result<Self, String> {
        if source.has("environment_id") {
            if token_type != AWS_TOKEN {
                return Err(format!(
                    "`subject_token_type` is `{token_type}`, but its source is AWS, whose type is `{AWS_TOKEN}`"
                ));
            }
            return Ok(Self::Aws(Box::new(AwsIdentity::read(source, aws)?)));
        }
        if let Some(path) = source.find("file")? {
            return Ok(Self::File(path.into(), Format::read(source)?));
        }
        if let Some(url) = source.find("url")? {
            check_identity_url(url)?;
            let headers = source.object("headers", "credential_source.headers.")?;
            let headers = headers.map(|headers| headers.pairs()).transpose()?.unwrap_or_default();
            let header = |(name, value): (String, String)| {
                let name = HeaderName::try_from(name).ok()?;
                let mut value = HeaderValue::try_from(value).ok()?;
                value.set_sensitive(true);
                Some((name, value))
            };
            let headers = headers.into_iter().map(header).collect::<Option<_>>();
            let headers = headers.ok_or("`credential_source.headers` has an impossible header")?;
            return Ok(Self::Url { url: url.to_owned(), headers, format: Format::read(source)? });
        }
        Err(if source.has("executable") {
            "`credential_source.executable` names a program, and this one starts no others: let the program write \
             the identity into a file, and name that in `credential_source.file`"
        } else if source.has("certificate") {
            "`credential_source.certificate` is not supported; use a source of AWS, a file or a URL"
        } else {
            "`credential_source` names neither AWS, nor a file, nor a URL"
        }
        .to_owned())
    }

    async fn subject_token(&self, http: &reqwest::Client, audience: &str) -> Result<String, GoogleError> {
        match self {
            Self::Aws(identity) => identity.subject_token(audience).await,
            Self::File(path, format) => {
                let failed = |reason: String| {
                    let path = path.display();
                    let text =
                        format!("{path} (`credential_source.file` of the Google credentials): {reason}");
                    GoogleError::TokenFetchFailed(text)
                };
                let text = tokio::fs::read(path).await.map_err(|error| failed(error.to_string()))?;
                format.token(&text).map_err(failed)
            }
            Self::Url { url, headers, format } => {
                let (text, host, _) = body(http.get(url).headers(headers.clone())).await?;
                let failed = |reason: String| {
                    GoogleError::TokenFetchFailed(format!("the response of {host}: {reason}"))
                };
                format.token(&text).map_err(failed)
            }
        }
    }
}

impl Format {
    fn read(source: Fields<'_>) -> Result<Self, String> {
        let Some(format) = source.object("format", "credential_source.format.")? else {
            return Ok(Self::Text);
        };
        match format.find("type")? {
            None | Some("text") => Ok(Self::Text),
            Some("json") => Ok(Self::Json(format.text("subject_token_field_name")?.to_owned())),
            Some(other) => {
                Err(format!("`credential_source.format.type` is `{other}`; it must be `text` or `json`"))
            }
        }
    }

    /// Finds the identity in what was read. Errors do not quote it.
    fn token(&self, text: &[u8]) -> Result<String, String> {
        let token = match self {
            Self::Text => std::str::from_utf8(text).map_err(|_| "it is not text")?.trim().to_owned(),
            Self::Json(field) => {
                let json: Value = serde_json::from_slice(text).map_err(|_| "it is not JSON")?;
                let token = json.get(field).and_then(Value::as_str);
                token.ok_or_else(|| format!("it has no text in the field `{field}`"))?.to_owned()
            }
        };
        if token.is_empty() { Err("it is empty".to_owned()) } else { Ok(token) }
    }
}
