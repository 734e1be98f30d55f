//! The runbook as a page of the probe, so that it does not depend on a wiki.
//!
//! With a tenant and a stage, as alerts link to it, each chapter has the checks of that stage, and the names in
//! commands are those of the configuration.

mod fill;
mod text;

use askama::Template;

use self::fill::Names;
use super::app::{App, RUNBOOK};
use super::filter::{FilterError, listed};
use super::page::{Head, Root};
use super::view::Mark;
use crate::domain::evidence::LOG_GROUP_CHECKS;
use crate::domain::topology::{HopRange, Role, StageId, TenantId, Topology};

/// Anchor of the section with checks of a dead-letter stage.
const DEAD_LETTERS: &str = "dead-letters";
const PARAMETERS: [&str; 2] = ["tenant", "stage"];

#[derive(Template)]
#[template(path = "runbook.html")]
pub(crate) struct Page {
    head: Head,
    /// Each name, and whether it is selected.
    tenants: Vec<(String, bool)>,
    stages: Vec<(String, bool)>,
    /// What the commands are filled in for; `None` for nothing.
    selected: Option<String>,
    /// Whether chapters have checks of a stage.
    has_stage: bool,
    /// HTML made of our own text and of names that were escaped when it was printed.
    body: String,
}

/// The tenant and the stages that the commands are for.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Selection {
    tenant: Option<TenantId>,
    /// Alerts may name a hop range (`transit..bigquery`).
    place: Option<HopRange>,
}

impl Selection {
    /// Parses a query.
    ///
    /// # Errors
    ///
    /// [`FilterError`] for the first invalid parameter.
    pub(crate) fn read(query: &[(String, String)], map: &Topology) -> Result<Self, FilterError> {
        let mut selection = Self::default();
        for (name, value) in query.iter().filter(|(_, value)| !value.is_empty()) {
            let wrong =
                |should: String| FilterError { parameter: name.clone(), value: value.clone(), should };
            match name.as_str() {
                "tenant" => {
                    let all: Vec<_> = map.tenant_ids().map(|id| &*map.tenant(id).name).collect();
                    let none = || wrong(format!("there is no such tenant; there are {}", listed(&all)));
                    selection.tenant = Some(map.tenant_by_name(value).ok_or_else(none)?);
                }
                "stage" => {
                    let all: Vec<_> = map.stage_ids().map(|id| &*map.stage(id).name).collect();
                    let none = || wrong(format!("there is no such stage; there are {}", listed(&all)));
                    selection.place = Some(place(value, map).ok_or_else(none)?);
                }
                _ => {
                    let known = listed(&PARAMETERS);
                    return Err(wrong(format!("there is no such parameter; there are {known}")));
                }
            }
        }
        Ok(selection)
    }

    fn stages(self) -> Vec<StageId> {
        let Some(place) = self.place else { return Vec::new() };
        if place.first == place.last { vec![place.first] } else { vec![place.first, place.last] }
    }

    /// The sections with checks, each once.
    fn sections(self, app: &App, map: &Topology) -> Vec<&'static str> {
        let mut sections = Vec::new();
        for id in self.stages() {
            let stage = map.stage(id);
            if stage.parent.is_none() {
                sections.push(LOG_GROUP_CHECKS);
            }
            let source =
                self.tenant.or_else(|| map.tenant_ids().next()).map(|tenant| map.source_of(tenant, id));
            let of_kind = source.and_then(|source| app.settings.evidence.get(&source));
            sections.extend(match stage.role {
                Role::DeadLetter => Some(DEAD_LETTERS),
                Role::Way | Role::End => of_kind.map(|evidence| evidence.checks()),
            });
        }
        let mut each_once: Vec<&'static str> = Vec::with_capacity(sections.len());
        for section in sections {
            if !each_once.contains(&section) {
                each_once.push(section);
            }
        }
        each_once
    }

    fn display(self, map: &Topology) -> Option<String> {
        let tenant = self.tenant.map(|id| map.tenant(id).name.to_string());
        let place = self.place.map(|place| place.display(map).to_string());
        match (tenant, place) {
            (Some(tenant), Some(place)) => Some(format!("{tenant} at {place}")),
            (Some(tenant), None) => Some(tenant),
            (None, Some(place)) => Some(place),
            (None, None) => None,
        }
    }
}

