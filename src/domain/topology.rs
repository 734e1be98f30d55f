//! Tenants, stages and sources, and how they are connected.
//!
//! A *stage* is a place in the pipeline; a *source* is the concrete thing that is polled there. A stage has
//! one source for each tenant (a stream each) or one for several (a shared table). Names become small numbers
//! here, so that the tracker handles no strings. A number means the same as long as the process runs, whatever
//! becomes of the configuration: see `succession`.

mod succession;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use self::succession::{Successor, TooMany};
use super::canary::Template;
use super::drill::DRILL_TENANT;
use super::kind::Kind;
use super::tag::{Tag, TenantCode};
use crate::domain::foreign::ForeignText;

/// Index of a tenant in [`Topology::tenants`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TenantId(pub u16);

/// Index of a stage in [`Topology::stages`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct StageId(pub u16);

/// Index of a source in [`Topology::sources`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SourceId(pub u32);

/// Index of a log group in [`Tenant::log_groups`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LogGroupId(pub u16);

impl LogGroupId {
    /// The first, which every tenant has.
    pub const FIRST: Self = Self(0);
}

/// One tenant of the pipeline.
#[derive(Clone, Debug)]
pub struct Tenant {
    /// The name in labels and on the page.
    pub name: Arc<str>,
    /// Its code inside a tag.
    pub code: TenantCode,
    /// The value of a tenant column, or of `{tenant}` in a key, that stands for its client. Tenants with one
    /// label are one client.
    pub label: Arc<str>,
    /// Where its canaries are put, in turn; at least one.
    pub log_groups: Vec<Arc<str>>,
    /// The template of its canaries.
    pub template: Template,
    /// Time between two of its canaries.
    pub interval: Duration,
}

/// What a stage is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Role {
    /// On the main path before the end, or a side stage.
    Way,
    /// The end of the main path, and of end-to-end latency.
    End,
    /// Where the pipeline puts events that it could not process.
    DeadLetter,
}

/// What polls of a kind of stage report in addition to sightings.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Capabilities {
    /// Whether polls have a watermark, which proves absence. Without one, a sighting proves presence and no
    /// sighting proves nothing.
    pub absence: bool,
    /// Whether polls report how far behind the newest record they ended.
    pub behind: bool,
    /// Whether polls report how many messages are in the queue.
    pub queue: bool,
    /// Whether polls report the columns of a table.
    pub schema: bool,
    /// Whether polls report the bytes that the service billed.
    pub billed_bytes: bool,
    /// Whether stored copies may be moved, and the observer can tell whether one still exists.
    pub moves: bool,
    /// Whether what arrives while nothing waits is read, too, as the settings of the stage say.
    pub reads_gaps: bool,
}

impl Capabilities {
    /// Proof of absence, and nothing else.
    pub const ABSENCE: Self = Self { absence: true, ..Self::PRESENCE };
    /// Presence only.
    pub const PRESENCE: Self = Self {
        absence: false,
        behind: false,
        queue: false,
        schema: false,
        billed_bytes: false,
        moves: false,
        reads_gaps: false,
    };
    /// Proof of absence, of objects that may be moved.
    pub const OBJECTS: Self = Self { moves: true, ..Self::ABSENCE };
}

/// One place where canaries are observed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stage {
    /// The name in labels and on the page, also of the hop that leads to it.
    pub name: Arc<str>,
    /// The service that it is part of.
    pub kind: Kind,
    /// What polls report in addition to sightings.
    pub capabilities: Capabilities,
    /// The stage that it follows; `None` if it follows injection.
    pub parent: Option<StageId>,
    /// What the stage is for.
    pub role: Role,
    /// How long its hop may take; `None` without a target.
    pub target: Option<Duration>,
    /// How long its hop may take before that is critical; larger than `target`.
    pub critical: Option<Duration>,
    /// Time from the arrival at the parent after which a canary that was not found counts as missing.
    pub missing_after: Duration,
    /// How much its clock may differ from the true time. The error of the probe's own clock is added to it.
    pub clock_allowance: Duration,
}

/// The owner of a source of several tenants, as metrics name it. No tenant may have this name.
pub const SHARED_OWNER: &str = "shared";
/// The tenant of a canary whose tenant is not configured, as metrics name it. No tenant may have this name.
pub const UNKNOWN_TENANT: &str = "unknown";

/// The tenants whose canaries may be found at a source.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Owner {
    /// This tenant's only: it is named for it, or other tenants have others.
    One(TenantId),
    /// Those of several tenants, or of anybody.
    Shared,
}

