//! What a run will send, to whom, and by what it is judged: a profile together with a configuration.

use std::sync::Arc;
use std::time::Duration;

use super::arrivals::Phase;
use super::figures::is_hop;
use super::profile::{Profile, Shape, Spread};
use super::threshold::{Metric, Part, Threshold};
use crate::domain::topology::{TenantId, Topology};
use crate::keys::fault::{listed, suggestion};

/// A tenant of the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lane {
    pub tenant: TenantId,
    pub name: Arc<str>,
    /// How many log groups it has, which are used in turn.
    pub log_groups: u16,
    /// The smallest event that its template allows, in bytes.
    pub least_bytes: u32,
    /// How many events it gets, in comparison with the others.
    pub weight: u32,
}

/// What a run must not exceed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ceilings {
    /// Events per second, of all tenants together.
    pub rate: f64,
    pub events: u64,
    /// Bytes put into log groups.
    pub bytes: u64,
    pub dollars: f64,
}

/// What a run does.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    pub profile: Profile,
    pub lanes: Vec<Lane>,
    /// With rates of all tenants together.
    pub shape: Shape,
    pub thresholds: Vec<Threshold>,
    /// What differs from the profile, for people.
    pub notes: Vec<String>,
}

impl Plan {
    /// Joins a profile with the tenants of a run.
    ///
    /// # Errors
    ///
    /// Everything that does not fit, by key of the profile.
    pub fn new(
        profile: Profile,
        mut lanes: Vec<Lane>,
        topology: &Topology,
        slo: Duration,
        ceilings: &Ceilings,
    ) -> Result<Self, Vec<String>> {
        let mut faults = Vec::new();
        if let Spread::Together(weights) = &profile.spread {
            lanes.iter_mut().zip(weights.iter().cycle()).for_each(|(lane, weight)| lane.weight = *weight);
        }
        let mut notes = Vec::new();
        let shape = together(&profile, lanes.len());
        let shape = match shape {
            Shape::Search { mut rates, hold, at_least } => {
                let all = rates.rates.len();
                rates.rates.retain(|rate| *rate <= ceilings.rate);
                if rates.rates.is_empty() {
                    faults.push(format!("search.rates: none is at most load.max_rate, {}", ceilings.rate));
                } else if rates.rates.len() < all {
                    notes.push(format!("rates above load.max_rate, {}, are left out", ceilings.rate));
                }
                Shape::Search { rates, hold, at_least }
            }
            phases @ Shape::Phases(_) => phases,
        };
        for lane in &lanes {
            for (size, _) in profile.sizes.iter().filter(|(size, _)| *size < lane.least_bytes) {
                faults.push(format!(
                    "sizes: {size} bytes are too few for the template of tenant {}, which needs {}",
                    lane.name, lane.least_bytes
                ));
            }
        }
        let searches = matches!(shape, Shape::Search { .. });
        for threshold in &profile.thresholds {
            if let Some(known) = unknown_part(threshold, &profile, &lanes, topology) {
                let subject = threshold.subject();
                faults.push(format!("thresholds.{subject}: there is no such part of this run; {known}"));
            }
            if threshold.metric == Metric::Growth && !searches {
                faults.push("thresholds.growth: is measured at one rate only; it needs [search]".to_owned());
            }
        }
        let defaults =
            if profile.default_thresholds { default_thresholds(topology, slo) } else { Vec::new() };
        let is_own = |default: &Threshold| {
            profile.thresholds.iter().any(|own| own.metric == default.metric && own.part == default.part)
        };
        let thresholds: Vec<_> =
            defaults.into_iter().filter(|it| !is_own(it)).chain(profile.thresholds.iter().cloned()).collect();
        if thresholds.is_empty() {
            faults.push(
                "thresholds: there is none, so nothing could fail; write one, or leave defaults out"
                    .to_owned(),
            );
        }
        if faults.is_empty() { Ok(Self { profile, lanes, shape, thresholds, notes }) } else { Err(faults) }
    }

