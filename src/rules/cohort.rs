//! Tenants whose rules have the same windows, because their canaries are as far apart.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Settings;
use super::promql::Probe;
use super::rule::{Group, Rule};
use super::window::{self, Scale};
use crate::domain::drill::DRILL_TENANT;

#[derive(Clone, Debug)]
pub(super) struct Cohort<'a> {
    /// Selects the series of these tenants.
    pub(super) probe: Probe<'a>,
    /// How many tenants it has, without that of drills.
    pub(super) size: u32,
    interval: Duration,
    scale: Scale,
    /// Tells the groups of several cohorts apart; empty if there is one.
    suffix: String,
}

/// Groups the tenants. Those with shorter intervals than usual are together, because their windows are the same.
pub(super) fn all(settings: &Settings) -> Vec<Cohort<'_>> {
    let scale = Scale::of(settings);
    let mut by_interval = BTreeMap::<Duration, Vec<&str>>::new();
    // That of drills too: its alert is a real one.
    for tenant in settings.topology.tenants() {
        let interval = tenant.interval.max(scale.usual_interval());
        by_interval.entry(interval).or_default().push(&tenant.name);
    }
    let several = by_interval.len() > 1;
    let cohort = |(interval, tenants): (Duration, Vec<&str>)| Cohort {
        size: tenants.iter().filter(|name| **name != DRILL_TENANT).count().try_into().unwrap_or(u32::MAX),
        probe: Probe { job: &settings.job, tenants: several.then(|| tenants.join("|")) },
        interval,
        scale,
        suffix: if several { format!("-{}", window::text(interval)) } else { String::new() },
    };
    by_interval.into_iter().map(cohort).collect()
}

impl Cohort<'_> {
    /// A window for this number of canaries of each tenant.
    pub(super) fn window(&self, canaries: u32) -> Duration {
        self.scale.window(canaries, self.interval)
    }

    /// The same, as Prometheus writes it.
    pub(super) fn over(&self, canaries: u32) -> String {
        window::text(self.window(canaries))
    }

    /// How many canaries a tenant's window holds if it is half full. After a start, a window that is emptier would tell
    /// of a few minutes as if they were days.
    pub(super) fn half(&self, canaries: u32) -> u32 {
        let held = self.window(canaries).as_secs_f64() / self.interval.as_secs_f64();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most `canaries`")]
        let half = (held.min(f64::from(canaries)) / 2.0) as u32;
        half
    }

    /// A window for this number of canaries of all its tenants together.
    pub(super) fn pooled(&self, canaries: u32, tenants: u32) -> String {
        window::text(self.window(canaries.div_ceil(tenants.max(1)).max(60)))
    }

    /// A group of rules for these tenants. With several cohorts, its alerts have a label that tells them apart,
    /// because promtool takes alerts of the same name and labels for a mistake.
    pub(super) fn group(&self, name: &str, rules: Vec<Rule>) -> Group {
        let mut group = Group::new(format!("traceprobe-{name}{}", self.suffix), rules);
        if !self.suffix.is_empty() {
            for rule in &mut group.rules {
                if let Rule::Alert(alert) = rule {
                    alert.labels.push(("interval", window::text(self.interval)));
                }
            }
        }
        group
    }

    /// Time between evaluations of windows of hours and days.
    pub(super) fn slow_evaluation(&self) -> Duration {
        self.scale.time(10)
    }

    pub(super) fn scale(&self) -> Scale {
        self.scale
    }
}
