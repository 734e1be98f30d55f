//! The routes: what they take and what they answer.

use schemars::SchemaGenerator;
use serde_json::{Value, json};

use super::{Names, PATH, schema, words};
use crate::domain::aggregates::Step;
use crate::domain::conditions::ConditionName;
use crate::web::app::RUNBOOK;
use crate::web::filter::{DEFAULT_LIMIT, MAX_LIMIT, ROWS, outcome_values};
use crate::web::history::{HistoryJson, MAX_FIGURES};
use crate::web::{drill, json as answers, reload};

/// An age such as `15m`, of at most some centuries.
const AGE: &str = "^([0-9]{1,9}(s|m|min)|[0-9]{1,7}h|[0-9]{1,5}d)$";
/// An instant in RFC 3339, of four-digit years.
const INSTANT: &str = "^20[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,9})?Z$";
/// A trace id with or without dashes, or a whole tag, which begins with its marker.
const TRACE: &str =
    "^([0-9A-Fa-f]{32}|[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}|[Zz][Qq][Tt][Pp][0-9A-Za-z]{62})$";

const ID: &str = "01a2011db07470008c6c15cb9469fd2e";

/// All paths, in the order of the documentation.
pub(super) fn paths(names: &Names, schemas: &mut SchemaGenerator, requests: &mut SchemaGenerator) -> Value {
    let recent = schema::<answers::Recent>(schemas);
    let one = schema::<answers::One>(schemas);
    let history = schema::<HistoryJson>(schemas);
    let failure = schema::<answers::Failure>(schemas);
    let notification = schema::<drill::Notification>(requests);
    json!({
        "/traces/recent": { "get": recent_traces(names, &recent, &failure) },
        "/traces/{id}": { "get": one_trace(&one, &failure) },
        "/traces/find": { "get": {
            "operationId": "findTrace",
            "summary": "The way from a search box to the page of a trace",
            "parameters": [required(query("id", "A trace id or a whole tag.", trace(), ID))],
            "responses": {
                "303": { "description": "To the page of the trace." },
                "400": body("It is not a trace id.", "text/html", json!({ "type": "string" })),
            },
        } },
        "/traces/recent/events": { "get": {
            "operationId": "recentTracesEvents",
            "summary": "Changes of the page of recent traces",
            "description": "For the page itself, not for programs: the form of the events may change at any time.",
            "parameters": recent_parameters(names, Some(version())),
            "responses": { "200": events(), "400": refused(&failure) },
        } },
        "/traces/{id}/events": { "get": {
            "operationId": "oneTraceEvents",
            "summary": "Changes of the page of one canary",
            "description": "For the page itself, not for programs: the form of the events may change at any time.",
            "parameters": [trace_id(), version(), format_of_page()],
            "responses": { "200": events(), "400": refused(&failure) },
        } },
        "/history": { "get": figures_over_time(names, &history, &failure) },
        "/metrics": { "get": metrics() },
        "/healthz": { "get": health(
            "healthz", "Whether the probe works",
            "200 while the engine runs, otherwise 503 and the reason. It never fails because the pipeline does.",
            "the engine runs\n", "the engine has published nothing for 1 min 35 s\n",
        ) },
        "/readyz": { "get": health(
            "readyz", "Whether the probe is ready",
            "200 once every source has been read or the warm-up is over, otherwise 503 and the reason.",
            "ready\n", "`bigquery` has not been read yet\n",
        ) },
        "/-/healthy": { "get": health(
            "healthy", "The same as /healthz", "As the servers of Prometheus call it.",
            "the engine runs\n", "the engine has published nothing for 1 min 35 s\n",
        ) },
        "/-/ready": { "get": health(
            "ready", "The same as /readyz", "As the servers of Prometheus call it.",
            "ready\n", "`bigquery` has not been read yet\n",
        ) },
        "/-/log-level": { "get": show_log_level(), "put": set_log_level() },
        "/config": { "get": {
            "operationId": "config",
            "summary": "The configuration in force",
            "description": "Every key with its value, defaults included, as the tables of the file. Secrets are left out.",
            "responses": {
                "200": body("The configuration.", "application/json", json!({ "type": "object" })),
                "503": busy(),
            },
        } },
        RUNBOOK: { "get": runbook(names, &failure) },
        PATH: { "get": {
            "operationId": "openapi",
            "summary": "This description",
            "responses": {
                "200": body("The document.", "application/json", json!({
                    "type": "object", "required": ["openapi", "info", "paths", "components"],
                })),
                "503": busy(),
            },
        } },
        drill::BEGIN: { "post": begin_drill() },
        reload::PATH: { "post": reload_configuration() },
        drill::RANG: { "post": drill_rang(&notification) },
    })
}

