//! Calls every service of the sandbox with the real clients, and checks every fault as a client sees it.

mod bigquery;
mod clients;
mod gcs;
mod kinesis;
mod schema;
mod service_faults;
mod services;
mod stage_faults;
mod tables;
