//! Whether a region may be wrong as a whole. Then nothing that is searched there is found, and a region where little is
//! used denies what it does not have, so that each line by itself leads to names and rights.

use std::collections::{BTreeMap, BTreeSet};

use super::run::Tried;
use crate::cloud::failure::moved::region_of_bucket;
use crate::domain::proof::{Refusal, Verdict};
use crate::domain::sighting::FailureKind;

/// Fewest services that must have failed: what only one of them lacks is rather its own fault.
const SERVICES: usize = 2;

/// A bucket may be in another region than all else, so one that is found says nothing of the others.
const APART: &str = "s3";

/// What came of a region so far.
#[derive(Default)]
struct Seen<'a> {
    /// The services that said "does not exist" or "not authorized", and of how many log groups and sources.
    failing: BTreeMap<&'a str, usize>,
    /// The services of which something could be used.
    working: BTreeSet<&'a str>,
    /// Where S3 says that a bucket is.
    buckets: BTreeSet<&'a str>,
}

/// One note for each region in which services failed and nothing could be used.
pub(super) fn notes(tried: &[Tried<'_>]) -> Vec<String> {
    let mut regions: BTreeMap<&str, Seen<'_>> = BTreeMap::new();
    for Tried { subject, proofs } in tried {
        let Some(account) = subject.account else { continue };
        let seen = regions.entry(&account.region).or_default();
        let mut fails = false;
        for proof in proofs {
            match &proof.verdict {
                Verdict::Ok(_) => {
                    seen.working.insert(subject.service);
                }
                Verdict::Failed(refusal) => {
                    let bucket = region_of_bucket(&refusal.text);
                    fails |= bucket.is_some() || may_be_of_region(refusal);
                    seen.buckets.extend(bucket);
                }
                Verdict::NotTried { .. } => {}
            }
        }
        if fails {
            *seen.failing.entry(subject.service).or_default() += 1;
        }
    }
    regions.into_iter().filter_map(|(region, seen)| note(region, &seen)).collect()
}

fn may_be_of_region(refusal: &Refusal) -> bool {
    let is_absent = matches!(refusal.kind, FailureKind::NotFound | FailureKind::Denied);
    // A call to a service failed, and not that of STS, which answers for a role in every region alike.
    is_absent && refusal.permission.is_some_and(|permission| permission != "sts:AssumeRole")
}

fn note(region: &str, Seen { failing, working, buckets }: &Seen<'_>) -> Option<String> {
    let useless: Vec<_> = failing.iter().filter(|(service, _)| !working.contains(*service)).collect();
    if useless.len() < SERVICES || working.iter().any(|service| *service != APART) {
        return None;
    }
    let services = useless.iter().map(|(service, _)| **service).collect::<Vec<_>>().join(", ");
    let places: usize = useless.iter().map(|(_, places)| **places).sum();
    let buckets = match buckets.iter().copied().collect::<Vec<_>>().join(", ") {
        regions if regions.is_empty() => regions,
        regions => format!("; S3 says of a bucket that it is in {regions}"),
    };
    Some(format!(
        "the region may be wrong: in \"{region}\", nothing of {services} could be used, which say \"does not exist\" or \
         \"not authorized\" of {places} places{buckets}; compare aws.region, and region of tenants and stages, before \
         names and rights"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloud::account::Account;
    use crate::commands::check::subject::{Place, Subject};
    use crate::domain::proof::Proof;

    fn failed(kind: FailureKind, permission: &'static str, text: &str) -> Proof {
        let refusal = Refusal {
            kind,
            permission: Some(permission),
            resource: "r".to_owned(),
            text: text.into(),
            key: None,
        };
        Proof::failed("poll", refusal)
    }

    fn tried<'a>(service: &'static str, account: &'a Account, proof: Proof) -> Tried<'a> {
        let subject = Subject {
            name: format!("of {service}"),
            tenants: Vec::new(),
            stage: None,
            keys: "stage.s".to_owned(),
            place_key: "stream",
            service,
            place: Place::Shared,
            account: Some(account),
            names: Vec::new(),
        };
        Tried { subject, proofs: vec![proof] }
    }

    fn absent() -> Proof {
        failed(FailureKind::NotFound, "kinesis:ListShards", "ResourceNotFoundException: no")
    }

    #[test]
    fn two_services_without_anything_in_a_region_are_told_once() {
        let account = Account::in_region("eu-west-9");
        let moved =
            "the bucket is in us-west-2, not in eu-west-9; set region of the stage to \"us-west-2\": m";
        let all = [
            tried("kinesis", &account, absent()),
            tried("kinesis", &account, absent()),
            tried("logs", &account, failed(FailureKind::Denied, "logs:PutLogEvents", "AccessDenied: no")),
            tried("s3", &account, failed(FailureKind::Error, "s3:ListBucket", moved)),
        ];
        let notes = notes(&all);
        assert_eq!(notes.len(), 1, "{notes:#?}");
        for part in [
            "the region may be wrong",
            "\"eu-west-9\"",
            "kinesis, logs, s3",
            "4 places",
            "us-west-2",
            "aws.region",
        ] {
            assert!(notes[0].contains(part), "{part}: {}", notes[0]);
        }
    }

    #[test]
    fn a_region_in_which_something_works_or_one_service_fails_is_not_suspected() {
        let account = Account::in_region("eu-west-9");
        let of_one = [tried("kinesis", &account, absent()), tried("kinesis", &account, absent())];
        assert_eq!(notes(&of_one), Vec::<String>::new());
        let with_ok = [
            tried("kinesis", &account, absent()),
            tried("logs", &account, absent()),
            tried("sqs", &account, Proof::ok("poll", "read")),
        ];
        assert_eq!(notes(&with_ok), Vec::<String>::new());
        let other = Account::in_region("us-east-1");
        let in_two = [tried("kinesis", &account, absent()), tried("logs", &other, absent())];
        assert_eq!(notes(&in_two), Vec::<String>::new());
    }

    #[test]
    fn silence_and_roles_say_nothing_of_a_region() {
        let account = Account::in_region("eu-west-9");
        let all = [
            tried("kinesis", &account, failed(FailureKind::Timeout, "kinesis:ListShards", "no answer")),
            tried(
                "logs",
                &account,
                failed(FailureKind::Denied, "sts:AssumeRole", "AssumeRole: AccessDenied: no"),
            ),
            tried("s3", &account, absent()),
        ];
        assert_eq!(notes(&all), Vec::<String>::new());
    }
}
