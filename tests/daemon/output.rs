//! Output that cannot be written: a full disk, a reader that has ended, a reader that does not read.

use std::fs::File;
use std::io::{Write as _, pipe};
use std::net::TcpListener;
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};
use std::time::Duration;

use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::SOON;
use crate::support::client::http;
use crate::support::process::PROGRAM;
use crate::support::stand::{Stand, variables};

/// The exit code of a panic.
const PANIC: i32 = 101;
/// What a pipe holds before a write to it blocks (pipe(7)).
const PIPE: usize = 64 << 10;

fn full_disk() -> Stdio {
    File::options().write(true).open("/dev/full").unwrap().into()
}

fn closed_pipe() -> Stdio {
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    writer.into()
}

fn start(arguments: &[&str], keys: &[(&str, &str)], stdout: Stdio, stderr: Stdio) -> Child {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).env_clear().envs(variables(keys)).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(stdout).stderr(stderr).spawn().expect("cannot start the program")
}

async fn ended(mut child: Child) -> ExitStatus {
    timeout(SOON, child.wait()).await.expect("it does not end").unwrap()
}

/// An address that is free. The daemon cannot print which port it chose, so it is not one of those that the system
/// gives to other tests meanwhile (ip_local_port_range, ip(7)).
fn free_address() -> String {
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    let own = u16::try_from(std::process::id() % 10_000).unwrap_or_default();
    let ports = std::iter::repeat_with(|| 20_000 + (own + TAKEN.fetch_add(1, Relaxed)) % 10_000);
    let mut addresses = ports.take(10_000).map(|port| format!("127.0.0.1:{port}"));
    addresses.find(|address| TcpListener::bind(address).is_ok()).expect("a port is free")
}

async fn until_it_answers(address: &str) {
    let url = format!("http://{address}/healthz");
    let answered = async {
        while http().get(&url).send().await.is_err() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(SOON, answered).await.expect("it does not answer");
}

async fn terminate(child: Child) -> ExitStatus {
    let id = child.id().expect("it has ended").to_string();
    let kill = Command::new("kill").args(["-TERM", &id]).status().await;
    assert!(kill.unwrap().success());
    ended(child).await
}

#[tokio::test(flavor = "multi_thread")]
async fn no_command_panics_if_its_output_cannot_be_written() {
    let stand = Stand::brisk(1).await;
    let config = stand.config();
    let config = config.to_str().unwrap();
    let tag = "zqtp201a201845b8377078707070707070707g8lj7bc7aala0a000lv4o2uhkunem";
    let commands: [&[&str]; 10] = [
        &["--help"],
        &["--version"],
        &["run", "--help"],
        &["no-such-command"],
        &["run", "--config", "/no/such/file"],
        &["check", "--config", config],
        &["check", "--offline", "--config", config],
        &["tag", tag],
        &["tag", "no tag"],
        &["healthcheck", "--address", "127.0.0.1:1"],
    ];
    for arguments in commands {
        for unwritable in [full_disk, closed_pipe] {
            let status = ended(start(arguments, &[], unwritable(), unwritable())).await;
            assert!(status.code().is_some_and(|code| code != PANIC), "{arguments:?}: {status}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_runs_without_its_output() {
    let stand = Stand::brisk(1).await;
    let config = stand.config();
    let run = ["run", "--config", config.to_str().unwrap()];
    for unwritable in [full_disk, closed_pipe] {
        let address = free_address();
        let daemon = start(&run, &[("PROBE_LISTEN", &address)], unwritable(), unwritable());
        until_it_answers(&address).await;
        assert_eq!(terminate(daemon).await.code(), Some(0));

        let address = free_address();
        let demo = start(&["demo", "--print-config", "--listen", &address], &[], unwritable(), unwritable());
        until_it_answers(&address).await;
        assert_eq!(terminate(demo).await.code(), Some(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_configuration_of_the_demo_is_all_of_its_stdout() {
    let address = free_address();
    let file = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("configuration-of-the-demo.toml");
    let stdout = File::create(&file).unwrap().into();
    let demo = start(&["demo", "--print-config", "--listen", &address], &[], stdout, Stdio::null());
    until_it_answers(&address).await;
    assert_eq!(terminate(demo).await.code(), Some(0));
    let printed: toml::Table = std::fs::read_to_string(&file).unwrap().parse().unwrap();
    assert_eq!(printed["probe"]["listen"].as_str(), Some(&*address));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_report_is_a_failure_but_a_reader_that_has_ended_is_none() {
    let tag = ["tag", "zqtp201a201845b8377078707070707070707g8lj7bc7aala0a000lv4o2uhkunem"];
    let key = [("TAG_KEY", "0123456789abcdef")];
    let lost = ended(start(&tag, &key, full_disk(), Stdio::null())).await;
    assert_eq!(lost.code(), Some(1));
    let closed = ended(start(&tag, &key, closed_pipe(), Stdio::null())).await;
    assert_eq!(closed.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_without_a_reader_blocks_nothing() {
    let stand = Stand::brisk(1).await;
    let config = stand.config();
    let address = free_address();
    let (_reader, mut writer) = pipe().unwrap();
    writer.write_all(&[b'\n'; PIPE]).unwrap();
    let keys = [("PROBE_LISTEN", &*address), ("LOG_LEVEL", "trace")];
    let run = ["run", "--config", config.to_str().unwrap()];
    let daemon = start(&run, &keys, Stdio::null(), writer.into());
    until_it_answers(&address).await;
    let delivered = async {
        while stand.sandbox.truth().len() < 5 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(SOON, delivered).await.expect("no canaries are sent");
    assert_eq!(terminate(daemon).await.code(), Some(0));
}
