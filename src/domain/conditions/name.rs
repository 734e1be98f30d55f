//! The names of conditions, with what is the same for every condition of a name.

use super::severity::{Blame, Severity};
use crate::domain::topology::{Capabilities, HopRange, Role, StageId, TenantId, Topology};

/// Something that can be wrong. Faults of the pipeline come first, and in each group the worst: this is the
/// order of conditions of the same severity and blame.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ConditionName {
    /// A canary was found with another tenant.
    Leaking,
    /// Nothing of any tenant arrives.
    TotalStall,
    /// Nothing passes a hop of the main path.
    Stuck,
    /// Canaries were lost or dead-lettered.
    Losing,
    /// A stage was read past the time by which canaries should have arrived, without them.
    Missing,
    /// Canaries were cut or changed.
    Corruption,
    /// The judged quantile end to end is over the threshold.
    Slow,
    /// The judged quantile of a hop is over its target.
    HopOverTarget,
    /// Canaries were stored twice.
    Duplicates,
    /// A dead-letter queue holds messages.
    DeadLettersWaiting,
    /// A table has other columns than expected.
    SchemaDrift,
    /// CloudWatch Logs takes no canaries.
    NotInjecting,
    /// A stage cannot be read.
    CannotSee,
    /// A source has never shown a canary of this tenant.
    NeverSeen,
    /// CloudWatch Logs takes canaries late.
    LateInjection,
    /// A stage of the main path does not show canaries that later ones show.
    Skipped,
    /// Another process sends canaries under this instance's name.
    SameName,
    /// Traces are kept in memory only although a store is configured.
    StoreDegraded,
    /// A budget of the configuration holds polls back.
    OverBudget,
    /// The configuration that was read last is not in force.
    ReloadFailed,
    /// The probe's own clock is not synchronized.
    ClockUnsynchronized,
}

/// What a condition belongs to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Subject {
    /// The tenant; `None` for a stage of all tenants, and for the probe.
    pub tenant: Option<TenantId>,
    /// The stage, hop or hop range; `None` for a tenant as a whole, and for the probe.
    pub place: Option<HopRange>,
}

impl Subject {
    pub const PROBE: Self = Self { tenant: None, place: None };

    /// A tenant as a whole.
    #[must_use]
    pub const fn tenant(tenant: TenantId) -> Self {
        Self { tenant: Some(tenant), place: None }
    }

    /// A stage, of one tenant.
    #[must_use]
    pub const fn at(tenant: TenantId, stage: StageId) -> Self {
        Self { tenant: Some(tenant), place: Some(HopRange::one(stage)) }
    }
}

/// What is the same for every condition of a name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Profile {
    /// The name in JSON, metrics and configuration.
    pub key: &'static str,
    /// The name on the page.
    pub word: &'static str,
    /// Comes between word and place: `STUCK at transit`, but `CANNOT SEE bigquery`.
    pub preposition: &'static str,
    /// How bad it is as a problem.
    pub severity: Severity,
    /// How bad it is at a stage beside the main path.
    pub severity_beside: Severity,
    /// Whose fault it is.
    pub blame: Blame,
    /// The anchor of its chapter in the runbook.
    pub chapter: &'static str,
}

impl ConditionName {
    /// All names, in order.
    pub const ALL: [Self; 21] = [
        Self::Leaking,
        Self::TotalStall,
        Self::Stuck,
        Self::Losing,
        Self::Missing,
        Self::Corruption,
        Self::Slow,
        Self::HopOverTarget,
        Self::Duplicates,
        Self::DeadLettersWaiting,
        Self::SchemaDrift,
        Self::NotInjecting,
        Self::CannotSee,
        Self::NeverSeen,
        Self::LateInjection,
        Self::Skipped,
        Self::SameName,
        Self::StoreDegraded,
        Self::OverBudget,
        Self::ReloadFailed,
        Self::ClockUnsynchronized,
    ];

