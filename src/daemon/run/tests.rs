use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::TcpListener as Listener;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::runtime::Builder;

use super::*;
use crate::daemon::clock;
use crate::domain::steady::Offset;
use crate::domain::time::Timestamp;
use crate::store::tests::Folder;

/// A listening socket that stands for an external service. Connections wait in its backlog.
struct ExternalService(Listener);

impl ExternalService {
    fn new() -> Self {
        let listener = Listener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        Self(listener)
    }

    fn url(&self) -> String {
        format!("http://{}", self.0.local_addr().unwrap())
    }

    fn was_called(&self) -> bool {
        match self.0.accept() {
            Ok(_) => true,
            Err(error) if error.kind() == ErrorKind::WouldBlock => false,
            Err(error) => panic!("{error}"),
        }
    }

    async fn called(self) {
        let listener = TcpListener::from_std(self.0).unwrap();
        let accepted = tokio::time::timeout(Duration::from_secs(30), listener.accept()).await;
        accepted.expect("no call was made").unwrap();
    }
}

/// Every service that a daemon can call, and the folder of its store.
struct Outside {
    logs: ExternalService,
    kinesis: ExternalService,
    ecs: ExternalService,
    folder: Folder,
}

impl Outside {
    fn new() -> Self {
        Self {
            logs: ExternalService::new(),
            kinesis: ExternalService::new(),
            ecs: ExternalService::new(),
            folder: Folder::new(),
        }
    }

    async fn daemon(&self) -> Daemon {
        let text = format!(
            r#"
[probe]
listen = "127.0.0.1:0"
interval = "20ms"
[aws]
region = "eu-central-1"
auth = "none"
[aws.endpoints]
logs = "{}"
kinesis = "{}"
[store]
path = "{}"
[[tenant]]
name = "acme"
log_group = "/acme"
[[stage]]
name = "stream"
kind = "kinesis"
stream = "logs-{{tenant}}"
interval = "1s"
end = true
"#,
            self.logs.url(),
            self.kinesis.url(),
            self.folder.file().display()
        );
        let env = [
            ("TRACEPROBE_TAG_KEY", "0123456789abcdef".to_owned()),
            ("ECS_CONTAINER_METADATA_URI_V4", self.ecs.url()),
        ];
        let env = env.map(|(name, value)| (name.to_owned(), value));
        let config = Config::parse(&text, env).unwrap_or_else(|faults| panic!("{faults}"));
        Daemon::new(config, clock::system()).await.unwrap()
    }
}

/// Ends a task that computes, so that the test leaves no thread behind.
#[derive(Default)]
struct Computing(AtomicBool);

impl Computing {
    fn task(self: Arc<Self>) -> Task {
        Task::new("computes", async move {
            while !self.0.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        })
    }
}

#[test]
fn a_task_that_computes_does_not_hold_up_the_end() {
    let outside = Outside::new();
    // The only thread of the tasks computes, so no other task runs, and no timer of theirs.
    let tasks = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let main = Builder::new_current_thread().enable_all().build().unwrap();
    let mut daemon = tasks.block_on(outside.daemon());
    daemon.handles.stop_grace = Duration::ZERO;
    let computing = Arc::new(Computing::default());
    daemon.tasks.insert(0, computing.clone().task());
    let ended = main.block_on(async {
        tokio::time::timeout(Duration::from_secs(60), daemon.run(std::future::ready(()))).await
    });
    computing.0.store(true, Ordering::Relaxed);
    tasks.shutdown_background();
    ended.expect("it waits for the task").unwrap();
}

#[tokio::test]
async fn a_daemon_runs_no_task_and_makes_no_call_before_it_is_started() {
    let (idle, busy) = (Outside::new(), Outside::new());
    let runtime = Handle::current().metrics();
    let built = idle.daemon().await;
    let control = busy.daemon().await;
    assert_eq!(runtime.num_alive_tasks(), 0, "a constructor started a task");
    let tasks: BTreeSet<_> = built.tasks.iter().map(Task::name).collect();
    let expected = [
        "observe kinesis logs-acme",
        "poll the clock's error bound",
        "inject /acme",
        "serve pages",
        "reload",
        ENGINE,
    ];
    assert_eq!(tasks, expected.into());

    // Once each task of a second, started daemon has made a call, the first would have made its own.
    let running = control.start();
    assert_eq!(running.supervisor.running().count(), expected.len());
    tokio::join!(busy.ecs.called(), busy.logs.called(), busy.kinesis.called());
    for (service, name) in [(&idle.ecs, "ECS"), (&idle.logs, "Logs"), (&idle.kinesis, "Kinesis")] {
        assert!(!service.was_called(), "a daemon that was not started called {name}");
    }

    // Started, it does make calls.
    let running = built.start();
    idle.ecs.called().await;
    drop(running);
}

/// A daemon with a grace period of a minute whose engine does this.
fn running(engine: impl FnOnce(CancellationToken, oneshot::Sender<engine::End>) -> Task) -> Running {
    let (report_end, engine_end) = oneshot::channel();
    let (stop, (_, ends)) = (CancellationToken::new(), reload::channels());
    let mut supervisor = Supervisor::new(Handle::current());
    supervisor.start(engine(stop.clone(), report_end));
    let handles = Handles {
        stop,
        end: CancellationToken::new(),
        engine_end,
        scrapes: Arc::default(),
        stop_grace: Duration::from_secs(60),
        reloader: ends.reloader,
        new_tasks: ends.tasks,
    };
    Running { supervisor, handles }
}

/// How the clock was set.
fn an_hour() -> Offset {
    Offset::between(Timestamp::from_secs(0), Timestamp::from_secs(3_600))
}

/// An engine that gives up after two hours because the clock was set. It takes a second, in which the tasks
/// that it has `dismissed` end.
fn that_gives_up(
    stop: CancellationToken,
    dismissed: CancellationToken,
    report_end: oneshot::Sender<engine::End>,
) -> Task {
    Task::new(ENGINE, async move {
        tokio::time::sleep(Duration::from_secs(7_200)).await;
        stop.cancel();
        dismissed.cancel();
        tokio::time::sleep(Duration::from_secs(1)).await;
        report_end.send(engine::End::ClockStepped(an_hour())).unwrap();
    })
}

#[tokio::test(start_paused = true)]
async fn a_task_that_ends_before_the_engine_does_not_hide_that_the_clock_was_set() {
    let dismissed = CancellationToken::new();
    let leaves = dismissed.clone();
    let mut daemon = running(|stop, report_end| that_gives_up(stop, dismissed.clone(), report_end));
    let observer = Task::new("observe", async move { leaves.cancelled().await }).until(dismissed);
    daemon.supervisor.start(observer);
    let began = Instant::now();
    let error = daemon.until(std::future::pending()).await.unwrap_err();
    assert!(error.is::<ClockStepped>(), "{error:#}");
    assert_eq!(began.elapsed().as_secs(), 7_201);
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_hangs_after_it_gave_up_is_abandoned_after_the_grace_period() {
    let daemon = running(|stop, report_end| {
        Task::new(ENGINE, async move {
            stop.cancel();
            std::future::pending::<()>().await;
            drop(report_end);
        })
    });
    let began = Instant::now();
    let error = daemon.until(std::future::pending()).await.unwrap_err();
    assert_eq!(error.to_string(), "the engine stopped by itself and did not end in time");
    let at_most = Duration::from_secs(60) + LAST_COMMIT + ENDING;
    assert_eq!(began.elapsed().as_secs(), at_most.as_secs());
}
