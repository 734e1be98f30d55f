//! The runbook as a page of the probe itself: what to do at night must not depend on a wiki that is up.

use std::sync::LazyLock;

use askama::Template;
use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd, html};

use super::app::App;
use super::page::Head;
use super::view::Mark;

const TEXT: &str = include_str!("../../docs/runbook.md");

static BODY: LazyLock<String> = LazyLock::new(|| render(TEXT));

/// The page.
#[derive(Template)]
#[template(path = "runbook.html")]
pub(crate) struct Page {
    head: Head,
    /// Made of our own text only.
    body: &'static str,
}

impl Page {
    pub(crate) fn new(app: &App) -> Self {
        Self { head: Head::new(app, "Runbook", Mark::Pending), body: &BODY }
    }
}

/// Markdown as HTML, with an anchor at every heading as forges make them.
fn render(markdown: &str) -> String {
    let mut events: Vec<Event> = Parser::new_ext(markdown, Options::ENABLE_TABLES).collect();
    let mut heading = None;
    let mut words = String::new();
    for at in 0..events.len() {
        match &events[at] {
            Event::Start(Tag::Heading { .. }) => {
                heading = Some(at);
                words.clear();
            }
            Event::Text(text) | Event::Code(text) if heading.is_some() => words.push_str(text),
            Event::End(TagEnd::Heading(_)) => {
                if let Some(Event::Start(Tag::Heading { id, .. })) =
                    heading.take().and_then(|at| events.get_mut(at))
                {
                    *id = Some(anchor(&words).into());
                }
            }
            _ => {}
        }
    }
    let mut page = String::with_capacity(markdown.len() * 2);
    html::push_html(&mut page, events.into_iter());
    page
}

/// Lower case, hyphens for spaces, and no punctuation.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|it| it.is_alphanumeric() || matches!(it, ' ' | '-'));
    kept.map(|it| if it == ' ' { '-' } else { it.to_ascii_lowercase() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::quantile::Quantile;
    use crate::domain::topology::{HopRange, StageId};
    use crate::domain::verdict::Condition;

    #[test]
    fn every_condition_that_needs_action_has_a_runbook_chapter() {
        let page = render(TEXT);
        let (stage, hop) = (StageId(0), HopRange { first: StageId(0), last: StageId(0) });
        let conditions = [
            Condition::Leaking { stage, found_in: "".into() },
            Condition::NotInjecting { reason: "".into() },
            Condition::CannotSee { stage, reason: "".into() },
            Condition::CannotSeeSideStage { stage, reason: "".into() },
            Condition::Stuck { hop: stage, waiting: 1 },
            Condition::Losing { hop, lost: 1, of: 2 },
            Condition::Slow { p95: Quantile::MoreThan(std::time::Duration::from_secs(30)) },
        ];
        for condition in conditions {
            let chapter = condition.profile().chapter.expect("something is to be done");
            assert!(
                page.contains(&format!("<h2 id=\"{chapter}\">")),
                "{chapter} is no chapter of the runbook"
            );
        }
    }

    #[test]
    fn links_within_the_runbook_lead_somewhere() {
        let page = render(TEXT);
        let links: Vec<_> = page.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        assert!(links.len() > 10, "{links:?}");
        for link in links {
            let there = match link.strip_prefix('#') {
                Some(anchor) => page.contains(&format!("id=\"{anchor}\"")),
                None => link.starts_with("https://"),
            };
            assert!(there, "{link} leads missing");
        }
    }

    #[test]
    fn a_heading_gets_the_anchor_that_a_forge_gives_it() {
        let page = render("## What `it` means, in short\n");
        assert_eq!(page, "<h2 id=\"what-it-means-in-short\">What <code>it</code> means, in short</h2>\n");
    }
}
