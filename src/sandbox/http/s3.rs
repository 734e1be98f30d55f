//! S3, REST and XML, path style: ListObjectsV2, GetObject, HeadObject and HeadBucket on two buckets.

use axum::body::Body;
use axum::http::{Method, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;

use super::super::clock::Micros;
use super::super::names::Service;
use super::super::world::buckets::{Object, Start};
use super::super::world::{Shared, World};
use super::{Call, CallTarget, Failure, long_message, plain, request_id, server_status, xml};

/// Maximum number of keys on a page (Amazon S3 API reference, ListObjectsV2).
const PAGE_KEYS: usize = 1_000;

pub(super) fn identify(world: &World, call: &Call) -> CallTarget {
    let (bucket, key) = place(call);
    let (operation, resource) = match (&call.method, key.is_empty()) {
        (&Method::GET, true) if call.query("list-type").as_deref() == Some("2") => {
            ("ListObjectsV2", format!("{bucket}/{}", call.query("prefix").unwrap_or_default()))
        }
        (&Method::HEAD, true) => ("HeadBucket", bucket),
        (&Method::GET, false) => ("GetObject", format!("{bucket}/{key}")),
        (&Method::HEAD, false) => ("HeadObject", format!("{bucket}/{key}")),
        _ => ("Unknown", bucket),
    };
    CallTarget {
        operation: operation.to_owned(),
        tenant: world.labelled(&resource).map(str::to_owned),
        resource,
    }
}

pub(super) fn failure_response(failure: Failure) -> Response {
    match failure {
        Failure::Throttled => {
            error(StatusCode::SERVICE_UNAVAILABLE, "SlowDown", "Please reduce your request rate.")
        }
        Failure::Denied => error(StatusCode::FORBIDDEN, "AccessDenied", "Access Denied"),
        Failure::Long(bytes) => error(StatusCode::BAD_REQUEST, "InvalidRequest", &long_message(bytes)),
        Failure::Server(status) => {
            let code = if status == 503 { "ServiceUnavailable" } else { "InternalError" };
            error(server_status(status), code, "We encountered an internal error. Please try again.")
        }
    }
}

pub(super) fn handle(shared: &Shared, operation: &str, call: &Call) -> Response {
    let (bucket_name, key) = place(call);
    let world = shared.lock();
    let Some(bucket) = world.bucket(&bucket_name) else {
        return error(StatusCode::NOT_FOUND, "NoSuchBucket", "The specified bucket does not exist");
    };
    if !World::is_sre(&call.account) {
        return error(StatusCode::FORBIDDEN, "AccessDenied", "Access Denied");
    }
    match operation {
        "ListObjectsV2" => list(&world, &bucket_name, call),
        "HeadBucket" => plain(StatusCode::OK, "application/xml", Body::empty()),
        "GetObject" | "HeadObject" => match bucket.objects.get(&key) {
            Some(object) => get(object, world.stamp(Service::S3, object.modified), call),
            None => error(StatusCode::NOT_FOUND, "NoSuchKey", "The specified key does not exist."),
        },
        _ => error(
            StatusCode::METHOD_NOT_ALLOWED,
            "MethodNotAllowed",
            "The specified method is not allowed against this resource.",
        ),
    }
}

fn list(world: &World, bucket_name: &str, call: &Call) -> Response {
    let prefix = call.query("prefix").unwrap_or_default();
    let max = match call.query("max-keys").map(|text| text.parse::<usize>()) {
        None => PAGE_KEYS,
        Some(Ok(max)) => max.min(PAGE_KEYS),
        Some(Err(_)) => {
            return error(
                StatusCode::BAD_REQUEST,
                "InvalidArgument",
                "Provided max-keys not an integer or within integer range",
            );
        }
    };
    let token = call.query("continuation-token");
    let after = match &token {
        Some(token) => match unhex(token) {
            Some(after) => Some(after),
            None => {
                return error(
                    StatusCode::BAD_REQUEST,
                    "InvalidArgument",
                    "The continuation token provided is incorrect",
                );
            }
        },
        None => call.query("start-after"),
    };
    let delimiter = call.query("delimiter").filter(|mark| !mark.is_empty());
    let Some(bucket) = world.bucket(bucket_name) else {
        return error(StatusCode::NOT_FOUND, "NoSuchBucket", "The specified bucket does not exist");
    };
    let start = after.as_deref().map_or(Start::First, Start::After);
    let listing = bucket.list(&prefix, delimiter.as_deref(), start, max);
    let mut body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
         <Name>{bucket_name}</Name><Prefix>{}</Prefix><KeyCount>{}</KeyCount><MaxKeys>{max}</MaxKeys><IsTruncated>{}</IsTruncated>",
        xml(&prefix),
        listing.entries.len() + listing.prefixes.len(),
        listing.next.is_some()
    );
    let mut element = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            body.push_str(&format!("<{name}>{}</{name}>", xml(&value)));
        }
    };
    element("StartAfter", call.query("start-after"));
    element("Delimiter", delimiter);
    element("ContinuationToken", token);
    element("NextContinuationToken", listing.next.map(|key| hex(&key)));
    for (key, object) in &listing.entries {
        // Whole seconds, as in real listings.
        let modified = world.stamp(Service::S3, object.modified).format("%Y-%m-%dT%H:%M:%S.000Z");
        body.push_str(&format!(
            "<Contents><Key>{}</Key><LastModified>{modified}</LastModified><ETag>&quot;{}&quot;</ETag>\
             <Size>{}</Size><StorageClass>STANDARD</StorageClass></Contents>",
            xml(key),
            object.etag,
            object.body.len()
        ));
    }
    for group in &listing.prefixes {
        body.push_str(&format!("<CommonPrefixes><Prefix>{}</Prefix></CommonPrefixes>", xml(group)));
    }
    body.push_str("</ListBucketResult>");
    plain(StatusCode::OK, "application/xml", body)
}

