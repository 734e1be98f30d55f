//! Google Cloud Storage of the sandbox: the JSON API over plain HTTP, and the storage transfer that writes
//! objects.

use std::collections::BTreeSet;
use std::io::Write;
use std::time::Duration;

use reqwest::{RequestBuilder, Response};
use serde_json::Value;
use traceprobe::sandbox::{
    Damage, Distribution, Fate, Fault, Incident, Packing, Sandbox, Service, ServiceEffect, Settings, Stage,
    StageEffect, TRANSFER_BUCKET,
};

use crate::clients::*;

const AWKWARD: &str = "transfer/2026/11/25/23/über 100% + a?b#c&d=e.ndjson";

/// A client that neither accepts gzip by itself nor unpacks it.
struct Gcs {
    http: reqwest::Client,
    base: String,
}

async fn start_gcs() -> (Sandbox, Gcs) {
    let (sandbox, clients) = start(Settings::brisk(1, 2)).await;
    let gcs = Gcs::of(&clients);
    (sandbox, gcs)
}

/// Percent-encodes all but letters, digits, `-`, `.`, `_` and `~`, as the API reference requires for object
/// names.
fn encoded(name: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~".contains(byte);
    let code = |byte: u8| if plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    name.bytes().map(code).collect()
}

impl Gcs {
    fn of(clients: &Clients) -> Self {
        Self { http: clients.http.clone(), base: format!("{}/storage/v1/b", clients.endpoints.gcs) }
    }

    /// Lists objects. The parameters must be encoded.
    async fn list(&self, query: &str) -> (u16, Value) {
        let answer =
            self.http.get(format!("{}/{TRANSFER_BUCKET}/o?{query}", self.base)).send().await.unwrap();
        (answer.status().as_u16(), serde_json::from_str(&answer.text().await.unwrap()).unwrap())
    }

    async fn items(&self, query: &str) -> Vec<Value> {
        let (status, page) = self.list(query).await;
        assert_eq!(status, 200, "{page}");
        page["items"].as_array().cloned().unwrap_or_default()
    }

    async fn names(&self, query: &str) -> Vec<String> {
        self.items(query).await.iter().map(|item| item["name"].as_str().unwrap().to_owned()).collect()
    }

    fn object(&self, name: &str, query: &str) -> RequestBuilder {
        self.http.get(format!("{}/{TRANSFER_BUCKET}/o/{}?{query}", self.base, encoded(name)))
    }

