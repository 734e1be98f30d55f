//! What polls may take of a service in a day.
//!
//! A budget is spread over the day: at noon, polls may have taken half of it. A poll that would exceed that waits until
//! the share has grown, so that a mistake in the morning does not leave the evening without polls. Canaries are injected
//! whatever a budget says.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use super::calls::Calls;
use crate::domain::count::counted;
use crate::domain::foreign::ForeignText;
use crate::domain::time::Timestamp;
use crate::domain::tracker::HeldBack;

const DAY_MILLIS: u64 = 86_400_000;
/// Polls may be ahead of an even use by so much. Otherwise the first poll of a day, and of each burst, would wait.
const AHEAD_MILLIS: u64 = 15 * 60_000;

/// What polls of one service may take in a day (UTC); `None` for no limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Limits {
    pub calls: Option<u64>,
    /// Bytes read; of BigQuery, bytes billed.
    pub bytes: Option<u64>,
}

/// The operations of a service with which it is polled, and the limits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Budget {
    /// As in metrics: `kinesis`.
    pub service: &'static str,
    /// Whose calls are counted.
    pub operations: Vec<&'static str>,
    pub limits: Limits,
}

/// The budgets of all services. Clones share the counts.
///
/// Counts begin with the process, so a restart grants the day's share again.
#[derive(Clone, Debug, Default)]
pub struct Budgets {
    // A lock, because a reload changes the limits while polls are checked; held for a lookup.
    accounts: Arc<RwLock<BTreeMap<&'static str, Account>>>,
}

#[derive(Debug)]
struct Account {
    budget: Budget,
    calls: Calls,
    // A mutex, because all sources of a service take from it; held for an addition.
    today: Mutex<Today>,
    /// The last polls that were held back.
    held: Mutex<Option<Held>>,
}

/// Polls that were held back without a pause of [`PAUSE`].
#[derive(Clone, Debug)]
struct Held {
    since: Timestamp,
    /// Until when the last of them waits.
    until: Timestamp,
    /// Until when the last of them waits that was left out, and not only made late.
    left_out_until: Option<Timestamp>,
    text: ForeignText,
}

#[derive(Clone, Copy, Debug, Default)]
struct Today {
    /// Days since the epoch; `None` before the first use.
    number: Option<u64>,
    /// All calls before this day.
    calls_before: u64,
    bytes: u64,
}

/// Polls that are held back again within this are one episode.
const PAUSE: Duration = Duration::from_secs(60);
/// A poll that waits no longer is late; one that would is left out.
pub const LATE: Duration = Duration::from_secs(15);

/// A budget does not allow another poll yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Spent {
    /// What was taken and what is allowed, for people.
    pub text: String,
    /// Until a poll is allowed, if no other source takes more.
    pub wait: Duration,
}

/// How much of a limit has been used.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Used {
    pub service: &'static str,
    /// `calls` or `bytes`.
    pub of: &'static str,
    /// 1 if all of the day's limit is used.
    pub ratio: f64,
}

impl Budgets {
    /// Keeps these budgets, also of services without a limit: a reload may set one.
    #[must_use]
    pub fn new(budgets: Vec<Budget>, calls: &Calls) -> Self {
        let account = |budget: Budget| {
            let (calls, today, held) = (calls.clone(), Mutex::default(), Mutex::default());
            (budget.service, Account { budget, calls, today, held })
        };
        Self { accounts: Arc::new(RwLock::new(budgets.into_iter().map(account).collect())) }
    }

    /// Puts other limits in force. What was taken today counts against them.
    pub fn change(&self, budgets: &[Budget]) {
        let mut accounts = self.accounts.write().unwrap_or_else(PoisonError::into_inner);
        for budget in budgets {
            if let Some(account) = accounts.get_mut(budget.service) {
                account.budget = budget.clone();
                *account.held.lock().unwrap_or_else(PoisonError::into_inner) = None;
            }
        }
    }

