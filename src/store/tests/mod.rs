//! Tests of single facts. Properties of arbitrary histories are in `replay`.

mod aggregates;
mod history;
mod replay;

use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};

use self::history::{canary, t};
use super::*;
use crate::domain::conditions::{Blame, Condition, ConditionName, Detail, Severity, Subject};
use crate::domain::incidents::{AffectedCanaries, IncidentId, State};
use crate::domain::outcome::Outcome;
use crate::domain::schema::{Column, TableSchema};
use crate::domain::sighting::Locator;
use crate::domain::tag::{Claim, Purpose, Tag, TenantCode};
use crate::domain::topology::fixture::*;
use crate::domain::topology::{HopRange, LogGroupId, Owner, Role, Source, Stage, StageId, Tenant, TenantId};
use crate::domain::trace::{Hop, Origin, Visit};
use crate::domain::tracker::LeakedTenant;

/// A temporary folder for one test, deleted when it is dropped.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("traceprobe-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.0.join("store.db")
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

pub(crate) const ALL: LoadLimits =
    LoadLimits { since: Timestamp::MIN, max_delivered: usize::MAX, max_of_tenant: usize::MAX };

pub(super) fn in_memory() -> Store {
    Store::set_up(Connection::open_in_memory().unwrap(), Arc::new(topology())).unwrap()
}

pub(crate) fn open(path: &Path) -> Result<Opened, StoreError> {
    Store::open(path, Arc::new(topology()), t(0))
}

pub(crate) fn trace(n: u8) -> Trace {
    Trace { log_group: Some(LogGroupId::FIRST), ..Trace::new(canary(n), ACME, 5, Origin::Planned) }
}

pub(crate) fn ended(n: u8, outcome: Outcome) -> Trace {
    Trace { ended: Some((outcome, t(9))), ..trace(n) }
}

/// Makes every later write fail.
pub(crate) fn break_disk(store: &Store) {
    store.connection.pragma_update(None, "query_only", true).unwrap();
}

fn save(store: &mut Store, trace: Trace) {
    let finished = trace.ended.is_some();
    store.save(&vec![(Arc::new(trace), finished)].into()).unwrap();
}

fn ids(loaded: &Loaded) -> Vec<TraceId> {
    loaded.traces.iter().map(Trace::id).collect()
}

#[test]
fn saved_traces_are_loaded_after_the_file_was_closed() {
    let folder = Folder::new();
    let mut store = open(&folder.file()).unwrap().store;
    save(&mut store, trace(1));
    save(&mut store, ended(2, Outcome::Refused("no".into())));
    drop(store);
    let opened = open(&folder.file()).unwrap();
    assert_eq!(opened.quarantine, None);
    let mut store = opened.store;
    assert_eq!(store.load(ALL).unwrap().traces, [trace(1), ended(2, Outcome::Refused("no".into()))]);
    assert_eq!(
        folder.names(),
        ["store.db", "store.db-wal"],
        "no shared-memory file, so the store works on a network file system"
    );
}

#[test]
fn a_newer_database_is_refused_with_both_versions_and_not_changed() {
    let folder = Folder::new();
    let store = open(&folder.file()).unwrap().store;
    store.connection.pragma_update(None, "user_version", 999).unwrap();
    drop(store);
    let before = fs::read(folder.file()).unwrap();
    let error = open(&folder.file()).unwrap_err();
    assert!(error.is_permanent());
    assert_eq!(
        error.to_string(),
        format!(
            "the store has version 999, but this program supports versions up to {}: the file was not changed; run the newer program, or set another path",
            schema::VERSION
        )
    );
    assert_eq!(fs::read(folder.file()).unwrap(), before);
    assert_eq!(folder.names(), ["store.db"]);
}

#[test]
fn another_programs_database_is_not_changed() {
    let folder = Folder::new();
    Connection::open(folder.file()).unwrap().execute_batch("CREATE TABLE theirs (a)").unwrap();
    let before = fs::read(folder.file()).unwrap();
    assert!(matches!(open(&folder.file()), Err(StoreError::NotOurs)));
    assert_eq!(fs::read(folder.file()).unwrap(), before);
}

