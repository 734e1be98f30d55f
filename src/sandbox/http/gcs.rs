//! Google Cloud Storage, the JSON API: objects.list, objects.get with and without the media, and buckets.get
//! on one bucket.
//!
//! It implements what emulators leave out: `fields` and their errors, preconditions, pages of a thousand,
//! names that must be percent-encoded as one segment, and the service's own errors. Errors of a download are
//! text and not JSON, as in the real service.

use std::convert::Infallible;
use std::io::Read;

use axum::body::Body;
use axum::http::{Method, StatusCode, header};
use axum::response::Response;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::super::names::Service;
use super::super::settings::TRANSFER_BUCKET;
use super::super::world::buckets::{Object, Packing, Start};
use super::super::world::{Shared, World};
use super::fields::Fields;
use super::s3::{hex, unhex};
use super::{Call, CallTarget, Failure, gateway_page, long_message, plain, server_status};

/// Maximum and default number of objects on a page (Cloud Storage JSON API reference, objects.list).
const PAGE_OBJECTS: usize = 1_000;
/// Limit of transcoding: a test may put a decompression bomb into the sandbox.
const TRANSCODED_BYTES: u64 = 64 << 20;
const JSON: &str = "application/json; charset=UTF-8";
/// Content type of a failed download's answer (observed at the real service).
const TEXT: &str = "text/html; charset=UTF-8";
/// The field names that `fields` accepts.
const FIELDS: [&str; 23] = [
    "kind",
    "nextPageToken",
    "prefixes",
    "items",
    "id",
    "selfLink",
    "mediaLink",
    "name",
    "bucket",
    "generation",
    "metageneration",
    "contentType",
    "contentEncoding",
    "storageClass",
    "size",
    "md5Hash",
    "crc32c",
    "etag",
    "timeCreated",
    "updated",
    "timeStorageClassUpdated",
    "timeFinalized",
    "metadata",
];

/// The resource that a path names.
enum Place {
    Bucket(String),
    Objects(String),
    Object(String, String),
}

/// Parses `/storage/v1/b/{bucket}/o/{object}` and its prefixes, also below `/download`. The name of an object
/// is one segment: a slash in it must be encoded.
fn place(call: &Call) -> Option<Place> {
    let path = call.uri.path();
    let path = path.strip_prefix("/download").unwrap_or(path);
    let segments: Vec<&str> = path.strip_prefix("/storage/v1/b/")?.split('/').collect();
    match segments.as_slice() {
        [bucket] => Some(Place::Bucket(decoded(bucket)?)),
        [bucket, "o"] => Some(Place::Objects(decoded(bucket)?)),
        [bucket, "o", object] => Some(Place::Object(decoded(bucket)?, decoded(object)?)),
        _ => None,
    }
}

/// Decodes a segment; `None` for a percent sign without a code, which shows that the client did not encode
/// the name.
fn decoded(segment: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok().filter(|text| !text.is_empty())
}

pub(super) fn identify(world: &World, call: &Call) -> CallTarget {
    let (operation, resource) = match (&call.method, place(call)) {
        (&Method::GET, Some(Place::Bucket(bucket))) => ("buckets.get", bucket),
        (&Method::GET, Some(Place::Objects(bucket))) => {
            ("objects.list", format!("{bucket}/{}", call.query("prefix").unwrap_or_default()))
        }
        (&Method::GET, Some(Place::Object(bucket, name))) => ("objects.get", format!("{bucket}/{name}")),
        _ => ("unknown", String::new()),
    };
    CallTarget {
        operation: operation.to_owned(),
        tenant: world.labelled(&resource).map(str::to_owned),
        resource,
    }
}

pub(super) fn failure_response(failure: Failure, call: &Call) -> Response {
    match failure {
        Failure::Throttled => error(
            call,
            StatusCode::TOO_MANY_REQUESTS,
            "rateLimitExceeded",
            "The object exceeded the rate limit for object operations. Please reduce your request rate.",
        ),
        Failure::Denied => error(
            call,
            StatusCode::FORBIDDEN,
            "forbidden",
            "traceprobe@demo.iam.gserviceaccount.com does not have the required access to the Google Cloud \
             Storage bucket. Permission denied on resource (or it may not exist).",
        ),
        Failure::Long(bytes) => error(call, StatusCode::BAD_REQUEST, "invalid", &long_message(bytes)),
        Failure::Server(status) => {
            let status = server_status(status);
            let message = "We encountered an internal error. Please try again.";
            gateway_page(status).unwrap_or_else(|| error(call, status, "backendError", message))
        }
    }
}

