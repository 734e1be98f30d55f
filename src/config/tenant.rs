//! Reads the tables `[[tenant]]`.

use std::collections::BTreeMap;
use std::time::Duration;

use toml::{Table, Value};

use super::keys;
use super::sections::{self, CanaryRead};
use super::settings::Tenant;
use crate::cloud::account::{self, Account};
use crate::domain::canary::Template;
use crate::domain::drill::DRILL_TENANT;
use crate::domain::tag::TenantCode;
use crate::domain::topology::{SHARED_OWNER, UNKNOWN_TENANT};
use crate::keys::fault::{Checked, Collector};
use crate::keys::reader::{Context, Layer, Reader};
use crate::keys::value::{self, Parsed, expand, show_size};

/// Most log groups of a tenant. They take turns, so with more, each would wait long for a canary.
const MAX_LOG_GROUPS: usize = 100;
/// The place of the tenants among the tables when the configuration is shown.
pub(super) const ORDER: usize = 15;

/// One tenant as far as it could be read.
pub(super) struct TenantRead<'a> {
    /// `tenant.acme`, or `tenant[2]` if the name is missing.
    pub(super) path: String,
    /// The name as written, even if it is not valid.
    pub(super) name: Option<String>,
    pub(super) table: &'a Table,
    pub(super) tenant: Checked<Tenant>,
}

/// What applies to a tenant that does not set a key of its own.
pub(super) struct Defaults<'a> {
    pub(super) canary: &'a CanaryRead,
    pub(super) interval: Checked<Duration>,
    pub(super) region: &'a Checked<Option<String>>,
    pub(super) instance: &'a str,
}

/// Returns the layer of the table at `index` of `[[list]]`.
pub(super) fn layer<'a>(
    context: &Context,
    list: &str,
    index: usize,
    order: usize,
    table: &'a Table,
) -> Layer<'a> {
    let name = table.get("name").and_then(Value::as_str).filter(|name| !name.is_empty());
    Layer {
        path: name.map_or_else(|| format!("{list}[{}]", index + 1), |name| format!("{list}.{name}")),
        variables: name.map(|name| context.variable(&[list, name])),
        table: Some(table),
        header: format!("[[{list}]]"),
        order: (order, index, 0),
    }
}

pub(super) fn read<'a>(
    context: &mut Context,
    root: &'a Table,
    defaults: &Defaults<'_>,
) -> Vec<TenantRead<'a>> {
    let tables = context.tables(root, "tenant");
    if tables.is_empty() && !root.contains_key("tenant") {
        context
            .faults
            .report("tenant", "no tenant is defined, so there is nothing to measure; add a [[tenant]] table");
    }
    let tenants: Vec<_> =
        tables.into_iter().enumerate().map(|(index, table)| one(context, index, table, defaults)).collect();
    check_names(&mut context.faults, &tenants);
    tenants
}