    /// The lines of an object, unpacked if it is gzip.
    async fn lines(&self, item: &Value) -> Vec<Value> {
        let query = format!("alt=media&generation={}", item["generation"].as_str().unwrap());
        let request = self.object(item["name"].as_str().unwrap(), &query).header("accept-encoding", "gzip");
        let bytes = request.send().await.unwrap().bytes().await.unwrap();
        assert_eq!(item["size"], bytes.len().to_string());
        let text = match bytes.starts_with(&[0x1f, 0x8b]) {
            true => inflated(&bytes),
            false => String::from_utf8(bytes.to_vec()).unwrap(),
        };
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// Status and body.
async fn send(request: RequestBuilder) -> (u16, String) {
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

fn header(answer: &Response, name: &str) -> Option<String> {
    answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned())
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn a_list_is_paged_and_starts_at_its_offset() {
    let (sandbox, gcs) = start_gcs().await;
    for number in 0..5 {
        sandbox.put_object(TRANSFER_BUCKET, &format!("t/{number}"), vec![b'x'; number]);
    }
    sandbox.put_object(TRANSFER_BUCKET, "t/ä", Vec::new());
    sandbox.put_object(TRANSFER_BUCKET, "u/1", Vec::new());
    assert_eq!(gcs.names("prefix=t/").await, ["t/0", "t/1", "t/2", "t/3", "t/4", "t/ä"]);
    assert_eq!(gcs.names("prefix=t/&startOffset=t/3").await, ["t/3", "t/4", "t/ä"]);
    // Compared by UTF-8 bytes. The offset need not be an existing key.
    assert_eq!(gcs.names("prefix=t/&startOffset=t/z").await, ["t/ä"]);
    assert_eq!(gcs.names("startOffset=t/%C3%A4").await, ["t/ä", "u/1"]);
    assert_eq!(gcs.names("prefix=u/&startOffset=t/3").await, ["u/1"]);
    assert!(gcs.names("prefix=t/&startOffset=v").await.is_empty());
    // startOffset is inclusive, endOffset exclusive.
    assert_eq!(gcs.names("startOffset=t/1&endOffset=t/3").await, ["t/1", "t/2"]);
    let (_, last) = gcs.list("startOffset=t/1&endOffset=t/3&maxResults=3").await;
    assert!(last["items"].as_array().unwrap().len() == 2 && last.get("nextPageToken").is_none());

    let (mut query, mut pages) = (String::new(), Vec::new());
    loop {
        let (_, page) = gcs.list(&format!("prefix=t/&startOffset=t/1&maxResults=2{query}")).await;
        pages.push(page["items"].as_array().unwrap().len());
        match page["nextPageToken"].as_str() {
            Some(token) => query = format!("&pageToken={}", encoded(token)),
            None => break,
        }
    }
    assert_eq!(pages, [2, 2, 1]);
    let (_, folders) = gcs.list("delimiter=/").await;
    assert_eq!(folders["prefixes"], serde_json::json!(["t/", "u/"]));
    assert!(folders.get("items").is_none(), "an empty list is left out");
}

#[tokio::test]
async fn a_page_has_at_most_a_thousand_objects() {
    let (sandbox, gcs) = start_gcs().await;
    for number in 0..1_001 {
        sandbox.put_object(TRANSFER_BUCKET, &format!("t/{number:04}"), Vec::new());
    }
    for query in ["", "maxResults=5000"] {
        let (_, page) = gcs.list(query).await;
        assert_eq!(page["items"].as_array().unwrap().len(), 1_000);
        assert!(page["nextPageToken"].is_string());
    }
}

#[tokio::test]
async fn only_the_requested_fields_are_returned() {
    let (sandbox, gcs) = start_gcs().await;
    sandbox.put_object(TRANSFER_BUCKET, "t/1", b"four".to_vec());
    sandbox.put_object(TRANSFER_BUCKET, "t/2", Vec::new());
    let (_, page) = gcs.list("fields=items(name,size)&maxResults=1").await;
    // Without nextPageToken among the fields, nothing shows that there is more.
    assert_eq!(page, serde_json::json!({"items": [{"name": "t/1", "size": "4"}]}));
    let (_, page) = gcs.list("fields=nextPageToken,items/name&maxResults=1").await;
    assert!(page["nextPageToken"].is_string());
    let (status, page) = gcs.list("fields=items(nom)").await;
    assert_eq!((status, page["error"]["message"].as_str()), (400, Some("Invalid field selection nom")));
}

#[tokio::test]
async fn an_object_name_is_one_encoded_path_segment() {
    let (sandbox, gcs) = start_gcs().await;
    sandbox.put_object(TRANSFER_BUCKET, AWKWARD, b"line".to_vec());
    assert_eq!(gcs.names(&format!("prefix={}", encoded(AWKWARD))).await, [AWKWARD]);
    assert_eq!(send(gcs.object(AWKWARD, "alt=media")).await, (200, "line".to_owned()));
    let download = format!("{}/{TRANSFER_BUCKET}/o/{}", gcs.base, encoded(AWKWARD))
        .replace("/storage/", "/download/storage/");
    assert_eq!(send(gcs.http.get(download)).await, (200, "line".to_owned()));
    sandbox.put_object(TRANSFER_BUCKET, "a/b", b"line".to_vec());
    let slash = format!("{}/{TRANSFER_BUCKET}/o/a/b?alt=media", gcs.base);
    assert_eq!(send(gcs.http.get(slash)).await.0, 404);
    assert_eq!(send(gcs.object("a/b", "alt=media")).await.0, 200);
}

#[tokio::test]
async fn every_write_of_an_object_has_its_own_generation() {
    let (sandbox, gcs) = start_gcs().await;
    let before = micros();
    sandbox.put_object(TRANSFER_BUCKET, "t", b"old".to_vec());
    let generation = async || gcs.items("").await[0]["generation"].as_str().unwrap().parse::<i64>().unwrap();
    let old = generation().await;
    sandbox.put_object(TRANSFER_BUCKET, "t", b"new".to_vec());
    let new = generation().await;
    assert!(before <= old && old < new && new <= micros(), "{before} {old} {new}");
    let get = async |query: String| send(gcs.object("t", &format!("alt=media&{query}"))).await;
    assert_eq!(get(format!("generation={new}")).await, (200, "new".to_owned()));
    assert_eq!(get(format!("generation={old}")).await, (404, "No such object: gcp-transit/t".to_owned()));
    assert_eq!(get(format!("ifGenerationMatch={old}")).await.0, 412);
    assert_eq!(get(format!("ifGenerationMatch={new}")).await.0, 200);
    assert_eq!(get(format!("ifGenerationNotMatch={new}")).await.0, 304);
}

#[tokio::test]
async fn gzip_is_unpacked_for_a_client_that_does_not_accept_it() {
    let (sandbox, gcs) = start_gcs().await;
    let text = b"the quick brown fox".to_vec();
    let packed = gzip(&text);
    for (name, packing) in [("encoded", Packing::GzipEncoded), ("file", Packing::GzipFile)] {
        sandbox.put_packed_object(TRANSFER_BUCKET, name, packed.clone(), packing);
    }
    let items = gcs.items("").await;
    assert_eq!(items[0]["contentEncoding"], "gzip");
    assert!(items[1].get("contentEncoding").is_none());
    assert_eq!(items[1]["contentType"], "application/gzip");
    let size = Value::from(packed.len().to_string());
    assert!(items.iter().all(|item| item["size"] == size));

    let accepting = gcs.object("encoded", "alt=media").header("accept-encoding", "gzip");
    let stored = accepting.try_clone().unwrap().send().await.unwrap();
    assert_eq!(header(&stored, "content-encoding").as_deref(), Some("gzip"));
    assert_eq!(stored.bytes().await.unwrap(), packed);
    let part = accepting.header("range", "bytes=0-9").send().await.unwrap();
    assert_eq!(part.status(), 206);
    assert_eq!(part.bytes().await.unwrap(), packed[..10]);

    // Without a content length, and whole despite the range.
    let unpacked = gcs.object("encoded", "alt=media").header("range", "bytes=0-3").send().await.unwrap();
    assert_eq!(unpacked.status(), 200);
    let headers = ["content-encoding", "content-length"].map(|name| header(&unpacked, name));
    assert_eq!(headers, [None, None]);
    assert_eq!(header(&unpacked, "x-goog-stored-content-encoding").as_deref(), Some("gzip"));
    assert_eq!(unpacked.bytes().await.unwrap(), text);
    // Without a content encoding, gzip is not unpacked.
    let file = gcs.object("file", "alt=media").send().await.unwrap();
    assert_eq!(file.bytes().await.unwrap(), packed);
    // An object that is labelled gzip but is not is sent unchanged.
    sandbox.put_packed_object(TRANSFER_BUCKET, "mislabelled", text.clone(), Packing::GzipEncoded);
    assert_eq!(gcs.object("mislabelled", "alt=media").send().await.unwrap().bytes().await.unwrap(), text);
}

#[tokio::test]
async fn a_range_is_cut_or_refused() {
    let (sandbox, gcs) = start_gcs().await;
    sandbox.put_object(TRANSFER_BUCKET, "t", b"0123456789".to_vec());
    sandbox.put_object(TRANSFER_BUCKET, "empty", Vec::new());
    for (name, range, status, body, content_range) in [
        ("t", "bytes=0-3", 206, "0123", Some("bytes 0-3/10")),
        ("t", "bytes=8-99", 206, "89", Some("bytes 8-9/10")),
        ("t", "bytes=-2", 206, "89", Some("bytes 8-9/10")),
        ("t", "bytes=10-", 416, "Request range not satisfiable", Some("bytes */10")),
        ("empty", "bytes=0-99", 416, "Request range not satisfiable", Some("bytes */0")),
        ("t", "nonsense", 200, "0123456789", None),
    ] {
        let answer = gcs.object(name, "alt=media").header("range", range).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), status, "{name} {range}");
        assert_eq!(header(&answer, "content-range").as_deref(), content_range, "{name} {range}");
        assert_eq!(answer.text().await.unwrap(), body, "{name} {range}");
    }
}

#[tokio::test]
async fn errors_are_json_but_those_of_a_download_are_text() {
    let (sandbox, gcs) = start_gcs().await;
    let (status, body) = send(gcs.object("nothing", "")).await;
    let body: Value = serde_json::from_str(&body).unwrap();
    let reason = &body["error"]["errors"][0]["reason"];
    assert_eq!((status, body["error"]["code"].as_u64(), reason.as_str()), (404, Some(404), Some("notFound")));
    let (status, body) = send(gcs.object("nothing", "alt=media")).await;
    assert_eq!((status, &*body), (404, "No such object: gcp-transit/nothing"));
    for bucket in ["sre-transit", "no-such-bucket"] {
        let (status, body) = send(gcs.http.get(format!("{}/{bucket}/o", gcs.base))).await;
        assert!(status == 404 && body.contains("The specified bucket does not exist."), "{body}");
    }
    for query in ["maxResults=x", "maxResults=-1", "pageToken=zz"] {
        assert_eq!(gcs.list(query).await.0, 400, "{query}");
    }
    // The sandbox's S3 does not have this bucket.
    let url = format!("{}/{TRANSFER_BUCKET}?list-type=2", sandbox.endpoints().s3);
    assert_eq!(send(gcs.http.get(url)).await.0, 404);
}

#[tokio::test]
async fn a_fault_is_answered_with_the_errors_of_cloud_storage() {
    let (sandbox, gcs) = start_gcs().await;
    sandbox.put_object(TRANSFER_BUCKET, "t", b"line".to_vec());
    for (effect, status, reason) in [
        (ServiceEffect::Throttle, 429, "rateLimitExceeded"),
        (ServiceEffect::Deny, 403, "forbidden"),
        (ServiceEffect::ServerError { status: 500 }, 500, "backendError"),
        (ServiceEffect::ServerError { status: 503 }, 503, "<html>"),
    ] {
        sandbox.fault(Fault::service(Service::Gcs, effect));
        let list = send(gcs.http.get(format!("{}/{TRANSFER_BUCKET}/o", gcs.base))).await;
        assert!(list.0 == status && list.1.contains(reason), "{list:?}");
        let get = send(gcs.object("t", "alt=media")).await;
        assert!(get.0 == status && !get.1.contains("reason"), "{get:?}");
        sandbox.clear_all();
    }
    sandbox.fault(Fault::operation(Service::Gcs, "objects.get", ServiceEffect::CutAfter));
    assert!(gcs.object("t", "alt=media").send().await.is_err());
    assert_eq!(gcs.names("").await, ["t"]);
    sandbox.clear_all();
    sandbox.fault(Fault::ClockOffset { service: Service::Gcs, ms: -3_600_000 });
    let about = gcs.items("").await.remove(0);
    let generation: i64 = about["generation"].as_str().unwrap().parse().unwrap();
    let created: jiff::Timestamp = about["timeCreated"].as_str().unwrap().parse().unwrap();
    assert_eq!(generation / 1_000 - created.as_millisecond(), 3_600_000);
    let calls = sandbox.calls();
    let counted = |operation: &str, resource: &str| {
        let one = |call: &&traceprobe::sandbox::CallCount| {
            call.service == Service::Gcs && call.operation == operation && call.resource == resource
        };
        calls.iter().filter(one).map(|call| call.calls).sum::<u64>()
    };
    assert_eq!((counted("objects.get", "gcp-transit/t"), counted("objects.list", "gcp-transit/")), (5, 6));
}

#[tokio::test]
async fn every_transit_object_is_copied_with_its_true_time() {
    let (sandbox, clients) = start(Settings::brisk(1, 2)).await;
    let gcs = Gcs::of(&clients);
    // One object per canary, so that every kind of packing and name occurs.
    for number in 0..8 {
        clients.put(0, number..number + 1).await;
        let record = arrival(&sandbox, &token(0, number), Stage::Transfer).await;
        let transit = record.arrived(Stage::Transit).unwrap();
        assert!(record.arrived(Stage::Transfer).unwrap().since(transit) >= Duration::from_millis(15));
    }
    let items = gcs.items("prefix=transfer/").await;
    let mut packings = BTreeSet::new();
    for (number, item) in (0..).zip(&items) {
        let lines = gcs.lines(item).await;
        assert_eq!(
            (lines.len(), &lines[0]["message"], &lines[0]["tenant"]),
            (1, &line(0, number).into(), &"acme".into())
        );
        let record = arrival(&sandbox, &token(0, number), Stage::Transfer).await;
        let copy = record.copies(Stage::Transfer).next().unwrap();
        assert_eq!(copy.locator, format!("{}#1", item["name"].as_str().unwrap()));
        let created: jiff::Timestamp = item["timeCreated"].as_str().unwrap().parse().unwrap();
        assert_eq!((created.as_millisecond(), &item["updated"]), (copy.at.millis(), &item["timeCreated"]));
        packings.insert(format!("{} {}", item["contentType"], item["contentEncoding"]));
    }
    assert_eq!(packings.len(), 3, "{packings:?}");
    assert_eq!(items.iter().filter(|item| item["name"].as_str().unwrap().contains(" 100% grün")).count(), 1);
    assert_eq!(items.len(), clients.keys("sre-transit", "transit/").await.len());
}

#[tokio::test]
async fn faults_of_the_transfer_do_not_affect_the_table() {
    let always = |effect| Fault::tenant_stage("acme", Stage::Transfer, effect);
    let damage = Damage::Truncate { bytes: 20 };
    let leak = StageEffect::Leak { probability: 1.0, into: "globex".to_owned() };
    let delay = Distribution::Fixed { ms: 600.0 };
    let (lost, copies, incident) = (0, 1, None);
    for (effect, copies, incident) in [
        (StageEffect::Lose { probability: 1.0 }, lost, Some(Incident::Dropped { hop: Stage::Transfer })),
        (
            StageEffect::DeadLetter { probability: 1.0 },
            lost,
            Some(Incident::DeadLettered { hop: Stage::Transfer }),
        ),
        (
            StageEffect::Duplicate { probability: 1.0 },
            2,
            Some(Incident::Duplicated { stage: Stage::Transfer }),
        ),
        (
            StageEffect::Corrupt { probability: 1.0, damage },
            copies,
            Some(Incident::Corrupted { stage: Stage::Transfer }),
        ),
        (leak, copies, Some(Incident::Leaked { stage: Stage::Transfer, into: "globex".to_owned() })),
        (StageEffect::Delay { delay }, copies, incident),
    ] {
        let (sandbox, clients) = start(Settings::brisk(3, 2)).await;
        let gcs = Gcs::of(&clients);
        sandbox.fault(always(effect.clone()));
        clients.put(0, 0..1).await;
        clients.put(1, 0..1).await;
        arrival(&sandbox, &token(1, 0), Stage::Transfer).await;
        let record = truth(&sandbox, &token(0, 0), |record| {
            record.fate == Fate::Delivered
                && record.copies(Stage::Transfer).count() == copies
                && incident.as_ref().is_none_or(|incident| record.incidents.contains(incident))
        })
        .await;
        let mut stored = Vec::new();
        for item in gcs.items("").await {
            stored.extend(gcs.lines(&item).await);
        }
        let with = |tenant: &str, text: &str| {
            stored
                .iter()
                .filter(|line| line["tenant"] == tenant && line["message"].as_str().unwrap().contains(text))
                .count()
        };
        match effect {
            StageEffect::Corrupt { .. } => assert_eq!(with("acme", &token(0, 0)), 0),
            StageEffect::Leak { .. } => assert_eq!(with("globex", &token(0, 0)), 1),
            StageEffect::Delay { .. } => {
                let took =
                    record.arrived(Stage::Transfer).unwrap().since(record.arrived(Stage::Transit).unwrap());
                assert!(took >= Duration::from_millis(600), "{took:?}");
            }
            _ => assert_eq!(with("acme", &token(0, 0)), copies),
        }
        assert_eq!(with("globex", &token(1, 0)), 1);
    }
}

#[tokio::test]
async fn objects_held_back_by_a_stall_are_copied_when_it_ends() {
    let (sandbox, clients) = start(Settings::brisk(3, 1)).await;
    let gcs = Gcs::of(&clients);
    sandbox.fault(Fault::stage(Stage::Transfer, StageEffect::Stall));
    clients.put(0, 0..3).await;
    for number in 0..3 {
        arrival(&sandbox, &token(0, number), Stage::Bigquery).await;
    }
    assert!(gcs.items("").await.is_empty());
    sandbox.clear_all();
    for number in 0..3 {
        arrival(&sandbox, &token(0, number), Stage::Transfer).await;
    }
    assert_eq!(gcs.items("").await.len(), clients.keys("sre-transit", "transit/").await.len());
}
