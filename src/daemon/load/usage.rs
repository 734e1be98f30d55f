//! What the parts of the pipeline used while a run lasted, from their metrics in CloudWatch.
//!
//! Metrics are of the whole part: what other clients sent meanwhile is in them, too. They come minutes late,
//! so they are read once, some minutes after the run.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value as Json, json};

use crate::cloud::account::Account;
use crate::cloud::aws::{Aws, Request};
use crate::config::Config;
use crate::domain::foreign::ForeignText;
use crate::domain::time::Timestamp;
use crate::load::report::Used;

/// Metrics in one call (GetMetricData allows 500, CloudWatch API reference).
const MAX_METRICS: usize = 500;
/// Metrics have a value for each minute.
const PERIOD: u32 = 60;
const GET_METRIC_DATA: &str = "GraniteServiceVersion20100801.GetMetricData";

/// A metric whose values are added up.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Metric {
    namespace: &'static str,
    name: &'static str,
    dimensions: Vec<(&'static str, String)>,
}

impl Metric {
    fn of(namespace: &'static str, name: &'static str, dimension: &'static str, value: &str) -> Self {
        Self { namespace, name, dimensions: vec![(dimension, value.to_owned())] }
    }
}

/// The parts of which the configuration knows the names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Parts {
    streams: BTreeSet<String>,
    functions: BTreeSet<String>,
    /// Buckets with their request metrics.
    buckets: BTreeSet<(String, String)>,
    vpns: Vec<String>,
    gateways: Vec<String>,
}

impl Parts {
    fn new(config: &Config, at: Timestamp) -> Self {
        let pipeline = &config.pipeline;
        let mut parts = Self {
            vpns: pipeline.vpn_connections.clone(),
            gateways: pipeline.nat_gateways.clone(),
            ..Self::default()
        };
        for source in &config.sources {
            for (place, name) in source.settings.evidence().names(at) {
                match (place, &pipeline.archive_metrics) {
                    ("STREAM", _) => drop(parts.streams.insert(name)),
                    ("BUCKET", Some(filter)) => drop(parts.buckets.insert((name, filter.clone()))),
                    _ => {}
                }
            }
        }
        parts.streams.extend(pipeline.central_stream.clone());
        // A name for each tenant is that of a function in the account of a client, whose metrics are there.
        let ours = [&pipeline.forwarder, &pipeline.aggregation, &pipeline.export].into_iter().flatten();
        parts.functions.extend(ours.filter(|name| !name.contains('{')).cloned());
        parts
    }

    fn metrics(&self) -> Vec<Metric> {
        let mut all = Vec::new();
        for stream in &self.streams {
            let of = |name| Metric::of("AWS/Kinesis", name, "StreamName", stream);
            all.extend([of("IncomingRecords"), of("IncomingBytes")]);
        }
        for function in &self.functions {
            let of = |name| Metric::of("AWS/Lambda", name, "FunctionName", function);
            all.extend([of("Invocations"), of("Duration")]);
        }
        for (bucket, filter) in &self.buckets {
            let of = |name| Metric {
                namespace: "AWS/S3",
                name,
                dimensions: vec![("BucketName", bucket.clone()), ("FilterId", filter.clone())],
            };
            all.extend([of("PutRequests"), of("GetRequests")]);
        }
        all.extend(self.vpns.iter().map(|vpn| Metric::of("AWS/VPN", "TunnelDataOut", "VpnId", vpn)));
        let gateways = self.gateways.iter();
        all.extend(
            gateways.map(|it| Metric::of("AWS/NATGateway", "BytesOutToDestination", "NatGatewayId", it)),
        );
        all.truncate(MAX_METRICS);
        all
    }
}

/// Reads what was used between two instants, with the probe's own credentials in its own region.
pub async fn read(config: &Config, aws: &Aws, from: Timestamp, until: Timestamp) -> Vec<Used> {
    let unknown = |what: &str, why: &str| Used::Unknown { what: what.to_owned(), why: why.to_owned() };
    let Some(region) = aws.region() else {
        return vec![unknown("everything in AWS", "aws.region is not set")];
    };
    let account = Account::in_region(region);
    let parts = Parts::new(config, from);
    let metrics = parts.metrics();
    let mut used = match sums(aws, &account, &metrics, from, until).await {
        Err(reason) => vec![unknown("everything in AWS", &reason)],
        Ok(sums) => {
            let mut memories = BTreeMap::new();
            for function in &parts.functions {
                memories.insert(function.clone(), memory(aws, &account, function).await);
            }
            parts.used(&sums, &memories)
        }
    };
    let of_tenants = |name: &Option<String>| name.as_ref().is_some_and(|name| name.contains('{'));
    let pipeline = &config.pipeline;
    if of_tenants(&pipeline.forwarder) {
        used.push(unknown("functions in the accounts of tenants", "their metrics are in those accounts"));
    }
    if [&pipeline.forwarder, &pipeline.aggregation, &pipeline.export].into_iter().all(Option::is_none) {
        used.push(unknown("functions", "the table [pipeline] names none"));
    }
    used.push(unknown("inserts into BigQuery", "Cloud Monitoring is not read"));
    used.push(unknown("shards", "they cost the same without a load"));
    used
}