fn get(object: &Object, modified: Micros, call: &Call) -> Response {
    let whole = object.body.len();
    let range = call.headers.get(header::RANGE).and_then(|value| value.to_str().ok());
    let (status, slice) = match range.map(|range| span(range, whole)) {
        None => (StatusCode::OK, 0..whole),
        Some(Some(slice)) => (StatusCode::PARTIAL_CONTENT, slice),
        Some(None) => {
            return error(
                StatusCode::RANGE_NOT_SATISFIABLE,
                "InvalidRange",
                "The requested range is not satisfiable",
            );
        }
    };
    let mut response = Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, "application/gzip")
        .header(header::ETAG, format!("\"{}\"", object.etag))
        .header(header::LAST_MODIFIED, modified.format("%a, %d %b %Y %H:%M:%S GMT"))
        .header(header::ACCEPT_RANGES, "bytes")
        .header(header::CONTENT_LENGTH, slice.len())
        .header("x-amz-request-id", request_id());
    if status == StatusCode::PARTIAL_CONTENT {
        let last = slice.end.saturating_sub(1);
        response = response.header(header::CONTENT_RANGE, format!("bytes {}-{last}/{whole}", slice.start));
    }
    if object.parts > 0 && call.query("partNumber").is_some() {
        response = response.header("x-amz-mp-parts-count", object.parts);
    }
    let body = if call.method == Method::HEAD { Bytes::new() } else { object.body.slice(slice) };
    response.body(Body::from(body)).unwrap_or_default()
}

/// The bytes that a Range header requests; `None` if there are none.
fn span(range: &str, whole: usize) -> Option<std::ops::Range<usize>> {
    let (from, to) = range.strip_prefix("bytes=")?.split_once('-')?;
    let slice = if from.is_empty() {
        whole.saturating_sub(to.parse().ok()?)..whole
    } else {
        let to: usize = if to.is_empty() { usize::MAX } else { to.parse().ok()? };
        from.parse().ok()?..to.saturating_add(1).min(whole)
    };
    (slice.start < slice.end).then_some(slice)
}

/// Bucket and key of a path-style request.
fn place(call: &Call) -> (String, String) {
    let path = decoded(call.uri.path().trim_start_matches('/'));
    match path.split_once('/') {
        Some((bucket, key)) => (bucket.to_owned(), key.to_owned()),
        None => (path, String::new()),
    }
}

fn decoded(path: &str) -> String {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let code = tail.get(..2).filter(|_| *first == b'%').and_then(|pair| std::str::from_utf8(pair).ok());
        if let Some(byte) = code.and_then(|pair| u8::from_str_radix(pair, 16).ok()) {
            bytes.push(byte);
            rest = &tail[2..];
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

pub(super) fn hex(key: &str) -> String {
    key.bytes().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn unhex(token: &str) -> Option<String> {
    let bytes: Option<Vec<u8>> = token
        .as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect();
    String::from_utf8(bytes?).ok()
}

fn error(status: StatusCode, code: &str, message: &str) -> Response {
    let id = request_id();
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>{}</Message><RequestId>{id}</RequestId></Error>",
        xml(message)
    );
    plain(status, "application/xml", body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_cut_to_the_object() {
        assert_eq!(span("bytes=0-3", 10), Some(0..4));
        assert_eq!(span("bytes=8-20", 10), Some(8..10));
        assert_eq!(span("bytes=-4", 10), Some(6..10));
        assert_eq!(span("bytes=4-", 10), Some(4..10));
        assert_eq!(span("bytes=10-", 10), None);
    }

    #[test]
    fn keys_survive_paths_and_tokens() {
        assert_eq!(decoded("b/tenant%3Dacme/a%2"), "b/tenant=acme/a%2");
        assert_eq!(unhex(&hex("a/ü")), Some("a/ü".to_owned()));
    }
}
