//! A strip over time as a drawing and as text.
//!
//! Equal neighbours are one rectangle, and all rectangles of a kind are one path, so that a strip is a few
//! hundred bytes. Colour is never alone: the bar's height says how many canaries were in time, what else was
//! wrong with them is a mark of its own shape on the bar, and the line below is the thicker the worse the state
//! was, and hollow where it is unknown.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::view::{MARKED, Slot};
use super::words;
use crate::domain::aggregates::{Health, Step};
use crate::domain::flaw::Flaw;
use crate::domain::time::Timestamp;

/// Height of the bars, in units of the drawing.
const BARS: u32 = 14;
/// Height of the whole drawing.
pub(crate) const HEIGHT: u32 = 20;
/// Times that are named in the text.
const NAMED: usize = 3;

/// A drawing: paths of the classes of the style.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Drawing {
    /// Width in units, one for each minute or hour.
    pub(crate) width: usize,
    pub(crate) height: u32,
    pub(crate) paths: Vec<(&'static str, String)>,
    /// Whether nothing is known of some time.
    pub(crate) has_gaps: bool,
    /// What it shows, as a sentence.
    pub(crate) text: String,
}

/// Draws slots of a step, of which the first begins at `first`.
#[must_use]
pub(crate) fn draw(slots: &[Slot], step: Step, first: Timestamp, now: Timestamp) -> Drawing {
    let mut paths: Vec<(&'static str, String)> = Vec::new();
    let mut add = |class: &'static str, x: usize, width: usize, y: u32, height: u32| {
        let at = paths.iter().position(|(own, _)| *own == class).unwrap_or_else(|| {
            paths.push((class, String::new()));
            paths.len() - 1
        });
        if let Some((_, path)) = paths.get_mut(at) {
            let _ = write!(path, "M{x} {y}h{width}v{height}h-{width}z");
        }
    };
    for (x, width, bar) in runs(slots, bar) {
        if let Some(height) = bar {
            if height < BARS {
                add("u", x, width, 0, BARS - height);
            }
            if height > 0 {
                add("o", x, width, BARS - height, height);
            }
        }
    }
    for flaw in MARKED {
        for (x, width, _) in runs(slots, |slot| slot.flaws).into_iter().filter(|(.., it)| it.contains(flaw)) {
            let (class, bars) = mark(flaw);
            bars.iter().for_each(|(y, height)| add(class, x, width, *y, *height));
        }
    }
    for (x, width, band) in runs(slots, band) {
        if let Some((class, height)) = band {
            add(class, x, width, HEIGHT - height, height);
        }
    }
    let has_gaps = slots.iter().any(|slot| slot.health.is_none());
    Drawing { width: slots.len(), height: HEIGHT, paths, has_gaps, text: text(slots, step, first, now) }
}

/// Neighbours of which something is the same: where they begin, how many there are, and what it is.
fn runs<T: PartialEq + Copy>(slots: &[Slot], what: fn(&Slot) -> T) -> Vec<(usize, usize, T)> {
    let mut runs: Vec<(usize, usize, T)> = Vec::new();
    for (at, slot) in slots.iter().enumerate() {
        let own = what(slot);
        match runs.last_mut() {
            Some((_, width, last)) if *last == own => *width += 1,
            _ => runs.push((at, 1, own)),
        }
    }
    runs
}

/// The height of the bar: the ratio of canaries in time. `None` if none is judged.
fn bar(slot: &Slot) -> Option<u32> {
    (slot.judged > 0).then(|| {
        let height = BARS.saturating_mul(slot.met.min(slot.judged)).div_ceil(slot.judged);
        // A single miss must show.
        if slot.met < slot.judged { height.min(BARS - 1) } else { height }
    })
}

/// The class of a flaw's mark, and where its rectangles begin and how high they are. No two have the same.
const fn mark(flaw: Flaw) -> (&'static str, &'static [(u32, u32)]) {
    match flaw {
        Flaw::Leaked => ("f0", &[(0, BARS)]),
        Flaw::DeadLettered => ("f1", &[(BARS / 2, BARS - BARS / 2)]),
        Flaw::Corrupted => ("f2", &[(5, 4)]),
        Flaw::Duplicated => ("f3", &[(2, 3), (9, 3)]),
        // These are in the figures.
        Flaw::Lost | Flaw::Missing | Flaw::Late | Flaw::Slow | Flaw::Refused | Flaw::Unobserved => ("u", &[]),
    }
}