fn one<'a>(context: &mut Context, index: usize, table: &'a Table, defaults: &Defaults<'_>) -> TenantRead<'a> {
    let layer = layer(context, "tenant", index, ORDER, table);
    let path = layer.path.clone();
    context.survey(&layer, &keys::TENANT.iter().collect::<Vec<_>>(), &["stage"]);
    let mut read = Reader::new(context, vec![layer], &keys::TENANT);
    let name = required_name(&mut read, "tenant", index, "acme");
    let label = read.find("label", value::text);
    let log_group = read.find("log_group", value::text);
    let log_groups = read.find("log_groups", value::list(value::text));
    let log_stream = read.get("log_stream", value::text);
    let template = read.find("template", sections::template);
    let interval = read
        .find("interval", value::duration_within(Duration::from_millis(1), Duration::from_secs(86_400), ""));
    let sizes = read.find("sizes", sections::sizes);

    let expand = |text: &str| {
        let name = name.clone().unwrap_or_default();
        expand(text, &[("tenant", name.as_str()), ("instance", defaults.instance)])
    };
    let log_stream = log_stream.and_then(|text| {
        expand(&text).and_then(check_log_stream).map_err(|message| read.report("log_stream", message))
    });
    let log_group_key = if matches!(log_groups, Ok(Some(_))) { "log_groups" } else { "log_group" };
    let log_groups =
        log_groups_of(&mut read, log_group, log_groups, |text| expand(text).and_then(account::log_group));
    let first = log_groups.as_ref().ok().and_then(|groups| groups.first());
    let account = Account::read(&mut read, defaults.region, first.map(String::as_str));
    if let (Ok(groups), Ok(account)) = (&log_groups, &account)
        && let Some(message) = in_another_account(groups, account)
    {
        read.report(log_group_key, message);
    }
    let own_template = matches!(template, Ok(Some(_)));
    let template: Checked<Option<Template>> = match template {
        Ok(None) => defaults.canary.template.clone(),
        given => given,
    };
    let own_sizes = matches!(sizes, Ok(Some(_)));
    let sizes = match sizes {
        Ok(None) => defaults.canary.sizes.clone(),
        Ok(Some(own)) => Ok(own),
        Err(reported) => Err(reported),
    };
    if let (Ok(template), Ok(sizes)) = (&template, &sizes) {
        let least = template.clone().unwrap_or_default().min_size();
        if let Some(small) = sizes.iter().find(|size| (**size as usize) < least) {
            let template = match (own_template, template) {
                (true, _) => format!("the template of {path}"),
                (false, Some(_)) => "canary.template".to_owned(),
                (false, None) => "the default template".to_owned(),
            };
            let key = if own_sizes { read.key("sizes") } else { "canary.sizes".to_owned() };
            let message = format!(
                "{} cannot hold {template}, which needs at least {least}B",
                show_size(u64::from(*small))
            );
            read.context.faults.report(key, message);
        }
    }
    let all = || {
        let name = name.clone()?;
        Ok(Tenant {
            label: label?.unwrap_or_else(|| name.clone()).into(),
            name: name.into(),
            log_groups: log_groups?,
            log_stream: log_stream?,
            account: account?,
            template: template?.unwrap_or_default(),
            interval: match interval? {
                Some(own) => own,
                None => defaults.interval?,
            },
            sizes: sizes?,
        })
    };
    TenantRead { path, tenant: all(), name: written_name(table), table }
}

/// The log groups of a tenant: one, or several, each named once.
fn log_groups_of(
    read: &mut Reader<'_, '_>,
    one: Checked<Option<String>>,
    several: Checked<Option<Vec<String>>>,
    parse: impl Fn(&str) -> Result<String, String>,
) -> Checked<Vec<String>> {
    let (key, names) = match (one?, several?) {
        (Some(one), None) => ("log_group", vec![one]),
        (None, Some(several)) => ("log_groups", several),
        (None, None) => {
            let message =
                "missing; set the log group into which canaries are put, or several as log_groups = [..]";
            return Err(read.report("log_group", message));
        }
        (Some(one), Some(_)) => {
            let message = format!(
                "log_group = \"{one}\" is set as well; write every log group into log_groups, and remove log_group"
            );
            return Err(read.report("log_groups", message));
        }
    };
    // Each is parsed before the first fault ends it, so that all are reported.
    let groups: Vec<Checked<String>> =
        names.iter().map(|name| parse(name).map_err(|message| read.report(key, message))).collect();
    let groups = groups.into_iter().collect::<Checked<Vec<String>>>()?;
    for what in ["region", "account"] {
        let place = if what == "region" { account::region_of_arn } else { account::account_of_arn };
        let mut of_arns = groups.iter().filter_map(|group| place(group));
        let first = of_arns.next();
        if let Some((one, other)) = first.and_then(|one| Some((one, of_arns.find(|other| *other != one)?))) {
            let message = format!(
                "these log groups are in {one} and in {other}; make a tenant of each {what}, with the same label if they are one client"
            );
            return Err(read.report(key, message));
        }
    }
    if let Some(message) = named_twice(&groups) {
        return Err(read.report(key, message));
    }
    if groups.len() > MAX_LOG_GROUPS {
        let message = format!("{} log groups are too many; a tenant may have {MAX_LOG_GROUPS}", groups.len());
        return Err(read.report(key, message));
    }
    Ok(groups)
}

