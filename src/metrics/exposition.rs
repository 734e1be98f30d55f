//! Writes the metrics of a registry as OpenMetrics 1.0 with exemplars or as Prometheus text format 0.0.4.
//!
//! The `prometheus` crate's encoder does not support exemplars. Besides, both formats must spell `le` in the
//! same way, so that a scraper that is switched from one to the other finds the same series.
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>,
//! <https://prometheus.io/docs/specs/om/open_metrics_spec/>)

use std::borrow::Cow;
use std::fmt::Write;

use prometheus::proto::{LabelPair, MetricFamily, MetricType};

use super::closing::Exemplar;
use super::series::LabelPairs;
use super::table::Row;

/// The format that a scrape requests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// Prometheus text format 0.0.4.
    Text,
    /// OpenMetrics 1.0.0.
    OpenMetrics,
}

impl Format {
    /// The value of the `Content-Type` header.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// A family, as it was at a scrape.
pub(super) enum Scraped {
    /// Its series have one number each.
    Numbers { row: Row, kind: MetricType, series: Vec<(LabelPairs, f64)> },
    /// One that the `prometheus` crate has read.
    Collected(MetricFamily),
}

impl Scraped {
    fn name(&self) -> &str {
        match self {
            Self::Numbers { row, .. } => row.name,
            Self::Collected(family) => family.name(),
        }
    }
}

/// Writes families, ordered by name. `exemplars` returns those of a histogram's series, one for each bucket, by family
/// name and label values.
pub(super) fn write(
    mut families: Vec<Scraped>,
    format: Format,
    exemplars: impl Fn(&str, &[&str]) -> Vec<Option<Exemplar>>,
) -> String {
    let mut out = String::with_capacity(64 * 1024);
    families.sort_by(|a, b| a.name().cmp(b.name()));
    // Each is dropped once it is written: with many tenants they are large.
    for family in families {
        // Writing to a String cannot fail.
        let _ = match family {
            Scraped::Numbers { row, kind, series } => write_numbers(&mut out, row, kind, series, format),
            Scraped::Collected(family) => write_family(&mut out, &family, format, &exemplars),
        };
    }
    if format == Format::OpenMetrics {
        out.push_str("# EOF\n");
    }
    out
}

/// The name of a kind of metric.
pub(super) const fn kind_name(kind: MetricType) -> &'static str {
    match kind {
        MetricType::COUNTER => "counter",
        MetricType::GAUGE => "gauge",
        MetricType::HISTOGRAM => "histogram",
        MetricType::SUMMARY => "summary",
        MetricType::UNTYPED => "unknown",
    }
}

fn write_head(
    out: &mut String,
    name: &str,
    help: &str,
    kind: MetricType,
    format: Format,
) -> std::fmt::Result {
    // In OpenMetrics the name of a counter's family lacks the `_total` of its samples.
    let declared = match format {
        Format::OpenMetrics if kind == MetricType::COUNTER => name.strip_suffix("_total").unwrap_or(name),
        Format::OpenMetrics | Format::Text => name,
    };
    writeln!(out, "# HELP {declared} {}", escape(help, format == Format::OpenMetrics))?;
    writeln!(out, "# TYPE {declared} {}", kind_name(kind))
}

fn write_numbers(
    out: &mut String,
    row: Row,
    kind: MetricType,
    mut series: Vec<(LabelPairs, f64)>,
    format: Format,
) -> std::fmt::Result {
    write_head(out, row.name, row.help, kind, format)?;
    series.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    for (labels, value) in series {
        let labels = labels.iter().map(|(name, value)| (*name, &**value));
        sample(out, row.name, "", labels, value)?;
    }
    Ok(())
}

