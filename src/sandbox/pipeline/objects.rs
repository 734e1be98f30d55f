//! The objects that the archive writer, the exporter and the dead-letter queue write to S3 (gzip NDJSON, one
//! line per event), and the copies of the exporter's that the storage transfer makes in Google Cloud Storage.

use std::io::Write;
use std::sync::Arc;
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
use super::super::world::buckets::{Object, Packing};
use super::event_copy::{EventCopy, TransitObject, mix};

impl World {
    /// Writes a batch as an object.
    pub(super) fn flush(&mut self, stage: Stage, tenant: usize, now: Micros) {
        let copies = match stage {
            Stage::Archive => std::mem::take(&mut self.pipeline.archive[tenant]),
            Stage::Transit => std::mem::take(&mut self.pipeline.transit),
            Stage::LogGroup | Stage::TenantStream | Stage::Bigquery | Stage::DeadLetter | Stage::Transfer => {
                Vec::new()
            }
        };
        if copies.is_empty() {
            return;
        }
        let lines = self.lines(&copies);
        self.pipeline.objects += 1;
        let mut name =
            format!("{}-{:06}", now.format("%Y%m%dT%H%M%S%.3fZ"), self.pipeline.objects % 1_000_000);
        if self.faults.keys_unordered(stage) {
            name = format!("{:016x}", mix(self.settings.seed, self.pipeline.objects));
        }
        let (key, stem) = if stage == Stage::Archive {
            let folder = now.format("dt=%Y-%m-%d/hour=%H");
            (format!("archive/tenant={}/{folder}/{name}.ndjson.gz", self.tenants[tenant].spec.name), None)
        } else {
            let stem = format!("{}/{name}", now.format("%Y/%m/%d/%H"));
            (format!("transit/{stem}.ndjson.gz"), Some(stem))
        };
        let object = self.object(stage, lines.as_bytes(), now);
        let bucket = if stage == Stage::Archive { &mut self.archive } else { &mut self.transit };
        bucket.put(key.clone(), object, self.settings.capacity);
        self.collect(stage, tenant, &key, now);
        if let Some(stem) = stem {
            self.transfer(stem, &copies, now);
        }
        for (number, copy) in copies.into_iter().enumerate() {
            self.stored(stage, &copy, format!("{key}#{}", number + 1), now);
            if stage == Stage::Transit {
                self.send(Stage::Bigquery, copy, now);
            }
        }
    }

    /// Sends the lines of a transit object to be copied. A side stage: it does not affect the lines on the
    /// main path.
    fn transfer(&mut self, stem: String, copies: &[EventCopy], now: Micros) {
        let number = self.pipeline.transit_objects;
        self.pipeline.transit_objects += 1;
        let seed = copies.first().map_or(0, |first| first.seed);
        let transit_object = Arc::new(TransitObject { stem, number, seed });
        for copy in copies {
            let transferred = EventCopy {
                counts_for_truth: false,
                transit_object: Some(Arc::clone(&transit_object)),
                ..copy.clone()
            };
            self.send(Stage::Transfer, transferred, now);
        }
    }

    /// Writes the lines that have arrived of a transit object as its copy. In every fifth copy, the name has
    /// a blank, a percent sign and a non-ASCII letter. Copies alternate between a gzip file, text stored as
    /// gzip, and text.
    pub(super) fn copy(&mut self, transit_object: &TransitObject, now: Micros) {
        let copies = self.pipeline.transfer.remove(&transit_object.stem).unwrap_or_default();
        if copies.is_empty() {
            return;
        }
        let packing = match transit_object.number % 3 {
            0 => Packing::GzipFile,
            1 => Packing::GzipEncoded,
            _ => Packing::Plain,
        };
        let mut stem = transit_object.stem.clone();
        if self.faults.keys_unordered(Stage::Transfer) {
            let folder = stem.rsplit_once('/').map_or("", |(folder, _)| folder);
            stem = format!("{folder}/{:016x}", mix(self.settings.seed, transit_object.number));
        }
        // Five and three have no common divisor, so each packing occurs with each kind of name.
        let name = if transit_object.number % 5 == 4 { " 100% grün" } else { "" };
        let ending = if packing == Packing::GzipFile { ".ndjson.gz" } else { ".ndjson" };
        let mut key = format!("transfer/{stem}{name}{ending}");
        // Lines that a fault held back arrive after their object was copied.
        let mut piece = 1;
        while self.transfer.objects.contains_key(&key) {
            piece += 1;
            key = format!("transfer/{stem}.{piece}{name}{ending}");
        }
        let lines = Bytes::from(self.lines(&copies));
        let body = if packing == Packing::Plain { lines } else { gzip(&lines) };
        let object = Object { packing, ..plain_object(body, now) };
        self.transfer.put(key.clone(), object, self.settings.capacity);
        for (number, copy) in copies.iter().enumerate() {
            self.stored(Stage::Transfer, copy, format!("{key}#{}", number + 1), now);
        }
    }

    /// Writes a copy under the dead-letter prefix.
    pub(super) fn dead_letter(&mut self, hop: Stage, copy: &EventCopy, now: Micros) {
        self.pipeline.objects += 1;
        let key = format!(
            "dlq/tenant={}/dt={}/{}-{:06}.ndjson.gz",
            self.tenants[copy.routed_to].spec.name,
            now.format("%Y-%m-%d/hour=%H"),
            now.format("%Y%m%dT%H%M%S%.3fZ"),
            self.pipeline.objects % 1_000_000
        );
        let line = format!("{}\n", self.line(copy));
        let object = self.object(Stage::DeadLetter, line.as_bytes(), now);
        self.archive.put(key.clone(), object, self.settings.capacity);
        self.stored(Stage::DeadLetter, copy, format!("{ARCHIVE_BUCKET}/{key}#1"), now);
        self.note(copy, Incident::DeadLettered { hop });
        self.end(copy, Some(Fate::DeadLettered { hop }));
    }

    fn object(&self, stage: Stage, content: &[u8], now: Micros) -> Object {
        let whole = plain_object(gzip(content), now);
        let Some(early) = self.faults.multipart_early(stage) else {
            return whole;
        };
        let modified = now.before(Duration::from_millis(early));
        Object { modified, parts: 2, etag: format!("{}-2", whole.etag), ..whole }
    }

    fn lines(&self, copies: &[EventCopy]) -> String {
        let mut lines = String::new();
        for copy in copies {
            lines.push_str(&self.line(copy));
            lines.push('\n');
        }
        lines
    }

    fn line(&self, copy: &EventCopy) -> String {
        let tenant = &self.tenants[copy.routed_to].spec;
        json!({
            "tenant": tenant.name,
            "log_group": tenant.log_group,
            "log_stream": &*copy.log_stream,
            "id": copy.event_id,
            "timestamp": copy.timestamp_ms,
            "message": &*copy.message,
        })
        .to_string()
    }
}

/// An object that was uploaded in one part.
pub(crate) fn plain_object(body: Bytes, now: Micros) -> Object {
    let digest = <md5::Md5 as md5::Digest>::digest(&body);
    let etag = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    Object { body, modified: now, visible: now, parts: 0, etag, packing: Packing::Plain, generation: 0 }
}

/// Compresses content as the pipeline compresses everything it stores; fast, because size does not matter
/// here.
pub(super) fn gzip(content: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder
        .write_all(content)
        .and_then(|()| encoder.finish())
        .map(Bytes::from)
        .expect("writing to a Vec cannot fail")
}
