//! Runs promtool and amtool on files that are written for it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The path of a program of Prometheus or Alertmanager. Without it the test fails and says what to install.
pub fn tool(name: &str) -> PathBuf {
    // Another version of promtool, such as one of Prometheus 3, can be put in its place.
    if let Some(path) = std::env::var_os("TRACEPROBE_PROMTOOL").filter(|_| name == "promtool") {
        return path.into();
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools/promtool.sh");
    let output = Command::new("sh").arg(script).arg(name).output().expect("cannot start sh");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("a path is text").trim().into()
}

/// Whether the promtool in use is of Prometheus 2. One that was built without its release's flags has no version,
/// and Debian's has.
pub fn is_of_prometheus_2() -> bool {
    run("promtool", &["--version"]).contains("version 2.")
}

/// A folder that is removed at the end.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path =
            PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("rules-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).expect("cannot create the folder of the test");
        Self(path)
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).expect("cannot write a file of the test");
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _still_there = fs::remove_dir_all(&self.0);
    }
}

/// Runs a program; fails with what it printed if it does.
pub fn run(name: &str, arguments: &[&str]) -> String {
    let output =
        Command::new(tool(name)).args(arguments).output().unwrap_or_else(|error| panic!("{name}: {error}"));
    let printed = [output.stdout, output.stderr].concat();
    let printed = String::from_utf8_lossy(&printed).into_owned();
    assert!(output.status.success(), "{name} {arguments:?}: {printed}");
    printed
}
