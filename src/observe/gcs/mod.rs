//! Observes objects under a prefix of a Google Cloud Storage bucket, with [`object_store`].

mod store;
#[cfg(test)]
mod tests;

#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub use self::store::read_page;

pub use self::store::Gcs;
use super::kinds::{Attribution, KindSettings, LabelPlace, Scope, Site, Spec, seconds};
use super::object_store::{self, ObjectObserver};
use super::pace::Rhythm;
use super::{Gaps, console};
use crate::cloud::google::Service;
use crate::cloud::{NoClient, Provider};
use crate::domain::cost::{BytePrice, Bytes, Costs, Operation};
use crate::domain::evidence::{Evidence, Link, Lookup, NamedPlace, Question};
use crate::domain::proof::Proof;
use crate::domain::shell::{UNPACK, quoted};
use crate::domain::sighting::Wanted;
use crate::domain::time::Timestamp;
use crate::domain::topology::Capabilities;
use crate::keys::fault::Checked;
use crate::keys::key::Key;
use crate::keys::reader::Reader;

/// Cloud Storage's JSON API (Cloud Storage JSON API reference: base address, OAuth scopes).
pub const STORAGE: Service = Service {
    name: "gcs",
    title: "Cloud Storage",
    base_url: "https://storage.googleapis.com",
    scope: "https://www.googleapis.com/auth/devstorage.read_only",
};

/// Most objects on a page of a listing (Cloud Storage JSON API reference, objects.list).
pub const MAX_PAGE: u32 = 1_000;

static KEYS: [Key; 9] = object_store::KEYS;

/// What all sources of this kind have in common.
pub(super) static SPEC: Spec = Spec {
    keys: &KEYS,
    // Listings are strongly consistent (Cloud Storage docs, consistency).
    rhythm: Rhythm { interval: seconds(5), timeout: seconds(20), settle: seconds(0), ..Rhythm::USUAL },
    provider: Provider::Google(STORAGE),
    capabilities: Capabilities::OBJECTS,
    costs: Costs {
        // Class A and class B operations, standard storage, single region (Cloud Storage pricing).
        operations: &[
            Operation {
                service: "gcs",
                name: "objects.list",
                permission: "storage.objects.list",
                dollars: 0.005 / 1e3,
            },
            Operation {
                service: "gcs",
                name: "objects.get",
                permission: "storage.objects.get",
                dollars: 0.0004 / 1e3,
            },
        ],
        // Egress to the internet, because the probe runs in another cloud: premium tier, first TiB of a
        // month, $0.12 a GiB (Cloud Storage pricing, network).
        bytes: &[BytePrice { service: "gcs", of: Bytes::Read, dollars: 0.12 / 1_073_741_824.0 }],
    },
    permissions: include_str!("permissions.json"),
};

/// The objects to read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    pub objects: object_store::Settings,
    /// Objects on a page of a listing, at most [`MAX_PAGE`].
    pub page: u32,
}

impl Settings {
    /// Settings with the largest pages.
    #[must_use]
    pub fn new(objects: object_store::Settings) -> Self {
        Self { objects, page: MAX_PAGE }
    }
}

impl KindSettings for Settings {
    type Observer = ObjectObserver<Gcs>;
    type Shared = ();

    fn read(read: &mut Reader<'_, '_>, scope: &Scope<'_>) -> Checked<Self> {
        Ok(Self::new(object_store::Settings::read(read, scope, check_bucket)?))
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

    fn attribution(&self) -> Attribution {
        self.objects.attribution()
    }

    fn label_place(&self) -> Option<LabelPlace> {
        self.objects.label_place()
    }

    fn context(&self, site: &Site<'_>) -> String {
        format!("{} {:?}", site.google_scope(), self.objects.labels(site.topology))
    }

    fn reads_gaps(&self) -> bool {
        self.objects.gaps == Gaps::Read
    }

    fn observer(&self, site: &Site<'_>, (): &()) -> Result<Self::Observer, NoClient> {
        let store = Gcs::new(site.clients.google()?.clone(), &self.objects.bucket, self.page);
        let (recognizer, clock) = (site.recognizer.clone(), site.clock.clone());
        let labels = self.objects.labels(site.topology);
        let observer = ObjectObserver::new(self.objects.clone(), store, labels, recognizer, clock);
        Ok(observer.within(site.rhythm))
    }
}

/// Accepts lower-case letters, digits, `-`, `_` and `.`, with a letter or digit at both ends: 3 to 63
/// characters, or with dots up to 222, of which each part between dots has up to 63 (Cloud Storage docs,
/// bucket naming requirements).
fn check_bucket(text: String) -> Result<String, String> {
    let outer = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let good = (3..=222).contains(&text.len())
        && text.split('.').all(|part| (1..=63).contains(&part.len()))
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c))
        && outer(text.chars().next())
        && outer(text.chars().next_back());
    if good {
        Ok(text)
    } else {
        Err(format!(
            "\"{text}\" is not a valid bucket name; write 3 to 63 lower-case letters, digits, `-`, `_` and `.`, with a letter or digit at both ends"
        ))
    }
}

impl Evidence for Settings {
    fn names(&self, at: Timestamp) -> Vec<NamedPlace> {
        vec![("GS_BUCKET", self.objects.bucket.clone()), ("GS_PREFIX", self.objects.key.prefix_of(at))]
    }

    fn checks(&self) -> &'static str {
        "cloud-storage-prefix"
    }

    fn lookups(&self, question: Question<'_>) -> Vec<Lookup> {
        let bucket = &self.objects.bucket;
        match question.copy {
            Some(copy) => vec![
                Lookup {
                    what: "find it in the object",
                    command: format!(
                        "gcloud storage cat {} | {UNPACK} | grep -a -F {}",
                        quoted(copy.record()),
                        quoted(question.tag)
                    ),
                },
                Lookup {
                    what: "size and times of the object",
                    command: format!("gcloud storage objects describe {}", quoted(copy.record())),
                },
            ],
            None => {
                let prefixes = self.objects.prefixes_around(question.planned_at);
                let objects = |prefix: &String| quoted(&format!("gs://{bucket}/{prefix}**"));
                let list = |prefix: &String| Lookup {
                    what: "list the objects of that hour",
                    command: format!("gcloud storage ls --long {}", objects(prefix)),
                };
                let search = |prefix: &String| Lookup {
                    what: "search every object of that hour",
                    command: format!(
                        "gcloud storage ls {} | while read -r object; do gcloud storage cat \"$object\" \
                         | {UNPACK} | grep -a -F -H --label=\"$object\" {}; done",
                        objects(prefix),
                        quoted(question.tag),
                    ),
                };
                prefixes.iter().map(list).chain(prefixes.iter().map(search)).collect()
            }
        }
    }

    fn consoles(&self, question: Question<'_>) -> Vec<Link> {
        let bucket = &self.objects.bucket;
        vec![match question.copy {
            Some(copy) => {
                let object = copy.record().strip_prefix(&format!("gs://{bucket}/")).unwrap_or(copy.record());
                // The generation follows the last `#`.
                let name = object.rsplit_once('#').map_or(object, |(name, _)| name);
                Link { what: "object in the Cloud Storage console", url: console::gcs_object(bucket, name) }
            }
            None => {
                let prefix = self.objects.key.prefix_of(question.planned_at);
                Link {
                    what: "folder in the Cloud Storage console",
                    url: console::gcs_folder(bucket, &prefix),
                }
            }
        }]
    }
}
