//! The program as a user runs it: exit codes and output.

use std::net::TcpListener;
use std::process::Output;

use tokio::process::Command;

use crate::SOON;
use crate::support::stand::{Stand, variables};

/// Runs the program with only this environment.
pub async fn program(arguments: &[&str], environment: &[(String, String)]) -> Output {
    let run = Command::new(env!("CARGO_BIN_EXE_traceprobe"))
        .args(arguments)
        .env_clear()
        .envs(environment.iter().cloned())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(SOON, run).await;
    output.unwrap_or_else(|_| panic!("{arguments:?} does not exit")).expect("cannot start the program")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_reported_in_one_line() {
    let stand = Stand::brisk(1).await;
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let config = stand.config();
    // With a shorter interval than a second, there would be a note on it.
    let same_port = variables(&[("PROBE_LISTEN", &address), ("PROBE_INTERVAL", "1s")]);
    let output = program(&["run", "--config", config.to_str().unwrap()], &same_port).await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let printed = stderr(&output);
    assert_eq!(printed.lines().count(), 1, "{printed}");
    assert!(printed.contains(&address) && printed.to_lowercase().contains("in use"), "{printed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_tag_key_is_reported_in_one_line() {
    let stand = Stand::brisk(1).await;
    let config = stand.config();
    let output = program(&["run", "--config", config.to_str().unwrap()], &[]).await;
    assert_eq!(output.status.code(), Some(78), "{output:?}");
    let printed = stderr(&output);
    assert_eq!(printed.lines().filter(|line| line.contains("TRACEPROBE_TAG_KEY")).count(), 1, "{printed}");
    assert!(printed.lines().count() <= 2, "{printed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn six_faults_are_reported_at_once() {
    let stand = Stand::brisk(1).await;
    let config = stand.config();
    let faulty = variables(&[
        ("PROBE_INTERVAL", "soon"),
        ("PROBE_SLO", "2.5s"),
        ("PROBE_LISTEN", "localhost"),
        ("CANARY_SIZES", "100B,2GB"),
        ("STAGE_ARCHIVE_AFTER", "no_such_stage"),
        ("TENANT_ACME_ROLE_ARN", "acme"),
    ]);
    for command in ["run", "check"] {
        let output = program(&[command, "--config", config.to_str().unwrap()], &faulty).await;
        assert_eq!(output.status.code(), Some(78), "{output:?}");
        let printed = stderr(&output);
        for key in [
            "probe.interval",
            "probe.slo",
            "probe.listen",
            "canary.sizes",
            "stage.archive.after",
            "acme.role_arn",
        ] {
            assert!(printed.contains(key), "{key} is not reported: {printed}");
        }
        assert!(printed.starts_with("6 faults"), "{printed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_file_is_named() {
    let output = program(&["run", "--config", "/no/such/file.toml"], &variables(&[])).await;
    assert_eq!(output.status.code(), Some(78), "{output:?}");
    assert!(stderr(&output).contains("/no/such/file.toml"), "{output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_without_certificates_is_told_what_to_install() {
    let stand = Stand::brisk(1).await;
    let config = stand.config();
    let missing =
        ["SSL_CERT_FILE", "SSL_CERT_DIR"].map(|name| (name.to_owned(), "/no/such/place".to_owned()));
    let environment = [variables(&[]), missing.to_vec()].concat();
    for command in ["run", "check"] {
        let output = program(&[command, "--config", config.to_str().unwrap()], &environment).await;
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let printed = stdout(&output) + &stderr(&output);
        assert!(printed.contains("install the package ca-certificates"), "{printed}");
        assert!(!printed.contains("panic"), "{printed}");
    }
}

/// The variable that holds the text of a configuration.
fn as_text(config: &std::path::Path) -> (String, String) {
    ("TRACEPROBE_CONFIG_TEXT".to_owned(), std::fs::read_to_string(config).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_may_be_a_text_in_the_environment() {
    let stand = Stand::brisk(1).await;
    let environment = [variables(&[]), vec![as_text(&stand.config())]].concat();
    let output = program(&["check", "--offline"], &environment).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(stdout(&output).contains("configuration: 1 tenant,"), "{output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_beside_a_text_is_a_fault() {
    let stand = Stand::brisk(1).await;
    let config = stand.config();
    let environment = [variables(&[]), vec![as_text(&config)]].concat();
    for command in ["run", "check", "rules"] {
        let output = program(&[command, "--config", config.to_str().unwrap()], &environment).await;
        assert_eq!(output.status.code(), Some(78), "{output:?}");
        let printed = stderr(&output);
        assert!(printed.contains("TRACEPROBE_CONFIG_TEXT: is set, and "), "{printed}");
        assert!(printed.contains("set only one of them"), "{printed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_health_check_calls_the_address_of_the_daemon() {
    let stand = Stand::brisk(1).await;
    let daemon = stand.daemon(&[]).await;
    let address = daemon.address().trim_start_matches("http://").to_owned();
    let text = ("TRACEPROBE_CONFIG_TEXT".to_owned(), format!("[probe]\nlisten = \"{address}\"\n"));
    for environment in [variables(&[("PROBE_LISTEN", &address)]), vec![text]] {
        let output = program(&["healthcheck"], &environment).await;
        assert_eq!(output.status.code(), Some(0), "{environment:?}: {output:?}");
    }
    daemon.terminate(SOON).await;
}

#[tokio::test]
async fn a_health_check_does_not_guess_the_address_of_a_file_that_it_cannot_read() {
    let arguments = ["healthcheck", "--config", "/no/such/file.toml"];
    let output = program(&arguments, &[]).await;
    assert_eq!(output.status.code(), Some(78), "{output:?}");
    assert!(stderr(&output).contains("/no/such/file.toml: cannot be read"), "{output:?}");
    // Nothing of the file is needed.
    let output = program(&arguments, &variables(&[("PROBE_LISTEN", "127.0.0.1:1")])).await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}

#[tokio::test]
async fn arguments_that_exclude_each_other_or_cannot_be_read_are_told_with_what_is_right() {
    for (arguments, parts) in [
        (&["check", "--offline", "--timeout", "5m"][..], &["--offline", "--timeout"][..]),
        (&["demo", "--listen", "localhost:1"][..], &["localhost:1", "such as 127.0.0.1:9464"][..]),
    ] {
        let output = program(arguments, &[]).await;
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(parts.iter().all(|part| stderr(&output).contains(part)), "{output:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_variable_of_the_health_check_does_not_stop_the_daemon() {
    let stand = Stand::brisk(1).await;
    let daemon = stand.daemon(&[("HEALTHCHECK_ADDRESS", "127.0.0.1:9464")]).await;
    daemon.terminate(SOON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_health_check_fails_when_the_daemon_is_down() {
    let stand = Stand::brisk(1).await;
    let daemon = stand.daemon(&[]).await;
    let address = daemon.address().trim_start_matches("http://").to_owned();
    let output = program(&["healthcheck", "--address", &address], &[]).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    daemon.terminate(SOON).await;
    let output = program(&["healthcheck", "--address", &address], &[]).await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(stderr(&output).contains(&address), "{output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_signature_of_a_tag_is_verified() {
    let stand = Stand::brisk(1).await;
    let daemon = stand.daemon(&[]).await;
    daemon.until("a canary is delivered", SOON, |recent| recent.ended("delivered") >= 1).await;
    let tag = stand.sandbox.truth()[0].token.clone();
    let id = &tag[5..37];
    let line = format!("2026-11-22 ERROR {{\"trace_id\":\"{}\"}}", tag.to_uppercase());
    let output = program(&["tag", &line], &variables(&[])).await;
    let printed = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(printed.contains(id) && printed.contains("signature valid"), "{printed}");

    let other = [("TRACEPROBE_TAG_KEY".to_owned(), "the key of another probe: 0123456789".to_owned())];
    let output = program(&["tag", &tag], &other).await;
    assert!(stdout(&output).contains("NOT valid"), "{output:?}");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let output = program(&["tag", &tag], &[]).await;
    assert!(stdout(&output).contains("signature not checked"), "{output:?}");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let output = program(&["tag", "no tag at all"], &[]).await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let output = program(&["tag", &tag[..40]], &[]).await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}

#[tokio::test]
async fn a_tag_of_each_version_is_explained() {
    let key = [("TRACEPROBE_TAG_KEY".to_owned(), "0123456789abcdef".to_owned())];
    for (tag, version, purpose, tenant) in [
        ("zqtp101a201845b8377078707070707070707g8ljaala0a00b85rssvgun8r", "1", "probe", "g8lj"),
        ("zqtp201a201845b8377078707070707070707g8lj7bc7aala0a000lv4o2uhkunem", "2", "probe", "g8lj7bc7"),
        ("zqtp201a201845b8377078707070707070707g8lj7bc7aala0a001mf1mnpb70df7", "2", "check", "g8lj7bc7"),
        (
            "zqtp201a201845b8377078707070707070707g8lj7bc7aala0a00400sh10dnrvfa",
            "2",
            "reserved (4)",
            "g8lj7bc7",
        ),
    ] {
        let output = program(&["tag", &format!("zqtp is a marker, {tag} is a tag")], &key).await;
        let expected = format!(
            "version   {version}\npurpose   {purpose}\ntrace     01a201845b8377078707070707070707\n\
             planned   2026-11-22T04:29:41.123Z\ntenant    {tenant} (code)\ninstance  aala (code)\n\
             size      10240 bytes\nsignature valid\n"
        );
        assert_eq!(stdout(&output), expected, "{output:?}");
    }
    let cut = "zqtp201a201845b8377078707070707070707g8lj7bc7aala0a000lv4o2uh";
    assert_eq!(cut.len(), 61);
    let output = program(&["tag", cut], &key).await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(
        stderr(&output).contains("61 letters and digits long in version 1 or 66 in version 2"),
        "{output:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn help_describes_every_subcommand() {
    let top = stdout(&program(&["--help"], &[]).await);
    for subcommand in
        ["run", "check", "demo", "drill", "healthcheck", "tag", "rules", "schema", "completions", "man"]
    {
        assert!(top.contains(&format!("\n  {subcommand} ")), "{top}");
        let help = program(&[subcommand, "--help"], &[]).await;
        assert_eq!(help.status.code(), Some(0), "{help:?}");
        let help = stdout(&help);
        // What it does, and how it is called.
        assert!(help.lines().next().is_some_and(|line| line.len() > 30), "{help}");
        assert!(help.contains("Usage: traceprobe"), "{help}");
    }
    insta::assert_snapshot!("help", top);
    let nothing = program(&[], &[]).await;
    assert_eq!(nothing.status.code(), Some(2), "{nothing:?}");
    assert!(stderr(&nothing).contains("Usage: traceprobe"), "{nothing:?}");
}
