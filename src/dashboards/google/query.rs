//! What a panel asks Cloud Monitoring for.

use crate::dashboards::promql::matcher;

/// A query of a panel.
#[derive(Clone, Debug)]
pub(crate) enum Query {
    /// The series of a metric.
    Series(Series),
    /// A formula in PromQL: `{A}` stands for the first series, `{B}` for the second.
    Formula { formula: &'static str, series: Vec<Series>, legend: &'static str },
}

/// Series of a metric, aligned and summed up.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    /// The metric type: `bigquery.googleapis.com/storage/stored_bytes`.
    pub(crate) metric: &'static str,
    /// The type of the monitored resource: `bigquery_dataset`.
    pub(crate) resource: &'static str,
    pub(crate) filters: Vec<Filter>,
    pub(crate) take: Take,
    /// The label that tells lines apart; `None` for one line.
    pub(crate) by: Option<Label>,
    /// What the lines are, if the panel's title does not say it.
    pub(crate) what: &'static str,
}

/// A label of a resource or of a metric.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Label {
    Resource(&'static str),
    Metric(&'static str),
}

/// Selects series by a label.
#[derive(Clone, Debug)]
pub(crate) enum Filter {
    /// One of these values.
    OneOf(Label, Vec<String>),
    /// Any value but this.
    Not(Label, &'static str),
}

/// How values become a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Take {
    /// Growth of a count, per second.
    Rate,
    /// The sum of the values.
    Sum,
    /// The least of the values.
    Least,
    /// The largest of the values.
    Largest,
    /// The 95th percentile of a distribution.
    P95,
}

impl Take {
    /// The aligner and the reducer of Cloud Monitoring.
    pub(crate) const fn aggregation(self) -> (&'static str, &'static str) {
        match self {
            Self::Rate => ("ALIGN_RATE", "REDUCE_SUM"),
            Self::Sum => ("ALIGN_MEAN", "REDUCE_SUM"),
            Self::Least => ("ALIGN_MIN", "REDUCE_MIN"),
            Self::Largest => ("ALIGN_MAX", "REDUCE_MAX"),
            // A distribution has to stay one until it is reduced.
            Self::P95 => ("ALIGN_DELTA", "REDUCE_PERCENTILE_95"),
        }
    }
}

impl Label {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Resource(name) | Self::Metric(name) => name,
        }
    }

    /// As filters and groupings of Cloud Monitoring write it.
    pub(crate) fn path(self) -> String {
        match self {
            Self::Resource(name) => format!("resource.label.{name}"),
            Self::Metric(name) => format!("metric.label.{name}"),
        }
    }
}

/// Which names PromQL uses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Names {
    /// Those of Cloud Monitoring: `bigquery_googleapis_com:storage_stored_bytes`.
    Monitoring,
    /// Those of stackdriver_exporter: `stackdriver_bigquery_dataset_bigquery_googleapis_com_storage_stored_bytes`.
    Exporter,
}

impl Series {
    pub(crate) fn promql(&self, names: Names) -> String {
        let by = self.by.map(Label::name).unwrap_or_default();
        let named = |suffix: &str| format!("{}{suffix}{{{}}}", self.name(names), self.matchers(names));
        let grouped = |function: &str, of: String| match by {
            "" => format!("{function}({of})"),
            by => format!("{function} by ({by}) ({of})"),
        };
        match self.take {
            // Metrics have a value a minute, which shows minutes later.
            Take::Rate => grouped("sum", format!("rate({}[5m])", named(""))),
            Take::Sum => grouped("sum", named("")),
            Take::Least => grouped("min", named("")),
            Take::Largest => grouped("max", named("")),
            Take::P95 => {
                let le = if by.is_empty() { "le".to_owned() } else { format!("le, {by}") };
                format!("histogram_quantile(0.95, sum by ({le}) (rate({}[10m])))", named("_bucket"))
            }
        }
    }

    pub(crate) fn legend(&self) -> String {
        let by = self.by.map(|label| format!("{{{{{}}}}}", label.name())).unwrap_or_default();
        format!("{} {by}", self.what).trim().to_owned()
    }

    /// The name that a metric has in PromQL (Google Cloud Observability, "PromQL for Cloud Monitoring"; README of
    /// stackdriver_exporter).
    fn name(&self, names: Names) -> String {
        let plain = |text: &str| -> String {
            text.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
        };
        match (names, self.metric.split_once('/')) {
            (Names::Monitoring, Some((service, path))) => format!("{}:{}", plain(service), plain(path)),
            _ => format!("stackdriver_{}_{}", self.resource, plain(self.metric)),
        }
    }

    fn matchers(&self, names: Names) -> String {
        let resource =
            (names == Names::Monitoring).then(|| format!("monitored_resource=\"{}\"", self.resource));
        let filters = self.filters.iter().map(|filter| match filter {
            Filter::OneOf(label, values) => matcher(label.name(), values),
            Filter::Not(label, value) => format!("{}!=\"{value}\"", label.name()),
        });
        resource.into_iter().chain(filters).collect::<Vec<_>>().join(",")
    }
}

impl Query {
    /// The query in PromQL, and its legend.
    pub(crate) fn promql(&self, names: Names) -> (String, String) {
        match self {
            Self::Series(series) => (series.promql(names), series.legend()),
            Self::Formula { formula, series, legend } => {
                let mut text = (*formula).to_owned();
                for (letter, series) in ["{A}", "{B}", "{C}", "{D}"].iter().zip(series) {
                    text = text.replace(letter, &series.promql(names));
                }
                (text, (*legend).to_owned())
            }
        }
    }

    /// Every series that it asks for.
    pub(crate) fn series(&self) -> &[Series] {
        match self {
            Self::Series(series) => std::slice::from_ref(series),
            Self::Formula { series, .. } => series,
        }
    }
}
