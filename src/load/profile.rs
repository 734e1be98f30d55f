//! A profile: how many events of which sizes are sent when, and by what a run is judged. A TOML file.
//!
//! Those in `config/load/` are compiled in under their names. All faults of a file are reported at once, by
//! key.

use std::path::Path;
use std::time::Duration;

use toml::{Table, Value};

use super::arrivals::{Phase, Spacing};
use super::search::Rates;
use super::threshold::{Metric, Threshold};
use crate::keys::fault::{Checked, Collector, Fault, Faults, suggestion};
use crate::keys::value::{self, Parsed, quoted};

/// The profiles that are compiled in.
pub const SHIPPED: [(&str, &str); 7] = [
    ("baseline", include_str!("../../config/load/baseline.toml")),
    ("sustained", include_str!("../../config/load/sustained.toml")),
    ("stress", include_str!("../../config/load/stress.toml")),
    ("spike", include_str!("../../config/load/spike.toml")),
    ("large-payload", include_str!("../../config/load/large-payload.toml")),
    ("endurance", include_str!("../../config/load/endurance.toml")),
    ("multi-tenant", include_str!("../../config/load/multi-tenant.toml")),
];

/// More than any log group takes, and small enough for the arithmetic of instants.
const MAX_RATE: f64 = 100_000.0;
/// The longest phase.
const MAX_DURATION: Duration = Duration::from_hours(24 * 7);
const MAX_PHASES: usize = 1_000;
const MAX_WEIGHT: u32 = 1_000;

/// How events are sent, and by what they are judged.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    pub name: String,
    /// One sentence for people.
    pub description: String,
    pub shape: Shape,
    /// How long the load is sent at first without being judged.
    pub warm_up: Duration,
    pub spacing: Spacing,
    pub spread: Spread,
    /// Sizes in bytes with their weights.
    pub sizes: Vec<(u32, u32)>,
    /// Time from the planned injection after which a canary that provably did not arrive is lost; `None` for
    /// that of the configuration.
    pub give_up: Option<Duration>,
    pub thresholds: Vec<Threshold>,
    /// Whether the targets of the configuration are thresholds, too.
    pub default_thresholds: bool,
}

/// How the rate goes on.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// One phase after another.
    Phases(Vec<Phase>),
    /// Rates are tried until one breaks a threshold.
    Search {
        rates: Rates,
        /// How long each rate is held.
        hold: Duration,
        /// The rate that must be good; `None` if finding one is enough.
        at_least: Option<f64>,
    },
}

/// How events are divided among tenants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spread {
    /// The rate is that of all tenants together; weights in the order of the configuration, repeated as
    /// needed.
    Together(Vec<u32>),
    /// Every tenant has the rate.
    Each,
}

const KEYS: [&str; 11] = [
    "description",
    "warm_up",
    "give_up",
    "spacing",
    "rate_is",
    "weights",
    "sizes",
    "size_weights",
    "phase",
    "search",
    "thresholds",
];

impl Profile {
    /// The profile with this name, or the one in the file of this path.
    ///
    /// # Errors
    ///
    /// Every fault of the file, or that there is none.
    pub fn find(name: &str) -> Result<Self, Faults> {
        if let Some((name, text)) = SHIPPED.iter().find(|(shipped, _)| *shipped == name) {
            return Self::parse(name, text);
        }
        let path = Path::new(name);
        match std::fs::read_to_string(path) {
            Ok(text) => {
                let stem = path
                    .file_stem()
                    .map_or_else(|| name.to_owned(), |stem| stem.to_string_lossy().into_owned());
                Self::parse(&stem, &text).map_err(|faults| Faults { file: name.to_owned(), ..faults })
            }
            Err(error) => {
                let names: Vec<_> = SHIPPED.iter().map(|(name, _)| *name).collect();
                let near = suggestion(name, names.iter().copied());
                let message = format!(
                    "is neither one of {} nor the path of a file that can be read ({error}){near}",
                    names.join(", ")
                );
                Err(Faults {
                    file: name.to_owned(),
                    list: vec![Fault { key: "profile".to_owned(), message }],
                })
            }
        }
    }

    /// Reads the text of a profile.
    ///
    /// # Errors
    ///
    /// Every fault.
    pub fn parse(name: &str, text: &str) -> Result<Self, Faults> {
        let mut faults = Collector::default();
        let profile = match text.parse::<Table>() {
            Ok(table) => Read { faults: &mut faults, path: String::new(), table: &table }.profile(name),
            Err(error) => {
                Err(faults.report("profile", format!("is not valid TOML: {}", error.to_string().trim_end())))
            }
        };
        match profile {
            Ok(profile) if faults.is_empty() => Ok(profile),
            _ => Err(Faults { file: name.to_owned(), list: faults.list() }),
        }
    }