/// What is wrong if a log group is there twice, whether by its name or by its ARN: all are in one account and region.
fn named_twice(groups: &[String]) -> Option<String> {
    let mut seen: BTreeMap<&str, &String> = BTreeMap::new();
    groups.iter().find_map(|group| {
        let other = seen.insert(account::log_group_name(group), group)?;
        Some(if other == group {
            format!("\"{group}\" is there twice; name each log group once")
        } else {
            format!("\"{group}\" is the same log group as \"{other}\"; name each log group once")
        })
    })
}

/// What is wrong if an ARN names another account than that of the role: PutLogEvents takes the name alone, so canaries
/// would go to a log group of that name in the account of the role.
fn in_another_account(groups: &[String], account: &Account) -> Option<String> {
    let of_role = account.number()?;
    let named = groups.iter().find_map(|group| Some((group, account::account_of_arn(group)?)));
    let (group, named) = named.filter(|(_, named)| *named != of_role)?;
    Some(format!(
        "\"{group}\" is in account {named}, but role_arn is a role of account {of_role}, and canaries go to the account of the role; correct one of them"
    ))
}

/// Reads the name of the table at `index` of a list. Without a name there is no path by which to refer to the
/// table, so the message says which one it is.
pub(super) fn required_name(
    read: &mut Reader<'_, '_>,
    list: &str,
    index: usize,
    example: &str,
) -> Checked<String> {
    const ORDINALS: [&str; 5] = ["first", "second", "third", "fourth", "fifth"];
    match read.find("name", name)? {
        Some(name) => Ok(name),
        None => {
            let which = match ORDINALS.get(index) {
                Some(ordinal) => format!("the {ordinal} {list}"),
                None => format!("{list} number {}", index + 1),
            };
            Err(read.report("name", format!("{which} has no name; add for example name = \"{example}\"")))
        }
    }
}

pub(super) fn written_name(table: &Table) -> Option<String> {
    table.get("name").and_then(Value::as_str).map(str::to_owned)
}

/// Reads the name of a tenant or stage, which becomes a metric label and part of URLs and variables.
pub(super) fn name(value: &Value) -> Parsed<String> {
    let text = value::text(value)?;
    let good = text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.len() <= 64
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-');
    good.then_some(()).ok_or_else(|| {
        format!(
            "\"{text}\" is not a valid name; write a lower-case letter, then up to 63 lower-case letters, digits, `_` or `-`"
        )
    })?;
    Ok(text)
}

fn check_names(faults: &mut Collector, tenants: &[TenantRead<'_>]) {
    let mut names = BTreeMap::new();
    let mut codes = BTreeMap::new();
    for read in tenants {
        let Some(name) = &read.name else { continue };
        if [SHARED_OWNER, UNKNOWN_TENANT].contains(&name.as_str()) {
            faults.report(
                format!("{}.name", read.path),
                format!(
                    "\"{name}\" is not a valid name of a tenant, because metrics use it for what is of no single tenant; choose another, such as \"{name}-tenant\""
                ),
            );
        }
        // Also without drills: alerts that pool tenants leave it out.
        if name == DRILL_TENANT {
            faults.report(
                format!("{}.name", read.path),
                format!(
                    "\"{name}\" is not a valid name of a tenant, because it is that of the tenant of drills; choose another, such as \"{name}-tenant\""
                ),
            );
        }
        if names.insert(name.clone(), ()).is_some() {
            faults.report(
                format!("{}.name", read.path),
                format!("two tenants are named {name}; names must be unique"),
            );
            continue;
        }
        if let Some(other) = codes.insert(TenantCode::of(name), name) {
            faults.report(
                format!("{}.name", read.path),
                format!(
                    "{name} and {other} have the same tenant code in tags, so their canaries could not be told apart; change one of the names"
                ),
            );
        }
    }
}

/// Checks a log stream name: `[^:*]*`, 1 to 512 characters (AWS Logs API reference, CreateLogStream).
fn check_log_stream(text: String) -> Result<String, String> {
    if (1..=512).contains(&text.chars().count()) && !text.contains([':', '*']) {
        Ok(text)
    } else {
        Err(format!(
            "\"{text}\" is not a valid log stream name; write 1 to 512 characters without `:` or `*`"
        ))
    }
}
