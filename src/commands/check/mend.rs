//! How to mend what does not work: the statement of `config/iam/`, the key of the configuration, a command.
//!
//! [`TABLE`] is the one place that says which statement allows what.

use serde::Serialize;

use super::subject::{Place, Subject};
use super::who::Identity;
use crate::cloud::failure::answerer::is_of_another_service;
use crate::cloud::failure::denial::Denial;
use crate::cloud::failure::moved::region_of_bucket;
use crate::cloud::failure::unreached::named_keys;
use crate::cloud::google;
use crate::domain::shell::{filled, quoted};
use crate::domain::sighting::FailureKind;

/// A statement of a policy, or a file of permissions in Google Cloud.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub(super) struct Statement {
    /// `None` where the file has no statements: a custom role of Google Cloud.
    pub(super) sid: Option<&'static str>,
    /// Below the root of the repository; `None` for a role that Google provides.
    pub(super) file: Option<&'static str>,
    /// The role that Google provides.
    pub(super) role: Option<&'static str>,
}

/// What to do. Empty if that is unknown.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub(super) struct Mend {
    /// What allows the call.
    pub(super) statement: Option<Statement>,
    /// The key of the configuration to compare: `stage.archive.bucket`.
    pub(super) key: Option<String>,
    /// A command that mends it or shows more.
    pub(super) command: Option<String>,
    /// What it may be, where the service gives one answer for several causes.
    pub(super) possibilities: Vec<String>,
}