    /// The same with other rates and times: for a small environment, or a test. `give_up` stays, because it is the time
    /// that the pipeline takes.
    #[must_use]
    pub fn scaled(self, rates: f64, times: f64) -> Self {
        let time = |duration: Duration| duration.mul_f64(times);
        let shape = match self.shape {
            Shape::Phases(phases) => Shape::Phases(
                phases
                    .into_iter()
                    .map(|it| Phase { from: it.from * rates, to: it.to * rates, duration: time(it.duration) })
                    .collect(),
            ),
            Shape::Search { rates: Rates { rates: all, precision }, hold, at_least } => Shape::Search {
                rates: Rates { rates: all.into_iter().map(|rate| rate * rates).collect(), precision },
                hold: time(hold),
                at_least: at_least.map(|rate| rate * rates),
            },
        };
        let mut thresholds = self.thresholds;
        thresholds.iter_mut().for_each(|it| it.abort_after = it.abort_after.map(time));
        Self { shape, warm_up: time(self.warm_up), thresholds, ..self }
    }
}

/// One table of a profile.
struct Read<'a> {
    faults: &'a mut Collector,
    /// In front of its keys.
    path: String,
    table: &'a Table,
}

impl<'a> Read<'a> {
    fn profile(mut self, name: &str) -> Checked<Profile> {
        self.unknown(&KEYS);
        let description = self.find("description", value::text);
        let warm_up = self.find("warm_up", value::duration_within(Duration::ZERO, MAX_DURATION, ""));
        let give_up = self.find("give_up", value::duration_within(Duration::from_secs(1), MAX_DURATION, ""));
        let spacing =
            self.find("spacing", value::choice(&[("even", Spacing::Even), ("random", Spacing::Random)]));
        let is_each = self.find("rate_is", value::choice(&[("together", false), ("each", true)]));
        let weights = self.find("weights", value::list(value::count(1, MAX_WEIGHT)));
        let sizes = self.sizes();
        let shape = self.shape();
        let (default_thresholds, thresholds) = self.thresholds()?;
        let (is_each, weights) = (is_each?.unwrap_or_default(), weights?);
        if is_each && weights.is_some() {
            return Err(
                self.report("weights", "has no effect with rate_is = \"each\"; leave one of them out")
            );
        }
        let (shape, warm_up) = (shape?, warm_up?.unwrap_or_default());
        let begins_at_none = match &shape {
            Shape::Phases(phases) => phases.first().is_some_and(|phase| phase.from <= 0.0),
            Shape::Search { .. } => false,
        };
        if begins_at_none && !warm_up.is_zero() {
            return Err(self.report(
                "warm_up",
                "would send nothing: it has the rate at which the first phase begins, and that is 0; begin with more, \
                 or leave warm_up out",
            ));
        }
        let spread =
            if is_each { Spread::Each } else { Spread::Together(weights.unwrap_or_else(|| vec![1])) };
        Ok(Profile {
            name: name.to_owned(),
            description: description?.unwrap_or_default(),
            shape,
            warm_up,
            spacing: spacing?.unwrap_or_default(),
            spread,
            sizes: sizes?,
            give_up: give_up?,
            thresholds: thresholds?,
            default_thresholds: default_thresholds?.unwrap_or(true),
        })
    }

    fn sizes(&mut self) -> Checked<Vec<(u32, u32)>> {
        let most = crate::domain::canary::MAX_MESSAGE_BYTES as u64;
        let one = value::size_within(1, most, ", the largest event that CloudWatch Logs accepts");
        let one = |item: &Value| one(item).map(|bytes| u32::try_from(bytes).unwrap_or(u32::MAX));
        let sizes = self.find("sizes", value::list(one))?.unwrap_or_else(|| vec![500]);
        let weights = self.find("size_weights", value::list(value::count(1, MAX_WEIGHT)))?;
        let weights = weights.unwrap_or_else(|| vec![1; sizes.len()]);
        if weights.len() != sizes.len() {
            let message =
                format!("has {} values for {} sizes; write one for each", weights.len(), sizes.len());
            return Err(self.report("size_weights", message));
        }
        Ok(sizes.into_iter().zip(weights).collect())
    }