#[test]
fn a_file_that_is_not_a_database_is_quarantined() {
    let folder = Folder::new();
    let bytes = [0x80, 0, 0x13].repeat(300);
    fs::write(folder.file(), &bytes).unwrap();
    let quarantined = open(&folder.file()).unwrap().quarantine.unwrap();
    assert_eq!(quarantined.path.file_name().unwrap(), "store.db.corrupt-20270115T080000.000000Z");
    assert_eq!(fs::read(&quarantined.path).unwrap(), bytes);
    assert!(quarantined.damage.contains("not a database"), "{}", quarantined.damage);
}

#[test]
fn a_text_is_refused_and_stays_as_it_is() {
    for text in ["# a configuration\n[probe]\n".to_owned(), "é".repeat(200), format!("{}é", "x".repeat(255))]
    {
        let folder = Folder::new();
        fs::write(folder.file(), &text).unwrap();
        let refused = open(&folder.file()).unwrap_err();
        assert!(matches!(&refused, StoreError::Text(path) if *path == folder.file()), "{refused}");
        assert!(refused.is_permanent());
        assert_eq!(fs::read_to_string(folder.file()).unwrap(), text);
    }
}

#[test]
fn a_damaged_database_is_quarantined_and_a_new_one_works() {
    for damage in [
        |bytes: &mut Vec<u8>| bytes.truncate(bytes.len() / 2),
        |bytes: &mut Vec<u8>| bytes[4_096..12_000].fill(7),
    ] {
        let folder = Folder::new();
        let mut store = open(&folder.file()).unwrap().store;
        (0..200).for_each(|n| save(&mut store, trace(n)));
        drop(store);
        let mut bytes = fs::read(folder.file()).unwrap();
        damage(&mut bytes);
        fs::write(folder.file(), &bytes).unwrap();
        let Opened { mut store, quarantine } = open(&folder.file()).unwrap();
        assert_eq!(fs::read(quarantine.unwrap().path).unwrap(), bytes);
        assert_eq!(store.load(ALL).unwrap().traces, []);
        save(&mut store, trace(1));
    }
}

#[test]
fn a_damaged_file_never_replaces_a_quarantined_one() {
    let folder = Folder::new();
    for byte in [0x80, 0x81] {
        fs::write(folder.file(), [byte; 600]).unwrap();
        drop(open(&folder.file()));
    }
    let error = open(&folder.file()).unwrap_err();
    assert!(matches!(error, StoreError::QuarantineFailed { .. }), "{error}");
}

#[test]
fn a_missing_folder_is_named() {
    let folder = Folder::new();
    let error = open(&folder.0.join("missing/store.db")).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("the folder {} does not exist", folder.0.join("missing").display())
    );
}

#[test]
fn a_device_or_a_folder_is_neither_opened_nor_moved() {
    assert!(matches!(open(Path::new("/dev/full")), Err(StoreError::NotAFile(_))));
    assert!(matches!(open(Path::new("/tmp")), Err(StoreError::NotAFile(_))));
    assert!(Path::new("/dev/full").exists());
}

#[test]
fn a_file_that_cannot_be_written_is_an_error() {
    assert!(matches!(open(Path::new("/proc/store.db")), Err(StoreError::Other(_))));
    let mut store = in_memory();
    store.connection.pragma_update(None, "query_only", true).unwrap();
    let refused = store.save(&vec![(Arc::new(trace(1)), false)].into());
    assert!(matches!(refused, Err(StoreError::ReadOnly(_))), "{refused:?}");
}

#[test]
fn a_second_process_cannot_open_the_store() {
    let folder = Folder::new();
    let _first = open(&folder.file()).unwrap();
    let second = open(&folder.file());
    assert!(matches!(second, Err(StoreError::Locked(_))), "{second:?}");
}

#[test]
fn on_a_full_disk_no_part_of_the_batch_is_written() {
    let folder = Folder::new();
    let mut store = open(&folder.file()).unwrap().store;
    save(&mut store, trace(0));
    store.connection.pragma_update(None, "max_page_count", 12).unwrap();
    let batch: Batch = (1..200).map(|n| (Arc::new(trace(n)), false)).collect();
    let batch = Changes::from(batch);
    let full = store.save(&batch);
    assert!(matches!(full, Err(StoreError::Full(_))), "{full:?}");
    assert_eq!(store.load(ALL).unwrap().traces, [trace(0)]);
    store.connection.pragma_update(None, "max_page_count", 10_000).unwrap();
    store.save(&batch).unwrap();
    assert_eq!(store.load(ALL).unwrap().traces.len(), 200);
}