impl Mend {
    /// Whether there is nothing to say.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// One permission, and what allows it.
struct Row {
    /// As in metrics: `s3`.
    service: &'static str,
    permission: &'static str,
    /// `None` for every place.
    place: Option<Place>,
    statement: Statement,
}

const fn aws(
    service: &'static str,
    permission: &'static str,
    place: Option<Place>,
    sid: &'static str,
    file: &'static str,
) -> Row {
    let statement = Statement { sid: Some(sid), file: Some(file), role: None };
    Row { service, permission, place, statement }
}

const fn google(service: &'static str, permission: &'static str, file: &'static str) -> Row {
    let statement = Statement { sid: None, file: Some(file), role: None };
    Row { service, permission, place: None, statement }
}

const TASK: &str = "config/iam/task-role.json";
const LETTERS: &str = "config/iam/task-role-dead-letter-stage.json";
const QUEUE: &str = "config/iam/task-role-dead-letter-queue.json";
const FAN_OUT: &str = "config/iam/task-role-enhanced-fan-out.json";
const EXPORT: &str = "config/iam/task-role-log-group-stage.json";
const INJECT: &str = "config/iam/tenant-inject.json";
const INJECT_CHECK: &str = "config/iam/tenant-inject-check.json";
const TRUST: &str = "config/iam/tenant-inject-trust.json";
const TASK_OBSERVER: &str = "config/iam/task-role-observer.json";
const OBSERVER: &str = "config/iam/observer-role.json";
const OBSERVER_TRUST: &str = "config/iam/observer-role-trust.json";
const TABLE_READER: &str = "config/iam/bigquery-table-reader.json";
const OBJECT_READER: &str = "config/iam/gcs-object-reader.json";

/// Which statement allows what.
const TABLE: [Row; 26] = [
    aws("logs", "logs:CreateLogStream", None, "CreateTheProbesLogStream", INJECT),
    aws("logs", "logs:PutLogEvents", None, "WriteCanariesToTheProbesLogStreamsOnly", INJECT),
    aws("logs", "logs:DescribeSubscriptionFilters", None, "SeeTheSubscriptionFilters", INJECT_CHECK),
    aws("logs", "logs:DescribeAccountPolicies", None, "TryTheFilterPatterns", INJECT_CHECK),
    aws("logs", "logs:TestMetricFilter", None, "TryTheFilterPatterns", INJECT_CHECK),
    aws("logs", "logs:FilterLogEvents", None, "SearchTheExportLogGroup", EXPORT),
    aws("kinesis", "kinesis:ListShards", None, "ReadTheTenantStreams", TASK),
    aws("kinesis", "kinesis:GetShardIterator", None, "ReadTheTenantStreams", TASK),
    aws("kinesis", "kinesis:GetRecords", None, "ReadTheTenantStreams", TASK),
    aws("kinesis", "kinesis:DescribeStreamConsumer", None, "SubscribeToTheTenantStreams", FAN_OUT),
    aws("kinesis", "kinesis:SubscribeToShard", None, "SubscribeToTheTenantStreams", FAN_OUT),
    aws("kinesis", "kms:Decrypt", None, "DecryptTheStreams", TASK),
    aws("s3", "s3:ListBucket", Some(Place::OfTenant), "ListTheArchive", TASK),
    aws("s3", "s3:ListBucket", Some(Place::Shared), "ListTheTransit", TASK),
    aws("s3", "s3:ListBucket", Some(Place::DeadLetters), "ListTheDeadLetters", LETTERS),
    aws("s3", "s3:GetObject", Some(Place::DeadLetters), "ReadTheDeadLetters", LETTERS),
    aws("s3", "s3:GetObject", None, "ReadTheObjects", TASK),
    aws("s3", "kms:Decrypt", Some(Place::DeadLetters), "DecryptTheDeadLetters", LETTERS),
    aws("s3", "kms:Decrypt", None, "DecryptTheObjects", TASK),
    aws("sqs", "sqs:GetQueueAttributes", None, "MeasureTheDeadLetterQueue", QUEUE),
    aws("sqs", "sqs:ReceiveMessage", None, "PeekAtDeadLetters", QUEUE),
    aws("sqs", "kms:Decrypt", None, "DecryptTheDeadLetterQueue", QUEUE),
    google("bigquery", "bigquery.tables.get", TABLE_READER),
    google("bigquery", "bigquery.tables.getData", TABLE_READER),
    google("gcs", "storage.objects.list", OBJECT_READER),
    google("gcs", "storage.objects.get", OBJECT_READER),
];

/// Which statement allows what to the role of a stage.
const OBSERVED: [Row; 1] =
    [aws("sqs", "sqs:GetQueueAttributes", None, "MeasureTheForwardersDeadLetters", OBSERVER)];

const ASSUME_OBSERVER: Statement =
    Statement { sid: Some("AssumeTheRoleOfTheObserver"), file: Some(TASK_OBSERVER), role: None };
const TRUST_OF_OBSERVER: Statement = Statement {
    sid: Some("OnlyTheProbeWithTheExternalIdOfThisOwner"),
    file: Some(OBSERVER_TRUST),
    role: None,
};
const ASSUME: Statement = Statement { sid: Some("AssumeTheRolesOfTheTenants"), file: Some(TASK), role: None };
const TRUST_OF_ROLE: Statement =
    Statement { sid: Some("OnlyTheProbeWithTheExternalIdOfThisTenant"), file: Some(TRUST), role: None };
const RUN_QUERIES: Statement = Statement { sid: None, file: None, role: Some("roles/bigquery.jobUser") };

/// What shows that a place exists, by service.
const SHOWING: [(&str, &str); 6] = [
    ("logs", "aws logs describe-log-groups --region LOG_GROUP_REGION --log-group-name-prefix LOG_GROUP"),
    ("kinesis", "aws kinesis list-streams --region STREAM_REGION"),
    ("s3", "aws s3 ls --region BUCKET_REGION s3://BUCKET/PREFIX"),
    ("sqs", "aws sqs list-queues --region QUEUE_REGION"),
    ("bigquery", "bq show --format=prettyjson PROJECT:DATASET.TABLE"),
    ("gcs", "gcloud storage ls gs://GS_BUCKET/GS_PREFIX"),
];

/// What grants a permission in Google Cloud, by permission.
const GRANTS: [(&str, &str); 3] = [
    (
        "bigquery.jobs",
        "gcloud projects add-iam-policy-binding PROJECT --member=MEMBER --role=roles/bigquery.jobUser",
    ),
    (
        "bigquery.tables",
        "bq add-iam-policy-binding --member=MEMBER --role=projects/PROJECT/roles/traceprobeTableReader \
         PROJECT:DATASET.TABLE",
    ),
    (
        "storage.objects",
        "gcloud storage buckets add-iam-policy-binding gs://GS_BUCKET --member=MEMBER \
         --role=projects/PROJECT/roles/traceprobeObjectReader",
    ),
];

/// What is known of a failure.
#[derive(Clone, Copy, Debug)]
pub(super) struct Symptom<'a> {
    /// `None` if something is missing that was not tried.
    pub(super) kind: Option<FailureKind>,
    pub(super) permission: Option<&'static str>,
    pub(super) key: Option<&'static str>,
    /// What was called.
    pub(super) resource: Option<&'a str>,
    /// The sentence of the service.
    pub(super) text: &'a str,
}

