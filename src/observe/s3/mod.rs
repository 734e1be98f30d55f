//! Finds canaries in the objects under a prefix of an S3 bucket. [`object_store`] does most of the work.

mod bucket_name;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod store;
#[cfg(test)]
mod tests;

pub use self::store::S3;
use super::kinds::{Attribution, KindSettings, LabelPlace, Scope, Site, Spec, seconds};
use super::object_store::{self, ObjectObserver};
use super::pace::Rhythm;
use super::{Gaps, console};
use crate::cloud::account::{self, Account};
use crate::cloud::aws::Aws;
use crate::cloud::{NoClient, Provider};
use crate::domain::cost::{Costs, Operation};
use crate::domain::evidence::{Evidence, Link, Lookup, NamedPlace, Question};
use crate::domain::proof::Proof;
use crate::domain::shell::{UNPACK, in_region, quoted};
use crate::domain::sighting::Wanted;
use crate::domain::time::Timestamp;
use crate::domain::topology::Capabilities;
use crate::keys::fault::Checked;
use crate::keys::key::Key;
use crate::keys::reader::Reader;

static KEYS: [Key; 12] = {
    let [bucket, key, time_zone, key_slack, ordered_keys, max_keys, max_object, max_inflated, gaps] =
        object_store::KEYS;
    let [region, role_arn, external_id] = account::KEYS;
    [
        bucket,
        key,
        time_zone,
        key_slack,
        ordered_keys,
        max_keys,
        max_object,
        max_inflated,
        gaps,
        region,
        role_arn,
        external_id,
    ]
};

/// What all sources of this kind have in common: keys, defaults, capabilities, costs and permissions.
pub(super) static SPEC: Spec = Spec {
    keys: &KEYS,
    // No `settle`, because S3 is strongly consistent: a list contains every object whose upload has succeeded
    // (S3 User Guide).
    rhythm: Rhythm { interval: seconds(5), timeout: seconds(20), settle: seconds(0), ..Rhythm::USUAL },
    provider: Provider::Aws,
    capabilities: Capabilities::OBJECTS,
    // Prices per request in us-east-1, S3 Standard (S3 pricing).
    costs: Costs {
        operations: &[
            Operation {
                service: "s3",
                name: "ListObjectsV2",
                permission: "s3:ListBucket",
                dollars: 0.005 / 1e3,
            },
            Operation { service: "s3", name: "GetObject", permission: "s3:GetObject", dollars: 0.0004 / 1e3 },
        ],
        bytes: &[],
    },
    permissions: include_str!("permissions.json"),
};

/// Which objects to read, and with what credentials.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Region of the bucket, and the role that may read it.
    pub account: Account,
    /// The bucket, the prefix, and how the objects under it are read.
    pub objects: object_store::Settings,
}

impl KindSettings for Settings {
    type Observer = ObjectObserver<S3>;
    type Shared = ();

    fn read(read: &mut Reader<'_, '_>, scope: &Scope<'_>) -> Checked<Self> {
        let objects = object_store::Settings::read(read, scope, bucket_name::check);
        let bucket = objects.as_ref().ok().map(|objects| objects.bucket.as_str());
        let account = Account::read(read, scope.region, bucket);
        if objects.as_ref().is_ok_and(|objects| objects.ordered_keys && store::is_directory(&objects.bucket))
        {
            let text =
                "a listing of a directory bucket has no order; remove ordered_keys, or set it to false";
            return Err(read.report("ordered_keys", text));
        }
        Ok(Self { account: account?, objects: objects? })
    }

    fn spec() -> &'static Spec {
        &SPEC
    }

    async fn prove(&self, site: &Site<'_>, shared: &(), wanted: &Wanted) -> Result<Vec<Proof>, NoClient> {
        Ok(self.observer(site, shared)?.prove(site, &SPEC, wanted).await)
    }

    fn resource(&self) -> String {
        self.objects.resource()
    }

    fn identity(&self) -> String {
        self.objects.identity()
    }

    fn account(&self) -> Option<&Account> {
        Some(&self.account)
    }

    fn attribution(&self) -> Attribution {
        self.objects.attribution()
    }

    fn label_place(&self) -> Option<LabelPlace> {
        self.objects.label_place()
    }

    fn context(&self, site: &Site<'_>) -> String {
        format!("{:?}", self.objects.labels(site.topology))
    }

    fn reads_gaps(&self) -> bool {
        self.objects.gaps == Gaps::Read
    }

    fn observer(&self, site: &Site<'_>, (): &()) -> Result<Self::Observer, NoClient> {
        let store = S3::new(client(&site.clients.aws, &self.account), &self.objects.bucket);
        let (recognizer, clock) = (site.recognizer.clone(), site.clock.clone());
        let labels = self.objects.labels(site.topology);
        let observer = ObjectObserver::new(self.objects.clone(), store, labels, recognizer, clock);
        Ok(observer.within(site.rhythm))
    }
}