#[test]
fn a_host_name_is_kept_and_a_configured_name_replaces_it() {
    let mut store = in_memory();
    let host = |name: &str| Naming::Host(name.to_owned());
    assert_eq!(store.instance(&host("ip-10-0-0-1")).unwrap(), Instance::of("ip-10-0-0-1"));
    assert_eq!(store.instance(&host("ip-10-0-0-2")).unwrap().name, "ip-10-0-0-1");
    let configured = Naming::Configured("probe".to_owned());
    assert_eq!(store.instance(&configured).unwrap(), Instance::of("probe"));
    assert_eq!(store.instance(&host("ip-10-0-0-3")).unwrap().name, "probe");
}

/// The fixture's topology without globex and the archive, with a new tenant, a new stage and other ids.
fn changed_topology() -> Topology {
    let old = topology();
    let tenant = |name: &str| Tenant { name: name.into(), ..old.tenant(ACME).clone() };
    let stage = |id: StageId, parent| Stage { parent, ..old.stage(id).clone() };
    let central = Stage { name: "central".into(), role: Role::Way, ..old.stage(STREAM).clone() };
    let stages = vec![
        central,
        stage(STREAM, None),
        stage(DEAD, Some(StageId(1))),
        stage(TRANSIT, Some(StageId(1))),
        stage(TABLE, Some(StageId(3))),
    ];
    let source = |(n, name): (u16, &str)| Source {
        stage: StageId(n),
        name: name.into(),
        owner: Owner::Shared,
        tenants: vec![TenantId(0), TenantId(1)],
    };
    let sources = (0..).zip(["central", "stream", "shared 4", "shared 2", "shared 3"]).map(source);
    Topology::new(vec![tenant("newcomer"), tenant("acme")], stages, sources.collect()).unwrap()
}

/// The fixture's topology with other sources at the archive and at the table.
fn topology_that_moved() -> Topology {
    let old = topology();
    let mut sources = old.sources().to_vec();
    let moved = sources.iter_mut().filter(|source| [ARCHIVE, TABLE].contains(&source.stage));
    moved.for_each(|source| source.name = format!("{} elsewhere", source.name).into());
    Topology::new(old.tenants().to_vec(), old.stages().to_vec(), sources).unwrap()
}

fn absent() -> Visit {
    Visit {
        absent_until: Some(t(7)),
        empty_polls: 3,
        withheld: true,
        gap_since_poll: true,
        ..Visit::default()
    }
}

/// The visits of a trace that was absent from every stage but the first, loaded for a topology with other
/// sources at the archive and at the table.
fn visits_after_a_move(ended: Option<Outcome>) -> Vec<Visit> {
    let mut store = in_memory();
    let mut before = Trace { ended: ended.map(|outcome| (outcome, t(9))), ..trace(1) };
    before.stages[1..].fill(absent());
    save(&mut store, before);
    store.succeed(Arc::new(topology_that_moved()));
    store.load(ALL).unwrap().traces.remove(0).stages
}

#[test]
fn what_polls_of_another_source_proved_is_dropped() {
    let stages = visits_after_a_move(None);
    let unproven = Visit { gap_since_poll: true, ..Visit::default() };
    for (id, stage) in (0..).map(StageId).zip(&stages).skip(1) {
        let expected = if [ARCHIVE, TABLE].contains(&id) { unproven.clone() } else { absent() };
        assert_eq!(*stage, expected, "{id:?}");
    }
}

#[test]
fn what_decided_an_outcome_is_kept_although_the_source_is_another_one() {
    let stages = visits_after_a_move(Some(Outcome::Lost(HopRange::one(TABLE))));
    assert_eq!(stages[usize::from(TABLE.0)], absent());
    assert_eq!(stages[usize::from(ARCHIVE.0)].absent_until, None, "the archive may still be awaited");
}