/// The stage or the hop range of this name.
fn place(name: &str, map: &Topology) -> Option<HopRange> {
    let stage = |name: &str| map.stage_ids().find(|id| *map.stage(*id).name == *name);
    stage(name).map(HopRange::one).or_else(|| {
        let (first, last) = name.split_once("..")?;
        Some(HopRange { first: stage(first)?, last: stage(last)? })
    })
}

impl Page {
    pub(crate) fn new(app: &App, map: &Topology, selection: Selection) -> Self {
        let names = |stages: &[StageId]| Names::of(app, map, selection.tenant, stages);
        let dead_letters: Vec<_> =
            map.stage_ids().filter(|id| map.stage(*id).role == Role::DeadLetter).collect();
        let selected = selection.display(map);
        let body = match &selected {
            None => text::PLAIN.clone(),
            Some(title) => text::Checks {
                sections: selection.sections(app, map),
                title,
                names: names(&selection.stages()),
                dead_letters: names(&dead_letters),
            }
            .print(),
        };
        let stages = selection.stages();
        Self {
            head: Head::new(app, Root::from(RUNBOOK), "Runbook", Mark::Pending),
            tenants: map
                .real_tenants()
                .map(|id| (map.tenant(id).name.to_string(), selection.tenant == Some(id)))
                .collect(),
            stages: map
                .stage_ids()
                .map(|id| (map.stage(id).name.to_string(), stages.first() == Some(&id)))
                .collect(),
            selected,
            has_stage: selection.place.is_some(),
            body,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::conditions::ConditionName;
    use crate::web::fixture::{after, app, healthy};

    fn page(query: &[(&str, &str)]) -> Result<String, String> {
        let app = app(after(1, healthy));
        let map = app.snapshot.borrow().topology.clone();
        let query: Vec<_> =
            query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let selection = Selection::read(&query, &map).map_err(|error| error.to_string())?;
        Ok(Page::new(&app, &map, selection).render().unwrap())
    }

    /// The part of a page from a heading to the next one of the same level.
    fn chapter<'a>(page: &'a str, anchor: &str) -> &'a str {
        let start = page.find(&format!("<h2 id=\"{anchor}\">")).unwrap();
        let rest = &page[start..];
        &rest[..rest[4..].find("<h2 ").map_or(rest.len(), |end| end + 4)]
    }

    #[test]
    fn every_condition_has_a_chapter() {
        let page = page(&[]).unwrap();
        for name in ConditionName::ALL {
            let anchor = name.profile().chapter;
            assert!(page.contains(&format!("<h2 id=\"{anchor}\">")), "the runbook has no chapter {anchor}");
        }
    }

    #[test]
    fn every_kind_of_stage_has_checks() {
        let page = page(&[]).unwrap();
        let app = app(after(1, healthy));
        let sections = app.settings.evidence.values().map(|evidence| evidence.checks());
        for anchor in sections.chain([LOG_GROUP_CHECKS, DEAD_LETTERS, "cloud-storage-prefix"]) {
            assert!(page.contains(&format!("<h3 id=\"{anchor}\">")), "the runbook has no section {anchor}");
        }
    }

    #[test]
    fn every_link_has_a_target() {
        for page in [page(&[]).unwrap(), page(&[("tenant", "acme"), ("stage", "bigquery")]).unwrap()] {
            let body = &page[page.find("<article").unwrap()..];
            let links: Vec<_> =
                body.split("href=\"#").skip(1).filter_map(|rest| rest.split('"').next()).collect();
            assert!(links.len() > 40, "{links:?}");
            for link in links {
                assert_eq!(page.matches(&format!("id=\"{link}\"")).count(), 1, "#{link}");
            }
        }
    }

