//! Reads the tables that occur once: `[probe]`, `[web]`, `[log]`, `[canary]`, `[aws]`, `[gcp]`, `[store]`,
//! `[conditions]`.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::time::Duration;

use toml::{Table, Value};
use tracing_subscriber::EnvFilter;

use super::settings::{Canary, Conditions, Log, LogFormat, Probe, Store, Web};
use super::tenant::TenantRead;
use super::{endpoints, keys};
use crate::cloud::account;
use crate::cloud::aws::AwsSettings;
use crate::cloud::google::{Auth, BIGQUERY, Document, GoogleSettings, GoogleVariables};
use crate::cloud::proxy::Proxy;
use crate::domain::canary::{MAX_MESSAGE_BYTES, Template};
use crate::domain::conditions::{ConditionName, DEFAULT_LIMITS, Limit, Limits, Thresholds};
use crate::keys::fault::{Checked, Collector};
use crate::keys::key::Key;
use crate::keys::reader::{Context, Reader};
use crate::keys::secret::Secret;
use crate::keys::value::{self, Parsed, show_duration};

const DAY: Duration = Duration::from_secs(86_400);
const TICK: Duration = Duration::from_millis(1);
/// Most canaries in flight: at 0.8 KB each, 0.8 GB.
pub(super) const MAX_IN_FLIGHT: u32 = 1_000_000;
/// ECS waits at most 120 s between SIGTERM and SIGKILL (`stopTimeout`, ECS task definition reference). The
/// remaining 10 s are for writing state and the last scrape.
const MAX_STOP_GRACE: Duration = Duration::from_secs(110);
/// A histogram that ends close to the SLO cannot show how far a stall exceeds it.
const BUCKETS_BEYOND_SLO: u32 = 10;

/// The table `[probe]` and its values that other tables are checked against, as far as they could be read.
pub(super) struct ProbeRead {
    pub(super) probe: Checked<Probe>,
    pub(super) instance: String,
    pub(super) interval: Checked<Duration>,
    pub(super) give_up: Checked<Duration>,
    pub(super) blind_after: Checked<Duration>,
    pub(super) buckets: Checked<Vec<Duration>>,
}

/// Returns a reader of a section after its unknown keys were reported.
pub(super) fn section<'c, 'a>(
    context: &'c mut Context,
    root: &'a Table,
    name: &'static str,
    order: usize,
    known: &'static [Key],
    tables: &[&str],
) -> Reader<'c, 'a> {
    let table = context.table(Some(root), name, name);
    let layer = context.section(&[name], order, table);
    context.survey(&layer, &known.iter().collect::<Vec<_>>(), tables);
    Reader::new(context, vec![layer], known)
}

fn positive(value: &Value) -> Parsed<Duration> {
    value::duration_within(TICK, DAY, "")(value)
}

