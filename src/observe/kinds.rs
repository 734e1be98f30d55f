//! What the folder of a kind provides, and the one list that maps kinds to folders.

use std::time::Duration;

use super::pace::Rhythm;
use super::{Observe, Recognizer};
use crate::cloud::{Clients, NoClient, Provider};
use crate::domain::cost::Costs;
use crate::domain::evidence::Evidence;
use crate::domain::schema::ExpectedSchema;
use crate::domain::tag::TenantCode;
use crate::domain::time::WallClock;
use crate::domain::topology::{Capabilities, SourceId, Topology};
use crate::keys::fault::Checked;
use crate::keys::key::Key;
use crate::keys::reader::Reader;
use crate::keys::value::{self, Parsed};

/// What is the same for all sources of a kind.
#[derive(Debug)]
pub struct Spec {
    /// Its keys in `[[stage]]`, beside those that every stage has.
    pub(crate) keys: &'static [Key],
    /// What `interval`, `timeout` and `settle` of a stage are unless they are set.
    pub(crate) rhythm: Rhythm,
    /// The cloud whose identity it needs.
    pub provider: Provider,
    /// What its polls tell beside sightings.
    pub capabilities: Capabilities,
    /// What it calls, and what that costs.
    pub costs: Costs,
    /// What it must be allowed, as JSON: a list of IAM statements, or a custom role of Google's. In the names of the
    /// example configuration; the policies in `config/iam/` are made of it.
    pub permissions: &'static str,
}

/// What is known of a tenant and of the whole configuration while a source is read.
pub(crate) struct Scope<'a> {
    /// The tenant's name, for `{tenant}`.
    pub(crate) tenant: &'a str,
    /// The AWS region where a stage has none.
    pub(crate) region: &'a Checked<Option<String>>,
    /// The Google project that pays for queries, if it is not the table's own.
    pub(crate) project: &'a Checked<Option<String>>,
}

impl Scope<'_> {
    /// Reads a text with `{tenant}` in it, and checks it as it is expanded.
    pub(crate) fn expanded<T>(
        &self,
        check: impl Fn(String) -> Parsed<T>,
    ) -> impl Fn(&toml::Value) -> Parsed<T> {
        move |value| check(value::expand(&value::text(value)?, &[("tenant", self.tenant)])?)
    }
}

/// Whether a source tells whose a canary is; isolation can only be checked where it does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Attribution {
    /// Something beside the tag says whose it is: a column, or the key.
    pub labelled: bool,
    /// Whole tags are found there, and a tag names its tenant. Also true where no canary is ever found.
    pub by_tag: bool,
    /// What would make it labelled, to be appended to a sentence; empty where nothing would.
    pub remedy: &'static str,
}

/// What an observer is made of beside its source's settings.
pub struct Site<'a> {
    /// The map of tenants, stages and sources.
    pub topology: &'a Topology,
    /// Which source it is.
    pub source: SourceId,
    /// How often it is polled.
    pub rhythm: Rhythm,
    /// Clients of both clouds.
    pub clients: &'a Clients,
    /// What tells our canaries from everything else.
    pub recognizer: &'a Recognizer,
    /// The probe's clock.
    pub clock: &'a WallClock,
}

impl Site<'_> {
    /// Whose canaries may be at the source; `None` where everybody's may.
    pub(super) fn owners(&self) -> Option<Vec<TenantCode>> {
        let source = self.topology.source(self.source);
        let codes = source.tenants.iter().map(|id| self.topology.tenant(*id).code);
        (source.tenants.len() < self.topology.tenants().len()).then(|| codes.collect())
    }
}

/// The settings of one source of a kind.
pub(crate) trait KindSettings: Evidence + Sized {
    /// What polls it.
    type Observer: Observe;
    /// What all observers of the kind share, such as a quota of the account.
    type Shared: Default;

    /// Reads the settings of a source. Every key of [`Spec::keys`] is read, also where another has a fault.
    fn read(reader: &mut Reader<'_, '_>, scope: &Scope<'_>) -> Checked<Self>;

    /// For people, without the kind: `logs-acme`.
    fn resource(&self) -> String;

    /// What is read, without how: two sources with one identity read the same events.
    fn identity(&self) -> String;

    /// Whether it tells whose a canary is.
    fn attribution(&self) -> Attribution;

    /// What the source's schema is held against, where it has one.
    fn expected_schema(&self) -> ExpectedSchema {
        ExpectedSchema::default()
    }

    /// An observer of the source; it makes no call yet.
    ///
    /// # Errors
    ///
    /// [`NoClient`] when it needs a client that was not made.
    fn observer(&self, site: &Site<'_>, shared: &Self::Shared) -> Result<Self::Observer, NoClient>;
}

/// Seconds, for the rhythms of specs.
pub(super) const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Maps every kind to its folder, once.
macro_rules! kinds {
    ($($kind:ident: $folder:ident,)*) => {
        /// The settings of a source of any kind.
        #[derive(Clone, PartialEq, Debug)]
        #[expect(missing_docs, reason = "each variant holds the settings of its kind")]
        pub enum SourceSettings {
            $($kind(Arc<$folder::Settings>),)*
        }

        /// What observers of one kind share, for every kind.
        #[derive(Default, Debug)]
        pub struct Shared {
            $($folder: <$folder::Settings as KindSettings>::Shared,)*
        }

        /// What is the same for all sources of a kind.
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

            /// What kind of place it is.
            #[must_use]
            pub const fn kind(&self) -> Kind {
                match self {
                    $(Self::$kind(_) => Kind::$kind,)*
                }
            }

            /// For people: `kinesis logs-acme`.
            #[must_use]
            pub fn name(&self) -> String {
                let resource = match self {
                    $(Self::$kind(settings) => settings.resource(),)*
                };
                format!("{} {resource}", self.kind())
            }

            /// What is read, without how: two sources of a kind with one identity read the same events.
            #[must_use]
            pub fn identity(&self) -> String {
                match self {
                    $(Self::$kind(settings) => settings.identity(),)*
                }
            }

            /// Whether it tells whose a canary is.
            #[must_use]
            pub fn attribution(&self) -> Attribution {
                match self {
                    $(Self::$kind(settings) => settings.attribution(),)*
                }
            }

            /// What its schema is held against.
            #[must_use]
            pub fn expected_schema(&self) -> ExpectedSchema {
                match self {
                    $(Self::$kind(settings) => settings.expected_schema(),)*
                }
            }

            /// Where a person looks its records up.
            #[must_use]
            pub fn evidence(&self) -> Arc<dyn Evidence> {
                match self {
                    $(Self::$kind(settings) => settings.clone(),)*
                }
            }

            /// The loop that polls it; nothing runs until it is awaited.
            ///
            /// # Errors
            ///
            /// [`NoClient`] when it needs a client that was not made.
            pub fn watch(
                &self,
                site: &Site<'_>,
                shared: &Shared,
                ends: pace::Channels,
            ) -> Result<BoxFuture<'static, ()>, NoClient> {
                let (rhythm, clock) = (site.rhythm, site.clock.clone());
                Ok(match self {
                    $(Self::$kind(settings) => {
                        let observer = settings.observer(site, &shared.$folder)?;
                        Box::pin(pace::watch(observer, rhythm, clock, ends))
                    })*
                })
            }

            /// Polls it once, for whoever asks whether that can be done.
            ///
            /// # Errors
            ///
            /// [`NoClient`] when it needs a client that was not made; inside, why the poll failed.
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
