//! How long the hops of a calm pipeline take, 2 to 4 s in all: in the sandbox, and in the stub for k6. Writers of
//! objects collect batches.

use std::time::Duration;

/// Log group to stream.
pub const FORWARD: Duration = Duration::from_millis(45);
/// Stream to archive, batch included.
pub const ARCHIVE: Duration = Duration::from_millis(1_500);
pub const ARCHIVE_BATCH: Duration = Duration::from_secs(1);
/// Stream to transit, batch included.
pub const EXPORT: Duration = Duration::from_millis(1_500);
pub const TRANSIT_BATCH: Duration = Duration::from_millis(500);
/// Transit to table.
pub const TRANSFER: Duration = Duration::from_millis(500);
