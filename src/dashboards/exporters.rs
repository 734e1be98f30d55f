//! Writes configurations of the exporters that bring the pipeline's metrics to Prometheus: YACE
//! (yet-another-cloudwatch-exporter) for CloudWatch, and stackdriver_exporter for Cloud Monitoring.
//!
//! They export what the dashboard for Prometheus asks for, and nothing else: CloudWatch bills each metric of each
//! request. Names are exact, so that no exporter lists an account.

use std::collections::{BTreeMap, BTreeSet};

use super::aws::{self, Meter, Place, Stat};
use super::panel::{Content, Section};
use super::{File, Settings, google};

/// The versions whose formats and names these files follow.
const YACE: &str = "0.61 or later";
const STACKDRIVER: &str = "0.18 or later";
/// CloudWatch may take minutes to have a value (YACE's documentation of `length`).
const LENGTH: u32 = 600;

pub(super) fn files(settings: &Settings) -> Vec<File> {
    vec![
        File { name: "yace.yml", text: yace(settings) },
        File { name: "stackdriver-exporter.flags", text: stackdriver(settings) },
    ]
}

/// A job of YACE: what is measured at one place.
type Jobs<'a> = BTreeMap<Key<'a>, BTreeMap<(&'static str, u32), BTreeSet<&'static str>>>;

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Key<'a> {
    namespace: &'static str,
    region: &'a str,
    account: Option<&'a str>,
    dimensions: Vec<(&'static str, &'a str)>,
}

fn add<'a>(jobs: &mut Jobs<'a>, meter: &Meter, place: &'a Place) {
    let key = Key {
        namespace: meter.namespace,
        region: &place.region,
        account: place.account.as_deref(),
        dimensions: place.dimensions.iter().map(|(name, value)| (*name, value.as_str())).collect(),
    };
    // A sum over a day is that of the minutes, which the dashboard adds up. The same statistic with two periods would be
    // one series twice.
    let period = if meter.stat == Stat::Sum { aws::PERIOD } else { meter.period };
    let stats = jobs.entry(key).or_default().entry((meter.metric, period)).or_default();
    stats.insert(meter.stat.as_str());
}

/// Which metrics, each with its statistic, are searched for in each namespace, by dimensions.
type Searches<'a> = BTreeMap<(&'static str, &'a [&'a str]), BTreeSet<(&'static str, Stat)>>;

fn yace(settings: &Settings) -> String {
    let sections = aws::sections(settings);
    let mut jobs = Jobs::new();
    let mut found = Searches::new();
    let mut regions = BTreeSet::new();
    for query in queries(&sections) {
        match query {
            aws::Query::Lines(lines) => {
                for meter in &lines.meters {
                    let places = if meter.own.is_empty() { &lines.places } else { &meter.own };
                    places.iter().for_each(|place| add(&mut jobs, meter, place));
                }
            }
            aws::Query::Search { meter, dimensions, region } => {
                found.entry((meter.namespace, dimensions)).or_default().insert((meter.metric, meter.stat));
                regions.insert(region.as_str());
            }
        }
    }
    let mut text = heading(&format!("YACE, {YACE}: yace --config.file=yace.yml"));
    text += "# An account that the exporter's own credentials do not reach needs pipeline.metrics_role.\n";
    text += &format!("apiVersion: v1alpha1\nsts-region: {}\n", settings.region);
    if !jobs.is_empty() {
        text += "static:\n";
        let mut used = BTreeMap::<String, usize>::new();
        for (key, metrics) in &jobs {
            text += &job(key, metrics, settings, &mut used);
        }
    }
    if !found.is_empty() {
        text +=
            "# Here a name is not known in advance: the exporter lists these metrics.\ncustomNamespace:\n";
    }
    for ((namespace, dimensions), metrics) in &found {
        let regions: Vec<_> = regions.iter().copied().collect();
        text += &format!("  - name: {}\n    namespace: {namespace}\n", slug(namespace));
        text += &format!("    regions: [{}]\n    recentlyActiveOnly: true\n", regions.join(", "));
        text += &format!("    dimensionNameRequirements: [{}]\n    metrics:\n", dimensions.join(", "));
        for (metric, stat) in metrics {
            text += &entry(metric, &[stat.as_str()], aws::PERIOD);
        }
    }
    text
}

fn queries(sections: &[Section]) -> impl Iterator<Item = &aws::Query> {
    sections.iter().flat_map(|section| &section.panels).flat_map(|panel| match &panel.content {
        Content::Aws(queries) => queries.as_slice(),
        Content::Google(_) | Content::Alarms(_) | Content::Missing(_) | Content::Text => &[],
    })
}

fn job(
    key: &Key<'_>,
    metrics: &BTreeMap<(&'static str, u32), BTreeSet<&'static str>>,
    settings: &Settings,
    used: &mut BTreeMap<String, usize>,
) -> String {
    let values: Vec<_> = key.dimensions.iter().map(|(_, value)| *value).collect();
    let name = slug(&format!("{} {} {}", key.namespace, values.join(" "), key.account.unwrap_or_default()));
    let count = used.entry(name.clone()).or_default();
    *count += 1;
    let name = if *count > 1 { format!("{name}-{count}") } else { name };
    let mut text =
        format!("  - name: {name}\n    namespace: {}\n    regions: [{}]\n", key.namespace, key.region);
    if let (Some(role), Some(account)) = (&settings.pipeline.metrics_role, key.account) {
        text += &format!("    roles:\n      - roleArn: \"{}\"\n", role.replace("{account}", account));
    }
    text += "    dimensions:\n";
    for (name, value) in &key.dimensions {
        text += &format!("      - name: {name}\n        value: \"{value}\"\n");
    }
    text += "    metrics:\n";
    for ((metric, period), stats) in metrics {
        text += &entry(metric, &stats.iter().copied().collect::<Vec<_>>(), *period);
    }
    text
}

fn entry(metric: &str, stats: &[&str], period: u32) -> String {
    format!(
        "      - name: {metric}\n        statistics: [{}]\n        period: {period}\n        length: {}\n",
        stats.join(", "),
        period.max(LENGTH)
    )
}

fn heading(what: &str) -> String {
    format!(
        "# {what}\n# Printed by `traceprobe dashboards exporters` from the probe's configuration. Change that and print it \
         again.\n"
    )
}

/// A name of lower-case letters, digits and hyphens.
fn slug(text: &str) -> String {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("-").to_lowercase()
}

/// Flags, one a line, as the program reads them from a file.
fn stackdriver(settings: &Settings) -> String {
    let sections = google::sections(settings);
    let panels = sections.iter().flat_map(|section| &section.panels);
    let request = panels.flat_map(|panel| match &panel.content {
        Content::Google(queries) => queries.as_slice(),
        Content::Aws(_) | Content::Alarms(_) | Content::Missing(_) | Content::Text => &[],
    });
    let metrics: BTreeSet<_> = request.flat_map(google::Query::series).map(|series| series.metric).collect();
    let mut text = heading(&format!(
        "stackdriver_exporter, {STACKDRIVER}: stackdriver_exporter @stackdriver-exporter.flags"
    ));
    if let Some(project) = &settings.pipeline.google_project {
        text += &format!("--google.project-ids={project}\n");
    }
    for metric in metrics {
        text += &format!("--monitoring.metrics-prefixes={metric}\n");
    }
    // Growth becomes counters, for `rate`. Metrics that Google shows late are asked for with their own delay.
    text += "--monitoring.aggregate-deltas\n--monitoring.metrics-ingest-delay\n";
    text
}