#[test]
fn what_was_proven_according_to_a_row_without_its_source_is_kept() {
    let mut store = in_memory();
    let mut before = trace(1);
    before.stages[usize::from(TABLE.0)] = absent();
    save(&mut store, before.clone());
    let changed = store
        .connection
        .execute("UPDATE trace SET known = json_remove(known, '$.visits.table.source')", [])
        .unwrap();
    assert_eq!(changed, 1);
    store.succeed(Arc::new(topology_that_moved()));
    assert_eq!(store.load(ALL).unwrap().traces, [before]);
}

#[test]
fn names_are_mapped_to_their_new_ids_when_the_configuration_changed() {
    let folder = Folder::new();
    let mut store = open(&folder.file()).unwrap().store;
    let mut one = trace(1);
    one.stages[usize::from(TABLE.0)] = Visit { empty_polls: 7, ..Visit::default() };
    one.stages[usize::from(ARCHIVE.0)].hop = Hop::Missing;
    save(&mut store, one);
    save(&mut store, ended(2, Outcome::Lost(HopRange { first: TRANSIT, last: TABLE })));
    save(&mut store, Trace { tenant: GLOBEX, ..trace(3) });
    drop(store);
    let mut store = Store::open(&folder.file(), Arc::new(changed_topology()), t(0)).unwrap().store;
    let loaded = store.load(ALL).unwrap();
    let [one, two] = loaded.traces.as_slice() else { panic!("{loaded:?}") };
    assert_eq!(one.tenant, TenantId(1));
    let polls: Vec<_> = one.stages.iter().map(|visit| visit.empty_polls).collect();
    assert_eq!(polls, [0, 0, 0, 0, 7]);
    let lost = Outcome::Lost(HopRange { first: StageId(3), last: StageId(4) });
    assert_eq!(two.ended.as_ref().map(|(outcome, _)| outcome), Some(&lost));
    assert_eq!(loaded.dropped_stages, BTreeSet::from(["archive".to_owned()]));
    assert_eq!(loaded.unknown_tenants, BTreeMap::from([("globex".to_owned(), 1)]));
    store.save_all(&Changes::default()).unwrap();
    drop(store);
    let reloaded = open(&folder.file()).unwrap().store.load(ALL).unwrap();
    assert!(
        reloaded.traces.iter().any(|trace| trace.tenant == GLOBEX),
        "traces of a tenant that was removed for a while stay on disk"
    );
}

#[test]
fn a_loss_at_a_removed_hop_becomes_a_loss_on_the_main_path() {
    let folder = Folder::new();
    let mut store = open(&folder.file()).unwrap().store;
    save(&mut store, ended(1, Outcome::Lost(HopRange::one(ARCHIVE))));
    drop(store);
    let mut store = Store::open(&folder.file(), Arc::new(changed_topology()), t(0)).unwrap().store;
    let loaded = store.load(ALL).unwrap();
    let whole = Outcome::Lost(HopRange { first: StageId(1), last: StageId(4) });
    assert_eq!(loaded.traces[0].ended, Some((whole, t(9))));
}

#[test]
fn an_unreadable_row_is_counted_and_the_others_are_loaded() {
    let mut store = in_memory();
    (1..4).for_each(|n| save(&mut store, trace(n)));
    let garble = "UPDATE trace SET known = '{\"size\":' WHERE id = ?1";
    store.connection.execute(garble, [canary(2).trace.as_u128().to_be_bytes()]).unwrap();
    let loaded = store.load(ALL).unwrap();
    assert_eq!(ids(&loaded), [canary(1).trace, canary(3).trace]);
    assert_eq!(loaded.unreadable, 1);
}

#[test]
fn traces_that_ended_while_nothing_was_saved_are_no_longer_in_flight() {
    let mut store = in_memory();
    (1..4).for_each(|n| save(&mut store, trace(n)));
    save(&mut store, ended(9, Outcome::Delivered));
    let known = vec![(Arc::new(trace(2)), false), (Arc::new(ended(3, Outcome::Delivered)), true)];
    store.save_all(&known.into()).unwrap();
    let loaded = store.load(ALL).unwrap();
    let states: Vec<_> = loaded.traces.iter().map(|trace| (trace.id(), trace.ended.is_some())).collect();
    assert_eq!(states, [(canary(2).trace, false), (canary(3).trace, true), (canary(9).trace, true)]);
}