impl Owner {
    /// The tenant, if it is one tenant's.
    #[must_use]
    pub const fn tenant(self) -> Option<TenantId> {
        match self {
            Self::One(tenant) => Some(tenant),
            Self::Shared => None,
        }
    }
}

/// The concrete thing that an observer reads.
#[derive(Clone, Debug)]
pub struct Source {
    /// The stage it belongs to.
    pub stage: StageId,
    /// The name for people: `kinesis logs-acme`.
    pub name: Arc<str>,
    /// Whose canaries may be there.
    pub owner: Owner,
    /// The tenants whose canaries are expected here; a canary of any other tenant is a leak.
    pub tenants: Vec<TenantId>,
}

/// All tenants, stages and sources that exist, and those that did while the process ran: their names are still
/// needed for what is remembered of them.
#[derive(Clone, Debug)]
pub struct Topology {
    tenants: Vec<Tenant>,
    stages: Vec<Stage>,
    sources: Vec<Source>,
    live: Live,
    /// By tenant, then stage.
    source_of: Vec<Vec<SourceId>>,
    main_path: Vec<StageId>,
    /// The tenant of drills, which does not exist.
    drill: Option<TenantId>,
}

/// What of a topology exists.
#[derive(Clone, Debug, Default)]
struct Live {
    tenants: Vec<TenantId>,
    /// Those of `tenants` that are not configured any more. Canaries of theirs are still under way.
    leaving: BTreeSet<TenantId>,
    /// Parents first.
    stages: Vec<StageId>,
    sources: Vec<SourceId>,
}

/// Why a topology is not valid. The configuration reports such faults by key; this is the last line of
/// defence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopologyError {
    /// There must be exactly one end stage.
    #[error("{0} stages are marked as the end; there must be exactly one")]
    EndStages(usize),
    /// Parents must come first, which also rules out cycles.
    #[error("stage {0} comes before the stage it follows")]
    Order(Arc<str>),
    /// Every tenant needs exactly one source at every stage.
    #[error("tenant {tenant} has {count} sources at stage {stage}; it must have exactly one")]
    Sources {
        /// The tenant's name.
        tenant: Arc<str>,
        /// The stage's name.
        stage: Arc<str>,
        /// The number of sources that it has there.
        count: usize,
    },
}

impl Topology {
    /// Checks and indexes a topology.
    ///
    /// # Errors
    ///
    /// [`TopologyError`] for the first fault.
    pub fn new(
        tenants: Vec<Tenant>,
        stages: Vec<Stage>,
        sources: Vec<Source>,
    ) -> Result<Self, TopologyError> {
        for (index, stage) in stages.iter().enumerate() {
            if stage.parent.is_some_and(|parent| usize::from(parent.0) >= index) {
                return Err(TopologyError::Order(stage.name.clone()));
            }
        }
        let ends = stages.iter().filter(|stage| stage.role == Role::End).count();
        let Some(end) = stages.iter().position(|stage| stage.role == Role::End).filter(|_| ends == 1) else {
            return Err(TopologyError::EndStages(ends));
        };
        let mut source_of = Vec::with_capacity(tenants.len());
        for (t, tenant) in tenants.iter().enumerate() {
            let mut row = Vec::with_capacity(stages.len());
            for (s, stage) in stages.iter().enumerate() {
                let of_both = |source: &&(usize, &Source)| {
                    usize::from(source.1.stage.0) == s
                        && source.1.tenants.iter().any(|id| usize::from(id.0) == t)
                };
                let found: Vec<_> = sources.iter().enumerate().collect();
                let found: Vec<_> = found.iter().filter(of_both).collect();
                match found.as_slice() {
                    [(index, _)] => row.push(SourceId(u32::try_from(*index).unwrap_or(u32::MAX))),
                    other => {
                        return Err(TopologyError::Sources {
                            tenant: tenant.name.clone(),
                            stage: stage.name.clone(),
                            count: other.len(),
                        });
                    }
                }
            }
            source_of.push(row);
        }
        let mut main_path = vec![StageId(u16::try_from(end).unwrap_or(u16::MAX))];
        while let Some(parent) = main_path.last().and_then(|id| stages[usize::from(id.0)].parent) {
            main_path.push(parent);
        }
        main_path.reverse();
        let live = Live {
            tenants: (0..).map(TenantId).take(tenants.len()).collect(),
            leaving: BTreeSet::new(),
            stages: (0..).map(StageId).take(stages.len()).collect(),
            sources: (0..).map(SourceId).take(sources.len()).collect(),
        };
        Ok(Self { tenants, stages, sources, live, source_of, main_path, drill: None })
    }

