//! The variables that Kubernetes sets in every container of a namespace for each of its Services.

use std::net::IpAddr;

const PROTOCOLS: [&str; 3] = ["tcp", "udp", "sctp"];

/// Whether Kubernetes set a variable for a Service that is named `traceprobe`, or with that and more, such as
/// `traceprobe-metrics`. `rest` is what follows `TRACEPROBE` in its name.
///
/// The value must be what Kubernetes writes as well (Kubernetes docs, Service, environment variables): a name alone
/// could be a key that is misspelt.
pub(super) fn is_of_a_service(rest: &str, value: &str) -> bool {
    if rest.ends_with("_SERVICE_HOST") {
        return is_address(value);
    }
    // `_SERVICE_PORT`, and `_SERVICE_PORT_<NAME>` for a port that has a name.
    let is_of_service_port = rest.match_indices("_SERVICE_PORT").any(|(at, mark)| {
        let name = &rest[at + mark.len()..];
        (name.is_empty() || name.starts_with('_')) && is_port(value)
    });
    let mut ports = rest.match_indices("_PORT");
    is_of_service_port || ports.any(|(at, mark)| is_of_a_port(&rest[at + mark.len()..], value))
}

/// `""`, `_9464_TCP`, `_9464_TCP_PROTO`, `_9464_TCP_PORT` or `_9464_TCP_ADDR`, each with its value.
fn is_of_a_port(rest: &str, value: &str) -> bool {
    if rest.is_empty() {
        return is_url(value);
    }
    let parts: Vec<_> = rest.split('_').collect();
    let ["", port, protocol, what @ ..] = parts.as_slice() else { return false };
    let is_protocol = |text: &str| PROTOCOLS.contains(&text);
    is_port(port)
        && is_protocol(&protocol.to_ascii_lowercase())
        && match what {
            [] => is_url(value),
            ["ADDR"] => is_address(value),
            ["PORT"] => is_port(value),
            ["PROTO"] => is_protocol(value),
            _ => false,
        }
}

fn is_address(value: &str) -> bool {
    value.parse::<IpAddr>().is_ok()
}

fn is_port(value: &str) -> bool {
    value.parse::<u16>().is_ok()
}

fn is_url(value: &str) -> bool {
    value.split_once("://").is_some_and(|(protocol, _)| PROTOCOLS.contains(&protocol))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_kubernetes_sets_for_a_service_is_known() {
        // As they are in a container beside the Services `traceprobe`, `traceprobe-metrics` and `traceprobe-v6`.
        for variable in [
            "_SERVICE_HOST=10.0.0.1",
            "_SERVICE_PORT=9464",
            "_SERVICE_PORT_METRICS=9464",
            "_PORT=tcp://10.0.0.1:9464",
            "_PORT_9464_TCP=tcp://10.0.0.1:9464",
            "_PORT_9464_TCP_PROTO=tcp",
            "_PORT_9464_TCP_PORT=9464",
            "_PORT_9464_TCP_ADDR=10.0.0.1",
            "_METRICS_SERVICE_HOST=10.0.0.2",
            "_METRICS_SERVICE_PORT=53",
            "_METRICS_SERVICE_PORT_HTTP_METRICS=53",
            "_METRICS_PORT=udp://10.0.0.2:53",
            "_METRICS_PORT_53_UDP=udp://10.0.0.2:53",
            "_METRICS_PORT_53_UDP_PROTO=udp",
            "_METRICS_PORT_53_UDP_PORT=53",
            "_METRICS_PORT_53_UDP_ADDR=10.0.0.2",
            "_V6_SERVICE_HOST=fd00::1",
            "_V6_PORT=tcp://[fd00::1]:80",
        ] {
            let (rest, value) = variable.split_once('=').unwrap();
            assert!(is_of_a_service(rest, value), "{variable}");
        }
    }

    #[test]
    fn a_misspelt_key_is_not_taken_for_a_service() {
        for variable in [
            "_PROBE_LISTN=127.0.0.1:9464",
            "_PROBE_PORT=9464",
            "_STAGE_PORT_TARGT=5s",
            "_STAGE_SERVICE_PORT_TARGT=5s",
            "_PORTAL=tcp://10.0.0.1:9464",
            "_PORT_9464_HTTP=http://10.0.0.1",
            "_SERVICE_HOST=example.org",
        ] {
            let (rest, value) = variable.split_once('=').unwrap();
            assert!(!is_of_a_service(rest, value), "{variable}");
        }
    }
}