fn recent_traces(names: &Names, recent: &Value, failure: &Value) -> Value {
    json!({
        "operationId": "recentTraces",
        "summary": "What is wrong now, and the recent traces",
        "description": "The parameters select from `traces`; `tenant` also selects from `tenants`, `incidents`, \
            `failures` and `violations`, and `limit` also limits `failures`. In a browser it is the page for the \
            person on call.",
        "parameters": recent_parameters(names, None),
        "responses": {
            "200": page_or(recent, "The page, or the same as JSON."), "400": refused(failure), "503": busy(),
        },
    })
}

/// Those of the page of recent traces, and those of a stream of its changes.
fn recent_parameters(names: &Names, of_stream: Option<Value>) -> Value {
    let mut all = vec![
        query("tenant", "A tenant's name; all without it.", names.tenant(), "acme"),
        query(
            "stage",
            "Only traces that wait for this stage, were lost on the hop to it, or missed it.",
            names.stage(),
            "transit",
        ),
        listed(query(
            "outcome",
            "One or several outcomes or flaws, separated by commas. `failed` selects every outcome but `in_flight` and \
             `delivered`, `matters` every trace with a flaw.",
            json!({ "type": "array", "items": { "type": "string", "enum": outcome_values() } }),
            json!(["lost", "late"]),
        )),
        query(
            "condition",
            "Only traces in which this condition shows.",
            words(&ConditionName::ALL.map(ConditionName::as_str)),
            "losing",
        ),
        query(
            "since",
            "Only traces whose planned injection is not before this instant, or not longer ago than \
                this age.",
            instant(),
            "15m",
        ),
        query(
            "until",
            "Only traces whose planned injection is not after this.",
            instant(),
            "2026-11-22T02:41:10Z",
        ),
        query(
            "before",
            "A trace id: only older traces. `next` has it.",
            json!({ "type": "string", "pattern": "^([0-9a-f]{32})?$" }),
            ID,
        ),
        query(
            "after",
            "A trace id: only newer traces. `previous` has it.",
            json!({ "type": "string", "pattern": "^([0-9a-f]{32})?$" }),
            ID,
        ),
        query(
            "limit",
            &format!("Most traces in the answer; {DEFAULT_LIMIT} without it, on the page {ROWS}."),
            json!({ "anyOf": [{ "type": "integer", "minimum": 1, "maximum": MAX_LIMIT }, { "type": "string", "maxLength": 0 }] }),
            20,
        ),
        query("show", "`all` unfolds on the page what is folded.", words(&["all"]), "all"),
        format_of_page(),
    ];
    all.extend(of_stream);
    all.into()
}

fn trace_id() -> Value {
    json!({
        "name": "id", "in": "path", "required": true,
        "description": "The trace id, 32 hexadecimal digits in any case, with or without dashes; or a whole tag.",
        "schema": trace(),
        "example": ID,
    })
}

fn trace() -> Value {
    json!({ "type": "string", "pattern": TRACE, "maxLength": 100 })
}

/// Of the page that a browser has.
fn version() -> Value {
    query(
        "version",
        "The version of the page that is held, from its `ETag`.",
        json!({ "type": "string", "pattern": "^([0-9a-f]{16})?$" }),
        "0123456789abcdef",
    )
}

fn events() -> Value {
    body(
        "Events `patch` with the lines that changed. `reset` if the version is not known any more, and `gone` if the \
         page is not, each at the end of the stream.",
        "text/event-stream",
        json!({ "type": "string" }),
    )
}

fn one_trace(one: &Value, failure: &Value) -> Value {
    json!({
        "operationId": "oneTrace",
        "summary": "The history of one canary",
        "parameters": [
            trace_id(),
            format_of_page(),
        ],
        "responses": {
            "200": page_or(one, "The page of the trace, or the same as JSON."),
            "400": refused(failure),
            "404": error("No such trace is remembered. The sentence says where else to search.", failure),
            "503": busy(),
        },
    })
}

