//! The arrows of the import diagram in ARCHITECTURE.md.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

/// What each part may import: the diagram is the only place where that is written down.
pub(crate) type Arrows = BTreeMap<String, BTreeSet<String>>;

/// The arrows of the first code block below the heading "Where things are".
pub(crate) fn arrows() -> Arrows {
    let text = fs::read_to_string("ARCHITECTURE.md").unwrap();
    let section = text.split("## Where things are").nth(1).expect("the section with the diagram");
    parse(section.split("```").nth(1).expect("the diagram"))
}

/// Reads lines of the form `config -> observe, cloud`.
fn parse(diagram: &str) -> Arrows {
    let mut arrows = Arrows::new();
    for line in diagram.lines().filter(|line| !line.trim().is_empty()) {
        let (from, to) = line.split_once("->").unwrap_or_else(|| panic!("no arrow in {line:?}"));
        let to = to.split(',').map(|name| name.trim().to_owned()).collect();
        let earlier = arrows.insert(from.trim().to_owned(), to);
        assert!(earlier.is_none(), "{from} has two lines");
    }
    arrows
}

/// A cycle: a path from a part back to itself.
pub(crate) fn cycle(arrows: &Arrows) -> Option<Vec<String>> {
    fn back_to<'a>(
        start: &str,
        at: &'a str,
        arrows: &'a Arrows,
        seen: &mut BTreeSet<&'a str>,
    ) -> Option<Vec<String>> {
        let next = arrows.get(at)?;
        if next.contains(start) {
            return Some(vec![at.to_owned(), start.to_owned()]);
        }
        next.iter().find_map(|next| {
            let mut rest = seen.insert(next).then(|| back_to(start, next, arrows, seen)).flatten()?;
            rest.insert(0, at.to_owned());
            Some(rest)
        })
    }
    arrows.keys().find_map(|start| back_to(start, start, arrows, &mut BTreeSet::new()))
}

#[test]
fn a_cycle_is_found() {
    let arrows = parse("a -> b, c\nb -> d\nd -> a");
    assert_eq!(cycle(&arrows), Some(["a", "b", "d", "a"].map(str::to_owned).into()));
    assert_eq!(cycle(&parse("a -> b, c\nb -> c")), None);
}