    /// Adds the tenant of drills, with a source of its own at each stage.
    #[must_use]
    pub fn with_drill(mut self, interval: Duration) -> Self {
        let id = TenantId(u16::try_from(self.tenants.len()).unwrap_or(u16::MAX));
        let name: Arc<str> = DRILL_TENANT.into();
        let (code, label, template) = (TenantCode::of(&name), name.clone(), Template::default());
        let log_groups = vec![name.clone()];
        self.tenants.push(Tenant { name: name.clone(), code, label, log_groups, template, interval });
        let mut row = Vec::new();
        for stage in self.live.stages.clone() {
            let source = SourceId(u32::try_from(self.sources.len()).unwrap_or(u32::MAX));
            row.push(source);
            self.live.sources.push(source);
            let (name, owner) = (name.clone(), Owner::One(id));
            self.sources.push(Source { stage, name, owner, tenants: vec![id] });
        }
        self.source_of.push(row);
        self.live.tenants.push(id);
        self.drill = Some(id);
        self
    }

    /// The tenant of drills, if there is one.
    #[must_use]
    pub const fn drill(&self) -> Option<TenantId> {
        self.drill
    }

    /// The tenants that exist: all but that of drills.
    pub fn real_tenants(&self) -> impl Iterator<Item = TenantId> + use<'_> {
        self.tenant_ids().filter(|id| self.drill != Some(*id))
    }

    /// All tenants by [`TenantId`], including those that are [gone](Self::is_gone).
    #[must_use]
    pub fn tenants(&self) -> &[Tenant] {
        &self.tenants
    }

    /// All stages by [`StageId`], including those that are not configured any more.
    #[must_use]
    pub fn stages(&self) -> &[Stage] {
        &self.stages
    }

    /// All sources by [`SourceId`], including those that are not read any more.
    #[must_use]
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// The tenant with this id.
    #[must_use]
    pub fn tenant(&self, id: TenantId) -> &Tenant {
        &self.tenants[usize::from(id.0)]
    }

    /// The stage with this id.
    #[must_use]
    pub fn stage(&self, id: StageId) -> &Stage {
        &self.stages[usize::from(id.0)]
    }

    /// The source with this id.
    #[must_use]
    pub fn source(&self, id: SourceId) -> &Source {
        &self.sources[id.0 as usize]
    }

    /// The ids of all tenants that exist: the configured ones, and those of which canaries are still under way.
    pub fn tenant_ids(&self) -> impl Iterator<Item = TenantId> + use<'_> {
        self.live.tenants.iter().copied()
    }

    /// The ids of all configured stages, parents first.
    pub fn stage_ids(&self) -> impl Iterator<Item = StageId> + use<'_> {
        self.live.stages.iter().copied()
    }

    /// The ids of all sources that are read.
    pub fn source_ids(&self) -> impl Iterator<Item = SourceId> + use<'_> {
        self.live.sources.iter().copied()
    }

    /// Whether a tenant is not configured any more, and nothing of it is awaited.
    #[must_use]
    pub fn is_gone(&self, tenant: TenantId) -> bool {
        !self.live.tenants.contains(&tenant)
    }

    /// Whether a stage is configured.
    #[must_use]
    pub fn has_stage(&self, stage: StageId) -> bool {
        self.live.stages.contains(&stage)
    }

    /// Whether a source is read.
    #[must_use]
    pub fn has_source(&self, source: SourceId) -> bool {
        self.live.sources.contains(&source)
    }

    /// The tenants that are not configured any more, and of which canaries are still awaited.
    pub fn leaving(&self) -> impl Iterator<Item = TenantId> + use<'_> {
        self.live.leaving.iter().copied()
    }

    /// The source of a tenant's canaries at a stage.
    #[must_use]
    pub fn source_of(&self, tenant: TenantId, stage: StageId) -> SourceId {
        self.source_of[usize::from(tenant.0)][usize::from(stage.0)]
    }

    /// The stages from injection to the end, in order.
    #[must_use]
    pub fn main_path(&self) -> &[StageId] {
        &self.main_path
    }

    #[must_use]
    pub fn end(&self) -> StageId {
        self.main_path[self.main_path.len() - 1]
    }

    /// The sort key of places in the order of the pipeline, side stages behind the stage that they follow. Ids do not
    /// follow that order: a stage that was added by a reload has the largest one.
    #[must_use]
    pub fn order(&self, place: HopRange) -> impl Ord + use<> {
        let of = |stage: StageId| {
            let mut lineage = std::iter::successors(Some(stage), |stage| self.stage(*stage).parent);
            let on_path =
                lineage.find_map(|stage| self.main_path.iter().position(|on_path| *on_path == stage));
            (on_path, !self.main_path.contains(&stage), stage)
        };
        (of(place.first), of(place.last))
    }

    /// The tenant that a tag names, if it is in this topology, gone or not.
    #[must_use]
    pub fn tenant_of(&self, tag: &Tag) -> Option<TenantId> {
        tag.tenant_among(self.known_tenants(), |id| self.tenant(*id).code)
    }

    /// All tenants, including those that are gone.
    fn known_tenants(&self) -> impl Iterator<Item = TenantId> + use<> {
        (0..).map(TenantId).take(self.tenants.len())
    }

    /// The first tenant with this label.
    #[must_use]
    pub fn tenant_by_label(&self, label: &ForeignText) -> Option<TenantId> {
        self.tenants_by_label(label).next()
    }

    /// The tenants with this label, which are one client.
    pub fn tenants_by_label<'a>(&'a self, label: &'a ForeignText) -> impl Iterator<Item = TenantId> + 'a {
        self.known_tenants().filter(|id| label.is_label(&self.tenant(*id).label))
    }

    /// Whether two tenants are one client, among whose tenants nothing can leak.
    #[must_use]
    pub fn are_one_client(&self, a: TenantId, b: TenantId) -> bool {
        a == b || self.tenant(a).label == self.tenant(b).label
    }

    /// The name of a tenant's log group.
    #[must_use]
    pub fn log_group(&self, tenant: TenantId, group: LogGroupId) -> &Arc<str> {
        &self.tenant(tenant).log_groups[usize::from(group.0)]
    }

    /// The ids of a tenant's log groups.
    pub fn log_group_ids(&self, tenant: TenantId) -> impl Iterator<Item = LogGroupId> + use<> {
        (0..u16::try_from(self.tenant(tenant).log_groups.len()).unwrap_or(u16::MAX)).map(LogGroupId)
    }

    /// The tenant with this name, unless it is gone.
    #[must_use]
    pub fn tenant_by_name(&self, name: &str) -> Option<TenantId> {
        self.tenant_ids().find(|id| &*self.tenant(*id).name == name)
    }
}

