//! Canaries with a fate, and what the probe would show of them at any time.
//!
//! A model of the probe's metrics, not the probe: it knows in advance when each canary arrives. Times are
//! seconds since the beginning.

/// Thresholds of the configurations under test.
pub const SLO: f64 = 30.0;
pub const GIVE_UP: f64 = 900.0;

/// What becomes of a canary.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fate {
    /// It arrives after so many seconds.
    Arrives(f64),
    Lost,
}

#[derive(Clone, Copy, Debug)]
pub struct Canary {
    pub planned: f64,
    pub fate: Fate,
}

impl Canary {
    /// When it arrives in time to be delivered.
    fn arrived(&self) -> Option<f64> {
        match self.fate {
            Fate::Arrives(after) if after < GIVE_UP => Some(self.planned + after),
            Fate::Arrives(_) | Fate::Lost => None,
        }
    }

    fn arrived_within(&self, bound: f64) -> Option<f64> {
        self.arrived().filter(|at| at - self.planned <= bound)
    }

    /// When it is judged against the SLO: on arrival, or once it is overdue.
    fn judged(&self) -> f64 {
        self.arrived_within(SLO).unwrap_or(self.planned + SLO)
    }

    fn ended(&self) -> f64 {
        self.arrived().unwrap_or(self.planned + GIVE_UP)
    }
}

/// The canaries of one tenant, in the order of their planned injection, and when what about them happens.
pub struct Tenant {
    pub name: String,
    canaries: Vec<Canary>,
    /// Sorted times, so that a count is a binary search.
    judged: Vec<f64>,
    within: Vec<(f64, Vec<f64>)>,
    delivered: Vec<f64>,
    lost: Vec<f64>,
    /// When the canary of each index ended, or any canary before it.
    first_open: Vec<f64>,
}

/// The bounds of the buckets; fewer than the probe has.
pub const BOUNDS: [f64; 4] = [5.0, 30.0, 60.0, 900.0];

impl Tenant {
    pub fn new(name: impl Into<String>, canaries: Vec<Canary>) -> Self {
        let sorted = |times: &dyn Fn(&Canary) -> Option<f64>| {
            let mut times: Vec<f64> = canaries.iter().filter_map(times).collect();
            times.sort_by(f64::total_cmp);
            times
        };
        let within = BOUNDS.map(|bound| (bound, sorted(&|canary: &Canary| canary.arrived_within(bound))));
        let mut latest = f64::NEG_INFINITY;
        let first_open = canaries.iter().map(|canary| {
            latest = latest.max(canary.ended());
            latest
        });
        Self {
            name: name.into(),
            judged: sorted(&|canary| Some(canary.judged())),
            within: within.into(),
            delivered: sorted(&Canary::arrived),
            lost: sorted(&|canary| canary.arrived().is_none().then(|| canary.ended())),
            first_open: first_open.collect(),
            canaries,
        }
    }

    pub fn injected(&self, at: f64) -> usize {
        self.canaries.partition_point(|canary| canary.planned <= at)
    }

    pub fn judged(&self, at: f64) -> usize {
        before(&self.judged, at)
    }

    /// How many arrived within a bound of [`BOUNDS`].
    pub fn within(&self, bound: f64, at: f64) -> usize {
        let (_, times) = self.within.iter().find(|(of, _)| *of == bound).expect("it is a bound");
        before(times, at)
    }

    pub fn delivered(&self, at: f64) -> usize {
        before(&self.delivered, at)
    }

    pub fn lost(&self, at: f64) -> usize {
        before(&self.lost, at)
    }

    /// The canaries that are in flight.
    pub fn in_flight(&self, at: f64) -> impl Iterator<Item = &Canary> {
        let from = self.first_open.partition_point(|ended| *ended <= at);
        let until = self.injected(at).max(from);
        self.canaries[from..until].iter().filter(move |canary| canary.ended() > at)
    }

    /// The age of the oldest canary in flight; 0 if there is none.
    pub fn oldest(&self, at: f64) -> f64 {
        self.in_flight(at).next().map_or(0.0, |canary| at - canary.planned)
    }

    /// When something was last delivered.
    pub fn last_delivery(&self, at: f64) -> f64 {
        self.delivered(at).checked_sub(1).map_or(f64::NEG_INFINITY, |last| self.delivered[last])
    }

    /// Whether two canaries in a row are overdue, and nothing was delivered since the first of them was planned.
    pub fn is_stuck(&self, at: f64) -> bool {
        let last = self.last_delivery(at);
        let from = self.canaries.partition_point(|canary| canary.planned <= last);
        // Everything planned since is undelivered.
        self.canaries[from..].iter().take(2).filter(|canary| at - canary.planned > SLO).count() == 2
    }

    /// Whether a canary is overdue that was planned since `last`.
    fn is_overdue_since(&self, last: f64, at: f64) -> bool {
        let from = self.canaries.partition_point(|canary| canary.planned <= last);
        self.canaries.get(from).is_some_and(|canary| at - canary.planned > SLO)
    }
}

/// Whether at least three tenants have an overdue canary that was planned since anything of any tenant was last
/// delivered.
pub fn is_total_stall(tenants: &[Tenant], at: f64) -> bool {
    let last = tenants.iter().map(|tenant| tenant.last_delivery(at)).fold(f64::NEG_INFINITY, f64::max);
    tenants.iter().filter(|tenant| tenant.is_overdue_since(last, at)).count() >= 3
}

fn before(times: &[f64], at: f64) -> usize {
    times.partition_point(|time| *time <= at)
}

#[test]
fn a_canary_counts_when_it_is_overdue_and_again_in_a_bucket_when_it_arrives() {
    let slow = Canary { planned: 0.0, fate: Fate::Arrives(45.0) };
    let tenant = Tenant::new("acme", vec![slow]);
    assert_eq!((tenant.judged(29.0), tenant.judged(30.0)), (0, 1));
    assert_eq!((tenant.within(60.0, 44.0), tenant.within(60.0, 45.0), tenant.within(30.0, 45.0)), (0, 1, 0));
}

#[test]
fn two_overdue_canaries_in_a_row_are_stuck_until_a_later_one_arrives() {
    let fates = [Fate::Arrives(5.0), Fate::Lost, Fate::Lost, Fate::Arrives(5.0)];
    let canary = |(number, fate): (usize, &Fate)| Canary { planned: 30.0 * number as f64, fate: *fate };
    let tenant = Tenant::new("acme", fates.iter().enumerate().map(canary).collect());
    assert!(!tenant.is_stuck(90.0) && tenant.is_stuck(91.0) && !tenant.is_stuck(96.0));
}