pub(super) fn probe(context: &mut Context, root: &Table, host: &str) -> ProbeRead {
    let mut read = section(context, root, "probe", 0, &keys::PROBE, &[]);
    let listen = read.get("listen", value::socket);
    let instance = read.get_or("instance", Some(host), instance_name);
    let interval = read.get("interval", positive);
    let why = format!(
        ", because the bounds of probe.buckets must reach {BUCKETS_BEYOND_SLO} times as far, and reach no further than {}",
        show_duration(DAY)
    );
    let slo = read.get("slo", value::duration_within(TICK, DAY / BUCKETS_BEYOND_SLO, &why));
    let critical = read.get("critical", positive);
    let give_up = read.get("give_up", positive);
    let grace = read.get("grace", value::duration_within(Duration::ZERO, DAY, ""));
    let blind_after = read.get("blind_after", positive);
    let copy_recheck = read.get("copy_recheck", value::duration_within(Duration::from_millis(1), DAY, ""));
    let warm_up = read.get("warm_up", value::duration_within(Duration::ZERO, DAY, ""));
    let stop_grace = read.get(
        "stop_grace",
        value::duration_within(
            Duration::ZERO,
            MAX_STOP_GRACE,
            ", because ECS kills a task no later than 2m after SIGTERM and the process needs up to 10s to end",
        ),
    );
    let handover = read.get("handover", value::duration_within(Duration::ZERO, DAY, ""));
    let max_in_flight = read.find("max_in_flight", value::count(1, MAX_IN_FLIGHT));
    let remember = read.get("remember", value::count(1, 1_000_000));
    let buckets = read.get("buckets", value::list(positive));
    let runbook = read.find("runbook", value::url("https://wiki.example.org/traceprobe"));

    if let (Ok(slo), Ok(critical)) = (slo, critical)
        && critical < slo
    {
        read.report(
            "critical",
            format!(
                "{} is less than probe.slo; it must be at least {}",
                show_duration(critical),
                show_duration(slo)
            ),
        );
    }
    if let (Ok(critical), Ok(give_up)) = (critical, give_up)
        && give_up < critical
    {
        read.report(
            "give_up",
            format!(
                "{} is less than probe.critical, so slow traces would be called lost; it must be at least {}",
                show_duration(give_up),
                show_duration(critical)
            ),
        );
    }
    let buckets = buckets.and_then(|bounds| check_buckets(&mut read, bounds, slo));
    if let Ok(bounds) = &buckets {
        for (name, threshold) in [("slo", slo), ("critical", critical)] {
            if let Ok(threshold) = threshold
                && !bounds.contains(&threshold)
            {
                let message = not_a_bound(&read.key(name), threshold, bounds);
                read.report(name, message);
            }
        }
    }
    let name = instance.clone().unwrap_or_else(|_| host.to_owned());
    let all = || {
        Ok(Probe {
            listen: listen?,
            instance_from_host: name == host,
            instance: instance?,
            interval: interval?,
            slo: slo?,
            critical: critical?,
            give_up: give_up?,
            grace: grace?,
            blind_after: blind_after?,
            copy_recheck: copy_recheck?,
            warm_up: warm_up?,
            stop_grace: stop_grace?,
            handover: handover?,
            max_in_flight: max_in_flight?.map(|count| count as usize),
            remember: remember? as usize,
            buckets: buckets.clone()?,
            runbook: runbook?,
        })
    };
    let probe = all();
    ProbeRead { probe, instance: name, interval, give_up, blind_after, buckets }
}

fn check_buckets(
    read: &mut Reader<'_, '_>,
    bounds: Vec<Duration>,
    slo: Checked<Duration>,
) -> Checked<Vec<Duration>> {
    if let Some(pair) = bounds.windows(2).find(|pair| pair[0] >= pair[1]) {
        let message = format!(
            "{} is followed by {}; the bounds must increase",
            show_duration(pair[0]),
            show_duration(pair[1])
        );
        return Err(read.report("buckets", message));
    }
    if let (Ok(slo), Some(last)) = (slo, bounds.last())
        && *last < slo * BUCKETS_BEYOND_SLO
    {
        let message = format!(
            "the largest bound, {}, is below {BUCKETS_BEYOND_SLO} times probe.slo; add bounds up to {}",
            show_duration(*last),
            show_duration(slo * BUCKETS_BEYOND_SLO)
        );
        read.report("buckets", message);
    }
    Ok(bounds)
}

/// Returns the message for a threshold, set by `key`, that is not a bucket bound.
pub(super) fn not_a_bound(key: &str, threshold: Duration, bounds: &[Duration]) -> String {
    let near = |bound: Option<&Duration>| bound.map(|bound| format!("\"{}\"", show_duration(*bound)));
    let below = near(bounds.iter().rev().find(|bound| **bound < threshold));
    let above = near(bounds.iter().find(|bound| **bound > threshold));
    let neighbours: Vec<_> = below.into_iter().chain(above).collect();
    let threshold = show_duration(threshold);
    format!(
        "{threshold} is not one of the bounds in probe.buckets, so no query could count how many traces met it; add \"{threshold}\" to probe.buckets, or set {key} to {}",
        neighbours.join(" or ")
    )
}