fn figures_over_time(names: &Names, history: &Value, failure: &Value) -> Value {
    json!({
        "operationId": "history",
        "summary": "Figures over time",
        "description": format!("By the minute for the last 24 hours and by the hour for the last 30 days. A request \
            that selects more than {MAX_FIGURES} figures (tenants, times hops, times minutes or hours) is refused: a \
            day of one tenant with all its hops by the minute is one request; for more, give a `tenant`, a `stage`, or \
            one part of the time after the other.\n\nSince canaries count by their planned injection, late evidence \
            corrects the bucket in which they were planned, until the tracker closes them; what is found later changes \
            no figure. Canaries that were adopted from a previous run without a store are not counted. If the probe is \
            killed, no canary is lost from the figures or counted twice; `verdict` may lack what was seen since the \
            last full minute."),
        "parameters": [
            query("tenant", "A tenant's name; all without it.", names.tenant(), "acme"),
            query("stage", "The hop to this stage, or `end_to_end`; all without it.", names.hop(), "end_to_end"),
            query("since", "From this instant, or this age. Without it, one hour of minutes or one day of hours.",
                instant(), "1d"),
            query("until", "Until this instant, or this age; now without it.", instant(), "2026-11-22T02:41:10Z"),
            query("step", "How long a bucket is; `minute` without it.", words(&Step::ALL.map(Step::as_str)), "hour"),
            query("format", "The answer is always JSON.", words(&["json"]), "json"),
        ],
        "responses": {
            "200": body("The figures.", "application/json", history.clone()),
            "400": refused(failure),
            "503": busy(),
        },
    })
}

fn runbook(names: &Names, failure: &Value) -> Value {
    json!({
        "operationId": "runbook",
        "summary": "The runbook as a page",
        "description": "With a chapter for each condition and alert (`#stuck`). With a tenant and a stage, the \
            commands of the chapters are filled in with what the configuration says of them.",
        "parameters": [
            query("tenant", "A tenant's name.", names.tenant(), "acme"),
            query("stage", "A stage's name.", names.stage(), "transit"),
        ],
        "responses": {
            "200": body("The page.", "text/html", json!({ "type": "string" })),
            "400": {
                "description": "The request is not valid. The sentence names what would be.",
                "content": {
                    "text/html": { "schema": { "type": "string" } },
                    "application/json": { "schema": failure },
                },
            },
            "503": busy(),
        },
    })
}

fn metrics() -> Value {
    json!({
        "operationId": "metrics",
        "summary": "The metrics for Prometheus",
        "description": "[metrics.md](metrics.md) lists them. OpenMetrics, with exemplars, if `Accept` prefers it.",
        "responses": { "200": {
            "description": "All series.",
            "content": {
                "text/plain": { "schema": { "type": "string" } },
                "application/openmetrics-text": { "schema": { "type": "string" } },
            },
        } },
    })
}

fn health(id: &str, summary: &str, description: &str, well: &str, ill: &str) -> Value {
    let text = |description: &str, example: &str| {
        let mut answer = body(description, "text/plain", json!({ "type": "string" }));
        answer["content"]["text/plain"]["example"] = json!(example);
        answer
    };
    json!({
        "operationId": id, "summary": summary, "description": description,
        "responses": { "200": text("It is.", well), "503": text("It is not: the reason.", ill) },
    })
}

fn show_log_level() -> Value {
    let text = |description: &str| body(description, "text/plain", json!({ "type": "string" }));
    json!({
        "operationId": "logLevel",
        "summary": "The level of the log",
        "description": "As `log.level` is written.",
        "responses": { "200": text("The level."), "404": text("`web.log_level` is not true.") },
    })
}

fn set_log_level() -> Value {
    let text = |description: &str| body(description, "text/plain", json!({ "type": "string" }));
    json!({
        "operationId": "setLogLevel",
        "summary": "Change the level of the log",
        "description": "Until the next start. The body is a level as `log.level` is written, such as `debug`.",
        "requestBody": {
            "required": true,
            "content": { "text/plain": { "schema": { "type": "string" }, "example": "debug" } },
        },
        "responses": {
            "200": text("It is in force."),
            "400": text("It is not a level: what would be one."),
            "403": text("The client has not logged in and is not on the probe's own machine or in its container, or a page of \
                         another site sent the request."),
            "404": text("`web.log_level` is not true."),
            "408": text("It did not arrive within 5 s."),
            "413": text("It is longer than 1 KB."),
        },
    })
}