/// What to do about it.
pub(super) fn mend(subject: &Subject<'_>, symptom: Symptom<'_>, identity: &Identity) -> Mend {
    if symptom.text.contains(google::NO_FILE) {
        return without_google_file();
    }
    let denial = Denial::read(symptom.text);
    let is_denied = matches!(symptom.kind, None | Some(FailureKind::Denied));
    let elsewhere = region_of_bucket(symptom.text);
    let mut key = symptom.key.map(|key| format!("{}.{key}", subject.keys));
    let of_another = is_of_another_service(symptom.text);
    if of_another || matches!(symptom.kind, Some(FailureKind::Unreachable | FailureKind::Timeout)) {
        // The text itself says which key names the host, or what of the network to look at.
        let named: Vec<_> = named_keys(symptom.text).collect();
        key = Some(named.join(", ")).filter(|named| !named.is_empty());
    }
    if of_another {
        // It has said nothing of the place or the right.
        return Mend { key, ..Mend::default() };
    }
    if let Some(other) = other_policy(&denial).filter(|_| symptom.kind == Some(FailureKind::Denied)) {
        return Mend { possibilities: vec![other], key, ..Mend::default() };
    }
    if symptom.permission == Some("sts:AssumeRole") && symptom.kind == Some(FailureKind::Denied) {
        return of_role(subject, &denial, identity);
    }
    // The service may name another permission than that of the call: the key that encrypts an object.
    let permission = denial.action.filter(|_| is_denied).or(symptom.permission);
    // SQS spells its codes `KmsAccessDenied` (Amazon SQS API reference, ReceiveMessage).
    let names_key = ["KMS", "Kms"].iter().any(|name| symptom.text.contains(name));
    let encryption = names_key || permission == Some("kms:Decrypt");
    let permission = if encryption { Some("kms:Decrypt") } else { permission };
    let statement = permission.filter(|_| is_denied).and_then(|permission| statement(subject, permission));
    let command = match (statement, symptom.kind) {
        (Some(statement), _) => grant(subject, statement, permission.unwrap_or_default(), &denial, identity),
        (None, Some(FailureKind::NotFound | FailureKind::Error)) => show(subject, elsewhere),
        (None, _) => None,
    };
    let possibilities =
        match (symptom.kind, statement.and_then(describe), denial.resource.or(symptom.resource)) {
            (Some(FailureKind::Denied), Some(statement), Some(resource)) => {
                denied(subject, &statement, resource)
            }
            (Some(FailureKind::NotFound), _, _) if symptom.permission.is_some() => {
                not_found(subject, identity)
            }
            (Some(FailureKind::Denied), None, _) => other_region(subject, symptom.text),
            _ => Vec::new(),
        };
    let possibilities = match elsewhere {
        Some(region) => with_region(subject, region, possibilities),
        None => possibilities,
    };
    Mend { statement, key, command, possibilities }
}

/// ADC found no file and asked a server that only machines of Google Cloud have.
pub(super) fn without_google_file() -> Mend {
    let possibilities = vec![
        "on ECS, GOOGLE_APPLICATION_CREDENTIALS names the federation file, as docs/google.md has it step by step"
            .to_owned(),
        "on a machine of Google Cloud, its metadata server is not blocked; elsewhere, gcp.auth is another one than \"adc\""
            .to_owned(),
    ];
    let key = Some("GOOGLE_APPLICATION_CREDENTIALS, since gcp.auth is \"adc\"".to_owned());
    Mend { key, possibilities, ..Mend::default() }
}

/// Where S3 says that the bucket is takes the place of where it was searched.
fn with_region(subject: &Subject<'_>, region: &str, others: Vec<String>) -> Vec<String> {
    let searched = in_region(subject);
    let others = others.into_iter().filter(|one| Some(one) != searched.as_ref());
    let right = format!(
        "{}.region, or else aws.region, is \"{region}\", where S3 says that the bucket is",
        subject.keys
    );
    std::iter::once(right).chain(others).collect()
}

/// What to say if AWS names a policy that is not in `config/iam/`: of the organization, a boundary, an endpoint.
fn other_policy(denial: &Denial<'_>) -> Option<String> {
    let policy = denial.policy?;
    if denial.is_explicit {
        return Some(format!(
            "no {policy} forbids it: AWS names an explicit deny there, so no further permission helps"
        ));
    }
    // The files are identity-based policies, and trust policies, which are based on a resource.
    let is_shipped = ["identity-based policy", "resource-based policy"].contains(&policy);
    (!is_shipped).then(|| format!("the {policy} allows it, too: AWS says that none does"))
}

