//! Whether canaries were followed for as long as the pipeline may take.

use std::time::Duration;

use crate::keys::value::show_duration;

/// For how long canaries were followed, compared with `probe.give_up`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Patience {
    /// For `probe.give_up` or longer: what has not arrived is lost.
    Full,
    /// `--timeout` is shorter: what has not arrived may still be on its way.
    Short { timeout: Duration, give_up: Duration },
}

impl Patience {
    pub(super) fn new(timeout: Duration, give_up: Duration) -> Self {
        if timeout < give_up { Self::Short { timeout, give_up } } else { Self::Full }
    }

    /// What to say of a canary that has not arrived at a stage; `None` if it is lost.
    pub(super) fn not_arrived_at(self, stage: &str) -> Option<String> {
        match self {
            Self::Full => None,
            Self::Short { timeout, give_up } => Some(format!(
                "not arrived at {stage} within {} s (--timeout); it may still be on its way, probe.give_up is {}",
                timeout.as_secs(),
                show_duration(give_up)
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_followed_until_the_deadline_is_not_lost() {
        let after = |secs| Patience::new(Duration::from_secs(secs), Duration::from_mins(15));
        assert_eq!(
            after(3).not_arrived_at("transit").as_deref(),
            Some(
                "not arrived at transit within 3 s (--timeout); it may still be on its way, probe.give_up is 15m"
            )
        );
        assert!(after(899).not_arrived_at("transit").is_some());
        assert_eq!(after(900), Patience::Full);
        assert_eq!(after(900).not_arrived_at("transit"), None);
    }
}
