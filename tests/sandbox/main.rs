//! Drives every service of the sandbox with the real clients, and shows every fault on the wire.

mod clients;
mod service_faults;
mod services;
mod stage_faults;