#[test]
fn a_row_that_cannot_be_read_stays_when_the_full_state_is_written() {
    let mut store = in_memory();
    (1..4).for_each(|n| save(&mut store, trace(n)));
    let newer = "UPDATE trace SET known = json_set(known, '$.put', 'of a newer version') WHERE id = ?1";
    store.connection.execute(newer, [canary(2).trace.as_u128().to_be_bytes()]).unwrap();
    store.save_all(&vec![(Arc::new(trace(3)), false)].into()).unwrap();
    let loaded = store.load(ALL).unwrap();
    assert_eq!((ids(&loaded), loaded.unreadable), (vec![canary(3).trace], 1));
}

#[test]
fn a_file_that_was_deleted_or_replaced_is_noticed() {
    let folder = Folder::new();
    let mut store = open(&folder.file()).unwrap().store;
    save(&mut store, trace(1));
    store.check_file().unwrap();
    let moved = folder.0.join("moved.db");
    fs::rename(folder.file(), &moved).unwrap();
    let text = format!("{} was deleted or replaced while it was open", folder.file().display());
    assert_eq!(store.check_file().unwrap_err().to_string(), text);
    fs::write(folder.file(), "another file").unwrap();
    assert_eq!(store.check_file().unwrap_err().to_string(), text);
    drop(store);
    assert_eq!(fs::read(folder.0.join("store.db-wal")).unwrap_or_default(), b"", "of no use to another file");
    assert_eq!(open(&moved).unwrap().store.load(ALL).unwrap().traces, [trace(1)]);
}

/// An episode of a stall of a tenant at the end stage, which goes on.
pub(crate) fn episode(id: u64, tenant: TenantId) -> Episode {
    let subject = Subject { tenant: Some(tenant), place: Some(HopRange::one(TABLE)) };
    Episode {
        id: IncidentId(id),
        incident: IncidentId(id),
        condition: Condition {
            name: ConditionName::Stuck,
            severity: Severity::Critical,
            blame: Blame::Pipeline,
            subject,
            since: Some(t(1)),
            last: None,
            canaries: Vec::new(),
            affected: None,
            of: None,
            log_groups: Vec::new(),
            detail: Detail::None,
        },
        beginning: t(1),
        began_before: false,
        noticed_at: t(2),
        state: State::Ongoing,
        worst: Severity::Critical,
        canaries: AffectedCanaries::default(),
        usual: None,
        elsewhere_since: None,
        consequences: BTreeMap::new(),
    }
}

#[test]
fn episodes_that_merged_while_nothing_was_saved_do_not_come_back() {
    let mut store = in_memory();
    let with_a_third = Arc::new(topology_with("initech"));
    store.succeed(with_a_third.clone());
    let ended = Episode { state: State::Ended { at: t(3) }, ..episode(4, ACME) };
    let before = [episode(1, ACME), episode(2, GLOBEX), episode(3, TenantId(2)), ended.clone()].to_vec();
    store.save(&Changes { episodes: before, ..Changes::default() }).unwrap();
    // The third tenant is not configured meanwhile, so what is known of it stays.
    store.succeed(Arc::new(topology()));
    store.save_all(&Changes { episodes: vec![episode(1, ACME)], ..Changes::default() }).unwrap();
    store.succeed(with_a_third);
    let loaded = store.load(ALL).unwrap().episodes;
    assert_eq!(loaded, [episode(1, ACME), episode(3, TenantId(2)), ended]);
}

#[test]
fn the_newest_delivered_and_the_newest_failed_traces_are_kept() {
    let mut store = in_memory();
    for n in 0..12 {
        let outcome = if n % 2 == 0 {
            Outcome::Delivered
        } else {
            Outcome::Unobserved(crate::domain::outcome::UnobservedReason::Blind)
        };
        save(&mut store, ended(n, outcome));
    }
    save(&mut store, trace(15));
    assert_eq!(store.prune(3, Timestamp::MIN).unwrap(), 6);
    let kept: Vec<_> = [6, 7, 8, 9, 10, 11, 15].map(|n| canary(n).trace).into();
    assert_eq!(ids(&store.load(ALL).unwrap()), kept);
    let few = LoadLimits { max_delivered: 3, max_of_tenant: 1, ..ALL };
    let newest = [6, 8, 10, 11, 15].map(|n| canary(n).trace);
    assert_eq!(ids(&store.load(few).unwrap()), newest);
    let of_tenant = LoadLimits { max_delivered: 1, max_of_tenant: 2, ..ALL };
    assert_eq!(ids(&store.load(of_tenant).unwrap()), kept[2..]);
    assert_eq!(store.prune(3, t(1)).unwrap(), 7, "any trace that is too old is deleted");
}

