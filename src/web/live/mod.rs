//! Keeps an open page up to date by server-sent events.
//!
//! A browser has the text of the page that it fetched, and the version in its `ETag`. The stream that it then
//! opens draws the page again, at most every two seconds, and sends the lines that changed. It knows nothing of
//! what is on a page, so a template cannot forget to say what is live. All streams of one address share a
//! drawing, and all drawings and changes together take at most a tenth of the time, however many addresses are
//! open. They share the compressed changes as well: to compress each stream would take 256 KB of memory for each.

mod drawing;
mod patch;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, Sse};
use futures::stream::{self, Stream};
use tokio::sync::Mutex as AsyncMutex;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

pub(crate) use self::drawing::{Address, Drawing, NoPage, Version, draw};
use super::app::{App, Apps};
use crate::domain::tracker::Snapshot;

/// A reader cannot follow more.
const EVERY: Duration = Duration::from_secs(2);
/// A drawing this old is as good as a new one.
const FRESH: Duration = Duration::from_millis(500);
/// After a drawing or a patch, this many times as long passes until the next one.
const REST: u32 = 9;
/// Most bytes of drawings that are kept. With 50 tenants one has 200 KB.
const KEPT: usize = 8 << 20;
/// Patches that are kept: those of one round.
const PATCHES: usize = 16;
/// Shorter than the idle timeouts of common proxies.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// A page, and what makes it of the one that a browser has; `None` if they are the same.
type Drawn = (Arc<Drawing>, Option<Arc<str>>);

/// The pages that were drawn last.
#[derive(Debug)]
pub(crate) struct Live {
    /// Newest last.
    drawn: Mutex<VecDeque<Arc<Drawing>>>,
    /// When the next stream may draw, or make a patch.
    rested: AsyncMutex<Instant>,
    /// The last patches, so that the streams of one address share them.
    patches: Mutex<VecDeque<(Version, Version, Arc<str>)>>,
}

impl Default for Live {
    fn default() -> Self {
        Self { drawn: Mutex::default(), rested: AsyncMutex::new(Instant::now()), patches: Mutex::default() }
    }
}

impl Live {
    /// Keeps a drawing that a browser gets, because it is what the first event of its stream changes.
    pub(crate) fn keep(&self, drawing: Drawing) -> Arc<Drawing> {
        let drawing = Arc::new(drawing);
        let mut drawn = self.drawn.lock().unwrap_or_else(PoisonError::into_inner);
        drawn.retain(|other| other.version != drawing.version || other.address != drawing.address);
        drawn.push_back(drawing.clone());
        let mut bytes: usize = drawn.iter().map(|drawing| drawing.text.len()).sum();
        while bytes > KEPT
            && let Some(oldest) = drawn.pop_front()
        {
            bytes -= oldest.text.len();
        }
        drawing
    }

    fn find(&self, is_it: impl Fn(&Drawing) -> bool) -> Option<Arc<Drawing>> {
        let drawn = self.drawn.lock().unwrap_or_else(PoisonError::into_inner);
        drawn.iter().rev().find(|drawing| is_it(drawing)).cloned()
    }

    /// The page as it is now; `None` if there is no such page any more.
    async fn draw(&self, app: &App, address: &Address, held: &Drawing) -> Option<Drawn> {
        let mut rested = self.rested.lock().await;
        let now = Instant::now();
        // Others may have drawn it while this one waited.
        let fresh = self.find(|it| it.address == *address && now - it.drawn_at < FRESH);
        if let Some(fresh) = &fresh {
            let patch = self.known_patch(held, fresh);
            if patch.is_some() || fresh.version == held.version {
                return Some((fresh.clone(), patch));
            }
        }
        sleep_until(*rested).await;
        let began = Instant::now();
        let drawn = self.draw_at_once(app, address, held, fresh);
        let now = Instant::now();
        *rested = now + (now - began) * REST;
        drawn
    }

    /// Draws the page unless there is a fresh drawing, and makes the patch.
    fn draw_at_once(
        &self,
        app: &App,
        address: &Address,
        held: &Drawing,
        fresh: Option<Arc<Drawing>>,
    ) -> Option<Drawn> {
        let drawing = match fresh {
            Some(fresh) => fresh,
            None => {
                let snapshot = app.snapshot.borrow().clone();
                self.keep(Drawing::new(app, &snapshot, address).ok()?)
            }
        };
        let patch = (drawing.version != held.version).then(|| self.patch(held, &drawing));
        Some((drawing, patch))
    }

    fn known_patch(&self, from: &Drawing, to: &Drawing) -> Option<Arc<str>> {
        let patches = self.patches.lock().unwrap_or_else(PoisonError::into_inner);
        let known = patches.iter().find(|patch| patch.0 == from.version && patch.1 == to.version);
        known.map(|patch| patch.2.clone())
    }

    fn patch(&self, from: &Drawing, to: &Drawing) -> Arc<str> {
        if let Some(patch) = self.known_patch(from, to) {
            return patch;
        }
        let patch: Arc<str> = patch::encoded(&patch::between(&from.text, &to.text)).into();
        // Held for no longer: each stream that has nothing to draw needs it.
        let mut patches = self.patches.lock().unwrap_or_else(PoisonError::into_inner);
        patches.push_back((from.version, to.version, patch.clone()));
        if patches.len() > PATCHES {
            patches.pop_front();
        }
        patch
    }

    /// The changes of a page from `version` on. Ends with the event `gone` if there is no such page any more,
    /// and with `reset` if the version is not known, after which the browser must fetch the page again.
    pub(crate) fn events(
        self: Arc<Self>,
        apps: Apps,
        address: Address,
        version: Option<Version>,
    ) -> Sse<impl Stream<Item = Result<Event, Infallible>> + Send> {
        let held = version.and_then(|version| self.find(|it| it.version == version && it.address == address));
        let snapshots = apps.now().snapshot;
        let due = Instant::now();
        let follower = Follower { live: self, apps, address, held, snapshots, due, has_ended: false };
        let events = stream::unfold(follower, |mut follower| async move {
            let event = follower.next().await?;
            Some((Ok(event), follower))
        });
        Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
    }
}

/// One open page.
struct Follower {
    live: Arc<Live>,
    apps: Apps,
    address: Address,
    /// What the browser has.
    held: Option<Arc<Drawing>>,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    due: Instant,
    has_ended: bool,
}

impl Follower {
    async fn next(&mut self) -> Option<Event> {
        if self.has_ended {
            return None;
        }
        let Some(held) = self.held.clone() else { return Some(self.end("reset")) };
        loop {
            sleep_until(self.due).await;
            // Without an engine there is nothing new.
            self.snapshots.changed().await.ok()?;
            self.due = Instant::now() + EVERY;
            let drawn = self.live.draw(&self.apps.now(), &self.address, &held).await;
            let Some((drawing, patch)) = drawn else { return Some(self.end("gone")) };
            if let Some(patch) = patch {
                let event = Event::default().event("patch").id(drawing.version.to_string()).data(&*patch);
                self.held = Some(drawing);
                return Some(event);
            }
        }
    }

    fn end(&mut self, why: &str) -> Event {
        self.has_ended = true;
        Event::default().event(why).data("")
    }
}
