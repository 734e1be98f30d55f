//! Drills: canaries of a tenant that does not exist are withheld, so that a real alert takes the real way to
//! whoever is on call, and it is known that the pager rings.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::time::Timestamp;

/// The name of the tenant that does not exist.
pub const DRILL_TENANT: &str = "drill";

const DAY: i64 = 86_400;
/// 1970-01-01 was a Thursday.
const FIRST_WEEKDAY: i64 = 3;
const WEEKDAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// A time of the week, or of every day, in UTC: `mon 10:00`, `daily 10:00`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DrillTime {
    /// Monday is 0; `None` is every day.
    weekday: Option<i64>,
    /// Minutes after midnight.
    minute: i64,
}

impl DrillTime {
    /// The first such time after an instant.
    #[must_use]
    pub fn next_after(self, now: Timestamp) -> Timestamp {
        let today = now.micros().div_euclid(DAY * 1_000_000);
        let at = |day: i64| Timestamp::from_secs(day * DAY + self.minute * 60);
        let fits = |day: i64| self.weekday.is_none_or(|own| (day + FIRST_WEEKDAY).rem_euclid(7) == own);
        // At the latest it is today in a week.
        (today..=today + 7).find(|day| fits(*day) && at(*day) > now).map_or(now, at)
    }
}

impl FromStr for DrillTime {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (day, time) = text.trim().split_once(' ').ok_or(())?;
        let weekday = match day {
            "daily" => None,
            day => Some(WEEKDAYS.iter().position(|name| *name == day).ok_or(())?),
        };
        let (hour, minute) = time.trim().split_once(':').ok_or(())?;
        let number = |text: &str, most: i64| match text.parse::<i64>() {
            Ok(number) if text.len() == 2 && (0..=most).contains(&number) => Ok(number),
            Ok(_) | Err(_) => Err(()),
        };
        let minute = number(hour, 23)? * 60 + number(minute, 59)?;
        Ok(Self { weekday: weekday.and_then(|day| i64::try_from(day).ok()), minute })
    }
}

impl fmt::Display for DrillTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let day = self.weekday.and_then(|day| WEEKDAYS.get(usize::try_from(day).ok()?));
        write!(f, "{} {:02}:{:02}", day.unwrap_or(&"daily"), self.minute / 60, self.minute % 60)
    }
}

/// A drill that reached the receiver.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DrillProof {
    /// When canaries began to be withheld.
    pub began: Timestamp,
    /// When the notification of it arrived.
    pub rang: Timestamp,
}

/// What is known of drills.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Drills {
    /// When the present one began and when it will end; `None` if there is none.
    pub active: Option<(Timestamp, Timestamp)>,
    /// When the next one is due; `None` if none is scheduled.
    pub next: Option<Timestamp>,
    /// The last one of which a notification arrived.
    pub proof: Option<DrillProof>,
    /// When the last one began that ended without a notification, if it was after the last proof.
    pub silent: Option<Timestamp>,
    /// The drills that have ended, oldest first: from when to when canaries were withheld.
    ended: Vec<(Timestamp, Timestamp)>,
}

/// Number of ended drills whose canaries may still be waited for.
const ENDED_KEPT: usize = 16;

impl Drills {
    /// Nothing but the proof of a previous run.
    #[must_use]
    pub fn restored(proof: Option<DrillProof>) -> Self {
        Self { proof, ..Self::default() }
    }

    /// Begins a drill, unless one goes on. Returns whether it did.
    pub fn begin(&mut self, now: Timestamp, length: Duration) -> bool {
        let begins = self.active.is_none();
        if begins {
            self.active = Some((now, now + length));
        }
        begins
    }

    /// Notes a notification of the drill tenant's alert. Returns whether it proves a drill; that ends with it.
    pub fn rang(&mut self, now: Timestamp) -> bool {
        let Some((began, _)) = self.active else { return false };
        self.proof = Some(DrillProof { began, rang: now });
        self.silent = None;
        self.end(now);
        true
    }

    /// Ends a drill that has lasted long enough, and begins one that is due. Returns whether anything changed.
    pub fn advance(&mut self, now: Timestamp, schedule: &[DrillTime], length: Duration) -> bool {
        let before = (self.active, self.next);
        if let Some((began, until)) = self.active
            && now >= until
        {
            self.silent = Some(began);
            self.end(now);
        }
        if self.next.is_some_and(|next| now >= next) {
            self.begin(now, length);
        }
        if self.next.is_none_or(|next| now >= next) {
            self.next = schedule.iter().map(|time| time.next_after(now)).min();
        }
        before != (self.active, self.next)
    }

