//! Grafana's dashboards against its schema, and what makes them usable.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::schema::Schema;
use super::*;
use crate::domain::conditions::{ConditionName, Severity};
use crate::domain::topology::HopRange;

/// Fields that Grafana 9.4 and later write and read although the schema of 10.1 does not have them.
fn more() -> BTreeMap<&'static str, Vec<&'static str>> {
    [
        // Asked for at an import.
        ("dashboard.Dashboard", vec!["__inputs", "__requires"]),
        ("dashboard.VariableModel", vec!["definition"]),
        // The query of a data source is part of the annotation itself.
        ("dashboard.AnnotationQuery", vec!["titleFormat", "textFormat", "step", "useValueForTime"]),
        ("table.Options", vec!["cellHeight"]),
        ("statetimeline.Options", vec!["rowHeight"]),
        ("heatmap.Options", vec!["rowsFrame"]),
        ("googlecloudmonitoring.CloudMonitoringQuery", vec!["promQLQuery"]),
    ]
    .into()
}

static SCHEMA: LazyLock<Schema> =
    LazyLock::new(|| Schema::new(include_str!("../../../tests/dashboards/grafana-schema.json")));

/// The faults of a dashboard.
fn faults(dashboard: &Value) -> Vec<String> {
    let (schema, more) = (&*SCHEMA, more());
    let mut faults = schema.faults(dashboard, "dashboard.Dashboard", &more);
    for panel in panels(dashboard) {
        let title = text(&panel, "title").to_owned();
        let mut check = |value: &Value, class: &str| {
            faults.extend(
                schema.faults(value, class, &more).into_iter().map(|fault| format!("{title}: {fault}")),
            );
        };
        check(&panel, "dashboard.Panel");
        let options = match text(&panel, "type") {
            "stat" => "stat.Options",
            "timeseries" => "timeseries.Options",
            "state-timeline" => "statetimeline.Options",
            "heatmap" => "heatmap.Options",
            "table" => "table.Options",
            "bargauge" => "bargauge.Options",
            "text" => "text.Options",
            other => panic!("no panel is a {other}"),
        };
        check(&panel["options"], options);
        let custom = &panel["fieldConfig"]["defaults"]["custom"];
        match text(&panel, "type") {
            "timeseries" => check(custom, "common.GraphFieldConfig"),
            "state-timeline" => check(custom, "statetimeline.FieldConfig"),
            _ => {}
        }
        for target in panel["targets"].as_array().into_iter().flatten() {
            let class = match text(&target["datasource"], "type") {
                "prometheus" => "prometheus.Dataquery",
                "cloudwatch" => "cloudwatch.CloudWatchMetricsQuery",
                "stackdriver" => "googlecloudmonitoring.CloudMonitoringQuery",
                other => panic!("no target is of {other}"),
            };
            check(target, class);
        }
    }
    faults
}

#[test]
fn every_dashboard_fits_the_schema_of_grafana() {
    for Case { name, grafana, .. } in &*ALL {
        for (file, dashboard) in grafana {
            let faults = faults(dashboard);
            assert!(faults.is_empty(), "{name}, {file}: {:#?}", &faults[..faults.len().min(20)]);
        }
    }
}

#[test]
fn a_misspelt_field_does_not_fit_the_schema() {
    let mut dashboard = dashboards(&example(), Target::Grafana).remove(0).1;
    dashboard["panels"][1]["gridpos"] = 1.into();
    assert!(faults(&dashboard).iter().any(|fault| fault.contains("gridpos")));
}

#[test]
fn every_dashboard_can_be_imported_and_requires_what_it_uses() {
    for (file, dashboard) in dashboards(&example(), Target::Grafana) {
        let inputs: BTreeSet<_> =
            dashboard["__inputs"].as_array().unwrap().iter().map(|it| text(it, "pluginId")).collect();
        let all = panels(&dashboard);
        let used: BTreeSet<_> = all.iter().filter_map(|panel| panel["datasource"]["type"].as_str()).collect();
        assert_eq!(inputs, used, "{file}");
        let requires = dashboard["__requires"].as_array().unwrap();
        let required: BTreeSet<_> =
            requires.iter().filter(|it| it["type"] == "panel").map(|it| text(it, "id")).collect();
        assert_eq!(required, all.iter().map(|panel| text(panel, "type")).collect(), "{file}");
    }
}

#[test]
fn no_panel_overlaps_another_or_leaves_the_grid() {
    for Case { grafana, .. } in &*ALL {
        for (file, dashboard) in grafana {
            let mut taken = BTreeSet::new();
            for panel in panels(dashboard) {
                let at = |name: &str| panel["gridPos"][name].as_u64().unwrap();
                for (x, y) in (at("x")..at("x") + at("w"))
                    .flat_map(|x| (at("y")..at("y") + at("h")).map(move |y| (x, y)))
                {
                    assert!(x < 24 && taken.insert((x, y)), "{file}: {} at {x}, {y}", panel["title"]);
                }
            }
        }
    }
}