/// Reads the instance name. It becomes part of a log stream name, in which `:` and `*` are not allowed (AWS
/// Logs API reference, CreateLogStream).
fn instance_name(value: &Value) -> Parsed<String> {
    let text = value::text(value)?;
    if text.len() <= 255
        && !text.contains(|c: char| c == ':' || c == '*' || c.is_control() || c.is_whitespace())
    {
        Ok(text)
    } else {
        Err(format!(
            "\"{text}\" is not a valid instance name; write up to 255 characters without spaces, `:` or `*`, because the name becomes part of a log stream name"
        ))
    }
}

/// Fewest connections of the web port: Prometheus, a health check, a load balancer and a browser at once.
const MIN_CONNECTIONS: u32 = 16;

/// Reads what clients of the pages and of /metrics may do.
pub(super) fn web(context: &mut Context, root: &Table) -> Checked<Web> {
    let mut read = section(context, root, "web", 1, &keys::WEB, &[]);
    let most = read.get("max_connections", value::count(MIN_CONNECTIONS, 100_000));
    let of_peer = read.find("max_connections_per_peer", value::count(1, 100_000));
    let hosts = read.find("hosts", value::list(host));
    let external = read.find("external_url", external_url);
    let dashboard = read.find("dashboard", link("https://grafana.example.org/d/traceprobe"));
    let reload = read.get("reload", value::boolean);
    let file = read.find("config_file", value::text);
    let open = read.get("open", |value| match value {
        // So that everything can be protected.
        Value::Array(none) if none.is_empty() => Ok(Vec::new()),
        some => value::list(open_path)(some),
    });
    let log_level = read.get("log_level", value::boolean);
    Ok(Web {
        reload: reload?,
        max_connections: most? as usize,
        max_connections_per_peer: of_peer?.map(|most| most as usize),
        hosts: hosts?.unwrap_or_default(),
        external_url: external?,
        dashboard: dashboard?,
        config_file: file?.map(Into::into),
        open: open?,
        log_level: log_level?,
    })
}

/// Reads a path of the web port, or the beginning of paths with a `*` behind it.
fn open_path(value: &Value) -> Parsed<String> {
    let text = value::text(value)?;
    let path = text.strip_suffix('*').unwrap_or(&text);
    if path.starts_with('/') && !path.contains(['*', '?', '#', ' ']) {
        Ok(text)
    } else {
        Err(format!(
            "\"{text}\" is not a path; write for example \"/metrics\", or \"/traces/*\" for all below it"
        ))
    }
}

/// Reads a URL that people will follow. It becomes part of an alert, so it must have no password, and none of
/// the braces with which Prometheus begins a template.
fn link(example: &'static str) -> impl Fn(&Value) -> Parsed<String> {
    move |value| {
        let url = value::url(example)(value)?;
        let host = url.split("://").nth(1).and_then(|rest| rest.split(['/', '?', '#']).next());
        if host.is_some_and(|host| host.contains('@')) {
            return Err(format!(
                "has a user; alerts show it to everybody, so write it without, for example \"{example}\""
            ));
        }
        let in_urls = |c: char| c.is_ascii_alphanumeric() || "-._~:/?[]@!$&()*+,;=%".contains(c);
        match url.chars().find(|c| !in_urls(*c)) {
            Some(c) => Err(format!("\"{c}\" cannot be part of a link here; percent-encode it")),
            None => Ok(url),
        }
    }
}

/// Reads the address of the pages, to which paths are appended.
fn external_url(value: &Value) -> Parsed<String> {
    const EXAMPLE: &str = "https://traceprobe.example.org";
    let url = link(EXAMPLE)(value)?;
    if url.contains('?') {
        return Err(format!(
            "has a query, but paths are appended to it; write it without, for example \"{EXAMPLE}\""
        ));
    }
    Ok(url.trim_end_matches('/').to_owned())
}

/// Reads the name of a host, without scheme and port.
fn host(value: &Value) -> Parsed<String> {
    let text = value::text(value)?;
    let is_name = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    if text.chars().all(is_name) {
        Ok(text.trim_end_matches('.').to_ascii_lowercase())
    } else {
        Err(format!(
            "\"{text}\" is not a valid host name; write it without scheme and port, such as \"traceprobe.example.org\""
        ))
    }
}

