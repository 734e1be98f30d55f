//! One daemon for each shipped configuration of a recipe, in front of the pipeline that the recipe describes.
//!
//! `recipes.py` plays the pipelines. Only what belongs to this machine is overridden: addresses, the port, the
//! name of the instance, and where tokens of Google come from. All times are those of the files, so a canary may take a
//! minute and a half. Nearly all of it is waiting, so this test runs beside the others, without their lock.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::future::join_all;
use serde::Deserialize;

use crate::support::daemon::Daemon;
use crate::support::metrics::Metrics;
use crate::support::page::{Recent, Trace};
use crate::support::pipeline::Driver;
use crate::variables;

/// A canary a minute, and polls at half a minute: 75 s on a quiet machine.
const THROUGH_WITHIN: Duration = Duration::from_secs(240);

#[tokio::test(flavor = "multi_thread")]
async fn the_shipped_configuration_of_every_recipe_sees_its_pipeline() {
    let (_driver, about): (Driver, About) = Driver::start("recipes.py", "recipes", &[]).await;
    let recipes: Vec<_> = files().into_iter().map(Recipe::of).collect();
    let played: BTreeSet<_> = about.recipes.iter().map(String::as_str).collect();
    assert_eq!(recipes.iter().map(|recipe| &*recipe.name).collect::<BTreeSet<_>>(), played);

    let told = join_all(recipes.iter().map(|recipe| recipe.run(&about))).await;
    let faults: Vec<_> = recipes.iter().zip(&told).flat_map(|(recipe, told)| recipe.faults(told)).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/recipes");
    let files = std::fs::read_dir(folder).expect("there are recipes");
    files.map(|entry| entry.expect("it can be read").path()).collect()
}

/// The line that the driver prints when it is ready.
#[derive(Debug, Deserialize)]
struct About {
    aws_endpoint: String,
    /// With `/bigquery/v2`.
    bigquery_endpoint: String,
    gcs_endpoint: String,
    /// A file that leads to a token service on this machine.
    google_credentials: String,
    credentials: HashMap<String, String>,
    /// The recipes that it plays.
    recipes: Vec<String>,
}

struct Recipe {
    file: PathBuf,
    name: String,
    config: toml::Table,
}

/// What a daemon says in the end.
struct Told {
    recent: Recent,
    metrics: Metrics,
}

impl Recipe {
    fn of(file: PathBuf) -> Recipe {
        let name = file.file_stem().and_then(|name| name.to_str()).expect("it has a name").to_owned();
        let text = std::fs::read_to_string(&file).expect("it can be read");
        Recipe { file, name, config: text.parse().expect("it is TOML") }
    }

    fn tables(&self, key: &str) -> impl Iterator<Item = &toml::Value> {
        self.config.get(key).and_then(toml::Value::as_array).into_iter().flatten()
    }

    /// The stages through which every canary goes, or where it is given up.
    fn stages(&self, dead_letters: bool) -> impl Iterator<Item = &str> {
        let has_role = |stage: &toml::Value| stage.get("role").is_some();
        let stages = self.tables("stage").filter(move |stage| has_role(stage) == dead_letters);
        stages.filter_map(|stage| stage.get("name")?.as_str())
    }

    /// Where the first canary is given up and found.
    fn gives_up_at(&self) -> Vec<&str> {
        self.stages(true).filter(|stage| *stage != MEASURED).collect()
    }

    /// The number of log groups of all tenants.
    fn log_groups(&self) -> usize {
        let groups = |tenant: &toml::Value| {
            tenant.get("log_groups").and_then(toml::Value::as_array).map_or(1, Vec::len)
        };
        self.tables("tenant").map(groups).sum()
    }