    #[test]
    fn a_chapter_has_the_checks_of_the_selected_stage_with_its_names() {
        let page = page(&[("tenant", "acme"), ("stage", "tenant_stream")]).unwrap();
        let stuck = chapter(&page, "stuck");
        assert!(stuck.contains("--region eu-central-1 --stream-name logs-acme"), "{stuck}");
        assert!(stuck.contains("aws logs tail /ecs/acme/app --region eu-central-1"), "{stuck}");
        assert!(stuck.contains("TraceprobeLosing|TraceprobeLatency.*' tenant=acme"), "{stuck}");
        assert!(!stuck.contains("bq query"), "{stuck}");
    }

    #[test]
    fn commands_at_a_stage_name_the_stages_before_it() {
        let page = page(&[("tenant", "globex"), ("stage", "transit")]).unwrap();
        let missing = chapter(&page, "missing");
        assert!(missing.contains("aws s3 ls s3://sre-transit/transit/2026/11/22/02/ "), "{missing}");
        assert!(
            missing.contains("list-event-source-mappings --region eu-central-1 --function-name log-export"),
            "{missing}"
        );
    }

    #[test]
    fn the_forwarder_of_the_tenant_is_named_at_the_first_stage() {
        let page = page(&[("tenant", "globex"), ("stage", "tenant_stream")]).unwrap();
        let stuck = chapter(&page, "stuck");
        assert!(stuck.contains("aws logs tail /aws/lambda/log-forwarder-globex "), "{stuck}");
    }

    #[test]
    fn a_function_that_the_configuration_does_not_name_stays_a_placeholder() {
        let page = page(&[("tenant", "globex"), ("stage", "archive")]).unwrap();
        assert!(chapter(&page, "missing").contains("--function-name FUNCTION"));
    }

    #[test]
    fn a_table_is_named_within_its_query() {
        let page = page(&[("tenant", "acme"), ("stage", "bigquery")]).unwrap();
        let slow = chapter(&page, "slow");
        assert!(
            slow.contains("FROM `my-project.logs.events` WHERE ingest_time &gt; TIMESTAMP_SUB"),
            "{slow}"
        );
    }

    #[test]
    fn a_hop_range_has_the_checks_of_both_its_ends() {
        let page = page(&[("tenant", "acme"), ("stage", "transit..bigquery")]).unwrap();
        let losing = chapter(&page, "losing");
        assert!(losing.contains("s3://sre-transit/") && losing.contains("bq show"), "{losing}");
    }

    #[test]
    fn what_concerns_the_injection_has_the_checks_of_the_log_group_without_a_stage() {
        let page = page(&[("tenant", "acme"), ("stage", "")]).unwrap();
        assert!(chapter(&page, "not-injecting").contains("--log-group-name /ecs/acme/app"));
        assert!(!chapter(&page, "losing").contains("/ecs/acme/app"));
    }

    #[test]
    fn without_a_selection_placeholders_stay() {
        let page = page(&[("tenant", ""), ("stage", "")]).unwrap();
        assert!(page.contains("--stream-name STREAM") && !page.contains("logs-acme"));
        assert!(!chapter(&page, "stuck").contains("describe-stream-summary"));
    }

    #[test]
    fn an_unknown_name_is_refused_with_those_that_exist() {
        assert_eq!(
            page(&[("tenant", "acne")]).unwrap_err(),
            "`tenant=acne`: there is no such tenant; there are `acme`, `globex`, `initech`"
        );
        assert!(page(&[("stage", "transit..moon")]).unwrap_err().contains("there are `tenant_stream`"));
        assert!(page(&[("format", "json")]).unwrap_err().contains("no such parameter"));
    }
}
