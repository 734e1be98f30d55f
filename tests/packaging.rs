//! Checks what a package installs besides the program: completions, manual pages, the unit of systemd; the workflow that
//! builds a release; and the files for a deployment, with the programs that read them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use traceprobe::config::Config;

const PROGRAM: &str = env!("CARGO_BIN_EXE_traceprobe");
const UNIT: &str = "config/systemd/traceprobe.service";

fn run(arguments: &[&str]) -> String {
    let output = Command::new(PROGRAM).args(arguments).env_clear().output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The commands that `--help` lists.
fn commands() -> Vec<String> {
    let help = run(&["--help"]);
    let list = help.split("Commands:\n").nth(1).and_then(|rest| rest.split("\nOptions:").next()).unwrap();
    let entries = list.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    entries.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

#[test]
fn the_package_has_completions_for_three_shells_and_a_page_for_every_command() {
    let folder = std::env::temp_dir().join(format!("traceprobe-package-{}", std::process::id()));
    let output = Command::new(".ci/package-files").arg(PROGRAM).arg(&folder).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let printed = String::from_utf8(output.stdout).unwrap();
    let files: BTreeSet<_> = printed.lines().collect();
    for file in [
        "./share/bash-completion/completions/traceprobe",
        "./share/zsh/site-functions/_traceprobe",
        "./share/fish/vendor_completions.d/traceprobe.fish",
        "./share/man/man1/traceprobe.1",
        "./lib/systemd/system/traceprobe.service",
        "./share/doc/traceprobe/traceprobe.schema.json",
    ] {
        assert!(files.contains(file), "{file}: {printed}");
        assert!(fs::metadata(folder.join(file)).unwrap().len() > 100, "{file}");
    }
    let commands = commands();
    assert!(commands.len() >= 9, "{commands:?}");
    for command in commands.iter().filter(|command| *command != "help") {
        let page = format!("./share/man/man1/traceprobe-{command}.1");
        assert!(files.contains(page.as_str()), "{page}: {printed}");
        let text = fs::read_to_string(folder.join(page)).unwrap();
        assert!(text.starts_with(".ie") && text.contains(".SH SYNOPSIS"), "{text}");
    }
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn completions_know_every_command() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = run(&["completions", shell]);
        for command in commands() {
            assert!(script.contains(&command), "{shell}: {command}");
        }
    }
}

#[test]
fn a_page_that_does_not_exist_is_an_error() {
    let output = Command::new(PROGRAM).args(["man", "chekc"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("no page traceprobe-chekc"), "{output:?}");
}

#[test]
fn the_printed_schema_is_the_shipped_one() {
    assert_eq!(run(&["schema"]), fs::read_to_string("config/traceprobe.schema.json").unwrap());
}

/// The values of a directive of the unit, in order.
fn directive(name: &str) -> Vec<String> {
    let unit = fs::read_to_string(UNIT).unwrap();
    let start = format!("{name}=");
    unit.lines().filter_map(|line| line.strip_prefix(&start)).map(str::to_owned).collect()
}

fn seconds(name: &str) -> u64 {
    directive(name)[0].trim_end_matches('s').parse().unwrap()
}

#[test]
fn systemd_waits_longer_than_the_daemon_needs_to_stop() {
    let key = [("TRACEPROBE_TAG_KEY".to_owned(), "0123456789abcdef".to_owned())];
    let config = Config::load(Path::new("config/traceprobe.toml"), key).unwrap();
    let written = 10;
    assert!(seconds("TimeoutStopSec") >= config.probe.stop_grace.as_secs() + written);
}

#[test]
fn systemd_starts_the_daemon_again_unless_its_configuration_is_faulty() {
    let start = directive("ExecStart").remove(0);
    let arguments: Vec<_> = start.split(' ').skip(1).collect();
    let output = Command::new(PROGRAM).args(arguments).env_clear().output().unwrap();
    // The arguments are right, and the file is not there.
    assert_eq!(output.status.code(), Some(78), "{output:?}");
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("/etc/traceprobe/traceprobe.toml"),
        "{output:?}"
    );
    assert_eq!(directive("Restart"), ["always"]);
    assert_eq!(directive("RestartPreventExitStatus"), ["78"]);
}

#[test]
fn the_units_variables_are_known_and_hold_no_secret() {
    let state = std::env::temp_dir();
    let variables = directive("Environment").into_iter().filter(|line| line.starts_with("TRACEPROBE_"));
    let variables = variables.map(|line| {
        let (name, value) = line.split_once('=').unwrap();
        assert_ne!(name, "TRACEPROBE_TAG_KEY");
        (name.to_owned(), value.replace("%S", &state.display().to_string()))
    });
    let mut variables: Vec<_> = variables.collect();
    let key_file = state.join(format!("traceprobe-unit-{}", std::process::id()));
    fs::write(&key_file, "0123456789abcdef\n").unwrap();
    for (_, value) in variables.iter_mut().filter(|(name, _)| name == "TRACEPROBE_TAG_KEY_FILE") {
        assert_eq!(value, "%d/tag-key");
        *value = key_file.display().to_string();
    }
    assert_eq!(variables.len(), 2, "{variables:?}");
    let config = Config::load(Path::new("config/traceprobe.toml"), variables);
    fs::remove_file(&key_file).unwrap();
    config.unwrap_or_else(|faults| panic!("{faults}"));
    assert!(directive("LoadCredential")[0].starts_with("tag-key:"));
}

#[test]
fn the_unit_gives_the_daemon_no_right_that_it_does_not_need() {
    for (name, value) in [
        ("DynamicUser", "yes"),
        ("NoNewPrivileges", "yes"),
        ("CapabilityBoundingSet", ""),
        ("ProtectSystem", "strict"),
        ("ProtectHome", "yes"),
        ("PrivateTmp", "yes"),
        ("PrivateDevices", "yes"),
        ("ProtectKernelModules", "yes"),
        ("ProtectControlGroups", "yes"),
        ("RestrictNamespaces", "yes"),
        ("MemoryDenyWriteExecute", "yes"),
        ("SystemCallArchitectures", "native"),
    ] {
        assert_eq!(directive(name), [value], "{name}");
    }
    assert_eq!(directive("SystemCallFilter")[0], "@system-service");
}

#[test]
fn every_action_of_a_workflow_is_pinned_to_a_commit() {
    let mut pinned = 0;
    for entry in fs::read_dir(".github/workflows").unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        for action in
            text.lines().filter_map(|line| line.trim().trim_start_matches("- ").strip_prefix("uses: "))
        {
            let (reference, version) =
                action.split_once(" # v").unwrap_or_else(|| panic!("no version: {action}"));
            let commit = reference.split_once('@').map_or("", |(_, commit)| commit);
            assert!(commit.len() == 40 && commit.bytes().all(|b| b.is_ascii_hexdigit()), "{action}");
            assert!(version.starts_with(|c: char| c.is_ascii_digit()), "{action}");
            pinned += 1;
        }
        assert!(
            text.contains("permissions:\n  contents: read\n"),
            "the workflow has more rights than its jobs need"
        );
    }
    assert!(pinned >= 3, "{pinned}");
}

#[test]
fn the_cloudformation_templates_are_those_of_the_policies_and_the_task_definition() {
    let output = Command::new(".ci/cloudformation/generate.py").arg("--check").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Runs a script of `tests/deploy/` with the Python that a script of `setup` installs.
fn run_python(setup: &str, script: &str) {
    let installed = Command::new(setup).output().unwrap();
    assert!(installed.status.success(), "{}", String::from_utf8_lossy(&installed.stderr));
    let printed = String::from_utf8(installed.stdout).unwrap();
    let python = printed.lines().last().expect("it prints the path of its Python");
    let output = Command::new(python).arg(script).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
}

/// With cfn-lint, hadolint, the schema of Compose and the shapes of the ECS API: see `tests/deploy/README.md`.
#[test]
fn the_files_for_a_deployment_are_as_their_programs_want_them() {
    run_python("tests/deploy/setup.sh", "tests/deploy/check.py");
}

#[test]
fn an_emulator_creates_the_stacks_of_the_probe_and_of_a_tenant() {
    run_python("tests/emulators/setup.sh", "tests/deploy/stacks.py");
}