    fn shape(&mut self) -> Checked<Shape> {
        let (phases, search) = (self.table.get("phase"), self.table.get("search"));
        match (phases, search) {
            (Some(_), Some(_)) => {
                Err(self.report("search", "cannot be beside [[phase]]; leave one of them out"))
            }
            (None, None) => Err(self.report(
                "phase",
                "missing; write at least one [[phase]] with rate and duration, or [search]",
            )),
            (None, Some(search)) => {
                let Some(table) = search.as_table() else {
                    return Err(
                        self.report("search", format!("{} is not a table; write [search]", quoted(search)))
                    );
                };
                self.inner("search", table).search()
            }
            (Some(phases), None) => {
                let tables: Option<Vec<_>> =
                    phases.as_array().and_then(|all| all.iter().map(Value::as_table).collect());
                let tables =
                    tables.filter(|all| !all.is_empty() && all.len() <= MAX_PHASES).ok_or_else(|| {
                        self.report("phase", format!("must be 1 to {MAX_PHASES} tables; write [[phase]]"))
                    })?;
                let read = |(at, table): (usize, &&'a Table)| {
                    self.inner(&format!("phase.{}", at + 1), table).phase()
                };
                let phases: Vec<Checked<Phase>> = tables.iter().enumerate().map(read).collect();
                Ok(Shape::Phases(phases.into_iter().collect::<Checked<_>>()?))
            }
        }
    }

    fn inner<'b>(&'b mut self, name: &str, table: &'b Table) -> Read<'b> {
        Read { faults: self.faults, path: format!("{name}."), table }
    }

    fn phase(mut self) -> Checked<Phase> {
        self.unknown(&["rate", "from", "to", "duration"]);
        let duration = self.get("duration", value::duration_within(Duration::from_secs(1), MAX_DURATION, ""));
        let (from, to) = match (self.find("rate", rate)?, self.find("from", rate)?, self.find("to", rate)?) {
            (Some(rate), None, None) => (rate, rate),
            (None, Some(from), Some(to)) => (from, to),
            (Some(_), ..) => {
                return Err(
                    self.report("rate", "cannot be beside from and to; leave rate or both of them out")
                );
            }
            (None, Some(_), None) => return Err(self.report("to", "is needed beside from, for a ramp")),
            (None, None, Some(_)) => return Err(self.report("from", "is needed beside to, for a ramp")),
            (None, None, None) => {
                return Err(self.report("rate", "is needed; write rate, or from and to for a ramp"));
            }
        };
        Ok(Phase { from, to, duration: duration? })
    }

    fn search(mut self) -> Checked<Shape> {
        self.unknown(&["rates", "hold", "precision", "at_least"]);
        let rates = self.get("rates", value::list(rate));
        let hold = self.get("hold", value::duration_within(Duration::from_secs(1), MAX_DURATION, ""));
        let precision = self.find("precision", ratio)?.unwrap_or(0.1);
        let at_least = self.find("at_least", rate)?;
        let rates = rates?;
        if rates.windows(2).any(|pair| pair[0] >= pair[1]) || rates.first().is_some_and(|rate| *rate <= 0.0) {
            return Err(self.report("rates", "must ascend from more than 0"));
        }
        if let (Some(least), Some(highest)) = (at_least, rates.last())
            && least > *highest
        {
            let message = format!(
                "{least} is above {highest}, the highest of rates, so it is never tried; add a rate, or set at_least \
                 lower"
            );
            return Err(self.report("at_least", message));
        }
        Ok(Shape::Search { rates: Rates { rates, precision }, hold: hold?, at_least })
    }

    #[expect(clippy::type_complexity, reason = "two values, each of which may have been reported")]
    fn thresholds(&mut self) -> Checked<(Checked<Option<bool>>, Checked<Vec<Threshold>>)> {
        let Some(given) = self.table.get("thresholds") else { return Ok((Ok(None), Ok(Vec::new()))) };
        let Some(table) = given.as_table() else {
            return Err(
                self.report("thresholds", format!("{} is not a table; write [thresholds]", quoted(given)))
            );
        };
        let mut read = self.inner("thresholds", table);
        let defaults = read.find("defaults", value::boolean);
        let mut all = Vec::new();
        for subject in table.keys().filter(|name| *name != "defaults") {
            let parse = |given: &Value| threshold(subject, given);
            let several = |given: &Value| match given {
                Value::Array(_) => value::list(parse)(given),
                one => parse(one).map(|one| vec![one]),
            };
            all.push(read.find(subject, several).map(Option::unwrap_or_default));
        }
        let all: Checked<Vec<Vec<_>>> = all.into_iter().collect();
        Ok((defaults, all.map(|all| all.concat())))
    }