/// Makes a client that does not retry, because the poll loop does. With an endpoint other than that of AWS,
/// the bucket name is in the path of the URL instead of the host name.
fn client(aws: &Aws, account: &Account) -> aws_sdk_s3::Client {
    let config = aws.config("s3", account);
    // Without a final slash, the SDK appends the bucket name to the last path segment
    // (awslabs/aws-sdk-rust#1387).
    let endpoint = config.endpoint_url().map(|url| format!("{}/", url.trim_end_matches('/')));
    let custom_endpoint = endpoint.is_some() || std::env::var_os("AWS_ENDPOINT_URL_S3").is_some();
    let mut builder = aws_sdk_s3::config::Builder::from(&config)
        .interceptor(aws.counting("s3", account))
        .force_path_style(custom_endpoint);
    if endpoint.is_some() {
        builder.set_endpoint_url(endpoint);
    }
    aws_sdk_s3::Client::from_conf(builder.build())
}

impl Evidence for Settings {
    fn names(&self, at: Timestamp) -> Vec<NamedPlace> {
        vec![
            ("BUCKET", self.objects.bucket.clone()),
            ("PREFIX", self.objects.key.prefix_of(at)),
            ("BUCKET_REGION", self.account.region.clone()),
            ("BUCKET_ACCOUNT", self.account.holder()),
        ]
    }

    fn checks(&self) -> &'static str {
        "s3-prefix"
    }

    fn lookups(&self, question: Question<'_>) -> Vec<Lookup> {
        let (region, bucket) = (in_region(&self.account.region), &self.objects.bucket);
        let Some(copy) = question.copy else {
            let prefixes = self.objects.prefixes_around(question.planned_at);
            let list = |prefix: &String| Lookup {
                what: "list the objects of that hour",
                command: format!("aws s3 ls{region} {}", quoted(&format!("s3://{bucket}/{prefix}"))),
            };
            let search = |prefix: &String| Lookup {
                what: "search every object of that hour",
                command: format!(
                    "aws s3api list-objects-v2{region} --bucket {bucket} --prefix {} --query 'Contents[].Key' \
                     --output text | tr '\\t' '\\n' | while read -r key; do aws s3 cp{region} \
                     s3://{bucket}/\"$key\" - | {UNPACK} | grep -a -F -H --label=\"$key\" {}; done",
                    quoted(prefix),
                    quoted(question.tag),
                    bucket = quoted(bucket),
                ),
            };
            return prefixes.iter().map(list).chain(prefixes.iter().map(search)).collect();
        };
        let key = key(copy.record(), bucket);
        // `aws s3api get-object` prints its answer after the object, so it cannot write to a pipe.
        vec![
            Lookup {
                what: "find it in the object",
                command: format!(
                    "aws s3 cp{region} {} - | {UNPACK} | grep -a -F {}",
                    quoted(&format!("s3://{bucket}/{key}")),
                    quoted(question.tag),
                ),
            },
            Lookup {
                what: "size and times of the object",
                command: format!(
                    "aws s3api head-object{region} --bucket {} --key {}",
                    quoted(bucket),
                    quoted(key)
                ),
            },
            Lookup {
                what: "keep the object",
                command: format!(
                    "aws s3api get-object{region} --bucket {} --key {} ./evidence",
                    quoted(bucket),
                    quoted(key)
                ),
            },
        ]
    }

    fn consoles(&self, question: Question<'_>) -> Vec<Link> {
        let (region, bucket) = (&self.account.region, &self.objects.bucket);
        vec![match question.copy {
            Some(copy) => Link {
                what: "object in the S3 console",
                url: console::s3_object(region, bucket, key(copy.record(), bucket)),
            },
            None => {
                let prefix = self.objects.key.prefix_of(question.planned_at);
                Link { what: "prefix in the S3 console", url: console::s3_prefix(region, bucket, &prefix) }
            }
        }]
    }
}

/// Returns the key in the name of an object: the name without the scheme and the bucket.
fn key<'a>(object: &'a str, bucket: &str) -> &'a str {
    let key = object.strip_prefix("s3://").and_then(|rest| rest.strip_prefix(bucket));
    key.and_then(|rest| rest.strip_prefix('/')).unwrap_or(object)
}
