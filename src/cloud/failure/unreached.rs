//! Why a server could not be reached: which host, what stood in the way, and where to look.
//!
//! The HTTP clients say "client error (Connect)" or "dispatch failure" and leave out the host. Their error types are
//! private, so what happened is read from the kinds of I/O errors and, where there are none, from their texts.

use std::error::Error;
use std::fmt;
use std::io;

use super::{causes, sources};
use crate::keys::secret::masked_urls;

/// What stood in the way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Obstacle {
    /// DNS has no such name, or does not answer.
    Name,
    /// Somebody is there and refuses the connection.
    Refused,
    /// There is no route.
    Route,
    /// Nobody answered to a connection in time.
    Silent,
    /// The connection is there, but no answer came in time.
    Unanswered,
    /// TLS could not be agreed on.
    Tls,
    /// The proxy would not connect us.
    Proxy,
    /// The connection ended before the answer.
    Cut,
}

impl Obstacle {
    /// Reads the errors of an HTTP client.
    #[must_use]
    pub fn of(error: &(dyn Error + 'static)) -> Self {
        for error in sources(error) {
            // The error types behind these texts are private to the HTTP clients, `hyper-util` and `rustls`.
            let text = error.to_string();
            if text.starts_with("dns error") {
                return Self::Name;
            }
            if text.contains("tunnel") || text.contains("proxy authorization required") {
                return Self::Proxy;
            }
            if text.starts_with("HTTP read timeout") {
                return Self::Unanswered;
            }
            if text.starts_with("HTTP connect timeout") {
                return Self::Silent;
            }
            if ["peer certificate", "fatal alert", "tls handshake", "corrupt message"]
                .iter()
                .any(|part| text.contains(part))
            {
                return Self::Tls;
            }
            if let Some(error) = error.downcast_ref::<io::Error>()
                && let Some(obstacle) = of_io(error.kind())
            {
                return obstacle;
            }
        }
        Self::Cut
    }

    /// What happened, to follow the name of the host.
    const fn what(self) -> &'static str {
        match self {
            Self::Name => "DNS does not resolve the name",
            Self::Refused => "the connection was refused",
            Self::Route => "there is no route to it",
            Self::Silent => "nobody answers there",
            Self::Unanswered => "connected, but no answer came in time",
            Self::Tls => "TLS failed",
            Self::Proxy => "the proxy does not connect us",
            Self::Cut => "the connection ended before the answer",
        }
    }
}

fn of_io(kind: io::ErrorKind) -> Option<Obstacle> {
    Some(match kind {
        io::ErrorKind::ConnectionRefused => Obstacle::Refused,
        io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::AddrNotAvailable => Obstacle::Route,
        io::ErrorKind::TimedOut => Obstacle::Silent,
        // An answer that is no TLS.
        io::ErrorKind::InvalidData => Obstacle::Tls,
        _ => return None,
    })
}

/// The keys of the configuration that name hosts, and whether calls leave through a proxy.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Directory {
    /// Host with its port, and the key: `127.0.0.1:4566` and `aws.endpoints.s3`.
    keys: Vec<(String, String)>,
    has_proxy: bool,
}

impl Directory {
    /// Of these endpoints, each a URL with its key.
    pub(in crate::cloud) fn new(
        endpoints: impl IntoIterator<Item = (String, String)>,
        has_proxy: bool,
    ) -> Self {
        let keys = endpoints.into_iter().filter_map(|(url, key)| Some((authority(&url)?, key)));
        Self { keys: keys.collect(), has_proxy }
    }

    /// The key that names a host; S3 puts the bucket in front of it.
    fn key(&self, host: &str) -> Option<&str> {
        let is_below =
            |of: &str| host.strip_suffix(of).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
        self.keys.iter().find(|(of, _)| is_below(of)).map(|(_, key)| key.as_str())
    }

    /// Where to look if this stood in the way to a host.
    pub(in crate::cloud) fn advice(&self, host: &str, obstacle: Obstacle) -> String {
        let proxy = if self.has_proxy { ", HTTPS_PROXY and NO_PROXY" } else { "" };
        if let Some(key) = self.key(host) {
            return format!("look at {key}{proxy}");
        }
        let is_aws = host.contains(".amazonaws.com");
        match obstacle {
            Obstacle::Name if is_aws => {
                format!(
                    "look at the region in the name (aws.region, or that of the tenant or stage), and at the DNS of this network{proxy}"
                )
            }
            Obstacle::Name => format!("look at the DNS of this network{proxy}"),
            Obstacle::Tls => format!(
                "look at what answers in its place; the authority of a proxy that opens TLS belongs into SSL_CERT_FILE{proxy}"
            ),
            Obstacle::Proxy => "look at HTTPS_PROXY and NO_PROXY, and at what the proxy allows".to_owned(),
            Obstacle::Refused | Obstacle::Route | Obstacle::Silent | Obstacle::Unanswered | Obstacle::Cut => {
                let private = if is_aws { ", or the VPC endpoint" } else { "" };
                format!("look at the routes, security groups and NAT of this network{private}{proxy}")
            }
        }
    }
}

