//! Tokens for a person who has logged in with gcloud.

use super::error::GoogleError;
use super::fields::Fields;
use super::token_server::{Grant, check_token_url, grant};

/// Google's token server (OAuth 2.0 for Google APIs).
const GOOGLE: &str = "https://oauth2.googleapis.com/token";

/// A login: of type `authorized_user`, or `external_account_authorized_user` if the person belongs to a workforce pool.
pub(super) struct RefreshToken {
    token_url: String,
    client_id: String,
    client_secret: String,
    refresh_token: String,
    client: Client,
}

/// How the client proves who it is (RFC 6749, section 2.3.1).
#[derive(Clone, Copy)]
enum Client {
    InForm,
    InHeader,
}

impl RefreshToken {
    /// Reads a file of type `authorized_user`.
    pub(super) fn of_user(fields: Fields<'_>) -> Result<Self, String> {
        Self::read(fields, fields.find("token_uri")?.unwrap_or(GOOGLE), Client::InForm)
    }

    /// Reads a file of type `external_account_authorized_user`.
    pub(super) fn of_workforce(fields: Fields<'_>) -> Result<Self, String> {
        Self::read(fields, fields.text("token_url")?, Client::InHeader)
    }

    fn read(fields: Fields<'_>, token_url: &str, client: Client) -> Result<Self, String> {
        check_token_url(token_url)?;
        Ok(Self {
            token_url: token_url.to_owned(),
            client_id: fields.text("client_id")?.to_owned(),
            client_secret: fields.text("client_secret")?.to_owned(),
            refresh_token: fields.text("refresh_token")?.to_owned(),
            client,
        })
    }

    pub(super) async fn fetch(&self, http: &reqwest::Client) -> Result<Grant, GoogleError> {
        let mut form = vec![("grant_type", "refresh_token"), ("refresh_token", &*self.refresh_token)];
        let request = http.post(&self.token_url);
        // No scopes: the token has those of the login.
        let request = match self.client {
            Client::InForm => {
                form.extend([("client_id", &*self.client_id), ("client_secret", &*self.client_secret)]);
                request
            }
            Client::InHeader => request.basic_auth(&self.client_id, Some(&self.client_secret)),
        };
        grant(request.form(&form)).await
    }
}
