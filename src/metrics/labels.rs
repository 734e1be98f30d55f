//! Label sets, each a type: what their labels are called, in which order, and which values they can have.
//!
//! A set of strings in an order that only the caller knows compiles when two of them are swapped, and cannot say which
//! series there will be. A label set can do both: its fields have types of their own, and [`Labels::all`] lists every
//! value for a map, by which a family is initialised. Labels are tenants, stages and small enumerations only, never ids.

use std::borrow::Cow;

use crate::domain::copies::UnchargedReason;
use crate::domain::format::UnreadableReason;
use crate::domain::outcome::Outcome;
use crate::domain::sighting::FailureKind;
use crate::domain::topology::{HopRange, Owner, Role, SourceId, StageId, TenantId, Topology};

/// The labels of a series.
pub(super) trait Labels: Copy {
    /// What the labels are called.
    const NAMES: &'static [&'static str];

    /// Their values, in the order of the names.
    fn values(self, map: &Topology) -> impl AsRef<[Cow<'_, str>]>;

    /// Every set that can occur. What is not in here has no series before it is counted, so its first count is hidden
    /// from `rate()`.
    fn all(map: &Topology) -> impl Iterator<Item = Self>;
}

/// One value of a label.
trait Value {
    fn text(self, map: &Topology) -> Cow<'_, str>;
}

impl Value for TenantId {
    fn text(self, map: &Topology) -> Cow<'_, str> {
        Cow::Borrowed(&map.tenant(self).name)
    }
}

impl Value for StageId {
    fn text(self, map: &Topology) -> Cow<'_, str> {
        Cow::Borrowed(&map.stage(self).name)
    }
}

impl Value for HopRange {
    fn text(self, map: &Topology) -> Cow<'_, str> {
        Cow::Owned(self.display(map).to_string())
    }
}

impl Value for Owner {
    fn text(self, map: &Topology) -> Cow<'_, str> {
        match self {
            Self::One(tenant) => tenant.text(map),
            Self::Shared => Cow::Borrowed("shared"),
        }
    }
}

impl Value for UnreadableReason {
    fn text(self, _: &Topology) -> Cow<'_, str> {
        Cow::Borrowed(self.as_str())
    }
}

impl Value for UnchargedReason {
    fn text(self, _: &Topology) -> Cow<'_, str> {
        Cow::Borrowed(self.as_str())
    }
}

/// The values of one label: an enum, its list and its texts.
macro_rules! values {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:expr),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub(super) enum $name { $($(#[$variant_doc])* $variant),* }

        impl $name {
            const ALL: &[Self] = &[$(Self::$variant),*];
        }

        impl Value for $name {
            fn text(self, _: &Topology) -> Cow<'_, str> {
                Cow::Borrowed(match self { $(Self::$variant => $text),* })
            }
        }
    };
}

values! {
    /// What became of putting a canary.
    Put {
        Accepted = "accepted",
        Refused = "refused",
        /// Sent, and not answered.
        Ambiguous = "ambiguous",
        /// Never sent.
        Missed = "missed",
    }
}

values! {
    /// Whose a tag is that belongs to no trace in memory.
    StrayOrigin {
        OtherInstance = "other_instance",
        PreviousRun = "previous_run",
    }
}

values! {
    /// Which probe this is.
    Version { Own = env!("CARGO_PKG_VERSION") }
}

values! {
    /// Which commit it was built from.
    Revision { Own = option_env!("TRACEPROBE_REVISION").unwrap_or("unknown") }
}

/// How a trace ended, without the particulars.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Ending(&'static str);

impl From<&Outcome> for Ending {
    fn from(outcome: &Outcome) -> Self {
        Self(outcome.label())
    }
}

impl Value for Ending {
    fn text(self, _: &Topology) -> Cow<'_, str> {
        Cow::Borrowed(self.0)
    }
}

/// How a look at a source went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum PollResult {
    Ok,
    /// Answered, but the end was not reached.
    Incomplete,
    Failed(FailureKind),
}