    /// The warm-up: the first rate, for its time.
    #[must_use]
    pub fn warm_up(&self) -> Phase {
        let rate = match &self.shape {
            Shape::Phases(phases) => phases.first().map(|phase| phase.from),
            Shape::Search { rates, .. } => rates.rates.first().copied(),
        };
        Phase::constant(rate.unwrap_or_default(), self.profile.warm_up)
    }

    /// Everything that may be sent, warm-up included. A search sends at most this.
    #[must_use]
    pub fn at_most(&self) -> Vec<Phase> {
        let phases = match &self.shape {
            Shape::Phases(phases) => phases.clone(),
            Shape::Search { rates, hold, .. } => {
                rates.at_most().into_iter().map(|rate| Phase::constant(rate, *hold)).collect()
            }
        };
        [vec![self.warm_up()], phases].concat()
    }

    /// The mean size of an event in bytes.
    #[must_use]
    pub fn mean_size(&self) -> f64 {
        let weights: f64 = self.profile.sizes.iter().map(|(_, weight)| f64::from(*weight)).sum();
        let bytes: f64 =
            self.profile.sizes.iter().map(|(size, weight)| f64::from(*size) * f64::from(*weight)).sum();
        bytes / weights.max(1.0)
    }

    /// What part of the events a lane gets.
    #[must_use]
    pub fn part_of(&self, lane: &Lane) -> f64 {
        let all: f64 = self.lanes.iter().map(|lane| f64::from(lane.weight)).sum();
        f64::from(lane.weight) / all.max(1.0)
    }
}

/// The parts that a run has, if it does not have that of a threshold.
fn unknown_part(
    threshold: &Threshold,
    profile: &Profile,
    lanes: &[Lane],
    topology: &Topology,
) -> Option<String> {
    let (parts, name, known): (_, _, Vec<String>) = match &threshold.part {
        Part::All => return None,
        Part::Hop(name) => {
            let hops = topology.stage_ids().filter(|stage| is_hop(topology, *stage));
            let hops = hops.map(|stage| topology.stage(stage).name.to_string());
            ("hops", name.to_string(), hops.collect())
        }
        Part::Size(size) => {
            let sizes = profile.sizes.iter().map(|(size, _)| format!("{size}B"));
            ("sizes", format!("{size}B"), sizes.collect())
        }
        Part::Tenant(name) => {
            ("tenants", name.to_string(), lanes.iter().map(|lane| lane.name.to_string()).collect())
        }
    };
    if known.contains(&name) {
        return None;
    }
    let known = || known.iter().map(String::as_str);
    Some(format!("its {parts} are {}{}", listed(known()), suggestion(&name, known())))
}

/// The rates of all tenants together.
fn together(profile: &Profile, tenants: usize) -> Shape {
    match profile.spread {
        Spread::Together(_) => profile.shape.clone(),
        Spread::Each => profile.clone().scaled(tenants as f64, 1.0).shape,
    }
}

