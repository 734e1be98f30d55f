//! Label sets as types: the names of the labels, their order, and their possible values.
//!
//! With label values as plain strings, two swapped values compile, and the possible series are unknown. A
//! label set prevents both: its fields have different types, and [`Labels::all`] lists every value for a
//! topology, so that all series can be initialised. Labels are tenants, stages and small enumerations only,
//! never ids.

use std::borrow::Cow;
use std::time::Duration;

use super::connections::{Closed, Refused};
use super::exports::Exported;
use crate::domain::conditions::{ConditionName, Subject};
use crate::domain::copies::UnchargedReason;
use crate::domain::format::UnreadableReason;
use crate::domain::outcome::Outcome;
use crate::domain::sighting::FailureKind;
use crate::domain::topology::{
    HopRange, Owner, Role, SHARED_OWNER, SourceId, StageId, TenantId, Topology, UNKNOWN_TENANT,
};

/// The labels of a series.
pub(super) trait Labels: Copy {
    const NAMES: &'static [&'static str];

    /// The label values, in the order of `NAMES`.
    fn values(self, map: &Topology) -> impl AsRef<[Cow<'_, str>]>;

    /// Every set of values that can occur.
    fn all(map: &Topology) -> impl Iterator<Item = Self>;

    /// Whether there is a series from the start. Otherwise it appears with its first count, which hides that count from
    /// `rate()`.
    fn is_from_start(self) -> bool {
        true
    }

    /// The thresholds that a latency has to be compared with, if it is compared with few.
    fn thresholds(self, _: &Topology) -> Option<Vec<Duration>> {
        None
    }
}

/// The value of one label.
trait Value: Sized {
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
            Self::Shared => Cow::Borrowed(SHARED_OWNER),
        }
    }
}

/// The empty text if there is none, which is the same as no label.
impl<V: Value> Value for Option<V> {
    fn text(self, map: &Topology) -> Cow<'_, str> {
        self.map_or(Cow::Borrowed(""), |value| value.text(map))
    }
}

impl Value for ConditionName {
    fn text(self, _: &Topology) -> Cow<'_, str> {
        Cow::Borrowed(self.as_str())
    }
}

impl Value for UnreadableReason {
    fn text(self, _: &Topology) -> Cow<'_, str> {
        Cow::Borrowed(self.as_str())
    }
}

impl Value for Closed {
    fn text(self, _: &Topology) -> Cow<'_, str> {
        Cow::Borrowed(self.as_str())
    }
}

impl Value for Exported {
    fn text(self, _: &Topology) -> Cow<'_, str> {
        Cow::Borrowed(self.as_str())
    }
}

impl Value for Refused {
    fn text(self, _: &Topology) -> Cow<'_, str> {
        Cow::Borrowed(self.as_str())
    }
}

impl Value for UnchargedReason {
    fn text(self, _: &Topology) -> Cow<'_, str> {
        Cow::Borrowed(self.as_str())
    }
}

/// Declares an enum of label values, the list of them, and their texts.
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
    /// The result of a planned put.
    Put {
        Accepted = "accepted",
        Refused = "refused",
        /// Sent without an answer.
        Ambiguous = "ambiguous",
        /// Never sent.
        Missed = "missed",
    }
}

values! {
    /// Which process sent a tag that belongs to no trace in memory.
    StrayOrigin {
        OtherInstance = "other_instance",
        PreviousRun = "previous_run",
    }
}

values! {
    /// The version of this program.
    Version { Own = env!("CARGO_PKG_VERSION") }
}

values! {
    /// The commit from which it was built.
    Revision { Own = option_env!("TRACEPROBE_REVISION").unwrap_or("unknown") }
}

/// The outcome of a trace without its details.
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

/// The result of a poll.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum PollResult {
    Ok,
    /// Answered, but the end of the source was not reached.
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

/// Declares a label set: its fields, each with the name of its label, all its values for a topology, and what
/// else of [`Labels`] is not the default.
macro_rules! label_set {
    (
        $(#[$doc:meta])*
        $name:ident { $($vis:vis $field:ident: $value:ty = $label:literal),* $(,)? }
        all($map:pat) = $all:expr
        $(; $($other:tt)+)?
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

            $($($other)+)?
        }
    };
}

label_set! {
    /// The labels of a metric of the whole probe: none.
    NoLabels {}
    all(_) = std::iter::once(Self {})
}

label_set! {
    /// A build of the probe.
    OfBuild { pub(super) version: Version = "version", pub(super) revision: Revision = "revision" }
    all(_) = product(Version::ALL, Revision::ALL, |&version, &revision| Self { version, revision })
}

