//! The program that drives the browser.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::process::Command;
use tokio::time::timeout;

/// The very first run downloads some 50 MB.
const SETUP_WITHIN: Duration = Duration::from_secs(300);
/// The program ends by itself earlier, and says what took long.
const WITHIN: Duration = Duration::from_secs(540);

/// What is done in the browser.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Brief,
    Short,
    Grid,
    Pictures,
}

impl Form {
    pub fn chosen() -> Form {
        match std::env::var("TRACEPROBE_BROWSER").as_deref() {
            Ok("short") => Form::Short,
            Ok("grid") => Form::Grid,
            Ok("pictures") => Form::Pictures,
            _ => Form::Brief,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Form::Brief => "brief",
            Form::Short => "short",
            Form::Grid => "grid",
            Form::Pictures => "pictures",
        }
    }
}

pub struct Driver {
    pub form: Form,
    python: PathBuf,
}

/// A page, or the address of a daemon, and what the first screen must name.
pub struct Place {
    pub name: &'static str,
    pub url: String,
    /// Tenant, stage and condition in the first incident; empty if nothing is broken.
    pub names: Vec<String>,
}

impl Driver {
    /// Installs the packages if necessary, and checks that the browser starts.
    pub async fn ready(form: Form) -> Driver {
        let run = Command::new(folder().join("setup.sh")).kill_on_drop(true).output();
        let output = timeout(SETUP_WITHIN, run)
            .await
            .expect("setup.sh takes too long")
            .expect("cannot start setup.sh");
        assert!(
            output.status.success(),
            "Playwright cannot be installed; this needs Python 3.11 or newer with venv, and PyPI: {}",
            printed(&output)
        );
        let python = String::from_utf8_lossy(&output.stdout).lines().last().map(PathBuf::from);
        let driver = Driver { form, python: python.expect("setup.sh prints the path of a Python") };
        driver.run(&json!({ "form": "start" })).await;
        driver
    }

    /// Opens these pages. Fails with everything that the program says.
    pub async fn open(&self, places: &[Place]) {
        let list: Vec<Value> =
            places.iter().map(|it| json!({ "name": it.name, "url": it.url, "names": it.names })).collect();
        let folder = std::env::var("TRACEPROBE_PICTURES").ok().filter(|folder| !folder.is_empty());
        let plan = json!({
            "form": self.form.name(),
            "places": list,
            "docs": concat!(env!("CARGO_MANIFEST_DIR"), "/docs"),
            "folder": folder,
        });
        println!("{}", self.run(&plan).await);
    }

    async fn run(&self, plan: &Value) -> String {
        let mut command = Command::new(&self.python);
        command.arg(folder().join("drive.py")).arg(plan.to_string()).kill_on_drop(true);
        let output = timeout(WITHIN, command.output()).await.expect("the browser takes too long").unwrap();
        let printed = printed(&output);
        assert!(output.status.success(), "{printed}");
        printed
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser")
}

fn printed(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