fn write_family(
    out: &mut String,
    family: &MetricFamily,
    format: Format,
    exemplars: &impl Fn(&str, &[&str]) -> Vec<Option<Exemplar>>,
) -> std::fmt::Result {
    let name = family.name();
    write_head(out, name, family.help(), family.get_field_type(), format)?;
    for metric in family.get_metric() {
        let pairs = metric.get_label();
        let labels = || pairs.iter().map(|pair| (pair.name(), pair.value()));
        match family.get_field_type() {
            MetricType::COUNTER => sample(out, name, "", labels(), metric.get_counter().get_value())?,
            MetricType::GAUGE => sample(out, name, "", labels(), metric.get_gauge().get_value())?,
            MetricType::HISTOGRAM => {
                let histogram = metric.get_histogram();
                let values: Vec<&str> = pairs.iter().map(LabelPair::value).collect();
                let marks = if format == Format::OpenMetrics { exemplars(name, &values) } else { Vec::new() };
                let mark = |at: usize| marks.get(at).copied().flatten();
                let buckets = histogram.get_bucket();
                for (at, bucket) in buckets.iter().enumerate() {
                    let le = float(bucket.upper_bound());
                    bucket_sample(out, name, labels(), &le, bucket.cumulative_count(), mark(at))?;
                }
                let count = histogram.get_sample_count();
                bucket_sample(out, name, labels(), "+Inf", count, mark(buckets.len()))?;
                sample(out, name, "_sum", labels(), histogram.get_sample_sum())?;
                #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
                sample(out, name, "_count", labels(), count as f64)?;
            }
            // Neither our families nor those of the process collector have these types.
            MetricType::SUMMARY | MetricType::UNTYPED => {}
        }
    }
    Ok(())
}

fn bucket_sample<'a>(
    out: &mut String,
    name: &str,
    labels: impl Iterator<Item = (&'a str, &'a str)>,
    le: &str,
    count: u64,
    exemplar: Option<Exemplar>,
) -> std::fmt::Result {
    write!(out, "{name}_bucket")?;
    write_labels(out, labels, Some(le));
    write!(out, " {count}")?;
    if let Some(Exemplar { trace, seconds, at }) = exemplar {
        write!(out, " # {{trace_id=\"{trace}\"}} {} {:.3}", float(seconds), at.as_secs_f64())?;
    }
    out.push('\n');
    Ok(())
}

fn sample<'a>(
    out: &mut String,
    name: &str,
    suffix: &str,
    labels: impl Iterator<Item = (&'a str, &'a str)>,
    value: f64,
) -> std::fmt::Result {
    out.push_str(name);
    out.push_str(suffix);
    write_labels(out, labels, None);
    writeln!(out, " {}", number(value))
}

fn write_labels<'a>(out: &mut String, labels: impl Iterator<Item = (&'a str, &'a str)>, le: Option<&str>) {
    let mut before = '{';
    let mut write = |name: &str, value: &str| {
        out.push(before);
        out.push_str(name);
        out.push_str("=\"");
        out.push_str(&escape(value, true));
        out.push('"');
        before = ',';
    };
    labels.for_each(|(name, value)| write(name, value));
    if let Some(le) = le {
        write("le", le);
    }
    if before == ',' {
        out.push('}');
    }
}

/// Formats a float as OpenMetrics requires it in `le`, with a decimal point; used in both formats.
fn float(value: f64) -> String {
    format!("{value:?}")
}

fn number(value: f64) -> String {
    if value == f64::INFINITY {
        "+Inf".to_owned()
    } else if value == f64::NEG_INFINITY {
        "-Inf".to_owned()
    } else {
        value.to_string()
    }
}

fn escape(text: &str, quotes: bool) -> Cow<'_, str> {
    if !text.contains(['\\', '\n', '"']) {
        return text.into();
    }
    let text = text.replace('\\', "\\\\").replace('\n', "\\n");
    if quotes { text.replace('"', "\\\"").into() } else { text.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bucket_bounds_have_a_decimal_point() {
        assert_eq!([float(30.0), float(0.005), float(7.5)], ["30.0", "0.005", "7.5"]);
    }

    #[test]
    fn label_values_are_escaped() {
        assert_eq!(escape("a\"b\\c\nd", true), "a\\\"b\\\\c\\nd");
    }
}
