//! Panels about the part of the pipeline in Google Cloud, from Cloud Monitoring's metrics.

mod grafana;
mod monitoring;
mod panels;
mod query;

pub(super) use self::grafana::targets as grafana_targets;
pub(super) use self::monitoring::dashboard;
pub(super) use self::panels::sections;
pub(super) use self::query::{Names, Query};
