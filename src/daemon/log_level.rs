//! The level of the log, which can be changed while the daemon runs.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tracing::info;
use tracing_subscriber::EnvFilter;

use crate::config::log_filter;
use crate::web;

/// Puts a filter in force.
type Apply = Box<dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync>;

/// The level in force, and what changes it. Global, because so is the log itself.
static IN_FORCE: OnceLock<(Mutex<String>, Apply)> = OnceLock::new();

/// Notes the level with which the log was started, and what changes it.
pub fn started(level: &str, apply: impl Fn(EnvFilter) -> Result<(), String> + Send + Sync + 'static) {
    // A second log cannot be started.
    let _first = IN_FORCE.set((Mutex::new(level.to_owned()), Box::new(apply)));
}

/// What the web port shows and changes; `None` if the log was started by somebody else, as in tests.
pub(super) fn control() -> Option<web::LogLevel> {
    IN_FORCE.get()?;
    Some(web::LogLevel { get: Arc::new(level), set: Arc::new(set) })
}

fn level() -> String {
    let level = IN_FORCE.get().map(|(level, _)| level.lock().unwrap_or_else(PoisonError::into_inner).clone());
    level.unwrap_or_default()
}

fn set(wanted: &str) -> Result<(), String> {
    let filter = log_filter(wanted)?;
    let (level, apply) = IN_FORCE.get().ok_or("the log was not started")?;
    let before = {
        let mut level = level.lock().unwrap_or_else(PoisonError::into_inner);
        apply(filter)?;
        std::mem::replace(&mut *level, wanted.to_owned())
    };
    info!("the log level was `{before}` and is `{wanted}` until the next start");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_that_the_log_refuses_leaves_the_one_in_force() {
        started("info", |_| Ok(()));
        for wrong in ["hyper=warn", "a b=warn=info", "info,[a{=warn", "info, hyper=warn", ""] {
            let fault = set(wrong).unwrap_err();
            assert!(
                fault.starts_with(&format!("\"{wrong}\" is not a valid log level; write one of")),
                "{fault}"
            );
            assert_eq!(level(), "info");
        }
        assert_eq!((set("debug,hyper=warn"), level().as_str()), (Ok(()), "debug,hyper=warn"));
    }
}
