//! The window and the thresholds of conditions.

use std::time::Duration;

use super::limit::Limit;
use super::name::ConditionName;

/// When one condition that counts canaries is a note, and when a problem.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// From here on it is a note.
    pub note: Limit,
    /// From here on it is a problem.
    pub problem: Limit,
}

/// Declares the conditions that count canaries, with their default limits.
macro_rules! thresholds {
    ($($(#[$doc:meta])* $field:ident: $name:ident, note $note:literal, problem $problem:literal;)*) => {
        /// The limits of every condition that counts canaries.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub struct Thresholds { $($(#[$doc])* pub $field: Limits,)* }

        /// The conditions that count canaries, with the texts of their default limits: note and problem.
        pub const DEFAULT_LIMITS: &[(ConditionName, &str, &str)] =
            &[$((ConditionName::$name, $note, $problem)),*];

        impl Thresholds {
            /// Takes the limits of each condition from a function.
            ///
            /// # Errors
            ///
            /// The first error of the function.
            pub fn read<E>(mut of: impl FnMut(ConditionName) -> Result<Limits, E>) -> Result<Self, E> {
                Ok(Self { $($field: of(ConditionName::$name)?),* })
            }
        }
    };
}

// A healthy pipeline loses, delays or doubles a canary now and then. With one canary in 30 s, the window of
// 15 minutes holds 30. If 1 % are affected by chance, three of 30 are seen in 0.3 % of all windows, four in
// 0.03 %. `slow` and `hop_over_target` need four, because whatever is lost is also slow; more than 5 % is
// what "P95 over the target" means, and a test holds it against the judged quantile.
thresholds! {
    /// Canaries that a stage does not show in time.
    missing: Missing, note "1", problem "3 and 5%";
    /// Canaries that were lost or dead-lettered.
    losing: Losing, note "1", problem "3 and 5%";
    /// Canaries that took longer than the end-to-end threshold.
    slow: Slow, note "1", problem "4 and 5%";
    /// Canaries that took longer than the target of a hop.
    hop_over_target: HopOverTarget, note "2 and 2%", problem "4 and 5%";
    /// Canaries that a stage of the main path does not show, but a later one does.
    skipped: Skipped, note "1", problem "3 and 5%";
    /// Canaries that were stored twice.
    duplicates: Duplicates, note "1", problem "3 and 5%";
    /// Canaries that were cut or changed.
    corruption: Corruption, note "1", problem "3 and 5%";
    /// Canaries that CloudWatch Logs took late.
    late_injection: LateInjection, note "1", problem "3 and 5%";
    /// Canaries that are missing at a source that has never shown one of their tenant.
    never_seen: NeverSeen, note "1", problem "2";
}

impl Default for Thresholds {
    fn default() -> Self {
        let of = |name| {
            let row = DEFAULT_LIMITS.iter().find(|row| row.0 == name).ok_or(())?;
            Ok::<_, ()>(Limits { note: row.1.parse()?, problem: row.2.parse()? })
        };
        Self::read(of).expect("the defaults are limits, which a test checks")
    }
}

/// By what tenants, stages and the probe are judged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Criteria {
    /// End-to-end threshold.
    pub slo: Duration,
    /// How far back traces count, by planned injection; losses count by the time of their outcome. `None` is
    /// the default, which depends on how far apart a tenant's canaries are.
    pub window: Option<Duration>,
    /// A put that is answered later than this after the planned injection is late.
    pub late_after: Duration,
    /// How long all must have been well before an incident ends.
    pub over_after: Duration,
    /// How long the second of two copies that may be moved waits before it is charged.
    pub copy_recheck: Duration,
    /// When each condition that counts canaries is a note or a problem.
    pub thresholds: Thresholds,
}

impl Criteria {
    /// The shortest default window.
    pub const WINDOW: Duration = Duration::from_secs(15 * 60);
    /// Fewest canaries that the default window holds.
    pub const WINDOW_CANARIES: u32 = 30;
    /// The default of [`late_after`](Self::late_after): longer than a canary may leave late without being
    /// missed, and than a put that is retried once.
    pub const LATE_AFTER: Duration = Duration::from_secs(5);
    /// The default of [`over_after`](Self::over_after): a condition that comes and goes is one incident.
    pub const OVER_AFTER: Duration = Duration::from_mins(5);
    /// The default of [`copy_recheck`](Self::copy_recheck).
    pub const COPY_RECHECK: Duration = Duration::from_secs(15 * 60);

    /// Criteria with the default thresholds.
    #[must_use]
    pub fn new(slo: Duration) -> Self {
        Self {
            slo,
            window: None,
            late_after: Self::LATE_AFTER,
            over_after: Self::OVER_AFTER,
            copy_recheck: Self::COPY_RECHECK,
            thresholds: Thresholds::default(),
        }
    }

    /// The window of a tenant whose canaries are this far apart.
    #[must_use]
    pub fn window(&self, interval: Duration) -> Duration {
        self.window.unwrap_or_else(|| Self::WINDOW.max(interval * Self::WINDOW_CANARIES))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::quantile::Level;

    #[test]
    fn every_default_is_a_limit() {
        for (name, note, problem) in DEFAULT_LIMITS {
            for text in [note, problem] {
                assert_eq!(text.parse::<Limit>().unwrap().to_string(), **text, "{}", name.as_str());
            }
        }
        let _ = Thresholds::default();
    }
    #[test]
    fn what_is_slow_is_a_problem_where_the_judged_quantile_is_over() {
        let beyond = format!(" and {:.0}%", 100.0 - 100.0 * Level::JUDGED.fraction());
        for (name, _, problem) in DEFAULT_LIMITS {
            if matches!(name, ConditionName::Slow | ConditionName::HopOverTarget) {
                assert!(problem.ends_with(&beyond), "{}: {problem}, not {beyond}", name.as_str());
            }
        }
    }
}
