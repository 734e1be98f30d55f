//! The runbook as a page of the probe, so that it does not depend on a wiki.

use std::sync::LazyLock;

use askama::Template;
use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd, html};

use super::app::{App, RUNBOOK};
use super::page::{Head, Root};
use super::view::Mark;

const TEXT: &str = include_str!("../../docs/runbook.md");

static BODY: LazyLock<String> = LazyLock::new(|| render(TEXT));

#[derive(Template)]
#[template(path = "runbook.html")]
pub(crate) struct Page {
    head: Head,
    /// HTML made of our own text only, so it is not escaped.
    body: &'static str,
}

impl Page {
    pub(crate) fn new(app: &App) -> Self {
        Self { head: Head::new(app, Root::from(RUNBOOK), "Runbook", Mark::Pending), body: &BODY }
    }
}

/// Renders Markdown as HTML, with the anchors that forges give to headings.
fn render(markdown: &str) -> String {
    let mut events: Vec<Event> = Parser::new_ext(markdown, Options::ENABLE_TABLES).collect();
    let mut heading = None;
    let mut title = String::new();
    for at in 0..events.len() {
        match &events[at] {
            Event::Start(Tag::Heading { .. }) => {
                heading = Some(at);
                title.clear();
            }
            Event::Text(text) | Event::Code(text) if heading.is_some() => title.push_str(text),
            Event::End(TagEnd::Heading(_)) => {
                if let Some(Event::Start(Tag::Heading { id, .. })) =
                    heading.take().and_then(|at| events.get_mut(at))
                {
                    *id = Some(anchor(&title).into());
                }
            }
            _ => {}
        }
    }
    let mut page = String::with_capacity(markdown.len() * 2);
    html::push_html(&mut page, events.into_iter());
    page
}

/// Lower case, hyphens for spaces, no punctuation.
fn anchor(heading: &str) -> String {
    let letters = heading.chars().filter(|it| it.is_alphanumeric() || matches!(it, ' ' | '-'));
    letters.map(|it| if it == ' ' { '-' } else { it.to_ascii_lowercase() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::conditions::ConditionName;

    #[test]
    fn every_condition_has_a_runbook_chapter() {
        let page = render(TEXT);
        for name in ConditionName::ALL {
            let chapter = name.profile().chapter;
            assert!(page.contains(&format!("<h2 id=\"{chapter}\">")), "the runbook has no chapter {chapter}");
        }
    }

    #[test]
    fn every_link_of_the_runbook_has_a_target() {
        let page = render(TEXT);
        let links: Vec<_> = page.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        assert!(links.len() > 10, "{links:?}");
        for link in links {
            let has_target = match link.strip_prefix('#') {
                Some(anchor) => page.contains(&format!("id=\"{anchor}\"")),
                None => link.starts_with("https://"),
            };
            assert!(has_target, "{link} has no target");
        }
    }

    #[test]
    fn a_heading_gets_the_anchor_that_a_forge_gives_it() {
        let page = render("## What `it` means, in short\n");
        assert_eq!(page, "<h2 id=\"what-it-means-in-short\">What <code>it</code> means, in short</h2>\n");
    }
}