impl Value for PollResult {
    fn text(self, _: &Topology) -> Cow<'_, str> {
        Cow::Borrowed(match self {
            Self::Ok => "ok",
            Self::Incomplete => "incomplete",
            Self::Failed(failure) => failure.as_str(),
        })
    }
}

/// A label set: its fields, each with the name of its label, and all its values for a map.
macro_rules! label_set {
    (
        $(#[$doc:meta])*
        $name:ident { $($vis:vis $field:ident: $value:ty = $label:literal),* $(,)? }
        all($map:pat) = $all:expr
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub(super) struct $name { $($vis $field: $value),* }

        impl Labels for $name {
            const NAMES: &'static [&'static str] = &[$($label),*];

            fn values(self, _map: &Topology) -> impl AsRef<[Cow<'_, str>]> {
                [$(self.$field.text(_map)),*]
            }

            fn all($map: &Topology) -> impl Iterator<Item = Self> {
                $all
            }
        }
    };
}

label_set! {
    /// The probe as a whole.
    NoLabels {}
    all(_) = std::iter::once(Self {})
}

label_set! {
    /// A build of the probe.
    OfBuild { pub(super) version: Version = "version", pub(super) revision: Revision = "revision" }
    all(_) = product(Version::ALL, Revision::ALL, |&version, &revision| Self { version, revision })
}

label_set! {
    /// A tenant.
    OfTenant { pub(super) tenant: TenantId = "tenant" }
    all(map) = map.tenant_ids().map(|tenant| Self { tenant })
}

label_set! {
    /// An outcome of a tenant's traces.
    TenantOutcome { pub(super) tenant: TenantId = "tenant", pub(super) outcome: Ending = "outcome" }
    all(map) = {
        let outcomes = Outcome::LABELS.into_iter().map(Ending);
        product(map.tenant_ids(), outcomes, |tenant, outcome| Self { tenant, outcome })
    }
}

label_set! {
    /// What became of putting a tenant's canaries.
    TenantPut { pub(super) tenant: TenantId = "tenant", pub(super) result: Put = "result" }
    all(map) = product(map.tenant_ids(), Put::ALL, |tenant, &result| Self { tenant, result })
}

label_set! {
    /// A stage, of a tenant.
    TenantStage { pub(super) tenant: TenantId = "tenant", pub(super) stage: StageId = "stage" }
    all(map) = product(map.tenant_ids(), map.stage_ids(), |tenant, stage| Self { tenant, stage })
}

label_set! {
    /// Why copies at a stage of a tenant were not charged.
    TenantStageReason {
        pub(super) tenant: TenantId = "tenant",
        pub(super) stage: StageId = "stage",
        pub(super) reason: UnchargedReason = "reason",
    }
    all(map) = {
        let of_tenant = product(map.tenant_ids(), map.stage_ids(), |tenant, stage| (tenant, stage));
        product(of_tenant, UnchargedReason::ALL, |(tenant, stage), reason| Self { tenant, stage, reason })
    }
}

label_set! {
    /// Why records of a stage could not be read.
    StageUnreadable { pub(super) stage: StageId = "stage", pub(super) reason: UnreadableReason = "reason" }
    all(map) = product(map.stage_ids(), UnreadableReason::ALL, |stage, reason| Self { stage, reason })
}

label_set! {
    /// A hop that has a latency, of a tenant. None leads to dead letters: what goes there has left the way.
    TenantHop { pub(super) tenant: TenantId = "tenant", pub(super) hop: StageId = "stage" }
    all(map) = {
        let hops = map.stage_ids().filter(|stage| map.stage(*stage).role != Role::DeadLetter);
        product(map.tenant_ids(), hops, |tenant, hop| Self { tenant, hop })
    }
}

label_set! {
    /// A hop of the main path that a tenant's traces are on.
    TenantWaiting { pub(super) tenant: TenantId = "tenant", pub(super) hop: StageId = "stage" }
    all(map) = product(map.tenant_ids(), map.main_path(), |tenant, &hop| Self { tenant, hop })
}

