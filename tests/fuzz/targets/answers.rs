//! Answers of services.

use std::collections::HashSet;

use tokio::runtime::{Builder, Runtime};
use traceprobe::observe::bigquery::fuzzing::{Names, read};
use traceprobe::observe::gcs;
use traceprobe::observe::s3::fuzzing::list;

use super::world::{recognizer, tag};

/// One byte chooses how the table names its canaries, the rest is an answer of jobs.query. Every sighting is
/// of a canary that is wanted or leaked, and no two have the same locator.
pub fn bigquery_rows(data: &[u8]) {
    let Some((names, answer)) = data.split_first() else { return };
    let names = [Names::Tag, Names::TraceId, Names::Within, Names::Owned][usize::from(*names) % 4];
    let wanted = [tag("acme", 1, 500), tag("globex", 2, 500)];
    let Some((sightings, _)) = read(recognizer(), &wanted, names, answer) else { return };
    let mut locators = HashSet::new();
    for sighting in sightings {
        assert!(
            wanted.iter().any(|wanted| wanted.trace == sighting.tag.trace) || names == Names::Owned,
            "not wanted"
        );
        let copy = (sighting.tag.trace, sighting.locator.as_str().to_owned());
        assert!(locators.insert(copy), "two copies with one locator: {:?}", sighting.locator);
    }
}

/// An answer of objects.list. The object that was asked for as the last known one is not listed again.
pub fn gcs_listing(answer: &[u8]) {
    let all = gcs::read_page(answer, None);
    let Some(all) = all else { return };
    let Some(first) = all.objects.first() else { return };
    if let Some(page) = gcs::read_page(answer, Some(&first.key)) {
        assert!(page.objects.iter().all(|object| object.key != first.key));
        assert!(page.objects.len() < all.objects.len());
        assert_eq!(page.next, all.next);
    }
}

/// One byte chooses the status, the rest is an answer of ListObjectsV2. An error has a text.
pub fn s3_listing(data: &[u8]) {
    thread_local! {
        static RUNTIME: Runtime = Builder::new_current_thread().enable_time().build().expect("no I/O is needed");
    }
    let Some((status, body)) = data.split_first() else { return };
    let status = [200, 307, 403, 404, 500, 503][usize::from(*status) % 6];
    match RUNTIME.with(|runtime| runtime.block_on(list(status, body))) {
        Ok(_) => assert_eq!(status, 200),
        Err(error) => assert!(!error.detail.is_empty()),
    }
}