pub(super) fn handle(shared: &Shared, operation: &str, call: &Call) -> Response {
    let world = shared.lock();
    let Some(place) = place(call).filter(|_| operation != "unknown") else {
        return error(call, StatusCode::NOT_FOUND, "notFound", "Not Found");
    };
    let (Place::Bucket(bucket) | Place::Objects(bucket) | Place::Object(bucket, _)) = &place;
    if bucket != TRANSFER_BUCKET {
        let message = "The specified bucket does not exist.";
        return error(call, StatusCode::NOT_FOUND, "notFound", message);
    }
    let fields = call.query("fields").map(|text| Fields::parse(&text, &FIELDS)).transpose();
    let fields = match fields {
        Ok(fields) => fields.unwrap_or_default(),
        Err(what) => return invalid(call, &format!("Invalid field selection {what}")),
    };
    match place {
        Place::Bucket(name) => {
            let about = json!({
                "kind": "storage#bucket", "id": name, "name": name, "location": "EUROPE-WEST3", "storageClass": "STANDARD",
            });
            plain(StatusCode::OK, JSON, about.to_string())
        }
        Place::Objects(_) => list(&world, &fields, call),
        Place::Object(_, name) => get(&world, &name, &fields, call),
    }
}

fn list(world: &World, fields: &Fields, call: &Call) -> Response {
    let max = match call.query("maxResults").map(|text| text.parse::<usize>()) {
        // The reference allows 0, which can only mean the default.
        None | Some(Ok(0)) => PAGE_OBJECTS,
        Some(Ok(max)) => max.min(PAGE_OBJECTS),
        Some(Err(_)) => return invalid(call, "Invalid value for maxResults"),
    };
    let token = match call.query("pageToken").map(|token| unhex(&token)) {
        Some(None) => return invalid(call, "Invalid pageToken"),
        Some(after) => after,
        None => None,
    };
    let offset = call.query("startOffset");
    let start = match (&token, &offset) {
        (Some(after), _) => Start::After(after),
        (None, Some(offset)) => Start::At(offset),
        (None, None) => Start::First,
    };
    let prefix = call.query("prefix").unwrap_or_default();
    let delimiter = call.query("delimiter").filter(|mark| !mark.is_empty());
    let mut page = world.transfer.list(&prefix, delimiter.as_deref(), start, max);
    if let Some(end) = call.query("endOffset").filter(|end| !end.is_empty()) {
        let whole = page.entries.len() + page.prefixes.len();
        page.entries.retain(|(name, _)| *name < end);
        page.prefixes.retain(|group| *group < end);
        page.next = page.next.filter(|_| page.entries.len() + page.prefixes.len() == whole);
    }
    let mut answer = Map::from_iter([("kind".to_owned(), json!("storage#objects"))]);
    // Google's JSON leaves out empty fields.
    if let Some(last) = page.next {
        answer.insert("nextPageToken".to_owned(), json!(hex(&last)));
    }
    if !page.prefixes.is_empty() {
        answer.insert("prefixes".to_owned(), json!(page.prefixes));
    }
    if !page.entries.is_empty() {
        let items = page.entries.iter().map(|(name, object)| metadata(world, name, object));
        answer.insert("items".to_owned(), items.collect());
    }
    plain(StatusCode::OK, JSON, fields.of(Value::Object(answer)).to_string())
}

fn metadata(world: &World, name: &str, object: &Object) -> Value {
    let created = world.stamp(Service::Gcs, object.modified).format("%Y-%m-%dT%H:%M:%S%.3fZ");
    let mut about = json!({
        "kind": "storage#object",
        "id": format!("{TRANSFER_BUCKET}/{name}/{}", object.generation),
        "name": name,
        "bucket": TRANSFER_BUCKET,
        "generation": object.generation.to_string(),
        "metageneration": "1",
        "contentType": content_type(object),
        "storageClass": "STANDARD",
        "size": object.body.len().to_string(),
        "md5Hash": md5(object),
        "etag": etag(object),
        "timeCreated": created,
        "updated": created,
        "timeStorageClassUpdated": created,
        "timeFinalized": created,
    });
    if object.packing == Packing::GzipEncoded {
        about["contentEncoding"] = json!("gzip");
    }
    about
}

