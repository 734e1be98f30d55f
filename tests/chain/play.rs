//! One pipeline from its start to the end of its fault, and what was told of it.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use traceprobe::commands::rules::settings;
use traceprobe::config::Config;
use traceprobe::rules;
use traceprobe::sandbox::{Fault, Profile, Sandbox, Stage, StageEffect};

use super::expected::{Break, Case, Told};
use super::form::Form;
use super::pulse::Pulse;
use super::server::Prometheus;
use super::sink::{Alert, Notification, Sink};
use super::support::client;
use super::support::daemon::Daemon;
use super::support::stand::variables;
use super::watch::{Sample, Watch};
use super::{now, until};

/// A pipeline, and the probes in front of it.
pub struct Scene {
    pub case: &'static Case,
    /// Path of its rules.
    pub rules: PathBuf,
    settings: rules::Settings,
    sandbox: Sandbox,
    /// Two where one of them is killed.
    daemons: Vec<Daemon>,
}

impl Scene {
    pub async fn set(case: &'static Case, form: Form, folder: &Path) -> Self {
        let profile = match case.breaks {
            Break::Scenario(scenario) => scenario.profile(),
            Break::All | Break::Drill => Profile::Calm,
        };
        let sandbox = form.sandbox(case.tenants, profile).await;
        let mut text = form.configuration(&sandbox, case.interval, case.window);
        let mut keys = Vec::new();
        if case.breaks == Break::Drill {
            text += "[drill]\nenabled = true\n";
        }
        if case.breaks == Break::All && form == Form::Real {
            keys.push(("PROBE_INTERVAL", "30s"));
        }
        let file = folder.join(format!("{}.toml", case.name));
        std::fs::write(&file, &text).expect("cannot write the configuration");
        let config = Config::parse(&text, variables(&keys)).unwrap_or_else(|faults| panic!("{faults}"));
        let settings = settings(&config, case.name, form.scrape());
        let rules = folder.join(format!("{}.rules.yml", case.name));
        std::fs::write(&rules, rules::to_yaml(&settings)).expect("cannot write the rules");
        let instances: &[&str] = if case.told.is_empty() { &["one", "other"] } else { &["one"] };
        let mut daemons = Vec::new();
        for instance in instances {
            let keys = [&keys[..], &[("PROBE_INSTANCE", *instance)]].concat();
            daemons.push(Daemon::start(&file, variables(&keys)).await);
        }
        Self { case, rules, settings, sandbox, daemons }
    }

    /// The example of an Alertmanager configuration.
    pub fn alertmanager_example(&self) -> String {
        rules::to_alertmanager_yaml(&self.settings)
    }

    /// The first probe's, with the scheme.
    pub fn address(&self) -> &str {
        self.daemons[0].address()
    }

    pub fn targets(&self) -> Vec<String> {
        self.daemons.iter().map(|daemon| daemon.address().trim_start_matches("http://").to_owned()).collect()
    }

    async fn begin(&self, form: Form) {
        let fault = match self.case.breaks {
            Break::Scenario(scenario) => form.fault(scenario, &self.sandbox),
            Break::All => Some(Fault::stage(Stage::Transit, StageEffect::Stall)),
            Break::Drill => {
                assert_eq!(self.daemons[0].post("/-/drill", String::new()).await, 202, "no drill begins");
                None
            }
        };
        if let Some(fault) = fault {
            self.sandbox.fault(fault);
        }
    }

    /// Switches all faults off, as a person would.
    async fn end(&self) {
        let url = format!("{}/faults", self.sandbox.endpoints().admin);
        let answer = client::http().delete(url).send().await.expect("the admin listener answers");
        assert!(answer.status().is_success(), "{answer:?}");
    }

    /// Whether an alert may be about this tenant.
    fn concerns(&self, tenant: Option<&str>) -> bool {
        let first = &self.sandbox.tenants()[0].name;
        let drill = self.case.breaks == Break::Drill && tenant == Some("drill");
        drill || self.case.all_tenants || tenant == Some(first)
    }
}

