use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::time::advance;

use super::*;
use crate::domain::outcome::Outcome;
use crate::domain::topology::fixture::topology;
use crate::domain::trace::Trace;
use crate::store::tests::{ALL, Folder, break_disk, ended, open, trace};

fn clock() -> WallClock {
    WallClock::new(|| Timestamp::from_secs(1_800_000_000))
}

fn settings(path: Option<PathBuf>) -> Settings {
    Settings::new(path, 1_000, Duration::from_secs(86_400))
}

fn host() -> Naming {
    Naming::Host("host".to_owned())
}

async fn start(folder: &Folder, naming: &str) -> OpenedStore {
    let naming = Naming::Host(naming.to_owned());
    StoreWriter::open(settings(Some(folder.file())), Arc::new(topology()), naming, ALL, clock())
        .await
        .unwrap()
}

async fn start_on(disk: impl Fn() -> Result<Opened, StoreError> + Send + Sync + 'static) -> StoreWriter {
    let open: Arc<OpenFn> = Arc::new(move |_| disk());
    StoreWriter::open_with(open, settings(None), host(), ALL, clock()).await.unwrap().writer
}

fn changes(ns: impl IntoIterator<Item = u8>) -> Changes {
    let traces = ns.into_iter().map(|n| (Arc::new(trace(n)), false)).collect();
    Changes { traces, ..Changes::default() }
}

fn nothing_to_resync() -> Changes {
    panic!("the full state was requested although the store is healthy")
}

fn on_disk(folder: &Folder) -> usize {
    open(&folder.file()).unwrap().store.load(ALL).unwrap().traces.len()
}

fn done(commit: &CommitOutcome) {
    assert!(matches!(commit, CommitOutcome::Done), "{commit:?}");
}

fn late_load(commit: &CommitOutcome) -> &[Trace] {
    match commit {
        CommitOutcome::LateLoad(loaded) => &loaded.traces,
        CommitOutcome::Done | CommitOutcome::Degraded { .. } => panic!("{commit:?}"),
    }
}

fn reason(commit: &CommitOutcome) -> &str {
    match commit {
        CommitOutcome::Degraded { reason } => reason,
        CommitOutcome::Done | CommitOutcome::LateLoad(_) => panic!("{commit:?}"),
    }
}

#[tokio::test]
async fn committed_traces_and_the_instance_name_survive_a_restart() {
    let folder = Folder::new();
    let mut first = start(&folder, "ip-10-0-0-1").await.writer;
    done(&first.commit(changes([1, 2]), nothing_to_resync).await);
    first.close().await;
    let second = start(&folder, "ip-10-0-0-2").await;
    assert_eq!(second.loaded.traces, [trace(1), trace(2)]);
    assert_eq!(second.instance, Instance::of("ip-10-0-0-1"));
    assert_eq!(*second.writer.subscribe_state().borrow(), StoreState::Healthy);
}

#[tokio::test]
async fn without_a_store_a_commit_succeeds_at_once() {
    let mut writer = StoreWriter::in_memory(&host(), clock()).writer;
    done(&writer.commit(changes([1]), nothing_to_resync).await);
    assert_eq!(*writer.subscribe_state().borrow(), StoreState::NotConfigured);
    assert!(writer.degraded().is_none());
}

#[tokio::test(start_paused = true)]
async fn after_a_disk_failure_nothing_is_written_until_a_retry_writes_the_full_state() {
    let folder = Folder::new();
    start(&folder, "host").await.writer.close().await;
    let opened = AtomicU32::new(0);
    let path = folder.file();
    let mut writer = start_on(move || {
        let opening = open(&path)?;
        if opened.fetch_add(1, Ordering::Relaxed) == 0 {
            break_disk(&opening.store);
        }
        Ok(opening)
    })
    .await;
    assert!(writer.degraded().is_none());
    let commit = writer.commit(changes([1]), nothing_to_resync).await;
    assert_eq!(reason(&commit), "the store cannot be written: attempt to write a readonly database");
    assert!(writer.degraded().is_some());
    let commit = writer.commit(changes([2]), || panic!("too early")).await;
    assert!(reason(&commit).contains("cannot be written"));
    advance(writer.settings.retry_delay).await;
    done(&writer.commit(changes([3]), || changes([1, 2, 3])).await);
    assert_eq!(*writer.subscribe_state().borrow(), StoreState::Healthy);
    done(&writer.commit(changes([4]), nothing_to_resync).await);
    writer.close().await;
    assert_eq!(on_disk(&folder), 4);
}

