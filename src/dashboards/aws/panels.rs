//! The panels, in the order of the pipeline.
//!
//! Names of metrics, dimensions and statistics come from AWS's documentation of each service;
//! `tests/dashboards/cloudwatch-metrics.json` has the addresses, and a test compares them.

use super::query::{Lines, Meter, Place, Query, Stat};
use crate::dashboards::limits::Limits;
use crate::dashboards::panel::{Content, Panel, Section, Unit};
use crate::dashboards::settings::{Bucket, Settings, Stream};
use crate::domain::pipeline::of_tenant;

const LAMBDA: &str = "AWS/Lambda";
const KINESIS: &str = "AWS/Kinesis";
const DAY: u32 = 86_400;
/// Most places of a panel. A CloudWatch dashboard draws at most 2,500 metrics, 500 in a widget, and twelve meters have
/// a place for each tenant (CloudWatch User Guide, service quotas).
const MOST_PLACES: usize = 200;

/// All panels about the part in AWS.
pub(crate) fn sections(settings: &Settings) -> Vec<Section> {
    let mut all = vec![forwarder(settings)];
    if !settings.streams.is_empty() || settings.pipeline.firehose.is_none() {
        all.push(streams(settings));
        all.push(aggregation(settings));
    }
    all.extend(settings.pipeline.firehose.as_ref().map(|name| firehose(settings, name)));
    all.extend([dead_letters(settings), archive(settings)]);
    all.extend([export(settings), transit(settings), cost(settings), probe(settings)]);
    all
}

fn panel(title: &'static str, unit: Unit, limits: Limits, help: &str, content: Content) -> Panel {
    Panel { title, help: help.to_owned(), unit, limits, content }
}

/// A panel of one query; without a place, it says which key would name one.
fn drawn(key: &'static str, lines: Vec<Lines>) -> Content {
    if lines.iter().any(|lines| lines.places.is_empty()) {
        return Content::Missing(key);
    }
    Content::Aws(lines.into_iter().map(Query::Lines).collect())
}

fn sum(namespace: &'static str, metric: &'static str) -> Meter {
    Meter::new(namespace, metric, Stat::Sum)
}

fn max(namespace: &'static str, metric: &'static str) -> Meter {
    Meter::new(namespace, metric, Stat::Maximum)
}

/// A Lambda function by name: one place, or one for each tenant if the name has one.
fn function(settings: &Settings, name: Option<&str>, dimension: &'static str) -> Vec<Place> {
    let Some(name) = name else { return Vec::new() };
    if !name.contains("{tenant}") {
        return vec![own(settings, "", vec![(dimension, name.to_owned())])];
    }
    let of = |tenant: &str| own(settings, tenant, vec![(dimension, of_tenant(name, tenant))]);
    settings.tenants.iter().take(MOST_PLACES).map(|tenant| of(&tenant.name)).collect()
}

