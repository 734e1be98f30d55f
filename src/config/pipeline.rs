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
    let role = read.find("metrics_role", name_with(&["account"]));
    let mut several = |key| read.find(key, names);
    let (vpn, nat, alarms) = (several("vpn_connections"), several("nat_gateways"), several("alarms"));
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

fn names(value: &Value) -> Parsed<Vec<String>> {
    let names = value::list(name_with(&[]))(value)?;
    if names.len() > MOST {
        return Err(format!(
            "has {} names; a panel shows at most {MOST}, so leave out the others",
            names.len()
        ));
    }
    Ok(names)
}
