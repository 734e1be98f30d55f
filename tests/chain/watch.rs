//! Whether page, JSON and metrics say the same, throughout.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinHandle;

use super::now;
use super::support::client;
use super::support::page::Recent;

/// Seconds within which no condition begins and ends.
const QUICK: f64 = 1.0;

/// A condition that is a problem.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    pub condition: String,
    /// Empty for all tenants.
    pub tenant: String,
    /// Empty for none.
    pub stage: String,
}

/// What a probe says at one moment.
#[derive(Clone, Debug)]
pub struct Sample {
    pub at: f64,
    pub problems: BTreeSet<Problem>,
    /// Of tenants with a note beside OK.
    pub noted: BTreeSet<String>,
}

#[derive(Default)]
struct Seen {
    samples: Vec<Sample>,
    contradictions: Vec<String>,
    /// Samples during which the metrics changed, or may have changed and back, so that they prove nothing.
    unsettled: usize,
}

/// Samples a probe until it is stopped.
pub struct Watch {
    seen: Arc<Mutex<Seen>>,
    sampling: JoinHandle<()>,
}

impl Watch {
    pub fn start(address: &str, every: Duration) -> Self {
        let (seen, address) = (Arc::<Mutex<Seen>>::default(), address.to_owned());
        let into = Arc::clone(&seen);
        #[expect(clippy::disallowed_methods, reason = "it is stopped with the value")]
        let sampling = tokio::spawn(async move {
            let http = client::http();
            let mut samples = tokio::time::interval(every);
            samples.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                samples.tick().await;
                take(&http, &address, &into).await;
            }
        });
        Self { seen, sampling }
    }

    pub fn stop(&self) {
        self.sampling.abort();
    }

    pub fn samples(&self) -> Vec<Sample> {
        self.seen.lock().unwrap().samples.clone()
    }

    /// What page, JSON and metrics said differently, and how many samples were compared.
    pub fn contradictions(&self) -> (Vec<String>, usize) {
        let seen = self.seen.lock().unwrap();
        (seen.contradictions.clone(), seen.samples.len() - seen.unsettled)
    }
}

async fn take(http: &reqwest::Client, address: &str, into: &Mutex<Seen>) {
    let get = async |path: &str| {
        let answer = http.get(format!("{address}{path}")).send().await.ok()?;
        answer.error_for_status().ok()?.text().await.ok()
    };
    let all = async {
        let before = get("/metrics").await?;
        let json = get("/traces/recent?format=json&limit=1").await?;
        let html = get("/traces/recent?limit=1&show=all").await?;
        Some((before, json, html, get("/metrics").await?))
    };
    // A probe that does not answer, because it was killed, says nothing.
    let began = now();
    let Some((before, json, html, after)) = all.await else { return };
    let is_quick = now() - began < QUICK;
    let (before, after) = (in_metrics(&before), in_metrics(&after));
    let recent: Recent = serde_json::from_str(&json).unwrap_or_else(|error| panic!("{error} in {json}"));
    let (json, page) = (in_json(&recent), Page::read(&html));
    let mut seen = into.lock().unwrap();
    let notes = recent.conditions.iter().filter(|condition| condition.severity == "note");
    let noted = notes.filter_map(|condition| condition.tenant.clone()).collect();
    seen.samples.push(Sample { at: now(), problems: after.clone(), noted });
    if before != after || !is_quick {
        seen.unsettled += 1;
        return;
    }
    if json != after {
        seen.contradictions.push(format!("the metrics have {after:?}, the JSON has {json:?}"));
    }
    let tenants = |one: &Problem| (!one.tenant.is_empty()).then(|| one.tenant.clone());
    let troubled: BTreeSet<String> = after.iter().filter_map(tenants).collect();
    let of_all = after.iter().any(|problem| problem.tenant.is_empty() && !problem.stage.is_empty());
    if !of_all && page.troubled != troubled {
        seen.contradictions.push(format!("the metrics have {after:?}, the page has {page:?}"));
    }
    if page.is_well && !troubled.is_empty() {
        seen.contradictions.push(format!("the headline is OK, the metrics have {after:?}"));
    }
}

/// What the page says above the fold.
#[derive(Debug)]
struct Page {
    is_well: bool,
    /// Tenants whose mark is neither that of OK nor of waiting.
    troubled: BTreeSet<String>,
}

impl Page {
    fn read(html: &str) -> Self {
        let class = |text: &str| text.split('"').next().unwrap_or_default().to_owned();
        let headline = html.split("<h1 id=\"now-h\" class=\"sum g-").nth(1).map(class);
        let headline = headline.unwrap_or_else(|| panic!("no headline in {html}"));
        let troubled = html.split("<tr class=\"g-").skip(1).filter_map(|line| {
            let who = line.split("class=\"who\"").nth(1)?.split_once('>')?.1.split('<').next()?;
            (!["well", "pending"].contains(&&*class(line))).then(|| who.to_owned())
        });
        Self { is_well: headline == "well", troubled: troubled.collect() }
    }
}

/// The tenant of drills is not on the page.
fn is_drill(problem: &Problem) -> bool {
    problem.tenant == "drill"
}

fn in_metrics(text: &str) -> BTreeSet<Problem> {
    let lines = text.lines().filter(|line| line.starts_with("traceprobe_condition{") && line.ends_with(" 1"));
    let problems = lines.map(|line| {
        let label = |name: &str| {
            let value = line.split(&format!("{name}=\"")).nth(1);
            value.and_then(|rest| rest.split('"').next()).unwrap_or_default().to_owned()
        };
        Problem { condition: label("condition"), tenant: label("tenant"), stage: label("stage") }
    });
    problems.filter(|problem| !is_drill(problem)).collect()
}

fn in_json(recent: &Recent) -> BTreeSet<Problem> {
    let problems = recent.conditions.iter().filter(|condition| condition.severity != "note");
    let problems = problems.map(|condition| Problem {
        condition: condition.condition.clone(),
        tenant: condition.tenant.clone().unwrap_or_default(),
        stage: condition.stage.clone().unwrap_or_default(),
    });
    problems.filter(|problem| !is_drill(problem)).collect()
}
