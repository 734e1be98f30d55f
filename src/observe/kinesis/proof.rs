//! Proves that a stream can be read: its shards, and a record that it may have encrypted.

use std::time::Duration;

use super::fan_out::RESUBSCRIBE;
use super::settings::{SPEC, Settings};
use super::{Kinesis, Pages};
use crate::cloud::NoClient;
use crate::domain::proof::{Proof, Verdict};
use crate::domain::sighting::{Wanted, WantedTrace};
use crate::observe::kinds::{KindSettings, Site};
use crate::observe::proving::polled;

/// How far back to look for a record that shows whether records can be decrypted.
const OLDEST: Duration = Duration::from_hours(1);
/// Calls and records of that look: one record is enough.
const MAX_CALLS: usize = 20;
const MAX_RECORDS: i32 = 10;

/// Polls after the first one of a subscription, until it has reached the tip of every shard.
const MORE_POLLS: usize = 5;

const DECRYPTION: &str = "record";
const DECRYPT: &str = "kms:Decrypt";

/// Polls the stream as the daemon does. If that shows no record, reads one of the last hour.
pub(super) async fn prove(
    settings: &Settings,
    site: &Site<'_>,
    shared: &Pages,
    wanted: &Wanted,
) -> Result<Vec<Proof>, NoClient> {
    let mut observer = settings.observer(site, shared)?;
    let (mut proof, mut poll) = polled(&mut observer, site, &SPEC, &settings.stream, wanted).await;
    // What a subscription was opened for may come a moment later.
    let mut more = if settings.consumer.is_some() { MORE_POLLS } else { 0 };
    while more > 0 && poll.as_ref().is_some_and(|poll| poll.watermark.is_none()) {
        more -= 1;
        tokio::time::sleep(site.rhythm.interval).await;
        (proof, poll) = polled(&mut observer, site, &SPEC, &settings.stream, wanted).await;
    }
    let shards = observer.shards();
    drop(observer);
    if let Verdict::Ok(seen) = &mut proof.verdict {
        *seen = format!("{shards} {}, {seen}", if shards == 1 { "shard" } else { "shards" });
    }
    let records = poll.map(|poll| poll.stats.records);
    let of_record = match records {
        None => Proof::not_tried(DECRYPTION, "the stream could not be polled"),
        Some(0) => older_record(settings, site, shared, wanted).await?,
        Some(_) => Proof::ok(DECRYPTION, "read and, if the stream is encrypted, decrypted"),
    };
    Ok(vec![proof, of_record])
}

async fn older_record(
    settings: &Settings,
    site: &Site<'_>,
    shared: &Pages,
    wanted: &Wanted,
) -> Result<Proof, NoClient> {
    let settings = Settings {
        max_records_per_call: MAX_RECORDS,
        max_calls_per_poll: MAX_CALLS,
        pages_per_poll: 1,
        ..settings.clone()
    };
    if settings.consumer.is_some() {
        tokio::time::sleep(RESUBSCRIBE).await;
    }
    let mut observer: Kinesis = settings.observer(site, shared)?;
    let planned_at = site.clock.now() - OLDEST;
    let waiting = wanted.waiting.iter().map(|it| WantedTrace { planned_at, ..*it }).collect();
    let wanted = Wanted { waiting, ..Wanted::default() };
    let (proof, poll) = polled(&mut observer, site, &SPEC, &settings.stream, &wanted).await;
    Ok(match (proof.verdict, poll) {
        (Verdict::Failed(refusal), _) => Proof::failed(DECRYPTION, refusal),
        (_, Some(poll)) if poll.stats.records > 0 => {
            Proof::ok(DECRYPTION, "one of the last hour was read and, if the stream is encrypted, decrypted")
        }
        (_, Some(poll)) if poll.watermark.is_none() => Proof::without(
            DECRYPTION,
            DECRYPT,
            "the last hour was not read to its end, and no record was among what was read; if the stream is encrypted with \
             a key of your own, whether it may be used is unknown",
        ),
        _ => Proof::without(
            DECRYPTION,
            DECRYPT,
            "no record of the last hour was found; if the stream is encrypted with a key of your own, whether it may \
             be used is unknown",
        ),
    })
}
