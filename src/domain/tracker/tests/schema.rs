//! What a table should look like, over several runs.

use super::*;
use crate::domain::schema::{Column, ExpectedSchema, Fingerprint, TableSchema};

fn schema(names: &[&str]) -> Arc<TableSchema> {
    let column =
        |name: &&str| Column { name: (*name).into(), kind: "STRING".into(), mode: "NULLABLE".into() };
    Arc::new(TableSchema { columns: names.iter().map(column).collect() })
}

fn table() -> SourceId {
    topology().source_of(ACME, TABLE)
}

fn read(w: &mut World, names: &[&str], at: u64) -> Vec<Event> {
    w.apply(Input::SchemaRead { source: table(), schema: schema(names) }, t(at))
}

fn learned(names: &[&str]) -> Event {
    Event::SchemaLearned { source: table(), schema: schema(names) }
}

fn drifted(from: &[&str], to: &[&str], accept: Option<Fingerprint>) -> Vec<Event> {
    vec![Event::SchemaDrifted { source: table(), changes: schema(from).drift(&schema(to)), accept }]
}

fn view(w: &World, at: u64) -> Drifted {
    w.tracker.snapshot(t(at)).sources[table().0 as usize].drifted.clone().unwrap()
}

/// The next run, with what the previous one gave to the store.
fn restarted(mut w: World, now: u64) -> World {
    let saved = w.tracker.take_changes().schemas;
    let mut next = World::new();
    assert_eq!(next.tracker.restore(Restored { schemas: saved, ..Restored::default() }, t(now)), []);
    next
}

#[test]
fn a_drift_since_the_first_poll_is_reported_when_it_changes_and_when_it_is_over() {
    let mut w = World::new();
    assert_eq!(read(&mut w, &["id"], 1), [learned(&["id"])]);
    assert_eq!(view(&w, 1).since, None);
    let two = Some(schema(&["id", "x"]).fingerprint());
    assert_eq!(read(&mut w, &["id", "x"], 2), drifted(&["id"], &["id", "x"], two));
    assert_eq!(read(&mut w, &["id", "x"], 3), []);
    assert_eq!((view(&w, 3).since, view(&w, 3).accept), (Some(t(2)), two));
    let three = Some(schema(&["id", "x", "y"]).fingerprint());
    assert_eq!(read(&mut w, &["id", "x", "y"], 4), drifted(&["id"], &["id", "x", "y"], three));
    assert_eq!(view(&w, 4).since, Some(t(2)));
    assert_eq!(read(&mut w, &["id"], 5), [Event::SchemaRestored { source: table() }]);
    assert_eq!(view(&w, 5).since, None);
}

#[test]
fn a_drift_during_a_restart_is_told_after_it_and_another_restart_accepts_nothing() {
    let mut w = World::new();
    read(&mut w, &["id"], 1);
    let mut w = restarted(w, 2);
    let accept = Some(schema(&["id", "x"]).fingerprint());
    assert_eq!(read(&mut w, &["id", "x"], 3), drifted(&["id"], &["id", "x"], accept));
    let mut w = restarted(w, 4);
    assert_eq!(read(&mut w, &["id", "x"], 5), drifted(&["id"], &["id", "x"], accept));
    assert_eq!(view(&w, 5).since, Some(t(3)), "as a previous run noticed");
    assert_eq!(w.tracker.take_changes().schemas, [], "the store knows all that");
    assert_eq!(read(&mut w, &["id"], 6), [Event::SchemaRestored { source: table() }]);
    let mut w = restarted(w, 7);
    assert_eq!(read(&mut w, &["id", "x"], 8), drifted(&["id"], &["id", "x"], accept));
    assert_eq!(view(&w, 8).since, Some(t(8)));
}

#[test]
fn what_is_accepted_is_learned_and_nothing_else() {
    let mut w = World::new();
    read(&mut w, &["id"], 1);
    let mut w = restarted(w, 2);
    w.tracker.expect_schema(
        table(),
        ExpectedSchema::Learned { accepted: vec![schema(&["id", "x"]).fingerprint()] },
    );
    let other = Some(schema(&["id", "y"]).fingerprint());
    assert_eq!(read(&mut w, &["id", "y"], 3), drifted(&["id"], &["id", "y"], other));
    let both = [learned(&["id", "x"]), Event::SchemaRestored { source: table() }];
    assert_eq!(read(&mut w, &["id", "x"], 4), both);
    // It stays so in the next life, in which nobody accepts anything.
    let mut w = restarted(w, 5);
    assert_eq!(read(&mut w, &["id", "x"], 6), []);
    assert!(!read(&mut w, &["id"], 7).is_empty());
}

#[test]
fn a_configured_schema_goes_before_a_learned_one_and_is_not_learned() {
    let mut w = World::new();
    read(&mut w, &["id"], 1);
    let earlier = w.tracker.take_changes().schemas;
    let mut w = World::new();
    w.tracker.expect_schema(table(), ExpectedSchema::Configured(schema(&["id", "x"])));
    w.tracker.restore(Restored { schemas: earlier, ..Restored::default() }, t(2));
    assert_eq!(read(&mut w, &["id"], 3), drifted(&["id", "x"], &["id"], None));
    assert_eq!(read(&mut w, &["id", "x"], 4), [Event::SchemaRestored { source: table() }]);
    assert_eq!(w.tracker.everything().schemas, []);
}

#[test]
fn a_store_that_is_read_late_goes_before_what_was_learned_without_it() {
    let mut w = World::new();
    read(&mut w, &["id"], 1);
    let earlier = w.tracker.everything().schemas;
    let mut w = World::new();
    assert_eq!(read(&mut w, &["id", "x"], 2), [learned(&["id", "x"])]);
    let accept = Some(schema(&["id", "x"]).fingerprint());
    assert_eq!(
        w.tracker.restore(Restored { schemas: earlier, ..Restored::default() }, t(3)),
        drifted(&["id"], &["id", "x"], accept)
    );
    let now: Vec<_> = w.tracker.everything().schemas.into_iter().map(|learned| learned.schema).collect();
    assert_eq!(now, [schema(&["id"])]);
}
