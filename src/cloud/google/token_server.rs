//! What all servers of tokens have in common: how their answers are read, and over what they may be reached.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::error::{GoogleError, unreached};
use super::{is_https, whole};
use crate::cloud::failure::unreached::Directory;
use crate::domain::foreign::ForeignText;

/// How long a token lasts if its server does not say.
const UNSAID: Duration = Duration::from_mins(10);
/// The longest lifetime that is believed, which is also the longest that Google grants (Service Account Credentials
/// API, generateAccessToken).
const LONGEST: Duration = Duration::from_hours(12);

/// An access token, and how long it is valid from when it was requested.
pub(super) struct Grant {
    pub(super) token: String,
    pub(super) lasts: Duration,
}

/// A successful answer.
pub(super) struct Answered<T> {
    pub(super) content: T,
    /// When the server answered, by its own clock.
    pub(super) at: Option<Timestamp>,
}

/// The answer of OAuth token servers, Google's token exchange, and the metadata server (RFC 6749, section 5.1).
#[derive(Deserialize)]
struct TokenAnswer {
    access_token: String,
    expires_in: Option<u64>,
}

/// Sends a request for a token.
pub(super) async fn grant(request: reqwest::RequestBuilder) -> Result<Grant, GoogleError> {
    let TokenAnswer { access_token, expires_in } = answer(request).await?.content;
    Ok(Grant { token: access_token, lasts: lasting(expires_in.map(Duration::from_secs)) })
}

/// Bounds the lifetime of a token.
pub(super) fn lasting(said: Option<Duration>) -> Duration {
    said.unwrap_or(UNSAID).min(LONGEST)
}

/// Sends a request and reads the JSON of its answer.
pub(super) async fn answer<T: DeserializeOwned>(
    request: reqwest::RequestBuilder,
) -> Result<Answered<T>, GoogleError> {
    let (body, host, at) = body(request).await?;
    // The body is not quoted, because it may contain a token.
    let content = serde_json::from_slice(&body).map_err(|error| {
        GoogleError::TokenFetchFailed(format!(
            "the response of {host} is not that of a token server (line {}, column {})",
            error.line(),
            error.column()
        ))
    })?;
    Ok(Answered { content, at })
}

/// Sends a request. Returns the body of its answer, the host, and when that answered.
pub(super) async fn body(
    request: reqwest::RequestBuilder,
) -> Result<(Vec<u8>, String, Option<Timestamp>), GoogleError> {
    // The credentials name these hosts, and no key does.
    let directory = Directory::new([], true);
    let response = request.send().await;
    let response = response.map_err(|error| GoogleError::TokenFetchFailed(unreached(&directory, &error)))?;
    let status = response.status();
    let host = response.url().host_str().unwrap_or_default().to_owned();
    let at = response.headers().get(reqwest::header::DATE);
    let at = at.and_then(|date| DateTimeParser::new().parse_timestamp(date.as_bytes()).ok());
    let body = whole("the token server", response, &directory).await?;
    if status.is_success() {
        return Ok((body, host, at));
    }
    let text = format!("HTTP {} from {host}: {}", status.as_u16(), ForeignText::of_body(&body));
    Err(if status.is_client_error() && status.as_u16() != 429 {
        GoogleError::TokenDenied(text)
    } else {
        GoogleError::TokenFetchFailed(text)
    })
}

/// Returns the present time for a request that its receiver compares with its own clock.
#[expect(clippy::disallowed_methods, reason = "it goes into signatures and decides nothing here")]
pub(super) fn now() -> SystemTime {
    SystemTime::now()
}

/// Checks the URL of a token server: our identity and its tokens go there, so it must be https, except on this
/// machine. The metadata server, whose address is fixed and plain http, does not come here.
pub(super) fn check_token_url(url: &str) -> Result<(), String> {
    check(url, "token server", IpAddr::is_loopback)
}

/// Checks the URL from which our own identity is read. As [`check_token_url`], but a cloud serves such identities
/// also under link-local addresses, such as 169.254.169.254.
pub(super) fn check_identity_url(url: &str) -> Result<(), String> {
    check(url, "`credential_source.url`", |address| match address {
        IpAddr::V4(address) => address.is_loopback() || address.is_link_local(),
        IpAddr::V6(address) => address.is_loopback() || address.is_unicast_link_local(),
    })
}

fn check(url: &str, what: &str, is_near: impl Fn(&IpAddr) -> bool) -> Result<(), String> {
    let parsed = reqwest::Url::parse(url).map_err(|_| format!("its {what} is not a URL"))?;
    let host = parsed.host_str().unwrap_or_default();
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    let is_http = parsed.scheme() == "http";
    if is_https(url) || (is_http && (host == "localhost" || address.is_ok_and(|address| is_near(&address)))) {
        return Ok(());
    }
    Err(format!("its {what} on {host} is not reached over https, so a token would be sent in the clear"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_exchanged_over_https_only_except_on_this_machine() {
        for url in
            ["https://sts.googleapis.com/v1/token", "HTTPS://sts", "http://127.0.0.1:1/x", "http://[::1]:1/x"]
        {
            assert_eq!(check_token_url(url), Ok(()), "{url}");
        }
        for url in [
            "http://sts.googleapis.com/v1/token",
            "http://127.0.0.1.example/",
            "http://169.254.169.254/",
            "ftp://localhost/",
            "sts",
        ] {
            assert!(check_token_url(url).is_err(), "{url}");
        }
    }

    #[test]
    fn an_identity_may_also_come_from_a_link_local_address() {
        assert_eq!(check_identity_url("http://169.254.169.254/metadata/identity"), Ok(()));
        assert!(check_identity_url("http://10.0.0.1/").is_err());
    }

    #[test]
    fn a_lifetime_is_bounded_on_both_sides() {
        assert_eq!(lasting(None), UNSAID);
        assert_eq!(lasting(Some(Duration::from_secs(u64::MAX))), LONGEST);
        assert_eq!(lasting(Some(Duration::from_secs(900))), Duration::from_secs(900));
    }
}