    fn report(&mut self, key: &str, message: impl Into<String>) -> crate::keys::fault::Reported {
        self.faults.report(format!("{}{key}", self.path), message)
    }

    fn unknown(&mut self, known: &[&str]) {
        for name in self.table.keys().filter(|name| !known.contains(&name.as_str())) {
            let near = suggestion(name, known.iter().copied());
            self.report(name, format!("unknown key{near}"));
        }
    }

    fn find<T>(&mut self, key: &str, parse: impl Fn(&Value) -> Parsed<T>) -> Checked<Option<T>> {
        let Some(given) = self.table.get(key) else { return Ok(None) };
        parse(given).map(Some).map_err(|message| self.report(key, message))
    }

    fn get<T>(&mut self, key: &str, parse: impl Fn(&Value) -> Parsed<T>) -> Checked<T> {
        self.find(key, parse)?.ok_or_else(|| self.report(key, "missing; set it here"))
    }
}

/// Reads a threshold: its expression, or a table that also says whether it ends the run.
fn threshold(subject: &str, given: &Value) -> Parsed<Threshold> {
    let Some(table) = given.as_table() else {
        return Threshold::parse(subject, &value::text(given)?);
    };
    let known = ["threshold", "abort_on_fail", "delay"];
    if let Some(unknown) = table.keys().find(|name| !known.contains(&name.as_str())) {
        let near = suggestion(unknown, known);
        return Err(format!("has the unknown key `{unknown}`{near}"));
    }
    let expression =
        table.get("threshold").ok_or("has no `threshold`; write { threshold = \"p(95)<30s\" }")?;
    let mut threshold = Threshold::parse(subject, &value::text(expression)?)?;
    let abort = table.get("abort_on_fail").map(value::boolean).transpose()?.unwrap_or_default();
    let delay = table.get("delay").map(value::duration).transpose()?.unwrap_or_default();
    if abort && threshold.metric == Metric::Growth {
        return Err("cannot have abort_on_fail: growth is known when a trial is over, and no higher rate is tried after \
                    one that breaks it; leave abort_on_fail out"
            .to_owned());
    }
    threshold.abort_after = abort.then_some(delay);
    Ok(threshold)
}

/// Reads events per second.
fn rate(value: &Value) -> Parsed<f64> {
    let number = value.as_float().or_else(|| value.as_integer().map(|whole| whole as f64));
    number.filter(|rate| (0.0..=MAX_RATE).contains(rate)).ok_or_else(|| {
        format!(
            "{} is not a valid rate; write events per second, 0 to {MAX_RATE}, without quotes",
            quoted(value)
        )
    })
}