/// Where rights are few, a name that is wrong is denied like a right that is missing.
fn denied(subject: &Subject<'_>, statement: &str, resource: &str) -> Vec<String> {
    let Subject { keys, place_key, service, .. } = subject;
    let mut named = vec![format!("{keys}.{place_key}")];
    if matches!(*service, "s3" | "gcs") {
        named.push(format!("{keys}.key"));
    }
    let mut possibilities = vec![
        format!("{statement} is granted, for {resource}"),
        format!("what was meant is in {}", named.join(", ")),
    ];
    possibilities.extend(in_region(subject));
    // A log group, which is in the account of a tenant.
    let has_role = subject.account.is_none_or(|account| account.role.is_some());
    if subject.stage.is_none() && !has_role {
        possibilities.push(format!("the probe is to put with its own role: {keys}.role_arn is not set"));
    }
    possibilities
}

/// Where a place is searched that does not exist: by its name, in one region of one account.
fn not_found(subject: &Subject<'_>, identity: &Identity) -> Vec<String> {
    let Some(account) = subject.account else { return Vec::new() };
    let mut possibilities = vec![format!("{}.{} is the right name", subject.keys, subject.place_key)];
    possibilities.extend(in_region(subject));
    let holder = account.holder();
    possibilities.push(match &account.role {
        Some(_) => format!("it is in account {holder}, that of {}.role_arn", subject.keys),
        None if identity.is_anonymous() => {
            "it is in the account that the emulator gives to dummy credentials: aws.auth is \"none\""
                .to_owned()
        }
        None => format!("it is in the probe's own account: {}.role_arn is not set", subject.keys),
    });
    possibilities
}

/// That a place is in the region in which it is searched; `None` in another cloud.
fn in_region(subject: &Subject<'_>) -> Option<String> {
    let region = &subject.account?.region;
    Some(format!(
        "it is in region \"{region}\", which is that of {}.region, or else of aws.region",
        subject.keys
    ))
}

/// What a refused signature may be: credentials are not valid in a region that the account has not enabled (AWS account
/// management, enable or disable regions).
fn other_region(subject: &Subject<'_>, text: &str) -> Vec<String> {
    let refused = ["UnrecognizedClientException", "InvalidClientTokenId", "InvalidAccessKeyId"];
    let Some(in_region) = in_region(subject).filter(|_| refused.iter().any(|code| text.contains(code)))
    else {
        return Vec::new();
    };
    let enabled = "that region is enabled in the account; elsewhere its credentials are unknown".to_owned();
    vec![in_region, enabled]
}

/// The statement that allows a call to this subject.
fn statement(subject: &Subject<'_>, permission: &str) -> Option<Statement> {
    if permission == "bigquery.jobs.create" {
        return Some(RUN_QUERIES);
    }
    let fits = |row: &&Row| {
        row.service == subject.service
            && row.permission == permission
            && row.place.is_none_or(|place| place == subject.place)
    };
    let observed = if subject.is_observed() { &OBSERVED[..] } else { &[] };
    observed.iter().chain(&TABLE).find(fits).map(|row| row.statement)
}

/// A role that could not be assumed. AWS gives one answer for several causes.
fn of_role(subject: &Subject<'_>, denial: &Denial<'_>, identity: &Identity) -> Mend {
    let (assume, trust) =
        if subject.is_observed() { (ASSUME_OBSERVER, TRUST_OF_OBSERVER) } else { (ASSUME, TRUST_OF_ROLE) };
    let Some(role) = subject.account.and_then(|account| account.role.as_ref()) else {
        return Mend { statement: Some(assume), ..Mend::default() };
    };
    let us = denial.principal.or(identity.arn()).unwrap_or("the probe's own role");
    let own = format!("{us} may call sts:AssumeRole on {}", role.arn);
    let command = format!(
        "aws sts assume-role --role-session-name check --role-arn {}{}    # as the probe",
        quoted(&role.arn),
        if role.external_id.is_some() { " --external-id EXTERNAL_ID" } else { "" }
    );
    let command = Some(command);
    if denial.no_identity_policy {
        let (key, possibilities) = (Some(format!("{}.role_arn", subject.keys)), vec![own]);
        return Mend { statement: Some(assume), key, command, possibilities };
    }
    let key = Some(format!("{keys}.role_arn, {keys}.external_id", keys = subject.keys));
    let name = role.arn.rsplit('/').next().unwrap_or_default();
    let holder = subject.account.map(|account| account.holder()).unwrap_or_default();
    let trusts_us = denial.policy == Some("resource-based policy");
    let external_id = match &role.external_id {
        Some(_) => format!("its trust policy requires the external id that {}.external_id has", subject.keys),
        None => format!("its trust policy requires no external id: {}.external_id is not set", subject.keys),
    };
    let mut possibilities = vec![
        format!("the role {name} exists in account {holder}"),
        format!("its trust policy names {}", role_of(us)),
        external_id,
    ];
    // Where AWS names the trust policy, our own allows it.
    if !trusts_us {
        possibilities.push(format!("{own}: {}", describe(assume).unwrap_or_default()));
    }
    Mend { statement: Some(trust), key, command, possibilities }
}

