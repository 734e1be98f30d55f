//! The rules of Grafana's dashboard-linter, which cannot be installed from a registry; each is named as there.

use serde_json::Value;

use super::*;

/// The faults of a dashboard.
fn faults(dashboard: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    let mut fault = |rule: &str, what: String| faults.push(format!("{rule}: {what}"));
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let variable = |name: &str| variables.iter().find(|it| it["name"] == name);
    match variable("datasource") {
        Some(it)
            if it["type"] == "datasource" && it["query"] == "prometheus" && it["label"] == "Data source" => {}
        _ => fault("template-datasource-rule", "there is no variable datasource".to_owned()),
    }
    for (rule, name, label) in
        [("template-job-rule", "job", "Job"), ("template-instance-rule", "instance", "Instance")]
    {
        match variable(name) {
            Some(it)
                if it["type"] == "query"
                    && it["label"] == label
                    && it["multi"] == true
                    && it["allValue"] == ".+"
                    && it["datasource"]["uid"] == "${datasource}" => {}
            _ => fault(rule, format!("there is no variable {name} as it should be")),
        }
    }
    for it in variables.iter().filter(|it| it["type"] == "query" && it["refresh"] != 2) {
        fault("template-on-time-change-reload-rule", it["name"].to_string());
    }
    if dashboard["editable"] != false {
        fault("uneditable-dashboard-rule", "it is editable".to_owned());
    }
    for panel in panels(dashboard) {
        let title = panel["title"].as_str().unwrap_or_default().to_owned();
        if title.is_empty() || panel["description"].as_str().is_none_or(str::is_empty) {
            fault("panel-title-description-rule", panel["id"].to_string());
        }
        if panel["type"] == "text" {
            continue;
        }
        if !["${datasource}", "${cloudwatch}", "${monitoring}"].contains(&text(&panel["datasource"], "uid")) {
            fault("panel-datasource-rule", title.clone());
        }
        if panel["fieldConfig"]["defaults"]["unit"].as_str().is_none_or(str::is_empty) {
            fault("panel-units-rule", title.clone());
        }
        let targets = panel["targets"].as_array().unwrap();
        if targets.is_empty() {
            fault("panel-no-targets-rule", title.clone());
        }
        for expr in targets.iter().filter_map(|target| target["expr"].as_str()) {
            expression(expr, &title, &mut fault);
        }
    }
    faults
}

fn expression(expr: &str, title: &str, fault: &mut impl FnMut(&str, String)) {
    // A constant is green while nothing is scraped.
    if expr.contains("vector(") {
        fault("constant", format!("{title}: {expr}"));
    }
    for (at, _) in expr.match_indices("traceprobe_") {
        let rest = &expr[at..];
        let name = &rest[..rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len())];
        let selector = rest[name.len()..].split('}').next().unwrap_or_default();
        if !selector.contains("job=~\"$job\"") {
            fault("target-job-rule", format!("{title}: {name}"));
        }
        if !selector.contains("instance=~\"$instance\"") {
            fault("target-instance-rule", format!("{title}: {name}"));
        }
        let before = &expr[..at];
        let is_counter = ["_total", "_bucket", "_count", "_sum"].iter().any(|end| name.ends_with(end));
        let is_aggregated = ["rate(", "increase("].iter().any(|function| before.ends_with(function));
        if is_counter && !is_aggregated {
            fault("target-counter-agg-rule", format!("{title}: {name}"));
        }
    }
    // Windows hold enough canaries, which no interval of a chart does; only what is about the probe itself follows it.
    for window in expr.split("}[").skip(1).filter_map(|rest| rest.split([']', ':']).next()) {
        let is_variable = ["$__rate_interval", "$__range"].contains(&window);
        let is_time = window.chars().all(|c| c.is_ascii_digit() || "dhms".contains(c));
        if !is_variable && !is_time {
            fault("target-rate-interval-rule", format!("{title}: {window}"));
        }
    }
    if multiplies_a_quotient(expr) {
        fault("precedence", format!("{title}: {expr}"));
    }
    let (mut depth, mut least) = (0_i32, 0);
    for c in expr.chars() {
        depth += i32::from(c == '(') - i32::from(c == ')');
        least = least.min(depth);
    }
    if depth != 0 || least < 0 {
        fault("target-promql-rule", format!("{title}: {expr}"));
    }
}

/// Whether a `*` follows a `/` within one term: `a / 2 * b` is `(a / 2) * b`. Brackets say what is meant.
fn multiplies_a_quotient(expr: &str) -> bool {
    let mut is_quoted = false;
    // For each open bracket, whether the present term has a `/`.
    let mut divides = vec![false];
    for word in expr.split_whitespace() {
        let ends_the_term = ["and", "or", "unless"].contains(&word);
        for c in word.chars() {
            let Some(term) = divides.last_mut() else { return false };
            match c {
                '"' => is_quoted = !is_quoted,
                _ if is_quoted => {}
                _ if ends_the_term => *term = false,
                '(' => divides.push(false),
                ')' => drop(divides.pop()),
                '/' => *term = true,
                '*' if *term => return true,
                '+' | '-' | ',' | '<' | '>' | '=' => *term = false,
                _ => {}
            }
        }
    }
    false
}

#[test]
fn every_dashboard_follows_the_rules_of_the_linter() {
    for Case { name, grafana, .. } in &*ALL {
        for (file, dashboard) in grafana {
            let faults = faults(dashboard);
            assert!(faults.is_empty(), "{name}, {file}: {faults:#?}");
        }
    }
}

#[test]
fn each_rule_finds_what_it_is_for() {
    let mut dashboard = dashboards(&example(), Target::Grafana).remove(0).1;
    dashboard["editable"] = true.into();
    dashboard["templating"]["list"][1]["multi"] = false.into();
    let panel = &mut dashboard["panels"][1];
    panel["description"] = "".into();
    panel["targets"][0]["expr"] = "1 / 2 * sum(traceprobe_lost_total{job=~\"$job\"}) or vector(0)".into();
    let found = faults(&dashboard).join("\n");
    for rule in [
        "uneditable",
        "template-job",
        "panel-title-description",
        "target-instance",
        "target-counter-agg",
        "constant",
        "precedence",
    ] {
        assert!(found.contains(rule), "{rule}: {found}");
    }
}