    /// The addresses that the file names, and those that it leaves to the defaults.
    fn overrides(&self, about: &About) -> Vec<(String, String)> {
        let mut keys = vec![
            ("PROBE_LISTEN".to_owned(), "127.0.0.1:0".to_owned()),
            ("PROBE_INSTANCE".to_owned(), self.name.clone()),
            ("AWS_ENDPOINT".to_owned(), about.aws_endpoint.clone()),
        ];
        let of_aws = self.config["aws"].get("endpoints").and_then(toml::Value::as_table);
        for (key, value) in of_aws.into_iter().flatten() {
            let key = format!("AWS_ENDPOINTS_{}", key.to_uppercase().replace('-', "_"));
            let services = value.as_table().into_iter().flat_map(toml::Table::keys);
            let regional = services.map(|service| format!("{key}_{}", service.to_uppercase()));
            let keys_of = if value.is_str() { vec![key.clone()] } else { regional.collect() };
            keys.extend(keys_of.into_iter().map(|key| (key, about.aws_endpoint.clone())));
        }
        let reads = |kind: &str| self.tables("stage").any(|stage| stage["kind"].as_str() == Some(kind));
        let google = [("bigquery", &about.bigquery_endpoint), ("gcs", &about.gcs_endpoint)];
        for (service, endpoint) in google.into_iter().filter(|(kind, _)| reads(kind)) {
            keys.push((format!("GCP_ENDPOINTS_{}", service.to_uppercase()), endpoint.clone()));
        }
        let google = self.config.get("gcp").and_then(|gcp| gcp.get("credentials_file"));
        keys.push(match google {
            Some(_) => ("GCP_CREDENTIALS_FILE".to_owned(), about.google_credentials.clone()),
            // The application default credentials would be those of this machine.
            None => ("GCP_AUTH".to_owned(), "none".to_owned()),
        });
        keys
    }

    async fn run(&self, about: &About) -> Told {
        let overrides = self.overrides(about);
        let overrides = overrides.into_iter().map(|(key, value)| (format!("TRACEPROBE_{key}"), value));
        let daemon = Daemon::start(&self.file, variables(&about.credentials).chain(overrides)).await;
        let what = format!("{}: a canary of every log group went through all stages", self.name);
        let recent = daemon.until(&what, THROUGH_WITHIN, |recent| self.is_through(recent)).await;
        Told { recent, metrics: daemon.metrics().await }
    }

    fn is_through(&self, recent: &Recent) -> bool {
        let through = recent.traces.iter().filter(|trace| {
            trace.outcome == "delivered" && self.stages(false).all(|stage| trace.is_seen_at(stage))
        });
        let from: BTreeSet<_> = through.map(|trace| (&trace.tenant, &trace.log_group)).collect();
        from.len() == self.log_groups()
            && (self.gives_up_at().is_empty() || recent.ended("dead_lettered") > 0)
            && (self.stages(true).all(|stage| stage != MEASURED) || self.is_measured(recent))
    }

    fn is_measured(&self, recent: &Recent) -> bool {
        let mut waiting = recent.conditions.iter().filter(|it| it.condition == "dead_letters_waiting");
        waiting.any(|it| it.stage.as_deref() == Some(MEASURED))
    }

    /// What is not as the recipe says.
    fn faults(&self, told: &Told) -> Vec<String> {
        let mut faults = Vec::new();
        let Told { recent, metrics } = told;
        let mut ended: Vec<&Trace> = recent.traces.iter().filter(|trace| trace.has_ended()).collect();
        ended.sort_by(|a, b| a.planned_at.cmp(&b.planned_at));
        let given_up_at = self.gives_up_at();
        for (at, trace) in ended.into_iter().enumerate() {
            let given_up = at == 0 && !given_up_at.is_empty();
            let is_right = match trace.lost_at.as_deref() {
                None => !given_up && trace.outcome == "delivered",
                Some(stage) => given_up && trace.outcome == "dead_lettered" && given_up_at.contains(&stage),
            };
            if !is_right {
                faults
                    .push(format!("canary {at}, {}, is {} at {:?}", trace.id, trace.outcome, trace.lost_at));
            }
        }
        for fault in [
            "traceprobe_stage_blind",
            "traceprobe_duplicates_total",
            "traceprobe_corrupted_total",
            "traceprobe_isolation_violations_total",
            "traceprobe_clock_inversions_total",
        ] {
            if metrics.sum(fault, &[]) > 0.0 {
                faults.push(format!("{fault} is {}", metrics.sum(fault, &[])));
            }
        }
        let problems = recent.conditions.iter().filter(|it| it.severity != "note");
        let problems = problems.filter(|it| it.condition != "dead_letters_waiting");
        faults.extend(problems.map(|problem| format!("{problem:?}")));
        faults.into_iter().map(|fault| format!("{}: {fault}", self.name)).collect()
    }
}

/// The queue whose owner lets the probe count its messages and no more.
const MEASURED: &str = "forwarder_dead_letters";