label_set! {
    /// Why connections ended.
    ClosedConnection { pub(super) reason: Closed = "reason" }
    all(_) = Closed::ALL.iter().map(|&reason| Self { reason })
}

label_set! {
    /// What became of traces that were to be exported.
    ExportedTraces { pub(super) result: Exported = "result" }
    all(_) = Exported::ALL.iter().map(|&result| Self { result })
}

label_set! {
    /// Why connections or requests were refused.
    RefusedConnection { pub(super) reason: Refused = "reason" }
    all(_) = Refused::ALL.iter().map(|&reason| Self { reason })
}

label_set! {
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
    /// A result of a tenant's puts.
    TenantPut { pub(super) tenant: TenantId = "tenant", pub(super) result: Put = "result" }
    all(map) = product(map.tenant_ids(), Put::ALL, |tenant, &result| Self { tenant, result })
}

label_set! {
    /// A stage, of a tenant.
    TenantStage { pub(super) tenant: TenantId = "tenant", pub(super) stage: StageId = "stage" }
    all(map) = product(map.tenant_ids(), map.stage_ids(), |tenant, stage| Self { tenant, stage })
}

/// The tenant of a leaked canary; `None` if it is not configured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Leaked(pub(super) Option<TenantId>);

impl Value for Leaked {
    fn text(self, map: &Topology) -> Cow<'_, str> {
        self.0.map_or(Cow::Borrowed(UNKNOWN_TENANT), |tenant| tenant.text(map))
    }
}

label_set! {
    /// A stage at which a tenant's canaries were found where they must not be.
    LeakStage { pub(super) tenant: Leaked = "tenant", pub(super) stage: StageId = "stage" }
    all(map) = {
        let tenants = map.tenant_ids().map(|tenant| Leaked(Some(tenant))).chain([Leaked(None)]);
        product(tenants, map.stage_ids(), |tenant, stage| Self { tenant, stage })
    }
}

label_set! {
    /// A reason why copies of a tenant's canaries at a stage are not charged.
    TenantStageReason {
        pub(super) tenant: TenantId = "tenant",
        pub(super) stage: StageId = "stage",
        pub(super) reason: UnchargedReason = "reason",
    }
    all(map) = {
        let of_tenant = product(map.tenant_ids(), map.stage_ids(), |tenant, stage| (tenant, stage));
        product(of_tenant, UnchargedReason::ALL, |(tenant, stage), reason| Self { tenant, stage, reason })
    };
    // The others seldom occur, nothing is alerted on, and they would be a tenth of the series of a tenant.
    fn is_from_start(self) -> bool {
        matches!(self.reason, UnchargedReason::RetriedPut | UnchargedReason::SecondSender)
    }
}

label_set! {
    /// A reason why records of a stage could not be read.
    StageUnreadable { pub(super) stage: StageId = "stage", pub(super) reason: UnreadableReason = "reason" }
    all(map) = product(map.stage_ids(), UnreadableReason::ALL, |stage, reason| Self { stage, reason })
}

label_set! {
    /// A hop of a tenant that has a latency. Hops to dead-letter stages have none: they are not part of the
    /// delivery path.
    TenantHop { pub(super) tenant: TenantId = "tenant", pub(super) hop: StageId = "stage" }
    all(map) = {
        let hops = map.stage_ids().filter(|stage| map.stage(*stage).role != Role::DeadLetter);
        product(map.tenant_ids(), hops, |tenant, hop| Self { tenant, hop })
    };
    fn thresholds(self, map: &Topology) -> Option<Vec<Duration>> {
        let stage = map.stage(self.hop);
        Some(stage.target.into_iter().chain(stage.critical).collect())
    }
}

label_set! {
    /// A hop of the main path on which a tenant's traces can be in flight.
    TenantWaiting { pub(super) tenant: TenantId = "tenant", pub(super) hop: StageId = "stage" }
    all(map) = product(map.tenant_ids(), map.main_path(), |tenant, &hop| Self { tenant, hop })
}

label_set! {
    /// A hop, or a range of hops one of which lost a tenant's trace.
    TenantHopRange { pub(super) tenant: TenantId = "tenant", pub(super) hops: HopRange = "stage" }
    all(map) = {
        let hop_ranges = HopRange::all(map.main_path());
        product(map.tenant_ids(), hop_ranges, |tenant, hops| Self { tenant, hops })
    }
}