    /// The polls that are held back; `None` if there are none, or the last one was a minute ago.
    #[must_use]
    pub fn held_back(&self, now: Timestamp) -> Option<HeldBack> {
        let accounts = self.accounts.read().unwrap_or_else(PoisonError::into_inner);
        let held = |account: &Account| account.held.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let lasts = |held: &Held| now < held.until + PAUSE;
        let all: Vec<Held> = accounts.values().filter_map(held).filter(lasts).collect();
        let texts: Vec<_> = all.iter().map(|held| held.text.as_str()).collect();
        Some(HeldBack {
            since: all.iter().map(|held| held.since).min()?,
            text: texts.join("; ").into(),
            leaves_out: all.iter().any(|held| held.left_out_until.is_some_and(|until| now < until + PAUSE)),
        })
    }

    /// What guards the polls of a service.
    #[must_use]
    pub fn of(&self, service: &'static str) -> Gate {
        Gate { budgets: self.clone(), service }
    }

    /// How much of each limit has been used today.
    #[must_use]
    pub fn used(&self, now: Timestamp) -> Vec<Used> {
        let of_account = |account: &Account| {
            let service = account.budget.service;
            let taken = account.taken(now);
            #[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
            taken.map(|(of, used, limit)| {
                limit.map(|limit| Used { service, of, ratio: used as f64 / limit as f64 })
            })
        };
        let accounts = self.accounts.read().unwrap_or_else(PoisonError::into_inner);
        accounts.values().flat_map(of_account).flatten().collect()
    }
}

impl Account {
    fn hold_back(&self, now: Timestamp, spent: &Spent) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let before = held.take().filter(|held| now < held.until + PAUSE);
        let until = now + spent.wait;
        let left_out = (spent.wait > LATE).then_some(until);
        *held = Some(Held {
            since: before.as_ref().map_or(now, |before| before.since),
            until,
            left_out_until: left_out.or(before.and_then(|before| before.left_out_until)),
            text: spent.text.as_str().into(),
        });
    }

    /// What was taken today of calls and bytes, with the limit.
    fn taken(&self, now: Timestamp) -> [(&'static str, u64, Option<u64>); 2] {
        let (day, _) = day_and_time(now);
        let so_far = self.calls.total(self.budget.service, &self.budget.operations);
        let mut today = self.today.lock().unwrap_or_else(PoisonError::into_inner);
        // The first day begins with the process, when no call was made.
        let calls_before = match today.number {
            None => 0,
            Some(number) if number == day => today.calls_before,
            Some(_) => so_far,
        };
        let bytes = if today.number.is_none_or(|number| number == day) { today.bytes } else { 0 };
        *today = Today { number: Some(day), calls_before, bytes };
        let Limits { calls: most_calls, bytes: most_bytes } = self.budget.limits;
        [("calls", so_far.saturating_sub(calls_before), most_calls), ("bytes", bytes, most_bytes)]
    }
}

/// Guards the polls of one service; it is always open if the service has no budget.
#[derive(Clone, Debug)]
pub struct Gate {
    budgets: Budgets,
    service: &'static str,
}

impl Gate {
    /// Whether another poll may begin.
    ///
    /// # Errors
    ///
    /// [`Spent`] if the share of the day so far is used up. What polls in progress take is not foreseen.
    pub fn check(&self, now: Timestamp) -> Result<(), Spent> {
        let accounts = self.budgets.accounts.read().unwrap_or_else(PoisonError::into_inner);
        let Some(account) = accounts.get(self.service) else { return Ok(()) };
        if account.budget.limits == Limits::default() {
            return Ok(());
        }
        let (_, time) = day_and_time(now);
        for (of, used, limit) in account.taken(now) {
            let Some(limit) = limit else { continue };
            let wait = wait(used, limit, time);
            if !wait.is_zero() {
                let service = self.service;
                let text = format!(
                    "polls of {service} have taken {} today of the {limit} that budgets.{service}_{of} spreads over the day; the next is allowed in {} s",
                    counted(used, of.trim_end_matches('s')),
                    wait.as_secs_f64().ceil()
                );
                let spent = Spent { text, wait };
                account.hold_back(now, &spent);
                return Err(spent);
            }
        }
        Ok(())
    }

