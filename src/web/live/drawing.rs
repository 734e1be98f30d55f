//! A page that was drawn.

use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use askama::Template as _;
use tokio::time::Instant;

use super::super::app::App;
use super::super::filter::{Filter, FilterError};
use super::super::fold::Fold;
use super::super::view::{One, Recent, Timeline};
use super::super::{detail, recent};
use crate::domain::tag::TraceId;
use crate::domain::tracker::Snapshot;

/// Begins an age, which is drawn by the browser from its `datetime`. The text of ages changes every second, and
/// would have to be sent with every line that has one.
const AGE: &str = "<time class=\"ago\"";

/// Which page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// `/traces/recent` with these parameters.
    Recent(Vec<(String, String)>),
    /// `/traces/{id}`.
    One(TraceId),
}

/// Why there is no such page.
#[derive(Debug)]
pub(crate) enum NoPage {
    Invalid(FilterError),
    /// No trace with this id is remembered.
    Unknown(TraceId),
    Failed(askama::Error),
}

/// Tells two texts of a page apart, ages left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Version(u64);

impl Version {
    fn of(text: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        Self(hasher.finish())
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        // A sign is no digit.
        let is_hex = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_hex.then(|| u64::from_str_radix(text, 16).ok().map(Self)).flatten()
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[derive(Debug)]
pub(crate) struct Drawing {
    pub(crate) address: Address,
    pub(crate) version: Version,
    pub(super) drawn_at: Instant,
    /// Without the texts of ages.
    pub(super) text: String,
}

impl Drawing {
    pub(super) fn new(app: &App, snapshot: &Snapshot, address: &Address) -> Result<Self, NoPage> {
        Ok(Self::of(address.clone(), &draw(app, snapshot, address)?))
    }

    /// A page that was drawn just now.
    pub(crate) fn of(address: Address, page: &str) -> Self {
        let text = without_ages(page);
        Self { address, version: Version::of(&text), drawn_at: Instant::now(), text }
    }
}

/// Draws a page.
pub(crate) fn draw(app: &App, snapshot: &Snapshot, address: &Address) -> Result<String, NoPage> {
    match address {
        Address::Recent(query) => {
            let filter = Filter::read(query, &snapshot.topology, snapshot.at).map_err(NoPage::Invalid)?;
            let filter = filter.of_page();
            let view = Recent::new(app, snapshot, &filter);
            let fold = Fold::of(&view);
            let timeline = Timeline::new(app, snapshot, &view, &fold.lines);
            recent::Page::new(app, &view, &fold, &timeline).render()
        }
        Address::One(id) => {
            let one = One::find(app, snapshot, *id).ok_or(NoPage::Unknown(*id))?;
            detail::Page::new(app, &one).render()
        }
    }
    .map_err(NoPage::Failed)
}

pub(super) fn without_ages(page: &str) -> String {
    let mut text = String::with_capacity(page.len());
    let mut rest = page;
    while let Some(at) = rest.find(AGE) {
        let from = rest[at..].find('>').map_or(rest.len(), |end| at + end + 1);
        text.push_str(&rest[..from]);
        rest = &rest[from..];
        rest = rest.find('<').map_or("", |end| &rest[end..]);
    }
    text.push_str(rest);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_no_change() {
        let page = |age: &str| {
            format!("<td><time class=\"ago\" datetime=\"2026-01-01T00:00:00Z\">{age}</time> ago</td>")
        };
        assert_eq!(without_ages(&page("4 s")), without_ages(&page("6 s")));
        assert_eq!(without_ages(&page("4 s")), page(""));
    }

    #[test]
    fn a_page_that_ends_within_an_age_is_kept() {
        assert_eq!(without_ages("a<time class=\"ago\""), "a<time class=\"ago\"");
        assert_eq!(without_ages("a<time class=\"ago\">4 s"), "a<time class=\"ago\">");
    }
}
