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
    let mut used = match sums(aws, &account, &parts.metrics(), from, until).await {
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
    fn used(&self, sums: &BTreeMap<Metric, Sum>, memories: &BTreeMap<String, Option<f64>>) -> Vec<Used> {
        const NO_VALUES: &str = "CloudWatch has no values for it";

        let found = |metric: &Metric| sums.get(metric).map_or(Ok(None), Sum::value);
        let sum = |metric: Metric| found(&metric)?.ok_or_else(|| NO_VALUES.to_owned());
        let unknown = |what: String, why: String| Used::Unknown { what, why };
        let both = |one: Result<f64, String>, other: Result<f64, String>| Ok((one?, other?));
        let mut used = Vec::new();
        for name in &self.streams {
            let of = |metric| sum(Metric::of("AWS/Kinesis", metric, "StreamName", name));
            used.push(match both(of("IncomingRecords"), of("IncomingBytes")) {
                Ok((records, bytes)) => Used::Stream { name: name.clone(), records, bytes },
                Err(why) => unknown(format!("stream {name}"), why),
            });
        }
        for name in &self.functions {
            let of = |metric| sum(Metric::of("AWS/Lambda", metric, "FunctionName", name));
            let memory_mb = memories.get(name).copied().flatten();
            used.push(match both(of("Invocations"), of("Duration")) {
                Ok((invocations, millis)) => {
                    Used::Function { name: name.clone(), invocations, millis, memory_mb }
                }
                Err(why) => unknown(format!("function {name}"), why),
            });
        }
        for (bucket, filter) in &self.buckets {
            let of = |name| {
                let dimensions = vec![("BucketName", bucket.clone()), ("FilterId", filter.clone())];
                found(&Metric { namespace: "AWS/S3", name, dimensions })
            };
            let requests = of("PutRequests").and_then(|puts| Ok((puts, of("GetRequests")?)));
            let what = format!("requests of bucket {bucket}");
            used.push(match requests {
                Err(why) => unknown(what, why),
                Ok((None, None)) => unknown(what, NO_VALUES.to_owned()),
                Ok((puts, gets)) => Used::Objects {
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
            Ok(bytes) => Used::Egress { name: name.clone(), bytes },
            Err(why) => unknown(format!("egress over {name}"), why),
        }));
        used
    }
}

/// What is known of a metric.
#[derive(Clone, Debug, Default, PartialEq)]
struct Sum {
    /// `None` without values.
    of_values: Option<f64>,
    /// Why values may be missing, as of the last page.
    incomplete: Option<ForeignText>,
}

impl Sum {
    /// The sum, or why it is not known.
    fn value(&self) -> Result<Option<f64>, String> {
        match &self.incomplete {
            None => Ok(self.of_values),
            Some(reason) => Err(format!("CloudWatch read only a part of its values: {reason}")),
        }
    }
}

/// Adds what a page says of these metrics.
fn add_page(answer: &Json, metrics: &[Metric], sums: &mut BTreeMap<Metric, Sum>) {
    for result in answer["MetricDataResults"].as_array().into_iter().flatten() {
        let at = result["Id"].as_str().and_then(|id| id.strip_prefix('m')?.parse::<usize>().ok());
        let Some(metric) = at.and_then(|at| metrics.get(at)) else { continue };
        let sum = sums.entry(metric.clone()).or_default();
        for value in result["Values"].as_array().into_iter().flatten().filter_map(Json::as_f64) {
            *sum.of_values.get_or_insert_default() += value;
        }
        // `PartialData` and `InternalError` have more on the next page, if there is one (CloudWatch API reference).
        let status = result["StatusCode"].as_str().unwrap_or("Complete");
        let message = result["Messages"][0]["Value"].as_str().unwrap_or_default();
        sum.incomplete =
            (status != "Complete").then(|| format!("{status} {message}").trim_end().to_owned().into());
    }
}

/// The sum of the values of each metric of which there is an answer.
async fn sums(
    aws: &Aws,
    account: &Account,
    metrics: &[Metric],
    from: Timestamp,
    until: Timestamp,
) -> Result<BTreeMap<Metric, Sum>, ForeignText> {
    let mut sums = BTreeMap::new();
    for metrics in metrics.chunks(MAX_METRICS) {
        add_pages(aws, account, metrics, from, until, &mut sums).await?;
    }
    Ok(sums)
}

/// Adds what all pages say of at most [`MAX_METRICS`] metrics.
async fn add_pages(
    aws: &Aws,
    account: &Account,
    metrics: &[Metric],
    from: Timestamp,
    until: Timestamp,
    sums: &mut BTreeMap<Metric, Sum>,
) -> Result<(), ForeignText> {
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
        add_page(&answer, metrics, sums);
        next = answer["NextToken"].as_str().filter(|token| !token.is_empty()).map(str::to_owned);
        if next.is_none() {
            return Ok(());
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A page in which a metric has this status and these values.
    fn page(at: usize, status: &str, values: &[f64]) -> Json {
        json!({ "MetricDataResults": [{ "Id": format!("m{at}"), "StatusCode": status, "Values": values }] })
    }

    fn vpns(count: usize) -> Parts {
        Parts { vpns: (0..count).map(|at| format!("vpn-{at}")).collect(), ..Parts::default() }
    }

    #[test]
    fn a_sum_of_which_a_part_was_not_read_is_no_cost() {
        let parts = vpns(1);
        let metrics = parts.metrics();
        let mut sums = BTreeMap::new();
        let mut used_after = |page: Json| {
            add_page(&page, &metrics, &mut sums);
            parts.used(&sums, &BTreeMap::new()).remove(0)
        };
        for status in ["PartialData", "InternalError"] {
            let Used::Unknown { what, why } = used_after(page(0, status, &[1.0])) else { panic!("{status}") };
            let expected = format!("CloudWatch read only a part of its values: {status}");
            assert_eq!((what.as_str(), why), ("egress over vpn-0", expected));
        }
        let all = Used::Egress { name: "vpn-0".to_owned(), bytes: 5.0 };
        assert_eq!(used_after(page(0, "Complete", &[3.0])), all, "the next page has the rest");
    }

    #[test]
    fn more_metrics_than_a_call_allows_are_read_in_several() {
        let metrics = vpns(1_201).metrics();
        let calls: Vec<_> = metrics.chunks(MAX_METRICS).map(<[Metric]>::len).collect();
        assert_eq!(calls, [500, 500, 201]);
        let mut sums = BTreeMap::new();
        metrics
            .chunks(MAX_METRICS)
            .for_each(|of_call| add_page(&page(0, "Complete", &[1.0]), of_call, &mut sums));
        assert_eq!(sums.len(), 3, "an id is that of a metric of its call");
    }
}