pub(super) fn log(context: &mut Context, root: &Table) -> Checked<Log> {
    let mut read = section(context, root, "log", 2, &keys::LOG, &[]);
    let format = read.get("format", value::choice(&[("text", LogFormat::Text), ("json", LogFormat::Json)]));
    let level = read.get("level", level);
    Ok(Log { format: format?, level: level? })
}

/// Reads a log filter.
fn level(value: &Value) -> Parsed<String> {
    let text = value::text(value)?;
    log_filter(&text).map(|_| text)
}

/// The filter for a level: `info`, or `info,hyper=warn`. It applies to our own lines. Libraries log errors only: we log
/// each failure ourselves.
///
/// # Errors
///
/// What would be right.
pub fn log_filter(level: &str) -> Result<EnvFilter, String> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let ends_in_level =
        |directive: &str| LEVELS.contains(&directive.rsplit('=').next().unwrap_or_default().trim());
    let filter = EnvFilter::try_new(format!("error,traceprobe={level}")).ok();
    filter.filter(|_| level.split(',').all(ends_in_level)).ok_or_else(|| {
        format!(
            "\"{level}\" is not a valid log level; write one of {}, or set the level of one library with \"info,hyper=warn\"",
            LEVELS.join(", ")
        )
    })
}

/// The table `[canary]`, as far as it could be read; the template is `None` for the default one.
pub(super) struct CanaryRead {
    pub(super) template: Checked<Option<Template>>,
    pub(super) sizes: Checked<Vec<u32>>,
}

impl CanaryRead {
    pub(super) fn settings(&self) -> Checked<Canary> {
        Ok(Canary { sizes: self.sizes.clone()?, template: self.template.clone()?.unwrap_or_default() })
    }
}

pub(super) fn canary(context: &mut Context, root: &Table) -> CanaryRead {
    let mut read = section(context, root, "canary", 3, &keys::CANARY, &[]);
    CanaryRead { sizes: read.get("sizes", sizes), template: read.find("template", template) }
}

pub(super) fn sizes(value: &Value) -> Parsed<Vec<u32>> {
    let max = MAX_MESSAGE_BYTES as u64;
    let one = value::size_within(1, max, ", the largest event that CloudWatch Logs accepts");
    value::list(|item| one(item).map(|bytes| u32::try_from(bytes).unwrap_or(u32::MAX)))(value)
}

pub(super) fn template(value: &Value) -> Parsed<Template> {
    let text = value::text(value)?;
    Template::parse(&text).map_err(|error| format!("\"{text}\" {error}"))
}

/// Reads how to reach AWS, and the region of tenants and stages that do not set one.
pub(super) fn aws(context: &mut Context, root: &Table) -> (Checked<AwsSettings>, Checked<Option<String>>) {
    let fallback = ["AWS_REGION", "AWS_DEFAULT_REGION"]
        .iter()
        .find_map(|name| context.env.get(*name).filter(|text| !text.is_empty()))
        .cloned();
    let mut read = section(context, root, "aws", 4, &keys::AWS, &["endpoints"]);
    let anonymous = read.get("auth", value::choice(&[("default", false), ("none", true)]));
    let region = read.find("region", account::region).map(|region| region.or(fallback));
    let endpoint = read.find("endpoint", value::url("http://127.0.0.1:4566"));
    let regional_endpoints = endpoints::of_regions(context, root);
    let endpoints = endpoints::of_cloud(context, root, "aws", &keys::AWS_ENDPOINTS);
    let proxy = proxy(context);
    let all = || {
        Ok(AwsSettings {
            region: region.clone()?,
            endpoint: endpoint?,
            endpoints: endpoints?,
            regional_endpoints: regional_endpoints?,
            anonymous: anonymous?,
            proxy: proxy.clone()?,
            ..AwsSettings::default()
        })
    };
    (all(), region)
}