impl Parts {
    fn used(&self, sums: &BTreeMap<Metric, f64>, memories: &BTreeMap<String, Option<f64>>) -> Vec<Used> {
        let sum = |metric: Metric| sums.get(&metric).copied();
        let unknown =
            |what: String| Used::Unknown { what, why: "CloudWatch has no values for it".to_owned() };
        let mut used = Vec::new();
        for name in &self.streams {
            let of = |metric| sum(Metric::of("AWS/Kinesis", metric, "StreamName", name));
            used.push(match (of("IncomingRecords"), of("IncomingBytes")) {
                (Some(records), Some(bytes)) => Used::Stream { name: name.clone(), records, bytes },
                _ => unknown(format!("stream {name}")),
            });
        }
        for name in &self.functions {
            let of = |metric| sum(Metric::of("AWS/Lambda", metric, "FunctionName", name));
            let memory_mb = memories.get(name).copied().flatten();
            used.push(match (of("Invocations"), of("Duration")) {
                (Some(invocations), Some(millis)) => {
                    Used::Function { name: name.clone(), invocations, millis, memory_mb }
                }
                _ => unknown(format!("function {name}")),
            });
        }
        for (bucket, filter) in &self.buckets {
            let of = |name| {
                let dimensions = vec![("BucketName", bucket.clone()), ("FilterId", filter.clone())];
                sum(Metric { namespace: "AWS/S3", name, dimensions })
            };
            used.push(match (of("PutRequests"), of("GetRequests")) {
                (None, None) => unknown(format!("requests of bucket {bucket}")),
                (puts, gets) => Used::Objects {
                    bucket: bucket.clone(),
                    puts: puts.unwrap_or_default(),
                    gets: gets.unwrap_or_default(),
                },
            });
        }
        let vpns = self.vpns.iter().map(|name| (name, Metric::of("AWS/VPN", "TunnelDataOut", "VpnId", name)));
        let gateways = self.gateways.iter();
        let gateways = gateways
            .map(|name| (name, Metric::of("AWS/NATGateway", "BytesOutToDestination", "NatGatewayId", name)));
        used.extend(vpns.chain(gateways).map(|(name, metric)| match sum(metric) {
            Some(bytes) => Used::Egress { name: name.clone(), bytes },
            None => unknown(format!("egress over {name}")),
        }));
        used
    }
}

/// The sum of the values of each metric; those without any are left out.
async fn sums(
    aws: &Aws,
    account: &Account,
    metrics: &[Metric],
    from: Timestamp,
    until: Timestamp,
) -> Result<BTreeMap<Metric, f64>, ForeignText> {
    let mut sums = BTreeMap::new();
    let mut next: Option<String> = None;
    // A page holds 100,800 values; more pages than that are a fault of the service.
    for _ in 0..100 {
        let queries = metrics.iter().enumerate().map(|(at, metric)| query(at, metric));
        // Values belong to the minute in which they began.
        let mut body = json!({
            "MetricDataQueries": queries.collect::<Vec<_>>(),
            "StartTime": from.micros().div_euclid(60_000_000) * 60,
            "EndTime": until.micros().div_euclid(60_000_000) * 60 + 60,
        });
        if let Some(token) = next.take() {
            body["NextToken"] = token.into();
        }
        let request = Request {
            service: "monitoring",
            operation: "GetMetricData",
            account,
            path: "/".to_owned(),
            post: Some((GET_METRIC_DATA, body)),
        };
        let answer = aws.request(&request).await?;
        for result in answer["MetricDataResults"].as_array().into_iter().flatten() {
            let at = result["Id"].as_str().and_then(|id| id.strip_prefix('m')?.parse::<usize>().ok());
            let values = result["Values"].as_array().into_iter().flatten();
            let values: Vec<f64> = values.filter_map(Json::as_f64).collect();
            if let Some(metric) = at.and_then(|at| metrics.get(at)).filter(|_| !values.is_empty()) {
                *sums.entry(metric.clone()).or_default() += values.iter().sum::<f64>();
            }
        }
        next = answer["NextToken"].as_str().filter(|token| !token.is_empty()).map(str::to_owned);
        if next.is_none() {
            return Ok(sums);
        }
    }
    Err("GetMetricData: there is no end of pages".into())
}

fn query(at: usize, metric: &Metric) -> Json {
    let dimensions: Vec<_> =
        metric.dimensions.iter().map(|(name, value)| json!({ "Name": name, "Value": value })).collect();
    json!({
        "Id": format!("m{at}"),
        "MetricStat": {
            "Metric": { "Namespace": metric.namespace, "MetricName": metric.name, "Dimensions": dimensions },
            "Period": PERIOD,
            "Stat": "Sum",
        },
    })
}

/// The memory of a function in MB; `None` if it cannot be read.
async fn memory(aws: &Aws, account: &Account, function: &str) -> Option<f64> {
    // Names have no character that would need more (Lambda API reference); an ARN has colons, which may stay.
    let is_safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | ':');
    if !function.chars().all(is_safe) {
        return None;
    }
    let request = Request {
        service: "lambda",
        operation: "GetFunctionConfiguration",
        account,
        path: format!("/2015-03-31/functions/{function}/configuration"),
        post: None,
    };
    aws.request(&request).await.ok()?["MemorySize"].as_f64()
}