/// The role of a session, which a trust policy names; any other principal as it is.
fn role_of(principal: &str) -> String {
    let mut parts = principal.split(':');
    let (partition, account, resource) = (parts.nth(1), parts.nth(2), parts.next());
    let session = resource.and_then(|resource| resource.strip_prefix("assumed-role/"));
    match (partition, account, session.and_then(|session| session.split('/').next())) {
        (Some(partition), Some(account), Some(role)) => {
            format!("arn:{partition}:iam::{account}:role/{role}, with its path if it has one")
        }
        _ => principal.to_owned(),
    }
}

/// A command that grants what a statement allows. In AWS it only shows what the principal has: the files have the
/// names of the example, and `put-role-policy` replaces a policy as a whole.
fn grant(
    subject: &Subject<'_>,
    statement: Statement,
    permission: &str,
    denial: &Denial<'_>,
    identity: &Identity,
) -> Option<String> {
    if let Some((_, command)) = GRANTS.iter().find(|(prefix, _)| permission.starts_with(prefix)) {
        let member = identity.google().map(member);
        let names = |name: &str| match name {
            "MEMBER" => member.clone(),
            name => subject.name_of(name),
        };
        return Some(filled(command, names));
    }
    statement.file?;
    let role = subject.account.and_then(|account| account.role.as_ref());
    let principal = denial.principal.or(role.map(|role| role.arn.as_str())).or(identity.arn())?;
    let resource = principal.split(':').nth(5)?;
    let mut parts = resource.split('/');
    let (kind, name) = match (parts.next()?, resource.split('/').nth(1)?) {
        // The rest of an assumed role is the name of the session.
        ("assumed-role", name) => ("role", name),
        ("role", _) => ("role", resource.rsplit('/').next()?),
        ("user", _) => ("user", resource.rsplit('/').next()?),
        _ => return None,
    };
    let account = principal.split(':').nth(4)?;
    Some(format!("aws iam list-{kind}-policies --{kind}-name {}    # in account {account}", quoted(name)))
}

/// As `gcloud` writes a principal.
fn member(email: &str) -> String {
    let kind = if email.ends_with(".gserviceaccount.com") { "serviceAccount" } else { "user" };
    format!("{kind}:{email}")
}

/// A command that shows whether a place exists, in the region of a bucket if S3 has told it.
fn show(subject: &Subject<'_>, region: Option<&str>) -> Option<String> {
    let (_, command) = SHOWING.iter().find(|(service, _)| *service == subject.service)?;
    let name_of = |name: &str| match (name, region) {
        ("BUCKET_REGION", Some(region)) => Some(region.to_owned()),
        _ => subject.name_of(name),
    };
    Some(filled(command, name_of))
}