fn begin_drill() -> Value {
    let text = |description: &str| body(description, "text/plain", json!({ "type": "string" }));
    json!({
        "operationId": "beginDrill",
        "summary": "Begin a drill",
        "description": "Begins a drill of the alert path ([drill.md](drill.md)), unless one goes on.",
        "responses": {
            "202": text("A drill begins, unless one goes on."),
            "403": text("The client is not on the probe's own machine or in its container, or a page of another site sent the \
                         request."),
            "404": text("Drills are not enabled."),
        },
    })
}

fn reload_configuration() -> Value {
    let text = |description: &str| body(description, "text/plain", json!({ "type": "string" }));
    json!({
        "operationId": "reload",
        "summary": "Read the configuration again",
        "description": "Reads the file again, as SIGHUP does, and answers once the new configuration is in force. Credentials \
                        are read again at most once a minute, by SIGHUP always. Needs `web.reload = true`.",
        "responses": {
            "200": text("It is in force; says what changed."),
            "400": text("It is refused, and the one before stays in force; has every reason, one a line."),
            "403": text("A page of another site sent the request."),
            "404": text("Reloading over HTTP is not enabled."),
        },
    })
}

fn drill_rang(notification: &Value) -> Value {
    let text = |description: &str| body(description, "text/plain", json!({ "type": "string" }));
    json!({
        "operationId": "drillRang",
        "summary": "Take a notification",
        "description": "A webhook receiver of Alertmanager (version 4). A firing alert of the tenant `drill` proves that \
            notifications arrive; others are ignored.",
        "requestBody": {
            "required": true,
            "content": { "application/json": {
                "schema": notification,
                "example": { "version": "4", "alerts": [{ "status": "firing", "labels": { "tenant": "drill" } }] },
            } },
        },
        "responses": {
            "200": text("It was read."),
            "400": text("It is not a notification of Alertmanager."),
            "403": text("A page of another site sent the request."),
            "404": text("Drills are not enabled."),
            "408": text("It did not arrive within 5 s."),
            "413": text("It is longer than 64 KB."),
        },
    })
}

fn query(name: &str, description: &str, schema: Value, example: impl Into<Value>) -> Value {
    let example = match (&schema["enum"], example.into()) {
        // An example that the configuration does not know would be refused.
        (Value::Array(known), example) if !known.contains(&example) => {
            known.first().cloned().unwrap_or(example)
        }
        (_, example) => example,
    };
    json!({ "name": name, "in": "query", "description": description, "schema": schema, "example": example })
}

fn required(mut parameter: Value) -> Value {
    parameter["required"] = true.into();
    parameter
}

/// The parameter with its values separated by commas.
fn listed(mut parameter: Value) -> Value {
    parameter["style"] = json!("form");
    parameter["explode"] = json!(false);
    parameter
}

fn format_of_page() -> Value {
    query("format", "The form of the answer; by `Accept` without it.", words(&["html", "json"]), "json")
}

fn instant() -> Value {
    // A form sends an empty value for what is not filled in.
    json!({ "type": "string", "anyOf": [{ "pattern": AGE }, { "pattern": INSTANT }, { "maxLength": 0 }] })
}

fn body(description: &str, media_type: &str, schema: Value) -> Value {
    json!({ "description": description, "content": { media_type: { "schema": schema } } })
}

fn page_or(schema: &Value, description: &str) -> Value {
    json!({
        "description": description,
        "content": {
            "application/json": { "schema": schema },
            "text/html": { "schema": { "type": "string" } },
        },
    })
}

/// Of a route of which few answers are made at a time.
fn busy() -> Value {
    body(
        "Other requests for pages and JSON took all of the last 5 s. `Retry-After` says when to ask again.",
        "text/plain",
        json!({ "type": "string" }),
    )
}

fn refused(failure: &Value) -> Value {
    error("The request is not valid. The sentence names the parameter and what would be valid.", failure)
}

fn error(description: &str, failure: &Value) -> Value {
    let mut answer = page_or(failure, description);
    answer["content"]["application/json"]["example"] = json!({
        "error": "`limit=0`: must be a whole number from 1 to 1000",
    });
    answer
}