#[test]
fn ids_of_panels_and_of_dashboards_are_unique() {
    let all = dashboards(&example(), Target::Grafana);
    let uids: BTreeSet<_> = all.iter().map(|(_, dashboard)| text(dashboard, "uid")).collect();
    assert_eq!(uids.len(), all.len());
    for (file, dashboard) in &all {
        let ids: BTreeSet<_> = panels(dashboard).iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
        assert_eq!(ids.len(), panels(dashboard).len(), "{file}");
    }
}

#[test]
fn every_link_leads_to_a_dashboard_or_to_the_page() {
    let all = dashboards(&example(), Target::Grafana);
    let uids: BTreeSet<_> = all.iter().map(|(_, dashboard)| text(dashboard, "uid")).collect();
    let mut seen = 0;
    for (file, dashboard) in &all {
        assert!(dashboard["links"].as_array().unwrap().len() == 2, "{file}");
        for panel in panels(dashboard) {
            for link in panel["fieldConfig"]["defaults"]["links"].as_array().into_iter().flatten() {
                let url = text(link, "url");
                let uid = url.strip_prefix("/d/").map(|rest| rest.split('?').next().unwrap());
                assert!(uid.map_or(url.starts_with("${probe}/"), |uid| uids.contains(uid)), "{file}: {url}");
                seen += 1;
            }
        }
    }
    assert!(seen > 15, "only {seen} links");
}

#[test]
fn no_panel_draws_more_lines_than_can_be_told_apart() {
    for Case { name, grafana, .. } in &*ALL {
        for (file, dashboard) in grafana {
            for panel in panels(dashboard) {
                let targets = panel["targets"].as_array().cloned().unwrap_or_default();
                let lines: usize = targets.iter().filter(|target| target["hide"] != true).map(lines).sum();
                assert!(lines <= MOST_LINES, "{name}, {file}, {}: {lines}", panel["title"]);
            }
        }
    }
}

/// Most lines of a target of a cloud. What queries on Prometheus return is tested with a real one.
fn lines(target: &Value) -> usize {
    let sorted = target["expression"].as_str().is_some_and(|it| it.starts_with("SORT("));
    if sorted { 10 } else { 1 }
}

/// Whether a selector's matchers select a stage, with `=~` and `!~`.
fn selects(matchers: &str, stage: &str) -> bool {
    let lists = |operator: &str| {
        let names = matchers.split(&format!("stage{operator}\"")).nth(1)?.split('"').next()?;
        Some(names.split('|').any(|name| name == stage))
    };
    lists("=~") != Some(false) && lists("!~") != Some(true)
}

#[test]
fn a_strip_is_red_where_its_condition_is_critical_and_orange_where_it_is_a_warning() {
    for Case { name, settings, grafana, .. } in &*ALL {
        let map = &settings.topology;
        let strips = panels(&grafana[0].1).into_iter().find(|panel| panel["title"] == "Tenants, worst first");
        let strips = strips.unwrap();
        let states = &strips["fieldConfig"]["defaults"]["mappings"][0]["options"];
        let terms = text(&strips["targets"][0], "expr").split("traceprobe_condition{").skip(1);
        let terms: Vec<_> = terms.filter_map(|term| term.split_once("} * ")).collect();
        for condition in ConditionName::ALL {
            let matcher = format!("condition=\"{}\"", condition.as_str());
            for stage in map.stage_ids() {
                let at = &*map.stage(stage).name;
                let is_meant = |matchers: &str| matchers.contains(&matcher) && selects(matchers, at);
                let mut numbers = terms.iter().filter(|(it, _)| is_meant(it)).map(|(_, rest)| rest);
                let number = numbers.next().and_then(|rest| rest.split('\n').next()).unwrap();
                let is_critical = condition.severity(map, Some(HopRange::one(stage))) == Severity::Critical;
                let colour = if is_critical { "red" } else { "orange" };
                assert_eq!(states[number]["color"], colour, "{name}: {matcher} at {at}");
                assert!(numbers.next().is_none(), "{name}: {matcher} counts twice");
            }
        }
    }
}

#[test]
fn the_data_source_links_exemplars_to_their_trace() {
    let with = of(&EXAMPLE.replace("# external_url =", "external_url ="));
    let source =
        files(&with, Target::Grafana).into_iter().find(|file| file.name == "datasource.yml").unwrap();
    assert!(
        source.text.contains("url: \"https://traceprobe.example.org/traces/$${__value.raw}\""),
        "{}",
        source.text
    );
}
