//! The commands that search for a canary which was not found.

use super::*;

fn commands(key: &str, planned_at: Timestamp) -> Vec<String> {
    let settings = super::super::Settings {
        account: Account::in_region("eu-central-1"),
        objects: Settings::new("archive", KeyTemplate::new(key)),
    };
    let lookups = settings.lookups(Question { copy: None, tag: "zqtp2", planned_at });
    lookups.into_iter().map(|lookup| lookup.command).collect()
}

#[test]
fn the_hour_before_is_searched_as_well_where_the_writer_may_have_begun_in_it() {
    let at_two_past = commands("in/%H/", t(121));
    assert_eq!(at_two_past.len(), 4);
    for (command, prefix) in at_two_past.iter().zip(["in/05/", "in/04/", "in/05/", "in/04/"]) {
        assert!(command.contains(prefix), "{command}");
    }
    let at_half_past = commands("in/%H/", t(1_801));
    assert_eq!(at_half_past.len(), 2);
    assert!(at_half_past[0].ends_with("s3://archive/in/05/"), "{}", at_half_past[0]);
}

#[test]
fn of_many_prefixes_the_nearest_are_searched() {
    let commands = commands("in/%H/%M/", t(1_801));
    assert_eq!(commands.len(), 8);
    for (command, prefix) in commands.iter().zip(["in/05/30/", "in/05/29/", "in/05/31/", "in/05/32/"]) {
        assert!(command.ends_with(&format!("s3://archive/{prefix}")), "{command}");
    }
}