label_set! {
    /// A hop, or several in a row one of which lost a tenant's trace.
    TenantHopRange { pub(super) tenant: TenantId = "tenant", pub(super) hops: HopRange = "stage" }
    all(map) = {
        let hop_ranges = HopRange::all(map.main_path());
        product(map.tenant_ids(), hop_ranges, |tenant, hops| Self { tenant, hops })
    }
}

label_set! {
    /// A stage.
    OfStage { pub(super) stage: StageId = "stage" }
    all(map) = map.stage_ids().map(|stage| Self { stage })
}

label_set! {
    /// A stage whose looks are billed by the byte.
    BilledStage { stage: StageId = "stage" }
    all(map) = map.stage_ids().filter_map(|stage| Self::of(map, stage))
}

impl BilledStage {
    /// `None` for a stage whose looks are not.
    pub(super) fn of(map: &Topology, stage: StageId) -> Option<Self> {
        map.stage(stage).capabilities.billed_bytes.then_some(Self { stage })
    }
}

label_set! {
    /// A stage that has columns.
    SchemaStage { stage: StageId = "stage" }
    all(map) = map.stage_ids().filter_map(|stage| Self::of(map, stage))
}

impl SchemaStage {
    /// `None` for a stage that has none.
    pub(super) fn of(map: &Topology, stage: StageId) -> Option<Self> {
        map.stage(stage).capabilities.schema.then_some(Self { stage })
    }
}

label_set! {
    /// Strays at a stage, by whose they are.
    StageStray { pub(super) stage: StageId = "stage", pub(super) origin: StrayOrigin = "origin" }
    all(map) = product(map.stage_ids(), StrayOrigin::ALL, |stage, &origin| Self { stage, origin })
}

label_set! {
    /// A source, by its stage and its owner.
    StageOwner { stage: StageId = "stage", owner: Owner = "owner" }
    all(map) = map.source_ids().map(|source| Self::of(map, source))
}

impl StageOwner {
    /// Of a source.
    pub(super) fn of(map: &Topology, source: SourceId) -> Self {
        let source = map.source(source);
        Self { stage: source.stage, owner: source.owner }
    }
}

label_set! {
    /// A source whose looks tell how far behind they ended, by its stage and its owner.
    BehindStageOwner { stage: StageId = "stage", owner: Owner = "owner" }
    all(map) = map.source_ids().filter_map(|source| Self::of(map, source))
}

impl BehindStageOwner {
    /// `None` for a source whose looks do not.
    pub(super) fn of(map: &Topology, source: SourceId) -> Option<Self> {
        let source = map.source(source);
        let (stage, owner) = (source.stage, source.owner);
        map.stage(stage).capabilities.behind.then_some(Self { stage, owner })
    }
}

label_set! {
    /// A source, by its stage and its owner, and how looks at it went.
    StageOwnerResult { stage: StageId = "stage", owner: Owner = "owner", result: PollResult = "result" }
    all(map) = {
        let answered = [PollResult::Ok, PollResult::Incomplete].into_iter();
        let results = answered.chain(FailureKind::ALL.map(PollResult::Failed));
        product(map.source_ids(), results, |source, result| Self::of(map, source, result))
    }
}

impl StageOwnerResult {
    /// Of a source.
    pub(super) fn of(map: &Topology, source: SourceId, result: PollResult) -> Self {
        let StageOwner { stage, owner } = StageOwner::of(map, source);
        Self { stage, owner, result }
    }
}

/// What `both` makes of each of the one with each of the other.
fn product<A: Copy, B: Copy, T>(
    one: impl IntoIterator<Item = A>,
    other: impl IntoIterator<Item = B>,
    both: impl Fn(A, B) -> T,
) -> impl Iterator<Item = T> {
    let other: Vec<B> = other.into_iter().collect();
    let one = one.into_iter();
    one.flat_map(|a| other.iter().map(move |b| (a, *b)))
        .map(|(a, b)| both(a, b))
        .collect::<Vec<_>>()
        .into_iter()
}
