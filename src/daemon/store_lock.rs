//! Opens the store, and waits while another process holds it.
//!
//! A deployment that starts the new task before it stops the old one has two processes on one store for a
//! while. The new one must not measure beside the old one, because both would count what the store holds. It
//! waits, and answers health checks, without which the orchestrator would never stop the old one.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::store_writer::OpenedStore;
use super::supervisor::{Supervisor, Task};
use super::wire::{self, Common};
use crate::config::Config;
use crate::metrics::Connections;
use crate::store::StoreError;
use crate::web;

/// Pause between two attempts, in addition to what SQLite waits in each.
const RETRY_EVERY: Duration = Duration::from_millis(500);
/// How long a connection that is open when the store is there may take to be answered.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// Opens the store and loads what a previous run left in it. Returns the listener as well, on which health
/// checks were answered meanwhile.
///
/// # Errors
///
/// If it cannot be opened, or if another process holds it for longer than `store.lock_timeout`.
pub(super) async fn open(
    config: &Config,
    common: &Common,
    counters: &Connections,
    gate: Arc<web::Gate>,
    listener: TcpListener,
) -> anyhow::Result<(OpenedStore, TcpListener)> {
    let clock = common.clock.wall();
    let began = Instant::now();
    let opened = wire::open_store(config, &common.topology, &clock).await;
    if !is_held(&opened) {
        return Ok((opened?, listener));
    }
    let limit = config.store.lock_timeout;
    let address = listener.local_addr().context("cannot read the address of the listening port")?;
    let reason = format!(
        "another process holds the store: waiting up to {} s for it to end; http://{address}/healthz answers meanwhile",
        limit.as_secs_f64()
    );
    warn!("{reason}");
    let (listener, copy) = doubled(listener).context("cannot share the listening port")?;
    let end = CancellationToken::new();
    let limits = web::Limits::new(config.web.max_connections, config.web.max_connections_per_peer);
    let pages = gate.clone().guard(web::waiting(&reason), counters);
    let pages = web::only_for_hosts(pages, &config.web.hosts, counters);
    let serving = web::serve(copy, pages, gate, limits, counters.clone(), end.clone());
    let mut supervisor = Supervisor::new(Handle::current());
    supervisor.start(Task::new("answer health checks", serving));
    let opened = loop {
        sleep(RETRY_EVERY).await;
        let opened = wire::open_store(config, &common.topology, &clock).await;
        if !is_held(&opened) || began.elapsed() >= limit {
            break opened;
        }
    };
    end.cancel();
    // It ends when all have been answered; what has not been by then is dropped with it.
    let _ = timeout(LAST_ANSWERS, supervisor.next_end()).await;
    let opened = opened.with_context(|| format!("waited {} s for it", limit.as_secs_f64()))?;
    info!("the store is free after {:.1} s", began.elapsed().as_secs_f64());
    Ok((opened, listener))
}

fn is_held(opened: &anyhow::Result<OpenedStore>) -> bool {
    let error = opened.as_ref().err().and_then(|error| error.downcast_ref::<StoreError>());
    matches!(error, Some(StoreError::Locked(_)))
}

/// The listener and another one on the same port: what neither has accepted waits for both.
fn doubled(listener: TcpListener) -> std::io::Result<(TcpListener, TcpListener)> {
    let listener = listener.into_std()?;
    let copy = listener.try_clone()?;
    Ok((TcpListener::from_std(listener)?, TcpListener::from_std(copy)?))
}