/// Reads how calls leave, from the environment alone: that is where operators set proxies for all programs.
fn proxy(context: &mut Context) -> Checked<Proxy> {
    Proxy::from_variables(&context.env)
        .map_err(|unusable| context.faults.report(unusable.variable, unusable.message))
}

/// Reads how to reach Google, except for the services in use, and the project that pays for queries.
pub(super) fn gcp(context: &mut Context, root: &Table) -> (Checked<GoogleSettings>, Checked<Option<String>>) {
    #[derive(Clone, Copy, PartialEq)]
    enum Method {
        Adc,
        ServiceAccount,
        WorkloadIdentity,
        None,
    }
    let mut read = section(context, root, "gcp", 6, &keys::GCP, &["endpoints"]);
    let endpoint = read.find("endpoint", value::url("http://127.0.0.1:9050/bigquery/v2"));
    let method = read.get(
        "auth",
        value::choice(&[
            ("adc", Method::Adc),
            ("service_account", Method::ServiceAccount),
            ("workload_identity", Method::WorkloadIdentity),
            ("none", Method::None),
        ]),
    );
    let file = read.find("credentials_file", value::text);
    let text = read.find("credentials", |value| match value {
        Value::String(text) => match serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text) {
            Ok(_) => Ok(text.clone()),
            Err(error) => Err(format!(
                "is not a JSON object (line {}, column {}); write the whole text of the file in single quotes",
                error.line(),
                error.column()
            )),
        },
        // Not quoted, because it is secret.
        _ => Err("is not text; write the JSON of the file in single quotes".to_owned()),
    });
    let project = read.find("project", value::text);
    let name = |method| match method {
        Method::Adc => "adc",
        Method::ServiceAccount => "service_account",
        Method::WorkloadIdentity => "workload_identity",
        Method::None => "none",
    };
    let document = match (file, text) {
        (Ok(Some(_)), Ok(Some(_))) => {
            Err(read.report("credentials", "gcp.credentials_file is set, too; remove one of the two"))
        }
        (Ok(Some(file)), Ok(None)) => Ok(Some(("credentials_file", Document::File(file.into())))),
        (Ok(None), Ok(Some(text))) => Ok(Some(("credentials", Document::Text(Secret::new(text))))),
        (Ok(None), Ok(None)) => Ok(None),
        (Err(reported), _) | (_, Err(reported)) => Err(reported),
    };
    let auth = method.and_then(|method| match (method, document?) {
        (Method::ServiceAccount, Some((_, document))) => Ok(Auth::ServiceAccount(document)),
        (Method::WorkloadIdentity, Some((_, document))) => Ok(Auth::WorkloadIdentity(document)),
        (Method::ServiceAccount | Method::WorkloadIdentity, None) => Err(read.report(
            "credentials_file",
            format!(
                "missing; gcp.auth = \"{}\" needs the path of a file here, or its text in gcp.credentials",
                name(method)
            ),
        )),
        (Method::Adc | Method::None, Some((key, _))) => Err(read.report(
            key,
            format!(
                "only used if gcp.auth is \"service_account\" or \"workload_identity\", but gcp.auth is \"{}\"; \
                 change gcp.auth, or remove gcp.{key}",
                name(method)
            ),
        )),
        (Method::Adc, None) => Ok(Auth::ApplicationDefault),
        (Method::None, None) => Ok(Auth::None),
    });
    let endpoints: Checked<HashMap<_, _>> = endpoints::of_cloud(context, root, "gcp", &keys::GCP_ENDPOINTS);
    let proxy = proxy(context);
    let variables = GoogleVariables::read(&context.env);
    let all = || {
        // `gcp.endpoint` is the short form of `gcp.endpoints.bigquery`.
        let bigquery = endpoint?.map(|url| (BIGQUERY.name, url));
        let endpoints = endpoints?;
        let is_short_endpoint = bigquery.is_some() && !endpoints.contains_key(BIGQUERY.name);
        let endpoints = bigquery.into_iter().chain(endpoints).collect();
        let (auth, proxy) = (auth?, proxy.clone()?);
        Ok(GoogleSettings {
            endpoints,
            is_short_endpoint,
            auth,
            proxy,
            variables,
            ..GoogleSettings::default()
        })
    };
    (all(), project)
}