/// A writer whose disk could not be read at the start, and hangs until what is returned beside it is dropped.
async fn start_on_a_hanging_disk(folder: &Folder) -> (StoreWriter, std::sync::mpsc::SyncSender<()>) {
    let (hang, disk) = std::sync::mpsc::sync_channel(0);
    let (path, opened, disk) = (folder.file(), AtomicU32::new(0), Mutex::new(disk));
    let writer = start_on(move || match opened.fetch_add(1, Ordering::Relaxed) {
        0 => Err(StoreError::Corrupt("temporary".to_owned())),
        _ => {
            let _ = disk.lock().unwrap().recv();
            open(&path)
        }
    });
    (writer.await, hang)
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_hangs_delays_one_commit_by_the_time_limit_and_no_other() {
    let folder = Folder::new();
    let (mut writer, hang) = start_on_a_hanging_disk(&folder).await;
    assert!(writer.degraded().is_some(), "a temporary failure does not keep the probe from starting");
    let (commit_timeout, retry_delay) = (writer.settings.commit_timeout, writer.settings.retry_delay);
    advance(retry_delay).await;
    let (commit, ()) = tokio::join!(writer.commit(changes([1]), || changes([1])), advance(commit_timeout));
    assert_eq!(reason(&commit), "the disk that holds the store did not respond within 2 s");
    advance(retry_delay).await;
    let before = Instant::now();
    writer.commit(changes([2]), || panic!("the previous job still hangs")).await;
    assert_eq!(Instant::now(), before);
    drop(hang);
    while matches!(&writer.slot, Slot::Busy(job) if !job.is_finished()) {
        tokio::task::yield_now().await;
    }
    assert!(late_load(&writer.commit(changes([]), nothing_to_resync).await).is_empty());
    done(&writer.commit(changes([]), || changes([1, 2])).await);
    writer.close().await;
    assert_eq!(on_disk(&folder), 2);
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_the_store_degrades_it_until_the_next_retry() {
    let folder = Folder::new();
    let (path, opened) = (folder.file(), AtomicU32::new(0));
    let mut writer = start_on(move || match opened.fetch_add(1, Ordering::Relaxed) {
        0 | 1 => panic!("no more stack"),
        _ => open(&path),
    })
    .await;
    advance(writer.settings.retry_delay).await;
    let commit = writer.commit(changes([1]), || changes([1])).await;
    assert!(reason(&commit).contains("no more stack"), "{commit:?}");
    advance(writer.settings.retry_delay).await;
    assert!(late_load(&writer.commit(changes([1]), nothing_to_resync).await).is_empty());
    done(&writer.commit(changes([1]), || changes([1])).await);
}

#[tokio::test]
async fn a_store_that_another_process_holds_can_be_opened_once_that_has_ended() {
    let folder = Folder::new();
    let mut before = start(&folder, "ip-10-0-0-1").await.writer;
    let naming = Naming::Host("ip-10-0-0-2".to_owned());
    let held =
        StoreWriter::open(settings(Some(folder.file())), Arc::new(topology()), naming, ALL, clock()).await;
    assert!(matches!(held, Err(StoreError::Locked(_))), "{held:?}");
    done(&before.commit(changes([1]), nothing_to_resync).await);
    before.close().await;
    let started = start(&folder, "ip-10-0-0-2").await;
    assert_eq!(started.loaded.traces, [trace(1)]);
}

#[tokio::test(start_paused = true)]
async fn what_a_previous_run_left_is_loaded_once_the_disk_can_be_read() {
    let folder = Folder::new();
    let mut before = start(&folder, "host").await.writer;
    done(&before.commit(changes([1]), nothing_to_resync).await);
    before.close().await;
    let (path, attempts) = (folder.file(), AtomicU32::new(0));
    let mut writer = start_on(move || match attempts.fetch_add(1, Ordering::SeqCst) {
        0 => Err(StoreError::Corrupt("cannot be read yet".into())),
        _ => open(&path),
    })
    .await;
    advance(writer.settings.retry_delay).await;
    assert_eq!(late_load(&writer.commit(changes([2]), nothing_to_resync).await), [trace(1)]);
    done(&writer.commit(changes([]), || changes([1, 2])).await);
    writer.close().await;
    assert_eq!(on_disk(&folder), 2);
}

/// A writer whose load of what a previous run left has ended after the time limit of its commit. Another load would
/// find nothing.
async fn loaded_too_late(folder: &Folder) -> StoreWriter {
    let mut before = start(folder, "host").await.writer;
    done(&before.commit(changes([1]), nothing_to_resync).await);
    before.close().await;
    let (mut writer, hang) = start_on_a_hanging_disk(folder).await;
    let (commit_timeout, retry_delay) = (writer.settings.commit_timeout, writer.settings.retry_delay);
    advance(retry_delay).await;
    let (commit, ()) = tokio::join!(writer.commit(changes([2]), nothing_to_resync), advance(commit_timeout));
    assert_eq!(reason(&commit), "the disk that holds the store did not respond within 2 s");
    drop(hang);
    while matches!(&writer.slot, Slot::Busy(job) if !job.is_finished()) {
        tokio::task::yield_now().await;
    }
    writer.pending_load = Some(LoadLimits { since: Timestamp::MAX, ..ALL });
    advance(retry_delay).await;
    writer
}

#[tokio::test(start_paused = true)]
async fn what_is_loaded_too_late_for_its_commit_is_restored_by_the_next_one() {
    let folder = Folder::new();
    let mut writer = loaded_too_late(&folder).await;
    assert_eq!(late_load(&writer.commit(changes([2]), nothing_to_resync).await), [trace(1)]);
    done(&writer.commit(changes([]), || changes([1, 2])).await);
    assert_eq!(*writer.subscribe_state().borrow(), StoreState::Healthy);
    writer.close().await;
    assert_eq!(on_disk(&folder), 2);
}

#[tokio::test(start_paused = true)]
async fn what_is_loaded_too_late_is_loaded_again_for_a_topology_that_has_succeeded() {
    let folder = Folder::new();
    let mut writer = loaded_too_late(&folder).await;
    writer.succeed(Arc::new(topology()));
    assert!(late_load(&writer.commit(changes([2]), nothing_to_resync).await).is_empty());
}

#[tokio::test]
async fn a_permanent_fault_fails_the_start() {
    let missing = Folder::new().0.join("store.db");
    let start = StoreWriter::open(settings(Some(missing)), Arc::new(topology()), host(), ALL, clock()).await;
    assert!(matches!(start, Err(StoreError::NoFolder(_))), "{start:?}");
}

#[tokio::test(start_paused = true)]
async fn traces_beyond_the_limit_are_removed_between_commits() {
    let folder = Folder::new();
    let mut writer = start(&folder, "host").await.writer;
    writer.settings.max_finished = 3;
    let traces = (0..12).map(|n| (Arc::new(ended(n, Outcome::Delivered)), true)).collect();
    let finished = Changes { traces, ..Changes::default() };
    advance(writer.settings.prune_every).await;
    done(&writer.commit(finished, nothing_to_resync).await);
    done(&writer.commit(changes([15]), nothing_to_resync).await);
    writer.close().await;
    assert_eq!(on_disk(&folder), 4);
}

#[tokio::test(start_paused = true)]
async fn a_file_that_was_deleted_degrades_the_store_until_the_full_state_is_in_a_new_one() {
    let folder = Folder::new();
    let mut writer = start(&folder, "host").await.writer;
    done(&writer.commit(changes([1]), nothing_to_resync).await);
    std::fs::remove_file(folder.file()).unwrap();
    done(&writer.commit(changes([2]), nothing_to_resync).await);
    advance(writer.settings.prune_every).await;
    done(&writer.commit(changes([3]), nothing_to_resync).await);
    let deleted = format!("{} was deleted or replaced while it was open", folder.file().display());
    assert_eq!(reason(&writer.commit(changes([4]), nothing_to_resync).await), deleted);
    advance(writer.settings.retry_delay).await;
    done(&writer.commit(changes([5]), || changes(1..6)).await);
    assert_eq!(*writer.subscribe_state().borrow(), StoreState::Healthy);
    advance(writer.settings.prune_every).await;
    done(&writer.commit(changes([6]), nothing_to_resync).await);
    done(&writer.commit(changes([7]), nothing_to_resync).await);
    writer.close().await;
    assert_eq!(on_disk(&folder), 7);
}
