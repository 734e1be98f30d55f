//! Panels about the pipeline's own metrics, before they are written for a product.

use super::limits::Limits;
use super::{aws, google};

/// Panels with a heading.
#[derive(Clone, Debug)]
pub(super) struct Section {
    pub(super) title: &'static str,
    pub(super) panels: Vec<Panel>,
}

#[derive(Clone, Debug)]
pub(super) struct Panel {
    pub(super) title: &'static str,
    /// What it means, and what to do.
    pub(super) help: String,
    pub(super) unit: Unit,
    pub(super) limits: Limits,
    pub(super) content: Content,
}

#[derive(Clone, Debug)]
pub(super) enum Content {
    Aws(Vec<aws::Query>),
    Google(Vec<google::Query>),
    /// The state of CloudWatch alarms, by ARN.
    Alarms(Vec<String>),
    /// A name is missing: the key of `[pipeline]` that would fill it.
    Missing(&'static str),
    /// What cannot be observed, and what stands in for it.
    Text,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Unit {
    Count,
    Percent,
    Milliseconds,
    Seconds,
    BytesPerSecond,
    BitsPerSecond,
    Bytes,
    PerSecond,
    Dollars,
    /// 1 is good, 0 is bad.
    State,
}

impl Unit {
    /// As Grafana names it.
    pub(super) const fn grafana(self) -> &'static str {
        match self {
            Self::Count | Self::State => "short",
            Self::Percent => "percent",
            Self::Milliseconds => "ms",
            Self::Seconds => "s",
            Self::BytesPerSecond => "Bps",
            Self::BitsPerSecond => "bps",
            Self::Bytes => "bytes",
            Self::PerSecond => "cps",
            Self::Dollars => "currencyUSD",
        }
    }

    /// What stands at an axis.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Count => "",
            Self::Percent => "%",
            Self::Milliseconds => "ms",
            Self::Seconds => "s",
            Self::BytesPerSecond => "B/s",
            Self::BitsPerSecond => "bit/s",
            Self::Bytes => "bytes",
            Self::PerSecond => "1/s",
            Self::Dollars => "$",
            Self::State => "1 = up",
        }
    }
}

impl Panel {
    /// The text of a panel without a chart; `None` with one.
    pub(super) fn text(&self) -> Option<String> {
        match &self.content {
            Content::Missing(key) => Some(format!(
                "**{}**\n\nNot shown: set `pipeline.{key}` in the configuration and print this dashboard \
                    again.\n\n{}",
                self.title, self.help
            )),
            Content::Text => Some(format!("**{}**\n\n{}", self.title, self.help)),
            Content::Aws(_) | Content::Google(_) | Content::Alarms(_) => None,
        }
    }
}
