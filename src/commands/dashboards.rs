//! `traceprobe dashboards`: prints dashboards for Grafana, CloudWatch or Google Cloud Monitoring.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::configuration::Configuration;
use super::output::{self, complain, say};
use crate::cloud::account::Account;
use crate::config::Config;
use crate::dashboards::{self, Bucket, Dataset, File, Settings, Stream, Target, TenantPlace};
use crate::domain::pipeline::Pipeline;
use crate::domain::topology::Role;
use crate::observe::SourceSettings;

/// Shown below the options of `traceprobe dashboards --help`.
const GUIDE: &str = "\
For Grafana 9.4 or later (Dashboards, Import; or a folder of provisioning/dashboards):
  traceprobe dashboards grafana --config traceprobe.toml -o dashboards/
For those who have the pipeline's metrics only in Prometheus, exporters for both clouds:
  traceprobe dashboards exporters --config traceprobe.toml -o exporters/
For CloudWatch:
  traceprobe dashboards cloudwatch --config traceprobe.toml > body.json
  aws cloudwatch put-dashboard --dashboard-name log-pipeline --dashboard-body file://body.json
For Google Cloud Monitoring:
  traceprobe dashboards google --config traceprobe.toml > dashboard.json
  gcloud monitoring dashboards create --config-from-file=dashboard.json

Names of what the probe does not poll (Lambda functions, queues, VPN connections, NAT gateways, projects) come from
the table [pipeline] of the configuration. A panel whose name is missing says which key would fill it.

Print them again after a change of tenants, stages, targets, probe.slo, probe.critical or [pipeline].";

