//! Drives every service of the sandbox with the real clients, and shows every fault on the wire.

mod bigquery;
mod clients;
mod gcs;
mod kinesis;
mod schema;
mod service_faults;
mod services;
mod stage_faults;