fn content_type(object: &Object) -> &'static str {
    match object.packing {
        Packing::Plain | Packing::GzipEncoded => "application/x-ndjson",
        Packing::GzipFile => "application/gzip",
    }
}

fn md5(object: &Object) -> String {
    BASE64_STANDARD.encode(<md5::Md5 as md5::Digest>::digest(&object.body))
}

/// Generation and metageneration in the real service's encoding: two protobuf varint fields.
fn etag(object: &Object) -> String {
    let mut bytes = vec![0x08];
    let mut rest = object.generation.unsigned_abs();
    while rest > 0x7f {
        bytes.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    bytes.extend([rest as u8, 0x10, 0x01]);
    BASE64_STANDARD.encode(bytes)
}

fn get(world: &World, name: &str, fields: &Fields, call: &Call) -> Response {
    let mut wanted = [None; 3];
    for (number, parameter) in
        wanted.iter_mut().zip(["generation", "ifGenerationMatch", "ifGenerationNotMatch"])
    {
        *number = match call.query(parameter).map(|text| text.parse::<i64>()) {
            None => None,
            Some(Ok(number)) => Some(number),
            Some(Err(_)) => return invalid(call, &format!("Invalid value for {parameter}")),
        };
    }
    let [generation, only_if, only_if_not] = wanted;
    // The bucket has no versioning, so older generations are gone.
    let object = world.transfer.objects.get(name);
    let object = object.filter(|object| generation.is_none_or(|wanted| wanted == object.generation));
    let Some(object) = object else {
        let message = format!("No such object: {TRANSFER_BUCKET}/{name}");
        return error(call, StatusCode::NOT_FOUND, "notFound", &message);
    };
    if only_if.is_some_and(|wanted| wanted != object.generation) {
        let message = "At least one of the pre-conditions you specified did not hold.";
        return error(call, StatusCode::PRECONDITION_FAILED, "conditionNotMet", message);
    }
    if only_if_not == Some(object.generation) {
        return plain(StatusCode::NOT_MODIFIED, JSON, Body::empty());
    }
    if is_media(call) {
        media(world, object, call)
    } else {
        plain(StatusCode::OK, JSON, fields.of(metadata(world, name, object)).to_string())
    }
}

fn is_media(call: &Call) -> bool {
    call.query("alt").as_deref() == Some("media") || call.uri.path().starts_with("/download/")
}

fn media(world: &World, object: &Object, call: &Call) -> Response {
    let header = |name| call.headers.get(name).and_then(|value| value.to_str().ok());
    let stored = object.body.len();
    let encoding = if object.packing == Packing::GzipEncoded { "gzip" } else { "identity" };
    let modified = world.stamp(Service::Gcs, object.modified);
    let response = Response::builder()
        .header(header::CONTENT_TYPE, content_type(object))
        .header(header::ETAG, etag(object))
        .header(header::LAST_MODIFIED, modified.format("%a, %d %b %Y %H:%M:%S GMT"))
        .header("x-goog-generation", object.generation)
        .header("x-goog-metageneration", 1)
        .header("x-goog-hash", format!("md5={}", md5(object)))
        .header("x-goog-storage-class", "STANDARD")
        .header("x-goog-stored-content-encoding", encoding)
        .header("x-goog-stored-content-length", stored);
    let accepts_gzip = accepts_gzip(header(header::ACCEPT_ENCODING).unwrap_or_default());
    if object.packing == Packing::GzipEncoded && !accepts_gzip {
        let mut text = Vec::new();
        let inflated = flate2::read::MultiGzDecoder::new(&object.body[..])
            .take(TRANSCODED_BYTES)
            .read_to_end(&mut text)
            .is_ok();
        // A body that is not gzip in spite of its metadata is sent as it is.
        let text = if inflated { Bytes::from(text) } else { object.body.clone() };
        // The real answer is chunked, has no length and ignores the range.
        let body = Body::from_stream(futures::stream::once(async move { Ok::<_, Infallible>(text) }));
        return response
            .header(header::VARY, "Accept-Encoding")
            .header(header::WARNING, "214 UploadServer gunzipped")
            .body(body)
            .unwrap_or_default();
    }
    let (status, slice) = match header(header::RANGE).map_or(Range::Whole, |range| span(range, stored)) {
        Range::Whole => (StatusCode::OK, 0..stored),
        Range::Part(slice) => (StatusCode::PARTIAL_CONTENT, slice),
        Range::Outside => {
            let mut refused =
                error(call, StatusCode::RANGE_NOT_SATISFIABLE, "requestedRangeNotSatisfiable", OUTSIDE);
            if let Ok(whole) = format!("bytes */{stored}").parse() {
                refused.headers_mut().insert(header::CONTENT_RANGE, whole);
            }
            return refused;
        }
    };
    let mut response = response.status(status).header(header::CONTENT_LENGTH, slice.len());
    if object.packing == Packing::GzipEncoded {
        response = response.header(header::CONTENT_ENCODING, "gzip").header(header::VARY, "Accept-Encoding");
    }
    if status == StatusCode::PARTIAL_CONTENT {
        let last = slice.end.saturating_sub(1);
        response = response.header(header::CONTENT_RANGE, format!("bytes {}-{last}/{stored}", slice.start));
    }
    response.body(Body::from(object.body.slice(slice))).unwrap_or_default()
}

const OUTSIDE: &str = "Request range not satisfiable";

fn accepts_gzip(header: &str) -> bool {
    header.split(',').any(|one| {
        let (coding, weight) = one.split_once(';').unwrap_or((one, ""));
        coding.trim().eq_ignore_ascii_case("gzip") && !matches!(weight.trim(), "q=0" | "q=0.0" | "q=0.000")
    })
}

/// The part that a Range header requests.
#[derive(Debug, PartialEq)]
enum Range {
    /// The whole body: the header is absent or not understood.
    Whole,
    Part(std::ops::Range<usize>),
    /// Only bytes beyond the end.
    Outside,
}

fn span(range: &str, stored: usize) -> Range {
    let ends = range.strip_prefix("bytes=").and_then(|range| range.split_once('-'));
    let slice = match ends.map(|(from, to)| (from, from.parse::<usize>(), to, to.parse::<usize>())) {
        Some(("", _, _, Ok(last))) => stored.saturating_sub(last)..stored,
        Some((_, Ok(from), "", _)) => from..stored,
        Some((_, Ok(from), _, Ok(to))) if from <= to => from..to.saturating_add(1).min(stored),
        _ => return Range::Whole,
    };
    if slice.is_empty() { Range::Outside } else { Range::Part(slice) }
}

fn invalid(call: &Call, message: &str) -> Response {
    error(call, StatusCode::BAD_REQUEST, "invalidParameter", message)
}

/// Text for a download, JSON for everything else.
fn error(call: &Call, status: StatusCode, reason: &str, message: &str) -> Response {
    if is_media(call) {
        return plain(status, TEXT, message.to_owned());
    }
    let body = json!({"error": {
        "code": status.as_u16(),
        "message": message,
        "errors": [{"message": message, "domain": "global", "reason": reason}],
    }});
    plain(status, JSON, body.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unencoded_name_is_refused() {
        assert_eq!(decoded("a%2Fb%20100%25%20gr%C3%BCn+"), Some("a/b 100% grün+".to_owned()));
        assert_eq!(decoded("100%%20"), None);
        assert_eq!(decoded("a%2"), None);
        assert_eq!(decoded("%FF"), None);
        assert_eq!(decoded(""), None);
    }

    #[test]
    fn a_range_is_cut_to_the_object_and_ignored_when_it_is_nonsense() {
        assert_eq!(span("bytes=0-3", 10), Range::Part(0..4));
        assert_eq!(span("bytes=8-20", 10), Range::Part(8..10));
        assert_eq!(span("bytes=-4", 10), Range::Part(6..10));
        assert_eq!(span("bytes=4-", 10), Range::Part(4..10));
        assert_eq!(span("bytes=10-", 10), Range::Outside);
        assert_eq!(span("bytes=0-0", 0), Range::Outside);
        assert_eq!(span("bytes=x-", 10), Range::Whole);
        assert_eq!(span("lines=0-1", 10), Range::Whole);
    }

    #[test]
    fn gzip_is_accepted_when_it_is_named() {
        assert!(accepts_gzip("gzip") && accepts_gzip("deflate, GZIP;q=0.5"));
        assert!(!accepts_gzip("") && !accepts_gzip("identity") && !accepts_gzip("gzip;q=0"));
    }
}
