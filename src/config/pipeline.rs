//! The table `[pipeline]`: names of parts that the probe does not poll, for dashboards and the runbook.

use toml::{Table, Value};

use super::keys;
use super::sections::section;
use crate::domain::pipeline::Pipeline;
use crate::keys::fault::Checked;
use crate::keys::reader::Context;
use crate::keys::value::{self, Parsed, expand};

/// Enough for a team's tunnels, gateways and jobs, and few enough for one panel (20 lines, two for each).
const MOST: usize = 10;

pub(super) fn pipeline(context: &mut Context, root: &Table) -> Checked<Pipeline> {
    let mut read = section(context, root, "pipeline", 12, &keys::PIPELINE, &[]);
    let mut of_tenant = |key| read.find(key, name_with(&["tenant"]));
    let (forwarder, aggregation) = (of_tenant("forwarder"), of_tenant("aggregation"));
    let (export, firehose) = (of_tenant("export"), of_tenant("firehose"));
    let mut one = |key| read.find(key, name_with(&[]));
    let (central_stream, queue) = (one("central_stream"), one("dead_letter_queue"));
    let (archive_metrics, project) = (one("archive_metrics"), one("google_project"));
    let role = read.find("metrics_role", metrics_role);
    let vpn = read.find("vpn_connections", names(|text| id("vpn-", text)));
    let nat = read.find("nat_gateways", names(|text| id("nat-", text)));
    let alarms = read.find("alarms", names(alarm));
    let mut several = |key| read.find(key, names(Ok));
    let (tunnels, attachments) = (several("google_vpn_tunnels"), several("interconnect_attachments"));
    let jobs = several("transfer_jobs");
    let slots = read.find("slots", value::count(1, 1_000_000));
    Ok(Pipeline {
        forwarder: forwarder?,
        aggregation: aggregation?,
        export: export?,
        central_stream: central_stream?,
        firehose: firehose?,
        dead_letter_queue: queue?,
        archive_metrics: archive_metrics?,
        vpn_connections: vpn?.unwrap_or_default(),
        nat_gateways: nat?.unwrap_or_default(),
        alarms: alarms?.unwrap_or_default(),
        metrics_role: role?,
        google_project: project?,
        google_vpn_tunnels: tunnels?.unwrap_or_default(),
        interconnect_attachments: attachments?.unwrap_or_default(),
        transfer_jobs: jobs?.unwrap_or_default(),
        slots: slots?,
    })
}

/// Reads a name in which these placeholders may occur. It becomes part of queries and of regular expressions, in
/// which quotes and braces would end something.
fn name_with(placeholders: &'static [&'static str]) -> impl Fn(&Value) -> Parsed<String> {
    move |value| {
        let text = value::text(value)?;
        let values: Vec<_> = placeholders.iter().map(|name| (*name, "x")).collect();
        let plain = if values.is_empty() { text.clone() } else { expand(&text, &values)? };
        let fits = |c: char| c.is_ascii_alphanumeric() || "-_./:@ ".contains(c);
        match plain.chars().find(|c| !fits(*c)) {
            Some(c) => Err(format!(
                "\"{text}\" contains {c:?}; write letters, digits, spaces, and any of - _ . / : @"
            )),
            None => Ok(text),
        }
    }
}

/// Reads several names, each of which must pass `check`.
fn names(check: impl Fn(String) -> Parsed<String>) -> impl Fn(&Value) -> Parsed<Vec<String>> {
    move |value| {
        let names = value::list(|item| check(name_with(&[])(item)?))(value)?;
        if names.len() > MOST {
            return Err(format!(
                "has {} names; a panel shows at most {MOST}, so leave out the others",
                names.len()
            ));
        }
        Ok(names)
    }
}

/// Checks the id of a part of a network in AWS: a prefix, and letters and digits.
fn id(prefix: &str, text: String) -> Parsed<String> {
    let rest = text.strip_prefix(prefix).unwrap_or_default();
    if !rest.is_empty() && rest.chars().all(|c| c.is_ascii_alphanumeric()) {
        Ok(text)
    } else {
        Err(format!("\"{text}\" is not a valid id; write for example \"{prefix}0a1b2c3d4e5f60718\""))
    }
}

/// Checks the ARN of an alarm, which has an account and a region (Amazon CloudWatch, Service Authorization Reference).
fn alarm(text: String) -> Parsed<String> {
    let parts: Vec<_> = text.splitn(7, ':').collect();
    let is_arn = matches!(
        parts.as_slice(),
        ["arn", partition, "cloudwatch", region, account, "alarm", name]
            if partition.starts_with("aws") && !region.is_empty() && is_account(account) && !name.is_empty()
    );
    if is_arn {
        Ok(text)
    } else {
        Err(format!(
            "\"{text}\" is not the ARN of an alarm; write for example \
             \"arn:aws:cloudwatch:eu-central-1:222222222222:alarm:traceprobe-task-stopped\""
        ))
    }
}

/// Reads the ARN of a role, in which `{account}` may be in place of the account.
fn metrics_role(value: &Value) -> Parsed<String> {
    let text = name_with(&["account"])(value)?;
    let parts: Vec<_> = text.splitn(6, ':').collect();
    let is_arn = matches!(
        parts.as_slice(),
        ["arn", partition, "iam", "", account, resource]
            if partition.starts_with("aws")
                && (*account == "{account}" || is_account(account))
                && resource.strip_prefix("role/").is_some_and(|name| !name.is_empty())
    );
    if is_arn {
        Ok(text)
    } else {
        Err(format!(
            "\"{text}\" is not the ARN of a role; write for example \"arn:aws:iam::{{account}}:role/metrics-reader\""
        ))
    }
}

fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|digit| digit.is_ascii_digit())
}
