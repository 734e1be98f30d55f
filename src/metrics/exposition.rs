//! Writes the metrics of a registry as OpenMetrics 1.0 with exemplars or as Prometheus text format 0.0.4.
//!
//! The `prometheus` crate's encoder does not support exemplars. Besides, both formats must spell `le` in the
//! same way, so that a scraper that is switched from one to the other finds the same series.
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>,
//! <https://prometheus.io/docs/specs/om/open_metrics_spec/>)

use std::fmt::Write;

use prometheus::proto::{LabelPair, MetricFamily, MetricType};

use super::closing::Exemplar;

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

/// Writes families. `exemplars` returns those of a histogram's series, one for each bucket, by family name
/// and label values.
pub fn write(
    families: &[MetricFamily],
    format: Format,
    exemplars: impl Fn(&str, &[&str]) -> Vec<Option<Exemplar>>,
) -> String {
    let mut out = String::with_capacity(64 * 1024);
    for family in families {
        // Writing to a String cannot fail.
        let _ = write_family(&mut out, family, format, &exemplars);
    }
    if format == Format::OpenMetrics {
        out.push_str("# EOF\n");
    }
    out
}

fn write_family(
    out: &mut String,
    family: &MetricFamily,
    format: Format,
    exemplars: &impl Fn(&str, &[&str]) -> Vec<Option<Exemplar>>,
) -> std::fmt::Result {
    let name = family.name();
    let kind = match family.get_field_type() {
        MetricType::COUNTER => "counter",
        MetricType::GAUGE => "gauge",
        MetricType::HISTOGRAM => "histogram",
        MetricType::SUMMARY => "summary",
        MetricType::UNTYPED => "unknown",
    };
    // In OpenMetrics the name of a counter's family lacks the `_total` of its samples.
    let declared = match format {
        Format::OpenMetrics if kind == "counter" => name.strip_suffix("_total").unwrap_or(name),
        Format::OpenMetrics | Format::Text => name,
    };
    writeln!(out, "# HELP {declared} {}", escape(family.help(), format == Format::OpenMetrics))?;
    writeln!(out, "# TYPE {declared} {kind}")?;
    for metric in family.get_metric() {
        let labels = metric.get_label();
        match family.get_field_type() {
            MetricType::COUNTER => sample(out, name, "", labels, None, metric.get_counter().get_value())?,
            MetricType::GAUGE => sample(out, name, "", labels, None, metric.get_gauge().get_value())?,
            MetricType::HISTOGRAM => {
                let histogram = metric.get_histogram();
                let values: Vec<&str> = labels.iter().map(LabelPair::value).collect();
                let marks = if format == Format::OpenMetrics { exemplars(name, &values) } else { Vec::new() };
                let mark = |at: usize| marks.get(at).copied().flatten();
                let buckets = histogram.get_bucket();
                for (at, bucket) in buckets.iter().enumerate() {
                    let le = float(bucket.upper_bound());
                    bucket_sample(out, name, labels, &le, bucket.cumulative_count(), mark(at))?;
                }
                bucket_sample(out, name, labels, "+Inf", histogram.get_sample_count(), mark(buckets.len()))?;
                sample(out, name, "_sum", labels, None, histogram.get_sample_sum())?;
                #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
                sample(out, name, "_count", labels, None, histogram.get_sample_count() as f64)?;
            }
            // Neither our families nor those of the process collector have these types.
            MetricType::SUMMARY | MetricType::UNTYPED => {}
        }
    }
    Ok(())
}

fn bucket_sample(
    out: &mut String,
    name: &str,
    labels: &[LabelPair],
    le: &str,
    count: u64,
    exemplar: Option<Exemplar>,
) -> std::fmt::Result {
    write!(out, "{name}_bucket")?;
    write_labels(out, labels, Some(le))?;
    write!(out, " {count}")?;
    if let Some(Exemplar { trace, seconds, at }) = exemplar {
        write!(out, " # {{trace_id=\"{trace}\"}} {} {:.3}", float(seconds), at.as_secs_f64())?;
    }
    out.push('\n');
    Ok(())
}

fn sample(
    out: &mut String,
    name: &str,
    suffix: &str,
    labels: &[LabelPair],
    le: Option<&str>,
    value: f64,
) -> std::fmt::Result {
    write!(out, "{name}{suffix}")?;
    write_labels(out, labels, le)?;
    writeln!(out, " {}", number(value))
}

fn write_labels(out: &mut String, labels: &[LabelPair], le: Option<&str>) -> std::fmt::Result {
    if labels.is_empty() && le.is_none() {
        return Ok(());
    }
    let own = labels.iter().map(|label| format!("{}=\"{}\"", label.name(), escape(label.value(), true)));
    let all: Vec<String> = own.chain(le.map(|le| format!("le=\"{le}\""))).collect();
    write!(out, "{{{}}}", all.join(","))
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

fn escape(text: &str, quotes: bool) -> String {
    let text = text.replace('\\', "\\\\").replace('\n', "\\n");
    if quotes { text.replace('"', "\\\"") } else { text }
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
