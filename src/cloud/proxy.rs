//! The proxy through which calls leave.
//!
//! One value serves all clients: AWS, Google's services and the servers of Google's tokens. Only calls over https
//! go through it. Plain http is spoken to what is near: emulators, and the metadata and credentials that a cloud
//! serves on the machine itself, which a proxy could not reach.

use std::collections::BTreeMap;

use aws_smithy_http_client::proxy::ProxyConfig;

use crate::keys::secret::Secret;

/// The variables that name the proxy of https, as curl reads them: the first that is set counts.
const PROXY: [&str; 4] = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
/// The variables that list hosts which are reached directly.
const BYPASS: [&str; 2] = ["NO_PROXY", "no_proxy"];
/// Whatever the variables say: this machine, and the addresses of metadata and container credentials of EC2, ECS, EKS
/// and Google Cloud.
const ALWAYS_DIRECT: &str = "localhost,127.0.0.0/8,::1,169.254.0.0/16,fd00:ec2::/32,metadata.google.internal";
/// The variables with the addresses of container credentials, which may be https anywhere (SDK reference guide,
/// container credential provider).
const CREDENTIALS: &str = "AWS_CONTAINER_CREDENTIALS_FULL_URI";

/// How calls over https leave: directly, or through a proxy. The default is directly.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Proxy {
    /// The URL, which may have a password; `None` for a direct connection.
    url: Option<Secret>,
    /// Hosts, domains and networks that are reached directly.
    bypass: String,
}

/// A variable names a proxy that cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{message}")]
pub struct UnusableProxy {
    /// The name of the variable.
    pub variable: &'static str,
    /// What is wrong with its value, and what would be right.
    pub message: String,
}

impl Proxy {
    /// Reads `HTTPS_PROXY` and `NO_PROXY`, in upper or lower case.
    ///
    /// # Errors
    ///
    /// [`UnusableProxy`] if the value is not the URL of an HTTP proxy.
    pub fn from_variables(variables: &BTreeMap<String, String>) -> Result<Self, UnusableProxy> {
        let first = |names: &[&'static str]| {
            let set =
                names.iter().map(|name| (*name, variables.get(*name).map_or("", String::as_str).trim()));
            set.into_iter().find(|(_, value)| !value.is_empty())
        };
        let Some((variable, value)) = first(&PROXY) else { return Ok(Self::default()) };
        let url = if value.contains("://") { value.to_owned() } else { format!("http://{value}") };
        let parsed = reqwest::Url::parse(&url).ok().filter(|url| url.host_str().is_some());
        if !parsed.is_some_and(|url| matches!(url.scheme(), "http" | "https")) {
            let value = value.rsplit_once('@').map_or(value.to_owned(), |(_, host)| format!("…@{host}"));
            let message = format!(
                "\"{value}\" is not the URL of an HTTP proxy; write for example \"http://proxy.example.org:3128\""
            );
            return Err(UnusableProxy { variable, message });
        }
        let credentials = variables.get(CREDENTIALS).and_then(|url| reqwest::Url::parse(url).ok());
        let credentials = credentials.as_ref().and_then(reqwest::Url::host_str).map(str::to_owned);
        let bypass =
            [Some(ALWAYS_DIRECT.to_owned()), credentials, first(&BYPASS).map(|(_, list)| list.to_owned())];
        let bypass: Vec<_> = bypass.into_iter().flatten().collect();
        Ok(Self { url: Some(Secret::new(url)), bypass: bypass.join(",") })
    }

    /// Whether calls over https leave through one.
    pub(super) const fn is_set(&self) -> bool {
        self.url.is_some()
    }

    /// The configuration of AWS clients.
    pub(super) fn of_aws(&self) -> ProxyConfig {
        let url = self.url.as_ref().map(|url| ProxyConfig::https(url.expose()));
        match url {
            // The URL was checked when it was read.
            Some(Ok(config)) => config.no_proxy(&self.bypass),
            Some(Err(_)) | None => ProxyConfig::disabled(),
        }
    }