/// Reads where state is kept across restarts.
pub(super) fn store(context: &mut Context, root: &Table, probe: &Checked<Probe>) -> Checked<Store> {
    let mut read = section(context, root, "store", 8, &keys::STORE, &[]);
    let path = read.get("path", value::text);
    let keep = read.get("keep", value::duration_within(TICK, 365 * DAY, ""));
    let lock_timeout = read.get("lock_timeout", value::duration_within(Duration::ZERO, DAY, ""));
    if let (Ok(keep), Ok(probe)) = (keep, probe)
        && keep < 2 * (probe.give_up + probe.grace)
    {
        read.report(
            "keep",
            format!(
                "{} is too short, because a trace is followed for up to probe.give_up and probe.grace together; it must be at least twice that, {}",
                show_duration(keep),
                show_duration(2 * (probe.give_up + probe.grace))
            ),
        );
    }
    let path = path?;
    let path = (path != "memory").then(|| path.into());
    Ok(Store { path, keep: keep?, lock_timeout: lock_timeout? })
}

/// Fewest intervals between canaries that a window must hold: with fewer canaries, no default limit is ever
/// reached.
const WINDOW_INTERVALS: u32 = 5;

/// Reads what is a problem, and what is only a note.
pub(super) fn conditions(context: &mut Context, root: &Table) -> Checked<Conditions> {
    let mut read = section(context, root, "conditions", 9, &keys::CONDITIONS, &[]);
    let window = read.find("window", positive);
    let late_after = read.get("late_after", positive);
    let over_after = read.get("over_after", positive);
    // Every key is read before the first fault ends it, so that all are reported.
    let limits: HashMap<ConditionName, Checked<Limits>> = DEFAULT_LIMITS
        .iter()
        .map(|(name, _, _)| {
            let note = read.get(&keys::limit_key(*name, "note"), limit);
            let problem = read.get(&keys::limit_key(*name, "problem"), limit);
            (*name, note.and_then(|note| Ok(Limits { note, problem: problem? })))
        })
        .collect();
    let thresholds = Thresholds::read(|name| limits[&name]);
    Ok(Conditions {
        window: window?,
        late_after: late_after?,
        over_after: over_after?,
        thresholds: thresholds?,
    })
}

/// Reports a window that holds too few canaries of a tenant.
pub(super) fn check_window(
    faults: &mut Collector,
    conditions: &Checked<Conditions>,
    tenants: &[TenantRead<'_>],
) {
    let Ok(Conditions { window: Some(window), .. }) = conditions else { return };
    let tenants = tenants.iter().filter_map(|read| read.tenant.as_ref().ok());
    let Some(slowest) = tenants.min_by_key(|tenant| Reverse(tenant.interval)) else { return };
    let least = slowest.interval * WINDOW_INTERVALS;
    if *window < least {
        let holds = format!("{} holds too few canaries of tenant {}", show_duration(*window), slowest.name);
        let message = if least > DAY {
            format!(
                "{holds}, whose interval is {}: it must be at least {WINDOW_INTERVALS} times that, and may be at most {}; \
                 remove the key, or shorten the interval to {}",
                show_duration(slowest.interval),
                show_duration(DAY),
                show_duration(DAY / WINDOW_INTERVALS)
            )
        } else {
            format!(
                "{holds}; it must be at least {WINDOW_INTERVALS} times its interval, {}",
                show_duration(least)
            )
        };
        faults.report("conditions.window", message);
    }
}

/// Reads a number of canaries and a ratio: `3 and 5%`.
fn limit(value: &Value) -> Parsed<Limit> {
    let wrong = || {
        format!(
            "{} is not a valid limit; write a number of canaries and a ratio, such as \"3 and 5%\", \"1\" or \"never\"",
            value::quoted(value)
        )
    };
    value.as_str().and_then(|text| text.parse().ok()).ok_or_else(wrong)
}
