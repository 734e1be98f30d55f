//! What a run will send, to whom, and by what it is judged: a profile together with a configuration.

use std::sync::Arc;
use std::time::Duration;

use super::arrivals::Phase;
use super::estimate::short;
use super::figures::is_hop;
use super::profile::{Profile, Shape, Spread};
use super::threshold::{Metric, Part, Threshold, cannot_show};
use crate::domain::topology::{StageId, TenantId, Topology};
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
                if let (Some(least), Some(highest)) = (at_least, rates.rates.last())
                    && least > *highest
                {
                    faults.push(format!(
                        "search.at_least: {least} is above {highest}, the highest of search.rates that load.max_rate, \
                         {}, leaves; set load.max_rate higher, or at_least lower",
                        ceilings.rate
                    ));
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
        // Whoever allows a hop more allows it of the whole, too.
        let is_of_hops = |own: &Threshold| own.metric == Metric::Loss && matches!(own.part, Part::Hop(_));
        let allows_hops = profile.thresholds.iter().any(is_of_hops);
        let is_own = |default: &Threshold| {
            let is_of_all = default.metric == Metric::Loss && default.part == Part::All;
            let mut own = profile.thresholds.iter();
            own.any(|own| own.metric == default.metric && own.part == default.part)
                || is_of_all && allows_hops
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
        self.mean_of(|size| size)
    }

    /// The mean of something that follows from the size of an event in bytes.
    #[must_use]
    pub fn mean_of(&self, of_size: impl Fn(f64) -> f64) -> f64 {
        let sizes = || self.profile.sizes.iter().map(|(size, weight)| (f64::from(*size), f64::from(*weight)));
        let weights: f64 = sizes().map(|(_, weight)| weight).sum();
        let all: f64 = sizes().map(|(size, weight)| of_size(size) * weight).sum();
        all / weights.max(1.0)
    }

    /// What a run of this size cannot show, although it keeps a threshold: of a search, its first trial.
    #[must_use]
    pub fn cannot_show(&self) -> Vec<String> {
        let (events, place) = match &self.shape {
            Shape::Phases(phases) => (phases.iter().map(Phase::events).sum::<f64>(), String::new()),
            Shape::Search { rates, hold, .. } => {
                let rate = rates.rates.first().copied().unwrap_or_default();
                (rate * hold.as_secs_f64(), format!("at {} events a second, ", short(rate)))
            }
        };
        let canaries = |threshold: &Threshold| {
            let part = match &threshold.part {
                Part::All | Part::Hop(_) => 1.0,
                Part::Size(bytes) => self.mean_of(|size| if size == f64::from(*bytes) { 1.0 } else { 0.0 }),
                Part::Tenant(name) => {
                    self.lanes.iter().find(|lane| lane.name == *name).map_or(0.0, |lane| self.part_of(lane))
                }
            };
            (events * part).round() as u64
        };
        let all = cannot_show(self.thresholds.iter().map(|threshold| (threshold, canaries(threshold))));
        all.into_iter().map(|text| format!("{place}{text}")).collect()
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

/// The targets of the pipeline: end to end, of each hop that has one, of losses, and that nothing leaks or is damaged.
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
    // The forwarder and the insert into the end stage may lose 1 in 1,000; what lies between and beside, 5.
    let limit = |stage: StageId| -> u32 {
        if topology.stage(stage).parent.is_none() || stage == topology.end() { 1 } else { 5 }
    };
    let loss = |part: Part, of_thousand: u32| {
        let mut loss = fixed("loss", &format!("rate<{}", f64::from(of_thousand) / 1e3));
        loss.part = part;
        loss
    };
    // A loss of which it is not known on which hop it was breaks none of theirs.
    all.push(loss(Part::All, topology.main_path().iter().map(|stage| limit(*stage)).sum()));
    let hops = topology.stage_ids().filter(|stage| is_hop(topology, *stage));
    all.extend(hops.map(|stage| loss(hop(stage), limit(stage))));
    all.extend([fixed("leaks", "count==0"), fixed("corrupted", "count==0"), fixed("reached", "rate>0.99")]);
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
        for harm in ["leaks: count==0", "corrupted: count==0"] {
            assert!(thresholds.contains(&harm.to_owned()), "{thresholds:?}");
        }
        let losses: Vec<_> = thresholds.iter().filter(|it| it.starts_with("loss")).collect();
        let expected = [
            "loss: rate<0.007",
            "loss{hop:stream}: rate<0.001",
            "loss{hop:archive}: rate<0.005",
            "loss{hop:transit}: rate<0.005",
            "loss{hop:table}: rate<0.001",
        ];
        assert_eq!(losses, expected, "side stages too, and no dead letters");
    }

    #[test]
    fn a_rate_that_must_be_good_and_is_never_tried_is_a_fault() {
        let fault =
            |search: &str| plan(&format!("[search]\nhold = \"1m\"\n{search}")).unwrap_err().join("\n");
        assert_eq!(
            fault("rates = [500, 1000, 2000]\nat_least = 1500"),
            "search.at_least: 1500 is above 1000, the highest of search.rates that load.max_rate, 1000, leaves; set \
             load.max_rate higher, or at_least lower"
        );
        assert!(plan("[search]\nhold = \"1m\"\nrates = [500, 1000, 2000]\nat_least = 1000").is_ok());
    }

    #[test]
    fn what_a_run_is_too_small_to_show_is_known_before() {
        let told = |text: &str| plan(text).unwrap().cannot_show();
        assert_eq!(told("[[phase]]\nrate = 100\nduration = \"1m\""), Vec::<String>::new());
        let few = told("[[phase]]\nrate = 10\nduration = \"30s\"");
        let expected =
            "300 canaries cannot show a loss below 1.3 %; a longer run is needed for loss: rate<0.007, ";
        assert!(few[0].starts_with(expected) && few.len() == 1, "{few:?}");
        let text = "sizes = [\"100B\", \"1KB\"]\nsize_weights = [9, 1]\n[[phase]]\nrate = 10\nduration = \"1m\"\n\
                    [thresholds]\ndefaults = false\n\"latency{size:1KB}\" = \"p(99)<1s\"\n\
                    \"loss{tenant:acme}\" = \"rate<0.01\"";
        let expected = [
            "60 canaries cannot show P99, which needs 100; a longer run is needed for latency{size:1024B}: p(99)<1s",
            "300 canaries cannot show a loss below 1.3 %; a longer run is needed for loss{tenant:acme}: rate<0.01",
        ];
        assert_eq!(told(text), expected);
        let search = told("[search]\nrates = [5, 500]\nhold = \"1m\"");
        assert!(search[0].starts_with("at 5 events a second, 300 canaries cannot show"), "{search:?}");
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
