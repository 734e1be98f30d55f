//! What the folder of a kind of stage provides, and the macro that maps kinds to folders.

use std::time::Duration;

use super::pace::Rhythm;
use super::{Observe, ObserveError, Recognizer, proving};
use crate::cloud::account::Account;
use crate::cloud::google::Google;
use crate::cloud::{Clients, NoClient, Provider};
use crate::domain::cost::Costs;
use crate::domain::evidence::Evidence;
use crate::domain::proof::{Advice, Doubt, Proof};
use crate::domain::schema::ExpectedSchema;
use crate::domain::sighting::Wanted;
use crate::domain::tag::{Tag, TenantCode};
use crate::domain::time::WallClock;
use crate::domain::topology::{Capabilities, SourceId, Topology};
use crate::keys::fault::Checked;
use crate::keys::key::{Fallback, Key};
use crate::keys::reader::Reader;
use crate::keys::value::{self, Parsed};

/// What all sources of a kind have in common.
#[derive(Debug)]
pub struct Spec {
    /// Its keys in `[[stage]]`, in addition to those of every stage.
    pub(crate) keys: &'static [Key],
    /// Defaults of `interval`, `timeout` and `settle` of a stage.
    pub(crate) rhythm: Rhythm,
    /// The cloud whose credentials it needs.
    pub provider: Provider,
    /// What its polls provide in addition to sightings.
    pub capabilities: Capabilities,
    /// The operations that it calls, and their costs.
    pub costs: Costs,
    /// The permissions that it needs, as JSON: a list of IAM statements, or a custom role of Google Cloud.
    /// Resource names are those of the example configuration; a test compares `config/iam/` with it.
    pub permissions: &'static str,
}

impl Spec {
    /// The key that says which place a source reads: `stream`.
    #[must_use]
    pub fn place_key(&self) -> &'static str {
        let place = self.keys.iter().find(|key| matches!(key.fallback, Fallback::Required));
        place.map_or("", |key| key.name)
    }

    /// The service that its polls call, as in metrics.
    #[must_use]
    pub fn service(&self) -> &'static str {
        self.costs.operations.first().map_or("", |operation| operation.service)
    }
}

/// Values from outside a `[[stage]]` table that the settings of a source depend on.
pub(crate) struct Scope<'a> {
    /// The tenant's name, for `{tenant}`.
    pub(crate) tenant: &'a str,
    /// The AWS region of stages that do not set one.
    pub(crate) region: &'a Checked<Option<String>>,
    /// The Google Cloud project that pays for queries; `None` for the project of the table.
    pub(crate) project: &'a Checked<Option<String>>,
}

impl Scope<'_> {
    /// Returns a parser that expands `{tenant}` in a text and checks the result.
    pub(crate) fn expanded<T>(
        &self,
        check: impl Fn(String) -> Parsed<T>,
    ) -> impl Fn(&toml::Value) -> Parsed<T> {
        move |value| check(value::expand(&value::text(value)?, &[("tenant", self.tenant)])?)
    }
}

/// Whether a source shows which tenant a canary belongs to. Leaks can be detected only where it does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Attribution {
    /// Something besides the tag names the tenant: a column, or the key.
    pub labelled: bool,
    /// Whole tags are found there, and a tag names its tenant.
    pub by_tag: bool,
    /// What would make it labelled, to be appended to a sentence; empty if nothing would.
    pub remedy: &'static str,
}

/// Where a source names the tenant of a canary.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LabelPlace {
    /// The key that says so: `tenant_column`.
    pub key: &'static str,
    /// For people, to be followed by the label: "column `tenant` has".
    pub has: String,
}

/// What an observer needs in addition to the settings of its source.
pub struct Site<'a> {
    /// All tenants, stages and sources.
    pub topology: &'a Topology,
    /// The source to poll.
    pub source: SourceId,
    /// Interval, timeout and settling time of its polls.
    pub rhythm: Rhythm,
    /// The clients of both clouds.
    pub clients: &'a Clients,
    /// Tells our canaries from all other events.
    pub recognizer: &'a Recognizer,
    /// The probe's clock.
    pub clock: &'a WallClock,
}

impl Site<'_> {
    /// Returns the codes of the tenants whose canaries may be at the source; `None` for all tenants.
    pub(super) fn owners(&self) -> Option<Vec<TenantCode>> {
        let source = self.topology.source(self.source);
        let codes = source.tenants.iter().map(|id| self.topology.tenant(*id).code);
        (source.tenants.len() < self.topology.real_tenants().count()).then(|| codes.collect())
    }

    /// What calls to Google take from the credentials besides tokens; empty without a client.
    pub(super) fn google_scope(&self) -> &str {
        self.clients.google().map_or("", Google::scope)
    }
}

/// The settings of one source of a kind.
pub(crate) trait KindSettings: Evidence + Sized {
    type Observer: Observe;
    /// What all observers of the kind share, such as the quota of an account.
    type Shared: Default;