/// A hop, or consecutive hops one of which lost a trace: `transit`, or `archive..bigquery`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct HopRange {
    /// The first hop, named by the stage it leads to.
    pub first: StageId,
    /// The last hop; the same as `first` if the hop is known.
    pub last: StageId,
}

impl HopRange {
    #[must_use]
    pub const fn one(hop: StageId) -> Self {
        Self { first: hop, last: hop }
    }

    /// Every hop range of a main path, single hops included.
    pub fn all(main_path: &[StageId]) -> impl Iterator<Item = Self> + '_ {
        main_path
            .iter()
            .enumerate()
            .flat_map(|(i, &first)| main_path[i..].iter().map(move |&last| Self { first, last }))
    }

    /// Displays it with the names of its stages.
    #[must_use]
    pub fn display(self, topology: &Topology) -> impl fmt::Display {
        let first = topology.stage(self.first).name.clone();
        let last = (self.last != self.first).then(|| topology.stage(self.last).name.clone());
        HopRangeName { first, last }
    }
}

struct HopRangeName {
    first: Arc<str>,
    last: Option<Arc<str>>,
}

impl fmt::Display for HopRangeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.last {
            None => f.write_str(&self.first),
            Some(last) => write!(f, "{}..{last}", self.first),
        }
    }
}

#[cfg(test)]
pub(crate) mod fixture {
    //! A small topology for tests: two tenants, `stream` -> { `archive`, `transit` -> `table`, `dead` }; the
    //! last three are shared.

    use super::*;

    pub(crate) const ACME: TenantId = TenantId(0);
    pub(crate) const GLOBEX: TenantId = TenantId(1);
    pub(crate) const STREAM: StageId = StageId(0);
    pub(crate) const ARCHIVE: StageId = StageId(1);
    pub(crate) const TRANSIT: StageId = StageId(2);
    pub(crate) const TABLE: StageId = StageId(3);
    pub(crate) const DEAD: StageId = StageId(4);

    /// The topology of two tenants.
    pub(crate) fn topology() -> Topology {
        map_of(&["acme", "globex"])
    }

