//! Where alerts link to.

use super::rule::{About, Alert, Group, Rule};

/// The addresses that alerts link to.
#[derive(Clone, Debug, Default)]
pub struct Links {
    /// The address of the pages as people reach them, without a `/` at its end; `None` for that of the scrape.
    pub external_url: Option<String>,
    /// The address of a runbook other than the probe's own page.
    pub runbook: Option<String>,
    /// The address of the dashboard in Grafana.
    pub dashboard: Option<String>,
}

impl Links {
    /// How many alerts of these groups have no link that can be followed. What is about no instance has no address of a
    /// scrape, so it names a file of the repository.
    #[must_use]
    pub fn missing(&self, groups: &[Group]) -> usize {
        let alerts = groups.iter().flat_map(|group| &group.rules).filter_map(|rule| match rule {
            Rule::Alert(alert) => Some(alert),
            Rule::Record(_) => None,
        });
        alerts.filter(|alert| self.runbook.is_none() && self.base(alert.about).is_none()).count()
    }

    /// The annotations of an alert that hold links.
    pub(super) fn annotations(&self, alert: &Alert) -> Vec<(&'static str, String)> {
        let Alert { about, chapter, .. } = *alert;
        let base = self.base(about);
        let tenant = if about == About::Tenant { "?tenant={{ $labels.tenant }}" } else { "" };
        let page = base.as_ref().map(|base| format!("{base}/traces/recent{tenant}"));
        let dashboard = self.dashboard.as_ref().map(|url| match about {
            About::Tenant => {
                let join = if url.contains('?') { '&' } else { '?' };
                format!("{url}{join}var-tenant={{{{ $labels.tenant }}}}")
            }
            About::Instance | About::Job => url.clone(),
        });
        // The probe's own page fills in commands for a tenant and a stage; a label that an alert lacks is empty.
        let selected = match about {
            About::Tenant => {
                let stage = alert.stage.as_deref().unwrap_or("{{ $labels.stage }}");
                format!("?tenant={{{{ $labels.tenant }}}}&stage={stage}")
            }
            About::Instance | About::Job => String::new(),
        };
        let runbook = self.runbook.clone().or_else(|| Some(format!("{}/runbook{selected}", base?)));
        let runbook = runbook.unwrap_or_else(|| "docs/runbook.md".to_owned());
        [
            page.map(|page| ("page_url", page)),
            Some(("runbook_url", format!("{runbook}#{chapter}"))),
            dashboard.map(|dashboard| ("dashboard_url", dashboard)),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// Without an external address, the one that Prometheus scrapes, which is the label `instance`.
    fn base(&self, about: About) -> Option<String> {
        let scraped = match about {
            About::Tenant | About::Instance => Some("http://{{ $labels.instance }}".to_owned()),
            About::Job => None,
        };
        self.external_url.clone().or(scraped)
    }
}