/// A class of the style, and what it means.
pub(crate) struct Entry {
    /// A path of that class, four units wide.
    pub(crate) path: (&'static str, String),
    pub(crate) text: &'static str,
}

/// What the classes mean that occur in drawings: those of the bar, those of the line below it, and whether
/// nothing is known of some time.
pub(crate) struct Legend {
    pub(crate) bars: Vec<Entry>,
    pub(crate) lines: Vec<Entry>,
    pub(crate) has_gaps: bool,
}

impl Legend {
    pub(crate) fn of<'a>(drawings: impl Iterator<Item = &'a Drawing>) -> Self {
        let (mut classes, mut has_gaps) = (BTreeSet::new(), false);
        for drawing in drawings {
            classes.extend(drawing.paths.iter().map(|(class, _)| *class));
            has_gaps |= drawing.has_gaps;
        }
        let entry = |class: &'static str, bars: &[(u32, u32)], text| {
            let path = bars.iter().map(|(y, height)| format!("M0 {y}h4v{height}h-4z")).collect();
            classes.contains(class).then_some(Entry { path: (class, path), text })
        };
        let flaw = |flaw: Flaw| {
            let (class, bars) = mark(flaw);
            let text = match flaw {
                Flaw::Leaked => "leaked: found with another tenant",
                Flaw::DeadLettered => "dead-lettered",
                Flaw::Corrupted => "cut or changed",
                Flaw::Duplicated => "stored twice",
                Flaw::Lost | Flaw::Missing | Flaw::Late | Flaw::Slow | Flaw::Refused | Flaw::Unobserved => "",
            };
            entry(class, bars, text)
        };
        let line = |health: Health| {
            let (class, height) = line(health);
            let text = match health {
                Health::Ok => "OK",
                Health::Note => "OK with notes",
                Health::Unknown => "unknown",
                Health::Warning => "warning",
                Health::Critical => "critical",
            };
            entry(class, &[(HEIGHT - height, height)], text)
        };
        let figures = [entry("o", &[(0, BARS)], "in time"), entry("u", &[(0, BARS)], "not in time")];
        Self {
            bars: figures.into_iter().flatten().chain(MARKED.into_iter().filter_map(flaw)).collect(),
            lines: Health::ALL.into_iter().filter_map(line).collect(),
            has_gaps,
        }
    }
}

/// The class and the height of the line below the bars.
fn band(slot: &Slot) -> Option<(&'static str, u32)> {
    slot.health.map(line)
}

const fn line(health: Health) -> (&'static str, u32) {
    match health {
        Health::Ok => ("k0", 2),
        Health::Note => ("k1", 2),
        Health::Unknown => ("k2", 4),
        Health::Warning => ("k3", 4),
        Health::Critical => ("k4", 5),
    }
}

/// What the strip shows: how many canaries were in time, and when all was not well.
fn text(slots: &[Slot], step: Step, first: Timestamp, now: Timestamp) -> String {
    let (span, unit) = match step {
        Step::Minute => ("last hour", "min"),
        Step::Hour => ("last day", "h"),
    };
    let known = slots.iter().filter(|slot| slot.health.is_some()).count();
    if known == 0 {
        return format!("{span}: nothing is known");
    }
    let sum = |count: fn(&Slot) -> u32| slots.iter().map(count).fold(0, u32::saturating_add);
    let (judged, met) = (sum(|slot| slot.judged), sum(|slot| slot.met));
    let clock = |at: usize| {
        let after = step.length() * u32::try_from(at).unwrap_or(u32::MAX);
        (first + after).strftime("%H:%M")
    };
    let bad = |health: &Option<Health>| health.is_some_and(|health| health > Health::Note);
    let mut times: Vec<String> = Vec::new();
    let not_well: Vec<_> =
        runs(slots, |slot| slot.health).into_iter().filter(|(.., health)| bad(health)).collect();
    for (at, width, health) in not_well.iter().rev().take(NAMED) {
        let word = health.map_or("", Health::as_str);
        let to = if at + width >= slots.len() { "now".to_owned() } else { clock(at + width) };
        times.push(format!("{word} {} to {to}", clock(*at)));
    }
    let more = not_well.len().saturating_sub(NAMED);
    if more > 0 {
        times.push(format!("{more} earlier"));
    }
    let state = if times.is_empty() { "OK".to_owned() } else { times.join(", ") };
    let unknown = match slots.len() - known {
        0 => String::new(),
        some => format!("; nothing is known of {some} {unit}"),
    };
    let in_time = match judged {
        0 => String::new(),
        _ => format!("; {met} of {} in time", words::count(judged as usize, "canary", "canaries")),
    };
    let flaws: String = MARKED.into_iter().filter_map(|flaw| flawed(slots, flaw, unit)).collect();
    debug_assert!(first <= now, "a strip ends now");
    format!("{span}: {state}{in_time}{flaws}{unknown}")
}

