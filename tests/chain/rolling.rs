//! Deployments as ECS makes them with 100 and 200 percent: the new task is started first, and the old one gets
//! SIGTERM once the new one answers health checks. Service discovery shows a task from its start until a while after
//! its end.
//!
//! Three tasks follow each other. The second replaces the first while both run, of which nobody may be told. The
//! third is held back after the end of the second, which must be told. What Prometheus has counted by then is
//! compared with what the sandbox knows was sent: each slot has one outcome.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::process::Command;
use traceprobe::commands::rules::settings;
use traceprobe::config::Config;
use traceprobe::daemon::clock;
use traceprobe::domain::outcome::Outcome;
use traceprobe::domain::time::Timestamp;
use traceprobe::domain::topology::Topology;
use traceprobe::rules;
use traceprobe::sandbox::{Profile, Sandbox};
use traceprobe::store::{LoadLimits, Store};

use super::form::Form;
use super::play::{Chain, Row};
use super::sink::{Alert, Notification};
use super::support::client;
use super::support::process::{PROGRAM, Printed, Process};
use super::support::stand::{id_in, variables};
use super::{now, until};

/// For how many seconds service discovery still shows a task that has ended (`refresh_interval` of `aws_sd_configs`).
const SHOWN_FOR: f64 = 60.0;
/// Prometheus takes over what service discovery shows within this time, in both forms.
const TAKEN_WITHIN: Duration = Duration::from_secs(5);
/// For how many seconds nothing may be told after a deployment.
const QUIET_FOR: f64 = 450.0;
/// How many seconds late the task is whose start is held back.
const HELD_BACK_FOR: f64 = 300.0;
/// For how many seconds of its slots a task waits for a predecessor's copies: three intervals, and some more.
const COPIES_ARE_AWAITED_FOR: f64 = 100.0;
const DOWN: &str = "TraceprobeDown";
const ENDS_WITHIN: Duration = Duration::from_secs(90);
const TENANTS: usize = 2;

/// What outlives a task.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Disk {
    /// A store on a volume that all tasks have.
    Kept,
    Ephemeral,
}

impl Disk {
    /// The name of its service's job in Prometheus.
    pub fn job(self) -> &'static str {
        match self {
            Self::Kept => "rolling-kept",
            Self::Ephemeral => "rolling-ephemeral",
        }
    }
}

/// A service of one task, in front of a pipeline of its own.
pub struct Service {
    /// Of Prometheus.
    pub job: &'static str,
    /// Path of its rules.
    pub rules: PathBuf,
    /// Path of the list of targets that service discovery shows.
    pub targets: PathBuf,
    form: Form,
    disk: Disk,
    sandbox: Sandbox,
    config: PathBuf,
    variables: Vec<(String, String)>,
    store: PathBuf,
    topology: Arc<Topology>,
    give_up: Duration,
    first: Option<Task>,
}

struct Task {
    process: Process,
    /// Without a scheme.
    address: String,
}

impl Task {
    async fn terminate(mut self) -> Ended {
        self.process.signal("TERM").await;
        self.ended().await
    }

    async fn kill(mut self) -> Ended {
        self.process.start_kill();
        self.ended().await
    }

    async fn ended(&mut self) -> Ended {
        let _status = self.process.ended(ENDS_WITHIN).await;
        Ended { address: self.address.clone(), at: clock::system().now() }
    }
}

struct Ended {
    address: String,
    at: Timestamp,
}

/// Counts by tenant.
type Counts = BTreeMap<String, usize>;

impl Service {
    pub async fn set(disk: Disk, form: Form, folder: &Path) -> Self {
        let job = disk.job();
        let sandbox = form.sandbox(TENANTS, Profile::Calm).await;
        let path = |kind: &str| folder.join(format!("{job}.{kind}"));
        let (config, store) = (path("toml"), path("db"));
        let text = form.deployed(&sandbox);
        std::fs::write(&config, &text).expect("cannot write the configuration");
        let kept_at = store.display().to_string();
        let path_of_store = if disk == Disk::Kept { &*kept_at } else { "memory" };
        let keys = [("PROBE_INSTANCE", "traceprobe"), ("STORE_PATH", path_of_store)];
        let variables = variables(&[&keys, form.deployment_keys()].concat());
        let parsed = Config::parse(&text, variables.clone()).unwrap_or_else(|faults| panic!("{faults}"));
        let rules = path("rules.yml");
        let yaml = rules::to_yaml(&settings(&parsed, job, form.scrape()));
        std::fs::write(&rules, yaml).expect("cannot write the rules");
        let mut service = Self {
            job,
            rules,
            targets: path("targets.json"),
            form,
            disk,
            sandbox,
            config,
            variables,
            store,
            topology: Arc::new(parsed.topology()),
            give_up: parsed.probe.give_up,
            first: None,
        };
        let first = service.start().await;
        service.discover(&[&first.address]);
        service.first = Some(first);
        service
    }

