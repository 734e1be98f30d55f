//! `traceprobe check --canary` with one fault at a time: in the pipeline, in the rights of the probe, in its configuration.
//!
//! Each has an exit code and words that whoever made the fault must see: the stage, the key or the statement to look at.
//! The suite tries two of them; `make canary-faults` tries all and prints what check says.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;
use toml::{Table, Value};

use crate::support::pipeline::Pipeline;
use crate::support::process::PROGRAM;
use crate::{Scene, configuration, dead_letters, one_at_a_time, variables};

const ENDS_WITHIN: Duration = Duration::from_secs(90);
/// A canary is everywhere after about 3 s; what is missing is known at the end.
const FOLLOWED: &str = "12s";
/// `long`: every fault.
const FORM: &str = "TRACEPROBE_CANARY_FAULTS";
/// What the suite tries.
const SHORT: [&str; 2] = ["none", "wrong existing column"];

/// What is wrong.
enum Wrong {
    Nothing,
    /// A fault of `faults.py`.
    Pipeline(&'static str),
    Configuration(fn(&mut Table)),
    /// No emulator here has it, for this reason.
    NotTried(&'static str),
}

struct Fault {
    name: &'static str,
    wrong: Wrong,
    exit_code: i32,
    /// Lines that must be there, each by parts of it.
    said: &'static [&'static [&'static str]],
    /// What would be false.
    unsaid: &'static [&'static str],
}

const FAULTS: [Fault; 22] = [
    Fault {
        name: "none",
        wrong: Wrong::Nothing,
        exit_code: 0,
        said: &[&["ok ", "canary of acme", "delivered after"]],
        unsaid: &["FAIL", "look "],
    },
    Fault {
        name: "right to put missing",
        wrong: Wrong::Pipeline("no-right-to-put"),
        exit_code: 3,
        said: &[
            &["FAIL", "log group /ecs/acme/app", "right to put", "AccessDenied"],
            &["allow", "WriteCanariesToTheProbesLogStreamsOnly", "config/iam/tenant-inject.json"],
            &["FAIL", "canary of acme", "not accepted"],
        ],
        unsaid: &[],
    },
    Fault {
        name: "right to use the key of a stream or bucket missing (KMS)",
        wrong: Wrong::NotTried("MiniStack encrypts no stream, and asks KMS for no reader of an object"),
        exit_code: 0,
        said: &[],
        unsaid: &[],
    },
    Fault {
        name: "archive key template wrong",
        wrong: Wrong::Configuration(|config| {
            set_stage(config, "archive", "key", "archive/tenant={tenant}/date=%Y-%m-%d/hour=%H/");
        }),
        exit_code: 3,
        said: &[
            &["stage archive", "newest object", "there is no object", "\"archive/tenant=acme/\""],
            &["newest object", "key = \"archive/tenant={tenant}/dt="],
            &["key", "stage.archive.key"],
            &["FAIL", "canary of acme", "archive: missing"],
            &["look ", "archive", "no record at all", "stage.archive.key"],
        ],
        unsaid: &[],
    },
    Fault {
        name: "transit prefix wrong",
        wrong: Wrong::Configuration(|config| set_stage(config, "transit", "key", "transfer/%Y/%m/%d/%H/")),
        // It cannot be told from a missing right: the policy names the prefix.
        exit_code: 4,
        said: &[
            &["FAIL", "stage transit", "s3://sre-transit/transfer/", "AccessDenied"],
            &["- statement ListTheTransit in config/iam/task-role.json is granted"],
            &["- what was meant is in stage.transit.bucket, stage.transit.key"],
            &["FAIL", "canary of acme", "transit: cannot be read"],
        ],
        unsaid: &[],
    },
    Fault {
        name: "transit prefix wrong, below one that may be listed",
        wrong: Wrong::Configuration(|config| set_stage(config, "transit", "key", "transit/raw/%Y/%m/%d/%H/")),
        exit_code: 3,
        said: &[
            &["stage transit", "newest object", "there is no object", "for example transit/"],
            &["key", "stage.transit.key"],
            &["FAIL", "canary of acme", "transit: missing"],
            &["look ", "transit", "no record at all", "stage.transit.key"],
        ],
        unsaid: &[],
    },
    Fault {
        name: "date form wrong",
        wrong: Wrong::Configuration(|config| set_stage(config, "transit", "key", "transit/%d-%m-%Y/%H/")),
        exit_code: 3,
        said: &[
            &[
                "FAIL",
                "stage transit",
                "newest object",
                "whose dates are written as in key = \"transit/%Y/%m/%d/%H/\"",
            ],
            &["key", "stage.transit.key"],
            &["FAIL", "canary of acme", "transit: missing"],
        ],
        unsaid: &[],
    },
    Fault {
        name: "column missing",
        wrong: Wrong::Configuration(|config| set_stage(config, "bigquery", "id_column", "trace")),
        exit_code: 4,
        said: &[
            &["FAIL", "stage bigquery", "columns", "column trace", "does not exist", "trace_id"],
            &["key", "stage.bigquery.id_column"],
            &["FAIL", "canary of acme", "bigquery: cannot be read"],
        ],
        unsaid: &[],
    },
    Fault {
        name: "wrong existing column",
        wrong: Wrong::Configuration(|config| set_stage(config, "bigquery", "id_column", "message")),
        exit_code: 3,
        said: &[
            &["FAIL", "canary of acme", "not arrived at bigquery within 12 s (--timeout)", "give_up is"],
            &["look ", "bigquery", "write id_column = \"trace_id\"", "stage.bigquery.id_column"],
        ],
        unsaid: &["it was lost between"],
    },
    Fault {
        name: "label wrong",
        wrong: Wrong::Configuration(|config| set_tenant(config, "label", "acmecorp")),
        exit_code: 3,
        said: &[
            &["FAIL", "canary of acme", "bigquery: there, but with the label `acme`"],
            &["look ", "bigquery", "has `acme` and not `acmecorp`", "tenant.acme.label"],
        ],
        unsaid: &["it was lost between", "write id_column"],
    },
    Fault {
        name: "label column wrong",
        wrong: Wrong::Configuration(|config| set_stage(config, "bigquery", "tenant_column", "trace_id")),
        exit_code: 3,
        said: &[
            &["FAIL", "canary of acme", "bigquery: there, but with the label `"],
            &[
                "look ",
                "bigquery",
                "column `trace_id` has `",
                "and not `acme`",
                "stage.bigquery.tenant_column",
            ],
        ],
        unsaid: &["it was lost between", "write id_column"],
    },
    Fault {
        name: "canary template that is not what the pipeline forwards (not JSON)",
        wrong: Wrong::Configuration(|config| set(config, "canary", "template", "canary {tag} of the probe")),
        exit_code: 3,
        said: &[
            &["FAIL", "canary of acme", "it is at dead_letters"],
            &["look ", "compare the template of the canary", "canary.template"],
        ],
        unsaid: &[],
    },
    Fault {
        name: "filter pattern that lets no canary through",
        wrong: Wrong::Pipeline("filter-pattern"),
        exit_code: 3,
        said: &[
            &["subscription filters", "no-line-has-this-term"],
            &["FAIL", "canary of acme", "not arrived at tenant_stream within 12 s (--timeout)"],
            &["look ", "compare the subscription filter of /ecs/acme/app", "its pattern"],
        ],
        unsaid: &[],
    },
    Fault {
        name: "format ORC (unreadable)",
        wrong: Wrong::Pipeline("archive-orc"),
        exit_code: 4,
        said: &[
            &["FAIL", "canary of acme", "archive: unreadable", "is ORC"],
            &["look ", "archive", "docs/formats.md"],
        ],
        unsaid: &[],
    },
    Fault {
        name: "region wrong",
        wrong: Wrong::Configuration(|config| set(config, "aws", "region", "eu-west-1")),
        exit_code: 3,
        said: &[
            &["note", "the region may be wrong", "\"eu-west-1\"", "aws.region"],
            &["- it is in region \"eu-west-1\", which is that of tenant.acme.region, or else of aws.region"],
            &["- stage.archive.region, or else aws.region, is \"eu-central-1\""],
        ],
        unsaid: &[],
    },
    Fault {
        name: "table missing",
        wrong: Wrong::Configuration(|config| {
            set_stage(config, "bigquery", "table", "traceprobe-test.logs.evnts")
        }),
        exit_code: 4,
        said: &[
            &["FAIL", "stage bigquery", "columns", "traceprobe-test.logs.evnts"],
            &["key", "stage.bigquery.table"],
            &["FAIL", "canary of acme", "bigquery: cannot be read"],
        ],
        unsaid: &[],
    },
    Fault {
        name: "path of the endpoint wrong",
        wrong: Wrong::Configuration(|config| {
            let url =
                config["gcp"]["endpoint"].as_str().expect("it is a text").replace("/bigquery/", "/bigqury/");
            set(config, "gcp", "endpoint", &url);
        }),
        exit_code: 4,
        said: &[
            &[
                "FAIL",
                "stage bigquery",
                "columns",
                "gcp.endpoint is \"",
                "which does not answer like BigQuery",
            ],
            &["key", "gcp.endpoint"],
            &["FAIL", "canary of acme", "bigquery: cannot be read"],
        ],
        unsaid: &["stage.bigquery.table"],
    },
    Fault {
        name: "external id wrong",
        wrong: Wrong::Configuration(|config| set_tenant(config, "external_id", "acme-wrong")),
        exit_code: 3,
        said: &[
            &["FAIL", "log group /ecs/acme/app", "AssumeRole"],
            &["its trust policy requires the external id that tenant.acme.external_id has"],
            &["key", "tenant.acme.role_arn, tenant.acme.external_id"],
            &["FAIL", "canary of acme", "not accepted"],
        ],
        unsaid: &["the region may be wrong"],
    },
    Fault {
        name: "log group missing",
        wrong: Wrong::Configuration(|config| set_tenant(config, "log_group", "/ecs/acme/ap")),
        exit_code: 3,
        said: &[
            &["FAIL", "log group /ecs/acme/ap ", "AccessDenied"],
            &["- what was meant is in tenant.acme.log_group"],
            &["FAIL", "canary of acme", "not accepted"],
        ],
        unsaid: &["the region may be wrong"],
    },
    Fault {
        name: "stream missing",
        wrong: Wrong::Configuration(|config| set_stage(config, "tenant_stream", "stream", "logz-{tenant}")),
        exit_code: 4,
        said: &[
            &["FAIL", "stage tenant_stream", "logz-acme"],
            &["stage.tenant_stream.stream"],
            &["FAIL", "canary of acme", "tenant_stream: cannot be read"],
        ],
        unsaid: &["the region may be wrong"],
    },
    Fault {
        name: "dead letters: the pipeline's function fails",
        wrong: Wrong::Pipeline("give-up"),
        exit_code: 3,
        said: &[
            &[
                "FAIL",
                "canary of acme",
                "given up by the pipeline, last seen at tenant_stream",
                "it is at dead_letters",
            ],
            &["tenant_stream ", "arrived after"],
            &["bigquery ", "not waited for"],
            &["look ", "what gave it up says why in dead_letters"],
        ],
        unsaid: &["cannot be read", "missing, not there"],
    },
    Fault {
        name: "queue of dead letters missing",
        wrong: Wrong::Configuration(|config| {
            let url = stage(config, "dead_letters")["queue_url"].as_str().expect("it is a text").to_owned();
            set_stage(config, "dead_letters", "queue_url", &format!("{url}-gone"));
        }),
        exit_code: 1,
        said: &[
            &["FAIL", "stage dead_letters", "poll"],
            &["stage.dead_letters.queue_url"],
            &["ok ", "canary of acme", "delivered after"],
        ],
        unsaid: &[],
    },
];

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_tells_what_is_wrong() {
    let is_long = std::env::var(FORM).is_ok_and(|form| form == "long");
    let mut scene = set_scene().await;
    let good = std::fs::read_to_string(&scene.config).expect("it was written");
    let mut wrong = Vec::new();
    println!("| fault | exit code | what check says |\n|---|---|---|");
    for fault in FAULTS.iter().filter(|fault| is_long || SHORT.contains(&fault.name)) {
        let mut config: Table = good.parse().expect("it is TOML");
        match fault.wrong {
            Wrong::NotTried(why) => {
                println!("| {} | not tried | {why} |", fault.name);
                continue;
            }
            Wrong::Nothing => {}
            Wrong::Pipeline(name) => scene.pipeline.put_fault(name).await,
            Wrong::Configuration(change) => change(&mut config),
        }
        std::fs::write(&scene.config, config.to_string()).expect("it was written before");
        let said = Said::of(&scene).await;
        if matches!(fault.wrong, Wrong::Pipeline(_)) {
            scene.pipeline.mend().await;
        }
        println!("| {} | {} | {} |", fault.name, said.exit_code, said.cell());
        wrong.extend(fault.fault_of(&said));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// One tenant, and a stage for what the pipeline gives up.
async fn set_scene() -> Scene {
    let lock = one_at_a_time().await;
    let pipeline = Pipeline::start("canary-faults", 1).await;
    let config = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("emulators-canary-faults.toml");
    let letters = dead_letters(&pipeline.about, "dead_letters", "1s");
    let text = configuration(&pipeline.about) + &letters;
    std::fs::write(&config, text).expect("cannot write the configuration");
    Scene { pipeline, config, _lock: lock }
}

/// What the program printed.
struct Said {
    exit_code: i32,
    lines: Vec<String>,
}

impl Said {
    async fn of(scene: &Scene) -> Self {
        let run = Command::new(PROGRAM)
            .args(["check", "--canary", "--timeout", FOLLOWED, "--config"])
            .arg(&scene.config)
            .env_clear()
            .envs(variables(&scene.pipeline.about.credentials))
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = timeout(ENDS_WITHIN, run).await.expect("check does not end").expect("it cannot start");
        let printed = [output.stdout, output.stderr].concat();
        let lines = String::from_utf8_lossy(&printed).lines().map(str::to_owned).collect();
        Self { exit_code: output.status.code().unwrap_or(-1), lines }
    }

    /// What fails and what to do about it, in a cell of a table; the end if nothing fails.
    fn cell(&self) -> String {
        let starts = ["FAIL", "note"];
        let labels = ["allow ", "key ", "look ", "run ", "- "];
        let mut told = false;
        let mut kept: Vec<String> = Vec::new();
        for line in &self.lines {
            let text = line.trim();
            if !line.starts_with(' ') {
                told = starts.iter().any(|start| line.starts_with(start));
                // Where the newest object is missing, the line tells what to compare.
                told |= line.contains("there is no object");
            }
            let is_label = labels.iter().any(|label| text.starts_with(label));
            if told && (!line.starts_with(' ') || is_label) {
                kept.push(text.chars().take(420).collect());
            }
        }
        if kept.is_empty() {
            kept.extend(self.lines.last().cloned());
        }
        kept.join("<br>").replace('|', "\\|")
    }
}

impl Fault {
    /// What a user would not learn, or would learn wrongly, with all that was printed.
    fn fault_of(&self, said: &Said) -> Option<String> {
        let is_line =
            |parts: &&&[&str]| said.lines.iter().any(|line| parts.iter().all(|part| line.contains(part)));
        let missing: Vec<_> = self.said.iter().filter(|parts| !is_line(parts)).collect();
        let is_said = |text: &&&str| said.lines.iter().any(|line| line.contains(**text));
        let wrong: Vec<_> = self.unsaid.iter().filter(is_said).collect();
        if missing.is_empty() && wrong.is_empty() && said.exit_code == self.exit_code {
            return None;
        }
        let (name, printed) = (self.name, said.lines.join("\n"));
        Some(format!(
            "{name}: exit code {} and not {}, no line with {missing:#?}, but {wrong:?} in:\n{printed}",
            said.exit_code, self.exit_code
        ))
    }
}

fn set(config: &mut Table, table: &str, key: &str, value: &str) {
    let table = config.get_mut(table).and_then(Value::as_table_mut).expect("it has the table");
    table.insert(key.to_owned(), value.into());
}

fn stage<'a>(config: &'a mut Table, name: &str) -> &'a mut Table {
    let stages = config.get_mut("stage").and_then(Value::as_array_mut).expect("it has stages");
    let mut tables = stages.iter_mut().filter_map(Value::as_table_mut);
    tables.find(|stage| stage["name"].as_str() == Some(name)).expect("it has the stage")
}

fn set_stage(config: &mut Table, name: &str, key: &str, value: &str) {
    stage(config, name).insert(key.to_owned(), value.into());
}

fn set_tenant(config: &mut Table, key: &str, value: &str) {
    let tenants = config.get_mut("tenant").and_then(Value::as_array_mut).expect("it has tenants");
    let tenant = tenants.first_mut().and_then(Value::as_table_mut).expect("it has one");
    tenant.insert(key.to_owned(), value.into());
}
