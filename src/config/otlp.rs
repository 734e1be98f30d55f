//! Reads the table `[otlp]`: where finished traces are exported.

use http::{HeaderName, HeaderValue};
use toml::{Table, Value};

use super::keys;
use super::sections::section;
use crate::cloud::proxy::Proxy;
use crate::keys::fault::Checked;
use crate::keys::reader::Context;
use crate::keys::value::{self, Parsed};

/// Where finished traces are exported, and which.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Otlp {
    /// The base URL of a receiver of OTLP over HTTP.
    pub endpoint: String,
    /// Headers of each request. Their values print as `Sensitive`.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// One in this many delivered canaries is exported; none if it is 0.
    pub sample: u32,
    /// How requests leave.
    pub proxy: Proxy,
}

pub(super) fn otlp(context: &mut Context, root: &Table) -> Checked<Option<Otlp>> {
    // A proxy that cannot be used is reported with the clients of AWS.
    let proxy = Proxy::from_variables(&context.env).unwrap_or_default();
    let mut read = section(context, root, "otlp", ORDER, &keys::OTLP, &[]);
    let endpoint = read.find("endpoint", value::url("http://127.0.0.1:4318"));
    let headers = read.find("headers", headers);
    let sample = read.get("sample", value::count(0, 1_000_000));
    let (headers, sample) = (headers?.unwrap_or_default(), sample?);
    Ok(endpoint?.map(|endpoint| Otlp { endpoint, headers, sample, proxy }))
}

/// Its place among the tables.
const ORDER: usize = 13;

/// Reads headers as OTEL_EXPORTER_OTLP_HEADERS has them. Faults do not quote them, because they are secret.
fn headers(value: &Value) -> Parsed<Vec<(HeaderName, HeaderValue)>> {
    let wrong = || "is not a list of headers; write for example \"api-key=…,tenant=sre\"".to_owned();
    let header = |pair: &str| {
        let (name, value) = pair.split_once('=')?;
        let mut value = HeaderValue::try_from(value.trim()).ok()?;
        value.set_sensitive(true);
        Some((HeaderName::try_from(name.trim()).ok()?, value))
    };
    let text = value.as_str().ok_or_else(wrong)?;
    let pairs = text.split(',').filter(|pair| !pair.trim().is_empty());
    pairs.map(header).collect::<Option<_>>().ok_or_else(wrong)
}