    /// Counts bytes that a poll has read, or was billed for.
    pub fn note_bytes(&self, bytes: u64, now: Timestamp) {
        let accounts = self.budgets.accounts.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(account) = accounts.get(self.service) {
            // Begins the day.
            account.taken(now);
            let mut today = account.today.lock().unwrap_or_else(PoisonError::into_inner);
            today.bytes = today.bytes.saturating_add(bytes);
        }
    }
}

/// Days since the epoch (UTC), and milliseconds of that day.
fn day_and_time(at: Timestamp) -> (u64, u64) {
    let millis = u64::try_from(at.millis()).unwrap_or(0);
    (millis / DAY_MILLIS, millis % DAY_MILLIS)
}

/// How long after `time` of the day the share of `limit` exceeds `used`; at most until the day is over.
fn wait(used: u64, limit: u64, time: u64) -> Duration {
    let allowed_at = |time: u64| {
        let allowed =
            u128::from(limit) * u128::from((time + AHEAD_MILLIS).min(DAY_MILLIS)) / u128::from(DAY_MILLIS);
        u64::try_from(allowed).unwrap_or(u64::MAX)
    };
    if used < allowed_at(time) {
        return Duration::ZERO;
    }
    // The first millisecond at which the share is one more than what was used.
    let needed = (u128::from(used) + 1) * u128::from(DAY_MILLIS);
    let at = needed.div_ceil(u128::from(limit.max(1)));
    let at = u64::try_from(at).unwrap_or(u64::MAX).saturating_sub(AHEAD_MILLIS);
    let fits_today = used.checked_add(1).is_some_and(|next| next <= limit);
    let until = if fits_today { at.clamp(time + 1, DAY_MILLIS) } else { DAY_MILLIS };
    Duration::from_millis(until.saturating_sub(time))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloud::calls::CallResult;

    const HOUR: u64 = 3_600_000;

    fn at(day: u64, hour: f64) -> Timestamp {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_possible_wrap,
            reason = "small numbers of a test"
        )]
        Timestamp::from_millis((day * DAY_MILLIS) as i64 + (hour * HOUR as f64) as i64)
    }

    /// Budgets of Kinesis, and what counts its calls.
    fn budgets(limits: Limits) -> (Budgets, Calls) {
        let calls = Calls::default();
        let budget = Budget { service: "kinesis", operations: vec!["GetRecords"], limits };
        (Budgets::new(vec![budget], &calls), calls)
    }

    fn call(calls: &Calls, operation: &str, times: usize) {
        for _ in 0..times {
            calls.count("kinesis", operation, CallResult::Ok);
        }
    }

    #[test]
    fn without_a_budget_polls_are_never_held_back() {
        let (budgets, calls) = budgets(Limits::default());
        call(&calls, "GetRecords", 1_000);
        assert_eq!(budgets.of("kinesis").check(at(20_000, 0.0)), Ok(()));
        assert_eq!(budgets.of("s3").check(at(20_000, 0.0)), Ok(()));
        assert!(budgets.used(at(20_000, 0.0)).is_empty());
    }

    #[test]
    fn calls_are_spread_over_the_day() {
        let (budgets, calls) = budgets(Limits { calls: Some(96), bytes: None });
        let gate = budgets.of("kinesis");
        // One call each quarter of an hour, a quarter ahead.
        assert_eq!(gate.check(at(20_000, 0.0)), Ok(()));
        call(&calls, "GetRecords", 1);
        let spent = gate.check(at(20_000, 0.0)).unwrap_err();
        assert_eq!(spent.wait, Duration::from_secs(900));
        assert!(
            spent.text.contains("budgets.kinesis_calls") && spent.text.contains("1 call today"),
            "{}",
            spent.text
        );
        assert_eq!(gate.check(at(20_000, 0.25)), Ok(()));
    }

    #[test]
    fn a_used_up_budget_holds_polls_back_until_midnight() {
        let (budgets, calls) = budgets(Limits { calls: Some(96), bytes: None });
        assert_eq!(budgets.of("kinesis").check(at(20_000, 12.0)), Ok(()));
        call(&calls, "GetRecords", 200);
        let spent = budgets.of("kinesis").check(at(20_000, 12.0)).unwrap_err();
        assert_eq!(spent.wait, Duration::from_secs(12 * 3_600));
        assert_eq!(budgets.of("kinesis").check(at(20_001, 0.0)), Ok(()), "a new day has a new budget");
    }

    #[test]
    fn polls_that_are_held_back_are_told_until_a_minute_after_the_last() {
        let (budgets, calls) = budgets(Limits { calls: Some(96), bytes: None });
        assert_eq!(budgets.held_back(at(20_000, 12.0)), None);
        call(&calls, "GetRecords", 50);
        let begin = at(20_000, 12.0);
        let wait = budgets.of("kinesis").check(begin).unwrap_err().wait;
        let held = budgets.held_back(begin).unwrap();
        assert!(
            held.leaves_out && held.since == begin && held.text.contains("budgets.kinesis_calls"),
            "{held:?}"
        );
        let free = begin + wait;
        assert_eq!(budgets.of("kinesis").check(free), Ok(()));
        assert!(budgets.held_back(free + Duration::from_secs(59)).is_some());
        assert_eq!(budgets.held_back(free + Duration::from_secs(61)), None);
    }

    #[test]
    fn polls_that_are_late_for_seconds_are_no_problem() {
        let (budgets, calls) = budgets(Limits { calls: Some(86_400), bytes: None });
        call(&calls, "GetRecords", 900);
        let spent = budgets.of("kinesis").check(at(20_000, 0.0)).unwrap_err();
        assert!(spent.wait <= LATE, "{spent:?}");
        assert!(!budgets.held_back(at(20_000, 0.0)).unwrap().leaves_out);
    }

    #[test]
    fn other_limits_count_what_was_taken_before() {
        let (budgets, calls) = budgets(Limits::default());
        let gate = budgets.of("kinesis");
        call(&calls, "GetRecords", 50);
        gate.note_bytes(7, at(20_000, 12.0));
        let limit = |limits| [Budget { service: "kinesis", operations: vec!["GetRecords"], limits }];
        budgets.change(&limit(Limits { calls: Some(96), bytes: None }));
        assert!(gate.check(at(20_000, 12.0)).unwrap_err().text.contains("50 calls today of the 96"));
        budgets.change(&limit(Limits { calls: Some(960), bytes: None }));
        assert_eq!(gate.check(at(20_000, 12.0)), Ok(()));
        assert_eq!(budgets.held_back(at(20_000, 12.0)), None, "the limits that held polls back are gone");
    }

    #[test]
    fn only_calls_of_polls_count() {
        let (budgets, calls) = budgets(Limits { calls: Some(96), bytes: None });
        call(&calls, "PutRecords", 1_000);
        assert_eq!(budgets.of("kinesis").check(at(20_000, 0.0)), Ok(()));
    }

    #[test]
    fn bytes_have_a_budget_of_their_own() {
        let (budgets, _) = budgets(Limits { calls: None, bytes: Some(9_600) });
        let gate = budgets.of("kinesis");
        gate.note_bytes(100, at(20_000, 0.0));
        assert_eq!(gate.check(at(20_000, 0.0)).unwrap_err().wait, Duration::from_millis(9_000));
        let used = budgets.used(at(20_000, 0.0));
        assert_eq!((used.len(), used[0].of), (1, "bytes"));
        assert!((used[0].ratio - 100.0 / 9_600.0).abs() < 1e-9, "{used:?}");
    }

    #[test]
    fn after_the_wait_a_poll_is_allowed_whatever_the_numbers() {
        for limit in [1, 2, 7, 1_000, u64::MAX] {
            for used in [0, 1, 6, 999, u64::MAX] {
                for time in [0, 1, HOUR, DAY_MILLIS - 1] {
                    let waited = wait(used, limit, time);
                    let then = time + u64::try_from(waited.as_millis()).unwrap();
                    assert!(then <= DAY_MILLIS, "{used} of {limit} at {time}");
                    if then < DAY_MILLIS {
                        assert_eq!(wait(used, limit, then), Duration::ZERO, "{used} of {limit} at {time}");
                    }
                }
            }
        }
    }
}
