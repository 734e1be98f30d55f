//! A change of the configuration while the engine runs.
//!
//! It happens between two inputs. What did not change is not touched: schedules, queues and observers go on as
//! they are. A tenant that is not configured any more gets no further canaries; its sources are polled until
//! nothing of it is awaited.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::{Engine, Lane, Round, schedule};
use crate::daemon::hold::{Outbound, Polled};
use crate::daemon::log_events;
use crate::domain::cost::Costs;
use crate::domain::schema::ExpectedSchema;
use crate::domain::time::Timestamp;
use crate::domain::topology::{SourceId, TenantId, Topology};

/// How long the series of a tenant stay after its last canary: two scrapes at the longest usual interval of a
/// minute, so that Prometheus reads the last outcome.
const LAST_SCRAPES: Duration = Duration::from_mins(2);

/// The engine's part of a new configuration.
#[derive(Debug)]
pub struct Change {
    /// Succeeds the present one.
    pub topology: Arc<Topology>,
    /// How many canaries may be in flight.
    pub max_in_flight: usize,
    /// What polls of its stages cost, by their ids.
    pub stage_costs: Vec<Costs>,
    /// Every tenant that gets canaries.
    pub lanes: BTreeMap<TenantId, LaneChange>,
    /// New observers; one that was there before is replaced.
    pub polled: Vec<(SourceId, Polled)>,
    /// What the schemas of sources are compared with.
    pub schemas: Vec<(SourceId, ExpectedSchema)>,
    /// Told whether the change is in force, once it is shown. It is not if it was planned before a tenant left whose sources it needs.
    pub done: oneshot::Sender<bool>,
}

/// What becomes of the lane of a tenant.
#[derive(Debug)]
pub enum LaneChange {
    /// Nothing but its interval may be new.
    Stays,
    /// Its canaries are of these sizes, and go there.
    Is { sizes: Vec<u32>, outbound: Vec<Outbound> },
}

impl Engine {
    /// Puts a new configuration in force.
    pub(super) fn succeed(&mut self, change: Change, now: Timestamp, round: &mut Round) {
        let Change { topology, max_in_flight, stage_costs, lanes, polled, schemas, done } = change;
        let runs = |id| self.polled.contains_key(&id) || polled.iter().any(|(new, _)| *new == id);
        if !topology.source_ids().all(runs) {
            let _told = done.send(false);
            return;
        }
        let before = self.topology.clone();
        self.replace_topology(&topology, now, round);
        self.tracker.raise_max_in_flight(max_in_flight);
        self.metrics.set_stage_costs(stage_costs);
        for (source, expected) in schemas {
            self.tracker.expect_schema(source, expected);
        }
        let mut old = std::mem::take(&mut self.lanes);
        for (tenant, lane) in lanes {
            let spec = topology.tenant(tenant);
            let (present, earlier) = (old.remove(&tenant), before.tenants().get(usize::from(tenant.0)));
            let same_pace = earlier.is_some_and(|earlier| earlier.interval == spec.interval);
            let new_schedule = || schedule(now, self.keys.plan(spec.code, spec.interval));
            let lane = match (lane, present) {
                (LaneChange::Stays, Some(present)) if same_pace => present,
                (LaneChange::Stays, Some(present)) => {
                    Lane::new(new_schedule(), present.sizes, present.outbound)
                }
                (LaneChange::Is { sizes, outbound }, Some(present)) if same_pace => {
                    Lane { sizes, outbound, ..present }
                }
                (LaneChange::Is { sizes, outbound }, _) => Lane::new(new_schedule(), sizes, outbound),
                (LaneChange::Stays, None) => continue,
            };
            self.lanes.insert(tenant, lane);
        }
        self.agenda.renew();
        for (source, polled) in polled {
            polled.wanted.send_replace(self.tracker.wanted(source));
            self.polled.insert(source, polled);
        }
        self.in_force = Some(done);
    }

    /// Removes the tenants that leave and of which nothing has been awaited for a while.
    pub(super) fn let_go(&mut self, now: Timestamp, round: &mut Round) {
        let leaving: Vec<TenantId> = self.topology.leaving().collect();
        self.quiet_since.retain(|tenant, _| leaving.contains(tenant));
        for tenant in leaving {
            if self.tracker.awaits(tenant) {
                self.quiet_since.remove(&tenant);
                continue;
            }
            let since = *self.quiet_since.entry(tenant).or_insert(now);
            if now.since(since) >= LAST_SCRAPES {
                log_events::tenant_gone(&self.topology.tenant(tenant).name);
                let topology = Arc::new(self.topology.without(tenant));
                // Nothing of the tenant is open. Of others, what is due at this instant follows.
                self.replace_topology(&topology, now, round);
            }
        }
    }

    pub(super) fn replace_topology(&mut self, topology: &Arc<Topology>, now: Timestamp, round: &mut Round) {
        let before = std::mem::replace(&mut self.topology, topology.clone());
        let events = self.tracker.succeed(topology.clone(), now);
        round.events.extend(events.into_iter().map(|event| (event, now)));
        self.figures.succeed(topology.clone());
        self.store.succeed(topology.clone());
        self.metrics.succeed(topology.clone());
        let ended = self.incidents.succeed(&before, topology, now);
        self.tell_of_incidents(ended);
        self.polled.retain(|source, _| topology.has_source(*source));
        self.lanes.retain(|tenant, _| !topology.is_gone(*tenant));
        self.agenda.renew();
    }
}