label_set! {
    /// A condition, and what it belongs to.
    OfCondition {
        tenant: Option<TenantId> = "tenant",
        place: Option<HopRange> = "stage",
        name: ConditionName = "condition",
    }
    all(map) = ConditionName::ALL.into_iter().flat_map(|name| {
        let subjects = name.subjects(map).into_iter();
        subjects.map(move |subject| Self::of(name, subject)).collect::<Vec<_>>()
    })
}

impl OfCondition {
    pub(super) const fn of(name: ConditionName, subject: Subject) -> Self {
        Self { tenant: subject.tenant, place: subject.place, name }
    }
}

label_set! {
    /// A condition of a tenant, wherever it is.
    TenantCondition {
        pub(super) tenant: Option<TenantId> = "tenant",
        pub(super) name: ConditionName = "condition",
    }
    all(map) = ConditionName::ALL.into_iter().flat_map(|name| {
        let mut tenants: Vec<_> = name.subjects(map).into_iter().map(|subject| subject.tenant).collect();
        tenants.sort_unstable();
        tenants.dedup();
        tenants.into_iter().map(move |tenant| Self { tenant, name })
    })
}

label_set! {
    OfStage { pub(super) stage: StageId = "stage" }
    all(map) = map.stage_ids().map(|stage| Self { stage })
}

label_set! {
    /// A stage whose polls are billed by the byte.
    BilledStage { stage: StageId = "stage" }
    all(map) = map.stage_ids().filter_map(|stage| Self::of(map, stage))
}

impl BilledStage {
    /// Returns `None` if polls of the stage are not billed by the byte.
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
    /// Returns `None` if the stage has no columns.
    pub(super) fn of(map: &Topology, stage: StageId) -> Option<Self> {
        map.stage(stage).capabilities.schema.then_some(Self { stage })
    }
}

label_set! {
    /// Stray tags at a stage, by origin.
    StageStray { pub(super) stage: StageId = "stage", pub(super) origin: StrayOrigin = "origin" }
    all(map) = product(map.stage_ids(), StrayOrigin::ALL, |stage, &origin| Self { stage, origin })
}

label_set! {
    /// A source, by its stage and its owner. Several sources have the same labels if each is shared by other tenants.
    StageOwner { stage: StageId = "stage", owner: Owner = "owner" }
    all(map) = map.source_ids().map(|source| Self::of(map, source))
}

impl StageOwner {
    pub(super) fn of(map: &Topology, source: SourceId) -> Self {
        let source = map.source(source);
        Self { stage: source.stage, owner: source.owner }
    }
}

label_set! {
    /// A source whose polls report how far behind the tip they ended, by its stage and its owner.
    BehindStageOwner { stage: StageId = "stage", owner: Owner = "owner" }
    all(map) = map.source_ids().filter_map(|source| Self::of(map, source))
}

impl BehindStageOwner {
    /// Returns `None` if polls of the source do not report it.
    pub(super) fn of(map: &Topology, source: SourceId) -> Option<Self> {
        let source = map.source(source);
        let (stage, owner) = (source.stage, source.owner);
        map.stage(stage).capabilities.behind.then_some(Self { stage, owner })
    }
}

label_set! {
    /// A source that is a queue, by its stage and its owner.
    QueueStageOwner { stage: StageId = "stage", owner: Owner = "owner" }
    all(map) = map.source_ids().filter_map(|source| Self::of(map, source))
}

impl QueueStageOwner {
    /// Returns `None` if the source is no queue.
    pub(super) fn of(map: &Topology, source: SourceId) -> Option<Self> {
        let source = map.source(source);
        let (stage, owner) = (source.stage, source.owner);
        map.stage(stage).capabilities.queue.then_some(Self { stage, owner })
    }
}

label_set! {
    /// A source, by its stage and its owner, and a result of its polls.
    StageOwnerResult { stage: StageId = "stage", owner: Owner = "owner", result: PollResult = "result" }
    all(map) = {
        let answered = [PollResult::Ok, PollResult::Incomplete].into_iter();
        let results = answered.chain(FailureKind::ALL.map(PollResult::Failed));
        product(map.source_ids(), results, |source, result| Self::of(map, source, result))
    }
}

impl StageOwnerResult {
    pub(super) fn of(map: &Topology, source: SourceId, result: PollResult) -> Self {
        let StageOwner { stage, owner } = StageOwner::of(map, source);
        Self { stage, owner, result }
    }
}

/// Applies `both` to every pair of an item of `one` and an item of `other`.
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