    fn end(&mut self, now: Timestamp) {
        if let Some((began, _)) = self.active.take() {
            self.ended.push((began, now));
            if self.ended.len() > ENDED_KEPT {
                self.ended.remove(0);
            }
        }
    }

    /// When a canary that was planned at an instant may pass: at once, when the drill that withheld it ended,
    /// or not yet.
    #[must_use]
    pub fn released(&self, planned: Timestamp) -> Option<Timestamp> {
        if self.active.is_some_and(|(began, _)| planned >= began) {
            return None;
        }
        let withheld = self.ended.iter().find(|(began, ended)| (*began..*ended).contains(&planned));
        Some(withheld.map_or(planned, |(_, ended)| *ended))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Thursday 2026-11-26, 10:30:00.
    const NOW: i64 = 1_795_689_000;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_secs(NOW + seconds)
    }

    fn next(text: &str) -> String {
        text.parse::<DrillTime>().unwrap().next_after(at(0)).strftime("%F %R")
    }

    #[test]
    fn the_next_drill_is_the_first_of_its_weekday_and_time() {
        assert_eq!(next("daily 10:31"), "2026-11-26 10:31");
        assert_eq!(next("daily 10:30"), "2026-11-27 10:30");
        assert_eq!(next("thu 09:00"), "2026-12-03 09:00");
        assert_eq!(next("mon 00:00"), "2026-11-30 00:00");
        assert_eq!(next("wed 23:59"), "2026-12-02 23:59");
    }

    #[test]
    fn a_time_is_written_as_it_is_read_and_nothing_else_is_read() {
        for text in ["mon 10:00", "daily 00:05", "sun 23:59"] {
            assert_eq!(text.parse::<DrillTime>().unwrap().to_string(), text);
        }
        for text in ["", "mon", "monday 10:00", "mon 24:00", "mon 1:00", "mon 10:60", "mon 10:00:00", "10:00"]
        {
            assert_eq!(text.parse::<DrillTime>(), Err(()), "{text}");
        }
    }

    #[test]
    fn canaries_of_a_drill_arrive_when_it_ends() {
        let mut drills = Drills::default();
        assert_eq!(drills.released(at(5)), Some(at(5)));
        assert!(drills.begin(at(0), Duration::from_secs(600)));
        assert_eq!((drills.released(at(-1)), drills.released(at(5))), (Some(at(-1)), None));
        assert!(drills.rang(at(90)));
        assert_eq!((drills.released(at(5)), drills.released(at(91))), (Some(at(90)), Some(at(91))));
    }

    #[test]
    fn a_notification_proves_only_a_drill_that_goes_on() {
        let mut drills = Drills::default();
        assert!(!drills.rang(at(0)));
        drills.begin(at(0), Duration::from_secs(600));
        assert!(drills.rang(at(90)));
        assert_eq!(drills.proof, Some(DrillProof { began: at(0), rang: at(90) }));
        assert!(!drills.rang(at(91)), "it ended with the first");
    }

    #[test]
    fn a_drill_without_a_notification_ends_by_itself_and_is_told() {
        let mut drills = Drills::restored(Some(DrillProof { began: at(-900), rang: at(-800) }));
        drills.begin(at(0), Duration::from_secs(600));
        drills.advance(at(599), &[], Duration::from_secs(600));
        assert!(drills.active.is_some());
        drills.advance(at(600), &[], Duration::from_secs(600));
        assert_eq!((drills.active, drills.silent), (None, Some(at(0))));
    }

    #[test]
    fn scheduled_drills_begin_by_themselves() {
        let schedule = ["daily 10:31".parse().unwrap()];
        let mut drills = Drills::default();
        drills.advance(at(0), &schedule, Duration::from_secs(600));
        assert_eq!((drills.active, drills.next), (None, Some(at(60))));
        drills.advance(at(61), &schedule, Duration::from_secs(600));
        assert_eq!(drills.active, Some((at(61), at(661))));
        assert_eq!(drills.next, Some(at(60 + 86_400)));
    }
}
