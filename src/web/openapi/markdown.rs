//! Prints the document for people, as `docs/api.md`.

use std::fmt::Write as _;

use serde_json::{Map, Value};

/// The address in examples.
const ADDRESS: &str = "http://localhost:9464";

/// The document as Markdown: routes with their parameters, then the objects of the answers with their fields, in
/// the order in which they are first named.
pub(super) fn print(document: &Value) -> String {
    let mut text = "<!-- Generated from src/web/openapi.rs and the answers' structs: `make api-docs` writes it again. -->\n\n\
                    # The API\n\n"
        .to_owned();
    text += document["info"]["description"].as_str().unwrap_or_default();
    let paths = object(&document["paths"]);
    text += "\n| route | answers with |\n|---|---|\n";
    for (path, method, operation) in operations(paths) {
        let title = format!("{} {path}", method.to_uppercase());
        let _ = writeln!(text, "| [`{title}`](#{}) | {} |", anchor(&title), string(operation, "summary"));
    }
    let mut named = Vec::new();
    for (path, method, operation) in operations(paths) {
        let _ =
            writeln!(text, "\n## `{} {path}`\n\n{}.", method.to_uppercase(), string(operation, "summary"));
        paragraph(&mut text, string(operation, "description"));
        let _ = write!(text, "\n```sh\n{}\n```\n", example(path, method, operation));
        parameters(&mut text, operation);
        answers(&mut text, operation, &mut named);
    }
    let schemas = object(&document["components"]["schemas"]);
    text += "\n## Objects\n";
    let mut at = 0;
    while let Some(name) = named.get(at).cloned() {
        at += 1;
        fields(&mut text, &name, &schemas[&name], &mut named);
    }
    text
}

/// Path, method and operation, in the order of the document's own list of routes: answers first.
fn operations(paths: &Map<String, Value>) -> Vec<(&str, &str, &Value)> {
    const ORDER: [&str; 14] = [
        "/traces/recent",
        "/traces/{id}",
        "/history",
        "/metrics",
        "/healthz",
        "/readyz",
        "/-/healthy",
        "/-/ready",
        "/config",
        "/runbook",
        "/openapi.json",
        "/-/drill",
        "/-/drill/notification",
        "/-/log-level",
    ];
    let place = |path: &str| ORDER.iter().position(|it| *it == path).unwrap_or(ORDER.len());
    let mut all: Vec<_> = paths
        .iter()
        .flat_map(|(path, methods)| {
            object(methods).iter().map(move |(method, operation)| (path.as_str(), method.as_str(), operation))
        })
        .collect();
    all.sort_by_key(|(path, ..)| place(path));
    all
}

fn parameters(text: &mut String, operation: &Value) {
    let Some(all) = operation["parameters"].as_array() else { return };
    *text += "\n| parameter | takes | meaning |\n|---|---|---|\n";
    for parameter in all {
        let _ = writeln!(
            text,
            "| `{}` | {} | {} |",
            string(parameter, "name"),
            cell(&taken(&parameter["schema"])),
            cell(string(parameter, "description"))
        );
    }
}

/// The values of a parameter, as text.
fn taken(schema: &Value) -> String {
    if let Some(values) = schema["enum"].as_array().or_else(|| schema["items"]["enum"].as_array()) {
        // The empty value is explained once, in the introduction.
        return words(&values.iter().filter(|value| *value != "").cloned().collect::<Vec<_>>());
    }
    if let Some(number) =
        schema["anyOf"].as_array().and_then(|any| any.iter().find(|it| it["type"] == "integer"))
    {
        return format!("{} to {}", number["minimum"], number["maximum"]);
    }
    if schema["anyOf"].is_array() {
        return "an age (`90s`, `15m`, `2h`, `1d`) or an instant (`2026-11-22T02:41:10Z`)".to_owned();
    }
    match schema["pattern"].as_str() {
        Some(_) => "an id or a tag".to_owned(),
        None => "a name".to_owned(),
    }
}

fn answers(text: &mut String, operation: &Value, named: &mut Vec<String>) {
    *text += "\n| status | content | meaning |\n|---|---|---|\n";
    for (status, answer) in object(&operation["responses"]) {
        let content: Vec<_> = object(&answer["content"])
            .iter()
            .map(|(kind, content)| match referenced(&content["schema"]) {
                Some(name) => {
                    remember(named, name);
                    format!("`{kind}`: [{name}](#{})", anchor(name))
                }
                None => format!("`{kind}`"),
            })
            .collect();
        let _ = writeln!(
            text,
            "| {status} | {} | {} |",
            content.join("<br>"),
            cell(string(answer, "description"))
        );
    }
    if let Some(name) = referenced(&operation["requestBody"]["content"]["application/json"]["schema"]) {
        remember(named, name);
        let _ = writeln!(
            text,
            "\nThe body is a [{name}](#{}); fields that are not listed are ignored.",
            anchor(name)
        );
    }
}