    /// The name in JSON, metrics and configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.profile().key
    }

    /// What is the same for every condition of this name.
    #[must_use]
    pub const fn profile(self) -> Profile {
        use Blame::{Pipeline, Probe};
        use Severity::{Critical, Warning};

        const fn row(
            key: &'static str,
            word: &'static str,
            severity: Severity,
            blame: Blame,
            chapter: &'static str,
        ) -> Profile {
            Profile { key, word, preposition: "at ", severity, severity_beside: severity, blame, chapter }
        }

        match self {
            Self::Leaking => row("leaking", "LEAKING", Critical, Pipeline, "leaking"),
            Self::TotalStall => row("total_stall", "TOTAL STALL", Critical, Pipeline, "total-stall"),
            Self::Stuck => row("stuck", "STUCK", Critical, Pipeline, "stuck"),
            Self::Losing => row("losing", "LOSING", Critical, Pipeline, "losing"),
            Self::Missing => row("missing", "MISSING", Warning, Pipeline, "missing"),
            Self::Corruption => row("corruption", "CORRUPTION", Warning, Pipeline, "corruption"),
            Self::Slow => row("slow", "SLOW", Warning, Pipeline, "slow"),
            Self::HopOverTarget => {
                row("hop_over_target", "OVER TARGET", Warning, Pipeline, "hop-over-target")
            }
            Self::Duplicates => row("duplicates", "DUPLICATES", Warning, Pipeline, "duplicates"),
            Self::DeadLettersWaiting => {
                row("dead_letters_waiting", "DEAD LETTERS", Warning, Pipeline, "dead-letters-waiting")
            }
            Self::SchemaDrift => row("schema_drift", "SCHEMA DRIFT", Warning, Pipeline, "schema-drift"),
            Self::NotInjecting => row("not_injecting", "NOT INJECTING", Critical, Probe, "not-injecting"),
            Self::CannotSee => Profile {
                preposition: "",
                severity_beside: Warning,
                ..row("cannot_see", "CANNOT SEE", Critical, Probe, "cannot-see")
            },
            Self::NeverSeen => Profile {
                severity_beside: Warning,
                ..row("never_seen", "NEVER SEEN", Critical, Probe, "never-seen")
            },
            Self::LateInjection => row("late_injection", "LATE INJECTION", Warning, Probe, "late-injection"),
            Self::Skipped => row("skipped", "SKIPPED", Warning, Probe, "skipped"),
            Self::SameName => row("same_name", "SAME NAME", Warning, Probe, "same-name"),
            Self::StoreDegraded => row("store_degraded", "STORE DEGRADED", Warning, Probe, "store-degraded"),
            Self::OverBudget => row("over_budget", "OVER BUDGET", Warning, Probe, "budget-exceeded"),
            Self::ReloadFailed => row("reload_failed", "RELOAD FAILED", Warning, Probe, "reload-failed"),
            Self::ClockUnsynchronized => row(
                "clock_unsynchronized",
                "CLOCK NOT SYNCHRONIZED",
                Warning,
                Probe,
                "clock-not-synchronized",
            ),
        }
    }

    /// Whether a tenant has at most one condition of this name, whose place is that which is most to blame
    /// and may change.
    #[must_use]
    pub const fn has_one_place(self) -> bool {
        matches!(self, Self::TotalStall | Self::Stuck | Self::Losing | Self::Slow)
    }

    /// How bad a problem of this name is at a place.
    #[must_use]
    pub fn severity(self, map: &Topology, place: Option<HopRange>) -> Severity {
        let profile = self.profile();
        match place {
            Some(place) if !map.main_path().contains(&place.first) => profile.severity_beside,
            Some(_) | None => profile.severity,
        }
    }

    /// Everything in a topology that a condition of this name can belong to.
    #[must_use]
    pub fn subjects(self, map: &Topology) -> Vec<Subject> {
        let dead = |stage: &StageId| map.stage(*stage).role == Role::DeadLetter;
        let all = || map.stage_ids().map(HopRange::one);
        let passed = || map.stage_ids().filter(|stage| !dead(stage)).map(HopRange::one);
        let path = map.main_path();
        let places: Vec<Option<HopRange>> = match self {
            Self::Leaking | Self::Corruption | Self::Duplicates | Self::CannotSee => {
                all().map(Some).collect()
            }
            Self::TotalStall => {
                let of = |hop: &StageId| Subject { tenant: None, place: Some(HopRange::one(*hop)) };
                return path.iter().map(of).collect();
            }
            Self::Stuck => path.iter().map(|hop| Some(HopRange::one(*hop))).collect(),
            Self::Losing => {
                let letters = map.stage_ids().filter(dead).map(HopRange::one);
                HopRange::all(path).chain(letters).map(Some).collect()
            }
            Self::Missing | Self::NeverSeen => passed().map(Some).collect(),
            Self::Slow => path.iter().map(|hop| Some(HopRange::one(*hop))).chain([None]).collect(),
            Self::HopOverTarget => {
                let has_target = |hop: &HopRange| map.stage(hop.first).target.is_some();
                passed().filter(has_target).map(Some).collect()
            }
            Self::Skipped => {
                let before_the_end = &path[..path.len().saturating_sub(1)];
                before_the_end.iter().map(|hop| Some(HopRange::one(*hop))).collect()
            }
            Self::NotInjecting | Self::LateInjection => vec![None],
            Self::SchemaDrift => return subjects_of_sources(map, |kind| kind.schema),
            Self::DeadLettersWaiting => return subjects_of_sources(map, |kind| kind.queue),
            Self::SameName
            | Self::StoreDegraded
            | Self::OverBudget
            | Self::ReloadFailed
            | Self::ClockUnsynchronized => return vec![Subject::PROBE],
        };
        let of = |tenant| places.iter().map(move |place| Subject { tenant: Some(tenant), place: *place });
        map.tenant_ids().flat_map(of).collect()
    }
}

/// The sources of some kinds: a stage, and the tenant if the source is one tenant's.
fn subjects_of_sources(map: &Topology, is_such: impl Fn(Capabilities) -> bool) -> Vec<Subject> {
    let tables = map
        .source_ids()
        .map(|id| map.source(id))
        .filter(|source| is_such(map.stage(source.stage).capabilities));
    let subject = |source: &crate::domain::topology::Source| Subject {
        tenant: source.owner.tenant(),
        place: Some(HopRange::one(source.stage)),
    };
    let mut subjects: Vec<_> = tables.map(subject).collect();
    subjects.sort_unstable();
    subjects.dedup();
    subjects
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_name_is_listed_once_and_in_order() {
        assert!(ConditionName::ALL.is_sorted_by(|a, b| a < b));
        let keys: BTreeSet<_> = ConditionName::ALL.iter().map(|name| name.as_str()).collect();
        assert_eq!(keys.len(), ConditionName::ALL.len());
    }

    #[test]
    fn faults_of_the_pipeline_come_before_those_of_the_probe() {
        assert!(ConditionName::ALL.is_sorted_by_key(|name| name.profile().blame));
    }
}
