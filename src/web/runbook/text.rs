//! The text as HTML.

use std::sync::LazyLock;

use pulldown_cmark::{Event, HeadingLevel, Options, Parser, Tag, TagEnd, html};

use super::fill::Names;

const TEXT: &str = include_str!("../../../docs/runbook.md");

static EVENTS: LazyLock<Vec<Event<'static>>> = LazyLock::new(|| parse(TEXT));

/// The page without a selection.
pub(super) static PLAIN: LazyLock<String> =
    LazyLock::new(|| print(EVENTS.iter().filter(|event| checks(event).is_none()).cloned()));

/// What a selection adds to the page.
pub(super) struct Checks<'a> {
    /// The sections for chapters that do not name one.
    pub(super) sections: Vec<&'static str>,
    /// Ends the headings of sections.
    pub(super) title: &'a str,
    /// The names for all commands.
    pub(super) names: Names,
    /// The names for commands of the section on dead letters, whose stage a notification does not name.
    pub(super) dead_letters: Names,
}

impl Checks<'_> {
    /// The page with the sections in each chapter, and with names in all commands.
    pub(super) fn print(&self) -> String {
        let mut events = Vec::with_capacity(EVENTS.len() * 2);
        let mut code = Code::default();
        for event in &*EVENTS {
            match checks(event) {
                None => events.push(code.filled(event, &self.names)),
                Some("") => self.sections.iter().for_each(|anchor| self.push(anchor, &mut events)),
                Some(anchor) => self.push(anchor, &mut events),
            }
        }
        print(events.into_iter())
    }

    /// Adds a section. Its heading has no anchor, because it is on the page several times.
    fn push(&self, anchor: &str, events: &mut Vec<Event<'static>>) {
        let Some((heading, body)) = section(anchor) else { return };
        let names = if anchor == super::DEAD_LETTERS { &self.dead_letters } else { &self.names };
        let level = HeadingLevel::H3;
        events.push(Event::Start(Tag::Heading { level, id: None, classes: Vec::new(), attrs: Vec::new() }));
        events.push(Event::Text(format!("{heading}: {}", self.title).into()));
        events.push(Event::End(TagEnd::Heading(level)));
        let mut code = Code::default();
        events.extend(body.iter().map(|event| code.filled(event, names)));
    }
}

/// Fills in commands, event by event.
#[derive(Default)]
struct Code {
    is_open: bool,
}

impl Code {
    fn filled(&mut self, event: &Event<'static>, names: &Names) -> Event<'static> {
        match event {
            Event::Start(Tag::CodeBlock(_)) => self.is_open = true,
            Event::End(TagEnd::CodeBlock) => self.is_open = false,
            Event::Text(text) if self.is_open => return Event::Text(names.fill(text).into()),
            _ => {}
        }
        event.clone()
    }
}

/// What the comment says that stands where checks belong: the anchor of a section, or nothing for that of the selected
/// stage.
fn checks<'a>(event: &'a Event<'_>) -> Option<&'a str> {
    let Event::Html(text) = event else { return None };
    let comment = text.trim().strip_prefix("<!-- checks")?.strip_suffix("-->")?;
    Some(comment.trim_start_matches(':').trim())
}

/// The title and the body of the section with this anchor.
fn section(anchor: &str) -> Option<(String, &'static [Event<'static>])> {
    let is_start = |event: &Event<'_>| matches!(event, Event::Start(Tag::Heading { id: Some(id), .. }) if **id == *anchor);
    let start = EVENTS.iter().position(is_start)?;
    let heading =
        EVENTS[start..].iter().position(|event| matches!(event, Event::End(TagEnd::Heading(_))))? + start;
    let body = &EVENTS[heading + 1..];
    let end = body.iter().position(|event| matches!(event, Event::Start(Tag::Heading { .. })));
    Some((title(&EVENTS[start..heading]), &body[..end.unwrap_or(body.len())]))
}

fn title(events: &[Event<'_>]) -> String {
    let text = |event: &Event<'_>| match event {
        Event::Text(text) | Event::Code(text) => text.to_string(),
        _ => String::new(),
    };
    events.iter().map(text).collect()
}

/// Parses Markdown, with the anchors that forges give to headings.
fn parse(markdown: &str) -> Vec<Event<'_>> {
    let mut events: Vec<Event> = Parser::new_ext(markdown, Options::ENABLE_TABLES).collect();
    let mut heading = None;
    for at in 0..events.len() {
        match &events[at] {
            Event::Start(Tag::Heading { .. }) => heading = Some(at),
            Event::End(TagEnd::Heading(_)) => {
                let Some(start) = heading.take() else { continue };
                let anchor = anchor(&title(&events[start..at]));
                if let Event::Start(Tag::Heading { id, .. }) = &mut events[start] {
                    *id = Some(anchor.into());
                }
            }
            _ => {}
        }
    }
    events
}