#[test]
fn a_trace_planned_before_the_limit_is_not_loaded() {
    let mut store = in_memory();
    save(&mut store, trace(1));
    assert!(store.load(LoadLimits { since: t(1), ..ALL }).unwrap().traces.is_empty());
}

#[test]
fn a_file_of_the_first_version_is_migrated() {
    let folder = Folder::new();
    let connection = Connection::open(folder.file()).unwrap();
    connection.execute_batch(schema::STEPS[0]).unwrap();
    connection.pragma_update(None, "application_id", schema::APPLICATION_ID).unwrap();
    connection.pragma_update(None, "user_version", 1).unwrap();
    drop(connection);
    let mut store = open(&folder.file()).unwrap().store;
    assert_eq!(schema::inspect(&store.connection).unwrap(), schema::VERSION);
    save(&mut store, trace(1));
    store.save(&learned("bigquery p.d.t", &["a"])).unwrap();
    assert_eq!(store.load(ALL).unwrap().traces, [trace(1)]);
}

#[test]
fn a_trace_saved_by_an_earlier_release_keeps_its_version_1_tag() {
    let folder = Folder::new();
    let connection = Connection::open(folder.file()).unwrap();
    schema::STEPS[..3].iter().for_each(|step| connection.execute_batch(step).unwrap());
    connection.pragma_update(None, "application_id", schema::APPLICATION_ID).unwrap();
    connection.pragma_update(None, "user_version", 3).unwrap();
    // Written by that release, with its codes of "acme" and "me".
    let known = r#"{"tenant_code":533171,"instance_code":160844,"size":101,"put":"planned","judgement":"pending","visits":{}}"#;
    let sql = "INSERT INTO trace (id, tenant, planned_at, finished, failed, outcome, known)
               VALUES (?1, 'acme', ?2, 0, 0, NULL, ?3)";
    let id = canary(1).trace;
    connection.execute(sql, params![id.as_u128().to_be_bytes(), id.planned_at().micros(), known]).unwrap();
    drop(connection);
    let claim = Claim::V1 { tenant: TenantCode::of("acme").prefix() };
    let expected = Trace { tag: Tag::remembered(id, claim, InstanceCode::of("me"), 101), ..trace(1) };
    for _ in 0..2 {
        let mut store = open(&folder.file()).unwrap().store;
        assert_eq!(schema::inspect(&store.connection).unwrap(), schema::VERSION);
        let loaded = store.load(ALL).unwrap();
        assert_eq!((loaded.traces.as_slice(), loaded.unreadable), (&[expected.clone()][..], 0));
        save(&mut store, expected.clone());
    }
}

#[test]
fn a_version_2_tag_of_every_purpose_is_restored() {
    let mut store = in_memory();
    let mut saved = Vec::new();
    for value in 0..32 {
        let Tag { instance, size, .. } = canary(1);
        let purpose = Purpose::from_value(value).unwrap();
        let id = TraceId::new(t(0), [value; 10]);
        let tag = Tag::new(id, TenantCode::of("acme"), instance, size, purpose);
        saved.push(Trace { tag, ..trace(1) });
        save(&mut store, saved.last().unwrap().clone());
    }
    saved.sort_by_key(Trace::id);
    assert_eq!(store.load(ALL).unwrap().traces, saved);
}

#[test]
fn a_row_with_the_codes_of_both_tag_versions_or_of_neither_is_unreadable() {
    let mut store = in_memory();
    for known in ["json_remove(known, '$.tag_2')", "json_set(known, '$.tenant_code', 7)"] {
        save(&mut store, trace(1));
        store.connection.execute(&format!("UPDATE trace SET known = {known}"), []).unwrap();
        let loaded = store.load(ALL).unwrap();
        assert_eq!((loaded.traces.len(), loaded.unreadable), (0, 1), "{known}");
    }
}