/// What all scenes share.
pub struct Chain<'a> {
    pub form: Form,
    pub sink: &'a Sink,
    pub prometheus: &'a Prometheus,
    pub pulse: &'a Pulse,
    pub began: f64,
}

/// What is said of one scene.
#[derive(Debug, Default)]
pub struct Row {
    name: String,
    pub notification: String,
    pub to_fire: Option<f64>,
    pub to_resolve: Option<f64>,
    /// Everything else that a person saw.
    extra: Vec<String>,
    pub faults: Vec<String>,
}

impl Row {
    pub const HEADING: &str =
        "| scenario | notification | s to fire | s to resolve | extra ones |\n|---|---|---|---|---|";

    pub fn of(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |time: Option<f64>| time.map_or("-".to_owned(), |time| format!("{time:.0}"));
        let extra = if self.extra.is_empty() { "none".to_owned() } else { self.extra.join("; ") };
        let (fire, resolve) = (seconds(self.to_fire), seconds(self.to_resolve));
        write!(f, "| {} | {} | {fire} | {resolve} | {extra} |", self.name, self.notification)
    }
}

impl Chain<'_> {
    /// Plays a scene. Returns a row for each thing that happened in it.
    pub async fn play(&self, scene: Scene) -> Vec<Row> {
        let watches: Vec<Watch> = scene
            .daemons
            .iter()
            .map(|daemon| {
                Watch::start(
                    daemon.address(),
                    self.form.sample() * if scene.case.tenants > 10 { 3 } else { 1 },
                )
            })
            .collect();
        let job = scene.case.name;
        let delivered = format!(
            "min(sum by (tenant, instance) (traceprobe_traces_total{{job=\"{job}\",outcome=\"delivered\"}})) >= 4"
        );
        let well = until(self.form.patience(), async || {
            let found = self.prometheus.query(&delivered).await;
            (!found.is_empty()).then_some(())
        })
        .await;
        if well.is_none() {
            let mut row = Row::of(job);
            row.faults.push(format!("{job}: no canaries are delivered: {}", scene.daemons[0].printed()));
            return vec![row];
        }
        let mut rows = if scene.case.told.is_empty() {
            self.play_healthy(&scene).await
        } else {
            vec![self.play_fault(&scene).await]
        };
        let row = rows.first_mut().expect("it has one");
        for watch in &watches {
            watch.stop();
            let (contradictions, samples) = watch.contradictions();
            let first = contradictions.first().cloned().unwrap_or_default();
            if !contradictions.is_empty() {
                row.faults.push(format!("{job}: {} of {samples} samples: {first}", contradictions.len()));
            }
            if samples < 10 {
                row.faults.push(format!("{job}: only {samples} samples could be compared"));
            }
        }
        row.faults.extend(self.alerts_that_the_page_denies(&scene, &watches[0].samples()).await);
        // Its first alert is lost if Prometheus has not found Alertmanager yet; it is sent again every minute.
        let alive = until(self.form.patience(), async || (self.sink.watchdogs(job) > 0).then_some(())).await;
        if alive.is_none() {
            row.faults.push(format!("{job}: the watchdog is silent"));
        }
        rows.iter().for_each(|row| println!("{row}"));
        for daemon in scene.daemons {
            let _ended = daemon.terminate(Duration::from_secs(60)).await;
        }
        rows
    }

    async fn play_fault(&self, scene: &Scene) -> Row {
        let (case, patience) = (scene.case, self.form.patience());
        let job = case.name;
        let mut row = Row::of(job);
        self.is_quiet_before(&mut row, job);
        scene.begin(self.form).await;
        let begun = now();
        let fits = |told: &Told, note: &Notification, alert: &Alert| {
            note.receiver == told.receiver
                && alert.name == told.alert
                && alert.stage.as_deref() == told.stage
                && scene.concerns(alert.tenant.as_deref())
        };
        let right = |note: &Notification| {
            note.firing.iter().any(|alert| case.told.iter().any(|told| fits(told, note, alert)))
        };
        let found = until(patience, async || self.sink.of(job).into_iter().find(right)).await;
        let Some(found) = found else {
            row.faults.push(format!("{job}: not told {:?}, but {:?}", case.told, self.sink.of(job)));
            scene.end().await;
            return row;
        };
        row.to_fire = Some(found.at - begun);
        row.notification = words(&found);
        // It goes on for a while, in which nothing else may be told.
        tokio::time::sleep(self.form.time(120.0)).await;
        scene.end().await;
        let ended = now();
        if case.breaks == Break::Drill {
            self.is_proven(scene, &mut row).await;
        }
        if self.form == Form::Real && job == "leak" {
            row.notification += " (stays for an hour)";
        } else {
            let resolved = until(patience, async || {
                let told = self.sink.of(job);
                let last = told.iter().rfind(|note| note.receiver == found.receiver)?;
                let firing =
                    format!("ALERTS{{job=\"{job}\",alertstate=\"firing\",severity=~\"critical|warning\"}}");
                let quiet = last.firing.is_empty() && self.prometheus.query(&firing).await.is_empty();
                quiet.then_some(last.at)
            })
            .await;
            match resolved {
                Some(at) => row.to_resolve = Some(at - ended),
                None => row.faults.push(format!("{job}: is not resolved: {:?}", self.sink.of(job))),
            }
        }
        // What is told late is told by now.
        tokio::time::sleep(self.form.time(150.0)).await;
        let told = self.sink.of(job);
        let is_excused = |note: &Notification, alert: &Alert| self.is_excused(note, alert);
        let seen: Vec<&Notification> = told
            .iter()
            .filter(|note| note.firing.iter().any(|alert| note.at == found.at || !is_excused(note, alert)))
            .collect();
        row.extra = seen.iter().filter(|note| note.at != found.at).map(|note| words(note)).collect();
        if seen.len() > case.at_most {
            row.faults.push(format!("{job}: {} notifications: {seen:?}", seen.len()));
        }
        for note in &seen {
            for alert in &note.firing {
                let allowed = [case.told, case.also].concat();
                if !allowed.iter().any(|told| fits(told, note, alert)) && !is_excused(note, alert) {
                    row.faults.push(format!("{job}: {} was told of {alert:?}", note.receiver));
                }
            }
        }
        row
    }

    fn is_quiet_before(&self, row: &mut Row, job: &str) {
        for note in self.sink.of(job) {
            if note.firing.iter().any(|alert| !self.is_excused(&note, alert)) {
                row.faults.push(format!("{job}: told before anything was wrong: {note:?}"));
            }
        }
    }

    /// Whether a busy machine may have caused it within the windows of the rules.
    fn is_excused(&self, note: &Notification, alert: &Alert) -> bool {
        let window = self.form.time(15.0 * 60.0).as_secs_f64();
        self.pulse.explains(&alert.name, note.at - window, note.at)
    }

    /// The page says that the pager was proven to ring.
    async fn is_proven(&self, scene: &Scene, row: &mut Row) {
        let proven = until(self.form.patience(), async || {
            let html = scene.daemons[0].html().await;
            html.contains("The pager was last proven to ring").then_some(())
        })
        .await;
        if proven.is_none() {
            row.faults.push("the page does not say that the drill was proven".to_owned());
        }
    }

    /// Nobody is told of anything while all is well. Then one of two instances is killed, and then the other.
    async fn play_healthy(&self, scene: &Scene) -> Vec<Row> {
        let job = scene.case.name;
        let mut healthy = Row::of(job);
        tokio::time::sleep(self.form.time(450.0)).await;
        self.is_quiet_before(&mut healthy, job);
        let mut rows = vec![healthy];
        let instances = scene.targets();
        for (killed, alert) in [(1, "TraceprobeInstanceDown"), (0, "TraceprobeDown")] {
            let mut row = Row::of(&format!("probe {} of 2 killed", 2 - killed));
            scene.daemons[killed].signal("KILL").await;
            let at = now();
            let found = until(self.form.patience(), async || {
                let is = |note: &Notification| note.firing.iter().any(|one| one.name == alert);
                self.sink.of(job).into_iter().find(is)
            })
            .await;
            let Some(found) = found else {
                row.faults.push(format!("{alert} is not told: {:?}", self.sink.of(job)));
                rows.push(row);
                continue;
            };
            row.to_fire = Some(found.at - at);
            row.notification = words(&found);
            let named = found.firing.iter().find_map(|one| one.instance.as_deref());
            if alert == "TraceprobeInstanceDown" && named != Some(&*instances[killed]) {
                row.faults.push(format!("{alert} names {named:?}, and {} was killed", instances[killed]));
            }
            // As long as it is dead.
            tokio::time::sleep(self.form.time(300.0)).await;
            let query = format!(
                "min_over_time(ALERTS{{job=\"{job}\",alertname=\"{alert}\",alertstate=\"firing\"}}[{}s])",
                self.form.time(200.0).as_secs()
            );
            if self.prometheus.query(&query).await.is_empty() {
                row.faults.push(format!("{alert} does not stay"));
            }
            rows.push(row);
        }
        let down = ["TraceprobeInstanceDown", "TraceprobeDown"];
        let extra = self.sink.of(job).into_iter().filter(|note| {
            note.firing.iter().any(|one| !down.contains(&&*one.name) && !self.is_excused(note, one))
        });
        let extra: Vec<String> = extra.map(|note| words(&note)).collect();
        if let Some(row) = rows.last_mut().filter(|_| !extra.is_empty()) {
            row.faults.push(format!("{job}: also told {extra:?}"));
            row.extra = extra;
        }
        rows
    }

    /// Alerts that fire although the page has not had a problem of that tenant since the alert's window.
    async fn alerts_that_the_page_denies(&self, scene: &Scene, samples: &[Sample]) -> Vec<String> {
        let job = scene.case.name;
        let firing = format!(
            "ALERTS{{job=\"{job}\",alertstate=\"firing\",severity=~\"critical|warning\",cause!~\"probe|watchdog\",\
             tenant!=\"drill\"}}"
        );
        // Window, deadline, and what the alerts are kept for.
        let lag = self.form.time(15.0 * 60.0 + 180.0).as_secs_f64();
        // A warning waits for this long before anybody is told.
        let ahead = self.form.time(120.0).as_secs_f64();
        let mut denied = BTreeSet::new();
        for series in self.prometheus.query_range(&firing, self.began, now()).await {
            let alert = Alert::of(&series.metric);
            let is_critical = series.metric.get("severity").is_some_and(|severity| severity == "critical");
            let is_problem = |sample: &&Sample, at: f64| {
                let near = (at - lag..=at + ahead).contains(&sample.at);
                let of = |tenant: &str| {
                    alert.tenant.as_deref().is_none_or(|own| own == tenant || tenant.is_empty())
                };
                // A warning may count what the page has as a note.
                let is_noted = !is_critical && sample.noted.iter().any(|tenant| of(tenant));
                near && (is_noted || sample.problems.iter().any(|problem| of(&problem.tenant)))
            };
            for (at, _) in series.points() {
                if !samples.iter().any(|sample| is_problem(&sample, at)) {
                    denied.insert(format!("{job}: {alert:?} fires and the page has no problem"));
                }
            }
        }
        denied.into_iter().collect()
    }
}

/// What a notification says, for the table.
fn words(note: &Notification) -> String {
    let names: BTreeSet<String> = note
        .firing
        .iter()
        .map(|alert| {
            let stage = alert.stage.as_ref().map(|stage| format!(" at {stage}")).unwrap_or_default();
            format!("{}{stage}", alert.name)
        })
        .collect();
    let tenants: BTreeSet<&str> = note.firing.iter().filter_map(|alert| alert.tenant.as_deref()).collect();
    let tenants = match tenants.len() {
        0 => String::new(),
        1..=3 => format!(" of {}", tenants.into_iter().collect::<Vec<_>>().join(", ")),
        many => format!(" of {many} tenants"),
    };
    format!("{}: {}{tenants}", note.receiver, names.into_iter().collect::<Vec<_>>().join(", "))
}