/// Host and port of a URL; `None` if it has no host.
pub(in crate::cloud) fn authority(url: &str) -> Option<String> {
    let url = reqwest::Url::parse(url).ok()?;
    let host = url.host_str()?;
    Some(url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")))
}

/// A server that could not be reached. Its text says all of it: `cannot reach HOST: WHAT (CAUSE); look at KEY`.
#[derive(Debug)]
pub struct Unreached {
    text: String,
    source: Box<dyn Error + Send + Sync>,
}

impl Unreached {
    /// Reads the error of an HTTP client.
    pub(in crate::cloud) fn new(
        host: &str,
        directory: &Directory,
        source: Box<dyn Error + Send + Sync>,
    ) -> Self {
        Self { text: describe(host, directory, source.as_ref()), source }
    }
}

/// Says which host could not be reached, why, and where to look.
pub(in crate::cloud) fn describe(host: &str, directory: &Directory, error: &(dyn Error + 'static)) -> String {
    describe_obstacle(host, directory, Obstacle::of(error), error)
}

/// The same of a client that says itself what stood in the way.
pub(in crate::cloud) fn describe_obstacle(
    host: &str,
    directory: &Directory,
    obstacle: Obstacle,
    error: &(dyn Error + 'static),
) -> String {
    let innermost = sources(error).last().map(ToString::to_string).unwrap_or_default();
    // What says no more than we do is left out.
    let cause = match obstacle {
        Obstacle::Cut => format!(" ({})", causes(error)),
        _ if innermost.is_empty() => String::new(),
        _ => format!(" ({})", masked_urls(&innermost)),
    };
    let what = obstacle.what();
    let advice = directory.advice(host, obstacle);
    match obstacle {
        Obstacle::Unanswered => format!("no answer from {host} in time{cause}; {advice}"),
        Obstacle::Cut => format!("{host}: {what}{cause}; {advice}"),
        _ => format!("cannot reach {host}: {what}{cause}; {advice}"),
    }
}

impl fmt::Display for Unreached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Error for Unreached {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(self.source.as_ref())
    }
}

/// The keys of the configuration that such a text names.
pub fn named_keys(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split([' ', ',', ';', '(', ')']);
    words.filter(|word| ["aws.", "gcp."].iter().any(|table| word.starts_with(table)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory() -> Directory {
        let endpoints =
            [("http://127.0.0.1:4566/x", "aws.endpoint"), ("https://vpce-1.s3.example", "aws.endpoints.s3")];
        Directory::new(endpoints.map(|(url, key)| (url.to_owned(), key.to_owned())), false)
    }

    fn text(host: &str, error: impl Error + Send + Sync + 'static) -> String {
        Unreached::new(host, &directory(), Box::new(error)).to_string()
    }

    #[test]
    fn a_configured_host_names_its_key() {
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        assert_eq!(
            text("127.0.0.1:4566", refused()),
            "cannot reach 127.0.0.1:4566: the connection was refused (connection refused); look at aws.endpoint"
        );
        let of_bucket = text("archive.vpce-1.s3.example", refused());
        assert!(of_bucket.ends_with("look at aws.endpoints.s3"), "{of_bucket}");
        assert_eq!(named_keys(&of_bucket).collect::<Vec<_>>(), ["aws.endpoints.s3"]);
        assert!(!text("other-vpce-1.s3.example", refused()).contains("aws.endpoints"));
    }

    #[test]
    fn a_host_of_aws_that_dns_does_not_know_leads_to_the_region() {
        let unknown = io::Error::other("dns error: failed to lookup address information");
        let text = text("kinesis.eu-central-9.amazonaws.com", unknown);
        assert!(text.contains("DNS does not resolve the name (dns error"), "{text}");
        assert_eq!(named_keys(&text).collect::<Vec<_>>(), ["aws.region"]);
    }

    #[test]
    fn what_stood_in_the_way_is_told_apart() {
        let of = |text: &str| Obstacle::of(&io::Error::other(text.to_owned()));
        assert_eq!(of("dns error"), Obstacle::Name);
        assert_eq!(of("HTTP connect timeout occurred after 3s"), Obstacle::Silent);
        assert_eq!(of("HTTP read timeout occurred after 10s"), Obstacle::Unanswered);
        assert_eq!(of("invalid peer certificate: UnknownIssuer"), Obstacle::Tls);
        assert_eq!(of("tunnel error: unsuccessful"), Obstacle::Proxy);
        assert_eq!(of("connection closed before message completed"), Obstacle::Cut);
        for (kind, expected) in [
            (io::ErrorKind::NetworkUnreachable, Obstacle::Route),
            (io::ErrorKind::TimedOut, Obstacle::Silent),
            (io::ErrorKind::ConnectionReset, Obstacle::Cut),
        ] {
            assert_eq!(Obstacle::of(&io::Error::from(kind)), expected, "{kind}");
        }
    }

    #[test]
    fn behind_a_proxy_its_variables_are_named() {
        let directory = Directory::new([], true);
        let advice = directory.advice("sts.amazonaws.com", Obstacle::Refused);
        assert!(advice.contains("HTTPS_PROXY and NO_PROXY"), "{advice}");
    }
}
