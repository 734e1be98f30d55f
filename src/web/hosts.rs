//! The hosts under which the pages may be requested, and the sites that may change something.
//!
//! A web site can point its own name to the address of this port (DNS rebinding). The browser of somebody
//! inside the network then takes our pages for pages of that site, whose scripts may read them. The name is
//! what gives such a request away. A web site can also have a browser send us a request under our own name, and
//! cannot read the answer; so such a request may ask, but must not change anything.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};

use crate::metrics::{Connections, Refused};

/// These say only whether the engine runs, and health checks use whatever name the platform gives the container.
const FOR_ANY_HOST: [&str; 2] = ["/healthz", "/-/healthy"];

/// Refuses requests for other hosts than these, in lower case; any host may be requested if there are none.
pub fn only_for_hosts(router: Router, hosts: &[String], counters: &Connections) -> Router {
    if hosts.is_empty() {
        return router;
    }
    let (hosts, counters): (Arc<[String]>, _) = (hosts.into(), counters.clone());
    router.layer(from_fn(move |request: Request, next: Next| {
        let (hosts, counters) = (hosts.clone(), counters.clone());
        async move {
            let requested = requested(request.uri(), request.headers());
            let allowed = requested.is_none_or(|host| is_allowed(host, &hosts));
            if allowed || FOR_ANY_HOST.contains(&request.uri().path()) {
                return next.run(request).await;
            }
            counters.refused(Refused::Host);
            refusal()
        }
    }))
}

/// The host that a request names, with its port; `None` in HTTP/1.0, which no browser speaks any more.
fn requested<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    let named = headers.get(header::HOST).map(|host| host.to_str().unwrap_or_default());
    // HTTP/2 names it in the URI.
    uri.authority().map(|authority| authority.as_str()).or(named)
}

fn is_allowed(host: &str, hosts: &[String]) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _port)| name),
    };
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    // No web site can have one of these as its name.
    name.parse::<IpAddr>().is_ok() || name == "localhost" || hosts.contains(&name)
}

/// Middleware: refuses requests that may change something and that a page of another site sent. Programs that are no
/// browsers name no site.
pub(super) async fn refuse_other_sites(request: Request, next: Next) -> Response {
    if request.method().is_safe() || is_of_no_other_site(request.uri(), request.headers()) {
        return next.run(request).await;
    }
    let text =
        "a page of another site sent this request; send it from a page of the probe, or without a browser\n";
    (StatusCode::FORBIDDEN, text).into_response()
}

fn is_of_no_other_site(uri: &Uri, headers: &HeaderMap) -> bool {
    // Browsers send it over TLS and to this machine, and it holds behind a proxy that changes the host.
    if let Some(site) = headers.get("sec-fetch-site") {
        return site == "same-origin" || site == "none";
    }
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    let host = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, host)| host);
    host.zip(requested(uri, headers)).is_some_and(|(site, own)| site.eq_ignore_ascii_case(own))
}

fn refusal() -> Response {
    let text = "this name is not one of web.hosts; add it there, or use the address\n";
    (StatusCode::MISDIRECTED_REQUEST, text).into_response()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderName;

    use super::*;

    fn allows(host: &str) -> bool {
        is_allowed(host, &["probe.example.org".to_owned()])
    }

    #[test]
    fn a_listed_name_is_allowed_however_it_is_spelt() {
        for host in ["probe.example.org", "Probe.Example.org:9464", "probe.example.org.:80"] {
            assert!(allows(host), "{host}");
        }
    }

    #[test]
    fn addresses_and_this_machine_are_allowed() {
        for host in ["127.0.0.1:9464", "10.0.0.7", "[::1]:9464", "[fd00::1]", "localhost:9464"] {
            assert!(allows(host), "{host}");
        }
    }

    #[test]
    fn a_page_of_another_site_may_not_change_anything() {
        let allows = |named: &[(&'static str, &str)]| {
            let named = [("host", "probe.example.org:9464")].iter().chain(named);
            let headers = named.map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()));
            is_of_no_other_site(&Uri::from_static("/-/reload"), &headers.collect())
        };
        assert!(allows(&[]));
        assert!(allows(&[("origin", "http://probe.example.org:9464")]));
        assert!(allows(&[
            ("sec-fetch-site", "same-origin"),
            ("origin", "https://behind-a-proxy.example.org")
        ]));
        assert!(allows(&[("sec-fetch-site", "none")]));
        for origin in ["http://evil.example", "http://probe.example.org", "null", ""] {
            assert!(!allows(&[("origin", origin)]), "{origin}");
        }
        for site in ["cross-site", "same-site"] {
            assert!(!allows(&[("sec-fetch-site", site)]), "{site}");
        }
    }

    #[test]
    fn any_other_name_is_refused() {
        for host in
            ["evil.example", "probe.example.org.evil.example:9464", "127.0.0.1.evil.example", "", ":80"]
        {
            assert!(!allows(host), "{host}");
        }
    }
}
