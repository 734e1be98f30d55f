//! Tokens for the key of a service account.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::SignatureScheme;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::sign::SigningKey;
use serde_json::json;

use super::error::GoogleError;
use super::fields::Fields;
use super::token_server::{Grant, check_token_url, grant, now};

/// How long a signed statement is valid, at most an hour (OAuth 2.0 for server to server applications).
const VALID: Duration = Duration::from_hours(1);

/// A key file of type `service_account`.
pub(super) struct ServiceAccount {
    email: String,
    key_id: Option<String>,
    key: Arc<dyn SigningKey>,
    issue: Issue,
}

/// Who issues the token.
enum Issue {
    /// A token server, for a statement that we signed.
    Exchange { token_url: String },
    /// We ourselves: in other universes than googleapis.com, a signed statement is the token (AIP-4111).
    SelfSigned,
}

impl ServiceAccount {
    pub(super) fn read(fields: Fields<'_>, universe_is_default: bool) -> Result<Self, String> {
        let key = PrivateKeyDer::from_pem_slice(fields.text("private_key")?.as_bytes())
            .ok()
            .and_then(|key| rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).ok())
            .filter(|key| key.choose_scheme(&[SignatureScheme::RSA_PKCS1_SHA256]).is_some())
            .ok_or("`private_key` is not an RSA key in PEM form")?;
        let issue = if universe_is_default {
            let token_url = fields.text("token_uri")?.to_owned();
            check_token_url(&token_url)?;
            Issue::Exchange { token_url }
        } else {
            Issue::SelfSigned
        };
        Ok(Self {
            email: fields.text("client_email")?.to_owned(),
            key_id: fields.find("private_key_id")?.map(str::to_owned),
            key,
            issue,
        })
    }

    pub(super) async fn fetch(&self, http: &reqwest::Client, scopes: &[&str]) -> Result<Grant, GoogleError> {
        match &self.issue {
            Issue::Exchange { token_url } => {
                let assertion = self.statement(scopes, Some(token_url))?;
                let form = [
                    ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
                    ("assertion", assertion.as_str()),
                ];
                grant(http.post(token_url).form(&form)).await
            }
            Issue::SelfSigned => Ok(Grant { token: self.statement(scopes, None)?, lasts: VALID }),
        }
    }

    /// Returns a signed JSON web token (RFC 7519) that says who we are and what for.
    fn statement(&self, scopes: &[&str], audience: Option<&str>) -> Result<String, GoogleError> {
        let unsigned = || GoogleError::TokenFetchFailed("the private key cannot sign".to_owned());
        let issued = now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut header = json!({"alg": "RS256", "typ": "JWT"});
        if let Some(id) = &self.key_id {
            header["kid"] = id.as_str().into();
        }
        let mut claims = json!({
            "iss": self.email, "sub": self.email, "scope": scopes.join(" "),
            "iat": issued, "exp": issued + VALID.as_secs(),
        });
        if let Some(audience) = audience {
            claims["aud"] = audience.into();
        }
        let encoded = |part: &serde_json::Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let signed = format!("{}.{}", encoded(&header), encoded(&claims));
        let signer = self.key.choose_scheme(&[SignatureScheme::RSA_PKCS1_SHA256]).ok_or_else(unsigned)?;
        let signature = signer.sign(signed.as_bytes()).map_err(|_| unsigned())?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}