fn print<'a>(events: impl Iterator<Item = Event<'a>>) -> String {
    let mut page = String::with_capacity(TEXT.len() * 2);
    html::push_html(&mut page, events);
    page
}

/// Lower case, hyphens for spaces, no punctuation.
fn anchor(heading: &str) -> String {
    let letters = heading.chars().filter(|it| it.is_alphanumeric() || matches!(it, ' ' | '-'));
    letters.map(|it| if it == ' ' { '-' } else { it.to_ascii_lowercase() }).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// What the configuration knows, and what the reader has to fill in.
    const KNOWN: [&str; 17] = [
        "TENANT",
        "STAGE",
        "LOG_GROUP",
        "LOG_GROUP_REGION",
        "LOG_GROUP_ACCOUNT",
        "STREAM",
        "STREAM_REGION",
        "STREAM_ACCOUNT",
        "BUCKET",
        "PREFIX",
        "BUCKET_REGION",
        "BUCKET_ACCOUNT",
        "PROJECT",
        "DATASET",
        "TABLE",
        "TIME_COLUMN",
        "LOCATION",
    ];
    const READERS: [&str; 6] = ["FUNCTION", "QUEUE_URL", "VPN_CONNECTION", "CLUSTER", "TASK", "REASON"];

    fn commands() -> String {
        let mut is_code = false;
        let mut commands = String::new();
        for event in &*EVENTS {
            match event {
                Event::Start(Tag::CodeBlock(_)) => is_code = true,
                Event::End(TagEnd::CodeBlock) => is_code = false,
                Event::Text(text) if is_code => commands.push_str(text),
                _ => {}
            }
        }
        commands
    }

    #[test]
    fn a_heading_gets_the_anchor_that_a_forge_gives_it() {
        let page = print(parse("## What `it` means, in short\n").into_iter());
        assert_eq!(page, "<h2 id=\"what-it-means-in-short\">What <code>it</code> means, in short</h2>\n");
    }

    #[test]
    fn every_placeholder_is_in_a_command_and_those_of_the_reader_are_listed() {
        let commands = commands();
        let words: BTreeSet<_> = commands.split(|c: char| c != '_' && !c.is_ascii_alphanumeric()).collect();
        for placeholder in KNOWN.iter().chain(&READERS) {
            assert!(words.contains(placeholder), "no command has {placeholder}");
        }
        let list = TEXT.split("\n**Commands** contain").nth(1).unwrap().split("\n\n").next().unwrap();
        for placeholder in READERS {
            assert!(list.contains(&format!("`{placeholder}`")), "{placeholder} is not in the list: {list}");
        }
    }

    #[test]
    fn no_placeholder_is_within_double_quotes_where_it_could_not_be_filled_in() {
        let filled = crate::domain::shell::filled(&commands(), |_| Some("filled".to_owned()));
        for placeholder in KNOWN.iter().chain(&READERS) {
            let mut words = filled.split(|c: char| c != '_' && !c.is_ascii_alphanumeric());
            assert!(words.all(|word| word != *placeholder), "{placeholder} is within double quotes");
        }
    }

    /// The chapters on what the page or a notification says; what follows them is reference.
    fn chapters() -> Vec<&'static str> {
        let all = TEXT.split("\n## ").skip(1);
        all.take_while(|chapter| !chapter.starts_with("Checks by stage")).collect()
    }

    #[test]
    fn every_chapter_says_what_it_means_what_to_do_first_what_it_is_not_and_when_to_escalate() {
        for chapter in chapters() {
            let title = chapter.lines().next().unwrap();
            for part in ["**Means.**", "**First.**", "**Not.**", "**Escalate**"] {
                assert_eq!(chapter.matches(part).count(), 1, "{title}: {part}");
            }
            let clients = ["Clients", "clients", "The client"].iter().any(|word| chapter.contains(word));
            assert!(clients || title == "Watchdog", "{title} does not say what clients lose");
        }
    }

    #[test]
    fn every_chapter_is_in_the_first_table() {
        let table = TEXT.split("\n## ").next().unwrap();
        for chapter in chapters() {
            let title = chapter.lines().next().unwrap();
            let link = format!("[{title}](#{})", anchor(title));
            assert!(table.contains(&link), "the table has no {link}");
        }
    }
}
