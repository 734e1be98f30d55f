//! Reads `[aws.endpoints]`, its tables of single regions, and `[gcp.endpoints]`: the addresses of services that are not
//! at their usual address.

use std::collections::BTreeMap;

use toml::{Table, Value};

use super::keys;
use crate::cloud::account;
use crate::cloud::aws::Endpoints;
use crate::keys::fault::Checked;
use crate::keys::key::Key;
use crate::keys::reader::{Context, Reader};
use crate::keys::value;

/// Reads the table `[<cloud>.endpoints]`.
pub(super) fn of_cloud<T: FromIterator<(&'static str, String)>>(
    context: &mut Context,
    root: &Table,
    cloud: &'static str,
    known: &'static [Key],
) -> Checked<T> {
    let parent = context.table(Some(root), cloud, cloud);
    let table = context.table(parent, &format!("{cloud}.endpoints"), "endpoints");
    let order = if cloud == "aws" { AWS_ORDER } else { AWS_ORDER + 2 };
    let layer = context.section(&[cloud, "endpoints"], order, table);
    // Google has no regions.
    let regions: Vec<_> = regions(table.filter(|_| cloud == "aws")).map(|(region, _)| region).collect();
    context.survey(&layer, &known.iter().collect::<Vec<_>>(), &regions);
    addresses(&mut Reader::new(context, vec![layer], known), known)
}

/// Reads the tables `[aws.endpoints.<region>]`.
pub(super) fn of_regions(context: &mut Context, root: &Table) -> Checked<BTreeMap<String, Endpoints>> {
    let known: &'static [Key] = &keys::AWS_ENDPOINTS;
    let endpoints = root.get("aws").and_then(|aws| aws.get("endpoints")).and_then(Value::as_table);
    let read: Vec<_> = regions(endpoints)
        .enumerate()
        .map(|(index, (region, table))| {
            if !account::is_region(region) {
                let message = "is neither a service nor a valid AWS region; write for example [aws.endpoints.eu-central-1]";
                return Err(context.faults.report(format!("aws.endpoints.{region}"), message));
            }
            let mut layer = context.section(&["aws", "endpoints", region], AWS_ORDER, Some(table));
            layer.order.1 = index + 1;
            context.survey(&layer, &known.iter().collect::<Vec<_>>(), &[]);
            Ok((region.to_owned(), addresses(&mut Reader::new(context, vec![layer], known), known)?))
        })
        .collect();
    read.into_iter().collect()
}

/// Place of `[aws.endpoints]` among all tables when the configuration is shown.
const AWS_ORDER: usize = 5;

/// Returns the tables of regions. A table in the place of a service's address is a fault of that key.
fn regions(endpoints: Option<&Table>) -> impl Iterator<Item = (&str, &Table)> {
    let tables = endpoints.into_iter().flatten();
    let tables = tables.filter_map(|(name, value)| Some((name.as_str(), value.as_table()?)));
    tables.filter(|(name, _)| keys::AWS_ENDPOINTS.iter().all(|key| key.name != *name))
}

/// Reads the endpoint of each known service that is set.
fn addresses<T: FromIterator<(&'static str, String)>>(
    read: &mut Reader<'_, '_>,
    known: &'static [Key],
) -> Checked<T> {
    let all: Vec<_> = known
        .iter()
        .map(|key| Ok(Some((key.name, read.find(key.name, value::url("http://127.0.0.1:4566"))?))))
        .collect();
    let set = all.into_iter().filter_map(|endpoint: Checked<Option<(_, Option<String>)>>| match endpoint {
        Ok(endpoint) => endpoint.and_then(|(name, url)| Some(Ok((name, url?)))),
        Err(reported) => Some(Err(reported)),
    });
    set.collect()
}