    /// Starts a task and waits until it answers health checks. It may wait for the store.
    async fn start(&self) -> Task {
        let mut command = Command::new(PROGRAM);
        command.arg("run").arg("--config").arg(&self.config).env_clear().envs(self.variables.clone());
        let process = Process::spawn(&mut command, Printed::in_memory());
        let address = until(self.form.patience(), async || {
            let printed = process.printed();
            let after =
                |what: &str| Some(printed.split_once(what)?.1.split(['/', ' ', '\n']).next()?.to_owned());
            after("listening on http://").or_else(|| after("for it to end; http://"))
        })
        .await;
        let address = address.unwrap_or_else(|| panic!("{}: no port: {}", self.job, process.printed()));
        let url = format!("http://{address}/healthz");
        let healthy = until(self.form.patience(), async || {
            let answer = client::http().get(&url).send().await.ok()?;
            answer.status().is_success().then_some(())
        })
        .await;
        assert!(healthy.is_some(), "{}: not healthy: {}", self.job, process.printed());
        Task { process, address }
    }

    /// What service discovery shows from now on. Prometheus watches for files that are moved there.
    fn discover(&self, addresses: &[&str]) {
        let new = self.targets.with_extension("new");
        let list = json!([{"targets": addresses}]).to_string();
        std::fs::write(&new, list).expect("cannot write the targets");
        std::fs::rename(new, &self.targets).expect("cannot move the targets");
    }

    /// Starts a task whose canaries can be told from those of the one before. The codes of two runs are the same once
    /// in 256 times.
    async fn start_next_to(&self, old: &Task) -> Task {
        loop {
            let new = self.start().await;
            self.discover(&[&old.address, &new.address]);
            if self.disk == Disk::Kept {
                return new;
            }
            // Both send by now.
            tokio::time::sleep(self.form.time(75.0)).await;
            if self.senders().len() > 1 {
                return new;
            }
            new.kill().await;
        }
    }

    /// Replaces the old task by a new one, of which it returns the latter.
    async fn deploy(&self, old: Task) -> (Ended, Task) {
        let began = tokio::time::Instant::now();
        let new = self.start_next_to(&old).await;
        tokio::time::sleep_until(began + self.form.side_by_side()).await;
        let ended = old.terminate().await;
        tokio::time::sleep(self.form.time(SHOWN_FOR).saturating_sub(TAKEN_WITHIN)).await;
        self.discover(&[&new.address]);
        (ended, new)
    }

    /// The instance codes in tags, in the order of their first canaries.
    fn senders(&self) -> Vec<String> {
        let mut senders = Vec::new();
        for sent in self.sent() {
            if !senders.contains(&sent.sender) {
                senders.push(sent.sender);
            }
        }
        senders
    }

    /// What log groups have taken, in order.
    fn sent(&self) -> Vec<Sent> {
        let records = self.sandbox.truth().into_iter();
        let sent = records.map(|record| Sent {
            id: id_in(&record.token).to_owned(),
            // After the code of the tenant, which takes eight characters.
            sender: record.token[45..49].to_owned(),
            tenant: record.tenant,
            at: Timestamp::from_micros(record.accepted.0),
        });
        sent.collect()
    }

    /// The outcomes in the store, by tenant, and the number of traces without one.
    fn kept(&self) -> (BTreeMap<String, BTreeMap<String, Outcome>>, usize) {
        let limits =
            LoadLimits { since: Timestamp::MIN, max_delivered: usize::MAX, max_of_tenant: usize::MAX };
        let opened = Store::open(&self.store, self.topology.clone(), clock::system().now()).expect("a store");
        let mut store = opened.store;
        let traces = store.load(limits).expect("the store can be read").traces;
        let (mut ended, mut open) = (BTreeMap::<_, BTreeMap<_, _>>::new(), 0);
        for trace in traces {
            let of_tenant = ended.entry(self.topology.tenant(trace.tenant).name.to_string()).or_default();
            match &trace.ended {
                Some((outcome, _)) => drop(of_tenant.insert(trace.id().to_string(), outcome.clone())),
                None => open += 1,
            }
        }
        (ended, open)
    }
}

/// A canary in a log group.
struct Sent {
    id: String,
    sender: String,
    tenant: String,
    at: Timestamp,
}

/// How many different slots there are of each tenant.
fn slots<'a>(sent: impl IntoIterator<Item = &'a Sent>) -> Counts {
    let mut ids = BTreeMap::<_, BTreeSet<_>>::new();
    for sent in sent {
        ids.entry(sent.tenant.clone()).or_default().insert(&sent.id);
    }
    ids.into_iter().map(|(tenant, ids)| (tenant, ids.len())).collect()
}