/// Something in the probe's own account.
fn own(settings: &Settings, label: &str, dimensions: Vec<(&'static str, String)>) -> Place {
    Place { label: label.to_owned(), dimensions, region: settings.region.clone(), account: None }
}

/// The forwarders, each in its tenant's account.
fn forwarders(settings: &Settings) -> Vec<Place> {
    let Some(name) = &settings.pipeline.forwarder else { return Vec::new() };
    let tenants = settings.tenants.iter().take(MOST_PLACES);
    let mut places: Vec<Place> = tenants
        .map(|tenant| Place {
            label: tenant.name.clone(),
            dimensions: vec![("FunctionName", of_tenant(name, &tenant.name))],
            region: tenant.region.clone(),
            account: tenant.account.clone(),
        })
        .collect();
    // One function of all tenants in one account is one line.
    let first = places.first().cloned();
    if let Some(first) = first.filter(|one| places.len() > 1 && places.iter().all(|it| is_same(it, one))) {
        places = vec![Place { label: String::new(), ..first }];
    }
    places
}

fn is_same(one: &Place, other: &Place) -> bool {
    (&one.dimensions, &one.region, &one.account) == (&other.dimensions, &other.region, &other.account)
}

fn forwarder(settings: &Settings) -> Section {
    let at = forwarders(settings);
    let of = |meter| vec![Lines::of(meter, &at)];
    let region = settings.tenants.first().map_or(&settings.region, |tenant| &tenant.region);
    let search = |metric| {
        Content::Aws(vec![Query::Search {
            meter: sum("AWS/Logs", metric),
            dimensions: &["DestinationType", "FilterName", "LogGroupName"],
            region: region.clone(),
        }])
    };
    let key = "forwarder";
    let panels = vec![
        panel(
            "Forwarder: invocations",
            Unit::Count,
            Limits::NONE,
            "Calls of the log forwarder in a minute. None although the client logs: the subscription \
                filter is gone or refused.",
            drawn(key, of(sum(LAMBDA, "Invocations"))),
        ),
        panel(
            "Forwarder: errors",
            Unit::Percent,
            Limits::above(0.1).critical(1.0),
            "Share of calls that failed. The target is a success of 99.9 %, critical is 99 %. A failed \
                asynchronous call is tried twice again, then dropped.",
            drawn(
                key,
                vec![Lines::new("100 * a / b", vec![sum(LAMBDA, "Errors"), sum(LAMBDA, "Invocations")], &at)],
            ),
        ),
        panel(
            "Forwarder: throttled calls",
            Unit::Count,
            Limits::above(0.0),
            "Calls refused for want of concurrency, in a minute. Raise the function's reserved \
                concurrency, or the account's.",
            drawn(key, of(sum(LAMBDA, "Throttles"))),
        ),
        panel(
            "Forwarder: duration, P95",
            Unit::Milliseconds,
            Limits::above(5000.0),
            "How long 95 % of the calls took at most.",
            drawn(key, of(Meter::new(LAMBDA, "Duration", Stat::P95))),
        ),
        panel(
            "Forwarder: age of events at start",
            Unit::Milliseconds,
            Limits::above(1000.0),
            "Time between the acceptance of an event by Lambda and the call, at worst. AWS measures no \
                time from the log group to Lambda; this stands in for it. The hop of the probe into the \
                first stage measures both together.",
            drawn(key, of(max(LAMBDA, "AsyncEventAge"))),
        ),
        panel(
            "Subscription filters: delivery errors",
            Unit::Count,
            Limits::above(0.0),
            "Log events that CloudWatch Logs could not deliver, in a minute: they are lost. The worst \
                filters of this account, and of accounts that share their metrics with it.",
            search("DeliveryErrors"),
        ),
        panel(
            "Subscription filters: throttled deliveries",
            Unit::Count,
            Limits::above(0.0),
            "Log events whose delivery was throttled, in a minute. They are tried again for up to 24 hours.",
            search("DeliveryThrottling"),
        ),
    ];
    Section { title: "Forwarder, in each client's account", panels }
}

fn stream_place(stream: &Stream) -> Place {
    Place {
        label: stream.label.clone(),
        dimensions: vec![("StreamName", stream.name.clone())],
        region: stream.region.clone(),
        account: stream.account.clone(),
    }
}

fn streams(settings: &Settings) -> Section {
    let at: Vec<_> = settings.streams.iter().take(MOST_PLACES).map(stream_place).collect();
    let content = |lines: Vec<Lines>| {
        if at.is_empty() { Content::Text } else { drawn("central_stream", lines) }
    };
    let of = |meter| vec![Lines::of(meter, &at)];
    let lag = Limits::above(1000.0).critical(5000.0);
    let panels = vec![
        panel(
            "Tenant streams: records in",
            Unit::Count,
            Limits::NONE,
            "Records written in a minute. No stage of kind kinesis: nothing is shown.",
            content(of(sum(KINESIS, "IncomingRecords"))),
        ),
        panel(
            "Tenant streams: records read per record in",
            Unit::Percent,
            Limits::NONE,
            "What readers took, in percent of what was written. 100 for each reader that keeps up, the \
                aggregation and the probe among them: below 100, records wait.",
            content(vec![
                Lines::new(
                    "100 * a / b",
                    vec![sum(KINESIS, "GetRecords.Records"), sum(KINESIS, "IncomingRecords")],
                    &at,
                )
                .worst_low(),
            ]),
        ),
        panel(
            "Tenant streams: iterator age",
            Unit::Milliseconds,
            lag,
            "How old the last record of a read was, at worst: the processing lag of the slowest reader.",
            content(of(max(KINESIS, "GetRecords.IteratorAgeMilliseconds"))),
        ),
        panel(
            "Tenant streams: PutRecords success",
            Unit::Percent,
            Limits::below(99.9).critical(99.0),
            "Records that a PutRecords call stored, in percent of those in it. A forwarder that does \
                not send the rest again loses them.",
            content(vec![
                Lines::new(
                    "100 * a / b",
                    vec![
                        sum(KINESIS, "PutRecords.SuccessfulRecords"),
                        sum(KINESIS, "PutRecords.TotalRecords"),
                    ],
                    &at,
                )
                .worst_low(),
            ]),
        ),
        panel(
            "Tenant streams: throttled writes",
            Unit::Count,
            Limits::above(0.0),
            "Records refused in a minute because a shard takes no more. Add shards, or spread the partition keys.",
            content(of(sum(KINESIS, "WriteProvisionedThroughputExceeded"))),
        ),
    ];
    Section { title: "Tenant streams", panels }
}

fn aggregation(settings: &Settings) -> Section {
    let name = settings.pipeline.aggregation.as_deref();
    let at = function(settings, name, "FunctionName");
    let insights = function(settings, name, "function_name");
    let central: Vec<Place> = central(settings).into_iter().collect();
    let of = |meter| vec![Lines::of(meter, &at)];
    let key = "aggregation";
    let batch = if central.is_empty() {
        Content::Missing("central_stream")
    } else {
        drawn(
            key,
            vec![Lines::new(
                "a / b",
                vec![
                    sum(KINESIS, "IncomingRecords").at(central.clone()),
                    sum(LAMBDA, "Invocations").at(at.clone()),
                ],
                &at[..at.len().min(1)],
            )],
        )
    };
    let panels = vec![
        panel(
            "Aggregation: batch size",
            Unit::Count,
            Limits::NONE,
            "Records written to the central stream for each call of the aggregation. It falls when the \
                function is called for little, and costs more.",
            batch,
        ),
        panel(
            "Aggregation: duration, P95",
            Unit::Milliseconds,
            Limits::above(2000.0),
            "How long 95 % of the calls took at most.",
            drawn(key, of(Meter::new(LAMBDA, "Duration", Stat::P95))),
        ),
        panel(
            "Aggregation: memory",
            Unit::Percent,
            Limits::above(80.0),
            "The most memory that a call used, in percent of what the function has. Only with Lambda Insights.",
            drawn(key, vec![Lines::of(max("LambdaInsights", "memory_utilization"), &insights)]),
        ),
        panel(
            "Aggregation: errors",
            Unit::Percent,
            Limits::above(0.1).critical(1.0),
            "Share of calls that failed. A failed batch is tried again and holds up its shard.",
            drawn(
                key,
                vec![Lines::new("100 * a / b", vec![sum(LAMBDA, "Errors"), sum(LAMBDA, "Invocations")], &at)],
            ),
        ),
        panel(
            "Aggregation: iterator age",
            Unit::Milliseconds,
            Limits::above(1000.0).critical(5000.0),
            "How old the last record of a batch was, at worst.",
            drawn(key, of(max(LAMBDA, "IteratorAge"))),
        ),
        panel(
            "Central stream: throttled writes",
            Unit::Count,
            Limits::above(0.0),
            "Records refused in a minute because a shard takes no more.",
            drawn(
                "central_stream",
                vec![Lines::of(sum(KINESIS, "WriteProvisionedThroughputExceeded"), &central)],
            ),
        ),
    ];
    Section { title: "Aggregation", panels }
}

fn central(settings: &Settings) -> Option<Place> {
    let name = settings.pipeline.central_stream.clone()?;
    Some(own(settings, "", vec![("StreamName", name)]))
}

fn firehose(settings: &Settings, name: &str) -> Section {
    let at = function(settings, Some(name), "DeliveryStreamName");
    let of = |meter| drawn("firehose", vec![Lines::of(meter, &at)]);
    let namespace = "AWS/Firehose";
    let panels = vec![
        panel(
            "Firehose: records in",
            Unit::Count,
            Limits::NONE,
            "Records that Firehose took in a minute.",
            of(sum(namespace, "IncomingRecords")),
        ),
        panel(
            "Firehose: age of what waits",
            Unit::Seconds,
            Limits::NONE,
            "Age of the oldest record that is not yet in S3. More than the buffer interval: delivery \
                fails or lags.",
            of(max(namespace, "DeliveryToS3.DataFreshness")),
        ),
        panel(
            "Firehose: delivery to S3",
            Unit::Percent,
            Limits::below(99.5).critical(99.0),
            "Successful puts in percent of all puts, at worst.",
            drawn(
                "firehose",
                vec![
                    Lines::new(
                        "100 * a",
                        vec![Meter::new(namespace, "DeliveryToS3.Success", Stat::Minimum)],
                        &at,
                    )
                    .worst_low(),
                ],
            ),
        ),
    ];
    Section { title: "Firehose", panels }
}

fn dead_letters(settings: &Settings) -> Section {
    let queue = settings.pipeline.dead_letter_queue.clone();
    let at: Vec<_> = queue.map(|name| own(settings, "", vec![("QueueName", name)])).into_iter().collect();
    let key = "dead_letter_queue";
    let records: Vec<Place> = match central(settings) {
        Some(central) => vec![central],
        None => settings.streams.iter().take(MOST_PLACES).map(stream_place).collect(),
    };
    let ratio = if records.is_empty() {
        Content::Missing("central_stream")
    } else {
        let meters =
            vec![sum("AWS/SQS", "NumberOfMessagesSent"), sum(KINESIS, "IncomingRecords").at(records)];
        drawn(key, vec![Lines::new("100 * a / b", meters, &at)])
    };
    let panels = vec![
        panel(
            "Dead letters: messages waiting",
            Unit::Count,
            Limits::above(0.0),
            "Messages in the queue. Each is a batch or an event that the pipeline gave up.",
            drawn(key, vec![Lines::of(max("AWS/SQS", "ApproximateNumberOfMessagesVisible"), &at)]),
        ),
        panel(
            "Dead letters: share of records",
            Unit::Percent,
            Limits::above(0.01),
            "Messages sent to the queue in percent of records of the central stream, or of the tenants' \
                streams without one. A message of a Kinesis event source stands for a batch.",
            ratio,
        ),
        panel(
            "Dead letters: age of the oldest",
            Unit::Seconds,
            Limits::NONE,
            "The queue deletes messages at the end of its retention period.",
            drawn(key, vec![Lines::of(max("AWS/SQS", "ApproximateAgeOfOldestMessage"), &at)]),
        ),
    ];
    Section { title: "Dead letters", panels }
}

fn bucket_places(settings: &Settings, buckets: &[Bucket]) -> Vec<Place> {
    let Some(filter) = &settings.pipeline.archive_metrics else { return Vec::new() };
    let place = |bucket: &Bucket| Place {
        label: bucket.label.clone(),
        dimensions: vec![("BucketName", bucket.name.clone()), ("FilterId", filter.clone())],
        region: bucket.region.clone(),
        account: bucket.account.clone(),
    };
    buckets.iter().take(MOST_PLACES).map(place).collect()
}

/// The stages in S3; the first is the archive, if there is one.
fn archive(settings: &Settings) -> Section {
    let at = bucket_places(settings, &settings.buckets_s3[..settings.buckets_s3.len().min(1)]);
    let content =
        |lines| if settings.buckets_s3.is_empty() { Content::Text } else { drawn("archive_metrics", lines) };
    let panels = vec![
        panel(
            "S3 archive: request latency, P95",
            Unit::Milliseconds,
            Limits::above(500.0),
            "How long S3 took for 95 % of all requests that the metrics configuration matches, at most. \
                S3 has no latency of PUT alone; restrict the configuration to a prefix that is only \
                written.",
            content(vec![Lines::of(Meter::new("AWS/S3", "TotalRequestLatency", Stat::P95), &at)]),
        ),
        panel(
            "S3 archive: PUT requests",
            Unit::Count,
            Limits::NONE,
            "Objects written in a minute. None for longer than the buffer of the writer: it has stopped.",
            content(vec![Lines::of(sum("AWS/S3", "PutRequests"), &at)]),
        ),
        panel(
            "S3 archive: refused requests",
            Unit::Count,
            Limits::above(0.0),
            "Answers 4xx (permission, key, throttled as 503 in 5xx) and 5xx in a minute.",
            content(vec![
                Lines::of(sum("AWS/S3", "4xxErrors"), &at).named("4xx"),
                Lines::of(sum("AWS/S3", "5xxErrors"), &at).named("5xx"),
            ]),
        ),
    ];
    Section { title: "S3 archive", panels }
}

fn export(settings: &Settings) -> Section {
    let at = function(settings, settings.pipeline.export.as_deref(), "FunctionName");
    let key = "export";
    let panels = vec![
        panel(
            "Export: duration, P95",
            Unit::Milliseconds,
            Limits::above(10_000.0),
            "How long 95 % of the calls took at most.",
            drawn(key, vec![Lines::of(Meter::new(LAMBDA, "Duration", Stat::P95), &at)]),
        ),
        panel(
            "Export: errors",
            Unit::Percent,
            Limits::above(0.5).critical(1.0),
            "Share of calls that failed. The target is a transfer success of 99.5 %, critical is 99 %.",
            drawn(
                key,
                vec![Lines::new("100 * a / b", vec![sum(LAMBDA, "Errors"), sum(LAMBDA, "Invocations")], &at)],
            ),
        ),
        panel(
            "Export: invocations",
            Unit::Count,
            Limits::NONE,
            "Calls in a minute.",
            drawn(key, vec![Lines::of(sum(LAMBDA, "Invocations"), &at)]),
        ),
    ];
    Section { title: "Export", panels }
}

fn transit(settings: &Settings) -> Section {
    let places = |dimension, names: &[String]| -> Vec<Place> {
        names.iter().map(|name| own(settings, name, vec![(dimension, name.clone())])).collect()
    };
    let vpn = places("VpnId", &settings.pipeline.vpn_connections);
    let nat = places("NatGatewayId", &settings.pipeline.nat_gateways);
    let bits = |namespace, metric, at: &[Place]| Lines::new("8 * a / 60", vec![sum(namespace, metric)], at);
    let gateway = "AWS/NATGateway";
    let daily = |namespace, metric, at: &[Place]| Lines::of(sum(namespace, metric).every(DAY), at);
    let egress = match (vpn.is_empty(), nat.is_empty()) {
        (true, true) => Content::Missing("vpn_connections"),
        (false, true) => drawn("vpn_connections", vec![daily("AWS/VPN", "TunnelDataOut", &vpn)]),
        (true, false) => drawn("nat_gateways", vec![daily(gateway, "BytesOutToDestination", &nat)]),
        (false, false) => drawn(
            "vpn_connections",
            vec![daily("AWS/VPN", "TunnelDataOut", &vpn), daily(gateway, "BytesOutToDestination", &nat)],
        ),
    };
    let panels = vec![
        panel(
            "VPN: tunnels up",
            Unit::State,
            Limits::below(1.0),
            "The least state of a connection's tunnels: 1 if all are up, 0 if none or one is down. One \
                tunnel alone halves the throughput and has no spare.",
            drawn(
                "vpn_connections",
                vec![Lines::of(Meter::new("AWS/VPN", "TunnelState", Stat::Minimum), &vpn).worst_low()],
            ),
        ),
        panel(
            "VPN: traffic",
            Unit::BitsPerSecond,
            Limits::above(1e9),
            "Through all tunnels of a connection. A tunnel carries at most 1.25 Gbps; at 1 Gbps, add one.",
            drawn(
                "vpn_connections",
                vec![
                    bits("AWS/VPN", "TunnelDataOut", &vpn).named("out"),
                    bits("AWS/VPN", "TunnelDataIn", &vpn).named("in"),
                ],
            ),
        ),
        panel(
            "NAT gateway: throughput",
            Unit::BitsPerSecond,
            Limits::NONE,
            "To the Internet and back.",
            drawn(
                "nat_gateways",
                vec![
                    bits(gateway, "BytesOutToDestination", &nat).named("out"),
                    bits(gateway, "BytesInFromDestination", &nat).named("in"),
                ],
            ),
        ),
        panel(
            "NAT gateway: dropped packets and refused ports",
            Unit::Count,
            Limits::above(0.0),
            "In a minute. Ports run out with many connections to one address: add addresses to the gateway.",
            drawn(
                "nat_gateways",
                vec![
                    Lines::of(sum(gateway, "PacketsDropCount"), &nat).named("dropped"),
                    Lines::of(sum(gateway, "ErrorPortAllocation"), &nat).named("no port"),
                ],
            ),
        ),
        panel(
            "Egress: bytes a day",
            Unit::Bytes,
            Limits::NONE,
            "What leaves AWS through the VPN and the NAT gateways, which is billed by the gigabyte.",
            egress,
        ),
    ];
    Section { title: "Transit to Google Cloud", panels }
}

fn cost(settings: &Settings) -> Section {
    // Billing metrics are stored in us-east-1 only, once in a few hours (AWS Billing user guide).
    let charges = Place {
        label: String::new(),
        dimensions: vec![("Currency", "USD".to_owned())],
        region: "us-east-1".to_owned(),
        account: None,
    };
    let records: Vec<Place> = match central(settings) {
        Some(central) => vec![central],
        None => settings.streams.iter().take(MOST_PLACES).map(stream_place).collect(),
    };
    let content = if records.is_empty() {
        Content::Missing("central_stream")
    } else {
        let meters = vec![
            max("AWS/Billing", "EstimatedCharges").every(DAY),
            sum(KINESIS, "IncomingRecords").every(DAY).at(records),
        ];
        drawn("central_stream", vec![Lines::new("1000000 * DIFF(a) / b", meters, &[charges])])
    };
    let help = "What the account's charges grew by in a day, with everything else in it, for each million records of \
                that day. Meaningless on the first day of a month, when charges begin again. Needs billing alerts to be \
                enabled. What Google Cloud charges is on its dashboard.";
    let limits = Limits::above(50.0).critical(100.0);
    Section {
        title: "Cost",
        panels: vec![panel("Cost of AWS per million records", Unit::Dollars, limits, help, content)],
    }
}

fn probe(settings: &Settings) -> Section {
    let alarms = settings.pipeline.alarms.clone();
    let content = if alarms.is_empty() { Content::Missing("alarms") } else { Content::Alarms(alarms) };
    let help = "CloudWatch alarms that do not depend on Prometheus, such as on the probe's task. What the probe \
                measures is on its own page and in Grafana.";
    let panels = vec![panel("The probe's alarms", Unit::Count, Limits::NONE, help, content)];
    Section { title: "Probe", panels }
}