    /// Adds it to a client that is being built, in place of what `reqwest` would read from the environment.
    pub(crate) fn of_client(
        &self,
        client: reqwest::ClientBuilder,
    ) -> reqwest::Result<reqwest::ClientBuilder> {
        let client = client.no_proxy();
        let Some(url) = &self.url else { return Ok(client) };
        let bypass = reqwest::NoProxy::from_string(&self.bypass);
        Ok(client.proxy(reqwest::Proxy::https(url.expose())?.no_proxy(bypass)))
    }

    /// Decides for each destination.
    #[cfg(test)]
    fn matcher(&self) -> hyper_util::client::proxy::matcher::Matcher {
        let builder = hyper_util::client::proxy::matcher::Matcher::builder().no(self.bypass.clone());
        match &self.url {
            Some(url) => builder.https(url.expose().to_owned()).build(),
            None => builder.build(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy(variables: &[(&str, &str)]) -> Result<Proxy, UnusableProxy> {
        let owned = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Proxy::from_variables(&owned.collect())
    }

    fn through(variables: &[(&str, &str)], destination: &'static str) -> Option<String> {
        let intercepted = proxy(variables).unwrap().matcher().intercept(&destination.parse().unwrap());
        intercepted.map(|intercepted| intercepted.uri().to_string())
    }

    #[test]
    fn https_goes_through_the_proxy_and_http_does_not() {
        let variables = [("HTTPS_PROXY", "http://proxy:3128"), ("HTTP_PROXY", "http://other:3128")];
        let used = through(&variables, "https://kinesis.eu-central-1.amazonaws.com/");
        assert_eq!(used.as_deref(), Some("http://proxy:3128/"));
        assert_eq!(through(&variables, "http://kinesis.example/"), None);
        assert_eq!(through(&[], "https://kinesis.eu-central-1.amazonaws.com/"), None);
    }

    #[test]
    fn upper_case_counts_before_lower_case_and_all_proxy_last() {
        let variables = [("ALL_PROXY", "http://all:1"), ("https_proxy", "lower:2"), ("HTTPS_PROXY", "")];
        assert_eq!(through(&variables, "https://x.example/").as_deref(), Some("http://lower:2/"));
        assert_eq!(through(&variables[..1], "https://x.example/").as_deref(), Some("http://all:1/"));
    }

    #[test]
    fn no_proxy_names_domains_hosts_and_networks() {
        let variables = [("HTTPS_PROXY", "http://proxy:3128"), ("no_proxy", "amazonaws.com, 10.0.0.0/8")];
        assert_eq!(through(&variables, "https://logs.eu-central-1.amazonaws.com/"), None);
        assert_eq!(through(&variables, "https://10.1.2.3/"), None);
        assert!(through(&variables, "https://bigquery.googleapis.com/").is_some());
    }

    #[test]
    fn metadata_container_credentials_and_this_machine_are_reached_directly() {
        let variables = [
            ("HTTPS_PROXY", "http://proxy:3128"),
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "https://credentials.example:8443/v1"),
        ];
        for destination in [
            "https://169.254.169.254/latest/",
            "https://169.254.170.2/v2/credentials",
            "https://169.254.170.23/v1/credentials",
            "https://[fd00:ec2::23]/v1/credentials",
            "https://metadata.google.internal/",
            "https://credentials.example:8443/v1",
            "https://localhost:4566/",
            "https://127.0.0.1:4566/",
        ] {
            assert_eq!(through(&variables, destination), None, "{destination}");
        }
    }

    #[test]
    fn a_proxy_that_cannot_be_used_is_named_without_its_password() {
        let unusable = proxy(&[("https_proxy", "socks5://me:hush@proxy:1080")]).unwrap_err();
        assert_eq!(unusable.variable, "https_proxy");
        assert!(unusable.message.contains("is not the URL of an HTTP proxy"), "{unusable}");
        assert!(!unusable.message.contains("hush"), "{unusable}");
        let usable = proxy(&[("https_proxy", "http://me:hush@proxy:1080")]).unwrap();
        assert!(!format!("{usable:?}").contains("hush"));
    }
}