fn learned(source: &str, columns: &[&str]) -> Changes {
    let column = |name: &&str| Column {
        name: (*name).to_owned(),
        kind: "STRING".to_owned(),
        mode: "REQUIRED".to_owned(),
    };
    let schema = TableSchema { columns: columns.iter().map(column).collect() };
    let learned = LearnedSchema {
        source: source.into(),
        schema: Arc::new(schema),
        drifted_since: Some(t(columns.len() as u64)),
    };
    Changes { schemas: vec![learned], ..Changes::default() }
}

#[test]
fn the_latest_schema_of_each_source_is_kept() {
    let folder = Folder::new();
    let mut store = open(&folder.file()).unwrap().store;
    for changes in [
        learned("bigquery p.d.t", &["a"]),
        learned("bigquery p.d.u", &["b"]),
        learned("bigquery p.d.t", &["a", "c"]),
    ] {
        store.save(&changes).unwrap();
    }
    drop(store);
    let mut store = open(&folder.file()).unwrap().store;
    let expected =
        [learned("bigquery p.d.t", &["a", "c"]).schemas, learned("bigquery p.d.u", &["b"]).schemas].concat();
    assert_eq!(store.load(ALL).unwrap().schemas, expected);
    // An unreadable one is skipped, so the daemon learns it again.
    store.connection.execute("UPDATE learned_schema SET columns = '{' WHERE source LIKE '%t'", []).unwrap();
    let loaded = store.load(ALL).unwrap();
    assert_eq!((loaded.schemas.as_slice(), loaded.unreadable), (&expected[1..], 1));
}

fn leaked(n: u8, copy: &str, at: Timestamp) -> Violation {
    let (tenant, locator) = (if n.is_multiple_of(3) { GLOBEX } else { ACME }, Locator::new(copy));
    let found_in = "kinesis logs-'other'".into();
    Violation {
        at,
        tenant: LeakedTenant::Known(tenant),
        found_with: Some(TenantId(1)),
        stage: ARCHIVE,
        trace: canary(n).trace,
        found_in,
        locator,
    }
}

fn save_leak(store: &mut Store, seen: &Violation) {
    store.save(&Changes { violations: vec![seen.clone()], ..Changes::default() }).unwrap();
}

#[test]
fn a_leak_is_stored_once_with_the_time_at_which_it_was_first_noticed() {
    let folder = Folder::new();
    let mut store = open(&folder.file()).unwrap().store;
    let all = [leaked(1, "a", t(3)), leaked(1, "b", t(2)), leaked(3, "a", t(9))];
    all.iter().for_each(|seen| save_leak(&mut store, seen));
    save_leak(&mut store, &leaked(1, "a", t(8)));
    drop(store);
    let mut store = open(&folder.file()).unwrap().store;
    let [first, second, third] = all;
    assert_eq!(store.load(ALL).unwrap().violations, [second, first, third.clone()]);
    let recent = store.load(LoadLimits { since: t(4), ..ALL }).unwrap().violations;
    assert_eq!(recent, std::slice::from_ref(&third));
    store.prune(100, t(4)).unwrap();
    assert_eq!(store.load(ALL).unwrap().violations, [third]);
}

#[test]
fn leaks_of_removed_tenants_stay_on_disk_and_the_others_get_their_new_ids() {
    let folder = Folder::new();
    let mut store = open(&folder.file()).unwrap().store;
    let stream = Violation { stage: STREAM, ..leaked(1, "a", t(1)) };
    save_leak(&mut store, &stream);
    save_leak(&mut store, &leaked(3, "b", t(2)));
    drop(store);
    let mut store = Store::open(&folder.file(), Arc::new(changed_topology()), t(0)).unwrap().store;
    let moved =
        Violation { tenant: LeakedTenant::Known(TenantId(1)), found_with: None, stage: StageId(1), ..stream };
    assert_eq!(store.load(ALL).unwrap().violations, [moved]);
    drop(store);
    assert_eq!(open(&folder.file()).unwrap().store.load(ALL).unwrap().violations.len(), 2);
}
