//! The API against its own description, by Schemathesis; `tests/api/` has its settings.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use crate::SOON;
use crate::support::stand::Stand;
use traceprobe::sandbox::{Fault, Stage, StageEffect};

/// The very first run downloads some 30 packages.
const SETUP_WITHIN: Duration = Duration::from_secs(300);
/// Some 15 s.
const SHORT_WITHIN: Duration = Duration::from_secs(420);
/// Some minutes.
const LONG_WITHIN: Duration = Duration::from_secs(900);

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/api")
}

/// Both streams of a program, for the message of a failed test.
fn printed(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Installs Schemathesis if necessary. Returns its path.
async fn schemathesis() -> PathBuf {
    let run = Command::new(folder().join("setup.sh")).kill_on_drop(true).output();
    let output =
        timeout(SETUP_WITHIN, run).await.expect("setup.sh takes too long").expect("cannot start setup.sh");
    assert!(
        output.status.success(),
        "Schemathesis cannot be installed; this needs Python 3.11 or newer with venv, and PyPI: {}",
        printed(&output)
    );
    let python = String::from_utf8_lossy(&output.stdout).lines().last().map(PathBuf::from);
    python.expect("setup.sh prints the path of a Python").with_file_name("schemathesis")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_is_as_the_api_describes_it() {
    let (examples, within) = match std::env::var("TRACEPROBE_API").as_deref() {
        Ok("long") => ("500", LONG_WITHIN),
        _ => ("25", SHORT_WITHIN),
    };
    let schemathesis = schemathesis().await;
    let stand = Stand::brisk(3).await;
    // So that the lists of conditions, incidents, violations and failures have entries.
    for fault in [
        Fault::tenant_stage("acme", Stage::Transit, StageEffect::Lose { probability: 0.5 }),
        Fault::tenant_stage(
            "globex",
            Stage::TenantStream,
            StageEffect::Leak { into: "initech".to_owned(), probability: 0.5 },
        ),
    ] {
        stand.sandbox.fault(fault);
    }
    let daemon = stand.daemon(&[("DRILL_ENABLED", "true")]).await;
    daemon
        .until("a canary is lost and one has leaked", SOON, |recent| {
            recent.ended("lost") >= 1 && !recent.violations.is_empty()
        })
        .await;

    let mut command = Command::new(schemathesis);
    command.arg("--config-file").arg(folder().join("schemathesis.toml"));
    command.args(["run", &format!("{}/openapi.json", daemon.address()), "--max-examples", examples]);
    command.args(["--no-color", "--continue-on-failure"]);
    // It keeps failures in the working directory and repeats them, so it gets a new one.
    command.current_dir(stand.config().parent().expect("it is in a folder")).kill_on_drop(true);
    let output = timeout(within, command.output()).await.expect("Schemathesis takes too long").unwrap();
    assert!(output.status.success(), "{}", printed(&output));
    println!("{}", printed(&output));
}
