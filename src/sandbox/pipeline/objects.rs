//! The objects in S3 that the archive writer, the exporter and the dead-letter queue write: gzip NDJSON, one line an event.

use std::io::Write;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;

use super::super::clock::Micros;
use super::super::names::Stage;
use super::super::settings::ARCHIVE_BUCKET;
use super::super::truth::{Fate, Incident};
use super::super::world::World;
use super::super::world::buckets::Object;
use super::item::{Item, mix};

impl World {
    /// Turns a batch into an object.
    pub(super) fn flush(&mut self, stage: Stage, tenant: usize, now: Micros) {
        let items = match stage {
            Stage::Archive => std::mem::take(&mut self.pipeline.archive[tenant]),
            Stage::Transit => std::mem::take(&mut self.pipeline.transit),
            Stage::LogGroup | Stage::TenantStream | Stage::Bigquery | Stage::DeadLetter => Vec::new(),
        };
        if items.is_empty() {
            return;
        }
        let mut lines = String::new();
        for item in &items {
            lines.push_str(&self.line(item));
            lines.push('\n');
        }
        self.pipeline.objects += 1;
        let mut name =
            format!("{}-{:06}", now.format("%Y%m%dT%H%M%S%.3fZ"), self.pipeline.objects % 1_000_000);
        if self.faults.keys_unordered(stage) {
            name = format!("{:016x}", mix(self.settings.seed, self.pipeline.objects));
        }
        let key = if stage == Stage::Archive {
            let folder = now.format("dt=%Y-%m-%d/hour=%H");
            format!("archive/tenant={}/{folder}/{name}.ndjson.gz", self.tenants[tenant].spec.name)
        } else {
            format!("transit/{}/{name}.ndjson.gz", now.format("%Y/%m/%d/%H"))
        };
        let object = self.object(stage, lines.as_bytes(), now);
        let bucket = if stage == Stage::Archive { &mut self.archive } else { &mut self.transit };
        bucket.put(key.clone(), object, self.settings.capacity);
        for (number, item) in items.into_iter().enumerate() {
            self.stored(stage, &item, format!("{key}#{}", number + 1), now);
            if stage == Stage::Transit {
                self.send(Stage::Bigquery, item, now);
            }
        }
    }

    /// Puts an item under the dead-letter prefix.
    pub(super) fn put_aside(&mut self, hop: Stage, item: &Item, now: Micros) {
        self.pipeline.objects += 1;
        let key = format!(
            "dlq/tenant={}/dt={}/{}-{:06}.ndjson.gz",
            self.tenants[item.tenant].spec.name,
            now.format("%Y-%m-%d/hour=%H"),
            now.format("%Y%m%dT%H%M%S%.3fZ"),
            self.pipeline.objects % 1_000_000
        );
        let line = format!("{}\n", self.line(item));
        let object = self.object(Stage::DeadLetter, line.as_bytes(), now);
        self.archive.put(key.clone(), object, self.settings.capacity);
        self.stored(Stage::DeadLetter, item, format!("{ARCHIVE_BUCKET}/{key}#1"), now);
        self.note(item, Incident::DeadLettered { hop });
        self.end(item, Some(Fate::DeadLettered { hop }));
    }

    fn object(&self, stage: Stage, content: &[u8], now: Micros) -> Object {
        let whole = plain_object(gzip(content), now);
        let Some(early) = self.faults.multipart_early(stage) else {
            return whole;
        };
        let modified = now.before(Duration::from_millis(early));
        Object { modified, parts: 2, etag: format!("{}-2", whole.etag), ..whole }
    }

    fn line(&self, item: &Item) -> String {
        let tenant = &self.tenants[item.tenant].spec;
        json!({
            "tenant": tenant.name,
            "log_group": tenant.log_group,
            "log_stream": &*item.log_stream,
            "id": item.event_id,
            "timestamp": item.timestamp,
            "message": &*item.message,
        })
        .to_string()
    }
}

/// An object that was put in one piece.
pub(crate) fn plain_object(body: Bytes, now: Micros) -> Object {
    let digest = <md5::Md5 as md5::Digest>::digest(&body);
    let etag = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    Object { body, modified: now, visible: now, parts: 0, etag }
}

/// Packs content as the pipeline packs all it stores; fast, since nobody pays for the bytes.
pub(super) fn gzip(content: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder
        .write_all(content)
        .and_then(|()| encoder.finish())
        .map(Bytes::from)
        .expect("a Vec takes every write")
}