impl Chain<'_> {
    /// Plays the deployments of a service. Returns a row for each.
    pub async fn deploy(&self, mut service: Service) -> Vec<Row> {
        let job = service.job;
        let first = service.first.take().expect("it was started");
        self.until_delivered(&service, &first).await;
        let mut replaced = Row::of(job);
        let (first, second) = service.deploy(first).await;
        tokio::time::sleep(self.form.time(QUIET_FOR)).await;
        replaced.faults.extend(self.fired(job, |_| false).await);
        replaced.notification = "nobody is told".to_owned();
        println!("{replaced}");

        let mut late = Row::of(&format!("{job}, then held back"));
        let second = second.terminate().await;
        let at = now();
        tokio::time::sleep(self.form.time(SHOWN_FOR)).await;
        service.discover(&[]);
        tokio::time::sleep(self.form.time(HELD_BACK_FOR - SHOWN_FOR)).await;
        let is_down = |alert: &Alert| alert.name == DOWN;
        let is_told = |note: &Notification| note.at >= at && note.firing.iter().any(is_down);
        let told = self.sink.of(job).into_iter().find(is_told);
        late.to_fire = told.as_ref().map(|note| note.at - at);
        late.notification = told.map(|note| format!("{}: {DOWN}", note.receiver)).unwrap_or_default();
        if late.to_fire.is_none() {
            late.faults.push(format!("{job}: {DOWN} is not told: {:?}", self.sink.of(job)));
        }
        let third = service.start().await;
        service.discover(&[&third.address]);
        let at = now();
        let resolved = until(self.form.patience(), async || {
            let last = self.sink.of(job).into_iter().next_back()?;
            last.firing.is_empty().then_some(last.at)
        })
        .await;
        late.to_resolve = resolved.map(|told| told - at);
        if resolved.is_none() {
            late.faults.push(format!("{job}: is not resolved: {:?}", self.sink.of(job)));
        }
        self.until_delivered(&service, &third).await;
        late.faults.extend(self.fired(job, is_down).await);
        println!("{late}");

        let third = match service.disk {
            Disk::Kept => third.terminate().await,
            Disk::Ephemeral => third.kill().await,
        };
        let tasks = [first, second, third];
        let mut counted = Row::of(&format!("{job}, counted"));
        match service.disk {
            Disk::Kept => self.count_kept(&service, &mut counted).await,
            Disk::Ephemeral => self.count_ephemeral(&service, &tasks, &mut counted).await,
        }
        if self.pulse.late() > 0 && !counted.faults.is_empty() {
            // Scrapes and puts of processes that get no time are not made.
            println!("the machine was busy: {}", counted.faults.join("\n"));
            counted.faults.clear();
            counted.notification += "; not judged, the machine was busy";
        }
        println!("{counted}");
        vec![replaced, late, counted]
    }

    async fn until_delivered(&self, service: &Service, task: &Task) {
        let (job, address) = (service.job, &task.address);
        let delivered = format!(
            "min(sum by (tenant) (traceprobe_traces_total{{job=\"{job}\",instance=\"{address}\",\
             outcome=\"delivered\"}})) >= 4"
        );
        let well = until(self.form.patience(), async || {
            (!self.prometheus.query(&delivered).await.is_empty()).then_some(())
        })
        .await;
        assert!(well.is_some(), "{job}: no canaries are delivered: {}", task.process.printed());
    }

    /// Alerts of a job that have fired, told or not, except those that may and those that a busy machine explains.
    async fn fired(&self, job: &str, may: impl Fn(&Alert) -> bool) -> Vec<String> {
        let firing = format!("ALERTS{{job=\"{job}\",alertstate=\"firing\",severity=~\"critical|warning\"}}");
        let step = self.form.scrape().as_secs_f64();
        let fired = self.prometheus.query_range_by(&firing, self.began, now(), step).await;
        let lag = self.form.time(15.0 * 60.0).as_secs_f64();
        let faults = fired.into_iter().filter_map(|series| {
            let alert = Alert::of(&series.metric);
            let (at, _) = *series.points().first()?;
            let is_excused = self.pulse.explains(&alert.name, at - lag, at);
            (!may(&alert) && !is_excused)
                .then(|| format!("{job}: {alert:?} fired {:.0} s in", at - self.began))
        });
        faults.collect()
    }

    /// What each series of a counter had last, whether its task still runs or not.
    async fn last(&self, counter: &str, job: &str) -> Vec<(BTreeMap<String, String>, usize)> {
        let all = (now() - self.began).ceil() as u64 + 60;
        let query = format!("max_over_time({counter}{{job=\"{job}\"}}[{all}s])");
        let series = self.prometheus.query(&query).await;
        series
            .into_iter()
            .map(|series| {
                let value = series.points().first().map_or(0.0, |(_, value)| *value);
                (series.metric, value as usize)
            })
            .collect()
    }

    /// The outcomes that a job counted by tenant, at one instance or all; and a fault for each that is not one of a
    /// pipeline that delivers everything.
    async fn outcomes(&self, job: &str, instance: Option<&str>, row: &mut Row) -> Counts {
        let mut counts = Counts::new();
        for (labels, count) in self.last("traceprobe_traces_total", job).await {
            if instance.is_some_and(|instance| labels["instance"] != instance) {
                continue;
            }
            if !["delivered", "unobserved"].contains(&&*labels["outcome"]) && count > 0 {
                row.faults.push(format!("{job}: {count} of {labels:?}, and everything was delivered"));
            }
            *counts.entry(labels["tenant"].clone()).or_default() += count;
        }
        for (labels, count) in self.last("traceprobe_duplicates_total", job).await {
            if count > 0 {
                row.faults.push(format!("{job}: {count} of {labels:?}, and nothing was doubled"));
            }
        }
        counts
    }

    /// Each slot was sent by one task, and Prometheus has what the store has.
    async fn count_kept(&self, service: &Service, row: &mut Row) {
        let job = service.job;
        let sent = service.sent();
        let counted = self.outcomes(job, None, row).await;
        let (kept, open) = service.kept();
        let ended: Counts = kept.iter().map(|(tenant, ended)| (tenant.clone(), ended.len())).collect();
        let sum = |counts: &Counts| counts.values().sum::<usize>();
        row.notification = format!("{} slots, {} counted, {open} open", sum(&slots(&sent)), sum(&counted));
        if counted != ended {
            row.faults.push(format!("{job}: {counted:?} outcomes are counted, and the store has {ended:?}"));
        }
        if sum(&ended) + open != sum(&slots(&sent)) || sent.len() != sum(&slots(&sent)) {
            let of_store = format!("{ended:?} ended and {open} open in the store");
            row.faults.push(format!(
                "{job}: {} canaries of {:?} slots, {of_store}",
                sent.len(),
                slots(&sent)
            ));
        }
        let wrong = kept.values().flatten().filter(|(_, outcome)| **outcome != Outcome::Delivered);
        row.faults.extend(wrong.map(|(id, outcome)| format!("{job}: {id} was delivered, not {outcome:?}")));
    }

    /// A task counts what it sent alone, and the one before it what both sent. Only what was in flight at a kill is
    /// counted by nobody.
    async fn count_ephemeral(&self, service: &Service, tasks: &[Ended; 3], row: &mut Row) {
        let job = service.job;
        let (sent, senders) = (service.sent(), service.senders());
        let [first, second, third] = tasks;
        let by_first: BTreeSet<&str> =
            sent.iter().filter(|sent| sent.sender == senders[0]).map(|sent| &*sent.id).collect();
        let until_second = |sent: &&Sent| sent.at <= second.at;
        let due = [
            ("first", first, slots(sent.iter().filter(|sent| by_first.contains(&*sent.id)))),
            (
                "second",
                second,
                slots(sent.iter().filter(until_second).filter(|sent| !by_first.contains(&*sent.id))),
            ),
            ("third", third, slots(sent.iter().filter(|sent| !until_second(sent)))),
        ];
        let third_began = sent.iter().find(|sent| !until_second(sent)).map_or(third.at, |sent| sent.at);
        let awaited = third_began..third_began + self.form.time(COPIES_ARE_AWAITED_FOR);
        let may_be_open = |sent: &&Sent| sent.at > third.at - service.give_up || awaited.contains(&sent.at);
        let open_at_most = slots(sent.iter().filter(may_be_open));
        let shared = sent.len() - slots(&sent).values().sum::<usize>();
        let mut words = vec![format!("{shared} slots of two senders")];
        for (name, task, due) in due {
            let counted = self.outcomes(job, Some(&task.address), row).await;
            words.push(format!("{name} counts {:?} of {:?}", counted.values(), due.values()));
            let is_right = due.iter().all(|(tenant, due)| {
                let count = counted.get(tenant).copied().unwrap_or_default();
                let is_killed = name == "third";
                let left = open_at_most.get(tenant).copied().filter(|_| is_killed).unwrap_or_default();
                (due.saturating_sub(left)..=*due).contains(&count)
            });
            if !is_right {
                row.faults.push(format!("{job}: the {name} task counts {counted:?} of {due:?}"));
            }
        }
        if shared == 0 {
            row.faults.push(format!("{job}: no slot has two senders, so nothing is shown of them"));
        }
        row.notification = words.join("; ");
    }
}