fn fields(text: &mut String, name: &str, schema: &Value, named: &mut Vec<String>) {
    let _ = writeln!(text, "\n### {name}\n");
    if let Some(description) = schema["description"].as_str() {
        let _ = writeln!(text, "{}\n", filled(description));
    }
    if let Some(values) = schema["oneOf"].as_array() {
        *text += "| value | meaning |\n|---|---|\n";
        for value in values {
            let _ =
                writeln!(text, "| `{}` | {} |", string(value, "const"), cell(string(value, "description")));
        }
        return;
    }
    *text += "| field | type | meaning |\n|---|---|---|\n";
    for (field, schema) in object(&schema["properties"]) {
        let kind = kind(schema, named);
        let mut meaning = string(schema, "description").to_owned();
        if let Some(values) = schema["enum"].as_array() {
            let values: Vec<_> = values.iter().filter(|value| !value.is_null()).cloned().collect();
            // A sentence that explains every value has listed them.
            if !values
                .iter()
                .all(|value| meaning.contains(&format!("`{}`", value.as_str().unwrap_or_default())))
            {
                meaning = format!("{meaning} One of {}.", words(&values));
            }
        }
        let _ = writeln!(text, "| `{field}` | {kind} | {} |", cell(&meaning));
    }
}

/// The type of a field as text, with a link to what is described elsewhere.
fn kind(schema: &Value, named: &mut Vec<String>) -> String {
    if let Some(name) = referenced(schema) {
        remember(named, name);
        return format!("[{name}](#{})", anchor(name));
    }
    if let Some(all) = schema["anyOf"].as_array() {
        let all: Vec<_> = all.iter().map(|one| kind(one, named)).collect();
        return all.join(" or ");
    }
    let names = match &schema["type"] {
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
        Value::String(name) => vec![name.as_str()],
        _ => Vec::new(),
    };
    let names: Vec<_> = names
        .into_iter()
        .map(|name| match name {
            "array" => format!("list of {}", kind(&schema["items"], named)),
            "string" if schema["format"] == "date-time" => "instant".to_owned(),
            other => other.to_owned(),
        })
        .collect();
    names.join(" or ")
}

fn referenced(schema: &Value) -> Option<&str> {
    schema["$ref"].as_str()?.rsplit('/').next()
}

fn remember(named: &mut Vec<String>, name: &str) {
    if !named.iter().any(|it| it == name) {
        named.push(name.to_owned());
    }
}

/// A request with curl.
fn example(path: &str, method: &str, operation: &Value) -> String {
    let (mut path, mut query) = (path.to_owned(), Vec::new());
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        let (name, value) = (string(parameter, "name"), plain(&parameter["example"]));
        if parameter["in"] == "path" {
            path = path.replace(&format!("{{{name}}}"), &value);
        } else if name != "until" {
            query.push(format!("{name}={value}"));
        }
    }
    let query = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
    let body = &operation["requestBody"]["content"]["application/json"]["example"];
    let data = if body.is_null() {
        String::new()
    } else {
        format!(" --header 'content-type: application/json' --data '{body}'")
    };
    let method =
        if method == "get" { String::new() } else { format!(" --request {}", method.to_uppercase()) };
    format!("curl --silent --show-error{method}{data} '{ADDRESS}{path}{query}'")
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

fn words(values: &[Value]) -> String {
    values.iter().map(|value| format!("`{}`", plain(value))).collect::<Vec<_>>().join(", ")
}

fn paragraph(text: &mut String, of: &str) {
    if !of.is_empty() {
        for part in of.split("\n\n") {
            let _ = write!(text, "\n{}\n", filled(part));
        }
    }
}

/// The text in lines of at most 120 characters.
fn filled(text: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.len() + 1 + word.len() <= 120 => {
                line.push(' ');
                line.push_str(word);
            }
            Some(_) | None => lines.push(word.to_owned()),
        }
    }
    lines.join("\n")
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

/// As forges make it of a heading.
fn anchor(heading: &str) -> String {
    let letters = heading.chars().filter(|it| it.is_alphanumeric() || matches!(it, ' ' | '-' | '_'));
    letters.map(|it| if it == ' ' { '-' } else { it.to_ascii_lowercase() }).collect()
}

fn string<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

fn object(value: &Value) -> &Map<String, Value> {
    static NONE: std::sync::LazyLock<Map<String, Value>> = std::sync::LazyLock::new(Map::new);
    value.as_object().unwrap_or(&NONE)
}