/// In how many slots canaries were flawed.
fn flawed(slots: &[Slot], flaw: Flaw, unit: &str) -> Option<String> {
    let count = slots.iter().filter(|slot| slot.flaws.contains(flaw)).count();
    let word = match flaw {
        Flaw::Leaked => "leaked",
        Flaw::DeadLettered => "dead-lettered",
        Flaw::Corrupted => "cut or changed",
        Flaw::Duplicated => "stored twice",
        Flaw::Lost | Flaw::Missing | Flaw::Late | Flaw::Slow | Flaw::Refused | Flaw::Unobserved => {
            return None;
        }
    };
    (count > 0).then(|| format!("; some {word} in {count} {unit}"))
}

/// Labels of the time axis: positions in percent, and the time there.
#[must_use]
pub(crate) fn ticks(step: Step, first: Timestamp, count: usize) -> Vec<(usize, String)> {
    let quarters = (0..4).map(|quarter| {
        let at = count * quarter / 4;
        let start = first + step.length() * u32::try_from(at).unwrap_or(u32::MAX);
        (quarter * 25, start.strftime("%H:%M"))
    });
    quarters.collect()
}

#[cfg(test)]
mod tests {
    use super::super::view::Flaws;
    use super::*;

    fn slot(health: Health, met: u32, judged: u32) -> Slot {
        Slot { health: Some(health), planned: judged, judged, met, flaws: Flaws::default() }
    }

    fn hour(slots: &[Slot]) -> Drawing {
        let now = Timestamp::from_secs(3_600);
        draw(slots, Step::Minute, Timestamp::from_secs(0), now)
    }

    #[test]
    fn equal_neighbours_are_one_rectangle() {
        let drawing = hour(&[slot(Health::Ok, 2, 2); 60]);
        let paths = [("o", "M0 0h60v14h-60z".to_owned()), ("k0", "M0 18h60v2h-60z".to_owned())];
        assert_eq!(drawing.paths, paths);
        assert_eq!(drawing.text, "last hour: OK; 120 of 120 canaries in time");
    }

    #[test]
    fn a_single_miss_among_many_shows() {
        let drawing = hour(&[slot(Health::Note, 999, 1_000)]);
        assert_eq!(drawing.paths[0], ("u", "M0 0h1v1h-1z".to_owned()));
    }

    #[test]
    fn the_text_says_when_it_was_not_well_and_what_is_unknown() {
        let mut slots = vec![Slot::default(); 10];
        slots.extend([slot(Health::Ok, 2, 2); 40]);
        slots.extend([slot(Health::Critical, 0, 2); 10]);
        assert_eq!(
            hour(&slots).text,
            "last hour: critical 00:50 to now; 80 of 100 canaries in time; nothing is known of 10 min"
        );
    }

    #[test]
    fn marks_differ_in_more_than_colour() {
        let shapes: BTreeSet<_> = MARKED.into_iter().map(|flaw| mark(flaw).1).collect();
        assert_eq!(shapes.len(), MARKED.len());
    }

    #[test]
    fn a_leak_shows_on_a_bar_of_canaries_that_were_all_in_time() {
        let mut leaked = slot(Health::Critical, 2, 2);
        leaked.flaws.insert(Flaw::Leaked);
        let drawing = hour(&[slot(Health::Ok, 2, 2), leaked]);
        assert!(drawing.paths.contains(&("f0", "M1 0h1v14h-1z".to_owned())), "{:?}", drawing.paths);
        assert!(drawing.text.contains("; some leaked in 1 min"), "{}", drawing.text);
    }

    #[test]
    fn the_legend_explains_what_occurs_and_nothing_else() {
        let drawing = hour(&[slot(Health::Ok, 2, 2), slot(Health::Critical, 2, 2)]);
        let legend = Legend::of([&drawing].into_iter());
        let texts: Vec<_> = legend.bars.iter().chain(&legend.lines).map(|entry| entry.text).collect();
        assert_eq!(texts, ["in time", "OK", "critical"]);
        assert!(!legend.has_gaps);
    }

    #[test]
    fn states_differ_in_more_than_colour() {
        let kinds: std::collections::BTreeSet<_> = Health::ALL
            .into_iter()
            .filter(|health| *health != Health::Note)
            .map(|health| band(&slot(health, 1, 1)).map(|(class, height)| (class == "k2", height)))
            .collect();
        assert_eq!(kinds.len(), 4);
    }
}