/// The targets of the pipeline: end to end, of each hop that has one, of losses, and that nothing leaks.
#[must_use]
pub fn default_thresholds(topology: &Topology, slo: Duration) -> Vec<Threshold> {
    let fixed = |subject: &str, expression: &str| {
        Threshold::parse(subject, expression).expect("the default thresholds are valid")
    };
    let mut all = vec![Threshold::latency(Part::All, 95.0, slo)];
    let hop = |stage| Part::Hop(topology.stage(stage).name.clone());
    for stage in topology.stage_ids().filter(|stage| is_hop(topology, *stage)) {
        all.extend(topology.stage(stage).target.map(|target| Threshold::latency(hop(stage), 95.0, target)));
    }
    let path = topology.main_path();
    for (at, stage) in path.iter().enumerate() {
        // The forwarder and the insert into the end stage may lose 1 in 1,000; what lies between, 5.
        let limit = if at == 0 || at + 1 == path.len() { "rate<0.001" } else { "rate<0.005" };
        let mut loss = fixed("loss", limit);
        loss.part = hop(*stage);
        all.push(loss);
    }
    all.extend([fixed("leaks", "count==0"), fixed("reached", "rate>0.99")]);
    all
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::domain::topology::fixture::topology as map;

    pub(crate) const CEILINGS: Ceilings =
        Ceilings { rate: 1_000.0, events: 1 << 40, bytes: 1 << 40, dollars: 1e9 };

    pub(crate) fn lane(at: u16, name: &str) -> Lane {
        Lane { tenant: TenantId(at), name: name.into(), log_groups: 1, least_bytes: 90, weight: 1 }
    }

    fn plan(text: &str) -> Result<Plan, Vec<String>> {
        let lanes = vec![lane(0, "acme"), lane(1, "globex")];
        Plan::new(Profile::parse("own", text).unwrap(), lanes, &map(), Duration::from_secs(30), &CEILINGS)
    }

    const PHASE: &str = "[[phase]]\nrate = 10\nduration = \"1m\"\n";

    #[test]
    fn the_targets_of_the_configuration_are_the_default_thresholds() {
        let thresholds: Vec<_> = plan(PHASE).unwrap().thresholds.iter().map(ToString::to_string).collect();
        assert!(thresholds.contains(&"latency: p(95)<30s".to_owned()), "{thresholds:?}");
        assert!(thresholds.contains(&"leaks: count==0".to_owned()), "{thresholds:?}");
        let losses = thresholds.iter().filter(|it| it.starts_with("loss{hop:")).count();
        assert_eq!(losses, map().main_path().len(), "{thresholds:?}");
    }

    #[test]
    fn a_threshold_of_the_profile_replaces_the_default_of_the_same_part() {
        let text = format!("{PHASE}[thresholds]\nlatency = \"p(99)<10s\"");
        let thresholds = plan(&text).unwrap().thresholds;
        let whole: Vec<_> =
            thresholds.iter().filter(|it| it.metric == Metric::Latency && it.part == Part::All).collect();
        assert_eq!(whole.len(), 1);
        assert_eq!(whole[0].expression(), "p(99)<10s");
    }

    #[test]
    fn what_does_not_fit_is_reported_at_once() {
        let text = format!(
            "sizes = [\"50B\"]\n{PHASE}[thresholds]\n\"latency{{hop:nowhere}}\" = \"max<1s\"\ngrowth = \"value<1\""
        );
        let faults = plan(&text).unwrap_err();
        assert!(faults.iter().any(|it| it.contains("50 bytes are too few")), "{faults:?}");
        assert!(faults.iter().any(|it| it.contains("hop:nowhere")), "{faults:?}");
        assert!(faults.iter().any(|it| it.contains("needs [search]")), "{faults:?}");
    }

    #[test]
    fn a_part_that_does_not_exist_is_told_those_that_do() {
        let fault = |subject: &str| {
            let text =
                format!("sizes = [\"100B\", \"1KB\"]\n{PHASE}[thresholds]\n\"{subject}\" = \"max<1s\"");
            plan(&text).unwrap_err().join("\n")
        };
        let no = "there is no such part of this run";
        assert_eq!(
            fault("latency{tenant:zz}"),
            format!("thresholds.latency{{tenant:zz}}: {no}; its tenants are acme, globex")
        );
        assert_eq!(
            fault("latency{size:2KB}"),
            format!("thresholds.latency{{size:2048B}}: {no}; its sizes are 100B, 1024B")
        );
        let hop = fault("latency{hop:transitt}");
        assert!(hop.contains("its hops are") && hop.ends_with("; did you mean `transit`?"), "{hop}");
        assert!(!fault("latency{hop:nope}").contains("dead"), "canaries do not pass through dead letters");
    }

    #[test]
    fn a_rate_for_each_tenant_is_that_of_all_times_their_number() {
        let plan = plan(&format!("rate_is = \"each\"\n{PHASE}")).unwrap();
        assert_eq!(plan.shape, Shape::Phases(vec![Phase::constant(20.0, Duration::from_secs(60))]));
    }

    #[test]
    fn a_search_ends_at_the_ceiling() {
        let plan = plan("[search]\nrates = [500, 1000, 2000]\nhold = \"1m\"").unwrap();
        let Shape::Search { rates, .. } = &plan.shape else { panic!("{plan:?}") };
        assert_eq!(rates.rates, [500.0, 1_000.0]);
        assert!(plan.notes[0].contains("load.max_rate"));
    }
}