    /// The same with a third tenant, which has its own source at every stage.
    pub(crate) fn topology_with(another: &str) -> Topology {
        map_of(&["acme", "globex", another])
    }

    /// The topology of two tenants whose canaries are this far apart.
    pub(crate) fn topology_every(interval: Duration) -> Topology {
        let mut map = topology();
        map.tenants.iter_mut().for_each(|tenant| tenant.interval = interval);
        map
    }

    /// The topology of two tenants, of which the first has this many log groups.
    pub(crate) fn topology_with_log_groups(count: usize) -> Topology {
        let mut map = topology();
        map.tenants[0].log_groups = (1..=count).map(|n| format!("/acme/{n}").into()).collect();
        map
    }

    impl Topology {
        /// Gives tenants one label.
        pub(crate) fn with_one_client(mut self, tenants: &[TenantId], label: &str) -> Self {
            tenants.iter().for_each(|id| self.tenants[usize::from(id.0)].label = label.into());
            self
        }
    }

    fn map_of(tenants: &[&str]) -> Topology {
        let tenant = |name: &&str| Tenant {
            name: (*name).into(),
            code: TenantCode::of(name),
            label: (*name).into(),
            log_groups: vec![format!("/{name}").into()],
            template: Template::default(),
            interval: Duration::from_secs(30),
        };
        let stage = |name: &str, parent, role, target| Stage {
            name: name.into(),
            kind: Kind::S3,
            capabilities: Capabilities::ABSENCE,
            parent,
            role,
            target: Some(Duration::from_secs(target)),
            critical: None,
            missing_after: Duration::from_secs(30),
            clock_allowance: Duration::from_millis(50),
        };
        let own = |stage, tenant| Source {
            stage,
            name: "own".into(),
            owner: Owner::One(tenant),
            tenants: vec![tenant],
        };
        let shared = |stage| Source {
            stage,
            name: format!("shared {}", stage.0).into(),
            owner: Owner::Shared,
            tenants: vec![ACME, GLOBEX],
        };
        let mut sources = vec![
            own(STREAM, ACME),
            own(STREAM, GLOBEX),
            own(ARCHIVE, ACME),
            own(ARCHIVE, GLOBEX),
            shared(TRANSIT),
            shared(TABLE),
            shared(DEAD),
        ];
        for other in (0..).map(TenantId).take(tenants.len()).skip(2) {
            sources.extend([STREAM, ARCHIVE, TRANSIT, TABLE, DEAD].map(|stage| own(stage, other)));
        }
        Topology::new(
            tenants.iter().map(tenant).collect(),
            vec![
                stage("stream", None, Role::Way, 1),
                stage("archive", Some(STREAM), Role::Way, 10),
                stage("transit", Some(STREAM), Role::Way, 10),
                stage("table", Some(TRANSIT), Role::End, 20),
                stage("dead", Some(STREAM), Role::DeadLetter, 10),
            ],
            sources,
        )
        .unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::fixture::*;
    use super::*;

    #[test]
    fn the_main_path_leads_from_injection_to_the_end() {
        assert_eq!(topology().main_path(), [STREAM, TRANSIT, TABLE]);
    }

    #[test]
    fn a_source_has_one_owner_or_is_shared() {
        let map = topology();
        assert_ne!(map.source_of(ACME, STREAM), map.source_of(GLOBEX, STREAM));
        assert_eq!(map.source_of(ACME, TABLE), map.source_of(GLOBEX, TABLE));
    }

    #[test]
    fn a_hop_range_names_one_hop_or_its_ends() {
        let map = topology();
        assert_eq!(HopRange::one(TRANSIT).display(&map).to_string(), "transit");
        assert_eq!(HopRange { first: STREAM, last: TABLE }.display(&map).to_string(), "stream..table");
        assert_eq!(HopRange::all(map.main_path()).count(), 6);
    }

    #[test]
    fn the_tenant_of_drills_has_sources_of_its_own_and_is_not_real() {
        let map = topology().with_drill(Duration::from_secs(30));
        let drill = map.drill().unwrap();
        assert!(map.stage_ids().all(|stage| map.source(map.source_of(drill, stage)).tenants == [drill]));
        assert_eq!(map.real_tenants().collect::<Vec<_>>(), [ACME, GLOBEX]);
        assert_eq!(map.source_of(ACME, TABLE), topology().source_of(ACME, TABLE));
    }

    #[test]
    fn a_topology_without_an_end_is_refused() {
        assert_eq!(Topology::new(vec![], vec![], vec![]).unwrap_err(), TopologyError::EndStages(0));
    }
}
