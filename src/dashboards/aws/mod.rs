//! Panels about the part of the pipeline in AWS, from CloudWatch's metrics.

mod cloudwatch;
mod grafana;
mod panels;
mod query;
mod yace;

pub(super) use self::cloudwatch::dashboard;
pub(super) use self::grafana::targets as grafana_targets;
pub(super) use self::panels::sections;
pub(super) use self::query::{Meter, Place, Query, Stat};
pub(super) use self::yace::targets as yace_targets;

/// Seconds between two points.
pub(super) const PERIOD: u32 = 60;
