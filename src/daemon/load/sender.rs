//! Makes the canaries of a load and hands them to the injectors of their log groups.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::daemon::random;
use crate::domain::tag::{InstanceCode, Keyring, Purpose, Tag, TraceId};
use crate::domain::time::Timestamp;
use crate::domain::topology::{LogGroupId, TenantId, Topology};
use crate::domain::tracker::{Event, Tracker};
use crate::inject::CanaryLine;
use crate::load::arrivals::{Arrivals, Spacing};
use crate::load::estimate::EVENT_OVERHEAD;
use crate::load::plan::Plan;
use crate::load::record::Record;
use crate::load::rotation::Rotation;

/// The queue to each log group of each tenant.
pub(super) type Queues = HashMap<(TenantId, LogGroupId), mpsc::Sender<CanaryLine>>;

/// What is sent to one tenant.
struct Lane {
    tenant: TenantId,
    log_groups: u16,
    /// The log group of the next event.
    next_group: u16,
    sizes: Rotation,
    size: u32,
}

/// Makes canaries when they are due.
pub(super) struct Sender {
    pub(super) arrivals: Arrivals,
    /// Bytes of the lines that were handed over, without those that were refused.
    pub(super) bytes: u64,
    /// How many lines these are.
    lines: u64,
    /// How late a canary was handed over, at most.
    pub(super) latest: Duration,
    /// Which lane is next.
    order: Rotation,
    lanes: Vec<Lane>,
    sizes: Vec<u32>,
    keys: Arc<Keyring>,
    instance: InstanceCode,
    queues: Queues,
}

impl Sender {
    /// Sends nothing before it is given arrivals.
    pub(super) fn new(plan: &Plan, keys: Keyring, instance: InstanceCode, queues: Queues) -> Self {
        let lane = |lane: &crate::load::plan::Lane| Lane {
            tenant: lane.tenant,
            log_groups: lane.log_groups.max(1),
            next_group: 0,
            sizes: Rotation::new(plan.profile.sizes.iter().map(|(_, weight)| *weight)),
            size: 0,
        };
        Self {
            arrivals: Arrivals::new(&[], Spacing::Even, 0, Timestamp::MIN),
            bytes: 0,
            lines: 0,
            latest: Duration::ZERO,
            order: Rotation::new(plan.lanes.iter().map(|lane| lane.weight)),
            lanes: plan.lanes.iter().map(lane).collect(),
            sizes: plan.profile.sizes.iter().map(|(size, _)| *size).collect(),
            keys: Arc::new(keys),
            instance,
            queues,
        }
    }

    /// The bytes as CloudWatch Logs counts them.
    pub(super) const fn billed(&self) -> u64 {
        self.bytes + EVENT_OVERHEAD * self.lines
    }

    /// A line of this size is in no log group: it was refused, or not put in time.
    pub(super) fn not_stored(&mut self, size: u32) {
        self.bytes = self.bytes.saturating_sub(u64::from(size));
        self.lines = self.lines.saturating_sub(1);
    }

    /// When the next canary is due; `None` after the last one.
    pub(super) fn next_at(&self) -> Option<Timestamp> {
        self.arrivals.next_at()
    }

    /// Sends what is due. `events` gets what follows.
    pub(super) fn send_due(
        &mut self,
        now: Timestamp,
        topology: &Topology,
        tracker: &mut Tracker,
        record: &mut Record,
        events: &mut Vec<Event>,
    ) {
        let due = self.arrivals.take_due(now);
        due.missed.into_iter().for_each(|at| record.missed(at));
        for at in due.planned {
            self.latest = self.latest.max(now.since(at));
            self.send(at, now, topology, tracker, record, events);
        }
    }

    fn send(
        &mut self,
        at: Timestamp,
        now: Timestamp,
        topology: &Topology,
        tracker: &mut Tracker,
        record: &mut Record,
        events: &mut Vec<Event>,
    ) {
        let next = self.order.take();
        let Some(lane) = self.lanes.get_mut(next) else { return };
        // Every size goes into every log group.
        if lane.next_group == 0 {
            lane.size = self.sizes.get(lane.sizes.take()).copied().unwrap_or_default();
        }
        let (tenant, size, group) = (lane.tenant, lane.size, LogGroupId(lane.next_group));
        lane.next_group = (lane.next_group + 1) % lane.log_groups;
        // Room first: what cannot be handed over is a limit of this machine, and not an answer of the log group.
        let room = self.queues.get(&(tenant, group)).map(mpsc::Sender::try_reserve);
        let Some(Ok(room)) = room else {
            record.missed(at);
            return;
        };
        let trace = TraceId::new(at, random::for_trace_id());
        let spec = topology.tenant(tenant);
        let tag = Tag::new(trace, spec.code, self.instance, size, Purpose::Load);
        // The tracker must know the canary before it can be put, so that no sighting comes before it.
        if tracker.plan_for(group, tag, now, events).is_err() {
            record.missed(at);
            return;
        }
        record.sent(tenant, size, trace.planned_at());
        let line = spec.template.render(&tag, &self.keys.sign(&tag));
        self.bytes += line.len() as u64;
        self.lines += 1;
        room.send(CanaryLine { trace, tenant, planned_at: trace.planned_at(), line });
    }
}
