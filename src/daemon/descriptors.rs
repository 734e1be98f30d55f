//! The limit of file descriptors.
//!
//! Many systems start a process with a soft limit of 1,024, for programs that use select(2), and a hard limit
//! that is far higher (getrlimit(2), systemd's `LimitNOFILE`). This program never uses select.

#[cfg(target_os = "linux")]
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors that a system without a known limit allows at least.
#[cfg(not(target_os = "linux"))]
const USUAL: usize = 256;

/// Raises the soft limit to the hard one. If that is not allowed, the soft limit stays as it was.
pub fn raise() {
    #[cfg(target_os = "linux")]
    {
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        if current != maximum {
            let _raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
        }
    }
}

/// Returns how many descriptors the process may have open.
#[must_use]
pub fn limit() -> usize {
    #[cfg(target_os = "linux")]
    {
        let soft = getrlimit(Resource::Nofile).current;
        soft.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX))
    }
    #[cfg(not(target_os = "linux"))]
    USUAL
}