fn ratio(value: &Value) -> Parsed<f64> {
    let number = value.as_float().filter(|ratio| (0.01..=1.0).contains(ratio));
    number
        .ok_or_else(|| format!("{} is not a valid precision; write 0.01 to 1.0, such as 0.1", quoted(value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> Vec<String> {
        let faults = Profile::parse("own", text).unwrap_err();
        faults.list.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_shipped_profile_is_valid_and_says_what_it_is_for() {
        for (name, text) in SHIPPED {
            let profile = Profile::parse(name, text).unwrap_or_else(|faults| panic!("{faults}"));
            assert!(!profile.description.is_empty(), "{name}");
        }
    }

    #[test]
    fn the_shipped_profiles_have_the_rates_and_sizes_of_the_targets() {
        let profile = |name| Profile::find(name).unwrap();
        let rate = |name| match profile(name).shape {
            Shape::Phases(phases) => phases.iter().map(Phase::peak).fold(0.0, f64::max),
            Shape::Search { rates, .. } => rates.rates.iter().copied().fold(0.0, f64::max),
        };
        assert_eq!(["baseline", "sustained"].map(rate), [10.0, 100.0]);
        assert!(rate("stress") >= 2_000.0);
        let sizes = |name| profile(name).sizes.into_iter().map(|(size, _)| size).collect::<Vec<_>>();
        assert_eq!(sizes("baseline"), [100, 500]);
        assert_eq!(sizes("large-payload"), [5_120, 10_240]);
    }

    #[test]
    fn a_ramp_and_a_threshold_that_ends_the_run() {
        let text = r#"
            sizes = ["100B", "1KB"]
            size_weights = [3, 1]
            spacing = "random"
            [[phase]]
            from = 1
            to = 20.5
            duration = "1m"
            [thresholds]
            "latency{hop:archive}" = ["p(95)<500ms", { threshold = "max<1m", abort_on_fail = true, delay = "10s" }]
            loss = "rate<0.001"
        "#;
        let profile = Profile::parse("own", text).unwrap();
        let phase = Phase { from: 1.0, to: 20.5, duration: Duration::from_secs(60) };
        assert_eq!(profile.shape, Shape::Phases(vec![phase]));
        assert_eq!(profile.sizes, [(100, 3), (1_024, 1)]);
        let aborts: Vec<_> = profile.thresholds.iter().map(|it| (it.to_string(), it.abort_after)).collect();
        let ten = Some(Duration::from_secs(10));
        assert!(aborts.contains(&("latency{hop:archive}: max<1m".to_owned(), ten)), "{aborts:?}");
        assert_eq!(aborts.len(), 3);
    }

    #[test]
    fn every_fault_is_reported_at_once_by_its_key() {
        let text = r#"
            warmup = "3s"
            sizes = ["100"]
            [[phase]]
            rate = "10/s"
            duration = "10"
            [thresholds]
            latency = ["p(95)<30"]
        "#;
        let faults = faults(text);
        for expected in [
            "warmup: unknown key; did you mean `warm_up`?",
            "sizes: \"100\" has no unit",
            "phase.1.rate: \"10/s\" is not a valid rate",
            "phase.1.duration: \"10\" has no unit",
            "thresholds.latency: \"30\" has no unit",
        ] {
            assert!(faults.iter().any(|fault| fault.starts_with(expected)), "{expected}: {faults:#?}");
        }
    }

    #[test]
    fn a_profile_without_a_rate_says_what_to_write() {
        assert!(faults("")[0].contains("write at least one [[phase]]"));
        assert!(faults("[search]\nrates = [5, 3]\nhold = \"1m\"")[0].contains("search.rates: must ascend"));
    }

    #[test]
    fn a_phase_has_a_rate_or_a_ramp() {
        let fault = |rates: &str| faults(&format!("[[phase]]\nduration = \"1m\"\n{rates}")).join("\n");
        let both = "phase.1.rate: cannot be beside from and to; leave rate or both of them out";
        assert_eq!(fault("rate = 1\nfrom = 1\nto = 2"), both);
        assert_eq!(fault("rate = 1\nto = 2"), both);
        assert_eq!(fault("from = 1"), "phase.1.to: is needed beside from, for a ramp");
        assert_eq!(fault("to = 1"), "phase.1.from: is needed beside to, for a ramp");
        assert!(fault("").starts_with("phase.1.rate: is needed; write rate, or from and to"));
    }

    #[test]
    fn settings_that_cannot_work_are_faults() {
        assert_eq!(
            faults("[search]\nrates = [5, 10]\nhold = \"1m\"\nat_least = 20"),
            [
                "search.at_least: 20 is above 10, the highest of rates, so it is never tried; add a rate, or set at_least \
              lower"
            ]
        );
        let growth = "[thresholds]\ngrowth = { threshold = \"value<0.1\", abort_on_fail = true }";
        let fault = faults(&format!("[search]\nrates = [5, 10]\nhold = \"1m\"\n{growth}")).join("\n");
        assert!(fault.starts_with("thresholds.growth: cannot have abort_on_fail: "), "{fault}");
        let ramp = "[[phase]]\nfrom = 0\nto = 10\nduration = \"1m\"";
        let fault = faults(&format!("warm_up = \"10s\"\n{ramp}")).join("\n");
        assert!(fault.starts_with("warm_up: would send nothing: "), "{fault}");
        assert!(Profile::parse("own", ramp).is_ok());
    }

    #[test]
    fn every_time_is_scaled_but_that_of_the_pipeline() {
        let text = r#"
            warm_up = "10s"
            give_up = "1m"
            [[phase]]
            rate = 10
            duration = "2m"
            [thresholds]
            loss = { threshold = "rate<0.05", abort_on_fail = true, delay = "20s" }
        "#;
        let profile = Profile::parse("own", text).unwrap().scaled(1.0, 0.5);
        let [five, ten, minute] = [5, 10, 60].map(Duration::from_secs);
        assert_eq!(profile.shape, Shape::Phases(vec![Phase::constant(10.0, minute)]));
        assert_eq!((profile.warm_up, profile.give_up), (five, Some(minute)));
        assert_eq!(profile.thresholds[0].abort_after, Some(ten));
    }

    #[test]
    fn a_name_that_is_none_is_told_the_nearest() {
        let fault = Profile::find("basline").unwrap_err().to_string();
        assert!(fault.contains("did you mean `baseline`?"), "{fault}");
    }
}
