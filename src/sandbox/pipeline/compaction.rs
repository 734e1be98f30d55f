//! Compaction of the objects in S3: small objects are merged into one, and deleted later.

use std::time::Duration;

use super::super::clock::Micros;
use super::super::names::Stage;
use super::super::world::World;
use super::super::world::buckets::Bucket;
use super::plain_object;
use super::queue::Due;

impl World {
    /// Collects an object that was written to a stage whose objects are compacted.
    pub(super) fn collect(&mut self, stage: Stage, tenant: usize, key: &str, now: Micros) {
        let Some(compaction) = self.faults.compaction(stage, &self.tenants[tenant].spec.name) else { return };
        let folder = key.rsplit_once('/').map_or("", |(folder, _)| folder).to_owned();
        let keys = self.pipeline.compacted.entry((stage, folder.clone())).or_default();
        keys.push(key.to_owned());
        if keys.len() == 1 {
            self.pipeline.enter(now.after(compaction.every), Due::Merge(stage, folder, compaction.keep));
        }
    }

    /// Merges the objects that were collected in a folder into one, and leaves them there for a while.
    pub(super) fn merge(&mut self, stage: Stage, folder: String, keep: Duration, now: Micros) {
        let Some(keys) = self.pipeline.compacted.remove(&(stage, folder.clone())) else { return };
        self.pipeline.objects += 1;
        let number = self.pipeline.objects;
        let capacity = self.settings.capacity;
        let Some(bucket) = self.compacted_bucket(stage) else { return };
        let objects = keys.iter().filter_map(|key| bucket.objects.get(key));
        // Gzip files one after the other are one gzip file (RFC 1952).
        let body: Vec<u8> = objects.flat_map(|object| object.body.iter().copied()).collect();
        let key = format!("{folder}/{}-compacted-{number:06}.ndjson.gz", now.format("%Y%m%dT%H%M%S%.3fZ"));
        bucket.put(key, plain_object(body.into(), now), capacity);
        self.pipeline.enter(now.after(keep), Due::Delete(stage, keys));
    }

    /// Deletes objects that were merged.
    pub(super) fn delete(&mut self, stage: Stage, keys: &[String]) {
        if let Some(bucket) = self.compacted_bucket(stage) {
            keys.iter().for_each(|key| bucket.remove(key));
        }
    }

    fn compacted_bucket(&mut self, stage: Stage) -> Option<&mut Bucket> {
        match stage {
            Stage::Archive => Some(&mut self.archive),
            Stage::Transit => Some(&mut self.transit),
            Stage::LogGroup | Stage::TenantStream | Stage::Bigquery | Stage::DeadLetter | Stage::Transfer => {
                None
            }
        }
    }
}