    /// Reads the settings of a source. Reads every key of [`Spec::keys`] even after a fault.
    fn read(reader: &mut Reader<'_, '_>, scope: &Scope<'_>) -> Checked<Self>;

    /// Display name without the kind: `logs-acme`.
    fn resource(&self) -> String;

    /// Identifies what is read, without how: two sources with the same identity read the same events.
    fn identity(&self) -> String;

    /// Returns whether the source shows which tenant a canary belongs to.
    fn attribution(&self) -> Attribution;

    /// Returns where a label is that names the tenant of a canary; `None` if nothing but the tag does.
    fn label_place(&self) -> Option<LabelPlace> {
        None
    }

    /// Returns what the schema of the source is compared with, if it has one.
    fn expected_schema(&self) -> ExpectedSchema {
        ExpectedSchema::default()
    }

    /// Returns whether what arrives while nothing waits is read with the next poll.
    fn reads_gaps(&self) -> bool {
        false
    }

    /// Returns the AWS account in which it is; `None` for kinds in another cloud.
    fn account(&self) -> Option<&Account> {
        None
    }

    /// What its polls call, and what that costs.
    fn costs(&self) -> Costs {
        Self::spec().costs
    }

    /// What the observer takes from the topology besides the tenants of its source, as text. An observer goes on
    /// over a change of the configuration that does not change this, nor its settings.
    fn context(&self, _: &Site<'_>) -> String {
        String::new()
    }

    /// Builds an observer of the source; it makes no call yet.
    ///
    /// # Errors
    ///
    /// [`NoClient`] if it needs a client that was not built.
    fn observer(&self, site: &Site<'_>, shared: &Self::Shared) -> Result<Self::Observer, NoClient>;

    /// What all sources of the kind have in common.
    fn spec() -> &'static Spec;

    /// Proves before the probe runs that the source can be read. Polls once, unless the kind can prove more.
    ///
    /// Each step ends within the time that a poll may take. After one without an answer, do not try the next: it
    /// would wait as long.
    ///
    /// # Errors
    ///
    /// [`NoClient`] if it needs a client that was not built.
    async fn prove(
        &self,
        site: &Site<'_>,
        shared: &Self::Shared,
        wanted: &Wanted,
    ) -> Result<Vec<Proof>, NoClient> {
        let mut observer = self.observer(site, shared)?;
        let polled = proving::polled(&mut observer, site, Self::spec(), &self.resource(), wanted).await;
        Ok(vec![polled.0])
    }

    /// Says what may be wrong if a canary was not found as it was sent. Called once for a canary that `check --canary` has
    /// sent, after the last poll.
    async fn advise(
        &self,
        _site: &Site<'_>,
        _shared: &Self::Shared,
        _tag: &Tag,
        doubt: Doubt,
    ) -> Vec<Advice> {
        let Doubt::Missing { records } = doubt else { return Vec::new() };
        let places = Self::spec().keys.iter().filter(|key| matches!(key.fallback, Fallback::Required));
        let places: Vec<_> = places.map(|key| key.name).collect();
        vec![match records {
            0 => Advice::new(
                format!(
                    "the polls read no record at all: {} may be wrong, or nothing is written there",
                    places.join(" or ")
                ),
                places.last().copied(),
            ),
            1 => Advice::new("the polls read 1 record, which was not the canary".to_owned(), None),
            records => {
                Advice::new(format!("the polls read {records} records, and none was the canary"), None)
            }
        }]
    }

    /// Returns who the service takes us for; `None` if the kind cannot ask.
    async fn principal(
        &self,
        _site: &Site<'_>,
        _shared: &Self::Shared,
    ) -> Option<Result<String, ObserveError>> {
        None
    }
}

pub(super) const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Maps every kind to its folder. The list of kinds is the only place where the two are connected.
macro_rules! kinds {
    ($($kind:ident: $folder:ident,)*) => {
        /// The settings of a source of any kind.
        #[derive(Clone, PartialEq, Debug)]
        #[expect(missing_docs, reason = "each variant holds the settings of its kind")]
        pub enum SourceSettings {
            $($kind(Arc<$folder::Settings>),)*
        }

        /// What the observers of each kind share.
        #[derive(Default, Debug)]
        pub struct Shared {
            $($folder: <$folder::Settings as KindSettings>::Shared,)*
        }

        /// Returns what all sources of a kind have in common.
        #[must_use]
        pub const fn spec(kind: Kind) -> &'static Spec {
            match kind {
                $(Kind::$kind => &$folder::SPEC,)*
            }
        }

        impl SourceSettings {
            /// Reads the settings of a source.
            pub(crate) fn read(kind: Kind, reader: &mut Reader<'_, '_>, scope: &Scope<'_>) -> Checked<Self> {
                match kind {
                    $(Kind::$kind => $folder::Settings::read(reader, scope).map(|it| Self::$kind(it.into())),)*
                }
            }

            /// Returns the kind of the source.
            #[must_use]
            pub const fn kind(&self) -> Kind {
                match self {
                    $(Self::$kind(_) => Kind::$kind,)*
                }
            }

            /// Returns the display name: `kinesis logs-acme`.
            #[must_use]
            pub fn name(&self) -> String {
                let resource = match self {
                    $(Self::$kind(settings) => settings.resource(),)*
                };
                format!("{} {resource}", self.kind())
            }

            /// Identifies what is read, without how: sources of a kind with the same identity read the same
            /// events.
            #[must_use]
            pub fn identity(&self) -> String {
                match self {
                    $(Self::$kind(settings) => settings.identity(),)*
                }
            }

            /// Returns whether the source shows which tenant a canary belongs to.
            #[must_use]
            pub fn attribution(&self) -> Attribution {
                match self {
                    $(Self::$kind(settings) => settings.attribution(),)*
                }
            }

            /// Returns where a label is that names the tenant of a canary; `None` if nothing but the tag does.
            #[must_use]
            pub fn label_place(&self) -> Option<LabelPlace> {
                match self {
                    $(Self::$kind(settings) => settings.label_place(),)*
                }
            }

            /// Returns what the schema of the source is compared with.
            #[must_use]
            pub fn expected_schema(&self) -> ExpectedSchema {
                match self {
                    $(Self::$kind(settings) => settings.expected_schema(),)*
                }
            }

            /// Returns whether what arrives while nothing waits is read with the next poll.
            #[must_use]
            pub fn reads_gaps(&self) -> bool {
                match self {
                    $(Self::$kind(settings) => settings.reads_gaps(),)*
                }
            }

            /// Returns the AWS account in which it is; `None` for kinds in another cloud.
            #[must_use]
            pub fn account(&self) -> Option<&Account> {
                match self {
                    $(Self::$kind(settings) => settings.account(),)*
                }
            }

            /// Returns what its polls call, and what that costs.
            #[must_use]
            pub fn costs(&self) -> Costs {
                match self {
                    $(Self::$kind(settings) => settings.costs(),)*
                }
            }

            /// Returns the commands with which a person looks up its records.
            #[must_use]
            pub fn evidence(&self) -> Arc<dyn Evidence> {
                match self {
                    $(Self::$kind(settings) => settings.clone(),)*
                }
            }

            /// What the observer takes from the topology besides the tenants of its source, as text.
            #[must_use]
            pub fn context(&self, site: &Site<'_>) -> String {
                match self {
                    $(Self::$kind(settings) => settings.context(site),)*
                }
            }

            /// Returns the loop that polls the source; nothing runs until it is awaited.
            ///
            /// # Errors
            ///
            /// [`NoClient`] if it needs a client that was not built.
            pub fn watch(
                &self,
                site: &Site<'_>,
                shared: &Shared,
                channels: pace::Channels,
            ) -> Result<BoxFuture<'static, ()>, NoClient> {
                let (rhythm, clock) = (site.rhythm, site.clock.clone());
                let gate = site.clients.budgets.of(spec(self.kind()).service());
                Ok(match self {
                    $(Self::$kind(settings) => {
                        let observer = settings.observer(site, &shared.$folder)?;
                        Box::pin(pace::watch(observer, rhythm, clock, gate, channels))
                    })*
                })
            }

            /// Proves that the source can be read.
            ///
            /// # Errors
            ///
            /// [`NoClient`] if it needs a client that was not built.
            pub async fn prove(
                &self,
                site: &Site<'_>,
                shared: &Shared,
                wanted: &Wanted,
            ) -> Result<Vec<Proof>, NoClient> {
                match self {
                    $(Self::$kind(settings) => settings.prove(site, &shared.$folder, wanted).await,)*
                }
            }

            /// Says what may be wrong if a canary was not found as it was sent.
            pub async fn advise(
                &self,
                site: &Site<'_>,
                shared: &Shared,
                tag: &Tag,
                doubt: Doubt,
            ) -> Vec<Advice> {
                match self {
                    $(Self::$kind(settings) => settings.advise(site, &shared.$folder, tag, doubt).await,)*
                }
            }

            /// Returns who the service takes us for; `None` if it cannot be asked.
            pub async fn principal(
                &self,
                site: &Site<'_>,
                shared: &Shared,
            ) -> Option<Result<String, ObserveError>> {
                match self {
                    $(Self::$kind(settings) => settings.principal(site, &shared.$folder).await,)*
                }
            }

            /// Polls the source once.
            ///
            /// # Errors
            ///
            /// [`NoClient`] if it needs a client that was not built; the inner error is why the poll failed.
            pub async fn poll_once(
                &self,
                site: &Site<'_>,
                wanted: &Wanted,
            ) -> Result<Result<Poll, ObserveError>, NoClient> {
                let shared = Shared::default();
                Ok(match self {
                    $(Self::$kind(settings) => settings.observer(site, &shared.$folder)?.poll(wanted).await,)*
                })
            }
        }
    };
}
pub(super) use kinds;