/// A statement for people: `statement ReadTheObjects in config/iam/task-role.json`.
pub(super) fn describe(statement: Statement) -> Option<String> {
    match statement {
        Statement { sid: Some(sid), file: Some(file), .. } => Some(format!("statement {sid} in {file}")),
        Statement { file: Some(file), .. } => Some(format!("the permissions in {file}")),
        Statement { role: Some(role), .. } => Some(format!("the role {role} on the project that pays")),
        Statement { sid: _, file: None, role: None } => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;

    use super::*;
    use crate::cloud::account::{Account, Role};
    use crate::domain::kind::Kind;
    use crate::keys::secret::Secret;
    use crate::observe::spec;

    const ASSUMING: [Statement; 4] = [ASSUME, TRUST_OF_ROLE, ASSUME_OBSERVER, TRUST_OF_OBSERVER];

    fn subject<'a>(service: &'static str, place: Place, account: &'a Account) -> Subject<'a> {
        let names =
            vec![("BUCKET", "b".to_owned()), ("BUCKET_REGION", "r".to_owned()), ("PREFIX", "p/".to_owned())];
        Subject {
            name: "stage archive: s3 b".to_owned(),
            tenants: Vec::new(),
            stage: Some("archive".into()),
            keys: "stage.archive".to_owned(),
            place_key: "bucket",
            service,
            place,
            account: Some(account),
            names,
        }
    }

    fn symptom<'a>(kind: FailureKind, permission: &'static str, text: &'a str) -> Symptom<'a> {
        Symptom { kind: Some(kind), permission: Some(permission), key: None, resource: None, text }
    }

    #[test]
    fn what_the_role_of_a_stage_may_not_do_is_in_the_policy_of_that_role() {
        let role =
            Role { arn: "arn:aws:iam::111111111111:role/traceprobe-observe".to_owned(), external_id: None };
        let account = Account { role: Some(role), ..Account::in_region("eu-central-1") };
        let said = |permission, text| {
            let subject = subject("sqs", Place::DeadLetters, &account);
            mend(&subject, symptom(FailureKind::Denied, permission, text), &Identity::default()).statement
        };
        let denied = "AccessDeniedException: not authorized to perform: sqs:GetQueueAttributes";
        assert_eq!(said("sqs:GetQueueAttributes", denied), Some(OBSERVED[0].statement));
        assert_eq!(said("sts:AssumeRole", "AccessDenied"), Some(TRUST_OF_OBSERVER));
    }

    #[test]
    fn every_statement_of_the_table_is_in_its_file() {
        let of_rows = TABLE.iter().chain(&OBSERVED).map(|row| (row.permission, row.statement));
        for (permission, statement) in
            of_rows.chain([("sts:AssumeRole", ASSUME), ("sts:AssumeRole", TRUST_OF_ROLE)])
        {
            let file = statement.file.unwrap();
            let json: serde_json::Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
            let granted = match statement.sid {
                None => json["includedPermissions"].clone(),
                Some(sid) => {
                    let statements = json["Statement"].as_array().unwrap();
                    let found = statements.iter().find(|it| it["Sid"] == sid);
                    found.unwrap_or_else(|| panic!("{file} has no statement {sid}"))["Action"].clone()
                }
            };
            assert!(
                granted.to_string().contains(&format!("\"{permission}\"")),
                "{file}: {permission}: {granted}"
            );
        }
    }

    #[test]
    fn every_call_of_every_kind_has_a_statement() {
        let account = Account::in_region("eu-central-1");
        for kind in Kind::ALL {
            for operation in spec(*kind).costs.operations {
                for place in [Place::OfTenant, Place::Shared, Place::DeadLetters] {
                    let subject = subject(operation.service, place, &account);
                    let found = statement(&subject, operation.permission);
                    assert!(found.is_some(), "{kind}: nothing allows {}", operation.permission);
                }
            }
            let service = spec(*kind).costs.operations[0].service;
            assert!(SHOWING.iter().any(|(name, _)| *name == service), "{kind}");
        }
    }

    #[test]
    fn every_statement_that_the_probe_needs_can_be_named() {
        let mut named: BTreeSet<_> = TABLE.iter().filter_map(|row| row.statement.sid).collect();
        named.extend(OBSERVED.iter().filter_map(|row| row.statement.sid));
        named.extend(ASSUMING.iter().filter_map(|statement| statement.sid));
        for file in fs::read_dir("config/iam").unwrap().map(|entry| entry.unwrap().path()) {
            let name = file.file_name().unwrap().to_string_lossy().into_owned();
            // What ECS, the file system and the sidecar need; the program never calls with it.
            let of_others = ["task-role-trust.json", "task-role-store.json", "task-role-remote-write.json"];
            if name.starts_with("execution-role") || of_others.contains(&&*name) {
                continue;
            }
            let json: serde_json::Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
            for statement in json["Statement"].as_array().into_iter().flatten() {
                let sid = statement["Sid"].as_str().unwrap();
                assert!(named.contains(sid), "{name}: nothing names {sid}");
            }
        }
    }

    #[test]
    fn a_denied_object_names_statement_and_command() {
        let account = Account::in_region("eu-central-1");
        let text = "GetObject on s3://b/k: AccessDenied: User: arn:aws:sts::999999999999:assumed-role/task/x is not \
                    authorized to perform: s3:GetObject on resource: arn:aws:s3:::b/k because no identity-based policy \
                    allows the s3:GetObject action";
        let mend = mend(
            &subject("s3", Place::OfTenant, &account),
            symptom(FailureKind::Denied, "s3:GetObject", text),
            &Identity::default(),
        );
        let statement = describe(mend.statement.unwrap()).unwrap();
        assert_eq!(statement, "statement ReadTheObjects in config/iam/task-role.json");
        assert_eq!(
            mend.possibilities,
            [
                "statement ReadTheObjects in config/iam/task-role.json is granted, for arn:aws:s3:::b/k",
                "what was meant is in stage.archive.bucket, stage.archive.key",
                "it is in region \"eu-central-1\", which is that of stage.archive.region, or else of aws.region",
            ]
        );
        assert_eq!(
            mend.command.unwrap(),
            "aws iam list-role-policies --role-name task    # in account 999999999999"
        );
    }

    #[test]
    fn a_key_that_may_not_be_used_names_its_own_statement() {
        let account = Account::in_region("eu-central-1");
        let named = |service, place, permission, text| {
            let subject = subject(service, place, &account);
            let mend = mend(&subject, symptom(FailureKind::Denied, permission, text), &Identity::default());
            mend.statement.unwrap().sid.unwrap()
        };
        let object = "GetObject on s3://b/k: AccessDenied: User: arn:aws:iam::9:user/u is not authorized to perform: \
                      kms:Decrypt on resource: arn:aws:kms:r:9:key/1 because no identity-based policy allows it";
        assert_eq!(named("s3", Place::Shared, "s3:GetObject", object), "DecryptTheObjects");
        assert_eq!(named("s3", Place::DeadLetters, "s3:GetObject", object), "DecryptTheDeadLetters");
        let message = "ReceiveMessage on q: KmsAccessDenied: the message";
        let queue = named("sqs", Place::DeadLetters, "sqs:ReceiveMessage", message);
        assert_eq!(queue, "DecryptTheDeadLetterQueue");
    }

    #[test]
    fn a_missing_bucket_names_a_command_that_shows_it() {
        let account = Account::in_region("eu-central-1");
        let mend = mend(
            &subject("s3", Place::Shared, &account),
            symptom(FailureKind::NotFound, "s3:ListBucket", "ListObjectsV2 on s3://b/p/: NoSuchBucket: no"),
            &Identity::default(),
        );
        assert_eq!((mend.statement, mend.command.as_deref()), (None, Some("aws s3 ls --region r s3://b/p/")));
    }

    #[test]
    fn a_bucket_in_another_region_is_shown_there_and_the_region_to_set_is_told() {
        let account = Account::in_region("eu-central-1");
        let hint = crate::cloud::failure::moved::hint("us-west-2", "eu-central-1");
        let of = |kind, error: &str| {
            let text = format!("ListObjectsV2 on s3://b/p/: {hint}: {error}");
            let symptom = Symptom { key: Some("region"), ..symptom(kind, "s3:ListBucket", &text) };
            mend(&subject("s3", Place::Shared, &account), symptom, &Identity::default())
        };
        let set =
            "stage.archive.region, or else aws.region, is \"us-west-2\", where S3 says that the bucket is";
        for error in ["PermanentRedirect: m", "AuthorizationHeaderMalformed: m"] {
            let mend = of(FailureKind::Error, error);
            assert_eq!(mend.command.as_deref(), Some("aws s3 ls --region us-west-2 s3://b/p/"));
            assert_eq!(
                (mend.key.as_deref(), &*mend.possibilities),
                (Some("stage.archive.region"), &[set.into()][..])
            );
        }
        let denied = of(FailureKind::Denied, "AccessDenied: Access Denied");
        assert_eq!(denied.possibilities[0], set);
        assert!(!denied.possibilities.iter().any(|it| it.contains("eu-central-1")), "{denied:?}");
    }

    #[test]
    fn what_does_not_exist_may_be_in_another_region_or_account() {
        let account = Account::in_region("eu-west-9");
        let mend = mend(
            &subject("s3", Place::Shared, &account),
            symptom(FailureKind::NotFound, "s3:ListBucket", "ListObjectsV2 on s3://b/p/: NoSuchBucket: no"),
            &Identity::default(),
        );
        let said = mend.possibilities.join("\n");
        for part in
            ["stage.archive.bucket", "\"eu-west-9\"", "aws.region", "stage.archive.role_arn is not set"]
        {
            assert!(said.contains(part), "{part}: {said}");
        }
    }

    #[test]
    fn credentials_that_a_region_does_not_know_lead_to_the_region() {
        let account = Account::in_region("af-south-1");
        let text = "ListShards on stream s: UnrecognizedClientException: The security token included in the request is invalid.";
        let symptom = Symptom { permission: None, ..symptom(FailureKind::Denied, "", text) };
        let mend = mend(&subject("kinesis", Place::Shared, &account), symptom, &Identity::default());
        assert!(mend.possibilities.iter().any(|it| it.contains("\"af-south-1\"")), "{mend:?}");
    }

    #[test]
    fn what_is_not_the_service_says_nothing_of_places_and_rights() {
        let account = Account::in_region("eu-central-1");
        let text = "GetRecords on stream s: aws.endpoint is \"http://127.0.0.1:1\", which does not answer like Kinesis; it has to stand for x: HTTP 404";
        let found = mend(
            &subject("kinesis", Place::Shared, &account),
            symptom(FailureKind::Garbled, "kinesis:GetRecords", text),
            &Identity::default(),
        );
        assert_eq!(found, Mend { key: Some("aws.endpoint".to_owned()), ..Mend::default() });
    }

    #[test]
    fn a_host_that_is_not_reached_names_the_key_of_its_address() {
        let account = Account::in_region("eu-central-1");
        let text = "GetRecords on stream s: cannot reach 127.0.0.1:1: the connection was refused; look at aws.endpoints.kinesis";
        let mend = mend(
            &subject("kinesis", Place::Shared, &account),
            symptom(FailureKind::Unreachable, "kinesis:GetRecords", text),
            &Identity::default(),
        );
        assert_eq!(mend.key.as_deref(), Some("aws.endpoints.kinesis"));
        assert_eq!(mend.command, None);
    }

    #[test]
    fn a_trust_policy_names_the_role_of_a_session() {
        let session = "arn:aws:sts::999999999999:assumed-role/traceprobe-task/1";
        assert!(role_of(session).starts_with("arn:aws:iam::999999999999:role/traceprobe-task,"));
        assert_eq!(role_of("arn:aws:iam::9:user/u"), "arn:aws:iam::9:user/u");
    }

    #[test]
    fn a_right_of_the_tenant_that_the_probe_lacks_names_the_missing_role() {
        let account = Account::in_region("eu-central-1");
        let subject = Subject {
            stage: None,
            keys: "tenant.acme".to_owned(),
            ..subject("logs", Place::OfTenant, &account)
        };
        let text = "PutLogEvents: AccessDenied: User: arn:aws:sts::9:assumed-role/task/1 is not authorized to perform: \
                    logs:PutLogEvents on resource: arn:aws:logs:r:1:log-group:g because no identity-based policy allows it";
        let mend =
            mend(&subject, symptom(FailureKind::Denied, "logs:PutLogEvents", text), &Identity::default());
        assert!(
            mend.possibilities.iter().any(|it| it.contains("tenant.acme.role_arn is not set")),
            "{mend:?}"
        );
    }

    #[test]
    fn a_role_that_cannot_be_assumed_lists_what_it_may_be() {
        let arn = "arn:aws:iam::111111111111:role/traceprobe-inject".to_owned();
        let role = Some(Role { arn, external_id: Some(Secret::new("hush-hush")) });
        let account = Account { role, ..Account::in_region("eu-central-1") };
        // A log group into which canaries are put.
        let subject = Subject { stage: None, ..subject("logs", Place::OfTenant, &account) };
        let of =
            |text| mend(&subject, symptom(FailureKind::Denied, "sts:AssumeRole", text), &Identity::default());
        let unknown = of("PutLogEvents on `g`: AssumeRole: AccessDenied: no");
        assert_eq!(unknown.possibilities.len(), 4, "{unknown:?}");
        assert_eq!(unknown.statement, Some(TRUST_OF_ROLE));
        assert!(!format!("{unknown:?}").contains("hush"), "{unknown:?}");
        assert_eq!(
            unknown.key.as_deref(),
            Some("stage.archive.role_arn, stage.archive.external_id"),
            "the external id is one of the causes"
        );
        let own = of(
            "AssumeRole: AccessDenied: User: arn:aws:iam::9:user/u is not authorized to perform: sts:AssumeRole on \
                      resource: arn:aws:iam::1:role/r because no identity-based policy allows the sts:AssumeRole action",
        );
        assert_eq!((own.statement, own.possibilities.len()), (Some(ASSUME), 1), "{own:?}");
    }
}