/// Print dashboards for a configuration, with its tenants, streams, buckets, tables and thresholds.
///
/// No call is made, and TRACEPROBE_TAG_KEY is not needed.
#[derive(Debug, Args)]
#[command(after_long_help = GUIDE)]
pub struct Dashboards {
    /// What the dashboards are for.
    #[arg(value_name = "FOR", value_enum)]
    target: For,
    #[command(flatten)]
    configuration: Configuration,
    /// Write each file into this folder instead of printing it.
    #[arg(short, long, value_name = "FOLDER")]
    output: Option<PathBuf>,
    /// Print only this file, such as overview.json, if there are several.
    #[arg(long, value_name = "FILE", conflicts_with = "output")]
    only: Option<String>,
    /// Name of the scrape job of the probe in Prometheus.
    #[arg(long, value_name = "NAME", default_value = "traceprobe", value_parser = super::rules::job)]
    job: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum For {
    /// The probe's metrics in Prometheus, and the pipeline's.
    Grafana,
    /// The part of the pipeline in AWS.
    Cloudwatch,
    /// The part of the pipeline in Google Cloud.
    Google,
    /// Configurations of YACE and stackdriver_exporter.
    Exporters,
}

impl Dashboards {
    /// Prints or writes the files.
    pub fn run(&self) -> ExitCode {
        let config = match self.configuration.load_without_key() {
            Ok(config) => config,
            Err(code) => return code,
        };
        let target = match self.target {
            For::Grafana => Target::Grafana,
            For::Cloudwatch => Target::CloudWatch,
            For::Google => Target::Google,
            For::Exporters => Target::Exporters,
        };
        let files = dashboards::files(&settings(&config, &self.job), target);
        match (&self.output, &self.only, files.as_slice()) {
            (Some(folder), _, files) => write(folder, files),
            (None, None, [one]) => output::to_file_or_stdout(None, &one.text),
            (None, Some(name), files) => match files.iter().find(|file| file.name == name) {
                Some(file) => output::to_file_or_stdout(None, &file.text),
                None => wrong(&format!("there is no {name}"), files),
            },
            (None, None, files) => wrong("these are several files", files),
        }
    }
}

/// What of several files could be printed, and how to write them all.
fn wrong(what: &str, files: &[File]) -> ExitCode {
    let names: Vec<_> = files.iter().map(|file| file.name).collect();
    complain!("{what}; write all with -o FOLDER, or print one with --only: {}", names.join(", "));
    ExitCode::from(USAGE)
}

/// Exit code for wrong arguments, as clap uses it.
const USAGE: u8 = 2;

fn write(folder: &Path, files: &[File]) -> ExitCode {
    if let Err(error) = std::fs::create_dir_all(folder) {
        complain!("cannot create {}: {error}", folder.display());
        return ExitCode::FAILURE;
    }
    for file in files {
        let path = folder.join(file.name);
        if output::to_file_or_stdout(Some(&path), &file.text) != ExitCode::SUCCESS {
            return ExitCode::FAILURE;
        }
        say!("wrote {}", path.display());
    }
    ExitCode::SUCCESS
}

/// What the dashboards of a configuration depend on.
#[must_use]
pub fn settings(config: &Config, job: &str) -> Settings {
    let mut places = Places::default();
    for source in &config.sources {
        places.add(config, source);
    }
    places.finish();
    let region = places.region.clone().or_else(|| Some(config.tenants.first()?.account.region.clone()));
    let tenant = |tenant: &crate::config::Tenant| TenantPlace {
        name: tenant.name.to_string(),
        region: tenant.account.region.clone(),
        account: account_of(&tenant.account),
    };
    Settings {
        job: job.to_owned(),
        slo: config.probe.slo,
        critical: config.probe.critical,
        buckets: config.probe.buckets.clone(),
        topology: config.topology(),
        has_budgets: !config.budgets.is_empty(),
        external_url: config.web.external_url.clone(),
        pipeline: pipeline(config, &places),
        region: region.unwrap_or_default(),
        tenants: config.tenants.iter().map(tenant).collect(),
        streams: places.streams,
        buckets_s3: places.s3.into_iter().map(|(_, bucket)| bucket).collect(),
        buckets_gcs: places.gcs,
        datasets: places.datasets,
    }
}

/// The names of the configuration, and those that follow from what is polled.
fn pipeline(config: &Config, places: &Places) -> Pipeline {
    let own = config.pipeline.clone();
    let project = own.google_project.clone();
    let project = project.or_else(|| places.datasets.last().map(|dataset| dataset.project.clone()));
    Pipeline {
        dead_letter_queue: own.dead_letter_queue.clone().or_else(|| places.queue.clone()),
        google_project: project,
        ..own
    }
}

/// What is polled, each thing once.
#[derive(Default)]
struct Places {
    /// The region of the first thing in AWS.
    region: Option<String>,
    streams: Vec<Stream>,
    /// With whether it is on the main path.
    s3: Vec<(bool, Bucket)>,
    gcs: Vec<Bucket>,
    datasets: Vec<Dataset>,
    queue: Option<String>,
}

impl Places {
    fn add(&mut self, config: &Config, source: &crate::config::Source) {
        let topology = config.topology();
        let stage = topology.stage(source.stage);
        let is_main = topology.main_path().contains(&source.stage);
        let owner = source.tenants.first().filter(|_| source.single_tenant);
        let owner = owner.map(|id| topology.tenant(*id).name.to_string());
        let label = || owner.clone().unwrap_or_else(|| stage.name.to_string());
        let account = match &source.settings {
            SourceSettings::Kinesis(stream) => {
                let name = after(&stream.stream, ":stream/");
                let (region, account) = (stream.account.region.clone(), account_of(&stream.account));
                self.streams.push(Stream { label: label(), name, region, account });
                Some(&stream.account)
            }
            SourceSettings::S3(prefix) if stage.role != Role::DeadLetter => {
                let (region, account) = (prefix.account.region.clone(), account_of(&prefix.account));
                let name = prefix.objects.bucket.clone();
                self.s3.push((is_main, Bucket { label: stage.name.to_string(), name, region, account }));
                Some(&prefix.account)
            }
            SourceSettings::Gcs(prefix) => {
                let name = prefix.objects.bucket.clone();
                self.gcs.push(Bucket {
                    label: stage.name.to_string(),
                    name,
                    region: String::new(),
                    account: None,
                });
                None
            }
            SourceSettings::BigQuery(table) => {
                let (project, name) = (table.table.project.clone(), table.table.dataset.clone());
                self.datasets.push(Dataset { project, name });
                None
            }
            SourceSettings::Sqs(queue) => {
                self.queue.get_or_insert(after(&queue.queue_url, "/"));
                Some(&queue.account)
            }
            SourceSettings::S3(_) | SourceSettings::CloudWatchLogs(_) => None,
        };
        if let Some(account) = account {
            self.region.get_or_insert_with(|| account.region.clone());
        }
    }

    /// Removes what several tenants share, and puts side stages first: the archive is one.
    fn finish(&mut self) {
        self.s3.sort_by_key(|(is_main, _)| *is_main);
        self.s3.dedup_by(|one, other| one.1 == other.1);
        keep_first(&mut self.gcs);
        keep_first(&mut self.datasets);
    }
}

fn keep_first<T: Clone + PartialEq>(list: &mut Vec<T>) {
    let mut seen: Vec<T> = Vec::new();
    list.retain(|item| {
        let is_new = !seen.contains(item);
        if is_new {
            seen.push(item.clone());
        }
        is_new
    });
}

/// What comes after the last mark, as in an ARN or a URL; the whole text without one.
fn after(text: &str, mark: &str) -> String {
    text.rsplit_once(mark).map_or(text, |(_, name)| name).to_owned()
}

/// The number of the account of a role, from its ARN.
fn account_of(account: &Account) -> Option<String> {
    account.role.as_ref()?.arn.split(':').nth(4).map(str::to_owned)
}
