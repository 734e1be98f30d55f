//! Who answered a call, and whether that can have been the service.
//!
//! An address that is wrong in its path, or is that of something else, answers with a status and a page of its own. Taken
//! for the service's word, a 404 would be a missing table. Services name an error code with every refusal.

use crate::domain::foreign::ForeignText;
use crate::keys::secret::masked_urls;

/// What a text about an answer that is not the service's says of it.
const UNLIKE: &str = "does not answer like";

/// An address of a service that is configured.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Endpoint {
    /// The key that has it: `aws.endpoints.kinesis`.
    pub key: String,
    /// Without what may be secret in it.
    url: String,
}

impl Endpoint {
    /// Keeps nothing of the address that may be secret.
    #[must_use]
    pub fn new(key: impl Into<String>, url: &str) -> Self {
        Self { key: key.into(), url: masked_urls(url).into_owned() }
    }
}

/// Who should have answered a call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answerer {
    /// Name of the service in error messages.
    pub title: &'static str,
    /// The host that was called, if it is known.
    pub host: Option<String>,
    /// The usual address of the service, for which the endpoint stands.
    pub usual: String,
    /// `None` at the usual address.
    pub endpoint: Option<Endpoint>,
}

impl Answerer {
    /// Says that an answer is not the service's, with the key and the value that lead there, and what would be right.
    #[must_use]
    pub fn unlike(&self, seen: &ForeignText) -> ForeignText {
        let Self { title, host, usual, endpoint } = self;
        seen.after(&match endpoint {
            Some(Endpoint { key, url }) => {
                format!("{key} is \"{url}\", which {UNLIKE} {title}; it has to stand for {usual}")
            }
            None => {
                let host = host.as_deref().unwrap_or("what was called");
                format!("{host} {UNLIKE} {title}; look at the DNS and the proxies of this network")
            }
        })
    }
}

/// Whether a status without an error code of the service says that something else has answered: there is no such path or
/// method, the request makes no sense, or the place is another one. Gateways in front of a service say that it is busy,
/// broken or forbidden.
pub(super) const fn is_of_another(status: u16) -> bool {
    matches!(status, 300..=399 | 400 | 404 | 405 | 410 | 501)
}

/// Whether the text of a failure says that something else than the service has answered.
#[must_use]
pub fn is_of_another_service(text: &str) -> bool {
    text.contains(UNLIKE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(endpoint: Option<Endpoint>) -> String {
        let host = Some("127.0.0.1".to_owned());
        let usual = "https://bigquery.googleapis.com/bigquery/v2".to_owned();
        Answerer { title: "BigQuery", host, usual, endpoint }.unlike(&"HTTP 404: no".into()).to_string()
    }

    #[test]
    fn what_is_not_the_service_is_told_with_key_and_value_and_what_is_right() {
        assert_eq!(
            said(Some(Endpoint::new("gcp.endpoint", "http://me:hush@127.0.0.1:9050/bigqury/v2"))),
            "gcp.endpoint is \"http://…@127.0.0.1:9050/bigqury/v2\", which does not answer like BigQuery; it has to stand for \
             https://bigquery.googleapis.com/bigquery/v2: HTTP 404: no"
        );
    }

    #[test]
    fn at_the_usual_address_the_network_is_told() {
        let said = said(None);
        assert!(said.starts_with("127.0.0.1 does not answer like BigQuery; look at the DNS and"), "{said}");
        assert!(is_of_another_service(&said));
    }
}
